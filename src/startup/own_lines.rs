//! Where the agent's own lines go, from the settings.

use crate::config::Config;
use crate::startup::plan;
use crate::startup::plan::Place;
use crate::sys::logger;
use crate::sys::logger::FileSettings;
use crate::sys::logger::SyslogSettings;
use std::io;

/// Lines go where the settings say. Inside Lambda that is where the platform takes them from, whatever they say.
#[inline(never)]
pub fn direct(config: &Config, place: Place) {
    if place == Place::Edge
        && let Err(err) = add(config)
    {
        log::error!("lines go to the console only: {err}");
    }
}

fn add(config: &Config) -> io::Result<()> {
    if let Some(path) = config.log_file.clone().filter(|_| !config.disable_file_logging) {
        let (bytes_max, rolls_max) = (config.log_file_max_size.0 as u64, config.log_file_max_rolls);
        logger::add_file(FileSettings { path, bytes_max, rolls_max })?;
    }
    if config.log_to_syslog {
        let target = config.syslog_uri.as_ref().map(|uri| uri.0.clone());
        logger::add_syslog(SyslogSettings { target, rfc: config.syslog_rfc, host: plan::hostname(config, Place::Edge) })?;
    }
    if !config.log_to_console {
        logger::leave_console();
    }
    Ok(())
}
