//! `mote flare`: all that helps to find a fault from afar, without its secrets, as one file.
//!
//! Everything is taken through the scrubber, and what settings and variables hold of secrets is taken out wherever it stands. Nobody but the
//! running agent is asked.

use crate::commands;
use crate::commands::ask::Question;
use crate::config;
use crate::config::AwsEnv;
use crate::config::Config;
use crate::config::Env;
use crate::config::Loaded;
use crate::config::RunArgs;
use crate::config::Secret;
use crate::config::SpoolArgs;
use crate::encode::archive::Archive;
use crate::errors::Exit;
use crate::errors::StartError;
use crate::errors::chain;
use crate::model::scrub::is_secret_name;
use crate::model::scrub::scrub;
use crate::startup::control;
use crate::startup::outside;
use crate::startup::plan::Place;
use crate::startup::print;
use crate::startup::spooling;
use crate::sys::clock::Clock;
use crate::sys::clock::Utc;
use crate::sys::files;
use crate::sys::files::Presence;
use crate::sys::host;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// What the system says of itself, and how much of each is taken: a processor's part of `cpuinfo` is repeated for each.
const SYSTEM: [(&str, u64); 10] = [
    ("proc/version", 4 << 10),
    ("proc/device-tree/model", 1 << 10),
    ("proc/cpuinfo", 4 << 10),
    ("proc/meminfo", 16 << 10),
    ("proc/mounts", 64 << 10),
    ("proc/loadavg", 1 << 10),
    ("proc/uptime", 1 << 10),
    ("proc/net/dev", 64 << 10),
    ("etc/os-release", 4 << 10),
    ("etc/openwrt_release", 4 << 10),
];

/// Of anything else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Variables beside `DD_*` that settings know.
const VARIABLES: [&str; 7] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE"];

/// Writes the archive; says where it is.
pub fn flare(args: &RunArgs, archive: Option<PathBuf>, env: &Env) -> Result<Exit, StartError> {
    let (clock, loaded) = (Clock::new(), config::load(args, env, false));
    let now = clock.now().unix;
    let name = name(now, loaded.config.hostname.clone());
    let path = archive.unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let bytes = pack(&name, &texts(args, &loaded, env, clock), &secrets(&loaded.config, env), now);
    let cannot = |err| StartError::Out(path.display().to_string(), err);
    if path.as_os_str() == "-" {
        return io::stdout().lock().write_all(&bytes).map(|()| Exit::Clean).map_err(StartError::Print);
    }
    files::append_private(&path, Presence::Forbidden).and_then(|mut file| file.write_all(&bytes)).map_err(cannot)?;
    print(&format!("{}\n", path.display()))
}

