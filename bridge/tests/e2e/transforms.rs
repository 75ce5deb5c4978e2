//! Streams that store messages under other subjects than those that they were published on.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::scene::{Config, Scene, printed, read_all};

/// Makes a stream of the server's own JSON, which has more in it than the client knows.
pub(crate) async fn make_stream(scene: &Scene, config: Value) -> Result<()> {
    let name = config["name"].as_str().context("no name")?.to_owned();
    let jetstream = scene.nats.jetstream().await?;
    let answer: Value = jetstream.request(format!("STREAM.CREATE.{name}"), &config).await?;
    anyhow::ensure!(answer["error"].is_null(), "{answer}");
    Ok(())
}

fn route(scene: &Scene, stream: &str, subject: &str) -> Config {
    let mut config = scene.config_for(subject, &scene.room);
    config.routes = config.routes.replace("\"OPS\"", &format!("\"{stream}\""));
    config
}

#[tokio::test]
async fn what_a_stream_stores_under_other_subjects_matches() -> Result<()> {
    let scene = Scene::new().await?;
    scene.bot.join(&scene.room).await?;
    make_stream(
        &scene,
        json!({
            "name": "MOVED", "subjects": ["raw.*.>", "plain.>"],
            "subject_transform": { "src": "raw.*.>", "dest": "by-host.{{wildcard(1)}}.>" },
        }),
    )
    .await?;
    scene.nats.publish("raw.db-01.disk", "of raw").await?;
    let config = route(&scene, "MOVED", "by-host.db-01.>");
    let output = scene.run(&config, &["check"])?;
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("\"by-host.db-01.>\" matches 1 messages on 1 subject"), "{text}");
    assert!(
        text.contains("takes raw.*.>, plain.> and stores raw.*.> as by-host.{{wildcard(1)}}.>")
    );
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let shown = read_all(&mut reader, 1).await.with_context(|| bridge.logs())?;
    assert_eq!(shown[0].said(), "of raw");
    assert!(!bridge.logs().contains("can never match"), "{}", bridge.logs());

    // Nothing is stored under the subject that is published on; but what is not transformed is.
    let output = scene.run(&route(&scene, "MOVED", "raw.db-01.>"), &["check"])?;
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("\"raw.db-01.>\" can never match: stream MOVED takes raw.*.>"), "{text}");
    let output = scene.run(&route(&scene, "MOVED", "plain.>"), &["check"])?;
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    Ok(())
}

#[tokio::test]
async fn what_a_stream_takes_from_another_under_other_subjects_matches() -> Result<()> {
    let scene = Scene::new().await?;
    scene.bot.join(&scene.room).await?;
    let transforms = json!([{ "src": "ops.>", "dest": "copied.>" }]);
    let source = json!({ "name": "OPS", "subject_transforms": transforms });
    make_stream(&scene, json!({ "name": "COPY", "sources": [source] })).await?;
    scene.nats.publish("ops.x", "copied").await?;
    let config = route(&scene, "COPY", "copied.>");
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let shown = read_all(&mut reader, 1).await.with_context(|| bridge.logs())?;
    assert_eq!(shown[0].said(), "copied");
    let output = scene.run(&config, &["check"])?;
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    Ok(())
}
