//! Which sources of the API key are configured, in the order in which they are tried.

use crate::config::handles;
use crate::config::secret::Secret;
use crate::config::settings::Config;
use std::path::PathBuf;

/// One way to the key, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// The setting, for messages.
    pub setting: &'static str,
    /// How the key is come by.
    pub way: Way,
}

/// How a key is come by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// AWS KMS decrypts this, which is in base64.
    Kms(Secret),
    /// AWS Secrets Manager keeps it under this ARN or name.
    SecretsManager(String),
    /// AWS Systems Manager keeps it under this ARN or name.
    Ssm(String),
    /// `secret_backend_command` gives it for this handle.
    Backend(String),
    /// The first line of a file.
    File(PathBuf),
    /// As it was written.
    Plain(Secret),
}

impl Way {
    /// Where an ARN leads, whatever variable it stands in: they are easily mistaken for one another.
    pub fn of_arn(text: &str) -> Option<Way> {
        let mut fields = text.trim().strip_prefix("arn:")?.split(':');
        match fields.nth(1)? {
            "secretsmanager" => Some(Way::SecretsManager(text.trim().to_owned())),
            "ssm" => Some(Way::Ssm(text.trim().to_owned())),
            _ => None,
        }
    }
}

impl KeySource {
    fn new(setting: &'static str, text: &str, way: Way) -> KeySource {
        KeySource { setting, way: Way::of_arn(text).unwrap_or(way) }
    }

    /// Whether it can be read at once, without waiting for anyone.
    pub fn is_local(&self) -> bool {
        matches!(self.way, Way::File(_) | Way::Plain(_))
    }

    /// Whether the service that the ARN names is another than its setting is for.
    pub fn is_in_the_wrong_setting(&self) -> bool {
        match self.way {
            Way::SecretsManager(_) => self.setting != "api_key_secret_arn",
            Way::Ssm(_) => self.setting != "api_key_ssm_arn",
            _ => false,
        }
    }
}

impl Config {
    /// The configured sources of the key, strongest first; empty means that none is configured.
    pub fn key_sources(&self) -> Vec<KeySource> {
        let kms = self.kms_api_key.as_ref();
        let kms = kms.map(|text| KeySource::new("kms_api_key", text.0.expose(), Way::Kms(text.0.clone())));
        let secret = self.api_key_secret_arn.as_ref();
        let secret = secret.map(|id| KeySource::new("api_key_secret_arn", &id.0, Way::SecretsManager(id.0.clone())));
        let parameter = self.api_key_ssm_arn.as_ref();
        let parameter = parameter.map(|id| KeySource::new("api_key_ssm_arn", &id.0, Way::Ssm(id.0.clone())));
        let file = self.api_key_file.as_ref();
        let file = file.map(|path| KeySource::new("api_key_file", &path.to_string_lossy(), Way::File(path.clone())));
        let plain = self.api_key.as_ref().map(|text| {
            // Quotes go, as they do from a key.
            let handle = handles::handle(text.expose().trim().trim_matches(['"', '\'']));
            let way = handle.map_or_else(|| Way::Plain(text.clone()), |handle| Way::Backend(handle.to_owned()));
            KeySource::new("api_key", text.expose(), way)
        });
        [kms, secret, parameter, file, plain].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::Env;
    use crate::config::RunArgs;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: &[(&'static str, Way)]) {
        let env: Env = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let sources = config::load(&RunArgs::default(), &env, false).config.key_sources();
        let expected: Vec<_> = expected.iter().map(|(setting, way)| KeySource { setting, way: way.clone() }).collect();
        assert_eq!(sources, expected);
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn sources_are_tried_strongest_first() {
        let arn = "arn:aws:secretsmanager:eu-west-1:1:secret:x";
        check(
            &[
                ("DD_API_KEY", "k"),
                ("DD_API_KEY_FILE", "/f"),
                ("DD_API_KEY_SSM_ARN", "name"),
                ("DD_API_KEY_SECRET_ARN", arn),
                ("DD_API_KEY_KMS_ENCRYPTED", "YWJj"),
            ],
            &[
                ("kms_api_key", Way::Kms(secret("YWJj"))),
                ("api_key_secret_arn", Way::SecretsManager(arn.to_owned())),
                ("api_key_ssm_arn", Way::Ssm("name".to_owned())),
                ("api_key_file", Way::File("/f".into())),
                ("api_key", Way::Plain(secret("k"))),
            ],
        );
    }

    #[test]
    fn an_arn_leads_to_its_service_from_any_setting() {
        let parameter = "arn:aws-cn:ssm:cn-north-1:1:parameter/dd/key";
        check(&[("DD_API_KEY_SECRET_ARN", parameter)], &[("api_key_secret_arn", Way::Ssm(parameter.to_owned()))]);
        check(&[("DD_API_KEY", parameter)], &[("api_key", Way::Ssm(parameter.to_owned()))]);
        check(&[("DD_API_KEY_FILE", parameter)], &[("api_key_file", Way::Ssm(parameter.to_owned()))]);
        let secret_arn = "arn:aws-us-gov:secretsmanager::1:secret:x";
        check(&[("DD_KMS_API_KEY", secret_arn)], &[("kms_api_key", Way::SecretsManager(secret_arn.to_owned()))]);
        let key_arn = "arn:aws:kms:us-east-1:1:key/2";
        check(&[("DD_KMS_API_KEY", key_arn)], &[("kms_api_key", Way::Kms(secret(key_arn)))]);
    }

    #[test]
    fn a_handle_in_place_of_the_key_leads_to_the_backend() {
        for text in [" ENC[dd/key] ", "\"ENC[dd/key]\"", "' ENC[dd/key]'"] {
            check(&[("DD_API_KEY", text)], &[("api_key", Way::Backend("dd/key".to_owned()))]);
        }
    }
}
