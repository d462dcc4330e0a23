//! Tags as clients send them, made fit for a context: without instructions, duplicates and excess, sorted.

use crate::model::series::TAG_SEPARATOR;

/// Tags that a client may give to one metric; further ones are left out. The intake takes no more.
pub const TAGS_MAX: usize = 100;

/// Characters of one tag; the intake cuts there.
const CHARS_MAX: usize = 200;

/// Tags that tell the Agent something and do not go on. `host:` is another.
const INSTRUCTIONS: [&str; 3] = ["dd.internal.entity_id:", "dd.internal.card:", "dd.internal.jmx_check_name:"];

/// What a client's tags come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// All tags, sorted, with [`TAG_SEPARATOR`] between them.
    pub joined: String,
    /// What tag `host:` says, which may be nothing.
    pub host: Option<String>,
}

/// Cleans `raw`, tags with commas between them, and adds `more` and `global`.
pub fn clean(raw: &[u8], more: &[String], global: &[String]) -> Cleaned {
    let raw = String::from_utf8_lossy(raw);
    let mut host = None;
    let mut tags = Vec::new();
    for tag in raw.split(',').chain(more.iter().map(String::as_str)) {
        if let Some(name) = tag.strip_prefix("host:") {
            host = Some(name.to_owned());
        } else if !tag.is_empty() && !INSTRUCTIONS.iter().any(|prefix| tag.starts_with(prefix)) && tags.len() < TAGS_MAX {
            tags.push(cut(tag));
        }
    }
    tags.extend(global.iter().map(|tag| cut(tag)));
    tags.sort_unstable();
    tags.dedup();
    let mut joined = String::with_capacity(tags.iter().map(|tag| tag.len() + 1).sum());
    for tag in tags {
        if !joined.is_empty() {
            joined.push(TAG_SEPARATOR);
        }
        // Only a tag of the configuration can have it.
        joined.extend(tag.chars().map(|c| if c == TAG_SEPARATOR { ' ' } else { c }));
    }
    Cleaned { joined, host }
}

fn cut(tag: &str) -> &str {
    match tag.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => &tag[..end],
        None => tag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, joined: &str, host: Option<&str>) {
        let found = clean(raw.as_bytes(), &["m:1".to_owned()], &["env:prod".to_owned()]);
        assert_eq!((found.joined.replace(TAG_SEPARATOR, ","), found.host.as_deref()), (joined.to_owned(), host), "{raw}");
    }

    #[test]
    fn tags_are_sorted_and_instructions_go() {
        check("", "env:prod,m:1", None);
        check("b,a,,b", "a,b,env:prod,m:1", None);
        check("x:1,host:web1,dd.internal.card:low,dd.internal.entity_id:e", "env:prod,m:1,x:1", Some("web1"));
        check("host:", "env:prod,m:1", Some(""));
    }

    #[test]
    fn there_are_not_too_many_and_none_is_too_long() {
        let many: Vec<String> = (0..150).map(|number| format!("{number:03}")).collect();
        let found = clean(many.join(",").as_bytes(), &[], &["g".to_owned()]);
        assert_eq!(found.joined.split(TAG_SEPARATOR).collect::<Vec<_>>()[99..], ["099", "g"]);
        let found = clean("é".repeat(300).as_bytes(), &[], &[]);
        assert_eq!(found.joined, "é".repeat(200));
        assert_eq!(clean(b"a\xff", &[], &["line\nfeed".to_owned()]).joined, "a\u{fffd}\nline feed");
    }
}
