//! JSON objects as tables of names and plain values. The macro for them is some hundred bytes of code a member, and so is a table of values
//! that own memory and have to be let go; one of these is a tenth of that.

use serde_json::Value;

/// A value that owns nothing.
#[derive(Clone, Copy, Debug)]
pub enum Plain<'a> {
    /// A text.
    Text(&'a str),
    /// A whole number.
    Number(u64),
    /// Another number.
    Float(f64),
    /// True or false.
    Truth(bool),
    /// Not known.
    Null,
}

impl<'a> From<&'a str> for Plain<'a> {
    fn from(text: &'a str) -> Self {
        Plain::Text(text)
    }
}

impl From<u64> for Plain<'_> {
    fn from(number: u64) -> Self {
        Plain::Number(number)
    }
}

impl From<usize> for Plain<'_> {
    fn from(number: usize) -> Self {
        Plain::Number(number as u64)
    }
}

impl From<f64> for Plain<'_> {
    fn from(number: f64) -> Self {
        Plain::Float(number)
    }
}

impl From<bool> for Plain<'_> {
    fn from(truth: bool) -> Self {
        Plain::Truth(truth)
    }
}

impl<'a, T: Into<Plain<'a>>> From<Option<T>> for Plain<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Plain::Null, Into::into)
    }
}

/// An object of these members; those that are objects or lists are put in behind them.
#[inline(never)]
pub fn object(members: &[(&str, Plain<'_>)]) -> Value {
    Value::Object(members.iter().map(|(name, value)| ((*name).to_owned(), value_of(*value))).collect())
}

fn value_of(value: Plain<'_>) -> Value {
    match value {
        Plain::Text(text) => text.into(),
        Plain::Number(number) => number.into(),
        Plain::Float(number) => number.into(),
        Plain::Truth(truth) => truth.into(),
        Plain::Null => Value::Null,
    }
}
