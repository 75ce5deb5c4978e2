//! Reads bytes as text, in UTF-8 or in the encodings that programs write without saying so.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::message::picture_type;

/// The part of a text by which its encoding is told, in bytes.
const HEAD_BYTES: usize = 256 * 1024;

/// The longest text in another encoding than UTF-8 that is read, in bytes. A character of one byte can take three in UTF-8,
/// so without a bound a message would take several times the memory that is reserved for it.
const MOST_BYTES: usize = 512 * 1024;

/// The shortest text in another script than Latin whose encoding can be told, in bytes.
const LEAST_BYTES: usize = 12;

/// The upper half of code page 850, which the console of Windows uses in Western Europe. No browser knows it, so
/// `encoding_rs` does not either.
const CP850: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}";

/// A text, and the name of its encoding if that is not UTF-8.
pub(crate) struct Readable<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) encoding: Option<&'static str>,
}

/// Reads bytes as text. Returns `None` if they are none. A byte order mark is not content.
pub(crate) fn read(bytes: &[u8]) -> Option<Readable<'_>> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !is_utf_16(bytes)
    {
        let text = Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text));
        return Some(Readable { text, encoding: None });
    }
    if bytes.len() > MOST_BYTES {
        return None;
    }
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    if let Some(encoding) = utf_16(head) {
        return in_encoding(encoding, bytes);
    }
    if picture_type(bytes).is_some() || !may_be_text(head) {
        return None;
    }
    if is_cp850(head) {
        let text = bytes.iter().map(|byte| of_cp850(*byte)).collect();
        return Some(Readable { text: Cow::Owned(text), encoding: Some("CP850") });
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(head, true);
    let encoding = detector.guess(None, Utf8Detection::Deny);
    let is_sure = is_mostly_ascii(head) || encoding != WINDOWS_1252 && head.len() >= LEAST_BYTES;
    if is_sure { in_encoding(encoding, bytes) } else { None }
}

/// Whether bytes that cannot be read are text but for some of them, such as a log with a cut character.
pub(crate) fn is_mostly_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let controls = head.iter().filter(|byte| is_control(**byte)).count();
    picture_type(bytes).is_none() && is_mostly_ascii(head) && controls * 100 <= head.len()
}

/// Reads bytes in an encoding. Returns `None` if they are no text in it. A byte order mark is not content.
fn in_encoding(encoding: &'static Encoding, bytes: &[u8]) -> Option<Readable<'static>> {
    // The decoder of the crate reserves three bytes for each of the message's; most take one or two.
    let mut text = String::with_capacity(bytes.len());
    let mut decoder = encoding.new_decoder_with_bom_removal();
    let mut read = 0;
    loop {
        let (result, count) =
            decoder.decode_to_string_without_replacement(&bytes[read..], &mut text, true);
        read += count;
        match result {
            DecoderResult::InputEmpty => break,
            DecoderResult::OutputFull => text.reserve(bytes.len() - read + 16),
            DecoderResult::Malformed(..) => return None,
        }
    }
    is_readable(&text).then(|| Readable { text: Cow::Owned(text), encoding: Some(encoding.name()) })
}

/// Whether bytes that are UTF-8 are ASCII in UTF-16 nevertheless: every other byte is zero.
fn is_utf_16(bytes: &[u8]) -> bool {
    bytes.contains(&0) && utf_16(bytes).is_some()
}

/// Returns the encoding of a text in UTF-16: by its byte order mark, or because it is mostly ASCII.
fn utf_16(bytes: &[u8]) -> Option<&'static Encoding> {
    /// The number of characters that are looked at.
    const HEAD: usize = 256;
    match bytes {
        [0xff, 0xfe, ..] => return Some(UTF_16LE),
        [0xfe, 0xff, ..] => return Some(UTF_16BE),
        _ if bytes.len() < 4 || !bytes.len().is_multiple_of(2) => return None,
        _ => {}
    }
    let pairs: Vec<&[u8]> = bytes.chunks_exact(2).take(HEAD).collect();
    let share = |fits: fn(&[u8]) -> bool| {
        pairs.iter().filter(|pair| fits(pair)).count() * 10 >= pairs.len() * 9
    };
    if share(|pair| pair[1] == 0 && matches!(pair[0], b'\t' | b'\n' | b'\r' | b' '..=b'~')) {
        Some(UTF_16LE)
    } else if share(|pair| pair[0] == 0 && matches!(pair[1], b'\t' | b'\n' | b'\r' | b' '..=b'~')) {
        Some(UTF_16BE)
    } else {
        None
    }
}

/// Whether bytes have no control characters that texts do not have.
fn may_be_text(bytes: &[u8]) -> bool {
    !bytes.iter().copied().any(is_control)
}

fn is_control(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x08 | 0x0c | 0x1b) || byte == 0x7f
}

fn is_readable(text: &str) -> bool {
    let is_control =
        |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{8}' | '\u{c}' | '\u{1b}');
    !text.chars().any(is_control) && text.chars().any(char::is_alphanumeric)
}

