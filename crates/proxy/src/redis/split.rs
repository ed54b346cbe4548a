//! Commands with keys in several places whose parts mean the same: MGET, MSET, DEL, UNLINK, EXISTS
//! and TOUCH.
//!
//! The keys are grouped by where they live, each group becomes one command, and the replies become
//! one: elements in the order of the keys, a sum, or one `OK`. No part is atomic with the others.
//! Where a part fails the whole fails, with that part's error; what the others did stays done.

use crate::config::{CommandClass, RouteId};
use crate::exchange::{ExchangeId, Failure, RunId, Voice};
use crate::forward::Request;
use crate::policy::{Behaviour, Outcome, Run, Target};
use crate::redis::dispatch::Place;
use crate::route::Node;
use crate::routes::Routes;
use crate::worker::Worker;
use keyway_proto::memcached::ReplyKind;
use keyway_proto::resp;
use keyway_proto::resp::{Verb, Version};
use std::rc::Rc;

/// How the parts of a command become one reply.
#[derive(Debug)]
pub(crate) struct Split {
    verb: Verb,
    /// For each key of the request, the number of its leg.
    leg_of_key: Vec<u16>,
    /// For each leg, whether its failure counts as keys that do not exist (MGET only).
    failure_is_miss: Vec<bool>,
}

/// Keys that live in one place.
struct Group {
    place: Place,
    keys: usize,
}

/// Most places that one request may be split over.
const GROUPS_MAX: usize = u16::MAX as usize;

/// What a part that was refused by its server means in twemproxy's words.
const INVALID: &[u8] = b"-ERR Invalid argument\r\n";

impl Worker {
    /// Splits a command whose keys live in several places.
    pub(crate) fn split(
        &mut self,
        id: ExchangeId,
        routes: &Rc<Routes>,
        route: RouteId,
        request: resp::Request<'_>,
    ) {
        let Some(verb) = request.verb() else { return };
        let class = self.exchanges.get(id).map_or(CommandClass::Other, |ex| ex.asked.class);
        let Some((groups, leg_of_key)) = self.group(routes, route, class, request) else {
            return self.fail(id, Failure::Refused);
        };
        let failure_is_miss = groups
            .iter()
            .map(|group| match routes.table.node(group.place.0) {
                Node::Pool(pool) if verb == Verb::Mget => {
                    routes.pools[*pool].config.link.multiget_failure_is_miss
                }
                _ => false,
            })
            .collect();
        let split = Split { verb, leg_of_key: leg_of_key.clone(), failure_is_miss };
        let run = self.open_run(id, routes, Request::Redis(request), Behaviour::Split(split));
        for (number, group) in groups.iter().enumerate() {
            let mut wire = self.spare();
            render_part(request, &leg_of_key, number as u16, group.keys, &mut wire);
            let target = match self.backend_at(routes, group.place) {
                Some(backend) => Target::Backend(backend),
                None => Target::Route(group.place.0),
            };
            self.start_leg_with(run, target, &wire);
            self.give_back(wire);
        }
    }

    /// The keys by where they live; `None` when one of them has no place now.
    fn group(
        &mut self,
        routes: &Routes,
        route: RouteId,
        class: CommandClass,
        request: resp::Request<'_>,
    ) -> Option<(Vec<Group>, Vec<u16>)> {
        let mut groups: Vec<Group> = Vec::new();
        let mut leg_of_key = Vec::new();
        for key in request.keys() {
            let place = self.place_of(routes, route, class, key.bytes)?;
            let known = groups.iter().position(|group| group.place == place);
            let number = known.unwrap_or_else(|| {
                groups.push(Group { place, keys: 0 });
                groups.len() - 1
            });
            assert!(number < GROUPS_MAX, "a configuration has fewer places than that");
            groups[number].keys += 1;
            leg_of_key.push(number as u16);
        }
        Some((groups, leg_of_key))
    }

