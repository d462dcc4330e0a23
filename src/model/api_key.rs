//! The API key as a type that cannot be printed, and the handle through which everyone asks for it.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

/// A key that is fit for a request header. It has one door, [`ApiKey::parse`], and no way to print it. Clones share one text, which is
/// wiped when the last of them is let go.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Arc<Zeroizing<String>>);

/// Datadog's keys have 32 to 40 characters.
const BYTES_MAX: usize = 1024;

/// What may be shown of a key.
const ENDING: usize = 5;

/// Quotes and an editor's byte order mark come along when keys are copied.
fn is_around(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '\u{feff}')
}

/// Whether `text` looks like a key: as an API key does (32 hexadecimal digits) or one for applications (40 of them, or `ddapp_` and the
/// like before letters and digits), whatever was copied along. Such a text is printed nowhere, since people mistake settings.
pub fn has_form_of_key(text: &str) -> bool {
    let text = text.trim_matches(is_around);
    let text = text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or(text).trim_end_matches('/');
    let is_marked = |(mark, rest): (&str, &str)| {
        mark.starts_with("dd") && 30 <= rest.len() && [mark, rest].concat().bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    (matches!(text.len(), 32 | 40) && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || text.split_once('_').is_some_and(is_marked)
}

/// `text` without the words in it that look like keys.
pub fn masked(text: &str) -> String {
    const BETWEEN: [char; 5] = [',', ' ', '/', '=', '&'];
    let words = text.split_inclusive(BETWEEN).map(|piece| {
        let word = piece.trim_end_matches(BETWEEN);
        if has_form_of_key(word) { ["***", &piece[word.len()..]].concat() } else { piece.to_owned() }
    });
    words.collect()
}

/// Why a text is no key. Carries nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKeyError {
    /// Nothing but blanks and quotes.
    Empty,
    /// Characters that no header may carry.
    NotPrintable,
    /// More than any header may carry.
    TooLong,
    /// `ENC[...]`, in whole or in part, where it is not resolved.
    Handle,
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiKeyError::Empty => write!(f, "the key is empty"),
            ApiKeyError::TooLong => write!(f, "the key is longer than {BYTES_MAX} bytes"),
            ApiKeyError::NotPrintable => write!(f, "the key has characters that a header cannot carry"),
            ApiKeyError::Handle => write!(f, "there is ENC[...] in it, which is resolved only where it is all of api_key"),
        }
    }
}

impl std::error::Error for ApiKeyError {}

impl ApiKey {
    /// Cleans `text` as it comes from files, consoles and copy and paste: white space, quotes and an editor's byte order mark
    /// at both ends go, blanks inside too.
    pub fn parse(text: &str) -> Result<ApiKey, ApiKeyError> {
        let mut key = Zeroizing::new(String::with_capacity(text.len())); // growing would leave pieces behind
        key.extend(text.trim_matches(is_around).chars().filter(|c| !c.is_whitespace()));
        if key.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiKeyError::NotPrintable);
        }
        if key.as_bytes().windows(4).any(|bytes| bytes.eq_ignore_ascii_case(b"ENC[")) {
            return Err(ApiKeyError::Handle);
        }
        if BYTES_MAX < key.len() {
            return Err(ApiKeyError::TooLong);
        }
        Ok(ApiKey(Arc::new(key)))
    }

    /// The key itself, for the one header that carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its last five characters, by which people tell keys apart; none of a key that is so short that they would tell much of it.
    pub fn ending(&self) -> &str {
        self.0.len().checked_sub(ENDING).filter(|rest| 3 * ENDING <= *rest).map_or("", |rest| &self.0[rest..])
    }

    /// The value of an `Authorization` header that carries the key.
    pub fn bearer(&self) -> Zeroizing<String> {
        Zeroizing::new(["Bearer ", self.0.as_str()].concat())
    }

    /// Whether it looks like every key that Datadog hands out. Others are used all the same, after a warning.
    pub fn has_usual_form(&self) -> bool {
        self.0.len() == 32 && self.0.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

/// Never the key.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey(***)")
    }
}

/// What is known of the key now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// A source has been asked and may still answer.
    Pending,
    /// Here it is.
    Ready(ApiKey),
    /// The intake did not take it; it is being resolved again.
    Refused(ApiKey),
    /// No source gives one, and none will.
    Absent,
}

/// Shared by the thread that resolves the key and those that use it.
///
/// A mutex, because several senders read the same present state at their own time; a channel would deliver each state once.
#[derive(Clone, Debug)]
pub struct KeyHandle {
    shared: Arc<(Mutex<Shared>, Condvar)>,
}

#[derive(Debug)]
struct Shared {
    state: KeyState,
    /// Someone wants the sources to be asked again.
    asked: bool,
}

impl KeyHandle {
    /// A handle in the given state.
    pub fn new(state: KeyState) -> KeyHandle {
        KeyHandle { shared: Arc::new((Mutex::new(Shared { state, asked: false }), Condvar::new())) }
    }

    /// The state now.
    pub fn state(&self) -> KeyState {
        self.lock().state.clone()
    }

