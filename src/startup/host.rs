//! Metrics of the machine: whether they are wanted, and what their thread is made from.

use crate::config::RunArgs;
use crate::process::host::Host;
use crate::sources::host::HostMetrics;
use crate::sources::host::Outlet;
use crate::startup::parts::Pipelines;
use crate::startup::parts::Servers;
use std::path::PathBuf;
use std::sync::Arc;

/// Starts them, if they are wanted. While events are read they are not: those are of a job, and the machine is somebody else's.
#[inline(never)]
pub fn start(args: &RunArgs, servers: &Servers<'_>, pipelines: &Pipelines) -> Option<HostMetrics> {
    if !servers.config.host_metrics || args.events.is_some() {
        return None;
    }
    let mut host = Host::default();
    let outlet = Outlet {
        inbox: pipelines.metrics.inbox(),
        ledger: Arc::clone(servers.ledger),
        budget: servers.budget.clone(),
        clock: servers.clock,
    };
    let started = HostMetrics::start(PathBuf::from("/"), outlet, Box::new(move |reading| host.points(reading)), servers.exits);
    started.inspect_err(|err| log::error!("no metrics of the machine: {err}")).ok()
}
