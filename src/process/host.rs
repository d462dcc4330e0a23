//! Metrics of the machine, `system.*`, with the names, units and formulas of the reference agent's checks, from one look and the one before
//! it.
//!
//! ```text
//! system.cpu     user system interrupt iowait idle stolen guest (percent of all processors)   num_cores
//! system.load    1 5 15 norm.1 norm.5 norm.15
//! system.mem     total free used usable cached buffered shared slab page_tables (MiB)   pct_usable (share)
//! system.swap    total free used cached (MiB)   pct_free (share)
//! system.disk    total used free (KiB)   in_use (share)                                       device: device_name:
//! system.fs.inodes  total used free   in_use (share)                                          device: device_name:
//! system.net     bytes_rcvd bytes_sent packets_in.count .error .drop packets_out.… (a second)   device: device_name:
//! system.io      r_s w_s rkb_s wkb_s (a second)   await (ms)   util (percent)                 device: device_name:
//! system.uptime  (s)
//! system.temperature  (°C), which the reference agent has not                                 sensor:
//! ```
//! All are gauges on the wire, as rates of its checks are too. Source: pkg/collector/corechecks/system and net; pkg/metrics/rate.go for
//! rates, of which the first look and one after a counter went back give none.

use crate::model::host::Counters;
use crate::model::host::Disk;
use crate::model::host::Gauge;
use crate::model::host::Processors;
use crate::model::host::Reading;
use std::time::Duration;

/// Where guests stand among the ticks: behind those that add up to all.
const GUEST: usize = 8;

/// And of which ticks each is made.
const CPU: [(&str, &[usize]); 7] = [
    ("system.cpu.user", &[0, 1]),
    ("system.cpu.system", &[2, 5, 6]),
    ("system.cpu.interrupt", &[5, 6]),
    ("system.cpu.iowait", &[4]),
    ("system.cpu.idle", &[3]),
    ("system.cpu.stolen", &[7]),
    ("system.cpu.guest", &[GUEST]),
];

const LOAD: [&str; 6] =
    ["system.load.1", "system.load.5", "system.load.15", "system.load.norm.1", "system.load.norm.5", "system.load.norm.15"];

const DISK: [&str; 4] = ["system.disk.total", "system.disk.used", "system.disk.free", "system.disk.in_use"];

const INODES: [&str; 4] =
    ["system.fs.inodes.total", "system.fs.inodes.used", "system.fs.inodes.free", "system.fs.inodes.in_use"];

const IO: [&str; 6] =
    ["system.io.r_s", "system.io.w_s", "system.io.rkb_s", "system.io.wkb_s", "system.io.await", "system.io.util"];

/// Memory that is computed.
const MEMORY_MADE: [&str; 6] = [
    "system.mem.used",
    "system.mem.usable",
    "system.mem.pct_usable",
    "system.mem.cached",
    "system.swap.used",
    "system.swap.pct_free",
];

/// Those that are as the kernel tells them.
const MEMORY: [(&str, &str); 9] = [
    ("system.mem.total", "MemTotal"),
    ("system.mem.free", "MemFree"),
    ("system.mem.buffered", "Buffers"),
    ("system.mem.shared", "Shmem"),
    ("system.mem.slab", "Slab"),
    ("system.mem.page_tables", "PageTables"),
    ("system.swap.total", "SwapTotal"),
    ("system.swap.free", "SwapFree"),
    ("system.swap.cached", "SwapCached"),
];

/// In the order of an interface's counters.
const NET: [&str; 8] = [
    "system.net.bytes_rcvd",
    "system.net.packets_in.count",
    "system.net.packets_in.error",
    "system.net.packets_in.drop",
    "system.net.bytes_sent",
    "system.net.packets_out.count",
    "system.net.packets_out.error",
    "system.net.packets_out.drop",
];

/// What the last look has left.
#[derive(Debug, Default)]
pub struct Host {
    last: Option<Reading>,
}

