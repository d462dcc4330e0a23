//! What the agent needs from outside before it can work: settings that someone else keeps, the way there, and the key.

use crate::config;
use crate::config::AwsEnv;
use crate::config::BaseUrl;
use crate::config::Config;
use crate::config::Env;
use crate::config::FileRead;
use crate::config::Kept;
use crate::config::Loaded;
use crate::config::ProxyUrl;
use crate::config::RunArgs;
use crate::config::Secret;
use crate::config::TlsVersion;
use crate::errors::StartError;
use crate::secrets;
use crate::secrets::Report;
use crate::secrets::Resolver;
use crate::secrets::SourceError;
use crate::secrets::Validity;
use crate::secrets::backend;
use crate::startup::further;
use crate::startup::plan;
use crate::startup::plan::Place;
use crate::startup::proxies;
use crate::sys::clock::Clock;
use crate::sys::files;
use crate::sys::net::Client;
use crate::sys::net::Match;
use crate::sys::net::Proxies;
use crate::sys::net::Proxy;
use crate::sys::net::Reuse;
use crate::sys::net::Tls;
use crate::sys::net::TlsSettings;
use crate::sys::net::Ways;
use std::time::Duration;

/// A file of certificates that a system comes with is a quarter of this.
const CERTIFICATES_BYTES_MAX: usize = 1 << 20;

/// What the settings were made from, beside flags and variables.
#[derive(Clone, Debug)]
pub struct Origins {
    /// The file, where it cannot be read again; otherwise all of it need not stay in memory.
    pub file: Option<FileRead>,
    /// What someone else keeps.
    pub kept: Kept,
}

/// The settings, with those that someone else keeps. What cannot be had is an error line.
pub fn load(args: &RunArgs, env: &Env, aws: &AwsEnv, place: Place, clock: Clock) -> (Loaded, Origins) {
    let lambda = place == Place::Lambda;
    let (file, mut kept) = (FileRead::now(args, env, lambda), Kept::default());
    let mut loaded = config::load_with(&file, args, env, lambda, &kept);
    if !config::kept_elsewhere(env).is_empty() {
        let client = Client::through(Reuse::Never, &ways(&loaded.config).0);
        kept.variables.extend(secrets::fetch_variables(env, aws, &client, clock, wait_for_variables(place)));
        loaded = config::load_with(&file, args, env, lambda, &kept);
    }
    if !loaded.handles.is_empty() {
        let handles: Vec<&str> = loaded.handles.iter().map(String::as_str).collect();
        match backend::resolve(&handles, &backend_settings(&loaded.config), &clock) {
            Ok(found) => kept.handles = found,
            Err(err) => log::error!("{err}; settings written as ENC[...] keep their defaults"),
        }
        loaded = config::load_with(&file, args, env, lambda, &kept);
    }
    let is_regular = loaded.file.as_deref().is_none_or(files::is_regular);
    (loaded, Origins { file: (!is_regular).then_some(file), kept })
}

/// How long settings that AWS keeps are waited for: a first try and a second fit in, but inside Lambda, where the function waits too.
fn wait_for_variables(place: Place) -> Duration {
    Duration::from_secs(if place == Place::Lambda { 2 } else { 7 })
}

/// What is left out when nobody is asked.
pub fn not_asked(loaded: &Loaded, env: &Env) -> Vec<String> {
    let variables = config::kept_elsewhere(env).into_iter().map(|(name, ..)| name);
    let handles = loaded.handles.iter().map(|handle| format!("ENC[{handle}]"));
    variables.chain(handles).map(|what| format!("note: {what} is asked for at the start, not here; check --key does")).collect()
}

/// How the outside is reached, and what is wrong with that.
pub fn ways(config: &Config) -> (Ways, Vec<String>) {
    let mut complaints = Vec::new();
    let mut further_roots = Vec::new();
    for path in [&config.tls_cert_file, &config.ssl_cert_file].into_iter().flatten() {
        match files::read_small(path, CERTIFICATES_BYTES_MAX) {
            Ok(pem) => further_roots.push((path.display().to_string(), pem)),
            Err(err) => {
                complaints.push(format!("{}: {err}; it adds no certificate to those that are believed", path.display()));
            }
        }
    }
    let (skip_validation, only_1_3) = (config.skip_ssl_validation, config.min_tls_version == TlsVersion::V1_3);
    let (tls, bad) = Tls::new(TlsSettings { further_roots, skip_validation, only_1_3 });
    complaints.extend(bad);
    let proxy = |url: &Option<ProxyUrl>| {
        url.as_ref().map(|url| Proxy::new(url.tls, &url.host, url.port, url.credentials.as_ref().map(Secret::expose)))
    };
    let proxies = Proxies {
        http: proxy(&config.proxy_http),
        https: proxy(&config.proxy_https),
        exceptions: config.proxy_no_proxy.0.clone(),
        exactness: if config.no_proxy_nonexact_match { Match::Wide } else { Match::Exact },
    };
    (Ways::new(proxies, tls), complaints)
}

