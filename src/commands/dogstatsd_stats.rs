//! `mote dogstatsd-stats`: the contexts of metrics that a running agent has seen, most frequent first.

use crate::errors::StartError;
use crate::sys::control_client;
use std::path::Path;

/// Asks the agent that listens at `socket`.
pub fn dogstatsd_stats(socket: &Path, json: bool) -> Result<String, StartError> {
    let target = if json { "/dogstatsd-stats?format=json" } else { "/dogstatsd-stats" };
    let answer = control_client::ask(socket, target).map_err(|err| StartError::Ask(socket.display().to_string(), err))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
