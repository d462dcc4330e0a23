//! What the system knows of this process: its user, whether its memory may be looked at, and the group of a child. By rustix, whose
//! calls need no unsafe code here.

use rustix::process as system;
use std::io;

/// The user whose rights this process has.
pub fn effective_user() -> u32 {
    system::geteuid().as_raw()
}

/// Kills a child and all that it started in its group, which has the child's number.
pub fn kill_group(child: u32) {
    let group = i32::try_from(child).ok().and_then(system::Pid::from_raw);
    if let Some(group) = group {
        let _ = system::kill_process_group(group, system::Signal::KILL); // none of them may be left
    }
}

/// From now on no core file is written, and no other process of this user may read this one's memory: either would show the key.
pub fn hide_memory() -> io::Result<()> {
    system::set_dumpable_behavior(system::DumpableBehavior::NotDumpable)?;
    system::setrlimit(system::Resource::Core, system::Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
