//! The servers start, survive what tests do to them, and leave nothing behind.

use std::time::{Duration, Instant};

use anyhow::Result;
use nats_matrix_testbed::{Account, Event, Homeserver, Nats, NatsCluster, bridge_binary};
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn nats_keeps_its_stream_and_port_across_a_kill() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let payloads = (0..1200).map(|number| number.to_string());
    assert_eq!(nats.publish_many("ops.report.a", payloads).await?, 1200);

    nats.kill().await;
    nats.restart().await?;

    assert_eq!(nats.publish("ops.report.a", "one more").await?, 1201);
    Ok(())
}

#[tokio::test]
async fn a_cluster_goes_on_without_one_of_its_servers() -> Result<()> {
    let cluster = NatsCluster::start(3).await?;
    let jetstream = cluster.jetstream(Duration::from_secs(5)).await?;
    let config = async_nats::jetstream::stream::Config {
        name: "OPS".to_owned(),
        subjects: vec!["ops.>".to_owned()],
        num_replicas: 3,
        ..Default::default()
    };
    jetstream.create_stream(config).await?;
    let mut last = 0;
    for node in cluster.nodes() {
        node.kill().await;
        let deadline = Instant::now() + PATIENCE;
        // The others choose a leader first.
        last = loop {
            match jetstream.publish("ops.x", "one more".into()).await?.await {
                Ok(ack) => break ack.sequence,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        node.restart().await?;
    }
    assert!(last >= 3, "{last}");
    Ok(())
}

#[tokio::test]
async fn nats_with_users_is_reached_with_the_given_options() -> Result<()> {
    let nats = Nats::builder()
        .config(r#"authorization { user: "node", password: "secret" }"#)
        .client_options(|| {
            async_nats::ConnectOptions::with_user_and_password("node".into(), "secret".into())
        })
        .start()
        .await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    assert_eq!(nats.publish("ops.x", "hello").await?, 1);
    assert!(nats.client_with(async_nats::ConnectOptions::new()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_reader_sees_everything_in_order() -> Result<()> {
    let homeserver = Homeserver::shared(bridge_binary()?, 8).await?;
    let alice = homeserver.account("alice").await?;
    let bob = homeserver.account("bridge").await?;
    let room = alice.create_room(json!({ "invite": [bob.user_id] })).await?;
    assert_eq!(bob.join(&room).await?, room);

    let mut reader = alice.reader(&room).await?;
    let mut expected = Vec::new();
    for number in 0..250 {
        let body = format!("message {number}");
        let content = json!({ "msgtype": "m.text", "body": body });
        bob.send(&room, "m.room.message", &format!("txn{number}"), content).await?;
        expected.push(body);
    }
    reader.wait_for(250, PATIENCE).await?;
    reader.settle(Duration::from_millis(300)).await?;
    assert_eq!(reader.bodies(), expected);

    let timeline = alice.timeline(&room).await?;
    assert_eq!(timeline[0].kind, "m.room.create");
    let messages = alice.messages(&room).await?;
    assert_eq!(messages.iter().map(Event::body).collect::<Vec<_>>(), expected);
    let before = alice.unread(&room).await?.notifications;
    assert!(before > 0);

    // Nothing remembers an older answer.
    let content = json!({ "msgtype": "m.text", "body": "one more" });
    bob.send(&room, "m.room.message", "one more", content).await?;
    assert_eq!(alice.timeline(&room).await?.len(), timeline.len() + 1);
    assert_eq!(alice.unread(&room).await?.notifications, before + 1);
    Ok(())
}

#[tokio::test]
async fn a_reader_waits_for_a_homeserver_that_comes_back() -> Result<()> {
    let homeserver = Homeserver::start(bridge_binary()?).await?;
    let alice = homeserver.account("alice").await?;
    let room = alice.create_room(json!({})).await?;
    let mut reader = alice.reader(&room).await?;

    homeserver.kill().await;
    let down = alice.timeline(&room).await;
    assert!(down.is_err(), "{down:?}");
    let restart = async {
        homeserver.restart().await?;
        let content = json!({ "msgtype": "m.text", "body": "back" });
        alice.send(&room, "m.room.message", "txn", content).await
    };
    let (sent, seen) = tokio::join!(restart, reader.wait_for(1, PATIENCE));
    assert_eq!(sent?, seen?[0].event_id);
    Ok(())
}

#[tokio::test]
async fn a_frozen_homeserver_answers_when_it_is_resumed() -> Result<()> {
    let homeserver = Homeserver::start(bridge_binary()?).await?;
    let alice = homeserver.account("alice").await?;
    homeserver.pause().await?;
    let frozen = tokio::time::timeout(Duration::from_millis(500), alice.joined_rooms()).await;
    assert!(frozen.is_err(), "{frozen:?}");
    homeserver.resume().await?;
    assert_eq!(alice.joined_rooms().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn members_come_and_go() -> Result<()> {
    let homeserver = Homeserver::shared(bridge_binary()?, 8).await?;
    let alice = homeserver.account("alice").await?;
    let bob = homeserver.account("bridge").await?;
    let alias = format!("ops-{}", alice.localpart());
    let room = alice.create_room(json!({ "room_alias_name": alias })).await?;
    let alias = format!("#{alias}:{}", homeserver.server_name());
    assert_eq!(alice.resolve_alias(&alias).await?.as_deref(), Some(room.as_str()));

    assert!(bob.join(&room).await.is_err());
    alice.invite(&room, &bob.user_id).await?;
    bob.join(&alias).await?;
    alice.set_power_level(&room, &bob.user_id, 50).await?;
    let levels = bob.state(&room, "m.room.power_levels", "").await?.unwrap_or_default();
    assert_eq!(levels["users"][&bob.user_id], 50);
    alice.kick(&room, &bob.user_id).await?;
    assert!(bob.joined_rooms().await?.is_empty());
    alice.invite(&room, &bob.user_id).await?;
    bob.join(&room).await?;
    bob.leave(&room).await?;
    Ok(())
}

#[tokio::test]
async fn tokens_can_be_revoked() -> Result<()> {
    let homeserver = Homeserver::shared(bridge_binary()?, 8).await?;
    let mut alice = homeserver.account("alice").await?;
    let phone = Account::login(&homeserver.url(), &alice.user_id, &alice.password).await?;
    assert_eq!(alice.devices().await?.len(), 2);
    alice.logout_device(&phone.device_id).await?;
    assert!(phone.joined_rooms().await.is_err());

    let phone = Account::login(&homeserver.url(), alice.localpart(), &alice.password).await?;
    alice.logout_others().await?;
    assert!(phone.joined_rooms().await.is_err());

    alice.change_password("another").await?;
    let phone = Account::login(&homeserver.url(), &alice.user_id, "another").await?;
    phone.logout_all().await?;
    assert!(alice.joined_rooms().await.is_err());
    Ok(())
}
