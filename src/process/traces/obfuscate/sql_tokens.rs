//! SQL in tokens, as coarse as obfuscation needs them: what is a value, what is a name, and the few words and signs that rules
//! name.
//!
//! ```text
//! value     'text'  12  0x1f  .5e-3  NULL TRUE FALSE  ?  $1  %s  %(name)s  {escape}  $tag$body$tag$
//! name      letters, digits, _ @ # . *; `quoted`     "quoted" is a name or a value, which the rules find out
//! comment   -- to the line's end, # likewise (and the sign after it, whatever it is), // likewise, /* to */
//! the rest  signs of one to three bytes, a bind variable :name, a cast ::
//! ```
//! It refuses to know a grammar. A text it cannot cut is an error: unterminated strings and comments, octal numbers with an 8
//! or 9, signs that no SQL has. Every byte is looked at a bounded number of times. Source: reference agent 7.80, pkg/obfuscate.

use crate::process::traces::obfuscate::sql_words::Kind;
use crate::process::traces::obfuscate::sql_words::word_kind;
use crate::process::traces::unicode::is_letter;

/// A piece of the statement. Its text is asked of [`Tokens::text`].
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    start: usize,
    end: usize,
    /// Its text is not that of the statement, but stands in the scratch buffer.
    is_rewritten: bool,
}

/// The statement cannot be cut into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparsable;

/// What a back slash inside quotes is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackSlash {
    /// It makes the next character an ordinary one.
    #[default]
    Escapes,
    /// It is an ordinary character.
    IsOrdinary,
}

impl BackSlash {
    /// The other way to read it.
    pub fn other(self) -> BackSlash {
        match self {
            BackSlash::Escapes => BackSlash::IsOrdinary,
            BackSlash::IsOrdinary => BackSlash::Escapes,
        }
    }
}

/// The tokens of one statement.
#[derive(Debug)]
pub struct Tokens<'t> {
    text: &'t str,
    at: usize,
    open_curlies: usize,
    back_slash: BackSlash,
    /// A back slash stood inside quotes.
    pub saw_back_slash: bool,
    scratch: &'t mut String,
}

/// May begin a name; may go on in a name; is a digit; is a blank.
const STARTS: u8 = 1;
const GOES_ON: u8 = 2;
const DIGIT: u8 = 4;
const BLANK: u8 = 8;

/// What each ASCII byte can be.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'@' => STARTS | GOES_ON,
            b'0'..=b'9' => DIGIT | GOES_ON,
            b'#' | b'.' | b'*' => GOES_ON,
            b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' => BLANK,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

#[inline]
fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

