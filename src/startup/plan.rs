//! From the configuration to the values that each part gets: parts never see the configuration, so they cannot acquire settings
//! that are not theirs.

use crate::config::BaseUrl;
use crate::config::Config;
use crate::config::Words;
use crate::deliver::BackoffLimits;
use crate::encode::traces as encode_traces;
use crate::errors::StartError;
use crate::model::api_key::masked;
use crate::model::rates::RatesHandle;
use crate::model::tags::Tags;
use crate::pipeline::traces;
use crate::process::pattern::Pattern;
use crate::process::pattern::PatternError;
use crate::process::stats;
use crate::process::traces as trace_rules;
use crate::process::traces::filters::Filters;
use crate::process::traces::filters::TagFilter;
use crate::process::traces::obfuscate;
use crate::process::traces::obfuscate::Commands;
use crate::process::traces::obfuscate::Memcached;
use crate::process::traces::obfuscate::cards;
use crate::process::traces::obfuscate::json;
use crate::process::traces::obfuscate::sql;
use crate::process::traces::obfuscate::sql_modes::Mode;
use crate::process::traces::replace;
use crate::process::traces::replace::Target;
use crate::process::traces::sampling;
use crate::process::traces::sampling::By;
use crate::process::traces::sampling::probabilistic;
use crate::process::traces::tag_rules::TagPart;
use crate::process::traces::tag_rules::normal_tag;
use crate::sources::http;
use crate::startup::memory::Memory;
use crate::sys::host;
use crate::sys::random::Random;
use crate::sys::spares;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// Where the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A machine of its own.
    Edge,
    /// A Lambda sandbox.
    Lambda,
}

/// Host name of data: configured, else the system's; none in Lambda.
pub fn hostname(config: &Config, place: Place) -> String {
    match place {
        Place::Lambda => String::new(),
        Place::Edge => config.hostname.clone().or_else(|| Some(host::name(Path::new("/"))?.0)).unwrap_or_default(),
    }
}

/// `env` and `version`.
pub fn identity_tags(config: &Config) -> Tags {
    let mut tags = Tags::default();
    for (key, value) in [("env", &config.env), ("version", &config.version)] {
        if let Some(value) = value {
            tags.push(key, value);
        }
    }
    tags
}

/// The same, and the tags of the user.
pub fn common_tags(config: &Config) -> Tags {
    let mut tags = identity_tags(config);
    tags.extend(&config.tags);
    tags.extend(&config.extra_tags);
    tags
}

/// The same, and `service` before the user's.
pub fn all_tags(config: &Config) -> Tags {
    let mut tags = identity_tags(config);
    if let Some(service) = &config.service {
        tags.push("service", service);
    }
    tags.extend(&common_tags(config));
    tags
}

fn user_tags(config: &Config) -> Vec<(String, String)> {
    let mut tags = config.tags.clone();
    tags.extend(&config.extra_tags);
    tags.pairs().to_vec()
}

/// Environment of spans that name none, in the form that those of spans get.
pub fn default_env(config: &Config) -> String {
    let of_tags = || config.tags.pairs().iter().find(|(key, _)| key == "env").map(|(_, value)| value.as_str());
    let env = config.apm_env.as_deref().or(config.env.as_deref()).or_else(of_tags).unwrap_or_default();
    match normal_tag(env, TagPart::Whole) {
        env if env.is_empty() => "none".to_owned(),
        env => env,
    }
}

