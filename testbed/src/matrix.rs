//! A person with a phone: the other end of the bridge, as a reader sees it.
//!
//! Plain HTTP and JSON on purpose. The bridge talks to the homeserver through an SDK; a test that
//! looked through the same SDK would not notice what the SDK hides.

use std::{
    collections::HashSet,
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Client, Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::secrets;

/// The HTTP client of everything here.
///
/// It keeps no connection alive: one that was opened under the runtime of a test that has ended, or
/// to a homeserver that was killed since, would fail its next request.
pub(crate) fn http() -> &'static Client {
    static CLIENT: LazyLock<Client> = LazyLock::new(|| {
        Client::builder()
            .pool_max_idle_per_host(0)
            .no_proxy()
            .timeout(Duration::from_secs(90))
            .build()
            .expect("an HTTP client without TLS needs nothing that could be missing")
    });
    &CLIENT
}

/// The time after which a request is given up. A frozen homeserver never answers.
const SLOW: Duration = Duration::from_secs(20);

/// A logged-in account.
#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    /// The URL through which this account reaches its homeserver.
    #[serde(skip)]
    pub homeserver: String,
    /// The password that it logged in with.
    #[serde(skip)]
    pub password: String,
    /// Such as `@alice:testbed.localhost`.
    pub user_id: String,
    /// The device that the login made.
    pub device_id: String,
    /// The device's access token.
    pub access_token: String,
}

/// An event of a room's timeline.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Such as `$abc`.
    pub event_id: String,
    /// The user id of who sent it.
    pub sender: String,
    /// Milliseconds since 1970 by the homeserver's clock.
    pub origin_server_ts: u64,
    /// The event type, such as `m.room.message`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The state key, which only state events have.
    pub state_key: Option<String>,
    /// Its content, as it was sent.
    pub content: Value,
}

impl Event {
    /// Whether it is an `m.room.message`.
    pub fn is_message(&self) -> bool {
        self.kind == "m.room.message"
    }

    /// The plain text, or "" if there is none.
    pub fn body(&self) -> &str {
        self.text("body")
    }

    /// The plain text of a message that was published as text, without the subject that the bridge shows with it.
    pub fn said(&self) -> &str {
        let body = self.body();
        if let Some((_, value)) = body.strip_prefix("📨 ").and_then(|line| line.split_once(": "))
        {
            return value;
        }
        match body.rsplit_once("\n📍 ") {
            Some((said, subject)) if !subject.contains(char::is_whitespace) => said,
            _ => body,
        }
    }

    /// The HTML, or "" if there is none.
    pub fn html(&self) -> &str {
        self.text("formatted_body")
    }

    /// Such as `m.text`.
    pub fn msgtype(&self) -> &str {
        self.text("msgtype")
    }

    fn text(&self, key: &str) -> &str {
        self.content[key].as_str().unwrap_or_default()
    }
}

/// The counts that a client shows beside a room's name.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Unread {
    /// Messages that notify.
    #[serde(rename = "notification_count", default)]
    pub notifications: u64,
    /// Messages that mention this account.
    #[serde(rename = "highlight_count", default)]
    pub highlights: u64,
}

