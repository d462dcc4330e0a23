//! What the system knows of this process: its user, whether its memory may be looked at, and the groups of its children. By rustix, whose
//! calls need no unsafe code here.

use rustix::process as system;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;

/// The user whose rights this process has.
pub fn effective_user() -> u32 {
    system::geteuid().as_raw()
}

/// The groups of children that run now; `None` once none may be started any more. One for the process, since it is signals to the process
/// that end them, whatever part of it waits for them.
static GROUPS: Mutex<Option<Vec<u32>>> = Mutex::new(Some(Vec::new()));

/// A child that ends with the process at the latest, and with it all that it started in its group.
#[derive(Debug)]
pub struct Group {
    /// It has the group's number.
    pub child: Child,
}

impl Group {
    /// Starts what `command` says.
    pub fn start(command: &mut Command) -> io::Result<Group> {
        let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = groups.as_mut().ok_or(io::ErrorKind::Interrupted)?;
        let child = command.process_group(0).spawn()?;
        groups.push(child.id());
        Ok(Group { child })
    }

    /// Kills them all.
    pub fn kill(&mut self) {
        kill_group(self.child.id());
        let _ = self.child.kill(); // it may have left the group
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
            let _ = self.child.wait(); // killed, it is gone at once
        }
        if let Some(groups) = GROUPS.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            groups.retain(|group| *group != self.child.id());
        }
    }
}

/// The process ends: kills all children's groups, and lets none be started any more.
pub fn end_groups() {
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner).take();
    groups.unwrap_or_default().into_iter().for_each(kill_group);
}

fn kill_group(child: u32) {
    let group = i32::try_from(child).ok().and_then(system::Pid::from_raw);
    if let Some(group) = group {
        let _ = system::kill_process_group(group, system::Signal::KILL); // none of them may be left
    }
}

/// From now on no other process of this user may read this one's memory, which would show the key, and a crash leaves no core file.
pub fn hide_memory() -> io::Result<()> {
    Ok(system::set_dumpable_behavior(system::DumpableBehavior::NotDumpable)?)
}

/// The user wants to look at it after all.
pub fn show_memory() -> io::Result<()> {
    Ok(system::set_dumpable_behavior(system::DumpableBehavior::Dumpable)?)
}

/// Rules core files out for good, also where the system pipes them to a program.
pub fn rule_out_core_files() -> io::Result<()> {
    Ok(system::setrlimit(system::Resource::Core, system::Rlimit { current: Some(0), maximum: Some(0) })?)
}
