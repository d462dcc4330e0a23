//! From the configuration to the proxies of the trace agent: where each product's requests go and what is added to them.

use crate::config::AwsEnv;
use crate::config::BaseUrl;
use crate::config::Config;
use crate::config::HostOrUrl;
use crate::model::api_key::ApiKey;
use crate::sources::trace_proxy::EvpIntake;
use crate::sources::trace_proxy::Intakes;
use crate::sources::trace_proxy::Passer;
use crate::sources::trace_proxy::Product;
use crate::sources::trace_proxy::Settings;
use crate::startup::log_plan;
use crate::startup::memory::Memory;
use crate::startup::plan;
use crate::startup::plan::Place;

/// Where AWS Lambda runs, as telemetry calls it.
const LAMBDA: &[(&str, &str)] = &[("DD-Cloud-Provider", "AWS"), ("DD-Cloud-Resource-Type", "AWSLambda")];

/// All settings of the proxies.
#[inline(never)]
pub fn settings(config: &Config, place: Place, aws: &AwsEnv, hostname: &str, memory: Memory) -> Settings {
    Settings {
        intakes: intakes(config),
        passer: passer(config, place, aws, hostname),
        logs_enabled: log_plan::ships_logs(config, place),
        evp_bytes_max: config.evp_max_payload_size.0,
        profile_bytes_max: memory.profile,
        request_bytes_max: memory.request,
        queued_bytes_max: memory.spool / 2,
    }
}

/// The hosts that requests are passed on to, each with what goes there.
pub fn hosts(config: &Config) -> Vec<(&'static str, String)> {
    let Intakes { evp, addresses } = intakes(config);
    let mut hosts: Vec<(&str, String)> = addresses
        .iter()
        .filter_map(|(product, address)| {
            let name = match product {
                Product::Profiling => "profiles",
                Product::Telemetry => "telemetry",
                Product::DebuggerLogs | Product::Debugger | Product::Symdb => "debugger",
                Product::OpenLineage => "OpenLineage",
                Product::Flare => "flares",
                _ => return None, // where traces go
            };
            Some((name, host(address).to_owned()))
        })
        .collect();
    hosts.dedup();
    hosts.extend(evp.map(|evp| match evp {
        EvpIntake::Site(site) => ("event platform", format!("https://subdomain.{site}")),
        EvpIntake::Address(address) => ("event platform", host(&address).to_owned()),
    }));
    hosts
}

/// The address without its path.
fn host(address: &str) -> &str {
    let begin = address.find("://").map_or(0, |at| at + 3);
    let length = address[begin..].find(['/', '?']).unwrap_or(address.len() - begin);
    &address[..begin + length]
}

fn intakes(config: &Config) -> Intakes {
    let site = config.site.host();
    let on_site = |service: &str| format!("https://{service}.{site}");
    // An address that is all there is needs no path; one with a path is meant as it stands.
    let address = |setting: &Option<BaseUrl>, service: &str, path: &str| match setting {
        None => on_site(service) + path,
        Some(url) => with_path(url, path),
    };
    let debugger = |setting| address(setting, "debugger-intake", "/api/v2/debugger");
    let mut addresses = vec![
        (Product::Profiling, address(&config.profiling_dd_url, "intake.profile", "/api/v2/profile")),
        (
            Product::PipelineStats,
            plan::intake(config.apm_dd_url.as_ref(), &format!("trace.agent.{site}")) + "/api/v0.1/pipeline_stats",
        ),
        (Product::DebuggerLogs, address(&config.debugger_dd_url, "http-intake.logs", "/api/v2/logs")),
        (Product::Debugger, debugger(&config.debugger_diagnostics_dd_url)),
        (Product::Symdb, debugger(&config.symdb_dd_url)),
        (Product::Flare, flare(site)),
    ];
    if config.telemetry_enabled {
        addresses.push((Product::Telemetry, address(&config.telemetry_dd_url, "instrumentation-telemetry-intake", "")));
    }
    if config.lineage_enabled {
        addresses.push((Product::OpenLineage, lineage(config)));
    }
    let evp = config.evp_enabled.then(|| match &config.evp_dd_url {
        None => EvpIntake::Site(site.to_owned()),
        Some(HostOrUrl::Host(host)) => EvpIntake::Site(host.clone()),
        Some(HostOrUrl::Url(url)) => EvpIntake::Address(url.as_str().to_owned()),
    });
    Intakes { evp, addresses }
}

