//! A small disk for the bridge's state directory, which can be filled.

use std::{
    env,
    fs::{self, File},
    io::{ErrorKind, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nats_matrix_testbed::leash::OnExit;

/// Set where we run in a namespace of our own.
const IN_NAMESPACE: &str = "NATS_MATRIX_SOAK_NAMESPACE";
/// The arguments that start a program in a namespace where it may mount.
const NAMESPACE: [&str; 4] = ["--user", "--map-root-user", "--mount", "--"];

/// A file system in memory, unmounted when dropped.
pub(crate) struct Disk {
    dir: PathBuf,
    _unmount: OnExit,
}

impl Disk {
    /// Mounts 64 KiB at a directory that it makes.
    pub(crate) fn mount(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k,mode=700", "nats-matrix-soak"])
            .arg(dir)
            .output()
            .context("cannot run mount")?;
        if !mount.status.success() {
            let reason = String::from_utf8_lossy(&mount.stderr).trim().to_owned();
            bail!(
                "cannot mount a small disk ({reason}): run it as root, or allow unprivileged user namespaces"
            );
        }
        let text = dir.to_str().context("the temporary directory's path is not UTF-8")?;
        Ok(Self { dir: dir.to_owned(), _unmount: OnExit::run("umount -l -- \"$1\"", &[text])? })
    }

    /// Leaves no room on it.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filler())?;
        loop {
            match file.write_all(&[0; 512]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("cannot fill the small disk"),
            }
        }
    }

    /// Undoes [`Self::fill`].
    pub(crate) fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("cannot empty the small disk")
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("filler")
    }
}

/// Starts this program again in a namespace where it may mount, if it may not where it is and the system lets it.
/// Returns if it goes on here.
pub(crate) fn enter_namespace() {
    let is_root = rustix::process::geteuid().is_root();
    if is_root || env::var_os(IN_NAMESPACE).is_some() {
        return;
    }
    let allowed = Command::new("unshare")
        .args(NAMESPACE)
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if let (true, Ok(program)) = (allowed, env::current_exe()) {
        // It comes back only if it fails; then the report says what cannot be done here.
        let _ = Command::new("unshare")
            .args(NAMESPACE)
            .arg(program)
            .args(env::args_os().skip(1))
            .env(IN_NAMESPACE, "1")
            .exec();
    }
}
