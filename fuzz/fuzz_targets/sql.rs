//! Both SQL engines. The first byte of an input chooses the engine, its options and the dialect.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mote::process::traces::obfuscate::sql::{Memory, Settings, obfuscate};
use mote::process::traces::obfuscate::sql_modes::{Dialect, Mode};

const MODES: [&str; 4] = ["", "obfuscate_only", "normalize_only", "obfuscate_and_normalize"];
const DIALECTS: [&str; 4] = ["", "mysql", "mssql", "oracle"];

fuzz_target!(|data: &[u8]| {
    let Some((choice, statement)) = mote_fuzz::with_choice(data) else { return };
    let statement = String::from_utf8_lossy(statement);
    let bit = |number: u8| choice >> number & 1 == 1;
    let settings = Settings {
        mode: Mode::named(MODES[usize::from(choice & 3)]),
        table_names: bit(4),
        replace_digits: bit(5),
        keep_alias: bit(6),
        dollar_quoted_func: bit(7),
    };
    let dialect = Dialect::named(DIALECTS[usize::from(choice >> 2 & 3)]);
    let mut memory = Memory::default();
    let mut first = String::new();
    let result = obfuscate(&statement, &settings, dialect, &mut memory, &mut first);
    mote_fuzz::check_growth(&statement, &first, 4, 64);
    mote_fuzz::check_growth(&statement, memory.tables.joined(), 2, 64);
    // What was learnt of back slashes may change the result once, and then no more.
    let (mut second, mut third) = (String::new(), String::new());
    let _ = obfuscate(&statement, &settings, dialect, &mut memory, &mut second);
    let again = obfuscate(&statement, &settings, dialect, &mut memory, &mut third);
    assert_eq!((result.is_ok(), second), (again.is_ok(), third));
});
