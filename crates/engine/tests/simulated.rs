//! The simulated network: it keeps the promises of the engine under every fault, and it repeats.
//!
//! Scripts and engines talk across a few hundred seeds; on a rough network every byte has to
//! arrive, on a wild one whatever arrives has to be right.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use keyway_engine::sim::{Faults, Incident, Script, World};
use keyway_engine::{
    Address, CloseReason, ConnId, ConnectOptions, Engine, Event, MILLISECOND, Nanos, SECOND,
    mailbox,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How many seeds each of the random tests runs.
const SEEDS: u64 = 300;

fn address(number: u8) -> Address {
    Address::Tcp(([10, 0, 0, number], 11211).into())
}

fn pattern(number: usize, count: usize) -> Vec<u8> {
    (0..count).map(|n| (n.wrapping_mul(31) ^ (n >> 8) ^ number.wrapping_mul(97)) as u8).collect()
}

/// Sends `bytes`, collects what comes back, and closes when it is as much again.
fn asking(bytes: Vec<u8>, got: Rc<RefCell<Vec<u8>>>) -> Script {
    Box::new(move |incident, wire| match incident {
        Incident::Connected => {
            let cut = wire.random(bytes.len() as u64 + 1) as usize;
            wire.write(&bytes[..cut]);
            wire.write(&bytes[cut..]);
        }
        Incident::Received(part) => {
            got.borrow_mut().extend_from_slice(part);
            if got.borrow().len() == bytes.len() {
                wire.close();
            }
        }
        Incident::Woken | Incident::Closed(_) => {}
    })
}

fn echoing() -> Script {
    Box::new(|incident, wire| match incident {
        Incident::Received(bytes) => wire.write(bytes),
        Incident::Closed(_) => wire.close(),
        Incident::Connected | Incident::Woken => {}
    })
}

/// One turn of an engine that sends everything back; returns the events it saw.
fn echo_turn(engine: &mut Engine, log: &mut Vec<String>) {
    engine.poll(Some(engine.now() + SECOND)).unwrap();
    while let Some(event) = engine.next() {
        log.push(format!("{} {event:?}", engine.now()));
        match event {
            Event::Received { conn, chunk, .. } => {
                if engine.unsent(conn) > 3000 {
                    engine.pause(conn);
                    engine.notify_drained(conn, 1000);
                }
                engine.write_chunk(conn, &chunk, 0..chunk.len());
            }
            Event::Drained { conn, .. } => engine.resume(conn),
            Event::Accepted { .. } | Event::Closed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    engine.flush();
}

/// What happened in a world: its digest, the events, and for each client the bytes both ways.
type History = (u64, Vec<String>, Vec<(Vec<u8>, Vec<u8>)>);

fn echo_world(seed: u64, faults: Faults) -> History {
    let world = World::new(seed, faults);
    let mut engine = world.engine();
    world.listen(&engine, address(1), 9);
    let mut talks = Vec::new();
    for number in 0..8 {
        let bytes = pattern(number, 1 + world.random(20_000) as usize);
        let got = Rc::new(RefCell::new(Vec::new()));
        world.client(&address(1), asking(bytes.clone(), got.clone()));
        talks.push((bytes, got));
    }
    let mut log = Vec::new();
    while world.now() < 400 * SECOND && world.open_links() > 0 {
        world.advance();
        echo_turn(&mut engine, &mut log);
    }
    let talks = talks.into_iter().map(|(bytes, got)| (bytes, got.take())).collect();
    assert!(engine.open_conns() > 0 || engine.unsent_total() == 0);
    (world.digest(), log, talks)
}

#[test]
fn every_byte_arrives_on_a_rough_network() {
    for seed in 0..SEEDS {
        let (_, log, talks) = echo_world(seed, Faults::rough());
        for (sent, got) in talks {
            assert!(sent == got, "seed {seed}: {} of {} came back", got.len(), sent.len());
        }
        let count = |name: &str| log.iter().filter(|line| line.contains(name)).count();
        assert_eq!((count("Accepted"), count("Closed")), (8, 8), "seed {seed}");
    }
}

#[test]
fn a_wild_network_loses_only_tails() {
    let (mut whole, mut cut) = (0, 0);
    for seed in 0..SEEDS {
        let (_, log, talks) = echo_world(seed, Faults::wild());
        for (sent, got) in talks {
            assert!(sent.starts_with(&got), "seed {seed}: what comes back is what was sent");
            if got.len() == sent.len() { whole += 1 } else { cut += 1 }
        }
        let accepted = log.iter().filter(|line| line.contains("Accepted")).count();
        let closed = log.iter().filter(|line| line.contains("Closed")).count();
        assert!(closed <= accepted, "seed {seed}: no connection ends twice");
    }
    assert!(whole > SEEDS && cut > SEEDS, "the faults do something, but not all the time");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let first = echo_world(7, Faults::wild());
    let second = echo_world(7, Faults::wild());
    assert_eq!(first.0, second.0);
    assert!(first == second);
    assert_ne!(first.0, echo_world(8, Faults::wild()).0);
}

/// An engine that passes everything on to the engine at the second address, and back.
struct Front {
    engine: Engine,
    /// Which connection belongs to which tag's.
    partners: BTreeMap<u64, ConnId>,
    next_tag: u64,
}

impl Front {
    fn turn(&mut self) {
        self.engine.poll(None).unwrap();
        while let Some(event) = self.engine.next() {
            match event {
                Event::Accepted { conn, .. } => self.accepted(conn),
                Event::Received { tag, chunk, .. } => {
                    self.engine.write(self.partners[&tag], &chunk);
                }
                Event::Closed { tag, .. } => {
                    if let Some(other) = self.partners.remove(&tag) {
                        self.engine.finish(other);
                    }
                }
                Event::Connected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        self.engine.flush();
    }

    fn accepted(&mut self, conn: ConnId) {
        let tag = self.next_tag;
        let other = self.engine.connect(&address(2), &ConnectOptions::default(), tag + 1);
        self.engine.retag(conn, tag);
        self.partners.insert(tag, other);
        self.partners.insert(tag + 1, conn);
        self.next_tag += 2;
    }
}

#[test]
fn engines_talk_to_engines_and_scripts() {
    for seed in 0..SEEDS / 3 {
        let world = World::new(seed, Faults::rough());
        let mut front = Front { engine: world.engine(), partners: BTreeMap::new(), next_tag: 1 };
        let mut back = world.engine();
        world.listen(&front.engine, address(1), 0);
        world.listen(&back, address(2), 0);
        let mut talks = Vec::new();
        for number in 0..4 {
            let bytes = pattern(number, 1 + world.random(5000) as usize);
            let got = Rc::new(RefCell::new(Vec::new()));
            world.client(&address(1), asking(bytes.clone(), got.clone()));
            talks.push((bytes, got));
        }
        let mut log = Vec::new();
        while world.open_links() > 0 {
            assert!(world.now() < 300 * SECOND, "seed {seed}: everything ends");
            world.advance();
            echo_turn(&mut back, &mut log);
            front.turn();
        }
        for (sent, got) in talks {
            assert!(sent == *got.borrow(), "seed {seed}");
        }
        assert_eq!((front.engine.open_conns(), back.open_conns()), (0, 0), "seed {seed}");
    }
}

/// Advances until the engine has an event that `take` wants.
fn wait<T>(world: &World, engine: &mut Engine, mut take: impl FnMut(Event) -> Option<T>) -> T {
    for _ in 0..10_000 {
        engine.flush();
        world.advance();
        engine.poll(None).unwrap();
        while let Some(event) = engine.next() {
            if let Some(result) = take(event) {
                return result;
            }
        }
    }
    panic!("the event did not come within 10000 turns");
}

fn closed(event: Event) -> Option<CloseReason> {
    match event {
        Event::Closed { reason, .. } => Some(reason),
        _ => None,
    }
}

fn connected(world: &World, engine: &mut Engine, to: u8) -> ConnId {
    let options = ConnectOptions { user_timeout_ms: 3000, ..ConnectOptions::default() };
    let id = engine.connect(&address(to), &options, 5);
    wait(world, engine, |event| matches!(event, Event::Connected { tag: 5, .. }).then_some(()));
    id
}

#[test]
fn attempts_fail_as_on_real_networks() {
    let world = World::new(1, Faults::none());
    let mut engine = world.engine();
    engine.connect(&address(1), &ConnectOptions::default(), 0);
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::Refused);
    world.serve(address(1), echoing);
    connected(&world, &mut engine, 1);
    world.set_faults(Faults { refuse_permille: 1000, ..Faults::none() });
    engine.connect(&address(1), &ConnectOptions::default(), 0);
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::Refused);
    world.set_faults(Faults { unanswered_permille: 1000, ..Faults::none() });
    let before = world.now();
    engine.connect(&address(1), &ConnectOptions::default(), 0);
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::TimedOut);
    assert!(world.now() - before > 60 * SECOND, "in virtual time");
    let gone = engine.connect(&address(1), &ConnectOptions::default(), 0);
    engine.close(gone);
    assert!(!world.advance() || world.open_links() == 1, "a closed attempt leaves nothing behind");
}

#[test]
fn servers_die_and_connections_go_silent() {
    let world = World::new(2, Faults::none());
    world.serve(address(1), echoing);
    let mut engine = world.engine();
    connected(&world, &mut engine, 1);
    world.sever(&address(1));
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::Reset);
    world.unserve(&address(1));
    engine.connect(&address(1), &ConnectOptions::default(), 0);
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::Refused);

    world.serve(address(1), echoing);
    let id = connected(&world, &mut engine, 1);
    world.set_faults(Faults { half_open_permille: 1000, ..Faults::none() });
    let before = world.now();
    engine.write(id, b"into the void");
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::TimedOut);
    assert!(world.now() - before >= 3 * SECOND, "as the user timeout says");

    world.set_faults(Faults::none());
    let id = connected(&world, &mut engine, 1);
    world.set_faults(Faults { reset_permille: 1000, ..Faults::none() });
    engine.write(id, b"mid-value");
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::Reset);
    assert_eq!(engine.open_conns(), 0);
}

