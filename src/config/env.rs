//! The environment, a map that `main` makes once: which variables set which setting, and what AWS says there.

use crate::config::handles::value_of;
use crate::config::secret::Secret;
use crate::config::settings::SETTINGS;
use crate::config::settings::follows;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The process's environment.
pub type Env = BTreeMap<String, String>;

/// Setting, variable and text for each setting that a variable sets. The name that follows from the path beats its aliases, and what is
/// kept for a variable beats what it holds.
pub fn settings<'a>(env: &'a Env, kept: &'a [(String, Secret)]) -> impl Iterator<Item = (&'static str, String, String)> + 'a {
    let written = kept.iter().map(|(name, _)| name).chain(env.keys()).map(String::as_str);
    let written: Vec<&str> = written.filter(|name| name.starts_with("DD_")).collect();
    SETTINGS.iter().filter_map(move |row| {
        let own = written.iter().copied().find(|name| row.is_set_by(name));
        own.into_iter().chain(row.aliases.iter().copied()).find_map(|name| {
            let text = value_of(name, kept).map(Secret::expose).or(env.get(name).map(String::as_str));
            let text = text.filter(|text| !text.trim().is_empty())?.to_owned();
            Some((row.path, name.to_owned(), text))
        })
    })
}

/// Who keeps a setting's value in place of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// AWS KMS decrypts it: the variable's name ends in `_KMS_ENCRYPTED`.
    Kms,
    /// AWS Secrets Manager: the variable's name ends in `_SECRET_ARN`.
    SecretsManager,
}

/// Variables that say where the value of another is kept: theirs, the other's name, and who keeps it. Only those of settings; not those
/// of the API key, which has sources of its own.
pub fn kept_elsewhere(env: &Env) -> Vec<(String, String, Keeper)> {
    let suffixes = [("_KMS_ENCRYPTED", Keeper::Kms), ("_SECRET_ARN", Keeper::SecretsManager)];
    let mut found = Vec::new();
    for name in env.iter().filter(|(name, text)| name.starts_with("DD_") && !text.trim().is_empty()).map(|(name, _)| name) {
        for (suffix, keeper) in suffixes {
            let target = name.strip_suffix(suffix).filter(|target| *target != "DD_API_KEY");
            if let Some(target) = target.filter(|target| names_a_setting(target)) {
                found.push((name.clone(), target.to_owned(), keeper));
            }
        }
    }
    found
}

/// Whether some setting is set by the variable `name`.
fn names_a_setting(name: &str) -> bool {
    SETTINGS.iter().any(|row| row.is_set_by(name) || row.aliases.contains(&name))
}

/// Whether what the variable `name` holds may be shown: it sets a setting, and no secret one.
pub fn may_be_shown(name: &str) -> bool {
    SETTINGS.iter().any(|row| !row.secret && (row.is_set_by(name) || row.aliases.contains(&name)))
}

/// Variables that ask for parts that are not here, and what these are.
const MISSING_PARTS: [(&str, &str); 11] = [
    ("DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT", "OTLP"),
    ("DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_GRPC_ENDPOINT", "OTLP"),
    ("DD_SERVERLESS_APPSEC_ENABLED", "AppSec"),
    ("DD_EXPERIMENTAL_ENABLE_PROXY", "proxy of the Lambda runtime"),
    ("AWS_LWA_LAMBDA_RUNTIME_API_PROXY", "proxy of the Lambda runtime"),
    ("DD_REMOTE_CONFIGURATION_ENABLED", "remote configuration"),
    ("DD_LAMBDA_FIPS_MODE", "validated cryptography (FIPS)"),
    ("DD_FIPS_ENABLED", "validated cryptography (FIPS)"),
    ("DD_ORG_UUID", "delegated authentication"),
    ("DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_ENABLED", "way to Observability Pipelines but logs_config.logs_dd_url"),
    ("DD_LAMBDA_DURABLE_FUNCTION_LOG_BUFFER_SIZE", "tags of durable executions on logs"),
];

/// In the file this asks for OTLP, whatever stands below it or if nothing does.
const OTLP_IN_FILE: &str = "otlp_config.receiver.protocols";

