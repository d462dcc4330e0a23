//! What tracers are to keep, as the answer to what they sent: `{"rate_by_service":{"service:web,env:prod":0.25,"service:,env:":1}}`.

use crate::model::rates::Rate;
use serde_json::Value;
use std::fmt::Write;

/// The JSON text, in the order given.
pub fn body(rates: &[Rate]) -> String {
    let mut body = String::from("{\"rate_by_service\":{");
    for (index, Rate { service, env, rate }) in rates.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let key = Value::from(format!("service:{service},env:{env}"));
        let _ = write!(body, "{comma}{key}:{rate}"); // a String takes everything
    }
    body + "}}\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rates::KEEP_ALL;

    #[track_caller]
    fn check(rates: &[(&str, &str, f64)], expected: &str) {
        let rate = |(service, env, rate): &(&str, &str, f64)| Rate {
            service: (*service).to_owned(),
            env: (*env).to_owned(),
            rate: *rate,
        };
        assert_eq!(body(&rates.iter().map(rate).collect::<Vec<Rate>>()), expected);
    }

    #[test]
    fn rates_are_numbers_of_json() {
        check(&[("", "", 1.0)], KEEP_ALL);
        check(
            &[("", "", 0.0), ("a\"b", "prod", 1e-7), ("web", "", 0.25)],
            "{\"rate_by_service\":{\"service:,env:\":0,\"service:a\\\"b,env:prod\":0.0000001,\"service:web,env:\":0.25}}\n",
        );
    }
}
