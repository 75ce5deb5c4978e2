# NATS with TLS from a private CA, which accepts only the owner of an nkey's seed: the bridge relays, and the check
# finds nothing wrong. With a foreign seed the bridge stops, and its journal says what was refused and where to look; it
# is retried after a while. With the right seed back, everything that was published meanwhile arrives.
#
# Its constants are NATS_OPTS, with --tlsca and --nkey, and SEEDS.
import re

REFUSED = "refuses our credentials"
ADVICE = "check those under [nats]"
SOON = "/run/systemd/system/nats-matrix-retry.timer.d/soon.conf"

phone = prepare({f"{SECRETS}/nats-nkey-seed": SEEDS["right"]})

with subtest("NATS lets nobody in without TLS or without a key"):
    assert "--nkey" in NATS_OPTS, f"expected an nkey in NATS_OPTS, seen: {NATS_OPTS}"
    nats("stream ls")
    hub.fail(f"nats {re.sub(r'--nkey[ =][^ ]+', '', NATS_OPTS)} stream ls")
    hub.fail(f"nats {re.sub(r'--tlsca[ =][^ ]+', '', NATS_OPTS)} stream ls")

with subtest("a report arrives by TLS"):
    server.succeed("grep -F 'tls://hub:4222' /etc/nats-matrix/config.toml")
    publish("ops.report.server-01", "report 0")
    phone.wait_for(1)

with subtest("the check finds nothing to complain about"):
    well, findings = check()
    assert well, f"expected nats-matrix-check to succeed, seen: {findings}"
    assert any(line.startswith("ok    nats ") for line in findings), f"expected NATS to be ok, seen: {findings}"

with subtest("with a foreign seed the bridge stops and says why"):
    write_secret(f"{SECRETS}/nats-nkey-seed", SEEDS["foreign"])
    before = len(journal("nats-matrix"))
    code, _ = server.execute("systemctl restart nats-matrix")
    assert code != 0, "expected the start with a foreign seed to fail"
    assert_equal("the exit code", server.get_unit_property("nats-matrix.service", "ExecMainStatus"), "77")
    lines = journal("nats-matrix")[before:]
    said = [line for line in lines if REFUSED in line and ADVICE in line]
    assert said, f"expected a line with '{REFUSED}' and '{ADVICE}', seen: {lines}"
    print(said[-1])

with subtest("the unit shows as failed, and each attempt is followed by another"):
    assert_equal("the bridge", server.get_unit_property("nats-matrix.service", "ActiveState"), "failed")
    server.succeed(
        f"mkdir -p {SOON.rpartition('/')[0]}",
        f"printf '[Timer]\\nOnActiveSec=\\nOnActiveSec=5s\\n' > {SOON}",
        "systemctl daemon-reload",
    )
    server.execute("systemctl restart nats-matrix")
    attempts: set[str] = set()

    def often_enough() -> bool:
        """Whether the unit was started three times."""
        attempts.add(server.get_unit_property("nats-matrix.service", "InvocationID"))
        return len(attempts) >= 3

    wait_until("three attempts", often_enough)

with subtest("and so does the check"):
    well, findings = check()
    said = [line for line in findings if line.startswith("FAIL  nats ") and REFUSED in line]
    assert not well and said, f"expected the check to fail at nats, seen: {findings}"

with subtest("who stops the bridge stops the attempts"):
    wait_until(
        "a timer for the next attempt",
        lambda: server.get_unit_property("nats-matrix-retry.timer", "ActiveState") == "active",
    )
    server.succeed("systemctl stop nats-matrix")
    assert_equal("the timer", server.get_unit_property("nats-matrix-retry.timer", "ActiveState"), "inactive")

with subtest("with the right seed back, everything that was published meanwhile arrives"):
    publish("ops.report.server-01", "report {{Count}}", 20)
    write_secret(f"{SECRETS}/nats-nkey-seed", SEEDS["right"])
    server.succeed("systemctl restart nats-matrix")
    phone.wait_for(21)
    phone.settle()
    expected = [f"report {number}" for number in range(21)]
    assert_each_once_in_order("the history", [message.said for message in phone.history()], expected)

finish()
