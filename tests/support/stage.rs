//! An agent whose intake is at hand: what is sent to its port arrives in the test.

use super::agent::{Agent, KEY, Ports, settings};
use super::fake_http::{FakeServer, Reply};
use std::net::SocketAddr;

pub struct Stage {
    pub agent: Agent,
    pub intake: FakeServer,
    pub port: SocketAddr,
}

impl Stage {
    /// Starts both. `intake_setting` names where the agent is told its intake, `port` picks the server under test.
    pub fn start(
        intake_setting: &'static str,
        port: fn(&Ports) -> Option<SocketAddr>,
        extra: &[(&'static str, &str)],
    ) -> Stage {
        let intake = FakeServer::start(|_| Reply::status(202));
        let mut env = settings();
        env.extend([("DD_API_KEY", KEY.to_owned()), (intake_setting, intake.url())]);
        env.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut agent = Agent::start(&[], &env);
        let port = port(&agent.ready()).expect("it listens");
        Stage { agent, intake, port }
    }
}
