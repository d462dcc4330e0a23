//! `mote status` as people read it.

use crate::model::status::Books;
use crate::model::status::Breaker;
use crate::model::status::Endpoint;
use crate::model::status::Key;
use crate::model::status::Listener;
use crate::model::status::Row;
use crate::model::status::Spool;
use crate::model::status::Status;
use crate::sys::clock::Utc;
use std::fmt::Write;
use std::time::Duration;

/// All of it as text.
pub fn text(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |content: std::fmt::Arguments<'_>| {
        // Whoever names a host or answers for an intake must not steer the terminal of whoever looks at it.
        text.extend(content.to_string().chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }));
        text.push('\n');
    };
    let Status { version, pid, time, hostname, hostname_from, key, memory, .. } = status;
    line(format_args!("mote {version}, pid {pid}, up {}, {}", span(time.uptime), Utc::of(time.unix)));
    line(format_args!("host: {hostname} ({hostname_from})"));
    line(format_args!("key: {}", describe_key(key)));
    let resident = memory.resident.map_or(String::new(), |bytes| format!("{} resident, ", size(bytes)));
    let [requests, requests_max, max] = [memory.requests, memory.requests_max, memory.max].map(|bytes| size(bytes as u64));
    line(format_args!("memory: {resident}requests {requests} of {requests_max}, max_memory {max}"));
    line(format_args!("panics: {}", status.panics));
    line(format_args!("listeners:"));
    status.listeners.iter().for_each(|listener| line(format_args!("  {}", describe_listener(listener))));
    line(format_args!("endpoints:"));
    status.endpoints.iter().for_each(|endpoint| line(format_args!("  {}", describe_endpoint(endpoint))));
    for Books { of, rows, balanced, lost } in &status.books {
        let mark = if of.is_empty() { "" } else { " of " };
        let verdict = if *balanced { "balanced" } else { "UNBALANCED" };
        line(format_args!("ledger{mark}{of} ({verdict}, lost {lost}):"));
        rows.iter().for_each(|row| line(format_args!("  {}", describe_row(row))));
    }
    line(format_args!("spool:{}", if status.spools.is_empty() { " none" } else { "" }));
    for Spool { folder, bytes, bytes_max, bad_bytes, in_trouble } in &status.spools {
        let trouble = if *in_trouble { ", its disk does not work or is full" } else { "" };
        line(format_args!("  {folder}: {} of {}, {bad_bytes} bad bytes found{trouble}", size(*bytes), size(*bytes_max)));
    }
    line(format_args!("last warnings and errors:{}", if status.lines.is_empty() { " none" } else { "" }));
    for said in &status.lines {
        line(format_args!("  {} {} {}", Utc::of(said.unix), said.level, said.text));
    }
    text
}

fn describe_key(key: &Key) -> String {
    let ending = |words: &str, end: &str| match end {
        "" => words.to_owned(),
        end => format!("{words}, ends in {end}"),
    };
    match key {
        Key::NotNeeded => "none is needed".to_owned(),
        Key::Pending => "asked for, no answer yet".to_owned(),
        Key::InUse(end) => ending("in use", end),
        Key::Refused(end) => ending("REFUSED by the intake", end),
        Key::Absent => "none".to_owned(),
    }
}

fn describe_listener(listener: &Listener) -> String {
    let place = listener.address.as_deref().unwrap_or("NOT OPEN");
    let refused = counts(&listener.refused);
    format!("{}: {place}{}{refused}", listener.name, if refused.is_empty() { "" } else { ", refused" })
}

/// ` name=1 other=2`
fn counts(counts: &[(&str, u64)]) -> String {
    counts.iter().fold(String::new(), |mut text, (name, count)| {
        let _ = write!(text, " {name}={count}"); // a String takes any text
        text
    })
}

