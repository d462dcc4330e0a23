//! `mote check`: each setting in force, where it came from, and every warning. Reads, and changes nothing.

use crate::config::Loaded;
use std::fmt::Write;

/// What the user sees, and whether the agent would start.
#[derive(Debug, PartialEq, Eq)]
pub struct Findings {
    /// For standard output.
    pub text: String,
    /// Nothing keeps the agent from starting.
    pub starts: bool,
}

/// Describes `loaded`. `needs_key` is false where data stay on this machine, or where the agent idles without one.
pub fn check(loaded: &Loaded, needs_key: bool) -> Findings {
    let mut text = String::new();
    let mut line = |content: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{content}"); // a String takes any text
    };
    match &loaded.file {
        Some(file) => line(format_args!("file: {}", file.display())),
        None => line(format_args!("file: none found")),
    }
    let width = loaded.effective.iter().map(|setting| setting.path.len()).max().unwrap_or_default();
    for setting in &loaded.effective {
        line(format_args!("{:width$} = {} ({})", setting.path, setting.shown, setting.origin));
    }
    for unknown in &loaded.unknown {
        line(format_args!("note: no setting is called {unknown}"));
    }
    for warning in &loaded.warnings {
        line(format_args!("warning: {warning}"));
    }
    let has_key = !loaded.config.key_sources().is_empty();
    let starts = has_key || !needs_key;
    if !starts {
        line(format_args!("error: no API key is configured: set DD_API_KEY, api_key_file or kms_api_key"));
    }
    Findings { text, starts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;
    use crate::config::RunArgs;
    use crate::config::load;

    #[test]
    fn secrets_are_masked_and_origins_are_told() {
        let env = Env::from([("DD_API_KEY".to_owned(), "0123456789".to_owned()), ("DD_SITE".to_owned(), "a b".to_owned())]);
        let findings = check(&load(&RunArgs::default(), &env, false), true);
        assert!(findings.starts);
        assert!(!findings.text.contains("0123456789"));
        let lines: Vec<String> =
            findings.text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(lines.contains(&"api_key = *** (DD_API_KEY)".to_owned()), "{lines:?}");
        assert!(lines.contains(&"site = datadoghq.com (default)".to_owned()), "{lines:?}");
        let warning = "warning: DD_SITE: the value is not a site such as datadoghq.eu; using datadoghq.com";
        assert!(lines.contains(&warning.to_owned()), "{lines:?}");
    }

    #[test]
    fn no_key_is_an_error_only_where_one_is_needed() {
        let loaded = load(&RunArgs::default(), &Env::new(), false);
        assert!(!check(&loaded, true).starts);
        assert!(check(&loaded, false).starts);
    }
}