/// The same, and says what is wrong or dangerous.
pub fn open_ways(config: &Config) -> Ways {
    let (ways, complaints) = ways(config);
    complaints.iter().for_each(|complaint| log::error!("{complaint}"));
    if config.skip_ssl_validation {
        log::warn!(
            "skip_ssl_validation is on: ANY server is believed, and whoever stands between can read the API key and all data"
        );
    }
    ways
}

fn backend_settings(config: &Config) -> backend::Settings {
    backend::Settings {
        command: config.secret_backend_command.clone(),
        arguments: config.secret_backend_arguments.0.clone(),
        timeout: config.secret_backend_timeout,
        output_bytes_max: config.secret_backend_output_max_size.0,
        allow_group_exec: config.secret_backend_allow_group_exec,
        remove_line_break: config.secret_backend_remove_line_break,
    }
}

/// Who finds the key.
pub fn resolver(config: &Config, aws: &AwsEnv, place: Place, ways: &Ways, clock: Clock) -> Resolver {
    let settings = secrets::Settings {
        sources: config.key_sources(),
        aws: aws.clone(),
        backend: backend_settings(config),
        client: Client::through(Reuse::Never, ways),
        refresh: Some(config.secret_refresh_interval).filter(|every| !every.is_zero()),
        // Inside Lambda it would cost each sandbox a request, and the intake says the same.
        validate_at: if place == Place::Lambda { None } else { validate_at(config) },
    };
    Resolver::new(settings, clock)
}

/// Where the site tells whether it knows a key, if that is where data go. Whoever sends them elsewhere may do so with a key that is none
/// of Datadog's, and does not want it shown there.
fn validate_at(config: &Config) -> Option<String> {
    let site = config.site.host();
    let is_of_site = |url: &BaseUrl| {
        let host = url.as_str().split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next()).unwrap_or_default();
        host.strip_suffix(site).is_some_and(|rest| rest.ends_with('.'))
    };
    let given = [&config.dd_url, &config.apm_dd_url, &config.logs_dd_url];
    let all_there = given.into_iter().flatten().all(is_of_site);
    all_there.then(|| BaseUrl::of_host(&format!("api.{site}")).as_str().to_owned())
}

/// Each endpoint with the way to it.
pub fn routes(config: &Config, resolver: &Resolver, ways: &Ways) -> Vec<String> {
    let site = config.site.host();
    let mut endpoints = vec![
        ("traces", plan::intake(config.apm_dd_url.as_ref(), &format!("trace.agent.{site}"))),
        ("logs", plan::intake(config.logs_dd_url.as_ref(), &format!("http-intake.logs.{site}"))),
        ("metrics", plan::metrics_intake(&plan::intake(config.dd_url.as_ref(), &format!("api.{site}")))),
    ];
    endpoints.extend(further::plans(config).into_iter().map(|plan| (plan.share.signal, plan.base)));
    endpoints.extend(proxies::hosts(config));
    endpoints.extend(validate_at(config).map(|url| ("key validation", url)));
    endpoints.extend(resolver.addresses());
    let way = |url: &str| ways.proxy_for(url).map_or("directly".to_owned(), |proxy| format!("through {}", proxy.url()));
    endpoints.iter().map(|(name, url)| format!("route: {name} {url} {}", way(url))).collect()
}

