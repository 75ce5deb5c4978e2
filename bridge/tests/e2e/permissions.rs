//! `nats-matrix permissions`: what it prints suffices for all that a configuration uses, and `check` misses each of it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use nats_matrix_testbed::Event as Shown;
use serde_json::json;

use crate::{
    connections::{CONSUMER, DEAD, KEPT, LOGIN, NEEDED, WANTED, permissions, restricted},
    quiet::{HELD, alert, quiet, wait_until_held},
    rights::{assert_no_violation, digest_conversation_and_dead_letter},
    scene::{Config, PATIENCE, Scene, printed},
};

/// A configuration that uses every feature.
fn everything(config: Config) -> Config {
    let mut config = config.digests(20).nats(LOGIN).lines(CONSUMER);
    config.routes.push_str("summary = { every = \"day\" }\n");
    config
}

fn at_night(config: &Config) -> Config {
    let mut config = config.clone();
    config.routes.push_str(&quiet());
    config
}

fn run(scene: &Scene, config: &Config, arguments: &[&str]) -> Result<String> {
    // On another thread than a proxy, which the program may wait for.
    let output = tokio::task::block_in_place(|| scene.run(config, arguments))?;
    let said = printed(&output);
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

/// The configuration of a server where the bridge has exactly these permissions, as they are printed.
fn with(printed: &str) -> String {
    format!(
        "authorization {{ users: [\
           {{ user: admin, password: a }}, \
           {{ user: bridge, password: only-the-bridge-knows\n{printed}\n}} ] }}"
    )
}

/// The subjects of the permissions to publish.
fn subjects(printed: &str) -> Vec<String> {
    let (_, publish) = printed.split_once("publish: [\n").unwrap_or_default();
    let lines = publish.lines().map(str::trim).filter(|line| line.starts_with('"'));
    lines.map(|line| line.trim_matches('"').to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_suffices_for_all_that_the_configuration_uses() -> Result<()> {
    let scene = restricted(&["nothing"]).await?;
    let (proxy, config) = scene.through_proxy().await?;
    let config = everything(config);
    let at_night = at_night(&config);
    // NATS would not even let it find the stream.
    let printed = run(&scene, &at_night, &["permissions", "--format", "server"])?;
    scene.nats.reload(&with(&printed), &[]).await?;
    let said = run(&scene, &at_night, &["check"])?;
    assert!(!said.contains("note  rights") && said.contains("ok    rights"), "{said}");
    let mut reader = scene.reader().await?;

    let (second, mut logs) =
        digest_conversation_and_dead_letter(&scene, &config, &proxy, &mut reader).await?;

    // A summary.
    let report = json!({ "host": "server-01", "disk_percent": 14 });
    scene.nats.publish("ops.report.server-01", report.to_string()).await?;
    let said = run(&scene, &config, &["summary"])?;
    assert!(said.contains("1 report from 1 host"), "{said}");
    logs += &second.logs();
    second.kill();

    // Quiet hours, and what they have held back when they are taken away.
    let mut third = scene.start(&at_night)?;
    third.wait_for_log("posting into", PATIENCE).await?;
    scene.nats.publish("ops.alert.server-01", alert("warning", "at night", "firing")).await?;
    wait_until_held(&scene, 1).await.with_context(|| third.logs())?;
    logs += &third.logs();
    third.kill();
    let fourth = scene.start(&config)?;
    let morning = |event: &Shown| event.body().contains("at night");
    reader
        .wait_until(|events| events.iter().any(morning), PATIENCE)
        .await
        .with_context(|| fourth.logs())?;
    logs += &fourth.logs();
    assert_no_violation(&scene, &logs).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_misses_each_permission_that_is_taken_away() -> Result<()> {
    let scene = restricted(&["nothing"]).await?;
    scene.bot.join(&scene.room).await?;
    let config = at_night(&everything(scene.config()));
    let printed_rights = run(&scene, &config, &["permissions", "--format", "server"])?;
    let all = subjects(&printed_rights);
    let granted = |but: &str| -> Vec<&str> {
        all.iter().map(String::as_str).filter(|subject| *subject != but).collect()
    };
    let mut unmissed = Vec::new();
    for subject in &all {
        // Whether a consumer may be deleted could only be tried by deleting it.
        if subject.contains(".CONSUMER.DELETE.") {
            continue;
        }
        scene.nats.reload(&permissions(&granted(subject)), &[]).await?;
        let output = tokio::task::block_in_place(|| scene.run(&config, &["check"]))?;
        let said = printed(&output);
        let about = subject.trim_end_matches(['>', '*']).replace(".*.", ".");
        let about = about.split("_HELD.").next().unwrap_or_default();
        let is_missed = |line: &str| line.contains(" rights ") && line.contains(about);
        if !said.lines().any(is_missed) {
            unmissed.push(format!("{subject}: {said}"));
        }
    }
    assert!(all.len() > 25, "{all:#?}");
    assert!(unmissed.is_empty(), "{}", unmissed.join("\n"));
    Ok(())
}

#[tokio::test]
async fn all_formats_have_the_permissions_that_are_tested() -> Result<()> {
    let scene = restricted(&NEEDED).await?;
    let config = at_night(&everything(scene.config()));
    let print = |format: &str| -> Result<String> {
        let output = scene.run(&config, &["permissions", "--format", format])?;
        ensure!(output.status.success(), "{}", printed(&output));
        Ok(printed(&output))
    };
    let table = print("table")?;
    let mut in_table: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("publish")?.split_whitespace().next())
        .collect();
    let mut tested = [&NEEDED[..], &KEPT, &DEAD, &WANTED, &HELD].concat();
    in_table.sort_unstable();
    tested.sort_unstable();
    assert_eq!(in_table, tested);
    assert!(table.contains("subscribe  _INBOX_nats-matrix.>"), "{table}");

    // A shell would hand this to nsc.
    let command = print("nsc")?;
    let script = format!("nsc() {{ printf '%s\\n' \"$@\"; }}; {command}");
    let output = Command::new("sh").args(["-c", &script]).output()?;
    let words = String::from_utf8(output.stdout)?;
    let words: Vec<&str> = words.lines().collect();
    let of = |option: &str| -> Vec<&str> {
        words.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1]).collect()
    };
    assert_eq!(of("--allow-sub"), ["_INBOX_nats-matrix.>"]);
    assert_eq!(of("--allow-pub"), subjects(&print("server")?));
    Ok(())
}
