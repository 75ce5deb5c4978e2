//! Posts a digest: the event that sums up, the alerts that it changes, and each message in its thread.

use std::collections::BTreeSet;

use jiff::Timestamp;
use matrix_sdk::ruma::{OwnedEventId, OwnedTransactionId};
use tracing::{info, warn};

use crate::{
    alerts::{AlertThread, AlertUpdate, Posted, ThreadState},
    message::{Origin, Payload, Position, Span, Urgency},
    pipeline::{
        bury::put_away,
        digest::gather::Gathered,
        outcome::{Halted, NotPosted},
        parts::Part,
        show::people,
        state::State,
        threads::ByName,
    },
    render::{
        Entry, Piece, Rendered, ThreadUpdate, content::in_thread, conversation::with_times,
        digest_entries,
    },
    source::{Delivery, Upstream},
    status::{DeadFor, Shown},
};

/// The number of alert threads that are in memory at the same time, however many a digest changes.
const TOGETHER: usize = 256;

/// In a digest with more alerts than this, the room is not asked whether it still shows each alert's first message,
/// which takes one request each: the digest shows them all in any case.
const MOST_CONFIRMED: usize = 1000;

/// The name of an alert, its last message and the last update in it.
type Last<'a> = (&'a str, (&'a Entry, &'a ThreadUpdate));

/// A digest while it is being posted.
pub(super) struct Digest<'a> {
    delivery: &'a Delivery,
    upstream: &'a Upstream,
    span: Span,
    /// The time when the latest message of the span was published.
    published: Timestamp,
    /// The messages of the span that the route takes.
    entries: Vec<Entry>,
    /// The same messages as they were delivered.
    originals: Vec<Delivery>,
    /// The messages of the span that are for other rooms.
    elsewhere: Vec<u64>,
    /// Whether phones buzzed for the digest. This is not known of one that was begun before.
    has_pushed: bool,
    /// Whether the digest was begun before, so that some of it may have been shown.
    is_resumed: bool,
}

impl<'a> Digest<'a> {
    pub(super) fn new(
        delivery: &'a Delivery,
        upstream: &'a Upstream,
        span: Span,
        gathered: Gathered,
        is_resumed: bool,
    ) -> Self {
        let Gathered { entries, originals, elsewhere, published, .. } = gathered;
        Self {
            delivery,
            upstream,
            span,
            published,
            entries,
            originals,
            elsewhere,
            has_pushed: false,
            is_resumed,
        }
    }

    /// Posts all of the digest. Returns false if the homeserver does not take it.
    pub(super) async fn post(mut self, state: &mut State) -> Result<bool, Halted> {
        let root = match self.sum(state).await {
            Ok(root) => root,
            Err(error) => {
                let reason = error.refusal()?;
                warn!("no digest, as the homeserver refuses it: {reason}");
                state.rooms.here().too_few_until = self.published;
                return Ok(false);
            }
        };
        self.span.root.clone_from(&root);
        if let Some(root) = &root {
            let _editing = state.threads.begin_editing().await;
            self.note_last_words(state, root).await?;
        }
        self.thread(state).await?;
        let shown = self.entries.len();
        info!("{shown} messages up to {} shown as a digest", self.span.last);
        for original in &self.originals {
            state.note_late(original, self.upstream);
        }
        let last = self.originals.last().unwrap_or(self.delivery);
        state.note(last, Shown::Digested(shown as u64));
        state.rooms.sender().done_up_to(self.span.last, self.published);
        state.backlog.done(self.span.last, &self.elsewhere);
        Ok(true)
    }

    /// Posts the event that sums up. It is as loud as the news in it, and silent if a storm merely continues.
    async fn sum(&mut self, state: &mut State) -> Result<Option<OwnedEventId>, NotPosted> {
        if let Some(root) = &self.span.root {
            return Ok(Some(root.clone()));
        }
        let known = self.known(state).await?;
        let news = digest_entries::news(&self.entries, |key| known.contains(key));
        let storms = &state.rooms.here().storms;
        self.has_pushed = storms.are_worth_a_push(&news);
        let loudness = if self.has_pushed { news.urgency } else { Urgency::Routine };
        let heard = storms.heard().into_iter().map(str::to_owned).collect();
        let rendered = state.composer.renderer.digest(&self.entries, &heard, loudness);
        let content = rendered.content(&state.route.mention);
        let published = self.entries.first().map_or(self.published, |entry| entry.published);
        let origin = self.origin(state, self.span.first, digest_entries::SUM, published);
        let posted = self.event(state, &origin, Part::Text(content), "").await?;
        state.rooms.here().storms.note(&news, self.has_pushed);
        Ok(posted)
    }