impl Host {
    /// The points of this look.
    pub fn points(&mut self, reading: Reading) -> Vec<Gauge> {
        let mut points = Points::default();
        let last = self.last.as_ref();
        let since = last.map_or(Duration::ZERO, |last| reading.at.saturating_sub(last.at)).as_secs_f64();
        if let Some(processors) = &reading.processors {
            points.processors(processors, last.and_then(|last| last.processors.as_ref()));
        }
        if let Some(load) = reading.load {
            points.load(load, reading.processors.map(|processors| processors.count));
        }
        points.memory(&reading.memory);
        points.all(&["system.uptime"], &[reading.uptime_s.map_or(f64::NAN, f64::floor)]);
        reading.disks.iter().for_each(|disk| points.disk(disk));
        if let Some(last) = last {
            points.devices(&reading.interfaces, &last.interfaces, Points::interface, since);
            points.devices(&reading.block_devices, &last.block_devices, Points::block_device, since);
        }
        for (sensor, degrees) in &reading.temperatures {
            points.tags = format!("sensor:{}", fit(sensor));
            points.all(&["system.temperature"], &[*degrees]);
        }
        self.last = Some(reading);
        points.found
    }
}

/// A comma would make two tags of one.
fn fit(text: &str) -> String {
    text.replace(',', "_")
}

fn device_tags(device: &str) -> String {
    let device = fit(device);
    let name = device.rsplit('/').next().unwrap_or_default();
    format!("device:{device},device_name:{name}")
}

#[derive(Debug, Default)]
struct Points {
    /// Of the points to come.
    tags: String,
    found: Vec<Gauge>,
}

impl Points {
    /// Each name with its value. One that is no number is not known and left out.
    fn all(&mut self, names: &[&'static str], values: &[f64]) {
        let known = names.iter().zip(values).filter(|(_, value)| value.is_finite());
        self.found.extend(known.map(|(name, value)| Gauge { name, value: *value, tags: self.tags.clone() }));
    }

    fn processors(&mut self, now: &Processors, last: Option<&Processors>) {
        self.all(&["system.cpu.num_cores"], &[now.count]);
        let Some(last) = last else { return };
        let mut spent = now.ticks;
        spent.iter_mut().zip(&last.ticks).for_each(|(now, last)| *now -= last);
        let all: f64 = spent[..GUEST].iter().sum();
        for (name, parts) in CPU {
            let percent = parts.iter().map(|part| spent[*part]).sum::<f64>() / all * 100.0;
            // Time that a processor waited for a device may go back by a little, and all of it where processors come and go.
            if (0.0..=100.0).contains(&percent) {
                self.all(&[name], &[percent]);
            }
        }
    }

    fn load(&mut self, load: [f64; 3], processors: Option<f64>) {
        self.all(&LOAD[..3], &load);
        self.all(&LOAD[3..], &load.map(|load| load / processors.unwrap_or(f64::NAN)));
    }

    fn memory(&mut self, memory: &[(&'static str, f64)]) {
        let of =
            |name: &str| memory.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, kilobytes)| kilobytes / 1024.0);
        for (name, of_kernel) in MEMORY {
            self.all(&[name], &[of(of_kernel)]);
        }
        let (total, free, available, reclaimable) = (of("MemTotal"), of("MemFree"), of("MemAvailable"), of("SReclaimable"));
        let cached = of("Cached") + if reclaimable.is_nan() { 0.0 } else { reclaimable };
        // Kernels before 3.14 do not tell it.
        let usable = if available.is_nan() { cached + free } else { available };
        let (swap, swap_free) = (of("SwapTotal"), of("SwapFree"));
        // As much as there is of none is free.
        let free_share = if swap == 0.0 { 1.0 } else { swap_free / swap };
        self.all(&MEMORY_MADE, &[total - free, usable, usable / total, cached, swap - swap_free, free_share]);
    }

    fn disk(&mut self, disk: &Disk) {
        self.tags = device_tags(&disk.device);
        let [all, unused, free] = disk.bytes;
        let used = all - unused;
        // What only root may use is not part of what is in use.
        self.all(&DISK, &[all / 1024.0, used / 1024.0, free / 1024.0, used / (used + free)]);
        let [all, free] = disk.files;
        if 0.0 < all {
            self.all(&INODES, &[all, all - free, free, (all - free) / all]);
        }
        self.tags.clear();
    }

    /// Those that were there before, with what their counters went up by. One that went back, as where 32 bits are full or a device was
    /// changed, tells nothing: not a number.
    fn devices(&mut self, now: &[Counters], last: &[Counters], tell: fn(&mut Points, &[f64], f64), seconds: f64) {
        for Counters { name, counts } in now {
            let Some(last) = last.iter().find(|last| last.name == *name) else { continue };
            let spent = counts.iter().zip(&last.counts).map(|(now, last)| now - last);
            let spent: Vec<f64> = spent.map(|count| if count < 0.0 { f64::NAN } else { count }).collect();
            self.tags = device_tags(name);
            tell(self, &spent, seconds);
        }
    }

    fn interface(&mut self, counts: &[f64], seconds: f64) {
        let rates: Vec<f64> = counts.iter().map(|count| count / seconds).collect();
        self.all(&NET, &rates);
    }

    fn block_device(&mut self, counts: &[f64], seconds: f64) {
        let [reads, read_sectors, read_ms, writes, written_sectors, write_ms, busy_ms] = *counts else { return };
        let wait = if reads + writes == 0.0 { 0.0 } else { (read_ms + write_ms) / (reads + writes) };
        // A sector is 512 bytes here, whatever the medium's are; milliseconds of a second are tenths of a percent.
        let rounded =
            [read_sectors / 2.0 / seconds, written_sectors / 2.0 / seconds, wait, busy_ms / 10.0 / seconds].map(round);
        self.all(&IO, &[reads / seconds, writes / seconds, rounded[0], rounded[1], rounded[2], rounded[3]]);
    }
}

/// To two digits behind the point.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each point as `name=value` without the common beginning, and behind a bar its tags.
    #[track_caller]
    fn check(points: &[Gauge], expected: &[&str]) {
        let shown: Vec<String> = points
            .iter()
            .map(|Gauge { name, value, tags }| {
                let bar = if tags.is_empty() { "" } else { " | " };
                format!("{}={}{bar}{tags}", name.strip_prefix("system.").unwrap(), (value * 1e6).round() / 1e6)
            })
            .collect();
        assert_eq!(shown, expected);
    }

