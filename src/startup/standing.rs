//! How the process stands to those who started it: the terminal that it leaves, the pid file, the service manager.

use crate::config::Env;
use crate::config::RunArgs;
use crate::errors::Exit;
use crate::errors::StartError;
use crate::main_loop::Beat;
use crate::startup::plan::Place;
use crate::sys::clock::Clock;
use crate::sys::daemon;
use crate::sys::daemon::Starter;
use crate::sys::logger;
use crate::sys::notify::Notifier;
use crate::sys::pid_file;
use crate::sys::pid_file::PidFile;
use crate::sys::pid_file::PidFileError;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// Whether the agent is to be started in the background, and this is who starts it.
pub fn starts_another(args: &RunArgs, env: &Env, place: Place) -> bool {
    args.daemon && place == Place::Edge && !env.contains_key(daemon::MARK)
}

/// Starts the agent in the background, and ends as it does unless it becomes ready.
pub fn start_another(program: &OsStr, args: &[OsString]) -> Result<Exit, StartError> {
    match daemon::start(program, args).map_err(StartError::Background)? {
        None => Ok(Exit::Clean),
        // It has said why itself.
        Some(status) => match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) => Ok(Exit::Same(code)),
            None => Err(StartError::Background(io::Error::other(status.to_string()))),
        },
    }
}

/// What those who started the process are owed.
#[derive(Debug)]
pub struct Standing {
    starter: Option<Starter>,
    pid_path: Option<PathBuf>,
    /// The service manager.
    pub manager: Arc<Notifier>,
}

impl Standing {
    /// From flags and variables. As a daemon the process goes on at the root of the file system, so that none has to stay mounted for it.
    pub fn new(args: &RunArgs, env: &Env, place: Place) -> Result<Standing, StartError> {
        let starter = if args.daemon && place == Place::Edge {
            std::env::set_current_dir("/").map_err(StartError::Background)?;
            Some(Starter::take().map_err(StartError::Background)?)
        } else {
            None
        };
        let manager = Arc::new(Notifier::new(|name| env.get(name).map(String::as_str)));
        Ok(Standing { starter, pid_path: args.pid_file().map(PathBuf::from), manager })
    }

    /// Before anything of another agent is touched: does one run with the same pid file?
    pub fn look_for_another(&self) -> Result<(), StartError> {
        let Some(path) = &self.pid_path else { return Ok(()) };
        pid_file::clear(path).or_else(|err| judge(path, err))
    }

    /// The agent listens. The pid file goes when it stops, with what is returned.
    pub fn ready(self, text: &str) -> Result<Option<PidFile>, StartError> {
        let mut file = None;
        if let Some(path) = &self.pid_path {
            match PidFile::write(path) {
                Ok(written) => file = Some(written),
                Err(err) => judge(path, err)?,
            }
        }
        logger::announce(text);
        self.manager.ready(text);
        if let Some(starter) = self.starter {
            logger::leave_console();
            starter.leave().map_err(StartError::Background)?;
        }
        Ok(file)
    }
}

/// Another agent ends this one; a folder that cannot be written does not.
fn judge(path: &Path, err: PidFileError) -> Result<(), StartError> {
    match err {
        PidFileError::Held(pid) => Err(StartError::PidFile(path.display().to_string(), pid)),
        PidFileError::Io(err) => {
            log::warn!("no pid file at {}: {err}", path.display());
            Ok(())
        }
    }
}

/// The sign of life that the service manager wants.
pub fn beat(manager: &Arc<Notifier>, clock: Clock) -> Option<Beat> {
    let manager = Arc::clone(manager);
    manager.beat().map(|every| Beat { every, due: clock.now().uptime, tell: Box::new(move || manager.alive()) })
}
