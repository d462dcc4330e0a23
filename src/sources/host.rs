//! The machine's own metrics: every so often its files below `/proc` and `/sys` are read, and what the rules make of them goes to the metrics
//! pipeline. Files below a root, which is `/` outside tests; what cannot be read is left out, and so is a line that is odd.
//!
//! ```text
//! proc/stat        cpu  user nice system idle iowait irq softirq steal guest …   and a line for each processor
//! proc/loadavg     1 5 15 …
//! proc/meminfo     Name:  number kB
//! proc/uptime      seconds …
//! proc/mounts      device folder type …      blanks and the like in octal, as \040
//! proc/net/dev     name: bytes packets errors drops … (eight of what came in, eight of what went out)
//! proc/diskstats   major minor name  reads merged sectors ms  writes merged sectors ms  now ms …
//! sys/class/thermal/thermal_zoneN/{type,temp}, sys/class/hwmon/hwmonN/{name,tempN_input,tempN_label}   thousandths of a degree
//! ```
//! Only file systems on a device of this machine, and those of raw flash, are looked at: one over a network may not answer for ever. Of
//! what cannot become fuller, such as a squashfs, nothing is told, nor of memory in the form of a file system. A file system that does
//! not answer all the same holds up this thread and nothing else.

use crate::model::host::Counters;
use crate::model::host::Disk;
use crate::model::host::Gauge;
use crate::model::host::Processors;
use crate::model::host::Reading;
use crate::model::metrics_item::MetricsItem;
use crate::sys::clock::Clock;
use crate::sys::files;
use crate::sys::inbox::Inbox;
use crate::sys::inbox::Parcel;
use crate::sys::inbox::Receiver;
use crate::sys::inbox::RecvTimeoutError;
use crate::sys::inbox::Sender;
use crate::sys::inbox::channel;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::memory::Budget;
use crate::sys::worker::Worker;
use crate::sys::worker::start_short;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// As often as the reference agent's checks run.
const PERIOD: Duration = Duration::from_secs(15);

/// A file of the system's is a part of this.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// Of disks, interfaces, block devices and sensors each; a machine that has more tells of these.
const DEVICES_MAX: usize = 64;

/// How long the pipeline may take to have room.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where points go.
#[derive(Clone, Debug)]
pub struct Outlet {
    /// The metrics pipeline.
    pub inbox: Inbox<MetricsItem>,
    /// Where they are counted in.
    pub ledger: Arc<Ledger>,
    /// What they take their memory from.
    pub budget: Budget,
    /// For their time.
    pub clock: Clock,
}

/// The thread that reads.
#[derive(Debug)]
pub struct HostMetrics {
    worker: Worker<()>,
    _running: Sender<()>,
}

impl HostMetrics {
    /// Starts to read, at once and then every [`PERIOD`], and hands on what `points` makes of it.
    pub fn start(
        root: PathBuf,
        outlet: Outlet,
        mut points: Box<dyn FnMut(Reading) -> Vec<Gauge> + Send>,
        exits: &Sender<&'static str>,
    ) -> io::Result<HostMetrics> {
        let (running, stopped) = channel(1);
        let worker = start_short("host", exits, Box::new(move || run(&stopped, &root, &outlet, &mut *points)))?;
        Ok(HostMetrics { worker, _running: running })
    }

    /// Ends it.
    pub fn stop(self, by: Instant) {
        drop(self._running);
        if let Err(err) = self.worker.finish(by) {
            log::warn!("{err}");
        }
    }
}

