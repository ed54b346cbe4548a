//! One thread of the load: its connections, what they send and when, and what they get.
//!
//! Three phases: every key written once (if asked for), warm-up, measurement. Without a rate each
//! connection keeps its depth filled. With one, request number i is due at start + i / rate
//! whatever the server does; if no connection is free it waits, and the wait counts as latency.

use std::sync::Barrier;
use std::sync::atomic::Ordering;

use keyway_engine::{
    Address, CloseReason, ConnId, ConnectOptions, Engine, Event, MILLISECOND, Nanos, Options,
    SECOND, monotonic,
};

use super::content::Content;
use super::draw::{Keys, Random};
use super::progress::Progress;
use super::reply::{Broken, Inbox, Op, Outcome, Owed};
use super::tally::Tally;
use super::{Args, request};

/// What all threads share.
#[derive(Debug)]
pub struct Shared {
    /// The user's options.
    pub args: Args,
    /// The server.
    pub address: Address,
    /// Keys and values.
    pub content: Content,
    /// Popularity of keys.
    pub keys: Keys,
    /// Counters for the display.
    pub progress: Progress,
    /// Where the threads wait for each other between filling and load.
    pub filled: Barrier,
}

/// Runs thread number `number` to its end.
///
/// # Errors
/// In words: the server could not be reached at all, or the kernel refused something basic.
pub fn run(shared: &Shared, number: u32) -> Result<Tally, String> {
    let mut load = Load::new(shared, number)?;
    let ready = load.connect_all().and_then(|()| load.fill());
    // Also after a failure: the others must not wait for ever.
    shared.filled.wait();
    ready?;
    load.load()?;
    Ok(load.tally)
}

/// Which requests a thread sends.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Nothing more.
    Nothing,
    /// The value of each key in turn, up to (not including) the second.
    Fill(u64, u64),
    /// The mix that the options ask for.
    Mix,
}

struct Load<'a> {
    shared: &'a Shared,
    /// Which thread this is, from 0.
    number: u32,
    engine: Engine,
    conns: Vec<Conn>,
    random: Random,
    tally: Tally,
    work: Work,
    /// Requests that may still be sent, where their number is limited.
    budget: Option<u64>,
    /// Time between two requests, where the rate is limited; may be a fraction of a nanosecond.
    interval: Option<f64>,
    /// When the pacing began, and how many requests were due since.
    paced_from: Nanos,
    paced: u64,
    /// Requests sent from then on are measured.
    measured_from: Nanos,
    /// Connection to try first with the next paced request.
    turn: usize,
    /// Next look at time-outs and reconnections.
    check_at: Nanos,
    /// Rendered requests; empty between calls.
    out: Vec<u8>,
    /// Key numbers of one request; reused.
    numbers: Vec<u64>,
    last_reply: Nanos,
    /// When there was a connection last.
    up_at: Nanos,
    shown: Shown,
}

struct Conn {
    id: ConnId,
    is_up: bool,
    inbox: Inbox,
    opaque: u32,
    /// When to connect again, for a connection that is down.
    retry_at: Option<Nanos>,
}

/// What was already added to the shared progress.
#[derive(Default)]
struct Shown {
    answered: u64,
    failed: u64,
    wrong: u64,
    filled: u64,
}

