//! `mote check`: each setting in force, where it came from, and every warning. Reads, and changes nothing.

use crate::config::Loaded;
use crate::errors::StartError;
use std::fmt::Write;

/// Describes `loaded`, with further `lines`, and what would keep the agent from starting.
pub fn check(loaded: &Loaded, lines: &[String], obstacles: &[StartError]) -> String {
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
    for further in lines {
        line(format_args!("{further}"));
    }
    for obstacle in obstacles {
        line(format_args!("error: {obstacle}"));
    }
    text
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
        let text = check(&load(&RunArgs::default(), &env, false), &["route: x".to_owned()], &[]);
        assert!(!text.contains("0123456789") && text.ends_with("\nroute: x\n"));
        let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(lines.contains(&"api_key = *** (DD_API_KEY)".to_owned()), "{lines:?}");
        assert!(lines.contains(&"site = datadoghq.com (default)".to_owned()), "{lines:?}");
        let warning = "warning: DD_SITE: the value is not a site such as datadoghq.eu; using datadoghq.com";
        assert!(lines.contains(&warning.to_owned()), "{lines:?}");
    }

    #[test]
    fn what_keeps_the_agent_from_starting_is_an_error() {
        let obstacles = [StartError::Address("example.com".to_owned())];
        let text = check(&load(&RunArgs::default(), &Env::new(), false), &[], &obstacles);
        assert!(text.ends_with("error: `example.com` is no address to listen on\n"), "{text}");
    }
}
