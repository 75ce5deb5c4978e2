//! The users of the cluster, and what the bridge may do there.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};

/// The user and the password of whoever publishes, operates and judges.
pub(crate) const OPERATOR: (&str, &str) = ("operator", "operates-all");
/// The user and the password of the bridge.
pub(crate) const BRIDGE: (&str, &str) = ("bridge", "only-the-bridge-knows");

/// The rights of the bridge on NATS, as nats-server's configuration says them.
#[derive(Default)]
pub(crate) struct Rights {
    permissions: String,
}

/// The rights that an operator takes away.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Revoked {
    Nothing,
    Everything,
    /// To ask `JetStream` for anything.
    Requests,
    /// To acknowledge messages.
    Acknowledgements,
}

impl Revoked {
    /// Returns what a fault takes away, by its turn.
    pub(crate) fn by_turn(turn: usize) -> Self {
        [Self::Everything, Self::Requests, Self::Acknowledgements][turn % 3]
    }
}

impl Rights {
    /// Returns the rights that suffice for a configuration, by the word of the bridge's program.
    pub(crate) fn least(binary: &Path, config: &Path) -> Result<Self> {
        let output = Command::new(binary)
            .args(["permissions", "--format", "server", "--config"])
            .arg(config)
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { permissions: String::from_utf8(output.stdout)? })
    }

    /// The lines of a server's configuration by which the bridge has all but these.
    pub(crate) fn without(&self, revoked: Revoked) -> String {
        let but = |start: &str| {
            let lines = self.permissions.lines();
            let left = lines.filter(|line| !line.trim_start().starts_with(start));
            left.collect::<Vec<_>>().join("\n")
        };
        let permissions = match revoked {
            Revoked::Nothing => self.permissions.clone(),
            Revoked::Everything => {
                "permissions { publish: { deny: \">\" }, subscribe: { deny: \">\" } }".to_owned()
            }
            Revoked::Requests => but("\"$JS.API."),
            Revoked::Acknowledgements => but("\"$JS.ACK."),
        };
        let ((operator, theirs), (bridge, its)) = (OPERATOR, BRIDGE);
        format!(
            "authorization {{\n  users: [\n    {{ user: {operator}, password: {theirs} }}\n    \
             {{ user: {bridge}, password: {its}\n{permissions}\n    }}\n  ]\n}}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_is_left_out() {
        let permissions = "permissions {\n  publish: [\n    \"$JS.API.STREAM.INFO.S\"\n    \"$JS.ACK.S.c.>\"\n  ]\n}";
        let rights = Rights { permissions: permissions.to_owned() };
        let lines = |revoked| rights.without(revoked);
        assert!(lines(Revoked::Nothing).contains(permissions));
        let requests = lines(Revoked::Requests);
        assert!(!requests.contains("$JS.API.") && requests.contains("$JS.ACK."), "{requests}");
        let acks = lines(Revoked::Acknowledgements);
        assert!(acks.contains("$JS.API.") && !acks.contains("$JS.ACK."), "{acks}");
        assert!(!lines(Revoked::Everything).contains("$JS."));
    }
}
