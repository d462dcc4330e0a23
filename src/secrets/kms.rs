//! The key out of AWS KMS: `Decrypt` of the ciphertext, first as the command line encrypts it, then with the encryption context that
//! Lambda's console adds. Both occur, and which one it was cannot be seen from the ciphertext.

use crate::config::AwsEnv;
use crate::config::Secret;
use crate::secrets::SourceError;
use crate::secrets::sigv4;
use crate::secrets::sigv4::Credentials;
use crate::secrets::sigv4::ToSign;
use crate::sys::clock::Clock;
use crate::sys::clock::Utc;
use crate::sys::net::Client;
use crate::sys::net::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const TARGET: &str = "TrentService.Decrypt";

/// The text that `ciphertext` (base64) stands for.
pub fn resolve(ciphertext: &Secret, aws: &AwsEnv, client: &Client, clock: &Clock) -> Result<String, SourceError> {
    let blob: String = ciphertext.expose().chars().filter(|c| !c.is_whitespace()).collect();
    if blob.is_empty() || !blob.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)) {
        return Err(SourceError::Permanent("the ciphertext is not base64".to_owned()));
    }
    let plain = json!({ "CiphertextBlob": blob });
    let first = decrypt(&plain.to_string(), aws, client, clock);
    let wants_context = matches!(&first, Err(SourceError::Permanent(text)) if text.starts_with("InvalidCiphertextException"));
    match &aws.function_name {
        Some(name) if wants_context => {
            let with_context = json!({ "CiphertextBlob": blob, "EncryptionContext": { "LambdaFunctionName": name } });
            decrypt(&with_context.to_string(), aws, client, clock)
        }
        _ => first,
    }
}

/// Whether a request can be made at all.
pub fn may_be_asked(has_credentials: bool) -> Result<(), SourceError> {
    let missing = || SourceError::Permanent("no AWS credentials in the environment".to_owned());
    has_credentials.then_some(()).ok_or_else(missing)
}

#[derive(Deserialize)]
struct Decrypted {
    #[serde(rename = "Plaintext")]
    plaintext: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    __type: String,
    #[serde(alias = "Message")]
    message: String,
}

/// One call, made once more when the service or the way to it failed.
fn decrypt(body: &str, aws: &AwsEnv, client: &Client, clock: &Clock) -> Result<String, SourceError> {
    match call(body, aws, client, clock) {
        Err(SourceError::Transient(_)) => call(body, aws, client, clock),
        other => other,
    }
}

fn call(body: &str, aws: &AwsEnv, client: &Client, clock: &Clock) -> Result<String, SourceError> {
    let (Some(id), Some(secret)) = (&aws.access_key_id, &aws.secret_access_key) else {
        return Err(SourceError::Permanent("no AWS credentials in the environment".to_owned()));
    };
    let region = aws.region.as_deref().unwrap_or("us-east-1");
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let url = match &aws.kms_endpoint {
        Some(endpoint) => format!("{}/", endpoint.trim_end_matches('/')),
        None => format!("https://kms.{region}.{domain}/"),
    };
    let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let time = Utc::of(clock.now().unix).compact();
    let token = aws.session_token.as_ref().map(Secret::expose);
    let credentials = Credentials { access_key_id: id, secret_access_key: secret.expose(), session_token: token };
    let to_sign = ToSign { service: "kms", region, host, target: TARGET, body: body.as_bytes(), time: &time };
    let authorization = sigv4::authorization(&to_sign, &credentials);
    let mut headers = vec![
        ("Content-Type", sigv4::CONTENT_TYPE),
        ("X-Amz-Date", &time),
        ("X-Amz-Target", TARGET),
        ("Authorization", &authorization),
    ];
    headers.extend(token.map(|token| ("X-Amz-Security-Token", token)));
    let request = Request {
        method: "POST",
        url: &url,
        headers: &headers,
        body: body.as_bytes(),
        timeout: Some(TIMEOUT),
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    let answer = client.send(&request).map_err(|err| SourceError::Transient(err.to_string()))?;
    if !answer.complete {
        return Err(SourceError::Transient("the answer was cut short".to_owned()));
    }
    if answer.status == 200 {
        return plaintext(&answer.body);
    }
    Err(refusal(answer.status, &answer.body))
}

fn plaintext(body: &[u8]) -> Result<String, SourceError> {
    let bad = |what: &str| SourceError::Permanent(format!("the answer {what}"));
    let answer: Decrypted = serde_json::from_slice(body).map_err(|_| bad("is not the documented JSON"))?;
    let bytes = STANDARD.decode(answer.plaintext).map_err(|_| bad("holds no base64"))?;
    String::from_utf8(bytes).map_err(|_| bad("holds no text"))
}

/// Names the kind of refusal and its text, never a body.
fn refusal(status: u16, body: &[u8]) -> SourceError {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let kind = refusal.__type.rsplit('#').next().unwrap_or_default();
    let text = match (kind, refusal.message.as_str()) {
        ("", "") => format!("status {status}"),
        (kind, "") => kind.to_owned(),
        (kind, message) => format!("{kind}: {message}"),
    };
    let passes = 500 <= status || status == 429 || kind.contains("Throttling");
    if passes { SourceError::Transient(text) } else { SourceError::Permanent(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_kind_and_text() {
        let body = br#"{"__type":"com.amazonaws.kms#AccessDeniedException","Message":"not allowed"}"#;
        assert_eq!(refusal(400, body), SourceError::Permanent("AccessDeniedException: not allowed".to_owned()));
        assert_eq!(
            refusal(400, br#"{"__type":"ThrottlingException"}"#),
            SourceError::Transient("ThrottlingException".to_owned())
        );
        assert_eq!(refusal(503, b"<html>"), SourceError::Transient("status 503".to_owned()));
    }

    #[test]
    fn an_answer_gives_its_plaintext() {
        assert_eq!(plaintext(br#"{"KeyId":"k","Plaintext":"YWJj"}"#), Ok("abc".to_owned()));
        assert!(plaintext(br#"{"Plaintext":"?"}"#).is_err());
        assert!(plaintext(b"{}").is_err());
    }

    #[test]
    fn without_credentials_no_request_is_made() {
        let result = resolve(
            &Secret::new("YWJj".to_owned()),
            &AwsEnv::default(),
            &Client::new(crate::sys::net::Reuse::Never),
            &Clock::new(),
        );
        assert_eq!(result, Err(SourceError::Permanent("no AWS credentials in the environment".to_owned())));
    }
}
