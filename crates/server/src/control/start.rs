//! Starting the process: everything up to the moment when clients are accepted.
//!
//! Order: signals, admin server (so that it can say "starting"), names, listeners, workers,
//! acceptor. Names are the only thing that may take long, and only so long; a signal ends even
//! that.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use keyway_engine::{Acceptor, AcceptorHandle, Keepalive};
use keyway_proxy::config::Config;
use keyway_proxy::events;
use keyway_proxy::local::{Facts, Settings, Shared};
use keyway_proxy::setup::Generation;
use keyway_proxy::stats::Registry;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::deal::{Dealer, Excess, Gate};
use super::listeners::Listeners;
use super::names::{self, Names};
use super::phase::{Input, Phase};
use super::reload::{self, Reloading};
use super::signals::{Signal, Signals};
use super::status::Status;
use super::workers::{Ended, Supplies, Workers};
use super::{Control, End, Manners, Plan, Ready, Trouble};
use crate::metrics::Process;
use crate::nutcracker::signals::{self as nutcracker, Heed};
use crate::report::Reporter;
use crate::{admin, privileges, udp};

/// Events that workers may have ahead of the log before they are dropped.
const EVENTS_MAX: usize = 8192;
/// Orders of the admin API that may wait for control.
const ORDERS_MAX: usize = 16;
/// Probing of idle clients, so that those that are gone without a word do not stay for ever.
const CLIENT_KEEPALIVE: Keepalive = Keepalive { idle_s: 120, interval_s: 30, probes: 4 };

/// Starts everything, unless a signal ends the start.
pub async fn start(mut plan: Plan) -> Result<Result<Control, End>, Trouble> {
    let mut signals =
        Signals::new(plan.manners).map_err(|error| Trouble::System("taking signals", error))?;
    let status = status(&plan);
    let shared = shared(&status, plan.settings, plan.config.workers);
    shared.prefixes.turn(plan.stats_detail);

    let (order_sender, orders) = mpsc::channel(ORDERS_MAX);
    let admin = open_admin(&plan.config, plan.admin_is_optional).await?;
    let admin_address = admin.as_ref().and_then(|listener| listener.local_addr().ok());
    if let Some(listener) = admin {
        let shared = admin::Shared { status: status.clone(), orders: order_sender };
        tokio::spawn(admin::serve(listener, shared));
    }

    let base = plan.config.clone();
    let names = match resolve(&base, &mut signals).await {
        Ok(names) => names,
        Err(end) => return Ok(Err(end)),
    };
    names.fill(&mut plan.config);

    let mut listeners = Listeners::default();
    let change = listeners.prepare(&plan.config, &plan.listen_groups).map_err(Trouble::Listen)?;
    listeners.commit(&change);

    let listener_keys = change.keys.clone();
    let generation = Arc::new(Generation { number: 1, config: plan.config, listener_keys });
    let crew = start_workers(&generation, &status, &shared, plan.manners)?;
    if let Some(listener) = plan.stats {
        tokio::spawn(crate::nutcracker::stats::serve(listener, status.clone()));
    }
    let (reloading, loaded) = Reloading::new(plan.source);
    let (answers_sender, answers) = mpsc::channel(1);
    let mut control = Control {
        phase: Phase::Starting,
        manners: plan.manners,
        base,
        names,
        generation,
        listeners,
        entries: HashMap::new(),
        udp: udp::Service::new(),
        reloading,
        listen_groups: plan.listen_groups,
        status,
        shared,
        acceptor: crew.acceptor,
        workers_left: crew.workers.count(),
        workers: crew.workers,
        reporter: crew.reporter,
        signals,
        orders,
        ended: crew.ended,
        loaded,
        answers,
        answers_sender,
        deadline: None,
        end: End::Asked,
    };
    let engines = &control.workers.engines;
    (plan.on_ready)(&Ready { bound: &change.bound, admin: admin_address, engines });
    control.open(change);
    control.step(Input::Started);
    control.publish();
    Ok(Ok(control))
}

fn status(plan: &Plan) -> Arc<Status> {
    let config = &plan.config;
    let excess = match plan.manners {
        Manners::Keyway | Manners::Memcached { refuse_over_limit: false } => Excess::Waits,
        Manners::Memcached { refuse_over_limit: true } => Excess::IsTold,
        Manners::Nutcracker => Excess::IsClosed,
    };
    Status::new(
        Arc::new(config.clone()),
        Registry::new(config.workers),
        Arc::new(reload::store(config.store.as_ref())),
        Gate::new(plan.manners.places(config, privileges::files_allowed()), excess),
    )
}

