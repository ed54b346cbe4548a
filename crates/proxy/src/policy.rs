//! Behaviour over several legs: the one execution model of policies (and later of scripts).
//!
//! A run makes the reply of one exchange out of legs, which are exchanges owed to the run. It has
//! three primitives: start a leg, wait for outcomes, finish with one of them. Each policy is a step
//! function over the outcomes so far; `settle` knows nothing of which policy asks.

use crate::backend::BackendId;
use crate::client::ClientId;
use crate::config::RouteId;
use crate::exchange::{Asked, Exchange, ExchangeId, Failure, Owner, RunId, is_error};
use crate::forward::Request;
use crate::gather::Gather;
use crate::redis::{Split, Whole};
use crate::route::{Node, Policy};
use crate::routes::Routes;
use crate::worker::Worker;
use keyway_engine::Chunk;
use keyway_proto::memcached::ReplyKind;
use std::rc::Rc;

/// One policy at work on one request.
#[derive(Debug)]
pub struct Run {
    /// The exchange whose reply it makes.
    pub(crate) exchange: ExchangeId,
    /// The routes it began with: a reload does not change its mind.
    pub(crate) routes: Rc<Routes>,
    /// The request in its normal form, for legs that start later.
    pub(crate) request: Vec<u8>,
    pub(crate) legs: Vec<Leg>,
    pub(crate) behaviour: Behaviour,
    /// The client that waits for it in the end, when it began.
    client: Option<ClientId>,
    /// Bytes of replies collected so far; the client and the worker have them in their sums.
    leg_bytes: usize,
    /// The leg whose reply is passed on while it arrives.
    piped: Option<u16>,
    /// Waits in the worker's queue to be stepped.
    queued: bool,
}

/// Which step function a run follows.
#[derive(Debug)]
pub(crate) enum Behaviour {
    /// The policy of this route.
    Policy(RouteId),
    /// A multi-key retrieval in parts.
    Gather(Gather),
    /// A Redis command whose keys live in several places.
    Split(Split),
    /// A Redis command for all servers.
    Whole(Whole),
    /// The same to all of these backends (and the store), answered by the worst.
    Everywhere,
}

/// One attempt or sub-request.
#[derive(Debug)]
pub(crate) struct Leg {
    /// Its exchange, while the outcome is open.
    pub exchange: Option<ExchangeId>,
    pub outcome: Option<Outcome>,
    /// Its reply.
    pub reply: Vec<u8>,
}

/// What became of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Reply(ReplyKind),
    Failed(Failure),
}

/// Where a leg goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Route(RouteId),
    Backend(BackendId),
    Store,
}

/// What a run does next.
enum Step {
    Start(Target),
    Wait,
    Finish(usize),
    Merge,
}

impl Outcome {
    /// Neither a failure nor an error line.
    pub fn is_ok(self) -> bool {
        matches!(self, Outcome::Reply(kind) if !is_error(kind))
    }

    /// How bad it is, for replies that speak for several legs.
    fn badness(self) -> u8 {
        match self {
            Outcome::Failed(_) => 3,
            Outcome::Reply(kind) if is_error(kind) => 2,
            Outcome::Reply(kind) if is_negative(kind) => 1,
            Outcome::Reply(_) => 0,
        }
    }
}

/// Whether a reply says that nothing was found or done.
fn is_negative(kind: ReplyKind) -> bool {
    matches!(
        kind,
        ReplyKind::End
            | ReplyKind::En
            | ReplyKind::NotFound
            | ReplyKind::NotStored
            | ReplyKind::Exists
            | ReplyKind::Nf
            | ReplyKind::Ns
            | ReplyKind::Ex
    )
}

impl Worker {
    /// Lets the store answer a leg.
    fn dispatch_to_store(&mut self, id: ExchangeId, request: Request<'_>) {
        match request {
            Request::Text(text) => self.ask_store(id, text),
            Request::Redis(redis) => self.ask_store_redis(id, redis),
        }
    }

    /// Begins the policy of `route` for an exchange.
    pub(crate) fn start_policy(
        &mut self,
        id: ExchangeId,
        routes: &Rc<Routes>,
        route: RouteId,
        request: Request<'_>,
    ) {
        let Node::Policy(policy) = routes.table.node(route) else { return };
        let run = self.open_run(id, routes, request, Behaviour::Policy(route));
        match policy {
            Policy::Failover { children, budget_percent, .. } => {
                routes.earn_failover(route, *budget_percent);
                self.start_leg(run, Target::Route(children[0]));
            }
            Policy::AllSync(children) | Policy::AllFastest(children) => {
                for child in children {
                    self.start_leg(run, Target::Route(*child));
                }
            }
        }
    }

