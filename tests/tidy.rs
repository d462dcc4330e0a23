//! House rules that a machine can check: who imports whom, which crate is named where, what a source file must open with.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::{Path, PathBuf};

/// A module, the modules it may import, and why the row is as it is where that is not plain from the picture in src/lib.rs.
const IMPORTS: &[(&str, &[&str])] = &[
    ("main", &["startup", "errors"]),
    // It knows every part.
    (
        "startup",
        &[
            "commands",
            "config",
            "deliver",
            "encode",
            "errors",
            "main_loop",
            "model",
            "out",
            "pipeline",
            "process",
            "secrets",
            "sources",
            "spool",
            "sys",
        ],
    ),
    ("main_loop", &["model", "process", "sys"]),
    // `sys`: the file that a user names may be a pipe, which nobody must wait for.
    ("config", &["model", "sys"]),
    ("secrets", &["config", "model", "sys"]),
    // `spool`: a request that is passed on as it came has no pipeline between its port and the queue.
    ("sources", &["decode", "model", "spool", "sys"]),
    ("decode", &["model"]),
    // `spool`: a pipeline puts its bodies into the queue by name. A closure that hides the queue would be a border on paper only.
    // `decode`: datagrams of DogStatsD are parsed in the pipeline's thread, since the one that empties the socket must not wait.
    ("pipeline", &["batch", "decode", "encode", "model", "process", "spool", "sys"]),
    ("process", &["model"]),
    ("encode", &["model"]),
    ("batch", &[]),
    ("spool", &["sys"]),
    ("deliver", &["model", "spool", "sys"]),
    ("out", &["model", "sys"]),
    ("model", &[]),
    ("sys", &[]),
    ("commands", &["config", "errors", "model", "spool", "sys"]),
    ("errors", &["config", "sources", "sys"]),
];

/// A crate and the places that may name it.
const CRATES: &[(&str, &[&str])] = &[
    ("lexopt", &["config/args.rs"]),
    ("saphyr_parser", &["config/yaml.rs"]),
    ("simplelog", &["sys/logger.rs"]),
    ("signal_hook", &["sys/signals.rs"]),
    ("ureq", &["sys/net/"]),
    ("rustls", &["sys/net/"]),
    // What of ring and of its signatures the provider for TLS is made of.
    ("webpki", &["sys/net/provider.rs"]),
    ("webpki_roots", &["sys/net/"]),
    ("rustix", &["sys/clock.rs", "sys/daemon.rs", "sys/datagrams.rs", "sys/files.rs", "sys/process.rs"]),
    // Every type that owns a key or what a key is made of.
    ("zeroize", &["config/secret.rs", "model/api_key.rs", "secrets/", "sys/net/"]),
    ("ring", &["sys/digest.rs", "sys/net/provider.rs"]),
    ("crossbeam", &["sys/inbox.rs", "main_loop.rs"]),
    ("tiny_http", &["sources/http/"]),
    ("httparse", &["sources/http/"]),
    ("nanoserde", &["spool/"]),
    ("crc32fast", &["spool/"]),
    ("flate2", &["encode/compress.rs", "out/"]),
    ("base64", &["decode/calls.rs", "decode/trigger/", "out/proxied.rs", "secrets/", "sys/net/"]),
    ("regex_lite", &["process/pattern.rs"]),
    ("serde", &["config/lists.rs", "decode/", "encode/", "secrets/"]),
    ("serde_json", &["config/endpoints.rs", "config/lists.rs", "decode/", "encode/", "secrets/", "out/"]),
];

/// Folders whose files have samples in fixtures that tests read.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

struct File {
    /// Relative to src, with slashes.
    name: String,
    /// Without test modules, which may look anywhere.
    code: String,
}

impl File {
    /// The first part of its path, which is a row of the table.
    fn module(&self) -> &str {
        self.name.split(['/', '.']).next().unwrap_or_default()
    }
}

fn files() -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(SOURCE)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    let is_test = |path: &Path| matches!(path.file_stem().and_then(|stem| stem.to_str()), Some("tests" | "golden"));
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
        File { name: path.strip_prefix(SOURCE).unwrap().to_str().unwrap().to_owned(), code }
    };
    found.iter().filter(|path| !is_test(path)).map(read).collect()
}

