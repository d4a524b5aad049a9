//! Accepts connections, as many as may be open. When the program drains, what the kernel has already accepted is
//! still taken, so that a client which got through is answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Limits};
use super::reply;
use super::{Server, serve};
use crate::outcome::Outcome;
use crate::socket::{Listener, Socket};

/// How many clients are told at once that there is no room; further ones are just closed.
const TURNED_AWAY: usize = 64;
/// How long such a client may take to read it.
const FAREWELL: Duration = Duration::from_secs(1);
/// A pause after a failed accept: most often there are no file descriptors left, and trying at once would spin.
const AFTER_FAILURE: Duration = Duration::from_millis(50);
/// While draining, no connection is taken later than this, however many keep coming.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Serves on `listener` until the program drains. Each connection is a task on `tasks`.
pub async fn accept(
    listener: Listener,
    front: Server,
    limits: Arc<Limits>,
    max_connections: usize,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(max_connections));
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
    let take = |(socket, peer): (Socket, Option<IpAddr>)| match places.clone().try_acquire_owned() {
        Ok(permit) => {
            let connection = Connection::new(socket, peer, limits.clone(), permit);
            let front = front.clone();
            tasks.spawn(async move {
                serve::serve(&front.context, &front.pass_through, Box::new(connection)).await
            });
        }
        Err(_) => {
            if let Ok(permit) = turned_away.clone().try_acquire_owned() {
                tasks.spawn(async move {
                    let _ = timeout(FAREWELL, turn_away(socket)).await;
                    drop(permit);
                });
            }
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = limits.drain.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => take(accepted),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
    let last_call = Instant::now() + LAST_CALL;
    let Ok(closing) = listener.closing() else { return };
    // Under a steady load there is no quiet moment to wait for: it closes the moment that the kernel holds none.
    while let Ok(accepted) = closing.accept() {
        take(accepted);
        if Instant::now() > last_call {
            break;
        }
    }
    drop(closing);
}

/// Says that there is no room, and reads on until the client has closed: else the kernel takes the answer back.
async fn turn_away(mut socket: Socket) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    socket.write_all(&reply::raw(Outcome::Overloaded)).await?;
    socket.shutdown().await?;
    let mut sink = [0; 1024];
    while socket.read(&mut sink).await? > 0 {}
    Ok(())
}
