//! Deals accepted connections to workers: to the one with the fewest clients, in turn on ties.
//!
//! Runs on the acceptor's thread. Cache clients hold few, long connections; spreading them by a
//! hash would leave workers idle. What a worker's counters do not show yet (sockets in its mailbox)
//! is added from what was dealt.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use keyway_engine::{Accepted, AcceptorHandle, Peer, Sender};
use keyway_proxy::config::{Config, Pool};
use keyway_proxy::local::{Opened, Shared};
use keyway_proxy::setup::Mail;
use keyway_proxy::stats::Registry;

use super::status::Status;

/// What memcached tells a client beyond the limit before it closes the connection.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// Descriptors of one worker's engine.
const ENGINE_FILES: u64 = 4;
/// Descriptors kept for the admin server, logs, timers and look-ups.
const CONTROL_FILES: u64 = 32;

/// How many clients may be connected: as many as configured, or as many as descriptors are left for
/// when everything else has its own. Without that reserve a crowd of clients would take those of
/// the admin server and of backends that have to be connected again.
pub fn places(config: &Config, files_allowed: u64) -> usize {
    let workers = config.workers as u64;
    let links = |pool: &Pool| (pool.backends.len() * pool.link.connections) as u64;
    let backends: u64 = config.pools.iter().map(links).sum::<u64>().saturating_mul(workers);
    let others = backends
        .saturating_add(workers.saturating_mul(ENGINE_FILES))
        .saturating_add(config.listeners.len() as u64 + CONTROL_FILES);
    // However many others there are, clients get half.
    let left = files_allowed.saturating_sub(others.min(files_allowed / 2));
    usize::try_from(left).unwrap_or(usize::MAX).min(config.limits.clients_max)
}

/// What becomes of connections beyond the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// They wait in the kernel's queue until a client goes.
    Waits,
    /// They get an error line and are closed: memcached's way.
    IsTold,
    /// They are closed without a word: nutcracker's way.
    IsClosed,
}

/// What the acceptor's thread and control both look at.
#[derive(Debug)]
pub struct Gate {
    /// Most open clients; see [`places`].
    pub clients_max: AtomicUsize,
    /// What becomes of those beyond.
    pub excess: Excess,
    /// Connections closed because of the limit.
    pub rejected: AtomicU64,
    /// The address of each open listener, by its number, as `stats conns` shows it.
    pub addresses: Mutex<HashMap<u32, String>>,
    handle: OnceLock<AcceptorHandle>,
    is_paused: AtomicBool,
    /// Connections given to workers so far.
    dealt: AtomicU64,
    pauses: AtomicU64,
    paused: Mutex<Pauses>,
}

#[derive(Debug, Default)]
struct Pauses {
    since: Option<Instant>,
    total: Duration,
}

impl Gate {
    /// An open gate for so many clients.
    pub fn new(clients_max: usize, excess: Excess) -> Arc<Gate> {
        Arc::new(Gate {
            clients_max: AtomicUsize::new(clients_max),
            excess,
            rejected: AtomicU64::new(0),
            addresses: Mutex::default(),
            handle: OnceLock::new(),
            is_paused: AtomicBool::new(false),
            dealt: AtomicU64::new(0),
            pauses: AtomicU64::new(0),
            paused: Mutex::default(),
        })
    }

    /// Says which acceptor to pause and resume.
    pub fn attach(&self, handle: AcceptorHandle) {
        // A gate has one acceptor, made right after it.
        let _first = self.handle.set(handle);
    }

    /// Whether accepting is stopped because of the limit.
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Relaxed)
    }

    /// How often and how long accepting was stopped so far.
    pub fn pauses(&self) -> (u64, Duration) {
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = paused.since.map_or(Duration::ZERO, |since| since.elapsed());
        (self.pauses.load(Relaxed), paused.total + now)
    }

    fn pause(&self) {
        let Some(handle) = self.handle.get() else { return };
        // Under the lock, so that pausing and resuming cannot overtake each other.
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_paused.swap(true, Relaxed) {
            self.pauses.fetch_add(1, Relaxed);
            paused.since = Some(Instant::now());
            handle.pause();
        }
    }

    /// Accepts again when there is room. Control calls it every now and then while paused.
    pub fn reconsider(&self, registry: &Registry) {
        if !self.is_paused() {
            return;
        }
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if self.clients(registry) >= self.clients_max.load(Relaxed) as u64 {
            return;
        }
        let since = paused.since.take();
        paused.total += since.map_or(Duration::ZERO, |since| since.elapsed());
        self.is_paused.store(false, Relaxed);
        if let Some(handle) = self.handle.get() {
            handle.resume();
        }
    }

    /// Clients of all workers, those in mailboxes included.
    fn clients(&self, registry: &Registry) -> u64 {
        let accepted = registry.total(|worker| &worker.clients_accepted);
        let waiting = self.dealt.load(Relaxed).saturating_sub(accepted);
        registry.total(|worker| &worker.clients) + waiting
    }
}

