//! What the machine's processes use, as it is at one moment. Counters count from the machine's start; sizes are bytes.

/// One reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time and when it was read; none where it cannot be told.
    pub processors: Option<Processors>,
    /// Bytes received and sent over the function's interface.
    pub network: Option<(f64, f64)>,
    /// Bytes of the folder for temporary files: all of it, and those that are in use.
    pub temporary: Option<(f64, f64)>,
    /// Files and sockets that are open.
    pub descriptors: f64,
    /// The most that one process may have.
    pub descriptors_max: f64,
    /// Threads that there are.
    pub threads: f64,
    /// The most that one process may have.
    pub threads_max: f64,
}

/// Processor time, in milliseconds since the machine's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Processors {
    /// Spent on programs.
    pub user: f64,
    /// Spent on the system.
    pub system: f64,
    /// Spent on nothing, all processors together.
    pub idle: f64,
    /// The same for each of them.
    pub idle_each: Vec<f64>,
    /// Since the machine's start.
    pub uptime: f64,
}
