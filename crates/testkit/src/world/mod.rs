//! Whole proxies in a simulated network: clients, workers and servers in one thread and one seed.
//!
//! [`run`] builds a world from its seed, lets it live until every client is done, and panics with
//! the seed when a reply reached the wrong request, when a reply never came, or when a worker kept
//! something of a client that is gone. Virtual time makes time-outs and retries free.

pub mod asker;
pub mod memcached;
pub mod redis;
pub mod redis_asker;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use keyway_engine::sim::{Faults, Incident, Script, World};
use keyway_engine::{Address, Sender, mailbox};
use keyway_proxy::config::{self, Config, RouteKind};
use keyway_proxy::local::{Facts, Settings, Shared};
use keyway_proxy::stats::Registry;
use keyway_proxy::{Generation, Mail, Setup, Worker, events};
use keyway_store::{Options, Store};

use crate::random::Random;
use asker::{Asker, Findings, Manner};
use memcached::{Input, Memcached};
use redis_asker::RedisAsker;

/// What a world is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything is slow and cut into pieces but nothing breaks: no request may fail.
    Rough,
    /// As rough, and the configuration changes all the time: still no request may fail.
    Reloading,
    /// Connections break in every way: requests may fail, but never get another's reply.
    Wild,
    /// Servers repeat, drop and mislabel replies: a wrong value must never get through.
    Lying,
}

/// What everybody in a world speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// memcached's text protocol.
    Memcached,
    /// RESP. Nobody lies in it: its replies carry nothing that would show.
    Redis,
}

/// How a world ended.
#[derive(Debug)]
pub struct Report {
    /// What the clients found.
    pub replies: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Values among the replies.
    pub values: u64,
    /// A hash of everything that happened.
    pub digest: u64,
}

const SECOND: u64 = 1_000_000_000;
/// Virtual time in which every world must be over.
const LIFE: u64 = 36_000 * SECOND;

/// A proxy in its world.
struct Scene {
    speech: Speech,
    world: World,
    random: Random,
    workers: Vec<(Worker, Sender<Mail>)>,
    registry: Arc<Registry>,
    config: Config,
    generation: u64,
    findings: Rc<RefCell<Findings>>,
    events: std::sync::mpsc::Receiver<(usize, events::Event)>,
}

/// Lives through one world of memcached. Panics with kind and seed when something is wrong.
pub fn run(kind: Kind, seed: u64) -> Report {
    run_in(Speech::Memcached, kind, seed)
}

/// Lives through one world. Panics with kind and seed when something is wrong.
pub fn run_in(speech: Speech, kind: Kind, seed: u64) -> Report {
    let told = Told(speech, kind, seed);
    let mut scene = Scene::new(speech, kind, seed);
    scene.live(kind);
    scene.finish(kind);
    let report = scene.report();
    drop(told);
    report
}

/// Says which world it was when something panics.
struct Told(Speech, Kind, u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the world of {:?}, kind {:?} and seed {}", self.0, self.1, self.2);
        }
    }
}

fn address(last: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last as u8], 11211))
}

fn listener() -> Address {
    Address::Tcp(address(1))
}

fn backend(n: usize) -> Address {
    Address::Tcp(address(100 + n))
}

const BACKENDS: usize = 4;
/// Configurations of one world.
const RELOADS: u64 = 60;

impl Scene {
    fn new(speech: Speech, kind: Kind, seed: u64) -> Scene {
        let mut random = Random::new(seed);
        let world = World::new(seed, faults(kind, &mut random));
        for n in 0..BACKENDS {
            serve(&world, n, speech, kind == Kind::Lying);
        }
        let config = configuration(speech, kind, &mut random);
        let registry = Registry::new(config.workers);
        let store = Arc::new(Store::new(Options::new(8 << 20)));
        let facts = Box::new(Facts::default);
        let shared =
            Shared::new(Settings::default(), config.workers, Duration::from_secs(1_000_000), facts);
        let (sender, events) = events::queue(1024);
        let first =
            Arc::new(Generation { number: 1, config: config.clone(), listener_keys: vec![0] });
        let workers = (0..config.workers).map(|index| {
            let engine = world.engine();
            world.listen(&engine, listener(), 0);
            let (mail, receiver) = mailbox(engine.waker());
            let setup = Setup {
                index,
                generation: Arc::clone(&first),
                store: Arc::clone(&store),
                shared: Arc::clone(&shared),
                started: world.now(),
                registry: Arc::clone(&registry),
                events: sender.clone(),
                mail: receiver,
            };
            (Worker::new(engine, setup), mail)
        });
        let workers = workers.collect();
        Scene {
            speech,
            world,
            random,
            workers,
            registry,
            config,
            generation: 1,
            findings: Rc::default(),
            events,
        }
    }

