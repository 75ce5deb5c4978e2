//! When too much waits to be read one by one: a digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use matrix_sdk::ruma::{OwnedEventId, OwnedTransactionId};
use time::OffsetDateTime;
use tokio::{
    task::yield_now,
    time::{Instant, timeout, timeout_at},
};
use tracing::{info, warn};

use super::{Relay, Verdict};
use crate::{
    conversation::{Conversation, Saying, Talk},
    digest::{self, Entry, Kind, Piece},
    failure::Failure,
    health::{Shown, State},
    origin::{Origin, Position, Span, StreamId},
    post::{Outcome, Part},
    render::{Rendered, Urgency, conversation::with_times, in_place_of, in_thread},
    retry::Outage,
    routing::Facts,
    source::Delivery,
};

/// While a storm goes on there is a digest this often at most.
const BETWEEN: Duration = Duration::from_secs(10);

/// So many conversations are in memory together, whatever the number of those in a digest.
const TOGETHER: usize = 256;

/// Of the alerts of a larger digest it is not asked whether the room still shows their first messages, which is a
/// request for each: the digest shows them all in any case.
const MOST_CONFIRMED: usize = 1000;

/// What waits and could not be read, as without the permission, is tried again after this time.
pub(super) const UNREADABLE: Duration = Duration::from_mins(10);

/// How much memory the messages of a digest and their texts may take, in bytes. What comes after that is for the next
/// one.
const MOST_WEIGHT: usize = 14 * 1024 * 1024;

/// A digest in the making.
struct Work<'a> {
    delivery: &'a Delivery,
    stream: &'a StreamId,
    span: Span,
    /// When the latest message of the span was published.
    published: OffsetDateTime,
    /// The messages of the span that the route takes.
    entries: Vec<Entry>,
    /// The same, as they came.
    originals: Vec<Delivery>,
    /// Whether phones buzzed for it. Nobody knows that of one that was begun before.
    has_pushed: bool,
    /// It was begun before, so that some of it may have been said.
    is_resumed: bool,
}

/// What of the messages that wait is for the room.
struct Taken {
    entries: Vec<Entry>,
    /// The same, as they came.
    originals: Vec<Delivery>,
    /// The last message that was looked at, whether it is for the room or not.
    last: u64,
    /// When the latest of those that were looked at was published; that need not be the last of them, if clocks were
    /// set.
    published: OffsetDateTime,
}

/// What a digest says last in each conversation, by the conversation's name.
type Talks = BTreeMap<String, Talk>;

impl Relay {
    /// Shows what waits, from `delivery` on, as a digest, if that is too much to be read one by one;
    /// or goes on with one that was not finished. `None`: the message is to be shown by itself.
    pub(super) async fn digest(
        &mut self,
        delivery: &Delivery,
        stream: &StreamId,
    ) -> Result<Option<Verdict>, Failure> {
        let route = Arc::clone(&self.route);
        let unfinished = self.rooms.post().unfinished_digest(stream, &route, delivery);
        if let Some(span) = self.source.keep_while(delivery, unfinished).await? {
            return Box::pin(self.finish(delivery, stream, span)).await;
        }
        let Some(limit) = route.digest_above else { return Ok(None) };
        // Which messages have no room of their own may be another question after a restart.
        if self.rooms.here().is_fallback {
            return Ok(None);
        }
        let may_be = delivery.published > self.rooms.here().too_few_until
            && self.no_digest_until.is_none_or(|until| Instant::now() >= until)
            && !self.rooms.post().has_any_of(delivery);
        if !may_be || self.source.waiting(delivery).await <= limit.get() {
            return Ok(None);
        }
        if !self.wait_for_more(delivery).await {
            return Ok(Some(Verdict::Unfinished));
        }
        self.poison.digest(true);
        let shown = Box::pin(self.begin(delivery, stream, limit.get())).await;
        self.poison.digest(false);
        shown
    }

