//! The proxies do the harm they are asked for, and no other.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::StreamExt;
use nats_matrix_testbed::{
    Account, Fault, FaultKind, FaultProxy, Homeserver, Nats, TcpProxy, bridge_binary,
};
use serde_json::json;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

struct Setup {
    proxy: FaultProxy,
    /// Reaches the homeserver through the proxy.
    alice: Account,
    /// Is the same account without it.
    direct: Account,
    room: String,
}

impl Setup {
    async fn new() -> Result<Self> {
        let homeserver = Homeserver::shared(bridge_binary()?, 8).await?;
        let proxy = FaultProxy::start(&homeserver.url()).await?;
        let direct = homeserver.account("alice").await?;
        let alice = direct.through(&proxy.url());
        let room = alice.create_room(json!({})).await?;
        Ok(Self { proxy, alice, direct, room })
    }

    async fn send(&self, txn: &str) -> Result<String> {
        let content = json!({ "msgtype": "m.text", "body": txn });
        self.alice.send(&self.room, "m.room.message", txn, content).await
    }

    /// The events that the room really holds.
    async fn bodies(&self) -> Result<Vec<String>> {
        let messages = self.direct.messages(&self.room).await?;
        Ok(messages.iter().map(|message| message.body().to_owned()).collect())
    }
}

#[tokio::test]
async fn answers_are_made_up_as_often_as_asked() -> Result<()> {
    let setup = Setup::new().await?;
    let limit = FaultKind::rate_limited(Duration::from_millis(1500));
    setup.proxy.inject(Fault::on("/send/", limit).after(1).times(2));

    setup.send("one").await?;
    for _ in 0..2 {
        let error = format!("{:#}", setup.send("two").await.expect_err("a fault"));
        assert!(error.contains("429") && error.contains("\"retry_after_ms\":1500"), "{error}");
    }
    setup.send("three").await?;

    assert_eq!(setup.bodies().await?, ["one", "three"]);
    let statuses: Vec<_> =
        setup.proxy.requests_matching("/send/").iter().map(|r| r.status).collect();
    assert_eq!(statuses, [Some(200), Some(429), Some(429), Some(200)]);
    Ok(())
}

#[tokio::test]
async fn a_cut_after_the_request_lets_it_take_effect() -> Result<()> {
    let setup = Setup::new().await?;
    setup.proxy.inject(Fault::on("/send/", FaultKind::CutAfterRequest).times(1));
    setup.proxy.inject(Fault::on("/send/", FaultKind::CutBeforeRequest).times(1));
    assert!(setup.send("taken").await.is_err());
    assert!(setup.send("not taken").await.is_err());
    assert_eq!(setup.bodies().await?, ["taken"]);
    // The homeserver knows the transaction and does not take it twice.
    setup.send("taken").await?;
    assert_eq!(setup.bodies().await?, ["taken"]);
    Ok(())
}