fn describe_endpoint(endpoint: &Endpoint) -> String {
    let Endpoint { name, address, breaker, failing_for, delivered_ago, last_error, bodies, bytes, bytes_max } = endpoint;
    let state = match breaker {
        Breaker::Closed => "closed".to_owned(),
        Breaker::Open(left) => format!("OPEN, next try in {}", span(*left)),
        Breaker::HalfOpen => "half-open".to_owned(),
    };
    let mut text = format!("{name}{}{address}: {state}", if address.is_empty() { "" } else { " " });
    let _ = write!(text, ", {bodies} bodies wait, {} of {}", size(*bytes as u64), size(*bytes_max as u64));
    if let Some(failing) = failing_for {
        let _ = write!(text, ", failing for {}", span(*failing));
    }
    if let Some(ago) = delivered_ago {
        let _ = write!(text, ", delivered {} ago", span(*ago));
    }
    if let Some((ago, error)) = last_error {
        let _ = write!(text, ", last error {} ago: {error}", span(*ago));
    }
    text
}

fn describe_row(row: &Row) -> String {
    let Row { signal, accepted, restored, sent, memory, spool, missed, dropped } = row;
    let all: u64 = dropped.iter().map(|(_, count)| count).sum();
    let missed = if *missed == 0 { String::new() } else { format!(" missed={missed}") };
    let reasons = counts(dropped);
    format!(
        "{signal} accepted={accepted} restored={restored} sent={sent} memory={memory} spool={spool} dropped={all}{reasons}{missed}"
    )
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds @ 3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds / 60 % 60),
        seconds => format!("{}d{}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::Line;
    use crate::model::status::Memory;
    use crate::model::status::Time;

    #[test]
    fn all_is_told_and_nothing_steers_the_terminal() {
        let row = Row { signal: "logs", accepted: 9, sent: 6, dropped: vec![("too_old", 2), ("fault", 1)], ..Row::default() };
        let status = Status {
            version: "1.2.3",
            pid: 7,
            time: Time { unix: Duration::from_secs(1_767_323_045), uptime: Duration::from_secs(3_725) },
            hostname: "gw\x1b[2J".to_owned(),
            hostname_from: "DD_HOSTNAME".to_owned(),
            key: Key::InUse("bcdef".to_owned()),
            endpoints: vec![Endpoint {
                name: "logs".to_owned(),
                address: "https://i".to_owned(),
                breaker: Breaker::Open(Duration::from_secs(61)),
                failing_for: Some(Duration::from_secs(5)),
                last_error: Some((Duration::ZERO, "refused".to_owned())),
                bodies: 2,
                bytes: 2048,
                bytes_max: 4 << 20,
                ..Endpoint::default()
            }],
            books: vec![Books { of: String::new(), rows: vec![row], balanced: true, lost: 3 }],
            spools: vec![Spool { folder: "/s".to_owned(), bytes: 5, bytes_max: 64 << 20, bad_bytes: 3, in_trouble: true }],
            memory: Memory { resident: Some(3 << 20), max: 32 << 20, requests: 0, requests_max: 9 << 20 },
            listeners: vec![
                Listener { name: "traces", address: Some("127.0.0.1:8126".to_owned()), refused: vec![("timeout", 4)] },
                Listener { name: "dogstatsd", ..Listener::default() },
            ],
            panics: 0,
            lines: vec![Line { unix: Duration::ZERO, level: "WARN", text: "hm".to_owned() }],
        };
        let expected = "mote 1.2.3, pid 7, up 1h2m, 2026-01-02 03:04:05 UTC\n\
            host: gw\u{fffd}[2J (DD_HOSTNAME)\n\
            key: in use, ends in bcdef\n\
            memory: 3.0 MiB resident, requests 0 B of 9.0 MiB, max_memory 32.0 MiB\n\
            panics: 0\n\
            listeners:\n  traces: 127.0.0.1:8126, refused timeout=4\n  dogstatsd: NOT OPEN\n\
            endpoints:\n  logs https://i: OPEN, next try in 1m1s, 2 bodies wait, 2.0 KiB of 4.0 MiB, failing for 5s, last error 0s ago: refused\n\
            ledger (balanced, lost 3):\n  logs accepted=9 restored=0 sent=6 memory=0 spool=0 dropped=3 too_old=2 fault=1\n\
            spool:\n  /s: 5 B of 64.0 MiB, 3 bad bytes found, its disk does not work or is full\n\
            last warnings and errors:\n  1970-01-01 00:00:00 UTC WARN hm\n";
        assert_eq!(text(&status), expected);
    }
}
