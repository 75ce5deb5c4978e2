//! Durable consumers, and what operators of NATS do to them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::{
    HeaderMap, HeaderName, HeaderValue,
    jetstream::{
        self,
        consumer::{self, DeliverPolicy, FromConsumer as _, PriorityPolicy, pull},
        stream,
    },
};
use nats_matrix_testbed::{Event, Fault, FaultKind, Nats, NatsCluster};
use tokio::time::{Instant, sleep};

use crate::{
    health::{Pages, listening},
    scene::{Config, PATIENCE, Scene, printed, read_all, shared_homeserver, through_proxy},
};

/// Makes a consumer on stream OPS for `ops.>`.
async fn make(scene: &Scene, name: &str, metadata: &[(&str, &str)]) -> Result<()> {
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let config = pull::Config {
        durable_name: Some(name.to_owned()),
        filter_subject: "ops.>".to_owned(),
        metadata: metadata.collect(),
        ..pull::Config::default()
    };
    scene.nats.jetstream().await?.get_stream("OPS").await?.create_consumer(config).await?;
    Ok(())
}

/// Runs `nats-matrix consumers` with these arguments, and returns what it prints.
fn consumers(scene: &Scene, config: &Config, arguments: &[&str]) -> Result<String> {
    let output = scene.run(config, &[&["consumers"], arguments].concat())?;
    let said = printed(&output);
    assert!(output.status.success(), "{said}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_named_like_its_route_is_used_until_it_is_moved() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    make(&scene, "reports", &[]).await?;
    scene.publish_numbered(1, 10).await?;
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("nats-matrix consumers move --route reports", PATIENCE).await?;
    scene.shows_numbered(10).await?;
    // Some messages are outstanding when the bridge ends.
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    scene.publish_numbered(11, 30).await?;
    proxy.wait_for_requests("/send/", 11, PATIENCE).await?;
    bridge.kill();
    proxy.clear();
    let before = scene.consumer().await?;
    assert_eq!(before.name, "reports");
    assert!(before.num_ack_pending > 0);
    assert_eq!(before.config.metadata["nats-matrix.user"], scene.bot.user_id);

    let said = consumers(&scene, &config, &[])?;
    assert!(said.contains("route reports: reports on stream OPS, 20 messages wait; "), "{said}");
    let said = consumers(&scene, &config, &["move", "--route", "reports"])?;
    assert!(said.contains("consumer reports on stream OPS is now reports-"), "{said}");
    let after = scene.consumer().await?;
    assert_ne!(after.name, "reports");
    assert_eq!(after.num_pending, 20, "{said}");
    let again = consumers(&scene, &config, &["move"])?;
    assert!(again.contains(&format!("consumer {} on stream OPS stays", after.name)), "{again}");
    scene.publish_numbered(31, 32).await?;
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(32).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_runs_notices_that_its_consumer_was_moved() -> Result<()> {
    let scene = Scene::new().await?;
    make(&scene, "reports", &[]).await?;
    scene.publish_numbered(1, 10).await?;
    let _bridge = scene.start(&scene.config())?;
    scene.shows_numbered(10).await?;
    consumers(&scene, &scene.config(), &["move", "--route", "reports"])?;
    scene.publish_numbered(11, 20).await?;
    scene.shows_numbered(20).await?;
    let now = scene.consumer().await?;
    assert_ne!(now.name, "reports");
    assert_eq!((now.num_pending, now.num_ack_pending), (0, 0));
    Ok(())
}

/// A consumer that is named like the route, and that is not ours, is left alone.
#[tokio::test]
async fn one_of_another_bridge_is_not_used() -> Result<()> {
    let scene = Scene::new().await?;
    let other = [("nats-matrix.user", "@other:example.com"), ("nats-matrix.route", "reports")];
    make(&scene, "reports", &other).await?;
    scene.publish_numbered(1, 3).await?;
    let bridge = scene.start(&scene.config())?;
    scene.shows_numbered(3).await?;
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    let theirs: consumer::Info = stream.consumer_info("reports").await?;
    assert_eq!((theirs.num_pending, theirs.delivered.consumer_sequence), (3, 0));

    // It is refused where the configuration names it.
    bridge.kill();
    let config = scene.config().lines("consumer = \"reports\"");
    let mut bridge = scene.start(&listening(config.clone()))?;
    let pages = Pages::of(&mut bridge).await?;
    let said = pages.wait_for("route-refused").await?;
    let reason = said["routes"]["reports"]["reason"].as_str().unwrap();
    assert!(reason.contains("belongs to the bridge @other:example.com"), "{said}");
    assert!(reason.contains("nats consumer rm OPS reports"), "{said}");
    let checked = printed(&scene.run(&config, &["check"])?);
    assert!(checked.contains("belongs to the bridge @other:example.com"), "{checked}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_route_keeps_the_consumer_that_it_names() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config().lines("consumer = \"kept\"\nstart = \"new\"");
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("made durable consumer kept on stream OPS", PATIENCE).await?;
    scene.publish_numbered(1, 5).await?;
    scene.shows_numbered(5).await?;
    bridge.terminate()?;
    bridge.wait(PATIENCE).await?;
    scene.publish_numbered(6, 10).await?;
    let mut renamed = config.clone();
    renamed.routes = renamed.routes.replace("\"reports\"", "\"renamed\"");
    let _bridge = scene.start(&renamed)?;
    scene.shows_numbered(10).await?;
    let said = consumers(&scene, &renamed, &[])?;
    assert!(said.contains("route renamed: kept on stream OPS, 0 messages wait"), "{said}");
    Ok(())
}

/// Starts a bridge whose route begins with what is new, and ends it when it has shown "message 1" to "message 3".
async fn begun(scene: &Scene, config: &Config, is_killed: bool) -> Result<()> {
    let mut bridge = scene.start(config)?;
    bridge.wait_for_log("made durable consumer", PATIENCE).await?;
    scene.publish_numbered(1, 3).await?;
    scene.shows_numbered(3).await?;
    if is_killed {
        bridge.kill();
        return Ok(());
    }
    bridge.terminate()?;
    assert_eq!(bridge.wait(PATIENCE).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_route_that_has_begun_with_what_is_new_goes_on_when_its_consumer_is_deleted() -> Result<()>
{
    // The checkpoint of a bridge that is killed is from its start, and what it has shown since is recognised.
    for (is_killed, reached) in [(false, 4), (true, 1)] {
        let scene = Scene::new().await?;
        scene.nats.publish("ops.text", "old").await?;
        let config = scene.config().lines("start = \"new\"");
        begun(&scene, &config, is_killed).await?;
        scene.publish_numbered(4, 20).await?;
        let name = scene.consumer().await?.name;
        scene.nats.jetstream().await?.get_stream("OPS").await?.delete_consumer(&name).await?;
        scene.publish_numbered(21, 40).await?;
        let mut bridge = scene.start(&config)?;
        let line = format!("route reports has begun before: it goes on after message {reached}");
        bridge.wait_for_log(&line, PATIENCE).await?;
        scene.shows_numbered(40).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_route_that_has_begun_with_what_is_new_shows_all_of_a_stream_that_was_made_anew()
-> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config().lines("start = \"new\"");
    begun(&scene, &config, false).await?;
    scene.nats.delete_stream("OPS").await?;
    scene.nats.create_stream("OPS", &["ops.>"]).await?;
    scene.publish_numbered(4, 23).await?;
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(23).await?;
    Ok(())
}

/// Empties the stream OPS of a server that is started again, as a server does that has lost its disk.
async fn lose_messages(scene: &Scene) -> Result<()> {
    let messages = scene.nats.data().context("the server is not a process")?;
    let messages = messages.join("jetstream/jetstream/$G/streams/OPS/msgs");
    scene.nats.kill().await;
    std::fs::remove_dir_all(&messages)?;
    std::fs::create_dir(&messages)?;
    scene.nats.restart().await?;
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    assert_eq!(stream.cached_info().state.last_sequence, 0);
    Ok(())
}

#[tokio::test]
async fn a_stream_that_its_server_has_emptied_is_shown_from_its_first_message() -> Result<()> {
    for is_running in [true, false] {
        let nats = Nats::builder().as_process().start().await?;
        let scene = Scene::with(shared_homeserver().await?, nats).await?.in_haste()?;
        let config = scene.config();
        scene.publish_numbered(1, 20).await?;
        let mut bridges = vec![scene.start(&config)?];
        scene.shows_numbered(20).await?;
        // The consumer has to keep on disk that all is acknowledged.
        sleep(Duration::from_secs(1)).await;
        if !is_running {
            bridges.clear();
        }
        let before = scene.consumer().await?;
        assert_eq!(before.ack_floor.stream_sequence, 20);
        lose_messages(&scene).await?;
        scene.publish_numbered(21, 30).await?;
        if !is_running {
            bridges.push(scene.start(&config)?);
        }
        scene.shows_numbered(30).await?;
        scene.publish_numbered(31, 32).await?;
        scene.shows_numbered(32).await?;
    }
    Ok(())
}

/// Starts a cluster's server again without what it had on its disk.
async fn lose_disk(node: &Nats) -> Result<()> {
    let data = node.data().context("the server is not a process")?;
    node.kill().await;
    std::fs::remove_dir_all(data.join("jetstream"))?;
    node.restart().await
}

async fn publish_once(jetstream: &jetstream::Context, text: &str) -> Result<()> {
    jetstream.publish("ops.text", text.to_owned().into()).await?.await?;
    Ok(())
}

#[tokio::test]
async fn a_stream_without_replicas_whose_server_has_lost_its_disk_is_shown_from_its_first_message()
-> Result<()> {
    let cluster = NatsCluster::start(3).await?;
    let jetstream = cluster.jetstream(PATIENCE).await?;
    let stream = stream::Config {
        name: "OPS".to_owned(),
        subjects: vec!["ops.>".to_owned()],
        ..Default::default()
    };
    let stream = jetstream.create_stream(stream).await?;
    let texts = |numbers: std::ops::RangeInclusive<usize>| {
        numbers.map(|number| format!("message {number}")).collect::<Vec<_>>()
    };
    // While the stream is made again nobody takes a message.
    let publish = async |texts: Vec<String>| -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for text in texts {
            while let Err(error) = publish_once(&jetstream, &text).await {
                anyhow::ensure!(Instant::now() < deadline, "{error:#}");
                sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    };
    publish(vec!["old".to_owned(); 80]).await?;
    let leader = stream.get_info().await?.cluster.context("no cluster")?.leader;
    let names = (1..).map(|number| Some(format!("node-{number}")));
    let (_, lost) =
        names.zip(cluster.nodes()).find(|(name, _)| *name == leader).context("no leader")?;
    let other =
        cluster.nodes().iter().find(|node| node.port() != lost.port()).context("no other")?;

    let scene = Scene::new().await?.in_haste()?;
    let config = Config::new(&other.url(), &scene.bot.homeserver, &scene.bot);
    let config = config.route("reports", "ops.>", &scene.room).lines("start = \"new\"");
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("made durable consumer", PATIENCE).await?;
    publish(texts(1..=3)).await?;
    scene.shows_numbered(3).await?;
    lose_disk(lost).await?;
    publish(texts(4..=80)).await?;
    scene.shows_numbered(80).await.with_context(|| bridge.logs())?;
    Ok(())
}

/// A cluster makes a stream without replicas, whose server has lost its disk, again as it was declared, and so its
/// consumers, among them those that began with a number which the stream does not have yet.
#[tokio::test]
async fn one_that_is_ahead_of_its_stream_begins_anew() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config().lines("start = \"new\"\nconsumer = \"reports\"");
    let ahead = pull::Config {
        durable_name: Some("reports".to_owned()),
        filter_subject: "ops.>".to_owned(),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: 81 },
        ..pull::Config::default()
    };
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    stream.create_consumer(ahead).await?;
    assert_eq!(scene.consumer().await?.delivered.stream_sequence, 80);
    scene.publish_numbered(1, 20).await?;
    let mut bridge = scene.start(&config)?;
    bridge
        .wait_for_log("was at message 80 of stream OPS, which does not have it", PATIENCE)
        .await?;
    scene.shows_numbered(20).await?;
    Ok(())
}

/// Changes the consumer of the route, as an operator does.
async fn edit(scene: &Scene, change: impl Fn(&mut pull::Config)) -> Result<()> {
    let info = scene.consumer().await?;
    let mut config = pull::Config::try_from_consumer_config(info.config)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    change(&mut config);
    scene.nats.jetstream().await?.get_stream("OPS").await?.update_consumer(config).await?;
    Ok(())
}

#[tokio::test]
async fn a_filter_that_is_changed_while_it_runs_is_put_right_and_nothing_is_left_out() -> Result<()>
{
    // The change is noticed by the regular look at the consumer, or when the connection was lost.
    for is_lost in [false, true] {
        let scene = Scene::on(shared_homeserver().await?).await?.in_haste()?;
        let mut bridge = scene.start(&scene.config())?;
        scene.publish_numbered(1, 3).await?;
        scene.shows_numbered(3).await?;
        edit(&scene, |config| config.filter_subject = "ops.other".to_owned()).await?;
        scene.publish_numbered(4, 150).await?;
        if is_lost {
            scene.nats.restart().await?;
        }
        bridge.wait_for_log("somebody has changed durable consumer", PATIENCE).await?;
        scene.shows_numbered(150).await?;
        assert_eq!(scene.consumer().await?.config.filter_subject, "ops.>");
        scene.publish_numbered(151, 155).await?;
        scene.shows_numbered(155).await?;
    }
    Ok(())
}

#[tokio::test]
async fn one_that_delivers_headers_alone_is_put_right_and_nothing_is_shown_empty() -> Result<()> {
    let scene = Scene::new().await?;
    let _bridge = scene.start(&scene.config())?;
    scene.publish_numbered(1, 3).await?;
    scene.shows_numbered(3).await?;
    edit(&scene, |config| config.headers_only = true).await?;
    scene.publish_numbered(4, 150).await?;
    scene.shows_numbered(150).await?;
    assert!(!scene.consumer().await?.config.headers_only);
    // A publisher who writes the header that such a consumer adds is no reason to stop.
    let size: (HeaderName, HeaderValue) = ("Nats-Msg-Size".parse()?, "7".parse()?);
    let headers: HeaderMap = [size].into_iter().collect();
    for _ in 0..3 {
        let jetstream = scene.nats.jetstream().await?;
        jetstream.publish_with_headers("ops.text", headers.clone(), "".into()).await?.await?;
    }
    scene.nats.publish("ops.text", "after it").await?;
    let events = read_all(&mut scene.reader().await?, 154).await?;
    assert_eq!(events[153].said(), "after it");
    Ok(())
}

#[tokio::test]
async fn one_that_is_paused_is_reported_with_the_end_of_the_pause() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let mut bridge = scene.start(&listening(scene.config()))?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("connected").await?;
    let info = scene.consumer().await?;
    let name = info.name;
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    let until = info.created + Duration::from_hours(1);
    stream.pause_consumer(&name, until).await?;
    scene.publish_numbered(1, 2).await?;
    let said = pages.wait_for("consumer-paused").await?;
    let reason = said["routes"]["reports"]["reason"].as_str().unwrap();
    let day = format!("{}-{:02}-{:02} ", until.year(), u8::from(until.month()), until.day());
    assert!(reason.contains(&format!("is paused until {day}")), "{reason}");
    assert!(reason.contains(&format!("nats consumer resume OPS {name}")), "{reason}");
    stream.resume_consumer(&name).await?;
    scene.shows_numbered(2).await?;
    pages.wait_for("connected").await?;
    Ok(())
}

#[tokio::test]
async fn limits_of_a_stream_for_its_consumers_are_kept_to() -> Result<()> {
    let scene = Scene::new().await?;
    let jetstream = scene.nats.jetstream().await?;
    let mut config = jetstream.get_stream("OPS").await?.cached_info().config.clone();
    let limits = stream::ConsumerLimits {
        max_ack_pending: 10,
        inactive_threshold: Duration::from_hours(24),
    };
    config.consumer_limits = Some(limits);
    jetstream.update_stream(config).await?;
    let checked = printed(&scene.run(&scene.config(), &["check"])?);
    assert!(checked.contains("removes the consumer 24h after"), "{checked}");
    scene.publish_numbered(1, 150).await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("removes the consumer 24h after", PATIENCE).await?;
    scene.shows_numbered(150).await?;
    assert_eq!(scene.consumer().await?.config.max_ack_pending, 10);
    Ok(())
}

#[tokio::test]
async fn limits_of_the_server_and_of_the_account_are_kept_to() -> Result<()> {
    for limits in [
        "jetstream { store_dir: \"limited\", limits { max_request_batch: 10 } }",
        "jetstream { store_dir: \"limited\", limits { max_ack_pending: 10 } }",
        "accounts { A { users: [ { user: a, password: anybody-who-asks } ], jetstream { max_ack_pending: 10 } } }\n\
         no_auth_user: a",
    ] {
        let nats = Nats::builder().config(limits).as_process().start().await?;
        let scene = Scene::with(shared_homeserver().await?, nats).await?;
        scene.publish_numbered(1, 150).await?;
        let bridge = scene.start(&scene.config())?;
        scene.shows_numbered(150).await.with_context(|| bridge.logs())?;
        assert!(!bridge.logs().contains("changing durable consumer"), "{}", bridge.logs());
    }
    Ok(())
}

#[tokio::test]
async fn limits_that_somebody_sets_while_it_runs_are_taken_back() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let _bridge = scene.start(&scene.config())?;
    scene.publish_numbered(1, 3).await?;
    scene.shows_numbered(3).await?;
    edit(&scene, |config| {
        config.max_batch = 10;
        config.max_bytes = 1_000;
    })
    .await?;
    scene.publish_numbered(4, 150).await?;
    scene.shows_numbered(150).await?;
    edit(&scene, |config| {
        config.priority_policy = PriorityPolicy::Overflow;
        config.priority_groups = vec!["others".to_owned()];
    })
    .await?;
    scene.publish_numbered(151, 160).await?;
    scene.shows_numbered(160).await?;
    Ok(())
}

/// Homeservers take numbers up to 2^53 only. Somebody who purges a stream ahead makes it count further.
#[tokio::test]
async fn a_stream_may_count_further_than_a_homeserver() -> Result<()> {
    let scene = Scene::new().await?;
    scene.publish_numbered(1, 3).await?;
    let bridge = scene.start(&scene.config())?;
    scene.shows_numbered(3).await?;
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    stream.purge().sequence((1 << 53) + 7).await?;
    scene.publish_numbered(4, 6).await?;
    let shown = async |count: usize| -> Result<Vec<String>> {
        let has_all =
            |events: &[Event]| events.iter().any(|it| it.said() == format!("message {count}"));
        let mut reader = scene.reader().await?;
        let events = reader.wait_until(has_all, PATIENCE).await?;
        // The bridge cannot know that nothing was between.
        let said =
            events.iter().map(Event::said).filter(|it| !it.contains("removed by the stream"));
        Ok(said.map(str::to_owned).collect())
    };
    let expected = |count: usize| (1..=count).map(|it| format!("message {it}")).collect::<Vec<_>>();
    assert_eq!(shown(6).await.with_context(|| bridge.logs())?, expected(6));
    bridge.kill();
    scene.publish_numbered(7, 9).await?;
    let bridge = scene.start(&scene.config())?;
    assert_eq!(shown(9).await.with_context(|| bridge.logs())?, expected(9));
    assert_eq!(stream.get_info().await?.state.last_sequence, (1 << 53) + 12);
    Ok(())
}
