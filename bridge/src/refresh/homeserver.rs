//! The process of the homeserver, as the kernel shows it.

use std::{fs, io, path::Path};

use procfs::process::Process;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::judge::{Look, ProcessId};

/// A homeserver that is ready.
#[derive(Debug)]
pub(super) struct Homeserver {
    pub(super) look: Look,
}

impl Homeserver {
    /// Finds the homeserver that runs in a cgroup, the largest process if there are several. `None` if there is none, or
    /// if it is still starting: it reads back its database then, and has to be left alone.
    pub(super) fn of(cgroup: &Path) -> Option<Self> {
        let processes = fs::read_to_string(cgroup.join("cgroup.procs")).ok()?;
        let pids = processes.lines().filter_map(|line| line.parse().ok());
        let look = pids.filter_map(look).max_by_key(|look| look.anonymous)?;
        Some(Self { look })
    }

    /// Sends it a signal, and to nobody else: not to a process that has its number after it.
    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        let ProcessId { pid, .. } = self.look.process;
        let handle = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let handle = pidfd_open(handle, PidfdFlags::empty())?;
        match look(pid) {
            Some(now) if now.process == self.look.process => Ok(pidfd_send_signal(handle, signal)?),
            _ => Ok(()),
        }
    }
}

/// Looks at a process that can be asked to end. While a homeserver starts, it has no handler for SIGTERM yet, and the
/// signal would kill it.
fn look(pid: i32) -> Option<Look> {
    let process = Process::new(pid).ok()?;
    let status = process.status().ok()?;
    let catches = status.sigcgt >> (Signal::TERM.as_raw() - 1) & 1 == 1;
    let started = process.stat().ok()?.starttime;
    let anonymous = status.rssanon?.saturating_mul(1024);
    catches.then_some(Look { process: ProcessId { pid, started }, anonymous })
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::ExitStatusExt,
        process::{Child, Command, Stdio},
        thread::yield_now,
        time::{Duration, Instant},
    };

    use super::*;

    /// Starts a shell that waits, and a directory that is like its cgroup.
    fn shell(script: &str) -> (Child, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let shell = command.args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        fs::write(dir.path().join("cgroup.procs"), format!("{}\n", shell.id())).unwrap();
        (shell, dir)
    }

    #[test]
    fn a_process_is_seen_once_it_can_be_asked_to_end() {
        let (mut shell, dir) =
            shell("read start; trap 'exit 3' TERM; echo; while :; do read x; done");
        assert!(Homeserver::of(dir.path()).is_none(), "it would be killed");

        io::Write::write_all(shell.stdin.as_mut().unwrap(), b"\n").unwrap();
        let end = Instant::now() + Duration::from_mins(1);
        let ready = std::iter::repeat_with(|| {
            yield_now();
            Homeserver::of(dir.path())
        });
        let homeserver = ready.take_while(|_| Instant::now() < end).flatten().next().unwrap();
        assert!(homeserver.look.anonymous > 0);
        let other = ProcessId { started: 1, ..homeserver.look.process };
        let other = Homeserver { look: Look { process: other, ..homeserver.look } };
        other.send(Signal::KILL).unwrap();
        homeserver.send(Signal::TERM).unwrap();
        let ended = shell.wait().unwrap();
        assert_eq!((ended.code(), ended.signal()), (Some(3), None), "nor killed as another one");
        assert!(Homeserver::of(dir.path()).is_none(), "it has ended");
    }

    #[test]
    fn a_unit_that_does_not_run_has_no_cgroup() {
        assert!(Homeserver::of(Path::new("/sys/fs/cgroup/no-such.service")).is_none());
    }
}
