//! What is wrong with a running agent, decided from its state alone.

use crate::model::status::Books;
use crate::model::status::Endpoint;
use crate::model::status::Key;
use crate::model::status::Listener;
use crate::model::status::Spool;
use crate::model::status::Status;
use std::time::Duration;

/// An outage of less passes by itself, and the breaker's pauses are at most a fifth of it by default.
const FAILING_MAX: Duration = Duration::from_secs(300);

/// Whoever keeps the key has answered by then.
const KEY_WAIT_MAX: Duration = Duration::from_secs(60);

/// A line for each thing that is wrong; none when all is well. Data that were lost are no illness: they are past, and in the ledger.
pub fn problems(status: &Status<'_>) -> Vec<String> {
    let mut found = Vec::new();
    match &status.key {
        Key::Refused(_) => found.push("the API key is refused".to_owned()),
        Key::Absent => found.push("there is no API key".to_owned()),
        Key::Pending if KEY_WAIT_MAX < status.time.uptime => found.push("nobody answers who keeps the API key".to_owned()),
        Key::Pending | Key::NotNeeded | Key::InUse(_) => (),
    }
    for Endpoint { name, address, failing_for, last_error, .. } in &status.endpoints {
        if let Some(failing) = failing_for.filter(|failing| FAILING_MAX < *failing) {
            let why = last_error.as_ref().map_or("", |(_, error)| error.as_str());
            found.push(format!("{name} {address}: nothing was delivered for {} s: {why}", failing.as_secs()));
        }
    }
    for Listener { name, .. } in status.listeners.iter().filter(|listener| listener.address.is_none()) {
        found.push(format!("{name}: its port or socket could not be opened"));
    }
    for Spool { folder, .. } in status.spools.iter().filter(|spool| spool.in_trouble) {
        found.push(format!("spool: the disk of {folder} does not work or is full"));
    }
    for Books { of, .. } in status.books.iter().filter(|books| !books.balanced) {
        found.push(format!("the ledger{}{of} does not balance", if of.is_empty() { "" } else { " of " }));
    }
    if 0 < status.panics {
        found.push(format!("a worker has panicked, {} times in all; it was started again", status.panics));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::Time;

    #[track_caller]
    fn check(status: Status<'_>, expected: &[&str]) {
        assert_eq!(problems(&status), expected);
    }

    fn failing(seconds: u64) -> Status<'static> {
        let failing_for = Some(Duration::from_secs(seconds));
        let last_error = Some((Duration::ZERO, "no answer".to_owned()));
        let endpoint = Endpoint { name: "logs", address: "http://i", failing_for, last_error, ..Endpoint::default() };
        Status { endpoints: vec![endpoint], ..Status::default() }
    }

    #[test]
    fn an_agent_without_troubles_has_no_problems() {
        check(Status::default(), &[]);
        let books = Books { balanced: true, lost: 7, ..Books::default() };
        let listener = Listener { address: Some("127.0.0.1:1"), refused: vec![("timeout", 3)], name: "traces" };
        check(
            Status { key: Key::InUse(String::new()), books: vec![books], listeners: vec![listener], ..Status::default() },
            &[],
        );
        check(failing(300), &[]);
        check(Status { key: Key::Pending, ..Status::default() }, &[]);
    }

    #[test]
    fn each_problem_is_a_line() {
        check(Status { key: Key::Refused("bcdef".to_owned()), ..Status::default() }, &["the API key is refused"]);
        check(Status { key: Key::Absent, ..Status::default() }, &["there is no API key"]);
        let time = Time { uptime: Duration::from_secs(61), ..Time::default() };
        check(Status { key: Key::Pending, time, ..Status::default() }, &["nobody answers who keeps the API key"]);
        check(failing(301), &["logs http://i: nothing was delivered for 301 s: no answer"]);
        let listener = Listener { name: "traces", ..Listener::default() };
        check(Status { listeners: vec![listener], ..Status::default() }, &["traces: its port or socket could not be opened"]);
        let spool = Spool { folder: "/s", in_trouble: true, ..Spool::default() };
        check(Status { spools: vec![spool], ..Status::default() }, &["spool: the disk of /s does not work or is full"]);
        let books = ["", "logs http://f"].map(|of| Books { of, ..Books::default() });
        let expected = ["the ledger does not balance", "the ledger of logs http://f does not balance"];
        check(Status { books: books.to_vec(), ..Status::default() }, &expected);
        check(Status { panics: 1, ..Status::default() }, &["a worker has panicked, 1 times in all; it was started again"]);
    }
}
