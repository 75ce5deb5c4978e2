# From nothing to a report, with the package and the documented steps. After a reboot the next report arrives without
# any help, and after a thousand more each service is within its memory budget.
#
# MB are 2^20 bytes here, like systemd's M.
MB = 1024 * 1024
# Synapse needs half a second for each under emulation, and has no budget.
REPORTS = 1000 if HAS_CONDUIT else 100
BRIDGE_BUDGET = 16
"""The memory of the bridge, in MB."""
BUDGET = 120
"""The memory of bridge and Conduit together, in MB: that of the Python bot and shell script which they replace."""
DROP_IN = "/etc/systemd/system/nats-matrix-tunnel.service.d/no-edge.conf"

with subtest("the package is installed without a network; nothing starts by itself"):
    install_hub()
    install_package()
    for service in SERVICES:
        state = [server.execute(f"systemctl {is_so} {service}")[1].strip() for is_so in ("is-enabled", "is-active")]
        assert_equal(f"the state of {service}", state, ["disabled", "inactive"])
    server.succeed(
        "nats-matrix check --offline",
        # The image leaves manuals out to be small; dpkg lists them nevertheless.
        "dpkg -L nats-matrix | grep -qx /usr/share/man/man1/nats-matrix.1.gz",
        "dpkg-query -W -f '${Depends}' nats-matrix | grep -q libc6",
        "bash -c '. /usr/share/bash-completion/completions/nats-matrix && complete -p nats-matrix'",
    )
    assert_equal("the mode of the secrets", server.succeed(f"stat -c '%a %U' {SECRETS}").strip(), "700 root")

with subtest("this systemd knows every directive"):
    said = server.succeed(
        "systemd-analyze verify --man=no --recursive-errors=no /usr/lib/systemd/system/nats*matrix* 2>&1 || true"
    )
    print(said)
    ours = [line for line in said.splitlines() if "nats-matrix" in line or "natsmatrix" in line]
    # The programs of others are not installed yet, so systemd may complain about these.
    surprises = [line for line in ours if "is not executable: No such file" not in line]
    assert_equal("what systemd-analyze says of our units", surprises, [])
    journal_of_systemd = server.succeed("journalctl -b -t systemd --no-pager -o cat")
    for word in ("Unknown key", "Unknown section", "Failed to parse"):
        assert word not in journal_of_systemd, f"expected no '{word}', seen: {journal_of_systemd}"

with subtest("the check says what is missing and where to get it"):
    code, said = server.execute("nats-matrix check")
    print(said)
    assert code != 0, "expected the check to fail while nothing is configured"
    for wanted in (
        "/usr/sbin/matrix-conduit (https://docs.conduit.rs/",
        "/usr/bin/cloudflared (https://pkg.cloudflare.com/) and /etc/nats-matrix/tunnel.json",
    ):
        assert wanted in said, f"expected '{wanted}'"

with subtest("a service whose program is missing is skipped, not failed"):
    server.succeed(f"systemctl enable --now {' '.join(SERVICES[:2])} 2>&1")
    for service in SERVICES[:2]:
        assert_equal(f"the state of {service}", server.get_unit_property(service, "ActiveState"), "inactive")

with subtest("configured and started, with accounts: a report arrives"):
    install_homeserver()
    configure()
    if HAS_CLOUDFLARED:
        install_tunnel()
        tunnel = {
            "AccountTag": "0" * 32,
            "TunnelID": "6f6e2d1c-1111-4222-8333-444455556666",
            "TunnelSecret": "c2VjcmV0",
        }
        write_secret(TUNNEL_CREDENTIALS, json.dumps(tunnel))
        server.succeed(
            f"mkdir -p {DROP_IN.rpartition('/')[0]}",
            f"printf '[Service]\\nTimeoutStartSec=infinity\\nEnvironment={NO_EDGE}\\n' > {DROP_IN}",
            "systemctl daemon-reload",
        )
    server.succeed(f"systemctl enable --now --no-block {' '.join(SERVICES)} 2>&1")
    phone = prepare()
    publish("ops.report.server-01", "the first report")
    phone.wait_for(1)
    code, said = server.execute("nats-matrix check")
    print(said)
    assert_equal("the exit code of the check in root's terminal", code, 0)

with subtest("after a reboot the next report arrives with nobody's help"):
    server.reboot()
    wait_for_stream()
    publish("ops.report.server-01", "the next report")
    phone.wait_for(2)

with subtest(f"after that and {REPORTS} reports, the memory that each service took at most"):
    publish("ops.report.server-01", "report {{Count}}", REPORTS)
    phone.wait_for(2 + REPORTS)
    expected = ["the first report", "the next report", *(f"report {number}" for number in range(1, REPORTS + 1))]
    assert_each_once_in_order("the room", [message.said for message in phone.messages], expected)

    if HAS_CLOUDFLARED:
        ready = "curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' http://127.0.0.1:20241/ready"
        wait_until("503 of the tunnel's /ready", lambda: server.execute(ready)[1] == "503")
    rows = {"nats-matrix.service": "bridge"}
    rows["nats-matrix-conduit.service"] = "Conduit" if HAS_CONDUIT else "Synapse, in its place"
    rows |= {"nats-matrix-tunnel.service": "cloudflared, without an edge"} if HAS_CLOUDFLARED else {}
    rows["natsmatrix.slice"] = "all together"
    peak = {unit: int(cgroup(unit, "memory.peak")) / MB for unit in rows}
    limit = {unit: int(cgroup(unit, "memory.max")) / MB for unit in rows}
    kills = {unit: cgroup(unit, "memory.events").split("oom_kill ")[1].split()[0] for unit in rows}
    print("| | memory.peak, MB | limit, MB |\n| --- | --- | --- |")
    for unit, what in rows.items():
        print(f"| {what} | {peak[unit]:.1f} | {limit[unit]:.0f} |")
    pair = peak["nats-matrix.service"] + peak["nats-matrix-conduit.service"]
    print(f"| bridge and homeserver | {pair:.1f} | {f'budget {BUDGET}' if HAS_CONDUIT else '-'} |")

    assert_equal("OOM kills", set(kills.values()), {"0"})
    bridge = peak["nats-matrix.service"]
    assert bridge <= BRIDGE_BUDGET, f"expected at most {BRIDGE_BUDGET} MB of the bridge, seen: {bridge:.1f}"
    assert peak["natsmatrix.slice"] < limit["natsmatrix.slice"], f"expected less than the limit, seen: {peak}"
    if HAS_CONDUIT:
        assert pair <= BUDGET, f"expected at most {BUDGET} MB of bridge and Conduit, seen: {pair:.1f}"
    else:
        print("NOT RUN: the budget of bridge and Conduit, as there is no Conduit here")

with subtest("a memory hog in the slice is killed by the kernel; the bridge and the homeserver live on"):
    survive_hog(["nats-matrix.service", "nats-matrix-conduit.service"])

finish()
