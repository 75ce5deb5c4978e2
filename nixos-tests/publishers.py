# The messages that a machine publishes about itself: its report with the failed units, and an alert with the last
# journal lines when a unit fails. While NATS is unreachable both are kept and no unit fails because of it; they arrive
# when NATS is back.
#
# The configuration names the machine server-01, and has alerts published on a subject of the route.
BACKUP = """\
[Unit]
OnFailure=nats-matrix-alert@%n.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c "echo copying to sftp://backup:hunter2@nas; echo no space left on the backup host >&2; exit 3"
"""
REPORT_TEXT = "📊 server-01 Operational Report"
ALERT_TEXT = "🔴 CRITICAL: backup.service has failed: exit status 3\n📍 server-01\n"
# Everybody in the room can read them, so the password is masked.
LAST_WORDS = "copying to sftp://backup:***@nas\nno space left on the backup host"


def fail() -> None:
    """Makes the unit fail that sends an alert in that case."""
    code, _ = server.execute("systemctl start backup", timeout=PATIENCE)
    assert code != 0, "expected backup.service to fail"


phone = prepare()

with subtest("the machine reports itself"):
    server.succeed("systemctl start nats-matrix-report", timeout=PATIENCE)
    phone.wait_for(1)
    report = phone.messages[0]
    print(report.body)
    assert_equal("the first line", report.body.splitlines()[0], REPORT_TEXT)
    for word in ("Disk usage: ", "Memory usage: ", "load: ", "up: "):
        assert word in report.body, f"expected {word!r} in the report, seen: {report.body!r}"
    assert "failed" not in report.body, f"expected no failed unit, seen: {report.body!r}"
    assert_equal("the kind", report.msgtype, "m.notice")
    server.succeed("systemctl start nats-matrix-report.timer")
    due = server.get_unit_property("nats-matrix-report.timer", "NextElapseUSecRealtime")
    assert due, "expected the timer to be due some time"

with subtest("a unit that fails is an alert, with its last lines"):
    server.succeed(f"printf %s {shlex.quote(BACKUP)} > /run/systemd/system/backup.service && systemctl daemon-reload")
    fail()
    phone.wait_for(2)
    alert = phone.messages[1]
    print(alert.body)
    assert alert.body.startswith(ALERT_TEXT), f"expected {ALERT_TEXT!r} at the beginning, seen: {alert.body!r}"
    assert LAST_WORDS in alert.body, f"expected {LAST_WORDS!r}, seen: {alert.body!r}"
    assert_equal("the kind", alert.msgtype, "m.text")

with subtest("while NATS is away no unit fails for it, and nothing is lost"):
    hub.succeed("systemctl stop nats")
    fail()
    server.succeed("systemctl start nats-matrix-report", timeout=PATIENCE)
    print("\n".join(journal("nats-matrix-report")))
    kept = [line for line in journal("nats-matrix-report") if "kept as" in line]
    assert kept, "expected the journal to say that the report is kept"
    hub.succeed("systemctl start nats")
    phone.wait_for(4)
    late = [message.body for message in phone.messages[2:4]]
    alerts = [body for body in late if body.startswith(ALERT_TEXT)]
    reports = [body for body in late if body.startswith(REPORT_TEXT)]
    assert_equal("alerts and reports", (len(alerts), len(reports)), (1, 1))
    named = "failed units: backup.service"
    assert named in reports[0], f"expected {named!r} in the report, seen: {reports[0]!r}"

with subtest("an alert about an alert is none"):
    server.succeed("systemctl start nats-matrix-alert@nats-matrix-alert@backup.service.service", timeout=PATIENCE)

with subtest("since when a unit had worked is said with its failure"):
    server.succeed("systemd-run --unit worker sleep infinity")
    server.succeed("systemctl kill --signal KILL worker")
    server.wait_until_succeeds("systemctl is-failed worker")
    said = server.succeed("nats-matrix alert --server nats://127.0.0.1:4222 --unit worker.service --dry-run")
    print(said)
    assert '"last_ok"' in said, f"expected when the unit began to work, seen: {said!r}"
    said = server.succeed("nats-matrix alert --server nats://127.0.0.1:4222 --unit backup.service --dry-run")
    assert '"last_ok"' not in said, f"expected nothing of a unit that never worked, seen: {said!r}"

with subtest("that was all"):
    phone.settle()
    assert_equal("the messages", len(phone.history()), 4)
    failed = server.succeed("systemctl list-units --state=failed --plain --no-legend 'nats-matrix*'")
    assert_equal("units of ours that have failed", failed, "")

finish()