    /// Begins a digest of what waits from `delivery` on, if there is as much as that for the room.
    async fn begin(
        &mut self,
        delivery: &Delivery,
        stream: &StreamId,
        limit: u64,
    ) -> Result<Option<Verdict>, Failure> {
        let backlog = self.source.backlog();
        let read = self.source.keep_while(delivery, backlog.read(delivery.sequence, None)).await;
        let originals = match read {
            Ok(originals) => originals,
            Err(reason) => {
                warn!(
                    "route {}: no digest, as what waits cannot be read: {reason}",
                    self.route.name
                );
                self.no_digest_until = Some(Instant::now() + UNREADABLE);
                return Ok(None);
            }
        };
        let taken = self.entries(delivery, stream, originals, true).await?;
        let Some(taken) = taken else { return Ok(Some(Verdict::Unfinished)) };
        let Taken { entries, originals, last, published } = taken;
        // What other routes take and what is for other rooms has been counted, too.
        if entries.len() as u64 <= limit {
            self.rooms.here().too_few_until = published;
            return Ok(None);
        }
        let span = Span { first: delivery.sequence, last, root: None };
        let (has_pushed, is_resumed) = (false, false);
        let work =
            Work { delivery, stream, span, published, entries, originals, has_pushed, is_resumed };
        self.show_digest(work).await
    }

    /// Goes on with a digest that a process before this one began.
    async fn finish(
        &mut self,
        delivery: &Delivery,
        stream: &StreamId,
        span: Span,
    ) -> Result<Option<Verdict>, Failure> {
        info!("route {}: going on with the digest up to {}", self.route.name, span.last);
        let backlog = self.source.backlog();
        let what = format!("route {}: reading what waits", self.route.name);
        let mut outage = Outage::of(what, self.health.spot());
        let stop = self.stop.clone();
        let originals = loop {
            let read = backlog.read(span.first, Some(span.last));
            match self.source.keep_while(delivery, read).await {
                Ok(originals) => break originals,
                Err(reason) => {
                    let pause = outage.failed(State::NatsUnreachable, &reason, None);
                    if timeout(pause, stop.cancelled()).await.is_ok() {
                        return Ok(Some(Verdict::Unfinished));
                    }
                }
            }
        };
        let taken = self.entries(delivery, stream, originals, false).await?;
        let Some(taken) = taken else { return Ok(Some(Verdict::Unfinished)) };
        let Taken { entries, originals, published, .. } = taken;
        let is_in_it = delivery.sequence <= span.last;
        let (has_pushed, is_resumed) = (false, true);
        let work =
            Work { delivery, stream, span, published, entries, originals, has_pushed, is_resumed };
        let verdict = self.show_digest(work).await?;
        // Its own messages may be gone from the stream.
        Ok(verdict.filter(|verdict| is_in_it || matches!(verdict, Verdict::Unfinished)))
    }

    /// Lets a storm that goes on add to the next digest. False if we were told to stop.
    async fn wait_for_more(&mut self, delivery: &Delivery) -> bool {
        let Some(last) = self.rooms.here().last_digest() else { return true };
        let (until, stop) = (last + BETWEEN, self.stop.clone());
        let waited = async { timeout_at(until, stop.cancelled()).await.is_err() };
        self.source.keep_while(delivery, waited).await
    }