/// Of the archive and the folder in it.
fn name(unix: Duration, configured: Option<String>) -> String {
    let host = configured.or_else(|| Some(host::name(Path::new("/"))?.0)).unwrap_or_default();
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let host: String = host.chars().filter(fits).take(32).collect();
    let Utc { year, month, day, hour, minute, second } = Utc::of(unix);
    format!("mote-flare-{host}-{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

fn pack(name: &str, texts: &[(String, String)], secrets: &[&str], now: Duration) -> Vec<u8> {
    let mut archive = Archive::new(now.as_secs());
    for (file, text) in texts {
        archive.add(&format!("{name}/{file}"), scrub(text, secrets).as_bytes());
    }
    archive.finish()
}

/// Everything, with its secrets.
fn texts(args: &RunArgs, loaded: &Loaded, env: &Env, clock: Clock) -> Vec<(String, String)> {
    let config = &loaded.config;
    let or_why = |text: Result<String, StartError>| text.unwrap_or_else(|err| format!("{}\n", chain(&err)));
    let ask = |path, json| or_why(commands::ask::ask(&control::socket_path(config), Question { path, json }));
    let mut texts = vec![
        ("about.txt", about(clock.now().unix)),
        ("status.txt", ask(control::STATUS, false)),
        ("status.json", ask(control::STATUS, true)),
        ("health.txt", ask(control::HEALTH, false)),
        ("check.txt", check(loaded, env, clock)),
        ("environment.txt", environment(env)),
        ("spool.txt", cut(or_why(spooling::listing(args, SpoolArgs::default(), config)))),
    ];
    // As in the settings, a pipe is read once, and not here.
    let file = loaded.file.as_deref().filter(|path| files::is_regular(path));
    texts.extend(file.map(|path| ("datadog.yaml", head(path, FILE_BYTES_MAX))));
    let system = SYSTEM.iter().map(|(path, bytes_max)| (*path, head(&Path::new("/").join(path), *bytes_max)));
    let named = |(name, text): (&str, String)| (name.to_owned(), text);
    let system = system.map(|(path, text)| (format!("system/{path}"), text));
    texts.into_iter().map(named).chain(system).collect()
}

fn about(unix: Duration) -> String {
    format!(
        "mote {} for {}, {}\nSecrets were taken out. The variables are those of this command, which may be others than the agent has.\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        Utc::of(unix)
    )
}

/// As `mote check` prints it.
fn check(loaded: &Loaded, env: &Env, clock: Clock) -> String {
    let (ways, complaints) = outside::ways(&loaded.config);
    let resolver = outside::resolver(&loaded.config, &AwsEnv::of(env), Place::Edge, &ways, clock);
    let mut lines = outside::not_asked(loaded, env);
    lines.extend(complaints.iter().map(|complaint| format!("error: {complaint}")));
    lines.extend(outside::routes(&loaded.config, &resolver, &ways));
    commands::check::check(loaded, &lines, &[])
}

/// Names of all variables that may be settings; values only of those that are, and are no secrets.
fn environment(env: &Env) -> String {
    let known = |name: &str| name.starts_with("DD_") || name.starts_with("DATADOG_") || VARIABLES.contains(&name);
    let line = |(name, value): (&String, &String)| {
        let shown = config::may_be_shown(name) && !is_secret_name(name);
        format!("{name} = {}\n", if shown { value } else { "***" })
    };
    env.iter().filter(|(name, _)| known(name)).map(line).collect()
}

/// What is known of secrets.
fn secrets<'a>(config: &'a Config, env: &'a Env) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    let keys = [&config.api_key, &config.app_key, &config.evp_app_key];
    found.extend(keys.into_iter().flatten().map(Secret::expose));
    found.extend(config.kms_api_key.as_ref().map(|text| text.0.expose()));
    let further = [&config.additional_endpoints.0, &config.apm_additional_endpoints.0, &config.logs_additional_endpoints.0];
    found.extend(further.into_iter().flatten().map(|endpoint| endpoint.api_key.expose()));
    for proxy in [&config.proxy_http, &config.proxy_https].into_iter().flatten() {
        let credentials = proxy.credentials.as_ref().map(Secret::expose).unwrap_or_default();
        found.extend([credentials, credentials.split_once(':').map_or("", |(_, password)| password)]);
    }
    found.extend(env.iter().filter(|(name, _)| is_secret_name(name)).map(|(_, value)| value.as_str()));
    found
}

/// The beginning of a file, or why there is none.
fn head(path: &Path, bytes_max: u64) -> String {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(bytes_max).read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(err) => format!("{err}\n"),
    }
}

fn cut(mut text: String) -> String {
    let end = text.floor_char_boundary(FILE_BYTES_MAX as usize);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_and_only_settings_that_are_no_secrets_are_shown() {
        let env: Env = [
            ("DD_API_KEY", "hunter22"),
            ("DD_ENV", "prod"),
            ("DD_SNMP_PASSWORD", "hunter23"),
            ("DD_OF_ANOTHER_PART", "hunter24"),
            ("HTTPS_PROXY", "http://user:hunter25@proxy"),
            ("HOME", "/root"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        let expected = "DD_API_KEY = ***\nDD_ENV = prod\nDD_OF_ANOTHER_PART = ***\nDD_SNMP_PASSWORD = ***\nHTTPS_PROXY = http://***@proxy\n";
        assert_eq!(scrub(&environment(&env), &[]), expected);
    }

    #[test]
    fn the_name_tells_host_and_time_and_leads_nowhere() {
        let name = name(Duration::from_secs(1_767_323_045), Some("../gw 1/x".to_owned()));
        assert_eq!(name, "mote-flare-..gw1x-20260102-030405");
    }
}
