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
use crate::startup::plan;
use crate::startup::plan::Place;
use crate::startup::print;
use crate::startup::spooling;
use crate::sys::clock::Clock;
use crate::sys::clock::Utc;
use crate::sys::files;
use crate::sys::files::Presence;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// What the system says of itself.
const SYSTEM: [&str; 10] = [
    "proc/version",
    "proc/device-tree/model",
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/mounts",
    "proc/loadavg",
    "proc/uptime",
    "proc/net/dev",
    "etc/os-release",
    "etc/openwrt_release",
];

/// Of anything; what is longer is named and left out.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Variables beside `DD_*` that settings know.
const VARIABLES: [&str; 7] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE"];

/// Writes the archive; says where it is.
#[inline(never)]
pub fn flare(args: &RunArgs, archive: Option<PathBuf>, env: &Env) -> Result<Exit, StartError> {
    let (now, loaded) = (Clock::new().now().unix, config::load(args, env, false));
    let name = name(now, plan::hostname(&loaded.config, Place::Edge));
    let path = archive.unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let bytes = pack(&name, &texts(args, &loaded, env), &secrets(&loaded.config, env), now);
    let cannot = |err| StartError::Out(path.display().to_string(), err);
    if path.as_os_str() == "-" {
        return io::stdout().lock().write_all(&bytes).map(|()| Exit::Clean).map_err(StartError::Print);
    }
    files::append_private(&path, Presence::Forbidden).and_then(|mut file| file.write_all(&bytes)).map_err(cannot)?;
    print(&format!("{}\n", path.display()))
}

/// Of the archive and the folder in it.
fn name(unix: Duration, host: String) -> String {
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
fn texts(args: &RunArgs, loaded: &Loaded, env: &Env) -> Vec<(String, String)> {
    let config = &loaded.config;
    let mut texts = Vec::new();
    let mut add = |name: &str, text: Result<String, StartError>| {
        texts.push((name.to_owned(), text.unwrap_or_else(|err| format!("{}\n", chain(&err)))));
    };
    add("about.txt", Ok(ABOUT.to_owned()));
    let questions = [("status.txt", control::STATUS, false), ("status.json", control::STATUS, true)];
    for (name, path, json) in questions.into_iter().chain([("health.txt", control::HEALTH, false)]) {
        add(name, commands::ask::ask(&control::socket_path(config), Question { path, json }));
    }
    add("check.txt", Ok(check(loaded, env)));
    add("environment.txt", Ok(environment(env)));
    add("spool.txt", spooling::listing(args, SpoolArgs::default(), config));
    // As in the settings, a pipe is read once, and not here.
    let file = loaded.file.as_deref().filter(|path| files::is_regular(path));
    let files = file.map(|path| ("datadog.yaml".to_owned(), path.to_owned()));
    let system = SYSTEM.iter().map(|path| (format!("system/{path}"), Path::new("/").join(path)));
    for (name, path) in files.into_iter().chain(system) {
        let read = files::read_small(&path, FILE_BYTES_MAX);
        add(&name, Ok(read.map_or_else(|err| format!("{err}\n"), |bytes| String::from_utf8_lossy(&bytes).into_owned())));
    }
    texts
}

const ABOUT: &str = concat!(
    "mote ",
    env!("CARGO_PKG_VERSION"),
    "\nSecrets were taken out. The variables are those of this command, which may be others than the agent has.\n"
);

/// As `mote check` prints it.
fn check(loaded: &Loaded, env: &Env) -> String {
    let (ways, complaints) = outside::ways(&loaded.config);
    let resolver = outside::resolver(&loaded.config, &AwsEnv::of(env), Place::Edge, &ways, Clock::new());
    let mut lines = outside::not_asked(loaded, env);
    lines.extend(complaints);
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
    let kms_key = config.kms_api_key.as_ref().map(|text| &text.0);
    let proxies = [&config.proxy_http, &config.proxy_https].map(|proxy| proxy.as_ref()?.credentials.as_ref());
    for secret in
        [config.api_key.as_ref(), config.app_key.as_ref(), config.evp_app_key.as_ref(), kms_key].into_iter().chain(proxies)
    {
        let text = secret.map(Secret::expose).unwrap_or_default();
        // Of a proxy the password alone, too.
        found.extend([text, text.split_once(':').map_or("", |(_, password)| password)]);
    }
    for endpoints in [&config.additional_endpoints.0, &config.apm_additional_endpoints.0, &config.logs_additional_endpoints.0] {
        found.extend(endpoints.iter().map(|endpoint| endpoint.api_key.expose()));
    }
    found.extend(env.iter().filter(|(name, _)| is_secret_name(name)).map(|(_, value)| value.as_str()));
    found
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
        let name = name(Duration::from_secs(1_767_323_045), "../gw 1/x".to_owned());
        assert_eq!(name, "mote-flare-..gw1x-20260102-030405");
    }
}
