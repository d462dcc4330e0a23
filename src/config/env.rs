//! The environment, a map that `main` makes once: which variables set which setting, and what AWS says there.

use crate::config::settings::SETTINGS;
use crate::config::values::Secret;
use std::collections::BTreeMap;

/// The process's environment.
pub type Env = BTreeMap<String, String>;

/// Setting, variable and text for each setting that a variable sets. The name that follows from the path beats its aliases.
pub fn settings(env: &Env) -> impl Iterator<Item = (&'static str, String, String)> {
    SETTINGS.iter().filter_map(|row| {
        let aliases = row.aliases.iter().map(|alias| (*alias).to_owned());
        let mut names = std::iter::once(row.variable()).chain(aliases);
        names.find_map(|name| {
            let text = env.get(&name).filter(|text| !text.trim().is_empty())?;
            Some((row.path, name, text.clone()))
        })
    })
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
    /// Address of KMS in place of AWS's.
    pub kms_endpoint: Option<String>,
}

impl AwsEnv {
    /// Takes it from the environment.
    pub fn of(env: &Env) -> AwsEnv {
        let get = |name: &str| env.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
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
            kms_endpoint: get("AWS_ENDPOINT_URL_KMS").or_else(|| get("AWS_ENDPOINT_URL")),
        }
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
        let found: Vec<_> = settings(&env).collect();
        assert_eq!(found, [("dd_url", "DD_URL".to_owned(), "http://alias".to_owned())]);
    }
}