#[tokio::test]
async fn delays_delay_and_clearing_ends_what_is_held() -> Result<()> {
    let setup = Setup::new().await?;
    let delay = Duration::from_millis(300);
    setup.proxy.inject(Fault::on("/send/", FaultKind::Delay(delay)).times(1));
    let started = Instant::now();
    setup.send("late").await?;
    assert!(started.elapsed() >= delay);

    setup.proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    assert!(timeout(delay, setup.send("held")).await.is_err());
    let (held, cleared) = tokio::join!(setup.send("held"), async {
        let requests = setup.proxy.wait_for_requests("/send/", 3, PATIENCE).await;
        setup.proxy.clear();
        requests
    });
    assert!(held.is_err());
    assert_eq!(cleared?[2].status, None);
    setup.send("on time").await?;
    assert_eq!(setup.bodies().await?, ["late", "on time"]);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_down_is_a_bad_gateway() -> Result<()> {
    let proxy = FaultProxy::start("http://127.0.0.1:1").await?;
    let error = Account::login(&proxy.url(), "alice", "secret").await.expect_err("a fault");
    assert!(format!("{error:#}").contains("502"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn a_slow_link_is_slow_and_can_be_cut() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let delay = Duration::from_millis(40);
    let link = TcpProxy::start(&format!("127.0.0.1:{}", nats.port()), delay).await?;
    let client = async_nats::connect(format!("nats://{}", link.address())).await?;
    let jetstream = async_nats::jetstream::new(client);

    let started = Instant::now();
    jetstream.publish("ops.x", "one".into()).await?.await?;
    assert!(started.elapsed() >= 2 * delay);

    // Latency is not bandwidth: many in flight take hardly longer than one.
    let started = Instant::now();
    let mut acks = Vec::new();
    for _ in 0..100 {
        acks.push(jetstream.publish("ops.x", "many".into()).await?.into_future());
    }
    futures_util::future::try_join_all(acks).await?;
    assert!(started.elapsed() < 50 * delay, "{:?}", started.elapsed());

    link.block();
    link.cut();
    assert!(async_nats::connect(format!("nats://{}", link.address())).await.is_err());
    link.unblock();
    timeout(PATIENCE, async {
        while jetstream.publish("ops.x", "again".into()).await?.await.is_err() {}
        anyhow::Ok(())
    })
    .await?
}

#[tokio::test]
async fn an_answer_that_is_held_is_of_a_request_that_took_effect() -> Result<()> {
    let setup = Setup::new().await?;
    setup.proxy.inject(Fault::on("/send/", FaultKind::HoldAfterRequest));
    let (sent, taken) = tokio::join!(setup.send("taken"), async {
        let mut reader = setup.direct.reader(&setup.room).await?;
        reader.wait_for(1, PATIENCE).await?;
        setup.proxy.clear();
        anyhow::Ok(reader.bodies().join(", "))
    });
    assert!(sent.is_err());
    assert_eq!(taken?, "taken");
    Ok(())
}

/// A NATS server behind a link, a client that comes over it, and what it subscribes to.
async fn linked() -> Result<(Nats, TcpProxy, async_nats::Client, async_nats::Subscriber)> {
    let nats = Nats::start().await?;
    let link = TcpProxy::start(&format!("127.0.0.1:{}", nats.port()), Duration::ZERO).await?;
    let client = async_nats::connect(format!("nats://{}", link.address())).await?;
    let subscriber = client.subscribe("ops.>").await?;
    // The server answers what comes after the subscription when it has that.
    client.request("$JS.API.INFO", "".into()).await?;
    Ok((nats, link, client, subscriber))
}

/// The time without anything after which nothing is expected to come.
const SILENCE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn what_a_link_holds_comes_when_it_is_released() -> Result<()> {
    let (nats, link, _client, mut subscriber) = linked().await?;
    link.hold();
    for text in ["one", "two"] {
        nats.client().await?.publish("ops.x", text.into()).await?;
    }
    assert!(timeout(SILENCE, subscriber.next()).await.is_err());
    link.release();
    for text in ["one", "two"] {
        let message = timeout(PATIENCE, subscriber.next()).await?.expect("the link is open");
        assert_eq!(&message.payload[..], text.as_bytes());
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_that_is_forgotten_stays_silent_and_open_and_a_new_one_works() -> Result<()> {
    let (nats, link, client, mut subscriber) = linked().await?;
    link.forget();
    nats.client().await?.publish("ops.x", "unheard".into()).await?;
    assert!(timeout(SILENCE, subscriber.next()).await.is_err());
    assert_eq!(client.connection_state(), async_nats::connection::State::Connected);
    async_nats::connect(format!("nats://{}", link.address())).await?.flush().await?;
    link.cut();
    // The first one may go into the connection that is ending.
    while client.request("$JS.API.INFO", "".into()).await.is_err() {}
    nats.client().await?.publish("ops.x", "heard".into()).await?;
    let message = timeout(PATIENCE, subscriber.next()).await?.expect("the link is open");
    assert_eq!(&message.payload[..], b"heard");
    Ok(())
}

#[tokio::test]
async fn a_link_becomes_slow() -> Result<()> {
    let (_nats, link, client, _subscriber) = linked().await?;
    let delay = Duration::from_millis(200);
    link.set_delay(delay);
    let started = Instant::now();
    client.request("$JS.API.INFO", "".into()).await?;
    assert!(started.elapsed() >= 2 * delay, "{:?}", started.elapsed());
    Ok(())
}
