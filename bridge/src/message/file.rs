//! The file that goes with a message, or the reason why none does.

use bytes::Bytes;
use infer::{archive, image};

/// The reason why a file is not uploaded. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The route uploads no files.
    Never,
    /// The file would exceed this limit of the route's uploads within an hour.
    OverLimit(u64),
    /// The homeserver accepts no file larger than this.
    TooLarge(u64),
    /// The homeserver does not accept files at the moment.
    NotTaken,
}

/// A file to be sent after the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// The published bytes.
    pub bytes: Bytes,
    /// The file name extension, like "json".
    pub extension: &'static str,
    /// The media type, like "application/json".
    pub media_type: &'static str,
}

/// A kind of file that is recognised by its bytes.
struct Known {
    fits: fn(&[u8]) -> bool,
    extension: &'static str,
    media_type: &'static str,
}

const fn known(
    fits: fn(&[u8]) -> bool,
    extension: &'static str,
    media_type: &'static str,
) -> Known {
    Known { fits, extension, media_type }
}

/// Pictures that phones show. SVG is left out because it can contain scripts.
const PICTURES: [Known; 4] = [
    known(image::is_png, "png", "image/png"),
    known(image::is_jpeg, "jpg", "image/jpeg"),
    known(image::is_gif, "gif", "image/gif"),
    known(image::is_webp, "webp", "image/webp"),
];

/// Other files that a browser opens in a program or saves to disk. None of them is a web page, whose scripts would run
/// with the origin of the homeserver. PDF comes last, because an archive may have a PDF in its first bytes.
const OTHERS: [Known; 8] = [
    known(archive::is_zip, "zip", "application/zip"),
    known(archive::is_gz, "gz", "application/gzip"),
    known(archive::is_zst, "zst", "application/zstd"),
    known(archive::is_xz, "xz", "application/x-xz"),
    known(archive::is_bz2, "bz2", "application/x-bzip2"),
    known(archive::is_7z, "7z", "application/x-7z-compressed"),
    known(archive::is_tar, "tar", "application/x-tar"),
    known(archive::is_pdf, "pdf", "application/pdf"),
];

/// Returns the media type of a picture that phones show.
pub(crate) fn picture_type(bytes: &[u8]) -> Option<&'static str> {
    PICTURES.iter().find(|known| (known.fits)(bytes)).map(|known| known.media_type)
}

impl Attachment {
    /// Makes the file of bytes that are not text.
    pub(crate) fn binary(bytes: Bytes) -> Self {
        let known = PICTURES.iter().chain(&OTHERS).find(|known| (known.fits)(&bytes));
        let (extension, media_type) = known.map_or(("bin", "application/octet-stream"), |known| {
            (known.extension, known.media_type)
        });
        Self { bytes, extension, media_type }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &'static [u8]) -> (&'static str, &'static str) {
        let file = Attachment::binary(Bytes::from_static(bytes));
        assert_eq!(file.bytes, bytes);
        (file.extension, file.media_type)
    }

    #[test]
    fn pictures_documents_and_archives_are_told_by_their_bytes() {
        assert_eq!(told(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), ("png", "image/png"));
        assert_eq!(told(b"\xff\xd8\xff\xe0\0\x10JFIF\0"), ("jpg", "image/jpeg"));
        assert_eq!(told(b"RIFF\xf0\x0c\0\0WEBPVP8 "), ("webp", "image/webp"));
        assert_eq!(told(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), ("pdf", "application/pdf"));
        assert_eq!(
            told(b"PK\x03\x04\x14\0\0\0\x08\0report.pdf%PDF-1.7"),
            ("zip", "application/zip")
        );
        assert_eq!(told(b"\x1f\x8b\x08\0\0\0\0\0"), ("gz", "application/gzip"));
        assert_eq!(told(b"\x28\xb5\x2f\xfd\x04\x58"), ("zst", "application/zstd"));
    }

    #[test]
    fn what_a_browser_would_run_is_a_file_of_bytes() {
        for bytes in [
            &b"\xff<html><script>alert(1)</script>"[..],
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>\xff",
            b"\x7fELF\x02\x01\x01\0",
            b"MZ\x90\0",
            b"\0asm\x01\0\0\0",
            b"\xff\xfe",
            b"",
        ] {
            assert_eq!(told(bytes), ("bin", "application/octet-stream"));
        }
        assert_eq!(picture_type(b"%PDF-1.7"), None);
        assert_eq!(picture_type(b"<svg/>"), None);
    }
}