/// A warning for each part that is asked for and is not here: by a variable, or in the file by one of these paths that no setting has,
/// with what stands there.
pub fn missing_parts(env: &Env, in_file: &[(String, String)]) -> Vec<String> {
    let is_off = |text: &str| matches!(text.trim().to_ascii_lowercase().as_str(), "" | "0" | "f" | "false");
    let variables = MISSING_PARTS.iter().filter(|(name, _)| env.get(*name).is_some_and(|text| !is_off(text)));
    let paths = in_file.iter().filter_map(|(path, text)| {
        let part = MISSING_PARTS.iter().find(|(name, _)| follows(name, path)).filter(|_| !is_off(text));
        let otlp = MISSING_PARTS.first().filter(|_| path.starts_with(OTLP_IN_FILE));
        otlp.or(part).map(|(_, part)| (path.as_str(), *part))
    });
    let mut told: Vec<&str> = Vec::new();
    let mut warnings = Vec::new();
    for (name, part) in variables.copied().chain(paths) {
        if !told.contains(&part) {
            told.push(part);
            warnings.push(format!("{name}: this version has no {part}; ignored"));
        }
    }
    warnings
}

/// What AWS tells a process about itself.
#[derive(Clone, Debug, Default)]
pub struct AwsEnv {
    /// `host:port` of the Lambda APIs; set means that this is a Lambda sandbox.
    pub runtime_api: Option<String>,
    /// Region the process runs in.
    pub region: Option<String>,
    /// Name of the function.
    pub function_name: Option<String>,
    /// Version of the function, `$LATEST` if unpublished.
    pub function_version: Option<String>,
    /// Memory of the function in MB.
    pub function_memory: Option<String>,
    /// `on-demand`, `provisioned-concurrency`, `snap-start`, `lambda-managed-instances`.
    pub initialization_type: Option<String>,
    /// Credentials: public half.
    pub access_key_id: Option<String>,
    /// Credentials: secret half.
    pub secret_access_key: Option<Secret>,
    /// Credentials: token of a session.
    pub session_token: Option<Secret>,
    /// Where temporary credentials are handed out, if not in the environment.
    pub container_credentials: Option<String>,
    /// What must be shown there.
    pub container_token: Option<Secret>,
    /// File that holds it, read each time.
    pub container_token_file: Option<PathBuf>,
    /// Addresses in place of AWS's: of KMS, Secrets Manager and Systems Manager.
    pub endpoints: [Option<String>; 3],
    /// AWS's addresses are those with validated cryptography.
    pub fips: bool,
}

impl AwsEnv {
    /// Takes it from the environment.
    pub fn of(env: &Env) -> AwsEnv {
        let get = |name: &str| env.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let ignored = get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let endpoint = |service: &str| {
            let own = get(&format!("AWS_ENDPOINT_URL_{service}"));
            own.or_else(|| get("AWS_ENDPOINT_URL")).filter(|_| !ignored).map(|url| without_user(&url))
        };
        let relative = get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("http://169.254.170.2{path}"));
        AwsEnv {
            runtime_api: get("AWS_LAMBDA_RUNTIME_API"),
            region: get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")),
            function_name: get("AWS_LAMBDA_FUNCTION_NAME"),
            function_version: get("AWS_LAMBDA_FUNCTION_VERSION"),
            function_memory: get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
            initialization_type: get("AWS_LAMBDA_INITIALIZATION_TYPE"),
            access_key_id: get("AWS_ACCESS_KEY_ID"),
            secret_access_key: get("AWS_SECRET_ACCESS_KEY").map(Secret::new),
            session_token: get("AWS_SESSION_TOKEN").map(Secret::new),
            container_credentials: relative.or_else(|| get("AWS_CONTAINER_CREDENTIALS_FULL_URI")),
            container_token: get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::new),
            container_token_file: get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
            endpoints: ["KMS", "SECRETS_MANAGER", "SSM"].map(endpoint),
            fips: get("AWS_USE_FIPS_ENDPOINT").is_some_and(|text| text.eq_ignore_ascii_case("true")),
        }
    }
}

/// `url` without `user:password@`, which is for nobody here and not to be printed.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or(host))
}

