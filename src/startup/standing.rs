//! How the process stands to those who started it: the terminal that it leaves, the pid file, the service manager.

use crate::config::Env;
use crate::config::Loaded;
use crate::config::RunArgs;
use crate::errors::Exit;
use crate::errors::StartError;
use crate::main_loop::Beat;
use crate::startup::hands::Asked;
use crate::startup::own_lines;
use crate::startup::plan::Place;
use crate::startup::reload;
use crate::sys::clock::Clock;
use crate::sys::daemon;
use crate::sys::daemon::Starter;
use crate::sys::logger;
use crate::sys::notify::Notifier;
use crate::sys::pid_file;
use crate::sys::pid_file::PidFile;
use crate::sys::pid_file::PidFileError;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Whether the agent is to be started in the background, and this is who starts it.
pub fn starts_another(args: &RunArgs, place: Place) -> bool {
    args.daemon && place == Place::Edge && !args.daemon_child
}

/// Starts the agent in the background, and ends as it does unless it becomes ready.
#[inline(never)]
pub fn start_another(program: &OsStr) -> Result<Exit, StartError> {
    match daemon::start(program).map_err(StartError::Background)? {
        None => Ok(Exit::Clean),
        // It has said why itself, but where a signal ended it; and 0 is for one that is ready.
        Some(status) => match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code @ 1..) => Ok(Exit::Same(code)),
            _ => Err(StartError::Background(io::Error::other(status.to_string()))),
        },
    }
}

/// What those who started the process are owed.
#[derive(Debug, Default)]
pub struct Standing {
    starter: Option<Starter>,
    pid_path: Option<PathBuf>,
    /// It goes with this value.
    pid_file: Option<PidFile>,
    manager: Arc<Notifier>,
}

impl Standing {
    /// From flags and variables. As a daemon the process goes on at the root of the file system, so that none has to stay mounted for it,
    /// unless a path was given that begins where it is.
    #[inline(never)]
    pub fn take_up(&mut self, args: &RunArgs, env: &Env, place: Place) -> Result<(), StartError> {
        if args.daemon && place == Place::Edge {
            if !args.depends_on_folder() {
                std::env::set_current_dir("/").map_err(StartError::Background)?;
            }
            self.starter = Some(Starter::take().map_err(StartError::Background)?);
        }
        self.manager = Arc::new(Notifier::new(&|name| env.get(name).map(String::as_str)));
        self.pid_path = args.pid_file().map(PathBuf::from);
        Ok(())
    }

    /// From here on lines go where the settings say, and what is wrong with the settings is said. Before anything of another agent is
    /// touched: does one run with the same pid file?
    #[inline(never)]
    pub fn settings_are_known(&self, loaded: &Loaded, env: &Env, place: Place) -> Result<(), StartError> {
        own_lines::direct(&loaded.config, place);
        reload::announce(loaded, env);
        let Some(path) = &self.pid_path else { return Ok(()) };
        pid_file::clear(path).or_else(|err| judge(path, err))
    }

    /// The agent listens.
    #[inline(never)]
    pub fn ready(&mut self, text: &str) -> Result<(), StartError> {
        if let Some(path) = &self.pid_path {
            match PidFile::write(path) {
                Ok(written) => self.pid_file = Some(written),
                Err(err) => judge(path, err)?,
            }
        }
        logger::announce(text);
        self.manager.ready(text);
        if let Some(starter) = self.starter.take() {
            logger::leave_console();
            starter.leave().map_err(StartError::Background)?;
        }
        Ok(())
    }

    /// The manager is told before and after settings are read again, and gets the sign of life that it wants.
    #[inline(never)]
    pub fn with_manager(&self, asked: Asked, clock: Clock) -> Asked {
        let (manager, mut reload, teller) = (Arc::clone(&self.manager), asked.reload, Arc::clone(&self.manager));
        let around = move || {
            manager.reloading();
            reload();
            manager.ready("running");
        };
        let beat = self.manager.beat();
        let beat = beat.map(|every| Beat { every, due: clock.now().uptime, tell: Box::new(move || teller.alive()) });
        Asked { reload: Box::new(around), beat, ..asked }
    }

    /// The agent stops, which may take so long.
    pub fn stopping(&self, why: &str, time: Duration) {
        self.manager.stopping(why, time);
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
