# A report that a machine publishes with the NATS command line tool appears on the phone as documented, and an
# alert notifies the phone. `nats-matrix-check` finds nothing wrong. After a reboot the next report arrives without any
# help.
REPORT = {
    "host": "server-01",
    "completed": ["Database backup", "log cleanup", "SSL renewal"],
    "in_progress": ["Performance optimization", "API integration"],
    "disk_percent": 14,
    "memory_percent": 16,
    "satisfaction": 3,
}
REPORT_TEXT = """\
📊 server-01 Operational Report
✅ Completed: Database backup, log cleanup, SSL renewal
🔄 In progress: Performance optimization, API integration
💻 Disk usage: 14% | Memory usage: 16%
😊 Satisfaction rating: 3/5"""
ALERT = {"severity": "critical", "source": "db-01", "summary": "Disk almost full"}
ALERT_TEXT = """\
🔴 CRITICAL: Disk almost full
📍 db-01"""
NEXT_TEXT = """\
📊 server-02 Operational Report
💻 Disk usage: 14%"""
BRIDGE = f"@bridge:{SERVER_NAME}"

phone = prepare()

with subtest("a report arrives as documented, and the phone stays quiet"):
    publish("ops.report.server-01", json.dumps(REPORT))
    phone.wait_for(1)
    report = phone.messages[0]
    assert_equal("the first line", report.body.splitlines()[0], REPORT_TEXT.splitlines()[0])
    assert_equal("the text", report.body, REPORT_TEXT)
    assert_equal("the kind and the sender", (report.msgtype, report.sender), ("m.notice", BRIDGE))

with subtest("an alert arrives as a message for which a phone buzzes"):
    publish("ops.report.db-01", json.dumps(ALERT))
    phone.wait_for(2)
    alert = phone.messages[1]
    assert_equal("the text", alert.body, ALERT_TEXT)
    assert_equal("the kind and the sender", (alert.msgtype, alert.sender), ("m.text", BRIDGE))

with subtest("the check finds nothing to complain about"):
    well, findings = check()
    print("\n".join(findings))
    assert well, f"expected nats-matrix-check to succeed, seen: {findings}"
    # Without a tunnel, there may be a note about it.
    steps = [line.split()[1] for line in findings if not line.startswith("note  tunnel")]
    expected = ["config", "nats", "stream", "subjects", "consumer", "homeserver", "login", "room"]
    assert_equal("the steps of the check", steps, expected)
    complaints = [line for line in findings if line.split()[0] not in ("ok", "note")]
    assert_equal("lines other than ok and note", complaints, [])

with subtest("after a reboot of the server the next report arrives with nobody's help"):
    server.reboot()
    publish("ops.report.server-02", json.dumps({"host": "server-02", "disk_percent": 14}))
    phone.wait_for(3)
    assert_equal("the report", phone.messages[2].body, NEXT_TEXT)

with subtest("that was all"):
    phone.settle()
    assert_each_once_in_order(
        "the room",
        [message.body for message in phone.history()],
        [REPORT_TEXT, ALERT_TEXT, NEXT_TEXT],
    )

finish()
