//! Arguments, environment and exit code; everything else is the library's.

use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Fails only where another provider came first, and nothing has run yet.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[cfg(feature = "failpoints")]
    let _armed = countersign::failpoint::arm();
    // Names and values that are not UTF-8 cannot be named by a placeholder either.
    let env =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    countersign::cli::run(std::env::args_os(), env)
}
