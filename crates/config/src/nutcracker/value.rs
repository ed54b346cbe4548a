//! Values of directives: numbers, places to listen, lines of servers.
//!
//! Pure functions from text to value with nutcracker's rules, its accidents included: numbers wrap
//! at 32 bits, lines are taken apart from their end, and names are the literal text. A mistake is a
//! [`Wrong`] with nutcracker's words and ours; the caller knows the place.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use keyway_proxy::config::{Address, Bind};

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// nutcracker's words, behind the name of the directive.
    pub(super) reason: &'static str,
    /// Ours.
    pub(super) message: String,
    /// How to mend it.
    pub(super) help: &'static str,
}

fn wrong<T>(
    reason: &'static str,
    message: impl Into<String>,
    help: &'static str,
) -> Result<T, Wrong> {
    Err(Wrong { reason, message: message.into(), help })
}

/// A number: digits only. nutcracker counts in 32 bits with a sign and wraps around; what comes out
/// negative is no number. The second value says whether digits were lost.
pub(super) fn number(text: &str) -> Option<(u32, bool)> {
    if text.is_empty() {
        return None;
    }
    let (mut value, mut lost) = (0i32, false);
    for byte in text.bytes() {
        if !byte.is_ascii_digit() {
            return None;
        }
        let digit = i32::from(byte - b'0');
        lost |= value.checked_mul(10).and_then(|tens| tens.checked_add(digit)).is_none();
        value = value.wrapping_mul(10).wrapping_add(digit);
    }
    u32::try_from(value).ok().filter(|value| *value <= NUMBER_MAX).map(|value| (value, lost))
}

fn port(text: &str) -> Option<u16> {
    let (value, _) = number(text)?;
    u16::try_from(value).ok().filter(|port| *port != 0)
}

/// Where to listen: `host:port` or `/path [octal permissions]`.
pub(super) fn listen(
    text: &str,
    resolver: &dyn Fn(&str) -> io::Result<Vec<SocketAddr>>,
) -> Result<Bind, Wrong> {
    if text.starts_with('/') {
        return unix_listen(text);
    }
    let Some((host, port_text)) = text.rsplit_once(':') else {
        let message = "`listen` has no port";
        return wrong("has an invalid \"hostname:port\" format string", message, LISTEN_HELP);
    };
    let Some(port) = port(port_text) else {
        let reason = "has an invalid port in \"hostname:port\" format string";
        let message = format!("`{}` is not a port", port_text.escape_debug());
        return wrong(reason, message, "a port is a number from 1 to 65535");
    };
    let message = match host {
        "" => "`listen` has no host".to_owned(),
        host if host.contains('\0') => "a host name has no NUL byte".to_owned(),
        host => match resolver(host) {
            Ok(found) => match found.first() {
                Some(first) => {
                    let mut address = *first;
                    address.set_port(port);
                    return Ok(Bind::Tcp(address));
                }
                None => format!("`{}` has no address", host.escape_debug()),
            },
            Err(error) => format!("`{}` has no address: {error}", host.escape_debug()),
        },
    };
    let help = if host.is_empty() {
        "write `0.0.0.0:port` for every IPv4 address, `:::port` for IPv6 as well"
    } else if host.starts_with('[') {
        "write IPv6 addresses without brackets: `::1:22121`"
    } else {
        LISTEN_HELP
    };
    wrong(INVALID_VALUE, message, help)
}

fn unix_listen(text: &str) -> Result<Bind, Wrong> {
    let (path, permissions) = match text.rsplit_once(' ') {
        Some((path, permissions)) => (path, octal(permissions)),
        None => (text, Some(0)),
    };
    let Some(mode) = permissions.filter(|mode| *mode <= 0o777) else {
        let reason = "has an invalid file permission in \"socket_path permission\" format string";
        let message = "the permission of the socket is more than 0777";
        return wrong(reason, message, "write octal permissions, such as `/run/cache.sock 0660`");
    };
    if path.len() > PATH_BYTES_MAX || path.contains('\0') {
        let message = "the path of a Unix socket has at most 107 bytes";
        return wrong(INVALID_VALUE, message, "use a shorter path");
    }
    Ok(Bind::Unix { path: PathBuf::from(path), mode })
}

/// As C's `strtol` in base 8 into 32 bits without a sign: what is no digit ends the number, and
/// nothing at all is 0. `None` where it does not fit into 64 bits.
fn octal(text: &str) -> Option<u32> {
    let text = text.trim_start_matches(['\t', '\n', '\x0b', '\x0c', '\r']);
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let mut value = 0i64;
    for digit in digits.iter().take_while(|byte| (b'0'..=b'7').contains(byte)) {
        let digit = i64::from(digit - b'0');
        let digit = if negative { -digit } else { digit };
        value = value.checked_mul(8)?.checked_add(digit)?;
    }
    // The type of permissions keeps the low half.
    u32::try_from(value & 0xffff_ffff).ok()
}

