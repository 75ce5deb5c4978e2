# The functions that the scenarios share. The text of a test is this file, then the constants that differ, then the
# scenario. The test driver provides `server`, which has the bridge and the homeserver, `hub`, which has NATS (both may
# be the same machine), `start_all` and `subtest`.
#
# Nothing here asserts how long something takes: the machines may be emulated and twenty times slower than real ones.
import json
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

Json = dict[str, Any]

SERVER_NAME = "chat.example.com"
HOMESERVER = "http://127.0.0.1:6167"
NATS_OPTS = "--server nats://hub:4222"
"""The options with which the hub's `nats` connects."""
PATIENCE = 900
"""The seconds without any progress after which a test gives up."""
SEEDS: dict[str, str] = {}
"""The seeds for the test with nkeys: "right", which NATS accepts, and "foreign"."""
CHANGE = ""
"""The command for the test of provisioning that changes the declaration."""
CHANGE_IS_SWITCH = False
"""Whether that command also applies the change, as a switch to another generation does."""
LONG_RUN = 50_000
"""The number of messages of the long run."""

SECRETS = "/root/secrets"
"""The directory of the administrator's secrets, which only root can read."""
TUNNEL_CREDENTIALS = f"{SECRETS}/tunnel.json"
NO_EDGE = "TUNNEL_EDGE=127.0.0.1:1 TUNNEL_TRANSPORT_PROTOCOL=quic"
"""The environment of a cloudflared without Cloudflare: an edge that does not answer, because cloudflared ends when it
cannot even look for one, and QUIC, because it retries a TCP port that refuses it without a pause."""
HAS_CONDUIT = True
"""Whether the homeserver is Conduit; else it is Synapse, where accounts are created while it runs, and by hand."""
PASSWORDS = "/var/lib/nats-matrix-provision"
"""The directory of the generated passwords, which only root can read."""


class NoAnswer(Exception):
    """The homeserver did not answer, or the status of its answer is not 200."""


def wait_until(what: str, done: Callable[[], bool]) -> None:
    """Polls `done` every second.

    Raises AssertionError when it has been false for PATIENCE seconds.
    """
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, f"expected within {PATIENCE} s: {what}"
        time.sleep(1)


def write_secret(path: str, text: str) -> None:
    """Writes a file that only root can read."""
    server.succeed(f"umask 077; mkdir -p $(dirname {path}); printf %s {shlex.quote(text)} > {path}")


@contextmanager
def repeated(command: str) -> Iterator[Counter[str]]:
    """Repeats a command on the server while the body runs.

    After the body, the counter has how often each line was printed.
    """
    folder = "/root/repeated"
    write_secret(f"{folder}/command", command)
    loop = f"while [ -e {folder}/go ]; do bash {folder}/command; done | sort | uniq -c > {folder}/lines"
    server.succeed(
        f"rm -f {folder}/done && touch {folder}/go",
        f"setsid bash -c '{loop}; touch {folder}/done' </dev/null >/dev/null 2>&1 &",
    )
    lines: Counter[str] = Counter()
    yield lines
    server.succeed(f"rm {folder}/go")
    server.wait_until_succeeds(f"test -e {folder}/done", timeout=PATIENCE)
    for line in server.succeed(f"cat {folder}/lines").splitlines():
        count, _, text = line.strip().partition(" ")
        lines[text] = int(count)


# -- NATS --------------------------------------------------------------------------------------------------------


def nats(arguments: str) -> str:
    """Runs the NATS command line tool on the hub. Returns its output."""
    return hub.succeed(f"nats {NATS_OPTS} {arguments} 2>&1")


def make_stream() -> None:
    """Creates the stream OPS as soon as NATS is reachable."""
    hub.wait_for_unit("nats.service")
    hub.wait_until_succeeds(f"nats {NATS_OPTS} stream ls", timeout=PATIENCE)
    nats("stream add OPS --subjects 'ops.>' --defaults")


