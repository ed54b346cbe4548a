//! One worker: one thread, one engine, its clients and its connections to backends.
//!
//! Start reading here. `turn` takes everything the kernel has, thinks, and sends once. The life of
//! a request continues in `intake` (cut, begin), `forward` (choose a connection, queue), `replies`
//! (match, cut) and `settle` (deliver in order, policies). Nothing here blocks or fails a request
//! by panicking; assertions guard only what would give one client's bytes to another.

use crate::backend::{Backend, BackendId, Identity};
use crate::client::{Client, ClientId, Speaks, Stream};
use crate::config::RouteId;
use crate::events::Event as Report;
use crate::exchange::{Exchange, ExchangeId, Owner, RunId};
use crate::link::{Link, LinkId};
use crate::local::{ConnEntry, Counters, Opened, Output, Shared, report_evictions};
use crate::policy::Run;
use crate::routes::Routes;
use crate::setup::{Generation, Mail, Setup};
use crate::stats::{Block, Registry, Scope, WorkerCounters};
use crate::{config, events};
use keyway_engine::{
    CloseReason, ConnId, Engine, Event, Id, MILLISECOND, Nanos, Receiver, SECOND, Slab, Socket, Tag,
};
use keyway_store::Store;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One thread's share of the proxy.
pub struct Worker {
    pub(crate) index: usize,
    pub(crate) engine: Engine,
    pub(crate) generation: Arc<Generation>,
    pub(crate) routes: Rc<Routes>,
    /// Routes of earlier configurations that policies or clients may still follow.
    pub(crate) old_routes: Vec<Rc<Routes>>,
    /// By listener number.
    pub(crate) listeners: Vec<Option<Rc<Listener>>>,
    pub(crate) clients: Slab<Client>,
    pub(crate) exchanges: Slab<Exchange>,
    pub(crate) runs: Slab<Run>,
    pub(crate) backends: Slab<Backend>,
    pub(crate) links: Slab<Link>,
    pub(crate) fronts: Vec<Arc<Block>>,
    pub(crate) identities: Vec<(Identity, BackendId)>,
    pub(crate) store: Arc<Store>,
    pub(crate) shared: Arc<Shared>,
    /// What this worker did on the store.
    pub(crate) local: Arc<Counters>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Arc<WorkerCounters>,
    /// Clients that have whole requests left from an earlier turn.
    pub(crate) queue: VecDeque<ClientId>,
    /// Clients that wait until the worker holds less for all of them.
    pub(crate) parked: Vec<ClientId>,
    /// Runs of policies whose legs have news.
    pub(crate) ready: VecDeque<RunId>,
    /// Clients of `watch` and of dumps, which get output without asking.
    pub(crate) streams: Vec<ClientId>,
    /// Replies of the embedded store are made here.
    pub(crate) output: Output,
    /// Answers to Redis commands about the connection are made here.
    pub(crate) answer: Vec<u8>,
    /// Requests are brought into their normal form here.
    pub(crate) scratch: Vec<u8>,
    /// Empty buffers for reuse.
    pub(crate) spares: Vec<Vec<u8>>,
    /// Bytes held in exchanges and partial requests of all clients.
    pub(crate) held_bytes: usize,
    /// The moment of this turn.
    pub(crate) now: Nanos,
    started: Nanos,
    mail: Receiver<Mail>,
    events: events::Sender,
    /// A ring or the routes have changed: channels may live on another server now, and servers may
    /// be gone.
    pub(crate) channels_moved: bool,
    /// When something is due.
    pub(crate) next_expiry: Nanos,
    random: u64,
    drain: Option<Nanos>,
    pub(crate) finish: Option<Finish>,
}

/// Why a worker came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It was told to stop.
    Stopped,
    /// It was told to drain, and nobody is left (or the deadline has passed).
    Drained,
    /// A client sent an allowed `shutdown`; control stops the other workers.
    Shutdown {
        /// Whether their clients are to be let finish first.
        graceful: bool,
    },
}

