# The life of the package. An upgrade keeps configuration, state and the services that the administrator disabled, and
# posts nothing twice. Removal leaves configuration and state behind, and a new installation continues from them. After
# a purge nothing is left.
STATE = "/var/lib/nats-matrix"


def version() -> str:
    """Returns the package's version and dpkg's name for its state."""
    return server.succeed("dpkg-query -W -f '${Version} ${db:Status-Status}' nats-matrix || true")


def kept() -> str:
    """Returns the checksums of the administrator's files and of the passwords."""
    return server.succeed(f"find {ETC} {PASSWORDS}/ -type f | sort | xargs sha256sum")


def report(name: str, count: int) -> None:
    """Publishes numbered reports and adds them to those expected in the room."""
    publish("ops.report.server-01", f"{name} {{{{Count}}}}", count)
    expected.extend(f"{name} {number}" for number in range(1, count + 1))


def publish_slowly(name: str, count: int) -> None:
    """Does the same in the background, over a minute or more."""
    one = f"nats {NATS_OPTS} pub --jetstream ops.report.server-01 '{name} '$n"
    script = f"for n in $(seq {count}); do {one}; sleep 0.5; done"
    server.succeed(f"systemd-run --unit=publisher bash -c {shlex.quote(script)} 2>&1")
    expected.extend(f"{name} {number}" for number in range(1, count + 1))


expected: list[str] = []

with subtest("the previous package is installed, configured and at work"):
    install_hub()
    install_package("nats-matrix-previous.deb")
    install_homeserver()
    configure()
    server.succeed("systemctl enable --now --no-block nats-matrix-conduit nats-matrix 2>&1")
    phone = prepare()
    report("before the upgrade", 20)
    phone.wait_for(len(expected))
    previous = version()

with subtest("an upgrade while reports are on their way keeps configuration and state"):
    session = json.loads(server.succeed(f"cat {STATE}/session.json"))
    configuration = kept()
    process = main_pid("nats-matrix.service")
    publish_slowly("during the upgrade", 100)
    phone.wait_for(len(expected) - 95)
    install_package()
    phone.read()
    arrived = len(phone.messages)
    print(f"{arrived - 20} of 100 have arrived when the upgrade is done")
    assert arrived < len(expected), "expected some reports to come after the upgrade"
    assert_equal("the package", version().split()[1], "installed")
    assert version() != previous, f"expected another version than {previous}"
    assert main_pid("nats-matrix.service") not in (0, process), "expected the new program to run"
    assert_equal("the configuration", kept(), configuration)
    assert_equal("the session", json.loads(server.succeed(f"cat {STATE}/session.json")), session)
    tunnel = server.execute("systemctl is-enabled nats-matrix-tunnel")[1].strip()
    assert_equal("the tunnel, which nobody enabled", tunnel, "disabled")

with subtest("nothing is lost by it, and nothing is there twice"):
    phone.wait_for(len(expected))
    report("after the upgrade", 20)
    phone.wait_for(len(expected))
    phone.settle()
    assert_each_once_in_order("the room", [message.said for message in phone.history()], expected)

with subtest("removed, it leaves configuration and state"):
    print(server.succeed("apt-get remove -qqy -o Dpkg::Use-Pty=0 nats-matrix 2>&1"))
    assert_equal("the package", version().split()[1], "config-files")
    server.succeed(
        f"test -s {ETC}/config.toml", f"test -s {STATE}/session.json", f"test -s {PASSWORDS}/bridge-password"
    )
    server.fail("command -v nats-matrix")
    for service in ("nats-matrix", "nats-matrix-conduit", "nats-matrix-provision"):
        server.fail(f"systemctl is-active {service}")
    publish("ops.report.server-01", "while it was removed")
    expected.append("while it was removed")

with subtest("installed again, it goes on where it was"):
    install_package()
    server.succeed("systemctl start nats-matrix-conduit nats-matrix")
    phone.wait_for(len(expected))
    phone.settle()
    assert_each_once_in_order("the room", [message.said for message in phone.history()], expected)
    for service in ("nats-matrix", "nats-matrix-conduit"):
        assert_equal(
            f"whether {service} is enabled", server.succeed(f"systemctl is-enabled {service}").strip(), "enabled"
        )

with subtest("purged, nothing is left"):
    print(server.succeed("apt-get purge -qqy -o Dpkg::Use-Pty=0 nats-matrix 2>&1"))
    # The files that the test itself created, and those in which dpkg and systemd keep their records.
    server.succeed("rm -rf /etc/systemd/system/nats-matrix-* /run/systemd/system/nats-matrix*")
    left = server.succeed(
        "find / -xdev '(' -path /proc -o -path /sys -o -path /payload ')' -prune"
        " -o '(' -name '*nats-matrix*' -o -name '*natsmatrix*' ')' -print"
    )
    assert_equal("files that are left", left.split(), [])
    assert_equal("dpkg's record", version().strip(), "")
    server.succeed("systemctl daemon-reload")
    units = server.succeed("systemctl list-unit-files --no-legend 'nats-matrix*' 'natsmatrix*' || true")
    assert_equal("unit files that are left", units, "")

finish()