    /// Returns the names of the alerts for which no phone has to buzz any more.
    async fn known(&self, state: &mut State) -> Result<BTreeSet<String>, Halted> {
        let last: Vec<_> = digest_entries::last_words(&self.entries).into_iter().collect();
        let mut known = BTreeSet::new();
        for some in last.chunks(TOGETHER) {
            let threads = self.threads(state, some).await?;
            let quiet = threads.into_iter().filter(|(_, thread)| !thread.pushes());
            known.extend(quiet.map(|(name, _)| name));
        }
        Ok(known)
    }

    /// Returns some of the threads that messages of the digest belong to, with the last update of each, by the names of the
    /// alerts.
    async fn threads(&self, state: &mut State, last: &[Last<'_>]) -> Result<ByName, Halted> {
        let keys: BTreeSet<&str> = last.iter().flat_map(|(_, (_, said))| said.keys()).collect();
        let known = state.threads.known(keys.into_iter().map(str::to_owned)).await;
        let is_confirmed = self.entries.len() <= MOST_CONFIRMED;
        let mut threads = ByName::new();
        for (name, (entry, said)) in last {
            let before = said.keys().find_map(|key| known.get(key)).cloned();
            let (key, update) = ((*said.key).to_owned(), said.update.clone());
            let mut thread = state.threads.after(before, key, update, entry.said);
            thread.shared_key = said.shared_key().map(str::to_owned);
            // The bucket cannot have an entry for a message that the room has not begun to show.
            let origin = self.origin(state, entry.sequence, 0, entry.published);
            if !self.is_resumed && thread.is_said(&origin) {
                thread = thread.anew(state.route.patience);
            }
            // A thread may stay quiet only because a phone has buzzed for a message that people can still see.
            let is_held = thread.before.as_ref().is_some_and(|before| !before.holders.is_empty());
            if is_held || is_confirmed && thread.is_quiet() {
                thread = state.threads.with_root(state.rooms.sender(), thread).await?;
            }
            threads.insert((*name).to_owned(), thread);
        }
        Ok(threads)
    }

    /// Edits the first messages of alerts that have changed or are over, and notes the state of those that go on.
    async fn note_last_words(&self, state: &mut State, root: &OwnedEventId) -> Result<(), Halted> {
        let last: Vec<_> = digest_entries::last_words(&self.entries).into_iter().collect();
        for some in last.chunks(TOGETHER) {
            self.note_some_last_words(state, root, some).await?;
        }
        Ok(())
    }

    async fn note_some_last_words(
        &self,
        state: &mut State,
        root: &OwnedEventId,
        last: &[Last<'_>],
    ) -> Result<(), Halted> {
        let mut threads = self.threads(state, last).await?;
        let mut after: Vec<(String, ThreadState)> = Vec::new();
        for (name, (entry, said)) in last.iter().copied() {
            let Some(thread) = threads.remove(name) else { continue };
            let origin = self.origin(state, entry.sequence, 0, entry.published);
            if thread.is_said(&origin) {
                continue;
            }
            let mut edit = None;
            if thread.outdates_root() {
                edit = self.edit_root(state, said, &thread, entry).await?;
            }
            let is_new = thread.before.is_none();
            let has_pushed = self.has_pushed && thread.pushes();
            let posted = Posted { root: Some(root.clone()), edit };
            for (key, mut shown) in thread.after(posted, origin, has_pushed) {
                shown.is_shared |= is_new || shown.root == *root;
                if *key == *said.key && said.alert() != key {
                    after.push((said.alert().to_owned(), shown.clone()));
                }
                after.push((key, shown));
            }
        }
        state.threads.note_all(after).await;
        Ok(())
    }

    /// Edits a first message, and returns the edit. One that is posted twice is seen once, so it needs no origin.
    async fn edit_root(
        &self,
        state: &mut State,
        said: &ThreadUpdate,
        thread: &AlertThread,
        entry: &Entry,
    ) -> Result<Option<OwnedEventId>, Halted> {
        let Some((before, original)) = thread.before.as_ref().zip(self.original(entry.sequence))
        else {
            return Ok(None);
        };
        let decoded = state.composer.decode(original);
        let is_it =
            |payload: &Payload| AlertUpdate::of(payload).is_some_and(|it| it == said.update);
        let (decoded, bytes) = match &decoded.payload {
            // The last object about the alert.
            Payload::Several(items) => {
                let item = items.iter().rev().find(|item| is_it(&item.decoded.payload));
                let Some(item) = item else { return Ok(None) };
                (&item.decoded, item.original(original.payload()))
            }
            _ => (&decoded, original.payload().clone()),
        };
        let decoded = with_times(decoded, thread.begun(), thread.ended());
        let rendered = state.composer.render_whole(original, (&decoded, &bytes));
        let people = people(state, thread);
        let content = thread.edit(&before.root, &rendered, &people, &state.route);
        let origin = self.origin(state, entry.sequence, 0, entry.published);
        let of_message = origin.transaction_id(state.rooms.sender().room());
        let transaction: OwnedTransactionId = format!("{of_message}-{}", said.key).into();
        match state.rooms.sender().aside(transaction, content).await {
            Ok(edit) => Ok(edit),
            Err(error) => {
                let reason = error.refusal()?;
                warn!("the first message of an alert is not edited: {reason}");
                Ok(None)
            }
        }
    }

    /// Posts all messages in the thread of the digest.
    async fn thread(&self, state: &mut State) -> Result<(), Halted> {
        let begin = Position { sequence: self.span.first, part: digest_entries::SUM };
        let reached = state.rooms.sender().position().map_or(begin, |reached| reached.max(begin));
        let mut pieces = digest_entries::pieces(&self.entries, reached).peekable();
        let mut shown = reached;
        while let Some(piece) = pieces.next() {
            let is_last = pieces.peek().is_none();
            let (sequence, part, number) = match piece {
                Piece::Text { up_to, text } => {
                    let content = Rendered::bare(&text);
                    let content = match &self.span.root {
                        Some(root) => in_thread(content, root),
                        None => content,
                    };
                    (up_to, Part::Text(content), digest_entries::TEXT)
                }
                Piece::File { of, file } => {
                    let root = self.span.root.as_deref();
                    (of, state.composer.file(file, of, root), digest_entries::FILE)
                }
            };
            // Messages after the last one that the route takes are done with, too.
            let sequence = if is_last { self.span.last } else { sequence };
            let at = self.original(sequence).map_or(self.published, |original| original.published);
            let origin = self.origin(state, sequence, number, at);
            let file = format!("{}-{sequence}", state.feed.stream());
            if let Err(error) = self.event(state, &origin, part, &file).await {
                let reason = error.refusal()?;
                self.bury_piece(state, shown, &origin, &reason).await?;
            }
            shown = origin.position;
        }
        Ok(())
    }

    /// Keeps the messages of a refused piece as dead letters, and says so in place of the piece.
    async fn bury_piece(
        &self,
        state: &mut State,
        after: Position,
        origin: &Origin,
        reason: &str,
    ) -> Result<(), Halted> {
        let is_in = |delivery: &&Delivery| {
            let whole = Position { sequence: delivery.sequence, part: digest_entries::TEXT };
            after < whole && delivery.sequence <= origin.position.sequence
        };
        let mut last = None;
        for delivery in self.originals.iter().filter(is_in) {
            let stream = &self.upstream.stream;
            let kept_on = put_away(state, delivery, stream, reason, DeadFor::Itself).await?;
            last = Some((delivery, kept_on));
        }
        let Some((last, kept_on)) = last else { return Ok(()) };
        let renderer = &state.composer.renderer;
        let note = renderer.refused(last.sequence, last.subject(), reason, kept_on.as_deref());
        let note = Part::Text(note.content(&[]));
        match self.event(state, origin, note, "").await {
            Ok(_) => Ok(()),
            Err(error) => Ok(error.failure().map(drop)?),
        }
    }

    fn origin(&self, state: &State, sequence: u64, part: u32, published: Timestamp) -> Origin {
        let position = Position { sequence, part };
        let stream = self.upstream.stream.clone();
        Origin::new(stream, &state.route.name, position, published).in_digest(self.span.clone())
    }

    async fn event(
        &self,
        state: &mut State,
        origin: &Origin,
        part: Part,
        name: &str,
    ) -> Result<Option<OwnedEventId>, NotPosted> {
        let since = self.delivery.published;
        state.rooms.sender().digest_part(origin, since, part, name).await
    }

    /// Returns the message with a sequence number, if the route takes it.
    fn original(&self, sequence: u64) -> Option<&Delivery> {
        let found = self.originals.binary_search_by_key(&sequence, |original| original.sequence);
        found.ok().map(|index| &self.originals[index])
    }
}