/// Resolves all names once, unless a signal comes first.
async fn resolve(config: &Config, signals: &mut Signals) -> Result<Names, End> {
    let asking = names::ask(names::wanted(config));
    tokio::pin!(asking);
    loop {
        tokio::select! {
            answers = &mut asking => {
                let mut names = Names::default();
                names::log(&names.learn(answers));
                return Ok(names);
            }
            signal = signals.next() => match signal {
                Signal::Terminate | Signal::Graceful => return Err(End::Asked),
                // The file was read a moment ago.
                Signal::HangUp => {}
                Signal::Nutcracker(signal) => match nutcracker::heed(signal) {
                    Heed::Do(Input::Stop) => return Err(End::Asked),
                    Heed::Do(Input::StopNow) => return Err(End::Interrupted),
                    _ => {}
                },
            },
        }
    }
}

/// Everyone who works, and how control hears of them.
struct Crew {
    workers: Workers,
    ended: mpsc::UnboundedReceiver<Ended>,
    acceptor: AcceptorHandle,
    reporter: Reporter,
}

fn start_workers(
    generation: &Arc<Generation>,
    status: &Arc<Status>,
    shared: &Arc<Shared>,
    manners: Manners,
) -> Result<Crew, Trouble> {
    let (event_sender, event_queue) = events::queue(EVENTS_MAX);
    let (ended_sender, ended) = mpsc::unbounded_channel();
    let supplies = Supplies {
        generation: generation.clone(),
        store: status.store.clone(),
        registry: status.registry.clone(),
        events: event_sender,
        shared: shared.clone(),
        started: status.started,
    };
    let config = &generation.config;
    let workers = Workers::start(config.workers, config.engine, &supplies, &ended_sender)
        .map_err(|error| Trouble::System("starting a worker", error))?;
    if let Some(refusal) = &workers.refusal {
        tracing::warn!("{refusal}; epoll is used instead");
    }
    let dealer = Dealer::new(workers.mail(), status, shared.clone());
    let acceptor = start_acceptor(config, dealer, &status.gate)
        .map_err(|error| Trouble::System("starting the acceptor", error))?;
    Ok(Crew { workers, ended, acceptor, reporter: Reporter::new(event_queue, manners) })
}

async fn open_admin(config: &Config, is_optional: bool) -> Result<Option<TcpListener>, Trouble> {
    let Some(address) = config.admin else { return Ok(None) };
    match admin::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if is_optional => {
            tracing::warn!(
                %address,
                %error,
                "the admin address is taken: going on without the admin server \
                 (--admin ADDR chooses another one, --admin off silences this)"
            );
            Ok(None)
        }
        Err(error) => Err(Trouble::Admin(address, error)),
    }
}

/// The store's surroundings, with what `stats` asks the process for.
fn shared(status: &Arc<Status>, settings: Settings, workers: usize) -> Arc<Shared> {
    let started = status.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let status = status.clone();
    let facts = move || {
        let process = Process::read();
        let (accept_pauses, accept_paused_time) = status.gate.pauses();
        Facts {
            pid: std::process::id(),
            user_time: process.user_time,
            system_time: process.system_time,
            is_accepting: status.view().phase == Phase::Ready && !status.gate.is_paused(),
            accept_pauses,
            accept_paused_time,
            ..Facts::default()
        }
    };
    // One more for the UDP thread.
    Shared::new(settings, workers + 1, started, Box::new(facts))
}

fn start_acceptor(
    config: &Config,
    mut dealer: Dealer,
    gate: &Arc<Gate>,
) -> io::Result<AcceptorHandle> {
    let user_timeout = config.limits.client_user_timeout.as_millis();
    let acceptor = Acceptor {
        keepalive: Some(CLIENT_KEEPALIVE),
        user_timeout_ms: u32::try_from(user_timeout).unwrap_or(u32::MAX),
    };
    let handle = acceptor.spawn(move |accepted| dealer.deal(accepted))?;
    gate.attach(handle.clone());
    Ok(handle)
}
