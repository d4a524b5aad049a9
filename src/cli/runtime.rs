//! The async runtime of the commands that wait for another program. `run` has its own, with several threads.

use super::error::CliError;
use std::future::Future;
use tokio::runtime;

/// Runs `future` to its end on this thread.
pub(super) fn block_on<F: Future>(future: F) -> Result<F::Output, CliError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| CliError::failed(format!("cannot start the async runtime: {error}")))?;
    Ok(runtime.block_on(future))
}
