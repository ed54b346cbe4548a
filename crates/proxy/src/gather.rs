//! Multi-key retrievals whose keys live in several places.
//!
//! The keys are grouped by where they live, each group becomes one multi-key request, and the
//! replies are merged into one, in the order in which the client asked, as one server would answer.

use crate::config::RouteId;
use crate::exchange::{ExchangeId, Failure, RunId};
use crate::forward::{Request, Text};
use crate::policy::{Behaviour, Outcome, Target};
use crate::route::Node;
use crate::routes::Routes;
use crate::worker::Worker;
use keyway_proto::memcached::{Cut, ReplyCut, ReplyKind, cut, cut_reply};
use std::rc::Rc;

/// Which leg has which key.
#[derive(Debug)]
pub(crate) struct Gather {
    /// For each key of the request, the number of its leg.
    leg_of_key: Vec<u16>,
    /// For each leg, whether its failure counts as a miss of its keys.
    failure_is_miss: Vec<bool>,
}

/// Most places that one request may be split over.
const GROUPS_MAX: usize = u16::MAX as usize;

/// Keys that live in one place.
struct Group {
    place: (RouteId, Option<usize>),
    wire: Vec<u8>,
    failure_is_miss: bool,
}

impl Worker {
    /// Splits a multi-key retrieval that arrived at `route`.
    pub(crate) fn gather(
        &mut self,
        id: ExchangeId,
        routes: &Rc<Routes>,
        route: RouteId,
        request: Text<'_>,
    ) {
        let Some((groups, leg_of_key)) = self.group_keys(routes, route, &request) else {
            return self.fail(id, Failure::Refused);
        };
        let failure_is_miss = groups.iter().map(|group| group.failure_is_miss).collect();
        let gather = Gather { leg_of_key, failure_is_miss };
        let run = self.open_run(id, routes, Request::Text(request), Behaviour::Gather(gather));
        for group in groups {
            let target = match group.place {
                (route, Some(index)) => match routes.table.node(route) {
                    Node::Pool(pool) => Target::Backend(routes.pools[*pool].backends[index]),
                    _ => Target::Route(route),
                },
                (route, None) => Target::Route(route),
            };
            self.start_leg_with(run, target, &group.wire);
            self.give_back(group.wire);
        }
    }

    /// The keys by where they live; `None` when one of them has no place now.
    fn group_keys(
        &mut self,
        routes: &Routes,
        route: RouteId,
        request: &Text<'_>,
    ) -> Option<(Vec<Group>, Vec<u16>)> {
        let head = &request.head;
        let class = crate::route::class(head);
        // `get ` or `gat 60 `: what stands before the first key begins every part.
        let prefix = &head.line[..head.key_at];
        let mut groups: Vec<Group> = Vec::new();
        let mut leg_of_key = Vec::new();
        for key in keys(head.line, head.key_at) {
            let leaf = routes.table.resolve(route, class, key);
            let mut place = (leaf, None);
            let mut failure_is_miss = false;
            if let Node::Pool(pool) = routes.table.node(leaf) {
                let pool = &routes.pools[*pool];
                place.1 = Some(self.place(pool, key)?);
                failure_is_miss = pool.config.link.multiget_failure_is_miss;
            }
            let known = groups.iter().position(|group| group.place == place);
            let number = known.unwrap_or_else(|| {
                let mut wire = self.spare();
                wire.extend_from_slice(prefix);
                groups.push(Group { place, wire, failure_is_miss });
                groups.len() - 1
            });
            assert!(number < GROUPS_MAX, "a configuration has fewer places than that");
            let wire = &mut groups[number].wire;
            if wire.len() > prefix.len() {
                wire.push(b' ');
            }
            wire.extend_from_slice(key);
            leg_of_key.push(number as u16);
        }
        for group in &mut groups {
            group.wire.extend_from_slice(b"\r\n");
        }
        Some((groups, leg_of_key))
    }

    /// All legs of a gathering run have their outcomes: makes one reply of them.
    pub(crate) fn merge(&mut self, id: RunId) {
        let Some(run) = self.runs.get(id) else { return };
        let Behaviour::Gather(gather) = &run.behaviour else { return };
        let parent = run.exchange;
        let mut trouble = None;
        for (number, leg) in run.legs.iter().enumerate() {
            let outcome = leg.outcome.expect("a merge waits for all legs");
            if !outcome.is_ok() && !gather.failure_is_miss[number] {
                trouble = Some((number, outcome));
                break;
            }
        }
        let mut out = self.spares.pop().unwrap_or_default();
        match trouble {
            None => {
                let run = self.runs.get(id).expect("the run was found above");
                let kind = merge_values(run, &mut out);
                self.close_run(id);
                match kind {
                    Some(kind) => self.emit(parent, kind, &out, None, true),
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

/// Puts the values of all legs in the order of the keys. `None` when a leg's reply has values that
/// no key accounts for.
fn merge_values(run: &crate::policy::Run, out: &mut Vec<u8>) -> Option<ReplyKind> {
    let Behaviour::Gather(gather) = &run.behaviour else { return None };
    let Cut::Head(head) = cut(&run.request) else { return None };
    let mut rest: Vec<&[u8]> = run
        .legs
        .iter()
        .map(|leg| match leg.outcome {
            Some(outcome) if outcome.is_ok() => &leg.reply[..],
            _ => &b"END\r\n"[..],
        })
        .collect();
    for (key, leg) in keys(head.line, head.key_at).zip(&gather.leg_of_key) {
        let bytes = &mut rest[*leg as usize];
        let ReplyCut::Head(reply) = cut_reply(bytes) else { return None };
        if reply.kind != ReplyKind::Value || reply.key != key {
            continue;
        }
        let value_bytes = usize::try_from(reply.value_bytes?).ok()?;
        let whole = reply.line_bytes.checked_add(value_bytes)?.checked_add(b"\r\n".len())?;
        out.extend_from_slice(bytes.get(..whole)?);
        *bytes = &bytes[whole..];
    }
    if rest.iter().any(|bytes| *bytes != b"END\r\n") {
        return None;
    }
    let kind = if out.is_empty() { ReplyKind::End } else { ReplyKind::Value };
    out.extend_from_slice(b"END\r\n");
    Some(kind)
}

/// The keys of a retrieval, from the first one on.
pub(crate) fn keys(line: &[u8], key_at: usize) -> impl Iterator<Item = &[u8]> {
    line[key_at..].split(|byte| *byte == b' ').filter(|key| !key.is_empty())
}
