//! `keyway ctl`: tells a running instance to reload or drain, or asks for its counters.
//!
//! A thin client of the admin API; `explain --admin` uses it too.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Method;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

use super::{Ctl, Order};
use crate::console;

/// Longest that an instance may take for an answer; a reload resolves names first.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Carries out the order and prints the answer. Status 1 when it was refused or nobody answered.
pub fn run(ctl: &Ctl) -> ExitCode {
    let (method, path) = match ctl.order {
        Order::Reload => (Method::POST, "/api/v1/reload"),
        Order::Drain => (Method::POST, "/api/v1/drain"),
        Order::Stats => (Method::GET, "/api/v1/stats"),
    };
    match request(ctl.admin, method, path) {
        Ok(answer) => {
            console::out(answer.body.trim_end());
            ExitCode::from(u8::from(!answer.accepted))
        }
        Err(error) => {
            console::err(format_args!("keyway ctl: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What an instance said.
#[derive(Debug)]
pub struct Answer {
    /// Whether the status was one of success.
    pub accepted: bool,
    /// The text, JSON for all of the API.
    pub body: String,
}

/// Sends one request to the admin server at `admin`.
pub fn request(admin: SocketAddr, method: Method, path: &str) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match tokio::time::timeout(PATIENCE, exchange(admin, method, path)).await {
            Ok(answer) => answer,
            Err(_) => bail!("no answer from {admin} within {} s", PATIENCE.as_secs()),
        }
    })
}

async fn exchange(admin: SocketAddr, method: Method, path: &str) -> anyhow::Result<Answer> {
    let stream = tokio::net::TcpStream::connect(admin).await.with_context(|| {
        format!("connecting to {admin} (is Keyway running, and is this its admin address?)")
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The connection's own errors come back through the request as well.
    tokio::spawn(async move {
        let _reported_by_the_request = connection.await;
    });
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, admin.to_string())
        .body(Empty::<Bytes>::new())?;
    let reply = sender.send_request(request).await.context("waiting for the answer")?;
    let accepted = reply.status().is_success();
    let body = match Limited::new(reply.into_body(), REPLY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => bail!("reading the answer: {error}"),
    };
    Ok(Answer { accepted, body: String::from_utf8_lossy(&body).into_owned() })
}
