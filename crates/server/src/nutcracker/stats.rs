//! The stats port: who connects gets one JSON document and a line feed, and the connection ends.
//!
//! Nothing is read from the peer. Each reader is served on its own and only for so long, so one
//! that does not take its document holds up nobody. The document is nutcracker's to the byte.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyway_config::nutcracker::VERSION;
use keyway_config::nutcracker::argv::{POOL_COUNTERS, SERVER_COUNTERS};
use keyway_proxy::config::Pool;
use keyway_proxy::stats::{Scope, Scoped};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::control::status::Status;

/// Readers served at the same time; others wait in the kernel's queue.
const READERS_MAX: usize = 64;
/// Longest wait for a reader to take its document.
const TAKE_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for a reader to close its end, so that what it sent unasked does not break the
/// connection before it has read.
const CLOSE_WAIT: Duration = Duration::from_millis(500);
/// Pause after the system refused a connection, for example for want of descriptors.
const REFUSED_WAIT: Duration = Duration::from_millis(100);

/// Serves the port for as long as the process runs.
pub async fn serve(listener: TcpListener, status: Arc<Status>) {
    let opened = listener.set_nonblocking(true);
    let listener = match opened.and_then(|()| tokio::net::TcpListener::from_std(listener)) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("stats port: {error}"),
    };
    let places = Arc::new(Semaphore::new(READERS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((reader, _)) => {
                let text = document(&status);
                tokio::spawn(async move {
                    give(reader, text).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("stats port: {error}");
                tokio::time::sleep(REFUSED_WAIT).await;
            }
        }
    }
}

async fn give(mut reader: TcpStream, text: String) {
    let taken = async {
        reader.write_all(text.as_bytes()).await?;
        reader.shutdown().await
    };
    if !matches!(tokio::time::timeout(TAKE_WAIT, taken).await, Ok(Ok(()))) {
        return;
    }
    let closed = async {
        let mut unasked = [0; 1024];
        while reader.read(&mut unasked).await.is_ok_and(|bytes| bytes > 0) {}
    };
    // Whoever keeps its end open is not waited for.
    let _late = tokio::time::timeout(CLOSE_WAIT, closed).await;
}

/// The document, with its line feed.
pub fn document(status: &Status) -> String {
    let view = status.view();
    let counters = Counters::new(status);
    let clients = status.registry.total(|worker| &worker.clients);
    let accepted = status.registry.total(|worker| &worker.clients_accepted);
    let (connects, sockets) = counters.connections();
    let host = nix::sys::utsname::uname();
    let host = host.map_or_else(|_| "unknown".into(), |name| name.nodename().to_owned());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut text = format!(
        "{{\"service\":\"nutcracker\", \"source\":{}, \"version\":\"{VERSION}\", \"uptime\":{}, \
         \"timestamp\":{now}, \"total_connections\":{}, \"curr_connections\":{}, ",
        quoted(&host.to_string_lossy()),
        status.uptime().as_secs(),
        accepted + connects + u64::from(view.listeners_opened),
        clients + sockets + view.config.listeners.len() as u64,
    );
    for (index, pool) in view.config.pools.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        text.push_str(&format!("{comma}{}: {{", quoted(&pool.name)));
        counters.pool(&mut text, status, pool);
        text.push('}');
    }
    text.push_str("}\n");
    text
}

/// A name as a JSON string. nutcracker inserts names as they are, which quotes make invalid.
fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

/// All counters by what they are about.
struct Counters(HashMap<Scope, Scoped>);

impl Counters {
    fn new(status: &Status) -> Counters {
        let scopes = status.registry.scopes().into_iter();
        Counters(scopes.map(|scoped| (scoped.scope.clone(), scoped)).collect())
    }

    /// Connections to servers: begun so far, and open now.
    fn connections(&self) -> (u64, u64) {
        let backends = self.0.values().filter(|it| matches!(it.scope, Scope::Backend { .. }));
        backends.fold((0, 0), |(connects, sockets), scoped| {
            let connects = connects + scoped.sum(|block| &block.backend.connects);
            (connects, sockets + scoped.sum(|block| &block.backend.sockets))
        })
    }

    fn pool(&self, text: &mut String, status: &Status, pool: &Pool) {
        // Listeners bear the names of their pools.
        let listener = self.0.get(&Scope::Listener { listener: pool.name.clone() });
        let scope = Scope::Pool { pool: pool.name.clone() };
        let ejections = self.0.get(&scope).map_or(0, |it| it.sum(|block| &block.pool.ejections));
        let values = listener.map_or([0; 4], |it| {
            [
                it.sum(|block| &block.listener.ended_eof),
                it.sum(|block| &block.listener.ended_error),
                it.sum(|block| &block.listener.clients),
                it.sum(|block| &block.listener.forward_errors),
            ]
        });
        let [eof, error, clients, forward_errors] = values;
        // The parts of split requests are not counted, as by nutcracker, which only says it does.
        let values = [eof, error, clients, ejections, forward_errors, 0];
        for ((name, _), value) in POOL_COUNTERS.iter().zip(values) {
            text.push_str(&format!("\"{name}\":{value}, "));
        }
        for (index, backend) in pool.backends.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            text.push_str(&format!("{comma}{}: {{", quoted(&backend.name)));
            let (pool, backend) = (pool.name.clone(), backend.name.clone());
            let values = self.0.get(&Scope::Backend { pool, backend });
            let values = values.map_or([0; 13], |scoped| server(status, scoped));
            for (index, ((name, _), value)) in SERVER_COUNTERS.iter().zip(values).enumerate() {
                let comma = if index > 0 { ", " } else { "" };
                text.push_str(&format!("{comma}\"{name}\":{value}"));
            }
            text.push('}');
        }
    }
}

/// The counters of a server, in the order of [`SERVER_COUNTERS`].
fn server(status: &Status, scoped: &Scoped) -> [u64; 13] {
    let (mut responses, mut response_bytes) = (0u64, 0u64);
    for class in scoped.blocks.iter().flat_map(|block| &block.classes) {
        responses = responses.wrapping_add(class.requests.get());
        response_bytes = response_bytes.wrapping_add(class.reply_bytes.get());
    }
    let owed = scoped.sum(|block| &block.backend.owed);
    let owed_bytes = scoped.sum(|block| &block.backend.owed_bytes);
    let waiting = scoped.sum(|block| &block.backend.waiting);
    let waiting_bytes = scoped.sum(|block| &block.backend.waiting_bytes);
    [
        scoped.sum(|block| &block.backend.ended_eof),
        scoped.sum(|block| &block.backend.ended_error),
        scoped.sum(|block| &block.backend.ended_timeout),
        scoped.sum(|block| &block.backend.connections),
        status.unix_us(scoped.ejected_at()),
        scoped.sum(|block| &block.backend.requests),
        scoped.sum(|block| &block.backend.request_bytes),
        responses,
        response_bytes,
        waiting,
        waiting_bytes,
        // Counters are read one by one while workers go on.
        owed.saturating_sub(waiting),
        owed_bytes.saturating_sub(waiting_bytes),
    ]
}