#[test]
fn slow_readers_fill_their_window_and_drain() {
    let faults = Faults { window_bytes: 1000..1001, ..Faults::none() };
    let world = World::new(3, faults.clone());
    let taken = Rc::new(RefCell::new(0));
    let counter = taken.clone();
    world.serve(address(1), move || {
        let counter = counter.clone();
        Box::new(move |incident, wire| match incident {
            Incident::Connected => {
                wire.pause();
                wire.wake_in(SECOND);
            }
            Incident::Woken => wire.resume(),
            Incident::Received(bytes) => *counter.borrow_mut() += bytes.len(),
            Incident::Closed(_) => {}
        })
    });
    let mut engine = world.engine();
    let id = connected(&world, &mut engine, 1);
    engine.write(id, &[1; 5000]);
    engine.flush();
    assert_eq!(engine.unsent(id), 4000, "the window is full");
    engine.notify_drained(id, 2000);
    let before = world.now();
    wait(&world, &mut engine, |event| matches!(event, Event::Drained { .. }).then_some(()));
    assert!(world.now() - before > SECOND / 2);
    assert!(engine.unsent(id) < 2000);
    engine.finish(id);
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::Finished);
    while world.advance() {}
    assert_eq!(*taken.borrow(), 5000);
}

#[test]
fn pause_half_close_and_finish_work_as_on_real_sockets() {
    let world = World::new(4, Faults::none());
    let got = Rc::new(RefCell::new(Vec::new()));
    let collected = got.clone();
    let mut engine = world.engine();
    world.listen(&engine, address(1), 3);
    world.client(
        &address(1),
        Box::new(move |incident, wire| match incident {
            Incident::Connected => {
                wire.write(b"request");
                wire.shutdown();
            }
            Incident::Received(bytes) => collected.borrow_mut().extend_from_slice(bytes),
            Incident::Closed(reason) => {
                collected.borrow_mut().extend_from_slice(format!(" {reason:?}").as_bytes());
                wire.close();
            }
            Incident::Woken => {}
        }),
    );
    let id = wait(&world, &mut engine, |event| match event {
        Event::Accepted { listener: 3, conn } => Some(conn),
        _ => None,
    });
    engine.allow_half_close(id);
    engine.pause(id);
    while world.advance() {
        engine.poll(None).unwrap();
        assert!(engine.next().is_none(), "paused");
    }
    engine.resume(id);
    let mut request = Vec::new();
    wait(&world, &mut engine, |event| match event {
        Event::Received { chunk, .. } => {
            request.extend_from_slice(&chunk);
            None
        }
        Event::Ended { .. } => Some(()),
        other => panic!("{other:?}"),
    });
    assert_eq!(request, b"request");
    engine.write_owned(id, Box::new(b"reply".to_vec()));
    engine.finish(id);
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::Finished);
    while world.advance() {}
    assert_eq!(*got.borrow(), b"reply Eof");
    assert_eq!(world.open_links(), 0);
}

