//! Regular expressions of the user's. The only file that names `regex-lite`.
//!
//! Patterns are written for the Datadog Agent, that is for Go's `regexp` (RE2). What Go reads in another way is translated
//! before:
//!
//! ```text
//! \Q...\E     literal text                       [a[b]  [a&&b]   no sets in sets: each character for itself
//! \< \>       literal signs, not edges of words  x{  {,5}        a curly that counts nothing is itself
//! \z          the end of the text, as here       \pL \p{Greek}   refused: no Unicode classes
//! ```
//! The same in both: `\d \w \s \b` know ASCII only, `(?i) (?m) (?s) (?U)`, named groups as `(?P<n>)` or `(?<n>)`,
//! leftmost-first matches, and in replacements `$1`, `${1}`, `$name`, `$$`, where `$1x` is a group called `1x`. Different and
//! left so: `(?i)` folds ASCII letters only, and octal escapes such as `\012` are refused.
//!
//! Time is linear in the text times the size of the pattern, which is limited when it is compiled; nothing backtracks. A
//! pattern with a literal that every match must have looks for that first, since the engine is slow and most texts do not
//! match.

use regex_lite::Regex;
use regex_lite::RegexBuilder;
use std::borrow::Cow;
use std::fmt;

/// A pattern is shorter than this.
const PATTERN_BYTES_MAX: usize = 8 * 1024;

/// And takes no more memory than this once compiled.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// A compiled pattern.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
    /// Stands in every text that matches; empty if none is known.
    needle: String,
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    pattern: String,
    why: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pattern `{}` cannot be used: {}", self.pattern, self.why)
    }
}

impl std::error::Error for PatternError {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.source)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Compiles a pattern in Go's syntax.
    pub fn parse(source: &str) -> Result<Pattern, PatternError> {
        let refuse = |why: String| PatternError { pattern: source.chars().take(200).collect(), why };
        if PATTERN_BYTES_MAX < source.len() {
            return Err(refuse(format!("longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let translated = translate(source);
        let compiled = RegexBuilder::new(&translated).size_limit(COMPILED_BYTES_MAX).build();
        let regex = compiled.map_err(|err| refuse(err.to_string()))?;
        Ok(Pattern { source: source.to_owned(), regex, needle: needle(&translated) })
    }

    /// Whether it matches anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        text.contains(&self.needle) && self.regex.is_match(text)
    }

    /// `text` with every match replaced, where `$1` and its like stand for what groups matched; `None` if nothing matches. What
    /// is longer than `bytes_max` is cut off.
    pub fn replace(&self, text: &str, replacement: &str, bytes_max: usize) -> Option<String> {
        if !text.contains(&self.needle) {
            return None;
        }
        let mut replaced = String::new();
        let mut copied = 0;
        let mut captures = self.regex.captures_iter(text).peekable();
        captures.peek()?;
        for found in captures {
            let Some(whole) = found.get(0) else { continue };
            replaced.push_str(text.get(copied..whole.start()).unwrap_or_default());
            found.expand(replacement, &mut replaced);
            copied = whole.end();
            if bytes_max < replaced.len() {
                break;
            }
        }
        replaced.push_str(text.get(copied..).unwrap_or_default());
        replaced.truncate(replaced.floor_char_boundary(bytes_max));
        Some(replaced)
    }

    /// Each of `templates` with what the groups of the first match stand for; `None` if nothing matches.
    pub fn expand<'t>(&self, text: &str, templates: impl Iterator<Item = &'t str>) -> Option<Vec<String>> {
        let found = self.regex.captures(text)?;
        let expand = |template: &str| {
            let mut expanded = String::new();
            found.expand(template, &mut expanded);
            expanded
        };
        Some(templates.map(expand).collect())
    }
}

/// The pattern as `regex-lite` has to read it.
fn translate(source: &str) -> Cow<'_, str> {
    if !source.contains(['\\', '[', '{']) {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len() + 8);
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => translate_escape(after, &mut out),
            '[' => translate_class(after, &mut out),
            '{' if !is_count(after) => {
                out.push_str("\\{");
                after
            }
            _ => {
                out.push(c);
                after
            }
        };
    }
    Cow::Owned(out)
}

/// What follows a back slash; the answer is what is left.
fn translate_escape<'s>(after: &'s str, out: &mut String) -> &'s str {
    if let Some(literal) = after.strip_prefix('Q') {
        let (literal, rest) = literal.split_once("\\E").unwrap_or((literal, ""));
        out.push_str(&regex_lite::escape(literal));
        return rest;
    }
    let Some(c) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    if !matches!(c, '<' | '>') {
        out.push('\\');
    }
    out.push(c);
    let rest = &after[c.len_utf8()..];
    // The braces of `\x{10ffff}` count nothing, but have to stay.
    match rest.find('}') {
        Some(end) if c == 'x' && rest.starts_with('{') => {
            out.push_str(&rest[..=end]);
            &rest[end + 1..]
        }
        _ => rest,
    }
}

/// A class in brackets, up to its end.
fn translate_class<'s>(after: &'s str, out: &mut String) -> &'s str {
    out.push('[');
    let mut rest = after;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    if let Some(literal) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = literal;
    }
    let mut last = '\0';
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            ']' => {
                out.push(']');
                return after;
            }
            '\\' => {
                rest = translate_escape(after, out);
                last = '\0';
                continue;
            }
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |at| at + 2);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
                last = '\0';
                continue;
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '-' if last == '-' => out.push_str("\\-"),
            _ => out.push(c),
        }
        last = c;
        rest = after;
    }
    rest
}

