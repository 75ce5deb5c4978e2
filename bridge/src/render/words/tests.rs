use jiff::SignedDuration;

use crate::{config::Language, message::Deed};

#[test]
fn how_long_it_took_is_said_in_two_units() {
    let said =
        |language: Language, seconds| language.words().duration(SignedDuration::from_secs(seconds));
    for (seconds, english, chinese) in [
        (0, "0 s", "0 秒"),
        (59, "59 s", "59 秒"),
        (60, "1 min", "1 分钟"),
        (3_599, "59 min 59 s", "59 分钟 59 秒"),
        (3_601, "1 h", "1 小时"),
        (93_784, "1 d 2 h", "1 天 2 小时"),
        (-90, "-1 min 30 s", "-1 分钟 30 秒"),
    ] {
        assert_eq!(said(Language::English, seconds), english);
        assert_eq!(said(Language::Chinese, seconds), chinese);
    }
}

#[test]
fn sizes_are_said_in_bytes_or_in_the_unit_that_fits() {
    let said = |bytes| Language::English.words().bytes(bytes);
    assert_eq!(said(0), "0 bytes");
    assert_eq!(said(1), "1 byte");
    assert_eq!(said(1_023), "1023 bytes");
    assert_eq!(said(1_024), "1.0 KiB");
    assert_eq!(said(1_048_576), "1.0 MiB");
    assert_eq!(said(3_435_973_837), "3.2 GiB");
    assert_eq!(said(u64::MAX), "16.0 EiB");
    assert_eq!(Language::Chinese.words().bytes(12), "12 字节");
}

/// Checks that no text was copied and left untranslated, which would still compile.
#[test]
fn chinese_is_not_english() {
    let (english, chinese) = (Language::English.words(), Language::Chinese.words());
    for deed in ["opened", "closed", "label_updated", "milestoned", "synchronized"] {
        let deed = Deed::Other(deed.to_owned());
        let said = chinese.did("a", &deed, "x");
        assert!(
            !said.contains(|c: char| c.is_ascii_alphabetic() && c != 'a' && c != 'x'),
            "{said}"
        );
        assert_ne!(said, english.did("a", &deed, "x"));
    }
    // An action that neither language knows is named by the forge's own word.
    assert_eq!(chinese.did("alice", &Deed::Other("pin_ned".to_owned()), "x"), "alice pin ned x");
}
