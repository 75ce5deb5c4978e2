//! Links in messages. Only addresses of web pages are made links.

use std::net::Ipv6Addr;

use minijinja::{HtmlEscape, Value};
use url::Url;

use crate::{
    render::markup,
    text::address::{MAX_LINK_BYTES, place, true_address},
};

/// Returns the page that a text leads to, if the text is the address of a page and nothing else.
///
/// Addresses at `matrix.to` are not made links, because clients show them as a mention of a person or room. Neither are
/// addresses with a user name before the host, which could be mistaken for the host.
pub(crate) fn page(address: &str) -> Option<Url> {
    let url = Some(address.trim()).filter(|it| it.len() <= MAX_LINK_BYTES)?.parse::<Url>().ok()?;
    let host = url.host_str()?.trim_end_matches('.');
    let is_web = matches!(url.scheme(), "http" | "https");
    let is_mention = host == "matrix.to" || host.ends_with(".matrix.to");
    let is_disguised = !url.username().is_empty() || url.password().is_some();
    (is_web && !is_mention && !is_disguised).then_some(url)
}

/// Whether an address is made a link.
pub(super) fn is_page(address: &str) -> bool {
    page(address).is_some()
}

fn anchor(page: &Url, label: &str) -> String {
    let (href, label) = (HtmlEscape(page.as_str()), HtmlEscape(label));
    format!("<a href=\"{href}\">{label}</a>")
}

/// Implements the filter `value` for HTML: the lines of a text, or a link if the text is an address.
pub(super) fn html_value(value: &str) -> Value {
    if let Some(page) = page(value) {
        return Value::from_safe_string(anchor(&page, &true_address(value.trim())));
    }
    let (first, rest) = markup::continued(value);
    let rest = rest.map(|rest| markup::html(&rest)).unwrap_or_default();
    Value::from_safe_string(format!("{}{rest}", HtmlEscape(first)))
}

/// Implements the filter `link` for HTML. The label of the link is only its host, because addresses can be long.
pub(super) fn html_link(address: &str) -> Value {
    match page(address) {
        Some(page) => Value::from_safe_string(anchor(&page, &place(&page))),
        None => markup::html_lines(address),
    }
}

/// Implements the filter `leading_to` for HTML: a label, which is a link if the address is that of a page.
pub(super) fn html_leading_to(label: &str, address: Option<&str>) -> Value {
    let Some(page) = address.and_then(page) else { return markup::html_lines(label) };
    let anchor = anchor(&page, label);
    Value::from_safe_string(match true_place(label, page.as_str()) {
        Some(place) => format!("{anchor} ({})", HtmlEscape(&place)),
        None => anchor,
    })
}

/// Returns the true host of a link whose label looks like another address. A label of mere words does not promise any
/// address.
pub(super) fn true_place(label: &str, address: &str) -> Option<String> {
    let url: Url = address.parse().ok()?;
    let host = url.host_str().or_else(|| url.path().rsplit_once('@').map(|(_, host)| host));
    let host = host.unwrap_or_default().trim_end_matches('.').to_lowercase();
    let is_other = |part: &str| names_host(part) && !is_within(&host, part);
    let is_part_end =
        |c: char| c.is_whitespace() || !(c.is_alphanumeric() || is_dot(c) || c == '-');
    let is_other_number = |part: &str| {
        let address = part.trim_matches(|c: char| !c.is_ascii_hexdigit() && c != ':');
        address.contains(':')
            && address.parse::<Ipv6Addr>().is_ok_and(|it| host != format!("[{it}]"))
    };
    let misleads =
        label.split(is_part_end).any(is_other) || label.split_whitespace().any(is_other_number);
    misleads.then(|| place(&url))
}

/// Whether a character is a dot, or one that browsers or people take for a dot.
fn is_dot(c: char) -> bool {
    matches!(c, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}' | '\u{2024}')
}

/// Endings of file names that are not top-level domains. Labels are often titles of commits, which have file names.
const FILE_ENDINGS: &[&str] = &[
    "bak", "bat", "cfg", "conf", "cpp", "crt", "css", "csv", "db", "deb", "env", "go", "gz",
    "html", "img", "ini", "iso", "java", "jpg", "js", "json", "key", "lock", "log", "mount", "nix",
    "pdf", "pem", "php", "png", "service", "sql", "svg", "tar", "timer", "toml", "ts", "txt",
    "xml", "yaml", "yml",
];

/// Whether a word could be the name or the IP address of a host on the internet.
fn names_host(word: &str) -> bool {
    let labels: Vec<&str> = word.trim_matches(is_dot).split(is_dot).collect();
    let [.., last] = &labels[..] else { return false };
    if labels.len() < 2 || labels.iter().any(|label| label.is_empty()) {
        return false;
    }
    let is_number = |label: &&str| label.len() <= 3 && label.bytes().all(|b| b.is_ascii_digit());
    let is_name = last.chars().count() >= 2 && last.chars().all(char::is_alphabetic)
        || last.to_lowercase().starts_with("xn--");
    labels.len() == 4 && labels.iter().all(is_number)
        || is_name && !FILE_ENDINGS.contains(&last.to_lowercase().as_str())
}

