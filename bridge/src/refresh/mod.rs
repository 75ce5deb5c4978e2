//! `nats-matrix refresh`: asks a homeserver of this machine to end whenever it holds too much memory, so that systemd
//! starts it anew.
//!
//! Conduit writes what its database holds in memory to disk only when it starts, so its memory grows with all that was
//! sent since then, and so does the time that each message takes.

mod homeserver;
mod judge;

use std::{
    convert::Infallible,
    path::Path,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use rustix::process::Signal;
use tokio::time::sleep;
use tracing::{error, info, warn};

use self::{
    homeserver::Homeserver,
    judge::{Judge, Verdict},
};

/// The time between two looks. A homeserver that is sent a thousand messages a second grows by 8 MB meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches the homeserver that runs in a cgroup, for ever.
pub(crate) async fn watch(cgroup: &Path, above: ByteSize) -> Infallible {
    let mut judge = Judge::new(above.as_u64());
    loop {
        if let Some(homeserver) = Homeserver::of(cgroup) {
            let verdict = judge.judge(homeserver.look, Instant::now());
            act(&homeserver, verdict, above);
        }
        sleep(PAUSE).await;
    }
}

fn act(homeserver: &Homeserver, verdict: Verdict, above: ByteSize) {
    let (holds, above) = (size(homeserver.look.anonymous), size(above.as_u64()));
    let signal = match verdict {
        Verdict::Fine => return,
        Verdict::End => {
            info!(
                "the homeserver holds {holds} of memory, more than {above}: it is restarted, as planned"
            );
            Signal::TERM
        }
        Verdict::Kill => {
            warn!(
                "the homeserver was asked to end and has not done so for two minutes: it is killed"
            );
            Signal::KILL
        }
        Verdict::Back(after) => {
            info!(
                "the homeserver is back after {:.1} s, with {holds} of memory",
                after.as_secs_f64()
            );
            return;
        }
        Verdict::InVain(pause) => {
            warn!(
                "the homeserver holds {holds} of memory, more than {above}, and has not held less since it started: a \
                 restart may be of no use, so the next one is in {} min. If this comes again, raise the limit (--above)",
                pause.as_secs() / 60
            );
            return;
        }
    };
    if let Err(failure) = homeserver.send(signal) {
        error!("the homeserver cannot be sent a signal: {failure}; this has to run as its user");
    }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}
