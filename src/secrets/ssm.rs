//! Out of AWS Systems Manager: a parameter, decrypted where it is encrypted.

use crate::config::Secret;
use crate::secrets::SourceError;
use crate::secrets::aws::Aws;
use crate::secrets::aws::Operation;
use crate::secrets::aws::take_text;
use serde_json::json;

pub(super) const GET: Operation =
    Operation { service: "ssm", target: "AmazonSSM.GetParameter", action: "ssm:GetParameter", endpoint: 2 };

/// What is kept under the ARN or name `name`.
pub fn resolve(name: &str, aws: &Aws<'_>) -> Result<Secret, SourceError> {
    let mut answer = aws.call(&GET, &aws.region_of(name), &json!({ "Name": name, "WithDecryption": true }))?;
    let value = take_text(&mut answer, &["Parameter", "Value"]);
    value.ok_or_else(|| SourceError::Permanent("the parameter has no value".to_owned()))
}
