//! Conversions of the times of the NATS client, which come from the crate `time`; all others come from jiff.

#![expect(clippy::disallowed_types, reason = "here they are converted")]

use jiff::Timestamp;
use time::OffsetDateTime;

/// Converts a time of the NATS client. The first and the last day of its range, in the years -9999 and 9999, are
/// outside of jiff's; a time in them becomes the nearest one that jiff has.
pub(crate) fn timestamp(time: OffsetDateTime) -> Timestamp {
    let nearest = if time < OffsetDateTime::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_nanosecond(time.unix_timestamp_nanos()).unwrap_or(nearest)
}

/// Converts a time for the NATS client.
pub(crate) fn offset_date_time(time: Timestamp) -> OffsetDateTime {
    // The client's range includes that of jiff.
    OffsetDateTime::from_unix_timestamp_nanos(time.as_nanosecond())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::{Date, Month, Time};

    use super::*;

    #[test]
    fn a_time_outside_of_the_range_becomes_the_nearest() {
        let latest = Date::MAX.with_time(Time::MIDNIGHT).assume_utc();
        let latest = latest.replace_time(Time::from_hms(23, 59, 59).unwrap());
        assert_eq!(timestamp(latest), Timestamp::MAX);
        assert_eq!(timestamp(Date::MIN.midnight().assume_utc()), Timestamp::MIN);
    }

    #[test]
    fn the_time_that_servers_write_for_none_is_kept() {
        let none = Date::from_calendar_date(1, Month::January, 1).unwrap().midnight().assume_utc();
        assert_eq!(timestamp(none).to_string(), "0001-01-01T00:00:00Z");
    }

    proptest! {
        #[test]
        fn every_time_of_ours_is_one_of_the_clients(
            nanoseconds in Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond()
        ) {
            let time = Timestamp::from_nanosecond(nanoseconds).unwrap();
            let converted = offset_date_time(time);
            prop_assert_eq!(converted.unix_timestamp_nanos(), nanoseconds);
            prop_assert_eq!(timestamp(converted), time);
        }
    }
}