impl AwsEnv {
    /// Whether there are credentials, or a place that hands them out.
    pub fn can_sign(&self) -> bool {
        (self.access_key_id.is_some() && self.secret_access_key.is_some()) || self.container_credentials.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_follows_from_the_path_beats_its_alias_unless_empty() {
        let mut env = Env::new();
        env.insert("DD_URL".to_owned(), "http://alias".to_owned());
        env.insert("DD_DD_URL".to_owned(), " ".to_owned());
        let found: Vec<_> = settings(&env, &[]).collect();
        assert_eq!(found, [("dd_url", "DD_URL".to_owned(), "http://alias".to_owned())]);
    }

    #[test]
    fn a_part_that_is_not_here_is_one_warning() {
        let of = |pairs: &[(&str, &str)]| {
            missing_parts(&pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(), &[])
        };
        let all: Vec<(&str, &str)> = MISSING_PARTS.iter().map(|(name, _)| (*name, "true")).collect();
        let told = of(&all);
        assert_eq!(told.len(), 8, "{told:?}");
        assert_eq!(told[0], "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT: this version has no OTLP; ignored");
        let off: Vec<(&str, &str)> = MISSING_PARTS.iter().map(|(name, _)| (*name, "False")).collect();
        assert_eq!((of(&off), of(&[("DD_ENV", "prod")])), (Vec::<String>::new(), Vec::new()));
    }

    #[test]
    fn settings_of_datadogs_extension_are_what_the_manual_says_of_them() {
        let manual = include_str!("../../README.md");
        let (_, section) = manual.split_once("These mean here what they mean there: ").unwrap();
        let (same, table) = section.split_once("The others differ:").unwrap();
        let names = |text: &'static str| text.split('`').filter(|word| word.starts_with("DD_") || word.starts_with("AWS_LWA"));
        assert!(40 < names(same).count());
        for name in names(same) {
            assert!(names_a_setting(name), "{name}");
        }
        let rows = table.split("\n\n").nth(1).unwrap().lines();
        let missing = |row: &&str| row.contains("not here; one warning");
        let told: Vec<&str> = rows.clone().filter(missing).flat_map(names).collect();
        assert_eq!(told.len(), MISSING_PARTS.len());
        for name in told {
            assert!(MISSING_PARTS.iter().any(|(known, _)| *known == name) && !names_a_setting(name), "{name}");
        }
        for row in rows.filter(|row| !missing(row)) {
            let is_setting = !["no effect: nobody", "| not here |", "are passed on"].iter().any(|words| row.contains(words));
            for name in names(row) {
                assert_eq!(names_a_setting(name), is_setting, "{name}");
            }
        }
    }

    #[test]
    fn suffixes_say_who_keeps_the_value_of_a_setting() {
        let names =
            ["DD_SITE_SECRET_ARN", "DD_ENV_KMS_ENCRYPTED", "DD_NOTHING_SECRET_ARN", "DD_API_KEY_SECRET_ARN", "SITE_SECRET_ARN"];
        let env: Env = names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        let found: Vec<_> = kept_elsewhere(&env).into_iter().map(|(_, target, keeper)| (target, keeper)).collect();
        assert_eq!(found, [("DD_ENV".to_owned(), Keeper::Kms), ("DD_SITE".to_owned(), Keeper::SecretsManager)]);
    }

    #[test]
    fn a_services_own_address_beats_the_common_one() {
        let mut env = Env::from([("AWS_ENDPOINT_URL".to_owned(), "http://all".to_owned())]);
        env.insert("AWS_ENDPOINT_URL_SSM".to_owned(), "http://ssm".to_owned());
        let all = Some("http://all".to_owned());
        assert_eq!(AwsEnv::of(&env).endpoints, [all.clone(), all, Some("http://ssm".to_owned())]);
        env.insert("AWS_ENDPOINT_URL_SSM".to_owned(), "http://user:p@ss@ssm:1/a@b".to_owned());
        assert_eq!(AwsEnv::of(&env).endpoints[2].as_deref(), Some("http://ssm:1/a@b"), "what nobody asks for is not kept");
        env.insert("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS".to_owned(), "true".to_owned());
        assert_eq!(AwsEnv::of(&env).endpoints, [None, None, None]);
    }
}
