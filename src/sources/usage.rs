//! What the machine tells of its processes: processor time, network, temporary files, descriptors, threads, and which runtime the
//! function has. Files below a root, which is `/` outside tests; what cannot be read is left out.
//!
//! ```text
//! proc/stat         cpu  user nice system idle …     and a line for each processor, in hundredths of a second
//! proc/uptime       seconds idle
//! proc/net/dev      name: bytes … (eight numbers) bytes …
//! proc/PID/limits   Max open files  soft  hard  files
//! proc/PID/environ  NAME=value with zero bytes between them
//! ```

use crate::model::usage::Processors;
use crate::model::usage::Usage;
use crate::sys::files;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// A file of the system's is a part of this, but for `stat` on machines with a thousand processors.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// Processes that are looked at; a sandbox has some ten.
const PROCESSES_MAX: usize = 256;

/// Milliseconds of a unit in `stat`, on all systems that this is built for.
const TICK_MS: f64 = 10.0;

/// Beginnings of the names that the function's interface has.
const INTERFACES: [&str; 3] = ["vinternal_1", "vint_runtime", "Ceth1"];

/// What a process may have of each where no limit is told.
const LIMIT: f64 = 1024.0;

/// Reads all of it.
pub fn read(root: &Path) -> Usage {
    let mut usage = Usage {
        processors: processors(root),
        network: text(&root.join("proc/net/dev")).as_deref().and_then(network),
        temporary: files::file_system_bytes(&root.join("tmp"))
            .ok()
            .map(|(all, free)| (all as f64, all.saturating_sub(free) as f64)),
        descriptors_max: LIMIT,
        threads_max: LIMIT,
        ..Usage::default()
    };
    for process in processes(root) {
        let count = |folder: &str| fs::read_dir(process.join(folder)).map_or(0, Iterator::count) as f64;
        usage.descriptors += count("fd");
        usage.threads += count("task");
        let limits = text(&process.join("limits")).unwrap_or_default();
        let soft = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        };
        usage.descriptors_max = soft("Max open files").map_or(usage.descriptors_max, |soft| usage.descriptors_max.min(soft));
        usage.threads_max = soft("Max processes").map_or(usage.threads_max, |soft| usage.threads_max.min(soft));
    }
    usage
}

/// The function's runtime, such as `python3.12`. It can be told only once the runtime lives.
pub fn runtime(root: &Path) -> String {
    const NAME: &str = "AWS_EXECUTION_ENV=";
    for process in processes(root) {
        if process.ends_with("1") {
            continue; // the sandbox's own
        }
        let Some(environment) = text(&process.join("environ")) else { continue };
        let value = environment.split('\0').find_map(|pair| pair.strip_prefix(NAME));
        if let Some(name) = value.filter(|value| *value != "AWS_Lambda_rapid").and_then(|value| value.rsplit('_').next()) {
            return name.to_owned();
        }
    }
    let release = text(&root.join("etc/os-release")).unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default().trim_matches('"');
    match name {
        "Amazon Linux 2" => "provided.al2",
        name if name.starts_with("Amazon Linux 2023") => "provided.al2023",
        _ => "unknown",
    }
    .to_owned()
}

