//! The members of an alert group, stored compactly because a group can have many.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The members that have fired, each with the time at which it stopped: eight bytes per member, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Members(Vec<(u32, Gone)>);

/// The time at which a member stopped firing, in seconds since 1970; 0 while it fires.
type Gone = u32;

impl Members {
    /// Creates the set from members that all fire.
    pub(crate) fn firing(members: &BTreeSet<u32>) -> Self {
        Self(members.iter().map(|member| (*member, 0)).collect())
    }

    /// Whether a firing `member` is news: it has never fired, or it stopped so long ago that `is_long` holds for the
    /// time.
    pub(crate) fn is_news(&self, member: u32, is_long: impl Fn(i64) -> bool) -> bool {
        match self.0.binary_search_by_key(&member, |(member, _)| *member) {
            Ok(index) => since(self.0[index].1).is_some_and(is_long),
            Err(_) => true,
        }
    }

    /// Marks every member as no longer firing since `at`.
    pub(crate) fn all_gone(&mut self, at: i64) {
        for (_, gone) in self.0.iter_mut().filter(|(_, gone)| *gone == 0) {
            *gone = gone_at(Some(at));
        }
    }

    /// Marks these members as firing. If that makes more than `most` members, all others are forgotten.
    pub(crate) fn fire(&mut self, members: &BTreeSet<u32>, most: usize) {
        self.0.retain(|(member, _)| !members.contains(member));
        if self.0.len() + members.len() > most {
            self.0.clear();
        }
        self.0.extend(members.iter().map(|member| (*member, 0)));
        self.0.sort_unstable();
        self.0.shrink_to_fit();
    }

    /// The latest time at which a member stopped firing, in seconds since 1970; 0 if all of them fire.
    pub(crate) fn latest(&self) -> i64 {
        self.0.iter().map(|(_, gone)| i64::from(*gone)).max().unwrap_or(0)
    }

    /// The memory that the members take, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.0.capacity() * size_of::<(u32, Gone)>()
    }
}

fn since(gone: Gone) -> Option<i64> {
    (gone > 0).then_some(i64::from(gone))
}

fn gone_at(since: Option<i64>) -> Gone {
    since.map_or(0, |since| Gone::try_from(since.max(1)).unwrap_or(Gone::MAX))
}

/// Writes a map from each member to the time at which it stopped, or to null while it fires.
impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(member, gone)| (member, since(*gone))))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = BTreeMap::<u32, Option<i64>>::deserialize(deserializer)?;
        Ok(Self(members.into_iter().map(|(member, since)| (member, gone_at(since))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_in_the_bucket_is_a_map_as_ever() {
        let kept = r#"{"7":null,"4000000000":1790000000}"#;
        let members: Members = serde_json::from_str(kept).unwrap();
        assert!(!members.is_news(7, |_| true));
        assert!(members.is_news(4_000_000_000, |since| since == 1_790_000_000));
        assert!(members.is_news(8, |_| false));
        assert_eq!(serde_json::to_string(&members).unwrap(), kept);
        assert_eq!(members.weight(), 16);
    }

    #[test]
    fn members_come_and_go() {
        let mut members = Members::firing(&[3, 1].into());
        members.all_gone(50);
        members.all_gone(60);
        members.fire(&[2, 3].into(), 3);
        assert_eq!(members.0, [(1, 50), (2, 0), (3, 0)]);
        members.fire(&[4].into(), 3);
        assert_eq!(members.0, [(4, 0)]);
    }
}
