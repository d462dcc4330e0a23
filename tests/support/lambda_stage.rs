//! An agent in a sandbox, with the other sides that it talks to.

use crate::support::agent::{Agent, Finished, KEY, folder};
use crate::support::fake_http::{FakeServer, Reply, Seen};
use crate::support::fake_lambda::{FakeLambda, Manners};
use serde_json::Value;
use std::net::SocketAddr;

pub struct Stage {
    pub agent: Agent,
    pub lambda: FakeLambda,
    pub intake: FakeServer,
}

pub fn env(lambda: &FakeLambda, intake: &str, extra: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let mut env = vec![
        ("AWS_LAMBDA_RUNTIME_API", lambda.host()),
        ("AWS_LAMBDA_FUNCTION_NAME", "Shop".to_owned()),
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("DD_COMMUNICATION_PORT", "0".to_owned()),
        ("DD_APM_RECEIVER_PORT", "0".to_owned()),
        ("DD_API_KEY", KEY.to_owned()),
        ("DD_APM_DD_URL", intake.to_owned()),
        ("DD_LOGS_CONFIG_LOGS_DD_URL", intake.to_owned()),
        ("DD_DD_URL", intake.to_owned()),
        ("DD_DOGSTATSD_PORT", "__random__".to_owned()),
    ];
    for (name, value) in extra {
        env.retain(|(known, _)| known != name);
        env.push((name, (*value).to_owned()));
    }
    env
}

pub fn stage_with(name: &str, manners: Manners, intake: FakeServer, extra: &[(&'static str, &str)]) -> Stage {
    let lambda = FakeLambda::start(manners);
    let state = folder(name);
    let mut env = env(&lambda, &intake.url(), extra);
    env.push(("DD_RUN_PATH", state.to_str().unwrap().to_owned()));
    Stage { agent: Agent::start(&[], &env), lambda, intake }
}

pub fn stage(name: &str) -> Stage {
    stage_with(name, Manners::default(), FakeServer::start(|_| Reply::status(202)), &[])
}

/// The address that the platform is told to deliver telemetry to, as seen from outside the sandbox.
pub fn communication(subscription: &Seen) -> SocketAddr {
    let body: Value = serde_json::from_slice(&subscription.body).unwrap();
    let uri = body["destination"]["URI"].as_str().unwrap();
    let port = uri.strip_prefix("http://sandbox.localdomain:").and_then(|rest| rest.strip_suffix("/lambda/logs")).unwrap();
    SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
}

/// A deadline so far away that it plays no part.
pub const FAR: i64 = 600_000;

#[track_caller]
pub fn assert_ok(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(!finished.says("panic"), "{finished:#?}");
}
