//! AWS's request signature, version 4, for the one kind of request that is made here: a POST with a JSON body.
//!
//! ```text
//! canonical = "POST\n" + path + "\n\n" + headers, sorted, "name:value\n" + "\n" + names joined by ";" + "\n" + hex(sha256(body))
//! to sign   = "AWS4-HMAC-SHA256\n" + time + "\n" + scope + "\n" + hex(sha256(canonical))
//! key       = hmac chain over date, region, service, "aws4_request", beginning with "AWS4" + secret
//! ```
//! Source: AWS General Reference, Signature Version 4.

use crate::sys::digest::hex;
use crate::sys::digest::hmac_sha256;
use crate::sys::digest::sha256_hex;
use zeroize::Zeroizing;

/// Who signs.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Public half.
    pub access_key_id: &'a str,
    /// Secret half.
    pub secret_access_key: &'a str,
    /// Of a temporary session; neither sent nor signed where there is none.
    pub session_token: Option<&'a str>,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct ToSign<'a> {
    /// `kms`, `secretsmanager`, `ssm`.
    pub service: &'a str,
    /// `us-east-1` and the like.
    pub region: &'a str,
    /// As sent in the `Host` header.
    pub host: &'a str,
    /// `/`, unless an address in place of AWS's has another.
    pub path: &'a str,
    /// `TrentService.Decrypt` and the like.
    pub target: &'a str,
    /// The very bytes that are sent.
    pub body: &'a [u8],
    /// `20240102T030405Z`
    pub time: &'a str,
}

/// The content type that is signed and must be sent.
pub const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// The `Authorization` header.
pub fn authorization(request: &ToSign<'_>, credentials: &Credentials<'_>) -> String {
    let (scope, signed_names, signature) = sign(request, credentials);
    let id = credentials.access_key_id;
    format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed_names}, Signature={signature}")
}

fn sign(request: &ToSign<'_>, credentials: &Credentials<'_>) -> (String, String, String) {
    let ToSign { service, region, host, path, target, body, time } = *request;
    let mut headers = vec![("content-type", CONTENT_TYPE), ("host", host), ("x-amz-date", time)];
    headers.extend(credentials.session_token.map(|token| ("x-amz-security-token", token)));
    headers.push(("x-amz-target", target));

    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let canonical = format!("POST\n{path}\n\n{lines}\n{names}\n{}", sha256_hex(body));
    let date = time.get(..8).unwrap_or_default();
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));

    let first = Zeroizing::new(format!("AWS4{}", credentials.secret_access_key).into_bytes());
    let key = [date, region, service, "aws4_request"]
        .iter()
        .fold(first, |key, part| Zeroizing::new(hmac_sha256(&key, part.as_bytes())));
    (scope, names, hex(&hmac_sha256(&key, to_sign.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: Credentials<'_> = Credentials {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        session_token: Some("TOKEN"),
    };

    /// Values that AWS's own client library gives for the same input.
    #[track_caller]
    fn check(service: &str, region: &str, target: &str, body: &str, credentials: &Credentials<'_>, signature: &str) {
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let host = format!("{service}.{region}.{domain}");
        let time = "20240102T030405Z";
        let request = ToSign { service, region, host: &host, path: "/", target, body: body.as_bytes(), time };
        assert_eq!(sign(&request, credentials).2, signature);
    }

    #[test]
    fn kms_with_and_without_context() {
        let target = "TrentService.Decrypt";
        let body = r#"{"CiphertextBlob":"AQICAHh="}"#;
        assert_eq!(sha256_hex(body.as_bytes()), "b636117bd48bcc97e8e6bff79ed2e6db8a80637997aaebd23ab7ab1fdf47f8e6");
        let signature = "048b77c887e9a3802fc1a8f353d2a96ed24a0fbc71d9fdc06e23450927d9f52f";
        check("kms", "us-east-1", target, body, &CREDENTIALS, signature);
        let body = r#"{"CiphertextBlob":"AQICAHh=","EncryptionContext":{"LambdaFunctionName":"my-fn"}}"#;
        let signature = "518090e5c5cd4cc7764831cb984954d4dfc486facbab8a5945e824fdd841cdf8";
        check("kms", "us-east-1", target, body, &CREDENTIALS, signature);
    }

    #[test]
    fn other_services_and_partitions_and_no_token() {
        let target = "secretsmanager.GetSecretValue";
        let body = r#"{"SecretId":"arn:aws:secretsmanager:us-west-2:123456789012:secret:dd-AbCdEf"}"#;
        let signature = "2d15e18eae07ac34c9ce5cb405bc57fba9959c240286368dc640f1a339afe796";
        check("secretsmanager", "us-west-2", target, body, &CREDENTIALS, signature);
        let signature = "1f1da2eb4d4957c5ee50c4fc611a2b0445c4ab00aef154748d5223c81baea462";
        let without_token = Credentials { session_token: None, ..CREDENTIALS };
        check("secretsmanager", "us-west-2", target, body, &without_token, signature);
        let body = r#"{"SecretId":"arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:dd-AbCdEf"}"#;
        let signature = "95f36412c7032f2cf15586e2d671001ea3cdda2609c26f6e9784f84d0a193a67";
        check("secretsmanager", "cn-north-1", target, body, &CREDENTIALS, signature);
        let body = r#"{"Name":"arn:aws:ssm:eu-west-1:123456789012:parameter/dd/key","WithDecryption":true}"#;
        let signature = "1fd7fb6a22fdf425303c9e30c60261b8cfa20d20ece1b214fedc155a9aa729a7";
        check("ssm", "eu-west-1", "AmazonSSM.GetParameter", body, &CREDENTIALS, signature);
    }

    #[test]
    fn the_header_names_scope_and_signed_headers() {
        let request =
            ToSign { service: "kms", region: "r", host: "h", path: "/", target: "t", body: b"", time: "20240102T030405Z" };
        let header = authorization(&request, &Credentials { session_token: None, ..CREDENTIALS });
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240102/r/kms/aws4_request, \
                        SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=";
        assert!(header.starts_with(expected), "{header}");
    }
}
