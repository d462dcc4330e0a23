//! When data leave a Lambda sandbox, as the user wants it.

use std::time::Duration;

/// The strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushStrategy {
    /// At the end of invocations while they are rare, else now and then.
    Default,
    /// At the end of each invocation, before the next is asked for.
    End,
    /// The same, and so often during a long one.
    EndAndEvery(Duration),
    /// When an invocation begins, if that was so long ago.
    Periodically(Duration),
    /// So often, beside the work, and nobody waits.
    Continuously(Duration),
}
