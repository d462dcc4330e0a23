//! Takes secrets out of text that leaves the machine or is shown: settings, variables, log lines.
//!
//! A secret is known by its form (keys of Datadog's, tokens, certificates, `user:password@` in addresses), by the name it stands behind, in
//! YAML, JSON, `name=value` and prose alike, and by its value, where the caller knows it. What is doubtful goes: a mask too many costs a
//! question, one too few a key. The names are those of the reference agent's scrubber (pkg/util/scrubber), and what a line ends in is
//! taken as broadly as there.

use std::borrow::Cow;

/// In place of what was taken out. Not a character of what was there is left, nor its length.
const MASK: &str = "***";

/// A name is one of a secret if it contains one of these,
const PARTS: [&str; 5] = ["pass", "pwd", "pswd", "additional_endpoints", "credential"];

/// or ends in one of these. Dashes count as underscores.
const ENDS: [&str; 23] = [
    "apikey",
    "api_key",
    "appkey",
    "app_key",
    "application_key",
    "access_key",
    "private_key",
    "privkey",
    "priv_key",
    "privacy_key",
    "authkey",
    "auth_key",
    "authentication_key",
    "consumer_key",
    "token",
    "token_id",
    "jwt",
    "secret",
    "secret_id",
    "community",
    "community_string",
    "authorization",
    "kms_encrypted",
];

/// Names for which a prefix or the whole decides: headers, and lists.
fn is_header_or_list(name: &str) -> bool {
    let of_header = name.starts_with("x_") && ["key", "auth", "passcode"].iter().any(|end| name.ends_with(end));
    of_header || matches!(name, "community_strings" | "cookie" | "set_cookie" | "statuskey" | "lodauth" | "sec_websocket_key")
}

/// Whether what stands behind `name` is a secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    PARTS.iter().any(|part| name.contains(part)) || ENDS.iter().any(|end| name.ends_with(end)) || is_header_or_list(&name)
}

/// `text` without secrets, of which some may be known by `values`.
pub fn scrub(text: &str, values: &[&str]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = Inside::Nothing;
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        inside = scrub_line(line, inside, &mut out);
        out.push_str(end);
    }
    // The longest first, as one may be part of another.
    let mut values: Vec<&str> = values.to_vec();
    while let Some(at) = (0..values.len()).max_by_key(|at| values[*at].len()) {
        let value = values.swap_remove(at);
        if VALUE_BYTES_MIN <= value.len() && out.contains(value) {
            out = out.replace(value, MASK);
        }
    }
    out
}

/// Shorter ones are words that stand everywhere, such as `true`.
const VALUE_BYTES_MIN: usize = 6;

/// What a line is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// A certificate or a key, up to its last line.
    Pem,
    /// The value of a secret name, which goes on over all lines with a deeper indent than the name has.
    Value(usize),
    /// The same, and list items may be as deep as the name.
    Block(usize),
    /// The same of `additional_endpoints`, where addresses stay.
    Endpoints(usize),
}

fn scrub_line(line: &str, inside: Inside, out: &mut String) -> Inside {
    if inside == Inside::Pem {
        return if line.contains("-----END") { Inside::Nothing } else { Inside::Pem };
    }
    let trimmed = line.trim_start();
    let indent = line.len() - trimmed.len();
    let is_item = trimmed.starts_with('-');
    let goes_on = |start: usize| start < indent || trimmed.is_empty() || (is_item && start == indent);
    match inside {
        Inside::Value(start) | Inside::Block(start) if goes_on(start) && !(is_item && inside == Inside::Value(indent)) => {
            out.push_str(&line[..indent]);
            if !trimmed.is_empty() {
                out.push_str(MASK);
            }
            return inside;
        }
        Inside::Endpoints(start) if goes_on(start) => {
            scrub_endpoint(line, indent, out);
            return inside;
        }
        _ => (),
    }
    if let Some(at) = line.find("-----BEGIN") {
        scrub_words(&line[..at], out);
        out.push_str(MASK);
        return if line[at..].contains("-----END") { Inside::Nothing } else { Inside::Pem };
    }
    scrub_words(line, out)
}

