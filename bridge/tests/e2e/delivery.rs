//! Nothing lost, nothing twice, in order: through kills and outages of every part.

use std::time::Duration;

use anyhow::Result;
use nats_matrix_testbed::{Fault, FaultKind, Homeserver, Nats, TcpProxy};
use serde_json::json;

use crate::scene::{
    BINARY, Config, PATIENCE, Scene, read_all, read_numbered, shared_homeserver, through_proxy,
};

#[tokio::test]
async fn a_published_report_arrives_as_it_is_documented() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    let report = json!({
        "host": "server-01",
        "completed": ["Database backup", "log cleanup", "SSL renewal"],
        "in_progress": ["Performance optimization", "API integration"],
        "disk_percent": 14,
        "memory_percent": 16,
        "satisfaction": 3,
    });
    scene.nats.publish("ops.report.server-01", report.to_string()).await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 1).await?;
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(
        event.body(),
        "📊 server-01 Operational Report\n\
         ✅ Completed: Database backup, log cleanup, SSL renewal\n\
         🔄 In progress: Performance optimization, API integration\n\
         💻 Disk usage: 14% | Memory usage: 16%\n\
         😊 Satisfaction rating: 3/5"
    );
    assert_eq!(
        event.html(),
        "📊 <strong>server-01</strong> Operational Report\
         <br>✅ <strong>Completed:</strong> Database backup, log cleanup, SSL renewal\
         <br>🔄 <strong>In progress:</strong> Performance optimization, API integration\
         <br>💻 Disk usage: 14% | Memory usage: 16%\
         <br>😊 Satisfaction rating: 3/5"
    );
    assert_eq!(event.msgtype(), "m.notice");
    assert_eq!(event.sender, scene.bot.user_id);
    Ok(())
}

#[tokio::test]
async fn two_thousand_reports_arrive_in_order_none_lost_none_twice() -> Result<()> {
    let scene = Scene::new().await?;
    scene.publish_numbered(1, 1000).await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    scene.publish_numbered(1001, 2000).await?;
    scene.shows_numbered(2000).await?;
    Ok(())
}

#[tokio::test]
async fn kill_9_of_the_bridge_ten_times_in_a_burst() -> Result<()> {
    const MESSAGES: usize = 600;
    let scene = Scene::new().await?;
    scene.publish_numbered(1, MESSAGES).await?;
    let mut reader = scene.reader().await?;
    let mut bridge = scene.start(&scene.config())?;
    for kill in 1..=10 {
        // Kills fall all over the burst, and at different moments of a message's way.
        reader.wait_for(kill * MESSAGES / 12, PATIENCE).await?;
        bridge.kill();
        bridge = scene.start(&scene.config())?;
    }
    read_numbered(&mut reader, MESSAGES).await?;
    Ok(())
}

#[tokio::test]
async fn kill_9_of_the_bridge_with_the_session_lost_too() -> Result<()> {
    const MESSAGES: usize = 120;
    let scene = Scene::new().await?;
    scene.publish_numbered(1, MESSAGES).await?;
    let mut reader = scene.reader().await?;
    let mut bridge = scene.start(&scene.config())?;
    for kill in 1..=3 {
        reader.wait_for(kill * MESSAGES / 5, PATIENCE).await?;
        // It may have been the one before that posted so many.
        bridge.wait_for_log("logged in", PATIENCE).await?;
        bridge.kill();
        // A new device: no homeserver knows our transaction ids any more, only the room tells.
        scene.forget_session()?;
        bridge = scene.start(&scene.config())?;
    }
    read_numbered(&mut reader, MESSAGES).await?;
    Ok(())
}

#[tokio::test]
async fn a_message_is_acknowledged_only_when_the_homeserver_has_it() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    scene.publish_numbered(1, 2).await?;
    let bridge = scene.start(&config)?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    bridge.kill();
    assert_eq!(scene.consumer().await?.ack_floor.stream_sequence, 0);
    proxy.clear();
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(2).await?;
    Ok(())
}

#[tokio::test]
async fn kill_9_of_the_homeserver_in_a_burst() -> Result<()> {
    const MESSAGES: usize = 300;
    let homeserver = Homeserver::start(BINARY).await?;
    let scene = Scene::on(&homeserver).await?;
    scene.publish_numbered(1, MESSAGES).await?;
    let mut reader = scene.reader().await?;
    let _bridge = scene.start(&scene.config())?;
    for kill in 1..=3 {
        reader.wait_for(kill * MESSAGES / 5, PATIENCE).await?;
        homeserver.kill().await;
        homeserver.restart().await?;
    }
    read_numbered(&mut reader, MESSAGES).await?;
    Ok(())
}

