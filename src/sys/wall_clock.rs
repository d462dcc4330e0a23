//! Whether the machine's wall clock can be believed, what time it is if not, and by how much stamps of before are wrong. Decided without a
//! clock.
//!
//! A board without a battery starts in 1970, and so does what it stamps. Until the truth is known, time goes on from that start, whatever
//! the wall clock does. The truth comes from the first of these: the wall clock leaps to where it can be right, because somebody has set
//! it; or a server says what time it is. From then on there is a [`Shift`]: stamps of the time before are moved by it when they leave. A
//! server that contradicts a wall clock which could be right is believed as well when it does so twice, until the wall clock agrees with it.
//! A wall clock that could be right may also leap before any server has confirmed it, as when a board goes on from the time at which it was
//! last alive and a time server is reached later: then what was stamped before the leap is moved, once a server agrees with what is after it.

use std::time::Duration;

/// Before this moment, 2026-01-01, the wall clock cannot be right: the program did not exist.
pub const PLAUSIBLE_FROM: Duration = Duration::from_secs(1_767_225_600);

/// A server that says more than this, 2100-01-01, is wrong.
const PLAUSIBLE_UNTIL: Duration = Duration::from_secs(4_102_444_800);

/// A server's time that differs by less is none of our business: the intake takes metrics from ten minutes ahead.
const TOLERATED: Duration = Duration::from_secs(600);

/// The wall clock agrees with what a server has said.
const AGREES: Duration = Duration::from_secs(60);

/// What was stamped just before the truth was known leaves in bodies that are closed up to so much later.
const LEAVES_WITHIN: Duration = Duration::from_secs(120);

/// A clock that is set again and again gives no more shifts than that.
const SHIFTS_MAX: usize = 4;

const NANOS: i64 = 1_000_000_000;

/// Points and statistics are stamped with the beginning of ten seconds.
const BUCKET: i64 = 10 * NANOS;

/// Stamps from a time when the clock was wrong, and where they belong. In nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// The first stamp that is wrong.
    pub from: i64,
    /// The first that is not.
    pub to: i64,
    /// What they lack.
    pub by: i64,
    /// No stamp can be later than the moment at which the truth was known. Of an earlier run that had no clock either it is only known that it
    /// was before.
    pub latest: i64,
    /// When that was, as uptime; now as long as the machine's clock is still as wrong; `None` for before the start.
    pub seen_at: Option<Duration>,
}

impl Shift {
    /// The right time for a stamp.
    pub fn apply(&self, stamp: i64) -> i64 {
        if (self.from..self.to).contains(&stamp) { stamp.saturating_add(self.by).min(self.latest) } else { stamp }
    }

    /// Whether it is about stamps of no time at all, whichever run has made them; the others are about this run only.
    pub fn is_of_any_run(&self) -> bool {
        self.from == 0
    }

    /// Whether a body that was closed then can hold wrong stamps.
    pub fn concerns(&self, uptime: Duration, unix: Duration) -> bool {
        (self.from..self.to).contains(&nanos(unix)) || self.seen_at.is_some_and(|seen| uptime <= seen + LEAVES_WITHIN)
    }
}

/// Where time is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The wall clock, which can be right.
    Wall,
    /// It cannot. Time goes on from where it was at the start, when the uptime was zero. Where nobody tells it, nobody waits for it.
    Unknown { base: i64, is_awaited: bool },
    /// A server has said so.
    Told { base: i64 },
}

/// What is known of the wall clock.
#[derive(Debug)]
pub struct WallClock {
    source: Source,
    started: i64,
    shifts: Vec<Shift>,
    /// The machine's clock is as wrong as the latest shift says, and so is what clients stamp.
    is_still_wrong: bool,
    /// A server has agreed with it, or corrected it.
    is_confirmed: bool,
    /// By how much a server contradicted it when it was asked last.
    doubt: Option<i64>,
}

/// Whether nobody can have put himself between us and who tells the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentic {
    /// It came over TLS.
    Yes,
    /// It did not.
    No,
}

