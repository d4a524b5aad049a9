//! The program's entry: passes the arguments and the environment to the library, and returns its exit code. It owns what
//! a process can have only once: the allocator and the TLS provider.

use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // It fails only if a provider is installed already, and nothing has run before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[cfg(feature = "failpoints")]
    let _failpoints = countersign::failpoint::arm();
    // Placeholders are UTF-8, so they cannot name a variable that is not; such variables are left out.
    let env =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    countersign::cli::run(std::env::args_os(), env)
}
