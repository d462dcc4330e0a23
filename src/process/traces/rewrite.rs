//! Makes the texts that take the place of others, and makes each once where that matters.
//!
//! In v0.5 a million spans can name one text of the request with a byte each. Results longer than 32 bytes are therefore
//! remembered by the text they come from, which bounds what is made: by the size of the request for long texts, and by the size
//! of the decoded spans for short ones.

use crate::model::trace::Text;
use crate::model::trace::Texts;
use std::collections::HashMap;

/// Results up to this length are made each time: remembering one would take as much.
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
}

/// What was made so far.
#[derive(Debug, Default)]
pub struct Rewriter {
    known: HashMap<(Text, Rule), Text>,
}

impl Rewriter {
    /// The text that `make` makes of `text`.
    pub fn rewrite(&mut self, texts: &mut Texts, text: Text, rule: Rule, make: impl FnOnce(&str) -> String) -> Text {
        if let Some(known) = self.known.get(&(text, rule)) {
            return *known;
        }
        let made = make(texts.str(text));
        let made = texts.make(&made);
        if SHORT_BYTES_MAX < made.len() {
            self.known.insert((text, rule), made);
        }
        made
    }
}
