//! Subcommands other than `run`: one file each, thin.

pub mod check;
pub mod dogstatsd_stats;
pub mod spool;
