//! The contexts that the metrics pipeline knows, for people: a table, or JSON for their scripts. Most frequent first.

use crate::model::metrics_item::ContextSeen;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write;

/// A JSON array of objects with name, tags, count and last_seen in Unix seconds.
pub fn as_json(mut contexts: Vec<ContextSeen>) -> String {
    sort(&mut contexts);
    let object = |ContextSeen { name, tags, count, last_seen }: &ContextSeen| {
        let tags: Vec<&str> = tags.split(',').filter(|tag| !tag.is_empty()).collect();
        json!({"name": name, "tags": tags, "count": count, "last_seen": last_seen})
    };
    Value::from(contexts.iter().map(object).collect::<Vec<_>>()).to_string()
}

/// A line each, in columns; `now` in Unix seconds.
pub fn as_text(mut contexts: Vec<ContextSeen>, now: i64) -> String {
    sort(&mut contexts);
    let width = contexts.iter().map(|context| context.name.chars().count()).max().unwrap_or_default().max("metric".len());
    let mut text = format!("{:>12}  {:>9}  {:width$}  tags\n", "points", "last seen", "metric");
    for ContextSeen { name, tags, count, last_seen } in &contexts {
        let ago = format!("{} s ago", now.saturating_sub(*last_seen).max(0));
        let _ = writeln!(text, "{count:>12}  {ago:>9}  {name:width$}  {tags}"); // a String takes any text
    }
    text
}

fn sort(contexts: &mut [ContextSeen]) {
    contexts.sort_by(|one, other| {
        other.count.cmp(&one.count).then_with(|| (&one.name, &one.tags).cmp(&(&other.name, &other.tags)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> Vec<ContextSeen> {
        let context =
            |name: &str, tags: &str, count| ContextSeen { name: name.to_owned(), tags: tags.to_owned(), count, last_seen: 90 };
        vec![context("b", "", 3), context("long.name", "env:prod,team:web", 70), context("a", "x", 3)]
    }

    #[test]
    fn the_most_frequent_comes_first() {
        let expected = "      points  last seen  metric     tags\n          70   10 s ago  long.name  env:prod,team:web\n           3   10 s ago  a          x\n           3   10 s ago  b          \n";
        assert_eq!(as_text(contexts(), 100), expected);
    }

    #[test]
    fn scripts_get_json() {
        let expected = r#"{"name":"long.name","tags":["env:prod","team:web"],"count":70,"last_seen":90}"#;
        assert!(as_json(contexts()).starts_with(&format!("[{expected},")), "{}", as_json(contexts()));
        assert!(as_json(contexts()).contains(r#"{"name":"b","tags":[],"#));
    }
}