#[test]
fn time_and_mail_belong_to_the_world() {
    let world = World::new(5, Faults::none());
    let (mut first, mut second) = (world.engine(), world.engine());
    let start: Nanos = first.now();
    first.poll(Some(start + 3 * MILLISECOND)).unwrap();
    second.poll(Some(start + 2 * MILLISECOND)).unwrap();
    assert!(world.advance());
    assert_eq!(world.now(), start + 2 * MILLISECOND);
    assert!(world.advance());
    assert_eq!(world.now(), start + 3 * MILLISECOND);
    assert!(!world.advance(), "nobody waits for anything");
    world.stop_at(start + 9 * MILLISECOND);
    assert!(world.advance());
    assert_eq!(world.now(), start + 9 * MILLISECOND);
    world.advance_until(start + SECOND);
    first.poll(Some(start + 2 * SECOND)).unwrap();
    assert!(world.advance_until(start + SECOND));
    assert_eq!(world.now(), start + SECOND);

    let (sender, mut receiver) = mailbox(second.waker());
    sender.send("hello");
    assert!(world.advance());
    assert_eq!(world.now(), start + SECOND, "mail needs no time");
    second.poll(None).unwrap();
    assert!(matches!(second.next(), Some(Event::Mail)));
    assert!(second.next().is_none());
    assert_eq!(receiver.try_recv(), Some("hello"));
    first.flush();
}

#[test]
fn an_engine_that_goes_away_closes_its_connections() {
    let world = World::new(6, Faults::none());
    let mut server = world.engine();
    world.listen(&server, address(1), 0);
    let mut engine = world.engine();
    let id = connected(&world, &mut engine, 1);
    server.poll(None).unwrap();
    assert!(matches!(server.next(), Some(Event::Accepted { .. })));
    drop(server);
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::Eof);
    assert!(!engine.is_open(id));
    engine.connect(&address(1), &ConnectOptions::default(), 0);
    assert_eq!(wait(&world, &mut engine, closed), CloseReason::Refused);
}