/// What `check --key` prints of a report, and what is wrong with it.
pub fn describe(report: &Report) -> (Vec<String>, Option<StartError>) {
    let mut lines = Vec::new();
    for (setting, outcome) in &report.sources {
        lines.push(match outcome {
            Ok(()) => format!("key: found by {setting}"),
            Err(err) => format!("key: none from {setting}: {err}"),
        });
    }
    let found = matches!(report.sources.last(), Some((_, Ok(()))));
    let may_come = report.sources.iter().any(|(_, outcome)| matches!(outcome, Err(SourceError::Transient(_))));
    let obstacle = match &report.validity {
        _ if !found && may_come => Some(StartError::KeyUnknown),
        _ if !found => Some(StartError::NoKey),
        None => {
            lines.push("key: not validated, as data go to addresses other than the site's".to_owned());
            None
        }
        Some(validity) => {
            lines.push(format!("key: {validity}"));
            match validity {
                Validity::Valid => None,
                Validity::Refused => Some(StartError::KeyRefused),
                Validity::Unknown(_) => Some(StartError::KeyUnknown),
            }
        }
    };
    (lines, obstacle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Config {
        let env: Env = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        config::load(&RunArgs::default(), &env, false).config
    }

    #[track_caller]
    fn check_validate_at(variables: &[(&str, &str)], expected: Option<&str>) {
        assert_eq!(validate_at(&config(variables)).as_deref(), expected);
    }

    #[test]
    fn the_key_is_shown_only_to_where_data_go() {
        check_validate_at(&[("DD_SITE", "datadoghq.eu")], Some("https://api.datadoghq.eu"));
        let agent_intake = "https://agent-http-intake.logs.datadoghq.com:443";
        check_validate_at(&[("DD_LOGS_CONFIG_LOGS_DD_URL", agent_intake)], Some("https://api.datadoghq.com"));
        check_validate_at(&[("DD_APM_DD_URL", "http://a")], None);
        check_validate_at(&[("DD_APM_DD_URL", "http://notdatadoghq.com")], None);
        check_validate_at(&[("DD_DD_URL", "http://vector:8080")], None);
    }

    #[test]
    fn each_endpoint_has_its_route() {
        let config = config(&[
            ("HTTPS_PROXY", "http://general:1"),
            ("DD_PROXY_HTTPS", "http://user:pass@datadogs:3128"),
            ("NO_PROXY", "http-intake.logs.datadoghq.com"),
            ("DD_API_KEY_SECRET_ARN", "arn:aws:secretsmanager:eu-west-1:1:secret:x"),
        ]);
        let (ways, _) = ways(&config);
        let resolver = resolver(&config, &AwsEnv::default(), Place::Edge, &ways, Clock::new());
        let version = env!("CARGO_PKG_VERSION").replace('.', "-");
        let flares = format!("route: flares https://{version}-flare.datadoghq.com through http://datadogs:3128");
        let expected = [
            "route: traces https://trace.agent.datadoghq.com through http://datadogs:3128",
            "route: logs https://http-intake.logs.datadoghq.com directly",
            "route: metrics https://api.datadoghq.com through http://datadogs:3128",
            "route: profiles https://intake.profile.datadoghq.com through http://datadogs:3128",
            "route: debugger https://http-intake.logs.datadoghq.com directly",
            "route: debugger https://debugger-intake.datadoghq.com through http://datadogs:3128",
            &flares,
            "route: telemetry https://instrumentation-telemetry-intake.datadoghq.com through http://datadogs:3128",
            "route: OpenLineage https://data-obs-intake.datadoghq.com through http://datadogs:3128",
            "route: event platform https://subdomain.datadoghq.com through http://datadogs:3128",
            "route: key validation https://api.datadoghq.com through http://datadogs:3128",
            "route: api_key_secret_arn https://secretsmanager.eu-west-1.amazonaws.com/ through http://datadogs:3128",
        ];
        assert_eq!(routes(&config, &resolver, &ways), expected);
    }

    #[test]
    fn a_file_of_certificates_that_cannot_be_read_is_told() {
        let (_, complaints) = ways(&config(&[("SSL_CERT_FILE", "/nowhere/certs")]));
        let expected =
            "/nowhere/certs: No such file or directory (os error 2); it adds no certificate to those that are believed";
        assert_eq!(complaints, [expected]);
    }

    #[track_caller]
    fn check_report(outcome: Result<(), SourceError>, validity: Option<Validity>, lines: &[&str], code: u8) {
        let (found, obstacle) = describe(&Report { sources: vec![("api_key_file", outcome)], validity });
        assert_eq!(found, lines);
        assert_eq!(obstacle.map_or(0, |obstacle| obstacle.exit().code()), code);
    }

    #[test]
    fn a_report_tells_refused_from_unreachable() {
        let found = "key: found by api_key_file";
        check_report(Ok(()), Some(Validity::Valid), &[found, "key: valid"], 0);
        let refused = "key: refused; is it a key of this site, and not an application key?";
        check_report(Ok(()), Some(Validity::Refused), &[found, refused], 78);
        let unknown = "key: not known, as the site gives no answer: timed out: connect";
        check_report(Ok(()), Some(Validity::Unknown("timed out: connect".to_owned())), &[found, unknown], 69);
        let denied = SourceError::Permanent("denied".to_owned());
        check_report(Err(denied), None, &["key: none from api_key_file: denied"], 78);
        let late = SourceError::Transient("late".to_owned());
        check_report(Err(late), None, &["key: none from api_key_file: late"], 69);
    }
}
