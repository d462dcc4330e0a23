//! Asks the site whether it knows a key. The key goes in a header and not in the address, as the Datadog Agent sends it: addresses end
//! up in the logs of proxies.

use crate::model::api_key::ApiKey;
use crate::sys::net::Client;
use crate::sys::net::Request;
use crate::sys::net::tell_status;
use std::fmt;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What the site says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It takes data with this key.
    Valid,
    /// It does not.
    Refused,
    /// Nothing that settles it, and why.
    Unknown(String),
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Validity::Valid => write!(f, "valid"),
            Validity::Refused => write!(f, "refused; is it a key of this site, and not an application key?"),
            Validity::Unknown(why) => write!(f, "not known, as the site gives no answer: {why}"),
        }
    }
}

/// Asks at `base`, scheme and host.
pub fn validate(key: &ApiKey, base: &str, client: &Client) -> Validity {
    let request = Request {
        method: "GET",
        url: &format!("{base}/api/v1/validate"),
        headers: &[("DD-API-KEY", key.expose())],
        body: b"",
        timeout: Some(TIMEOUT),
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    match client.send(&request) {
        Ok(answer) if answer.status == 200 => Validity::Valid,
        Ok(answer) if matches!(answer.status, 401 | 403) => Validity::Refused,
        Ok(answer) => Validity::Unknown(tell_status(answer.status)),
        Err(err) => Validity::Unknown(err.to_string()),
    }
}
