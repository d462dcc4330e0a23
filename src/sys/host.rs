//! The name of the machine.

use crate::sys::files;
use std::path::Path;

const NAME_BYTES_MAX: usize = 256;

/// The system's host name, from files below `root`, which is `/` outside tests. `None` for none and for `localhost`, which names
/// every machine.
pub fn name(root: &Path) -> Option<String> {
    let read = |path: &str| {
        let content = files::read_small(&root.join(path), NAME_BYTES_MAX).ok()?;
        let name = String::from_utf8(content).ok()?.trim().to_owned();
        (!name.is_empty() && !name.starts_with("localhost")).then_some(name)
    };
    read("proc/sys/kernel/hostname").or_else(|| read("etc/hostname"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn localhost_is_no_name() {
        let root = std::env::temp_dir().join(format!("mote-host-{}", std::process::id()));
        fs::create_dir_all(root.join("proc/sys/kernel")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("proc/sys/kernel/hostname"), "localhost\n").unwrap();
        assert_eq!(name(&root), None);
        fs::write(root.join("etc/hostname"), "gw-1\n").unwrap();
        assert_eq!(name(&root), Some("gw-1".to_owned()));
    }
}
