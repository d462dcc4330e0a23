//! What a queue does for the keeper: it gives bodies away that are to be on disk and takes back what its poster has time for.

use crate::spool::Body;
use crate::spool::Queue;
use crate::spool::keeper::Ring;
use crate::spool::segment::Ticket;
use crate::sys::inbox::Sender;
use std::sync::atomic::Ordering::Relaxed;

impl Queue {
    /// From now on there is a keeper, who answers to `bell`. Whether something is on disk is not known yet, so the poster may ask.
    pub(in crate::spool) fn attach(&self, bell: Sender<Ring>) {
        self.lock().stored = 1;
        if self.bell.set(bell).is_ok() {
            self.room.is_kept.store(true, Relaxed);
        }
    }

    /// Whether there is something to move to disk.
    pub(in crate::spool) fn has_to_spill(&self, all: bool) -> bool {
        let state = self.lock();
        let is_due = all || state.failing || self.room.is_tight();
        let slot_is_due = state.restored.is_some() && (all || (state.failing && state.paused));
        slot_is_due || (is_due && state.waiting.iter().any(Body::may_be_stored))
    }

    /// The next body that moves to disk; its bytes count here until [`Queue::spilled`].
    pub(in crate::spool) fn next_to_spill(&self) -> Option<Body> {
        let mut state = self.lock();
        let slot_is_due = !state.failing || state.paused || state.closed_by.is_some();
        state.restored.take_if(|_| slot_is_due).or_else(|| {
            let oldest = state.waiting.iter().position(Body::may_be_stored)?;
            state.waiting.remove(oldest)
        })
    }

    /// A body could not be moved and stays here.
    pub(in crate::spool) fn unspill(&self, body: Body) {
        self.lock().waiting.push_front(body);
        self.changed.notify_all();
    }

    /// Bytes that have moved to disk.
    pub(in crate::spool) fn spilled(&self, bytes: usize) {
        self.room.free(bytes);
        self.changed.notify_all();
    }

    /// Whether the poster has work for a body from disk.
    pub(in crate::spool) fn wants_stored(&self) -> bool {
        self.lock().wants_stored
    }

    /// Whether a body from disk of that many bytes may come into memory; then its room is taken.
    pub(in crate::spool) fn reserve(&self, bytes: usize) -> bool {
        let fits = self.room.taken.load(Relaxed) + bytes <= self.room.limit;
        if fits {
            self.room.taken.fetch_add(bytes, Relaxed);
        }
        fits
    }

    /// Here is a body from disk, for which room was reserved.
    pub(in crate::spool) fn restore(&self, mut body: Body) {
        let mut state = self.lock();
        body.sequence = state.next_sequence;
        state.next_sequence += 1;
        state.restored = Some(body);
        state.wants_stored = false;
        drop(state);
        self.changed.notify_all();
    }

    /// Tells how many bodies wait on disk.
    pub(in crate::spool) fn set_stored(&self, stored: usize) {
        let mut state = self.lock();
        state.stored = stored;
        state.wants_stored &= 0 < stored;
        drop(state);
        self.changed.notify_all();
    }

    /// Places on disk that are settled.
    pub(in crate::spool) fn take_settled(&self) -> Vec<Ticket> {
        std::mem::take(&mut self.lock().settled)
    }
}
