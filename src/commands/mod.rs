//! Subcommands other than `run`: one file each, thin.

pub mod ask;
pub mod check;
pub mod spool;
