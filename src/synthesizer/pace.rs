//! How many synthetic traces are due. Knows no clock: the time is handed in.

use std::time::Duration;

/// After a stall, no more is made up for than what was due in so long.
const STALL: Duration = Duration::from_secs(1);
/// The longest sleep: far below [`STALL`], so that a late wake-up does not count as one.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
/// How often to look for observed traces to mirror.
const LOOK: Duration = Duration::from_millis(50);
/// More than any machine makes; keeps the arithmetic exact for years.
const MOST_PER_SECOND: f64 = 1e7;

/// When synthetic traces are made (`generation`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// So many for each observed trace.
    Mirror {
        /// Synthetic per observed trace.
        ratio: f64,
    },
    /// So many a second, whatever is observed.
    Rate {
        /// Synthetic traces a second.
        per_second: f64,
    },
    /// None.
    Off,
}

/// Says how many traces are owed.
///
/// Owed in all is computed from the whole time, or the whole count, since the beginning, so that
/// no rounding adds up. Whoever asks again only after more than a second is owed a second's
/// worth, and the rest is forgiven: a stall is not followed by a burst.
#[derive(Debug, Clone)]
pub struct Pace {
    mode: Mode,
    /// When it was last asked; none before the first time.
    last: Option<Duration>,
    /// Time that counts.
    elapsed: Duration,
    /// Observed traces that count.
    observed: u64,
    given: u64,
    forgiven: u64,
}

impl Pace {
    /// Nothing is owed yet. What is negative, or no number, counts as 0.
    pub fn new(mode: Mode) -> Self {
        // What is no number stays none, and reads as 0 where it becomes a whole one.
        let sane = |rate: f64| rate.clamp(0.0, MOST_PER_SECOND);
        Self {
            mode: match mode {
                Mode::Mirror { ratio } => Mode::Mirror { ratio: sane(ratio) },
                Mode::Rate { per_second } => Mode::Rate {
                    per_second: sane(per_second),
                },
                Mode::Off => Mode::Off,
            },
            last: None,
            elapsed: Duration::ZERO,
            observed: 0,
            given: 0,
            forgiven: 0,
        }
    }

    /// Traces to make now. `now` is the time since any fixed moment; `observed` is how many
    /// traces were observed since the last call. The first call starts the clock.
    pub fn owed(&mut self, now: Duration, observed: u64) -> u64 {
        let passed = now.saturating_sub(self.last.unwrap_or(now));
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
        let counted = passed.min(STALL);
        self.elapsed += counted;
        let share = if passed > STALL {
            STALL.as_secs_f64() / passed.as_secs_f64()
        } else {
            1.0
        };
        let counted = (observed as f64 * share).round() as u64;
        self.observed += counted;
        match self.mode {
            Mode::Mirror { ratio } => self.forgiven += whole(ratio, (observed - counted) as f64),
            Mode::Rate { per_second } => {
                let lost = passed.saturating_sub(STALL).as_secs_f64();
                self.forgiven += whole(per_second, lost);
            }
            Mode::Off => {}
        }
        let due = self.due();
        let owed = due.saturating_sub(self.given);
        self.given = self.given.max(due);
        owed
    }

    /// How long to sleep before asking again, if nothing else wakes the caller.
    pub fn next_due(&self, now: Duration) -> Duration {
        match self.mode {
            Mode::Off => LONGEST_SLEEP,
            Mode::Mirror { .. } => LOOK,
            Mode::Rate { per_second } => {
                let next = (self.given + 1) as f64 / per_second;
                let Ok(next) = Duration::try_from_secs_f64(next) else {
                    return LONGEST_SLEEP;
                };
                let since = now.saturating_sub(self.last.unwrap_or(now));
                // A float may fall just short of the moment; a microsecond more is past it.
                let wait = next.saturating_sub(self.elapsed + since) + Duration::from_micros(1);
                wait.min(LONGEST_SLEEP)
            }
        }
    }

    /// Traces that were never owed because nobody asked for longer than a second.
    pub fn forgiven(&self) -> u64 {
        self.forgiven
    }

    fn due(&self) -> u64 {
        match self.mode {
            Mode::Off => 0,
            Mode::Mirror { ratio } => whole(ratio, self.observed as f64),
            Mode::Rate { per_second } => whole(per_second, self.elapsed.as_secs_f64()),
        }
    }
}

