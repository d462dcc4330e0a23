//! SQL without its values: each becomes `?`, lists of them one, comments and aliases go, and one blank stands between tokens.
//!
//! Four rules look at every token in turn, knowing what the token before became: which names are tables; what is left out
//! (comments, `;`, `AS` and its alias); what is a value (also what follows `SAVEPOINT`, and text in double quotes after `=`);
//! what belongs to a group that has shown its `?` already. Oddities of the reference that are kept: `WITH a AS ( SELECT` loses
//! its parenthesis, `->` becomes `? >`, a comma behind a value goes.
//!
//! Work is linear in the statement, bodies of `$func$` count up to four levels deep; the result has at most three bytes for
//! each of the statement's. Source: reference agent 7.80, pkg/obfuscate/sql.go.

use crate::process::traces::obfuscate::sql_modes;
use crate::process::traces::obfuscate::sql_modes::Dialect;
use crate::process::traces::obfuscate::sql_modes::Mode;
use crate::process::traces::obfuscate::sql_tokens::BackSlash;
use crate::process::traces::obfuscate::sql_tokens::Tokens;
use crate::process::traces::obfuscate::sql_tokens::Unparsable;
use crate::process::traces::obfuscate::sql_words::Kind;

/// Bodies of functions inside bodies of functions are looked into this deep.
const DEPTH_MAX: usize = 4;

/// So many tables are named; a tag would not hold many more.
const TABLES_MAX: usize = 100;

/// Options, all off unless somebody wants them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which engine; `None` is the one of this file.
    pub mode: Option<Mode>,
    /// Name the tables in a tag.
    pub table_names: bool,
    /// Digits in names become `?`.
    pub replace_digits: bool,
    /// Aliases stay.
    pub keep_alias: bool,
    /// Bodies between `$func$` are statements.
    pub dollar_quoted_func: bool,
}

/// What is remembered from one statement to the next.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What a back slash last was: servers differ, and a statement does not say.
    back_slash: BackSlash,
    scratch: String,
    /// The tables of the last statement, if the settings want them.
    pub tables: Tables,
}

/// Appends `statement` without its values to `out`, and puts the names of its tables into `memory`. After an error neither is
/// of use.
pub fn obfuscate(
    statement: &str,
    settings: &Settings,
    dialect: Dialect,
    memory: &mut Memory,
    out: &mut String,
) -> Result<(), Unparsable> {
    memory.tables.clear();
    if let Some(mode) = settings.mode {
        sql_modes::Engine::new(mode, settings, dialect).run(statement, out, &mut memory.tables);
        return Ok(());
    }
    let start = out.len();
    let (result, saw_back_slash) = attempt(statement, settings, memory, out);
    if result.is_ok() || !saw_back_slash {
        return result;
    }
    out.truncate(start);
    memory.tables.clear();
    let before = memory.back_slash;
    memory.back_slash = before.other();
    let (result, _) = attempt(statement, settings, memory, out);
    if result.is_err() {
        memory.back_slash = before;
    }
    result
}

/// Reads back slashes as they were last. Also says whether there was one.
fn attempt(statement: &str, settings: &Settings, memory: &mut Memory, out: &mut String) -> (Result<(), Unparsable>, bool) {
    let Memory { back_slash, scratch, tables } = memory;
    let mut tokens = Tokens::new(statement, *back_slash, scratch);
    let result = Rules::new(settings, out, tables, 0).run(&mut tokens);
    (result, tokens.saw_back_slash)
}

/// Names of tables, each once, with commas between them.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    joined: String,
    ends: Vec<usize>,
}

impl Tables {
    /// All names.
    pub fn joined(&self) -> &str {
        &self.joined
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.joined.clear();
        self.ends.clear();
    }

    /// One more, unless it is there or there are enough.
    pub fn add(&mut self, write: impl FnOnce(&mut String)) {
        if TABLES_MAX <= self.ends.len() {
            return;
        }
        let end = self.joined.len();
        if !self.joined.is_empty() {
            self.joined.push(',');
        }
        let start = self.joined.len();
        write(&mut self.joined);
        let name = &self.joined[start..];
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end + 1));
        let is_known = starts.zip(&self.ends).any(|(start, end)| self.joined.get(start..*end) == Some(name));
        if is_known || name.is_empty() {
            self.joined.truncate(end);
        } else {
            self.ends.push(self.joined.len());
        }
    }
}

/// The rules on their way through one statement.
struct Rules<'r> {
    settings: &'r Settings,
    out: &'r mut String,
    out_start: usize,
    tables: &'r mut Tables,
    depth: usize,
    /// What the token before became.
    last: Kind,
    /// How many values of the present group were seen, and how many groups in a row.
    values: usize,
    groups: usize,
}

