//! The admin HTTP server: metrics, health, state, and the two orders an instance takes.
//!
//! It runs on the control thread and shares nothing with workers but counters. Peers are not
//! trusted: headers and connections are bounded, slow ones are cut off, request bodies are never
//! read, and requests that another web site caused are refused (`guard`).

pub mod api;
mod effective;
mod guard;
mod page;
mod stats;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::control::status::Status;

pub use effective::bind as bind_text;

/// Connections served at the same time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// Time a peer has for sending the headers of one request.
const HEADER_WAIT: Duration = Duration::from_secs(5);
/// A connection is told to end after so long, so that idle ones do not occupy places …
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// … and has so much time left for an answer on its way.
const CONNECTION_GRACE: Duration = Duration::from_secs(5);
/// Bytes of the headers of one request.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Number of headers of one request.
const HEADERS_MAX: usize = 64;
/// Pause after a failed accept: descriptors are used up, and asking again at once would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the admin server asks of control.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration again and say how that went.
    Reload(oneshot::Sender<ReloadResult>),
    /// Stop accepting, finish what is owed, exit.
    Drain,
}

/// How a reload went: the generation now running, or why the old one goes on.
pub type ReloadResult = Result<u64, String>;

/// What every request handler can reach.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What the process is doing.
    pub status: Arc<Status>,
    /// The way to control.
    pub orders: mpsc::Sender<Order>,
}

/// Binds the admin server's socket.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, shared: Shared) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let status = shared.status.clone();
    let router = api::routes(shared).layer(middleware::from_fn(guard::check));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin server cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                let router = router.clone();
                tokio::spawn(async move {
                    talk(stream, router).await;
                    drop(place);
                });
            }
            Err(_) => status.count_admin_refused(),
        }
    }
}

async fn talk(stream: TcpStream, router: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // Errors of a connection are its peer's business; there is nobody left to tell.
    if tokio::time::timeout(CONNECTION_LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _cut_off = tokio::time::timeout(CONNECTION_GRACE, connection).await;
    }
}
