//! Points of metrics: contexts, ten seconds of each, and what is made of them.

pub mod histogram;
pub mod mapper;
pub mod sketch;

use crate::process::metrics::histogram::Aggregates;
use crate::process::metrics::mapper::Mapper;
use std::time::Duration;

/// What is done with points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Host of points whose client names none; empty inside Lambda.
    pub hostname: String,
    /// Whether tag `host:` sets the host. Inside Lambda it only goes.
    pub host_tag: bool,
    /// Tags added to everything, as `key:value` or words.
    pub global_tags: Vec<String>,
    /// Put before names, with its dot; may be empty.
    pub namespace: String,
    /// Beginnings of names that stay without it.
    pub namespace_blocklist: Vec<String>,
    /// Names, namespace included, that do not go on.
    pub blocklist: Vec<String>,
    /// Those are beginnings of names.
    pub blocklist_match_prefix: bool,
    /// How names become others, and tags.
    pub mapper: Mapper,
    /// What becomes of histograms.
    pub aggregates: Aggregates,
    /// Contexts at one time; 0 for as many as memory allows.
    pub contexts_max: usize,
    /// Memory for contexts and what is held of their points.
    pub bytes_max: usize,
    /// After so long without a point a context is forgotten.
    pub expiry: Duration,
    /// Points with a time of their own go on as they are; otherwise that time is ignored.
    pub timestamps: bool,
    /// Any number, so that nobody outside can choose texts that fall together in a table.
    pub seed: u64,
}
