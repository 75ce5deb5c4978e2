//! What is known of conversations, in a key-value bucket of the user's NATS.
//!
//! An alert must never wait for what was said before it. Where the bucket cannot be had, as without
//! the permission for it, conversations last as long as the process.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{kv, stream::StorageType};
use futures_util::{StreamExt, stream};
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
        }
    }

    /// A bucket that is made from now on is as safe as a stream with that many replicas.
    pub(crate) fn replicate(&mut self, replicas: usize) {
        self.replicas = replicas;
    }

    /// What is known of a conversation.
    pub(crate) async fn get(&mut self, key: &str) -> Option<Conversation> {
        if let Some(known) = self.at_hand.get(key) {
            return Some(known.clone());
        }
        let bucket = self.bucket().await?;
        let found = match timeout(SLOW, bucket.get(key)).await {
            Ok(Ok(found)) => found?,
            Ok(Err(error)) => return self.failed(&chain(&error)),
            Err(_) => return self.failed("no answer"),
        };
        match serde_json::from_slice::<Conversation>(&found) {
            Ok(conversation) => {
                self.remember(key, conversation.clone());
                Some(conversation)
            }
            // Of another version; the next word begins a new conversation.
            Err(error) => {
                debug!(key, "not a conversation: {error}");
                None
            }
        }
    }

    /// Notes what is known from now on.
    pub(crate) async fn put(&mut self, key: &str, conversation: Conversation) {
        let value = serde_json::to_vec(&conversation).expect("a conversation is plain data");
        self.remember(key, conversation);
        let Some(bucket) = self.bucket().await else { return };
        match timeout(SLOW, bucket.put(key, value.into())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => _ = self.failed::<()>(&chain(&error)),
            Err(_) => _ = self.failed::<()>("no answer"),
        }
    }

    /// What is known of many conversations.
    pub(crate) async fn get_all(
        &mut self,
        keys: impl IntoIterator<Item = String>,
    ) -> HashMap<String, Conversation> {
        let (mut known, mut missing) = (HashMap::new(), Vec::new());
        for key in keys {
            match self.at_hand.get(&key) {
                Some(conversation) => drop(known.insert(key, conversation.clone())),
                None => missing.push(key),
            }
        }
        let Some(bucket) = self.bucket().await.filter(|_| !missing.is_empty()) else {
            return known;
        };
        let get = |key: String| {
            let bucket = bucket.clone();
            async move { (timeout(SLOW, bucket.get(key.clone())).await, key) }
        };
        let mut answers = stream::iter(missing).map(get).buffer_unordered(TOGETHER);
        let mut reason = None;
        while let Some((answer, key)) = answers.next().await {
            match answer {
                Ok(Ok(Some(found))) => {
                    let found = serde_json::from_slice(&found).ok();
                    known.extend(found.map(|conversation| (key, conversation)));
                }
                Ok(Ok(None)) => {}
                // Where one is not answered, the others would all be waited for in vain.
                Ok(Err(error)) => {
                    reason = Some(chain(&error));
                    break;
                }
                Err(_) => {
                    reason = Some("no answer".to_owned());
                    break;
                }
            }
        }
        if let Some(reason) = reason {
            self.failed::<()>(&reason);
        }
        known
    }

    /// Notes what is known of many from now on.
    pub(crate) async fn put_all(&mut self, conversations: Vec<(String, Conversation)>) {
        let bucket = self.bucket().await;
        for (key, conversation) in &conversations {
            self.remember(key, conversation.clone());
        }
        let Some(bucket) = bucket else { return };
        let put = |(key, conversation): (String, Conversation)| {
            let bucket = bucket.clone();
            let value = serde_json::to_vec(&conversation).expect("a conversation is plain data");
            async move { timeout(SLOW, bucket.put(key, value.into())).await }
        };
        let mut answers = stream::iter(conversations).map(put).buffer_unordered(TOGETHER);
        let mut reason = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    reason = Some(chain(&error));
                    break;
                }
                Err(_) => {
                    reason = Some("no answer".to_owned());
                    break;
                }
            }
        }
        if let Some(reason) = reason {
            self.failed::<()>(&reason);
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
            match timeout(SLOW, open(&self.nats, self.replicas)).await {
                Ok(Ok(bucket)) => self.bucket = Some(bucket),
                Ok(Err(reason)) => return self.failed(&reason),
                Err(_) => return self.failed("no answer"),
            }
        }
        self.bucket.clone()
    }

    fn failed<T>(&mut self, reason: &str) -> Option<T> {
        // Said once, not with every alert.
        if !std::mem::replace(&mut self.is_said, true) {
            warn!(
                "conversations of alerts are known only until the next restart, as the bucket {BUCKET} cannot be used \
                 ({reason}): allow the bridge to publish on $KV.{BUCKET}.>, $JS.API.INFO, $JS.API.STREAM.*.KV_{BUCKET} and $JS.API.DIRECT.GET.KV_{BUCKET}.>"
            );
        }
        self.bucket = None;
        self.retry = Some(Instant::now() + PAUSE);
        None
    }
}

async fn open(nats: &Nats, replicas: usize) -> Result<kv::Store, String> {
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
    let bucket = nats.jetstream.create_key_value(config).await.map_err(|error| chain(&error))?;
    info!("conversations of alerts are kept in bucket {BUCKET}");
    Ok(bucket)
}
