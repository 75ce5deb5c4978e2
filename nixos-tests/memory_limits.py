# The kernel enforces the memory limits of the unit files. It kills a program in the slice that uses all the memory it
# can get, while the bridge and the homeserver keep running and a report arrives. In the end: the peak memory of each
# service after a reboot and 200 reports.
UNITS = ["natsmatrix.slice", "nats-matrix.service", "nats-matrix-conduit.service"]
SERVICES = UNITS[1:]
MB = 1024 * 1024

phone = prepare()

with subtest("the kernel knows the limits that systemd was told"):
    for unit in UNITS:
        told = server.get_unit_property(unit, "MemoryMax")
        enforced = cgroup(unit, "memory.max")
        print(f"{unit}: MemoryMax={told}, memory.max={enforced}")
        assert told.isdecimal() and int(told) > 0, f"expected a limit of {unit}, seen: {told}"
        assert_equal(f"memory.max of {unit}", enforced, told)
    for unit in SERVICES:
        assert_equal(f"the slice of {unit}", server.get_unit_property(unit, "Slice"), "natsmatrix.slice")
    limits = {unit: int(cgroup(unit, "memory.max")) for unit in UNITS}
    parts = sum(limits[unit] for unit in SERVICES)
    assert parts <= limits["natsmatrix.slice"], f"expected parts within the whole, seen: {limits}"

with subtest("a memory hog in the slice is killed by the kernel; the bridge and the homeserver live on"):
    before = survive_hog(SERVICES)

with subtest("a report arrives thereafter"):
    publish("ops.report.server-01", json.dumps({"host": "server-01", "disk_percent": 14}))
    phone.wait_for(1)
    assert_equal("the report", phone.messages[0].body.splitlines()[0], "📊 server-01 Operational Report")
    assert_equal("the main processes", {unit: main_pid(unit) for unit in SERVICES}, before)

with subtest("after a reboot and 200 reports no service was killed, and this is what they took"):
    # After a reboot, because a page of a file is charged to whoever read it first, and that was not always the service.
    server.reboot()
    publish("ops.report.server-01", "report {{Count}}", 200)
    phone.wait_for(201)
    for unit in UNITS:
        peak, limit = (int(cgroup(unit, f"memory.{file}")) for file in ("peak", "max"))
        print(f"{unit:<28} peak {peak / MB:6.1f} MB of {limit / MB:6.1f} MB ({100 * peak / limit:.0f} %)")
        assert 0 < peak <= limit, f"expected a peak of at most {limit}, seen: {peak}"
        events = dict(line.split() for line in cgroup(unit, "memory.events").splitlines())
        assert_equal(f"OOM kills in {unit}", events["oom_kill"], "0")

finish()
