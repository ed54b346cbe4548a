//! Commands about all keys, or about something that every server has to have: each server that the
//! client's routes lead to is asked, and their replies become one.
//!
//! SCAN goes through the servers one after the other. Its cursor says where it is: the server's own
//! cursor times the number of servers, plus the server's position.

use crate::exchange::{ExchangeId, Failure, RunId};
use crate::forward::Request;
use crate::policy::{Behaviour, Outcome, Run, Target};
use crate::redis::split::{first_trouble, sum};
use crate::worker::{Listener, Worker};
use keyway_proto::memcached::ReplyKind;
use keyway_proto::number;
use keyway_proto::resp::{self, Kind, Verb, Version};
use std::rc::Rc;

/// How the replies of all servers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// The sum of numbers.
    Sum,
    /// The first one; all are alike.
    First,
    /// All elements, one server's after the other's.
    Concatenation,
    /// Element by element the smallest number: what every server has.
    Everyone,
    /// Any that is not null; the search begins with this one.
    AnyFrom(u32),
    /// The part of one server; its position among so many.
    Cursor { position: u64, servers: u64 },
}

impl Whole {
    /// How this command's replies become one, if it is one about all keys.
    pub fn of(request: resp::Request<'_>) -> Option<Whole> {
        let command = request.subcommand()?;
        Some(match (command.verb, command.name) {
            (Verb::Dbsize, _) => Whole::Sum,
            (Verb::Keys, _) => Whole::Concatenation,
            (Verb::Randomkey, _) => Whole::AnyFrom(0),
            (Verb::Scan, _) => Whole::Cursor { position: 0, servers: 1 },
            (_, "script|exists") => Whole::Everyone,
            // Flushes, and whatever every server has to know.
            _ if command.kind == Kind::Sweep => Whole::First,
            _ => return None,
        })
    }
}

/// A cursor that no server gave.
const BAD_CURSOR: &[u8] = b"-ERR invalid cursor\r\n";
/// Routes without servers.
const NO_SERVERS: &[u8] = b"-ERR no Redis server behind this listener\r\n";

impl Worker {
    /// Asks all servers that the client's listener leads to. The exchange is open already.
    pub(crate) fn ask_everywhere(
        &mut self,
        id: ExchangeId,
        listener: &Rc<Listener>,
        request: resp::Request<'_>,
        whole: Whole,
    ) {
        let routes = &listener.routes;
        let mut pools = Vec::new();
        routes.table.pools_from(listener.root, &mut pools);
        let mut targets: Vec<Target> = Vec::new();
        for pool in pools {
            targets.extend(routes.pools[pool].backends.iter().map(|id| Target::Backend(*id)));
        }
        if routes.table.reaches_store(listener.root) {
            targets.push(Target::Store);
        }
        if targets.is_empty() {
            return self.emit(id, ReplyKind::ServerError, NO_SERVERS, None, true);
        }
        let whole = match whole {
            Whole::Cursor { .. } => return self.scan(id, listener, request, &targets),
            Whole::AnyFrom(_) => Whole::AnyFrom(self.random()),
            other => other,
        };
        let behaviour = Behaviour::Whole(whole);
        let run = self.open_run(id, routes, Request::Redis(request), behaviour);
        for target in targets {
            self.start_leg(run, target);
        }
    }

    /// One step of SCAN, on the server that its cursor names.
    fn scan(
        &mut self,
        id: ExchangeId,
        listener: &Rc<Listener>,
        request: resp::Request<'_>,
        targets: &[Target],
    ) {
        let servers = targets.len() as u64;
        let Some(cursor) = request.argument(1).and_then(number::strict_u64) else {
            return self.emit(id, ReplyKind::ServerError, BAD_CURSOR, None, true);
        };
        let position = cursor % servers;
        let mut wire = self.spare();
        resp::render::array(&mut wire, u64::from(request.arguments));
        for (at, argument) in request.arguments().enumerate() {
            if at == 1 {
                let own = number::Decimal::new(cursor / servers);
                resp::render::bulk(&mut wire, own.as_bytes());
            } else {
                resp::render::bulk(&mut wire, argument.bytes);
            }
        }
        let behaviour = Behaviour::Whole(Whole::Cursor { position, servers });
        let run = self.open_run(id, &listener.routes, Request::Redis(request), behaviour);
        self.start_leg_with(run, targets[position as usize], &wire);
        self.give_back(wire);
    }

