//! The program: environment to map, printed error, exit code. Everything else is the library's.

use mote::errors;
use mote::startup;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// That of the static programs' libc keeps what one thread frees from those that allocate, and so grows without an end. On 32 bits this one
/// crashes.
#[cfg(all(target_env = "musl", target_pointer_width = "64"))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    match startup::main(std::env::args_os(), &environment()) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(err) => {
            // Not through the logger, which may be what failed.
            #[expect(clippy::print_stderr, reason = "the one place that prints an error")]
            {
                eprintln!("mote: {}", errors::chain(&err));
            }
            ExitCode::from(err.exit().code())
        }
    }
}

/// All variables that are text; what is not text is no setting.
#[expect(clippy::disallowed_methods, reason = "this is the one reading of the environment")]
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}
