//! The trace agent's self-description on `/info`, from which tracers choose what to send. Only what is really served is listed.

use crate::encode::json::object;
use serde_json::Value;

/// What depends on the configuration.
#[derive(Clone, Debug)]
pub struct Info<'a> {
    /// Paths in the spelling that tracers compare with.
    pub endpoints: &'a [&'a str],
    /// Environment of spans that name none.
    pub default_env: &'a str,
    /// Port of the trace agent.
    pub receiver_port: u16,
    /// Path of its Unix socket; empty without one.
    pub receiver_socket: &'a str,
    /// How many seconds a request may take.
    pub receiver_timeout_s: u64,
    /// Port of DogStatsD; 0 without one.
    pub statsd_port: u16,
    /// Larger requests are refused.
    pub max_request_bytes: usize,
    /// Memory for all data on their way.
    pub max_memory: usize,
    /// Tracers that compute statistics may drop what they have counted and nobody wants: nothing here needs to see all spans.
    pub client_drop_p0s: bool,
    /// Tags by which statistics are grouped.
    pub peer_tags: &'a [String],
    /// Kinds of spans that are counted.
    pub span_kinds: &'a [&'a str],
    /// What the user has set.
    pub in_force: InForce<'a>,
    /// Headers that pass through the proxy of the event platform.
    pub evp_headers: &'a [&'a str],
}

