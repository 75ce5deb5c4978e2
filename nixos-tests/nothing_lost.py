# Nothing is lost, nothing is shown twice, and the order holds. While numbered reports are being relayed, `kill -9` hits
# the bridge, the homeserver and NATS, the bridge reads its configuration again, the server is rebooted, and then it
# loses power with reports waiting. In the end the room shows each number once and in order, both to the phone that was
# reading all the time and to one that asks for the whole history.
EACH = 200

phone = prepare()
expected: list[str] = []


def burst(name: str) -> None:
    """Publishes another EACH numbered reports."""
    publish("ops.report.server-01", f"{name}, report {{{{Count}}}}", EACH)
    expected.extend(f"{name}, report {number}" for number in range(1, EACH + 1))


def burst_until_first(name: str) -> None:
    """Publishes another EACH numbered reports and returns when one is in the room, so most are still being relayed."""
    before = len(expected)
    phone.wait_for(before)
    burst(name)
    phone.wait_for(before + 1)
    print(f"{name}: {len(phone.messages) - before} of {EACH} are in the room when it happens")


for unit in ("nats-matrix.service", "nats-matrix-conduit.service", "nats.service"):
    with subtest(f"kill -9 of {unit} while reports are on their way"):
        for time_of in ("first", "second"):
            burst_until_first(f"{time_of} kill of {unit}")
            kill_main(unit)

with subtest("the bridge reads its configuration again while reports are on their way"):
    pid = main_pid("nats-matrix.service")
    burst_until_first("reload")
    server.succeed("systemctl reload nats-matrix")
    phone.wait_for(len(expected))
    assert_equal("the process", main_pid("nats-matrix.service"), pid)

with subtest("the server is rebooted while reports are on their way"):
    burst_until_first("reboot")
    server.reboot()
    phone.wait_for(len(expected))

with subtest("the server loses its power while reports wait for the homeserver"):
    server.succeed("systemctl stop nats-matrix-conduit")
    burst("power loss")
    # Neither NATS nor the homeserver syncs every message to the disk, and no bridge can make them. The test is that the
    # data on the disk is enough.
    for machine in (server, hub):
        machine.succeed("sync")
    server.crash()
    server.start(allow_reboot=True)

with subtest("each report is in the room once, in order"):
    phone.wait_for(len(expected))
    phone.settle()
    assert_each_once_in_order("on the phone", [message.said for message in phone.messages], expected)
    assert_each_once_in_order("the history", [message.said for message in phone.history()], expected)

finish()
