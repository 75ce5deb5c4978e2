//! What is known of conversations, in a key-value bucket of the user's NATS.
//!
//! An alert must never wait for what was said before it. Where the bucket cannot be had, as without
//! the permission for it, conversations last as long as the process.

use std::{collections::HashMap, error::Error, time::Duration};

use async_nats::jetstream::{context::CreateKeyValueError, kv, stream::StorageType};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::Conversation;
use crate::{failure::chain, nats::Nats};

/// The bucket.
pub(crate) const BUCKET: &str = "nats-matrix-alerts";
/// How long a conversation is known after the last word in it.
const KEPT_FOR: Duration = Duration::from_hours(24 * 30);
/// How long an answer may take.
const SLOW: Duration = Duration::from_secs(5);
/// After a failure the bucket is left alone for this long.
const PAUSE: Duration = Duration::from_mins(1);
/// How many conversations are kept at hand. What is kept in the bucket can be dropped here.
const AT_HAND: usize = 10_000;
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
    at_hand: HashMap<String, Conversation>,
    /// What the bucket is to know and could not be told yet.
    unwritten: HashMap<String, Conversation>,
}

impl Store {
    pub(crate) fn new(nats: Nats) -> Self {
        Self {
            nats,
            replicas: 1,
            bucket: None,
            retry: None,
            is_said: false,
            at_hand: HashMap::new(),
            unwritten: HashMap::new(),
        }
    }

    /// A bucket that is made from now on is as safe as a stream with that many replicas.
    pub(crate) fn replicate(&mut self, replicas: usize) {
        self.replicas = replicas;
    }

    /// What is known of a conversation.
    pub(crate) async fn get(&mut self, key: &str) -> Option<Conversation> {
        self.get_all([key.to_owned()]).await.remove(key)
    }

    /// Notes what is known from now on.
    pub(crate) async fn put(&mut self, key: String, conversation: Conversation) {
        self.put_all(vec![(key, conversation)]).await;
    }

    /// What is known of many conversations.
    pub(crate) async fn get_all(
        &mut self,
        keys: impl IntoIterator<Item = String>,
    ) -> HashMap<String, Conversation> {
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
    async fn read(&mut self, keys: Vec<String>) -> HashMap<String, Conversation> {
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
                    if let Ok(conversation) = serde_json::from_slice::<Conversation>(&found) {
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

    /// Notes what is known of many from now on.
    pub(crate) async fn put_all(&mut self, conversations: Vec<(String, Conversation)>) {
        for (key, conversation) in &conversations {
            self.remember(key, conversation.clone());
        }
        Box::pin(self.write(conversations)).await;
    }

    async fn write(&mut self, conversations: Vec<(String, Conversation)>) {
        if self.unwritten.len() >= AT_HAND {
            self.unwritten.clear();
        }
        self.unwritten.extend(conversations);
        let Some(bucket) = self.bucket().await else { return };
        let put = |(key, conversation): (&String, &Conversation)| {
            let (bucket, key) = (&bucket, key.clone());
            let value = serde_json::to_vec(conversation).expect("a conversation is plain data");
            async move { answered(bucket.put(key, value.into())).await.map(drop) }
        };
        let puts = stream::iter(&self.unwritten).map(Ok);
        let written = puts.try_for_each_concurrent(TOGETHER, put).await;
        match written {
            Ok(()) => self.unwritten.clear(),
            Err(reason) => self.failed(&reason),
        }
    }

    fn remember(&mut self, key: &str, conversation: Conversation) {
        if self.at_hand.len() >= AT_HAND {
            self.at_hand.clear();
        }
        self.at_hand.insert(key.to_owned(), conversation);
    }

    async fn bucket(&mut self) -> Option<kv::Store> {
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            return None;
        }
        if self.bucket.is_none() {
            match answered(open(&self.nats, self.replicas)).await {
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

async fn open(nats: &Nats, replicas: usize) -> Result<kv::Store, CreateKeyValueError> {
    match nats.jetstream.get_key_value(BUCKET).await {
        Ok(bucket) => return Ok(bucket),
        Err(error) => debug!("no bucket {BUCKET} yet: {}", chain(&error)),
    }
    let config = kv::Config {
        bucket: BUCKET.to_owned(),
        description: "Alerts that nats-matrix has shown: their conversations in Matrix".to_owned(),
        history: 1,
        max_age: KEPT_FOR,
        storage: StorageType::File,
        num_replicas: replicas,
        ..kv::Config::default()
    };
    let bucket = nats.jetstream.create_key_value(config).await?;
    info!("conversations of alerts are kept in bucket {BUCKET}");
    Ok(bucket)
}
