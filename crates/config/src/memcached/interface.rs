//! The list of `-l`: `proto[…]:`, `tag[…]:` or `tag_…_:`, a host, a port.
//!
//! Every element becomes a [`Place`] with all addresses of its host. Parsing is memcached's, quirks
//! included: beginnings of protocol names will do, and what follows a bracket is taken for a colon.
//! One quirk is mended: a host may begin with the letters of a prefix, such as `tags.example.net`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use keyway_proxy::config::{Bind, Protocol};

use super::number::strict_i32;
use super::{EX_OSERR, Resolver, Stop};

/// Addresses to listen on of which one must come up.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) binds: Vec<Bind>,
    pub(super) protocol: Protocol,
    pub(super) tag: String,
}

/// The list and what holds for all of its elements.
pub(super) struct List<'a> {
    /// `None` is every address of this machine.
    pub(super) interfaces: Option<&'a [u8]>,
    pub(super) protocol: Protocol,
    /// Clients have to log in with the text protocol.
    pub(super) with_users: bool,
    pub(super) resolver: Resolver<'a>,
}

impl List<'_> {
    /// The places of all elements; `port` is for those without one.
    pub(super) fn places(
        &self,
        port: i32,
        bind: fn(SocketAddr) -> Bind,
        warnings: &mut String,
    ) -> Result<Vec<Place>, Stop> {
        let Some(interfaces) = self.interfaces else {
            let binds = self.addresses(None, port).map_err(|message| {
                let kind = if matches!(bind(ANY), Bind::Udp(_)) { "UDP" } else { "TCP" };
                refused(message, &format!("{kind} port {port}"))
            })?;
            let binds = binds.into_iter().map(bind).collect();
            return Ok(vec![Place { binds, protocol: self.protocol, tag: String::new() }]);
        };
        let list = String::from_utf8_lossy(interfaces);
        let elements = list.split([',', ';']).filter(|element| !element.is_empty());
        elements
            .map(|element| self.place(element, port, bind, warnings))
            .collect::<Result<_, _>>()
            .map_err(|message| refused(message, &format!("one of interface(s) {list}")))
    }

    /// The place of one element; an error is memcached's message about it.
    fn place(
        &self,
        element: &str,
        port: i32,
        bind: fn(SocketAddr) -> Bind,
        warnings: &mut String,
    ) -> Result<Place, String> {
        for (mode, shown) in [("notls", "notls"), ("btls", "btls"), ("mtls", "otls")] {
            if element.starts_with(mode) {
                return Err(format!("'{shown}' option is valid only when SSL is enabled\n"));
            }
        }
        let (protocol, rest) = self.protocol_of(element, warnings)?;
        let (tag, rest) = tag_of(rest)?;
        let (host, port) = host_of(rest, port)?;
        let host = (host != "*").then_some(host);
        let binds = self.addresses(host, port)?.into_iter().map(bind).collect();
        Ok(Place { binds, protocol, tag: tag.to_owned() })
    }

    fn protocol_of<'e>(
        &self,
        element: &'e str,
        warnings: &mut String,
    ) -> Result<(Protocol, &'e str), String> {
        let Some(rest) = element.strip_prefix("proto") else { return Ok((self.protocol, element)) };
        let Some(inside) = rest.strip_prefix('[') else { return Ok((self.protocol, element)) };
        let Some((name, rest)) = inside.split_once(']') else {
            return Err(format!("Invalid protocol spec: \"{rest}\"\n"));
        };
        // memcached compares as many bytes as there are in the brackets, so beginnings will do.
        let is = |word: &str| word.starts_with(name);
        let protocol = if is("ascii") {
            Protocol::MemcachedText
        } else if is("binary") {
            if self.with_users {
                let message = "Cannot use binary protocol when ascii authentication enabled\n";
                return Err(message.to_owned());
            }
            Protocol::MemcachedBinary
        } else if is("negotiating") {
            if self.with_users {
                warnings.push_str(
                    "WARNING: negotiating ports are ascii only when ascii authentication enabled\n",
                );
                Protocol::MemcachedText
            } else {
                Protocol::Memcached
            }
        } else if is("proxy") {
            return Err(format!("Proxy must be enabled to use: \"proto[{name}\"\n"));
        } else {
            self.protocol
        };
        Ok((protocol, after_colon(rest)))
    }

    /// All addresses of a host; of every interface without one.
    fn addresses(&self, host: Option<&str>, port: i32) -> Result<Vec<SocketAddr>, String> {
        if port < -1 {
            return Err("getaddrinfo(): Servname not supported for ai_socktype\n".to_owned());
        }
        // -1 asks the kernel for a port. Larger numbers lose their upper bits, as in memcached.
        let port = port.max(0) as u16;
        let Some(host) = host else {
            let every = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
            return Ok(every.map(|ip| SocketAddr::new(ip, port)).to_vec());
        };
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let found = (self.resolver)(host).map_err(|error| unresolved(&error))?;
        if found.is_empty() {
            return Err("getaddrinfo(): Name or service not known\n".to_owned());
        }
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for mut address in found {
            address.set_port(port);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

fn unresolved(error: &io::Error) -> String {
    let text = error.to_string();
    // std puts its own words before those of getaddrinfo.
    let reason = text.rsplit_once(": ").map_or(text.as_str(), |(_, reason)| reason);
    format!("getaddrinfo(): {reason}\n")
}

fn tag_of(element: &str) -> Result<(&str, &str), String> {
    let Some(rest) = element.strip_prefix("tag") else { return Ok(("", element)) };
    let Some(inside) = rest.strip_prefix(['[', '_']) else { return Ok(("", element)) };
    // A bracket anywhere ends the tag, even if it began with an underscore.
    let Some((tag, rest)) = inside.split_once(']').or_else(|| inside.split_once('_')) else {
        return Err(format!("Invalid tag in socket config: \"{rest}\"\n"));
    };
    if !(1..=8).contains(&tag.len()) {
        return Err(format!("Listener tags must be between 1 and 8 characters: \"{tag}\"\n"));
    }
    Ok((tag, after_colon(rest)))
}

/// The host and the port of an element without its prefixes.
fn host_of(element: &str, port: i32) -> Result<(&str, i32), String> {
    let port_of = |text: &str| match strict_i32(text.as_bytes()) {
        Some(port) => Ok(port),
        None => Err(format!("Invalid port number: \"{text}\"\n")),
    };
    if let Some(inside) = element.strip_prefix('[') {
        let Some((host, rest)) = inside.split_once(']') else {
            return Err(format!("Invalid IPV6 address: \"{element}\""));
        };
        return match rest.split_once(':') {
            Some((_, text)) => Ok((host, port_of(text)?)),
            None => Ok((host, port)),
        };
    }
    match element.split_once(':') {
        Some((host, text)) if !text.contains(':') => Ok((host, port_of(text)?)),
        // Several colons without brackets are an IPv6 address without a port.
        _ => Ok((element, port)),
    }
}

/// What follows the colon that is assumed to stand there.
fn after_colon(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

/// memcached's two lines: what is wrong, and which listening failed for it.
fn refused(message: String, place: &str) -> Stop {
    Stop::new(EX_OSERR, format!("{message}failed to listen on {place}: Success"))
}

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
