//! Addresses in payloads, of which only web pages are made links.

use minijinja::{HtmlEscape, Value};
use url::Url;

use super::text;

/// A longer one is text. What it costs in bytes it does twice.
const MAX_LINK_BYTES: usize = 2_000;

/// The page that a text leads to, if it is the address of one and of nothing else.
///
/// Clients show an address of `matrix.to` as a mention of a person or room, so none is made a link.
/// Nor is one that has a name before its host, which is there to be taken for the host.
fn page(address: &str) -> Option<Url> {
    let url = Some(address.trim()).filter(|it| it.len() <= MAX_LINK_BYTES)?.parse::<Url>().ok()?;
    let host = url.host_str()?.trim_end_matches('.');
    let is_web = matches!(url.scheme(), "http" | "https");
    let is_mention = host == "matrix.to" || host.ends_with(".matrix.to");
    let is_disguised = !url.username().is_empty() || url.password().is_some();
    (is_web && !is_mention && !is_disguised).then_some(url)
}

/// Whether an address is one that is made a link.
pub(super) fn is_page(address: &str) -> bool {
    page(address).is_some()
}

fn anchor(page: &Url, label: &str) -> Value {
    let (href, label) = (HtmlEscape(page.as_str()), HtmlEscape(label));
    Value::from_safe_string(format!("<a href=\"{href}\">{label}</a>"))
}

/// The template filter `value`: the lines of a text, or the link that it is.
pub(super) fn html_value(value: &str) -> Value {
    page(value).map_or_else(|| text::html_lines(value), |page| anchor(&page, value.trim()))
}

/// The template filter `link`: a link that shows whose page it is, as addresses can be long.
pub(super) fn html_link(address: &str) -> Value {
    let Some(page) = page(address) else { return text::html_lines(address) };
    let host = page.host_str().unwrap_or_default();
    let label = page.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    anchor(&page, &label)
}

/// The template filter `leading_to`: a text that is a link if there is a page that it leads to.
pub(super) fn html_leading_to(label: &str, address: Option<&str>) -> Value {
    match address.and_then(page) {
        Some(page) => anchor(&page, label),
        None => text::html_lines(label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // A name with letters that look like others is shown by its true one.
        let html = html_link("https://ex\u{430}mple.com/").to_string();
        assert!(html.ends_with(">xn--exmple-4nf.com</a>"), "{html}");
    }
}