    /// All legs of a split command have their outcomes: makes one reply of them.
    pub(crate) fn merge_split(&mut self, id: RunId) {
        let Some(run) = self.runs.get(id) else { return };
        let Behaviour::Split(split) = &run.behaviour else { return };
        let parent = run.exchange;
        let Some(exchange) = self.exchanges.get(parent) else { return };
        let (voice, is_resp3) = (exchange.asked.voice, exchange.asked.is_resp3);
        let mut out = self.spares.pop().unwrap_or_default();
        match first_trouble(run, &split.failure_is_miss) {
            None => {
                let merged = merge(run, split, is_resp3, &mut out);
                self.close_run(id);
                match merged {
                    Some(kind) => self.emit(parent, kind, &out, None, true),
                    None => self.fail(parent, Failure::Malformed),
                }
            }
            Some((number, Outcome::Reply(kind))) => {
                if voice != Voice::Redis {
                    out.extend_from_slice(INVALID);
                } else {
                    out.extend_from_slice(&run.legs[number].reply);
                }
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

/// The first leg that failed or got an error.
pub(crate) fn first_trouble(run: &Run, failure_is_miss: &[bool]) -> Option<(usize, Outcome)> {
    run.legs.iter().enumerate().find_map(|(number, leg)| {
        let outcome = leg.outcome.expect("a merge waits for all legs");
        let is_excused = failure_is_miss.get(number).copied().unwrap_or(false);
        (!outcome.is_ok() && !is_excused).then_some((number, outcome))
    })
}

/// Writes the command of one leg: the same command with that leg's keys (and values) only.
fn render_part(
    request: resp::Request<'_>,
    leg_of_key: &[u16],
    leg: u16,
    keys: usize,
    out: &mut Vec<u8>,
) {
    let per_key = if request.verb() == Some(Verb::Mset) { 2 } else { 1 };
    resp::render::array(out, 1 + keys as u64 * per_key);
    resp::render::bulk(out, request.name);
    let mut args = request.arguments().skip(1).map(|argument| argument.bytes);
    for owner in leg_of_key {
        for _ in 0..per_key {
            let Some(argument) = args.next() else { return };
            if *owner == leg {
                resp::render::bulk(out, argument);
            }
        }
    }
}

/// Makes one reply of good ones. `None` when one of them cannot be the reply to what was asked.
fn merge(run: &Run, split: &Split, is_resp3: bool, out: &mut Vec<u8>) -> Option<ReplyKind> {
    match split.verb {
        Verb::Mget => merge_elements(run, split, is_resp3, out),
        Verb::Mset => {
            if run.legs.iter().any(|leg| !leg.reply.starts_with(b"+")) {
                return None;
            }
            out.extend_from_slice(b"+OK\r\n");
            Some(ReplyKind::Ok)
        }
        _ => {
            resp::render::integer(out, sum(run)?);
            Some(ReplyKind::Ok)
        }
    }
}

/// The sum of the legs' integers.
pub(crate) fn sum(run: &Run) -> Option<i64> {
    run.legs.iter().try_fold(0_i64, |sum, leg| sum.checked_add(resp::reply::integer(&leg.reply)?))
}

/// The legs' elements in the order of the keys.
fn merge_elements(
    run: &Run,
    split: &Split,
    is_resp3: bool,
    out: &mut Vec<u8>,
) -> Option<ReplyKind> {
    let mut elements = Vec::with_capacity(run.legs.len());
    for leg in &run.legs {
        let is_ok = leg.outcome.is_some_and(Outcome::is_ok);
        elements.push(if is_ok {
            Some(resp::reply::elements(&leg.reply, Version::Three)?)
        } else {
            None
        });
    }
    let null: &[u8] = if is_resp3 { b"_\r\n" } else { b"$-1\r\n" };
    resp::render::array(out, split.leg_of_key.len() as u64);
    for leg in &split.leg_of_key {
        match &mut elements[usize::from(*leg)] {
            Some(elements) => out.extend_from_slice(elements.next()?),
            None => out.extend_from_slice(null),
        }
    }
    let is_used_up = |rest: &mut Option<_>| match rest {
        Some(rest) => Iterator::next(rest).is_none(),
        None => true,
    };
    elements.iter_mut().all(is_used_up).then_some(ReplyKind::Value)
}
