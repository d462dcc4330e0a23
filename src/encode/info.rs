//! The trace agent's self-description on `/info`, from which tracers choose what to send. Only what is really served is listed.

use serde_json::Value;
use serde_json::json;

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
const TRACERS_MAY_OBFUSCATE: u32 = 1;

/// They do not know rules that the user's settings have changed, so they leave it to the agent.
const AGENT_OBFUSCATES: u32 = 2;

/// The JSON text.
pub fn info(info: &Info<'_>) -> String {
    let InForce { features, ignore_resources, filter_tags, filter_tags_regex, obfuscation, .. } = &info.in_force;
    let sql_is_usual = obfuscation.sql_mode.is_empty()
        && !(obfuscation.sql_replace_digits || obfuscation.sql_keep_alias || obfuscation.sql_dollar_quoted_func);
    let mut text = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_commit": "",
        "endpoints": info.endpoints,
        "client_drop_p0s": info.client_drop_p0s,
        "span_meta_structs": true,
        "long_running_spans": true,
        "span_events": true,
        "evp_proxy_allowed_headers": info.evp_headers,
        "config": {
            "default_env": info.default_env,
            "target_tps": info.in_force.target_tps,
            "max_eps": 0,
            "receiver_port": info.receiver_port,
            "receiver_socket": info.receiver_socket,
            "connection_limit": 0,
            "receiver_timeout": info.receiver_timeout_s,
            "max_request_bytes": info.max_request_bytes,
            "statsd_port": info.statsd_port,
            "max_memory": info.max_memory,
            "max_cpu": 0,
            "analyzed_spans_by_service": {},
            "obfuscation": obfuscation_in_force(&info.in_force),
        },
        "peer_tags": info.peer_tags,
        "span_kinds_stats_computed": info.span_kinds,
        "obfuscation_version": if sql_is_usual { TRACERS_MAY_OBFUSCATE } else { AGENT_OBFUSCATES },
    });
    let filters = |[require, reject]: &[&[String]; 2]| {
        (!require.is_empty() || !reject.is_empty()).then(|| json!({"require": require, "reject": reject}))
    };
    let configured = [
        ("feature_flags", (!features.is_empty()).then(|| json!(features))),
        ("ignore_resources", (!ignore_resources.is_empty()).then(|| json!(ignore_resources))),
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

fn obfuscation_in_force(in_force: &InForce<'_>) -> Value {
    let obfuscation = &in_force.obfuscation;
    let two = |[enabled, more]: [bool; 2], name: &str| json!({"enabled": enabled, name: more});
    let keys = |(enabled, keep_keys): (bool, &[String])| json!({"enabled": enabled, "keep_keys": keep_keys});
    let rule = |[name, pattern, repl]: &[&str; 3]| json!({"name": name, "pattern": pattern, "repl": repl});
    let [remove_query_string, remove_path_digits] = obfuscation.http;
    let mut value = json!({
        "elastic_search": obfuscation.elasticsearch.0,
        "mongo": obfuscation.mongodb.0,
        "sql_exec_plan": false,
        "sql_exec_plan_normalize": false,
        "sql_obfuscation_mode": obfuscation.sql_mode,
        "http": {"remove_query_string": remove_query_string, "remove_path_digits": remove_path_digits},
        "remove_stack_traces": obfuscation.remove_stack_traces,
        "redis": two(obfuscation.redis, "remove_all_args"),
        "valkey": two(obfuscation.valkey, "remove_all_args"),
        "memcached": two(obfuscation.memcached, "keep_command"),
        "credit_cards": two(obfuscation.cards, "luhn"),
        "sql": {
            "replace_digits": obfuscation.sql_replace_digits,
            "keep_sql_alias": obfuscation.sql_keep_alias,
            "dollar_quoted_func": obfuscation.sql_dollar_quoted_func,
            "obfuscation_mode": obfuscation.sql_mode,
        },
        "mongodb": keys(obfuscation.mongodb),
        "elasticsearch": keys(obfuscation.elasticsearch),
        "opensearch": keys(obfuscation.opensearch),
    });
    if !in_force.replace.is_empty() {
        value["tag_replace_rules"] = in_force.replace.iter().map(rule).collect();
    }
    value
}