impl Account {
    /// Logs in with a password, as a new device.
    pub async fn login(homeserver: &str, user: &str, password: &str) -> Result<Self> {
        let body = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user },
            "password": password,
        });
        let answer = Api::anonymous(homeserver).post(&["login"], body).await?;
        Self::from_answer(homeserver, password, answer)
    }

    /// Tries to register as a stranger would: the status of the answer, or `None` if nobody answers.
    pub async fn try_to_register(homeserver: &str, user: &str) -> Option<u16> {
        let body = json!({
            "username": user,
            "password": "a stranger's",
            "auth": { "type": "m.login.dummy" },
        });
        let api = Api::anonymous(homeserver);
        let answer = api.request(Method::POST, &["register"], &[], Some(&body)).await;
        answer.ok().map(|answer| answer.status)
    }

    /// Registers an account, in whichever way the homeserver lets people in.
    pub(crate) async fn register(
        homeserver: &str,
        user: &str,
        password: &str,
        token: &str,
    ) -> Result<Self> {
        let api = Api::anonymous(homeserver);
        let mut body = json!({ "username": user, "password": password });
        // The first answer opens a session and names what it takes, such as a registration token.
        let mut answer = api.request(Method::POST, &["register"], &[], Some(&body)).await?;
        for _ in 0..3 {
            if answer.status != 401 {
                break;
            }
            let stage = next_stage(&answer.body)?;
            body["auth"] = json!({ "type": stage, "session": answer.body["session"] });
            if stage == "m.login.registration_token" {
                body["auth"]["token"] = token.into();
            }
            answer = api.request(Method::POST, &["register"], &[], Some(&body)).await?;
        }
        Self::from_answer(homeserver, password, answer.ok()?)
    }

    fn from_answer(homeserver: &str, password: &str, answer: Value) -> Result<Self> {
        let account: Self =
            serde_json::from_value(answer).context("the homeserver's answer to a login")?;
        secrets::note(&format!("the password of {}", account.user_id), password);
        secrets::note(&format!("an access token of {}", account.user_id), &account.access_token);
        Ok(Self { homeserver: homeserver.to_owned(), password: password.to_owned(), ..account })
    }

    /// The same account, reached through another address, such as a fault proxy's.
    pub fn through(&self, homeserver: &str) -> Self {
        Self { homeserver: homeserver.to_owned(), ..self.clone() }
    }

    /// The user id's part before the colon, without the `@`.
    pub fn localpart(&self) -> &str {
        let name = self.user_id.trim_start_matches('@');
        name.split_once(':').map_or(name, |(localpart, _)| localpart)
    }

    /// Makes a room as the client-server API's `createRoom` takes it, and returns its id.
    pub async fn create_room(&self, room: Value) -> Result<String> {
        let answer = self.api().post(&["createRoom"], room).await?;
        string(&answer, "room_id")
    }

    /// Joins a room by id or alias, and returns its id.
    pub async fn join(&self, room: &str) -> Result<String> {
        // For a moment after a room was made, a busy Synapse may not know that it takes part in it, and then looks for
        // another server that does.
        let mut attempts = 1;
        loop {
            match self.api().post(&["join", room], json!({})).await {
                Err(error) if attempts < 5 && error.to_string().contains("no servers") => {
                    attempts += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                answer => return string(&answer?, "room_id"),
            }
        }
    }

    /// Leaves a room.
    pub async fn leave(&self, room: &str) -> Result<()> {
        self.api().post(&["rooms", room, "leave"], json!({})).await?;
        Ok(())
    }

    /// Invites a user to a room.
    pub async fn invite(&self, room: &str, user: &str) -> Result<()> {
        let body = json!({ "user_id": user });
        self.api().post(&["rooms", room, "invite"], body).await?;
        Ok(())
    }

    /// Removes a user from a room; they may come back.
    pub async fn kick(&self, room: &str, user: &str) -> Result<()> {
        let body = json!({ "user_id": user });
        self.api().post(&["rooms", room, "kick"], body).await?;
        Ok(())
    }

    /// Removes a user from a room for good.
    pub async fn ban(&self, room: &str, user: &str) -> Result<()> {
        let body = json!({ "user_id": user });
        self.api().post(&["rooms", room, "ban"], body).await?;
        Ok(())
    }

    /// Ends a ban.
    pub async fn unban(&self, room: &str, user: &str) -> Result<()> {
        let body = json!({ "user_id": user });
        self.api().post(&["rooms", room, "unban"], body).await?;
        Ok(())
    }

    /// Gives a user of the room another power level.
    pub async fn set_power_level(&self, room: &str, user: &str, level: i64) -> Result<()> {
        let mut levels = self
            .state(room, "m.room.power_levels", "")
            .await?
            .context("the room has no power levels")?;
        levels["users"][user] = level.into();
        self.set_state(room, "m.room.power_levels", "", levels).await
    }

    /// The content of a state event, if the room has one.
    pub async fn state(&self, room: &str, kind: &str, key: &str) -> Result<Option<Value>> {
        let path = ["rooms", room, "state", kind, key];
        let answer = self.api().request(Method::GET, &path, &[], None).await?;
        match answer.status {
            404 => Ok(None),
            _ => answer.ok().map(Some),
        }
    }

    /// Sets a state event.
    pub async fn set_state(&self, room: &str, kind: &str, key: &str, content: Value) -> Result<()> {
        let path = ["rooms", room, "state", kind, key];
        let answer = self.api().request(Method::PUT, &path, &[], Some(&content)).await?;
        answer.ok()?;
        Ok(())
    }

    /// Sends an event and returns its id. The caller chooses the transaction id.
    pub async fn send(&self, room: &str, kind: &str, txn: &str, content: Value) -> Result<String> {
        let path = ["rooms", room, "send", kind, txn];
        let answer = self.api().request(Method::PUT, &path, &[], Some(&content)).await?;
        string(&answer.ok()?, "event_id")
    }

    /// Removes the content of an event.
    pub async fn redact(&self, room: &str, event: &str) -> Result<()> {
        // Synapse knows a request again by its transaction alone.
        let transaction = format!("redact-{event}");
        let path = ["rooms", room, "redact", event, &transaction];
        let answer = self.api().request(Method::PUT, &path, &[], Some(&json!({}))).await?;
        answer.ok()?;
        Ok(())
    }

    /// The id behind a room alias, if there is such an alias.
    pub async fn resolve_alias(&self, alias: &str) -> Result<Option<String>> {
        let path = ["directory", "room", alias];
        let answer = self.api().request(Method::GET, &path, &[], None).await?;
        match answer.status {
            404 => Ok(None),
            _ => string(&answer.ok()?, "room_id").map(Some),
        }
    }

    /// Gives an alias to a room.
    pub async fn set_alias(&self, alias: &str, room: &str) -> Result<()> {
        let (path, body) = (["directory", "room", alias], json!({ "room_id": room }));
        self.api().request(Method::PUT, &path, &[], Some(&body)).await?.ok()?;
        Ok(())
    }

    /// Takes an alias away from its room.
    pub async fn remove_alias(&self, alias: &str) -> Result<()> {
        let path = ["directory", "room", alias];
        self.api().request(Method::DELETE, &path, &[], None).await?.ok()?;
        Ok(())
    }

    /// The ids of the rooms this user is in.
    pub async fn joined_rooms(&self) -> Result<Vec<String>> {
        let answer = self.api().get(&["joined_rooms"], &[]).await?;
        Ok(serde_json::from_value(answer["joined_rooms"].clone())?)
    }

    /// Whether this user may `GET` a path that is for the homeserver's administrators alone.
    pub async fn may_get(&self, path: &str) -> Result<bool> {
        let url = format!("{}{path}", self.homeserver);
        let response = http().get(url).bearer_auth(&self.access_token).send().await?;
        Ok(response.status().is_success())
    }

    /// The name that others see.
    pub async fn display_name(&self) -> Result<String> {
        let path = ["profile", &self.user_id, "displayname"];
        string(&self.api().get(&path, &[]).await?, "displayname")
    }

    /// Changes the name that others see.
    pub async fn set_display_name(&self, name: &str) -> Result<()> {
        let path = ["profile", &self.user_id, "displayname"];
        let body = json!({ "displayname": name });
        self.api().request(Method::PUT, &path, &[], Some(&body)).await?.ok()?;
        Ok(())
    }

    /// Has the homeserver tell an HTTP push gateway what this user's phone would be woken for.
    pub async fn set_pusher(&self, gateway: &str) -> Result<()> {
        let body = json!({
            "kind": "http",
            "app_id": "org.example.phone",
            // One phone, one user: a homeserver forgets others of the same key.
            "pushkey": self.user_id,
            "app_display_name": "Phone",
            "device_display_name": "phone",
            "lang": "en",
            "data": { "url": gateway },
        });
        self.api().post(&["pushers", "set"], body).await?;
        Ok(())
    }

    /// The ids of this user's devices.
    pub async fn devices(&self) -> Result<Vec<String>> {
        let answer = self.api().get(&["devices"], &[]).await?;
        let devices = answer["devices"].as_array().context("no list of devices")?;
        devices.iter().map(|device| string(device, "device_id")).collect()
    }

    /// Logs one of this user's devices out: its access token is void from then on.
    pub async fn logout_device(&self, device: &str) -> Result<()> {
        let path = ["devices", device];
        let mut body = json!({});
        let answer = self.api().request(Method::DELETE, &path, &[], Some(&body)).await?;
        if answer.status != 401 {
            answer.ok()?;
            return Ok(());
        }
        body["auth"] = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": self.user_id },
            "password": self.password,
            "session": answer.body["session"],
        });
        let answer = self.api().request(Method::DELETE, &path, &[], Some(&body)).await?;
        answer.ok()?;
        Ok(())
    }

    /// Logs every device of this user out but the one that asks.
    pub async fn logout_others(&self) -> Result<()> {
        for device in self.devices().await? {
            if device != self.device_id {
                self.logout_device(&device).await?;
            }
        }
        Ok(())
    }

    /// Logs every device of this user out, this one too.
    pub async fn logout_all(&self) -> Result<()> {
        // One by one, since Conduit 0.11 keeps `/logout/all` to application services.
        self.logout_others().await?;
        self.logout_device(&self.device_id).await
    }

    /// Changes the password; devices stay logged in.
    pub async fn change_password(&mut self, new: &str) -> Result<()> {
        let path = ["account", "password"];
        let mut body = json!({ "new_password": new, "logout_devices": false });
        let answer = self.api().request(Method::POST, &path, &[], Some(&body)).await?;
        body["auth"] = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": self.user_id },
            "password": self.password,
            "session": answer.body["session"],
        });
        self.api().post(&path, body).await?;
        new.clone_into(&mut self.password);
        Ok(())
    }

    /// The bytes behind an `mxc://` URI.
    pub async fn download(&self, mxc: &str) -> Result<Vec<u8>> {
        let path = mxc.strip_prefix("mxc://").context("not an mxc:// URI")?;
        let (server, media) = path.split_once('/').context("an mxc:// URI without a media id")?;
        let api = self.api();
        // Media moved behind authentication in Matrix 1.11.
        let url = api.url(&["client", "v1", "media", "download", server, media])?;
        let response = http().get(url).bearer_auth(&self.access_token).send().await?;
        Ok(response.error_for_status()?.bytes().await?.to_vec())
    }

    /// Counts of what the room shows as unread.
    pub async fn unread(&self, room: &str) -> Result<Unread> {
        let answer = self.first_sync(room).await?;
        let counts = &answer["rooms"]["join"][room]["unread_notifications"];
        match counts {
            Value::Null => Ok(Unread::default()),
            counts => Ok(Unread::deserialize(counts)?),
        }
    }

    /// Every event of the room, state and messages, from its creation to now.
    pub async fn timeline(&self, room: &str) -> Result<Vec<Event>> {
        let mut reader = Reader::new(self, room);
        reader.sync(Duration::ZERO).await?;
        Ok(reader.timeline)
    }

    /// Every `m.room.message` of the room, oldest first.
    pub async fn messages(&self, room: &str) -> Result<Vec<Event>> {
        let mut events = self.timeline(room).await?;
        events.retain(Event::is_message);
        Ok(events)
    }

    /// The latest `m.room.message` of the room, if it is among the last few events.
    pub async fn latest_message(&self, room: &str) -> Result<Option<Event>> {
        let query = [("dir", "b"), ("limit", "5")];
        let page = self.api().get(&["rooms", room, "messages"], &query).await?;
        let events: Vec<Event> = serde_json::from_value(page["chunk"].clone())?;
        Ok(events.into_iter().find(Event::is_message))
    }

    /// Follows the room, beginning with what it holds now.
    pub async fn reader(&self, room: &str) -> Result<Reader> {
        let mut reader = Reader::new(self, room);
        reader.sync(Duration::ZERO).await?;
        Ok(reader)
    }

    /// A `/sync` that knows nothing yet, for one room.
    async fn first_sync(&self, room: &str) -> Result<Value> {
        let filter = room_filter(room);
        let answer = self.api().get(&["sync"], &[("filter", &filter)]).await?;
        // Conduit keeps the last answer of a device for when it asks the same again, however much
        // later, and first syncs all ask the same. Another question makes it forget.
        let since = string(&answer, "next_batch")?;
        let query = [("filter", filter.as_str()), ("since", &since), ("timeout", "0")];
        self.api().get(&["sync"], &query).await?;
        Ok(answer)
    }

    fn api(&self) -> Api<'_> {
        Api { homeserver: &self.homeserver, token: Some(&self.access_token) }
    }
}