/// Whether what follows a curly is a count: `3}`, `3,}` or `3,5}`.
fn is_count(after: &str) -> bool {
    let Some((count, _)) = after.split_once('}') else { return false };
    let (min, max) = count.split_once(',').unwrap_or((count, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !min.is_empty() && is_number(min) && is_number(max)
}

/// The longest text that every match must have: a run of ordinary characters outside groups, in a pattern without alternatives
/// and flags. Empty if there is none.
fn needle(pattern: &str) -> String {
    if pattern.contains("(?") || pattern.contains('|') {
        return String::new();
    }
    let (mut best, mut run) = (String::new(), String::new());
    let mut depth = 0;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let literal = match c {
            '\\' => chars.next().filter(|c| c.is_ascii_punctuation()),
            '.' | '^' | '$' | '+' | '*' | '?' | '{' | '}' | '[' | ']' | '(' | ')' => None,
            c => Some(c),
        };
        let is_optional = matches!(chars.peek(), Some('*' | '?' | '{'));
        match literal {
            Some(c) if depth == 0 && !is_optional => run.push(c),
            _ => {
                if best.len() < run.len() {
                    best.clone_from(&run);
                }
                run.clear();
            }
        }
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '[' => skip_class(&mut chars),
            // An escape with a tail, such as `\x41`, or a count: what follows is no literal text.
            '\\' if literal.is_none() => return best,
            '{' => while chars.next().is_some_and(|c| c != '}') {},
            _ => {}
        }
    }
    if best.len() < run.len() { run } else { best }
}

fn skip_class(chars: &mut std::iter::Peekable<std::str::Chars>) {
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            // A named class has a bracket of its own.
            '[' => while chars.next().is_some_and(|c| c != ']') {},
            ']' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, replacement: &str, expected: &str) {
        let pattern = Pattern::parse(pattern).unwrap();
        let replaced = pattern.replace(text, replacement, 1000);
        assert_eq!(replaced.is_some(), pattern.is_match(text));
        assert_eq!(replaced.as_deref().unwrap_or(text), expected);
    }

    #[test]
    fn the_agents_examples_work() {
        check("token/(.*)", "http://h/token/secret", "?", "http://h/?");
        check("(.*)\\/$", "/users/", "$1", "/users");
        check("foo", "foo and foo", "bar", "bar and bar");
        check("(?s).*", "line\nline", "", "");
        check("[0-9]{10}", "id 0123456789!", "[REDACTED]", "id [REDACTED]!");
    }

    #[test]
    fn replacements_name_groups_as_go_does() {
        check("(a)(?P<n>b)", "ab", "$2${1}x$n$$1${n}", "baxb$1b");
        check("(a)b", "ab", "$1x", "");
        check("(a)b", "ab", "$9${", "${");
    }

    #[test]
    fn what_go_reads_in_another_way_is_translated() {
        check(r"\Qa.b[\E.", "a.b[x axb[x", "-", "- axb[x");
        check(r"\<b\>", "a<b>c", "-", "a-c");
        check("[a[b]+", "x[ab]", "-", "x-]");
        check("[]&&x]+", "]&x", "-", "-");
        check("[[:digit:]]+", "a12", "-", "a-");
        check("query {.*}", "query { id }", "?", "?");
        check("a{,2}", "aa{,2}", "-", "a-");
        check(r"\x{e9}", "caf\u{e9}", "e", "cafe");
        check("a{2}", "aaa", "-", "-a");
    }

    #[test]
    fn an_empty_match_behind_another_is_none() {
        check(".*", "abc", "?", "?");
        check("x*", "abc", "-", "-a-b-c-");
    }

    #[test]
    fn what_cannot_be_compiled_is_refused_by_name() {
        for pattern in [r"\pL", r"\p{Greek}", "(", "a**b(", "[z-a]", "(?=a)", r"(a)\1"] {
            let err = Pattern::parse(pattern).unwrap_err().to_string();
            assert!(err.starts_with(&format!("pattern `{pattern}` cannot be used: ")), "{err}");
        }
        assert!(Pattern::parse(&"(a{1000}){1000}".repeat(3)).is_err());
        assert!(Pattern::parse(&"a".repeat(10_000)).is_err());
    }

    #[test]
    fn the_text_that_is_looked_for_first_is_in_every_match() {
        let of = |pattern: &str| needle(&translate(pattern));
        assert_eq!(of("token/(.*)"), "token/");
        assert_eq!(of(r"a\.b?c"), "a.");
        assert_eq!(of("ab*cd+e"), "cd");
        assert_eq!(of("(abc)d[efg]hij"), "hij");
        assert_eq!(of("(?i)abc"), "");
        assert_eq!(of("abc|d"), "");
        assert_eq!(of(r"ab{3}c\d123"), "a");
        assert_eq!(of("[[:alpha:]]xyz"), "xyz");
        assert_eq!(of("(abc)?"), "");
    }

    #[test]
    fn a_replaced_text_is_bounded() {
        let pattern = Pattern::parse("x*").unwrap();
        let long = "y".repeat(10_000);
        assert_eq!(pattern.replace(&long, &"é".repeat(100), 999).unwrap().len(), 998);
    }

    #[test]
    fn hostile_patterns_take_linear_time() {
        let pattern = Pattern::parse("(a*)*(a|aa)+$").unwrap();
        assert!(!pattern.is_match(&format!("{}b", "a".repeat(20_000))));
    }
}
