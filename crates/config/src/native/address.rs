//! Addresses as they are written: servers of a pool, and places to listen.
//!
//! Pure functions from text to model; a mistake is a [`Wrong`] with its message and help, and the
//! caller knows the place. Names are kept as written: resolving them is the server's work.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use keyway_proxy::config::{Address, Backend, Bind};

/// What is wrong with an address, and how to mend it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

fn wrong<T>(message: impl Into<String>, help: &'static str) -> Result<T, Wrong> {
    Err(Wrong { message: message.into(), help })
}

/// A server: `host[:port[:weight]] [name]`, `[v6]:port…`, `unix:/path[:weight] [name]`.
pub(crate) fn backend_from(text: &str) -> Result<Backend, Wrong> {
    let (place, name) = match text.trim().split_once(char::is_whitespace) {
        Some((place, name)) => (place, name.trim_start()),
        None => (text.trim(), ""),
    };
    if place.is_empty() {
        return wrong("the server is empty", SERVER_HELP);
    }
    let path = place.strip_prefix("unix:").or(place.starts_with('/').then_some(place));
    let mut backend = match path {
        Some(path) => unix_backend(path)?,
        None => tcp_backend(place)?,
    };
    if !name.is_empty() {
        backend.name = name_from(name)?;
    }
    Ok(backend)
}

/// The name of a server: what ketama hashes and metrics show.
pub(super) fn name_from(name: &str) -> Result<String, Wrong> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return wrong("a server's name has 1 to 255 bytes", "shorten it");
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return wrong("a server's name cannot contain spaces", "write `host:port:weight name`");
    }
    Ok(name.to_owned())
}

fn unix_backend(rest: &str) -> Result<Backend, Wrong> {
    let (path, weight) = match rest.rsplit_once(':') {
        Some((path, weight)) => (path, weight_from(weight)?),
        None => (rest, 1),
    };
    check_path(path)?;
    Ok(Backend {
        name: path.to_owned(),
        host: path.to_owned(),
        port: 0,
        weight,
        address: Some(Address::Unix(PathBuf::from(path))),
    })
}

fn tcp_backend(place: &str) -> Result<Backend, Wrong> {
    let (host, rest) = split_host(place)?;
    let mut parts = rest.split(':');
    let port_text = parts.next().filter(|_| !rest.is_empty());
    let port = port_text.map_or(Ok(PORT_DEFAULT), port_from)?;
    if port == 0 {
        return wrong("a server's port cannot be 0", SERVER_HELP);
    }
    let weight = parts.next().map_or(Ok(1), weight_from)?;
    if parts.next().is_some() {
        return wrong(format!("`{place}` has too many colons"), SERVER_HELP);
    }
    check_host(host)?;
    let ip: Option<IpAddr> = host.parse().ok();
    let name = match port_text {
        // nutcracker and libmemcached leave the standard port out of what they hash.
        Some(text) if port != PORT_DEFAULT => format!("{host}:{text}"),
        _ => host.to_owned(),
    };
    Ok(Backend {
        name,
        host: host.to_owned(),
        port,
        weight,
        address: ip.map(|ip| Address::Tcp(SocketAddr::new(ip, port))),
    })
}

/// The host and what follows its colon (empty without one). IPv6 addresses with a port stand in
/// brackets.
fn split_host(place: &str) -> Result<(&str, &str), Wrong> {
    if let Some(rest) = place.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return wrong(format!("`{place}` has no closing bracket"), "write `\"[::1]:11211\"`");
        };
        if host.parse::<Ipv6Addr>().is_err() {
            return wrong(format!("`{host}` is not an IPv6 address"), "write `\"[::1]:11211\"`");
        }
        return match rest.strip_prefix(':') {
            Some(rest) if !rest.is_empty() => Ok((host, rest)),
            None if rest.is_empty() => Ok((host, "")),
            _ => wrong(format!("`{place}` has no port after the bracket"), SERVER_HELP),
        };
    }
    if place.parse::<Ipv6Addr>().is_ok() {
        return wrong(
            format!("`{place}` could be an address with or without a port"),
            "put IPv6 addresses in brackets: `\"[::1]:11211\"`",
        );
    }
    match place.split_once(':') {
        Some((_, "")) => wrong(format!("`{place}` has no port after the colon"), SERVER_HELP),
        Some((host, rest)) => Ok((host, rest)),
        None => Ok((place, "")),
    }
}

/// Where to listen: `ip:port`, `*:port`, `localhost:port`, `unix:/path`, `udp:ip:port`. `mode` is
/// for Unix sockets.
pub(crate) fn bind_from(text: &str, mode: u32) -> Result<Bind, Wrong> {
    let text = text.trim();
    let path = text.strip_prefix("unix:").or(text.starts_with('/').then_some(text));
    if let Some(path) = path {
        check_path(path)?;
        return Ok(Bind::Unix { path: PathBuf::from(path), mode });
    }
    match text.strip_prefix("udp:") {
        Some(rest) => socket_from(rest).map(Bind::Udp),
        None => socket_from(text).map(Bind::Tcp),
    }
}

/// A numeric address with a port; `*` and an empty host are every IPv4 address.
pub(super) fn socket_from(text: &str) -> Result<SocketAddr, Wrong> {
    let (host, rest) = match text.strip_prefix(':') {
        Some(rest) => ("*", rest),
        None => split_host(text)?,
    };
    if rest.is_empty() {
        return wrong(format!("`{text}` has no port"), BIND_HELP);
    }
    let port = port_from(rest)?;
    let ip = match host {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => match host.parse() {
            Ok(ip) => ip,
            Err(_) => {
                return wrong(
                    format!("`{host}` is not an address of this machine in numbers"),
                    BIND_HELP,
                );
            }
        },
    };
    Ok(SocketAddr::new(ip, port))
}

