//! What the system tells of the machine and of this process.

use crate::sys::files;
use std::path::Path;

const NAME_BYTES_MAX: usize = 256;

/// The file has some fifty short lines.
const STATUS_BYTES_MAX: usize = 16 * 1024;

/// The system's host name and the file that told it, from files below `root`, which is `/` outside tests. `None` for none and for
/// `localhost`, which names every machine.
pub fn name(root: &Path) -> Option<(String, &'static str)> {
    let read = |path: &'static str| {
        let content = files::read_small(&root.join(path), NAME_BYTES_MAX).ok()?;
        let name = String::from_utf8(content).ok()?.trim().to_owned();
        (!name.is_empty() && !name.starts_with("localhost")).then_some((name, path))
    };
    read("proc/sys/kernel/hostname").or_else(|| read("etc/hostname"))
}

/// Memory of this process that is in use, in bytes, from files below `root`.
pub fn resident_bytes(root: &Path) -> Option<u64> {
    let status = files::read_small(&root.join("proc/self/status"), STATUS_BYTES_MAX).ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn memory_in_use_is_told_in_kilobytes() {
        let root = std::env::temp_dir().join(format!("mote-status-{}", std::process::id()));
        fs::create_dir_all(root.join("proc/self")).unwrap();
        assert_eq!(resident_bytes(&root), None);
        fs::write(root.join("proc/self/status"), "Name:\tmote\nVmHWM:\t  9999 kB\nVmRSS:\t  2048 kB\n").unwrap();
        assert_eq!(resident_bytes(&root), Some(2 << 20));
    }

    #[test]
    fn localhost_is_no_name() {
        let root = std::env::temp_dir().join(format!("mote-host-{}", std::process::id()));
        fs::create_dir_all(root.join("proc/sys/kernel")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("proc/sys/kernel/hostname"), "localhost\n").unwrap();
        assert_eq!(name(&root), None);
        fs::write(root.join("etc/hostname"), "gw-1\n").unwrap();
        assert_eq!(name(&root), Some(("gw-1".to_owned(), "etc/hostname")));
    }
}