/// Follows a room through `/sync`, like a client that is open in front of someone.
///
/// It syncs while one of its methods waits, and only then. A homeserver that is down is waited for.
#[derive(Debug)]
pub struct Reader {
    account: Account,
    room: String,
    since: Option<String>,
    seen: HashSet<String>,
    timeline: Vec<Event>,
    messages: Vec<Event>,
}

impl Reader {
    fn new(account: &Account, room: &str) -> Self {
        Self {
            account: account.clone(),
            room: room.to_owned(),
            since: None,
            seen: HashSet::new(),
            timeline: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// The `m.room.message` events so far, in the order of the room.
    pub fn events(&self) -> &[Event] {
        &self.messages
    }

    /// The bodies of [`Self::events`].
    pub fn bodies(&self) -> Vec<&str> {
        self.messages.iter().map(Event::body).collect()
    }

    /// Waits until at least `count` messages were seen.
    pub async fn wait_for(&mut self, count: usize, patience: Duration) -> Result<&[Event]> {
        let expected = format!("{count} messages");
        self.wait(&expected, patience, |events| events.len() >= count).await
    }

    /// Waits until `predicate` holds for the messages so far.
    pub async fn wait_until(
        &mut self,
        predicate: impl FnMut(&[Event]) -> bool,
        patience: Duration,
    ) -> Result<&[Event]> {
        self.wait("what was waited for", patience, predicate).await
    }

    /// Reads on until no message came for the time `quiet`: what should not come has had its chance.
    pub async fn settle(&mut self, quiet: Duration) -> Result<&[Event]> {
        let mut last = Instant::now();
        while last.elapsed() < quiet {
            let before = self.messages.len();
            self.sync(quiet.saturating_sub(last.elapsed())).await?;
            if self.messages.len() > before {
                last = Instant::now();
            }
        }
        Ok(&self.messages)
    }

    async fn wait(
        &mut self,
        expected: &str,
        patience: Duration,
        mut predicate: impl FnMut(&[Event]) -> bool,
    ) -> Result<&[Event]> {
        let deadline = Instant::now() + patience;
        let mut problem = None;
        while !predicate(&self.messages) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let bodies = self.bodies();
                let last = bodies[bodies.len().saturating_sub(3)..].join("\n---\n");
                let problem = problem.map_or(String::new(), |error| format!("; {error:#}"));
                bail!(
                    "{expected} not seen in {} within {patience:?}: {} are there{problem}; the last:\n{last}",
                    self.room,
                    self.messages.len(),
                );
            }
            let held = left.min(Duration::from_secs(10));
            match timeout(held + SLOW, self.sync(held)).await {
                Ok(Ok(())) => problem = None,
                Ok(Err(error)) => {
                    problem = Some(error);
                    sleep(Duration::from_millis(100)).await;
                }
                Err(_) => problem = Some(anyhow!("the homeserver does not answer")),
            }
        }
        Ok(&self.messages)
    }

