//! Which sockets listen, and what changes on a reload.
//!
//! A socket is known by the address it was bound to; that address keeps its number and its queue of
//! waiting clients for as long as any configuration names it, whatever else changes about the
//! listener. New sockets are bound before anything old is touched, so a reload that cannot have its
//! addresses changes nothing.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use keyway_engine::{ListenAddress, ListenOptions, ListenSocket, listen};
use keyway_proxy::config::{Bind, Config, Listener, ListenerId};
use nix::errno::Errno;

/// Longest wait for the acceptor to close a socket whose place is wanted again.
const CLOSING_WAIT: Duration = Duration::from_secs(1);
/// How often the place is tried meanwhile.
const CLOSING_LOOK: Duration = Duration::from_millis(1);

/// The sockets that listen now.
#[derive(Debug, Default)]
pub struct Listeners {
    open: Vec<Open>,
    next_key: u32,
    /// Places that the last change gave up: the acceptor may still be closing their sockets.
    closing: Vec<Bind>,
}

/// One socket.
#[derive(Clone, Debug)]
struct Open {
    bind: Bind,
    key: u32,
}

/// A socket that was just bound.
#[derive(Debug)]
pub struct Bound {
    /// Its number.
    pub key: u32,
    /// Where it was asked to be.
    pub bind: Bind,
    /// The socket.
    pub socket: Socket,
    /// Its real address, with the port that the kernel chose; `None` for Unix sockets.
    pub address: Option<SocketAddr>,
}

/// A bound socket, by transport.
#[derive(Debug)]
pub enum Socket {
    /// TCP or Unix: connections are accepted from it.
    Stream(ListenSocket),
    /// UDP: requests come from it directly.
    Datagram(std::net::UdpSocket),
}

/// A listener that could not be opened.
#[derive(Debug)]
pub struct Failed {
    /// Its name.
    pub name: String,
    /// Where it should have been.
    pub bind: Bind,
    /// What the system said.
    pub error: io::Error,
}

/// What a reload means for sockets. Nothing is closed for good before [`Listeners::commit`].
#[derive(Debug)]
pub struct Change {
    /// New sockets, already bound.
    pub bound: Vec<Bound>,
    /// Numbers of sockets that are not wanted any more, with their addresses.
    pub removed: Vec<(u32, Bind)>,
    /// A number for each listener of the new configuration, in its order.
    pub keys: Vec<u32>,
    open: Vec<Open>,
    next_key: u32,
}

impl Listeners {
    /// Binds what `config` wants and is not open yet; the first failure undoes everything.
    ///
    /// Each of `groups` stands for one place, such as the addresses of a name: one of its listeners
    /// must come up, for the others a taken address or an unknown address family is no failure.
    pub fn prepare(&self, config: &Config, groups: &[Vec<ListenerId>]) -> Result<Change, Failed> {
        let mut change = Change {
            bound: Vec::new(),
            removed: Vec::new(),
            keys: Vec::new(),
            open: Vec::new(),
            next_key: self.next_key,
        };
        let mut missing: Vec<Option<Failed>> = Vec::new();
        for (id, listener) in config.listeners.iter().enumerate() {
            let is_grouped = groups.iter().any(|group| group.contains(&id));
            let failed = self.prepare_one(listener, &mut change);
            match failed {
                Some(failed) if !(is_grouped && is_bearable(&failed.error)) => return Err(failed),
                other => missing.push(other),
            }
        }
        for group in groups {
            let is_up = |id: &ListenerId| matches!(missing.get(*id), Some(None));
            if let (false, Some(first)) = (group.iter().any(is_up), group.first())
                && let Some(failed) = missing.get_mut(*first).and_then(Option::take)
            {
                return Err(failed);
            }
        }
        let wanted =
            |open: &&Open| change.open.iter().all(|new| !is_same_place(&new.bind, &open.bind));
        let removed: Vec<_> = self.open.iter().filter(wanted).cloned().collect();
        change.removed = removed.into_iter().map(|open| (open.key, open.bind)).collect();
        Ok(change)
    }

    fn prepare_one(&self, listener: &Listener, change: &mut Change) -> Option<Failed> {
        let mut known = self.open.iter().chain(&change.open);
        let mut failed = None;
        let open = match known.find(|open| is_same_place(&open.bind, &listener.bind)) {
            Some(open) => Open { bind: listener.bind.clone(), key: open.key },
            None => {
                let key = change.next_key;
                change.next_key += 1;
                let bind = listener.bind.clone();
                match self.bind(&bind, listener.backlog) {
                    Ok((socket, address)) => {
                        change.bound.push(Bound { key, bind: bind.clone(), socket, address });
                    }
                    Err(error) => {
                        let name = listener.name.clone();
                        failed = Some(Failed { name, bind: bind.clone(), error });
                    }
                }
                Open { bind, key }
            }
        };
        change.keys.push(open.key);
        // What could not be bound is not open: the next reload tries again.
        if failed.is_none() {
            change.open.push(open);
        }
        failed
    }

    /// Binds a socket; waits a little for a place that is just being left.
    fn bind(&self, bind: &Bind, backlog: u32) -> io::Result<(Socket, Option<SocketAddr>)> {
        let is_closing = self.closing.iter().any(|place| is_same_place(place, bind));
        let begin = Instant::now();
        loop {
            match self::bind(bind, backlog) {
                Err(error)
                    if is_closing
                        && error.kind() == io::ErrorKind::AddrInUse
                        && begin.elapsed() < CLOSING_WAIT =>
                {
                    std::thread::sleep(CLOSING_LOOK);
                }
                other => return other,
            }
        }
    }