/// A line below `additional_endpoints`: an address, a key in a list, or a name with its value.
fn scrub_endpoint(line: &str, indent: usize, out: &mut String) {
    let (before, flow) = line.split_at(line.find('[').unwrap_or(line.len()));
    if before.contains(": ") || before.trim_end().ends_with(':') || line.trim().is_empty() || line.trim_start().starts_with('#')
    {
        scrub_words(before, out);
        out.push_str(if flow.is_empty() { "" } else { MASK });
    } else {
        out.push_str(&line[..indent]);
        out.push_str(MASK);
    }
}

/// Copies `line` word by word, without what is a secret by its form or its name. The answer is what the lines behind it are part of.
fn scrub_words(line: &str, out: &mut String) -> Inside {
    let mut rest = line;
    let mut inside = Inside::Nothing;
    while let Some(c) = rest.chars().next() {
        if !is_of_word(c) {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let (word, behind) = rest.split_at(rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()));
        if let Some(address) = behind.strip_prefix("://") {
            out.push_str(word);
            out.push_str("://");
            rest = without_user(address, out);
            continue;
        }
        if let Some(behind) = without_pair(behind) {
            out.push_str(MASK);
            rest = behind;
            continue;
        }
        if matches!(word, "Bearer" | "Basic" | "bearer" | "basic") && behind.starts_with(' ') {
            let token = behind.trim_start();
            rest = &token[token.find([' ', '"', '\'', ',']).unwrap_or(token.len())..];
            out.extend([word, " ", MASK]);
            continue;
        }
        if word == "arn" && behind.starts_with(":aws") {
            // It names a secret and is none.
            let (arn, behind) = rest.split_at(rest.find([' ', '"', '\'', ',']).unwrap_or(rest.len()));
            out.push_str(arn);
            rest = behind;
            continue;
        }
        out.push_str(&masked_by_form(word));
        rest = behind;
        if let Some((mark, value)) = separated(behind).filter(|_| is_secret_name(word)) {
            out.push_str(&behind[..behind.len() - value.len()]);
            if let Some(behind) = value.strip_prefix(MASK) {
                // Hidden before, perhaps in the middle of a line that goes on.
                out.push_str(MASK);
                rest = behind;
                continue;
            }
            let is_yaml = mark == ':';
            let start = line.len() - word.len() - behind.len();
            // Only a name at the beginning of a line has a value that goes on over several.
            let is_first = line[..start].chars().all(|c| matches!(c, ' ' | '-' | '"' | '\''));
            if is_yaml && (value.trim().is_empty() || value.starts_with(['|', '>', '#', '&', '!'])) {
                out.push_str(if value.trim().is_empty() { "" } else { MASK });
                return match word {
                    _ if !is_first => Inside::Nothing,
                    "additional_endpoints" => Inside::Endpoints(start),
                    _ => Inside::Block(start),
                };
            }
            if is_yaml && is_first {
                inside = Inside::Value(start);
            }
            rest = &value[value_len(value, is_yaml)..];
            if rest.len() < value.len() {
                out.push_str(MASK);
            }
        }
    }
    inside
}

/// The sign between a name and its value, and the value, from its quote on. One blank may stand around an equals sign.
fn separated(behind: &str) -> Option<(char, &str)> {
    let behind = behind.strip_prefix(['"', '\'']).unwrap_or(behind);
    let sign = behind.trim_start_matches(' ');
    let value = sign.strip_prefix([':', '='])?;
    match sign.as_bytes()[0] {
        b':' => Some((':', value.trim_start_matches(' '))),
        _ => Some(('=', value.strip_prefix(' ').unwrap_or(value))),
    }
}