    fn live(&mut self, kind: Kind) {
        let manner = manner(kind, &self.config, &mut self.random);
        let clients = 2 + self.random.below(8);
        let mut spawned = 0;
        let mut next_reload = 0;
        while spawned < 3 * clients || self.findings.borrow().active > 0 {
            while spawned < 3 * clients && self.findings.borrow().active < clients {
                spawned += 1;
                self.client(spawned, manner.clone());
            }
            if kind == Kind::Reloading
                && self.generation < RELOADS
                && self.world.now() >= next_reload
            {
                next_reload = self.world.now() + self.random.below(20) as u64 * SECOND / 1000;
                self.reload();
            }
            if kind == Kind::Wild && self.random.once_in(2000) {
                self.world.sever(&backend(self.random.below(BACKENDS)));
            }
            self.turn();
            let over = self.world.now() > LIFE;
            assert!(!over, "clients never finish: {:?}", self.findings.borrow());
            let findings = self.findings.borrow();
            assert!(findings.violations.is_empty(), "{:#?}", findings.violations);
        }
    }

    fn turn(&mut self) {
        self.world.advance();
        for (worker, _) in &mut self.workers {
            worker.turn().expect("a simulated engine can always wait");
        }
    }

    fn client(&mut self, id: usize, manner: Manner) {
        let seed = self.random.bits();
        let findings = Rc::clone(&self.findings);
        let script: Script = match self.speech {
            Speech::Memcached => {
                let mut asker = Asker::new(id, seed, manner, findings);
                Box::new(move |incident, wire| asker.incident(incident, wire))
            }
            Speech::Redis => {
                let mut asker = RedisAsker::new(id, seed, manner, findings);
                Box::new(move |incident, wire| asker.incident(incident, wire))
            }
        };
        self.world.client(&listener(), script);
    }

    /// Changes something about the configuration and tells all workers.
    fn reload(&mut self) {
        let mut config = self.config.clone();
        vary(self.speech, Kind::Reloading, &mut config, &mut self.random);
        self.generation += 1;
        let number = self.generation;
        let generation = Arc::new(Generation { number, config, listener_keys: vec![0] });
        for (_, mail) in &self.workers {
            mail.send(Mail::Configure(Arc::clone(&generation)));
        }
    }

    /// Checks the end: everything owed was paid, nothing of the clients is left, and a drain ends.
    fn finish(&mut self, kind: Kind) {
        let findings = self.findings.borrow();
        if matches!(kind, Kind::Rough | Kind::Reloading) {
            let events: Vec<_> =
                self.events.try_iter().map(|(_, e)| e).filter(is_failure).collect();
            assert_eq!(findings.failures, 0, "nothing was broken: {findings:?} {events:?}");
            let is_limited = self.config.limits.large_value_bytes < 1 << 20;
            assert!(is_limited || findings.errors == 0, "no limit was reached: {findings:?}");
            assert_eq!(findings.broken, 0, "no client was to be closed: {findings:?}");
            assert_eq!(
                findings.gave_up, 0,
                "every request was to be answered: {findings:?} {:?}",
                self.config.limits
            );
        }
        drop(findings);
        self.world.set_faults(Faults::none());
        let settled = |scene: &Scene| {
            let owed = scene.registry.total(|w| &w.exchanges);
            let clients = scene.registry.total(|w| &w.clients);
            owed == 0 && clients == 0
        };
        // A connection that went silent is noticed when TCP gives up on it.
        let end = self.world.now() + LIFE;
        let silent = kind == Kind::Wild;
        while !settled(self) && self.world.now() < end {
            self.turn();
        }
        let left = (self.registry.total(|w| &w.exchanges), self.registry.total(|w| &w.clients));
        assert!(silent || settled(self), "exchanges and clients left: {left:?}");
        for (worker, mail) in &mut self.workers {
            mail.send(Mail::Drain { deadline: self.world.now() + SECOND });
            worker.turn().expect("a simulated engine can always wait");
        }
        let end = self.world.now() + 60 * SECOND;
        while self.workers.iter().any(|(w, _)| w.finish().is_none()) {
            assert!(self.world.now() < end, "a drain ends at its deadline");
            self.turn();
        }
    }

