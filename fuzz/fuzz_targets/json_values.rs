//! Values of MongoDB, Elasticsearch and OpenSearch. The first byte of an input chooses whether keys are kept and hold SQL.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mote::process::traces::obfuscate::json::{Settings, obfuscate};

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = mote_fuzz::with_choice(data) else { return };
    let text = String::from_utf8_lossy(text);
    let keys = |wanted: bool, key: &str| if wanted { vec![key.to_owned()] } else { Vec::new() };
    let (keep_values, sql_values) = (keys(choice & 1 == 1, "a"), keys(choice & 2 == 2, "b"));
    let settings = Settings { enabled: true, keep_values, sql_values };
    let (mut out, mut statements) = (String::new(), 0);
    let mut hide = |statement: &str, out: &mut String| {
        statements += 1;
        assert!(statement.len() <= text.len());
        out.push('?');
    };
    obfuscate(&text, &settings, &mut Vec::new(), &mut hide, &mut out);
    mote_fuzz::check_growth(&text, &out, 4, 64);
});
