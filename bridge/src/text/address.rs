//! Addresses in texts of others, shown as browsers read them: with the host that they really lead to.

use std::borrow::Cow;

use url::Url;

use crate::text;

/// A longer one is text. What it costs in bytes it does twice.
pub(crate) const MAX_LINK_BYTES: usize = 2_000;

/// More of a text than fits into a message, whatever its characters are.
pub(crate) const MOST_SHOWN_BYTES: usize = 64 * 1024;

/// The host and port of a link, else what comes before its colon.
pub(crate) fn place(url: &Url) -> String {
    let host = url.host_str().or_else(|| url.path().rsplit_once('@').map(|(_, host)| host));
    let host = host.unwrap_or_else(|| url.scheme());
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Shows the addresses of pages in a text as browsers read them: clients make links of those, too.
pub(crate) fn with_true_addresses(text: String) -> String {
    let (mut shown, mut done) = (String::new(), 0);
    // What comes later is more than any room is shown.
    let most = &text[..text.floor_char_boundary(MOST_SHOWN_BYTES)];
    while let Some(at) = most[done..].find("://").map(|at| done + at) {
        let scheme = ["https", "http"].into_iter().find(|scheme| {
            let before = &most.as_bytes()[done..at];
            before.len() >= scheme.len()
                && before[before.len() - scheme.len()..].eq_ignore_ascii_case(scheme.as_bytes())
        });
        let address = scheme.and_then(|scheme| address_at(&most[at - scheme.len()..]));
        let begin = at - scheme.map_or(0, str::len);
        let end = address.map_or(at + "://".len(), |address| begin + address.len());
        shown.push_str(&most[done..begin]);
        shown.push_str(&true_address(&most[begin..end]));
        done = end;
    }
    if done == 0 {
        return text;
    }
    shown.push_str(&text[done..]);
    shown
}

/// The address that a text begins with, as a client would find it.
pub(crate) fn address_at(text: &str) -> Option<&str> {
    let ends = |c: char| c.is_whitespace() || "<>\"│".contains(c);
    let goes_on = |c: char| ",;!'()*{}|^`，；！（）、》」".contains(c);
    let text = &text[..text.floor_char_boundary(MAX_LINK_BYTES)];
    let word = &text[..text.find(ends).unwrap_or(text.len())];
    let is_address = |text: &&str| {
        let url: Option<Url> = text.parse().ok();
        url.is_some_and(|url| url.host_str().is_some_and(|host| !host.contains(goes_on)))
    };
    // What is no address as a whole may be one up to where a sentence goes on.
    let part = &word[..word.find(goes_on).unwrap_or(word.len())];
    [word, part].into_iter().find(is_address)
}

/// An address with the host that it leads to, in letters that look like no others, and without a name before the host,
/// which is there to be taken for it. The rest is as it was written where that misleads nobody. What is no page's stays
/// as it is.
pub(crate) fn true_address(address: &str) -> Cow<'_, str> {
    if address.len() > MAX_LINK_BYTES {
        return Cow::Borrowed(address);
    }
    let url = address.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(mut url) = url else { return Cow::Borrowed(address) };
    let has_name = !url.username().is_empty() || url.password().is_some();
    let name = if has_name { "…@" } else { "" };
    let authority = format!("{name}{}", place(&url));
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    let (written, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    if written.is_empty() || text::runs_backwards(path) {
        // None of them can be refused where there is a host.
        let _ = (url.set_username(""), url.set_password(None));
        let address = url.as_str();
        return Cow::Owned(address.replacen("://", &format!("://{name}"), 1));
    }
    if written.eq_ignore_ascii_case(&authority) {
        return Cow::Borrowed(address);
    }
    Cow::Owned(format!("{scheme}://{authority}{path}"))
}
