//! Lays the sources over each other: flags above variables above the file above defaults.

use crate::config::args::RunArgs;
use crate::config::env;
use crate::config::env::Env;
use crate::config::settings::Config;
use crate::config::settings::SETTINGS;
use crate::config::values::Raw;
use crate::config::values::Value;
use crate::config::yaml;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag(&'static str),
    /// This environment variable.
    Variable(String),
    /// The file.
    File(PathBuf),
    /// Nothing was written.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "{name}"),
            Origin::Variable(name) => write!(f, "{name}"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Default => write!(f, "default"),
        }
    }
}

/// A setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Path in the file.
    pub path: &'static str,
    /// As it may be shown.
    pub shown: String,
    /// Who set it.
    pub origin: Origin,
}

/// What was written for each setting, strongest source last, and what became of it.
#[derive(Debug)]
pub struct Values {
    lambda: bool,
    written: Vec<(&'static str, Raw, Origin)>,
    effective: Vec<Effective>,
    warnings: Vec<String>,
}

impl Values {
    /// Nothing written yet.
    pub fn new(lambda: bool) -> Values {
        Values { lambda, written: Vec::new(), effective: Vec::new(), warnings: Vec::new() }
    }

    /// Lays a value over what was there; an empty one counts as not written.
    pub fn set(&mut self, path: &'static str, raw: Raw, origin: Origin) {
        if !raw.is_empty() {
            self.written.push((path, raw, origin));
        }
    }

    /// What was remarked while values were taken.
    pub(super) fn into_history(self) -> (Vec<Effective>, Vec<String>) {
        (self.effective, self.warnings)
    }

    /// The strongest value of a setting that can be read, or its default.
    pub(super) fn take<T: Value>(&mut self, path: &'static str) -> T {
        let written = self.written.iter().rev().find(|(name, ..)| *name == path);
        let read = written.map(|(_, raw, origin)| (T::parse(raw), raw, origin));
        let (value, origin) = match read {
            Some((Ok(value), raw, origin)) => {
                let remark = T::remark(raw).map(|remark| format!("{origin}: {path}: {remark}"));
                let found = (value, origin.clone());
                self.warnings.extend(remark);
                found
            }
            Some((Err(expected), raw, origin)) => {
                let default = self.default_text(path);
                let shown = match raw {
                    Raw::Text(text) if !T::SECRET && T::QUOTABLE => format!("`{}`", text.trim()),
                    _ => "the value".to_owned(),
                };
                let using = if default.is_empty() { "ignored".to_owned() } else { format!("using {default}") };
                let name = if matches!(origin, Origin::File(_)) { format!("{origin}: {path}") } else { origin.to_string() };
                self.warnings.push(format!("{name}: {shown} is not {}; {using}", expected.0));
                (self.default_value(path), Origin::Default)
            }
            None => (self.default_value(path), Origin::Default),
        };
        self.effective.push(Effective { path, shown: value.show(), origin });
        value
    }

    fn default_text(&self, path: &str) -> &'static str {
        let row = SETTINGS.iter().find(|row| row.path == path).expect("the macro makes the row and this call from one line");
        row.lambda_default.filter(|_| self.lambda).unwrap_or(row.default)
    }

    fn default_value<T: Value>(&self, path: &str) -> T {
        let raw = Raw::Text(self.default_text(path).to_owned());
        T::parse(&raw).unwrap_or_else(|_| unreachable!("a test reads every default"))
    }
}

/// The configuration with its history.
#[derive(Debug)]
pub struct Loaded {
    /// Every setting.
    pub config: Config,
    /// Where each came from.
    pub effective: Vec<Effective>,
    /// What was written wrongly, or in the wrong place.
    pub warnings: Vec<String>,
    /// Names in the file that no setting has; most belong to parts of the Datadog Agent that are not here.
    pub unknown: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// Reads all sources. Nothing here is fatal: what cannot be read is a warning.
pub fn load(args: &RunArgs, env: &Env, lambda: bool) -> Loaded {
    let mut values = Values::new(lambda);
    let mut warnings = Vec::new();
    let mut unknown = Vec::new();
    let file = find_file(args.config.as_deref(), env, lambda);
    if let Some(path) = &file {
        match yaml::read(path) {
            Ok(tree) => lay_tree(&tree, path, &mut values, &mut unknown),
            Err(err) => warnings.push(format!("{}: {err}; the file is ignored", path.display())),
        }
    }
    for (path, name, text) in env::settings(env) {
        values.set(path, Raw::Text(text), Origin::Variable(name));
    }
    if let Some(level) = &args.log_level {
        values.set("log_level", Raw::Text(level.clone()), Origin::Flag("--log-level"));
    }
    let config = Config::from_values(&mut values);
    let (effective, remarks) = values.into_history();
    warnings.extend(remarks);
    Loaded { config, effective, warnings, unknown, file }
}

/// `--config`, else the usual places; in Lambda the function's own folder.
fn find_file(flag: Option<&Path>, env: &Env, lambda: bool) -> Option<PathBuf> {
    if let Some(path) = flag {
        return Some(path.to_owned());
    }
    let usual: Vec<PathBuf> = if lambda {
        let root = env.get("LAMBDA_TASK_ROOT").map_or("/var/task", String::as_str);
        vec![Path::new(root).join("datadog.yaml")]
    } else {
        vec!["/etc/mote/datadog.yaml".into(), "/etc/datadog-agent/datadog.yaml".into()]
    };
    usual.into_iter().find(|path| path.exists())
}

/// Takes what the table knows out of the file's tree and lists what it does not.
fn lay_tree(tree: &Raw, file: &Path, values: &mut Values, unknown: &mut Vec<String>) {
    let mut stack = vec![(String::new(), tree)];
    while let Some((prefix, node)) = stack.pop() {
        if let Some(row) = SETTINGS.iter().find(|row| row.path == prefix) {
            values.set(row.path, node.clone(), Origin::File(file.to_owned()));
        } else if let Raw::Map(entries) = node {
            let path = |key: &String| if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            stack.extend(entries.iter().rev().map(|(key, child)| (path(key), child)));
        } else if !prefix.is_empty() {
            unknown.push(prefix);
        }
    }
}
