//! The control plane: one thread that starts the process, changes its configuration, and ends it.
//!
//! `start` brings everything up. Afterwards everything that happens
//! (signals, orders of the admin API, ends of workers, answers of name servers, time) meets in
//! [`Control::run`], which decides and tells workers by mail. It may stall or fail, and no request
//! notices.

pub mod deal;
pub mod listeners;
mod names;
pub mod phase;
mod reload;
mod signals;
mod start;
pub mod status;
pub mod workers;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use keyway_engine::{AcceptorHandle, monotonic};
use keyway_proxy::config::{Bind, Config, ListenerId};
use keyway_proxy::local::{ConnEntry, Opened, Settings, Shared};
use keyway_proxy::setup::{Generation, Mail};
use keyway_proxy::worker::Finish;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::admin::Order;
use crate::nutcracker::signals::{self as nutcracker, Heed};
use crate::report::Reporter;
use crate::udp;
use listeners::{Bound, Change, Failed, Listeners, Socket};
use names::Names;
use phase::{Input, Phase, Step};
use reload::{Loaded, Reloading};
pub use reload::{Source, with_users};
use signals::{Signal, Signals};
use status::Status;
use workers::{Ended, Workers};

/// How often events are written and other small chores are done.
const CHORES: Duration = Duration::from_millis(200);
/// The same while accepting is paused: somebody waits for a place.
const CHORES_PAUSED: Duration = Duration::from_millis(10);
/// Time that workers get beyond the drain's deadline for noticing it.
const DRAIN_SLACK: Duration = Duration::from_secs(1);

/// What a front-end (the native command line, the personality) wants to have run.
pub struct Plan {
    /// The first configuration, valid; names may be unresolved.
    pub config: Config,
    /// Where later configurations come from.
    pub source: Source,
    /// What `stats settings` tells.
    pub settings: Settings,
    /// Whether a taken admin address is only worth a warning.
    pub admin_is_optional: bool,
    /// How signals are taken.
    pub manners: Manners,
    /// Whether `stats detail` is on from the start.
    pub stats_detail: bool,
    /// Listeners that stand for one place; see [`Listeners::prepare`].
    pub listen_groups: Vec<Vec<ListenerId>>,
    /// Where nutcracker's statistics are given out.
    pub stats: Option<TcpListener>,
    /// Called once when all listeners are bound and workers run, before the first client.
    pub on_ready: Box<dyn FnOnce(&Ready<'_>)>,
}

/// Whose signals and limits are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// TERM and INT drain; clients beyond the limit wait in the kernel's queue.
    Keyway,
    /// TERM, INT and USR1 end the process at once; clients beyond the limit get an error line if
    /// `refuse_over_limit` (memcached's `maxconns_fast`).
    Memcached {
        /// See above.
        refuse_over_limit: bool,
    },
    /// nutcracker's signals; clients beyond the limit are closed without a word.
    Nutcracker,
}

impl Manners {
    /// How many clients may be connected when so many files may be open.
    fn places(self, config: &Config, files_allowed: u64) -> usize {
        match self {
            Manners::Keyway | Manners::Memcached { .. } => deal::places(config, files_allowed),
            Manners::Nutcracker => crate::nutcracker::budget(config, files_allowed).0,
        }
    }
}

/// What a front-end may want to tell when everything runs.
pub struct Ready<'a> {
    /// The sockets, in the order of the configuration.
    pub bound: &'a [Bound],
    /// Where the admin server listens.
    pub admin: Option<SocketAddr>,
    /// Which kernel interface the workers use.
    pub engines: &'a [&'static str],
}

/// Why the process cannot start or go on.
#[derive(Debug)]
pub enum Trouble {
    /// A listener cannot be opened.
    Listen(Failed),
    /// The admin server cannot be opened.
    Admin(SocketAddr, io::Error),
    /// Threads, signals or the engine cannot be had.
    System(&'static str, io::Error),
}

/// Why an orderly process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A signal, the admin API or `shutdown`.
    Asked,
    /// USR1 or `shutdown graceful`.
    AskedGracefully,
    /// nutcracker's INT, which is no success.
    Interrupted,
    /// A worker ended although nobody asked it to.
    WorkerLost,
}

/// Runs the process until it is told to end.
///
/// # Errors
/// It could not start.
pub fn run(plan: Plan) -> Result<End, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(names::QUESTIONS_MAX)
        .thread_name("names")
        .build()
        .map_err(|error| Trouble::System("starting the control thread's runtime", error))?;
    let end = runtime.block_on(async {
        match start::start(plan).await? {
            Ok(mut control) => Ok(control.run().await),
            Err(end) => Ok(end),
        }
    });
    // Look-ups that hang in the resolver must not keep the process from ending.
    runtime.shutdown_background();
    end
}