def wait_for_stream() -> None:
    """Waits until NATS has recovered the stream OPS, as after a reboot of its machine."""
    hub.wait_until_succeeds(f"nats {NATS_OPTS} stream ls | grep OPS", timeout=PATIENCE)


def publish(subject: str, payload: str, count: int = 1) -> None:
    """Publishes `count` messages; "{{Count}}" in the payload becomes 1, 2, ...

    Returns when the stream has acknowledged them all: a message lost after that was lost on the way to the room.
    """
    nats(f"pub --jetstream --quiet --count {count} {subject} {shlex.quote(payload)} >/dev/null")


# -- the homeserver ----------------------------------------------------------------------------------------------


def call(method: str, path: str, body: Json | None = None, token: str = "", patience: int = 120) -> tuple[int, Json]:
    """Sends a request to the homeserver on the server's loopback. Returns the status and the JSON of the answer.

    The status is 0 if there is no answer within `patience` seconds; the JSON is empty if the answer is not JSON.
    """
    command = ["curl", "--silent", "--max-time", str(patience), "--write-out", "\n%{http_code}"]
    command += ["--request", method, "--path-as-is", HOMESERVER + path]
    if body is not None:
        command += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    _, output = server.execute(shlex.join(command), timeout=patience + 60)
    text, _, status = output.rpartition("\n")
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    return int(status or 0), answer if isinstance(answer, dict) else {}


def wait_for_homeserver() -> None:
    """Waits until the homeserver answers."""
    server.wait_for_unit("nats-matrix-conduit.service")
    wait_until("an answer of the homeserver", lambda: call("GET", "/_matrix/client/versions")[0] == 200)


def provision() -> None:
    """Creates the declared accounts and rooms, as the administrator does after a change."""
    if HAS_CONDUIT:
        server.succeed("systemctl restart nats-matrix-provision", timeout=PATIENCE)
        wait_for_homeserver()
    else:
        print(server.succeed("nats-matrix provision", timeout=PATIENCE))


def generated_password(user: str) -> str:
    """Returns the password that was generated for a user or for the bridge."""
    file = "bridge-password" if user == "bridge" else f"passwords/{user}"
    return server.succeed(f"cat {PASSWORDS}/{file}").strip()


def room_id(alias: str) -> str:
    """Returns the room of an alias on this server.

    Raises NoAnswer when there is no such room.
    """
    path = f"/_matrix/client/v3/directory/room/{quote(f'#{alias}:{SERVER_NAME}')}"
    status, answer = call("GET", path)
    if status != 200:
        raise NoAnswer(f"{path}: {status} {answer}")
    return str(answer["room_id"])


@dataclass(frozen=True)
class Message:
    """A message in a room."""

    id: str
    sender: str
    msgtype: str
    body: str

    @property
    def said(self) -> str:
        """What was published as plain text: the body without the line with the subject below it."""
        text, _, last = self.body.rpartition("\n📍 ")
        return text if text and not any(character.isspace() for character in last) else self.body


def messages(events: list[Json]) -> list[Message]:
    """Returns the messages among a room's events."""
    return [
        Message(event["event_id"], event["sender"], event["content"]["msgtype"], event["content"]["body"])
        for event in events
        if event["type"] == "m.room.message"
    ]