/// Settings that tracers may heed, or people look up.
#[derive(Clone, Debug)]
pub struct InForce<'a> {
    /// Traces a second that are aimed at; 0 for none in particular.
    pub target_tps: f64,
    /// The Agent's features that are on.
    pub features: Vec<&'a str>,
    /// Patterns of resources that do not go on.
    pub ignore_resources: &'a [String],
    /// Tags that roots must have, and must not have.
    pub filter_tags: [&'a [String]; 2],
    /// The same with patterns.
    pub filter_tags_regex: [&'a [String]; 2],
    /// Replace rules: name, pattern, replacement.
    pub replace: Vec<[&'a str; 3]>,
    /// What is hidden.
    pub obfuscation: Obfuscation<'a>,
}

/// What is hidden: whether at all, then how. JSON values with the keys that stay.
#[derive(Clone, Debug, Default)]
pub struct Obfuscation<'a> {
    /// The engine's mode; empty for the usual engine.
    pub sql_mode: &'a str,
    /// Digits in names too.
    pub sql_replace_digits: bool,
    /// Aliases stay.
    pub sql_keep_alias: bool,
    /// Bodies of functions are statements.
    pub sql_dollar_quoted_func: bool,
    /// And all arguments.
    pub redis: [bool; 2],
    /// And all arguments.
    pub valkey: [bool; 2],
    /// But for the command.
    pub memcached: [bool; 2],
    /// Only with the right check digit.
    pub cards: [bool; 2],
    /// The query, and parts of the path with digits.
    pub http: [bool; 2],
    /// Queries.
    pub mongodb: (bool, &'a [String]),
    /// Bodies.
    pub elasticsearch: (bool, &'a [String]),
    /// Bodies.
    pub opensearch: (bool, &'a [String]),
    /// Stack traces.
    pub remove_stack_traces: bool,
}

/// Tracers that compute statistics may hide values in resources by themselves, as this version of the rules does.
const TRACERS_MAY_OBFUSCATE: u64 = 1;

/// They do not know rules that the user's settings have changed, so they leave it to the agent.
const AGENT_OBFUSCATES: u64 = 2;

/// The JSON text.
pub fn info(info: &Info<'_>) -> String {
    let InForce { features, ignore_resources, filter_tags, filter_tags_regex, obfuscation, .. } = &info.in_force;
    let sql_is_usual = obfuscation.sql_mode.is_empty()
        && !(obfuscation.sql_replace_digits || obfuscation.sql_keep_alias || obfuscation.sql_dollar_quoted_func);
    let mut config = object(&[
        ("default_env", info.default_env.into()),
        ("target_tps", info.in_force.target_tps.into()),
        ("max_eps", 0u64.into()),
        ("receiver_port", u64::from(info.receiver_port).into()),
        ("receiver_socket", info.receiver_socket.into()),
        ("connection_limit", 0u64.into()),
        ("receiver_timeout", info.receiver_timeout_s.into()),
        ("max_request_bytes", info.max_request_bytes.into()),
        ("statsd_port", u64::from(info.statsd_port).into()),
        ("max_memory", info.max_memory.into()),
        ("max_cpu", 0u64.into()),
    ]);
    config["analyzed_spans_by_service"] = object(&[]);
    config["obfuscation"] = obfuscation_in_force(&info.in_force);
    let mut text = object(&[
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("git_commit", "".into()),
        ("client_drop_p0s", info.client_drop_p0s.into()),
        ("span_meta_structs", true.into()),
        ("long_running_spans", true.into()),
        ("span_events", true.into()),
        ("obfuscation_version", if sql_is_usual { TRACERS_MAY_OBFUSCATE } else { AGENT_OBFUSCATES }.into()),
    ]);
    text["config"] = config;
    text["peer_tags"] = texts(info.peer_tags);
    let lists = [
        ("endpoints", info.endpoints),
        ("evp_proxy_allowed_headers", info.evp_headers),
        ("span_kinds_stats_computed", info.span_kinds),
    ];
    for (name, list) in lists {
        text[name] = words(list);
    }
    let filters = |[require, reject]: &[&[String]; 2]| {
        let any = !require.is_empty() || !reject.is_empty();
        any.then(|| {
            let mut both = object(&[]);
            both["require"] = texts(require);
            both["reject"] = texts(reject);
            both
        })
    };
    let configured = [
        ("feature_flags", (!features.is_empty()).then(|| words(features))),
        ("ignore_resources", (!ignore_resources.is_empty()).then(|| texts(ignore_resources))),
        ("filter_tags", filters(filter_tags)),
        ("filter_tags_regex", filters(filter_tags_regex)),
    ];
    for (key, value) in configured {
        if let Some(value) = value {
            text[key] = value;
        }
    }
    text.to_string()
}

fn words(words: &[&str]) -> Value {
    words.iter().copied().collect()
}

fn texts(texts: &[String]) -> Value {
    texts.iter().map(String::as_str).collect()
}

fn obfuscation_in_force(in_force: &InForce<'_>) -> Value {
    let obfuscation = &in_force.obfuscation;
    let rule = |[name, pattern, repl]: &[&str; 3]| {
        object(&[("name", (*name).into()), ("pattern", (*pattern).into()), ("repl", (*repl).into())])
    };
    let mut value = object(&[
        ("elastic_search", obfuscation.elasticsearch.0.into()),
        ("mongo", obfuscation.mongodb.0.into()),
        ("sql_exec_plan", false.into()),
        ("sql_exec_plan_normalize", false.into()),
        ("sql_obfuscation_mode", obfuscation.sql_mode.into()),
        ("remove_stack_traces", obfuscation.remove_stack_traces.into()),
    ]);
    value["sql"] = object(&[
        ("replace_digits", obfuscation.sql_replace_digits.into()),
        ("keep_sql_alias", obfuscation.sql_keep_alias.into()),
        ("dollar_quoted_func", obfuscation.sql_dollar_quoted_func.into()),
        ("obfuscation_mode", obfuscation.sql_mode.into()),
    ]);
    let pairs = [
        ("http", ["remove_query_string", "remove_path_digits"], obfuscation.http),
        ("redis", ["enabled", "remove_all_args"], obfuscation.redis),
        ("valkey", ["enabled", "remove_all_args"], obfuscation.valkey),
        ("memcached", ["enabled", "keep_command"], obfuscation.memcached),
        ("credit_cards", ["enabled", "luhn"], obfuscation.cards),
    ];
    for (name, [first, second], [is_first, is_second]) in pairs {
        value[name] = object(&[(first, is_first.into()), (second, is_second.into())]);
    }
    let keys = [
        ("mongodb", obfuscation.mongodb),
        ("elasticsearch", obfuscation.elasticsearch),
        ("opensearch", obfuscation.opensearch),
    ];
    for (name, (enabled, keep_keys)) in keys {
        value[name] = object(&[("enabled", enabled.into())]);
        value[name]["keep_keys"] = texts(keep_keys);
    }
    if !in_force.replace.is_empty() {
        value["tag_replace_rules"] = in_force.replace.iter().map(rule).collect();
    }
    value
}
