//! The table of settings: one row each. Names are the Datadog Agent's where it has one; a variable's name is the path in the
//! file with `DD_` before it, in capitals, dots as underscores, and further names stand in brackets.

use crate::config::endpoints::KeyedUrls;
use crate::config::endpoints::LogIntakes;
use crate::config::lists::LogRules;
use crate::config::lists::MapperProfiles;
use crate::config::lists::Quoted;
use crate::config::lists::ReplaceTags;
use crate::config::lists::Styles;
use crate::config::lists::Words;
use crate::config::merge::Values;
use crate::config::network::Hosts;
use crate::config::network::ProxyUrl;
use crate::config::network::SyslogUri;
use crate::config::network::TlsVersion;
use crate::config::network::UdpPort;
use crate::config::secret::Ciphertext;
use crate::config::secret::Secret;
use crate::config::secret::SecretName;
use crate::config::values::BaseUrl;
use crate::config::values::Bytes;
use crate::config::values::Fsync;
use crate::config::values::HostOrUrl;
use crate::config::values::Share;
use crate::config::values::Site;
use crate::config::values::StorageMode;
use crate::config::values::Value;
use crate::model::flush_strategy::FlushStrategy;
use crate::model::tags::Tags;
use log::LevelFilter;
use std::path::PathBuf;
use std::time::Duration;

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    /// Path in the file, levels separated by dots.
    pub path: &'static str,
    /// Variables that set it beside the one that follows from the path.
    pub aliases: &'static [&'static str],
    /// Value where nothing is written, as text.
    pub default: &'static str,
    /// The same inside Lambda, where it differs.
    pub lambda_default: Option<&'static str>,
    /// Must not be shown.
    pub secret: bool,
}

impl Setting {
    /// Whether `name` is the variable that follows from the path.
    pub fn is_set_by(&self, name: &str) -> bool {
        follows(name, self.path)
    }
}

/// Whether a variable's name follows from a path in the file. Nothing is allocated: a start asks some thousand times.
pub fn follows(name: &str, path: &str) -> bool {
    let follows = |(name, path): (u8, u8)| name == if path == b'.' { b'_' } else { path.to_ascii_uppercase() };
    name.strip_prefix("DD_").is_some_and(|name| name.len() == path.len() && name.bytes().zip(path.bytes()).all(follows))
}

