//! Tags as the configuration gives them: ordered pairs, a later pair of the same key in the place of the earlier.

/// An ordered set of `key:value` pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    pairs: Vec<(String, String)>,
}

impl Tags {
    /// These pairs.
    pub fn of(pairs: &[(&str, &str)]) -> Tags {
        let mut tags = Tags::default();
        for (key, value) in pairs {
            tags.push(key, value);
        }
        tags
    }

    /// Adds a pair; an earlier one of the same key is replaced.
    pub fn push(&mut self, key: &str, value: &str) {
        match self.pairs.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => value.clone_into(known),
            None => self.pairs.push((key.to_owned(), value.to_owned())),
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Tags) {
        for (key, value) in other.pairs() {
            self.push(key, value);
        }
    }

    /// The pairs in order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// `a:b,c:d`, the form of `ddtags`.
    pub fn joined(&self) -> String {
        let pairs: Vec<String> = self.pairs.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        pairs.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_pair_replaces_an_earlier_one_in_its_place() {
        let mut tags = Tags::default();
        for (key, value) in [("env", "dev"), ("team", "web"), ("env", "prod")] {
            tags.push(key, value);
        }
        assert_eq!(tags.joined(), "env:prod,team:web");
    }
}
