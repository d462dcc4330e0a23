//! What survives a restart: read before the first event, written after invocations and at the end.

use crate::config::Loaded;
use crate::config::Origin;
use crate::config::RunArgs;
use crate::model::invocation::Remembered;
use crate::spool::state as state_file;
use crate::startup::plan::Place;
use crate::sys::files::Outlives;
use std::cell::RefCell;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;

/// What survives a restart, and the file it lives in.
#[derive(Clone, Debug)]
pub struct State {
    path: Option<PathBuf>,
    restored: Option<state_file::State>,
    outlives: Outlives,
    /// Shared between the main loop's hands and the last save, on one thread.
    latest: Rc<RefCell<state_file::State>>,
}

impl State {
    /// Reads the file. With local output and no folder named for it, nothing is kept: a demonstration leaves no traces.
    pub fn load(args: &RunArgs, loaded: &Loaded, place: Place) -> State {
        let named = loaded.effective.iter().any(|setting| setting.path == "run_path" && setting.origin != Origin::Default);
        let path = (args.out.is_none() || named).then(|| loaded.config.run_path.join("mote.state"));
        let restored = path.as_ref().and_then(|path| {
            state_file::load(path).inspect_err(|err| log::debug!("no state from {}: {err}", path.display())).ok()
        });
        // A sandbox is gone with its power, and the function would wait for the disk with each invocation.
        let outlives = if place == Place::Lambda { Outlives::Process } else { Outlives::Power };
        State { path, outlives, latest: Rc::new(RefCell::new(restored.clone().unwrap_or_default())), restored }
    }

    /// Whether there is a folder for it.
    pub fn is_kept(&self) -> bool {
        self.path.is_some()
    }

    /// Whether the last run was killed or lost power. Inside Lambda that is nothing unusual and not told.
    pub fn last_ended_uncleanly(&self, place: Place) -> bool {
        place == Place::Edge && self.restored.as_ref().is_some_and(|state| !state.clean)
    }

    /// The agent is ready: from now on the next start can tell whether this run ended cleanly. Inside Lambda a kill is nothing unusual
    /// and every millisecond of the start counts.
    pub fn begin(&self, place: Place) {
        if place == Place::Edge {
            self.write(false);
        }
    }

    /// As the invocation machine takes it.
    pub fn remembered(&self) -> Option<Remembered> {
        self.restored.clone().map(|state| Remembered {
            arn: state.arn,
            last_request_id: state.last_request_id,
            coldstart_request_id: state.coldstart_request_id,
            last_log_request_id: state.last_log_request_id,
            last_oom_request_id: state.last_oom_request_id,
            start_ms: state.start_ms,
            end_ms: state.end_ms,
        })
    }

    /// After an invocation.
    pub fn save(&self, remembered: &Remembered) {
        self.keep(remembered);
        if self.write(false) {
            log::debug!("state saved");
        }
    }

    /// Says that this run ended in order.
    pub fn save_clean(&self, remembered: &Remembered) {
        self.keep(remembered);
        self.write(true);
    }

    fn keep(&self, remembered: &Remembered) {
        let Remembered { arn, last_request_id, coldstart_request_id, last_log_request_id, last_oom_request_id, .. } =
            remembered.clone();
        *self.latest.borrow_mut() = state_file::State {
            arn,
            last_request_id,
            coldstart_request_id,
            last_log_request_id,
            last_oom_request_id,
            start_ms: remembered.start_ms,
            end_ms: remembered.end_ms,
            clean: false,
        };
    }

    fn write(&self, clean: bool) -> bool {
        let Some(path) = &self.path else { return false };
        let state = state_file::State { clean, ..self.latest.borrow().clone() };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let written = std::fs::create_dir_all(folder).and_then(|()| state_file::save(path, &state, self.outlives));
        written.inspect_err(|err| log::debug!("cannot keep state in {}: {err}", path.display())).is_ok()
    }
}
