//! Values of settings that AWS keeps, as the Datadog Agent's Lambda build has it: a variable whose name ends in `_SECRET_ARN` or
//! `_KMS_ENCRYPTED` sets the one that it is called after. All are asked for at the same time, before the settings are read.

use crate::config::AwsEnv;
use crate::config::Env;
use crate::config::Keeper;
use crate::config::Secret;
use crate::config::Way;
use crate::config::kept_elsewhere;
use crate::secrets::SourceError;
use crate::secrets::aws::Aws;
use crate::secrets::kept;
use crate::sys::clock::Clock;
use crate::sys::inbox::channel;
use crate::sys::net::Client;
use crate::sys::worker::start_short;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Names of settings' variables with their values, for which all together are waited `wait`. What is not to be had by then is an error
/// line and not in the answer.
pub fn fetch(env: &Env, aws: &AwsEnv, client: &Client, clock: Clock, wait: Duration) -> Vec<(String, Secret)> {
    let (exits, _nobody) = channel(1);
    let mut asked = Vec::new();
    for (name, target, keeper) in kept_elsewhere(env) {
        let text = Secret::new(env.get(&name).map(|text| text.trim().to_owned()).unwrap_or_default());
        let (aws, client) = (aws.clone(), client.clone());
        let late = SourceError::Transient(format!("no answer within {} s", wait.as_secs()));
        let outcome = Arc::new(Mutex::new(Err(late)));
        let place = Arc::clone(&outcome);
        let ask = move || {
            let aws = Aws { env: &aws, client: &client, clock: &clock };
            // The service that an ARN names is asked, whatever the suffix says.
            let way = Way::of_arn(text.expose()).unwrap_or_else(|| match keeper {
                Keeper::Kms => Way::Kms(text.clone()),
                Keeper::SecretsManager => Way::SecretsManager(text.expose().to_owned()),
            });
            *place.lock().unwrap_or_else(PoisonError::into_inner) = kept(&way, &aws);
        };
        asked.push((name, target, start_short("secret", &exits, Box::new(ask)), outcome));
    }
    let by = clock.instant_in(wait);
    let mut found = Vec::new();
    for (name, target, worker, outcome) in asked {
        let _ = worker.map(|worker| worker.finish(by)); // whether it has come in time is seen by what there is
        let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match &*outcome {
            Ok(value) => found.push((target, Secret::new(value.expose().trim().to_owned()))),
            Err(err) => log::error!("{name}: {err}; {target} counts as it was set without it"),
        }
    }
    found
}