    /// All servers have answered: makes one reply of theirs.
    pub(crate) fn merge_whole(&mut self, id: RunId) {
        let Some(run) = self.runs.get(id) else { return };
        let Behaviour::Whole(whole) = &run.behaviour else { return };
        let parent = run.exchange;
        let mut out = self.spares.pop().unwrap_or_default();
        match first_trouble(run, &[]) {
            None => {
                let merged = merge(run, *whole, &mut out);
                self.close_run(id);
                match merged {
                    Some(()) => self.emit(parent, ReplyKind::Ok, &out, None, true),
                    None => self.fail(parent, Failure::Malformed),
                }
            }
            Some((number, Outcome::Reply(kind))) => {
                out.extend_from_slice(&run.legs[number].reply);
                self.close_run(id);
                self.emit(parent, kind, &out, None, true);
            }
            Some((_, Outcome::Failed(failure))) => {
                self.close_run(id);
                self.fail(parent, failure);
            }
        }
        self.give_back(out);
    }
}

/// Makes one reply of good ones. `None` when one of them cannot be the reply to what was asked.
fn merge(run: &Run, whole: Whole, out: &mut Vec<u8>) -> Option<()> {
    match whole {
        Whole::Sum => resp::render::integer(out, sum(run)?),
        Whole::First => out.extend_from_slice(&run.legs[0].reply),
        Whole::Concatenation => {
            let mut count = 0;
            for leg in &run.legs {
                count += resp::reply::elements(&leg.reply, Version::Three)?.count();
            }
            resp::render::array(out, count as u64);
            for leg in &run.legs {
                resp::reply::elements(&leg.reply, Version::Three)?
                    .for_each(|part| out.extend_from_slice(part));
            }
        }
        Whole::Everyone => {
            let mut least: Vec<i64> = Vec::new();
            for (number, leg) in run.legs.iter().enumerate() {
                for (at, part) in resp::reply::elements(&leg.reply, Version::Three)?.enumerate() {
                    let value = resp::reply::integer(part)?;
                    match least.get_mut(at) {
                        Some(least) => *least = value.min(*least),
                        None if number == 0 => least.push(value),
                        None => return None,
                    }
                }
            }
            resp::render::array(out, least.len() as u64);
            least.iter().for_each(|value| resp::render::integer(out, *value));
        }
        Whole::AnyFrom(start) => {
            let count = run.legs.len();
            let in_turn = (0..count).map(|at| &run.legs[(start as usize % count + at) % count]);
            let mut found = in_turn.filter(|leg| leg.outcome != NULL);
            let leg = found.next().unwrap_or(&run.legs[0]);
            out.extend_from_slice(&leg.reply);
        }
        Whole::Cursor { position, servers } => {
            let mut parts = resp::reply::elements(&run.legs[0].reply, Version::Three)?;
            let own = number::strict_u64(resp::reply::text(parts.next()?)?)?;
            let next = match own {
                0 if position + 1 == servers => 0,
                0 => position + 1,
                own => own.checked_mul(servers)?.checked_add(position)?,
            };
            resp::render::array(out, 2);
            resp::render::bulk(out, number::Decimal::new(next).as_bytes());
            parts.for_each(|part| out.extend_from_slice(part));
        }
    }
    Some(())
}

/// The outcome of a server that had nothing to offer.
const NULL: Option<Outcome> = Some(Outcome::Reply(ReplyKind::End));
