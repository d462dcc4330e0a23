//! Names and tags: what comes of any text is normal, and stays as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mote::process::traces::tag_rules::{TagPart, is_normal_name, is_normal_value, normal_name, normal_tag};

fuzz_target!(|data: &[u8]| {
    let text = &*String::from_utf8_lossy(data);
    let name = normal_name(text);
    assert!(name.is_empty() || is_normal_name(name.as_bytes()), "{name:?}");
    assert_eq!(normal_name(&name), name);
    if is_normal_name(data) {
        assert_eq!(name, text);
    }
    for part in [TagPart::Whole, TagPart::Value] {
        let tag = normal_tag(text, part);
        mote_fuzz::check_growth(text, &tag, 3, 0);
        assert_eq!(normal_tag(&tag, part), tag);
    }
    if is_normal_value(data) {
        assert_eq!(normal_tag(text, TagPart::Value), text);
    }
});