    /// What of the messages is for the room, ready to be shown. What is held back is held back here. Those that there is
    /// no room for in memory are left for the next digest, unless this one was begun before. `None` if we were told to
    /// stop.
    async fn entries(
        &mut self,
        current: &Delivery,
        stream: &StreamId,
        read: Vec<Delivery>,
        may_hold: bool,
    ) -> Result<Option<Taken>, Failure> {
        let room = self.rooms.post().room().to_owned();
        let mut taken = Taken {
            entries: Vec::new(),
            originals: Vec::new(),
            last: current.sequence,
            published: current.published,
        };
        let mut weight = 0;
        for delivery in read {
            if may_hold && weight >= MOST_WEIGHT {
                break;
            }
            taken.last = taken.last.max(delivery.sequence);
            taken.published = taken.published.max(delivery.published);
            let target = self.route.rooms.of(delivery.subject());
            if !self.rooms.here().has(&target) {
                continue;
            }
            let decoded = self.decode(&delivery, stream);
            let (subject, original) = (delivery.subject(), delivery.payload());
            let headers = delivery.headers();
            if !self.routing.takes(&Facts { subject, headers, decoded: &decoded, original }) {
                continue;
            }
            // What is current was decided on before; what was begun before is not held any more.
            if delivery.sequence != current.sequence {
                self.health.beat();
                let held = self.is_held(current, &delivery, stream, &decoded, may_hold).await?;
                match held {
                    None => return Ok(None),
                    Some(true) => continue,
                    Some(false) => {}
                }
            }
            // There are other routes, and a watchdog.
            yield_now().await;
            let saying = Saying::of(&decoded.payload);
            // Of many, the HTML would take several times the memory of all else, and hardly any of it is shown.
            let rendered = self.render(&delivery, &decoded);
            let rendered = self.within_budget(current, &delivery, rendered).await;
            let rendered = rendered.without_html();
            let key = |saying: Saying| (saying.key(&self.route, &room, delivery.subject()), saying);
            let entry = Entry {
                sequence: delivery.sequence,
                published: delivery.published,
                said: delivery.said,
                head: self.renderer.head(delivery.said, delivery.subject()),
                rendered,
                kind: Kind::of(&decoded.payload),
                sources: self.renderer.sources(delivery.subject(), &decoded.payload),
                saying: saying.map(key),
            };
            weight += entry.weight() + delivery.weight;
            taken.entries.push(entry);
            taken.originals.push(delivery);
        }
        Ok(Some(taken))
    }

    /// `None`: the homeserver does not take the digest.
    async fn show_digest(&mut self, mut work: Work<'_>) -> Result<Option<Verdict>, Failure> {
        let name = self.route.name.clone();
        let root = match self.sum(&mut work).await? {
            Outcome::Posted(root) => root,
            Outcome::Refused(reason) => {
                warn!("route {name}: no digest, as the homeserver refuses it: {reason}");
                self.rooms.here().too_few_until = work.published;
                return Ok(None);
            }
            Outcome::Stopped => return Ok(Some(Verdict::Unfinished)),
        };
        work.span.root = root.clone();
        if let Some(root) = &root
            && !self.note_last_words(&work, root).await?
        {
            return Ok(Some(Verdict::Unfinished));
        }
        if !self.thread(&work).await? {
            return Ok(Some(Verdict::Unfinished));
        }
        let shown = work.entries.len();
        info!("route {name}: {shown} messages up to {} shown as a digest", work.span.last);
        for original in &work.originals {
            self.note_late(original);
        }
        let last = work.originals.last().unwrap_or(work.delivery);
        self.health.note(last, Shown::Digested(shown as u64));
        self.rooms.post().done_up_to(work.span.last, work.published);
        Ok(Some(Verdict::Done))
    }

    /// What was said before in some of the conversations that messages of the digest are part of, and what they say.
    /// `None` if we were told to stop before it was known.
    async fn talks(
        &mut self,
        work: &Work<'_>,
        last: &[(&str, &Entry)],
    ) -> Result<Option<Talks>, Failure> {
        let keys: Vec<String> = last.iter().map(|(key, _)| (*key).to_owned()).collect();
        let conversations = Arc::clone(&self.conversations);
        let replicas = self.source.replicas();
        let get = async {
            let mut conversations = conversations.lock().await;
            conversations.replicate(replicas);
            conversations.get_all(keys).await
        };
        let mut known = self.source.keep_while(work.delivery, get).await;
        let is_confirmed = work.entries.len() <= MOST_CONFIRMED;
        let mut talks = Talks::new();
        for (key, entry) in last {
            let Some((_, saying)) = entry.saying.clone() else { continue };
            let mut talk =
                self.talk_after(known.remove(*key), (*key).to_owned(), saying, entry.said);
            // Of what the room has not even begun with the bucket cannot know.
            if !work.is_resumed
                && talk.is_said(&self.digest_origin(work, entry.sequence, 0, entry.published))
            {
                talk = talk.anew(self.route.patience);
            }
            // What is quiet is so because a phone has buzzed for a message that people can still see.
            if is_confirmed && talk.is_quiet() {
                let Some(confirmed) = self.with_root(work.delivery, talk).await? else {
                    return Ok(None);
                };
                talk = confirmed;
            }
            talks.insert((*key).to_owned(), talk);
        }
        Ok(Some(talks))
    }