/// The acceptor's side: gives each connection to a worker.
pub struct Dealer {
    seats: Vec<Seat>,
    next: usize,
    status: Arc<Status>,
    shared: Arc<Shared>,
}

struct Seat {
    mail: Sender<Mail>,
    dealt: u64,
}

impl Dealer {
    /// Deals to the workers behind `mail`, in the order of the registry.
    pub fn new(mail: Vec<Sender<Mail>>, status: &Arc<Status>, shared: Arc<Shared>) -> Dealer {
        let seats = mail.into_iter().map(|mail| Seat { mail, dealt: 0 }).collect();
        Dealer { seats, next: 0, status: status.clone(), shared }
    }

    /// Gives one connection to a worker, or turns it away.
    pub fn deal(&mut self, accepted: Accepted) {
        let loads: Vec<u64> = (0..self.seats.len()).map(|index| self.load(index)).collect();
        let clients: u64 = loads.iter().sum();
        let clients_max = self.status.gate.clients_max.load(Relaxed) as u64;
        let excess = self.status.gate.excess;
        if clients >= clients_max && excess != Excess::Waits {
            if excess == Excess::IsTold {
                refuse(&accepted);
            }
            self.shared.conns.reject();
            self.status.gate.rejected.fetch_add(1, Relaxed);
            return;
        }
        let Some(index) = fewest(&loads, self.next) else { return };
        self.next = (index + 1) % self.seats.len();
        // Numbers of listeners are small; the tag is one that control gave.
        let listener_key = u32::try_from(accepted.listener).unwrap_or(u32::MAX);
        let listen_address = {
            let known = self.status.gate.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&listener_key).cloned().unwrap_or_default()
        };
        let address = match accepted.peer {
            Peer::Tcp(peer) if peer.is_ipv6() => format!("tcp6:{peer}"),
            Peer::Tcp(peer) => format!("tcp:{peer}"),
            Peer::Unix => "unix".into(),
        };
        let opened = Opened { address, listen_address, ..Opened::default() };
        let now = Shared::now(self.status.uptime()).seconds;
        let entry = self.shared.conns.open(opened, now);
        let seat = &mut self.seats[index];
        seat.dealt += 1;
        self.status.gate.dealt.fetch_add(1, Relaxed);
        seat.mail.send(Mail::Client { socket: accepted.socket, listener_key, entry });
        if clients + 1 >= clients_max && excess == Excess::Waits {
            self.status.gate.pause();
        }
    }

    /// Clients of a worker, those in its mailbox included.
    fn load(&self, index: usize) -> u64 {
        let counters = self.status.registry.worker(index);
        // Accepted first: a client that is taken between the two reads then counts twice for a
        // moment instead of not at all, and the limit holds.
        let waiting = self.seats[index].dealt.saturating_sub(counters.clients_accepted.get());
        counters.clients.get() + waiting
    }
}

/// The first of the least loaded, looking from `start` on and around.
fn fewest(loads: &[u64], start: usize) -> Option<usize> {
    let order = (start..loads.len()).chain(0..start.min(loads.len()));
    // `min_by_key` keeps the first of equals.
    order.min_by_key(|index| loads[*index])
}

fn refuse(accepted: &Accepted) {
    // The socket is new and does not block: a short line fits, and if it does not, closing says it.
    if let Ok(fd) = accepted.socket.as_fd().try_clone_to_owned() {
        let _best_effort = std::fs::File::from(fd).write_all(TOO_MANY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_worker_is_next() {
        assert_eq!(fewest(&[3, 1, 2], 0), Some(1));
        assert_eq!(fewest(&[], 0), None);
    }

    #[test]
    fn clients_leave_descriptors_for_everyone_else() {
        let mut config = Config::embedded("127.0.0.1:1".parse().unwrap(), 2);
        config.limits.clients_max = 1000;
        assert_eq!(places(&config, 1_000_000), 1000);
        assert_eq!(places(&config, 1000), 1000 - 2 * 4 - 1 - 32);
        assert_eq!(places(&config, 64), 32);
        assert_eq!(places(&config, 0), 0);
    }

    #[test]
    fn ties_go_round() {
        assert_eq!(fewest(&[1, 1, 1], 0), Some(0));
        assert_eq!(fewest(&[1, 1, 1], 1), Some(1));
        assert_eq!(fewest(&[0, 1, 0], 1), Some(2));
        assert_eq!(fewest(&[0, 1, 1], 2), Some(0));
    }
}
