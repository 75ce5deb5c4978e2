"""A room as matrix-nio has it: logs in, syncs, and prints the room's latest messages as JSON.

Asks for homeserver, user, password and room as one JSON object on standard input.
"""

import asyncio
import json
import sys

from nio import AsyncClient, LoginResponse, RoomMessage, SyncResponse


def shown(event: RoomMessage) -> dict[str, object]:
    return {
        "id": event.event_id,
        "sender": event.sender,
        # matrix-nio has a class for each kind of message that it understands.
        "kind": type(event).__name__,
        "body": getattr(event, "body", ""),
        "html": getattr(event, "formatted_body", None) or "",
        "content": event.source["content"],
    }


def expect(response: object, kind: type) -> None:
    if not isinstance(response, kind):
        sys.exit(f"matrix-nio: {response}")


async def read(session: dict[str, str]) -> list[dict[str, object]]:
    client = AsyncClient(session["homeserver"], session["user"])
    try:
        expect(await client.login(session["password"]), LoginResponse)
        synced = await client.sync(sync_filter={"room": {"timeline": {"limit": 100}}})
        expect(synced, SyncResponse)
        if session["room"] not in synced.rooms.join:
            sys.exit(f"matrix-nio: {session['room']} is none of {list(synced.rooms.join)}")
        events = synced.rooms.join[session["room"]].timeline.events
        return [shown(event) for event in events if isinstance(event, RoomMessage)]
    finally:
        await client.close()


print(json.dumps(asyncio.run(read(json.load(sys.stdin)))))
