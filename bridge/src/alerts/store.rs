//! What is known of conversations, in a key-value bucket of the user's NATS.
//!
//! An alert must never wait for what was said before it. Where the bucket cannot be had, as without
//! the permission for it, conversations last as long as the process.

use std::{collections::HashMap, error::Error, time::Duration};

use async_nats::jetstream::{
    kv,
    stream::{Config as StreamConfig, DiscardPolicy},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use quick_cache::{Weighter, unsync::Cache};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use crate::{
    alerts::thread::ThreadState,
    failure::chain,
    nats::{Nats, limits},
};

/// The bucket.
pub(crate) const BUCKET: &str = "nats-matrix-alerts";

/// How long a conversation is known after the last word in it.
const KEPT_FOR: Duration = Duration::from_hours(24 * 30);

/// How long an answer may take.
const SLOW: Duration = Duration::from_secs(5);

/// After a failure the bucket is left alone for this long.
const PAUSE: Duration = Duration::from_mins(1);

/// How much the bucket keeps, in bytes: about a hundred thousand conversations. Then the one whose last word is the
/// oldest is forgotten.
const KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// The longest that the bucket keeps of a conversation, in bytes; one with all members takes a tenth of it.
const LONGEST: i32 = 64 * 1024;

/// How many bytes of memory the conversations of all routes may take that are kept at hand, and as many those that
/// wait to be kept in the bucket.
const AT_HAND: usize = 2 * 1024 * 1024;

/// What a conversation takes besides itself, in bytes.
const OVERHEAD: usize = 96;

/// How many requests are on their way together, where there are many.
const TOGETHER: usize = 64;

/// The conversations of one route.
pub(crate) struct Store {
    nats: Nats,
    /// How many servers of a cluster keep the bucket, when it is made here.
    replicas: usize,
    bucket: Option<kv::Store>,
    /// When the bucket may be tried again.
    retry: Option<Instant>,
    /// That the bucket cannot be used was said.
    is_said: bool,
    /// Those of late. What is kept in the bucket can be dropped here.
    at_hand: Cache<String, ThreadState, Weight>,
    /// What the bucket is to know and could not be told yet.
    unwritten: HashMap<String, ThreadState>,
    /// How many bytes that may take.
    room: usize,
    /// That there is no room for more of it was said.
    is_full: bool,
    /// That the bucket has what nobody can have said yet was said.
    has_future: bool,
}

/// Weighs conversations by the memory that they take.
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
    /// One of as many as there are routes, which share the memory.
    pub(crate) fn new(nats: Nats, routes: usize) -> Self {
        let room = AT_HAND / routes.max(1);
        Self {
            nats,
            replicas: 1,
            bucket: None,
            retry: None,
            is_said: false,
            at_hand: Cache::with_weighter(room / 512, room as u64, Weight),
            unwritten: HashMap::new(),
            room,
            is_full: false,
            has_future: false,
        }
    }

    /// A bucket that is made from now on is as safe as a stream with that many replicas.
    pub(crate) fn replicate(&mut self, replicas: usize) {
        self.replicas = replicas;
    }

    /// What is known of some conversations. Of very many it is asked for in parts, as each may take 3 kB of memory.
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

    /// What the bucket knows of conversations.
    async fn read(&mut self, keys: Vec<String>) -> HashMap<String, ThreadState> {
        let mut known = HashMap::new();
        let Some(bucket) = self.bucket().await else { return known };
        let get = |key: String| {
            let bucket = &bucket;
            async move { Ok::<_, String>((answered(bucket.get(key.as_str())).await?, key)) }
        };
        let mut answers = stream::iter(keys).map(get).buffer_unordered(TOGETHER);
        // Where one is not answered, the others would all be waited for in vain.
        while let Some(answer) = answers.next().await {
            match answer {
                Ok((Some(found), key)) => {
                    // One of another version begins anew with the next word.
                    let Ok(conversation) = serde_json::from_slice::<ThreadState>(&found) else {
                        continue;
                    };
                    if self.believes(&key, &conversation) {
                        self.remember(&key, conversation.clone());
                        known.insert(key, conversation);
                    }
                }
                Ok((None, _)) => {}
                Err(reason) => {
                    self.failed(&reason);
                    break;
                }
            }
        }
        known
    }

    /// Whether what the bucket has of a conversation can be true. Others may be permitted to write there.
    fn believes(&mut self, key: &str, conversation: &ThreadState) -> bool {
        let is_of_future = conversation.is_of_future(Timestamp::now().as_second());
        if is_of_future && !std::mem::replace(&mut self.has_future, true) {
            warn!(
                "the bucket {BUCKET} says of {key} what has yet to happen, so this conversation begins anew, and so do \
                 others of that kind: see that the clocks are right, and that only the bridge may publish on \
                 $KV.{BUCKET}.>"
            );
        }
        !is_of_future
    }

    /// Notes what is known of many from now on.
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
            let value = serde_json::to_vec(conversation).expect("a conversation is plain data");
            async move { answered(bucket.put(key, value.into())).await.map(drop) }
        };
        let puts = stream::iter(&self.unwritten).map(Ok);
        let written = puts.try_for_each_concurrent(TOGETHER, put).await;
        match written {
            Ok(()) => {
                self.unwritten = HashMap::new();
                self.is_full = false;
            }
            Err(reason) => self.failed(&reason),
        }
    }

    /// Notes what the bucket is to know, as far as there is room: what comes last is known for longest.
    fn note_unwritten(&mut self, conversations: Vec<(String, ThreadState)>) {
        let mut taken = self.unwritten.iter().map(|(key, known)| weight(key, known)).sum::<usize>();
        for (key, conversation) in conversations {
            let more = weight(&key, &conversation);
            if taken + more > self.room {
                if !std::mem::replace(&mut self.is_full, true) {
                    let count = self.unwritten.len();
                    warn!(
                        "{count} conversations of alerts cannot be kept in the bucket {BUCKET}, and there is no memory \
                         for more: they are forgotten, and begin anew with the next word"
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

    async fn bucket(&mut self) -> Option<kv::Store> {
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            return None;
        }
        if self.bucket.is_none() {
            match open(&self.nats, self.replicas).await {
                Ok(bucket) => self.bucket = Some(bucket),
                Err(reason) => self.failed(&reason),
            }
        }
        self.bucket.clone()
    }

    fn failed(&mut self, reason: &str) {
        // Said once, not with every alert, and not while NATS is away, which others say.
        if self.nats.is_connected() && !std::mem::replace(&mut self.is_said, true) {
            warn!(
                "conversations of alerts are known only until the next restart, as the bucket {BUCKET} cannot be used \
                 ({reason}): allow the bridge to publish on $KV.{BUCKET}.>, $JS.API.INFO, $JS.API.STREAM.*.KV_{BUCKET} and $JS.API.DIRECT.GET.KV_{BUCKET}.>"
            );
        }
        self.bucket = None;
        self.retry = Some(Instant::now() + PAUSE);
    }
}

/// What a request comes to, or why it came to nothing.
async fn answered<T, E: Error + 'static>(
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    let answer = timeout(SLOW, request).await.map_err(|_| "no answer".to_owned())?;
    answer.map_err(|error| chain(&error))
}

/// The bucket, which is made if there is none.
async fn open(nats: &Nats, replicas: usize) -> Result<kv::Store, String> {
    let wanted = bucket_config(replicas);
    match answered(nats.jetstream.get_key_value(BUCKET)).await {
        Ok(bucket) => {
            limits::set(nats, &bucket.stream.cached_info().config, &wanted).await;
            return Ok(bucket);
        }
        Err(reason) => debug!("no bucket {BUCKET} yet: {reason}"),
    }
    answered(nats.jetstream.create_stream(wanted)).await?;
    info!("conversations of alerts are kept in bucket {BUCKET}");
    answered(nats.jetstream.get_key_value(BUCKET)).await
}

/// A bucket as clients make it, but that the oldest goes when it is full: what was said last is written last.
pub(crate) fn bucket_config(replicas: usize) -> StreamConfig {
    StreamConfig {
        name: format!("KV_{BUCKET}"),
        description: Some(
            "Alerts that nats-matrix has shown: their conversations in Matrix".to_owned(),
        ),
        subjects: vec![format!("$KV.{BUCKET}.>")],
        max_messages_per_subject: 1,
        max_age: KEPT_FOR,
        max_bytes: KEPT_BYTES,
        max_message_size: LONGEST,
        discard: DiscardPolicy::Old,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        num_replicas: replicas,
        ..StreamConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One with so many members, as it was kept before members were kept in less memory.
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
        assert!(at_hand.get(&format!("{:032}", 9_999)).is_some(), "the last is at hand");
        let weight = weight("", &conversation(256));
        assert!((2_000..3_000).contains(&weight), "{weight}");
    }
}
