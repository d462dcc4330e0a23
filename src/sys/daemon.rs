//! Leaving the terminal, without a fork: the program starts itself once more, and ends when its child is ready.
//!
//! ```text
//! starter   mote run --daemon            starts the child, reads one byte from their socket, ends with 0
//! child     the same, with --daemon-child  standard input is the socket's other end until it is ready
//! ```
//!
//! The child has the starter's outputs until then, so what keeps it from starting is said where somebody looks. When it is ready it begins
//! a session of its own, lets go of all three streams, and writes the byte. When it ends before, the socket closes, and the starter ends
//! with the child's code. Both are one group until then: who interrupts the start interrupts both.

use rustix::process;
use rustix::stdio;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::process::ExitStatus;

/// The flag that tells the child that it is one. Not a variable, which its own children would inherit.
const MARK: &str = "--daemon-child";

const NULL: &str = "/dev/null";

/// Starts this program with the same arguments and waits until it is ready: `None`; or until it has ended without. It bounds its start
/// itself.
pub fn start(program: &OsStr) -> io::Result<Option<ExitStatus>> {
    let (mut ours, theirs) = UnixStream::pair()?;
    // Where there is no /proc, the name by which it was called has to do.
    let program = std::env::current_exe().ok().filter(|path| path.is_file()).map_or(program.to_owned(), OsString::from);
    let mut command = Command::new(program);
    command.arg(MARK).args(std::env::args_os().skip(1)).stdin(OwnedFd::from(theirs));
    let mut child = command.spawn()?;
    drop(command); // it holds the other end
    let is_ready = ours.read(&mut [0])? == 1;
    if is_ready { Ok(None) } else { child.wait().map(Some) }
}

/// The child's end of the socket, with the stream that will take the place of the others.
#[derive(Debug)]
pub struct Starter {
    socket: UnixStream,
    null: File,
}

impl Starter {
    /// Takes over what standard input is; from now on that is empty.
    pub fn take() -> io::Result<Starter> {
        let null = OpenOptions::new().read(true).write(true).open(NULL)?;
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        stdio::dup2_stdin(&null)?;
        Ok(Starter { socket, null })
    }

    /// The agent is ready: leaves the session, the terminal and the starter. A starter that is gone is no reason to stop.
    pub fn leave(mut self) -> io::Result<()> {
        process::setsid()?;
        stdio::dup2_stdout(&self.null)?;
        stdio::dup2_stderr(&self.null)?;
        let _ = self.socket.write_all(b"1");
        Ok(())
    }
}
