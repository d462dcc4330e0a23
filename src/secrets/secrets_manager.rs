//! Out of AWS Secrets Manager: the current version of a secret, kept as a text or as bytes.

use crate::config::Secret;
use crate::secrets::SourceError;
use crate::secrets::aws::Aws;
use crate::secrets::aws::Operation;
use crate::secrets::aws::take_text;
use crate::secrets::text_of_base64;
use serde_json::json;

pub(super) const GET: Operation = Operation {
    service: "secretsmanager",
    target: "secretsmanager.GetSecretValue",
    action: "secretsmanager:GetSecretValue",
    endpoint: 1,
};

/// What is kept under the ARN or name `id`.
pub fn resolve(id: &str, aws: &Aws<'_>) -> Result<Secret, SourceError> {
    let mut answer = aws.call(&GET, &aws.region_of(id), &json!({ "SecretId": id }))?;
    if let Some(text) = take_text(&mut answer, &["SecretString"]) {
        return Ok(text);
    }
    let bytes = take_text(&mut answer, &["SecretBinary"]);
    text_of_base64(&bytes.ok_or_else(|| SourceError::Permanent("the secret has no value".to_owned()))?)
}