fn run(stopped: &Receiver<()>, root: &Path, outlet: &Outlet, points: &mut dyn FnMut(Reading) -> Vec<Gauge>) {
    loop {
        outlet.hand_on(points(read(root, outlet.clock.now().uptime)));
        if stopped.recv_deadline(outlet.clock.instant_in(PERIOD)) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

impl Outlet {
    fn hand_on(&self, points: Vec<Gauge>) {
        let claim = self.ledger.accept(Signal::Metrics, points.len() as u64);
        let tags: usize = points.iter().map(|point| point.tags.len()).sum();
        let by = self.clock.instant_in(PATIENCE);
        let Some(permit) = self.budget.reserve(tags + points.len() * size_of::<Gauge>(), by) else {
            return claim.drop_all(Reason::InboxFull);
        };
        let item = MetricsItem::Gauges(points, self.clock.now().unix.as_secs() as i64);
        if let Err(back) = self.inbox.put(Parcel { item, claim, permit }, by) {
            back.claim.drop_all(Reason::InboxFull);
        }
    }
}

/// One look below `root`, at `uptime` of the agent.
pub fn read(root: &Path, uptime: Duration) -> Reading {
    let text = |path: &str| text(&root.join(path)).unwrap_or_default();
    Reading {
        at: uptime,
        processors: processors(&text("proc/stat")),
        load: numbers(&text("proc/loadavg")).first_chunk().copied(),
        memory: memory(&text("proc/meminfo")),
        uptime_s: numbers(&text("proc/uptime")).first().copied(),
        disks: disks(&text("proc/mounts"), root),
        interfaces: counters(&text("proc/net/dev"), &[0, 1, 2, 3, 8, 9, 10, 11], interface),
        block_devices: counters(&text("proc/diskstats"), &[0, 2, 3, 4, 6, 7, 9], block_device),
        temperatures: temperatures(root),
    }
}

fn text(path: &Path) -> Option<String> {
    files::read_small(path, FILE_BYTES_MAX).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The words up to the first that is no number.
fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map_while(|word| word.parse().ok()).collect()
}

fn processors(stat: &str) -> Option<Processors> {
    let of_all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let is_one = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let count = stat.lines().filter(is_one).count().max(1) as f64;
    let mut ticks = [0.0; 9]; // old kernels have fewer of them
    let found = numbers(of_all);
    ticks.iter_mut().zip(&found).for_each(|(ticks, found)| *ticks = *found);
    (4 <= found.len()).then_some(Processors { ticks, count })
}

/// What of it is told.
const MEMORY: [&str; 12] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SReclaimable",
    "Shmem",
    "Slab",
    "PageTables",
    "SwapTotal",
    "SwapFree",
    "SwapCached",
];

fn memory(meminfo: &str) -> Vec<(&'static str, f64)> {
    let known = meminfo.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let name = MEMORY.iter().find(|known| **known == name)?;
        Some((*name, rest.split_whitespace().next()?.parse().ok()?))
    });
    known.collect()
}

/// File systems that fill up and are on no device that has a name in `/dev`: those of raw flash, and pools.
const WITHOUT_DEVICE: [&str; 4] = ["ubifs", "jffs2", "yaffs2", "zfs"];

/// Images that are always full.
const IMAGES: [&str; 5] = ["squashfs", "iso9660", "erofs", "cramfs", "romfs"];

fn disks(mounts: &str, root: &Path) -> Vec<Disk> {
    let mut disks: Vec<Disk> = Vec::new();
    for line in mounts.lines() {
        let mut words = line.split(' ').map(unescaped);
        let (Some(device), Some(folder), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
        let is_real = device.starts_with("/dev/") || WITHOUT_DEVICE.contains(&kind.as_str());
        let is_known = disks.iter().any(|disk| disk.device == device);
        if !is_real || is_known || IMAGES.contains(&kind.as_str()) || DEVICES_MAX <= disks.len() {
            continue;
        }
        let found = files::file_system(&root.join(folder.trim_start_matches('/')));
        if let Some(found) = found.ok().filter(|found| 0 < found.bytes) {
            let (bytes, files) = ([found.bytes, found.unused, found.free], [found.files, found.files_free]);
            disks.push(Disk { device, bytes: bytes.map(|bytes| bytes as f64), files: files.map(|files| files as f64) });
        }
    }
    disks
}

/// `\040` for a blank, and the like.
fn unescaped(word: &str) -> String {
    let mut parts = word.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            _ => text.extend(["\\", part]),
        }
    }
    text
}

/// The devices of a table, by these columns behind the name. One that was never used is left out.
fn counters(table: &str, columns: &[usize], name: fn(&str) -> Option<(&str, &str)>) -> Vec<Counters> {
    let mut found = Vec::new();
    for (name, rest) in table.lines().filter_map(name) {
        let numbers = numbers(rest);
        let counts: Vec<f64> = columns.iter().filter_map(|column| numbers.get(*column).copied()).collect();
        if counts.len() == columns.len() && counts.iter().any(|count| 0.0 < *count) && found.len() < DEVICES_MAX {
            found.push(Counters { name: name.to_owned(), counts });
        }
    }
    found
}

/// Not the one that leads back here.
fn interface(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once(':')?;
    Some((name.trim(), rest)).filter(|(name, _)| *name != "lo")
}

/// Memory and files in the form of devices.
const NO_DEVICES: [&str; 4] = ["loop", "ram", "zram", "nbd"];

fn block_device(line: &str) -> Option<(&str, &str)> {
    let name = line.split_whitespace().nth(2)?;
    let (_, rest) = line.split_once(name)?;
    Some((name, rest)).filter(|(name, _)| !NO_DEVICES.iter().any(|beginning| name.starts_with(beginning)))
}

