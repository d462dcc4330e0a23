//! Which invocation is which: those that are open, those that are over, and what a process before this one has told of them.

use crate::model::invocation::Remembered;
use crate::process::invocation::Invocations;
use crate::process::invocation::OPEN_MAX;
use crate::process::invocation::Open;
use crate::process::invocation::PROACTIVE_AFTER;
use crate::process::invocation::metrics::Told;

impl Invocations {
    /// Whether the invocation was reported and has not begun again.
    pub(super) fn was_finished(&self, request_id: &str) -> bool {
        self.is_finished(request_id, i64::MIN) && self.position(request_id).is_none()
    }

    pub(super) fn is_finished(&self, request_id: &str, time_ms: i64) -> bool {
        let is_it = |(finished, reported_ms): &(String, i64)| finished == request_id && time_ms <= *reported_ms;
        self.finished.iter().any(is_it)
    }

    /// Where the entry of an invocation is, a new one if it was not known; `at` is when something was told of it.
    pub(super) fn entry(&mut self, request_id: &str, at: i64) -> usize {
        self.position(request_id).unwrap_or_else(|| self.add(request_id, at))
    }

    /// The latest attempt of this id.
    pub(super) fn position(&self, request_id: &str) -> Option<usize> {
        self.open.iter().rposition(|open| open.request_id == request_id)
    }

    pub(super) fn add(&mut self, request_id: &str, at: i64) -> usize {
        if OPEN_MAX <= self.open.len() {
            self.evicted.extend(self.open.pop_front().filter(|open| !open.ended));
        }
        let is_told = self.told_before.as_deref() == Some(request_id);
        let told = if is_told { Told::everything() } else { Told::default() };
        let mut open = Open { request_id: request_id.to_owned(), told, ..Open::default() };
        let is_first = !self.first_seen && self.remembered.coldstart_request_id.is_empty();
        self.first_seen = true;
        if is_first {
            request_id.clone_into(&mut self.remembered.coldstart_request_id);
            open.proactive = self.ready_since().is_some_and(|since| PROACTIVE_AFTER < at.saturating_sub(since));
            open.cold_start = !open.proactive;
        }
        self.open.push_back(open);
        self.open.len() - 1
    }

    /// What can be said of an invocation that this process has not seen from its beginning.
    pub(super) fn of_another_process(&self, request_id: &str) -> Open {
        let Remembered { coldstart_request_id, last_request_id, end_ms, .. } = &self.remembered;
        let has_told_its_end = *end_ms != 0 || last_request_id != request_id;
        let told = if has_told_its_end { Told::everything() } else { Told::beginning() };
        Open { request_id: request_id.to_owned(), cold_start: coldstart_request_id == request_id, told, ..Open::default() }
    }

    /// Since when the sandbox waits for its first invocation. A snapshot is made long before.
    pub(super) fn ready_since(&self) -> Option<i64> {
        let sandbox = self.settings.sandbox.as_ref()?;
        if sandbox.snap_start { self.restored_at } else { Some(sandbox.started_at) }
    }

    pub(super) fn apply_restored(&mut self, arn: &str) {
        if let Some(restored) = self.restored.take_if(|restored| restored.arn == arn) {
            self.told_before = (restored.end_ms != 0).then(|| restored.last_request_id.clone());
            self.remembered = restored;
        }
    }
}
