//! Ways to the API key, one file each, and the thread that walks them; and values that other settings leave to someone else.
//!
//! Sources are tried strongest first; one that fails is a warning, and the next is tried. Local ones are read at once. A remote one
//! works beside the rest of the start-up, so that it costs no cold start, and whoever needs the key asks the handle. A failure of
//! the network is tried again for ever, with growing pauses; a key that the intake refuses is resolved again, at most once a minute.
//! Nothing that failed is remembered.

pub mod backend;

mod aws;
mod file;
mod kms;
mod secrets_manager;
mod sigv4;
mod ssm;
mod validate;
mod variables;

pub use validate::Validity;
pub use variables::fetch as fetch_variables;

use crate::config::AwsEnv;
use crate::config::KeySource;
use crate::config::Secret;
use crate::config::Way;
use crate::model::api_key::ApiKey;
use crate::model::api_key::KeyHandle;
use crate::model::api_key::KeyState;
use crate::secrets::aws::Aws;
use crate::secrets::aws::take_text;
use crate::sys::clock::Clock;
use crate::sys::inbox::Sender;
use crate::sys::net::Client;
use crate::sys::worker::Worker;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Why a source gave nothing. Carries nothing secret.
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

/// How often the site is asked whether it still knows the key.
const VALIDATE_EVERY: Duration = Duration::from_secs(3600);

/// How long the thread sleeps at a time while there is nothing to do.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// What resolving takes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ways to the key, strongest first.
    pub sources: Vec<KeySource>,
    /// What AWS tells the process about itself.
    pub aws: AwsEnv,
    /// The program that gives values for handles.
    pub backend: backend::Settings,
    /// The way to AWS and to the site.
    pub client: Client,
    /// How often a key that is good is asked for again.
    pub refresh: Option<Duration>,
    /// Where the key is validated, scheme and host; `None` for nowhere.
    pub validate_at: Option<String>,
}

/// Finds the key and keeps it fresh.
#[derive(Clone, Debug)]
pub struct Resolver {
    /// All clones share them, since they can change while the thread runs.
    settings: Arc<Mutex<Arc<Settings>>>,
    clock: Clock,
}

/// What a look at each source and at the site gives.
#[derive(Debug)]
pub struct Report {
    /// Each source's setting with what came of it, up to the first that gave a key.
    pub sources: Vec<(&'static str, Result<(), SourceError>)>,
    /// What the site says of the key; `None` if there is none, or nobody to ask.
    pub validity: Option<Validity>,
}

/// What a walk along the sources gives.
#[derive(Debug, Default)]
struct Found {
    key: Option<ApiKey>,
    /// A source before it failed that may yet answer.
    may_yet_answer: bool,
}

impl Found {
    /// `None` when there is no key yet.
    fn state(&self) -> Option<KeyState> {
        let key = self.key.clone().map(KeyState::Ready);
        key.or_else(|| (!self.may_yet_answer).then_some(KeyState::Absent))
    }
}

impl Resolver {
    /// With these settings.
    pub fn new(settings: Settings, clock: Clock) -> Resolver {
        Resolver { settings: Arc::new(Mutex::new(Arc::new(settings))), clock }
    }

    /// Those in force.
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says what is odd about the sources.
    pub fn remark(&self) {
        let sources = &self.settings().sources;
        if let [first, rest @ ..] = sources.as_slice()
            && !rest.is_empty()
        {
            let others = rest.iter().map(|source| source.setting).collect::<Vec<_>>().join(", ");
            log::warn!("more than one API key is configured: {} is used before {others}", first.setting);
        }
        for source in sources.iter().filter(|source| source.is_in_the_wrong_setting()) {
            log::warn!("{} holds the ARN of another service, which is asked all the same", source.setting);
        }
    }