/// A listener of the configuration that its clients were last given.
#[derive(Debug)]
pub(crate) struct Listener {
    pub routes: Rc<Routes>,
    pub config: config::Listener,
    pub root: RouteId,
    /// Everything on this listener is answered by the embedded store.
    pub is_store: bool,
    /// How many backends its routes lead to.
    pub backends: usize,
    /// The database of the Redis servers behind it.
    pub database: u32,
    /// What is counted of its clients.
    pub counters: Arc<Block>,
    /// Counter blocks by route, made when first used.
    fronts: Vec<Cell<u32>>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}

/// The counters of this route have not been looked for yet.
const NO_FRONT: u32 = u32::MAX;

/// What a tag of the engine means.
enum Named {
    Client(ClientId),
    Link(LinkId),
}

/// This bit of a tag says that it names a link. Slab indices stay below it.
const LINK_BIT: Tag = 1 << 31;

/// Bytes written in one turn after which they are sent before reading on: they are still in the
/// cache, and the receive memory can be used again.
const FLUSH_EARLY_BYTES: usize = 128 << 10;

/// Most buffers, and most bytes of one, that are kept for reuse.
const SPARES_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 64 << 10;

/// How long clients wait before it is looked whether there is room again.
pub(crate) const PARK: Nanos = 10 * MILLISECOND;

/// How often clients are looked at for being idle, and the store for expired items.
const SWEEP: Nanos = SECOND;

/// Records of the store that one sweep looks at, some 100 µs of work, and when it goes on if that
/// was not all.
const SWEEP_RECORDS_MAX: usize = 2000;
const SWEEP_AGAIN: Nanos = 10 * MILLISECOND;

impl Worker {
    /// Makes a worker; its connections to backends are opened at once.
    pub fn new(engine: Engine, setup: Setup) -> Worker {
        let counters = setup.registry.worker(setup.index).clone();
        let now = engine.now();
        let mut worker = Worker {
            index: setup.index,
            engine,
            generation: setup.generation.clone(),
            routes: Rc::new(Routes::empty()),
            old_routes: Vec::new(),
            listeners: Vec::new(),
            clients: Slab::new(),
            exchanges: Slab::new(),
            runs: Slab::new(),
            backends: Slab::new(),
            links: Slab::new(),
            fronts: Vec::new(),
            identities: Vec::new(),
            store: setup.store,
            local: setup.shared.counters(setup.index).clone(),
            shared: setup.shared,
            registry: setup.registry,
            counters,
            queue: VecDeque::new(),
            parked: Vec::new(),
            ready: VecDeque::new(),
            streams: Vec::new(),
            output: Output::new(),
            answer: Vec::new(),
            scratch: Vec::new(),
            spares: Vec::new(),
            held_bytes: 0,
            now,
            started: setup.started,
            mail: setup.mail,
            events: setup.events,
            channels_moved: false,
            next_expiry: now + SWEEP,
            random: 0x9e37_79b9_7f4a_7c15
                ^ (setup.index as u64 + 1).wrapping_mul(0xd134_2543_de82_ef95),
            drain: None,
            finish: None,
        };
        worker.configure(setup.generation);
        worker.engine.flush();
        worker
    }

    /// Runs until told to stop, until drained, or until a client asks for the end of the process.
    ///
    /// # Errors
    /// The kernel refuses to wait for events, which leaves nothing to do.
    pub fn run(&mut self) -> io::Result<Finish> {
        loop {
            if let Some(finish) = self.finish {
                return Ok(finish);
            }
            self.turn()?;
        }
    }