    /// Sends a request to all of these places and answers with the worst reply.
    pub(crate) fn start_everywhere(
        &mut self,
        id: ExchangeId,
        routes: &Rc<Routes>,
        targets: &[Target],
        request: Request<'_>,
    ) {
        let run = self.open_run(id, routes, request, Behaviour::Everywhere);
        for target in targets {
            self.start_leg(run, *target);
        }
    }

    /// Opens a run without legs.
    pub(crate) fn open_run(
        &mut self,
        exchange: ExchangeId,
        routes: &Rc<Routes>,
        request: Request<'_>,
        behaviour: Behaviour,
    ) -> RunId {
        let mut wire = self.spare();
        request.render(&mut wire);
        let routes = routes.clone();
        let legs = Vec::new();
        let run = Run {
            exchange,
            routes,
            request: wire,
            legs,
            behaviour,
            client: self.client_of(exchange),
            leg_bytes: 0,
            piped: None,
            queued: false,
        };
        let id = self.runs.insert(run);
        self.exchanges.get_mut(exchange).expect("a run is begun for a live exchange").run =
            Some(id);
        id
    }

    /// Starts a leg with the request of its run.
    pub(crate) fn start_leg(&mut self, run_id: RunId, target: Target) {
        let Some(run) = self.runs.get_mut(run_id) else { return };
        let wire = std::mem::take(&mut run.request);
        self.start_leg_with(run_id, target, &wire);
        match self.runs.get_mut(run_id) {
            Some(run) => run.request = wire,
            None => self.give_back(wire),
        }
    }

    /// Starts a leg with a request of its own, in normal form.
    pub(crate) fn start_leg_with(&mut self, run_id: RunId, target: Target, wire: &[u8]) {
        let Some(run) = self.runs.get_mut(run_id) else { return };
        let parent = self.exchanges.get(run.exchange).expect("a run ends with its exchange");
        let request = Request::again(wire, parent.asked.voice.is_redis());
        let asked =
            Asked { noreply: false, quiet: false, bytes: wire.len() as u32, ..parent.asked };
        let (affinity, started) = (parent.affinity, parent.started);
        let number = run.legs.len() as u16;
        let routes = run.routes.clone();
        let leg = self.exchanges.insert(Exchange {
            owner: Owner::Leg(run_id, number),
            next: None,
            asked,
            held: Vec::new(),
            kind: None,
            done: false,
            sent: false,
            front: u32::MAX,
            affinity,
            run: None,
            reply_bytes: 0,
            started,
        });
        let run = self.runs.get_mut(run_id).expect("the run was found above");
        run.legs.push(Leg { exchange: Some(leg), outcome: None, reply: Vec::new() });
        match target {
            Target::Route(route) => self.dispatch(leg, &routes, route, &request),
            Target::Backend(backend) => match request {
                Request::Redis(redis) => self.forward_redis(leg, backend, redis),
                Request::Text(_) => self.forward(leg, backend, &request),
            },
            Target::Store => self.dispatch_to_store(leg, request),
        }
    }

