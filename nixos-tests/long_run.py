# Months of messages in an hour. The homeserver, which grows with each message, is restarted as planned before it
# reaches a memory limit, as often as necessary. Nobody has to do anything, no other service is restarted, and each
# message is in the room once.
HOMESERVER_UNIT = "nats-matrix-conduit.service"
WATCH = "nats-matrix-conduit-refresh.service"
LASTING = ["nats-matrix.service", WATCH]
LIMITED = ["natsmatrix.slice", "nats-matrix.service", HOMESERVER_UNIT]
MB = 1024 * 1024
BUDGET = 120 * MB
"""The anonymous memory that the bridge and the homeserver may have together."""

phone = prepare()
expected = [f"report {number}" for number in range(1, LONG_RUN + 1)]
before = {unit: main_pid(unit) for unit in LASTING}
most = 0


def memory(unit: str) -> dict[str, int]:
    """Returns the anonymous memory of a unit, and how often a limit was in its way; nothing while it does not run."""
    group = server.get_unit_property(unit, "ControlGroup")
    if not group:
        return {}
    code, text = server.execute(f"cd /sys/fs/cgroup/{group} && grep -hE '^(anon|high|oom) ' memory.stat memory.events")
    lines = [line.split() for line in text.splitlines()] if code == 0 else []
    return {line[0]: int(line[1]) for line in lines}


def watch_limits() -> None:
    """Notes the memory of the services. Raises AssertionError if one reached a limit."""
    global most
    seen = {unit: memory(unit) for unit in LIMITED}
    for unit, counts in seen.items():
        reached = {key: count for key, count in counts.items() if key != "anon" and count}
        assert not reached, f"expected no limit to be reached by {unit}, seen: {reached}"
    most = max(most, sum(seen[unit].get("anon", 0) for unit in LIMITED[1:]))


def latest() -> str:
    """Returns the text of the latest message in the room, "" if the homeserver does not answer."""
    status, answer = phone.request("GET", f"rooms/{quote(phone.room)}/messages?dir=b&limit=1")
    newest = messages(answer["chunk"]) if status == 200 else []
    return newest[0].said if newest else ""


with subtest(f"{LONG_RUN} reports reach the room, within the limits of all services"):
    publish("ops.report.server-01", "report {{Count}}", LONG_RUN)
    newest, end = "", time.monotonic() + PATIENCE
    while newest != expected[-1]:
        watch_limits()
        now = latest()
        if now and now != newest:
            newest, end = now, time.monotonic() + PATIENCE
        assert time.monotonic() < end, f"expected {expected[-1]!r} in the room, seen: {newest!r}"
    print(f"anonymous memory of the bridge and the homeserver: at most {most / MB:.1f} MB")
    assert most <= BUDGET, f"expected at most {BUDGET}, seen: {most}"

with subtest("the homeserver was restarted as planned, and nothing else was"):
    told = journal(WATCH)
    print(*told[-10:], sep="\n")
    planned = [line for line in told if "it is restarted, as planned" in line]
    restarts = int(server.get_unit_property(HOMESERVER_UNIT, "NRestarts"))
    print(f"{restarts} restarts of the homeserver")
    if HAS_CONDUIT:
        assert restarts >= 1, f"expected restarts of the homeserver, seen: {told}"
    assert_equal("the planned restarts", len(planned), restarts)
    assert not [line for line in told if "may be of no use" in line], f"expected useful restarts, seen: {told}"
    assert_equal("the main processes", {unit: main_pid(unit) for unit in LASTING}, before)

with subtest("each report is in the room once, in order"):
    assert_each_once_in_order("the history", [message.said for message in phone.history()], expected)

finish()
