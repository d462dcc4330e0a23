//! Redis and Valkey commands. The resource keeps the names of the first three commands; the raw command keeps everything but
//! the values that each command is known to carry, or, if that is wanted, nothing but its name.
//!
//! ```text
//! arguments that become ?, counted from 1 without the command
//! all (one ?)                AUTH MIGRATE HELLO
//! all after the 1st (one ?)  ACL GEOHASH GEOPOS GEODIST LPUSH RPUSH SREM ZREM SADD
//! the 2nd, 3rd or 4th        SET and its like; LSET, SETEX and theirs; LINSERT
//! every 2nd or 3rd           MSET MSETNX; behind the key HSET HMSET, GEOADD; behind key and flags ZADD
//! after the word SET         CONFIG SET k value, BITFIELD k SET type offset value (the first one)
//! ```
//! One pass; the result is at most a few bytes longer than the command. Source: reference agent 7.80, pkg/obfuscate/redis.go.

/// The resource names so many commands.
const COMMANDS_MAX: usize = 3;

/// A word that a tracer cut short ends in this.
const CUT_MARK: &str = "...";

/// Appends the names of the first three of the commands to `out`, with `...` if there may be more.
pub fn quantize(commands: &str, out: &mut String) {
    let start = out.len();
    let (mut count, mut is_cut) = (0, false);
    for line in commands.split('\n') {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let Some(first) = words.next() else { continue };
        let second = words.next().filter(|_| is_compound(first));
        is_cut = first.ends_with(CUT_MARK) || second.is_some_and(|word| word.ends_with(CUT_MARK));
        if is_cut {
            continue;
        }
        for word in [Some(first), second].into_iter().flatten() {
            if start < out.len() {
                out.push(' ');
            }
            push_upper(out, word);
        }
        count += 1;
        if count == COMMANDS_MAX {
            break;
        }
    }
    if count == COMMANDS_MAX || is_cut {
        out.push_str(if start < out.len() { " ..." } else { "..." });
    }
}

fn is_compound(command: &str) -> bool {
    ["CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "SCRIPT"].iter().any(|known| command.eq_ignore_ascii_case(known))
}

fn push_upper(out: &mut String, word: &str) {
    for c in word.chars() {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(upper), None) => out.push(upper),
            _ => out.push(c), // Go keeps characters whose upper case is longer
        }
    }
}

/// Which arguments of a command become `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hide {
    Nothing,
    /// The rest, from this one on, as one.
    From(usize),
    /// This one.
    At(usize),
    /// The last of every so many behind this one.
    Every {
        step: usize,
        behind: usize,
    },
    /// `ZADD`, whose flags are not counted; where its members begin, once that is known.
    Members {
        start: Option<usize>,
    },
    /// `CONFIG`: the 3rd after `SET`.
    Config,
    /// `BITFIELD`: the 3rd after the last `SET`, once; where that stood.
    Bits {
        set_at: Option<usize>,
    },
}

impl Hide {
    fn of(command: &str) -> Hide {
        const BYTES_MAX: usize = 20;
        let mut upper = [0; BYTES_MAX];
        let Some(upper) = upper.get_mut(..command.len()) else { return Hide::Nothing };
        upper.copy_from_slice(command.as_bytes());
        upper.make_ascii_uppercase();
        match &*upper {
            b"AUTH" | b"MIGRATE" | b"HELLO" => Hide::From(0),
            b"ACL" | b"GEOHASH" | b"GEOPOS" | b"GEODIST" | b"LPUSH" | b"RPUSH" | b"SREM" | b"ZREM" | b"SADD" => Hide::From(1),
            b"APPEND" | b"GETSET" | b"LPUSHX" | b"GEORADIUSBYMEMBER" | b"RPUSHX" | b"SET" | b"SETNX" | b"SISMEMBER"
            | b"ZRANK" | b"ZREVRANK" | b"ZSCORE" => Hide::At(1),
            b"HSETNX" | b"LREM" | b"LSET" | b"SETBIT" | b"SETEX" | b"PSETEX" | b"SETRANGE" | b"ZINCRBY" | b"SMOVE"
            | b"RESTORE" => Hide::At(2),
            b"LINSERT" => Hide::At(3),
            b"GEOADD" => Hide::Every { step: 3, behind: 1 },
            b"HSET" | b"HMSET" => Hide::Every { step: 2, behind: 1 },
            b"MSET" | b"MSETNX" => Hide::Every { step: 2, behind: 0 },
            b"ZADD" => Hide::Members { start: None },
            b"CONFIG" => Hide::Config,
            b"BITFIELD" => Hide::Bits { set_at: None },
            _ => Hide::Nothing,
        }
    }

