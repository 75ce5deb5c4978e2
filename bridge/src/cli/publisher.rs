//! The parts that `nats-matrix report` and `nats-matrix alert` share: the options for NATS, and sending a message.

use std::{path::PathBuf, time::Duration};

use tracing::warn;

use crate::{
    cli::common::{ConfigFile, block_on, print},
    config::{Publisher, duration},
    failure::Failure,
    publish::{self, Message, Unsent, sender::Receipt, spool::Spool},
    subject::Subject,
};

#[derive(Debug, clap::Args)]
pub(super) struct Publishing {
    #[command(flatten)]
    config: ConfigFile,
    /// The NATS server, as `nats://host:4222`, instead of a configuration.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The subject to publish on. By default it ends with the host's name.
    #[arg(long, value_parser = Subject::literal)]
    subject: Option<Subject>,
    /// The time to keep trying, like `10s` or `1h`.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    timeout: Duration,
    /// The directory in which messages wait until NATS has accepted them.
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Do not keep the message if it cannot be sent.
    #[arg(long, conflicts_with = "spool")]
    no_spool: bool,
    /// Show what would be published, without publishing it.
    #[arg(long)]
    dry_run: bool,
}

impl Publishing {
    pub(super) fn load(&self) -> Result<Publisher, Failure> {
        Publisher::load(&self.config.config, self.server.as_deref())
    }

    /// Publishes a payload on `subject`, unless the command line names another one.
    pub(super) fn publish(
        &self,
        publisher: Publisher,
        subject: Subject,
        payload: &impl serde::Serialize,
    ) -> Result<(), Failure> {
        let subject = self.subject.clone().unwrap_or(subject);
        let message = Message::new(&subject, payload)?;
        if self.dry_run {
            print(&format!("{subject}\n{}", message.pretty()));
            return Ok(());
        }
        let dir = self.spool.clone().unwrap_or(publisher.publish.spool_dir);
        let spool = (!self.no_spool).then(|| Spool::new(dir));
        let sending = publish::publish(&publisher.nats, spool.as_ref(), &message, self.timeout);
        match block_on(sending)? {
            Ok(receipt) => {
                print(&format!("{subject}: {}", told(&receipt)));
                Ok(())
            }
            Err(unsent) => result(unsent),
        }
    }
}

fn told(receipt: &Receipt) -> String {
    match receipt {
        Receipt::Stored { stream, sequence } => format!("stored in {stream} as {sequence}"),
        Receipt::Known => "stored".to_owned(),
    }
}

/// Turns an unsent message into the result of the command. If NATS cannot be reached but the message is kept, that is
/// no failure: the log says so and nothing is lost. Anything else needs somebody to fix it.
fn result(unsent: Unsent) -> Result<(), Failure> {
    let Unsent { failure, is_away, kept } = unsent;
    match kept {
        Ok(file) if is_away => {
            warn!("{failure}; kept as {}, and sent with the next message", file.display());
            Ok(())
        }
        Ok(file) => Err(failure.and(&format!(
            "; the message is kept as {}, and sent with the next one",
            file.display()
        ))),
        Err(reason) => Err(failure.and(&format!("; the message is lost, as {reason}"))),
    }
}