    /// The names of those conversations for which no phone has to buzz any more.
    /// `None` if we were told to stop before they were known.
    async fn known(&mut self, work: &Work<'_>) -> Result<Option<BTreeSet<String>>, Failure> {
        let last: Vec<_> = digest::last_words(&work.entries).into_iter().collect();
        let mut known = BTreeSet::new();
        for some in last.chunks(TOGETHER) {
            let Some(talks) = self.talks(work, some).await? else { return Ok(None) };
            known.extend(talks.into_iter().filter(|(_, talk)| !talk.pushes()).map(|(key, _)| key));
        }
        Ok(Some(known))
    }

    /// The event that sums up. It is as loud as what is new in it, and silent where it goes on with a storm.
    async fn sum(&mut self, work: &mut Work<'_>) -> Result<Outcome, Failure> {
        if let Some(root) = &work.span.root {
            return Ok(Outcome::Posted(Some(root.clone())));
        }
        let Some(known) = self.known(work).await? else { return Ok(Outcome::Stopped) };
        let urgency = digest::urgency(&work.entries, |key| known.contains(key));
        work.has_pushed = self.rooms.here().is_worth_a_push(urgency);
        let loudness = if work.has_pushed { urgency } else { Urgency::Routine };
        let content = self.renderer.digest(&work.entries, loudness).content(&self.route.mention);
        let published = work.entries.first().map_or(work.published, |entry| entry.published);
        let origin = self.digest_origin(work, work.span.first, digest::SUM, published);
        let posted = self.digest_event(work, &origin, Part::Text(content), "").await?;
        if let Outcome::Posted(_) = posted {
            self.rooms.here().note_digest(urgency, work.has_pushed);
        }
        Ok(posted)
    }