    /// Why the worker has come to its end, if it has.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// One batch: everything the kernel has for us, then everything we owe it.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub fn turn(&mut self) -> io::Result<()> {
        let until = if self.queue.is_empty() { self.next_expiry } else { self.now };
        self.engine.poll(Some(until))?;
        self.now = self.engine.now();
        self.counters.turns.add(1);
        for _ in 0..self.queue.len() {
            if let Some(id) = self.queue.pop_front() {
                self.requests_left(id);
            }
            self.step_runs();
        }
        while let Some(event) = self.engine.next() {
            self.event(event);
            self.step_runs();
            if self.engine.unflushed() > FLUSH_EARLY_BYTES {
                self.engine.flush();
            }
        }
        if !self.streams.is_empty() {
            self.serve_streams();
        }
        if self.now >= self.next_expiry {
            self.expire();
            self.step_runs();
        }
        if std::mem::take(&mut self.channels_moved) {
            self.close_deaf_subscribers();
            self.leave_gone_servers();
        }
        self.engine.flush();
        self.counters.exchanges.set(self.exchanges.len() as u64);
        if self.drain.is_some() {
            self.drain_clients();
        }
        Ok(())
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Received { tag, chunk, .. } => match named(tag) {
                Named::Client(id) => self.requests(id, &chunk),
                Named::Link(id) => self.replies(id, &chunk),
            },
            Event::Closed { tag, reason, .. } => match named(tag) {
                Named::Client(id) => {
                    let is_orderly = matches!(reason, CloseReason::Eof | CloseReason::Finished);
                    self.forget_client(id, is_orderly);
                }
                Named::Link(id) => self.link_closed(id, reason),
            },
            Event::Connected { tag, .. } => {
                if let Named::Link(id) = named(tag) {
                    self.validate(id);
                }
            }
            Event::Ended { tag, .. } => {
                if let Named::Client(id) = named(tag) {
                    self.client_ended(id);
                }
            }
            Event::Drained { tag, .. } => match named(tag) {
                Named::Client(id) => self.client_drained(id),
                Named::Link(id) => self.lane_drained(id),
            },
            Event::Accepted { listener, conn } => {
                let opened = Opened { address: self.peer_name(conn), ..Opened::default() };
                let entry = self.shared.conns.open(opened, self.store_now().seconds);
                self.welcome(conn, listener as u32, entry);
            }
            Event::Mail => self.read_mail(),
        }
    }

    fn read_mail(&mut self) {
        while let Some(mail) = self.mail.try_recv() {
            match mail {
                Mail::Client { socket, listener_key, entry } => {
                    self.adopt(socket, listener_key, entry);
                }
                Mail::Configure(generation) => self.configure(generation),
                Mail::Drain { deadline } => {
                    self.drain = Some(deadline);
                    self.next_expiry = self.next_expiry.min(deadline);
                }
                Mail::Stop => self.finish = Some(Finish::Stopped),
            }
        }
    }

    fn adopt(&mut self, socket: Socket, listener: u32, entry: Arc<ConnEntry>) {
        let conn = self.engine.adopt(socket, 0);
        self.welcome(conn, listener, entry);
    }

    /// Makes a client of an accepted connection.
    fn welcome(&mut self, conn: ConnId, key: u32, entry: Arc<ConnEntry>) {
        let Some(listener) = self.listener(key) else {
            // Its listener went away between accepting and now.
            self.engine.close(conn);
            self.shared.conns.close(&entry);
            return;
        };
        let speaks = match listener.config.protocol {
            config::Protocol::Memcached => Speaks::Unknown,
            config::Protocol::MemcachedText => Speaks::Text,
            config::Protocol::MemcachedBinary => Speaks::Binary,
            config::Protocol::Redis => Speaks::Redis,
            config::Protocol::Auto => Speaks::Anything,
        };
        let now = self.now;
        listener.counters.listener.clients.add(1);
        let id = self.clients.insert(Client::new(conn, key, speaks, entry, now));
        self.engine.retag(conn, id.to_bits());
        self.engine.allow_half_close(conn);
        self.counters.clients_accepted.add(1);
        self.counters.clients.set(self.clients.len() as u64);
    }

    /// The listener with this number in the configuration it last had.
    #[inline]
    pub(crate) fn listener(&self, key: u32) -> Option<Rc<Listener>> {
        self.listeners.get(key as usize)?.clone()
    }

    /// Puts a configuration to use: exchanges that are under way keep the routes they began with.
    pub(crate) fn configure(&mut self, generation: Arc<Generation>) {
        let routes = Rc::new(self.build_routes(&generation));
        for (position, key) in generation.listener_keys.iter().enumerate() {
            let config = generation.config.listeners[position].clone();
            let scope = Scope::Listener { listener: config.name.clone() };
            let counters = self.registry.block(self.index, &scope);
            let listener = Listener::new(routes.clone(), config, counters);
            let key = *key as usize;
            if self.listeners.len() <= key {
                self.listeners.resize_with(key + 1, || None);
            }
            self.listeners[key] = Some(Rc::new(listener));
        }
        let old = std::mem::replace(&mut self.routes, routes);
        self.old_routes.push(old);
        self.generation = generation;
        self.channels_moved = true;
        self.retire_backends();
        self.counters.generation.set(self.generation.number);
        self.report(Report::Configured { generation: self.generation.number });
    }

    /// The index of the block that counts requests of a listener on a route.
    #[inline]
    pub(crate) fn front(&mut self, listener: &Listener, route: RouteId) -> u32 {
        match listener.fronts[route].get() {
            NO_FRONT => self.open_front(listener, route),
            known => known,
        }
    }

    #[cold]
    fn open_front(&mut self, listener: &Listener, route: RouteId) -> u32 {
        let scope = Scope::Front {
            listener: listener.config.name.clone(),
            route: listener.routes.name(route).to_owned(),
        };
        let block = self.registry.block(self.index, &scope);
        let known = self.fronts.iter().position(|other| Arc::ptr_eq(other, &block));
        let index = known.unwrap_or_else(|| {
            self.fronts.push(block);
            self.fronts.len() - 1
        }) as u32;
        listener.fronts[route].set(index);
        index
    }

    /// Tells the control side; what its queue cannot take is counted.
    pub(crate) fn report(&self, event: Report) {
        if !self.events.send(self.index, event) {
            self.counters.events_dropped.add(1);
        }
    }

    /// A random number; the sequence is the same in every run of the same worker.
    pub(crate) fn random(&mut self) -> u32 {
        // xorshift64*, which is plenty for jitter and for choosing among equals.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// The store's clock.
    #[inline]
    pub(crate) fn store_now(&self) -> keyway_store::Now {
        Shared::now(Duration::from_nanos(self.now.saturating_sub(self.started)))
    }

    fn peer_name(&self, conn: ConnId) -> String {
        self.engine.peer(conn).map(|peer| peer.to_string()).unwrap_or_default()
    }

    /// Makes sure that `expire` looks around at `moment` at the latest.
    #[inline]
    pub(crate) fn expire_by(&mut self, moment: Nanos) {
        self.next_expiry = self.next_expiry.min(moment);
    }

    /// Whether the worker holds more for all its clients together than it may.
    #[inline]
    pub(crate) fn is_over_limit(&self) -> bool {
        let bytes = self.held_bytes + self.engine.unsent_total();
        bytes > self.generation.config.limits.worker_bytes_max
    }

    /// Goes on with parked clients once there is room. While there is none, the client that holds
    /// most makes some by leaving: otherwise a few that never read could stop all others.
    fn unpark(&mut self) {
        if self.parked.is_empty() {
            return;
        }
        if self.is_over_limit() {
            let engine = &self.engine;
            let largest = self.clients.iter().max_by_key(|(_, client)| {
                engine.unsent(client.conn) + client.held_bytes + client.partial_counted
            });
            if let Some((id, client)) = largest {
                let bytes = self.engine.unsent(client.conn) + client.held_bytes;
                self.counters.clients_over_limit.add(1);
                self.report(Report::ClientOverLimit { bytes });
                self.close_client(id);
            }
            return self.expire_by(self.now + PARK);
        }
        self.queue.extend(self.parked.drain(..));
    }

    /// Copies what the engine counts to where it can be read from outside.
    fn count_engine(&self) {
        let (engine, counters) = (self.engine.counters(), &self.counters);
        counters.engine_polls.set(engine.polls);
        counters.engine_receives.set(engine.receives);
        counters.engine_received_bytes.set(engine.received_bytes);
        counters.engine_sends.set(engine.sends);
        counters.engine_sent_bytes.set(engine.sent_bytes);
        counters.engine_short_sends.set(engine.short_sends);
    }

    /// Looks after everything that has a time limit.
    fn expire(&mut self) {
        self.next_expiry = self.now + SWEEP;
        self.count_engine();
        self.unpark();
        self.expire_links();
        self.return_ejected();
        if !self.old_routes.is_empty() {
            self.retire_backends();
        }
        let idle = self.generation.config.limits.client_idle.as_nanos() as Nanos;
        if idle > 0 {
            self.close_idle_clients(idle);
        }
        if self.index == 0 && self.store.tick(self.store_now(), SWEEP_RECORDS_MAX) {
            self.expire_by(self.now + SWEEP_AGAIN);
        }
        if self.index == 0 {
            report_evictions(&self.store, &self.shared, self.store_now());
        }
        if let Some(deadline) = self.drain {
            self.expire_by(deadline);
        }
    }

    fn close_idle_clients(&mut self, idle: Nanos) {
        let limit = self.now.saturating_sub(idle);
        let late: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, client)| client.seen < limit && client.owed == 0)
            .filter(|(_, client)| !client.is_subscribed())
            .filter(|(_, client)| self.engine.unsent(client.conn) == 0)
            .map(|(id, _)| id)
            .collect();
        for id in late {
            self.counters.clients_idle_closed.add(1);
            self.local.idle_kicks.add(1);
            if let Some(client) = self.clients.get_mut(id) {
                client.leaves = "idle_timeout";
            }
            self.close_client(id);
        }
    }

    /// Closes what nothing is owed to; at the deadline everything. Stops when nobody is left.
    fn drain_clients(&mut self) {
        let Some(deadline) = self.drain else { return };
        let over = self.now >= deadline;
        let ids: Vec<ClientId> = self.clients.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(client) = self.clients.get_mut(id) else { continue };
            if over {
                self.close_client(id);
            } else if client.owed == 0 && client.partial.is_empty() && client.upload.is_none() {
                self.finish_client(id);
            }
        }
        if self.clients.is_empty() {
            self.finish = Some(Finish::Drained);
        }
    }

    /// No more requests are taken from this client; what it is owed still goes out.
    pub(crate) fn finish_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.state.closing = true;
        client.partial = Vec::new();
        if client.owed == 0 && !client.state.finished {
            client.state.finished = true;
            let conn = client.conn;
            self.engine.finish(conn);
        }
    }

    /// Closes a client at once. Replies that it is owed are swallowed when they come.
    pub(crate) fn close_client(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get(id) {
            self.engine.close(client.conn);
            self.forget_client(id, false);
        }
    }

    /// The client is gone; its connection is closed already.
    fn forget_client(&mut self, id: ClientId, is_orderly: bool) {
        let Some(client) = self.clients.remove(id) else { return };
        if let Some(listener) = self.listener(client.listener) {
            let counters = &listener.counters.listener;
            counters.clients.sub(1);
            let ended = if is_orderly { &counters.ended_eof } else { &counters.ended_error };
            ended.add(1);
        }
        self.held_bytes -= client.held_bytes + client.partial_counted;
        self.shared.conns.close_because(&client.entry, client.leaves);
        let mut next = client.head;
        while let Some(exchange_id) = next {
            let exchange = self.exchanges.get_mut(exchange_id);
            let exchange = exchange.expect("an exchange lives as long as it is owed");
            next = exchange.next;
            if exchange.done {
                self.drop_exchange(exchange_id);
            } else {
                exchange.owner = Owner::Nobody;
                exchange.held = Vec::new();
                self.abandon(exchange_id);
            }
        }
        if let Some(upload) = client.upload {
            self.abandon_upload(upload);
        }
        for lane in client.stalled_lanes {
            self.resume_lane(lane);
        }
        if let Some(redis) = &client.redis {
            self.end_sessions(id, redis);
        }
        self.counters.clients.set(self.clients.len() as u64);
    }

    /// The client sends no more; it still gets what it is owed.
    fn client_ended(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let is_blocked = client.redis.as_ref().is_some_and(|redis| redis.is_blocked)
            && client.on_lane.is_some_and(|exchange| self.exchanges.contains(exchange));
        if client.upload.is_some() || is_blocked || client.is_subscribed() {
            // What a blocking command takes for it would be lost.
            self.close_client(id);
        } else if client.state.blocked || matches!(client.stream, Stream::Dump) {
            // Whole requests wait in `partial`, or a dump goes on: they are served first.
            client.state.ended = true;
        } else {
            self.finish_client(id);
        }
    }

    /// Forgets an exchange that nobody needs any more.
    pub(crate) fn drop_exchange(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.remove(id) {
            self.give_back(exchange.held);
        }
    }

    /// An empty buffer.
    #[inline]
    pub(crate) fn spare(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    /// Keeps a buffer for reuse, unless it is large or there are plenty.
    #[inline]
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        keep_spare(&mut self.spares, buffer);
    }

    fn link_closed(&mut self, id: LinkId, reason: CloseReason) {
        use crate::exchange::Failure;
        let failure = match reason {
            CloseReason::Eof | CloseReason::Finished => Failure::Closed,
            CloseReason::Reset => Failure::Reset,
            CloseReason::TimedOut => Failure::TimedOut,
            CloseReason::Missing => Failure::NoSocket,
            CloseReason::Unreachable => Failure::Unreachable,
            CloseReason::Exhausted => Failure::Exhausted,
            CloseReason::Refused | CloseReason::Other(_) => Failure::Refused,
        };
        if let Some(link) = self.links.get_mut(id) {
            // The engine has closed it already.
            let had_conn = link.conn.take().is_some();
            let backend = link.backend;
            self.backend(backend).block.backend.sockets.sub(u64::from(had_conn));
            self.lose_link(id, failure);
        }
    }

    /// The block of counters of a backend.
    #[inline]
    pub(crate) fn backend(&mut self, id: BackendId) -> &mut Backend {
        self.backends.get_mut(id).expect("a backend outlives its links")
    }
}

