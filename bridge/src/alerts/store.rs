//! The state of alert threads, in a key-value bucket of the user's NATS.
//!
//! An alert must never wait for its stored state. Where the bucket cannot be used, for example because the permission
//! is missing, the state lasts as long as the process.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::kv;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use quick_cache::{Weighter, unsync::Cache};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    alerts::thread::ThreadState,
    failure::chain,
    nats::{
        Nats,
        bucket::{self, BucketError, answered},
    },
    reserved::BUCKET,
    signature::Signer,
};

/// The time for which the bucket is not tried again after a failure.
const PAUSE: Duration = Duration::from_mins(1);

/// The memory limit for the cached threads of all routes, in bytes. The threads that wait to be written to the bucket
/// may take as much again.
const AT_HAND: usize = 2 * 1024 * 1024;

/// The memory that a thread takes in addition to its own size, in bytes.
const OVERHEAD: usize = 96;

/// The number of requests that may be in flight at once.
const TOGETHER: usize = 64;

/// An entry of the bucket. The signature covers the key of the thread and its state, so that nobody can have the bridge
/// believe that somebody was told.
#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    signature: String,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// The alert threads of one route.
pub(crate) struct Store {
    nats: Nats,
    /// The stream of the route.
    stream: String,
    bucket: Option<kv::Store>,
    /// The time from which the bucket may be tried again.
    retry: Option<Instant>,
    /// Whether the log already says that the bucket cannot be used.
    is_said: bool,
    /// A cache of recently used threads. Entries that are also in the bucket may be evicted.
    at_hand: Cache<String, ThreadState, Weight>,
    /// The threads that are not written to the bucket yet.
    unwritten: HashMap<String, ThreadState>,
    /// The memory limit of the cached threads, and again of the unwritten ones, in bytes.
    room: usize,
    /// Whether the log already says that there is no memory for more unwritten threads.
    is_full: bool,
    signer: Signer,
    doubts: Doubts,
}

/// The entries of the bucket that the log already speaks of.
#[derive(Default)]
struct Doubts {
    /// One with times in the future.
    has_future: bool,
    /// One that this bridge has not written.
    has_unsigned: bool,
}

/// Weighs threads by the memory that they take.
#[derive(Debug, Clone)]
struct Weight;

impl Weighter<String, ThreadState> for Weight {
    fn weight(&self, key: &String, conversation: &ThreadState) -> u64 {
        weight(key, conversation) as u64
    }
}

fn weight(key: &str, conversation: &ThreadState) -> usize {
    key.len() + conversation.weight() + OVERHEAD
}

impl Store {
    /// Creates the store of a route that reads this stream; all `routes` share the memory limit.
    pub(crate) fn new(nats: Nats, stream: String, routes: usize, signer: Signer) -> Self {
        let room = AT_HAND / routes.max(1);
        Self {
            nats,
            stream,
            bucket: None,
            retry: None,
            is_said: false,
            at_hand: Cache::with_weighter(room / 512, room as u64, Weight),
            unwritten: HashMap::new(),
            room,
            is_full: false,
            signer,
            doubts: Doubts::default(),
        }
    }

    /// Returns the stored state of these threads. Callers ask for very many in parts, as each may take 3 kB of memory.
    pub(crate) async fn get_all(
        &mut self,
        keys: impl IntoIterator<Item = String>,
    ) -> HashMap<String, ThreadState> {
        let (mut known, mut missing) = (HashMap::new(), Vec::new());
        for key in keys {
            match self.at_hand.get(&key).or_else(|| self.unwritten.get(&key)) {
                Some(conversation) => drop(known.insert(key, conversation.clone())),
                None => missing.push(key),
            }
        }
        if !missing.is_empty() {
            known.extend(Box::pin(self.read(missing)).await);
        }
        known
    }

    /// Reads threads from the bucket.
    async fn read(&mut self, keys: Vec<String>) -> HashMap<String, ThreadState> {
        let mut known = HashMap::new();
        let Some(bucket) = self.bucket().await else { return known };
        let get = |key: String| {
            let bucket = &bucket;
            async move { Ok::<_, BucketError>((answered(bucket.get(key.as_str())).await?, key)) }
        };
        let mut answers = stream::iter(keys).map(get).buffer_unordered(TOGETHER);
        // If one request is not answered, waiting for the others is pointless.
        while let Some(answer) = answers.next().await {
            match answer {
                Ok((Some(found), key)) => {
                    if let Some(conversation) = self.open(&key, &found) {
                        self.remember(&key, conversation.clone());
                        known.insert(key, conversation);
                    }
                }
                Ok((None, _)) => {}
                Err(error) => {
                    self.failed(&error);
                    break;
                }
            }
        }
        known
    }

