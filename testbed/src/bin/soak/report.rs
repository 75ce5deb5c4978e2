//! The report of a run.

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};

use crate::{
    bridge::Life,
    check::{Mark, Verdict},
    schedule::Kind,
};

/// The most messages that are named for each kind of mistake.
const NAMED: usize = 5;

/// All that is known at the end.
pub(crate) struct Report {
    pub(crate) setting: String,
    pub(crate) seed: u64,
    pub(crate) minutes: u64,
    /// The number of faults of each kind that struck.
    pub(crate) faults: BTreeMap<Kind, usize>,
    /// The kinds of which one fault has to have struck.
    pub(crate) required: Vec<Kind>,
    /// The kinds that could not be had, and why.
    pub(crate) not_run: Vec<(Kind, String)>,
    /// The verdict on each route.
    pub(crate) verdicts: Vec<(&'static str, Verdict)>,
    /// The number of messages that were not delivered when nothing went on any more.
    pub(crate) undelivered: u64,
    pub(crate) life: Life,
}

impl Report {
    /// Whether everything arrived, once and in order, and the bridge never gave up; and whether there was anything
    /// to survive.
    pub(crate) fn is_well(&self) -> bool {
        self.unproved().is_empty()
            && self.verdicts.iter().all(|(_, verdict)| verdict.messages > 0)
            && self.undelivered == 0
            && self.life.ends.is_empty()
            && self.verdicts.iter().all(|(_, verdict)| verdict.is_well())
    }

    /// Complaints about what was not put to the test, though nothing may have gone wrong.
    fn unproved(&self) -> Vec<String> {
        let struck = |kind: Kind| self.faults.contains_key(&kind);
        let missing = self.required.iter().filter(|kind| !struck(**kind));
        let missing = missing.map(|kind| format!("no fault of the kind {} struck", kind.name()));
        // A fault that the bridge did not notice was none.
        let unnoticed = [
            (self.faults.is_empty(), "no fault struck"),
            (
                struck(Kind::DiskFull) && self.life.disk_full == 0,
                "the disk was full, and the bridge never failed to keep its session",
            ),
            (
                (struck(Kind::TokenRevoked) || struck(Kind::DiskFull)) && self.life.logins == 0,
                "the bridge's token was revoked, and it never logged in again",
            ),
            (
                struck(Kind::SecondBridge) && self.life.stood_by == 0,
                "a second bridge was started, and none ever stood by",
            ),
            (
                struck(Kind::StreamPurged)
                    && self.verdicts.iter().all(|(_, verdict)| verdict.announced == 0),
                "a stream was purged, and no message waited in it",
            ),
            (
                struck(Kind::RightsRevoked) && self.life.denied == 0,
                "rights were revoked, and the bridge never noticed",
            ),
        ];
        let unnoticed = unnoticed.into_iter().filter(|(is_so, _)| *is_so);
        unnoticed.map(|(_, what)| what.to_owned()).chain(missing).collect()
    }

