//! A web page as a phone shows it, in a browser without a window.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::browser;
use crate::{cache, leash::ScratchDir};

/// How wide the phone's screen is, in CSS pixels; few are narrower.
pub const PHONE_WIDTH: u32 = 360;
const PHONE_HEIGHT: u32 = 780;

/// A browser on a small screen.
#[derive(Debug)]
pub struct Phone {
    chromium: PathBuf,
}

/// What a phone shows.
#[derive(Clone, Debug, Deserialize)]
pub struct PhoneView {
    /// How wide the page is, in CSS pixels; more than [`PHONE_WIDTH`] has to be moved sideways to be read.
    pub width: u32,
    /// The text that can be seen.
    pub text: String,
}

/// Holds the page in a frame, and leaves what is seen there as JSON in its own text.
const PROBE: &str = r#"<!doctype html><meta charset="utf-8"><body><iframe id="frame"></iframe><script>
const frame = document.getElementById("frame");
frame.width = WIDTH; frame.height = HEIGHT; frame.style.border = 0; frame.srcdoc = PAGE;
frame.onload = () => {
  const root = frame.contentDocument.documentElement;
  const seen = { width: root.scrollWidth, text: root.innerText };
  document.body.textContent = "SEEN" + btoa(unescape(encodeURIComponent(JSON.stringify(seen)))) + "END";
};
</script>"#;

impl Phone {
    /// Looks for a browser.
    pub async fn find() -> Result<Self> {
        Ok(Self { chromium: spawn_blocking(cache::clients::chromium).await?? })
    }

    /// Shows the HTML of a page, and makes a PNG of it as `screenshot`.
    pub async fn show(&self, html: &str, screenshot: &Path) -> Result<PhoneView> {
        let profile = ScratchDir::new("chromium")?;
        let page = profile.path().join("page.html");
        fs::write(&page, html)?;
        let window = format!("--window-size={PHONE_WIDTH},{PHONE_HEIGHT}");
        let picture = format!("--screenshot={}", screenshot.display());
        self.run(&profile, &[&window, &picture], &page).await?;

        // In a script "</" could end it.
        let html = serde_json::to_string(html)?.replace("</", "<\\/");
        let probe = PROBE
            .replace("WIDTH", &PHONE_WIDTH.to_string())
            .replace("HEIGHT", &PHONE_HEIGHT.to_string())
            .replace("PAGE", &html);
        let path = profile.path().join("probe.html");
        fs::write(&path, probe)?;
        let shown = self.run(&profile, &["--dump-dom"], &path).await?;
        let seen = shown.split("SEEN").nth(1).and_then(|rest| rest.split("END").next());
        let seen = seen.with_context(|| format!("the browser shows no page: {shown}"))?;
        let seen = data_encoding::BASE64.decode(seen.as_bytes()).context("what the probe tells")?;
        Ok(serde_json::from_slice(&seen)?)
    }

    /// Runs the browser to its end; returns what it prints.
    async fn run(&self, profile: &ScratchDir, options: &[&str], page: &Path) -> Result<String> {
        let mut command: Command = browser::command(&self.chromium, profile.path());
        command.args(options).arg(format!("file://{}", page.display()));
        let mut command = tokio::process::Command::from(command);
        let output = command.kill_on_drop(true).output().await.context("cannot run Chromium")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "Chromium failed: {told}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
