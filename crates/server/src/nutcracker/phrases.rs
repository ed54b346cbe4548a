//! Events in the words of nutcracker's log, as far as operators look for them.
//!
//! Where nutcracker has a number of a descriptor, the worker's number stands: descriptors mean
//! nothing to people who read a log.

use keyway_proxy::config::{Address, Backend, Config, Pool};
use keyway_proxy::events::{Event, Failure};

/// Writes the line about an event, which `suppressed` others of its kind did not get.
pub fn tell(config: &Config, worker: usize, event: &Event, suppressed: u64) {
    let more = match suppressed {
        0 => String::new(),
        n => format!(" ({n} more lines of this kind were suppressed)"),
    };
    match event {
        Event::BackendFailed { backend, cause, owed } => {
            let text = failure(config, worker, backend, *cause, *owed);
            tracing::warn!("{text}{more}");
        }
        Event::BackendDown { backend, cause } => {
            let text = failure(config, worker, backend, *cause, 0);
            tracing::warn!("{text}; its requests are refused until it answers{more}");
        }
        Event::BackendUp { backend } => tracing::info!("server '{backend}' is up{more}"),
        Event::Ejected { backend } => tracing::warn!("server '{backend}' is ejected{more}"),
        Event::Returned { backend } => {
            tracing::info!("server '{backend}' is back in its ring{more}");
        }
        Event::ClientOverLimit { bytes } => {
            tracing::warn!("closed a client that held {bytes} bytes and does not read{more}");
        }
        Event::Configured { generation } => {
            tracing::debug!("worker {worker} runs configuration {generation}");
        }
    }
}

fn failure(config: &Config, worker: usize, label: &str, cause: Failure, owed: usize) -> String {
    let found = find(config, label);
    let address = found.map_or_else(|| label.to_owned(), address);
    let connect = |reason| format!("connect on s {worker} to server '{address}' failed: {reason}");
    let on = |text| format!("s {worker} to server '{address}' {text}, {owed} replies were owed");
    match cause {
        Failure::Refused => connect("Connection refused"),
        Failure::NoSocket => connect("No such file or directory"),
        Failure::Unreachable => connect("No route to host"),
        Failure::Exhausted => connect("Too many open files"),
        Failure::Unresolved => {
            let (host, port) =
                found.map_or((label, 0), |backend| (&backend.host[..], backend.port));
            format!("address resolution of node '{host}' service '{port}' failed: no address")
        }
        Failure::Closed if owed == 0 => format!("s {worker} active 0 is done ('{address}')"),
        Failure::Closed => {
            format!("eof s {worker} discarding incomplete rsp ('{address}', {owed} were owed)")
        }
        Failure::Reset => {
            format!("recv on sd {worker} failed: Connection reset by peer ('{address}')")
        }
        Failure::TimedOut => on("timedout"),
        Failure::Malformed => on("parsed bad rsp"),
        Failure::Overloaded | Failure::TooLarge => on(cause.name()),
    }
}

/// A server as nutcracker's lines call it: by address and weight, never by label.
fn address(backend: &Backend) -> String {
    let Backend { host, port, weight, .. } = backend;
    match backend.address {
        Some(Address::Unix(_)) => format!("{host}:{weight}"),
        _ => format!("{host}:{port}:{weight}"),
    }
}

/// The server that events call `pool/name`. Both parts may hold slashes.
fn find<'a>(config: &'a Config, label: &str) -> Option<&'a Backend> {
    let in_pool = |pool: &'a Pool| {
        let name = label.strip_prefix(&pool.name[..])?.strip_prefix('/')?;
        pool.backends.iter().find(|backend| backend.name == name)
    };
    config.pools.iter().find_map(in_pool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_config::nutcracker::{Options, load, system_resolver};
    use keyway_proxy::config::Compat;

    fn line(label: &str, cause: Failure, owed: usize) -> String {
        let text = "a/b:\n  listen: 127.0.0.1:5\n  servers:\n   - 10.0.0.1:6379:2 c/d\n   \
                    - nowhere.invalid:7:1\n";
        let options =
            Options { workers: 1, compat: Compat::Nutcracker, resolver: &system_resolver };
        let config = load("a.yml", text.as_bytes(), options).unwrap().config;
        failure(&config, 3, label, cause, owed)
    }

    #[test]
    fn servers_are_called_by_address_and_weight() {
        assert_eq!(
            line("a/b/c/d", Failure::Refused, 0),
            "connect on s 3 to server '10.0.0.1:6379:2' failed: Connection refused"
        );
        assert_eq!(
            line("a/b/nowhere.invalid:7", Failure::Unresolved, 0),
            "address resolution of node 'nowhere.invalid' service '7' failed: no address"
        );
        assert!(line("a/b/c/d", Failure::Closed, 0).starts_with("s 3 active 0 is done"));
        assert!(line("gone/x", Failure::Refused, 0).contains("'gone/x'"));
    }
}