impl Listener {
    fn new(routes: Rc<Routes>, config: config::Listener, counters: Arc<Block>) -> Listener {
        let root = config.route;
        let is_store = matches!(routes.table.node(root), crate::route::Node::Store);
        let fronts = vec![Cell::new(NO_FRONT); routes.table.len()];
        let mut pools = Vec::new();
        routes.table.pools_from(root, &mut pools);
        let protocol = pools.first().map(|pool| &routes.pools[*pool].config.link.protocol);
        let backends = pools.iter().map(|pool| routes.pools[*pool].backends.len()).sum();
        let database = match protocol {
            Some(config::LinkProtocol::Redis(login)) => login.database,
            _ => 0,
        };
        Listener { routes, config, root, is_store, backends, database, counters, fronts }
    }
}

#[inline]
fn named(tag: Tag) -> Named {
    if tag & LINK_BIT == 0 {
        Named::Client(Id::from_bits(tag))
    } else {
        Named::Link(Id::from_bits(tag & !LINK_BIT))
    }
}

/// The tag of a link's connection.
#[inline]
pub(crate) fn link_tag(id: LinkId) -> Tag {
    id.to_bits() | LINK_BIT
}

/// Puts a buffer among the spares, unless it is large or there are plenty.
#[inline]
pub(crate) fn keep_spare(spares: &mut Vec<Vec<u8>>, mut buffer: Vec<u8>) {
    let capacity = buffer.capacity();
    if capacity > 0 && capacity <= SPARE_BYTES_MAX && spares.len() < SPARES_MAX {
        buffer.clear();
        spares.push(buffer);
    }
}
