//! Two engines hammer each other over real sockets: one asks, the other echoes with moods.
//!
//! The echoing side pauses, keeps chunks for later, answers with every kind of write and sometimes
//! hangs up. Whatever it does, what comes back is what was sent, up to a point.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use keyway_engine::{
    Address, Choice, Chunk, CloseReason, ConnId, ConnectOptions, Engine, Event, ListenAddress,
    ListenOptions, MILLISECOND, Options, listen,
};
use std::collections::{BTreeMap, VecDeque};

/// Conversations per run, and how many of them go on at a time.
const TALKS: usize = 200;
const AT_A_TIME: usize = 40;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// One conversation as the asking side sees it.
struct Talk {
    conn: ConnId,
    /// Chooses its bytes.
    seed: usize,
    length: usize,
    written: usize,
    got: usize,
}

/// The byte at one place of a conversation.
fn byte(seed: usize, at: usize) -> u8 {
    (at.wrapping_mul(167) ^ (at >> 9) ^ seed.wrapping_mul(89)) as u8
}

/// The side under test.
struct Echo {
    engine: Engine,
    /// What arrived and is not answered yet.
    kept: BTreeMap<u64, (ConnId, VecDeque<Chunk>)>,
    next_tag: u64,
    hang_ups: usize,
}

impl Echo {
    fn turn(&mut self, random: &mut Random) {
        self.engine.poll(Some(self.engine.now() + MILLISECOND)).unwrap();
        while let Some(event) = self.engine.next() {
            match event {
                Event::Accepted { conn, .. } => {
                    self.engine.retag(conn, self.next_tag);
                    self.kept.insert(self.next_tag, (conn, VecDeque::new()));
                    self.next_tag += 1;
                }
                Event::Received { conn, tag, chunk } => self.received(conn, tag, chunk, random),
                Event::Closed { tag, .. } => drop(self.kept.remove(&tag).unwrap()),
                Event::Drained { conn, .. } => self.engine.resume(conn),
                other => panic!("{other:?}"),
            }
        }
        for (conn, kept) in self.kept.values_mut() {
            if random.below(3) == 0 {
                while let Some(chunk) = kept.pop_front() {
                    answer(&mut self.engine, *conn, &chunk, random);
                }
                self.engine.resume(*conn);
            }
        }
        self.engine.flush();
    }

    fn received(&mut self, conn: ConnId, tag: u64, chunk: Chunk, random: &mut Random) {
        let kept = &mut self.kept.get_mut(&tag).unwrap().1;
        match random.below(2000) {
            0 => {
                self.engine.close(conn);
                self.kept.remove(&tag);
                self.hang_ups += 1;
                return;
            }
            1 => {
                self.engine.finish(conn);
                self.hang_ups += 1;
                return;
            }
            2..200 => self.engine.pause(conn),
            200..300 => self.engine.expect(conn, 100_000),
            _ => {}
        }
        if kept.is_empty() && random.below(2) == 0 {
            answer(&mut self.engine, conn, &chunk, random);
        } else {
            kept.push_back(chunk);
        }
        if self.engine.unsent(conn) > 500_000 {
            self.engine.pause(conn);
            self.engine.notify_drained(conn, 100_000);
        }
    }
}

/// Sends `chunk` back in a way of chance.
fn answer(engine: &mut Engine, conn: ConnId, chunk: &Chunk, random: &mut Random) {
    let cut = random.below(chunk.len() as u64 + 1) as usize;
    match random.below(3) {
        0 => engine.write(conn, &chunk[..cut]),
        1 => engine.write_chunk(conn, chunk, 0..cut),
        _ => engine.write_owned(conn, Box::new(chunk[..cut].to_vec())),
    }
    engine.write_chunk(conn, chunk, cut..chunk.len());
}

/// The asking side.
struct Asking {
    engine: Engine,
    talks: BTreeMap<u64, Talk>,
    started: usize,
    complete: usize,
    cut: usize,
}

impl Asking {
    fn turn(&mut self, random: &mut Random, server: &Address) {
        while self.talks.len() < AT_A_TIME && self.started < TALKS {
            let seed = self.started;
            let conn = self.engine.connect(server, &ConnectOptions::default(), seed as u64);
            // Mostly small ones, as in life.
            let scale = [100, 5000, 200_000, 2_000_000][random.below(4) as usize];
            let length = 1 + random.below(scale) as usize;
            let talk = Talk { conn, seed, length, written: 0, got: 0 };
            self.talks.insert(seed as u64, talk);
            self.started += 1;
        }
        self.engine.poll(Some(self.engine.now() + MILLISECOND)).unwrap();
        while let Some(event) = self.engine.next() {
            match event {
                Event::Connected { .. } => {}
                Event::Received { conn, tag, chunk } => {
                    let talk = self.talks.get_mut(&tag).unwrap();
                    assert_eq!(talk.conn, conn);
                    for (at, got) in (talk.got..).zip(chunk.iter()) {
                        assert_eq!(*got, byte(talk.seed, at), "talk {tag} at {at}");
                    }
                    talk.got += chunk.len();
                    assert!(talk.got <= talk.written);
                    if talk.got == talk.length {
                        self.engine.close(conn);
                        self.talks.remove(&tag);
                        self.complete += 1;
                    }
                }
                Event::Closed { tag, reason, .. } => {
                    assert!(matches!(reason, CloseReason::Eof | CloseReason::Reset), "{reason:?}");
                    self.talks.remove(&tag).unwrap();
                    self.cut += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        for talk in self.talks.values_mut() {
            let most = (talk.length - talk.written).min(random.below(100_000) as usize);
            if most > 0 && self.engine.unsent(talk.conn) < 200_000 {
                let bytes: Vec<u8> =
                    (talk.written..talk.written + most).map(|at| byte(talk.seed, at)).collect();
                talk.written += most;
                self.engine.write(talk.conn, &bytes);
            }
        }
        self.engine.flush();
    }
}

fn hammer(choice: Choice, seed: u64) {
    let new = |choice| Engine::new(choice, Options::default()).unwrap();
    let (mut engine, refusal) = new(choice);
    if let Some(refusal) = refusal {
        eprintln!("skipped: {refusal}");
        return;
    }
    let anywhere = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = listen(&anywhere, &ListenOptions::default()).unwrap();
    let server = Address::Tcp(listener.local_address().unwrap());
    engine.add_listener(listener, 0).unwrap();
    let mut echo = Echo { engine, kept: BTreeMap::new(), next_tag: 1, hang_ups: 0 };
    let engine = new(Choice::Epoll).0;
    let mut asking = Asking { engine, talks: BTreeMap::new(), started: 0, complete: 0, cut: 0 };
    let mut random = Random(seed);
    let mut turns = 0;
    while asking.complete + asking.cut < TALKS || !echo.kept.is_empty() {
        asking.turn(&mut random, &server);
        echo.turn(&mut random);
        turns += 1;
        assert!(turns < 200_000, "{} complete, {} cut", asking.complete, asking.cut);
    }
    // A conversation can be complete before its echo hangs up, but never cut without it.
    assert!(asking.cut <= echo.hang_ups && asking.complete > TALKS / 4);
    assert_eq!((echo.engine.open_conns(), echo.engine.unsent_total()), (0, 0));
    assert_eq!(asking.engine.open_conns(), 0);
}

#[test]
fn epoll_stands_it() {
    (1..=3).for_each(|seed| hammer(Choice::Epoll, seed));
}

#[test]
fn io_uring_stands_it() {
    (1..=3).for_each(|seed| hammer(Choice::Uring, seed));
}
