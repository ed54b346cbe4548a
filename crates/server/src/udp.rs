//! memcached's UDP protocol: one thread that answers datagrams from the embedded store.
//!
//! UDP is for small retrievals and fire-and-forget; it never touches pools or workers. Requests
//! that need a connection (dumps, `watch`, `shutdown`, authentication) are not answered here.
//! Whatever comes in a datagram ends with it: nothing is kept between two of them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use keyway_proto::memcached::{Cut, cut};
use keyway_proxy::config::{Allow, User};
use keyway_proxy::local::{self, Admission, Context, Next, Output, Session, Shared, udp};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::control::status::Status;

/// Largest datagram that can come in.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams taken from one socket before the others get their turn.
const DATAGRAMS_PER_TURN: usize = 64;
/// Requests answered from one datagram; more of them in one is not what UDP is for.
const REQUESTS_PER_DATAGRAM: usize = 1024;
/// Reply bytes to one datagram after which the rest of its requests is dropped.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// One socket with what its listener says.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Number of the listener.
    pub key: u32,
    /// The socket; it does not block.
    pub socket: Arc<UdpSocket>,
    /// What its clients may do.
    pub allow: Allow,
    /// Users; where there are some, nothing is answered, because nobody can log in.
    pub users: Vec<User>,
}

/// The thread, once there is something for it to do.
#[derive(Debug)]
pub struct Service {
    endpoints: Arc<Mutex<Vec<Endpoint>>>,
    bell: Option<UnixStream>,
}

/// Binds a socket for [`Service`]; an IPv6 one leaves IPv4 to others.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    rustix::net::bind(&fd, &address)?;
    Ok(UdpSocket::from(fd))
}

impl Service {
    /// A service without sockets; it has no thread yet.
    pub fn new() -> Service {
        Service { endpoints: Arc::default(), bell: None }
    }

    /// The sockets that are served now.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves exactly these sockets from now on.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn serve(
        &mut self,
        endpoints: Vec<Endpoint>,
        status: &Arc<Status>,
        shared: &Arc<Shared>,
    ) -> io::Result<()> {
        let is_idle = endpoints.is_empty();
        *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = endpoints;
        if let Some(bell) = &self.bell {
            // One byte is enough, and a full pipe already holds one.
            let _woken = io::Write::write(&mut &*bell, &[1]);
            return Ok(());
        }
        if is_idle {
            return Ok(());
        }
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        let answerer = Answerer {
            status: status.clone(),
            shared: shared.clone(),
            output: Output::new(),
            piece: Vec::new(),
        };
        let endpoints = self.endpoints.clone();
        let run = move || answerer.run(&endpoints, &ear);
        std::thread::Builder::new().name("udp".into()).spawn(run)?;
        self.bell = Some(bell);
        Ok(())
    }
}

/// The thread's own.
struct Answerer {
    status: Arc<Status>,
    shared: Arc<Shared>,
    output: Output,
    piece: Vec<u8>,
}

impl Answerer {
    /// Runs until the other end of `ear` is closed.
    fn run(mut self, endpoints: &Mutex<Vec<Endpoint>>, ear: &UnixStream) {
        let mut buf = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let served = endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut polled: Vec<PollFd<'_>> =
                served.iter().map(|it| PollFd::new(&*it.socket, PollFlags::IN)).collect();
            polled.push(PollFd::new(ear, PollFlags::IN));
            match poll(&mut polled, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(error = %io::Error::from(error), "UDP is not served any more");
                    return;
                }
            }
            let ready: Vec<bool> = polled.iter().map(|it| !it.revents().is_empty()).collect();
            if ready.last() == Some(&true) {
                match io::Read::read(&mut &*ear, &mut [0; 64]) {
                    Ok(0) => return,
                    // Bells that were rung together count once; errors only say "nothing yet".
                    Ok(_) | Err(_) => continue,
                }
            }
            for (endpoint, _) in served.iter().zip(ready).filter(|(_, ready)| *ready) {
                self.serve(endpoint, &mut buf);
            }
        }
    }

    fn serve(&mut self, endpoint: &Endpoint, buf: &mut [u8]) {
        for _ in 0..DATAGRAMS_PER_TURN {
            // An error is about an earlier reply that could not be delivered, or says that there is
            // nothing left; either way the socket is asked again when it has something.
            let Ok((len, peer)) = endpoint.socket.recv_from(buf) else { return };
            let Some(datagram) = udp::parse(&buf[..len]) else { continue };
            self.output.clear();
            self.answer(endpoint, datagram.request);
            self.output.flatten();
            let socket = &endpoint.socket;
            udp::split(datagram.request_id, &self.output.bytes, &mut self.piece, |piece| {
                // Datagrams may be lost on any way; a full socket buffer is one of them.
                let _lost = socket.send_to(piece, peer);
            });
        }
    }

    /// Answers all complete requests of one datagram; what is left over is dropped.
    fn answer(&mut self, endpoint: &Endpoint, mut bytes: &[u8]) {
        let (status, shared) = (self.status.clone(), self.shared.clone());
        let ctx = Context {
            store: &status.store,
            shared: &shared,
            counters: shared.counters(shared.workers() - 1),
            now: Shared::now(status.uptime()),
            allow: endpoint.allow,
            users: &endpoint.users,
            cfd: endpoint.key,
            is_pipelined: true,
        };
        let mut session = Session::new();
        for _ in 0..REQUESTS_PER_DATAGRAM {
            if self.output.bytes_total() > REPLY_BYTES_MAX {
                return;
            }
            let Some(used) = self.one(&ctx, &mut session, bytes) else { return };
            bytes = &bytes[used.min(bytes.len())..];
        }
    }

    /// Answers the first request and says how long it was; `None` when nothing can follow it.
    fn one(&mut self, ctx: &Context<'_>, session: &mut Session, bytes: &[u8]) -> Option<usize> {
        match cut(bytes) {
            Cut::Head(head) => {
                let rest = &bytes[head.line_bytes..];
                match local::admit(ctx, session, &head, rest.len(), &mut self.output) {
                    Admission::Read(body) => {
                        let body = usize::try_from(body).ok()?;
                        let value = rest.get(..body)?;
                        match local::execute(ctx, session, &head, value, &mut self.output) {
                            Next::Continue => Some(head.line_bytes + body),
                            // A connection would end or stream here; a datagram just ends.
                            Next::Close | Next::More | Next::Watch(_) | Next::Shutdown { .. } => {
                                None
                            }
                        }
                    }
                    Admission::Refuse { swallow } => {
                        Some(head.line_bytes.saturating_add(usize::try_from(swallow).ok()?))
                    }
                    Admission::Close => None,
                }
            }
            Cut::Binary => local::binary::answer(ctx, session, bytes, &mut self.output),
            Cut::Partial | Cut::TooLong => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_socket_leaves_ipv4_alone() {
        let Ok(six) = bind("[::]:0".parse().unwrap()) else {
            // A machine without IPv6 has nothing to leave alone.
            return;
        };
        let port = six.local_addr().unwrap().port();
        bind(SocketAddr::from(([0, 0, 0, 0], port))).unwrap();
    }
}