/// Thermal zones, then sensors of chips that are not among them.
fn temperatures(root: &Path) -> Vec<(String, f64)> {
    let mut found: Vec<(String, f64)> = Vec::new();
    let zones = root.join("sys/class/thermal");
    for zone in names(&zones, "thermal_zone") {
        let zone = zones.join(zone);
        found.extend(word(&zone, "type").zip(degrees(&zone, "temp")));
    }
    let (chips, of_zones) = (root.join("sys/class/hwmon"), found.len());
    for chip in names(&chips, "hwmon") {
        let chip = chips.join(chip);
        let Some(name) = word(&chip, "name") else { continue };
        if found[..of_zones].iter().any(|(zone, _)| zone.replace('-', "_") == name) {
            continue;
        }
        for file in names(&chip, "temp") {
            let Some(input) = file.strip_suffix("_input") else { continue };
            let label = word(&chip, &format!("{input}_label"));
            let sensor = format!("{name} {}", label.as_deref().unwrap_or(input));
            found.extend(degrees(&chip, &file).map(|degrees| (sensor, degrees)));
        }
    }
    found.truncate(DEVICES_MAX);
    found
}

fn word(folder: &Path, file: &str) -> Option<String> {
    Some(text(&folder.join(file))?.trim().to_owned()).filter(|word| !word.is_empty())
}

fn degrees(folder: &Path, file: &str) -> Option<f64> {
    word(folder, file)?.parse().ok().map(|thousandths: f64| thousandths / 1000.0)
}

/// What is in a folder and begins like that, in order.
fn names(folder: &Path, beginning: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map_while(Result::ok).take(DEVICES_MAX * 4) {
        names.extend(entry.file_name().into_string().ok().filter(|name| name.starts_with(beginning)));
    }
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str) -> Reading {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/host").join(name), Duration::from_secs(7))
    }

    fn devices(counters: &[Counters]) -> Vec<&str> {
        counters.iter().map(|counters| counters.name.as_str()).collect()
    }

    #[test]
    fn a_router_tells_all_but_what_is_no_device_or_was_never_used() {
        let reading = look("router");
        let ticks = [21853.0, 12.0, 18211.0, 1_480_712.0, 903.0, 0.0, 4412.0, 0.0, 0.0];
        assert_eq!((reading.at, reading.processors), (Duration::from_secs(7), Some(Processors { ticks, count: 2.0 })));
        assert_eq!((reading.load, reading.uptime_s), (Some([0.42, 0.25, 0.08]), Some(7570.51)));
        assert_eq!((reading.memory.len(), reading.memory[2]), (MEMORY.len(), ("MemAvailable", 71_680.0)));
        let disks: Vec<&str> = reading.disks.iter().map(|disk| disk.device.as_str()).collect();
        assert_eq!(disks, ["/dev/ubi0_1", "/dev/sda1"]);
        let [all, unused, free] = reading.disks[1].bytes;
        assert!(0.0 < all && unused <= all && free <= unused, "{:?}", reading.disks);
        assert_eq!(devices(&reading.interfaces), ["eth0", "br-lan"]);
        let counts = [734_003_200.0, 901_200.0, 3.0, 1.0, 52_428_800.0, 402_100.0, 0.0, 2.0];
        assert_eq!(reading.interfaces[0].counts, counts);
        assert_eq!(devices(&reading.block_devices), ["mtdblock5", "sda"]);
        assert_eq!(reading.block_devices[1].counts, [1200.0, 96_000.0, 3100.0, 300.0, 24_000.0, 900.0, 2400.0]);
        let sensors = [("cpu-thermal", 48.312), ("mt7915_phy0 temp1", -5.0), ("mt7915_phy0 radio", 61.0)];
        assert_eq!(reading.temperatures, sensors.map(|(name, degrees)| (name.to_owned(), degrees)));
    }

    #[test]
    fn files_that_are_not_there_are_left_out() {
        let reading = look("bare");
        let ticks = [100.0, 0.0, 50.0, 1000.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let memory = vec![("MemTotal", 61_440.0), ("MemFree", 20_480.0), ("Cached", 10_240.0)];
        let processors = Some(Processors { ticks, count: 1.0 });
        assert_eq!(reading, Reading { at: Duration::from_secs(7), processors, memory, ..Reading::default() });
        assert_eq!(look("nowhere"), Reading { at: Duration::from_secs(7), ..Reading::default() });
    }

    #[test]
    fn an_odd_line_costs_itself() {
        let reading = look("odd");
        assert_eq!((reading.processors, reading.load, reading.uptime_s), (None, None, None));
        assert_eq!(reading.memory, [("Buffers", 512.0)]);
        assert_eq!((reading.disks, reading.temperatures), (Vec::new(), Vec::new()));
        assert_eq!((devices(&reading.interfaces), devices(&reading.block_devices)), (vec!["eth1"], vec!["sda1", "8"]));
    }

    #[test]
    fn blanks_in_names_of_mounts_are_written_in_octal() {
        let shown = ["a", "my\\040stick", "\\134\\011", "\\04", "\\999x", "\\377"].map(unescaped);
        assert_eq!(shown, ["a", "my stick", "\\\t", "\\04", "\\999x", "\\377"]);
    }
}