    /// One `/sync`, which the homeserver holds for up to `wait` if there is nothing new.
    async fn sync(&mut self, wait: Duration) -> Result<()> {
        let answer = match &self.since {
            None => self.account.first_sync(&self.room).await?,
            Some(since) => {
                let filter = room_filter(&self.room);
                let wait = wait.as_millis().to_string();
                let query = [("filter", filter.as_str()), ("since", since), ("timeout", &wait)];
                self.account.api().get(&["sync"], &query).await?
            }
        };
        let timeline = &answer["rooms"]["join"][&self.room]["timeline"];

        let mut new = self.unseen(&timeline["events"])?;
        // The homeserver shows the latest few; what lies before them is fetched backwards, until
        // a page of nothing new or the room's beginning.
        let gap = timeline["limited"] == true || self.since.is_none();
        if let (true, Some(from)) = (gap, timeline["prev_batch"].as_str()) {
            let mut from = from.to_owned();
            loop {
                let query = [("dir", "b"), ("from", &from), ("limit", "500")];
                let path = ["rooms", &self.room, "messages"];
                let page = self.account.api().get(&path, &query).await?;
                let mut older = self.unseen(&page["chunk"])?;
                // Homeservers do not order what was sent at the same time in the same way everywhere.
                let reached_known = older.is_empty();
                older.reverse();
                older.append(&mut new);
                new = older;
                match page["end"].as_str() {
                    Some(end) if !reached_known && end != from => {
                        end.clone_into(&mut from);
                    }
                    _ => break,
                }
            }
        }

        // Only now, so that a sync that failed halfway is repeated whole.
        self.since = Some(string(&answer, "next_batch")?);
        for event in new {
            if self.seen.insert(event.event_id.clone()) {
                if event.is_message() {
                    self.messages.push(event.clone());
                }
                self.timeline.push(event);
            }
        }
        Ok(())
    }

