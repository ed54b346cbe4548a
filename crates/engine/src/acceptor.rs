//! A thread that accepts connections for all workers.
//!
//! Workers never touch a listening socket: the acceptor takes each connection, sets its options and
//! hands it to a closure, which picks a worker and posts it there. When the process runs out of
//! file descriptors the thread waits a moment instead of spinning; the clients wait in the kernel's
//! backlog meanwhile.

use crate::event::Tag;
use crate::listen::ListenSocket;
use crate::mailbox::{Bell, Receiver, Sender, Waker, mailbox};
use crate::socket::{self, Keepalive, Peer, Socket};
use rustix::event::epoll;
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A connection that came in.
#[derive(Debug)]
pub struct Accepted {
    /// The tag of the listener it came through.
    pub listener: Tag,
    /// The connection, ready for `Engine::adopt`.
    pub socket: Socket,
    /// Who connected.
    pub peer: Peer,
}

/// How an acceptor prepares connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptor {
    /// Probing of idle TCP clients; none means the kernel does not probe.
    pub keepalive: Option<Keepalive>,
    /// How long bytes to a TCP client may stay unacknowledged, in milliseconds; 0 leaves the
    /// kernel's default.
    pub user_timeout_ms: u32,
}

/// Steers a running acceptor, from any thread. Dropping the last clone does not stop it.
#[derive(Clone, Debug)]
pub struct AcceptorHandle {
    commands: Sender<Command>,
    /// Holds in the middle of a batch already, which the command does not.
    is_held: Arc<AtomicBool>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

#[derive(Debug)]
enum Command {
    Add(Tag, ListenSocket),
    Remove(Tag),
    Pause,
    Resume,
    Stop,
}

/// What the thread owns.
struct Accepting<F> {
    options: Acceptor,
    deliver: F,
    epoll: OwnedFd,
    commands: Receiver<Command>,
    /// Never shrinks: a listener's place is what epoll reports for it.
    listeners: Vec<Option<(Tag, ListenSocket)>>,
    is_paused: bool,
    is_held: Arc<AtomicBool>,
}

/// Whether the thread goes on.
enum Next {
    Accept,
    /// The process is out of file descriptors or memory: try again in a moment.
    Rest,
    Stop,
}

/// What epoll reports for a new command.
const BELL: u64 = u64::MAX;
/// Connections taken from one listener before the others have their turn.
const ACCEPTS_MAX: usize = 64;
/// How long to wait when the process has no file descriptor left.
const REST: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

impl Acceptor {
    /// Starts the thread; `deliver` is called on it for each connection and should pass it on to a
    /// worker's mailbox.
    ///
    /// # Errors
    /// No file descriptor or no thread is to be had.
    pub fn spawn(
        self,
        deliver: impl FnMut(Accepted) + Send + 'static,
    ) -> io::Result<AcceptorHandle> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &eventfd, epoll::EventData::new_u64(BELL), edges)?;
        let bell = Arc::new(Bell::new(Some(eventfd)));
        let (sender, receiver) = mailbox(Waker::new(bell.clone()));
        let is_held = Arc::new(AtomicBool::new(false));
        let accepting = Accepting {
            options: self,
            deliver,
            epoll,
            commands: receiver,
            listeners: Vec::new(),
            is_paused: false,
            is_held: is_held.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("acceptor".to_owned())
            .spawn(move || accepting.run(&bell))?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok(AcceptorHandle { commands: sender, is_held, thread })
    }
}

impl AcceptorHandle {
    /// Accepts from `listener` from now on.
    pub fn add(&self, tag: Tag, listener: ListenSocket) {
        self.commands.send(Command::Add(tag, listener));
    }

    /// Stops listening on the sockets that were added with `tag`. Connections that the kernel
    /// already queued for them are lost unless another handle on the same socket exists.
    pub fn remove(&self, tag: Tag) {
        self.commands.send(Command::Remove(tag));
    }

    /// Stops accepting everywhere; new connections wait in the kernel's backlog. Called by the
    /// `deliver` closure, no connection follows the one that was just delivered.
    pub fn pause(&self) {
        self.is_held.store(true, Relaxed);
        self.commands.send(Command::Pause);
    }

    /// Accepts again after `pause`.
    pub fn resume(&self) {
        self.is_held.store(false, Relaxed);
        self.commands.send(Command::Resume);
    }

