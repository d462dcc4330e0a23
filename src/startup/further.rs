//! Further endpoints that get the same data as the main ones: each has a queue with a share of the memory, a poster with a breaker, a
//! folder in the spool and books of its own, so that none of them holds up another.

use crate::config::Config;
use crate::config::FurtherEndpoint;
use crate::spool::Kind;
use crate::startup::plan;
use crate::sys::digest::sha256_hex;
use crate::sys::ledger::Ledger;
use std::sync::Arc;

/// Books of one further endpoint, and what it is called.
pub type Books = Vec<(String, Arc<Ledger>)>;

/// What one of them gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// For messages.
    pub signal: &'static str,
    /// What it takes.
    pub kinds: &'static [Kind],
}

const METRICS: Share = Share { signal: "metrics", kinds: &[Kind::Series, Kind::Sketches, Kind::Event, Kind::Checks] };
const TRACES: Share = Share { signal: "traces", kinds: &[Kind::Traces, Kind::Stats] };
const LOGS: Share = Share { signal: "logs", kinds: &[Kind::Logs] };

/// One of them as it is to be started.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Address, key and care.
    pub endpoint: FurtherEndpoint,
    /// Scheme and host, as they are reached.
    pub base: String,
    /// What it gets.
    pub share: Share,
    /// Its folder in the spool, which stays the same as long as the address does.
    pub folder: String,
}

impl Plan {
    /// Signal and address.
    pub fn name(&self) -> String {
        format!("{} {}", self.share.signal, self.base)
    }
}

/// All further endpoints of the settings.
pub fn plans(config: &Config) -> Vec<Plan> {
    let all = [
        (METRICS, &config.additional_endpoints.0),
        (TRACES, &config.apm_additional_endpoints.0),
        (LOGS, &config.logs_additional_endpoints.0),
    ];
    let mut plans: Vec<Plan> = Vec::new();
    for (share, endpoints) in all {
        for endpoint in endpoints {
            let base = match share {
                METRICS => plan::metrics_intake(endpoint.url.as_str()),
                _ => endpoint.url.as_str().to_owned(),
            };
            // Keys of one address are told apart by their order: nothing of a key may be in a name.
            let nth = plans.iter().filter(|plan| (plan.share, &plan.base) == (share, &base)).count();
            let digest = sha256_hex(format!("{} {base} {nth}", share.signal).as_bytes());
            let folder = format!("{}{}", crate::spool::folder::FURTHER, &digest[..12]);
            plans.push(Plan { endpoint: endpoint.clone(), base, share, folder });
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::Env;
    use crate::config::RunArgs;

    #[test]
    fn each_address_and_key_is_an_endpoint_with_a_folder_that_stays() {
        let plans_of = |urls: &str| {
            let env = Env::from([
                ("DD_ADDITIONAL_ENDPOINTS".to_owned(), urls.to_owned()),
                ("DD_APM_ADDITIONAL_ENDPOINTS".to_owned(), r#"{"https://app.datadoghq.eu": ["k"]}"#.to_owned()),
            ]);
            plans(&config::load(&RunArgs::default(), &env, false).config)
        };
        let first = plans_of(r#"{"https://app.datadoghq.eu": ["k1", "k2"], "https://b": ["k3"]}"#);
        let names: Vec<String> = first.iter().map(Plan::name).collect();
        let api = "metrics https://api.datadoghq.eu";
        assert_eq!(names, [api, api, "metrics https://b", "traces https://app.datadoghq.eu"]);
        let mut folders: Vec<&str> = first.iter().map(|plan| plan.folder.as_str()).collect();
        folders.sort_unstable();
        folders.dedup();
        assert_eq!(folders.len(), 4);
        let later = plans_of(r#"{"https://b": ["another"], "https://app.datadoghq.eu": ["k1"]}"#);
        assert_eq!([&later[0].folder, &later[1].folder], [&first[2].folder, &first[0].folder]);
    }
}