    /// Sets what a source has answered.
    pub fn set(&self, state: KeyState) {
        self.lock().state = state;
        self.shared.1.notify_all();
    }

    /// The intake refused `key`. Another key that has come in the meantime stays.
    pub fn refuse(&self, key: &ApiKey) {
        let mut shared = self.lock();
        if shared.state == KeyState::Ready(key.clone()) {
            shared.state = KeyState::Refused(key.clone());
            self.shared.1.notify_all();
        }
    }

    /// Asks for a look at the sources; what there is stays in use until they have answered.
    pub fn ask(&self) {
        self.lock().asked = true;
        self.shared.1.notify_all();
    }

    /// Waits until the state is another than `known`, `wait` at most, and returns it.
    pub fn wait_change(&self, known: &KeyState, wait: Duration) -> KeyState {
        let (_, changed) = &*self.shared;
        let guard = changed.wait_timeout_while(self.lock(), wait, |shared| shared.state == *known);
        guard.unwrap_or_else(PoisonError::into_inner).0.state.clone()
    }

    /// For whoever resolves the key: waits in the same way, and no longer than until someone asks. Says whether someone did.
    pub fn wait_asked(&self, known: &KeyState, wait: Duration) -> bool {
        let (_, changed) = &*self.shared;
        let guard = changed.wait_timeout_while(self.lock(), wait, |shared| shared.state == *known && !shared.asked);
        std::mem::take(&mut guard.unwrap_or_else(PoisonError::into_inner).0.asked)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, ApiKeyError>) {
        assert_eq!(ApiKey::parse(text).as_ref().map(ApiKey::expose), expected.as_ref().map(|key| *key));
    }

    #[test]
    fn keys_are_cleaned_of_what_copying_adds() {
        check("abc", Ok("abc"));
        check(" \"ab c\"\n\n", Ok("abc"));
        check("'12345'", Ok("12345"));
        check("\u{feff}abc\r\n", Ok("abc"));
    }

    #[test]
    fn what_no_header_can_carry_is_refused() {
        check(" \"\" ", Err(ApiKeyError::Empty));
        check("a\u{7}b", Err(ApiKeyError::NotPrintable));
        check("schlüssel", Err(ApiKeyError::NotPrintable));
        check(&"a".repeat(1025), Err(ApiKeyError::TooLong));
    }

    #[test]
    fn a_handle_that_nobody_has_resolved_is_no_key() {
        for text in ["ENC[a]", "ENC[a] ENC[b]", "\"ENC[a]\"", "enc[a]", "E N C[a", "xENC[a]x"] {
            check(text, Err(ApiKeyError::Handle));
        }
    }

    #[track_caller]
    fn check_form(text: &str, expected: bool) {
        assert_eq!(has_form_of_key(text), expected, "{text}");
    }

    #[test]
    fn what_could_be_a_key_is_known_by_its_form() {
        check_form("0123456789abcdef0123456789abcdef", true);
        check_form(" \"0123456789ABCDEF0123456789abcdef\"\n", true);
        check_form("0123456789abcdef0123456789abcdef01234567", true);
        check_form("ddapp_0123456789abcdefGHIJKLMNOPQRSTUVWX", true);
        check_form("https://0123456789abcdef0123456789abcdef/", true);
        check_form("0123456789abcdef0123456789abcde", false);
        check_form("0123456789abcdef0123456789abcdeg", false);
        check_form("/0123456789abcdef0123456789abcdef", false);
        check_form("arn:aws:ssm:eu-west-1:1:parameter/dd", false);
        check_form("ddapp_short", false);
        assert_eq!(masked("a:b,0123456789abcdef0123456789abcdef, c"), "a:b,***, c");
        assert_eq!(masked("https://h/x?k=0123456789abcdef0123456789abcdef"), "https://h/x?k=***");
        assert_eq!(
            masked("git.commit.sha:0123456789abcdef0123456789abcdef01234567 x_y"),
            "git.commit.sha:0123456789abcdef0123456789abcdef01234567 x_y"
        );
    }

    #[test]
    fn a_key_cannot_be_printed() {
        let key = ApiKey::parse("0123456789abcdef0123456789abcdef").unwrap();
        assert!(key.has_usual_form());
        assert_eq!(key.ending(), "bcdef");
        assert_eq!(format!("{:?}", KeyState::Ready(key)), "Ready(ApiKey(***))");
        assert_eq!(ApiKey::parse("a-key-of-one-who-tries-things").unwrap().ending(), "hings");
        assert_eq!(ApiKey::parse("a-short-one").unwrap().ending(), "");
    }

    #[test]
    fn a_refusal_of_an_old_key_leaves_the_new_one() {
        let (old, new) = (ApiKey::parse("old").unwrap(), ApiKey::parse("new").unwrap());
        let handle = KeyHandle::new(KeyState::Ready(new.clone()));
        handle.refuse(&old);
        assert_eq!(handle.state(), KeyState::Ready(new.clone()));
        handle.refuse(&new);
        assert_eq!(handle.wait_change(&KeyState::Pending, Duration::from_secs(3600)), KeyState::Refused(new));
    }
}