    /// A part of a leg's reply, perhaps the last.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn leg_replied(
        &mut self,
        run_id: RunId,
        number: u16,
        leg_id: ExchangeId,
        kind: ReplyKind,
        bytes: &[u8],
        shared: Option<(&Chunk, usize)>,
        last: bool,
    ) {
        let Some(run) = self.runs.get_mut(run_id) else { return };
        let parent = run.exchange;
        if run.piped == Some(number) {
            if last {
                self.close_run(run_id);
                self.drop_exchange(leg_id);
            }
            return self.emit(parent, kind, bytes, shared, last);
        }
        let exchange = self.exchanges.get_mut(leg_id).expect("emit found the leg");
        if exchange.held.capacity() == 0 {
            exchange.held = self.spares.pop().unwrap_or_default();
        }
        exchange.held.extend_from_slice(bytes);
        run.leg_bytes += bytes.len();
        self.held_bytes += bytes.len();
        let client_id = run.client;
        if let Some(client) = client_id.and_then(|id| self.clients.get_mut(id)) {
            client.leg_bytes += bytes.len();
        }
        if run.leg_bytes > self.generation.config.limits.client_bytes_max {
            self.close_run(run_id);
            if last {
                self.drop_exchange(leg_id);
            }
            return self.fail(parent, Failure::TooLarge);
        }
        let kind = exchange.kind.unwrap_or(kind);
        if last {
            let reply = std::mem::take(&mut exchange.held);
            self.leg_settled(run_id, number, leg_id, Outcome::Reply(kind), reply);
        } else if accepts_early(run, kind) {
            run.piped = Some(number);
            let begun = std::mem::take(&mut exchange.held);
            self.abandon_legs(run_id, Some(number));
            self.emit(parent, kind, &begun, None, false);
            self.give_back(begun);
        }
        if let Some(id) = client_id {
            self.limit_output(id);
        }
    }

    /// A leg got no reply.
    pub(crate) fn leg_failed(
        &mut self,
        run_id: RunId,
        number: u16,
        leg_id: ExchangeId,
        failure: Failure,
    ) {
        let Some(run) = self.runs.get_mut(run_id) else { return };
        if run.piped == Some(number) {
            let parent = run.exchange;
            self.close_run(run_id);
            self.drop_exchange(leg_id);
            return self.fail(parent, failure);
        }
        self.leg_settled(run_id, number, leg_id, Outcome::Failed(failure), Vec::new());
    }

    fn leg_settled(
        &mut self,
        run_id: RunId,
        number: u16,
        leg_id: ExchangeId,
        outcome: Outcome,
        reply: Vec<u8>,
    ) {
        self.drop_exchange(leg_id);
        let Some(run) = self.runs.get_mut(run_id) else { return };
        let leg = &mut run.legs[number as usize];
        leg.exchange = None;
        leg.outcome = Some(outcome);
        leg.reply = reply;
        if !run.queued {
            run.queued = true;
            self.ready.push_back(run_id);
        }
    }

    /// Steps every run whose legs have news. Legs are settled here and not where their replies are
    /// read, so that a run never starts a leg in the middle of another connection's bytes.
    #[inline]
    pub(crate) fn step_runs(&mut self) {
        while let Some(id) = self.ready.pop_front() {
            self.step_run(id);
        }
    }

    fn step_run(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.queued = false;
        if run.piped.is_some() {
            return;
        }
        match next_step(run) {
            Step::Wait => {}
            Step::Start(target) => {
                if self.may_fail_over(id) {
                    self.start_leg(id, target);
                } else {
                    let last = self.runs.get(id).map_or(0, |run| run.legs.len() - 1);
                    self.finish_run(id, last);
                }
            }
            Step::Finish(number) => self.finish_run(id, number),
            Step::Merge => match self.runs.get(id).map(|run| &run.behaviour) {
                Some(Behaviour::Split(_)) => self.merge_split(id),
                Some(Behaviour::Whole(_)) => self.merge_whole(id),
                _ => self.merge(id),
            },
        }
    }

    fn may_fail_over(&mut self, id: RunId) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let Behaviour::Policy(route) = run.behaviour else { return false };
        let allowed = run.routes.spend_failover(route);
        let counters = &self.counters;
        if allowed {
            counters.failovers.add(1)
        } else {
            counters.failovers_refused.add(1)
        }
        allowed
    }

    /// Answers with the outcome of one leg; the others are no longer waited for.
    fn finish_run(&mut self, id: RunId, number: usize) {
        let Some(run) = self.runs.get_mut(id) else { return };
        let parent = run.exchange;
        let leg = &mut run.legs[number];
        let reply = std::mem::take(&mut leg.reply);
        let outcome = leg.outcome.expect("a run finishes with a leg that has its outcome");
        self.close_run(id);
        match outcome {
            Outcome::Reply(kind) => self.emit(parent, kind, &reply, None, true),
            Outcome::Failed(failure) => self.fail(parent, failure),
        }
        self.give_back(reply);
    }

    /// Forgets a run. Legs that are still out are swallowed when they come back.
    pub(crate) fn close_run(&mut self, id: RunId) {
        self.abandon_legs(id, None);
        if let Some(run) = self.runs.remove(id) {
            self.held_bytes -= run.leg_bytes;
            if let Some(client) = run.client.and_then(|client| self.clients.get_mut(client)) {
                client.leg_bytes -= run.leg_bytes;
            }
            if let Some(exchange) = self.exchanges.get_mut(run.exchange) {
                exchange.run = None;
            }
            self.give_back(run.request);
            for leg in run.legs {
                self.give_back(leg.reply);
            }
        }
    }

    /// Lets go of all legs that are still out, except one.
    fn abandon_legs(&mut self, id: RunId, except: Option<u16>) {
        let Some(run) = self.runs.get_mut(id) else { return };
        let mut legs = std::mem::take(&mut run.legs);
        for (number, leg) in legs.iter_mut().enumerate() {
            if except == Some(number as u16) {
                continue;
            }
            if let Some(exchange_id) = leg.exchange.take() {
                if let Some(exchange) = self.exchanges.get_mut(exchange_id) {
                    exchange.owner = Owner::Nobody;
                }
                self.abandon(exchange_id);
            }
        }
        if let Some(run) = self.runs.get_mut(id) {
            run.legs = legs;
        }
    }

    /// The client that an exchange's bytes go to as they come, and its own exchange. None for legs
    /// whose replies are collected first.
    pub(crate) fn outlet_of(&self, id: ExchangeId) -> Option<(ClientId, ExchangeId)> {
        let mut at = id;
        loop {
            match self.exchanges.get(at)?.owner {
                Owner::Client(client) => return Some((client, at)),
                Owner::Leg(run, number) => {
                    let run = self.runs.get(run)?;
                    if run.piped != Some(number) {
                        return None;
                    }
                    at = run.exchange;
                }
                Owner::Nobody => return None,
            }
        }
    }

    /// Nobody wants the reply of this exchange any more. A run has nothing else to do then; what is
    /// owed by a connection is swallowed when it comes.
    pub(crate) fn abandon(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        if let Some(run) = exchange.run {
            self.close_run(run);
            self.drop_exchange(id);
        }
    }
}

