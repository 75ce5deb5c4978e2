//! Estimates how much memory a message takes, which for headers is far more than their size on the wire.

use async_nats::{HeaderMap, HeaderName, HeaderValue, jetstream};

use crate::nats::headers;

/// An estimate of what an entry in the client's header map takes besides its texts: a place in a hash table that is
/// half empty, a list with room for four values, and three allocations. `cargo memory` measures the whole (its row
/// "headers: many").
const HEADER: usize = 256;

/// The same estimate for one value of a header.
const VALUE: usize = 64;

/// The same estimate for a message.
const MESSAGE: usize = 512;

/// The memory that the kept headers may take, in bytes. A single header may be as large as a stream stores, which is 64
/// kB, but 13,000 of the shortest are of no use.
const MOST_HEADERS: usize = 128 * 1024;

/// Smaller payloads are copied, so that they do not keep the whole buffer that they were read into, along with the
/// headers and the neighbouring messages.
const COPIED: usize = 16 * 1024;

/// The size of a message in memory.
pub(super) struct Size {
    /// About how many bytes the message takes.
    pub(super) weight: usize,
    /// The number of header values that were dropped.
    pub(super) headers_left_out: usize,
}

/// Drops what is not needed of a message.
pub(super) fn reduce(message: &mut jetstream::Message) -> Size {
    if message.payload.len() < COPIED {
        message.message.payload = message.payload.to_vec().into();
    }
    let mut headers_left_out = 0;
    if let Some(headers) = message.headers.as_ref().filter(|all| of_headers(all) > MOST_HEADERS) {
        let kept = first(headers);
        headers_left_out = count(headers) - count(&kept);
        message.message.headers = Some(kept);
    }
    let headers = message.headers.as_ref().map_or(0, of_headers);
    let weight = MESSAGE + message.subject.len() + message.payload.len() + headers;
    Size { weight, headers_left_out }
}

fn count(headers: &HeaderMap) -> usize {
    headers.iter().map(|(_, values)| values.len()).sum()
}

/// Returns about how many bytes of memory headers take.
fn of_headers(headers: &HeaderMap) -> usize {
    let values = |values: &[HeaderValue]| -> usize {
        values.iter().map(|value| VALUE + value.as_str().len()).sum()
    };
    headers.iter().map(|(name, all)| HEADER + name_of(name).len() + values(all)).sum()
}

/// Returns the headers that fit, in the order of their names. The choice must not depend on the order of a hash map, as
/// each route decides by the headers whether a message is its own.
fn first(headers: &HeaderMap) -> HeaderMap {
    let mut all: Vec<_> = headers.iter().collect();
    all.sort_by_key(|(name, _)| name_of(name));
    let (mut first, mut room) = (HeaderMap::new(), MOST_HEADERS);
    for (name, values) in all {
        let weight: usize = values.iter().map(|value| VALUE + value.as_str().len()).sum();
        let weight = HEADER + name_of(name).len() + weight;
        if weight > room {
            continue;
        }
        room -= weight;
        for value in values {
            headers::add(&mut first, name, value);
        }
    }
    first
}

fn name_of(name: &HeaderName) -> &str {
    name.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_headers_the_first_by_name_are_kept() {
        let mut headers = HeaderMap::new();
        for number in 0..10_000 {
            let name = format!("h{number:05}").parse().unwrap();
            headers::add(&mut headers, &name, &HeaderValue::new());
        }
        headers::set(&mut headers, "a-large-one", &"x".repeat(60 * 1024));
        headers::set(&mut headers, "zone", "eu");
        assert!(of_headers(&headers) > 2 * 1024 * 1024);
        let kept = first(&headers);
        assert!(of_headers(&kept) <= MOST_HEADERS);
        assert!(kept.get("a-large-one").is_some() && kept.get("h00000").is_some());
        assert!(kept.get("h09999").is_none());
        assert_eq!(first(&headers), kept);
        let few: HeaderMap = [("team", "storage")]
            .into_iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
            })
            .collect();
        assert_eq!(first(&few), few);
    }
}
