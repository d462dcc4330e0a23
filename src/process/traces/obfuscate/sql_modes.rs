//! SQL for those who set `sql_obfuscation_mode`: another engine, which knows dialects, keeps the case and, unless told to
//! normalise, everything that is no value. It has no errors: what it cannot cut stays one character, and what has no end
//! reaches to the end.
//!
//! ```text
//! obfuscate_only            values become ?, all else stays, blanks and comments too
//! normalize_only            one blank between tokens, comments, aliases, quotes of names and a last ; go
//! obfuscate_and_normalize   both, and lists of ? become one
//! ```
//! Linear, but for `$func$` bodies, which count up to four levels deep. Source: go-sqllexer as the reference agent 7.80 uses
//! it.

use crate::process::traces::obfuscate::sql::Settings;
use crate::process::traces::obfuscate::sql::Tables;
use crate::process::traces::obfuscate::sql::push_name;

/// Bodies of functions inside bodies of functions are looked into this deep.
const DEPTH_MAX: usize = 4;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Values go, the form stays.
    ObfuscateOnly,
    /// The form becomes the usual one, values stay.
    NormalizeOnly,
    /// Both.
    ObfuscateAndNormalize,
}

impl Mode {
    /// The mode that the Agent calls `name`.
    pub fn named(name: &str) -> Option<Mode> {
        match name {
            "obfuscate_only" => Some(Mode::ObfuscateOnly),
            "normalize_only" => Some(Mode::NormalizeOnly),
            "obfuscate_and_normalize" => Some(Mode::ObfuscateAndNormalize),
            _ => None,
        }
    }
}

/// Whose SQL it is, where that matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Nobody's in particular.
    #[default]
    Any,
    /// MySQL: names in back quotes, comments after `#`.
    MySql,
    /// SQL Server: names in brackets, or with `#` and `$` before them.
    SqlServer,
    /// Oracle: parameters with `:` before them.
    Oracle,
}

impl Dialect {
    /// The dialect that tag `db.type` names.
    pub fn named(name: &str) -> Dialect {
        match name {
            "mysql" => Dialect::MySql,
            "mssql" | "sql-server" | "sqlserver" => Dialect::SqlServer,
            "oracle" => Dialect::Oracle,
            _ => Dialect::Any,
        }
    }
}

/// The engine.
#[derive(Clone, Copy, Debug)]
pub struct Engine<'s> {
    mode: Mode,
    settings: &'s Settings,
    dialect: Dialect,
    depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Blank,
    Comment,
    Value,
    Word,
    Quoted,
    Function,
    Sign,
}

impl<'s> Engine<'s> {
    /// One that does what `mode` says.
    pub fn new(mode: Mode, settings: &'s Settings, dialect: Dialect) -> Engine<'s> {
        Engine { mode, settings, dialect, depth: 0 }
    }

    /// Appends what becomes of `statement` to `out`, and to `tables` the names of its tables if the settings want them.
    pub fn run(self, statement: &str, out: &mut String, tables: &mut Tables) {
        let start = out.len();
        let mut normal = Normal { last: "", last_kind: Kind::Sign, skipped_as: None, in_group: false };
        let mut lexer = Lexer { text: statement, at: 0, dialect: self.dialect };
        let mut own = String::new();
        while let Some((kind, raw)) = lexer.next() {
            if self.settings.table_names && self.mode != Mode::ObfuscateOnly && normal.names_table(kind) && !is_keyword(raw) {
                tables.add(|out| push_name(out, unquoted(kind, raw), self.settings.replace_digits));
            }
            own.clear();
            let text = self.token(kind, raw, &mut own);
            match self.mode {
                Mode::ObfuscateOnly => out.push_str(text),
                // The text before is only compared with signs and keywords, which are never of our own making but for `?`.
                _ => normal.take(kind, text, if text == "?" { "?" } else { raw }, self.settings.keep_alias, out),
            }
        }
        trim(out, start, self.mode != Mode::ObfuscateOnly);
    }

    /// What a token reads without its values.
    fn token<'t>(self, kind: Kind, raw: &'t str, own: &'t mut String) -> &'t str {
        let hides = self.mode != Mode::NormalizeOnly;
        match kind {
            Kind::Value if hides => "?",
            Kind::Function if self.settings.dollar_quoted_func && self.depth < DEPTH_MAX => {
                const MARK: &str = "$func$";
                let body = raw.strip_prefix(MARK).and_then(|raw| raw.strip_suffix(MARK)).unwrap_or_default();
                let mut inner = String::new();
                Engine { depth: self.depth + 1, ..self }.run(body, &mut inner, &mut Tables::default());
                own.extend([MARK, &inner, MARK]);
                own
            }
            Kind::Function if hides => "?",
            Kind::Word if hides && ["true", "false", "null"].iter().any(|word| raw.eq_ignore_ascii_case(word)) => "?",
            Kind::Word if hides && self.settings.replace_digits => {
                push_name(own, raw, true);
                own
            }
            Kind::Quoted if self.mode != Mode::ObfuscateOnly => {
                own.extend(raw.chars().filter(|c| !matches!(c, '"' | '`' | '[' | ']')));
                own
            }
            _ => raw,
        }
    }
}

fn unquoted(kind: Kind, raw: &str) -> &str {
    if kind == Kind::Quoted { raw.trim_matches(['"', '`', '[', ']']) } else { raw }
}

/// Takes blanks from both ends of what was appended since `start`, and a semicolon from its end.
fn trim(out: &mut String, start: usize, semicolon: bool) {
    let mut appended = &out[start..];
    if semicolon {
        appended = appended.strip_suffix(';').unwrap_or(appended);
    }
    let len = appended.trim_end().len();
    let blank = len - appended[..len].trim_start().len();
    out.truncate(start + len);
    out.drain(start..start + blank);
}

/// The usual form, token by token.
struct Normal<'t> {
    last: &'t str,
    last_kind: Kind,
    /// `AS` as it was written, until it is known whether an alias follows.
    skipped_as: Option<&'t str>,
    /// After `(` or `[` and a `?`.
    in_group: bool,
}

