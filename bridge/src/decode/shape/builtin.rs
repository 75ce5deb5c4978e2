//! The shapes that are part of the program: a directory of `bridge/shapes` for each sender.

use std::path::Path;

use crate::decode::shape::file::Shape;

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../shapes/", $name, "/shape.toml")))),*]
    };
}

/// The names of the shapes and the texts of their files. A test compares them with the directory.
pub(super) const FILES: &[(&str, &str)] = files! {
    "argocd"
    "azure-monitor"
    "cloudflare"
    "coolify"
    "crowdsec"
    "discord"
    "diun"
    "dockerhub"
    "falco"
    "flux"
    "forgejo"
    "github"
    "gitlab"
    "grafana-legacy"
    "harbor"
    "healthchecks"
    "icinga"
    "jenkins"
    "jira"
    "journald"
    "kubernetes"
    "nats"
    "netdata"
    "openstatus"
    "opsgenie"
    "osv"
    "otlp"
    "pagerduty"
    "pingdom"
    "proxmox"
    "restic"
    "sensu"
    "sentry"
    "slack"
    "sns"
    "statuspage"
    "suricata"
    "teams"
    "trivy-operator"
    "uptime-kuma"
    "vault"
    "wazuh"
    "zabbix"
};

/// Parses the files. A test checks them, so no file is ever left out.
pub(super) fn read() -> Vec<Shape> {
    let parse = |(name, text): &(&str, &str)| {
        Shape::parse(text, Path::new(&format!("{name}.toml")), true).ok()
    };
    FILES.iter().filter_map(parse).collect()
}
