//! One signed call to AWS, in the form that all of its JSON services take: credentials, address, signature, answer, refusal. What is
//! asked for and where the answer holds it is each service's own file.
//!
//! Limits: 3 s a call, 256 KiB of answer, one further try when the service or the way to it failed, and one when this machine's clock
//! was the reason: it is then signed with the server's time.

use crate::config::AwsEnv;
use crate::config::Secret;
use crate::secrets::SourceError;
use crate::secrets::sigv4;
use crate::secrets::sigv4::ToSign;
use crate::sys::clock::Clock;
use crate::sys::clock::Utc;
use crate::sys::clock::http_date;
use crate::sys::files;
use crate::sys::net::Answer;
use crate::sys::net::Client;
use crate::sys::net::NetError;
use crate::sys::net::Request;
use crate::sys::net::tell_status;
use serde_json::Value;
use std::time::Duration;
use zeroize::Zeroize;

const TIMEOUT: Duration = Duration::from_secs(3);

/// A secret has 64 KiB at most, and JSON may make twice as much of it.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// AWS takes signatures that are five minutes off.
const SKEW_MAX: Duration = Duration::from_secs(240);

const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What is asked for.
#[derive(Debug)]
pub struct Operation {
    /// `kms` and the like, part of the address.
    pub service: &'static str,
    /// `TrentService.Decrypt` and the like.
    pub target: &'static str,
    /// What a role must be allowed.
    pub action: &'static str,
    /// Its place among the addresses that may be given in place of AWS's.
    pub endpoint: usize,
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub struct Aws<'a> {
    /// Region, credentials, addresses.
    pub env: &'a AwsEnv,
    /// The way there.
    pub client: &'a Client,
    /// For the signature.
    pub clock: &'a Clock,
}

/// Who signs.
struct Credentials {
    id: String,
    secret: Secret,
    token: Option<Secret>,
}

/// What came of one try.
struct Failure {
    error: SourceError,
    /// The server's time, if the signature may have been refused for ours.
    server_time: Option<Duration>,
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        Failure { error, server_time: None }
    }
}