/// One reading of the machine's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Since the start, without the time for which the machine slept.
    pub uptime: Duration,
    /// For which it slept.
    pub slept: Duration,
    /// What the wall clock shows.
    pub wall: Duration,
}

/// What changed with a reading or a server's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// The wall clock was set and can be right now; by so much it was behind.
    Set(i64),
    /// A server says that it is behind by so much, ahead if negative.
    Corrected(i64),
    /// It agrees with the server now.
    Agrees,
}

impl WallClock {
    /// It shows `wall` when the uptime is zero.
    pub fn new(wall: Duration) -> WallClock {
        let started = nanos(wall);
        let unknown = WallClock {
            source: Source::Unknown { base: started, is_awaited: true },
            started,
            shifts: Vec::new(),
            is_still_wrong: false,
            is_confirmed: false,
            doubt: None,
        };
        if wall < PLAUSIBLE_FROM {
            return unknown;
        }
        // An earlier run may have had no clock; of what it left it is only known that it was before.
        let left = Shift { from: 0, to: nanos(PLAUSIBLE_FROM), by: started, latest: started, seen_at: None };
        WallClock { source: Source::Wall, shifts: vec![left], ..unknown }
    }

    /// Whether it is taken as it is.
    pub fn is_believed(&self) -> bool {
        self.source == Source::Wall
    }

    /// Whether no stamp so far will have to be moved, as far as anybody knows, and all is known that is needed to move those that will.
    pub fn is_known(&self, now: Reading) -> bool {
        match self.source {
            Source::Wall => self.is_confirmed || self.leapt(now).unsigned_abs() <= TOLERATED.as_nanos() as u64,
            Source::Unknown { is_awaited, .. } => !is_awaited,
            Source::Told { .. } => true,
        }
    }

    /// By how much the wall clock has gone on more than time has passed.
    fn leapt(&self, now: Reading) -> i64 {
        nanos(now.wall).saturating_sub(self.started).saturating_sub(nanos(now.uptime + now.slept))
    }

    /// What time it is, when the wall clock shows `wall`.
    pub fn read(&mut self, uptime: Duration, wall: Duration) -> (Duration, News) {
        let news = match self.source {
            Source::Wall => News::None,
            Source::Unknown { base, .. } if PLAUSIBLE_FROM <= wall => {
                let by = nanos(wall) - base.saturating_add(nanos(uptime));
                self.set(by, nanos(wall), uptime);
                self.source = Source::Wall;
                self.is_confirmed = true;
                News::Set(by)
            }
            Source::Told { base } if nanos(wall).abs_diff(base.saturating_add(nanos(uptime))) < AGREES.as_nanos() as u64 => {
                self.source = Source::Wall;
                self.is_still_wrong = false;
                News::Agrees
            }
            Source::Unknown { .. } | Source::Told { .. } => News::None,
        };
        let now = self.at(uptime, wall);
        self.go_on_shifting(uptime, nanos(now));
        (now, news)
    }

    /// Clients on this machine go on to stamp with a clock that nobody sets.
    fn go_on_shifting(&mut self, uptime: Duration, now: i64) {
        let Some(shift) = self.shifts.last_mut().filter(|_| self.is_still_wrong) else { return };
        shift.seen_at = Some(uptime);
        if shift.latest != i64::MAX {
            shift.latest = now;
        } else if let to = now.saturating_sub(shift.by)
            && to.saturating_sub(shift.from) <= shift.by.saturating_abs()
        {
            shift.to = to.max(shift.to);
        }
    }

    fn at(&self, uptime: Duration, wall: Duration) -> Duration {
        match self.source {
            Source::Wall => wall,
            Source::Unknown { base, .. } | Source::Told { base } => {
                Duration::from_nanos(base.saturating_add(nanos(uptime)).try_into().unwrap_or_default())
            }
        }
    }