fn with_path(url: &BaseUrl, path: &str) -> String {
    let has_path = url.as_str().split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path { url.as_str().to_owned() } else { format!("{}{path}", url.as_str()) }
}

/// Each version of an agent has a host of its own for flares.
fn flare(site: &str) -> String {
    format!("https://{}-flare.{site}/api/ui/support/serverless/flare", env!("CARGO_PKG_VERSION").replace('.', "-"))
}

fn lineage(config: &Config) -> String {
    const PATH: &str = "/api/v1/lineage";
    let address = match &config.lineage_dd_url {
        None => format!("https://data-obs-intake.{}{PATH}", config.site.host()),
        Some(HostOrUrl::Host(host)) => format!("https://data-obs-intake.{host}{PATH}"),
        Some(HostOrUrl::Url(url)) => with_path(url, PATH),
    };
    match config.lineage_api_version {
        0 | 1 => address,
        version => format!("{address}?api-version={version}"),
    }
}

fn passer(config: &Config, place: Place, aws: &AwsEnv, hostname: &str) -> Passer {
    let env = plan::default_env(config);
    let app_key = config.evp_app_key.as_ref().or(config.app_key.as_ref());
    let (header_tags, query_tags) = match (place, aws.function_name.as_deref().unwrap_or_default()) {
        // The extension that Datadog has for Lambda separates them like this.
        (Place::Lambda, name) => (
            format!("_dd.origin:lambda;functionname:{name}"),
            format!("_dd.origin:lambda,functionname:{name},default_env:{env}"),
        ),
        (Place::Edge, _) => {
            let tags = format!("host:{hostname},default_env:{env},agent_version:{}", env!("CARGO_PKG_VERSION"));
            (tags.clone(), tags)
        }
    };
    Passer {
        hostname: hostname.to_owned(),
        env: env.to_owned(),
        header_tags,
        query_tags,
        cloud: if place == Place::Lambda { LAMBDA } else { &[] },
        app_key: app_key.and_then(|key| ApiKey::parse(key.expose()).ok()),
        evp_seconds: config.evp_receiver_timeout.as_secs().max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::RunArgs;
    use crate::decode::proxied::Call;
    use crate::decode::proxied::outgoing;
    use crate::decode::proxied::route;

    fn config(variables: &[(&str, &str)]) -> Config {
        let env = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let args = RunArgs { config: Some("/dev/null".into()), ..RunArgs::default() };
        let loaded = config::load(&args, &env, false);
        assert_eq!(loaded.warnings, Vec::<String>::new());
        loaded.config
    }

    #[track_caller]
    fn check(variables: &[(&str, &str)], path: &str, expected: Option<&str>) {
        let settings = settings(&config(variables), Place::Edge, &AwsEnv::default(), "gw-1", Memory::of(32 << 20));
        let headers = [("X-Datadog-EVP-Subdomain", "sub")];
        let call = Call { path, query: None, headers: &headers, id: [0, 0] };
        let found = outgoing(route(path).unwrap(), &call, &settings.intakes, &Passer::default()).ok();
        assert_eq!(found.map(|found| found.address).as_deref(), expected, "{path} {variables:?}");
    }

    #[test]
    fn everything_goes_to_the_site() {
        let eu = &[("DD_SITE", "datadoghq.eu")];
        check(eu, "/profiling/v1/input", Some("https://intake.profile.datadoghq.eu/api/v2/profile"));
        check(eu, "/v0.1/pipeline_stats", Some("https://trace.agent.datadoghq.eu/api/v0.1/pipeline_stats"));
        let telemetry = "https://instrumentation-telemetry-intake.datadoghq.eu/api/v2/apmtelemetry";
        check(eu, "/telemetry/proxy/api/v2/apmtelemetry", Some(telemetry));
        check(eu, "/debugger/v1/input", Some("https://http-intake.logs.datadoghq.eu/api/v2/logs?ddtags="));
        check(eu, "/debugger/v1/diagnostics", Some("https://debugger-intake.datadoghq.eu/api/v2/debugger?ddtags="));
        check(eu, "/debugger/v2/input", Some("https://debugger-intake.datadoghq.eu/api/v2/debugger?ddtags="));
        check(eu, "/symdb/v1/input", Some("https://debugger-intake.datadoghq.eu/api/v2/debugger"));
        check(eu, "/openlineage/api/v1/lineage", Some("https://data-obs-intake.datadoghq.eu/api/v1/lineage?api-version=2"));
        let flare = flare("datadoghq.eu");
        assert!(flare.starts_with("https://0-") && flare.ends_with("-flare.datadoghq.eu/api/ui/support/serverless/flare"));
        check(eu, "/tracer_flare/v1", Some(&flare));
        check(eu, "/evp_proxy/v3/a", Some("https://sub.datadoghq.eu/a"));
    }

    #[test]
    fn settings_take_the_place_of_the_site() {
        let profiling = |url| check(&[("DD_APM_PROFILING_DD_URL", url)], "/profiling/v1/input", Some("http://p:1/v1/input"));
        profiling("http://p:1/v1/input");
        check(&[("DD_APM_PROFILING_DD_URL", "p:1/")], "/profiling/v1/input", Some("https://p:1/api/v2/profile"));
        check(&[("DD_APM_DD_URL", "http://t")], "/v0.1/pipeline_stats", Some("http://t/api/v0.1/pipeline_stats"));
        check(&[("DD_APM_TELEMETRY_DD_URL", "http://t:1")], "/telemetry/proxy/a/b", Some("http://t:1/a/b"));
        check(&[("DD_APM_DEBUGGER_DD_URL", "http://t:1")], "/debugger/v1/input", Some("http://t:1/api/v2/logs?ddtags="));
        check(&[("DD_APM_DEBUGGER_DIAGNOSTICS_DD_URL", "http://t/x")], "/debugger/v2/input", Some("http://t/x?ddtags="));
        check(&[("DD_APM_SYMDB_DD_URL", "http://t/x")], "/symdb/v1/input", Some("http://t/x"));
        check(&[("DD_EVP_PROXY_CONFIG_DD_URL", "my.site")], "/evp_proxy/v3/a", Some("https://sub.my.site/a"));
        check(&[("DD_EVP_PROXY_CONFIG_DD_URL", "http://hub:1/x/")], "/evp_proxy/v3/a", Some("http://hub:1/x/a"));
        let lineage = "/openlineage/api/v1/lineage";
        check(
            &[("DD_OL_PROXY_CONFIG_DD_URL", "my.site")],
            lineage,
            Some("https://data-obs-intake.my.site/api/v1/lineage?api-version=2"),
        );
        let old = &[("DD_OL_PROXY_CONFIG_DD_URL", "http://t/x"), ("DD_OL_PROXY_CONFIG_API_VERSION", "1")];
        check(old, lineage, Some("http://t/x"));
    }

    #[test]
    fn hosts_are_named_once_and_without_paths() {
        let config = config(&[
            ("DD_APM_PROFILING_DD_URL", "http://p:1/v1/input"),
            ("DD_APM_TELEMETRY_ENABLED", "false"),
            ("DD_APM_DEBUGGER_DD_URL", "http://d"),
            ("DD_APM_SYMDB_DD_URL", "http://s"),
            ("DD_OL_PROXY_CONFIG_ENABLED", "false"),
        ]);
        let flares = host(&flare("datadoghq.com")).to_owned();
        let expected = [
            ("profiles", "http://p:1"),
            ("debugger", "http://d"),
            ("debugger", "https://debugger-intake.datadoghq.com"),
            ("debugger", "http://s"),
            ("flares", &flares),
            ("event platform", "https://subdomain.datadoghq.com"),
        ];
        let found = hosts(&config);
        assert_eq!(found.iter().map(|(name, host)| (*name, host.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_switched_off_is_not_served() {
        check(&[("DD_APM_TELEMETRY_ENABLED", "false")], "/telemetry/proxy/a", None);
        check(&[("DD_EVP_PROXY_CONFIG_ENABLED", "false")], "/evp_proxy/v2/a", None);
        check(&[("DD_OL_PROXY_CONFIG_ENABLED", "false")], "/openlineage/api/v1/lineage", None);
    }

    #[test]
    fn inside_lambda_the_function_stands_where_the_host_does_elsewhere() {
        let aws = AwsEnv { function_name: Some("Shop".to_owned()), ..AwsEnv::default() };
        let passer = passer(&config(&[("DD_ENV", "prod")]), Place::Lambda, &aws, "");
        assert_eq!(passer.header_tags, "_dd.origin:lambda;functionname:Shop");
        assert_eq!(passer.query_tags, "_dd.origin:lambda,functionname:Shop,default_env:prod");
        assert!(!passer.cloud.is_empty());
    }
}
