//! Settings that are read again while the agent runs, on SIGHUP: level, key and rules for logs change at once, everything else needs a
//! restart and says so.

use crate::config;
use crate::config::AwsEnv;
use crate::config::Effective;
use crate::config::Env;
use crate::config::FileRead;
use crate::config::Loaded;
use crate::config::RunArgs;
use crate::model::api_key::KeyHandle;
use crate::model::api_key::masked;
use crate::pipeline::logs::LogsItem;
use crate::secrets::Resolver;
use crate::startup::function;
use crate::startup::log_plan;
use crate::startup::outside;
use crate::startup::outside::Origins;
use crate::startup::plan::Place;
use crate::sys::clock::Clock;
use crate::sys::files;
use crate::sys::inbox::Inbox;
use crate::sys::ledger::Signal;
use crate::sys::logger;
use crate::sys::net::Ways;
use std::fmt;

/// Settings that change at once.
const LIVE: [&str; 8] = [
    "log_level",
    "log_format_json",
    "api_key",
    "api_key_file",
    "api_key_secret_arn",
    "api_key_ssm_arn",
    "kms_api_key",
    LOG_RULES,
];

const LOG_RULES: &str = "logs_config.processing_rules";

/// All that the start was made from.
pub struct Reload {
    /// Flags.
    pub args: RunArgs,
    /// Variables.
    pub env: Env,
    /// What someone else keeps, and the file where it cannot be read again.
    pub origins: Origins,
    /// What AWS tells the process about itself.
    pub aws: AwsEnv,
    /// Where the agent runs.
    pub place: Place,
    /// How the outside is reached.
    pub ways: Ways,
    /// Who finds the key now.
    pub running: Resolver,
    /// The settings as they were last read.
    pub known: Vec<Effective>,
    /// Who applies rules to lines.
    pub logs: Inbox<LogsItem>,
    /// For signatures.
    pub clock: Clock,
}

/// Never what it holds: the environment may have the key in it.
impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reload")
    }
}

impl Reload {
    /// Reads them again. A log file may have been moved aside just before.
    pub fn run(&mut self, key: &KeyHandle) {
        logger::reopen();
        let (args, env, lambda) = (&self.args, &self.env, self.place == Place::Lambda);
        let loaded = match config::find_file(args.config.as_deref(), env, lambda) {
            // The main loop does not wait for a pipe, and what it held is gone.
            Some(path) if !files::is_regular(&path) => {
                log::warn!("{} is no regular file and is not read again; what it said stays in force", path.display());
                let file = self.origins.file.as_ref();
                file.map(|file| config::load_with(file, args, env, lambda, &self.origins.kept))
            }
            _ => Some(config::load_with(&FileRead::now(args, env, lambda), args, env, lambda, &self.origins.kept)),
        };
        if let Some(loaded) = loaded {
            self.put_in_force(loaded);
        }
        if self.args.out.is_none() {
            key.ask();
        }
        log::info!("settings were read again");
    }

    fn put_in_force(&mut self, loaded: Loaded) {
        announce(&loaded, &Env::new());
        self.running.renew(&outside::resolver(&loaded.config, &self.aws, self.place, &self.ways, self.clock));
        let mut untold = None;
        for (old, new) in self.known.iter().zip(&loaded.effective) {
            if old.shown != new.shown && new.path == LOG_RULES {
                let (rules, refused) = log_plan::rules(&loaded.config, self.place);
                refused.iter().for_each(|warning| log::warn!("{warning}"));
                if !function::tell(&self.logs, LogsItem::Rules(rules), Signal::Logs) {
                    log::warn!("{LOG_RULES}: the logs are behind and follow the rules before; send SIGHUP again");
                    untold = Some(old.clone());
                }
            }
            if old.shown != new.shown && !LIVE.contains(&new.path) {
                log::warn!("{} is now {} and needs a restart", new.path, new.shown);
            }
        }
        self.known = loaded.effective;
        if let Some(old) = untold {
            self.known.iter_mut().filter(|known| known.path == LOG_RULES).for_each(|known| known.clone_from(&old));
        }
    }
}

/// Puts the configured level in force and says what was wrong with the rest.
pub fn announce(loaded: &Loaded, env: &Env) {
    logger::configure(loaded.config.log_level, loaded.config.log_format_json);
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    for name in &loaded.unknown {
        log::debug!("no setting is called {name}");
    }
    // What nobody will read is not looked at: that is a quarter of the work of a start.
    let is_read = log::log_enabled!(log::Level::Debug);
    for (name, value) in env.iter().filter(|(name, _)| is_read && name.starts_with("DD_")) {
        let secret = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PROXY_HTTP"].iter().any(|word| name.contains(word));
        let address_with_more = value.contains('@') || value.contains('?');
        // What the Agent's other settings hold is not known here.
        let shown = config::may_be_shown(name) && !secret && !address_with_more;
        log::debug!("{name}={}", if shown { masked(value) } else { "***".to_owned() });
    }
}