    fn at(seconds: u64) -> Reading {
        Reading { at: Duration::from_secs(seconds), ..Reading::default() }
    }

    #[test]
    fn processors_are_shares_of_the_time_between_two_looks() {
        let processors = |ticks| Reading { processors: Some(Processors { ticks, count: 2.0 }), ..at(0) };
        let mut host = Host::default();
        check(&host.points(processors([100.0, 0.0, 50.0, 800.0, 10.0, 0.0, 0.0, 5.0, 0.0])), &["cpu.num_cores=2"]);
        let points = host.points(processors([130.0, 10.0, 70.0, 860.0, 20.0, 5.0, 5.0, 15.0, 50.0]));
        let expected =
            ["cpu.num_cores=2", "cpu.user=26.666667", "cpu.system=20", "cpu.interrupt=6.666667", "cpu.iowait=6.666667"];
        check(&points, &[&expected[..], &["cpu.idle=40", "cpu.stolen=6.666667", "cpu.guest=33.333333"]].concat());
        // Nothing has passed, and then all went back.
        check(&host.points(processors([130.0, 10.0, 70.0, 860.0, 20.0, 5.0, 5.0, 15.0, 50.0])), &["cpu.num_cores=2"]);
        check(&host.points(processors([0.0; 9])).into_iter().filter(|point| point.value < 0.0).collect::<Vec<_>>(), &[]);
    }

    #[test]
    fn load_is_told_for_all_and_for_each_processor() {
        let processors = Some(Processors { count: 4.0, ..Processors::default() });
        let reading = Reading { load: Some([2.0, 1.0, 0.5]), processors, ..at(0) };
        let expected = ["load.1=2", "load.5=1", "load.15=0.5", "load.norm.1=0.5", "load.norm.5=0.25", "load.norm.15=0.125"];
        check(&Host::default().points(reading)[1..], &expected);
        check(&Host::default().points(Reading { load: Some([2.0, 1.0, 0.5]), ..at(0) }), &expected[..3]);
    }

    #[test]
    fn memory_is_in_mebibytes_and_old_kernels_tell_less() {
        let memory = vec![
            ("MemTotal", 8192.0),
            ("MemFree", 2048.0),
            ("MemAvailable", 4096.0),
            ("Buffers", 512.0),
            ("Cached", 1024.0),
            ("SReclaimable", 256.0),
            ("Shmem", 128.0),
            ("Slab", 384.0),
            ("PageTables", 64.0),
            ("SwapTotal", 2048.0),
            ("SwapFree", 512.0),
            ("SwapCached", 0.0),
        ];
        let expected = [
            "mem.total=8",
            "mem.free=2",
            "mem.buffered=0.5",
            "mem.shared=0.125",
            "mem.slab=0.375",
            "mem.page_tables=0.0625",
            "swap.total=2",
            "swap.free=0.5",
            "swap.cached=0",
            "mem.used=6",
            "mem.usable=4",
            "mem.pct_usable=0.5",
            "mem.cached=1.25",
            "swap.used=1.5",
            "swap.pct_free=0.25",
        ];
        check(&Host::default().points(Reading { memory, ..at(0) }), &expected);
        let memory = vec![("MemTotal", 4096.0), ("MemFree", 1024.0), ("Cached", 1024.0), ("SwapTotal", 0.0), ("SwapFree", 0.0)];
        let expected = [
            "mem.total=4",
            "mem.free=1",
            "swap.total=0",
            "swap.free=0",
            "mem.used=3",
            "mem.usable=2",
            "mem.pct_usable=0.5",
            "mem.cached=1",
            "swap.used=0",
            "swap.pct_free=1",
        ];
        check(&Host::default().points(Reading { memory, ..at(0) }), &expected);
    }