    /// Makes a change the truth.
    pub fn commit(&mut self, change: &Change) {
        self.closing = change.removed.iter().map(|(_, bind)| bind.clone()).collect();
        for open in &change.open {
            let old = self.open.iter().find(|old| old.key == open.key);
            if let (Some(old), Bind::Unix { path, mode }) = (old, &open.bind)
                && old.bind != open.bind
                && *mode != 0
                && let Err(error) = fs::set_permissions(path, Permissions::from_mode(*mode))
            {
                let path = path.display();
                tracing::warn!(%path, %error, "the permissions of a socket cannot be changed");
            }
        }
        self.open.clone_from(&change.open);
        self.next_key = change.next_key;
    }

    /// How many sockets were opened so far.
    pub fn opened(&self) -> u32 {
        self.next_key
    }

    /// Removes the files of our Unix sockets; the process is about to end.
    pub fn remove_files(&self) {
        for open in &self.open {
            remove_file(&open.bind);
        }
    }
}

/// Removes the file of a Unix socket that nobody listens on any more.
pub fn remove_file(bind: &Bind) {
    if let Bind::Unix { path, .. } = bind {
        // Somebody may have removed it before us, or we may lack the right; both are fine.
        let _best_effort = std::fs::remove_file(path);
    }
}

/// Whether a socket bound for one is good for the other: the mode of a file can be changed later.
fn is_same_place(one: &Bind, other: &Bind) -> bool {
    match (one, other) {
        (Bind::Unix { path: one, .. }, Bind::Unix { path: other, .. }) => one == other,
        _ => one == other,
    }
}

/// Whether another address of the same place makes up for this failure.
fn is_bearable(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EADDRINUSE | Errno::EAFNOSUPPORT))
}

fn bind(bind: &Bind, backlog: u32) -> io::Result<(Socket, Option<SocketAddr>)> {
    let options = ListenOptions { backlog, ..ListenOptions::default() };
    let stream = |address: ListenAddress| -> io::Result<(Socket, Option<SocketAddr>)> {
        let socket = listen(&address, &options)?;
        let address = socket.local_address();
        Ok((Socket::Stream(socket), address))
    };
    match bind {
        Bind::Tcp(address) => stream(ListenAddress::Tcp(*address)),
        Bind::Unix { path, mode } => {
            stream(ListenAddress::Unix { path: PathBuf::from(path), mode: *mode })
        }
        Bind::Udp(address) => {
            let socket = crate::udp::bind(*address)?;
            let address = socket.local_addr()?;
            Ok((Socket::Datagram(socket), Some(address)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ports: &[u16]) -> Config {
        let mut config = Config::embedded("127.0.0.1:1".parse().unwrap(), 1);
        let template = config.listeners[0].clone();
        config.listeners = ports
            .iter()
            .map(|port| {
                let mut listener = template.clone();
                listener.name = format!("on {port}");
                listener.bind = Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], *port)));
                listener
            })
            .collect();
        config
    }

    /// Ports that were free a moment ago.
    fn free_ports<const N: usize>() -> [u16; N] {
        let sockets = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        sockets.map(|socket| socket.local_addr().unwrap().port())
    }

    #[test]
    fn an_address_keeps_its_number_while_it_is_wanted() {
        let [a, b, c] = free_ports();
        let mut listeners = Listeners::default();
        let first = listeners.prepare(&config(&[a, b]), &[]).unwrap();
        assert_eq!((first.keys.clone(), first.bound.len()), (vec![0, 1], 2));
        listeners.commit(&first);
        let second = listeners.prepare(&config(&[c, b]), &[]).unwrap();
        assert_eq!(second.keys, [2, 1]);
        assert_eq!(second.bound.len(), 1);
        assert_eq!(second.removed.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [0]);
        listeners.commit(&second);
        drop(first);
        let third = listeners.prepare(&config(&[a, b, c]), &[]).unwrap();
        assert_eq!(third.keys, [3, 1, 2], "numbers are not used twice");
    }

    #[test]
    fn a_socket_file_keeps_its_number_and_gets_its_new_mode() {
        let path = std::env::temp_dir().join(format!("keyway-mode-{}", std::process::id()));
        let with_mode = |mode| {
            let mut config = config(&[1]);
            config.listeners[0].bind = Bind::Unix { path: path.clone(), mode };
            config
        };
        let mut listeners = Listeners::default();
        let first = listeners.prepare(&with_mode(0o700), &[]).unwrap();
        listeners.commit(&first);
        let second = listeners.prepare(&with_mode(0o770), &[]).unwrap();
        assert_eq!((second.bound.len(), second.removed.len()), (0, 0));
        assert_eq!(second.keys, first.keys);
        listeners.commit(&second);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o770);
        listeners.remove_files();
        assert!(!path.exists());
    }

    #[test]
    fn a_failure_changes_nothing() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let listeners = Listeners::default();
        let failed = listeners.prepare(&config(&[port]), &[]).unwrap_err();
        assert_eq!(failed.error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(failed.name, format!("on {port}"));
    }

    #[test]
    fn one_of_a_group_is_enough_and_none_is_not() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap().port();
        let [free] = free_ports();
        let config = config(&[taken, free]);
        let listeners = Listeners::default();
        let failed = listeners.prepare(&config, &[vec![0], vec![1]]).unwrap_err();
        assert_eq!(failed.error.kind(), io::ErrorKind::AddrInUse);
        let change = listeners.prepare(&config, &[vec![0, 1]]).unwrap();
        assert_eq!((change.bound.len(), change.keys.len()), (1, 2));
    }
}
