//! What the spool gets of the configuration, and what it shows to people.

use crate::commands;
use crate::config::Config;
use crate::config::Fsync;
use crate::config::RunArgs;
use crate::config::SpoolArgs;
use crate::config::StorageMode;
use crate::errors::StartError;
use crate::spool::ages::Ages;
use crate::spool::disk;
use crate::spool::disk::Limits;
use crate::spool::list::list;
use crate::startup::memory::MEMORY_MIN;
use crate::sys::clock::Clock;
use crate::sys::ledger::Signal;
use std::path::PathBuf;
use std::time::Duration;

/// Folder of the spool; `None` for no spool. With local output there is none unless it is named: a demonstration leaves no traces.
pub fn folder(config: &Config, args: &RunArgs) -> Option<PathBuf> {
    let folder = match &config.storage_path {
        None if args.out.is_some() => return None,
        None => config.run_path.join("spool"),
        Some(path) => path.clone(),
    };
    (0 < config.storage_bytes_max.0).then_some(folder)
}

/// What each of `endpoints` may have in the spool. Its index is in memory: a 32nd of `max_memory`, which is 52,000 bodies by default.
///
/// With a journal that gets as much as an endpoint.
pub fn limits(config: &Config, args: &RunArgs, endpoints: usize) -> Limits {
    let shares = endpoints + usize::from(config.storage_mode == StorageMode::Journal);
    Limits {
        bytes_max: (config.storage_bytes_max.0 / shares) as u64,
        disk_ratio: config.storage_disk_ratio.0,
        entries_max: config.max_memory.0.max(MEMORY_MIN) / 32 / shares / disk::ENTRY_BYTES,
        ages: ages(config, args),
        fsync: match config.storage_fsync {
            Fsync::Never => disk::Fsync::Never,
            Fsync::Rotate => disk::Fsync::Rotate,
            Fsync::Always => disk::Fsync::Always,
        },
    }
}

/// How old records may become: as the intake takes them. Local output takes all.
pub fn ages(config: &Config, args: &RunArgs) -> Ages {
    if args.out.is_some() {
        return Ages::none();
    }
    let traces = config.age_max_traces.unwrap_or(Duration::MAX);
    Ages::all(Duration::from_secs(u64::from(config.storage_days_max) * 86_400))
        .with(Signal::Metrics, config.age_max_metrics)
        .with(Signal::Checks, config.age_max_metrics)
        .with(Signal::Logs, config.age_max_logs)
        .with(Signal::Events, config.age_max_events)
        .with(Signal::Traces, traces)
        .with(Signal::Stats, traces)
        .with(Signal::Proxied, traces)
}

/// What `mote spool` prints: what is in the folder that is named, or in that of the settings.
pub fn listing(args: &RunArgs, spool: SpoolArgs, config: &Config) -> Result<String, StartError> {
    let folder = spool.folder.or_else(|| folder(config, args)).unwrap_or_else(|| config.run_path.join("spool"));
    let form = if spool.json { commands::spool::Form::Json } else { commands::spool::Form::Text };
    let (segments, foreign) = list(&folder).map_err(|err| StartError::Spool(folder.display().to_string(), err))?;
    Ok(commands::spool::describe(&segments, foreign, form, Clock::new().now().unix))
}