    fn unseen(&self, events: &Value) -> Result<Vec<Event>> {
        let Some(events) = events.as_array() else {
            return Ok(Vec::new());
        };
        let mut unseen = Vec::new();
        for event in events {
            let event = Event::deserialize(event).context("an event of the timeline")?;
            if !self.seen.contains(&event.event_id) {
                unseen.push(event);
            }
        }
        Ok(unseen)
    }
}

/// A sync filter for one room and nothing else.
fn room_filter(room: &str) -> String {
    json!({
        "account_data": { "types": [] },
        "presence": { "types": [] },
        "room": {
            "rooms": [room],
            "account_data": { "types": [] },
            "ephemeral": { "types": [] },
            "state": { "types": [] },
            "timeline": { "limit": 100 },
        },
    })
    .to_string()
}

/// The next stage that an unfinished registration asks for, of its simplest flow.
fn next_stage(answer: &Value) -> Result<String> {
    let done: HashSet<&Value> = answer["completed"].as_array().into_iter().flatten().collect();
    let known = ["m.login.registration_token", "m.login.dummy"];
    let flows = answer["flows"].as_array().into_iter().flatten();
    flows
        .map(|flow| flow["stages"].as_array().into_iter().flatten().collect::<Vec<_>>())
        .filter(|stages| stages.iter().all(|stage| known.iter().any(|name| *stage == name)))
        .find_map(|stages| stages.into_iter().find(|stage| !done.contains(stage)))
        .and_then(|stage| Some(stage.as_str()?.to_owned()))
        .with_context(|| {
            format!("the homeserver wants more of a registration than we can do: {answer}")
        })
}