/// The rules for traces, and what could not be used of those that the user wrote.
pub fn trace_rules(config: &Config) -> (trace_rules::Settings, Vec<String>) {
    let mut refused = Vec::new();
    let patterns = config.ignore_resources.0.iter().map(|pattern| Pattern::parse(pattern));
    let filters = Filters {
        ignore_resources: usable(patterns, "apm_config.ignore_resources", &mut refused),
        reject: tag_filters(&config.filter_tags_reject).collect(),
        reject_patterns: pattern_filters(&config.filter_tags_regex_reject, "apm_config.filter_tags_regex.reject", &mut refused),
        require: tag_filters(&config.filter_tags_require).collect(),
        require_patterns: pattern_filters(
            &config.filter_tags_regex_require,
            "apm_config.filter_tags_regex.require",
            &mut refused,
        ),
    };
    let replace = config.replace_tags.0.iter().map(|rule| {
        let (target, replacement) = (Target::named(&rule.name), rule.repl.clone());
        Pattern::parse(&rule.pattern).map(|pattern| replace::Rule { target, pattern, replacement })
    });
    let replace = usable(replace, "apm_config.replace_tags", &mut refused);
    let obfuscation = obfuscation(config, &mut refused);
    let (global_tags, function_tags) = (user_tags(config), String::new());
    (trace_rules::Settings { global_tags, function_tags, filters, obfuscation, replace }, refused)
}

/// Those that compile; the others are named in `refused`.
pub fn usable<T>(items: impl Iterator<Item = Result<T, PatternError>>, setting: &str, refused: &mut Vec<String>) -> Vec<T> {
    let keep = |item: Result<T, PatternError>| item.map_err(|err| refused.push(format!("{setting}: {err}; ignored"))).ok();
    items.filter_map(keep).collect()
}

fn tag_filters(words: &Words) -> impl Iterator<Item = TagFilter<String>> {
    words.0.iter().map(|word| TagFilter::parse(word))
}

fn pattern_filters(words: &Words, setting: &str, refused: &mut Vec<String>) -> Vec<TagFilter<Pattern>> {
    usable(tag_filters(words).map(TagFilter::into_pattern), setting, refused)
}

fn obfuscation(config: &Config, refused: &mut Vec<String>) -> obfuscate::Settings {
    let json = |enabled: bool, keep: &Words, sql: &Words| json::Settings {
        enabled,
        keep_values: keep.0.clone(),
        sql_values: sql.0.clone(),
    };
    let commands = |enabled: bool, remove_all_args: bool| match (enabled, remove_all_args) {
        (false, _) => Commands::Whole,
        (true, false) => Commands::WithoutValues,
        (true, true) => Commands::WithoutArguments,
    };
    obfuscate::Settings {
        cards: cards::Settings {
            enabled: config.cards_enabled,
            luhn: config.cards_luhn,
            keep_values: config.cards_keep_values.0.clone(),
        },
        sql: sql_settings(config, refused),
        redis: commands(config.redis_enabled, config.redis_remove_all_args),
        valkey: commands(config.valkey_enabled, config.valkey_remove_all_args),
        memcached: match (config.memcached_enabled, config.memcached_keep_command) {
            (false, _) => Memcached::Whole,
            (true, true) => Memcached::WithoutValues,
            (true, false) => Memcached::Nothing,
        },
        http: obfuscate::http::Settings {
            remove_query_string: config.http_remove_query_string,
            remove_paths_with_digits: config.http_remove_paths_with_digits,
        },
        mongodb: json(config.mongodb_enabled, &config.mongodb_keep_values, &config.mongodb_sql_values),
        elasticsearch: json(config.elasticsearch_enabled, &config.elasticsearch_keep_values, &config.elasticsearch_sql_values),
        opensearch: json(config.opensearch_enabled, &config.opensearch_keep_values, &config.opensearch_sql_values),
        remove_stack_traces: config.remove_stack_traces,
    }
}

