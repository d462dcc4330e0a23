//! Out of AWS KMS: `Decrypt` of a ciphertext, first as the command line encrypts it, then with the encryption context that Lambda's
//! console adds. Both occur, and which one it was cannot be seen from the ciphertext.

use crate::config::Secret;
use crate::secrets::SourceError;
use crate::secrets::aws::Aws;
use crate::secrets::aws::Operation;
use crate::secrets::aws::take_text;
use crate::secrets::text_of_base64;
use serde_json::json;

pub(super) const DECRYPT: Operation =
    Operation { service: "kms", target: "TrentService.Decrypt", action: "kms:Decrypt", endpoint: 0 };

/// The text that `ciphertext` (base64) stands for.
pub fn resolve(ciphertext: &Secret, aws: &Aws<'_>) -> Result<Secret, SourceError> {
    let blob: String = ciphertext.expose().chars().filter(|c| !c.is_whitespace()).collect();
    if blob.starts_with("arn:") {
        return Err(SourceError::Permanent("this is the ARN of a key and not an encrypted text".to_owned()));
    }
    if blob.is_empty() || !blob.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)) {
        return Err(SourceError::Permanent("the ciphertext is not base64".to_owned()));
    }
    let region = aws.region_of("");
    let plain = json!({ "CiphertextBlob": blob });
    let mut answer = aws.call(&DECRYPT, &region, &plain);
    let wants_context = matches!(&answer, Err(SourceError::Permanent(text)) if text.starts_with("InvalidCiphertextException"));
    if let Some(name) = aws.env.function_name.as_ref().filter(|_| wants_context) {
        let with_context = json!({ "CiphertextBlob": blob, "EncryptionContext": { "LambdaFunctionName": name } });
        answer = aws.call(&DECRYPT, &region, &with_context);
    }
    let plaintext = take_text(&mut answer?, &["Plaintext"]);
    text_of_base64(&plaintext.ok_or_else(|| SourceError::Permanent("the answer holds no plaintext".to_owned()))?)
}
