//! The decision when a homeserver is asked to end.

use std::time::{Duration, Instant};

/// The number of looks in a row at which it has to hold too much, so that a picture which it makes smaller does not
/// count, nor a few logins, each of which takes memory for as long as the password is checked.
const LOOKS: u32 = 5;

/// The time that it may take to end, the same as systemd gives it.
const TO_END: Duration = Duration::from_mins(2);

/// The time before another attempt, if a restart was of no use. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_mins(10);

/// The longest of these times.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);

/// A process, also after others have had its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessId {
    pub(super) pid: i32,
    /// The time of its start, in ticks since the machine has.
    pub(super) started: u64,
}

/// The memory of a homeserver at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) process: ProcessId,
    /// The bytes of its own memory, without files.
    pub(super) anonymous: u64,
}

/// The decision about a homeserver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// Ask it to end.
    End,
    /// Kill it, as it was asked to and has not ended.
    Kill,
    /// Say that it is back, this long after it was asked to end.
    Back(Duration),
    /// Say that it holds too much although it has just started, and that it is left alone for this time.
    InVain(Duration),
}

/// The judge of one homeserver after another.
#[derive(Debug)]
pub(super) struct Judge {
    /// The bytes that it may hold.
    mark: u64,
    /// The process that the rest is about.
    process: Option<ProcessId>,
    /// Whether that process has ever held less than the mark: only then did its start help.
    was_below: bool,
    /// The number of looks in a row at which it held more.
    above: u32,
    /// The time at which it, or the one before it, was asked to end.
    asked: Option<Instant>,
    /// Whether it was killed.
    is_killed: bool,
    /// The time until which it is left alone.
    spared_until: Option<Instant>,
    /// The next time for which it is left alone.
    pause: Duration,
}

impl Judge {
    pub(super) fn new(mark: u64) -> Self {
        Self {
            mark,
            process: None,
            was_below: false,
            above: 0,
            asked: None,
            is_killed: false,
            spared_until: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Judges a homeserver that is ready.
    pub(super) fn judge(&mut self, look: Look, now: Instant) -> Verdict {
        let mut back = Verdict::Fine;
        if self.process != Some(look.process) {
            back = self.asked.take().map_or(back, |asked| Verdict::Back(now - asked));
            self.process = Some(look.process);
            (self.was_below, self.above, self.is_killed) = (false, 0, false);
            self.spared_until = None;
        }
        if let Some(asked) = self.asked {
            let is_over = now - asked >= TO_END && !self.is_killed;
            self.is_killed |= is_over;
            return if is_over { Verdict::Kill } else { Verdict::Fine };
        }
        if look.anonymous <= self.mark {
            (self.was_below, self.above) = (true, 0);
            (self.spared_until, self.pause) = (None, FIRST_PAUSE);
            return back;
        }
        self.above += 1;
        if self.above < LOOKS {
            return back;
        }
        if !self.was_below && self.spared_until.is_none() {
            let pause = self.pause;
            self.spared_until = Some(now + pause);
            self.pause = (pause * 2).min(LONGEST_PAUSE);
            return Verdict::InVain(pause);
        }
        if self.spared_until.is_some_and(|until| now < until) {
            return back;
        }
        self.asked = Some(now);
        Verdict::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A machine on which time passes only here.
    struct Scene {
        judge: Judge,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self { judge: Judge::new(50), now: Instant::now() }
        }

        /// Looks at a process a second later.
        fn look(&mut self, pid: i32, anonymous: u64) -> Verdict {
            self.now += SECOND;
            let process = ProcessId { pid, started: 7 };
            self.judge.judge(Look { process, anonymous }, self.now)
        }

        /// Looks at a process that holds too much, until the next look counts.
        fn hold(&mut self, pid: i32, anonymous: u64) {
            for _ in 1..LOOKS {
                assert_eq!(self.look(pid, anonymous), Verdict::Fine);
            }
        }

        /// Returns all but the first verdict that is not [`Verdict::Fine`] within a time, and when that was.
        fn first(
            &mut self,
            pid: i32,
            anonymous: u64,
            within: Duration,
        ) -> Option<(Verdict, Duration)> {
            let begin = self.now;
            while self.now - begin < within {
                let verdict = self.look(pid, anonymous);
                if verdict != Verdict::Fine {
                    return Some((verdict, self.now - begin));
                }
            }
            None
        }
    }

    #[test]
    fn one_that_has_grown_is_asked_once_and_judged_anew_when_it_is_back() {
        let mut scene = Scene::new();
        assert_eq!(scene.look(1, 15), Verdict::Fine);
        scene.hold(1, 51);
        assert_eq!(scene.look(1, 52), Verdict::End);
        assert_eq!(scene.look(1, 52), Verdict::Fine);
        assert_eq!(scene.look(2, 15), Verdict::Back(2 * SECOND));
        scene.hold(2, 60);
        assert_eq!(scene.look(2, 60), Verdict::End, "however soon, in a storm");
    }

    #[test]
    fn a_peak_does_not_count() {
        let mut scene = Scene::new();
        for _ in 0..10 {
            assert_eq!(scene.look(1, 15), Verdict::Fine);
            scene.hold(1, 150);
        }
    }

    #[test]
    fn one_that_is_no_smaller_after_a_restart_is_left_alone_for_ever_longer() {
        let mut scene = Scene::new();
        scene.look(1, 15);
        scene.hold(1, 60);
        assert_eq!(scene.look(1, 60), Verdict::End);
        let mut pause = FIRST_PAUSE;
        for pid in 2..20 {
            assert!(matches!(scene.look(pid, 60), Verdict::Back(_)));
            for _ in 2..LOOKS {
                assert_eq!(scene.look(pid, 60), Verdict::Fine);
            }
            assert_eq!(scene.look(pid, 60), Verdict::InVain(pause));
            let (verdict, after) = scene.first(pid, 60, 2 * LONGEST_PAUSE).unwrap();
            assert_eq!((verdict, after), (Verdict::End, pause));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        assert_eq!(pause, LONGEST_PAUSE);

        assert!(matches!(scene.look(20, 15), Verdict::Back(_)));
        scene.hold(20, 60);
        assert_eq!(scene.look(20, 60), Verdict::End, "it has grown again");
        assert!(matches!(scene.look(21, 60), Verdict::Back(_)));
        for _ in 2..LOOKS {
            assert_eq!(scene.look(21, 60), Verdict::Fine);
        }
        assert_eq!(scene.look(21, 60), Verdict::InVain(FIRST_PAUSE), "and all begins anew");
    }

    #[test]
    fn a_watch_that_starts_late_does_not_know_whether_a_restart_helps_and_waits() {
        let mut scene = Scene::new();
        assert_eq!(
            scene.first(1, 60, FIRST_PAUSE),
            Some((Verdict::InVain(FIRST_PAUSE), LOOKS * SECOND))
        );
        assert_eq!(scene.first(1, 60, 2 * FIRST_PAUSE), Some((Verdict::End, FIRST_PAUSE)));
    }

    #[test]
    fn one_that_does_not_end_is_killed_once() {
        let mut scene = Scene::new();
        scene.look(1, 15);
        scene.hold(1, 60);
        assert_eq!(scene.look(1, 60), Verdict::End);
        assert_eq!(scene.first(1, 60, 2 * TO_END), Some((Verdict::Kill, TO_END)));
        assert_eq!(scene.first(1, 60, 2 * TO_END), None);
        assert!(matches!(scene.look(2, 15), Verdict::Back(_)));
    }
}
