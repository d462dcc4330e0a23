//! The configuration file. Built on the events of a YAML parser, so that every scalar keeps the text that was written.
//!
//! Limits: 1 MiB, 32 levels. Anchors, aliases and a second document are errors: no `datadog.yaml` has them, and expanding
//! aliases is how a small file becomes a large one.

use crate::config::values::Raw;
use crate::sys::files;
use saphyr_parser::Event;
use saphyr_parser::Parser;
use saphyr_parser::ScalarStyle;
use saphyr_parser::Span;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

const BYTES_MAX: usize = 1 << 20;
const LEVELS_MAX: usize = 32;

/// Why a file cannot be used.
#[derive(Debug)]
pub enum YamlError {
    /// It cannot be read.
    Io(io::Error),
    /// It is a pipe, and nobody writes to it.
    EmptyPipe,
    /// It is not the YAML that configuration files are made of.
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            YamlError::Io(err) => write!(f, "{err}"),
            YamlError::EmptyPipe => write!(f, "nothing comes out of the pipe"),
            YamlError::Syntax { line, column, what } => write!(f, "line {line}, column {column}: {what}"),
        }
    }
}

/// Reads the file at `path`. What stands in a pipe is gone then.
pub fn read(path: &Path) -> Result<Raw, YamlError> {
    let content = files::read_at_start(path, BYTES_MAX).map_err(YamlError::Io)?;
    if content.is_empty() && fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo()) {
        return Err(YamlError::EmptyPipe);
    }
    let text = String::from_utf8(content).map_err(|_| YamlError::Io(io::ErrorKind::InvalidData.into()))?;
    parse(&text)
}

/// Reads `text`; an empty one is an empty mapping.
pub fn parse(text: &str) -> Result<Raw, YamlError> {
    let mut builder = Builder { open: Vec::new(), root: None };
    for item in Parser::new_from_str(text) {
        let (event, span) = item.map_err(|err| syntax(err.marker().line(), err.marker().col(), err.info()))?;
        builder.take(event, span)?;
    }
    match builder.root {
        None => Ok(Raw::Map(Vec::new())),
        Some(Raw::Text(text)) if text.is_empty() => Ok(Raw::Map(Vec::new())),
        Some(root @ Raw::Map(_)) => Ok(root),
        Some(_) => Err(syntax(1, 0, "settings are a mapping, `name: value`")),
    }
}

fn syntax(line: usize, column: usize, what: &str) -> YamlError {
    YamlError::Syntax { line, column: column + 1, what: what.to_owned() }
}

/// The nodes that are still open, outermost first.
struct Builder {
    open: Vec<Node>,
    root: Option<Raw>,
}

enum Node {
    List(Vec<Raw>),
    Map { entries: Vec<(String, Raw)>, key: Option<String> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let here = |what: &str| syntax(span.start.line(), span.start.col(), what);
        match event {
            Event::Alias(_) => return Err(here("aliases are not read")),
            Event::Scalar(text, style, ..) => self.close(Raw::Text(scalar(&text, style)), here)?,
            Event::SequenceStart(..) | Event::MappingStart(..) if LEVELS_MAX <= self.open.len() => {
                return Err(here("nested too deeply"));
            }
            Event::SequenceStart(..) => self.open.push(Node::List(Vec::new())),
            Event::MappingStart(..) => self.open.push(Node::Map { entries: Vec::new(), key: None }),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Node::List(items)) => self.close(Raw::List(items), here)?,
                Some(Node::Map { entries, .. }) => self.close(Raw::Map(entries), here)?,
                None => return Err(here("unexpected end of a list or mapping")),
            },
            Event::DocumentStart(_) if self.root.is_some() => return Err(here("a second document")),
            _ => (),
        }
        Ok(())
    }

    /// A node is complete: it belongs to the one around it.
    fn close(&mut self, node: Raw, here: impl Fn(&str) -> YamlError) -> Result<(), YamlError> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Node::List(items)) => items.push(node),
            Some(Node::Map { entries, key }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => match node {
                    Raw::Text(text) => *key = Some(text),
                    _ => return Err(here("a name must be a plain text")),
                },
            },
        }
        Ok(())
    }
}

fn scalar(text: &str, style: ScalarStyle) -> String {
    let is_null = style == ScalarStyle::Plain && matches!(text, "~" | "null" | "Null" | "NULL");
    if is_null { String::new() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    fn map(entries: &[(&str, Raw)]) -> Raw {
        Raw::Map(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    }

    #[track_caller]
    fn check(yaml: &str, expected: Raw) {
        assert_eq!(parse(yaml).unwrap(), expected);
    }

    #[track_caller]
    fn check_error(yaml: &str, expected: &str) {
        assert_eq!(parse(yaml).unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_has_no_end_is_too_long() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().to_string(), "longer than 1048576 bytes");
    }

    #[test]
    fn scalars_keep_the_text_that_was_written() {
        check("api_key: 00123\nsite: ~\n", map(&[("api_key", text("00123")), ("site", text(""))]));
        check("a: 'true'\nb: \"x\\ty\"\n", map(&[("a", text("true")), ("b", text("x\ty"))]));
    }

    #[test]
    fn lists_and_maps_nest_in_both_styles() {
        let expected =
            map(&[("apm_config", map(&[("enabled", text("false"))])), ("tags", Raw::List(vec![text("a:b"), text("c:d")]))]);
        check("apm_config:\n  enabled: false # off\ntags:\n- a:b\n- c:d\n", expected.clone());
        check("{apm_config: {enabled: false}, tags: ['a:b', 'c:d']}", expected);
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        check("", map(&[]));
        check("# only a comment\n", map(&[]));
    }

    #[test]
    fn errors_name_line_and_column() {
        check_error("site: a\n  b: c\n", "line 2, column 4: mapping values are not allowed in this context");
        check_error("- a\n", "line 1, column 1: settings are a mapping, `name: value`");
        check_error("a: &x 1\nb: *x\n", "line 2, column 4: aliases are not read");
        check_error(&"[".repeat(40), "line 1, column 33: nested too deeply");
    }

    #[test]
    fn any_cut_and_any_flipped_byte_gives_a_result() {
        let yaml = "api_key: 'k'\ntags: [a:b, \"c:d\"]\napm_config: {enabled: false}\nx: |\n  block\n";
        for end in 0..yaml.len() {
            drop(parse(&yaml[..end]));
            let mut bytes = yaml.as_bytes().to_vec();
            bytes[end] ^= 0x15;
            drop(String::from_utf8(bytes).map(|text| parse(&text)));
        }
    }
}