impl<'a> Load<'a> {
    fn new(shared: &'a Shared, number: u32) -> Result<Load<'a>, String> {
        let args = &shared.args;
        let (mut engine, refusal) = Engine::new(args.engine.into(), Options::default())
            .map_err(|error| format!("opening the kernel's event interface: {error}"))?;
        let mut tally = Tally::new();
        tally.engine = engine.name();
        tally.refusal = refusal.map(|refusal| refusal.to_string());
        let share = part(u64::from(args.connections), args.threads, number);
        let conns = (0..(share.end - share.start) as usize).map(|at| Conn {
            id: connect(&mut engine, &shared.address, at),
            is_up: false,
            inbox: Inbox::new(args.protocol),
            opaque: 0,
            retry_at: None,
        });
        let conns = conns.collect();
        Ok(Load {
            shared,
            number,
            engine,
            conns,
            random: Random::new(args.seed, u64::from(number)),
            tally,
            work: Work::Nothing,
            budget: None,
            interval: args.rate.map(|rate| 1e9 * f64::from(args.threads) / rate),
            paced_from: 0,
            paced: 0,
            measured_from: Nanos::MAX,
            turn: 0,
            check_at: 0,
            out: Vec::new(),
            numbers: Vec::new(),
            last_reply: 0,
            up_at: monotonic(),
            shown: Shown::default(),
        })
    }

    /// Waits until all connections are up.
    fn connect_all(&mut self) -> Result<(), String> {
        let deadline = monotonic() + self.timeout();
        while !self.conns.iter().all(|conn| conn.is_up) {
            if monotonic() >= deadline {
                return Err(format!("connecting to {}: timed out", self.address()));
            }
            self.engine.poll(Some(deadline)).map_err(waiting)?;
            while let Some(event) = self.engine.next() {
                match event {
                    Event::Connected { tag, .. } => self.conns[tag as usize].is_up = true,
                    Event::Closed { reason, .. } => {
                        let reason = reason_text(reason);
                        return Err(format!("connecting to {}: {reason}", self.address()));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), String> {
        let shared = self.shared;
        let args = &shared.args;
        if !args.fill {
            return Ok(());
        }
        let keys = part(args.keys, args.threads, self.number);
        self.work = Work::Fill(keys.start, keys.end);
        self.refill_all();
        while matches!(self.work, Work::Fill(next, end) if next < end) || self.owed() > 0 {
            self.turn(monotonic() + CHECK_INTERVAL)?;
        }
        self.work = Work::Nothing;
        Ok(())
    }

    fn load(&mut self) -> Result<(), String> {
        let shared = self.shared;
        let args = &shared.args;
        let start = monotonic();
        let measured_from = start + args.warmup.as_nanos() as Nanos;
        self.work = Work::Mix;
        self.paced_from = start;
        if !args.warmup.is_zero() {
            self.refill_all();
        }
        while monotonic() < measured_from {
            self.turn(measured_from)?;
        }
        self.measured_from = measured_from;
        let before = self.engine.counters();
        let end = match args.requests {
            Some(_) => Nanos::MAX,
            None => measured_from + args.measured_time().as_nanos() as Nanos,
        };
        self.budget = args.requests.map(|requests| {
            let share = part(requests, args.threads, self.number);
            share.end - share.start
        });
        self.refill_all();
        while monotonic() < end && self.budget != Some(0) {
            self.turn(end)?;
        }
        self.send_due(end.min(monotonic()));
        self.count_unsent(end.min(monotonic()));
        self.work = Work::Nothing;
        // Each of these is answered or gives up within the time limit.
        while self.owed() > 0 {
            self.turn(monotonic() + CHECK_INTERVAL)?;
        }
        let after = self.engine.counters();
        self.tally.sent_bytes = after.sent_bytes - before.sent_bytes;
        self.tally.received_bytes = after.received_bytes - before.received_bytes;
        self.tally.nanos = self.last_reply.saturating_sub(measured_from);
        Ok(())
    }

    /// Sends what is due, waits for something to happen, at most until `until`, and handles it.
    fn turn(&mut self, until: Nanos) -> Result<(), String> {
        let now = monotonic();
        self.send_due(now);
        self.check(now);
        if self.is_endless() && now > self.up_at + 2 * self.timeout() {
            return Err(format!("lost {} for good", self.address()));
        }
        self.engine.flush();
        let mut until = until.min(self.check_at);
        if let Some(due) = self.next_due().filter(|_| self.free_conn().is_some()) {
            // The kernel rounds waits up to milliseconds; the last one before a due time is spent
            // looking again and again, with the core offered to others in between.
            until = until.min(due.saturating_sub(MILLISECOND));
            if until <= now {
                std::thread::yield_now();
            }
        }
        self.engine.poll(Some(until)).map_err(waiting)?;
        while let Some(event) = self.engine.next() {
            self.handle(event);
            // At once: a request that waits for the rest of the turn would count our own time.
            self.engine.flush();
        }
        self.show();
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected { conn, tag } => {
                let at = tag as usize;
                if self.conns[at].id == conn {
                    self.conns[at].is_up = true;
                    self.refill(at);
                }
            }
            Event::Received { conn, tag, chunk } => {
                let at = tag as usize;
                if self.conns[at].id == conn {
                    self.receive(at, &chunk);
                }
            }
            Event::Closed { conn, tag, .. } => {
                let at = tag as usize;
                if self.conns[at].id == conn {
                    self.tally.lost += self.conns[at].inbox.owed() as u64;
                    self.lose(at);
                }
            }
            Event::Accepted { .. } | Event::Ended { .. } | Event::Drained { .. } | Event::Mail => {}
        }
    }

    fn receive(&mut self, at: usize, bytes: &[u8]) {
        let now = monotonic();
        let filling = matches!(self.work, Work::Fill(..));
        let Load { conns, tally, shared, last_reply, .. } = self;
        let inbox = &mut conns[at].inbox;
        let result = inbox.take(&shared.content, bytes, |owed, outcome| {
            *last_reply = now;
            settle(tally, filling, owed, outcome, now);
        });
        if let Some(complaint) = inbox.take_complaint() {
            tally.complain(complaint);
        }
        match result {
            Ok(()) => self.refill(at),
            Err(broken) => self.give_up(at, broken),
        }
    }

    fn give_up(&mut self, at: usize, broken: Broken) {
        if broken.is_wrong {
            self.tally.wrong += 1;
            self.tally.complain(format!("no fitting reply: {}", broken.line));
        } else {
            self.tally.other_errors += 1;
        }
        self.tally.lost += self.conns[at].inbox.owed() as u64;
        self.engine.close(self.conns[at].id);
        self.lose(at);
    }

    /// Marks a connection as gone; `check` makes a new one.
    fn lose(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        self.tally.disconnects += 1;
        conn.inbox.clear();
        conn.is_up = false;
        conn.retry_at = Some(monotonic() + RETRY_AFTER);
    }

    /// Gives up connections that are silent for too long, and makes lost ones anew.
    fn check(&mut self, now: Nanos) {
        if now < self.check_at {
            return;
        }
        self.check_at = now + CHECK_INTERVAL;
        let timeout = self.timeout();
        if self.conns.iter().any(|conn| conn.is_up) {
            self.up_at = now;
        }
        for at in 0..self.conns.len() {
            if self.conns[at].inbox.oldest().is_some_and(|sent| sent + timeout <= now) {
                self.tally.timed_out += self.conns[at].inbox.owed() as u64;
                self.engine.close(self.conns[at].id);
                self.lose(at);
            } else if self.conns[at].retry_at.is_some_and(|retry| retry <= now) {
                self.conns[at].retry_at = None;
                self.conns[at].id = connect(&mut self.engine, &self.shared.address, at);
            }
        }
    }

    /// Whether only answered requests, and not the time, end this phase.
    fn is_endless(&self) -> bool {
        matches!(self.work, Work::Fill(..)) || self.budget.is_some_and(|budget| budget > 0)
    }

    fn refill_all(&mut self) {
        (0..self.conns.len()).for_each(|at| self.refill(at));
    }

    /// Sends as many requests as the depth allows, unless requests are paced.
    fn refill(&mut self, at: usize) {
        let is_paced = self.interval.is_some() && matches!(self.work, Work::Mix);
        if is_paced || !self.conns[at].is_up {
            return;
        }
        let now = monotonic();
        while self.conns[at].inbox.owed() < self.shared.args.depth as usize {
            if !self.render(at, now, now) {
                break;
            }
        }
        self.engine.write(self.conns[at].id, &self.out);
        self.out.clear();
    }

    /// Sends the paced requests whose time has come, as long as a connection is free.
    fn send_due(&mut self, now: Nanos) {
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            let Some(at) = self.free_conn() else { return };
            if !self.render(at, due, now) {
                return;
            }
            self.engine.write(self.conns[at].id, &self.out);
            self.out.clear();
            self.paced += 1;
            self.turn = at + 1;
        }
    }

    /// When the next paced request is due.
    fn next_due(&self) -> Option<Nanos> {
        let interval = self.interval.filter(|_| matches!(self.work, Work::Mix))?;
        Some(self.paced_from + (self.paced as f64 * interval) as Nanos)
    }

    /// A connection that may send one more, starting after the one used last.
    fn free_conn(&self) -> Option<usize> {
        let count = self.conns.len();
        let depth = self.shared.args.depth as usize;
        let from = self.turn % count;
        (from..count).chain(0..from).find(|&at| {
            let conn = &self.conns[at];
            conn.is_up && conn.inbox.owed() < depth
        })
    }

    /// Counts requests that were due before `end` and wait for a connection.
    fn count_unsent(&mut self, end: Nanos) {
        if let Some(interval) = self.interval.filter(|_| self.free_conn().is_none()) {
            let due = ((end - self.paced_from) as f64 / interval) as u64;
            self.tally.unsent = due.saturating_sub(self.paced);
        }
    }

    /// Renders the next request into `out`; `false` if there is none to send.
    fn render(&mut self, at: usize, due: Nanos, now: Nanos) -> bool {
        let shared = self.shared;
        let (args, content) = (&shared.args, &shared.content);
        let op = match &mut self.work {
            Work::Nothing => return false,
            Work::Fill(next, end) => {
                if next >= end {
                    return false;
                }
                self.numbers.clear();
                self.numbers.push(*next);
                *next += 1;
                Op::Set
            }
            Work::Mix => {
                match &mut self.budget {
                    Some(0) => return false,
                    Some(budget) => *budget -= 1,
                    None => {}
                }
                let op = if self.random.unit() < args.get_ratio { Op::Get } else { Op::Set };
                let count = if op == Op::Get { args.multiget } else { 1 };
                self.numbers.clear();
                for _ in 0..count {
                    self.numbers.push(shared.keys.draw(&mut self.random));
                }
                op
            }
        };
        let conn = &mut self.conns[at];
        let opaque = conn.opaque;
        conn.opaque = opaque.wrapping_add(self.numbers.len() as u32) & OPAQUE_MASK;
        match op {
            Op::Get => {
                request::write_get(args.protocol, content, &self.numbers, opaque, &mut self.out);
            }
            Op::Set => {
                request::write_set(args.protocol, content, self.numbers[0], opaque, &mut self.out);
            }
        }
        // By the time of sending: under overload what is due lies ever further back.
        let is_measured = now >= self.measured_from;
        let owed = Owed { op, due, sent: now, is_measured, keys: 0, opaque };
        conn.inbox.ask(owed, &self.numbers);
        true
    }

    fn owed(&self) -> usize {
        self.conns.iter().map(|conn| conn.inbox.owed()).sum()
    }

    fn timeout(&self) -> Nanos {
        (self.shared.args.timeout.as_nanos() as Nanos).clamp(MILLISECOND, 1_000_000 * SECOND)
    }

    fn address(&self) -> String {
        match &self.shared.address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => path.display().to_string(),
        }
    }

    /// Adds what is new to the shared progress.
    fn show(&mut self) {
        let (tally, progress) = (&self.tally, &self.shared.progress);
        let answered = tally.ops.iter().map(|op| op.requests).sum::<u64>() + tally.warm;
        let failed = tally.errors() + tally.lost + tally.timed_out;
        let add = |counter: &std::sync::atomic::AtomicU64, shown: &mut u64, value: u64| {
            if value > *shown {
                counter.fetch_add(value - *shown, Ordering::Relaxed);
                *shown = value;
            }
        };
        add(&progress.answered, &mut self.shown.answered, answered);
        add(&progress.failed, &mut self.shown.failed, failed);
        add(&progress.wrong, &mut self.shown.wrong, tally.wrong);
        add(&progress.filled, &mut self.shown.filled, tally.filled);
    }
}

/// Counts a request that is complete.
fn settle(tally: &mut Tally, filling: bool, owed: Owed, outcome: Outcome, now: Nanos) {
    tally.wrong += u64::from(outcome.wrong);
    if !owed.is_measured {
        tally.other_errors += u64::from(outcome.is_error);
        if filling {
            tally.filled += u64::from(!outcome.is_error);
        } else {
            tally.warm += 1;
        }
        return;
    }
    let op = tally.op(owed.op);
    op.requests += 1;
    op.hits += u64::from(outcome.hits);
    op.misses += u64::from(outcome.misses);
    op.errors += u64::from(outcome.is_error);
    op.latency.saturating_record(now.saturating_sub(owed.due));
}

fn connect(engine: &mut Engine, address: &Address, at: usize) -> ConnId {
    engine.connect(address, &ConnectOptions::default(), at as u64)
}

/// The share of thread `number` in `total` things, as a range of their numbers.
fn part(total: u64, threads: u32, number: u32) -> std::ops::Range<u64> {
    let cut = |number: u32| (u128::from(total) * u128::from(number) / u128::from(threads)) as u64;
    cut(number)..cut(number + 1)
}

fn waiting(error: std::io::Error) -> String {
    format!("waiting for the network: {error}")
}

fn reason_text(reason: CloseReason) -> String {
    match reason {
        CloseReason::Refused | CloseReason::Missing => "nothing listens there".into(),
        CloseReason::TimedOut => "no answer".into(),
        CloseReason::Unreachable => "no way there".into(),
        CloseReason::Exhausted => "no file descriptors or ports left".into(),
        CloseReason::Other(number) => std::io::Error::from_raw_os_error(number).to_string(),
        CloseReason::Eof | CloseReason::Finished | CloseReason::Reset => "closed at once".into(),
    }
}

const CHECK_INTERVAL: Nanos = 50 * MILLISECOND;
const RETRY_AFTER: Nanos = 100 * MILLISECOND;
/// Opaques stay far from the end, so that the keys of one request count up without wrapping.
const OPAQUE_MASK: u32 = 0x00ff_ffff;