fn is_mostly_ascii(bytes: &[u8]) -> bool {
    let ascii = bytes.iter().filter(|byte| byte.is_ascii()).count();
    ascii * 10 >= bytes.len() * 6
}

/// Whether a mostly English or Western European text is in code page 850: it has its letters within words at places
/// where Windows-1252 has punctuation, or nothing.
fn is_cp850(bytes: &[u8]) -> bool {
    if !is_mostly_ascii(bytes) {
        return false;
    }
    let is_letter =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
    let (mut low, mut high) = (0, 0);
    for (index, byte) in bytes.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| bytes.get(before));
        let is_within = is_letter(before) && is_letter(bytes.get(index + 1));
        match byte {
            // Windows-1252 has nothing at these places.
            0x81 | 0x8d | 0x8f | 0x90 | 0x9d => return true,
            0x80..=0xa5 if is_within => low += 1,
            0xc0..=0xff if is_within => high += 1,
            _ => {}
        }
    }
    low > high
}

fn of_cp850(byte: u8) -> char {
    match byte.checked_sub(0x80) {
        None => char::from(byte),
        Some(index) => CP850.chars().nth(usize::from(index)).unwrap_or('\u{fffd}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Option<(String, Option<&'static str>)> {
        read(bytes).map(|read| (read.text.into_owned(), read.encoding))
    }

    #[test]
    fn a_text_that_is_longer_than_what_tells_its_encoding_is_read_whole() {
        let of = |count: usize| "Datenträger für Größe: the disk is full, ".repeat(count);
        let (half, whole) = (of(HEAD_BYTES / 60), of(HEAD_BYTES / 35));
        let utf_16: Vec<u8> = half.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let (in_windows, _, _) = WINDOWS_1252.encode(&whole);
        let in_cp850: Vec<u8> = whole
            .chars()
            .flat_map(|c| match c {
                'ä' => vec![0x84],
                'ü' => vec![0x81],
                'ö' => vec![0x94],
                'ß' => vec![0xe1],
                c => c.to_string().into_bytes(),
            })
            .collect();
        for (bytes, expected) in [(&*utf_16, &half), (&*in_windows, &whole), (&*in_cp850, &whole)] {
            assert!(bytes.len() > HEAD_BYTES);
            assert!(text(bytes).unwrap().0 == *expected, "{:?}", text(&bytes[..64]));
        }
        assert_eq!(text(&in_windows.repeat(3)), None);
    }

    #[test]
    fn texts_are_read_in_the_encodings_of_programs() {
        assert_eq!(CP850.chars().count(), 127 + 1);
        let utf_16 = |bom: bool, big: bool| {
            let units = "Größe: 3\r\nänd".encode_utf16();
            let units = bom.then_some(0xfeff).into_iter().chain(units);
            let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
            units.flat_map(bytes).collect::<Vec<u8>>()
        };
        for (bytes, expected, encoding) in [
            (b"\xef\xbb\xbfok".to_vec(), "ok", None),
            (utf_16(true, false), "Größe: 3\r\nänd", Some("UTF-16LE")),
            (utf_16(true, true), "Größe: 3\r\nänd", Some("UTF-16BE")),
            (b"d\0i\0s\0k\0".to_vec(), "disk", Some("UTF-16LE")),
            (b"\0d\0i\0s\0k".to_vec(), "disk", Some("UTF-16BE")),
            (b"Datentr\x84ger f\x81r Gr\x94\xe1e".to_vec(), "Datenträger für Größe", Some("CP850")),
            (
                b"Datentr\xe4ger f\xfcr Gr\xf6\xdfe".to_vec(),
                "Datenträger für Größe",
                Some("windows-1252"),
            ),
            (
                b"the \x93disk\x94 is full \x96 5 \x80".to_vec(),
                "the “disk” is full – 5 €",
                Some("windows-1252"),
            ),
            (b"caf\xe9 closed".to_vec(), "café closed", Some("windows-1252")),
        ] {
            assert_eq!(text(&bytes), Some((expected.to_owned(), encoding)), "{bytes:x?}");
        }
        let (gbk, _, _) = encoding_rs::GBK.encode("数据库服务器的磁盘空间不足,请尽快清理日志文件");
        assert_eq!(text(&gbk).unwrap().0, "数据库服务器的磁盘空间不足,请尽快清理日志文件");
        let (cyrillic, _, _) =
            encoding_rs::WINDOWS_1251.encode("Диск сервера базы данных почти заполнен");
        assert_eq!(text(&cyrillic).unwrap().0, "Диск сервера базы данных почти заполнен");
    }

    #[test]
    fn other_bytes_are_no_text() {
        for bytes in [
            &b"\x1f\x8b\x08\0\xff\xfe"[..],
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff",
            b"\x7fELF\x02\x01\x01\0\xff",
            b"\xff\xfe",
            b"\xfe\xff\xd8\0",
            b"\xff\xff\xff",
            b"\x80\x81\x82\x83",
            b"a\0\xff",
        ] {
            assert_eq!(text(bytes), None, "{bytes:x?}");
        }
    }
}
