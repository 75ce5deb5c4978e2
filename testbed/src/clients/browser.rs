//! Chromium without a window.

use std::{path::Path, process::Command};

/// A command for it, with everything that it writes in `profile`.
pub(super) fn command(chromium: &Path, profile: &Path) -> Command {
    let mut command = Command::new(chromium);
    command
        .args(["--headless", "--disable-gpu", "--no-first-run", "--disable-sync"])
        // It would look for updates and the like.
        .args(["--disable-background-networking", "--disable-component-update"])
        .arg(format!("--user-data-dir={}", profile.display()));
    if rustix::process::geteuid().is_root() {
        // Its sandbox refuses to be root's.
        command.arg("--no-sandbox");
    }
    command
}
