//! Sockets that wait for clients.
//!
//! Made by the server while it starts and reloads, then given to an `Acceptor` or to one engine.
//! Nothing here accepts; nothing here is per request.

use crate::socket::unix_address;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An IP address with a port; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix {
        /// The path; a leading `@` means Linux's abstract namespace, which has no permissions.
        path: PathBuf,
        /// Permission bits of the socket file, such as `0o700`; 0 leaves them to the umask.
        mode: u32,
    },
}

/// How to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections the kernel keeps before they are accepted; it caps this at `net.core.somaxconn`.
    pub backlog: u32,
    /// Lets several sockets listen on the same address, the kernel spreading connections over them.
    pub reuse_port: bool,
    /// Whether an IPv6 socket refuses IPv4 clients.
    pub v6_only: bool,
}

/// A socket that listens; `Acceptor` or `Engine::add_listener` takes connections from it.
#[derive(Debug)]
pub struct ListenSocket {
    pub(crate) fd: OwnedFd,
    /// TCP connections get `TCP_NODELAY` and the like, which Unix sockets do not know.
    pub(crate) is_tcp: bool,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions { backlog: 1024, reuse_port: false, v6_only: true }
    }
}

/// Starts listening at `address`.
///
/// A socket file that is in the way is removed if nobody listens on it any more.
///
/// # Errors
/// Those of the operating system: the address is in use, not ours, or not permitted.
pub fn listen(address: &ListenAddress, options: &ListenOptions) -> io::Result<ListenSocket> {
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match address {
        ListenAddress::Tcp(address) => {
            let family = match address {
                SocketAddr::V4(_) => AddressFamily::INET,
                SocketAddr::V6(_) => AddressFamily::INET6,
            };
            let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
            // Otherwise a restart would fail while old connections linger in TIME_WAIT.
            sockopt::set_socket_reuseaddr(&fd, true)?;
            if options.reuse_port {
                sockopt::set_socket_reuseport(&fd, true)?;
            }
            if address.is_ipv6() {
                sockopt::set_ipv6_v6only(&fd, options.v6_only)?;
            }
            rustix::net::bind(&fd, address)?;
            rustix::net::listen(&fd, backlog)?;
            Ok(ListenSocket { fd, is_tcp: true })
        }
        ListenAddress::Unix { path, mode } => {
            let fd =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            let socket_address = unix_address(path)?;
            let is_abstract = socket_address.abstract_name().is_some();
            if !is_abstract {
                remove_abandoned(path);
            }
            rustix::net::bind(&fd, &socket_address)?;
            if !is_abstract && *mode != 0 {
                // Before `listen`, so that nobody can connect under wider permissions.
                rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(*mode))?;
            }
            rustix::net::listen(&fd, backlog)?;
            Ok(ListenSocket { fd, is_tcp: false })
        }
    }
}

/// Removes the socket file of a process that is gone. Everything else stays, so that `bind` reports
/// it: another kind of file, or a socket on which somebody still listens.
fn remove_abandoned(path: &std::path::Path) {
    use std::os::unix::fs::FileTypeExt;
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        return;
    }
    let connected = std::os::unix::net::UnixStream::connect(path);
    if connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        let _ = std::fs::remove_file(path);
    }
}

impl ListenSocket {
    /// The address it listens on, for TCP: tells the port when the kernel chose it.
    pub fn local_address(&self) -> Option<SocketAddr> {
        SocketAddr::try_from(rustix::net::getsockname(&self.fd).ok()?).ok()
    }

    /// Takes over a socket that already listens, for example from a supervisor.
    pub fn from_fd(fd: OwnedFd) -> io::Result<ListenSocket> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        let is_tcp = rustix::net::getsockname(&fd)?.address_family() != AddressFamily::UNIX;
        Ok(ListenSocket { fd, is_tcp })
    }

    /// A second handle on the same socket, sharing its queue of connections.
    pub fn try_clone(&self) -> io::Result<ListenSocket> {
        Ok(ListenSocket { fd: self.fd.try_clone()?, is_tcp: self.is_tcp })
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
