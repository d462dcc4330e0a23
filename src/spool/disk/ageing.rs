//! How old what is on disk is, by which clock, and what is too old to be sent.

use crate::spool::disk::Disk;
use crate::spool::disk::Fsync;
use crate::spool::disk::complain;
use crate::spool::disk::signal;
use crate::spool::record;
use crate::spool::segment::Entry;
use crate::spool::segment::Ticket;
use crate::sys::clock::Now;
use crate::sys::ledger::Reason;
use crate::sys::wall_clock::PLAUSIBLE_FROM;
use crate::sys::wall_clock::Shift;
use std::time::Duration;

impl Disk {
    /// Drops what became too old, counted. `shifts` tell when records were made whose clock was wrong.
    pub fn expire(&mut self, now: Now, shifts: &[Shift]) {
        if !record::is_trusted(now) {
            return;
        }
        for segment in &mut self.segments {
            let (ages, ledger, is_left) = (&self.limits.ages, &self.ledger, segment.number < self.own_from);
            let mut expired = Vec::new();
            segment.entries.retain(|entry| {
                let age = age(entry, now, shifts, is_left);
                let is_old = !entry.taken && age.is_some_and(|age| ages.max_of(signal(entry)) < age);
                if is_old {
                    expired.push(entry.offset);
                    ledger.drop_spooled(signal(entry), u64::from(entry.records), Reason::TooOld);
                }
                !is_old
            });
            if !expired.is_empty() && !segment.entries.is_empty() {
                complain(segment.mark(&self.folder, &expired, self.limits.fsync == Fsync::Always), &mut self.complained);
            }
        }
        self.remove_empty();
    }

    /// An earlier run has left it.
    pub fn is_left(&self, ticket: Ticket) -> bool {
        ticket.segment < self.own_from
    }

    /// How old a record is, as far as is known by now.
    pub fn age(&self, ticket: Ticket, entry: &Entry, now: Now, shifts: &[Shift]) -> Option<Duration> {
        age(entry, now, shifts, self.is_left(ticket))
    }

    /// Whether a record became too old; if so it is given up, counted. The look through all of them comes only now and then.
    pub fn give_up_if_old(&mut self, ticket: Ticket, entry: &Entry, now: Now, shifts: &[Shift]) -> bool {
        let is_old = self.age(ticket, entry, now, shifts).is_some_and(|age| self.limits.ages.max_of(signal(entry)) < age);
        if is_old {
            self.ledger.drop_spooled(signal(entry), u64::from(entry.records), Reason::TooOld);
            self.settle(vec![ticket]);
        }
        is_old
    }
}

/// How old a record is, as far as the clock that stamped it could tell, or what is known of it by now.
fn age(entry: &Entry, now: Now, shifts: &[Shift], is_left: bool) -> Option<Duration> {
    let created = Duration::from_secs(u64::from(entry.created_s?.get()));
    let moved = |shift: &Shift| u64::try_from(shift.apply(created.as_nanos() as i64)).ok().map(Duration::from_nanos);
    let shifts = shifts.iter().filter(|shift| shift.is_of_any_run() || !is_left);
    let moved = shifts.filter_map(moved).find(|moved| *moved != created).unwrap_or(created);
    (PLAUSIBLE_FROM <= moved).then(|| now.unix.saturating_sub(moved))
}