    /// A server says `date`, at a moment between `sent` and now, when the time that is told is `answered`. Only one that is `authentic` may
    /// contradict a clock that can be right; any may agree with it.
    pub fn told(&mut self, date: Duration, sent: Duration, answered: Duration, now: Reading, authentic: Authentic) -> News {
        if !(PLAUSIBLE_FROM..PLAUSIBLE_UNTIL).contains(&date) {
            return News::None;
        }
        // It may have been set meanwhile, also back.
        let (earliest, latest) = (sent.min(answered).saturating_sub(TOLERATED), answered.saturating_add(TOLERATED));
        let (is_unknown, by) = (matches!(self.source, Source::Unknown { .. }), nanos(date) - nanos(answered));
        if !is_unknown && (earliest..=latest).contains(&date) {
            self.doubt = None;
            return self.confirmed(now);
        }
        if !is_unknown && authentic == Authentic::No {
            return News::None;
        }
        let first = self.doubt.replace(by);
        if !is_unknown && first.is_none_or(|first| AGREES.as_nanos() as u64 <= first.abs_diff(by)) {
            return News::None; // one word against another
        }
        self.is_confirmed = true;
        match self.source {
            Source::Unknown { .. } => {
                self.set(by, nanos(date), now.uptime);
                self.is_still_wrong = true;
            }
            Source::Wall => {
                self.is_still_wrong = self.push_clear(nanos(answered), by, now.uptime);
            }
            // What was said before was wrong, or the machine's clock has been set since.
            Source::Told { .. } => {
                if let Some(shift) = self.shifts.last_mut().filter(|_| self.is_still_wrong) {
                    shift.by = shift.by.saturating_add(by);
                }
            }
        }
        self.source = Source::Told { base: nanos(date) - nanos(now.uptime) };
        News::Corrected(by)
    }

    /// A server agrees. If the wall clock has leapt since the start, it was wrong before.
    fn confirmed(&mut self, now: Reading) -> News {
        if self.source != Source::Wall || std::mem::replace(&mut self.is_confirmed, true) {
            return News::None;
        }
        let by = self.leapt(now);
        if by.unsigned_abs() <= TOLERATED.as_nanos() as u64 {
            return News::None;
        }
        self.push_clear(self.started.saturating_add(nanos(now.uptime + now.slept)), by, now.uptime);
        News::Set(by)
    }

    /// What was stamped from the start up to `to` lacks `by`. Where the times of before and of now overlap, nobody can tell by a stamp which it
    /// was, and it stays; whether it does not.
    fn push_clear(&mut self, to: i64, by: i64, uptime: Duration) -> bool {
        let is_clear = to.saturating_sub(self.started) <= by.saturating_abs();
        if is_clear {
            let from = self.started - self.started % BUCKET; // points have the time of their bucket
            self.push(Shift { from, to, by, latest: i64::MAX, seen_at: Some(uptime) });
        }
        is_clear
    }

    /// Nobody will tell: what leaves does so with the stamps that it has, unless somebody sets the clock after all.
    pub fn give_up(&mut self) {
        if let Source::Unknown { is_awaited, .. } = &mut self.source {
            *is_awaited = false;
        }
    }

    fn set(&mut self, by: i64, now: i64, uptime: Duration) {
        self.push(Shift { from: 0, to: nanos(PLAUSIBLE_FROM), by, latest: now, seen_at: Some(uptime) });
    }

    fn push(&mut self, shift: Shift) {
        if self.shifts.len() == SHIFTS_MAX {
            self.shifts.remove(0);
        }
        self.shifts.push(shift);
    }

    /// Which stamps are wrong, and by how much; the oldest knowledge first.
    pub fn shifts(&self) -> &[Shift] {
        &self.shifts
    }