    #[test]
    fn what_only_root_may_use_of_a_disk_is_neither_free_nor_used() {
        let disk =
            |files| Disk { device: "/dev/mmcblk0p2".to_owned(), bytes: [100.0 * 1024.0, 40.0 * 1024.0, 20.0 * 1024.0], files };
        let tags = "device:/dev/mmcblk0p2,device_name:mmcblk0p2";
        let expected =
            ["disk.total=100", "disk.used=60", "disk.free=20", "disk.in_use=0.75"].map(|point| format!("{point} | {tags}"));
        let inodes = ["fs.inodes.total=10", "fs.inodes.used=4", "fs.inodes.free=6", "fs.inodes.in_use=0.4"];
        let inodes = inodes.map(|point| format!("{point} | {tags}"));
        let both: Vec<&str> = expected.iter().chain(&inodes).map(String::as_str).collect();
        check(&Host::default().points(Reading { disks: vec![disk([10.0, 6.0])], ..at(0) }), &both);
        check(&Host::default().points(Reading { disks: vec![disk([0.0, 0.0])], ..at(0) }), &both[..4]);
    }

    #[test]
    fn counters_are_rates_from_the_second_look_on() {
        let net = |seconds, name: &str, counts: [f64; 8]| Reading {
            interfaces: vec![Counters { name: name.to_owned(), counts: counts.to_vec() }],
            ..at(seconds)
        };
        let mut host = Host::default();
        check(&host.points(net(0, "eth0", [0.0; 8])), &[]);
        let points = host.points(net(10, "eth0", [1000.0, 20.0, 10.0, 0.0, 500.0, 5.0, 0.0, 1.0]));
        let expected = [
            "net.bytes_rcvd=100",
            "net.packets_in.count=2",
            "net.packets_in.error=1",
            "net.packets_in.drop=0",
            "net.bytes_sent=50",
            "net.packets_out.count=0.5",
            "net.packets_out.error=0",
            "net.packets_out.drop=0.1",
        ]
        .map(|point| format!("{point} | device:eth0,device_name:eth0"));
        check(&points, &expected.each_ref().map(String::as_str));
        // Another device, one that was taken away and came back, and a look in the same moment.
        check(&host.points(net(20, "wlan0", [1.0; 8])), &[]);
        check(&host.points(net(30, "wlan0", [0.0; 8])), &[]);
        check(&host.points(net(30, "wlan0", [1.0; 8])), &[]);
    }

    #[test]
    fn block_devices_tell_of_requests_bytes_waits_and_how_busy_they_were() {
        let io = |seconds, counts: [f64; 7]| Reading {
            block_devices: vec![Counters { name: "sda".to_owned(), counts: counts.to_vec() }],
            ..at(seconds)
        };
        let mut host = Host::default();
        check(&host.points(io(0, [0.0; 7])), &[]);
        let points = host.points(io(10, [10.0, 200.0, 30.0, 20.0, 4000.0, 90.0, 2500.0]));
        let expected = ["io.r_s=1", "io.w_s=2", "io.rkb_s=10", "io.wkb_s=200", "io.await=4", "io.util=25"];
        check(&points, &expected.map(|point| format!("{point} | device:sda,device_name:sda")).each_ref().map(String::as_str));
        let points = host.points(io(20, [10.0, 200.0, 30.0, 20.0, 4000.0, 90.0, 2500.0]));
        assert!(points.iter().all(|point| point.value == 0.0) && points.len() == 6, "{points:?}");
    }

    #[test]
    fn sensors_and_the_uptime_are_told_as_they_are() {
        let reading = Reading { uptime_s: Some(12.9), temperatures: vec![("cpu,thermal".to_owned(), 41.5)], ..at(0) };
        check(&Host::default().points(reading), &["uptime=12", "temperature=41.5 | sensor:cpu_thermal"]);
    }
}
