//! JSON without its values: structure and keys stay, each scalar becomes `"?"`, blanks go. Several documents may follow each
//! other, the blanks between them stay. On a syntax error, or when the text ends too early, what was done so far is followed by
//! `...`.
//!
//! Values of some keys can be kept, whatever they are; scalars of other keys can be read as SQL, whose result takes their
//! place, not escaped. One pass without recursion: a byte of memory for each open bracket, and at most two bytes of result for
//! one of the text, besides what SQL makes. Source: reference agent 7.80, pkg/obfuscate/json.go; but a scalar that follows a
//! first document is hidden here, where the reference shows it.

/// What of the text is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether anything is hidden.
    pub enabled: bool,
    /// Keys whose values stay.
    pub keep_values: Vec<String>,
    /// Keys whose values are SQL.
    pub sql_values: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { enabled: true, keep_values: Vec::new(), sql_values: Vec::new() }
    }
}

/// Appends `text` without its values to `out`; `sql` does the same for a statement, and `open` is for the brackets that are
/// open.
pub fn obfuscate(
    text: &str,
    settings: &Settings,
    open: &mut Vec<Bracket>,
    sql: &mut dyn FnMut(&str, &mut String),
    out: &mut String,
) {
    if text.is_empty() {
        return;
    }
    open.clear();
    let mut walk = Walk { text, at: 0, settings, open, sql, out, expect: Expect::Value, kept_from: None, is_sql: false };
    if walk.run().is_err() {
        walk.out.push_str("...");
    }
}

/// An open bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bracket {
    /// `[`
    Array,
    /// `{`
    Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    /// Behind the key that lies there.
    Colon {
        start: usize,
        end: usize,
    },
    /// A comma, a closing bracket, or another document.
    Next,
}

/// No JSON, or not all of it.
struct Broken;

