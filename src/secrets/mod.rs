//! Ways to the API key, one file each, and the thread that walks them.
//!
//! Sources are tried strongest first; one that fails is a warning, and the next is tried. Local ones are read at once. A remote one
//! works beside the rest of the start-up, so that it costs no cold start, and whoever needs the key asks the handle. A failure of
//! the network is tried again for ever, with growing pauses; a key that the intake refuses is resolved again, at most once a minute.

mod file;
mod kms;
mod sigv4;

use crate::config::AwsEnv;
use crate::config::KeySource;
use crate::model::api_key::ApiKey;
use crate::model::api_key::KeyHandle;
use crate::model::api_key::KeyState;
use crate::sys::clock::Clock;
use crate::sys::inbox::Sender;
use crate::sys::net::Client;
use crate::sys::net::Reuse;
use crate::sys::worker::Worker;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a source gave no key. Carries nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// It will not get better by asking again.
    Permanent(String),
    /// The network or the service failed.
    Transient(String),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Permanent(text) | SourceError::Transient(text) => write!(f, "{text}"),
        }
    }
}

impl std::error::Error for SourceError {}

/// The first pause after a failed resolution, and the longest.
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A refused key is resolved again no sooner than that.
const REFUSED_EVERY: Duration = Duration::from_secs(60);

/// How long the thread sleeps at a time while the key is good.
const IDLE: Duration = Duration::from_secs(3600);

/// What resolving takes.
#[derive(Clone, Debug)]
pub struct Resolver {
    sources: Vec<KeySource>,
    aws: AwsEnv,
    clock: Clock,
}

impl Resolver {
    /// For these sources, strongest first.
    pub fn new(sources: Vec<KeySource>, aws: AwsEnv, clock: Clock) -> Resolver {
        if let [first, rest @ ..] = sources.as_slice()
            && !rest.is_empty()
        {
            let others = rest.iter().map(KeySource::name).collect::<Vec<_>>().join(", ");
            log::warn!("more than one API key is configured: {} is used before {others}", first.name());
        }
        Resolver { sources, aws, clock }
    }

    /// Starts to find the key. The state is final at once if only local sources are needed. `when_absent` is called from the
    /// thread when it turns out that no key will come.
    pub fn start(self, when_absent: impl Fn() + Send + 'static, exits: &Sender<&'static str>) -> io::Result<KeyHandle> {
        let first_is_local = self.sources.first().is_none_or(KeySource::is_local);
        let state = if first_is_local { self.resolve().unwrap_or(KeyState::Pending) } else { KeyState::Pending };
        let handle = KeyHandle::new(state.clone());
        if state != KeyState::Absent {
            let shared = handle.clone();
            Worker::spawn("key", exits, move || self.keep(&shared, &when_absent))?;
        }
        Ok(handle)
    }

    /// Whether the agent would start with these sources. Local ones are asked, and what fails is logged; a remote one may answer if
    /// there are credentials to ask with.
    pub fn would_start(&self) -> bool {
        let has_credentials = self.aws.access_key_id.is_some() && self.aws.secret_access_key.is_some();
        self.sources.iter().any(|source| {
            let found = if source.is_local() { self.resolve_one(source).map(drop) } else { kms::may_be_asked(has_credentials) };
            found.inspect_err(|err| log::warn!("no API key from {}: {err}", source.name())).is_ok()
        })
    }

    /// Reads local sources again, for a key that was changed by hand. One that is no longer to be had leaves the old one.
    pub fn renew(&self, handle: &KeyHandle) {
        let first_is_local = self.sources.first().is_some_and(KeySource::is_local);
        if let Some(ready @ KeyState::Ready(_)) = first_is_local.then(|| self.resolve()).flatten() {
            handle.set(ready);
        }
    }