    /// The same for programs.
    pub(crate) fn to_json(&self) -> Value {
        let faults = self.faults.iter().map(|(kind, count)| (kind.name(), json!(count)));
        let not_run =
            self.not_run.iter().map(|(kind, reason)| json!({ "kind": kind.name(), "why": reason }));
        let routes = self.verdicts.iter().map(|(route, verdict)| {
            json!({
                "route": route,
                "messages": verdict.messages,
                "lost": verdict.lost.len(),
                "announced": verdict.announced,
                "announced_and_seen": verdict.announced_and_seen,
                "twice": verdict.twice.len(),
                "out_of_order": verdict.misordered.len(),
                "strange": verdict.strange.len(),
            })
        });
        json!({
            "ok": self.is_well(),
            "setting": self.setting,
            "seed": self.seed,
            "minutes": self.minutes,
            "faults": faults.collect::<serde_json::Map<_, _>>(),
            "not_run": not_run.collect::<Vec<_>>(),
            "unproved": self.unproved(),
            "routes": routes.collect::<Vec<_>>(),
            "undelivered": self.undelivered,
            "bridge": {
                "starts": self.life.starts,
                "logins": self.life.logins,
                "sessions_not_kept": self.life.disk_full,
                "second_bridges_that_stood_by": self.life.stood_by,
                "rights_missed": self.life.denied,
                "ended_by_itself": self.life.ends,
            },
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.setting)?;
        writeln!(f, "| fault | survived |\n| --- | --- |")?;
        for (kind, count) in &self.faults {
            writeln!(f, "| {} | {count} |", kind.words())?;
        }
        let total: usize = self.faults.values().sum();
        writeln!(f, "| **all** | **{total}** |\n")?;
        for (kind, reason) in &self.not_run {
            writeln!(f, "NOT RUN: {} ({}): {reason}", kind.name(), kind.words())?;
        }
        let Life { starts, logins, disk_full, stood_by, denied, ends } = &self.life;
        writeln!(
            f,
            "The bridge was started {starts} times, logged in again {logins} times, {disk_full} times could not \
             keep its session, and {denied} times missed a right. {stood_by} second bridges stood by.\n"
        )?;
        writeln!(
            f,
            "| route | messages | lost | seen twice | out of order | removed and announced | announced and seen |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- |")?;
        let mut sums = [0; 6];
        for (route, verdict) in &self.verdicts {
            let Verdict { messages, lost, twice, misordered, .. } = verdict;
            let lists = [*messages, lost.len(), twice.len(), misordered.len()].map(|n| n as u64);
            let [messages, lost, twice, misordered] = lists;
            let (announced, seen) = (verdict.announced, verdict.announced_and_seen);
            let row = [messages, lost, twice, misordered, announced, seen];
            writeln!(f, "| {route} | {} |", row.map(|n| n.to_string()).join(" | "))?;
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
        writeln!(f, "| **all** | {} |", sums.map(|n| format!("**{n}**")).join(" | "))?;
        for (route, verdict) in &self.verdicts {
            named(f, route, "lost", &verdict.lost)?;
            named(f, route, "seen twice", &verdict.twice)?;
            named(f, route, "out of order", &verdict.misordered)?;
            named(f, route, "seen but never published", &verdict.strange)?;
            named(f, route, "acknowledged by NATS but not in its stream", &verdict.lost_by_nats)?;
            named(f, route, "in the stream more than once", &verdict.doubled_by_nats)?;
            let Verdict { not_counted, announced_and_seen, .. } = verdict;
            if *not_counted > 0 {
                writeln!(f, "\nFAIL {route}: {not_counted} removed, and not counted in the room")?;
            }
            if verdict.is_announced_in_vain() {
                writeln!(f, "\nFAIL {route}: {announced_and_seen} announced as removed, and seen")?;
            }
        }
        for what in self.unproved() {
            writeln!(f, "\nFAIL {what}")?;
        }
        if self.undelivered > 0 {
            writeln!(f, "\nFAIL {} messages were not delivered in the end", self.undelivered)?;
        }
        for end in ends {
            writeln!(f, "\nFAIL the bridge gave up: {end}")?;
        }
        Ok(())
    }
}

fn named(f: &mut fmt::Formatter<'_>, route: &str, what: &str, marks: &[Mark]) -> fmt::Result {
    if marks.is_empty() {
        return Ok(());
    }
    let first: Vec<String> = marks.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if marks.len() > NAMED { " ..." } else { "" };
    writeln!(f, "\nFAIL {route}: {} {what}: {}{more}", marks.len(), first.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let verdict = Verdict { messages: 1, ..Verdict::default() };
        Report {
            setting: String::new(),
            seed: 1,
            minutes: 1,
            faults: [(Kind::BridgeKill, 1)].into(),
            required: Vec::new(),
            not_run: Vec::new(),
            verdicts: vec![("plain", verdict)],
            undelivered: 0,
            life: Life::default(),
        }
    }

    #[test]
    fn a_run_is_well_only_if_nothing_is_wrong_and_something_was_tried() {
        assert!(report().is_well());
        assert!(!Report { faults: BTreeMap::new(), ..report() }.is_well());
        assert!(!Report { undelivered: 1, ..report() }.is_well());
        assert!(!Report { verdicts: vec![("plain", Verdict::default())], ..report() }.is_well());
        let gave_up = Life { ends: vec!["70".to_owned()], ..Life::default() };
        assert!(!Report { life: gave_up, ..report() }.is_well());
        let lost = vec![Mark { route: "plain", publisher: 1, number: 7 }];
        let verdict = Verdict { messages: 1, lost, ..Verdict::default() };
        let lost = Report { verdicts: vec![("plain", verdict)], ..report() };
        assert!(!lost.is_well());
        let text = lost.to_string();
        assert!(text.contains("FAIL plain: 1 lost: ‹plain 1.7›"), "{text}");
        assert_eq!(lost.to_json()["ok"], false);
    }

    #[test]
    fn a_kind_that_has_to_strike_and_does_not_is_a_failure() {
        let required = vec![Kind::BridgeKill, Kind::ClockJump];
        let missing = Report { required, ..report() };
        assert!(!missing.is_well());
        let text = missing.to_string();
        assert!(text.contains("FAIL no fault of the kind clock-jump struck"), "{text}");
        assert!(!text.contains("bridge-kill struck"), "{text}");
        let faults = [(Kind::BridgeKill, 1), (Kind::ClockJump, 1)].into();
        assert!(Report { faults, ..missing }.is_well());
    }

    #[test]
    fn a_full_disk_and_a_revoked_token_count_only_if_the_bridge_ran_into_them() {
        let after = |kind: Kind, logins: usize, disk_full: usize| {
            let life = Life { logins, disk_full, ..Life::default() };
            Report { faults: [(kind, 1)].into(), life, ..report() }
        };
        assert!(after(Kind::TokenRevoked, 1, 0).is_well());
        assert!(after(Kind::DiskFull, 1, 1).is_well());
        for (unnoticed, said) in [
            (after(Kind::TokenRevoked, 0, 0), "it never logged in again"),
            (after(Kind::DiskFull, 0, 1), "it never logged in again"),
            (after(Kind::DiskFull, 1, 0), "never failed to keep its session"),
        ] {
            assert!(!unnoticed.is_well(), "{said}");
            assert!(unnoticed.to_string().contains(said), "{unnoticed}");
        }
    }

    #[test]
    fn a_second_bridge_counts_only_if_it_stood_by() {
        let faults = BTreeMap::from([(Kind::SecondBridge, 1)]);
        let of = |stood_by| {
            let life = Life { stood_by, ..Life::default() };
            Report { faults: faults.clone(), life, ..report() }
        };
        assert!(of(1).is_well());
        assert!(!of(0).is_well());
    }

    #[test]
    fn a_purge_and_revoked_rights_count_only_if_the_bridge_ran_into_them() {
        let of = |kind: Kind, announced: u64, denied: usize| {
            let verdict = Verdict { messages: 1, announced, ..Verdict::default() };
            let life = Life { denied, ..Life::default() };
            let verdicts = vec![("purged", verdict)];
            Report { faults: [(kind, 1)].into(), life, verdicts, ..report() }
        };
        assert!(of(Kind::StreamPurged, 1, 0).is_well());
        assert!(!of(Kind::StreamPurged, 0, 1).is_well());
        assert!(of(Kind::RightsRevoked, 0, 1).is_well());
        assert!(!of(Kind::RightsRevoked, 1, 0).is_well());
    }

    #[test]
    fn what_did_not_run_says_why() {
        let not_run = vec![(Kind::ClockJump, "no libfaketime".to_owned())];
        let text = Report { not_run, ..report() }.to_string();
        assert!(text.contains("NOT RUN: clock-jump (the bridge's clock set): no libfaketime"));
    }
}