/// How far a value goes: to its quote, the end of a YAML line or of one with a bracket, or the next blank or `&` behind an equals sign.
fn value_len(value: &str, is_yaml: bool) -> usize {
    let closing = match value.as_bytes().first() {
        Some(b'"') => Some('"'),
        Some(b'\'') => Some('\''),
        Some(b'{' | b'[') => return value.len(),
        _ if is_yaml => return value.len(),
        _ => None,
    };
    let Some(quote) = closing else { return value.find([' ', '&', '"', '\'']).unwrap_or(value.len()) };
    let mut is_escaped = false;
    for (at, c) in value.char_indices().skip(1) {
        match c {
            c if c == quote && !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    value.len()
}

/// Copies an address without `user:password@`, and returns what is behind that. A password may have any sign in it, even `/` and `@`, so
/// all goes up to the word's last `@`.
fn without_user<'a>(address: &'a str, out: &mut String) -> &'a str {
    let end = address.find([' ', '"', '\'', '<', '>', '|']).unwrap_or(address.len());
    match address[..end].rfind('@') {
        Some(at) => {
            out.push_str(MASK);
            &address[at..]
        }
        None => address,
    }
}

/// What is behind `:password` where an `@` follows, as in an address without its scheme.
fn without_pair(behind: &str) -> Option<&str> {
    let end = behind.find([' ', '"', '\'', '<', '>', '|', ',', '{', '[']).unwrap_or(behind.len());
    behind[..end].rfind('@').filter(|at| behind.starts_with(':') && 1 < *at).map(|at| &behind[at..])
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || !c.is_ascii() || matches!(c, '_' | '-')
}