#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Every module of the crate that a line of code names.
fn named_modules(line: &str) -> Vec<&str> {
    let starts = line.match_indices("crate::").map(|(at, word)| &line[at + word.len()..]);
    let module = |rest: &'_ str| rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    starts.map(|rest| &rest[..module(rest)]).collect()
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut complaints = Vec::new();
    for file in files() {
        if matches!(file.module(), "lib" | "main") {
            continue;
        }
        let row = IMPORTS.iter().find(|(module, _)| *module == file.module());
        let Some((module, allowed)) = row else {
            complaints.push(format!("{} has no row in the table", file.name));
            continue;
        };
        for (number, line) in file.code.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for named in named_modules(line) {
                if named != *module && !allowed.contains(&named) {
                    complaints.push(format!("{}:{}: {module} may not import {named}", file.name, number + 1));
                }
            }
        }
    }
    none(complaints);
}

#[test]
fn imports_name_their_module() {
    let grouped = |line: &&str| line.contains("use crate::{");
    let files = files();
    none(
        files.iter().flat_map(|file| file.code.lines().filter(grouped).map(|line| format!("{}: {line}", file.name))).collect(),
    );
}

/// Whether `name::` stands in the line as a whole word.
fn names_crate(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let whole = |at: usize| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    line.match_indices(&path).any(|(at, _)| whole(at)) || line == format!("use {name};")
}

#[test]
fn crates_are_named_only_where_their_job_is() {
    let mut complaints = Vec::new();
    for file in files() {
        for (name, places) in CRATES {
            let names = |line: &&str| !line.trim_start().starts_with("//") && names_crate(line, name);
            let allowed = places.iter().any(|place| file.name.starts_with(place));
            if let Some(line) = file.code.lines().find(names).filter(|_| !allowed) {
                complaints.push(format!("{} may not name {name}: {}", file.name, line.trim()));
            }
        }
    }
    none(complaints);
}

#[test]
fn every_file_says_what_it_owns() {
    none(files().iter().filter(|file| !file.code.starts_with("//!")).map(|file| file.name.clone()).collect());
}

#[test]
fn a_file_that_grows_past_its_limit_is_two() {
    const LINES_MAX: usize = 480; // style asks at some 400; this is where it insists
    let long = |file: &File| LINES_MAX < file.code.lines().count();
    none(
        files()
            .iter()
            .filter(|file| long(file))
            .map(|file| format!("{}: {} lines", file.name, file.code.lines().count()))
            .collect(),
    );
}

#[test]
fn no_test_lets_time_pass() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut complaints = Vec::new();
    for path in [tests.clone(), tests.join("support")].iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
        let path = path.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let word = concat!("sleep", "(");
        complaints.extend(text.lines().filter(|line| line.contains(word)).map(|line| format!("{}: {line}", path.display())));
    }
    none(complaints);
}

/// The last column of the table in fixtures/README.md.
#[test]
fn differences_between_sources_are_held_by_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("fixtures/README.md")).unwrap();
    let named: Vec<&str> = table.lines().filter_map(|line| line.strip_suffix("` |")?.rsplit('`').next()).collect();
    assert!(10 < named.len(), "{named:?}");
    let mut code = String::new();
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().is_some_and(|extension| extension == "rs") {
                true => code.push_str(&fs::read_to_string(path).unwrap()),
                false if path.is_dir() => folders.push(path),
                false => {}
            }
        }
    }
    none(named.iter().filter(|name| !code.contains(&format!("fn {name}()"))).map(|name| format!("no test {name}")).collect());
}

#[test]
fn library_lists_its_modules() {
    let library = fs::read_to_string(Path::new(SOURCE).join("lib.rs")).unwrap();
    let missing = IMPORTS.iter().filter(|(module, _)| *module != "main" && !library.contains(&format!("pub mod {module};")));
    none(missing.map(|(module, _)| format!("src/lib.rs does not list {module}")).collect());
}