/// A line of `servers`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerLine {
    pub(super) name: String,
    /// What it means; see `host_of`.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) weight: u32,
    pub(super) address: Option<Address>,
    /// The line without the label, as nutcracker's log calls the server.
    pub(super) place: String,
    /// Whether digits of the weight or the port were lost.
    pub(super) wrapped: bool,
}

/// A server: `host:port:weight[ label]` or `/path:weight[ label]`, from the end.
pub(super) fn server(text: &str) -> Result<ServerLine, Wrong> {
    let is_unix = text.starts_with('/');
    let (rest, label) = match text.rsplit_once(' ') {
        Some((rest, label)) => (rest, Some(label)),
        None => (text, None),
    };
    let format = "has an invalid \"hostname:port:weight [name]\"or \
                  \"/path/unix_socket:weight [name]\" format string";
    let Some((place, weight)) = rest.rsplit_once(':') else {
        return wrong(format, "this server has no weight", SERVER_HELP);
    };
    let split = place.rsplit_once(':');
    let (host, port_text) = match (is_unix, split) {
        (false, Some(split)) => split,
        (true, None) => (place, ""),
        (false, None) => {
            return wrong(format, "this server has no port or no weight", SERVER_HELP);
        }
        (true, Some(_)) => {
            let help = "the path of a Unix socket cannot contain a colon";
            return wrong(format, "this server's path contains a colon", help);
        }
    };
    let (weight, lost) = match number(weight) {
        Some((0, _)) => {
            let reason = "has a zero weight in \"hostname:port:weight [name]\" format string";
            return wrong(reason, "this server has a weight of 0", "a weight is at least 1");
        }
        Some(weight) => weight,
        None => {
            let reason = "has an invalid weight in \"hostname:port:weight [name]\" format string";
            let message = format!("`{}` is not a weight", weight.escape_debug());
            return wrong(reason, message, SERVER_HELP);
        }
    };
    let port = if is_unix { Some(0) } else { port(port_text) };
    let Some(port) = port else {
        let reason = "has an invalid port in \"hostname:port:weight [name]\" format string";
        let message = format!("`{}` is not a port", port_text.escape_debug());
        return wrong(reason, message, "a port is a number from 1 to 65535");
    };
    let name = match label {
        Some(label) => label.to_owned(),
        // Without its own name a socket keeps the colon behind its path.
        None if is_unix => format!("{place}:"),
        None if port == KETAMA_PORT => host.to_owned(),
        None => place.to_owned(),
    };
    // The place as nutcracker's log has it: an empty label leaves its blank.
    let place_len = match label {
        Some("") | None => text.len(),
        Some(label) => text.len() - label.len() - 1,
    };
    Ok(ServerLine {
        name,
        host: host_of(host).to_owned(),
        port,
        weight,
        address: address(host, port, is_unix),
        place: text[..place_len].to_owned(),
        wrapped: lost || number(port_text).is_some_and(|(_, lost)| lost),
    })
}

fn address(host: &str, port: u16, is_unix: bool) -> Option<Address> {
    if is_unix {
        return Some(Address::Unix(PathBuf::from(host)));
    }
    let ip: IpAddr = host_of(host).parse().ok()?;
    Some(Address::Tcp(SocketAddr::new(ip, port)))
}

/// What a host means. Without one nutcracker connects to the wildcard address, which is this
/// machine; `[::1]` it takes for a name that nobody can find, but we know what was meant.
fn host_of(host: &str) -> &str {
    if host.is_empty() {
        return "127.0.0.1";
    }
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.filter(|inner| inner.contains(':')).unwrap_or(host)
}

/// What nutcracker says when a value is good text but of no use.
const INVALID_VALUE: &str = "has an invalid value";
const LISTEN_HELP: &str = "write `listen: 127.0.0.1:22121`, or `listen: /run/cache.sock 0660`";
const SERVER_HELP: &str = "write `host:port:weight`, `host:port:weight name` or \
                           `/path:weight name`";
/// The port that is left out of what ketama hashes.
const KETAMA_PORT: u16 = 11211;
/// Largest number.
const NUMBER_MAX: u32 = i32::MAX as u32;
/// What `sun_path` holds besides its terminator.
const PATH_BYTES_MAX: usize = 107;