fn string(answer: &Value, key: &str) -> Result<String> {
    let text = answer[key].as_str();
    Ok(text.with_context(|| format!("the homeserver's answer has no {key}: {answer}"))?.to_owned())
}

/// The client-server API of a homeserver.
struct Api<'a> {
    homeserver: &'a str,
    token: Option<&'a str>,
}

/// An answer of any status.
struct Answer {
    request: String,
    status: u16,
    body: Value,
}

impl Answer {
    fn ok(self) -> Result<Value> {
        match self.status {
            200 => Ok(self.body),
            status => bail!("{}: {status} {}", self.request, self.body),
        }
    }
}

impl<'a> Api<'a> {
    fn anonymous(homeserver: &'a str) -> Self {
        Self { homeserver, token: None }
    }

    async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value> {
        self.request(Method::GET, path, query, None).await?.ok()
    }

    async fn post(&self, path: &[&str], body: Value) -> Result<Value> {
        self.request(Method::POST, path, &[], Some(&body)).await?.ok()
    }

    async fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut url = self.url(&[&["client", "v3"], path].concat())?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let name = format!("{method} {}", url.path());
        let mut request = http().request(method, url);
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| name.clone())?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.with_context(|| name.clone())?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        Ok(Answer { request: name, status, body })
    }

    /// The URL of a path below `/_matrix`, its parts escaped.
    fn url(&self, path: &[&str]) -> Result<Url> {
        let mut url = Url::parse(self.homeserver)
            .with_context(|| format!("{} is not a URL", self.homeserver))?;
        url.path_segments_mut()
            .ok()
            .with_context(|| format!("{} cannot have a path", self.homeserver))?
            .pop_if_empty()
            .push("_matrix")
            .extend(path);
        Ok(url)
    }
}