impl Aws<'_> {
    /// The answer of `operation` to `body`, asked in `region`.
    pub fn call(&self, operation: &Operation, region: &str, body: &Value) -> Result<Value, SourceError> {
        // It becomes part of a host name.
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(SourceError::Permanent(format!("there is no region `{region}`")));
        }
        let credentials = self.credentials()?;
        let body = body.to_string();
        let (mut server_time, mut may_fail) = (None, true);
        loop {
            let time = server_time.unwrap_or_else(|| self.clock.now().unix);
            let failure = match self.attempt(operation, region, body.as_bytes(), &credentials, time) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if server_time.is_none() && failure.server_time.is_some() {
                server_time = failure.server_time;
            } else if may_fail && matches!(failure.error, SourceError::Transient(_)) {
                may_fail = false;
            } else {
                return Err(failure.error);
            }
        }
    }

    /// The region of `arn`, or the process's own where that names none.
    pub fn region_of(&self, arn: &str) -> String {
        let named = arn.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2)).filter(|region| !region.is_empty());
        named.or(self.env.region.as_deref()).unwrap_or("us-east-1").to_owned()
    }

    /// Where `operation` is asked for.
    pub fn url(&self, operation: &Operation, region: &str) -> String {
        if let Some(endpoint) = &self.env.endpoints[operation.endpoint] {
            return format!("{}/", endpoint.trim_end_matches('/'));
        }
        let fips = if self.env.fips { "-fips" } else { "" };
        format!("https://{}{fips}.{region}.{}/", operation.service, domain(region))
    }

    fn attempt(
        &self,
        operation: &Operation,
        region: &str,
        body: &[u8],
        credentials: &Credentials,
        time: Duration,
    ) -> Result<Value, Failure> {
        let url = self.url(operation, region);
        let (host, path) = host_and_path(&url);
        let time_text = Utc::of(time).compact();
        let token = credentials.token.as_ref().map(Secret::expose);
        let signer = sigv4::Credentials {
            access_key_id: &credentials.id,
            secret_access_key: credentials.secret.expose(),
            session_token: token,
        };
        let Operation { service, target, .. } = *operation;
        let authorization =
            sigv4::authorization(&ToSign { service, region, host, path, target, body, time: &time_text }, &signer);
        let mut headers = vec![
            ("Content-Type", sigv4::CONTENT_TYPE),
            ("X-Amz-Date", time_text.as_str()),
            ("X-Amz-Target", target),
            ("Authorization", authorization.as_str()),
        ];
        headers.extend(token.map(|token| ("X-Amz-Security-Token", token)));
        let mut answer = self.send("POST", &url, &headers, body)?;
        if answer.status == 200 {
            let value = json_of(&answer.body);
            answer.body.zeroize();
            return value.ok_or_else(|| SourceError::Permanent("the answer is not JSON".to_owned()).into());
        }
        let server_time = answer.header("date").and_then(http_date).filter(|server| SKEW_MAX < server.abs_diff(time));
        let mut error = refusal(answer.status, &answer.body, operation.action);
        if let (SourceError::Permanent(text), Some(token)) = (&mut error, token) {
            *text = text.replace(token, "***"); // what AWS would have signed, which it may quote, has the token in it
        }
        Err(Failure { error, server_time: server_time.filter(|_| answer.status < 500) })
    }

    fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, SourceError> {
        let request = Request { method, url, headers, body, timeout: Some(TIMEOUT), answer_bytes_max: ANSWER_BYTES_MAX };
        let answer = self.client.send(&request).map_err(|err| {
            let text = format!("{}: {err}", host_and_path(url).0);
            // Such as an address without a scheme.
            if matches!(err, NetError::Unfit(_)) { SourceError::Permanent(text) } else { SourceError::Transient(text) }
        })?;
        match answer.complete {
            true => Ok(answer),
            false if ANSWER_BYTES_MAX <= answer.body.len() => {
                Err(SourceError::Permanent(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")))
            }
            false => Err(SourceError::Transient("the answer was cut short".to_owned())),
        }
    }

    /// Those of the environment, else those that are handed out for this sandbox or container, asked for anew each time.
    fn credentials(&self) -> Result<Credentials, SourceError> {
        let env = self.env;
        match (&env.access_key_id, &env.secret_access_key, &env.container_credentials) {
            (Some(id), Some(secret), _) => {
                Ok(Credentials { id: id.clone(), secret: secret.clone(), token: env.session_token.clone() })
            }
            (_, _, Some(url)) => self.handed_out(url),
            _ => Err(no_credentials()),
        }
    }

    fn handed_out(&self, url: &str) -> Result<Credentials, SourceError> {
        // The token is shown to this address, so it must not lead away from the machine in the clear.
        if !url.starts_with("https://") && !is_near(host_and_path(url).0) {
            let text = format!("credentials from {url}: neither https nor an address of this machine");
            return Err(SourceError::Permanent(text));
        }
        let token = self.token()?;
        let headers: Vec<(&str, &str)> = token.iter().map(|token| ("Authorization", token.expose())).collect();
        let mut answer = self.send("GET", url, &headers, b"")?;
        if answer.status != 200 {
            let text = format!("credentials from {url}: {}", tell_status(answer.status));
            return Err(if passes(answer.status) { SourceError::Transient(text) } else { SourceError::Permanent(text) });
        }
        let found = json_of(&answer.body);
        answer.body.zeroize();
        let mut found = found.unwrap_or_default();
        let mut take = |name: &str| take_text(&mut found, &[name]);
        match (take("AccessKeyId"), take("SecretAccessKey"), take("Token")) {
            (Some(id), Some(secret), token) => {
                Ok(Credentials { id: id.expose().to_owned(), secret, token: token.filter(|token| !token.expose().is_empty()) })
            }
            _ => Err(SourceError::Permanent(format!("credentials from {url}: not the documented JSON"))),
        }
    }

    fn token(&self) -> Result<Option<Secret>, SourceError> {
        let Some(path) = &self.env.container_token_file else { return Ok(self.env.container_token.clone()) };
        let content = files::read_small(path, TOKEN_BYTES_MAX)
            .map_err(|err| SourceError::Permanent(format!("credentials: {}: {err}", path.display())))?;
        let text =
            String::from_utf8(content).map_err(|_| SourceError::Permanent("credentials: the token is no text".to_owned()))?;
        Ok(Some(Secret::new(text.trim().to_owned())))
    }
}

fn json_of(body: &[u8]) -> Option<Value> {
    serde_json::from_str(std::str::from_utf8(body).ok()?).ok()
}

/// There is something to ask and nobody to ask as.
pub fn no_credentials() -> SourceError {
    SourceError::Permanent("no AWS credentials in the environment".to_owned())
}

/// Where the text at the end of `path` is in `value`, taken out of it so that no further copy is made.
pub fn take_text(value: &mut Value, path: &[&str]) -> Option<Secret> {
    let found = path.iter().try_fold(value, |value, name| value.get_mut(*name))?;
    match found.take() {
        Value::String(text) => Some(Secret::new(text)),
        _ => None,
    }
}

/// AWS's partitions by how their regions begin.
fn domain(region: &str) -> &'static str {
    const DOMAINS: [(&str, &str); 7] = [
        ("cn-", "amazonaws.com.cn"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("eusc-", "amazonaws.eu"),
        ("", "amazonaws.com"),
    ];
    DOMAINS.iter().find(|(start, _)| region.starts_with(start)).map_or("amazonaws.com", |(_, domain)| domain)
}

/// As they are sent: a port that the scheme implies is left out of the `Host` header.
fn host_and_path(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let implied = if scheme == "http" { ":80" } else { ":443" };
    (host.strip_suffix(implied).unwrap_or(host), path)
}

/// Addresses at which credentials are handed out in the clear: loopback and those that ECS and EKS use.
fn is_near(host: &str) -> bool {
    let name = host
        .strip_prefix('[')
        .and_then(|rest| rest.split(']').next())
        .unwrap_or_else(|| host.split(':').next().unwrap_or(host));
    let is_loopback = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    is_loopback || ["localhost", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"].contains(&name)
}

/// Names the kind of refusal and its text, never a body; and what the role may lack.
fn refusal(status: u16, body: &[u8], action: &str) -> SourceError {
    let refusal = json_of(body).unwrap_or_default();
    let text_of = |name: &str| refusal.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = text_of("__type").rsplit('#').next().unwrap_or_default();
    let message = [text_of("message"), text_of("Message")].concat();
    let mut text = match (kind, message.as_str()) {
        ("", "") => tell_status(status),
        (kind, "") => kind.to_owned(),
        (kind, message) => format!("{kind}: {}", message.lines().next().unwrap_or_default()),
    };
    if kind.starts_with("AccessDenied") {
        // Secrets and parameters may be encrypted with a key of their own.
        let action = if message.contains("KMS") || message.contains("kms:") { "kms:Decrypt" } else { action };
        text.push_str(&format!("; the role needs {action}"));
    }
    let passes = passes(status) || kind.contains("Throttling");
    if passes { SourceError::Transient(text) } else { SourceError::Permanent(text) }
}

/// Whether what gave this status may give another. What leads elsewhere and 407 are words of something on the way.
fn passes(status: u16) -> bool {
    matches!(status, 300..=399 | 407 | 408 | 429 | 500..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::net::Reuse;

    const OPERATION: Operation = Operation {
        service: "secretsmanager",
        target: "secretsmanager.GetSecretValue",
        action: "secretsmanager:GetSecretValue",
        endpoint: 1,
    };

    #[track_caller]
    fn check_url(region: &str, expected: &str) {
        let (env, client, clock) = (AwsEnv::default(), Client::new(Reuse::Never), Clock::new());
        assert_eq!(Aws { env: &env, client: &client, clock: &clock }.url(&OPERATION, region), expected);
    }

    #[test]
    fn each_partition_has_its_domain() {
        check_url("us-west-2", "https://secretsmanager.us-west-2.amazonaws.com/");
        check_url("us-gov-west-1", "https://secretsmanager.us-gov-west-1.amazonaws.com/");
        check_url("cn-north-1", "https://secretsmanager.cn-north-1.amazonaws.com.cn/");
        check_url("us-isob-east-1", "https://secretsmanager.us-isob-east-1.sc2s.sgov.gov/");
        check_url("us-isof-south-1", "https://secretsmanager.us-isof-south-1.csp.hci.ic.gov/");
        check_url("eu-isoe-west-1", "https://secretsmanager.eu-isoe-west-1.cloud.adc-e.uk/");
    }

    #[test]
    fn an_arn_without_region_is_of_the_own_region() {
        let env = AwsEnv { region: Some("eu-west-1".to_owned()), ..AwsEnv::default() };
        let (client, clock) = (Client::new(Reuse::Never), Clock::new());
        let aws = Aws { env: &env, client: &client, clock: &clock };
        assert_eq!(aws.region_of("arn:aws:secretsmanager:us-west-2:1:secret:x"), "us-west-2");
        assert_eq!(aws.region_of("arn:aws:secretsmanager::1:secret:x"), "eu-west-1");
        assert_eq!(aws.region_of("dd-key"), "eu-west-1");
        let no_region = aws.call(&OPERATION, "evil.example/", &Value::Null);
        assert_eq!(no_region, Err(SourceError::Permanent("there is no region `evil.example/`".to_owned())));
    }

    #[test]
    fn what_is_signed_is_the_host_that_is_sent() {
        for (url, host, path) in [
            ("https://kms.eu-west-1.amazonaws.com/", "kms.eu-west-1.amazonaws.com", "/"),
            ("http://localhost:4566/", "localhost:4566", "/"),
            ("https://vpce-1.kms.eu-west-1.vpce.amazonaws.com:443/", "vpce-1.kms.eu-west-1.vpce.amazonaws.com", "/"),
            ("http://localhost:80/prefix/", "localhost", "/prefix/"),
            ("http://localhost:443/", "localhost:443", "/"),
            ("http://[::1]:80/", "[::1]", "/"),
        ] {
            assert_eq!(host_and_path(url), (host, path), "{url}");
        }
    }

    #[test]
    fn an_address_that_is_none_does_not_get_better() {
        let endpoints = [None, Some("localhost:4566".to_owned()), None];
        let (id, secret) = (Some("x".to_owned()), Some(Secret::new("x".to_owned())));
        let env = AwsEnv { endpoints, access_key_id: id, secret_access_key: secret, ..AwsEnv::default() };
        let (client, clock) = (Client::new(Reuse::Never), Clock::new());
        let outcome = Aws { env: &env, client: &client, clock: &clock }.call(&OPERATION, "eu-west-1", &Value::Null);
        assert!(matches!(&outcome, Err(SourceError::Permanent(text)) if text.starts_with("localhost:4566: ")), "{outcome:?}");
    }

    #[test]
    fn a_refusal_is_told_by_kind_and_text_and_what_is_missing() {
        let told = |status, body: &str| refusal(status, body.as_bytes(), OPERATION.action);
        let body = r#"{"__type":"com.amazonaws.x#AccessDeniedException","Message":"not allowed"}"#;
        let text = "AccessDeniedException: not allowed; the role needs secretsmanager:GetSecretValue";
        assert_eq!(told(400, body), SourceError::Permanent(text.to_owned()));
        let body = r#"{"__type":"AccessDeniedException","Message":"Access to KMS is not allowed"}"#;
        let text = "AccessDeniedException: Access to KMS is not allowed; the role needs kms:Decrypt";
        assert_eq!(told(400, body), SourceError::Permanent(text.to_owned()));
        assert_eq!(told(400, r#"{"__type":"ThrottlingException"}"#), SourceError::Transient("ThrottlingException".to_owned()));
        assert_eq!(told(503, "<html>"), SourceError::Transient("status 503".to_owned()));
        assert_eq!(told(302, "<html>"), SourceError::Transient(tell_status(302)));
        assert_eq!(told(407, ""), SourceError::Transient("status 407".to_owned()));
        let body = r#"{"__type":"InvalidSignatureException","message":"differs\nx-amz-security-token:T"}"#;
        assert_eq!(told(403, body), SourceError::Permanent("InvalidSignatureException: differs".to_owned()));
    }

    #[test]
    fn credentials_are_asked_for_in_the_clear_only_nearby() {
        assert!(["127.0.0.1:80", "localhost", "169.254.170.2", "[::1]:9", "[fd00:ec2::23]"].into_iter().all(is_near));
        assert!(!["example.com", "10.0.0.1", "169.254.169.254", "127.0.0.1.example.com"].into_iter().any(is_near));
        let env = AwsEnv { container_credentials: Some("http://example.com/c".to_owned()), ..AwsEnv::default() };
        let (client, clock) = (Client::new(Reuse::Never), Clock::new());
        let refused = Aws { env: &env, client: &client, clock: &clock }.call(&OPERATION, "us-east-1", &Value::Null);
        let text = "credentials from http://example.com/c: neither https nor an address of this machine";
        assert_eq!(refused, Err(SourceError::Permanent(text.to_owned())));
    }
}