/// The whole part of a product.
fn whole(rate: f64, amount: f64) -> u64 {
    // A product such as 0.1 * 30 may fall just short of a whole number.
    (rate * amount + 1e-6) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks at each time (ms), with so many traces observed; shows what is owed.
    fn check(mode: Mode, asked: &[(u64, u64)], owed: &[u64], forgiven: u64) {
        let mut pace = Pace::new(mode);
        let told: Vec<u64> = asked
            .iter()
            .map(|&(now, observed)| pace.owed(Duration::from_millis(now), observed))
            .collect();
        assert_eq!((told, pace.forgiven()), (owed.to_vec(), forgiven));
    }

    #[test]
    fn a_mirror_owes_its_ratio_of_what_is_observed() {
        let asked = [(0, 3), (50, 0), (100, 1), (150, 1), (200, 1)];
        check(Mode::Mirror { ratio: 1.0 }, &asked, &[3, 0, 1, 1, 1], 0);
        check(Mode::Mirror { ratio: 0.5 }, &asked, &[1, 0, 1, 0, 1], 0);
        check(Mode::Mirror { ratio: 2.5 }, &asked, &[7, 0, 3, 2, 3], 0);
        check(Mode::Off, &asked, &[0; 5], 0);
    }

    #[test]
    fn a_rate_owes_by_the_clock_and_not_by_what_is_observed() {
        let asked = [(5_000, 9), (5_400, 9), (5_500, 0), (5_600, 0), (6_500, 0)];
        check(Mode::Rate { per_second: 2.0 }, &asked, &[0, 0, 1, 0, 2], 0);
        check(Mode::Rate { per_second: 10.0 }, &asked, &[0, 4, 1, 1, 9], 0);
    }

    #[test]
    fn a_stall_is_followed_by_a_second_s_worth_and_no_more() {
        let asked = [(0, 0), (60_000, 600), (60_100, 1)];
        check(Mode::Rate { per_second: 10.0 }, &asked, &[0, 10, 1], 590);
        check(Mode::Mirror { ratio: 2.0 }, &asked, &[0, 20, 2], 1180);
    }

    #[test]
    fn a_clock_that_goes_back_owes_nothing_twice() {
        let asked = [(0, 0), (1_000, 0), (500, 0), (1_000, 0), (1_500, 0)];
        check(Mode::Rate { per_second: 2.0 }, &asked, &[0, 2, 0, 0, 1], 0);
    }

    #[test]
    fn what_is_no_rate_owes_nothing() {
        let asked = [(0, 100), (900, 100), (9_000, 100)];
        for odd in [0.0, -1.0, f64::NAN] {
            check(Mode::Mirror { ratio: odd }, &asked, &[0; 3], 0);
            check(Mode::Rate { per_second: odd }, &asked, &[0; 3], 0);
        }
    }

    /// Sleeps as told for an hour and counts; each sleep ends a little late.
    fn made_in_an_hour(per_second: f64) -> u64 {
        let mut pace = Pace::new(Mode::Rate { per_second });
        let mut now = Duration::ZERO;
        let mut made = 0;
        while now < Duration::from_secs(3_600) {
            made += pace.owed(now, 0);
            now += pace.next_due(now) + Duration::from_micros(57);
        }
        made + pace.owed(Duration::from_secs(3_600), 0)
    }

    #[test]
    fn a_rate_does_not_drift() {
        assert_eq!(made_in_an_hour(0.1), 360);
        assert_eq!(made_in_an_hour(7.3), 26_280);
        assert_eq!(made_in_an_hour(333.0), 1_198_800);
    }

    #[test]
    fn whoever_sleeps_until_the_next_is_due_finds_it_due() {
        for per_second in [5.0, 7.0, 1_000.0 / 3.0, 99_999.0] {
            let mut pace = Pace::new(Mode::Rate { per_second });
            let mut now = Duration::ZERO;
            pace.owed(now, 0);
            for _ in 0..1_000 {
                now += pace.next_due(now);
                assert_eq!(pace.owed(now, 0), 1, "at {now:?}, {per_second} a second");
            }
        }
    }
}