/// The control plane's state.
struct Control {
    phase: Phase,
    manners: Manners,
    /// As loaded, without answers of name servers.
    base: Config,
    names: Names,
    generation: Arc<Generation>,
    listeners: Listeners,
    /// Entries of listening sockets in `stats conns`, by listener number.
    entries: HashMap<u32, Arc<ConnEntry>>,
    udp: udp::Service,
    reloading: Reloading,
    listen_groups: Vec<Vec<ListenerId>>,
    status: Arc<Status>,
    shared: Arc<Shared>,
    acceptor: AcceptorHandle,
    workers: Workers,
    workers_left: usize,
    reporter: Reporter,
    signals: Signals,
    orders: mpsc::Receiver<Order>,
    ended: mpsc::UnboundedReceiver<Ended>,
    loaded: mpsc::Receiver<Loaded>,
    answers: mpsc::Receiver<names::Answers>,
    answers_sender: mpsc::Sender<names::Answers>,
    deadline: Option<Instant>,
    end: End,
}

impl Control {
    /// Waits for whatever happens next, until it means the end.
    async fn run(&mut self) -> End {
        let mut refresh = tokio::time::interval_at(Instant::now() + names::REFRESH, names::REFRESH);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let chores = if self.status.gate.is_paused() { CHORES_PAUSED } else { CHORES };
            let deadline = self.deadline;
            let step = tokio::select! {
                signal = self.signals.next() => self.signal(signal),
                Some(order) = self.orders.recv() => self.order(order),
                Some(ended) = self.ended.recv() => self.worker_ended(&ended),
                Some(loaded) = self.loaded.recv() => self.reloaded(loaded),
                Some(answers) = self.answers.recv() => self.answered(answers),
                _ = refresh.tick() => self.refresh_names(),
                () = sleep_until(deadline) => self.step(Input::DeadlinePassed),
                () = tokio::time::sleep(chores) => Step::Nothing,
            };
            self.reporter.round(&self.status);
            self.status.gate.reconsider(&self.status.registry);
            match step {
                Step::Nothing => {}
                Step::Reload => self.reloading.begin(),
                Step::Drain => self.drain(),
                Step::Exit => {
                    self.leave();
                    return self.end;
                }
            }
        }
    }

    fn step(&mut self, input: Input) -> Step {
        let before = self.phase;
        let step = self.phase.on(input);
        if self.phase != before {
            let phase = self.phase;
            self.status.change(|view| view.phase = phase);
            tracing::debug!(phase = phase.name(), "phase");
        }
        step
    }

    fn signal(&mut self, signal: Signal) -> Step {
        let is_memcached = matches!(self.manners, Manners::Memcached { .. });
        match signal {
            Signal::Terminate if is_memcached => self.step(Input::StopNow),
            Signal::Terminate => self.step(Input::Stop),
            Signal::Graceful if is_memcached => {
                self.end = End::AskedGracefully;
                self.step(Input::StopNow)
            }
            // Not one of ours: nothing to re-open or to rotate yet.
            Signal::Graceful => Step::Nothing,
            Signal::HangUp => self.step(Input::Reload),
            Signal::Nutcracker(signal) => match nutcracker::heed(signal) {
                Heed::GoOn => Step::Nothing,
                Heed::ReloadIfNews if !self.reloading.is_news() => Step::Nothing,
                Heed::ReloadIfNews => self.step(Input::Reload),
                Heed::Do(input) => {
                    if input == Input::StopNow {
                        self.end = End::Interrupted;
                    }
                    self.step(input)
                }
            },
        }
    }

    fn order(&mut self, order: Order) -> Step {
        match order {
            Order::Drain => {
                // A second order is a repetition, not impatience as with signals.
                if self.phase == Phase::Draining {
                    return Step::Nothing;
                }
                self.step(Input::Stop)
            }
            Order::Reload(answer) => {
                if self.phase != Phase::Ready {
                    // Dropping the sender says that the process is not in a state to reload.
                    return Step::Nothing;
                }
                self.reloading.wait(answer);
                self.step(Input::Reload)
            }
        }
    }

    fn worker_ended(&mut self, ended: &Ended) -> Step {
        self.workers_left = self.workers_left.saturating_sub(1);
        match &ended.result {
            Ok(Finish::Shutdown { graceful }) => self.shutdown(*graceful),
            Ok(Finish::Stopped | Finish::Drained) if self.phase == Phase::Draining => {
                match self.workers_left {
                    0 => self.step(Input::Drained),
                    _ => Step::Nothing,
                }
            }
            Ok(Finish::Stopped | Finish::Drained) => Step::Nothing,
            Err(error) => {
                tracing::error!(worker = ended.index, %error, "a worker cannot go on");
                self.end = End::WorkerLost;
                self.step(Input::StopNow)
            }
        }
    }

    /// A client asked for the end of the process, and was allowed to.
    fn shutdown(&mut self, graceful: bool) -> Step {
        tracing::info!(graceful, "a client asked for the end of the process");
        match (self.manners, graceful) {
            (Manners::Keyway | Manners::Nutcracker, true) => self.step(Input::Stop),
            (Manners::Keyway | Manners::Nutcracker, false) => self.step(Input::StopNow),
            (Manners::Memcached { .. }, true) => self.signal(Signal::Graceful),
            (Manners::Memcached { .. }, false) => self.signal(Signal::Terminate),
        }
    }

    /// Takes over a configuration's sockets: new ones are accepted from, old ones closed.
    fn open(&mut self, change: Change) {
        let now = Shared::now(self.status.uptime()).seconds;
        let kept = self.udp.endpoints().into_iter();
        let mut datagram: Vec<_> = kept.map(|it| (it.key, it.socket)).collect();
        for Bound { key, bind, socket, address } in change.bound {
            let address = described(&bind, address);
            let is_udp = matches!(socket, Socket::Datagram(_));
            let opened = Opened {
                address: address.clone(),
                is_udp,
                is_listening: !is_udp,
                ..Opened::default()
            };
            self.entries.insert(key, self.shared.conns.open(opened, now));
            let mut addresses =
                self.status.gate.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            addresses.insert(key, address);
            drop(addresses);
            match socket {
                Socket::Stream(socket) => self.acceptor.add(u64::from(key), socket),
                Socket::Datagram(socket) => datagram.push((key, Arc::new(socket))),
            }
        }
        for (key, bind) in change.removed {
            self.acceptor.remove(u64::from(key));
            if let Some(entry) = self.entries.remove(&key) {
                self.shared.conns.close(&entry);
            }
            let mut addresses =
                self.status.gate.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            addresses.remove(&key);
            listeners::remove_file(&bind);
        }
        self.serve_udp(&datagram);
    }

    /// Serves UDP on those of these sockets that the present configuration names.
    fn serve_udp(&mut self, sockets: &[(u32, Arc<UdpSocket>)]) {
        let Generation { config, listener_keys, .. } = &*self.generation;
        let mut endpoints = Vec::new();
        for (listener, key) in config.listeners.iter().zip(listener_keys) {
            if let Some((key, socket)) = sockets.iter().find(|(known, _)| known == key) {
                endpoints.push(udp::Endpoint {
                    key: *key,
                    socket: socket.clone(),
                    allow: listener.allow,
                    users: listener.users.clone(),
                });
            }
        }
        if let Err(error) = self.udp.serve(endpoints, &self.status, &self.shared) {
            tracing::error!(%error, "the UDP thread cannot be started");
        }
    }

    /// Closes the listeners, lets clients finish, and starts the deadline.
    fn drain(&mut self) {
        let timeout = self.generation.config.drain_timeout;
        tracing::info!(timeout_ms = timeout.as_millis() as u64, "draining");
        self.reloading.give_up();
        self.acceptor.stop();
        self.serve_udp(&[]);
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let deadline = monotonic().saturating_add(timeout_ns);
        self.workers.tell(|| Mail::Drain { deadline });
        self.deadline = Some(Instant::now() + timeout + DRAIN_SLACK);
    }

    fn leave(&mut self) {
        self.acceptor.stop();
        self.serve_udp(&[]);
        self.workers.tell(|| Mail::Stop);
        self.listeners.remove_files();
        self.reporter.round(&self.status);
    }

    /// Makes the present configuration visible to the admin API.
    fn publish(&self) {
        let generation = &self.generation;
        let config = Arc::new(generation.config.clone());
        let names_failing = self.names.failing() as u64;
        let listeners_opened = self.listeners.opened();
        let engines = self.workers.engines.clone();
        self.status.change(|view| {
            view.generation = generation.number;
            view.config = config;
            view.names_failing = names_failing;
            view.listeners_opened = listeners_opened;
            view.engines = engines;
        });
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// An address as `stats conns` shows it.
fn described(bind: &Bind, address: Option<SocketAddr>) -> String {
    match (bind, address) {
        (Bind::Unix { path, .. }, _) => format!("unix:{}", path.display()),
        (Bind::Udp(_), Some(address)) if address.is_ipv6() => format!("udp6:{address}"),
        (Bind::Udp(asked), address) => format!("udp:{}", address.unwrap_or(*asked)),
        (Bind::Tcp(_), Some(address)) if address.is_ipv6() => format!("tcp6:{address}"),
        (Bind::Tcp(asked), address) => format!("tcp:{}", address.unwrap_or(*asked)),
    }
}