class Phone:
    """A user's phone: it logs in, accepts the invitation into the room and keeps the messages there, in order."""

    def __init__(self, user: str, password: str) -> None:
        """Raises AssertionError if the homeserver refuses the login."""
        self.messages: list[Message] = []
        self.room = ""
        self.token = ""
        self._since = ""
        login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password,
        }
        status, answer = call("POST", "/_matrix/client/v3/login", login)
        assert status == 200, f"expected a login of {user}, seen: {status} {answer}"
        self.token = answer["access_token"]

    def accept_invitation(self) -> None:
        """Waits for an invitation into #ops and joins."""
        room = room_id("ops")

        def joined() -> bool:
            if room in self._sync(hold=5).get("rooms", {}).get("invite", {}):
                status, _ = self.request("POST", f"join/{quote(room)}", {})
                self.room = room if status == 200 else ""
            return self.room != ""

        wait_until("an invitation into the room", joined)

    def request(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
        """Sends a request to the client API as this user; see call()."""
        return call(method, f"/_matrix/client/v3/{path}", body, self.token)

    def read(self, hold: int = 5) -> bool:
        """Fetches new messages, for which the homeserver may wait `hold` seconds. Returns whether there were any."""
        before = len(self.messages)
        self._sync(hold)
        return len(self.messages) > before

    def wait_for(self, count: int) -> None:
        """Reads until there are `count` messages in all.

        Raises AssertionError when no other arrives for PATIENCE seconds.
        """
        end = time.monotonic() + PATIENCE
        while len(self.messages) < count:
            if self.read():
                end = time.monotonic() + PATIENCE
            last = [message.body for message in self.messages[-3:]]
            assert time.monotonic() < end, f"expected {count} messages, seen: {len(self.messages)}, at last {last}"

    def settle(self, quiet: int = 20) -> None:
        """Reads until nothing has arrived for `quiet` seconds, so that unexpected messages have time to arrive."""
        last = time.monotonic()
        while time.monotonic() < last + quiet:
            if self.read():
                last = time.monotonic()

    def history(self) -> list[Message]:
        """Returns all messages of the room that the homeserver has, oldest first.

        Raises NoAnswer.
        """
        return self._before("", set())

    def _sync(self, hold: int) -> Json:
        """Sends one /sync. While the homeserver is down it returns nothing new; the next one does."""
        query = {"timeout": str(hold * 1000), "filter": '{"room":{"timeline":{"limit":100}}}'}
        if self._since:
            query["since"] = self._since
        known = {message.id for message in self.messages}
        try:
            answer = self._get("sync", query)
            timeline = answer.get("rooms", {}).get("join", {}).get(self.room, {}).get("timeline", {})
            new = messages(timeline.get("events", []))
            if timeline.get("limited"):
                new = self._before(timeline["prev_batch"], known) + new
        except NoAnswer:
            time.sleep(1)
            return {}
        self._since = answer["next_batch"]
        for message in new:
            if message.id not in known:
                known.add(message.id)
                self.messages.append(message)
        return answer

    def _before(self, position: str, known: set[str]) -> list[Message]:
        """Returns the messages before a position ("": all), oldest first, back to a known one or the beginning."""
        found: list[Message] = []
        while True:
            query = {"dir": "b", "limit": "100"} | ({"from": position} if position else {})
            answer = self._get(f"rooms/{quote(self.room)}/messages", query)
            page = messages(answer["chunk"])
            new = [message for message in page if message.id not in known]
            found += new
            end = answer.get("end") or position
            if len(new) < len(page) or not answer["chunk"] or end == position:
                return found[::-1]
            position = end

    def _get(self, path: str, query: dict[str, str]) -> Json:
        status, answer = self.request("GET", f"{path}?{urlencode(query)}")
        if status != 200:
            raise NoAnswer(f"{path}: {status} {answer}")
        return answer


def prepare(files: dict[str, str] | None = None) -> Phone:
    """Starts the machines and everything on them. Returns the phone of alice, in the declared room.

    `files` are the administrator's secrets, by path; without any, no service needs a restart.
    """
    server.start(allow_reboot=True)
    start_all()
    make_stream()
    wait_for_homeserver()
    if HAS_CONDUIT:
        server.wait_for_unit("nats-matrix-provision.service")
    else:
        provision()
    for path, text in (files or {}).items():
        write_secret(path, text)
    if files or not HAS_CONDUIT:
        server.succeed("systemctl restart nats-matrix")
    server.wait_for_unit("nats-matrix.service")
    phone = Phone("alice", generated_password("alice"))
    phone.accept_invitation()
    return phone


def finish() -> None:
    """Shuts the machines down."""
    server.shutdown()
    hub.shutdown()


# -- services ----------------------------------------------------------------------------------------------------


def main_pid(unit: str) -> int:
    """Returns the process id of a unit's main process, 0 if there is none."""
    machine = hub if unit == "nats.service" else server
    return int(machine.get_unit_property(unit, "MainPID"))


def kill_main(unit: str, signal: str = "SIGKILL") -> None:
    """Kills the main process of a unit and waits until systemd has restarted the unit."""
    machine = hub if unit == "nats.service" else server
    killed = main_pid(unit)
    assert killed, f"expected {unit} to run, seen: no process"
    machine.succeed(f"systemctl kill --kill-whom=main --signal={signal} {unit}")
    wait_until(f"another process of {unit}", lambda: main_pid(unit) not in (0, killed))
    machine.wait_until_succeeds(f"systemctl is-active {unit}", timeout=PATIENCE)


def survive_hog(services: list[str]) -> dict[str, int]:
    """Runs a program in the slice that uses all memory: the kernel must kill it, and not these services.

    Returns the main processes of the services. Raises AssertionError if one did not run, or has another one afterwards.
    """
    # The test framework of NixOS turns every OOM kill into a kernel panic.
    server.succeed("echo 0 > /proc/sys/vm/panic_on_oom")
    before = {unit: main_pid(unit) for unit in services}
    assert 0 not in before.values(), f"expected all services to run, seen: {before}"
    server.succeed("systemd-run --unit=hog --slice=natsmatrix.slice --property=MemoryMax=infinity tail /dev/zero 2>&1")
    wait_until(
        "the hog to be killed for its memory",
        lambda: server.get_unit_property("hog.service", "Result") == "oom-kill",
    )
    assert_equal("the main processes", {unit: main_pid(unit) for unit in services}, before)
    server.succeed("systemctl reset-failed hog.service")
    return before


def journal(unit: str) -> list[str]:
    """Returns the lines that the bridge's program wrote in a unit since the machine started.

    The caller has to skip the old ones: `journalctl --after-cursor` of Debian 12 would skip the first new line, too.
    """
    server.succeed("journalctl --sync")
    return server.succeed(f"journalctl -b --no-pager -o cat -u {unit} -t nats-matrix || true").splitlines()


def check() -> tuple[bool, list[str]]:
    """Runs `nats-matrix check` with the bridge's credentials. Returns whether it succeeded, and its lines."""
    before = len(journal("nats-matrix-check"))
    code, _ = server.execute("systemctl start nats-matrix-check", timeout=PATIENCE)
    return code == 0, journal("nats-matrix-check")[before:]


def cgroup(unit: str, file: str) -> str:
    """Reads a file of a unit's control group, which shows what the kernel enforces."""
    group = server.get_unit_property(unit, "ControlGroup")
    return server.succeed(f"cat /sys/fs/cgroup{group}/{file}").strip()


# -- assertions --------------------------------------------------------------------------------------------------


def assert_equal(what: str, seen: object, expected: object) -> None:
    """Raises AssertionError, with both values, unless they are equal."""
    assert seen == expected, f"{what}: expected {expected!r}, seen {seen!r}"


def assert_each_once_in_order(where: str, seen: list[str], expected: list[str]) -> None:
    """Prints how many texts are lost, duplicated, out of order or unexpected.

    Raises AssertionError, with the first few of each, unless there are none.
    """
    place = {text: index for index, text in enumerate(expected)}
    times = Counter(seen)
    lost = [text for text in expected if text not in times]
    twice = sorted(text for text, count in times.items() if count > 1)
    foreign = [text for text in seen if text not in place]
    misordered: list[str] = []
    newest = -1
    for text in (text for text in seen if text in place):
        if place[text] < newest:
            misordered.append(text)
        newest = max(newest, place[text])
    counts = f"lost {len(lost)}, twice {len(twice)}, misordered {len(misordered)}, foreign {len(foreign)}"
    print(f"{where}: {len(seen)} of {len(expected)} messages: {counts}")
    details = f"lost {lost[:5]}, twice {twice[:5]}, misordered {misordered[:5]}, foreign {foreign[:5]}"
    assert seen == expected, f"{where}: expected {len(expected)} texts, each once, in order, seen: {details}"