impl<'t> Normal<'t> {
    fn names_table(&self, kind: Kind) -> bool {
        const BEFORE: [&str; 9] = ["from", "join", "into", "update", "table", "exists", "straight_join", "clone", "only"];
        let is_name = matches!(kind, Kind::Word | Kind::Quoted);
        is_name && self.last_kind == Kind::Word && BEFORE.iter().any(|word| self.last.eq_ignore_ascii_case(word))
    }

    fn take(&mut self, kind: Kind, text: &str, compared: &'t str, keep_alias: bool, out: &mut String) {
        if matches!(kind, Kind::Blank | Kind::Comment) {
            return;
        }
        if !keep_alias {
            if kind == Kind::Word && compared.eq_ignore_ascii_case("as") {
                self.skipped_as = Some(compared);
                (self.last, self.last_kind) = (compared, kind);
                return;
            }
            if let Some(written) = self.skipped_as.take() {
                if matches!(kind, Kind::Word | Kind::Quoted) && !is_keyword(compared) {
                    (self.last, self.last_kind) = (compared, kind);
                    return;
                }
                out.push(' ');
                out.push_str(written);
            }
        }
        if !self.is_repeated(compared, out) {
            let is_close = matches!(compared, "," | ";") || (compared == "=" && self.last == ":");
            if !is_close {
                out.push(' ');
            }
            out.push_str(text);
        }
        (self.last, self.last_kind) = (compared, kind);
    }