/// Whether a run can already say, from how a reply begins, that it will be the answer. Only hits
/// come in parts.
fn accepts_early(run: &Run, kind: ReplyKind) -> bool {
    let Behaviour::Policy(route) = run.behaviour else { return false };
    let Node::Policy(policy) = run.routes.table.node(route) else { return false };
    matches!(kind, ReplyKind::Value | ReplyKind::Va) && !matches!(policy, Policy::AllSync(_))
}

fn next_step(run: &Run) -> Step {
    match &run.behaviour {
        Behaviour::Gather(_) | Behaviour::Split(_) | Behaviour::Whole(_) => {
            if run.legs.iter().all(|leg| leg.outcome.is_some()) { Step::Merge } else { Step::Wait }
        }
        Behaviour::Everywhere => worst_of_all(run),
        Behaviour::Policy(route) => match run.routes.table.node(*route) {
            Node::Policy(Policy::Failover { children, on, .. }) => {
                let last = run.legs.len() - 1;
                let outcome = run.legs[last].outcome.expect("legs run one after the other");
                let goes_on = match outcome {
                    Outcome::Reply(kind) if is_error(kind) => {
                        on.errors && kind == ReplyKind::ServerError
                    }
                    Outcome::Failed(_) => on.errors,
                    Outcome::Reply(ReplyKind::End | ReplyKind::En) => on.misses,
                    Outcome::Reply(_) => false,
                };
                match children.get(run.legs.len()) {
                    Some(child) if goes_on => Step::Start(Target::Route(*child)),
                    _ => Step::Finish(last),
                }
            }
            Node::Policy(Policy::AllFastest(children)) => fastest_good(run, children.len()),
            _ => worst_of_all(run),
        },
    }
}

/// Waits for all; the reply that speaks for all is the worst, the first one among equals.
fn worst_of_all(run: &Run) -> Step {
    let mut worst: Option<(u8, usize)> = None;
    for (number, leg) in run.legs.iter().enumerate() {
        let Some(outcome) = leg.outcome else { return Step::Wait };
        if worst.is_none_or(|(badness, _)| outcome.badness() > badness) {
            worst = Some((outcome.badness(), number));
        }
    }
    worst.map_or(Step::Wait, |(_, number)| Step::Finish(number))
}

/// The first good one; when there is none, the best of all.
fn fastest_good(run: &Run, children: usize) -> Step {
    let mut best: Option<(u8, usize)> = None;
    let mut open = children - run.legs.len();
    for (number, leg) in run.legs.iter().enumerate() {
        let Some(outcome) = leg.outcome else {
            open += 1;
            continue;
        };
        if best.is_none_or(|(badness, _)| outcome.badness() < badness) {
            best = Some((outcome.badness(), number));
        }
    }
    match best {
        Some((badness, number)) if badness == 0 || open == 0 => Step::Finish(number),
        _ => Step::Wait,
    }
}
