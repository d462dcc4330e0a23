//! What can keep the agent from running, the exit codes, and the printed chain of causes.

use crate::config::ArgsError;
use crate::sources::lambda_api::RegisterError;
use crate::sys::control_client::AskError;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// How the process ends. The numbers are those of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Stopped as asked, everything sent.
    Clean,
    /// A running agent says that something is wrong with it.
    Unhealthy,
    /// Bad command line.
    Usage,
    /// A port or the registration was not to be had.
    Unavailable,
    /// A fault of ours.
    Fault,
    /// Stopped with records lost that nobody asked to drop.
    Lost,
    /// Configuration or key missing or refused.
    Config,
    /// What the agent ended with that was started in the background.
    Same(u8),
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Clean => 0,
            Exit::Unhealthy => 1,
            Exit::Usage => 64,
            Exit::Unavailable => 69,
            Exit::Fault => 70,
            Exit::Lost => 75,
            Exit::Config => 78,
            Exit::Same(code) => code,
        }
    }
}

/// Why the agent does not run.
#[derive(Debug)]
pub enum StartError {
    /// The command line.
    Args(ArgsError),
    /// The file with a recording cannot be opened.
    Events(String, io::Error),
    /// The folder for local output cannot be made.
    Out(String, io::Error),
    /// The spool's folder cannot be listed.
    Spool(String, io::Error),
    /// No source gives an API key.
    NoKey,
    /// A listener's address cannot be had.
    Listen(&'static str, SocketAddr, io::Error),
    /// A setting is no address.
    Address(String),
    /// The Lambda API did not register the agent.
    Register(RegisterError),
    /// The system gave no thread or no signal handler.
    System(io::Error),
    /// Standard output cannot be written.
    Print(io::Error),
    /// A worker died twice.
    WorkerLost(&'static str),
    /// No agent answers at its control socket.
    Ask(String, AskError),
    /// `mote check` found settings with which the agent would not start.
    CheckFailed,
    /// The site does not take data with this key.
    KeyRefused,
    /// Nobody answers who could tell the key, or whether it is good.
    KeyUnknown,
    /// Another agent, whose number is given, runs with this pid file.
    PidFile(String, String),
    /// The agent could not be started in the background.
    Background(io::Error),
}

impl StartError {
    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            StartError::Args(_) => Exit::Usage,
            StartError::Events(..) | StartError::Out(..) | StartError::NoKey | StartError::Address(_) => Exit::Config,
            StartError::Spool(..) | StartError::CheckFailed | StartError::KeyRefused => Exit::Config,
            StartError::Listen(..) | StartError::Register(_) | StartError::Ask(..) | StartError::KeyUnknown => {
                Exit::Unavailable
            }
            StartError::PidFile(..) => Exit::Unavailable,
            StartError::Background(_) | StartError::System(_) | StartError::Print(_) | StartError::WorkerLost(_) => Exit::Fault,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Args(err) => write!(f, "{err}"),
            StartError::Events(path, _) => write!(f, "cannot read events from {path}"),
            StartError::Out(path, _) => write!(f, "cannot write to {path}"),
            StartError::Spool(path, _) => write!(f, "cannot list the spool in {path}"),
            StartError::NoKey => write!(f, "no API key: set DD_API_KEY or another of its sources, or use --out"),
            StartError::Listen(what, address, _) => write!(f, "the {what} cannot listen on {address}"),
            StartError::Address(text) => write!(f, "`{text}` is no address to listen on"),
            StartError::Register(_) => write!(f, "the Lambda API did not register the agent"),
            StartError::System(_) => write!(f, "the system refused a thread or a signal handler"),
            StartError::Print(_) => write!(f, "cannot write to standard output"),
            StartError::WorkerLost(name) => write!(f, "worker {name} is gone for good"),
            StartError::Ask(socket, _) => write!(f, "no agent answers at {socket}"),
            StartError::CheckFailed => write!(f, "the agent would not start with these settings"),
            StartError::KeyRefused => write!(f, "the API key is refused"),
            StartError::PidFile(path, pid) => write!(f, "another agent holds {path}: process {pid}"),
            StartError::Background(_) => write!(f, "the agent did not start in the background"),
            StartError::KeyUnknown => write!(f, "whether the API key is good cannot be known now"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StartError::Events(_, err) | StartError::Out(_, err) | StartError::Listen(.., err) => Some(err),
            StartError::Spool(_, err) => Some(err),
            StartError::System(err) | StartError::Print(err) | StartError::Background(err) => Some(err),
            StartError::Register(err) => Some(err),
            StartError::Ask(_, err) => Some(err),
            _ => None,
        }
    }
}

/// An error and its causes, joined by colons.
pub fn chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_joined_by_colons() {
        let err = StartError::Events("run.ndjson".to_owned(), io::Error::other("no such file"));
        assert_eq!(chain(&err), "cannot read events from run.ndjson: no such file");
        assert_eq!(err.exit().code(), 78);
    }
}
