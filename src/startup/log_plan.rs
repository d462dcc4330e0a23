//! From the configuration to what the logs pipeline gets.

use crate::config::AwsEnv;
use crate::config::Config;
use crate::encode::logs as encode_logs;
use crate::pipeline::logs;
use crate::pipeline::logs::Rules;
use crate::process::log_rules::Rule;
use crate::process::pattern::Pattern;
use crate::startup::memory::Memory;
use crate::startup::plan;
use crate::startup::plan::Place;

/// Inside Lambda two switches are about logs, and either of them turned on is enough; outside only one is.
pub fn ships_logs(config: &Config, place: Place) -> bool {
    match (place, config.logs_enabled, config.serverless_logs_enabled) {
        (_, None, None) => true,
        (Place::Edge, one, _) => one.unwrap_or(true),
        (Place::Lambda, one, other) => one.unwrap_or(false) || other.unwrap_or(false),
    }
}

/// Kinds of events that the Telemetry API is asked for. Those of the platform in any case: they tell when an invocation ends.
pub fn subscribed(config: &Config) -> Vec<&'static str> {
    let ships = ships_logs(config, Place::Lambda);
    let mut types = vec!["platform"];
    types.extend(["function", "extension"].into_iter().filter(|kind| ships && is_listed(config, kind)));
    types
}

/// The Telemetry API's words.
const TYPES: [&str; 3] = ["platform", "function", "extension"];

/// Whether lines of this kind are shipped; of a list without any known word, all are.
fn is_listed(config: &Config, kind: &str) -> bool {
    let words = &config.lambda_logs_type.0;
    let has = |kind: &str| words.iter().any(|word| word.eq_ignore_ascii_case(kind));
    has(kind) || !TYPES.into_iter().any(has)
}

/// The user's rules, and what could not be used of them.
pub fn rules(config: &Config, place: Place) -> (Rules, Vec<String>) {
    let (mut found, mut refused) = (Rules::default(), Vec::new());
    for rule in &config.logs_processing_rules.0 {
        let pattern = std::iter::once(Pattern::parse(&rule.pattern));
        let Some(pattern) = plan::usable(pattern, "logs_config.processing_rules", &mut refused).pop() else { continue };
        match rule.r#type.as_str() {
            "exclude_at_match" => found.lines.push(Rule::Exclude(pattern)),
            "include_at_match" => found.lines.push(Rule::Include(pattern)),
            "mask_sequences" => found.lines.push(Rule::Mask(pattern, rule.replace_placeholder.clone())),
            "multi_line" if place != Place::Lambda => found.begins = Some(pattern),
            other => refused.push(format!("logs_config.processing_rules: no rules of type `{other}` here; ignored")),
        }
    }
    (found, refused)
}

/// The logs pipeline, and what could not be used of what the user wrote.
#[inline(never)]
pub fn logs(config: &Config, place: Place, aws: &AwsEnv, hostname: &str, memory: Memory) -> (logs::Settings, Vec<String>) {
    let is_lambda = place == Place::Lambda;
    let (rules, mut refused) = rules(config, place);
    let unknown = config.lambda_logs_type.0.iter().filter(|word| !TYPES.iter().any(|kind| word.eq_ignore_ascii_case(kind)));
    refused.extend(unknown.map(|word| format!("logs_config.lambda_logs_type: there is no type `{word}`; ignored")));
    let settings = logs::Settings {
        enabled: ships_logs(config, place),
        with_platform: !is_lambda || is_listed(config, "platform"),
        rules,
        common: encode_logs::Common {
            hostname: hostname.to_owned(),
            service: config.service.as_deref().map(str::to_ascii_lowercase),
            source: if is_lambda { "lambda" } else { "mote" },
            tags: plan::common_tags(config).joined(),
            arn: String::new(),
        },
        batch_wait: config.logs_batch_wait,
        body_bytes_max: memory.body,
        compression_level: if config.logs_use_compression { config.compression_level } else { 0 },
        host_is_function: is_lambda,
        hold_orphans: is_lambda,
        concurrent: aws.initialization_type.as_deref() == Some("lambda-managed-instances") && is_lambda,
    };
    (settings, refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::RunArgs;

    fn config(variables: &[(&str, &str)]) -> Config {
        let env = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        config::load(&RunArgs { config: Some("/dev/null".into()), ..RunArgs::default() }, &env, true).config
    }

    #[test]
    fn only_the_kinds_that_are_shipped_are_asked_for_but_the_platforms() {
        let of = |variables: &[(&str, &str)]| subscribed(&config(variables)).join(" ");
        let types = |words| of(&[("DD_LOGS_CONFIG_LAMBDA_LOGS_TYPE", words)]);
        assert_eq!(of(&[]), "platform function extension");
        assert_eq!((types("Function strange"), types("platform")), ("platform function".to_owned(), "platform".to_owned()));
        assert_eq!(types("strange"), "platform function extension");
        for (logs, serverless, expected) in [
            ("false", "", "platform"),
            ("", "false", "platform"),
            ("true", "false", "platform function extension"),
            ("false", "true", "platform function extension"),
        ] {
            assert_eq!(of(&[("DD_LOGS_ENABLED", logs), ("DD_SERVERLESS_LOGS_ENABLED", serverless)]), expected);
        }
    }

    #[test]
    fn rules_that_cannot_be_used_are_named_and_left_out() {
        let rules = r#"[{"type": "exclude_at_match", "name": "a", "pattern": "("}, {"type": "mask_sequences", "name": "b", "pattern": "b"},
            {"type": "multi_line", "name": "c", "pattern": "c"}, {"type": "dance", "name": "d", "pattern": "d"}]"#;
        let config = config(&[("DD_LOGS_CONFIG_PROCESSING_RULES", rules), ("DD_LOGS_CONFIG_LAMBDA_LOGS_TYPE", "function odd")]);
        let of = |place| logs(&config, place, &AwsEnv::default(), "", Memory::of(24 << 20));
        let (settings, refused) = of(Place::Lambda);
        assert_eq!(
            (settings.rules.lines.len(), settings.rules.begins.is_some(), settings.with_platform, refused.len()),
            (1, false, false, 4)
        );
        let (settings, refused) = of(Place::Edge);
        assert_eq!(
            (settings.rules.lines.len(), settings.rules.begins.is_some(), settings.with_platform, refused.len()),
            (1, true, true, 3)
        );
    }
}
