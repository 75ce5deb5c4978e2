//! The schedule of summaries: when one is due, and which period it covers. All functions are pure.

use std::ops::Range;

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use crate::config::{Every, Summary};

/// Returns the period that ended when a summary last became due. Its start, the time at which the summary before was
/// due, belongs to it; its end belongs to the next period.
pub(super) fn last_period(summary: Summary, zone: &TimeZone, now: Timestamp) -> Range<Timestamp> {
    let until = last_due(summary, zone, now);
    let just_before = until.checked_sub(1.nanosecond()).unwrap_or(Timestamp::MIN);
    last_due(summary, zone, just_before)..until
}

/// Returns the period of the same length that ends now, no matter when a summary is due.
pub(super) fn period_up_to(summary: Summary, zone: &TimeZone, now: Timestamp) -> Range<Timestamp> {
    let days = match summary.every {
        Every::Day => 1.day(),
        Every::Week(_) => 1.week(),
    };
    let from = now.to_zoned(zone.clone()).checked_sub(days);
    from.map_or(Timestamp::MIN, |from| from.timestamp())..now
}

/// Returns the time after `now` at which the next summary is due.
pub(super) fn next_due(summary: Summary, zone: &TimeZone, now: Timestamp) -> Timestamp {
    let dues = dues_around(summary, zone, now);
    dues.into_iter().find(|due| *due > now).unwrap_or(Timestamp::MAX)
}

/// Returns the last time, at `now` or before, at which a summary was due.
fn last_due(summary: Summary, zone: &TimeZone, now: Timestamp) -> Timestamp {
    let dues = dues_around(summary, zone, now);
    dues.into_iter().rfind(|due| *due <= now).unwrap_or(Timestamp::MIN)
}

/// Returns the times at which summaries are due from well before to well after `now`, in order.
///
/// Each day has one: a time that the clock skips in spring is moved later by as much, and a time that occurs twice in
/// autumn is the first of the two.
fn dues_around(summary: Summary, zone: &TimeZone, now: Timestamp) -> Vec<Timestamp> {
    let today = now.to_zoned(zone.clone()).date();
    let is_day = |date: &Date| match summary.every {
        Every::Day => true,
        Every::Week(weekday) => date.weekday() == weekday,
    };
    let due = |date: Date| {
        let time = zone.to_ambiguous_timestamp(date.to_datetime(summary.at));
        time.compatible().ok()
    };
    // These are more than a week in each direction, plus a day that a time zone may have skipped.
    (-9..=9)
        .filter_map(|days| today.checked_add(days.days()).ok())
        .filter(is_day)
        .filter_map(due)
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Weekday, time};
    use proptest::prelude::*;

    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn daily(hour: i8, minute: i8) -> Summary {
        Summary { every: Every::Day, at: time(hour, minute, 0, 0) }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_is_summed_up_from_morning_to_morning() {
        let period = last_period(daily(8, 0), &berlin(), at("2026-11-23T07:00:00Z"));
        assert_eq!(period, at("2026-11-22T07:00:00Z")..at("2026-11-23T07:00:00Z"));
        let before = last_period(daily(8, 0), &berlin(), at("2026-11-23T06:59:59Z"));
        assert_eq!(before.end, period.start);
        let next = next_due(daily(8, 0), &berlin(), at("2026-11-23T07:00:00Z"));
        assert_eq!(next, at("2026-11-24T07:00:00Z"));
    }

    #[test]
    fn a_week_ends_on_its_day() {
        let friday = Summary { every: Every::Week(Weekday::Friday), at: time(17, 30, 0, 0) };
        let period = last_period(friday, &berlin(), at("2026-11-23T07:00:00Z"));
        assert_eq!(period, at("2026-11-13T16:30:00Z")..at("2026-11-20T16:30:00Z"));
        let next = next_due(friday, &berlin(), period.end);
        assert_eq!(next, at("2026-11-27T16:30:00Z"));
    }

    #[test]
    fn a_time_that_is_skipped_in_spring_comes_as_much_later() {
        // On 2026-03-29 the clock goes from 02:00 to 03:00.
        let summary = daily(2, 30);
        let skipped = at("2026-03-29T01:30:00Z");
        assert_eq!(next_due(summary, &berlin(), at("2026-03-28T01:30:00Z")), skipped);
        let period = last_period(summary, &berlin(), at("2026-03-29T12:00:00Z"));
        assert_eq!(period, at("2026-03-28T01:30:00Z")..skipped);
        assert_eq!(next_due(summary, &berlin(), skipped), at("2026-03-30T00:30:00Z"));
        let morning = last_period(daily(8, 0), &berlin(), at("2026-03-29T12:00:00Z"));
        assert_eq!(morning.end.duration_since(morning.start).as_hours(), 23);
    }

    #[test]
    fn a_time_that_comes_twice_in_autumn_is_due_once() {
        // On 2026-10-25 the clock goes from 03:00 back to 02:00.
        let summary = daily(2, 30);
        let first = at("2026-10-25T00:30:00Z");
        assert_eq!(next_due(summary, &berlin(), at("2026-10-24T12:00:00Z")), first);
        assert_eq!(next_due(summary, &berlin(), first), at("2026-10-26T01:30:00Z"));
        let second = at("2026-10-25T01:30:00Z");
        assert_eq!(last_period(summary, &berlin(), second).end, first);
        let morning = last_period(daily(8, 0), &berlin(), at("2026-10-25T12:00:00Z"));
        assert_eq!(morning.end.duration_since(morning.start).as_hours(), 25);
    }

    #[test]
    fn a_day_that_a_zone_never_had_is_not_summed_up() {
        // Samoa went from 2011-12-29 to 2011-12-31.
        let zone = TimeZone::get("Pacific/Apia").unwrap();
        let period = last_period(daily(8, 0), &zone, at("2011-12-31T12:00:00Z"));
        assert!(period.start < period.end, "{period:?}");
        assert_eq!(next_due(daily(8, 0), &zone, period.start), period.end);
    }

    proptest! {
        #[test]
        fn periods_meet_without_gap_or_overlap(
            seconds in 0i64..4_000_000_000,
            hour in 0i8..24,
            minute in 0i8..60,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Shanghai", "UTC"]),
            weekly in any::<bool>(),
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let every = if weekly { Every::Week(Weekday::Sunday) } else { Every::Day };
            let summary = Summary { every, at: time(hour, minute, 0, 0) };
            let now = Timestamp::from_second(seconds).unwrap();
            let period = last_period(summary, &zone, now);
            prop_assert!(period.start < period.end && period.end <= now);
            let next = next_due(summary, &zone, now);
            prop_assert!(next > now);
            prop_assert_eq!(next_due(summary, &zone, period.start), period.end);
            prop_assert_eq!(last_period(summary, &zone, next), period.end..next);
        }
    }
}
