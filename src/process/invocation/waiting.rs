//! Calls of client libraries that wait for the event they belong to.

use std::collections::VecDeque;

/// The call with this id, else the oldest without one. A call with another id is never taken.
pub(super) fn take_matching<T>(calls: &mut VecDeque<T>, id_of: impl Fn(&T) -> Option<&str>, request_id: &str) -> Option<T> {
    let with_id = calls.iter().position(|call| id_of(call) == Some(request_id));
    let at = with_id.or_else(|| calls.iter().position(|call| id_of(call).is_none()))?;
    calls.remove(at)
}

/// Adds one; the oldest goes when there are too many.
pub(super) fn push_bounded<T>(items: &mut VecDeque<T>, item: T, items_max: usize) {
    if items_max <= items.len() {
        items.pop_front();
    }
    items.push_back(item);
}
