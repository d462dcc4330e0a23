//! What `/info` tells tracers of the settings in force.

use crate::config::Config;
use crate::encode::info::InForce;
use crate::encode::info::Obfuscation;
use crate::process::traces::obfuscate::sql_modes::Mode;
use crate::startup::plan;

/// Borrowed from the configuration, which has nothing secret in these.
pub fn in_force(config: &Config) -> InForce<'_> {
    let features: Vec<&str> = plan::features(config).collect();
    let has = |names: &[&str]| features.iter().any(|feature| names.contains(feature));
    InForce {
        target_tps: config.target_tps.unwrap_or(0.0),
        ignore_resources: &config.ignore_resources.0,
        filter_tags: [&config.filter_tags_require.0, &config.filter_tags_reject.0],
        filter_tags_regex: [&config.filter_tags_regex_require.0, &config.filter_tags_regex_reject.0],
        replace: config.replace_tags.0.iter().map(|rule| [&rule.name, &rule.pattern, &rule.repl].map(String::as_str)).collect(),
        obfuscation: Obfuscation {
            sql_mode: match config.sql_obfuscation_mode.as_deref() {
                Some(mode) if Mode::named(mode).is_some() => mode,
                _ if has(&["sqllexer"]) => "obfuscate_only",
                _ => "",
            },
            sql_replace_digits: has(&["quantize_sql_tables", "replace_sql_digits"]),
            sql_keep_alias: has(&["keep_sql_alias"]),
            sql_dollar_quoted_func: has(&["dollar_quoted_func"]),
            redis: [config.redis_enabled, config.redis_remove_all_args],
            valkey: [config.valkey_enabled, config.valkey_remove_all_args],
            memcached: [config.memcached_enabled, config.memcached_keep_command],
            cards: [config.cards_enabled, config.cards_luhn],
            http: [config.http_remove_query_string, config.http_remove_paths_with_digits],
            mongodb: (config.mongodb_enabled, &config.mongodb_keep_values.0),
            elasticsearch: (config.elasticsearch_enabled, &config.elasticsearch_keep_values.0),
            opensearch: (config.opensearch_enabled, &config.opensearch_keep_values.0),
            remove_stack_traces: config.remove_stack_traces,
        },
        features,
    }
}
