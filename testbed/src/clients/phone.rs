//! A web page as a phone shows it, in a browser without a window.

use std::{
    convert::Infallible,
    future::ready,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpListener, task::spawn_blocking};

use super::browser;
use crate::{cache, leash::ScratchDir};

/// The width of the phone's screen in CSS pixels; few are narrower.
pub const PHONE_WIDTH: u32 = 360;
const PHONE_HEIGHT: u32 = 780;

/// A browser on a small screen.
#[derive(Debug)]
pub struct Phone {
    chromium: PathBuf,
}

/// A page as a phone shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct PhoneView {
    /// The width of the page in CSS pixels; more than [`PHONE_WIDTH`] has to be moved sideways to be read.
    pub width: u32,
    /// The text that can be seen.
    pub text: String,
    /// The number of style sheets in force. One that the page's own policy forbids is not.
    pub styles: usize,
}

/// Holds the page in a frame, and leaves what is seen there as JSON in its own text.
const PROBE: &str = r#"<!doctype html><meta charset="utf-8"><body><iframe id="frame"></iframe><script>
const frame = document.getElementById("frame");
frame.width = WIDTH; frame.height = HEIGHT; frame.style.border = 0;
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const seen = { width: root.scrollWidth, text: root.innerText, styles: page.styleSheets.length };
  document.body.textContent = "SEEN" + btoa(unescape(encodeURIComponent(JSON.stringify(seen)))) + "END";
};
frame.src = PAGE;
</script>"#;

impl Phone {
    /// Looks for a browser.
    pub async fn find() -> Result<Self> {
        Ok(Self { chromium: spawn_blocking(cache::clients::chromium).await?? })
    }

    /// Shows the page at this address, as its server has it shown, and makes a PNG of it as `screenshot`.
    pub async fn show(&self, url: &str, screenshot: &Path) -> Result<PhoneView> {
        let profile = ScratchDir::new("chromium")?;
        let window = format!("--window-size={PHONE_WIDTH},{PHONE_HEIGHT}");
        let picture = format!("--screenshot={}", screenshot.display());
        self.run(&profile, &[&window, &picture], url).await?;

        let probe = PROBE
            .replace("WIDTH", &PHONE_WIDTH.to_string())
            .replace("HEIGHT", &PHONE_HEIGHT.to_string())
            .replace("PAGE", &serde_json::to_string(url)?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}/", listener.local_addr()?);
        // Another port is another origin, whose pages the probe could not look at.
        let looks = ["--disable-web-security", "--dump-dom"];
        let shown = tokio::select! {
            shown = self.run(&profile, &looks, &address) => shown?,
            never = serve(listener, probe.into()) => match never {},
        };
        let seen = shown.split("SEEN").nth(1).and_then(|rest| rest.split("END").next());
        let seen = seen.with_context(|| format!("the browser shows no page: {shown}"))?;
        let seen = data_encoding::BASE64.decode(seen.as_bytes()).context("what the probe tells")?;
        Ok(serde_json::from_slice(&seen)?)
    }

    /// Runs the browser to its end; returns what it prints.
    async fn run(&self, profile: &ScratchDir, options: &[&str], url: &str) -> Result<String> {
        let mut command: Command = browser::command(&self.chromium, profile.path());
        command.args(options).arg(url);
        let mut command = tokio::process::Command::from(command);
        let output = command.kill_on_drop(true).output().await.context("cannot run Chromium")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "Chromium failed: {told}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Answers every request with the same page, for ever.
async fn serve(listener: TcpListener, page: Bytes) -> Infallible {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let page = page.clone();
        tokio::spawn(async move {
            let answer = service_fn(|_: Request<Incoming>| {
                ready(Ok::<_, Infallible>(Response::new(Full::new(page.clone()))))
            });
            // A browser that is closed has nothing more to ask.
            let _ = server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}