/// Whether a word names the host, or a domain that contains it, in unambiguous letters.
fn is_within(host: &str, word: &str) -> bool {
    let word = word.trim_matches('.').to_ascii_lowercase();
    word.is_ascii() && (host == word || host.ends_with(&format!(".{word}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::address::with_true_addresses;

    #[test]
    fn only_web_pages_are_links() {
        for address in [
            "https://a.example/b?c=d&e#f",
            "http://localhost:3000/ops/infra",
            "HTTPS://A.example",
            " https://[::1]:9093/ ",
        ] {
            assert!(page(address).is_some(), "{address}");
        }
        for address in [
            "https://matrix.to/#/@alice:example.com",
            "https://MATRIX.TO./#/!room:example.com",
            "https://www.matrix.to/#/#ops:example.com",
            "matrix:u/alice:example.com",
            "mxc://example.com/abc",
            "javascript:alert(1)",
            "data:text/html,<script>",
            "https://bank.example@evil.example/",
            "https://",
            "see https://a.example",
            "//a.example",
            "",
        ] {
            assert!(page(address).is_none(), "{address}");
        }
        let long = format!("https://a.example/{}", "x".repeat(MAX_LINK_BYTES));
        assert!(page(&long).is_none());
    }

    #[test]
    fn a_link_cannot_be_left() {
        let html = html_link("https://a.example/\"><script>'").to_string();
        assert!(html.starts_with("<a href=\"https:"), "{html}");
        assert_eq!(html.matches(['<', '>']).count(), 4, "{html}");
        assert_eq!(html.matches('"').count(), 2, "{html}");
    }

    #[test]
    fn a_link_shows_whose_page_it_is() {
        let html = html_link("http://prometheus.example:9090/graph?g0.expr=up").to_string();
        assert!(html.ends_with(">prometheus.example:9090</a>"), "{html}");
        // A host name with letters that look like others is shown in its encoded form.
        let html = html_link("https://ex\u{430}mple.com/").to_string();
        assert!(html.ends_with(">xn--exmple-4nf.com</a>"), "{html}");
    }
    #[test]
    fn a_label_that_names_another_place_is_followed_by_the_true_one() {
        let evil = "https://evil.example:8443/bank.com";
        for label in [
            "https://bank.com/login",
            "bank.com",
            "Log in at BANK.COM, now",
            "see (www.bank.com)",
            "alice@bank.com",
            "192.0.2.7",
            "[2001:db8::1] is down",
            "bank\u{3002}com",
            "bank\u{2024}com",
            // One name with Cyrillic letters among Latin ones, and one that is honestly written in Cyrillic.
            "b\u{430}nk.com",
            "\u{431}\u{430}\u{43d}\u{43a}.\u{440}\u{444}",
            "xn--bnk-6cd.com",
            "evil.example.bank.com",
            "evil.example bank.com",
        ] {
            let html = html_leading_to(label, Some(evil)).to_string();
            assert!(html.ends_with("</a> (evil.example:8443)"), "{html}");
        }
        for label in [
            "Disk almost full",
            "evil.example",
            "https://evil.example:8443/bank",
            "ops/infra #13: Update flake.lock",
            "v1.2.3 … e.g. 12.5 %",
            "main...feature",
            "",
        ] {
            let html = html_leading_to(label, Some(evil)).to_string();
            assert!(html.ends_with("</a>"), "{html}");
        }
        // The owner of a domain is responsible for the hosts in it.
        assert_eq!(true_place("example.com", "https://git.example.com/x"), None);
        assert_eq!(true_place("ops@example.com", "mailto:ops@example.com"), None);
        assert_eq!(true_place("ops@bank.com", "mailto:x@evil.org").as_deref(), Some("evil.org"));
        assert_eq!(true_place("bank.com", "magnet:?xt=1").as_deref(), Some("magnet"));
    }

    #[test]
    fn addresses_are_shown_as_browsers_read_them() {
        for (written, shown) in [
            ("https://b\u{430}nk.com/a b", "https://xn--bnk-6cd.com/a b"),
            ("see https://bank.com@evil.example/x, now", "see https://…@evil.example/x, now"),
            ("HTTP://%65vil.example:80", "HTTP://evil.example"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            ("https://bank.com:x@[::1]:8443?q", "https://…@[::1]:8443?q"),
            ("https:///evil.example/x", "https://evil.example/x"),
            ("https://bank\u{3002}com", "https://bank.com"),
            ("(https://b\u{430}nk.com).", "(https://xn--bnk-6cd.com)."),
            ("x://https://b\u{430}nk.com", "x://https://xn--bnk-6cd.com"),
            ("http://[https://b\u{430}nk.com", "http://[https://xn--bnk-6cd.com"),
            (
                "https://a.example,https://b\u{430}nk.com",
                "https://a.example,https://xn--bnk-6cd.com",
            ),
            // Letters that run from right to left would move the text beside them.
            ("https://evil.example/\u{5d0}", "https://evil.example/%D7%90"),
            ("https://x@evil.example/\u{5d0}", "https://…@evil.example/%D7%90"),
        ] {
            assert_eq!(with_true_addresses(written.to_owned()), shown);
            assert_eq!(with_true_addresses(shown.to_owned()), shown);
        }
        for text in [
            "https://wiki.example/Страница?q=1#a, and http://a.example.",
            "HTTPS://A.example:8443/",
            "ftp://b\u{430}nk.com :// https:// http://[ https",
            "mxc://a/b",
            "https://a.example,https://b.example",
        ] {
            assert_eq!(with_true_addresses(text.to_owned()), text);
        }
        let html = html_value("https://b\u{430}nk.com/x").to_string();
        assert!(html.ends_with(">https:&#x2f;&#x2f;xn--bnk-6cd.com&#x2f;x</a>"), "{html}");
    }
}
