//! `mote flare`: an archive that others can read, with all that helps and nothing that is secret.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::agent::{Agent, KEY, command, folder, settings};
use support::fake_http::{FakeServer, Reply};

/// What must not be found, wherever it was written.
const SECRETS: [&str; 12] = [
    KEY,
    "fedcba9876543210fedcba9876543210",
    "a-key-of-no-usual-form",
    "0123456789abcdef0123456789abcdef01234567",
    "proxy-password",
    "p%40ss-of-the-file",
    "p@ss-of-the-file",
    "hunter22",
    "public-community",
    "MIIBVgIBADANBg",
    "snmp-token-value",
    "a-value-of-another-part",
];

fn yaml(intake: &str, further: &str) -> String {
    format!(
        "\
# the old one was api_key: fedcba9876543210fedcba9876543210
api_key: {KEY}
env: of-the-file
dd_url: {intake}
apm_config:
  apm_dd_url: {intake}
logs_config:
  logs_dd_url: {intake}
  additional_endpoints:
  - {{api_key: a-key-of-no-usual-form, Host: logs.example.com, Port: 443}}
additional_endpoints:
  \"{further}\":
  - a-key-of-no-usual-form
proxy:
  https: user:p%40ss-of-the-file@proxy.example.com:3128
snmp_listener:
  community_strings:
  - public-community
  password: |
    hunter22
  auth_token: snmp-token-value
tls_key: |
  -----BEGIN PRIVATE KEY-----
  MIIBVgIBADANBg
  -----END PRIVATE KEY-----
"
    )
}

/// The archive's files by name, as `tar` unpacks them into `folder`.
fn unpack(archive: &Path, folder: &Path) -> BTreeMap<String, String> {
    let done = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder).status().unwrap();
    assert!(done.success(), "tar reads it");
    let root = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let (mut files, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, String::from_utf8(fs::read(&path).unwrap()).unwrap());
                }
            }
        }
    }
    files
}

#[track_caller]
fn assert_holds_no_secret(files: &BTreeMap<String, String>) {
    for (name, text) in files {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} is in {name}:\n{text}");
        }
    }
}

#[test]
fn an_archive_has_everything_but_secrets() {
    let [main, further] = [(); 2].map(|()| FakeServer::start(|_| Reply::status(202)));
    let work = folder("flare");
    let config = work.join("datadog.yaml");
    fs::write(&config, yaml(&main.url(), &further.url())).unwrap();
    let socket = std::env::temp_dir().join(format!("mote-flare-{}", std::process::id()));
    let mut env = settings();
    env.extend([
        ("DD_CONTROL_SOCKET", socket.to_str().unwrap().to_owned()),
        ("DD_APP_KEY", "0123456789abcdef0123456789abcdef01234567".to_owned()),
        ("DD_PROXY_HTTP", "http://user:proxy-password@127.0.0.1:9".to_owned()),
        ("DD_PROXY_NO_PROXY", "127.0.0.1".to_owned()),
        ("DD_SNMP_PASSWORD", "hunter22".to_owned()),
        ("DD_OF_ANOTHER_PART", "a-value-of-another-part".to_owned()),
        ("DD_SERVICE", "gateway".to_owned()),
    ]);
    let config = config.to_str().unwrap();
    let mut agent = Agent::start(&["--config", config], &env);
    agent.ready();
    let archive = work.join("flare.tar.gz");
    let told = Agent::start(&["flare", "--config", config, "--out", archive.to_str().unwrap()], &env).finish();
    assert_eq!((told.code, told.stdout.trim_end()), (Some(0), archive.to_str().unwrap()), "{told:#?}");
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    let unpacked = folder("flare-unpacked");
    let files = unpack(&archive, &unpacked);
    assert_holds_no_secret(&files);
    for (name, words) in [
        ("about.txt", "mote "),
        ("status.txt", "key: state=in_use ends_in=bcdef"),
        ("status.json", "\"ends_in\":\"bcdef\""),
        ("health.txt", "healthy\n"),
        ("check.txt", " = gateway (DD_SERVICE)"),
        ("check.txt", "route: traces "),
        ("environment.txt", "DD_SERVICE = gateway\n"),
        ("environment.txt", "DD_PROXY_HTTP = http://***@127.0.0.1:9\n"),
        ("environment.txt", "DD_OF_ANOTHER_PART = ***\n"),
        ("datadog.yaml", "env: of-the-file\n"),
        ("datadog.yaml", &further.url()),
        ("datadog.yaml", "proxy.example.com:3128"),
        ("spool.txt", ""),
        ("system/proc/meminfo", "MemTotal:"),
        ("system/proc/mounts", " "),
    ] {
        let text = files.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", files.keys()));
        assert!(text.contains(words), "no `{words}` in {name}:\n{text}");
    }
    serde_json::from_str::<serde_json::Value>(&files["status.json"]).expect("still JSON");
    let again = Agent::start(&["flare", "--config", config, "--out", archive.to_str().unwrap()], &env).finish();
    assert_eq!(again.code, Some(78), "an archive that is there stays: {again:#?}");
    agent.stop_and_finish().assert_clean();
}

#[test]
fn without_an_agent_there_is_still_an_archive_and_it_may_go_to_standard_output() {
    let work = folder("flare-alone");
    let env = [("DD_CONTROL_SOCKET", "/nowhere/socket".to_owned()), ("DD_API_KEY", KEY.to_owned())];
    let program = Path::new(env!("CARGO_BIN_EXE_mote"));
    let out = command(program).args(["flare", "--out", "-"]).env_clear().envs(env.clone()).output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    fs::write(work.join("a.tar.gz"), out.stdout).unwrap();
    let unpacked = folder("flare-alone-unpacked");
    let files = unpack(&work.join("a.tar.gz"), &unpacked);
    assert_holds_no_secret(&files);
    assert!(files["status.txt"].starts_with("no agent answers at /nowhere/socket: "), "{}", files["status.txt"]);
    let made = command(program).arg("flare").current_dir(&work).env_clear().envs(env).output().unwrap();
    let name = String::from_utf8(made.stdout).unwrap();
    assert!(name.starts_with("mote-flare-") && work.join(name.trim_end()).is_file(), "{name}");
}