    /// What becomes of argument `index`.
    fn argument(&mut self, index: usize, argument: &str) -> Fate {
        let hidden = match *self {
            Hide::Nothing => false,
            Hide::From(first) if first < index => return Fate::Dropped,
            Hide::From(first) => index == first,
            Hide::At(at) => index == at,
            Hide::Every { step, behind } => behind <= index && (index - behind) % step == step - 1,
            Hide::Members { start } => {
                let is_flag = matches!(argument, "NX" | "XX" | "CH" | "INCR");
                let start = start.or((0 < index && !is_flag).then_some(index));
                *self = Hide::Members { start };
                start.is_some_and(|start| (index - start) % 2 == 1)
            }
            Hide::Config => {
                if index == 0 {
                    *self = if argument.eq_ignore_ascii_case("set") { Hide::At(2) } else { Hide::Nothing };
                }
                false
            }
            Hide::Bits { set_at } => {
                let is_set = 0 < index && argument.eq_ignore_ascii_case("set");
                let set_at = if is_set { Some(index) } else { set_at };
                let hidden = set_at.is_some_and(|set_at| index - set_at == 3);
                *self = if hidden { Hide::Nothing } else { Hide::Bits { set_at } };
                hidden
            }
        };
        if hidden { Fate::Hidden } else { Fate::Shown }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Shown,
    Hidden,
    Dropped,
}

/// Appends the commands without their values to `out`.
pub fn obfuscate(commands: &str, out: &mut String) {
    let start = out.len();
    let mut rest = commands.trim();
    while !rest.is_empty() {
        rest = rest.trim_start_matches([' ', '\n']);
        let (command, mut after) = rest.split_at(rest.find([' ', '\n']).unwrap_or(rest.len()));
        if start < out.len() {
            out.push('\n');
        }
        out.push_str(command);
        let mut hide = Hide::of(command);
        for index in 0.. {
            after = skip_blanks(after);
            if after.is_empty() || after.starts_with('\n') {
                break;
            }
            let (argument, behind) = after.split_at(argument_len(after));
            match hide.argument(index, argument) {
                Fate::Dropped => {}
                Fate::Shown => out.extend([" ", argument]),
                Fate::Hidden => out.push_str(" ?"),
            }
            after = behind;
        }
        rest = after;
    }
}

/// Without blanks; the first one must be a space, as tabs and returns are blanks only behind one.
fn skip_blanks(text: &str) -> &str {
    if text.starts_with(' ') { text.trim_start_matches([' ', '\t', '\r']) } else { text }
}

/// Up to the first space or line end outside quotes.
fn argument_len(text: &str) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\\' if !is_escaped => {
                is_escaped = true;
                continue;
            }
            b'"' if !is_escaped => is_quoted = !is_quoted,
            b' ' | b'\n' if !is_quoted => return at,
            _ => {}
        }
        is_escaped = false;
    }
    text.len()
}

/// Appends the command and one `?` for all its arguments to `out`. `BITFIELD` and `CONFIG` keep the words that say what they
/// do.
pub fn remove_all_args(command: &str, out: &mut String) {
    let mut words = command.split_whitespace();
    let Some(name) = words.next() else { return };
    out.push_str(name);
    let Some(first) = words.next() else { return };
    let is_one_of = |word: &str, known: &[&str]| known.iter().any(|known| word.eq_ignore_ascii_case(known));
    if name.eq_ignore_ascii_case("config") && is_one_of(first, &["get", "set", "resetstat", "rewrite"]) {
        out.extend([" ", first]);
    }
    out.push_str(" ?");
    if name.eq_ignore_ascii_case("bitfield") {
        for word in std::iter::once(first).chain(words).filter(|word| is_one_of(word, &["set", "get", "incrby"])) {
            out.extend([" ", word, " ?"]);
        }
    }
}