impl<'r> Rules<'r> {
    fn new(settings: &'r Settings, out: &'r mut String, tables: &'r mut Tables, depth: usize) -> Rules<'r> {
        let out_start = out.len();
        Rules { settings, out, out_start, tables, depth, last: Kind::LeftOut, values: 0, groups: 0 }
    }

    fn run(&mut self, tokens: &mut Tokens) -> Result<(), Unparsable> {
        while let Some(token) = tokens.take_next()? {
            match token.kind {
                Kind::Function => self.function(tokens.raw(token), tokens.back_slash())?,
                kind => self.take(kind, tokens.text(token))?,
            }
        }
        if self.out.len() == self.out_start { Err(Unparsable) } else { Ok(()) }
    }

    /// A body that cannot be cut, or is not to be looked into, is a value.
    fn function(&mut self, body: &str, back_slash: BackSlash) -> Result<(), Unparsable> {
        if !self.settings.dollar_quoted_func || DEPTH_MAX <= self.depth {
            return self.take(Kind::Value, "?");
        }
        let (mut inner, mut scratch) = ("$func$".to_owned(), String::new());
        let mut tokens = Tokens::new(body, back_slash, &mut scratch);
        let mut unused = Tables::default();
        match Rules::new(self.settings, &mut inner, &mut unused, self.depth + 1).run(&mut tokens) {
            Err(Unparsable) => self.take(Kind::Value, "?"),
            Ok(()) => {
                inner.push_str("$func$");
                self.take(Kind::Other, &inner)
            }
        }
    }

    /// One token through all rules.
    fn take(&mut self, kind: Kind, text: &str) -> Result<(), Unparsable> {
        let kind = self.name_table(kind, text);
        let (kind, text) = match self.leave_out(kind)? {
            Some(left_out) => (left_out, None),
            None => (kind, Some(text)),
        };
        let (kind, text) = self.hide_value(kind, text);
        let (kind, text, opens) = self.group(kind, text);
        if let Some(text) = text {
            self.write(kind, text, opens);
        }
        self.last = kind;
        Ok(())
    }

    /// After `FROM` and `JOIN` comes a table if it begins with a letter, after `UPDATE` and `INTO` in any case, but values stay
    /// values.
    fn name_table(&mut self, kind: Kind, text: &str) -> Kind {
        if !self.settings.table_names || kind == Kind::Value {
            return kind;
        }
        let is_table = match self.last {
            Kind::From | Kind::Join => text.chars().next().is_some_and(char::is_alphabetic),
            Kind::Update | Kind::Into => true,
            _ => false,
        };
        if !is_table {
            return kind;
        }
        let replace_digits = self.settings.replace_digits;
        self.tables.add(|out| push_name(out, text, replace_digits));
        Kind::Table
    }

    /// What the token becomes if it is left out.
    fn leave_out(&self, kind: Kind) -> Result<Option<Kind>, Unparsable> {
        Ok(match self.last {
            Kind::LeftOutBracket if kind != Kind::CloseBracket => match kind {
                Kind::Name => Some(Kind::LeftOutBracket),
                _ => return Err(Unparsable),
            },
            Kind::LeftOutBracket | Kind::As if kind == Kind::OpenBracket => Some(Kind::LeftOutBracket),
            Kind::LeftOutBracket | Kind::As => (!self.settings.keep_alias).then_some(Kind::LeftOut),
            _ => match kind {
                Kind::Comment => Some(Kind::LeftOut),
                Kind::Semicolon => Some(Kind::Groupable),
                Kind::As if !self.settings.keep_alias => Some(Kind::As),
                _ => None,
            },
        })
    }

    fn hide_value<'t>(&self, kind: Kind, text: Option<&'t str>) -> (Kind, Option<&'t str>) {
        let is_value = kind == Kind::Value || (kind == Kind::DoubleQuoted && self.last == Kind::Equals);
        if is_value || self.last == Kind::Savepoint { (groupable(kind), Some("?")) } else { (kind, text) }
    }

    /// Of a group's values the first is written, of groups in a row the first. The last of the answer says whether a
    /// parenthesis was left out that has to be there after all: a statement follows, and not another group.
    fn group<'t>(&mut self, kind: Kind, text: Option<&'t str>) -> (Kind, Option<&'t str>, bool) {
        let is_groupable = matches!(kind, Kind::Groupable | Kind::GroupableOpen);
        if (self.last == Kind::Open && is_groupable) || (kind == Kind::Open && 0 < self.groups) {
            self.groups += 1;
        }
        let starts_statement = matches!(kind, Kind::Select | Kind::Delete | Kind::Update | Kind::Name);
        if 0 < self.groups && self.last == Kind::GroupableOpen && starts_statement {
            (self.values, self.groups) = (0, 0);
            return (kind, text, true);
        }
        let is_repeated = match kind {
            _ if is_groupable => {
                self.values += 1;
                1 < self.values
            }
            Kind::Comma if 0 < self.values => true,
            _ => 1 < self.groups,
        };
        if is_repeated {
            return (groupable(kind), None, false);
        }
        if !is_groupable && !matches!(kind, Kind::Comma | Kind::Open | Kind::Close) {
            (self.values, self.groups) = (0, 0);
        }
        (kind, text, false)
    }

    fn write(&mut self, kind: Kind, text: &str, opens: bool) {
        let is_first = self.out.len() == self.out_start;
        let is_close = kind == Kind::Comma || (kind == Kind::Equals && self.last == Kind::Colon);
        if !is_first && !is_close {
            self.out.push(' ');
        }
        if opens {
            self.out.push_str("( ");
        }
        let is_name = matches!(kind, Kind::Name | Kind::Table);
        push_name(self.out, text, is_name && self.settings.replace_digits);
    }
}

/// What a token is once it is a value or left out.
fn groupable(kind: Kind) -> Kind {
    if kind == Kind::Open { Kind::GroupableOpen } else { Kind::Groupable }
}

/// Appends a name, each run of its digits as `?` if that is wanted.
pub fn push_name(out: &mut String, name: &str, replace_digits: bool) {
    if !replace_digits {
        return out.push_str(name);
    }
    let mut was_digit = false;
    for c in name.chars() {
        let is_digit = c.is_ascii_digit();
        if !is_digit {
            out.push(c);
        } else if !was_digit {
            out.push('?');
        }
        was_digit = is_digit;
    }
}