const fn at_most_one(texts: &[&'static str]) -> Option<&'static str> {
    match texts {
        [text, ..] => Some(text),
        [] => None,
    }
}

macro_rules! settings {
    ($( #[doc = $doc:literal] $field:ident: $kind:ty = $path:literal [$($alias:literal),*] $default:literal $(lambda $lambda:literal)? ;)*) => {
        /// Every setting, complete: no value is missing that a default could fill.
        #[derive(Clone, Debug)]
        pub struct Config {
            $( #[doc = $doc] pub $field: $kind, )*
        }

        /// The table, in the order in which `mote check` prints it.
        pub const SETTINGS: &[Setting] = &[
            $( Setting {
                path: $path,
                aliases: &[$($alias),*],
                default: $default,
                lambda_default: at_most_one(&[$($lambda)?]),
                secret: <$kind as Value>::SECRET,
            }, )*
        ];

        impl Config {
            /// Takes each setting's value from `values`, in the order of the table.
            pub(super) fn from_values(values: &mut Values) -> Config {
                Config { $( $field: values.take($path), )* }
            }
        }
    };
}

settings! {
    /// API key that data are sent with.
    api_key: Option<Secret> = "api_key" ["DATADOG_API_KEY"] "";
    /// File whose first line is the API key.
    api_key_file: Option<PathBuf> = "api_key_file" [] "";
    /// API key encrypted by AWS KMS, in base64.
    kms_api_key: Option<Ciphertext> = "kms_api_key" ["DD_API_KEY_KMS_ENCRYPTED"] "";
    /// Secret of AWS Secrets Manager that holds the API key, by ARN or name.
    api_key_secret_arn: Option<SecretName> = "api_key_secret_arn" [] "";
    /// Parameter of AWS Systems Manager that holds the API key, by ARN or name.
    api_key_ssm_arn: Option<SecretName> = "api_key_ssm_arn" [] "";
    /// Application key, for those requests that are passed on and want one.
    app_key: Option<Secret> = "app_key" [] "";
    /// Program that gives the values of settings written as ENC[handle].
    secret_backend_command: Option<PathBuf> = "secret_backend_command" [] "";
    /// Its arguments.
    secret_backend_arguments: Words = "secret_backend_arguments" [] "";
    /// How long it may take.
    secret_backend_timeout: Duration = "secret_backend_timeout" [] "30" lambda "2";
    /// How much it may write.
    secret_backend_output_max_size: Bytes = "secret_backend_output_max_size" [] "1048576";
    /// Its group may read and run it too.
    secret_backend_allow_group_exec: bool = "secret_backend_command_allow_group_exec_perm" [] "false";
    /// Take line breaks off the end of its values.
    secret_backend_remove_line_break: bool = "secret_backend_remove_trailing_line_break" [] "false";
    /// How often a key that comes from a file, a program or AWS is asked for again; 0 for only when it is refused.
    secret_refresh_interval: Duration = "secret_refresh_interval" ["DD_API_KEY_SECRET_RELOAD_INTERVAL"] "0";
    /// Write a core file when the agent crashes, and let debuggers look at it; either shows the key.
    core_dump: bool = "core_dump" ["DD_GO_CORE_DUMP"] "false";
    /// Proxy for addresses that begin with http:.
    proxy_http: Option<ProxyUrl> = "proxy.http" ["HTTP_PROXY", "http_proxy"] "";
    /// Proxy for addresses that begin with https:.
    proxy_https: Option<ProxyUrl> = "proxy.https" ["HTTPS_PROXY", "https_proxy"] "";
    /// Hosts, domains and networks that are reached without a proxy; * for all.
    proxy_no_proxy: Hosts = "proxy.no_proxy" ["NO_PROXY", "no_proxy"] "";
    /// A name in it stands for the hosts below it as well, and networks count; otherwise only the very host is meant.
    no_proxy_nonexact_match: bool = "no_proxy_nonexact_match" [] "true";
    /// File with certificates that are trusted besides those that are built in.
    tls_cert_file: Option<PathBuf> = "tls_cert_file" [] "";
    /// The same, under the name that other programs know.
    ssl_cert_file: Option<PathBuf> = "ssl_cert_file" ["SSL_CERT_FILE"] "";
    /// Take any certificate. Whoever stands between may then read the key and the data.
    skip_ssl_validation: bool = "skip_ssl_validation" [] "false";
    /// Oldest TLS that is spoken: tlsv1.2 or tlsv1.3.
    min_tls_version: TlsVersion = "min_tls_version" [] "tlsv1.2";
    /// Datadog site that takes the data.
    site: Site = "site" [] "datadoghq.com";
    /// Intake for metrics in place of the site's.
    dd_url: Option<BaseUrl> = "dd_url" ["DD_URL"] "";
    /// Further endpoints that get the same metrics: addresses, each with a list of keys.
    additional_endpoints: KeyedUrls = "additional_endpoints" [] "{}";
    /// Environment that data belong to, tag `env`.
    env: Option<String> = "env" [] "";
    /// Service that data belong to, tag `service`.
    service: Option<String> = "service" [] "";
    /// Version of the application, tag `version`.
    version: Option<String> = "version" [] "";
    /// Tags added to everything.
    tags: Tags = "tags" [] "";
    /// Further tags, added after `tags`.
    extra_tags: Tags = "extra_tags" [] "";
    /// Host name in place of the system's; unused in Lambda.
    hostname: Option<String> = "hostname" [] "";
    /// Unix socket on which `mote` commands ask a running agent; by default `mote.sock` in `run_path`.
    control_socket: Option<PathBuf> = "control_socket" [] "";
    /// Which of the agent's own lines are written: trace, debug, info, warn, error, off.
    log_level: LevelFilter = "log_level" [] "info" lambda "warn";
    /// Write the agent's own lines as JSON.
    log_format_json: bool = "log_format_json" [] "false";
    /// Write them to standard error; inside Lambda they always go to standard output.
    log_to_console: bool = "log_to_console" [] "true";
    /// Write them to this file as well.
    log_file: Option<PathBuf> = "log_file" [] "";
    /// How long it may become before it moves aside.
    log_file_max_size: Bytes = "log_file_max_size" [] "10Mb";
    /// How many older ones stay beside it.
    log_file_max_rolls: u32 = "log_file_max_rolls" [] "1";
    /// Do without the file all the same.
    disable_file_logging: bool = "disable_file_logging" [] "false";
    /// Send them to the system's log.
    log_to_syslog: bool = "log_to_syslog" [] "false";
    /// Where that is: unixgram:///path, unix:///path, udp://host:port or tcp://host:port; not set: where systems usually listen.
    syslog_uri: Option<SyslogUri> = "syslog_uri" [] "";
    /// In the form of RFC 5424.
    syslog_rfc: bool = "syslog_rfc" [] "false";
    /// Folder for what must survive a restart.
    run_path: PathBuf = "run_path" [] "/var/lib/mote" lambda "/tmp";
    /// Memory for data on their way; every other limit in bytes follows from it.
    max_memory: Bytes = "max_memory" [] "32MiB" lambda "24MiB";
    /// Address that listeners bind to.
    bind_host: String = "bind_host" [] "127.0.0.1";
    /// Port of the communication server, which client libraries and Lambda's telemetry call; 0 for any free one.
    communication_port: u16 = "communication_port" [] "8124";
    /// Receive traces.
    apm_enabled: bool = "apm_config.enabled" ["DD_APM_ENABLED"] "true";
    /// Port of the trace agent; 0 for any free one.
    receiver_port: u16 = "apm_config.receiver_port" ["DD_APM_RECEIVER_PORT"] "8126";
    /// Unix socket of the trace agent; not set: in /var/run/datadog if that folder is there; `off`: none.
    receiver_socket: Option<PathBuf> = "apm_config.receiver_socket" ["DD_APM_RECEIVER_SOCKET"] "" lambda "off";
    /// Let other hosts send traces.
    apm_non_local_traffic: bool = "apm_config.apm_non_local_traffic" ["DD_APM_NON_LOCAL_TRAFFIC"] "false";
    /// How long a request's header or body may take.
    receiver_timeout: Duration = "apm_config.receiver_timeout" ["DD_APM_RECEIVER_TIMEOUT"] "5";
    /// Intake for traces in place of the site's.
    apm_dd_url: Option<BaseUrl> = "apm_config.apm_dd_url" ["DD_APM_DD_URL"] "";
    /// Further endpoints that get the same traces and statistics: addresses, each with a list of keys.
    apm_additional_endpoints: KeyedUrls = "apm_config.additional_endpoints" ["DD_APM_ADDITIONAL_ENDPOINTS"] "{}";
    /// Intake for profiles in place of the site's, with or without its path.
    profiling_dd_url: Option<BaseUrl> = "apm_config.profiling_dd_url" ["DD_APM_PROFILING_DD_URL"] "";
    /// Pass on what tracers tell of themselves.
    telemetry_enabled: bool = "apm_config.telemetry.enabled" ["DD_APM_TELEMETRY_ENABLED"] "true";
    /// Intake for that in place of the site's.
    telemetry_dd_url: Option<BaseUrl> = "apm_config.telemetry.dd_url" ["DD_APM_TELEMETRY_DD_URL"] "";
    /// Intake for snapshots of the debugger that come as logs, in place of the site's.
    debugger_dd_url: Option<BaseUrl> = "apm_config.debugger_dd_url" ["DD_APM_DEBUGGER_DD_URL"] "";
    /// Intake for other snapshots and the debugger's state, in place of the site's.
    debugger_diagnostics_dd_url: Option<BaseUrl> =
        "apm_config.debugger_diagnostics_dd_url" ["DD_APM_DEBUGGER_DIAGNOSTICS_DD_URL"] "";
    /// Intake for the debugger's symbols in place of the site's.
    symdb_dd_url: Option<BaseUrl> = "apm_config.symdb_dd_url" ["DD_APM_SYMDB_DD_URL"] "";
    /// Pass on requests for the event platform.
    evp_enabled: bool = "evp_proxy_config.enabled" [] "true";
    /// Host in place of the site, below which the event platform's hosts are; or, with a scheme, one address for all of it.
    evp_dd_url: Option<HostOrUrl> = "evp_proxy_config.dd_url" [] "";
    /// Application key for requests that want one, in place of `app_key`.
    evp_app_key: Option<Secret> = "evp_proxy_config.app_key" [] "";
    /// Largest request for the event platform.
    evp_max_payload_size: Bytes = "evp_proxy_config.max_payload_size" [] "10MiB";
    /// Longest time for a request to the event platform.
    evp_receiver_timeout: Duration = "evp_proxy_config.receiver_timeout" [] "30";
    /// Pass on OpenLineage events.
    lineage_enabled: bool = "ol_proxy_config.enabled" [] "true";
    /// Host in place of the site for OpenLineage events; or, with a scheme, their intake.
    lineage_dd_url: Option<HostOrUrl> = "ol_proxy_config.dd_url" [] "";
    /// Version of the API that OpenLineage events are sent with; below 2 none is named.
    lineage_api_version: u32 = "ol_proxy_config.api_version" [] "2";
    /// Environment of spans that name none, in place of `env`.
    apm_env: Option<String> = "apm_config.env" ["DD_APM_ENV"] "";
    /// Traces whose root's resource matches one of these patterns do not go on.
    ignore_resources: Quoted = "apm_config.ignore_resources" ["DD_APM_IGNORE_RESOURCES", "DD_IGNORE_RESOURCE"] "";
    /// Traces whose root has one of these tags, `key` or `key:value`, do not go on.
    filter_tags_reject: Words = "apm_config.filter_tags.reject" ["DD_APM_FILTER_TAGS_REJECT"] "";
    /// Traces whose root has not all of these tags do not go on.
    filter_tags_require: Words = "apm_config.filter_tags.require" ["DD_APM_FILTER_TAGS_REQUIRE"] "";
    /// The same as reject, with patterns as values.
    filter_tags_regex_reject: Words = "apm_config.filter_tags_regex.reject" ["DD_APM_FILTER_TAGS_REGEX_REJECT"] "";
    /// The same as require, with patterns as values.
    filter_tags_regex_require: Words = "apm_config.filter_tags_regex.require" ["DD_APM_FILTER_TAGS_REGEX_REQUIRE"] "";
    /// Traces a second that tracers are told to keep in all; not set: everything is kept.
    target_tps: Option<f64> = "apm_config.target_traces_per_second" ["DD_APM_TARGET_TPS", "DD_APM_MAX_TPS"] "";
    /// Traces with errors a second that are kept of those that sampling would drop.
    error_tps: f64 = "apm_config.errors_per_second" ["DD_APM_ERROR_TPS"] "10";
    /// Keep traces, of those that sampling would drop, whose like was not seen for some minutes.
    rare_sampler: bool = "apm_config.enable_rare_sampler" ["DD_APM_ENABLE_RARE_SAMPLER"] "false";
    /// Keep a fixed share of all traces, chosen by their ids.
    probabilistic_enabled: bool =
        "apm_config.probabilistic_sampler.enabled" ["DD_APM_PROBABILISTIC_SAMPLER_ENABLED"] "false";
    /// That share, from 0 to 100.
    probabilistic_percentage: f64 =
        "apm_config.probabilistic_sampler.sampling_percentage" ["DD_APM_PROBABILISTIC_SAMPLER_SAMPLING_PERCENTAGE"] "0";
    /// Agents and collectors with the same seed choose the same traces.
    probabilistic_seed: u32 =
        "apm_config.probabilistic_sampler.hash_seed" ["DD_APM_PROBABILISTIC_SAMPLER_HASH_SEED"] "0";
    /// What is written anew in tags and resources: rules with name, pattern and repl.
    replace_tags: ReplaceTags = "apm_config.replace_tags" ["DD_APM_REPLACE_TAGS"] "";
    /// The Agent's features that are on; known are those about SQL, such as table_names or quantize_sql_tables.
    apm_features: Words = "apm_config.features" ["DD_APM_FEATURES"] "";
    /// Another engine for SQL: obfuscate_only, normalize_only, obfuscate_and_normalize.
    sql_obfuscation_mode: Option<String> = "apm_config.sql_obfuscation_mode" ["DD_APM_SQL_OBFUSCATION_MODE"] "";
    /// Hide what looks like the number of a payment card.
    cards_enabled: bool = "apm_config.obfuscation.credit_cards.enabled" ["DD_APM_OBFUSCATION_CREDIT_CARDS_ENABLED"] "true";
    /// Only if its check digit is right.
    cards_luhn: bool = "apm_config.obfuscation.credit_cards.luhn" ["DD_APM_OBFUSCATION_CREDIT_CARDS_LUHN"] "false";
    /// Tags that keep such numbers.
    cards_keep_values: Words =
        "apm_config.obfuscation.credit_cards.keep_values" ["DD_APM_OBFUSCATION_CREDIT_CARDS_KEEP_VALUES"] "";
    /// Hide the values of raw Redis commands.
    redis_enabled: bool = "apm_config.obfuscation.redis.enabled" ["DD_APM_OBFUSCATION_REDIS_ENABLED"] "true";
    /// And all other arguments.
    redis_remove_all_args: bool =
        "apm_config.obfuscation.redis.remove_all_args" ["DD_APM_OBFUSCATION_REDIS_REMOVE_ALL_ARGS"] "false";
    /// Hide the values of raw Valkey commands.
    valkey_enabled: bool = "apm_config.obfuscation.valkey.enabled" ["DD_APM_OBFUSCATION_VALKEY_ENABLED"] "true";
    /// And all other arguments.
    valkey_remove_all_args: bool =
        "apm_config.obfuscation.valkey.remove_all_args" ["DD_APM_OBFUSCATION_VALKEY_REMOVE_ALL_ARGS"] "false";
    /// Hide Memcached commands.
    memcached_enabled: bool = "apm_config.obfuscation.memcached.enabled" ["DD_APM_OBFUSCATION_MEMCACHED_ENABLED"] "true";
    /// Only the values of Memcached commands.
    memcached_keep_command: bool =
        "apm_config.obfuscation.memcached.keep_command" ["DD_APM_OBFUSCATION_MEMCACHED_KEEP_COMMAND"] "false";
    /// Hide the query in URLs.
    http_remove_query_string: bool =
        "apm_config.obfuscation.http.remove_query_string" ["DD_APM_OBFUSCATION_HTTP_REMOVE_QUERY_STRING"] "false";
    /// Hide parts of URLs' paths that have a digit.
    http_remove_paths_with_digits: bool =
        "apm_config.obfuscation.http.remove_paths_with_digits" ["DD_APM_OBFUSCATION_HTTP_REMOVE_PATHS_WITH_DIGITS"] "false";
    /// Hide stack traces.
    remove_stack_traces: bool = "apm_config.obfuscation.remove_stack_traces" ["DD_APM_OBFUSCATION_REMOVE_STACK_TRACES"] "false";
    /// Hide values in what is asked of MongoDB.
    mongodb_enabled: bool = "apm_config.obfuscation.mongodb.enabled" ["DD_APM_OBFUSCATION_MONGODB_ENABLED"] "true";
    /// But for those of these keys.
    mongodb_keep_values: Words = "apm_config.obfuscation.mongodb.keep_values" ["DD_APM_OBFUSCATION_MONGODB_KEEP_VALUES"] "";
    /// Keys whose values are read as SQL.
    mongodb_sql_values: Words =
        "apm_config.obfuscation.mongodb.obfuscate_sql_values" ["DD_APM_OBFUSCATION_MONGODB_OBFUSCATE_SQL_VALUES"] "";
    /// Hide values in what is asked of Elasticsearch.
    elasticsearch_enabled: bool =
        "apm_config.obfuscation.elasticsearch.enabled" ["DD_APM_OBFUSCATION_ELASTICSEARCH_ENABLED"] "true";
    /// But for those of these keys.
    elasticsearch_keep_values: Words =
        "apm_config.obfuscation.elasticsearch.keep_values" ["DD_APM_OBFUSCATION_ELASTICSEARCH_KEEP_VALUES"] "";
    /// Keys whose values are read as SQL.
    elasticsearch_sql_values: Words =
        "apm_config.obfuscation.elasticsearch.obfuscate_sql_values" ["DD_APM_OBFUSCATION_ELASTICSEARCH_OBFUSCATE_SQL_VALUES"] "";
    /// Hide values in what is asked of OpenSearch.
    opensearch_enabled: bool = "apm_config.obfuscation.opensearch.enabled" ["DD_APM_OBFUSCATION_OPENSEARCH_ENABLED"] "true";
    /// But for those of these keys.
    opensearch_keep_values: Words =
        "apm_config.obfuscation.opensearch.keep_values" ["DD_APM_OBFUSCATION_OPENSEARCH_KEEP_VALUES"] "";
    /// Keys whose values are read as SQL.
    opensearch_sql_values: Words =
        "apm_config.obfuscation.opensearch.obfuscate_sql_values" ["DD_APM_OBFUSCATION_OPENSEARCH_OBFUSCATE_SQL_VALUES"] "";
    /// Make spans for the services that handed an event on, unless `trace_managed_services` is off.
    trace_enabled: bool = "trace_enabled" [] "true";
    /// The same.
    trace_managed_services: bool = "trace_managed_services" [] "true";
    /// Show what goes into a function and comes out of it as tags of its span.
    capture_payload: bool = "capture_lambda_payload" [] "false";
    /// Down to how many levels; what is below is one tag.
    capture_payload_depth: u32 = "capture_lambda_payload_max_depth" [] "10";
    /// How the callers of a function write trace contexts: datadog, tracecontext, b3, b3multi, baggage, none.
    propagation_style: Styles = "trace_propagation_style" [] "datadog,tracecontext";
    /// The same, before the other.
    propagation_style_extract: Option<Styles> = "trace_propagation_style_extract" [] "";
    /// Look no further than the first of them that is found.
    propagation_extract_first: bool = "trace_propagation_extract_first" [] "false";
    /// Take baggage (`ot-baggage-*`) into the function's span.
    propagation_baggage: bool = "trace_propagation_http_baggage_enabled" [] "false";
    /// Services of spans that the agent makes for AWS's own, by the instance's name or `lambda_sqs` and the like.
    service_mapping: Tags = "service_mapping" [] "";
    /// Call the services of spans that the agent makes for AWS's own as AWS calls the instance, not by their kind.
    aws_services: bool = "trace_aws_service_representation_enabled" [] "true";
    /// Call them all by the function's service.
    one_service: bool = "trace_remove_integration_service_names_enabled" [] "false";
    /// Compute statistics of spans inside Lambda; otherwise the backend is asked to. Outside Lambda they are always computed.
    compute_stats: bool = "lambda_extension_compute_stats" [] "false";
    /// Tags beside the usual ones that say whom a span talked to, for statistics.
    peer_tags: Words = "apm_config.peer_tags" ["DD_APM_PEER_TAGS"] "";
    /// Group statistics by whom a span talked to.
    peer_tags_aggregation: bool = "apm_config.peer_tags_aggregation" ["DD_APM_PEER_TAGS_AGGREGATION"] "true";
    /// Compute statistics of spans by their kind, besides top-level and measured ones.
    stats_by_span_kind: bool = "apm_config.compute_stats_by_span_kind" ["DD_APM_COMPUTE_STATS_BY_SPAN_KIND"] "true";
    /// Receive metrics, events and service checks as DogStatsD.
    use_dogstatsd: bool = "use_dogstatsd" [] "true";
    /// UDP port of DogStatsD; 0 for none, `__random__` for any free one.
    dogstatsd_port: UdpPort = "dogstatsd_port" [] "8125";
    /// Let other hosts send to it.
    dogstatsd_non_local_traffic: bool = "dogstatsd_non_local_traffic" [] "false";
    /// Unix socket of datagrams for DogStatsD.
    dogstatsd_socket: Option<PathBuf> = "dogstatsd_socket" [] "";
    /// Unix socket of streams for DogStatsD.
    dogstatsd_stream_socket: Option<PathBuf> = "dogstatsd_stream_socket" [] "";
    /// Longest datagram of DogStatsD; what is longer is cut. Clients that count characters send more than the 8192 bytes of the Agent.
    dogstatsd_buffer_size: Bytes = "dogstatsd_buffer_size" [] "65535";
    /// Bytes that the system may hold for each of these sockets, as far as it allows; 0 for an eighth of `max_memory`.
    dogstatsd_so_rcvbuf: Bytes = "dogstatsd_so_rcvbuf" [] "0";
    /// Where a last line that does not end with a line feed is dropped: udp, uds.
    dogstatsd_eol_required: Words = "dogstatsd_eol_required" [] "";
    /// Send metrics of the machine, `system.*`, every 15 s; not while events are read.
    host_metrics: bool = "host_metrics" [] "true" lambda "false";
    /// Send the agent's own health as metrics `mote.*`.
    health_metrics: bool = "health_metrics" [] "true" lambda "false";
    /// How often.
    health_metrics_period: Duration = "health_metrics_period" [] "60";
    /// Tags added to what comes by DogStatsD.
    dogstatsd_tags: Tags = "dogstatsd_tags" [] "";
    /// Put before the names of metrics.
    statsd_metric_namespace: Option<String> = "statsd_metric_namespace" [] "";
    /// Metrics whose names begin with one of these stay without it.
    statsd_metric_namespace_blacklist: Words = "statsd_metric_namespace_blacklist" ["DD_STATSD_METRIC_NAMESPACE_BLOCKLIST"]
        "mote. datadog.agent datadog.dogstatsd datadog.process datadog.trace_agent datadog.tracer activemq activemq_58 airflow cassandra confluent hazelcast hive ignite jboss jvm kafka presto sidekiq solr tomcat runtime";
    /// Metrics that do not go on.
    statsd_metric_blocklist: Words = "statsd_metric_blocklist" ["DD_METRIC_FILTERLIST"] "";
    /// Nor do those whose names begin like that.
    statsd_metric_blocklist_match_prefix: bool =
        "statsd_metric_blocklist_match_prefix" ["DD_METRIC_FILTERLIST_MATCH_PREFIX"] "false";
    /// What becomes of a histogram: max, min, median, avg, sum, count.
    histogram_aggregates: Words = "histogram_aggregates" [] "max median avg count";
    /// And which percentiles, from 0 to 1.
    histogram_percentiles: Words = "histogram_percentiles" [] "0.95";
    /// How parts of a metric's name become tags: profiles with name, prefix and mappings of match, match_type, name and tags.
    dogstatsd_mapper_profiles: MapperProfiles = "dogstatsd_mapper_profiles" [] "";
    /// After so long without a point a context is forgotten.
    dogstatsd_context_expiry: Duration = "dogstatsd_context_expiry_seconds" [] "20";
    /// Contexts, that is names with their tags, at one time; 0 for as many as memory allows. Points of further ones are dropped.
    dogstatsd_context_limit: u32 = "dogstatsd_context_limiter.limit" [] "0";
    /// Send points with a time of their own as they are; otherwise that time is ignored.
    dogstatsd_no_aggregation_pipeline: bool = "dogstatsd_no_aggregation_pipeline" [] "true";
    /// Ship logs; inside Lambda beside `serverless_logs_enabled`.
    logs_enabled: Option<bool> = "logs_enabled" [] "";
    /// Ship logs from Lambda; either switch turned on is enough.
    serverless_logs_enabled: Option<bool> = "serverless_logs_enabled" [] "";
    /// Intake for logs in place of the site's.
    logs_dd_url: Option<BaseUrl> = "logs_config.logs_dd_url" [] "";
    /// Further endpoints that get the same logs: a list with api_key, Host, Port, use_ssl and is_reliable.
    logs_additional_endpoints: LogIntakes = "logs_config.additional_endpoints" [] "[]";
    /// Longest wait before a part-filled body of logs leaves.
    logs_batch_wait: Duration = "logs_config.batch_wait" [] "5";
    /// Which lines go on and what is hidden in them: rules with type, name, pattern and replace_placeholder.
    logs_processing_rules: LogRules = "logs_config.processing_rules" [] "";
    /// Kinds of lines that are shipped from Lambda: platform, function, extension.
    lambda_logs_type: Words = "logs_config.lambda_logs_type" [] "platform function extension";
    /// Compress bodies of logs.
    logs_use_compression: bool = "logs_config.use_compression" [] "true";
    /// Compression of all bodies, from 0 (none) to 9.
    compression_level: u32 = "compression_level" [] "1";
    /// Longest time for one request to an intake.
    forwarder_timeout: Duration = "forwarder_timeout" [] "20";
    /// First pause after a failed request; it doubles with each further failure.
    backoff_base: Duration = "forwarder_backoff_base" [] "2" lambda "0.5";
    /// Longest pause after failed requests.
    backoff_max: Duration = "forwarder_backoff_max" [] "64";
    /// Folder of the spool, for what cannot be delivered now; `spool` in `run_path` when not set.
    storage_path: Option<PathBuf> = "forwarder_storage_path" [] "";
    /// Most that the spool takes on disk; 0 for no spool.
    storage_bytes_max: Bytes = "forwarder_storage_max_size_in_bytes" [] "64MiB" lambda "32MiB";
    /// Share of the file system, filled by whomever, up to which the spool grows.
    storage_disk_ratio: Share = "forwarder_storage_max_disk_ratio" [] "0.8";
    /// Days after which what is in the spool is dropped.
    storage_days_max: u32 = "forwarder_outdated_file_in_days" [] "10";
    /// When the spool's files are made sure to be on the medium: never, rotate, always.
    storage_fsync: Fsync = "forwarder_storage_fsync" [] "rotate";
    /// When data are written to the spool: on_failure, when they cannot be delivered, or journal, also each request before it is answered.
    storage_mode: StorageMode = "forwarder_storage_mode" [] "on_failure";
    /// Age from which the intake throws metrics and checks away, so that they are not sent.
    age_max_metrics: Duration = "forwarder_age_max.metrics" [] "1h";
    /// The same for logs.
    age_max_logs: Duration = "forwarder_age_max.logs" [] "18h";
    /// The same for events.
    age_max_events: Duration = "forwarder_age_max.events" [] "18h";
    /// The same for traces and their statistics, of which no limit is known; nothing for none.
    age_max_traces: Option<Duration> = "forwarder_age_max.traces" [] "";
    /// When data leave inside Lambda: end, end,N, periodically,N, continuously,N (N in milliseconds) or default.
    flush_strategy: FlushStrategy = "serverless_flush_strategy" [] "default";
    /// Longest wait for delivery at the end of an invocation; its deadline, if earlier, counts.
    flush_timeout: Duration = "flush_timeout" [] "5";
    /// Time for the last delivery when told to stop.
    shutdown_timeout: Duration = "shutdown_timeout" [] "5" lambda "1.5";
    /// Make metrics of invocations inside Lambda, `aws.lambda.enhanced.*`.
    enhanced_metrics: bool = "enhanced_metrics" [] "true";
    /// Also of processors, network, temporary files, descriptors and threads.
    proc_enhanced_metrics: bool = "lambda_proc_enhanced_metrics" [] "true";
    /// Keys of the function's tags, with commas between them, that metrics by DogStatsD do not get.
    customer_metrics_exclude_tags: Option<String> = "lambda_customer_metrics_exclude_tags" [] "";
    /// Inside Lambda: no telemetry subscription, and `/lambda/flush` ends an invocation.
    local_test: bool = "local_test" [] "false";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::merge;
    use crate::config::values::Raw;

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for lambda in [false, true] {
            let mut values = Values::new(lambda);
            Config::from_values(&mut values);
            assert_eq!(values.into_history().1, Vec::<String>::new());
        }
    }

    #[test]
    fn variables_follow_from_paths() {
        assert!(follows("DD_LOGS_CONFIG_LOGS_DD_URL", "logs_config.logs_dd_url"));
        assert!(follows("DD_COMMUNICATION_PORT", "communication_port"));
        for name in [
            "DD_logs_config_logs_dd_url",
            "LOGS_CONFIG_LOGS_DD_URL",
            "DD_LOGS_CONFIG_LOGS_DD_URLS",
            "DD_LOGS_CONFIG.LOGS_DD_URL",
        ] {
            assert!(!follows(name, "logs_config.logs_dd_url"), "{name}");
        }
    }

    #[test]
    fn no_variable_sets_two_settings() {
        let name = |setting: &Setting| format!("DD_{}", setting.path.to_ascii_uppercase().replace('.', "_"));
        let mut names: Vec<String> = SETTINGS.iter().map(name).collect();
        names.extend(SETTINGS.iter().flat_map(|setting| setting.aliases).map(|alias| (*alias).to_owned()));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_bad_value_is_a_warning_and_the_default() {
        let mut values = Values::new(false);
        values.set(
            "apm_config.receiver_port",
            Raw::Text("many".to_owned()),
            merge::Origin::Variable("DD_APM_RECEIVER_PORT".into()),
        );
        let config = Config::from_values(&mut values);
        assert_eq!(config.receiver_port, 8126);
        let expected = "DD_APM_RECEIVER_PORT: `many` is not a port from 0 to 65535; using 8126";
        assert_eq!(values.into_history().1, [expected]);
    }
}
