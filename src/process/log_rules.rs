//! Processing rules for log lines, which the user writes as for the Datadog Agent (`logs_config.processing_rules`).

use crate::model::log_line::LogLine;
use crate::process::logs::MESSAGE_BYTES_MAX;
use crate::process::pattern::Pattern;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Lines that match do not go on.
    Exclude(Pattern),
    /// Lines that do not match do not go on.
    Include(Pattern),
    /// What matches is replaced, where `$1` and its like stand for what groups matched.
    Mask(Pattern, String),
}

/// Applies rules in their order; whether the line goes on.
pub fn apply(rules: &[Rule], message: &mut String) -> bool {
    rules.iter().all(|rule| match rule {
        Rule::Exclude(pattern) => !pattern.is_match(message),
        Rule::Include(pattern) => pattern.is_match(message),
        Rule::Mask(pattern, placeholder) => {
            // One more than a message may have, so that it can be seen to be too long.
            if let Some(masked) = pattern.replace(message, placeholder, MESSAGE_BYTES_MAX + 1) {
                *message = masked;
            }
            true
        }
    })
}

/// Puts lines together that are one message: those up to the next one that matches. `T` travels with each.
#[derive(Debug)]
pub struct Joiner<T> {
    begins: Pattern,
    open: Option<(LogLine, T)>,
}

impl<T> Joiner<T> {
    /// Messages begin with lines that match.
    pub fn new(begins: Pattern) -> Joiner<T> {
        Joiner { begins, open: None }
    }

    /// Takes a line; returns the message that it ends, if any. `merge` is for what travels with them.
    pub fn line(&mut self, line: LogLine, with: T, merge: impl FnOnce(&mut T, T)) -> Option<(LogLine, T)> {
        let joins = |open: &LogLine| {
            open.request_id == line.request_id
                && open.message.len() + line.message.len() < MESSAGE_BYTES_MAX
                && !self.begins.is_match(&line.message)
        };
        match &mut self.open {
            Some((open, held)) if joins(open) => {
                open.message.push('\n');
                open.message.push_str(&line.message);
                merge(held, with);
                None
            }
            open => open.replace((line, with)),
        }
    }

    /// The message that waits for further lines.
    pub fn take(&mut self) -> Option<(LogLine, T)> {
        self.open.take()
    }

    /// Whether one waits.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[track_caller]
    fn check(rules: &[Rule], message: &str, expected: Option<&str>) {
        let mut text = message.to_owned();
        let goes_on = apply(rules, &mut text);
        assert_eq!(goes_on.then_some(text.as_str()), expected, "{message}");
    }

    #[test]
    fn lines_are_kept_dropped_and_masked_in_order() {
        let platform = [Rule::Exclude(pattern("^(START|END|REPORT) "))];
        check(&platform, "START RequestId: r", None);
        check(&platform, "we START here", Some("we START here"));
        let rules = [
            Rule::Mask(pattern("token=(\\w)\\w*"), "token=$1***".to_owned()),
            Rule::Include(pattern("\\*\\*\\*")),
            Rule::Exclude(pattern("healthy")),
        ];
        check(&rules, "a token=secret and token=other", Some("a token=s*** and token=o***"));
        check(&rules, "nothing to hide", None);
        check(&rules, "token=secret healthy", None);
    }

    #[test]
    fn a_mask_does_not_make_a_message_endless() {
        let mut text = "x".repeat(1000);
        assert!(apply(&[Rule::Mask(pattern("x"), "y".repeat(10_000))], &mut text));
        assert_eq!(text.len(), MESSAGE_BYTES_MAX + 1);
    }

    #[test]
    fn lines_are_put_together_up_to_the_next_beginning() {
        let mut joiner = Joiner::new(pattern("^\\d{4}-"));
        let line = |message: &str, id: &str| LogLine {
            message: message.to_owned(),
            request_id: Some(id.to_owned()),
            ..LogLine::default()
        };
        let mut told = Vec::new();
        for (message, id) in [("tail", "a"), ("2026-01 x", "a"), ("  at y", "a"), ("  at z", "b"), ("2026-02", "b")] {
            told.extend(joiner.line(line(message, id), 1, |held, more| *held += more));
        }
        assert!(joiner.is_open());
        told.extend(joiner.take());
        let told: Vec<(&str, i32)> = told.iter().map(|(line, count)| (line.message.as_str(), *count)).collect();
        assert_eq!(told, [("tail", 1), ("2026-01 x\n  at y", 2), ("  at z", 1), ("2026-02", 1)]);
        let half = "x".repeat(MESSAGE_BYTES_MAX / 2);
        assert!(joiner.line(line(&half, "a"), 1, |_, _| ()).is_none());
        assert!(joiner.line(line(&half, "a"), 1, |_, _| ()).is_some(), "it would be too long");
    }
}
