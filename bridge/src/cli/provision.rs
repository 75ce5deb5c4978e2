//! The subcommand `nats-matrix provision`: creates the declared accounts and rooms.

use crate::{
    cli::common::{ConfigFile, block_on, print},
    config::Config,
    failure::Failure,
    provision::{self, Item, Mark},
};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    /// Show what would be done, and change nothing.
    #[arg(long, conflicts_with = "rotate")]
    dry_run: bool,
    /// Give an account a new password, write it into its password file, and end all its sessions. Nothing else is
    /// done. The homeserver must be running.
    #[arg(long, value_name = "USER")]
    rotate: Vec<String>,
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    let config = Config::load(&options.config.config)?;
    let declared = &config.provision;
    if declared.means.is_none() && declared.rooms.is_empty() && options.rotate.is_empty() {
        print("nothing is declared: neither [provision] with [users], nor [rooms]");
        return Ok(());
    }
    if options.dry_run {
        return block_on(provision::plan(&config, &mut |item| print(&told(&item, true))))?;
    }
    if options.rotate.is_empty() {
        return block_on(provision::provision(&config, &mut |item| print(&told(&item, false))))?;
    }
    for user in &options.rotate {
        block_on(provision::rotate(&config, user))??;
        let advice = match config.matrix.login.localpart() {
            Some(own) if own == user => "; for the bridge to use it: systemctl restart nats-matrix",
            _ => "",
        };
        print(&line("changed", "user", &format!("{user}: a new password{advice}")));
    }
    Ok(())
}

/// Formats what was done to an item, or would be done.
fn told(item: &Item, is_plan: bool) -> String {
    let mark = match (item.mark, is_plan) {
        (Mark::Made, false) => "made",
        (Mark::Made, true) => "make",
        (Mark::Changed, false) => "changed",
        (Mark::Changed, true) => "change",
        (Mark::Found, _) => "found",
        (Mark::Failed, _) => "FAIL",
    };
    line(mark, item.kind, &item.text)
}

fn line(mark: &str, kind: &str, text: &str) -> String {
    format!("{mark:<8} {kind:<5} {text}")
}