#[tokio::test]
async fn the_homeserver_is_down_for_a_while() -> Result<()> {
    let homeserver = Homeserver::start(BINARY).await?;
    let scene = Scene::on(&homeserver).await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    homeserver.kill().await;
    scene.publish_numbered(1, 20).await?;
    bridge.wait_for_log("trying again; messages wait in NATS", PATIENCE).await?;
    homeserver.restart().await?;
    scene.shows_numbered(20).await?;
    bridge.wait_for_log("works again after", PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn both_servers_are_away_when_the_bridge_starts() -> Result<()> {
    let homeserver = Homeserver::start(BINARY).await?;
    let scene = Scene::on(&homeserver).await?;
    scene.publish_numbered(1, 5).await?;
    scene.nats.kill().await;
    homeserver.kill().await;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("cannot be reached", PATIENCE).await?;
    scene.nats.restart().await?;
    bridge.wait_for_log("connected to NATS", PATIENCE).await?;
    homeserver.restart().await?;
    scene.shows_numbered(5).await?;
    Ok(())
}

#[tokio::test]
async fn kill_9_of_nats_in_a_burst() -> Result<()> {
    const MESSAGES: usize = 400;
    let scene = Scene::new().await?;
    scene.publish_numbered(1, MESSAGES).await?;
    let mut reader = scene.reader().await?;
    let _bridge = scene.start(&scene.config())?;
    for kill in 1..=3 {
        reader.wait_for(kill * MESSAGES / 5, PATIENCE).await?;
        scene.nats.kill().await;
        scene.nats.restart().await?;
    }
    read_numbered(&mut reader, MESSAGES).await?;
    Ok(())
}

#[tokio::test]
async fn the_connection_to_nats_is_cut_again_and_again() -> Result<()> {
    const MESSAGES: usize = 400;
    let scene = Scene::new().await?;
    let proxy =
        TcpProxy::start(&format!("127.0.0.1:{}", scene.nats.port()), Duration::from_millis(25))
            .await?;
    scene.publish_numbered(1, MESSAGES).await?;
    let mut reader = scene.reader().await?;
    let mut config = scene.config();
    config.nats = format!("servers = [\"nats://{}\"]\n", proxy.address());
    let _bridge = scene.start(&config)?;
    for cut in 1..=6 {
        // Messages are always on their way over such a link, so each cut loses deliveries.
        reader.wait_for(cut * MESSAGES / 8, PATIENCE).await?;
        proxy.cut();
    }
    read_numbered(&mut reader, MESSAGES).await?;
    Ok(())
}

/// A firewall, or the machine of a NATS server that was started anew, leaves a connection so: nothing closes it.
#[tokio::test]
async fn a_connection_to_nats_that_is_half_open_is_left_within_a_minute() -> Result<()> {
    let scene = Scene::new().await?;
    let proxy =
        TcpProxy::start(&format!("127.0.0.1:{}", scene.nats.port()), Duration::ZERO).await?;
    let mut config = scene.config();
    config.nats = format!("servers = [\"nats://{}\"]\n", proxy.address());
    let _bridge = scene.start(&config)?;
    scene.publish_numbered(1, 5).await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(5, PATIENCE).await?;
    proxy.forget();
    scene.publish_numbered(6, 10).await?;
    // Until it is left, and until NATS delivers no more over it, which is when a pull expires.
    reader.wait_for(10, Duration::from_mins(1)).await?;
    read_numbered(&mut reader, 10).await?;
    Ok(())
}

#[tokio::test]
async fn the_stream_is_made_anew() -> Result<()> {
    let scene = Scene::new().await?;
    scene.publish_numbered(1, 30).await?;
    let mut bridge = scene.start(&scene.config())?;
    let mut reader = scene.reader().await?;
    reader.wait_for(30, PATIENCE).await?;
    scene.nats.delete_stream("OPS").await?;
    bridge.wait_for_log("stream OPS does not exist", PATIENCE).await?;
    scene.nats.create_stream("OPS", &["ops.>"]).await?;
    // The same sequences as before, but other messages.
    scene.publish_numbered(31, 60).await?;
    read_numbered(&mut reader, 60).await?;
    bridge.wait_for_log("was made anew", PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_stream_made_anew_is_read_whole_also_by_a_route_that_began_with_what_was_new()
-> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes += "start = \"new\"\n";
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("made durable consumer", PATIENCE).await?;
    scene.nats.delete_stream("OPS").await?;
    bridge.wait_for_log("stream OPS does not exist", PATIENCE).await?;
    scene.nats.create_stream("OPS", &["ops.>"]).await?;
    // Published before the bridge has noticed.
    scene.publish_numbered(1, 5).await?;
    scene.shows_numbered(5).await?;
    Ok(())
}

#[tokio::test]
async fn the_stream_is_made_anew_while_the_bridge_is_away() -> Result<()> {
    let scene = Scene::new().await?;
    scene.publish_numbered(1, 10).await?;
    let bridge = scene.start(&scene.config())?;
    let mut reader = scene.reader().await?;
    reader.wait_for(10, PATIENCE).await?;
    scene.acknowledged(10).await?;
    bridge.kill();
    scene.nats.delete_stream("OPS").await?;
    scene.nats.create_stream("OPS", &["ops.>"]).await?;
    scene.publish_numbered(11, 20).await?;
    let _bridge = scene.start(&scene.config())?;
    read_numbered(&mut reader, 20).await?;
    Ok(())
}

#[tokio::test]
async fn a_route_whose_room_is_closed_holds_no_other_up() -> Result<()> {
    let scene = Scene::new().await?;
    let closed = scene.alice.create_room(json!({ "preset": "private_chat" })).await?;
    let config = Config::new(&scene.nats.url(), &scene.bot.homeserver, &scene.bot)
        .route("closed", "ops.closed", &closed)
        .route("open", "ops.text", &scene.room);
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("not let in", PATIENCE).await?;
    scene.nats.publish("ops.closed", "waits").await?;
    scene.publish_numbered(1, 10).await?;
    scene.shows_numbered(10).await?;
    scene.alice.invite(&closed, &scene.bot.user_id).await?;
    let mut late = scene.alice.reader(&closed).await?;
    assert_eq!(read_all(&mut late, 1).await?[0].said(), "waits");
    Ok(())
}

#[tokio::test]
async fn a_new_consumer_can_begin_with_what_is_published_from_then_on() -> Result<()> {
    let scene = Scene::with(shared_homeserver().await?, Nats::start().await?).await?;
    scene.nats.publish("ops.text", "old").await?;
    let mut config = scene.config();
    config.routes += "start = \"new\"\n";
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("made durable consumer", PATIENCE).await?;
    scene.publish_numbered(1, 3).await?;
    scene.shows_numbered(3).await?;
    Ok(())
}
