//! The page at `/`: what this server answers, for people who open it in a browser.
//!
//! Plain HTML without scripts. It shows no numbers; `/metrics` and `/api/v1/stats` do.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{Html, IntoResponse, Response};

/// The page. It is fixed text: nothing that a client or a file said can end up in it.
pub async fn show() -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(PAGE)).into_response()
}

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Keyway</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto }
  td { padding: .2rem 1rem .2rem 0; vertical-align: top }
  code { font-size: .95em }
</style>
<h1>Keyway</h1>
<table>
  <tr><td><a href="/metrics"><code>/metrics</code></a></td>
      <td>counters and latency histograms for Prometheus</td></tr>
  <tr><td><a href="/healthz"><code>/healthz</code></a></td>
      <td>200 while the process works</td></tr>
  <tr><td><a href="/readyz"><code>/readyz</code></a></td>
      <td>200 while clients are accepted, 503 while starting or draining</td></tr>
  <tr><td><a href="/api/v1/config"><code>/api/v1/config</code></a></td>
      <td>the configuration in effect</td></tr>
  <tr><td><a href="/api/v1/stats"><code>/api/v1/stats</code></a></td>
      <td>all counters as JSON</td></tr>
  <tr><td><a href="/api/v1/explain?key=hello"><code>/api/v1/explain?key=hello</code></a></td>
      <td>where a key goes and why (also <code>command=</code>, <code>listener=</code>)</td></tr>
  <tr><td><code>POST /api/v1/reload</code></td>
      <td>read the configuration file again (<code>keyway ctl reload</code>)</td></tr>
  <tr><td><code>POST /api/v1/drain</code></td>
      <td>accept no more clients, finish, exit (<code>keyway ctl drain</code>)</td></tr>
</table>
</html>
"#;
