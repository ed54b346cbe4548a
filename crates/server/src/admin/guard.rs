//! Who may ask what: keeps web pages in an operator's browser away from the admin server.
//!
//! A page from anywhere can make a browser send requests to 127.0.0.1, and by re-binding its own
//! name to 127.0.0.1 it can even read the answers. Such requests carry that name in `Host`, and a
//! browser always puts `Origin` on a POST. So the API wants an address or `localhost` in `Host`,
//! and an `Origin` that says the same. Metrics and health are harmless and are asked for by any
//! name.

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::api::failure;

/// Lets a request pass or answers 403.
pub async fn check(request: Request, next: Next) -> Response {
    match judge(request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(reason) => {
            let help = "call the admin server by its address or as localhost, without a browser";
            failure(StatusCode::FORBIDDEN, reason, help).into_response()
        }
    }
}

fn judge(path: &str, headers: &HeaderMap) -> Result<(), &'static str> {
    if matches!(path, "/metrics" | "/healthz" | "/readyz") {
        return Ok(());
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| "the Host header is not text")?,
        _ => return Err("there must be one Host header"),
    };
    if !is_own_name(host) {
        return Err("the Host header is neither an address nor localhost");
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(()),
        (Some(origin), None) if origin.to_str().is_ok_and(|text| is_origin_of(text, host)) => {
            Ok(())
        }
        _ => Err("the request comes from another site"),
    }
}

/// Whether `host` (with or without a port) cannot be a name that somebody else controls.
fn is_own_name(host: &str) -> bool {
    if host.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_address = match bare {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.parse::<std::net::Ipv4Addr>().is_ok(),
    };
    is_address || name.eq_ignore_ascii_case("localhost")
}

fn is_origin_of(origin: &str, host: &str) -> bool {
    let (scheme, rest) = origin.split_once("://").unwrap_or_default();
    scheme == "http" && rest.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn ask(path: &str, pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        judge(path, &headers).is_ok()
    }

    #[test]
    fn addresses_and_localhost_are_let_in() {
        for host in ["127.0.0.1:9911", "127.0.0.1", "localhost:9911", "LocalHost", "[::1]:9911"] {
            assert!(ask("/api/v1/reload", &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn names_that_others_control_are_not() {
        let hosts =
            ["evil.example", "127.0.0.1.evil.example:9911", "localhost.evil", "", ":9911", "[x]"];
        for host in hosts {
            assert!(!ask("/api/v1/config", &[("host", host)]), "{host}");
        }
        assert!(!ask("/", &[]));
        assert!(!ask("/", &[("host", "localhost"), ("host", "evil.example")]));
    }

    #[test]
    fn requests_from_other_sites_are_not() {
        let from = |origin| ask("/api/v1/drain", &[("host", "localhost:9911"), ("origin", origin)]);
        assert!(from("http://localhost:9911"));
        assert!(!from("http://localhost:8080"));
        assert!(!from("https://evil.example"));
        assert!(!from("null"));
    }

    #[test]
    fn scrapers_may_use_any_name() {
        assert!(ask("/metrics", &[("host", "keyway.caches.svc:9911")]));
        assert!(ask("/readyz", &[]));
    }
}