    fn report(&self) -> Report {
        let findings = self.findings.borrow();
        Report {
            replies: findings.replies,
            errors: findings.errors,
            values: findings.values,
            digest: self.world.digest(),
        }
    }
}

/// Whether a route asks more than one server, maybe.
fn is_policy(kind: &RouteKind) -> bool {
    !matches!(kind, RouteKind::Pool(_) | RouteKind::Prefix { .. })
}

/// Whether no request may fail.
fn is_calm(kind: Kind) -> bool {
    matches!(kind, Kind::Rough | Kind::Reloading)
}

fn is_failure(event: &events::Event) -> bool {
    !matches!(event, events::Event::Configured { .. })
}

fn faults(kind: Kind, random: &mut Random) -> Faults {
    match kind {
        Kind::Rough | Kind::Reloading => Faults::rough(),
        Kind::Lying => Faults { stall_permille: 0, ..Faults::rough() },
        Kind::Wild if random.once_in(2) => Faults::wild(),
        Kind::Wild => Faults { half_open_permille: 0, ..Faults::wild() },
    }
}

fn manner(kind: Kind, config: &Config, random: &mut Random) -> Manner {
    let is_pool = matches!(config.routes[0].kind, RouteKind::Pool(_));
    let link = &config.pools[0].link;
    let is_calm = matches!(kind, Kind::Rough);
    let is_limited = config.limits.large_value_bytes < 1 << 20;
    Manner {
        requests: 100 + random.below(200),
        window: 1 + random.below(40),
        value_bytes_max: *random.choose(&[100, 3000, 20_000]),
        is_classic: kind == Kind::Lying,
        is_quiet: !is_limited && matches!(kind, Kind::Rough | Kind::Reloading) && random.once_in(2),
        is_ordered: is_calm && is_pool && link.connections == 1 && link.large_lanes_max == 0,
        has_sessions: !is_policy(&config.routes[0].kind) || kind == Kind::Wild,
        departs_once_in: if random.once_in(2) { 60 } else { 0 },
        pauses_once_in: if random.once_in(2) { 20 } else { 0 },
    }
}

fn configuration(speech: Speech, kind: Kind, random: &mut Random) -> Config {
    let mut config = Config::embedded(address(1), 1 + random.below(2));
    if speech == Speech::Redis {
        config.listeners[0].protocol = config::Protocol::Redis;
    }
    config.pools = vec![pool(speech, kind, "one", 0, random), pool(speech, kind, "two", 1, random)];
    config.routes = vec![config::Route { name: "main".into(), kind: RouteKind::Pool(0) }];
    if kind != Kind::Rough || random.once_in(3) {
        vary(speech, kind, &mut config, random);
    }
    if kind == Kind::Lying {
        // A policy may turn a lie into a miss of another child; one pool keeps the oracle simple.
        config.routes.truncate(1);
        config.routes[0].kind = RouteKind::Pool(0);
    }
    config.limits.large_value_bytes = *random.choose(&[500, 5000, 2 << 20]);
    if random.once_in(2) {
        config.limits.owed_max = 8;
        config.limits.client_bytes_pause = 4 << 10;
    }
    config.store = None;
    config
}

fn pool(
    speech: Speech,
    kind: Kind,
    name: &str,
    offset: usize,
    random: &mut Random,
) -> config::Pool {
    let count = 1 + random.below(3);
    let backends = (0..count).map(|n| {
        let SocketAddr::V4(addr) = address(100 + (n + offset) % BACKENDS) else {
            unreachable!("all simulated addresses are of version 4")
        };
        config::Backend {
            name: addr.to_string(),
            host: addr.ip().to_string(),
            port: addr.port(),
            weight: 1,
            address: Some(config::Address::Tcp(addr.into())),
        }
    });
    config::Pool {
        name: name.to_owned(),
        backends: backends.collect(),
        distribution: *random.choose(&[config::Distribution::Ketama, config::Distribution::Jump]),
        hash: config::Hash::Xxh3,
        key_part: config::KeyPart::Whole,
        hash_seed: 0,
        link: config::Link {
            connections: 1 + random.below(2),
            large_lanes_max: random.below(3),
            // Simulated readers may take some bytes every 20 ms: a rough network is no failure.
            read_timeout: Duration::from_secs(if is_calm(kind) { 1000 } else { 5 }),
            ..link(speech, kind, random)
        },
        ejection: None,
    }
}