    /// The thread: resolves while pending or refused.
    fn keep(&self, handle: &KeyHandle, when_absent: &impl Fn()) {
        let mut pause = RETRY_BASE;
        let mut resolved_at = self.clock.now().uptime;
        loop {
            let state = handle.state();
            match &state {
                KeyState::Ready(_) => {
                    handle.wait_change(&state, IDLE);
                    continue;
                }
                KeyState::Absent => return when_absent(),
                KeyState::Refused(_) => {
                    let since = self.clock.now().uptime.saturating_sub(resolved_at);
                    log::error!("the API key was refused by the intake; data are held and the key is resolved again");
                    handle.wait_change(&state, REFUSED_EVERY.saturating_sub(since));
                }
                KeyState::Pending => (),
            }
            resolved_at = self.clock.now().uptime;
            match self.resolve() {
                Some(next) => {
                    pause = RETRY_BASE;
                    handle.set(next);
                }
                None => {
                    handle.wait_change(&state, pause);
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Walks the sources once; `None` when one failed that may yet answer and no other gave a key.
    fn resolve(&self) -> Option<KeyState> {
        let mut may_yet_answer = false;
        for source in &self.sources {
            match self.resolve_one(source) {
                Ok(key) => return Some(KeyState::Ready(key)),
                Err(err) => {
                    log::warn!("no API key from {}: {err}", source.name());
                    may_yet_answer |= matches!(err, SourceError::Transient(_));
                }
            }
        }
        (!may_yet_answer).then_some(KeyState::Absent)
    }

    fn resolve_one(&self, source: &KeySource) -> Result<ApiKey, SourceError> {
        let text = match source {
            KeySource::Plain(text) => text.expose().to_owned(),
            KeySource::File(path) => file::resolve(path)?,
            KeySource::Kms { ciphertext } => kms::resolve(ciphertext, &self.aws, &Client::new(Reuse::Never), &self.clock)?,
        };
        let key = ApiKey::parse(&text).map_err(|err| SourceError::Permanent(err.to_string()))?;
        if !key.has_usual_form() {
            log::warn!("the API key from {} is not 32 hexadecimal digits; it is used all the same", source.name());
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::sys::inbox::channel;

    fn start(sources: Vec<KeySource>) -> KeyState {
        let (exits, _keep) = channel(4);
        Resolver::new(sources, AwsEnv::default(), Clock::new()).start(|| (), &exits).unwrap().state()
    }

    fn plain(text: &str) -> KeySource {
        KeySource::Plain(Secret::new(text.to_owned()))
    }

    fn ready(text: &str) -> KeyState {
        KeyState::Ready(ApiKey::parse(text).unwrap())
    }

    #[test]
    fn local_sources_are_final_at_once() {
        assert_eq!(start(vec![plain("abc")]), ready("abc"));
        assert_eq!(start(vec![]), KeyState::Absent);
        assert_eq!(start(vec![plain("\"\"")]), KeyState::Absent);
    }

    #[test]
    fn a_source_that_fails_gives_way_to_the_next() {
        assert_eq!(start(vec![KeySource::File("/nowhere/key".into()), plain("abc")]), ready("abc"));
    }

    #[test]
    fn a_remote_source_does_not_hold_up_the_start_and_gives_way_too() {
        let (exits, _keep) = channel(4);
        let kms = KeySource::Kms { ciphertext: Secret::new("YWJj".to_owned()) };
        let handle = Resolver::new(vec![kms, plain("abc")], AwsEnv::default(), Clock::new()).start(|| (), &exits).unwrap();
        assert_eq!(handle.wait_change(&KeyState::Pending, Duration::from_secs(3600)), ready("abc"));
    }

    #[test]
    fn when_no_source_is_left_the_owner_is_told() {
        let (exits, _keep) = channel(4);
        let (told_tx, told) = channel(1);
        let kms = KeySource::Kms { ciphertext: Secret::new("?".to_owned()) };
        let resolver = Resolver::new(vec![kms], AwsEnv::default(), Clock::new());
        let handle = resolver.start(move || told_tx.try_send(()).unwrap(), &exits).unwrap();
        assert_eq!(told.recv_deadline(Clock::new().instant_in(Duration::from_secs(3600))), Ok(()));
        assert_eq!(handle.state(), KeyState::Absent);
    }
}
