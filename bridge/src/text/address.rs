//! Addresses in texts from others, shown as browsers read them: with the host that they really lead to.

use std::borrow::Cow;

use url::Url;

use crate::text;

/// The longest address that is made a link, in bytes. A link has its address twice, so a longer one stays text.
pub(crate) const MAX_LINK_BYTES: usize = 2_000;

/// The number of bytes of a text that are examined: more than any message can show, whatever the characters are.
pub(crate) const MOST_SHOWN_BYTES: usize = 64 * 1024;

/// Returns the host and port of a link, or its scheme if it has no host.
pub(crate) fn place(url: &Url) -> String {
    let host = url.host_str().or_else(|| url.path().rsplit_once('@').map(|(_, host)| host));
    let host = host.unwrap_or_else(|| url.scheme());
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Shows the addresses of pages in a text as browsers read them, because clients turn those into links, too.
pub(crate) fn with_true_addresses(text: String) -> String {
    let (mut shown, mut done) = (String::new(), 0);
    // The rest is longer than any room shows.
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

/// Returns the address at the beginning of a text, as a client would recognise it.
pub(crate) fn address_at(text: &str) -> Option<&str> {
    let ends = |c: char| c.is_whitespace() || "<>\"│".contains(c);
    let goes_on = |c: char| ",;!'()*{}|^`，；！（）、》」".contains(c);
    let text = &text[..text.floor_char_boundary(MAX_LINK_BYTES)];
    let word = &text[..text.find(ends).unwrap_or(text.len())];
    let is_address = |text: &&str| {
        let url: Option<Url> = text.parse().ok();
        url.is_some_and(|url| url.host_str().is_some_and(|host| !host.contains(goes_on)))
    };
    // If the whole word is not an address, its part before the punctuation of a sentence may be one.
    let part = &word[..word.find(goes_on).unwrap_or(word.len())];
    [word, part].into_iter().find(is_address)
}

/// Returns an address with its true host, in unambiguous letters, and without a user name before the host, which could
/// be mistaken for the host. The rest of the address is unchanged where it misleads nobody. An address that is not that
/// of a page is returned as it is.
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
        // These cannot fail for an address that has a host.
        let _ = (url.set_username(""), url.set_password(None));
        let address = url.as_str();
        return Cow::Owned(address.replacen("://", &format!("://{name}"), 1));
    }
    if written.eq_ignore_ascii_case(&authority) {
        return Cow::Borrowed(address);
    }
    Cow::Owned(format!("{scheme}://{authority}{path}"))
}
