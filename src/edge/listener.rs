//! Accepts connections up to a limit, and starts a task for each. At the limit, the connection that has idled longest is
//! closed for the newcomer. It reads no request. While draining it still accepts the
//! connections that the kernel has already queued, so that these clients get a response.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::admission::{AdmissionLimiter, AdmissionPermit};
use super::connection::Connection;
use super::limits::Limits;
use super::response;
use super::{Server, serve};
use crate::metrics::RefusalReason;
use crate::outcome::Outcome;
use crate::socket::{Listener, Socket};

/// How many clients over the limit may wait for a place or get a response at once; further ones are closed without one. Each
/// has a file descriptor, which [`crate::descriptors::max_connections`] counts.
const MAX_OVER_LIMIT: usize = 16;
/// How long a client over the limit may take to read its response.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a failed accept. Usually no file descriptors are left, and an immediate retry would spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// How long connections are accepted while draining, however many keep coming.
const MAX_DRAIN_ACCEPT: Duration = Duration::from_millis(500);

/// Accepts connections on `listener` until the program drains, and serves each in a task of `tasks`.
pub async fn accept(
    listener: Listener,
    server: Server,
    limits: Arc<Limits>,
    max_connections: usize,
    tasks: TaskTracker,
) {
    let places = AdmissionLimiter::new(max_connections);
    let over_limit = Arc::new(Semaphore::new(MAX_OVER_LIMIT));
    let start = |(socket, peer): (Socket, Option<IpAddr>)| {
        let (server, limits) = (server.clone(), limits.clone());
        if let Some(permit) = places.try_acquire() {
            tasks.spawn(serve(server, limits, socket, peer, permit));
            return;
        }
        let Ok(waiting) = over_limit.clone().try_acquire_owned() else {
            server.context.refusals.record(RefusalReason::MaxConnections);
            return;
        };
        let places = places.clone();
        tasks.spawn(async move {
            if let Some(permit) = places.acquire().await {
                drop(waiting);
                return serve(server, limits, socket, peer, permit).await;
            }
            server.context.refusals.record(RefusalReason::MaxConnections);
            let _ = timeout(REJECTION_TIMEOUT, reject_over_capacity(socket)).await;
        });
    };
    loop {
        let accepted = tokio::select! {
            // Under load a connection is always ready; draining must come first.
            biased;
            () = limits.drain.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => start(accepted),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "failed to accept a connection on the public listener, retrying; if no file descriptors are left, \
                     raise the limit of open files or lower server.max_connections"
                );
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
    let deadline = Instant::now() + MAX_DRAIN_ACCEPT;
    let Ok(Some(closing)) = listener.closing() else { return };
    // Under a steady load no quiet moment comes. The listener closes as soon as the kernel's queue is empty.
    while let Ok(accepted) = closing.accept() {
        start(accepted);
        if Instant::now() > deadline {
            break;
        }
    }
    drop(closing);
}

async fn serve(
    server: Server,
    limits: Arc<Limits>,
    socket: Socket,
    peer: Option<IpAddr>,
    permit: AdmissionPermit,
) {
    let connection = Box::new(Connection::new(socket, peer, limits, permit));
    serve::serve(&server.context, &server.pass_through, connection).await;
}

/// Responds that all connections are in use, and reads on until the client closes.
///
/// Closing a socket with unread data makes the kernel send RST, which can destroy the response before the client reads it.
async fn reject_over_capacity(mut socket: Socket) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    socket.write_all(&response::closing_response(Outcome::Overloaded)).await?;
    socket.shutdown().await?;
    let mut sink = [0; 1024];
    while socket.read(&mut sink).await? > 0 {}
    Ok(())
}