impl<'t> Tokens<'t> {
    /// The tokens of `text`; `scratch` is for names that have to be written anew.
    pub fn new(text: &'t str, back_slash: BackSlash, scratch: &'t mut String) -> Tokens<'t> {
        Tokens { text, at: 0, open_curlies: 0, back_slash, saw_back_slash: false, scratch }
    }

    /// How back slashes are read.
    pub fn back_slash(&self) -> BackSlash {
        self.back_slash
    }

    /// The characters of the token that came last.
    pub fn text(&self, token: Token) -> &str {
        if token.is_rewritten { self.scratch } else { self.raw(token) }
    }

    /// The characters of a token as they stand in the statement, which for names in quotes are not all of [`Tokens::text`].
    pub fn raw(&self, token: Token) -> &'t str {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    /// The next token, or nothing at the end.
    pub fn take_next(&mut self) -> Result<Option<Token>, Unparsable> {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.peek_at(start) else { return Ok(None) };
        if is(first, STARTS) {
            return Ok(Some(self.name()));
        }
        if is(first, DIGIT) {
            self.number(start)?;
            return Ok(Some(self.token(Kind::Value, start)));
        }
        if !first.is_ascii() {
            return if self.letter_len(start) == 0 { Err(Unparsable) } else { Ok(Some(self.name())) };
        }
        self.at += 1;
        self.sign(first, start).map(Some)
    }

    fn peek_at(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// The byte that comes next; 0 at the end.
    fn peek(&self) -> u8 {
        self.peek_at(self.at).unwrap_or(0)
    }

    fn token(&self, kind: Kind, start: usize) -> Token {
        Token { kind, start, end: self.at, is_rewritten: false }
    }

    fn skip_blanks(&mut self) {
        // One NUL between tokens is passed over, as the reference does, whose reader takes it for "nothing read yet".
        if self.at != 0 && self.peek_at(self.at) == Some(0) {
            self.at += 1;
        }
        loop {
            match self.peek() {
                byte if is(byte, BLANK) => self.at += 1,
                byte if byte.is_ascii() => return,
                _ => match self.char_at(self.at) {
                    Some(c) if c.is_whitespace() => self.at += c.len_utf8(),
                    _ => return,
                },
            }
        }
    }

    fn char_at(&self, at: usize) -> Option<char> {
        self.text.get(at..)?.chars().next()
    }

    /// The length of the letter at `at`, 0 if there is none. `_`, `@` and `#` are letters.
    fn letter_len(&self, at: usize) -> usize {
        match self.peek_at(at) {
            Some(byte) if byte.is_ascii() => usize::from(is(byte, STARTS) || byte == b'#'),
            Some(_) => self.char_at(at).filter(|c| is_letter(*c)).map_or(0, char::len_utf8),
            None => 0,
        }
    }

    fn name(&mut self) -> Token {
        let (start, bytes) = (self.at, self.text.as_bytes());
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            self.at += rest.iter().position(|byte| !is(*byte, GOES_ON)).unwrap_or(rest.len());
            // No ASCII goes on, but a letter outside it may.
            match self.peek().is_ascii() {
                false if self.letter_len(self.at) != 0 => self.at += self.letter_len(self.at),
                _ => break,
            }
        }
        self.token(word_kind(&bytes[start..self.at]), start)
    }

    /// Digits of one base.
    fn digits(&mut self, base: u32) {
        while char::from(self.peek()).is_digit(base) {
            self.at += 1;
        }
    }

    /// A number whose first digit, or point, stands at `start`.
    fn number(&mut self, start: usize) -> Result<(), Unparsable> {
        self.at = start;
        if self.peek() == b'.' {
            self.at += 1;
            self.digits(10);
            self.exponent();
            return Ok(());
        }
        if self.peek() == b'0' {
            self.at += 1;
            if matches!(self.peek(), b'x' | b'X') {
                self.at += 1;
                self.digits(16);
                return Ok(());
            }
            self.digits(8);
            let is_octal = !matches!(self.peek(), b'8' | b'9');
            self.digits(10);
            if !matches!(self.peek(), b'.' | b'e' | b'E') {
                return if is_octal { Ok(()) } else { Err(Unparsable) };
            }
        }
        self.digits(10);
        if self.peek() == b'.' {
            self.at += 1;
            self.digits(10);
        }
        self.exponent();
        Ok(())
    }

    fn exponent(&mut self) {
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits(10);
        }
    }

    /// A token that starts with a sign, which has been taken.
    fn sign(&mut self, first: u8, start: usize) -> Result<Token, Unparsable> {
        let next = self.peek();
        let kind = match first {
            b'\'' => return self.quoted(b'\'', Kind::Value),
            b'"' => return self.quoted(b'"', Kind::DoubleQuoted),
            b'`' => return self.quoted(b'`', Kind::Name),
            b'(' => Kind::Open,
            b')' => Kind::Close,
            b',' => Kind::Comma,
            b'=' => Kind::Equals,
            b';' => Kind::Semicolon,
            b'[' => Kind::OpenBracket,
            b']' => Kind::CloseBracket,
            b'?' => Kind::Value,
            b'+' | b'*' | b'&' | b'|' | b'^' => Kind::Other,
            b'.' if is(next, DIGIT) => {
                self.number(start)?;
                Kind::Value
            }
            b'.' => Kind::Other,
            b':' => self.colon()?,
            b'~' => self.operator(&["*"]),
            b'<' => self.operator(&["=>", "=", ">"]),
            b'>' => self.operator(&["="]),
            b'!' if next == b'=' || next == b'~' => self.operator(&["=", "~*", "~"]),
            b'!' if self.may_follow_not() => Kind::Other,
            b'/' if next == b'*' => self.comment_to_mark()?,
            b'/' if next == b'/' => self.comment_to_line_end(1),
            b'/' => Kind::Other,
            b'-' if next == b'-' => self.comment_to_line_end(1),
            // An arrow is a number without digits and a sign, at the reference.
            b'-' if next == b'>' => Kind::Value,
            b'-' if is(next, DIGIT) || (next == b'.' && self.peek_at(self.at + 1).is_some_and(|byte| is(byte, DIGIT))) => {
                self.number(start + 1)?;
                Kind::Value
            }
            b'-' => Kind::Other,
            b'#' => self.comment_to_line_end(self.char_at(self.at).map_or(0, char::len_utf8)),
            b'%' => self.percent()?,
            b'$' if is(next, DIGIT) => {
                self.number(start + 1)?;
                Kind::Value
            }
            b'$' => return self.dollar_quoted(),
            b'{' => self.open_curly(start)?,
            b'}' if 0 < self.open_curlies => {
                self.open_curlies -= 1;
                Kind::Other
            }
            _ => return Err(Unparsable),
        };
        Ok(self.token(kind, start))
    }

    /// The longest of `rests` that follows, if any does, belongs to the sign.
    fn operator(&mut self, rests: &[&str]) -> Kind {
        let follows = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if let Some(rest) = rests.iter().find(|rest| follows.starts_with(rest.as_bytes())) {
            self.at += rest.len();
        }
        Kind::Other
    }

    fn may_follow_not(&self) -> bool {
        let blank = || self.char_at(self.at).is_some_and(char::is_whitespace);
        matches!(self.peek(), b'(' | b'`' | b'\'' | b'"' | b'+' | b'-')
            || is(self.peek(), DIGIT)
            || self.is_letter_next()
            || blank()
    }

    fn is_letter_next(&self) -> bool {
        0 < self.letter_len(self.at)
    }

    fn colon(&mut self) -> Result<Kind, Unparsable> {
        if self.peek() == b':' {
            self.at += 1;
            return Ok(Kind::Other);
        }
        if self.peek() == b'=' || self.char_at(self.at).is_some_and(char::is_whitespace) {
            return Ok(Kind::Colon);
        }
        let start = self.at;
        loop {
            match self.letter_len(self.at) {
                0 if is(self.peek(), DIGIT) || (start < self.at && self.peek() == b'.') => self.at += 1,
                0 => break,
                len => self.at += len,
            }
        }
        if start < self.at { Ok(Kind::Other) } else { Err(Unparsable) }
    }

    fn comment_to_line_end(&mut self, skipped: usize) -> Kind {
        self.at += skipped;
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        Kind::Comment
    }

    fn comment_to_mark(&mut self) -> Result<Kind, Unparsable> {
        let rest = self.text.get(self.at + 1..).unwrap_or_default();
        self.at += 1 + rest.find("*/").ok_or(Unparsable)? + 2;
        Ok(Kind::Comment)
    }

    fn percent(&mut self) -> Result<Kind, Unparsable> {
        if self.peek() == b'(' {
            let rest = self.text.get(self.at + 1..).unwrap_or_default();
            self.at += 1 + rest.find(')').ok_or(Unparsable)? + 1;
            let conversion = self.letter_len(self.at);
            self.at += conversion;
            return if conversion == 0 { Err(Unparsable) } else { Ok(Kind::Value) };
        }
        let conversion = self.letter_len(self.at);
        self.at += conversion;
        Ok(if conversion == 0 { Kind::Other } else { Kind::Value })
    }

    /// A curly at the very start is that of a call and lets its content be seen, so do those inside; else all up to `}` is a
    /// value.
    fn open_curly(&mut self, start: usize) -> Result<Kind, Unparsable> {
        let is_call = start == 0 && self.peek().is_ascii();
        if is_call || 0 < self.open_curlies {
            self.open_curlies += 1;
            return Ok(Kind::Other);
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.find('}').ok_or(Unparsable)? + 1;
        Ok(Kind::Value)
    }

    /// What stands up to the closing quote. Of values nothing but the end is wanted.
    fn quoted(&mut self, quote: u8, kind: Kind) -> Result<Token, Unparsable> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let (mut copied, mut is_rewritten) = (start, false);
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            self.at += rest.iter().position(|byte| *byte == quote || *byte == b'\\').ok_or(Unparsable)?;
            let is_quote = bytes[self.at] == quote;
            if is_quote && self.peek_at(self.at + 1) != Some(quote) {
                break;
            }
            self.saw_back_slash |= !is_quote;
            if !is_quote && self.back_slash == BackSlash::IsOrdinary {
                self.at += 1;
                continue;
            }
            // A doubled quote, or a back slash and what it makes ordinary: the first of the two goes.
            if kind != Kind::Value {
                if !is_rewritten {
                    self.scratch.clear();
                }
                self.scratch.push_str(self.text.get(copied..self.at).unwrap_or_default());
                is_rewritten = true;
            }
            copied = self.at + 1;
            self.at = copied + self.char_at(copied).ok_or(Unparsable)?.len_utf8();
        }
        let (end, rest) = (self.at, self.text.get(copied..self.at).unwrap_or_default());
        self.at += 1;
        if is_rewritten {
            self.scratch.push_str(rest);
        }
        let token = Token { kind, start, end, is_rewritten };
        if kind != Kind::Value && self.text(token).trim().is_empty() {
            // Nothing but blanks: the quotes stay, or the statement would not be one any more.
            self.scratch.clear();
            self.scratch.extend([char::from(quote); 2]);
            return Ok(Token { is_rewritten: true, ..token });
        }
        Ok(token)
    }

    /// `$tag$body$tag$`, whose first dollar has been taken.
    fn dollar_quoted(&mut self) -> Result<Token, Unparsable> {
        let tag = self.quoted(b'$', Kind::Name)?;
        let mut mark = match self.text(tag) {
            "$$" => "$$".to_owned(),
            tag => format!("${tag}$"),
        };
        let start = self.at;
        let mut matched = 0;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        // As the reference does it: after a mismatch the search goes on behind the mismatch.
        let len = rest.iter().position(|byte| {
            matched = if *byte == mark.as_bytes()[matched] { matched + 1 } else { 0 };
            matched == mark.len()
        });
        self.at += len.ok_or(Unparsable)? + 1;
        let kind = if mark == "$func$" { Kind::Function } else { Kind::Value };
        let end = self.at - mark.len();
        mark.clear();
        *self.scratch = mark;
        Ok(Token { kind, start, end, is_rewritten: false })
    }
}