    /// Starts to find the key. The state is final at once if only local sources are needed. `when_absent` is called from the
    /// thread when it turns out that no key will come.
    pub fn start(self, when_absent: impl Fn() + Send + 'static, exits: &Sender<&'static str>) -> io::Result<KeyHandle> {
        self.remark();
        let settings = self.settings();
        let local = settings.sources.iter().take_while(|source| source.is_local()).count();
        let state = match self.walk(&settings.sources[..local]).state() {
            Some(KeyState::Absent) if local < settings.sources.len() => KeyState::Pending,
            found => found.unwrap_or(KeyState::Pending),
        };
        let handle = KeyHandle::new(state.clone());
        if state != KeyState::Absent {
            let shared = handle.clone();
            // What has failed just now is not asked, and told, a second time.
            let mut first = (state == KeyState::Pending).then_some(local);
            Worker::spawn("key", exits, move || self.keep(&shared, &when_absent, first.take().unwrap_or_default()))?;
        }
        Ok(handle)
    }

    /// Whether the agent would start with these sources. Local ones are asked, and what fails is logged; others may answer if they can
    /// be asked.
    pub fn would_start(&self) -> bool {
        let settings = self.settings();
        settings.sources.iter().any(|source| {
            let found = match &source.way {
                Way::File(_) | Way::Plain(_) => self.resolve_one(source).map(drop),
                Way::Backend(_) => backend_may_run(&settings.backend),
                Way::Kms(_) | Way::SecretsManager(_) | Way::Ssm(_) => {
                    settings.aws.can_sign().then_some(()).ok_or_else(aws::no_credentials)
                }
            };
            found.inspect_err(|err| log::warn!("no API key from {}: {err}", source.setting)).is_ok()
        })
    }

    /// Asks each source until one gives a key, and the site about that.
    pub fn report(&self) -> Report {
        let settings = self.settings();
        let mut sources = Vec::new();
        let mut key = None;
        for source in &settings.sources {
            match self.resolve_one(source) {
                Ok(found) => {
                    sources.push((source.setting, Ok(())));
                    key = Some(found);
                    break;
                }
                Err(err) => sources.push((source.setting, Err(err))),
            }
        }
        let site = key.as_ref().zip(settings.validate_at.as_ref());
        let validity = site.map(|(key, base)| validate::validate(key, base, &settings.client));
        Report { sources, validity }
    }

    /// Addresses that sources ask at, with their settings.
    pub fn addresses(&self) -> Vec<(&'static str, String)> {
        let Settings { sources, aws, client, .. } = &*self.settings();
        let aws = Aws { env: aws, client, clock: &self.clock };
        let address = |source: &KeySource| {
            let (operation, id) = match &source.way {
                Way::Kms(_) => (&kms::DECRYPT, ""),
                Way::SecretsManager(id) => (&secrets_manager::GET, id.as_str()),
                Way::Ssm(name) => (&ssm::GET, name.as_str()),
                Way::Backend(_) | Way::File(_) | Way::Plain(_) => return None,
            };
            Some((source.setting, aws.url(operation, &aws.region_of(id))))
        };
        sources.iter().filter_map(address).collect()
    }

    /// Takes the settings of `newer` in place of those in force. Their sources count when the key is asked for the next time, by the thread:
    /// no one else waits for them. A key that is no longer to be had leaves the old one.
    pub fn renew(&self, newer: &Resolver) {
        let newer = newer.settings();
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = newer;
    }

