//! A check of what the room shows in the end.

use anyhow::{Context, Result, bail, ensure};
use nats_matrix_testbed::{Account, numbered::number_in};
use reqwest::Client;
use serde_json::Value;

/// Makes sure that the room shows messages 0 to `messages` - 1, each once and in order. It is read backwards, page by page.
pub(crate) async fn check(alice: &Account, room: &str, messages: usize) -> Result<()> {
    let http = Client::new();
    let url = format!("{}/_matrix/client/v3/rooms/{room}/messages", alice.homeserver);
    let mut expected = messages;
    let mut from: Option<String> = None;
    loop {
        // A position of Conduit, Synapse or tuwunel has no character that means anything in a query.
        let begin = from.map_or(String::new(), |from| format!("&from={from}"));
        let page = http.get(format!("{url}?dir=b&limit=1000{begin}"));
        let page: Value =
            page.bearer_auth(&alice.access_token).send().await?.error_for_status()?.json().await?;
        let events = page["chunk"].as_array().context("a page without a chunk")?;
        for event in events.iter().filter(|event| event["type"] == "m.room.message") {
            let number = number_in(event["content"]["body"].as_str().unwrap_or_default())?;
            ensure!(number + 1 == expected, "message {number} stands before message {expected}");
            expected = number;
        }
        from = page["end"].as_str().map(str::to_owned);
        if events.is_empty() || from.is_none() {
            break;
        }
    }
    if expected != 0 {
        bail!("messages 0 to {} are missing", expected - 1);
    }
    Ok(())
}
