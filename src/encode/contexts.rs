//! The contexts that the metrics pipeline knows, for people: a table, or JSON for their scripts. Most frequent first.

use crate::model::metrics_item::ContextSeen;
use serde_json::Value;
use serde_json::json;

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
        let line = format!("{count:>12}  {ago:>9}  {name:width$}  {tags}");
        // Whoever may send a metric must not steer the terminal of whoever looks at it.
        text.extend(line.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }));
        text.push('\n');
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
    fn names_and_tags_do_not_steer_the_terminal() {
        let context = ContextSeen { name: "a\x1b[2J".into(), tags: "b\x07,c\u{9b}".into(), count: 1, last_seen: 1 };
        let text = as_text(vec![context], 1);
        assert_eq!(text.chars().filter(|c| c.is_control()).collect::<String>(), "\n\n");
        assert!(text.contains("a\u{fffd}[2J   b\u{fffd},c\u{fffd}\n"), "{text}");
    }

    #[test]
    fn scripts_get_json() {
        let expected = r#"{"name":"long.name","tags":["env:prod","team:web"],"count":70,"last_seen":90}"#;
        assert!(as_json(contexts()).starts_with(&format!("[{expected},")), "{}", as_json(contexts()));
        assert!(as_json(contexts()).contains(r#"{"name":"b","tags":[],"#));
    }
}
