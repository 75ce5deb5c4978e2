//! Finds the machine or service that an alert of Prometheus is about among its labels.

use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// The labels that name a machine, the most specific first.
const HOSTS: [&str; 8] = [
    "host",
    "hostname",
    "host.name",
    "host_name",
    "node",
    "nodename",
    "exported_instance",
    "exported_node",
];

/// The labels that name the program that exports a metric, or its container, whose address or pod says nothing about the
/// trouble.
const EXPORTERS: [&str; 4] = ["job", "service", "container", "app"];

/// Returns the place of the trouble. `instance` is only the address that was scraped, and the trouble is there only if
/// no other label names a place.
pub(super) fn of(labels: &Labels) -> Option<String> {
    let at =
        |name: &str| labels.get(name).map(String::as_str).filter(|value| !value.trim().is_empty());
    let instance = at("instance");
    let host = HOSTS.iter().find_map(|name| at(name));
    // An instance that names the host, perhaps with a port, says more than the host alone.
    if let (Some(instance), Some(host)) = (instance, host)
        && instance.starts_with(host)
    {
        return Some(instance.to_owned());
    }
    let is_of_exporter = |pod: &str| {
        let names = EXPORTERS.iter().filter_map(|name| at(name));
        names.into_iter().any(|name| !name.is_empty() && pod.starts_with(name))
    };
    let pod = at("pod").filter(|pod| !is_of_exporter(pod));
    let pod = pod.map(|pod| match at("namespace") {
        Some(namespace) => format!("{namespace}/{pod}"),
        None => pod.to_owned(),
    });
    pod.or_else(|| host.map(str::to_owned)).or_else(|| instance.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_an_exporter_is_not_the_place_of_the_trouble() {
        for (labels, expected) in [
            (&[("instance", "db-01:9100")][..], Some("db-01:9100")),
            (&[("instance", "db-01:9100"), ("host", "db-01")], Some("db-01:9100")),
            (&[("instance", "192.0.2.7:9100"), ("node", "worker-3")], Some("worker-3")),
            (
                &[("instance", "192.0.2.7:8443"), ("namespace", "shop"), ("pod", "api-7f")],
                Some("shop/api-7f"),
            ),
            (
                &[
                    ("instance", "192.0.2.7:8443"),
                    ("job", "kube-state-metrics"),
                    ("pod", "kube-state-metrics-5"),
                ],
                Some("192.0.2.7:8443"),
            ),
            (
                &[
                    ("instance", "192.0.2.7:9100"),
                    ("job", "node-exporter"),
                    ("pod", "node-exporter-x"),
                    ("node", "w-1"),
                ],
                Some("w-1"),
            ),
            (&[("instance", " "), ("hostname", "a")], Some("a")),
            (&[("severity", "page")], None),
        ] {
            let labels =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            assert_eq!(of(&labels.collect()).as_deref(), expected);
        }
    }
}
