// A room as Element Web has it: told, again and again, to the server that this page came from.

import { ClientEvent, SyncState, createClient } from "matrix-js-sdk";

const { homeserver, userId, deviceId, accessToken, room } = window.session;

function shown(event) {
  const { msgtype, body, formatted_body } = event.getContent();
  const isEdited = event.replacingEvent() !== null && event.replacingEvent() !== undefined;
  return { id: event.getId(), sender: event.getSender(), msgtype, body, html: formatted_body ?? "", isEdited };
}

// What a timeline shows as messages: an edit is seen in what it edits.
function messages(events) {
  return events.filter((event) => event.getType() === "m.room.message" && !event.isRelation("m.replace"));
}

function view(room) {
  return messages(room.getLiveTimeline().getEvents()).map((event) => {
    const thread = event.getThread();
    const replies = thread ? messages(thread.events).filter((reply) => reply.getId() !== event.getId()) : [];
    return { ...shown(event), replies: replies.map(shown) };
  });
}

async function tell(what) {
  await fetch("/seen", { method: "POST", body: JSON.stringify(what) });
}

try {
  const client = createClient({ baseUrl: homeserver, userId, deviceId, accessToken });
  client.on(ClientEvent.Sync, (state, _, data) => {
    if (state === SyncState.Error) tell({ error: `sync: ${data?.error}` });
  });
  await client.startClient({ threadSupport: true, initialSyncLimit: 100 });
  setInterval(() => {
    const there = client.getRoom(room);
    if (there) tell({ messages: view(there) });
  }, 200);
} catch (error) {
  await tell({ error: String(error) });
}
