//! `mote status`, `mote health`, `mote dogstatsd-stats`: what a running agent says of itself, as it says it.

use crate::errors::StartError;
use crate::sys::control_client;
use std::path::Path;

/// A question that is answered as text or as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Of the control socket.
    pub path: &'static str,
    /// The answer is for a program.
    pub json: bool,
}

/// What follows the `?` for JSON.
pub const JSON: &str = "format=json";

/// Asks the agent that listens at `socket`.
pub fn ask(socket: &Path, Question { path, json }: Question) -> Result<String, StartError> {
    let target = if json { format!("{path}?{JSON}") } else { path.to_owned() };
    let answer = control_client::ask(socket, &target).map_err(|err| StartError::Ask(socket.display().to_string(), err))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
