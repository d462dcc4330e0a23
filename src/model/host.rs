//! What a machine tells of itself at one moment, and the metrics that are made of it. What it does not tell is left out.

use std::time::Duration;

/// One look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// When, as uptime of the agent.
    pub at: Duration,
    /// Time that processors spent, all together.
    pub processors: Option<Processors>,
    /// Processes that run or want to, on average over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Kibibytes by the kernel's name for them.
    pub memory: Vec<(&'static str, f64)>,
    /// Seconds since the machine was started.
    pub uptime_s: Option<f64>,
    /// Mounted file systems.
    pub disks: Vec<Disk>,
    /// Network interfaces; of what came in and of what went out bytes, packets, errors and drops.
    pub interfaces: Vec<Counters>,
    /// Block devices; of reads and of writes how many, sectors and milliseconds, and milliseconds with any of them.
    pub block_devices: Vec<Counters>,
    /// Sensors and degrees Celsius.
    pub temperatures: Vec<(String, f64)>,
}

/// In the kernel's ticks since the start: user, nice, system, idle, waiting for a device, interrupts, soft interrupts, stolen by a
/// hypervisor, spent for guests; the last of which is part of user.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Processors {
    /// In this order.
    pub ticks: [f64; 9],
    /// How many processors there are.
    pub count: f64,
}

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disk {
    /// As it was mounted.
    pub device: String,
    /// Bytes: all of them, those that nobody uses, and those of them that may be used by anyone.
    pub bytes: [f64; 3],
    /// Files that it could hold, and those that it could hold besides; 0 where there is no limit.
    pub files: [f64; 2],
}

/// Counters of a device that has a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Counters {
    /// Its name.
    pub name: String,
    /// Since it was there.
    pub counts: Vec<f64>,
}

/// A point of a metric that is a state.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    /// Whole.
    pub name: &'static str,
    /// Finite.
    pub value: f64,
    /// `k:v,k:v`, may be empty.
    pub tags: String,
}
