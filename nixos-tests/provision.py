# Everything that is declared exists: alice, who is an administrator, and a room to which she is invited and in which
# she can write. Then bob, a topic, and that people only read are declared, too; everything that alice has changed
# herself stays as it is.
#
# Its constants are CHANGE and CHANGE_IS_SWITCH.
import secrets

TOPIC = "What the servers say"
BRIDGE = f"@bridge:{SERVER_NAME}"
NEW_PASSWORD = secrets.token_urlsafe(24)
NEW_NAME = "Alice in person"


def state(phone: Phone, kind: str) -> Json:
    """Returns the content of a state event of the room; empty if there is none."""
    status, content = phone.request("GET", f"rooms/{quote(phone.room)}/state/{kind}")
    return content if status == 200 else {}


def write(phone: Phone, text: str) -> int:
    """Writes in the room. Returns the status of the answer."""
    content = {"msgtype": "m.text", "body": text}
    path = f"rooms/{quote(phone.room)}/send/m.room.message/{secrets.token_hex(8)}"
    return phone.request("PUT", path, content)[0]


def is_admin(phone: Phone) -> bool:
    """Whether this person is an administrator of the homeserver."""
    if HAS_CONDUIT:
        return phone.request("POST", f"join/{quote(f'#admins:{SERVER_NAME}')}", {})[0] == 200
    return call("GET", f"/_synapse/admin/v2/users/{quote(BRIDGE)}", token=phone.token)[0] == 200


def display_name(user: str) -> str:
    """Returns the display name."""
    _, answer = call("GET", f"/_matrix/client/v3/profile/{quote(f'@{user}:{SERVER_NAME}')}/displayname")
    return str(answer.get("displayname"))


alice = prepare()

with subtest("the people and the room are as they are declared"):
    assert is_admin(alice), "expected alice to be an administrator"
    assert_equal("the name of the room", state(alice, "m.room.name").get("name"), "Operations")
    assert_equal("the topic of the room", state(alice, "m.room.topic").get("topic"), None)
    publish("ops.report.server-01", "before the change")
    alice.wait_for(1)
    assert_equal("the answer when alice writes", write(alice, "I can write"), 200)

with subtest("root is told what to type into Element"):
    said = server.succeed("nats-matrix connect")
    print(said)
    for expected in (
        f"@alice:{SERVER_NAME}",
        f"{PASSWORDS}/passwords/alice",
        f"https://matrix.to/#/%23ops:{SERVER_NAME}",
    ):
        assert expected in said, f"expected '{expected}' in what connect prints"
    assert generated_password("alice") not in said, "expected no password in what connect prints"

with subtest("alice changes her name and password, and makes a room"):
    user = quote(f"@alice:{SERVER_NAME}")
    old = generated_password("alice")
    proof = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": old,
    }
    change = {"auth": proof, "new_password": NEW_PASSWORD, "logout_devices": False}
    status, answer = alice.request("POST", "account/password", change)
    assert_equal("the answer to a new password", status, 200)
    status, answer = alice.request("PUT", f"profile/{user}/displayname", {"displayname": NEW_NAME})
    assert_equal("the answer to a new name", status, 200)
    status, answer = alice.request("POST", "createRoom", {"name": "By hand"})
    assert_equal("the answer to a room", status, 200)
    by_hand = answer["room_id"]

with subtest("the declaration is changed, and applied"):
    print(server.succeed(CHANGE, timeout=PATIENCE))
    if not CHANGE_IS_SWITCH:
        provision()
    wait_for_homeserver()
    server.wait_for_unit("nats-matrix.service")
    bob = Phone("bob", generated_password("bob"))
    bob.accept_invitation()
    assert_equal("the room", bob.room, alice.room)
    assert_equal("the name of bob", display_name("bob"), "Bob")
    assert not is_admin(bob), "expected bob to be no administrator"
    assert_equal("the topic of the room", state(bob, "m.room.topic").get("topic"), TOPIC)
    assert_equal("the answer when bob writes", write(bob, "I cannot write"), 403)
    assert_equal("the answer when alice, an administrator, writes", write(alice, "I still can"), 200)

with subtest("what alice has changed is as she left it"):
    assert_equal("the name of alice", display_name("alice"), NEW_NAME)
    assert is_admin(alice), "expected alice to be an administrator"
    status, rooms = alice.request("GET", "joined_rooms")
    assert_equal("the answer to her old session", status, 200)
    assert {alice.room, by_hand} <= set(rooms["joined_rooms"]), f"expected her rooms, seen: {rooms}"
    Phone("alice", NEW_PASSWORD)
    status, _ = call("POST", "/_matrix/client/v3/login", proof)
    assert_equal("the answer to her old password", status, 403)

with subtest("a report arrives once"):
    publish("ops.report.server-01", "after the change")
    alice.wait_for(4)
    bob.settle()
    alice.settle()
    expected_bodies = ["before the change", "I can write", "I still can", "after the change"]
    assert_each_once_in_order("the room", [message.said for message in alice.history()], expected_bodies)

with subtest("made again, nothing changes"):
    before = server.succeed(f"find {PASSWORDS}/ -type f | sort | xargs sha256sum")
    provision()
    assert_equal("the passwords", server.succeed(f"find {PASSWORDS}/ -type f | sort | xargs sha256sum"), before)
    assert_equal("the room", room_id("ops"), alice.room)
    publish("ops.report.server-01", "at last")
    alice.wait_for(5)
    alice.settle()
    assert_each_once_in_order("the room", [message.said for message in alice.history()], [*expected_bodies, "at last"])

finish()