/// The features that are on, which are separated by commas where variables set them.
pub fn features(config: &Config) -> impl Iterator<Item = &str> {
    config.apm_features.0.iter().flat_map(|words| words.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

fn has_feature(config: &Config, feature: &str) -> bool {
    features(config).any(|word| word == feature)
}

/// Some things have more than one name.
fn sql_settings(config: &Config, refused: &mut Vec<String>) -> sql::Settings {
    let has = |feature| has_feature(config, feature);
    let mode = config.sql_obfuscation_mode.as_deref().and_then(|name| {
        let mode = Mode::named(name);
        if mode.is_none() {
            refused.push(format!("apm_config.sql_obfuscation_mode: there is no mode `{name}`; ignored"));
        }
        mode
    });
    sql::Settings {
        mode: mode.or(has("sqllexer").then_some(Mode::ObfuscateOnly)),
        table_names: has("table_names"),
        replace_digits: has("quantize_sql_tables") || has("replace_sql_digits"),
        keep_alias: has("keep_sql_alias"),
        dollar_quoted_func: has("dollar_quoted_func"),
    }
}

/// As many as requests of usual size wait for the pipeline at the same time under load. With their limits by bytes, of 32 MiB at most
/// 3 MiB are what payloads and bodies leave behind, for some seconds after they were busy.
const SPARES_MAX: usize = 16;

/// The traces pipeline.
pub fn traces(
    config: &Config,
    place: Place,
    rules: trace_rules::Settings,
    hostname: &str,
    memory: Memory,
    rates: RatesHandle,
) -> traces::Settings {
    let sampling = sampling(config, place);
    let is_on = sampling.is_some();
    traces::Settings {
        rules,
        lambda: None,
        agent: encode_traces::Agent {
            hostname: hostname.to_owned(),
            env: default_env(config),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            target_tps: sampling.as_ref().map_or(0.0, sampling::Settings::target_tps),
            error_tps: if is_on { config.error_tps } else { 0.0 },
            rare_sampler: is_on && config.rare_sampler,
        },
        body_bytes_max: memory.body,
        compression_level: config.compression_level,
        statistics: statistics(config, place, memory),
        sampling,
        rates,
        spares: spares::Limits { items_max: SPARES_MAX, item_bytes_max: memory.body / 8, bytes_max: memory.body / 4 },
    }
}

/// What the user asked for, unless it would make the backend count fewer spans than there were.
fn sampling(config: &Config, place: Place) -> Option<sampling::Settings> {
    let by = match (config.probabilistic_enabled, config.target_tps) {
        (true, _) => By::Hash(probabilistic::Settings {
            percentage: config.probabilistic_percentage as f32,
            hash_seed: config.probabilistic_seed,
            whole_id: has_feature(config, "probabilistic_sampler_full_trace_id"),
        }),
        (false, Some(target_tps)) => By::TargetTps(target_tps),
        (false, None) => return None,
    };
    (place == Place::Edge || config.compute_stats).then(|| sampling::Settings {
        by,
        error_tps: config.error_tps,
        rare: config.rare_sampler,
        env: default_env(config),
        samples_rule_drops: has_feature(config, "error_rare_sample_tracer_drop"),
    })
}

/// What is to be said of settings about sampling that have no effect, or perhaps another one than was meant.
pub fn sampling_remarks(config: &Config, place: Place) -> Option<&'static str> {
    let is_wanted = config.probabilistic_enabled || config.target_tps.is_some();
    if is_wanted && sampling(config, place).is_none() {
        return Some(
            "nothing is sampled inside Lambda unless lambda_extension_compute_stats is on: the backend must count all spans",
        );
    }
    if config.probabilistic_enabled && config.probabilistic_percentage == 0.0 {
        return Some("apm_config.probabilistic_sampler.sampling_percentage is 0, so hardly any trace is kept");
    }
    if config.probabilistic_enabled && config.target_tps.is_some() {
        return Some("apm_config.probabilistic_sampler chooses, so apm_config.target_traces_per_second has no effect");
    }
    (!is_wanted && config.rare_sampler).then_some(
        "everything is kept, so apm_config.enable_rare_sampler has no effect without apm_config.target_traces_per_second",
    )
}

/// Inside Lambda the backend counts, unless it is asked for otherwise: a sandbox rarely lives through a bucket of time.
fn statistics(config: &Config, place: Place, memory: Memory) -> traces::Statistics {
    if place == Place::Lambda && !config.compute_stats {
        return traces::Statistics::Backend;
    }
    traces::Statistics::Here(stats::Settings {
        env: default_env(config),
        peer_tags: peer_tags(config),
        by_span_kind: config.stats_by_span_kind,
        bytes_max: memory.stats,
        seed: Random::from_system().bits(),
    })
}

/// Tags by which statistics are grouped.
pub fn peer_tags(config: &Config) -> Vec<String> {
    if !config.peer_tags_aggregation {
        return Vec::new();
    }
    let mut tags: Vec<String> = stats::PEER_TAGS.iter().map(|tag| (*tag).to_owned()).collect();
    tags.extend(config.peer_tags.0.iter().cloned());
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Kinds of spans that statistics count.
pub fn span_kinds(config: &Config) -> &'static [&'static str] {
    if config.stats_by_span_kind { &stats::SPAN_KINDS } else { &[] }
}

/// Whether tracers that compute statistics may keep back what they have counted and would be dropped. Not where a hash chooses, which
/// may want what tracers do not; and inside Lambda the spans of an invocation belong together, and all of them are wanted.
pub fn client_drop_p0s(config: &Config, place: Place) -> bool {
    place == Place::Edge && !config.probabilistic_enabled
}

/// Scheme and host of an intake: the setting's, else the site's.
pub fn intake(setting: Option<&BaseUrl>, site_host: &str) -> String {
    setting.cloned().unwrap_or_else(|| BaseUrl::of_host(site_host)).as_str().to_owned()
}

/// The same for metrics: a site's address for people stands for the one that takes them.
pub fn metrics_intake(base: &str) -> String {
    let known = |site: &str| {
        let rest = ["datadoghq.com", "datadoghq.eu", "ddog-gov.com"].iter().find_map(|known| site.strip_suffix(known));
        rest.is_some_and(|region| matches!(region.as_bytes(), [] | [b'a'..=b'z', b'a'..=b'z', b'0'..=b'9', b'.']))
    };
    match base.strip_prefix("https://app.") {
        Some(site) if known(site) => format!("https://api.{site}"),
        _ => base.to_owned(),
    }
}

/// Pauses after failures.
pub fn backoff(config: &Config) -> BackoffLimits {
    BackoffLimits { base: config.backoff_base, max: config.backoff_max.max(config.backoff_base) }
}

/// Where tracers look for a socket without being told.
const SOCKET_FOLDER: &str = "/var/run/datadog";

/// Where the trace agent's socket is to be: as configured, else where tracers look for it if the folder is there, which is the user's
/// or the Datadog Agent's wish and not ours to make.
pub fn receiver_socket(config: &Config, is_folder: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    match &config.receiver_socket {
        Some(path) if path.as_os_str() == "off" => None,
        Some(path) => Some(path.clone()),
        None => Some(Path::new(SOCKET_FOLDER)).filter(|folder| is_folder(folder)).map(|folder| folder.join("apm.socket")),
    }
}

/// Limits of the trace agent's port.
pub fn trace_http(config: &Config, memory: Memory) -> http::Limits {
    http::Limits {
        body_bytes_max: memory.profile,
        header_time: at_least_a_moment(config.receiver_timeout),
        body_time: at_least_a_moment(config.receiver_timeout),
        ..http::Limits::default()
    }
}

/// Limits of the communication server: fewer connections, since tiny_http cannot bound a header line by itself, and the same time
/// for idle ones as for a header, since it cannot tell them apart. When idle or slow clients hold all places for half a second, the
/// blocking server takes the port over, which can close them to make room.
pub fn lambda_http(config: &Config) -> http::Limits {
    http::Limits {
        connections_max: 16,
        idle_time: at_least_a_moment(config.receiver_timeout),
        stuck_time: Duration::from_millis(500),
        body_bytes_max: 6 * 1024 * 1024,
        header_time: at_least_a_moment(config.receiver_timeout),
        body_time: at_least_a_moment(config.receiver_timeout),
        ..http::Limits::default()
    }
}

/// A time-out of zero would be none at all for a socket.
fn at_least_a_moment(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(10))
}