fn port_from(text: &str) -> Result<u16, Wrong> {
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(port) = text.parse()
    {
        return Ok(port);
    }
    wrong(format!("`{text}` is not a port"), "a port is a number from 0 to 65535")
}

fn weight_from(text: &str) -> Result<u32, Wrong> {
    match text.parse() {
        Ok(weight @ 1..=WEIGHT_MAX) => Ok(weight),
        _ => {
            wrong(format!("`{text}` is not a weight"), "a weight is a number from 1 to 2147483647")
        }
    }
}

/// A host name is not resolved here, but what can never be one is refused.
fn check_host(host: &str) -> Result<(), Wrong> {
    let plausible = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    if host.is_empty() {
        return wrong("the host is empty", SERVER_HELP);
    }
    if host.len() > NAME_BYTES_MAX || !host.bytes().all(plausible) {
        return wrong(
            format!("`{}` is not a host name or address", host.escape_debug()),
            SERVER_HELP,
        );
    }
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return wrong(
            format!("`{host}` is not an IPv4 address"),
            "an IPv4 address has four numbers from 0 to 255: `\"10.0.0.1:11211\"`",
        );
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), Wrong> {
    if !path.starts_with('/') && !path.starts_with("./") {
        return wrong(
            format!("`{}` is not the path of a socket", path.escape_debug()),
            "write `\"unix:/run/cache.sock\"`",
        );
    }
    if path.len() > PATH_BYTES_MAX || path.contains('\0') {
        return wrong("the path of a Unix socket has at most 107 bytes", "use a shorter path");
    }
    Ok(())
}

const SERVER_HELP: &str = "write `\"host:port\"`, `\"host:port:weight\"`, \
                           `\"host:port:weight name\"` or `\"unix:/path\"`";
const BIND_HELP: &str = "write `\"127.0.0.1:11211\"`, `\"*:11211\"`, `\"[::1]:11211\"` or \
                         `\"unix:/run/keyway.sock\"`";
/// memcached's port.
const PORT_DEFAULT: u16 = 11211;
/// Largest weight of a server.
const WEIGHT_MAX: u32 = i32::MAX as u32;
/// Longest host name or server name.
const NAME_BYTES_MAX: usize = 255;
/// What `sun_path` holds besides its terminator.
const PATH_BYTES_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(text: &str) -> (String, String, u16, u32, bool) {
        let backend = backend_from(text).unwrap();
        let resolved = backend.address.is_some();
        (backend.name, backend.host, backend.port, backend.weight, resolved)
    }

    fn is(name: &str, host: &str, port: u16, weight: u32, resolved: bool) -> ExpectedBackend {
        (name.to_owned(), host.to_owned(), port, weight, resolved)
    }

    type ExpectedBackend = (String, String, u16, u32, bool);

    #[test]
    fn reads_servers() {
        assert_eq!(backend("10.0.0.1:11212"), is("10.0.0.1:11212", "10.0.0.1", 11212, 1, true));
        assert_eq!(backend("10.0.0.1:11211"), is("10.0.0.1", "10.0.0.1", 11211, 1, true));
        assert_eq!(backend("10.0.0.1:06379"), is("10.0.0.1:06379", "10.0.0.1", 6379, 1, true));
        assert_eq!(backend("cache1"), is("cache1", "cache1", 11211, 1, false));
        assert_eq!(backend("cache1:22122:3 c1"), is("c1", "cache1", 22122, 3, false));
        assert_eq!(backend("[::1]:5000:2"), is("::1:5000", "::1", 5000, 2, true));
        assert_eq!(backend("unix:/run/a.sock"), is("/run/a.sock", "/run/a.sock", 0, 1, true));
        assert_eq!(backend("/run/a.sock:4 a"), is("a", "/run/a.sock", 0, 4, true));
    }

    #[test]
    fn refuses_what_is_no_server() {
        for text in [
            "",
            " ",
            "host:",
            ":11211",
            "host:port",
            "host:0",
            "host:70000",
            "host:1:0",
            "host:1:1:1",
            "::1",
            "[::1",
            "[nope]:1",
            "[::1]x",
            "10.0.0.256:11211",
            "10.0.0:11211",
            "h(ost:1",
            "h\u{f6}st:1",
            "unix:relative",
            "host:1:1 two names",
            "host:+1",
        ] {
            assert!(backend_from(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_places_to_listen() {
        let tcp = |text: &str| Bind::Tcp(text.parse().unwrap());
        assert_eq!(bind_from("127.0.0.1:1", 0), Ok(tcp("127.0.0.1:1")));
        assert_eq!(bind_from("*:11211", 0), Ok(tcp("0.0.0.0:11211")));
        assert_eq!(bind_from(":11211", 0), Ok(tcp("0.0.0.0:11211")));
        assert_eq!(bind_from("localhost:0", 0), Ok(tcp("127.0.0.1:0")));
        assert_eq!(bind_from("[::]:11211", 0), Ok(tcp("[::]:11211")));
        assert_eq!(bind_from("udp:127.0.0.1:1", 0), Ok(Bind::Udp("127.0.0.1:1".parse().unwrap())));
        let path = PathBuf::from("/run/k.sock");
        assert_eq!(bind_from("unix:/run/k.sock", 0o700), Ok(Bind::Unix { path, mode: 0o700 }));
        for text in ["", "11211", "127.0.0.1", "host:1", "unix:", "udp:", "127.0.0.1:x", "[::]"] {
            assert!(bind_from(text, 0).is_err(), "{text}");
        }
    }
}
