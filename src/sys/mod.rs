//! The edge of the machine: clock, randomness, threads, queues, signals, network, files, logger, counters. Each is a value that is
//! handed to those who need it; nothing here knows what a span or a log line is.

pub mod clock;
pub mod control_client;
pub mod daemon;
pub mod datagrams;
pub mod digest;
pub mod files;
pub mod gate;
pub mod host;
pub mod inbox;
pub mod ledger;
pub mod logger;
pub mod memory;
pub mod net;
pub mod notify;
pub mod pid_file;
pub mod process;
pub mod random;
pub mod receipt;
pub mod signals;
pub mod socket_file;
pub mod spares;
pub mod wall_clock;
pub mod worker;
