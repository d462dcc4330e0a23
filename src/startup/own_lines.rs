//! Where the agent's own lines go, from the settings.

use crate::config::Config;
use crate::startup::plan;
use crate::startup::plan::Place;
use crate::sys::logger;
use crate::sys::logger::FileSettings;
use crate::sys::logger::Outputs;
use crate::sys::logger::SyslogSettings;

/// Lines go where the settings say. Inside Lambda that is where the platform takes them from, whatever they say.
pub fn direct(config: &Config, place: Place) {
    if place == Place::Lambda {
        return;
    }
    if let Err(err) = logger::direct(outputs(config)) {
        log::error!("lines go to the console only: {err}");
    }
}

fn outputs(config: &Config) -> Outputs {
    let path = config.log_file.clone().filter(|_| !config.disable_file_logging);
    let (bytes_max, rolls_max) = (config.log_file_max_size.0 as u64, config.log_file_max_rolls);
    Outputs {
        console: config.log_to_console,
        file: path.map(|path| FileSettings { path, bytes_max, rolls_max }),
        syslog: config.log_to_syslog.then(|| SyslogSettings {
            target: config.syslog_uri.as_ref().map(|uri| uri.0.clone()),
            rfc: config.syslog_rfc,
            host: plan::hostname(config, Place::Edge),
        }),
    }
}