    /// Whether this is a value, or the comma before one, of a list that has shown its `?`.
    fn is_repeated(&mut self, text: &str, out: &mut String) -> bool {
        match text {
            "?" if matches!(self.last, "(" | "[") => self.in_group = true,
            "?" if self.last == "," && self.in_group => return true,
            "," if self.last == "?" && self.in_group => return true,
            ")" | "]" => self.in_group = false,
            // A comma was left out, but no value follows.
            _ if self.in_group && text != "?" && self.last == "," => out.push(','),
            _ => {}
        }
        false
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    dialect: Dialect,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Kind and length of what comes next.
    fn next(&mut self) -> Option<(Kind, &'t str)> {
        let rest = self.rest();
        let (kind, len) = self.measure(rest, rest.chars().next()?);
        let token = rest.get(..len).unwrap_or(rest);
        self.at += token.len();
        Some((kind, token))
    }

    fn measure(&self, rest: &str, first: char) -> (Kind, usize) {
        let second = rest[first.len_utf8()..].chars().next().unwrap_or('\0');
        let is_server = self.dialect == Dialect::SqlServer;
        match first {
            ' ' | '\t' | '\n' | '\r' => (Kind::Blank, while_in(rest, 0, |c| matches!(c, ' ' | '\t' | '\n' | '\r'))),
            '"' => quoted(rest, '"', '"'),
            '`' if self.dialect == Dialect::MySql => quoted(rest, '`', '`'),
            '[' if is_server => quoted(rest, '[', ']'),
            '\'' => (Kind::Value, string_len(rest)),
            '-' if second == '-' => (Kind::Comment, while_in(rest, 2, |c| c != '\n')),
            '#' if self.dialect == Dialect::MySql => (Kind::Comment, while_in(rest, 1, |c| c != '\n')),
            '/' if second == '*' => (Kind::Comment, rest[2..].find("*/").map_or(rest.len(), |at| at + 4)),
            '+' | '-' if second.is_ascii_digit() || second == '.' => (Kind::Value, 1 + number_len(&rest[1..])),
            '0'..='9' => (Kind::Value, number_len(rest)),
            '$' if second.is_ascii_digit() => (Kind::Value, while_in(rest, 1, |c| c.is_ascii_digit())),
            '$' if !(is_server && is_letter(second)) => dollar_quoted(rest),
            ':' if self.dialect == Dialect::Oracle && is_letter(second) => (Kind::Sign, while_in(rest, 1, is_word)),
            '@' if is_letter(second) || second == '@' => (Kind::Sign, while_in(rest, 1, |c| c == '@' || is_word(c))),
            '*' | '(' | ')' | ',' | ';' | '.' | '[' | ']' | '{' | '}' => (Kind::Sign, 1),
            _ if is_letter(first) || (is_server && matches!(first, '#' | '$')) => {
                (Kind::Word, while_in(rest, first.len_utf8(), |c| is_word(c) || matches!(c, '.' | '?' | '$' | '#' | '@')))
            }
            _ if is_operator(first) => (Kind::Sign, operator_len(rest, first)),
            _ => (Kind::Sign, first.len_utf8()),
        }
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_word(c: char) -> bool {
    is_letter(c) || c.is_ascii_digit()
}

fn is_operator(c: char) -> bool {
    matches!(c, '+' | '-' | '*' | '/' | '=' | '<' | '>' | '!' | '&' | '|' | '^' | '%' | '~' | '?' | '@' | ':' | '#')
}

/// The length of `text` up to the first character behind `skipped` that is not `wanted`.
fn while_in(text: &str, skipped: usize, wanted: impl Fn(char) -> bool) -> usize {
    let rest = text.get(skipped..).unwrap_or_default();
    rest.find(|c| !wanted(c)).map_or(text.len(), |at| skipped + at)
}

fn operator_len(text: &str, first: char) -> usize {
    for operator in ["->>", "->", "#>>", "#>", "#-", "?|", "?&", "<@", "@?", "@>"] {
        if text.starts_with(operator) {
            return operator.len();
        }
    }
    let mut last = first;
    for (at, c) in text.char_indices().skip(1) {
        // `=?` and `=@` are two: a parameter follows.
        if !is_operator(c) || (last == '=' && matches!(c, '?' | '@')) {
            return at;
        }
        last = c;
    }
    text.len()
}

/// A name in quotes, or several with points between them; without an end just the characters that are left.
fn quoted(text: &str, open: char, close: char) -> (Kind, usize) {
    let mut at = 1;
    while let Some(found) = text[at..].find(close) {
        at += found + 1;
        match text[at..].strip_prefix('.').and_then(|rest| rest.strip_prefix(open)) {
            Some(_) => at += 2,
            None => return (Kind::Quoted, at),
        }
    }
    (Kind::Sign, text.len())
}

fn string_len(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn number_len(text: &str) -> usize {
    if text.starts_with("0x") || text.starts_with("0X") {
        return while_in(text, 2, |c| c.is_ascii_hexdigit());
    }
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            b'0'..=b'9' | b'.' => 1,
            b'e' | b'E' if matches!(bytes.get(at + 1), Some(b'+' | b'-')) => 2,
            b'e' | b'E' => 1,
            _ => break,
        };
    }
    at
}

/// `$tag$body$tag$`; without an end all that is left is a value, since nobody can know.
fn dollar_quoted(text: &str) -> (Kind, usize) {
    let Some(tag_len) = text[1..].find('$').map(|at| at + 2) else { return (Kind::Value, text.len()) };
    let tag = &text[..tag_len];
    match text[tag_len..].find(tag) {
        Some(at) if tag == "$func$" => (Kind::Function, at + 2 * tag_len),
        Some(at) => (Kind::Value, at + 2 * tag_len),
        None => (Kind::Value, text.len()),
    }
}

/// Words that are no alias and no table.
fn is_keyword(word: &str) -> bool {
    const KEYWORDS: [&str; 34] = [
        "all", "and", "as", "between", "by", "case", "delete", "distinct", "else", "end", "exists", "from", "group", "having",
        "if", "in", "inner", "insert", "into", "is", "join", "left", "like", "limit", "not", "null", "on", "only", "or",
        "order", "select", "set", "table", "where",
    ];
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}