fn text(path: &Path) -> Option<String> {
    files::read_small(path, FILE_BYTES_MAX).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The folders of processes.
fn processes(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    entries.filter(move |entry| entry.file_name().to_str().is_some_and(is_number)).map(|entry| entry.path()).take(PROCESSES_MAX)
}

fn processors(root: &Path) -> Option<Processors> {
    let mut found = Processors::default();
    let uptime = text(&root.join("proc/uptime"))?;
    found.uptime = uptime.split_whitespace().next()?.parse::<f64>().ok()? * 1000.0;
    for line in text(&root.join("proc/stat"))?.lines() {
        let Some((which, rest)) = line.strip_prefix("cpu").and_then(|line| line.split_once(' ')) else { continue };
        let mut times = rest.split_whitespace().map(|word| word.parse().unwrap_or(0.0) * TICK_MS);
        let (user, _nice, system, idle) = (times.next()?, times.next()?, times.next()?, times.next()?);
        if which.is_empty() {
            (found.user, found.system, found.idle) = (user, system, idle);
        } else {
            found.idle_each.push(idle);
        }
    }
    Some(found)
}

fn network(text: &str) -> Option<(f64, f64)> {
    let is_it = |line: &&str| INTERFACES.iter().any(|name| line.trim_start().starts_with(name));
    let (_, numbers) = text.lines().find(is_it)?.split_once(':')?;
    let mut numbers = numbers.split_whitespace().map(|word| word.parse().ok());
    Some((numbers.next()??, numbers.nth(7)??))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files.
    fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("mote-usage-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("tmp")).unwrap();
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn all_is_read_that_the_machine_tells() {
        const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max processes             1020                 1024                 processes\n\
            Max open files            900                  4096                 files\n";
        let root = tree(
            "all",
            &[
                ("proc/stat", "cpu  100 7 50 1000 3 0\ncpu0 60 4 25 400 1\ncpu1 40 3 25 600 2\nintr 5\n"),
                ("proc/uptime", "123.45 99.00\n"),
                (
                    "proc/net/dev",
                    "Inter-|   Receive\n    lo: 1 1 0 0 0 0 0 0 1 1\nvinternal_1: 180 2 0 0 0 0 0 0 254 3 0 0 0 0 0 0\n",
                ),
                ("proc/1/fd/0", ""),
                ("proc/1/task/1/stat", ""),
                ("proc/23/fd/0", ""),
                ("proc/23/fd/1", ""),
                ("proc/23/task/23/stat", ""),
                ("proc/23/task/24/stat", ""),
                ("proc/23/limits", LIMITS),
                ("proc/not-a-process/fd/0", ""),
            ],
        );
        let usage = read(&root);
        let processors =
            Processors { user: 1000.0, system: 500.0, idle: 10_000.0, idle_each: vec![4000.0, 6000.0], uptime: 123_450.0 };
        assert_eq!((usage.processors.as_ref(), usage.network), (Some(&processors), Some((180.0, 254.0))));
        assert_eq!((usage.descriptors, usage.descriptors_max), (3.0, 900.0));
        assert_eq!((usage.threads, usage.threads_max), (3.0, 1020.0));
        let (all, used) = usage.temporary.unwrap();
        assert!(0.0 < used && used <= all, "{used} of {all}");
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let root = tree("none", &[("proc/stat", "cpu  1 2"), ("proc/uptime", "x"), ("proc/net/dev", "vinternal_1: 1 2")]);
        let usage = read(&root);
        assert_eq!((usage.processors, usage.network), (None, None));
        assert_eq!(read(&root.join("nowhere")).temporary, None);
    }

    #[test]
    fn the_runtime_is_what_its_process_was_told() {
        let of = |name: &str, files: &[(&str, &str)]| runtime(&tree(name, files));
        let python = "PATH=/bin\0AWS_EXECUTION_ENV=AWS_Lambda_python3.12\0X=1\0";
        let (first, rapid) = ("AWS_EXECUTION_ENV=AWS_Lambda_first1", "AWS_EXECUTION_ENV=AWS_Lambda_rapid");
        let files =
            [("proc/1/environ", first), ("proc/12/environ", rapid), ("proc/9/environ", "A=B"), ("proc/13/environ", python)];
        assert_eq!(of("python", &files), "python3.12");
        assert_eq!(of("al2", &[("etc/os-release", "NAME=x\nPRETTY_NAME=\"Amazon Linux 2\"\n")]), "provided.al2");
        assert_eq!(of("al2023", &[("etc/os-release", "PRETTY_NAME=\"Amazon Linux 2023.6\"")]), "provided.al2023");
        assert_eq!(of("other", &[]), "unknown");
    }
}
