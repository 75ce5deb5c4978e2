//! Remembers the storms of a room, each of which spans many digests, and the subjects for which phones have buzzed.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{message::Urgency, render::News};

/// The time without a digest after which the next one belongs to another storm.
const CALM: Duration = Duration::from_mins(10);

/// The time after which a critical message on the same subject makes phones buzz again in a storm that goes on.
const AGAIN: Duration = Duration::from_mins(2);

/// The number of subjects for which it is remembered when phones buzzed, at about 100 bytes each. All further subjects
/// are treated as one.
const MOST_SUBJECTS: usize = 1024;

/// The time after which phones buzz again for the further subjects. It is short, because whoever invents subjects must
/// not silence those of others.
const AGAIN_FOR_FURTHER: Duration = Duration::from_secs(30);

/// The storms of a room.
#[derive(Debug, Default)]
pub(crate) struct Storms {
    /// The storm that goes on, or the last one.
    last: Option<Storm>,
}

#[derive(Debug)]
struct Storm {
    /// The time when the last digest of the storm was posted.
    last: Instant,
    /// The highest urgency among the digests of the storm.
    urgency: Urgency,
    /// The time when phones last buzzed for a critical message, by its subject.
    pushed: HashMap<String, Instant>,
}

impl Storms {
    /// Returns when the last digest was posted, if there was one.
    pub(crate) fn last_digest(&self) -> Option<Instant> {
        self.last.as_ref().map(|storm| storm.last)
    }

    /// Whether phones are to buzz for a digest with this news. In a storm that goes on they only do if the news is
    /// worse than all before, or critical on a subject for which no phone has buzzed for a while. So a storm from one
    /// publisher does not silence the alert of another.
    pub(crate) fn are_worth_a_push(&self, news: &News<'_>) -> bool {
        let Some(storm) = self.going_on() else { return news.urgency > Urgency::Routine };
        let is_due = |subject: &&str| !storm.has_pushed_lately(subject);
        news.urgency > storm.urgency || news.critical.iter().any(is_due)
    }

    /// Returns the subjects for which phones have buzzed in this storm.
    pub(crate) fn heard(&self) -> BTreeSet<&str> {
        self.going_on()
            .into_iter()
            .flat_map(|storm| storm.pushed.keys().map(String::as_str))
            .collect()
    }

    /// Notes that a digest with this news was posted, and whether phones buzzed for it.
    pub(crate) fn note(&mut self, news: &News<'_>, has_pushed: bool) {
        let now = Instant::now();
        let before = self.last.take().filter(|storm| storm.last.elapsed() < CALM);
        let mut storm = before.unwrap_or_else(|| Storm {
            last: now,
            urgency: news.urgency,
            pushed: HashMap::new(),
        });
        storm.last = now;
        storm.urgency = storm.urgency.max(news.urgency);
        storm.pushed.retain(|_, pushed| pushed.elapsed() < AGAIN);
        for subject in news.critical.iter().filter(|_| has_pushed) {
            let name = storm.name(subject).to_owned();
            storm.pushed.insert(name, now);
        }
        self.last = Some(storm);
    }

    fn going_on(&self) -> Option<&Storm> {
        self.last.as_ref().filter(|storm| storm.last.elapsed() < CALM)
    }
}

impl Storm {
    /// Returns the name under which a subject is remembered. The empty name stands for all further subjects, as no
    /// subject is empty.
    fn name<'a>(&self, subject: &'a str) -> &'a str {
        let is_kept = self.pushed.contains_key(subject) || self.pushed.len() < MOST_SUBJECTS;
        if is_kept { subject } else { "" }
    }

    fn has_pushed_lately(&self, subject: &str) -> bool {
        let name = self.name(subject);
        let again = if name.is_empty() { AGAIN_FOR_FURTHER } else { AGAIN };
        self.pushed.get(name).is_some_and(|pushed| pushed.elapsed() < again)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn critical<'a>(subjects: &[&'a str]) -> News<'a> {
        News { urgency: Urgency::Critical, critical: subjects.iter().copied().collect() }
    }

    /// Returns whether phones buzz for the digest.
    fn digest(storms: &mut Storms, news: &News<'_>) -> bool {
        let has_pushed = storms.are_worth_a_push(news);
        storms.note(news, has_pushed);
        has_pushed
    }

    #[tokio::test(start_paused = true)]
    async fn one_subject_pushes_every_two_minutes_and_takes_no_push_from_another() {
        let mut storms = Storms::default();
        let (evil, both) = (critical(&["ops.evil"]), critical(&["ops.db", "ops.evil"]));
        assert!(digest(&mut storms, &evil));
        for second in (10..120).step_by(10) {
            advance(Duration::from_secs(10)).await;
            let news = if second == 50 { &both } else { &evil };
            assert_eq!(digest(&mut storms, news), second == 50, "after {second} s");
        }
        // Phones have buzzed for both after 50 s.
        advance(Duration::from_secs(50)).await;
        assert!(!digest(&mut storms, &both));
        advance(Duration::from_secs(10)).await;
        assert!(digest(&mut storms, &both));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_worse_pushes_and_the_next_storm_begins_anew() {
        let mut storms = Storms::default();
        let of = |urgency| News { urgency, critical: BTreeSet::new() };
        assert!(!digest(&mut storms, &of(Urgency::Routine)));
        assert!(digest(&mut storms, &of(Urgency::Notable)));
        assert!(!digest(&mut storms, &of(Urgency::Notable)));
        assert!(digest(&mut storms, &critical(&["ops.db"])));
        assert!(storms.heard().contains("ops.db"));
        advance(CALM).await;
        assert!(storms.heard().is_empty());
        assert!(digest(&mut storms, &of(Urgency::Notable)));
    }

    #[tokio::test(start_paused = true)]
    async fn invented_subjects_take_no_more_memory_than_there_is() {
        let mut storms = Storms::default();
        let subjects: Vec<String> = (0..3000).map(|number| format!("ops.{number}")).collect();
        let names: Vec<&str> = subjects.iter().map(String::as_str).collect();
        assert!(digest(&mut storms, &critical(&names)));
        assert_eq!(storms.heard().len(), MOST_SUBJECTS + 1);
        assert!(!digest(&mut storms, &critical(&["ops.another"])), "one of those beyond");
        advance(AGAIN_FOR_FURTHER).await;
        assert!(digest(&mut storms, &critical(&["ops.another"])));
        advance(AGAIN).await;
        assert!(digest(&mut storms, &critical(&["ops.another"])));
        assert_eq!(storms.heard().len(), 1, "the others are forgotten");
    }
}
