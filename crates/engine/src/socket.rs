//! Addresses, sockets and their options.
//!
//! What both kernel backends and the acceptor need to make a stream socket and to set it up the way
//! all of ours are. Names are resolved elsewhere.

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Where a stream socket connects to. Names are resolved elsewhere, long before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address with a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket; a leading `@` means Linux's abstract namespace.
    Unix(PathBuf),
}

/// Who is at the other end of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An IP address with a port.
    Tcp(SocketAddr),
    /// A process on this machine, over a Unix socket.
    Unix,
}

/// A connected stream socket on its way to an engine, perhaps from another thread.
#[derive(Debug)]
pub struct Socket {
    pub(crate) fd: OwnedFd,
    /// Whether it is known to be in blocking mode. The backends never block on it either way, but
    /// io_uring gives up too early on sockets in non-blocking mode.
    pub(crate) is_blocking: bool,
}

/// How a connection is made and kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Probing of idle TCP connections; none means the kernel does not probe.
    pub keepalive: Option<Keepalive>,
    /// How long written TCP bytes may stay unacknowledged before the kernel gives the connection
    /// up, in milliseconds; 0 leaves the kernel's default (about 15 minutes).
    pub user_timeout_ms: u32,
    /// The local IP address to connect from; none lets the kernel choose.
    pub source: Option<IpAddr>,
}

/// Probing of idle TCP connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Seconds without traffic before the first probe; at least 1.
    pub idle_s: u32,
    /// Seconds between probes; at least 1.
    pub interval_s: u32,
    /// Unanswered probes after which the connection is dead; at least 1.
    pub probes: u32,
}

impl Socket {
    /// The peer's address, if the kernel still knows it.
    pub fn peer(&self) -> Option<Peer> {
        peer_of(self.fd.as_fd())
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Socket {
        Socket { fd, is_blocking: false }
    }
}

impl From<std::net::TcpStream> for Socket {
    fn from(stream: std::net::TcpStream) -> Socket {
        Socket { fd: stream.into(), is_blocking: false }
    }
}

impl From<std::os::unix::net::UnixStream> for Socket {
    fn from(stream: std::os::unix::net::UnixStream) -> Socket {
        Socket { fd: stream.into(), is_blocking: false }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

impl Address {
    pub(crate) fn any(&self) -> io::Result<SocketAddrAny> {
        match self {
            Address::Tcp(address) => Ok((*address).into()),
            Address::Unix(path) => Ok(unix_address(path)?.into()),
        }
    }
}

pub(crate) fn unix_address(path: &std::path::Path) -> io::Result<SocketAddrUnix> {
    use std::os::unix::ffi::OsStrExt;
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => Ok(SocketAddrUnix::new_abstract_name(name)?),
        None => Ok(SocketAddrUnix::new(path)?),
    }
}

pub(crate) fn peer_of(fd: BorrowedFd<'_>) -> Option<Peer> {
    let address = rustix::net::getpeername(fd).ok()??;
    match SocketAddr::try_from(address.clone()) {
        Ok(address) => Some(Peer::Tcp(address)),
        Err(_) if address.address_family() == AddressFamily::UNIX => Some(Peer::Unix),
        Err(_) => None,
    }
}

/// Makes an unconnected socket for `address` with `options` set, ready for `connect`.
pub(crate) fn prepare(
    address: &Address,
    options: &ConnectOptions,
    nonblocking: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags = SocketFlags::CLOEXEC;
    if nonblocking {
        flags |= SocketFlags::NONBLOCK;
    }
    let family = match address {
        Address::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
        Address::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
        Address::Unix(_) => AddressFamily::UNIX,
    };
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if let Address::Tcp(_) = address {
        tune(fd.as_fd(), options.keepalive, options.user_timeout_ms)?;
        if let Some(source) = options.source {
            rustix::net::bind(&fd, &SocketAddr::new(source, 0))?;
        }
    }
    Ok(fd)
}

/// Sets the options that every TCP connection of ours has.
pub(crate) fn tune(
    fd: BorrowedFd<'_>,
    keepalive: Option<Keepalive>,
    user_timeout_ms: u32,
) -> rustix::io::Result<()> {
    // Replies are written whole and at once; waiting to fill a segment would only delay them.
    sockopt::set_tcp_nodelay(fd, true)?;
    if let Some(keepalive) = keepalive {
        sockopt::set_socket_keepalive(fd, true)?;
        sockopt::set_tcp_keepidle(fd, Duration::from_secs(keepalive.idle_s.max(1).into()))?;
        sockopt::set_tcp_keepintvl(fd, Duration::from_secs(keepalive.interval_s.max(1).into()))?;
        sockopt::set_tcp_keepcnt(fd, keepalive.probes.max(1))?;
    }
    if user_timeout_ms > 0 {
        sockopt::set_tcp_user_timeout(fd, user_timeout_ms)?;
    }
    Ok(())
}