/// What is particular to Redis servers: how connections to them begin, and how many there may be.
fn link(speech: Speech, kind: Kind, random: &mut Random) -> config::Link {
    if speech == Speech::Memcached {
        return config::Link::default();
    }
    config::Link {
        protocol: config::LinkProtocol::Redis(config::RedisLogin {
            database: random.below(2) as u32,
            ..config::RedisLogin::default()
        }),
        on_demand: random.once_in(2),
        handshake: random.once_in(2),
        timeout_each: random.once_in(2),
        sessions_max: if is_calm(kind) { 256 } else { 1 + random.below(4) },
        ..config::Link::default()
    }
}

/// Another configuration of the same world: pools lose and gain servers, routes become policies.
fn vary(speech: Speech, kind: Kind, config: &mut Config, random: &mut Random) {
    let offset = random.below(BACKENDS);
    config.pools =
        vec![pool(speech, kind, "one", offset, random), pool(speech, kind, "two", 1, random)];
    let named = |name: &str, kind| config::Route { name: name.into(), kind };
    let children = vec![1, 2];
    let on = config::FailoverOn { errors: true, misses: random.once_in(2) };
    let prefix = |p: &str| p.as_bytes().to_vec();
    // A client whose requests depend on each other needs a way that leads straight to a server.
    let is_plain = speech == Speech::Redis && kind == Kind::Reloading;
    let first = match random.below(5) {
        0..3 if is_plain => RouteKind::Pool(random.below(2)),
        0 => RouteKind::Failover { children, on, budget_percent: None },
        1 => RouteKind::AllSync { children },
        2 => RouteKind::AllFastest { children },
        3 => RouteKind::Prefix {
            cases: vec![(prefix("own"), 1), (prefix("shared1"), 2)],
            otherwise: 2,
        },
        _ => RouteKind::Pool(0),
    };
    config.routes = vec![
        named("main", first),
        named("first", RouteKind::Pool(0)),
        named("second", RouteKind::Pool(1)),
    ];
}

/// Starts a simulated server.
fn serve(world: &World, n: usize, speech: Speech, lies: bool) {
    match speech {
        Speech::Memcached => {
            let store = Rc::new(RefCell::new(Memcached::default()));
            world.serve(backend(n), move || server(Rc::clone(&store), lies));
        }
        Speech::Redis => {
            let store = Rc::new(RefCell::new(redis::Redis::default()));
            world.serve(backend(n), move || redis::connection(Rc::clone(&store)));
        }
    }
}

/// The script of one connection to a simulated memcached.
fn server(store: Rc<RefCell<Memcached>>, lies: bool) -> Script {
    let mut input = Input::default();
    Box::new(move |incident, wire| {
        let Incident::Received(bytes) = incident else { return };
        for reply in store.borrow_mut().feed(&mut input, bytes) {
            let truth = reply.starts_with(b"VERSION") || !lies || wire.random(30) > 0;
            match (truth, wire.random(3)) {
                (true, _) => wire.write(&reply),
                // Once too often, not at all, or under another name.
                (false, 0) => wire.write(&[reply.as_slice(), &reply].concat()),
                (false, 1) => {}
                (false, _) => wire.write(&renamed(reply)),
            }
        }
    })
}

/// A reply whose first key was exchanged for another of the same length.
fn renamed(mut reply: Vec<u8>) -> Vec<u8> {
    if reply.starts_with(b"VALUE ") {
        reply[6] ^= 1;
    }
    reply
}

/// Runs the seeds of one kind, stopping at the first that is wrong.
pub fn run_all(speech: Speech, kind: Kind, seeds: impl Iterator<Item = u64>) -> Vec<Report> {
    seeds.map(|seed| run_in(speech, kind, seed)).collect()
}
