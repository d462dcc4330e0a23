//! Mapper profiles: parts of a metric's name become tags.
//!
//! ```text
//! profile  for names that begin with its prefix, `*` for all; of its rules the first that matches is used, of all profiles likewise
//! rule     wildcard: `job.*.time`, where `*` is any text without a dot, or a regular expression; the whole name must match
//! result   a name and tags, in which $1 is what the first `*` or group matched
//! ```
//! Source: the Agent's documentation of `dogstatsd_mapper_profiles`, and comp/dogstatsd/mapper.

use crate::process::pattern::Pattern;
use crate::process::pattern::PatternError;

/// All profiles, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapper {
    profiles: Vec<Profile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Profile {
    prefix: String,
    rules: Vec<Rule>,
}

/// One rule as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleText {
    /// What is looked for.
    pub pattern: String,
    /// It is a regular expression.
    pub is_regex: bool,
    /// The new name.
    pub name: String,
    /// Keys and values of further tags.
    pub tags: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    name: String,
    tags: Vec<(String, String)>,
}

/// What becomes of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// The new name.
    pub name: String,
    /// Further tags.
    pub tags: Vec<String>,
}

impl Mapper {
    /// Adds a profile; rules that cannot be used are left out and answered.
    pub fn add_profile(&mut self, prefix: &str, rules: Vec<RuleText>) -> Vec<PatternError> {
        let mut refused = Vec::new();
        let compile = |rule: RuleText| {
            let source = if rule.is_regex { format!("^{}$", rule.pattern) } else { wildcard(&rule.pattern) };
            let compiled = Pattern::parse(&source);
            compiled.map(|pattern| Rule { pattern, name: rule.name, tags: rule.tags })
        };
        let rules = rules.into_iter().map(compile).filter_map(|rule| rule.map_err(|err| refused.push(err)).ok()).collect();
        self.profiles.push(Profile { prefix: prefix.to_owned(), rules });
        refused
    }

    /// What becomes of `name`; nothing if no rule is for it.
    pub fn map(&self, name: &str) -> Option<Mapped> {
        let profiles = self.profiles.iter().filter(|profile| profile.prefix == "*" || name.starts_with(&profile.prefix));
        profiles.flat_map(|profile| &profile.rules).find_map(|rule| {
            let mut texts =
                rule.pattern.expand(name, rule.tags.iter().map(|(_, value)| value.as_str()).chain([&*rule.name]))?;
            let new_name = texts.pop()?;
            let tags = rule.tags.iter().zip(texts).map(|((key, _), value)| format!("{key}:{value}")).collect();
            Some(Mapped { name: new_name, tags })
        })
    }
}

fn wildcard(pattern: &str) -> String {
    format!("^{}$", pattern.replace('.', "\\.").replace('*', "([^.]*)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, is_regex: bool, name: &str, tags: &[(&str, &str)]) -> RuleText {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        RuleText { pattern: pattern.to_owned(), is_regex, name: name.to_owned(), tags }
    }

    #[test]
    fn the_first_rule_that_matches_the_whole_name_is_used() {
        let mut mapper = Mapper::default();
        let rules = vec![
            rule("test.job.duration.*.*", false, "test.job.duration", &[("job_type", "$1"), ("job_name", "$2")]),
            rule(r"test\.(\w+)\.(.*)", true, "test.${1}", &[("rest", "x-$2")]),
            rule("test.*", false, "never", &[]),
        ];
        assert_eq!(mapper.add_profile("test.", rules), []);
        assert_eq!(mapper.add_profile("*", vec![rule("*.up", false, "up", &[("of", "$1")])]), []);
        let map = |name: &str| mapper.map(name).map(|mapped| format!("{} {}", mapped.name, mapped.tags.join(",")));
        assert_eq!(map("test.job.duration.a.b").as_deref(), Some("test.job.duration job_type:a,job_name:b"));
        assert_eq!(map("test.task.a.b.c").as_deref(), Some("test.task rest:x-a.b.c"));
        assert_eq!(map("other.up").as_deref(), Some("up of:other"));
        assert_eq!(map("other.up.and.away"), None);
        assert_eq!(map("an.other.up"), None);
    }

    #[test]
    fn a_rule_that_cannot_be_compiled_is_left_out() {
        let mut mapper = Mapper::default();
        let refused = mapper.add_profile("*", vec![rule("(", true, "a", &[]), rule("b", false, "c", &[])]);
        assert_eq!(refused.len(), 1);
        assert_eq!(mapper.map("b").map(|mapped| mapped.name).as_deref(), Some("c"));
    }
}
