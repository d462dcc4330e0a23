//! Lays the sources over each other: flags above variables above the file above defaults.

use crate::config::args::RunArgs;
use crate::config::env;
use crate::config::env::Env;
use crate::config::handles;
use crate::config::handles::Kept;
use crate::config::settings::Config;
use crate::config::settings::SETTINGS;
use crate::config::values::Expected;
use crate::config::values::Raw;
use crate::config::values::Value;
use crate::config::yaml;
use crate::model::api_key::has_form_of_key;
use crate::model::api_key::masked;
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

#[derive(Debug)]
struct Written {
    path: &'static str,
    raw: Raw,
    origin: Origin,
    /// Someone else keeps the value, so it is not shown.
    hidden: bool,
}

/// What was written for each setting, strongest source last, and what became of it.
#[derive(Debug)]
pub struct Values {
    lambda: bool,
    written: Vec<Written>,
    kept: Kept,
    missing: Vec<String>,
    effective: Vec<Effective>,
    warnings: Vec<String>,
}

impl Values {
    /// Nothing written yet.
    pub fn new(lambda: bool) -> Values {
        Values {
            lambda,
            written: Vec::new(),
            kept: Kept::default(),
            missing: Vec::new(),
            effective: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Lays a value over what was there; an empty one counts as not written, and so does one whose handle has no value. The API key
    /// keeps its handle: it is resolved when it is needed, and again when it is refused.
    pub fn set(&mut self, path: &'static str, raw: Raw, origin: Origin) {
        let of_variable = matches!(&origin, Origin::Variable(name) if handles::value_of(name, &self.kept.variables).is_some());
        let (value, hidden) = match path {
            "api_key" => (Some(raw), of_variable),
            _ => {
                let value = handles::resolved(&raw, &self.kept.handles, &mut self.missing);
                let differs = value.as_ref().is_some_and(|value| *value != raw);
                (value, of_variable || differs)
            }
        };
        if let Some(raw) = value.filter(|value| !value.is_empty()) {
            self.written.push(Written { path, raw, origin, hidden });
        }
    }

    /// What was remarked while values were taken.
    pub(super) fn into_history(self) -> (Vec<Effective>, Vec<String>) {
        (self.effective, self.warnings)
    }

    /// The strongest value of a setting that can be read, or its default.
    pub(super) fn take<T: Value>(&mut self, path: &'static str) -> T {
        let at = self.written.iter().rposition(|written| written.path == path);
        let at = at.filter(|at| !self.is_misplaced_key(*at, T::NOT_A_KEY));
        let read = at.map(|at| (at, T::parse(&self.written[at].raw)));
        let (value, at) = match read {
            Some((at, Ok(value))) => {
                let remark = T::remark(&self.written[at].raw);
                self.note(at, remark);
                (value, Some(at))
            }
            Some((at, Err(expected))) => {
                self.complain(at, expected, !T::SECRET && T::QUOTABLE);
                (self.default_value(path), None)
            }
            None => (self.default_value(path), None),
        };
        self.record(path, at, value.show());
        value
    }

    // What does not depend on the type is apart from it: `take` is compiled once for each type that a setting has.

    /// A key stands where something else is `wanted`, and is complained of.
    fn is_misplaced_key(&mut self, at: usize, wanted: Option<&str>) -> bool {
        let (Some(wanted), Raw::Text(text)) = (wanted, &self.written[at].raw) else { return false };
        let is_key = has_form_of_key(text);
        if is_key {
            let name = self.name(at);
            self.warnings.push(format!("{name}: a key was given where {wanted} is wanted; it is not used, and not shown"));
        }
        is_key
    }

    /// Where a value stands, for messages.
    fn name(&self, at: usize) -> String {
        let Written { path, origin, .. } = &self.written[at];
        if matches!(origin, Origin::File(_)) { format!("{origin}: {path}") } else { origin.to_string() }
    }

    /// A value could be read, but there is something to say of it.
    fn note(&mut self, at: usize, remark: Option<String>) {
        let Written { path, origin, hidden, .. } = &self.written[at];
        self.warnings.extend(remark.filter(|_| !hidden).map(|remark| format!("{origin}: {path}: {remark}")));
    }

    /// A value could not be read.
    fn complain(&mut self, at: usize, expected: Expected, quotable: bool) {
        let Written { path, raw, hidden, .. } = &self.written[at];
        let default = self.default_text(path);
        let shown = match raw {
            Raw::Text(text) if quotable && !hidden => format!("`{}`", text.trim()),
            _ => "the value".to_owned(),
        };
        let using = if default.is_empty() { "ignored".to_owned() } else { format!("using {default}") };
        let name = self.name(at);
        self.warnings.push(format!("{name}: {shown} is not {}; {using}", expected.0));
    }

    /// A value is in force: what was written at `at`, or the default.
    fn record(&mut self, path: &'static str, at: Option<usize>, shown: String) {
        let written = at.map(|at| &self.written[at]);
        let shown = match written {
            Some(written) if written.hidden => "***".to_owned(),
            Some(_) if path != "version" => masked(&shown), // a version may be a revision, which looks like a key
            _ => shown,
        };
        let origin = written.map_or(Origin::Default, |written| written.origin.clone());
        self.effective.push(Effective { path, shown, origin });
    }

    fn default_text(&self, path: &str) -> &'static str {
        // Settings are taken in the order of the table.
        let next = SETTINGS.get(self.effective.len()).filter(|row| row.path == path);
        let row = next.or_else(|| SETTINGS.iter().find(|row| row.path == path));
        let row = row.expect("the macro makes the row and this call from one line");
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
    /// Handles that stand in place of values and have none. What they stand in counts as not written.
    pub handles: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// The file as it was read. What a pipe holds comes out of it only once.
#[derive(Clone, Default)]
pub struct FileRead {
    path: Option<PathBuf>,
    tree: Option<Raw>,
    complaint: Option<String>,
}

/// Never what was in it.
impl fmt::Debug for FileRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileRead({:?})", self.path)
    }
}

impl FileRead {
    /// Reads `--config`, else the first that is there of the usual places.
    pub fn now(args: &RunArgs, env: &Env, lambda: bool) -> FileRead {
        let Some(path) = find_file(args.config.as_deref(), env, lambda) else { return FileRead::default() };
        let (tree, complaint) = match yaml::read(&path) {
            Ok(tree) => (Some(tree), None),
            Err(err) => (None, Some(format!("{}: {err}; the file is ignored", path.display()))),
        };
        FileRead { path: Some(path), tree, complaint }
    }
}

/// Reads all sources. Nothing here is fatal: what cannot be read is a warning.
pub fn load(args: &RunArgs, env: &Env, lambda: bool) -> Loaded {
    load_with(&FileRead::now(args, env, lambda), args, env, lambda, &Kept::default())
}

/// The same, of a file that has been read, and with the values that someone else keeps.
pub fn load_with(file: &FileRead, args: &RunArgs, env: &Env, lambda: bool, kept: &Kept) -> Loaded {
    let mut values = Values::new(lambda);
    values.kept.clone_from(kept);
    let mut warnings: Vec<String> = file.complaint.clone().into_iter().collect();
    let mut unknown = Vec::new();
    if let (Some(path), Some(tree)) = (&file.path, &file.tree) {
        lay_tree(tree, path, &mut values, &mut unknown);
    }
    for (path, name, text) in env::settings(env, &kept.variables) {
        values.set(path, Raw::Text(text), Origin::Variable(name));
    }
    if let Some(level) = &args.log_level {
        values.set("log_level", Raw::Text(level.clone()), Origin::Flag("--log-level"));
    }
    // A daemon has no console, so its lines go where others' do, unless something else was said.
    if args.daemon && !values.written.iter().any(|written| matches!(written.path, "log_to_syslog" | "log_file")) {
        values.set("log_to_syslog", Raw::Text("true".to_owned()), Origin::Flag("--daemon"));
    }
    let config = Config::from_values(&mut values);
    let mut handles = std::mem::take(&mut values.missing);
    handles.sort_unstable();
    handles.dedup();
    let (effective, remarks) = values.into_history();
    warnings.extend(remarks);
    warnings.extend(env::missing_parts(env, &unknown));
    let unknown = unknown.into_iter().map(|(path, _)| path).collect();
    Loaded { config, effective, warnings, unknown, handles, file: file.path.clone() }
}

/// `--config`, else the usual places; in Lambda the function's own folder.
pub fn find_file(flag: Option<&Path>, env: &Env, lambda: bool) -> Option<PathBuf> {
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

/// Takes what the table knows out of the file's tree and lists what it does not, with what stands there.
fn lay_tree(tree: &Raw, file: &Path, values: &mut Values, unknown: &mut Vec<(String, String)>) {
    let mut stack = vec![(String::new(), tree)];
    while let Some((prefix, node)) = stack.pop() {
        if let Some(row) = SETTINGS.iter().find(|row| row.path == prefix) {
            values.set(row.path, node.clone(), Origin::File(file.to_owned()));
        } else if let Raw::Map(entries) = node
            && (prefix.is_empty() || !entries.is_empty())
        {
            let path = |key: &String| if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            stack.extend(entries.iter().rev().map(|(key, child)| (path(key), child)));
        } else if !prefix.is_empty() {
            let text = if let Raw::Text(text) = node { text.clone() } else { String::new() };
            unknown.push((prefix, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn shown<'a>(loaded: &'a Loaded, path: &str) -> &'a str {
        &loaded.effective.iter().find(|setting| setting.path == path).unwrap().shown
    }

    #[test]
    fn the_lines_of_a_daemon_go_to_the_systems_log_unless_something_is_said() {
        let daemon = RunArgs { daemon: true, ..RunArgs::default() };
        let to_syslog = |args: &RunArgs, pairs: &[(&str, &str)]| load(args, &env(pairs), false).config.log_to_syslog;
        assert!(to_syslog(&daemon, &[]));
        assert!(!to_syslog(&RunArgs::default(), &[]));
        assert!(!to_syslog(&daemon, &[("DD_LOG_FILE", "/var/log/mote.log")]));
        assert!(!to_syslog(&daemon, &[("DD_LOG_TO_SYSLOG", "false")]));
    }

    #[test]
    fn a_handle_without_a_value_leaves_the_default() {
        let env = env(&[("DD_API_KEY", "ENC[key]"), ("DD_SITE", "ENC[site]"), ("DD_ENV", "prod")]);
        let loaded = load(&RunArgs::default(), &env, false);
        assert_eq!(loaded.handles, ["site"]);
        assert_eq!([shown(&loaded, "site"), shown(&loaded, "env")], ["datadoghq.com", "prod"]);
    }

    #[test]
    fn parts_that_are_not_here_are_named_when_the_file_asks_for_them() {
        let told = |text: &str| {
            let tree = yaml::parse(text).ok();
            let file = FileRead { path: Some("datadog.yaml".into()), tree, complaint: None };
            load_with(&file, &RunArgs::default(), &Env::new(), true, &Kept::default()).warnings
        };
        let otlp = ["endpoint: 0.0.0.0:4317", "endpoint:", "{}", ""];
        for below in otlp {
            let warnings = told(&format!("otlp_config:\n  receiver:\n    protocols:\n      grpc: \n        {below}\n"));
            assert!(matches!(warnings.as_slice(), [one] if one.ends_with("has no OTLP; ignored")), "{below}: {warnings:?}");
        }
        let others =
            "remote_configuration: {enabled: true}\nserverless_appsec_enabled: 1\nfips: {enabled: true}\norg_uuid: x\n";
        assert_eq!(told(others).len(), 4, "{:?}", told(others));
        assert_eq!(told("remote_configuration: {enabled: false}\nfips: {}\nother: true\n"), Vec::<String>::new());
    }

    #[test]
    fn styles_that_nobody_knows_are_one_remark() {
        let env = env(&[("DD_TRACE_PROPAGATION_STYLE", "Datadog, xray,strange,b3 single header,none")]);
        let loaded = load(&RunArgs::default(), &env, true);
        assert_eq!(loaded.config.propagation_style.0.len(), 5);
        let told = "DD_TRACE_PROPAGATION_STYLE: trace_propagation_style: no style of trace contexts is called `xray` or `strange`; passed over";
        assert_eq!(loaded.warnings, [told]);
        assert!(load(&RunArgs::default(), &Env::new(), true).warnings.is_empty());
    }

    #[test]
    fn a_key_of_a_further_endpoint_may_be_kept_elsewhere() {
        let env = env(&[("DD_ADDITIONAL_ENDPOINTS", r#"{"https://a": ["ENC[second]"]}"#)]);
        assert_eq!(load(&RunArgs::default(), &env, false).handles, ["second"]);
        let handles = [("second".to_owned(), Secret::new("hidden".to_owned()))];
        let kept = Kept { handles: handles.into(), ..Kept::default() };
        let loaded = load_with(&FileRead::default(), &RunArgs::default(), &env, false, &kept);
        assert_eq!(loaded.config.additional_endpoints.0[0].api_key.expose(), "hidden");
        assert_eq!(shown(&loaded, "additional_endpoints"), "***");
    }

    #[test]
    fn what_someone_else_keeps_is_used_and_not_shown() {
        let env = env(&[("DD_TAGS", "ENC[tags]"), ("DD_APM_RECEIVER_PORT", "ENC[port]"), ("DD_ENV", "prod")]);
        let secret = |text: &str| Secret::new(text.to_owned());
        let handles = [("tags".to_owned(), secret("team:hidden,hidden")), ("port".to_owned(), secret("hidden"))];
        let variables = [("DD_ENV".to_owned(), secret("hidden-env"))];
        let kept = Kept { handles: handles.into(), variables: variables.into() };
        let loaded = load_with(&FileRead::default(), &RunArgs::default(), &env, false, &kept);
        assert_eq!((loaded.config.tags.joined().as_str(), loaded.config.env.as_deref()), ("team:hidden", Some("hidden-env")));
        let all = format!("{:?} {:?}", loaded.effective, loaded.warnings);
        assert!(!all.contains("hidden"), "{all}");
        assert_eq!([shown(&loaded, "tags"), shown(&loaded, "apm_config.receiver_port")], ["***", "8126"]);
    }

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_key_in_the_place_of_something_else_is_told_and_neither_used_nor_shown() {
        for (name, wanted) in [
            ("DD_API_KEY_FILE", "a path"),
            ("DD_API_KEY_SECRET_ARN", "the ARN or name of a secret"),
            ("DD_API_KEY_SSM_ARN", "the ARN or name of a secret"),
            ("DD_KMS_API_KEY", "a text encrypted by AWS KMS"),
            ("DD_SITE", "a site"),
            ("DD_PROXY_HTTPS", "the address of a proxy"),
            ("DD_DD_URL", "an address"),
            ("DD_EVP_PROXY_CONFIG_DD_URL", "an address"),
            ("DD_SECRET_BACKEND_COMMAND", "a path"),
            ("DD_APM_RECEIVER_PORT", "another value"),
            ("DD_PROXY_NO_PROXY", "another value"),
        ] {
            for text in [KEY, &format!("\"{KEY}\""), &format!("{KEY}01234567")] {
                let loaded = load(&RunArgs::default(), &env(&[(name, text)]), false);
                let all = format!("{:?} {:?}", loaded.effective, loaded.warnings);
                assert!(!all.contains(&KEY[..20]), "{all}");
                let expected = format!("{name}: a key was given where {wanted} is wanted; it is not used, and not shown");
                assert_eq!(loaded.warnings, [expected]);
                assert_eq!(loaded.config.key_sources(), []);
            }
        }
    }

    #[test]
    fn a_key_among_texts_is_not_shown_either() {
        let words = format!("team:web,{KEY}");
        let all = env(&[("DD_SERVICE", KEY), ("DD_TAGS", &words), ("DD_SECRET_BACKEND_ARGUMENTS", KEY), ("DD_VERSION", "1.2")]);
        let loaded = load(&RunArgs::default(), &all, false);
        let all = format!("{:?} {:?}", loaded.effective, loaded.warnings);
        assert!(!all.contains(KEY), "{all}");
        assert_eq!(["service", "tags", "version"].map(|path| shown(&loaded, path)), ["***", "team:web", "1.2"]);
        assert_eq!(loaded.config.service.as_deref(), Some(KEY), "it may be meant");
    }
}
