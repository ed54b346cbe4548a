//! The endpoints of the admin server.
//!
//! Handlers read `Status` or put an order into control's queue; none of them waits for a worker.
//! docs/operations.md describes each endpoint with its errors.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use keyway_proxy::config::CommandClass;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Order, Shared, effective, page, stats};
use crate::control::phase::Phase;
use crate::{cli, metrics};

/// All endpoints.
pub fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/api/v1/config", get(config))
        .route("/api/v1/stats", get(show_stats))
        .route("/api/v1/explain", get(explain))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/drain", post(drain))
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_such_page)
        .with_state(Arc::new(shared))
}

/// An error as JSON: what is wrong, and how to mend it.
pub fn failure(status: StatusCode, error: &str, help: &str) -> impl IntoResponse {
    (status, answer(json!({ "error": error, "help": help })))
}

fn answer(value: Value) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(value)).into_response()
}

async fn show_metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = metrics::render(&shared.status);
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")], text).into_response()
}

async fn health() -> &'static str {
    "ok\n"
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let phase = shared.status.view().phase;
    let code = if phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{}\n", phase.name())).into_response()
}

async fn config(State(shared): State<Arc<Shared>>) -> Response {
    let view = shared.status.view();
    answer(json!({
        "generation": view.generation,
        "config": effective::config(&view.config),
    }))
}

async fn show_stats(State(shared): State<Arc<Shared>>) -> Response {
    answer(stats::all(&shared.status))
}

async fn explain(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    match answer_explain(&shared, uri.query().unwrap_or("")) {
        Ok(explanation) => answer(explanation),
        Err(reason) => {
            let help = "ask /api/v1/explain?key=KEY, perhaps with &command=set and &listener=NAME";
            failure(StatusCode::BAD_REQUEST, &reason, help).into_response()
        }
    }
}

fn answer_explain(shared: &Shared, query: &str) -> Result<Value, String> {
    let mut key = None;
    let (mut class, mut listener) = (CommandClass::Get, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Keys are bytes, not text; and a `+` is a `+`, because no key has a space in it.
        let bytes: Vec<u8> = percent_decode_str(value).collect();
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        match name {
            "key" => key = Some(bytes),
            "listener" => listener = Some(text()),
            "command" => class = cli::command_class(&text())?,
            _ => return Err(format!("unknown parameter \"{name}\"")),
        }
    }
    let key = key.ok_or("the parameter \"key\" is missing")?;
    let config = shared.status.view().config;
    let explanation = cli::explain::explain(&config, listener.as_deref(), class, &key)?;
    Ok(cli::explain::to_json(&explanation))
}

async fn reload(State(shared): State<Arc<Shared>>) -> Response {
    let (sender, result) = oneshot::channel();
    if shared.orders.send(Order::Reload(sender)).await.is_err() {
        return stopping();
    }
    match result.await {
        Ok(Ok(generation)) => answer(json!({ "generation": generation })),
        Ok(Err(reason)) => {
            let help = "the old configuration goes on; `keyway check FILE` shows every mistake";
            failure(StatusCode::UNPROCESSABLE_ENTITY, &reason, help).into_response()
        }
        // Control dropped the question: it is draining or gone.
        Err(_) => stopping(),
    }
}

async fn drain(State(shared): State<Arc<Shared>>) -> Response {
    if shared.orders.send(Order::Drain).await.is_err() {
        return stopping();
    }
    (StatusCode::ACCEPTED, answer(json!({ "phase": "draining" }))).into_response()
}

fn stopping() -> Response {
    let help = "ask the next instance";
    failure(StatusCode::SERVICE_UNAVAILABLE, "the process is stopping", help).into_response()
}

async fn wrong_method(method: Method) -> Response {
    let reason = format!("{method} is not possible here");
    failure(StatusCode::METHOD_NOT_ALLOWED, &reason, "the page at / lists what is").into_response()
}

async fn no_such_page(uri: Uri) -> Response {
    let reason = format!("there is nothing at {}", uri.path());
    failure(StatusCode::NOT_FOUND, &reason, "the page at / lists what there is").into_response()
}