    /// Ends the thread, closes all its listeners and waits until that is done. Must not be called
    /// by the `deliver` closure.
    pub fn stop(&self) {
        self.commands.send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of `deliver` has already been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl<F: FnMut(Accepted)> Accepting<F> {
    fn run(mut self, bell: &Bell) {
        let mut ready = Vec::with_capacity(64);
        let mut next = Next::Accept;
        loop {
            let timeout = match next {
                Next::Accept => None,
                Next::Rest => Some(&REST),
                Next::Stop => return,
            };
            ready.clear();
            let spare = rustix::buffer::spare_capacity(&mut ready);
            match epoll::wait(&self.epoll, spare, timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                // Only a broken descriptor gives another error, and this thread owns the only one.
                Err(_) => return,
            }
            if matches!(next, Next::Rest) {
                self.watch_all(epoll::EventFlags::IN);
            }
            next = Next::Accept;
            if bell.take() && self.obey() {
                next = Next::Stop;
                continue;
            }
            for report in &ready {
                if let Next::Rest = self.accept(report.data.u64() as usize) {
                    next = Next::Rest;
                }
            }
            if let Next::Rest = next {
                self.watch_all(epoll::EventFlags::empty());
            }
        }
    }

    /// Does what the handle was told; says whether to stop.
    fn obey(&mut self) -> bool {
        while let Some(command) = self.commands.try_recv() {
            match command {
                Command::Add(tag, listener) => self.add(tag, listener),
                Command::Remove(tag) => self.remove(tag),
                Command::Pause => self.set_paused(true),
                Command::Resume => self.set_paused(false),
                Command::Stop => return true,
            }
        }
        false
    }

    fn add(&mut self, tag: Tag, listener: ListenSocket) {
        let place = self.listeners.iter().position(Option::is_none);
        let place = place.unwrap_or_else(|| {
            self.listeners.push(None);
            self.listeners.len() - 1
        });
        let flags = if self.is_paused { epoll::EventFlags::empty() } else { epoll::EventFlags::IN };
        let data = epoll::EventData::new_u64(place as u64);
        if epoll::add(&self.epoll, &listener.fd, data, flags).is_ok() {
            self.listeners[place] = Some((tag, listener));
        }
    }

    fn remove(&mut self, tag: Tag) {
        for place in &mut self.listeners {
            if let Some((_, listener)) = place.take_if(|(its_tag, _)| *its_tag == tag) {
                // Explicitly, because another handle on the same socket would keep it in the set.
                let _ = epoll::delete(&self.epoll, &listener.fd);
            }
        }
    }

    fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        self.watch_all(epoll::EventFlags::IN);
    }

    /// Watches every listener for `flags`, or for nothing while paused.
    fn watch_all(&mut self, flags: epoll::EventFlags) {
        let flags = if self.is_paused { epoll::EventFlags::empty() } else { flags };
        for (place, listener) in self.listeners.iter().enumerate() {
            if let Some((_, listener)) = listener {
                let data = epoll::EventData::new_u64(place as u64);
                let _ = epoll::modify(&self.epoll, &listener.fd, data, flags);
            }
        }
    }

    fn accept(&mut self, place: usize) -> Next {
        for _ in 0..ACCEPTS_MAX {
            let Some(Some((tag, listener))) = self.listeners.get(place) else {
                return Next::Accept;
            };
            if self.is_paused || self.is_held.load(Relaxed) {
                return Next::Accept;
            }
            let (fd, address) =
                match rustix::net::acceptfrom_with(&listener.fd, SocketFlags::CLOEXEC) {
                    Ok(accepted) => accepted,
                    Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        return Next::Rest;
                    }
                    // This client is gone already; the next one may be well.
                    Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => continue,
                    Err(_) => return Next::Accept,
                };
            if listener.is_tcp {
                let Acceptor { keepalive, user_timeout_ms } = self.options;
                // A client that is gone already fails here; its first receive will tell.
                let _ = socket::tune(fd.as_fd(), keepalive, user_timeout_ms);
            }
            let peer = address.and_then(|address| SocketAddr::try_from(address).ok());
            let peer = peer.map_or(Peer::Unix, Peer::Tcp);
            let socket = Socket { fd, is_blocking: true };
            (self.deliver)(Accepted { listener: *tag, socket, peer });
        }
        Next::Accept
    }
}
