//! Redis, Memcached, URLs, card numbers and addresses of peers. The first byte of an input chooses options.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mote::process::stats::peer_address;
use mote::process::traces::obfuscate::{cards, http, memcached, redis};

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = mote_fuzz::with_choice(data) else { return };
    let text = &*String::from_utf8_lossy(text);
    let made = |make: &dyn Fn(&str, &mut String)| {
        let mut out = String::new();
        make(text, &mut out);
        mote_fuzz::check_growth(text, &out, 3, 64);
        out
    };
    made(&redis::quantize);
    made(&redis::obfuscate);
    made(&redis::remove_all_args);
    let settings = http::Settings { remove_query_string: choice & 1 == 1, remove_paths_with_digits: choice & 2 == 2 };
    made(&|url, out| http::obfuscate(url, &settings, out));
    assert!(memcached::command(text).len() <= text.len());
    if cards::is_card_number(text.as_bytes(), choice & 4 == 4) {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        assert!((cards::DIGITS_MIN..=16).contains(&digits));
        assert!(choice & 4 == 0 || cards::is_card_number(text.as_bytes(), false), "Luhn's sum only takes numbers away");
    }
    let mut out = String::new();
    peer_address::quantize(text, &mut out);
    mote_fuzz::check_growth(text, &out, 10, 64);
});