/// The address that listeners bind to. Names are not looked up, as that could hang.
pub fn bind_address(text: &str) -> Result<IpAddr, StartError> {
    match text.trim() {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        other => other.trim_matches(['[', ']']).parse().map_err(|_| StartError::Address(masked(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::RunArgs;

    #[test]
    fn a_sites_address_for_people_stands_for_the_one_that_takes_metrics() {
        for (written, expected) in [
            ("https://app.datadoghq.eu", "https://api.datadoghq.eu"),
            ("https://app.us3.datadoghq.com", "https://api.us3.datadoghq.com"),
            ("https://app.ddog-gov.com", "https://api.ddog-gov.com"),
            ("https://app.example.com", "https://app.example.com"),
            ("https://app.notdatadoghq.com", "https://app.notdatadoghq.com"),
            ("https://app.usa.datadoghq.com", "https://app.usa.datadoghq.com"),
            ("http://app.datadoghq.eu", "http://app.datadoghq.eu"),
            ("https://vector:8080", "https://vector:8080"),
        ] {
            assert_eq!(metrics_intake(written), expected);
        }
    }

    #[test]
    fn listeners_take_addresses_and_localhost() {
        assert!(bind_address("localhost").is_ok() && bind_address("::1").is_ok() && bind_address("[::]").is_ok());
        assert!(bind_address("example.com").is_err());
    }

    /// The configuration that these variables make.
    fn config(variables: &[(&str, &str)]) -> Config {
        let env = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let args = RunArgs { config: Some("/dev/null".into()), ..RunArgs::default() };
        let loaded = config::load(&args, &env, false);
        assert_eq!(loaded.warnings, Vec::<String>::new());
        loaded.config
    }

    #[test]
    fn nothing_written_is_the_agents_defaults() {
        let (rules, refused) = trace_rules(&config(&[]));
        assert_eq!((rules, refused), (trace_rules::Settings::default(), Vec::new()));
    }

    #[test]
    fn rules_come_from_the_agents_variables() {
        let (rules, refused) = trace_rules(&config(&[
            ("DD_APM_IGNORE_RESOURCES", r#""GET /ignore-me","(GET|POST) and, too""#),
            ("DD_APM_FILTER_TAGS_REJECT", "debug:true health"),
            ("DD_APM_FILTER_TAGS_REQUIRE", r#"["env:a b"]"#),
            ("DD_APM_FILTER_TAGS_REGEX_REQUIRE", "env:^prod.*$ team"),
            ("DD_APM_REPLACE_TAGS", r#"[{"name":"*","pattern":"foo","repl":"bar"}]"#),
            ("DD_APM_OBFUSCATION_REDIS_REMOVE_ALL_ARGS", "true"),
            ("DD_APM_OBFUSCATION_VALKEY_ENABLED", "false"),
            ("DD_APM_OBFUSCATION_MEMCACHED_KEEP_COMMAND", "1"),
            ("DD_APM_OBFUSCATION_MONGODB_KEEP_VALUES", r#"["id", "kind"]"#),
            ("DD_APM_OBFUSCATION_CREDIT_CARDS_LUHN", "true"),
            ("DD_APM_CONFIG_OBFUSCATION_HTTP_REMOVE_QUERY_STRING", "true"),
            ("DD_APM_OBFUSCATION_REMOVE_STACK_TRACES", "true"),
            ("DD_APM_FEATURES", "table_names,quantize_sql_tables"),
        ]));
        assert_eq!(refused, Vec::<String>::new());
        assert_eq!(rules.filters.ignore_resources.len(), 2);
        assert_eq!(rules.filters.reject, [TagFilter::parse("debug:true"), TagFilter::parse("health")]);
        assert_eq!(rules.filters.require, [TagFilter::parse("env:a b")]);
        assert_eq!(rules.filters.require_patterns.len(), 2);
        assert_eq!((rules.replace.len(), &rules.replace[0].target), (1, &Target::All));
        let obfuscation = &rules.obfuscation;
        assert_eq!((obfuscation.redis, obfuscation.valkey), (Commands::WithoutArguments, Commands::Whole));
        assert_eq!(obfuscation.memcached, Memcached::WithoutValues);
        assert_eq!(obfuscation.mongodb.keep_values, ["id", "kind"]);
        assert!(obfuscation.cards.enabled && obfuscation.cards.luhn && obfuscation.remove_stack_traces);
        assert!(obfuscation.http.remove_query_string && !obfuscation.http.remove_paths_with_digits);
        assert!(obfuscation.sql.table_names && obfuscation.sql.replace_digits && !obfuscation.sql.keep_alias);
    }

    #[test]
    fn the_environment_of_spans_that_name_none_has_the_form_of_others() {
        let of = |variables: &[(&str, &str)]| default_env(&config(variables));
        let (tag, env, own) = (("DD_TAGS", "team:a env:Of-Tag"), ("DD_ENV", "My Prod"), ("DD_APM_ENV", "own"));
        assert_eq!(
            (of(&[]), of(&[tag]), of(&[tag, env]), of(&[tag, env, own])),
            ("none".to_owned(), "of-tag".to_owned(), "my_prod".to_owned(), "own".to_owned())
        );
    }

    #[test]
    fn patterns_that_do_not_compile_are_named_and_left_out() {
        let (rules, refused) = trace_rules(&config(&[
            ("DD_APM_IGNORE_RESOURCES", "(,ok"),
            ("DD_APM_FILTER_TAGS_REGEX_REJECT", r"a:\pL b:c"),
            ("DD_APM_REPLACE_TAGS", r#"[{"name":"*","pattern":"[","repl":""},{"name":"a","pattern":"b","repl":"c"}]"#),
            ("DD_APM_SQL_OBFUSCATION_MODE", "strange"),
        ]));
        let named: Vec<&str> = refused.iter().filter_map(|warning| warning.split(": ").next()).collect();
        let expected = [
            "apm_config.ignore_resources",
            "apm_config.filter_tags_regex.reject",
            "apm_config.replace_tags",
            "apm_config.sql_obfuscation_mode",
        ];
        assert_eq!(named, expected);
        assert_eq!((rules.filters.ignore_resources.len(), rules.filters.reject_patterns.len(), rules.replace.len()), (1, 1, 1));
        assert_eq!(rules.obfuscation.sql.mode, None);
    }

    #[test]
    fn the_socket_is_where_tracers_look_if_its_folder_is_there() {
        let of = |written: &str, has_folder| {
            let path = receiver_socket(&config(&[("DD_APM_RECEIVER_SOCKET", written)]), |_| has_folder);
            path.map(|path| path.display().to_string())
        };
        assert_eq!((of("", true).as_deref(), of("", false)), (Some("/var/run/datadog/apm.socket"), None));
        assert_eq!((of("/a/b", false).as_deref(), of("off", true)), (Some("/a/b"), None));
    }

    #[test]
    fn nothing_is_sampled_unless_it_is_asked_for() {
        let of = |variables: &[(&str, &str)], place| {
            let config = config(variables);
            (sampling(&config, place).map(|settings| settings.by), sampling_remarks(&config, place).is_some())
        };
        let (target, error) = (("DD_APM_TARGET_TPS", "5"), ("DD_APM_ERROR_TPS", "5"));
        assert_eq!(of(&[], Place::Edge), (None, false));
        assert_eq!(of(&[error], Place::Edge), (None, false));
        assert_eq!(of(&[target], Place::Edge), (Some(By::TargetTps(5.0)), false));
        assert_eq!(of(&[("DD_APM_MAX_TPS", "2.5")], Place::Edge), (Some(By::TargetTps(2.5)), false));
        assert_eq!(of(&[target], Place::Lambda), (None, true));
        assert_eq!(of(&[target, ("DD_LAMBDA_EXTENSION_COMPUTE_STATS", "true")], Place::Lambda).0, Some(By::TargetTps(5.0)));
        let enabled = ("DD_APM_PROBABILISTIC_SAMPLER_ENABLED", "true");
        assert_eq!(of(&[enabled], Place::Edge), (Some(By::Hash(probabilistic::Settings::default())), true));
        let half = [
            enabled,
            ("DD_APM_PROBABILISTIC_SAMPLER_SAMPLING_PERCENTAGE", "50"),
            ("DD_APM_FEATURES", "a,probabilistic_sampler_full_trace_id"),
        ];
        let expected = By::Hash(probabilistic::Settings { percentage: 50.0, hash_seed: 0, whole_id: true });
        assert_eq!(of(&half, Place::Edge), (Some(expected), false));
    }
}
