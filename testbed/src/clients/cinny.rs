//! Cinny, a Matrix client for browsers, as it looks on a phone.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, header, server, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::spawn_blocking, time::timeout};

use super::browser;
use crate::{cache, leash::ScratchDir, matrix::Account};

/// The screen of a usual phone in CSS pixels.
const SCREEN: (u32, u32) = (390, 844);

/// The time that the client may take to show the room.
const PATIENCE: Duration = Duration::from_mins(3);

/// The client in a browser without a window.
#[derive(Debug)]
pub struct Cinny {
    chromium: PathBuf,
    files: PathBuf,
}

/// Something that a phone shows.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The message to go to; the last one without it.
    pub message: Option<&'a str>,
    /// The texts that have to be there.
    pub texts: &'a [&'a str],
}

/// Logs in and shows a room in frames as large as a phone's screen. The browser takes its picture once the page is
/// loaded, which it is when the picture in it has come: the server holds that back until the room has been told to be
/// whole.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>Phones</title>
<style>body { margin: 0; display: flex; gap: 20px; background: #d5d9dd } iframe { border: 0 }</style><script>
const { storage, scenes, width, height } = SESSION;
for (const [key, value] of Object.entries(storage)) localStorage.setItem(key, value);
let before = "", calm = 0;
setInterval(() => {
  const shown = [...document.querySelectorAll("iframe")].map((frame) => frame.contentDocument?.body?.innerText ?? "");
  const isWhole = scenes.every(({ texts }, index) => texts.every((text) => shown[index]?.includes(text)));
  const now = shown.join();
  calm = now === before && isWhole ? calm + 1 : 0;
  before = now;
  if (calm === 20) fetch("/whole");
}, 300);
</script><body><img src="/once-whole" width="0" height="0" style="position: absolute"><script>
for (const { path } of scenes) {
  document.body.append(Object.assign(document.createElement("iframe"), { width, height, src: path }));
}
</script>"#;

/// The space between two phones.
const GAP: u32 = 20;

impl Cinny {
    /// Looks for a browser. `files` has the client as its release brings it.
    pub async fn new(files: &Path) -> Result<Self> {
        let index = files.join("index.html");
        ensure!(index.exists(), "{} is not there: is this a built Cinny?", index.display());
        let chromium = spawn_blocking(cache::clients::chromium).await??;
        Ok(Self { chromium, files: files.to_owned() })
    }

    /// Makes a picture, as a PNG, of phones beside each other on which the owner of this account looks at a room.
    pub async fn photograph(
        &self,
        account: &Account,
        room: &str,
        scenes: &[Scene<'_>],
        picture: &Path,
    ) -> Result<()> {
        let session = json!({
            "storage": {
                "cinny_hs_base_url": account.homeserver,
                "cinny_user_id": account.user_id,
                "cinny_device_id": account.device_id,
                "cinny_access_token": account.access_token,
            },
            "scenes": scenes.iter().map(|scene| json!({
                "path": format!("/home/{room}/{}", scene.message.unwrap_or_default()),
                "texts": scene.texts,
            })).collect::<Vec<_>>(),
            "width": SCREEN.0,
            "height": SCREEN.1,
        });
        let page = Arc::new(Page {
            files: self.files.clone(),
            text: PAGE.replace("SESSION", &session.to_string()),
            is_whole: watch::Sender::new(false),
        });
        let count = u32::try_from(scenes.len())?;
        let width = count * (SCREEN.0 + GAP) - GAP;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}/phones", listener.local_addr()?);
        let profile = ScratchDir::new("chromium")?;
        let mut command = browser::command(&self.chromium, profile.path());
        command
            .arg(format!("--window-size={width},{}", SCREEN.1))
            .args(["--force-device-scale-factor=1", "--hide-scrollbars"])
            .arg(format!("--screenshot={}", picture.display()))
            .arg(address);
        let mut command = tokio::process::Command::from(command);
        let output = tokio::select! {
            output = timeout(PATIENCE, command.kill_on_drop(true).output()) => output,
            never = serve(listener, page) => match never {},
        };
        let output = output.with_context(|| format!("the room does not show {scenes:?}"))??;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && picture.exists(), "Chromium failed: {told}");
        Ok(())
    }
}

/// The page that the browser is given.
struct Page {
    files: PathBuf,
    text: String,
    /// Whether the client shows all of the room.
    is_whole: watch::Sender<bool>,
}

impl Page {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (kind, body) = match request.uri().path() {
            "/phones" => ("text/html; charset=utf-8", self.text.clone().into()),
            "/whole" => {
                self.is_whole.send_replace(true);
                ("text/plain", Bytes::new())
            }
            "/once-whole" => {
                self.is_whole.subscribe().wait_for(|is_whole| *is_whole).await?;
                ("image/svg+xml", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>".into())
            }
            path => self.file(path.trim_start_matches('/'))?,
        };
        Ok(Response::builder().header(header::CONTENT_TYPE, kind).body(Full::from(body))?)
    }

    /// Returns a file of the client. It asks for some beside its views. All other paths are those of views.
    fn file(&self, path: &str) -> Result<(&'static str, Bytes)> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let places = [path, name].map(|place| self.files.join(place));
        let is_above = path.split('/').any(|part| part == "..");
        let file = places.into_iter().find(|file| !is_above && file.is_file());
        let file = file.unwrap_or_else(|| self.files.join("index.html"));
        let kind = match file.extension().and_then(|extension| extension.to_str()) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("json") => "application/json",
            Some("svg") => "image/svg+xml",
            Some("wasm") => "application/wasm",
            _ => "application/octet-stream",
        };
        Ok((kind, fs::read(&file)?.into()))
    }
}

async fn serve(listener: TcpListener, page: Arc<Page>) -> std::convert::Infallible {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            // A browser that is closed has nothing more to ask.
            let _ = server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(|request| page.answer(request)))
                .await;
        });
    }
}