struct Walk<'w> {
    text: &'w str,
    at: usize,
    settings: &'w Settings,
    open: &'w mut Vec<Bracket>,
    sql: &'w mut dyn FnMut(&str, &mut String),
    out: &'w mut String,
    expect: Expect,
    /// Values are kept until this many brackets are open or fewer.
    kept_from: Option<usize>,
    /// The next scalar is SQL.
    is_sql: bool,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), Broken> {
        while let Some(byte) = self.byte(self.at) {
            match (byte, self.expect) {
                (b' ' | b'\t' | b'\r' | b'\n', expect) => {
                    if expect == Expect::Next && self.open.is_empty() {
                        self.out.push(char::from(byte));
                    }
                    self.at += 1;
                }
                (b'{', Expect::Value | Expect::ValueOrEnd) => self.begin(Bracket::Object, Expect::KeyOrEnd),
                (b'[', Expect::Value | Expect::ValueOrEnd) => self.begin(Bracket::Array, Expect::ValueOrEnd),
                (b']', Expect::ValueOrEnd) | (b'}', Expect::KeyOrEnd) => self.end_value(byte),
                (_, Expect::Value | Expect::ValueOrEnd) => self.scalar()?,
                (b'"', Expect::Key | Expect::KeyOrEnd) => {
                    let start = self.at;
                    let result = self.string();
                    self.copy_since(start);
                    result?;
                    self.expect = Expect::Colon { start, end: self.at };
                }
                (b':', Expect::Colon { start, end }) => self.end_key(start, end),
                (_, Expect::Next) => self.next(byte)?,
                (_, Expect::Key | Expect::KeyOrEnd | Expect::Colon { .. }) => return Err(Broken),
            }
        }
        if self.expect == Expect::Next && self.open.is_empty() { Ok(()) } else { Err(Broken) }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn copy_since(&mut self, start: usize) {
        self.out.push_str(self.text.get(start..self.at).unwrap_or_default());
    }

    /// Writes the sign that stands here.
    fn copy_sign(&mut self) {
        self.at += 1;
        self.copy_since(self.at - 1);
    }

    fn begin(&mut self, bracket: Bracket, expect: Expect) {
        self.copy_sign();
        self.open.push(bracket);
        self.is_sql = false;
        self.expect = expect;
    }

    fn next(&mut self, byte: u8) -> Result<(), Broken> {
        match (self.open.last(), byte) {
            (None, _) => self.expect = Expect::Value, // another document begins here
            (Some(Bracket::Array), b']') | (Some(Bracket::Object), b'}') => self.end_value(byte),
            (Some(Bracket::Array), b',') => {
                self.end_value(byte);
                self.expect = Expect::Value;
            }
            (Some(Bracket::Object), b',') => {
                self.end_value(byte);
                self.expect = Expect::Key;
            }
            _ => return Err(Broken),
        }
        Ok(())
    }

    /// A comma or a closing bracket: the value before it is over.
    fn end_value(&mut self, byte: u8) {
        if self.kept_from.is_some_and(|depth| self.open.len() <= depth) {
            self.kept_from = None;
        }
        if byte != b',' {
            self.open.pop();
        }
        self.copy_sign();
        self.expect = Expect::Next;
    }

    fn end_key(&mut self, start: usize, end: usize) {
        let key = self.text.get(start..end).unwrap_or_default().trim_matches('"');
        let is_among = |keys: &[String]| keys.iter().any(|known| known == key);
        if self.kept_from.is_none() && is_among(&self.settings.keep_values) {
            self.kept_from = Some(self.open.len());
        } else if is_among(&self.settings.sql_values) {
            self.is_sql = true;
        }
        self.copy_sign();
        self.expect = Expect::Value;
    }

    fn scalar(&mut self) -> Result<(), Broken> {
        let start = self.at;
        let first = self.byte(start).unwrap_or_default();
        if !matches!(first, b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') {
            return Err(Broken);
        }
        let is_sql = std::mem::take(&mut self.is_sql);
        let is_kept = self.kept_from.is_some();
        if !is_sql && !is_kept {
            self.out.push_str("\"?\"");
        }
        let result = match first {
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        };
        if is_sql && result.is_ok() {
            let raw = self.text.get(start..self.at).unwrap_or_default();
            self.out.push('"');
            match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
                Some(inner) if inner.contains('\\') => (self.sql)(&unescaped(inner), self.out),
                Some(inner) => (self.sql)(inner, self.out),
                None => (self.sql)(raw, self.out),
            }
            self.out.push('"');
        } else if !is_sql && is_kept {
            self.copy_since(start);
        }
        self.expect = Expect::Next;
        result
    }

    fn word(&mut self, word: &str) -> Result<(), Broken> {
        for expected in word.bytes() {
            self.one_of(|byte| byte == expected)?;
        }
        Ok(())
    }

    fn one_of(&mut self, fits: impl Fn(u8) -> bool) -> Result<(), Broken> {
        match self.byte(self.at) {
            Some(byte) if fits(byte) => self.at += 1,
            _ => return Err(Broken),
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.byte(self.at).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<(), Broken> {
        if self.byte(self.at) == Some(b'-') {
            self.at += 1;
        }
        let is_zero = self.byte(self.at) == Some(b'0');
        self.one_of(|byte| byte.is_ascii_digit())?;
        if !is_zero {
            self.digits();
        }
        if self.byte(self.at) == Some(b'.') {
            self.at += 1;
            self.one_of(|byte| byte.is_ascii_digit())?;
            self.digits();
        }
        if matches!(self.byte(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.one_of(|byte| byte.is_ascii_digit())?;
            self.digits();
        }
        Ok(())
    }

    /// From quote to quote.
    fn string(&mut self) -> Result<(), Broken> {
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let special = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20));
            self.at += special.unwrap_or(rest.len());
            match self.byte(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    let is_code = self.byte(self.at) == Some(b'u');
                    self.one_of(|byte| matches!(byte, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' | b'u'))?;
                    for _ in 0..if is_code { 4 } else { 0 } {
                        self.one_of(|byte| byte.is_ascii_hexdigit())?;
                    }
                }
                _ => return Err(Broken),
            }
        }
    }
}

/// The characters of a string whose escapes are known to be right; halves of a pair that stand alone become U+FFFD.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let (c, len) = match escape.as_bytes().first() {
            Some(b'b') => ('\u{8}', 1),
            Some(b'f') => ('\u{c}', 1),
            Some(b'n') => ('\n', 1),
            Some(b'r') => ('\r', 1),
            Some(b't') => ('\t', 1),
            Some(b'u') => code(escape),
            Some(other) => (char::from(*other), 1),
            None => break,
        };
        plain.push(c);
        rest = escape.get(len..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

/// The character that `uXXXX` or `uXXXX\uXXXX` stands for, and the length of that.
fn code(escape: &str) -> (char, usize) {
    let unit = |at: usize| escape.get(at..at + 4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let Some(first) = unit(1) else { return (char::REPLACEMENT_CHARACTER, 1) };
    let second = if escape.get(5..7) == Some("\\u") { unit(7) } else { None };
    match char::decode_utf16([Some(first), second].into_iter().flatten()).next() {
        Some(Ok(c)) => (c, if 0xffff < u32::from(c) { 11 } else { 5 }),
        _ => (char::REPLACEMENT_CHARACTER, 5),
    }
}