/// A mask in place of a word that looks like a key or a token.
fn masked_by_form(word: &str) -> Cow<'_, str> {
    let is_hex = matches!(word.len(), 32 | 40 | 64) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let begins = ["ddapp_", "ddapi_", "DDRCM_", "eyJ"].iter().any(|mark| word.len() > 16 && word.starts_with(mark));
    let is_of_aws = word.len() == 20 && (word.starts_with("AKIA") || word.starts_with("ASIA"));
    if is_hex || begins || is_of_aws { Cow::Borrowed(MASK) } else { Cow::Borrowed(word) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: &str = "0123456789abcdef0123456789abcdef";
    const APP: &str = "0123456789ABCDEF0123456789abcdef01234567";

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(scrub(text, &[]), expected);
    }

    #[test]
    fn keys_and_tokens_are_known_by_their_form() {
        check(&format!("sent with {API}, then"), "sent with ***, then");
        check(&format!("/{APP}?x"), "/***?x");
        check("a ddapp_0123456789abcdefGHIJKLMNOPQRSTUVWX b", "a *** b");
        check("DDRCM_ABCDEFGHIJKLMNOPQRSTUVWXYZ", "***");
        check("Authorization=Bearer abc.def", "Authorization=*** abc.def"); // see the next one
        check("with Bearer abc.def-ghi, and", "with Bearer ***, and");
        check("with Basic dXNlcjpwYXNz", "with Basic ***");
        check("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0", "***.***");
        check("AKIAIOSFODNN7EXAMPLE", "***");
        check("0123456789abcdef0123456789abcde is one short", "0123456789abcdef0123456789abcde is one short");
    }

    #[test]
    fn what_stands_behind_a_secret_name_goes() {
        for name in ["api_key", "apikey", "DD_API_KEY", "app_key", "password", "snmp_pass", "pwd", "token", "auth_token", "jwt"]
        {
            check(&format!("{name}: it's # a \"value\""), &format!("{name}: ***"));
            check(&format!("  - {name}: value"), &format!("  - {name}: ***"));
            check(&format!("{name}=value&b=c d"), &format!("{name}=***&b=c d"));
            check(&format!("{{\"{name}\": \"va\\\"l,ue\", \"b\": 1}}"), &format!("{{\"{name}\": ***, \"b\": 1}}"));
            check(&format!("# {name}: value"), &format!("# {name}: ***"));
        }
        for name in
            ["community_string", "authKey", "privKey", "client_secret", "secret_id", "aws_secret_access_key", "private_key"]
        {
            check(&format!("{name}: value"), &format!("{name}: ***"));
        }
        for name in ["x-api-key", "X-Auth", "dd-api-key", "cookie", "Authorization", "token_id", "consumer_key", "community"] {
            check(&format!("{name}: value"), &format!("{name}: ***"));
        }
        check("password = \"x\" y", "password = *** y");
        check("--mysql_password=hunter2 --user=me", "--mysql_password=*** --user=me");
    }

    #[test]
    fn names_that_only_sound_like_secrets_keep_their_values() {
        for line in [
            "api_key_file: /etc/key",
            "api_key_secret_arn: arn:aws:secretsmanager:eu-west-1:1:secret:x",
            "secret_backend_command: /bin/keys",
            "secret_refresh_interval: 60",
            "key: value",
            "app_key =  (default)",
            "dogstatsd_port: 8125",
            "the key, a token and the password",
        ] {
            check(line, line);
        }
    }

    #[test]
    fn addresses_lose_their_users() {
        check("proxy http://user:pa@ss/w:rd@host:3128/x refused", "proxy http://***@host:3128/x refused");
        check("\"https://token@host\": 1", "\"https://***@host\": 1");
        check("https: user:p%40ss@host:3128", "https: ***@host:3128");
        check("https://host:443/a", "https://host:443/a");
        check("mail me@host: now", "mail me@host: now");
    }

    #[test]
    fn certificates_and_blocks_go_as_a_whole() {
        check(
            "tls: |\n  -----BEGIN PRIVATE KEY-----\n  MIIB\n  -----END PRIVATE KEY-----\nenv: a",
            "tls: |\n  ***\n\n\nenv: a",
        );
        check("one: -----BEGIN X-----\\nMII\\n-----END X-----", "one: ***");
        check("community_strings:\n- public\n- 'other'\nport: 162", "community_strings:\n***\n***\nport: 162");
        check("a:\n  password: |\n    one\n\n    two\n  user: me", "a:\n  password: ***\n    ***\n\n    ***\n  user: me");
        check("password: >-\n  one\nb: c", "password: ***\n  ***\nb: c");
        check("- password: 'one\n    two'\n  user: me\n- b", "- password: ***\n    ***\n  user: me\n- b");
        check("password: one\n  two\nb: c", "password: ***\n  ***\nb: c");
        check("password: &anchor hunter2\nb: c", "password: ***\nb: c");
    }

    #[test]
    fn further_endpoints_keep_their_addresses_and_nothing_else() {
        check(
            "additional_endpoints:\n  \"https://a\":\n  - short\n  - other # note\n  https://b: [k1, k2]\n  https://c: [\n    k3,\n    k4]\nx: y",
            "additional_endpoints:\n  \"https://a\":\n  ***\n  ***\n  https://b: ***\n  https://c: ***\n    ***\n    ***\nx: y",
        );
        check(
            "logs_config:\n  additional_endpoints:\n  - api_key: short\n    Host: h\n  batch_wait: 5",
            "logs_config:\n  additional_endpoints:\n  - api_key: ***\n    Host: h\n  batch_wait: 5",
        );
        check("additional_endpoints: {\"https://a\": [k1]}", "additional_endpoints: ***");
        check("DD_APM_ADDITIONAL_ENDPOINTS={\"https://a\":[\"k1\"]}", "DD_APM_ADDITIONAL_ENDPOINTS=***");
    }

    #[test]
    fn what_was_hidden_before_costs_the_rest_of_its_line_nothing() {
        check("{\"error\":\"token: ***\",\"b\":1}", "{\"error\":\"token: ***\",\"b\":1}");
        check("api_key = *** (DD_API_KEY)", "api_key = *** (DD_API_KEY)");
    }

    #[test]
    fn known_values_go_wherever_they_stand() {
        assert_eq!(scrub("a hunter2 b hunter22 c-hunter2", &["hunter2", "hunter22", "abc", ""]), "a *** b *** c-***");
    }
}
