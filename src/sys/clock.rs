//! The only file that reads a clock. Everyone else gets [`Now`] as an argument, so that tests choose the time.
//!
//! Durations and deadlines are counted on the monotonic clock (`uptime`), because a board may start in 1970 and jump when it
//! finds the network; time stamps are taken from the wall clock (`unix`).

use crate::sys::wall_clock;
use crate::sys::wall_clock::Authentic;
use crate::sys::wall_clock::News;
use crate::sys::wall_clock::Reading;
use crate::sys::wall_clock::Shift;
use crate::sys::wall_clock::WallClock;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_gettime, timerfd_settime};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the agent started; never goes back.
    pub uptime: Duration,
    /// Since 1970-01-01 UTC, as far as the machine knows.
    pub unix: Duration,
}

impl Now {
    /// Wall clock in nanoseconds, as spans carry it.
    pub fn unix_nanos(&self) -> i64 {
        i64::try_from(self.unix.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Wall clock in milliseconds, as log lines and deadlines carry it.
    pub fn unix_millis(&self) -> i64 {
        i64::try_from(self.unix.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Time that goes on while a sandbox is frozen, when the monotonic clock may stand still: between two looks the longer of what both clocks
/// say has passed. It never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed {
    seen: Now,
    elapsed: Duration,
}

impl Elapsed {
    /// Counts from `now` on.
    pub fn since(now: Now) -> Elapsed {
        Elapsed { seen: now, elapsed: Duration::ZERO }
    }

    /// What has passed.
    pub fn at(&mut self, now: Now) -> Duration {
        let (uptime, unix) = (now.uptime.saturating_sub(self.seen.uptime), now.unix.saturating_sub(self.seen.unix));
        self.elapsed = self.elapsed.saturating_add(uptime.max(unix));
        self.seen = now;
        self.elapsed
    }
}

/// The machine's clocks, with the moment the agent started as origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// By how much the clock that counts sleep was ahead at the origin.
    slept: Duration,
    /// What is known of the wall clock where it may be wrong. It lives as long as the process, which makes one of them.
    truth: Option<&'static Truth>,
}

/// Behind a mutex, because every thread reads the clock and whoever posts is told the time; nobody takes it while the wall clock is believed.
#[derive(Debug)]
struct Truth {
    is_believed: AtomicBool,
    has_shifted: AtomicBool,
    wall_clock: Mutex<WallClock>,
}

impl Truth {
    fn change<T>(&self, change: impl FnOnce(&mut WallClock) -> (T, News)) -> T {
        let mut wall_clock = self.wall_clock.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, news) = change(&mut wall_clock);
        self.is_believed.store(wall_clock.is_believed(), Relaxed);
        self.has_shifted.fetch_or(matches!(news, News::Set(_) | News::Corrected(_)), Relaxed);
        drop(wall_clock); // whoever logs reads the clock
        match news {
            News::None => (),
            News::Set(by) => log::info!("the machine's clock was set; it was {}", wall_clock::spoken(by)),
            News::Corrected(by) => log::warn!(
                "the machine's clock is {} what the intake says, whose time is used until they agree",
                wall_clock::spoken(by)
            ),
            News::Agrees => log::info!("the machine's clock agrees with the intake now and is used again"),
        }
        value
    }
}

impl Clock {
    /// Takes this moment as the origin of `uptime`.
    #[expect(clippy::disallowed_methods, reason = "this is the file that may")]
    pub fn new() -> Clock {
        Clock { origin: Instant::now(), slept: Duration::ZERO, truth: None }
    }

    /// The same for a machine whose wall clock may be wrong: on boards.
    pub fn correcting() -> Clock {
        let clock = Clock::new();
        // A stamp of zero is left out or taken for none, and the first bucket of ten seconds would begin with it.
        let wall_clock = WallClock::new(clock.now().unix.max(Duration::from_secs(10)));
        let (is_believed, has_shifted) =
            (AtomicBool::new(wall_clock.is_believed()), AtomicBool::new(!wall_clock.shifts().is_empty()));
        if !wall_clock.is_believed() {
            log::warn!("the machine's clock cannot be right; stamps wait for the intake's time, or for somebody to set it");
        }
        let truth = Truth { is_believed, has_shifted, wall_clock: Mutex::new(wall_clock) };
        Clock { slept: boot_time().saturating_sub(clock.origin.elapsed()), truth: Some(Box::leak(Box::new(truth))), ..clock }
    }

    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the file that may")]
    pub fn now(&self) -> Now {
        let (uptime, wall) = (self.origin.elapsed(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let unix = match self.truth {
            Some(truth) if !truth.is_believed.load(Relaxed) => truth.change(|wall_clock| wall_clock.read(uptime, wall)),
            _ => wall,
        };
        Now { uptime, unix }
    }

    /// Whether no stamp so far will have to be moved, as far as anybody knows, and all is known that is needed to move those that will.
    pub fn is_known(&self) -> bool {
        self.truth.is_none_or(|truth| truth.change(|wall_clock| (wall_clock.is_known(self.reading()), News::None)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the file that may")]
    fn reading(&self) -> Reading {
        let (uptime, wall) = (self.origin.elapsed(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        Reading { uptime, slept: boot_time().saturating_sub(self.slept + uptime), wall }
    }

    /// By how many milliseconds the time that is told is ahead of the machine's wall clock; `None` while nobody knows the time.
    pub fn offset_ms(&self) -> Option<i64> {
        let Some(truth) = self.doubted() else { return Some(0) };
        let now = self.reading();
        let offset = |clock: &WallClock| clock.is_known(now).then(|| clock.offset(now.uptime, now.wall) / 1_000_000);
        truth.change(|clock| (offset(clock), News::None))
    }

    fn doubted(&self) -> Option<&'static Truth> {
        self.truth.filter(|truth| !truth.is_believed.load(Relaxed))
    }

    /// A server that was asked at `sent` and has just answered says that it is `date`.
    pub fn told(&self, date: Duration, sent: Now, authentic: Authentic) {
        let now = self.now();
        if let Some(truth) = self.truth {
            let reading = self.reading();
            truth.change(|wall_clock| ((), wall_clock.told(date, sent.unix, now.unix, reading, authentic)));
        }
    }

    /// Nobody will tell the time.
    pub fn give_up(&self) {
        if let Some(truth) = self.truth {
            truth.change(|wall_clock| (wall_clock.give_up(), News::None));
        }
    }

    /// Which stamps are wrong, and by how much.
    pub fn shifts(&self) -> Vec<Shift> {
        let truth = self.truth.filter(|truth| truth.has_shifted.load(Relaxed));
        truth.map(|truth| truth.change(|wall_clock| (wall_clock.shifts().to_vec(), News::None))).unwrap_or_default()
    }

    /// Those that a body needs which was closed then.
    pub fn shifts_for(&self, closed: Now) -> Vec<Shift> {
        let mut shifts = self.shifts();
        shifts.retain(|shift| shift.concerns(closed.uptime, closed.unix));
        shifts
    }

    /// The instant at which `uptime` will be what is given: the form in which queues take their deadlines.
    pub fn instant_at(&self, uptime: Duration) -> Instant {
        self.origin + uptime
    }

    /// The instant that lies `wait` ahead.
    pub fn instant_in(&self, wait: Duration) -> Instant {
        self.instant_at(self.now().uptime + wait)
    }

    /// How long until `instant`; zero when it has passed.
    pub fn until(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.instant_at(self.now().uptime))
    }
}

/// Since the machine's start, with the time for which it slept; zero where it does not say.
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default().min(999_999_999))
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

/// The monotonic clock as other processes of this machine read it too, in microseconds, which std does not tell. By how much is left until
/// a timer that is set far ahead: rustix's way to read the clock itself brings 3 kB that look for a page of the kernel's.
pub fn monotonic_micros() -> std::io::Result<u64> {
    const AHEAD: u64 = 1 << 32; // seconds: a machine that runs for longer is told wrong
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let at = Timespec { tv_sec: AHEAD as i64, tv_nsec: 0 };
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval: none, it_value: at })?;
    let left = timerfd_gettime(&timer)?.it_value;
    Ok(AHEAD * 1_000_000 - left.tv_sec.unsigned_abs() * 1_000_000 - left.tv_nsec.unsigned_abs() / 1_000)
}

/// A UTC calendar reading of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    /// Four digits in practice.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59; leap seconds do not exist in Unix time.
    pub second: u32,
}

impl Utc {
    /// The calendar reading of a time since 1970. Days to date after the era arithmetic of the proleptic Gregorian calendar:
    /// 400 years are 146,097 days.
    pub fn of(unix: Duration) -> Utc {
        let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let shifted = days + 719_468; // days from 0000-03-01, so that the leap day ends a year
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Utc {
            year,
            month: month as u32,
            day: day as u32,
            hour: (rest / 3_600) as u32,
            minute: (rest / 60 % 60) as u32,
            second: (rest % 60) as u32,
        }
    }

    /// `20240102T030405Z`, the form AWS signs.
    pub fn compact(&self) -> String {
        let Utc { year, month, day, hour, minute, second } = self;
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

/// The time since 1970 that an HTTP `Date` header tells: `Tue, 02 Jan 2024 03:04:05 GMT`, the one form that servers may write.
pub fn http_date(text: &str) -> Option<Duration> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (_, rest) = text.trim().split_once(", ")?;
    let rest = rest.strip_suffix(" GMT").filter(|rest| rest.is_ascii() && rest.len() == 20)?;
    let number = |range: std::ops::Range<usize>| rest[range].parse::<u64>().ok();
    let month = MONTHS.find(&rest[3..6]).filter(|at| at % 3 == 0)? as u64 / 3;
    let (day, year) = (number(0..2)?, number(7..11).filter(|year| (1970..=9999).contains(year))?);
    // Days of whole years before, counting from March so that the leap day comes last.
    let (shifted_year, shifted_month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days =
        shifted_year * 365 + shifted_year / 4 - shifted_year / 100 + shifted_year / 400 + (153 * shifted_month + 2) / 5 + day;
    let seconds = number(12..14)? * 3_600 + number(15..17)? * 60 + number(18..20)?;
    Some(Duration::from_secs((days.checked_sub(719_469)? * 86_400).checked_add(seconds)?))
}

impl std::fmt::Display for Utc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Utc { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: u64, expected: &str) {
        assert_eq!(Utc::of(Duration::from_secs(seconds)).to_string(), expected);
    }

    #[test]
    fn a_frozen_clock_and_one_that_goes_back_hold_no_time_up() {
        let at = |uptime, unix| Now { uptime: Duration::from_secs(uptime), unix: Duration::from_secs(unix) };
        let mut elapsed = Elapsed::since(at(5, 1_000));
        let looks = [at(6, 1_001), at(7, 4_000), at(17, 10), at(18, 11)];
        assert_eq!(looks.map(|now| elapsed.at(now).as_secs()), [1, 3_000, 3_010, 3_011]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        check(0, "1970-01-01 00:00:00 UTC");
        check(951_782_400, "2000-02-29 00:00:00 UTC");
        check(1_704_164_645, "2024-01-02 03:04:05 UTC");
        check(1 << 31, "2038-01-19 03:14:08 UTC");
        check(4_102_444_799, "2099-12-31 23:59:59 UTC");
        check(4_107_542_400, "2100-03-01 00:00:00 UTC");
        check(1 << 32, "2106-02-07 06:28:16 UTC");
    }

    #[test]
    fn dates_of_servers_are_read_back() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("Tue, 02 Jan 2024 03:04:05 GMT", Some(1_704_164_645)),
            ("Fri, 31 Dec 2099 23:59:59 GMT", Some(4_102_444_799)),
            ("Sun, 07 Feb 2106 06:28:16 GMT", Some(1 << 32)),
            ("Tue, 02 anF 2024 03:04:05 GMT", None),
            ("2024-01-02T03:04:05Z", None),
            ("Tue, é2 Jan 2024 3:04:05 GMT", None),
        ] {
            assert_eq!(http_date(text), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn signing_form_has_no_separators() {
        assert_eq!(Utc::of(Duration::from_secs(1_704_164_645)).compact(), "20240102T030405Z");
    }
}
