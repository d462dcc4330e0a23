//! Makes the texts that take the place of others, and makes each once where that matters.
//!
//! In v0.5 a million spans can name one text of the request with a byte each. So of texts longer than 32 bytes, read or made,
//! as many are read and made as the request has bytes, which suffices where each span brings its own; what is made after that
//! is remembered by the text that it comes from. This bounds memory and time by the size of the request for long texts, and by
//! the size of the decoded spans for short ones.

use crate::model::trace::Text;
use crate::model::trace::Texts;
use crate::process::traces::obfuscate::sql_modes::Dialect;
use std::collections::HashMap;

/// Texts up to this length are read and made each time: remembering one would take as much.
const SHORT_BYTES_MAX: usize = 32;

/// The rules by which texts are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Of services and other tag values.
    TagValue,
    /// Of span names.
    Name,
    /// Cut as a key.
    CutKey,
    /// Cut as a value.
    CutValue,
    /// An SQL statement without its values.
    Sql(Dialect),
    /// The tables that it names.
    Tables(Dialect),
    /// The names of Redis commands.
    Commands,
    /// A command without its values.
    RawCommand,
    /// A URL without secrets.
    Url,
    /// JSON without its values, by the settings for this tag.
    Mongodb,
    /// Likewise.
    Elasticsearch,
    /// Likewise.
    Opensearch,
    /// By the user's replace rule of this number.
    Replace(u16),
}

/// What was made so far.
#[derive(Debug, Default)]
pub struct Rewriter {
    known: HashMap<(Text, Rule), Text>,
    /// How many bytes were read, or made if that was more, without remembering.
    spent: usize,
    buffer: String,
}

impl Rewriter {
    /// The text that `make` makes of `text`.
    pub fn rewrite(&mut self, texts: &mut Texts, text: Text, rule: Rule, make: impl FnOnce(&str) -> String) -> Text {
        self.rewrite_into(texts, text, rule, |text, out| *out = make(text))
    }

    /// The text that `make` makes of `text` in the empty buffer that it gets. A result that reads the same is the same text.
    pub fn rewrite_into(&mut self, texts: &mut Texts, text: Text, rule: Rule, make: impl FnOnce(&str, &mut String)) -> Text {
        if let Some(known) = self.known(text, rule) {
            return known;
        }
        self.buffer.clear();
        make(texts.str(text), &mut self.buffer);
        let len = text.len().max(self.buffer.len());
        let made = if self.buffer.as_bytes() == texts.bytes(text) { text } else { texts.make(&self.buffer) };
        if len <= SHORT_BYTES_MAX {
            return made;
        }
        if self.spent + len <= texts.request().len() {
            self.spent += len;
        } else {
            self.known.insert((text, rule), made);
        }
        made
    }

    fn known(&self, text: Text, rule: Rule) -> Option<Text> {
        if self.known.is_empty() { None } else { self.known.get(&(text, rule)).copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much is made for a text of 100 bytes that is named 1,000 times, in a request of this length.
    fn made_len(request_len: usize) -> usize {
        let mut texts = Texts::new(vec![b'a'; request_len]);
        let text = Text::of_request(0..100);
        let mut rewriter = Rewriter::default();
        for _ in 0..1000 {
            let made = rewriter.rewrite_into(&mut texts, text, Rule::Name, |text, out| out.extend([text, "!"]));
            assert!(texts.str(made).ends_with("a!"));
        }
        texts.made_len()
    }

    #[test]
    fn what_is_made_follows_the_request_and_not_the_number_of_those_who_share() {
        assert_eq!(made_len(100), 101);
        assert_eq!(made_len(1000), 10 * 101);
        assert_eq!(made_len(1_000_000), 1000 * 101, "each could have brought its own");
    }

    #[test]
    fn a_result_that_reads_the_same_takes_nothing() {
        let mut texts = Texts::new(b"same".to_vec());
        let text = Text::of_request(0..4);
        assert_eq!(Rewriter::default().rewrite(&mut texts, text, Rule::Name, str::to_owned), text);
        assert_eq!(texts.made_len(), 0);
    }
}
