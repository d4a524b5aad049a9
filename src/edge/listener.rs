//! Accepts connections, as many as may be open, and hands each to pingora. When the program drains, what the kernel
//! has already accepted is still taken, so that a client which got through is answered.

use pingora::apps::ServerApp;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Limits};
use super::drain::Drain;
use super::reply;
use crate::outcome::Outcome;
use crate::socket::{Listener, Socket};

/// How many clients are told at once that there is no room; further ones are just closed.
const TURNED_AWAY: usize = 64;
/// How long such a client may take to read it.
const FAREWELL: Duration = Duration::from_secs(1);
/// A pause after a failed accept: most often there are no file descriptors left, and trying at once would spin.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Serves `app` on `listener` until the program drains. Each connection is a task on `tasks`.
pub async fn serve<A>(
    listener: Listener,
    app: Arc<A>,
    limits: Arc<Limits>,
    max_connections: usize,
    drain: Arc<Drain>,
    tasks: TaskTracker,
) where
    A: ServerApp + Send + Sync + 'static,
{
    let places = Arc::new(Semaphore::new(max_connections));
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Not biased: a flood of connections must not keep the end from being seen, nor the other way round.
            () = drain.token().cancelled() => match timeout(Duration::ZERO, listener.accept()).await {
                Ok(accepted) => accepted,
                Err(_) => return,
            },
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        let Ok(permit) = places.clone().try_acquire_owned() else {
            if let Ok(permit) = turned_away.clone().try_acquire_owned() {
                tasks.spawn(async move {
                    let _ = timeout(FAREWELL, turn_away(socket)).await;
                    drop(permit);
                });
            }
            continue;
        };
        let connection = Connection::new(socket, peer, limits.clone(), permit);
        let (app, watch) = (app.clone(), drain.watch());
        tasks.spawn(async move {
            let mut stream = Some(Box::new(connection) as pingora::protocols::Stream);
            while let Some(open) = stream {
                stream = app.process_new(open, &watch).await;
            }
        });
    }
}

/// Says that there is no room, and reads on until the client has closed: else the kernel takes the answer back.
async fn turn_away(mut socket: Socket) -> std::io::Result<()> {
    socket.write_all(&reply::raw(Outcome::Overloaded)).await?;
    socket.shutdown().await?;
    let mut sink = [0; 1024];
    while socket.read(&mut sink).await? > 0 {}
    Ok(())
}
