//! Which sources of the API key are configured, in the order in which they are tried.

use crate::config::settings::Config;
use crate::config::values::Secret;
use std::path::PathBuf;

/// One way to the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// AWS KMS decrypts it.
    Kms {
        /// In base64.
        ciphertext: Secret,
    },
    /// The first line of a file.
    File(PathBuf),
    /// As it was written.
    Plain(Secret),
}

impl KeySource {
    /// The setting it comes from, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            KeySource::Kms { .. } => "kms_api_key",
            KeySource::File(_) => "api_key_file",
            KeySource::Plain(_) => "api_key",
        }
    }

    /// Whether it can be read without the network, at once.
    pub fn is_local(&self) -> bool {
        !matches!(self, KeySource::Kms { .. })
    }
}

impl Config {
    /// The configured sources of the key, strongest first; empty means that none is configured.
    pub fn key_sources(&self) -> Vec<KeySource> {
        let kms = self.kms_api_key.clone().map(|ciphertext| KeySource::Kms { ciphertext });
        let file = self.api_key_file.clone().map(KeySource::File);
        let plain = self.api_key.clone().map(KeySource::Plain);
        [kms, file, plain].into_iter().flatten().collect()
    }
}
