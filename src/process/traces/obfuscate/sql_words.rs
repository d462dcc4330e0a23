//! What a token of SQL can be, and the words that are more than a name. Source: reference agent 7.80, pkg/obfuscate.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names, also in back quotes.
    Name,
    /// Text in double quotes.
    DoubleQuoted,
    /// What must not be seen.
    Value,
    /// The body between two `$func$`.
    Function,
    /// A comment.
    Comment,
    /// `AS`.
    As,
    /// `SAVEPOINT`.
    Savepoint,
    /// `SELECT`.
    Select,
    /// `DELETE`.
    Delete,
    /// `UPDATE`.
    Update,
    /// `FROM`.
    From,
    /// `JOIN`.
    Join,
    /// `INTO`.
    Into,
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// `[`.
    OpenBracket,
    /// `]`.
    CloseBracket,
    /// `,`.
    Comma,
    /// `;`.
    Semicolon,
    /// `=`.
    Equals,
    /// `:` before a blank or `=`.
    Colon,
    /// Any other word or sign.
    Other,
    /// Given by the rules: the name of a table.
    Table,
    /// Given by the rules: a value or something that was left out, and so can be one group with others.
    Groupable,
    /// Given by the rules: an opening parenthesis that was left out.
    GroupableOpen,
    /// Given by the rules: left out.
    LeftOut,
    /// Given by the rules: left out, up to the closing bracket.
    LeftOutBracket,
}

/// Keywords in any case; all other words are names.
pub fn word_kind(word: &[u8]) -> Kind {
    match word.len() {
        2 | 4..=6 | 8 => {}
        9 if word.eq_ignore_ascii_case(b"savepoint") => return Kind::Savepoint,
        _ => return Kind::Name,
    }
    match number_of(word) {
        AS => Kind::As,
        NULL | TRUE | FALSE => Kind::Value,
        SELECT => Kind::Select,
        DELETE => Kind::Delete,
        UPDATE => Kind::Update,
        FROM => Kind::From,
        JOIN => Kind::Join,
        INTO => Kind::Into,
        LIMIT | ALTER | CREATE | GRANT | REVOKE | COMMIT | BEGIN | TRUNCATE | DROP | INSERT => Kind::Other,
        _ => Kind::Name,
    }
}

/// A word of at most eight bytes as a number, the same in any case: names have no byte that becomes a letter by this except
/// letters.
const fn number_of(word: &[u8]) -> u64 {
    let (mut number, mut at) = (0, 0);
    while at < word.len() {
        number = number << 8 | (word[at] | 0x20) as u64;
        at += 1;
    }
    number
}

const AS: u64 = number_of(b"as");
const NULL: u64 = number_of(b"null");
const TRUE: u64 = number_of(b"true");
const FALSE: u64 = number_of(b"false");
const SELECT: u64 = number_of(b"select");
const DELETE: u64 = number_of(b"delete");
const UPDATE: u64 = number_of(b"update");
const FROM: u64 = number_of(b"from");
const JOIN: u64 = number_of(b"join");
const INTO: u64 = number_of(b"into");
const LIMIT: u64 = number_of(b"limit");
const ALTER: u64 = number_of(b"alter");
const CREATE: u64 = number_of(b"create");
const GRANT: u64 = number_of(b"grant");
const REVOKE: u64 = number_of(b"revoke");
const COMMIT: u64 = number_of(b"commit");
const BEGIN: u64 = number_of(b"begin");
const TRUNCATE: u64 = number_of(b"truncate");
const DROP: u64 = number_of(b"drop");
const INSERT: u64 = number_of(b"insert");