    /// Reads an entry. A state that this bridge has not signed says where the thread is, but not that anybody was told: it
    /// is of an earlier version, of a bridge on another machine, or forged. `None` if another version wrote it, or if it
    /// cannot be true; the next message then begins a new thread.
    fn open(&mut self, key: &str, found: &[u8]) -> Option<ThreadState> {
        let (state, is_signed) = match serde_json::from_slice::<Entry<'_>>(found) {
            Ok(Entry { signature, state }) => {
                let state = state.get();
                (serde_json::from_str(state), self.signer.verifies([key, state], &signature))
            }
            Err(_) => (serde_json::from_slice(found), false),
        };
        let state: ThreadState = state.ok()?;
        if !self.believes(key, &state) {
            return None;
        }
        if is_signed {
            return Some(state);
        }
        if !std::mem::replace(&mut self.doubts.has_unsigned, true) {
            info!(
                "the bucket {BUCKET} has an alert thread, {key}, that this bridge has not written: its next message is not \
                 silent, as are those of others like it"
            );
        }
        Some(state.untold())
    }

    /// Whether the stored state of a thread can be true. Others may have permission to write to the bucket.
    fn believes(&mut self, key: &str, conversation: &ThreadState) -> bool {
        let is_of_future = conversation.is_of_future(Timestamp::now().as_second());
        if is_of_future && !std::mem::replace(&mut self.doubts.has_future, true) {
            warn!(
                "the bucket {BUCKET} has an alert thread, {key}, with times in the future; it is ignored, as are others like \
                 it, and such an alert begins a new thread: check the clocks, and that only the bridge may publish on \
                 $KV.{BUCKET}.>"
            );
        }
        !is_of_future
    }

    /// Stores the new state of many threads.
    pub(crate) async fn put_all(&mut self, conversations: Vec<(String, ThreadState)>) {
        for (key, conversation) in &conversations {
            self.remember(key, conversation.clone());
        }
        Box::pin(self.write(conversations)).await;
    }

    async fn write(&mut self, conversations: Vec<(String, ThreadState)>) {
        self.note_unwritten(conversations);
        let Some(bucket) = self.bucket().await else { return };
        let put = |(key, conversation): (&String, &ThreadState)| {
            let (bucket, key) = (&bucket, key.clone());
            let value = self.sealed(&key, conversation);
            async move { answered(bucket.put(key, value.into())).await.map(drop) }
        };
        let puts = stream::iter(&self.unwritten).map(Ok);
        let written = puts.try_for_each_concurrent(TOGETHER, put).await;
        match written {
            Ok(()) => {
                self.unwritten = HashMap::new();
                self.is_full = false;
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Returns the entry for a thread.
    fn sealed(&self, key: &str, conversation: &ThreadState) -> Vec<u8> {
        let state = to_raw_value(conversation).expect("a thread's state is plain data");
        let signature = self.signer.sign([key, state.get()]);
        let entry = Entry { signature, state: &state };
        serde_json::to_vec(&entry).expect("an entry is plain data")
    }

    /// Adds threads to those that wait to be written. When there is no memory left, the older ones are dropped.
    fn note_unwritten(&mut self, conversations: Vec<(String, ThreadState)>) {
        let mut taken = self.unwritten.iter().map(|(key, known)| weight(key, known)).sum::<usize>();
        for (key, conversation) in conversations {
            let more = weight(&key, &conversation);
            if taken + more > self.room {
                if !std::mem::replace(&mut self.is_full, true) {
                    let count = self.unwritten.len();
                    warn!(
                        "{count} alert threads cannot be written to the bucket {BUCKET}, and there is no memory for more: \
                         they are forgotten, and these alerts begin new threads with their next messages"
                    );
                }
                self.unwritten.clear();
                taken = 0;
            }
            taken += more;
            self.unwritten.insert(key, conversation);
        }
    }

    fn remember(&mut self, key: &str, conversation: ThreadState) {
        self.at_hand.insert(key.to_owned(), conversation);
    }

    /// Forgets all threads, because another bridge may have changed them.
    pub(crate) fn forget(&mut self) {
        self.at_hand.clear();
        self.unwritten.clear();
    }

    async fn bucket(&mut self) -> Option<kv::Store> {
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            return None;
        }
        if self.bucket.is_none() {
            match bucket::open(&self.nats, &self.stream).await {
                Ok(bucket) => self.bucket = Some(bucket),
                Err(error) => self.failed(&error),
            }
        }
        self.bucket.clone()
    }

    fn failed(&mut self, error: &BucketError) {
        // Logged once, not with every alert; and not while NATS is unreachable, which is logged elsewhere.
        if self.nats.is_connected() && !std::mem::replace(&mut self.is_said, true) {
            let reason = chain(error);
            warn!(
                "alert threads are known only until the next restart, because the bucket {BUCKET} cannot be used \
                 ({reason}): {}",
                error.remedy()
            );
        }
        self.bucket = None;
        self.retry = Some(Instant::now() + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A thread with so many members, in the stored form that predates the compact one in memory.
    fn conversation(members: usize) -> ThreadState {
        let members: serde_json::Map<_, _> =
            (0..members).map(|member| (member.to_string(), json!(null))).collect();
        let kept = json!({
            "root": "$root:example.com", "status": "firing", "begun": 1, "resolved": 0, "pushed": 1, "times": 1,
            "urgency": "notable", "level": "notable", "eased": 0, "members": members, "said": 1,
            "last": { "stream": "OPS", "created": "1", "route": "r", "seq": 1, "part": 0, "published": "1" },
        });
        serde_json::from_value(kept).unwrap()
    }

    #[test]
    fn what_is_at_hand_has_an_end_in_bytes() {
        let mut at_hand = Cache::with_weighter(AT_HAND / 512, AT_HAND as u64, Weight);
        for number in 0..10_000 {
            at_hand.insert(format!("{number:032}"), conversation(256));
        }
        assert!(at_hand.weight() <= AT_HAND as u64);
        assert!(at_hand.len() > 500, "{}", at_hand.len());
        assert!(at_hand.get(&format!("{:032}", 9_999)).is_some(), "the last one is cached");
        let weight = weight("", &conversation(256));
        assert!((2_000..3_000).contains(&weight), "{weight}");
    }
}