    /// Edits the first messages of what is not as it was or is over, and notes what goes on.
    async fn note_last_words(
        &mut self,
        work: &Work<'_>,
        root: &OwnedEventId,
    ) -> Result<bool, Failure> {
        let last: Vec<_> = digest::last_words(&work.entries).into_iter().collect();
        for some in last.chunks(TOGETHER) {
            if !self.note_some_last_words(work, root, some).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn note_some_last_words(
        &mut self,
        work: &Work<'_>,
        root: &OwnedEventId,
        last: &[(&str, &Entry)],
    ) -> Result<bool, Failure> {
        let Some(mut talks) = self.talks(work, last).await? else { return Ok(false) };
        let mut after: Vec<(String, Conversation)> = Vec::new();
        for (key, entry) in last.iter().copied() {
            let Some(talk) = talks.remove(key) else { continue };
            let origin = self.digest_origin(work, entry.sequence, 0, entry.published);
            if talk.is_said(&origin) {
                continue;
            }
            if talk.outdates_root() && !self.edit_root(work, key, &talk, entry).await? {
                return Ok(false);
            }
            let is_new = talk.before.is_none();
            let has_pushed = work.has_pushed && talk.pushes();
            let said = talk.after(Some(root.clone()), origin, has_pushed);
            after.extend(said.map(|(key, mut conversation)| {
                conversation.is_shared |= is_new || conversation.root == *root;
                (key, conversation)
            }));
        }
        let conversations = Arc::clone(&self.conversations);
        let put = async { conversations.lock().await.put_all(after).await };
        self.source.keep_while(work.delivery, put).await;
        Ok(true)
    }

    /// An edit that is posted twice is seen once, so it needs no origin.
    async fn edit_root(
        &mut self,
        work: &Work<'_>,
        key: &str,
        talk: &Talk,
        entry: &Entry,
    ) -> Result<bool, Failure> {
        let Some((before, original)) = talk.before.as_ref().zip(work.original(entry.sequence))
        else {
            return Ok(true);
        };
        let decoded = self.decode(original, work.stream);
        let decoded = with_times(&decoded, talk.begun(), talk.ended());
        let rendered = self.render(original, &decoded);
        let content = in_place_of(&before.root, &rendered.content(&self.route.mention));
        let origin = self.digest_origin(work, entry.sequence, 0, entry.published);
        let of_message = origin.transaction_id(self.rooms.post().room());
        let transaction: OwnedTransactionId = format!("{of_message}-{key}").into();
        let edit = self.rooms.post().aside(transaction, content);
        match self.source.keep_while(work.delivery, edit).await? {
            Outcome::Stopped => Ok(false),
            Outcome::Posted(_) => Ok(true),
            Outcome::Refused(reason) => {
                warn!(
                    "route {}: the first message of an alert is not edited: {reason}",
                    self.route.name
                );
                Ok(true)
            }
        }
    }

    /// All messages, in the thread. False if we were told to stop.
    async fn thread(&mut self, work: &Work<'_>) -> Result<bool, Failure> {
        let begin = Position { sequence: work.span.first, part: digest::SUM };
        let reached = self.rooms.post().position().map_or(begin, |reached| reached.max(begin));
        let pieces = digest::pieces(&work.entries, reached);
        let count = pieces.len();
        let mut shown = reached;
        for (index, piece) in pieces.into_iter().enumerate() {
            let is_last = index + 1 == count;
            let (sequence, part, number) = match piece {
                Piece::Text { up_to, text } => {
                    let content = Rendered::bare(&text);
                    let content = match &work.span.root {
                        Some(root) => in_thread(content, root),
                        None => content,
                    };
                    (up_to, Part::Text(content), digest::TEXT)
                }
                Piece::File { of, file } => {
                    (of, Part::File(file.clone(), work.span.root.clone()), digest::FILE)
                }
            };
            // What comes after the last message that the route takes is done with, too.
            let sequence = if is_last { work.span.last } else { sequence };
            let at = work.original(sequence).map_or(work.published, |original| original.published);
            let origin = self.digest_origin(work, sequence, number, at);
            let file = format!("{}-{sequence}", self.route.stream);
            match self.digest_event(work, &origin, part, &file).await? {
                Outcome::Posted(_) => {}
                Outcome::Stopped => return Ok(false),
                Outcome::Refused(reason) => {
                    if !self.bury_piece(work, shown, &origin, &reason).await? {
                        return Ok(false);
                    }
                }
            }
            shown = origin.position;
        }
        Ok(true)
    }

    /// Keeps the messages of a refused piece as dead letters, and says so in its place.
    async fn bury_piece(
        &mut self,
        work: &Work<'_>,
        after: Position,
        origin: &Origin,
        reason: &str,
    ) -> Result<bool, Failure> {
        let is_in = |delivery: &&Delivery| {
            let whole = Position { sequence: delivery.sequence, part: digest::TEXT };
            after < whole && delivery.sequence <= origin.position.sequence
        };
        let mut last = None;
        for delivery in work.originals.iter().filter(is_in) {
            if !self.keep_dead_letter(delivery, work.stream, reason).await {
                return Ok(false);
            }
            self.health.note(delivery, Shown::Dead);
            last = Some(delivery);
        }
        let Some(last) = last else { return Ok(true) };
        let kept_on = self.dead_letters.subject();
        let note = self.renderer.refused(last.sequence, last.subject(), reason, kept_on);
        let note = Part::Text(note.content(&[]));
        Ok(!matches!(self.digest_event(work, origin, note, "").await?, Outcome::Stopped))
    }

    fn digest_origin(
        &self,
        work: &Work<'_>,
        sequence: u64,
        part: u32,
        published: OffsetDateTime,
    ) -> Origin {
        let position = Position { sequence, part };
        let origin = Origin::new(work.stream.clone(), &self.route.name, position, published);
        origin.in_digest(work.span.clone())
    }

    async fn digest_event(
        &mut self,
        work: &Work<'_>,
        origin: &Origin,
        part: Part,
        file: &str,
    ) -> Result<Outcome, Failure> {
        let since = work.delivery.published;
        let posted = self.rooms.post().digest_part(origin, since, part, file);
        self.source.keep_while(work.delivery, posted).await
    }
}

impl Work<'_> {
    fn original(&self, sequence: u64) -> Option<&Delivery> {
        let found = self.originals.binary_search_by_key(&sequence, |delivery| delivery.sequence);
        found.ok().map(|index| &self.originals[index])
    }
}
