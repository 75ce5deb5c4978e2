//! The members of a group, of which the worst are kept.

use std::cmp::Reverse;

use crate::message::{Alert, Counts, State, rfc3339};

/// The members of a group: the worst and newest of them, and the counts of the others.
#[derive(Default)]
pub(super) struct Members {
    /// The members that are kept, each with its position among all.
    kept: Vec<(usize, Alert)>,
    /// The approximate memory that the kept members take, in bytes.
    weight: usize,
    count: usize,
    left_out: Counts,
    /// Whether a part of a member was left out.
    pub(super) is_cut: bool,
}

impl Members {
    /// The number of members that are kept if they are small. While the alerts are read, there may be twice as many.
    const MOST: usize = 256;
    /// The memory that the kept members may take, in bytes. While the alerts are read, they may take twice as much.
    const MOST_WEIGHT: usize = 1024 * 1024;

    pub(super) fn add(&mut self, mut alert: Alert) {
        self.is_cut |= alert.shorten();
        self.weight += alert.weight();
        self.kept.push((self.count, alert));
        self.count += 1;
        if self.kept.len() >= 2 * Self::MOST || self.weight >= 2 * Self::MOST_WEIGHT {
            self.leave_out();
        }
    }

    /// Drops the least severe members, and among equally severe ones the oldest, until the others are within both
    /// limits.
    fn leave_out(&mut self) {
        let time = |alert: &Alert| alert.time.as_deref().and_then(rfc3339::seconds);
        self.kept.sort_by_cached_key(|(_, alert)| (State::of(alert), Reverse(time(alert))));
        let mut weight = 0;
        let fits = |(_, alert): &&(usize, Alert)| {
            weight += alert.weight();
            weight <= Self::MOST_WEIGHT
        };
        let most = self.kept.iter().take(Self::MOST).take_while(fits).count().max(1);
        self.kept.drain(most..).for_each(|(_, alert)| self.left_out.add(&alert));
        self.weight = self.kept.iter().map(|(_, alert)| alert.weight()).sum();
    }

    /// Returns the kept members in the order in which they were sent, and the counts of the others.
    pub(super) fn finish(mut self) -> (Vec<Alert>, Counts) {
        if self.kept.len() > Self::MOST || self.weight > Self::MOST_WEIGHT {
            self.leave_out();
        }
        self.kept.sort_by_key(|(place, _)| *place);
        (self.kept.into_iter().map(|(_, alert)| alert).collect(), self.left_out)
    }
}