    /// The thread: resolves while pending or refused, and has good keys validated and renewed. The first `asked` sources have been asked
    /// once already.
    fn keep(&self, handle: &KeyHandle, when_absent: &impl Fn(), mut asked: usize) {
        let mut pause = RETRY_BASE;
        let mut resolved_at = self.clock.now().uptime;
        let mut validated: Option<(ApiKey, Duration)> = None;
        loop {
            let state = handle.state();
            let now = self.clock.now().uptime;
            let settings = self.settings();
            match &state {
                KeyState::Ready(key) => {
                    let known = validated.as_ref().filter(|(known, _)| known == key).map(|(_, at)| *at);
                    let validate_in = if settings.validate_at.is_some() { until_validation(known, now) } else { IDLE };
                    let renew_in = settings.refresh.map_or(IDLE, |every| (resolved_at + every).saturating_sub(now));
                    if validate_in.is_zero() {
                        validate(key, &settings);
                        validated = Some((key.clone(), self.clock.now().uptime));
                    } else if renew_in.is_zero() {
                        resolved_at = now;
                        self.exchange(handle, &state);
                    } else if handle.wait_asked(&state, validate_in.min(renew_in)) {
                        resolved_at = self.clock.now().uptime;
                        self.exchange(handle, &handle.state());
                    }
                    continue;
                }
                KeyState::Absent => return when_absent(),
                KeyState::Refused(_) => {
                    log::error!(
                        "the API key was refused by the intake: is it a key of this site, and not an application key? Data are held, \
                         and the key is asked for again"
                    );
                    handle.wait_asked(&state, REFUSED_EVERY.saturating_sub(now.saturating_sub(resolved_at)));
                }
                KeyState::Pending => (),
            }
            resolved_at = self.clock.now().uptime;
            // Those in force by now.
            match self.walk(self.settings().sources.get(std::mem::take(&mut asked)..).unwrap_or_default()).state() {
                // What there was once may come back: the data are held as long.
                Some(KeyState::Absent) if matches!(state, KeyState::Refused(_)) => (),
                Some(next) => {
                    pause = RETRY_BASE;
                    handle.set(next);
                }
                None => {
                    handle.wait_asked(&state, pause);
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Another key takes the place of a good one; none does not, nor one of a weaker source while a stronger one may yet answer.
    fn exchange(&self, handle: &KeyHandle, present: &KeyState) {
        let found = self.walk(&self.settings().sources);
        match found.state() {
            Some(next @ KeyState::Ready(_)) if next != *present && !found.may_yet_answer => {
                log::info!("the API key has changed");
                handle.set(next);
            }
            _ => log::debug!("the API key was asked for again"),
        }
    }

    /// Asks one source after the other until one gives a key.
    fn walk(&self, sources: &[KeySource]) -> Found {
        let mut found = Found::default();
        for source in sources {
            match self.resolve_one(source) {
                Ok(key) => {
                    found.key = Some(key);
                    break;
                }
                Err(err) => {
                    log::warn!("no API key from {}: {err}", source.setting);
                    found.may_yet_answer |= matches!(err, SourceError::Transient(_));
                }
            }
        }
        found
    }

    fn resolve_one(&self, source: &KeySource) -> Result<ApiKey, SourceError> {
        let Settings { aws, backend, client, .. } = &*self.settings();
        let aws = Aws { env: aws, client, clock: &self.clock };
        let text = match &source.way {
            Way::Plain(text) => text.clone(),
            Way::File(path) => file::resolve(path)?,
            Way::Backend(handle) => backend::resolve_one(handle, backend, &self.clock)?,
            Way::Kms(_) | Way::SecretsManager(_) | Way::Ssm(_) => member(kept(&source.way, &aws)?)?,
        };
        let key = ApiKey::parse(text.expose()).map_err(|err| SourceError::Permanent(err.to_string()))?;
        if !key.has_usual_form() {
            log::warn!("the API key from {} is not 32 hexadecimal digits; it is used all the same", source.setting);
        }
        Ok(key)
    }
}

/// What AWS keeps.
fn kept(way: &Way, aws: &Aws<'_>) -> Result<Secret, SourceError> {
    match way {
        Way::Kms(ciphertext) => kms::resolve(ciphertext, aws),
        Way::SecretsManager(id) => secrets_manager::resolve(id, aws),
        Way::Ssm(name) => ssm::resolve(name, aws),
        Way::Backend(_) | Way::File(_) | Way::Plain(_) => Err(SourceError::Permanent("AWS does not keep it".to_owned())),
    }
}

/// How long until the site is asked about a key that it was asked about `at` that time, or never.
fn until_validation(at: Option<Duration>, now: Duration) -> Duration {
    at.map_or(Duration::ZERO, |at| (at + VALIDATE_EVERY).saturating_sub(now))
}

fn validate(key: &ApiKey, settings: &Settings) {
    let Some(base) = &settings.validate_at else { return };
    match validate::validate(key, base, &settings.client) {
        Validity::Valid => log::info!("{base} says that the API key is valid"),
        refused @ Validity::Refused => log::error!("{base} says of the API key: {refused}"),
        unknown @ Validity::Unknown(_) => log::warn!("{base}: whether the API key is valid is {unknown}"),
    }
}

fn backend_may_run(backend: &backend::Settings) -> Result<(), SourceError> {
    let command = backend.command.as_deref().ok_or_else(backend::not_set)?;
    let named = |text| SourceError::Permanent(format!("{}: {text}", command.display()));
    backend::may_be_run(command, backend.allow_group_exec).map_err(named)
}

/// AWS's console keeps secrets as JSON objects, for which there are names in use; an object's only member is meant whatever its name.
fn member(text: Secret) -> Result<Secret, SourceError> {
    const NAMES: [&str; 4] = ["dd_api_key", "apiKey", "api_key", "DD_API_KEY"];
    let Ok(Value::Object(mut members)) = serde_json::from_str(text.expose()) else { return Ok(text) };
    let only = if members.len() == 1 { members.keys().next().cloned() } else { None };
    let name = NAMES.iter().find(|name| members.contains_key(**name)).map(|name| (*name).to_owned()).or(only);
    let found = name.and_then(|name| members.get_mut(&name)).and_then(|value| take_text(value, &[]));
    found.ok_or_else(|| SourceError::Permanent("the secret is a JSON object without a text called dd_api_key".to_owned()))
}

/// The text in base64 that `encoded` is.
fn text_of_base64(encoded: &Secret) -> Result<Secret, SourceError> {
    let bad = |what: &str| SourceError::Permanent(format!("the answer {what}"));
    let bytes = STANDARD.decode(encoded.expose()).map_err(|_| bad("holds no base64"))?;
    String::from_utf8(bytes).map(Secret::new).map_err(|_| bad("holds no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::sys::inbox::channel;
    use crate::sys::net::Reuse;

    fn resolver(sources: Vec<KeySource>) -> Resolver {
        let settings = Settings {
            sources,
            aws: AwsEnv::default(),
            backend: backend::Settings::default(),
            client: Client::new(Reuse::Never),
            refresh: None,
            validate_at: None,
        };
        Resolver::new(settings, Clock::new())
    }

    /// With credentials of no account.
    fn with_kms_at(endpoint: String, sources: Vec<KeySource>) -> Resolver {
        let text = || Some("x".to_owned());
        let aws = AwsEnv {
            access_key_id: text(),
            secret_access_key: text().map(Secret::new),
            endpoints: [Some(endpoint), None, None],
            ..AwsEnv::default()
        };
        Resolver::new(Settings { aws, ..(*resolver(sources).settings()).clone() }, Clock::new())
    }

    fn start(sources: Vec<KeySource>) -> KeyState {
        let (exits, _keep) = channel(4);
        resolver(sources).start(|| (), &exits).unwrap().state()
    }

    fn source(way: Way) -> KeySource {
        KeySource { setting: "some_setting", way }
    }

    fn plain(text: &str) -> KeySource {
        source(Way::Plain(Secret::new(text.to_owned())))
    }

    fn kms(text: &str) -> KeySource {
        source(Way::Kms(Secret::new(text.to_owned())))
    }

    fn ready(text: &str) -> KeyState {
        KeyState::Ready(ApiKey::parse(text).unwrap())
    }

    #[test]
    fn local_sources_are_final_at_once() {
        assert_eq!(start(vec![plain("abc")]), ready("abc"));
        assert_eq!(start(vec![]), KeyState::Absent);
        assert_eq!(start(vec![plain("\"\"")]), KeyState::Absent);
        assert_eq!(start(vec![plain("ENC[a] ENC[b]"), plain("abc")]), ready("abc"));
    }

    #[test]
    fn a_source_that_fails_gives_way_to_the_next() {
        assert_eq!(start(vec![source(Way::File("/nowhere/key".into())), plain("abc")]), ready("abc"));
    }

    #[test]
    fn a_remote_source_does_not_hold_up_the_start_and_gives_way_too() {
        let (exits, _keep) = channel(4);
        let handle = resolver(vec![kms("YWJj"), plain("abc")]).start(|| (), &exits).unwrap();
        assert_eq!(handle.wait_change(&KeyState::Pending, Duration::from_secs(3600)), ready("abc"));
    }

    #[test]
    fn a_local_source_that_fails_before_a_remote_one_does_not_hold_up_the_start_either() {
        // A service that is asked and does not answer before it is gone.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sources = vec![source(Way::File("/nowhere/key".into())), kms("YWJj"), plain("abc")];
        let resolver = with_kms_at(format!("http://{}", silent.local_addr().unwrap()), sources);
        let (exits, _keep) = channel(4);
        let handle = resolver.start(|| (), &exits).unwrap();
        assert_eq!(handle.state(), KeyState::Pending);
        drop(silent);
        assert_eq!(handle.wait_change(&KeyState::Pending, Duration::from_secs(3600)), ready("abc"));
    }

    #[test]
    fn when_no_source_is_left_the_owner_is_told() {
        let (exits, _keep) = channel(4);
        let (told_tx, told) = channel(1);
        let handle = resolver(vec![kms("?")]).start(move || told_tx.try_send(()).unwrap(), &exits).unwrap();
        assert_eq!(told.recv_deadline(Clock::new().instant_in(Duration::from_secs(3600))), Ok(()));
        assert_eq!(handle.state(), KeyState::Absent);
    }

    #[test]
    fn sources_of_changed_settings_take_the_place_of_the_old_for_good() {
        let (exits, _keep) = channel(4);
        let running = resolver(vec![plain("old")]);
        let handle = running.clone().start(|| (), &exits).unwrap();
        running.renew(&resolver(vec![plain("new")]));
        handle.ask();
        assert_eq!(handle.wait_change(&ready("old"), Duration::from_secs(3600)), ready("new"));
        // A refusal of the new one does not bring the old one back.
        handle.refuse(&ApiKey::parse("new").unwrap());
        running.renew(&resolver(vec![plain("new")]));
        handle.ask();
        let refused = KeyState::Refused(ApiKey::parse("new").unwrap());
        assert_eq!(handle.wait_change(&refused, Duration::from_secs(3600)), ready("new"));
    }

    #[test]
    fn a_source_that_is_down_for_the_moment_does_not_lose_its_good_key_to_a_weaker_one() {
        let nobody = || "http://127.0.0.1:0".to_owned();
        let resolver = with_kms_at(nobody(), vec![kms("YWJj"), plain("weaker")]);
        let handle = KeyHandle::new(ready("good"));
        resolver.exchange(&handle, &ready("good"));
        assert_eq!(handle.state(), ready("good"));
        let resolver = with_kms_at(nobody(), vec![kms("?"), plain("weaker")]);
        resolver.exchange(&handle, &ready("good"));
        assert_eq!(handle.state(), ready("weaker"), "what will not come back is no reason to wait");
    }

    #[test]
    fn the_site_is_asked_at_once_about_a_new_key_and_then_every_hour() {
        let seconds = Duration::from_secs;
        assert_eq!(until_validation(None, seconds(5)), Duration::ZERO);
        assert_eq!(until_validation(Some(seconds(5)), seconds(65)), seconds(3540));
        assert_eq!(until_validation(Some(seconds(5)), seconds(3605)), Duration::ZERO);
    }

    #[track_caller]
    fn check_member(text: &str, expected: Option<&str>) {
        let found = member(Secret::new(text.to_owned())).ok();
        assert_eq!(found.as_ref().map(Secret::expose), expected, "{text}");
    }

    #[test]
    fn a_secret_that_is_json_holds_the_key_under_a_known_name() {
        check_member("0123", Some("0123"));
        check_member(r#"{"apiKey":"b","dd_api_key":"a"}"#, Some("a"));
        check_member(r#"{"apiKey":"b","x":"y"}"#, Some("b"));
        check_member(r#"{"datadog":"c"}"#, Some("c"));
        check_member(r#"{"x":"y","z":"w"}"#, None);
        check_member(r#"{"dd_api_key":7}"#, None);
    }

    #[test]
    fn without_credentials_no_request_is_made() {
        let report = resolver(vec![kms("YWJj")]).report();
        assert_eq!(report.sources, [("some_setting", Err(aws::no_credentials()))]);
    }

    #[test]
    fn a_report_ends_at_the_first_source_that_gives_a_key() {
        let report = resolver(vec![source(Way::Backend("h".to_owned())), plain("abc"), plain("def")]).report();
        assert_eq!(report.sources, [("some_setting", Err(backend::not_set())), ("some_setting", Ok(()))]);
        assert_eq!(report.validity, None);
    }
}