    /// By how much what is told differs from what the wall clock shows, in nanoseconds.
    pub fn offset(&self, uptime: Duration, wall: Duration) -> i64 {
        nanos(self.at(uptime, wall)) - nanos(wall)
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// A number of nanoseconds for people: days, hours, minutes or seconds.
pub fn spoken(by: i64) -> String {
    let seconds = by.abs() / NANOS;
    let (number, unit) = match seconds {
        0..120 => (seconds, "seconds"),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit} {}", if by < 0 { "ahead" } else { "behind" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: u64 = 1_800_000_000;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn shifts_for(clock: &WallClock, uptime: Duration, unix: Duration) -> Vec<Shift> {
        clock.shifts().iter().filter(|shift| shift.concerns(uptime, unix)).copied().collect()
    }

    fn at(uptime: Duration, wall: Duration) -> Reading {
        Reading { uptime, slept: Duration::ZERO, wall }
    }

    fn n(seconds: u64) -> i64 {
        nanos(s(seconds))
    }

    #[test]
    fn a_clock_that_can_be_right_is_believed_and_costs_nothing() {
        let mut clock = WallClock::new(s(TRUTH));
        assert!(clock.is_believed() && clock.is_known(at(s(1), s(TRUTH + 1))));
        assert_eq!(clock.read(s(5), s(TRUTH + 5)), (s(TRUTH + 5), News::None));
        assert_eq!(clock.told(s(TRUTH + 500), s(TRUTH + 5), s(TRUTH + 6), at(s(6), s(TRUTH + 6)), Authentic::Yes), News::None);
        assert!(shifts_for(&clock, s(5), s(TRUTH + 5)).is_empty());
    }

    #[test]
    fn a_board_that_starts_in_1970_is_told_by_a_server() {
        let mut clock = WallClock::new(s(7));
        assert_eq!(clock.read(s(10), s(17)), (s(17), News::None));
        assert!(!clock.is_known(at(s(10), s(17))));
        let stamped = n(12);
        assert_eq!(clock.told(s(300), s(17), s(18), at(s(11), s(18)), Authentic::Yes), News::None, "its clock is no better");
        assert_eq!(clock.told(s(TRUTH), s(17), s(18), at(s(11), s(18)), Authentic::Yes), News::Corrected(n(TRUTH - 18)));
        assert_eq!(clock.read(s(21), s(28)).0, s(TRUTH + 10));
        let [shift] = shifts_for(&clock, s(5), s(12))[..] else { panic!("there is one") };
        assert_eq!(shift.apply(stamped), n(TRUTH - 6));
        assert_eq!(shift.apply(n(TRUTH + 1)), n(TRUTH + 1), "a right stamp stays");
        assert_eq!(shift.apply(n(86_400)), n(TRUTH + 10), "an earlier run had been up for longer");
        assert_eq!(clock.read(s(30), s(TRUTH + 19)), (s(TRUTH + 19), News::Agrees), "somebody has set it");
        assert!(clock.is_believed());
    }

    #[test]
    fn a_wall_clock_that_is_set_tells_the_truth_about_before() {
        let mut clock = WallClock::new(s(7));
        assert_eq!(clock.read(s(100), s(TRUTH)), (s(TRUTH), News::Set(n(TRUTH - 107))));
        assert!(clock.is_believed());
        let shift = shifts_for(&clock, s(50), s(57))[0];
        assert_eq!(shift.apply(n(57)), n(TRUTH - 50));
        assert_eq!(shifts_for(&clock, s(219), s(TRUTH + 119)).len(), 1, "a body may hold stamps from before");
        assert_eq!(shifts_for(&clock, s(221), s(TRUTH + 121)), []);
    }

    #[test]
    fn a_plausible_clock_that_is_wrong_is_corrected_both_ways() {
        for (wall, by) in [(TRUTH - 86_400, 86_400), (TRUTH + 86_400, -86_400)] {
            let mut clock = WallClock::new(s(wall));
            assert_eq!(
                clock.told(s(TRUTH + 40), s(wall + 40), s(wall + 40), at(s(40), s(wall + 40)), Authentic::Yes),
                News::None,
                "said once"
            );
            assert_eq!(
                clock.told(s(TRUTH + 50), s(wall + 50), s(wall + 50), at(s(50), s(wall + 50)), Authentic::Yes),
                News::Corrected(by * NANOS)
            );
            assert_eq!(clock.read(s(60), s(wall + 60)).0, s(TRUTH + 60));
            assert_eq!(clock.offset(s(60), s(wall + 60)), by * NANOS);
            assert_eq!(shifts_for(&clock, s(20), s(wall + 20))[0].apply(n(wall + 20)), n(TRUTH + 20));
        }
    }

    #[test]
    fn what_an_earlier_run_left_without_a_clock_is_moved_by_one_that_has_a_clock_from_the_start() {
        let clock = WallClock::new(s(TRUTH));
        let [shift] = shifts_for(&clock, s(5), s(12))[..] else { panic!("there is one") };
        assert_eq!(shift.apply(n(12)), n(TRUTH), "when it was nobody knows");
        assert_eq!(shift.apply(n(TRUTH - 3_600)), n(TRUTH - 3_600));
        assert_eq!(shifts_for(&clock, s(5), s(TRUTH + 5)), [], "what clients stamp with years ago stays");
    }

    #[test]
    fn stamps_that_could_be_of_before_or_of_now_stay() {
        let mut clock = WallClock::new(s(TRUTH));
        clock.told(s(TRUTH + 5_999), s(TRUTH + 7_199), s(TRUTH + 7_199), at(s(7_199), s(TRUTH + 7_199)), Authentic::Yes);
        let told =
            clock.told(s(TRUTH + 6_000), s(TRUTH + 7_200), s(TRUTH + 7_200), at(s(7_200), s(TRUTH + 7_200)), Authentic::Yes);
        assert_eq!(told, News::Corrected(-1_200 * NANOS));
        assert_eq!(shifts_for(&clock, s(100), s(TRUTH + 100)), []);
    }

    #[test]
    fn an_answer_that_took_long_says_nothing_about_the_clock() {
        let mut clock = WallClock::new(s(TRUTH));
        assert_eq!(
            clock.told(s(TRUTH + 5), s(TRUTH + 4), s(TRUTH + 7_200), at(s(7_200), s(TRUTH + 7_200)), Authentic::Yes),
            News::None
        );
    }

    #[test]
    fn a_clock_that_is_set_back_while_a_server_answers_is_right_then() {
        let mut clock = WallClock::new(s(TRUTH + 86_400));
        assert_eq!(
            clock.told(s(TRUTH + 1), s(TRUTH + 86_400), s(TRUTH + 1), at(s(1), s(TRUTH + 1)), Authentic::Yes),
            News::Set(-n(86_400))
        );
        assert!(clock.is_believed());
    }

    #[test]
    fn where_nobody_tells_the_time_stamps_stay() {
        let mut clock = WallClock::new(s(7));
        clock.give_up();
        assert!(clock.is_known(at(s(9), s(16))));
        assert_eq!(shifts_for(&clock, s(5), s(12)), []);
        assert_eq!(clock.read(s(10), s(17)).0, s(17));
        assert_eq!(clock.told(s(TRUTH), s(17), s(17), at(s(10), s(17)), Authentic::Yes), News::Corrected(n(TRUTH - 17)));
    }

    #[test]
    fn a_clock_that_is_set_after_nobody_told_the_time_moves_the_stamps_of_before() {
        let mut clock = WallClock::new(s(7));
        clock.give_up();
        assert_eq!(clock.read(s(10), s(17)), (s(17), News::None), "nobody said that this is right");
        assert!(!clock.is_believed());
        assert_eq!(clock.read(s(100), s(TRUTH)), (s(TRUTH), News::Set(n(TRUTH - 107))));
        assert_eq!(shifts_for(&clock, s(50), s(57))[0].apply(n(57)), n(TRUTH - 50));
    }

    #[test]
    fn while_the_machines_clock_stays_wrong_what_clients_stamp_is_moved() {
        for (started, by) in [(7, TRUTH - 18 + 11), (TRUTH - 86_400, 86_400), (TRUTH + 86_400, -86_400_i64 as u64)] {
            let mut clock = WallClock::new(s(started));
            let truth = |uptime| s(started.wrapping_add(by).wrapping_add(uptime));
            let wall = |uptime| s(started + uptime);
            if started != 7 {
                clock.told(truth(10), wall(10), wall(10), at(s(10), wall(10)), Authentic::Yes); // one that can be right is not doubted at once
            }
            clock.told(truth(11), wall(11), wall(11), at(s(11), wall(11)), Authentic::Yes);
            for uptime in [12, 100, 40_000] {
                let unix = clock.read(s(uptime), wall(uptime)).0;
                let shifts = shifts_for(&clock, s(uptime), unix);
                assert_eq!(shifts.len(), 1, "{started} {uptime}");
                assert_eq!(shifts[0].apply(nanos(wall(uptime) - s(1))), nanos(truth(uptime) - s(1)), "{started} {uptime}");
                assert_eq!(shifts[0].apply(nanos(unix)), nanos(unix), "{started} {uptime}: the agent's own stamps are right");
            }
        }
    }

    #[test]
    fn shifts_are_told_in_words() {
        let told = [90, -90, 7_199, 7_200, 20_000 * 86_400].map(|seconds| spoken(seconds * NANOS));
        assert_eq!(
            told,
            ["90 seconds behind", "90 seconds ahead", "119 minutes behind", "2 hours behind", "20000 days behind"]
        );
    }

    #[test]
    fn one_word_against_another_is_not_enough_to_doubt_a_clock_that_can_be_right() {
        let mut clock = WallClock::new(s(TRUTH));
        let told = |clock: &mut WallClock, date, uptime| {
            clock.told(s(date), s(TRUTH + uptime), s(TRUTH + uptime), at(s(uptime), s(TRUTH + uptime)), Authentic::Yes)
        };
        assert_eq!(told(&mut clock, TRUTH + 90_000_000, 5), News::None);
        assert_eq!(told(&mut clock, TRUTH + 50_000, 6), News::None, "another word");
        assert_eq!(told(&mut clock, TRUTH + 7, 7), News::None, "the clock is right");
        assert_eq!(told(&mut clock, TRUTH + 50_000, 8), News::None, "from the beginning");
        assert_eq!(told(&mut clock, TRUTH + 50_001, 9), News::Corrected(n(50_001 - 9)));
    }

    #[test]
    fn a_board_that_goes_on_from_when_it_was_last_alive_and_is_set_later_moves_what_it_stamped_before() {
        let last_alive = TRUTH - 86_400;
        let mut clock = WallClock::new(s(last_alive));
        assert!(clock.is_known(at(s(3_600), s(last_alive + 3_600))));
        let set = at(s(3_700), s(TRUTH + 3_700));
        assert!(!clock.is_known(set), "it leapt, and nobody has confirmed it");
        assert_eq!(clock.told(s(TRUTH + 3_700), set.wall, set.wall, set, Authentic::Yes), News::Set(n(86_400)));
        assert!(clock.is_known(set) && clock.is_believed());
        let [shift] = shifts_for(&clock, s(60), s(last_alive + 60))[..] else { panic!("there is one") };
        assert_eq!(shift.apply(n(last_alive + 60)), n(TRUTH + 60));
        assert_eq!(shift.apply(n(TRUTH + 3_700)), n(TRUTH + 3_700));
        assert!(!shift.is_of_any_run(), "an earlier run's stamps from just before were right");
        let later = at(s(9_000), s(TRUTH + 90_000));
        assert!(clock.is_known(later), "what leaps after a confirmation is the server's to judge");
    }

    #[test]
    fn sleep_is_no_leap() {
        let mut clock = WallClock::new(s(TRUTH));
        let awake = Reading { uptime: s(60), slept: s(7_200), wall: s(TRUTH + 7_260) };
        assert!(clock.is_known(awake));
        assert_eq!(clock.told(awake.wall, awake.wall, awake.wall, awake, Authentic::Yes), News::None);
        assert_eq!(shifts_for(&clock, s(5), s(TRUTH + 5)), []);
    }

    #[test]
    fn whoever_can_be_imitated_may_agree_and_not_contradict() {
        let mut clock = WallClock::new(s(TRUTH));
        for uptime in [5, 6, 7] {
            let now = at(s(uptime), s(TRUTH + uptime));
            assert_eq!(clock.told(s(TRUTH + 90_000), now.wall, now.wall, now, Authentic::No), News::None);
        }
        let now = at(s(8), s(TRUTH + 8));
        clock.told(s(TRUTH + 8), now.wall, now.wall, now, Authentic::No);
        assert!(clock.is_known(at(s(9), s(TRUTH + 90_000))), "it has agreed");
    }
}
