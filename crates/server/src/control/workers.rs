//! The worker threads: starting them, mail to them, and knowing when they end.
//!
//! An engine belongs to its thread, so each thread makes its own and sends back how to reach it.
//! Whatever ends a worker, control hears of it (`Ended`).

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use keyway_engine::{Choice, Engine, Nanos, Options, Refusal, Sender, mailbox};
use keyway_proxy::config::EngineChoice;
use keyway_proxy::events;
use keyway_proxy::local::Shared;
use keyway_proxy::setup::{Generation, Mail, Setup};
use keyway_proxy::stats::Registry;
use keyway_proxy::worker::{Finish, Worker};
use keyway_store::Store;
use tokio::sync::mpsc;

/// What every worker is given.
#[derive(Clone)]
pub struct Supplies {
    /// The first configuration.
    pub generation: Arc<Generation>,
    /// The embedded store.
    pub store: Arc<Store>,
    /// All counters.
    pub registry: Arc<Registry>,
    /// Where events for the log go.
    pub events: events::Sender,
    /// The store's surroundings.
    pub shared: Arc<Shared>,
    /// When the process started.
    pub started: Nanos,
}

/// Running workers.
#[derive(Debug)]
pub struct Workers {
    mail: Vec<Sender<Mail>>,
    threads: Vec<JoinHandle<()>>,
    /// Which kernel interface each uses.
    pub engines: Vec<&'static str>,
    /// Why io_uring is not used although it was asked for; once, not for each worker.
    pub refusal: Option<Refusal>,
}

/// A worker's thread has come to its end.
#[derive(Debug)]
pub struct Ended {
    /// Which worker.
    pub index: usize,
    /// Why, or what made it impossible to go on.
    pub result: io::Result<Finish>,
}

/// Tells control about the end of a worker, even if it is a panic (where those do not abort).
struct Farewell {
    index: usize,
    ended: mpsc::UnboundedSender<Ended>,
    result: Option<io::Result<Finish>>,
}

impl Farewell {
    /// Tells that the worker has ended by itself.
    fn after(mut self, result: io::Result<Finish>) {
        self.result = Some(result);
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let panicked = || Err(io::Error::other("the worker panicked"));
        let result = self.result.take().unwrap_or_else(panicked);
        // Control may be gone already, and then nobody needs to know.
        let _nobody_listens = self.ended.send(Ended { index: self.index, result });
    }
}

/// What a worker says when its engine runs, or cannot.
type Hello = io::Result<(Sender<Mail>, &'static str, Option<Refusal>)>;

impl Workers {
    /// Starts `count` workers and waits until all of them are ready to read their mail.
    ///
    /// # Errors
    /// A thread or an engine cannot be made. Workers that were already made end by themselves when
    /// the process does.
    pub fn start(
        count: usize,
        choice: EngineChoice,
        supplies: &Supplies,
        ended: &mpsc::UnboundedSender<Ended>,
    ) -> io::Result<Workers> {
        let mut workers =
            Workers { mail: Vec::new(), threads: Vec::new(), engines: Vec::new(), refusal: None };
        for index in 0..count {
            let (hello, greeting) = std::sync::mpsc::sync_channel(1);
            let supplies = supplies.clone();
            let farewell = Farewell { index, ended: ended.clone(), result: None };
            let life = move || farewell.after(work(index, choice, supplies, &hello));
            let name = format!("worker-{index}");
            let thread = std::thread::Builder::new().name(name).spawn(life)?;
            let gone = || io::Error::other("the worker's thread ended while it started");
            let (mail, engine, refusal) = greeting.recv().map_err(|_| gone())??;
            workers.mail.push(mail);
            workers.engines.push(engine);
            workers.refusal = workers.refusal.or(refusal);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// The mailboxes of all workers, in order.
    pub fn mail(&self) -> Vec<Sender<Mail>> {
        self.mail.clone()
    }

    /// Sends one message to every worker.
    pub fn tell(&self, message: impl Fn() -> Mail) {
        for mail in &self.mail {
            mail.send(message());
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }
}

/// One worker's whole life, on its own thread: an engine cannot move between threads.
fn work(
    index: usize,
    choice: EngineChoice,
    supplies: Supplies,
    hello: &std::sync::mpsc::SyncSender<Hello>,
) -> io::Result<Finish> {
    let choice = match choice {
        EngineChoice::Auto => Choice::Auto,
        EngineChoice::Epoll => Choice::Epoll,
        EngineChoice::Uring => Choice::Uring,
    };
    let (engine, refusal) = match Engine::new(choice, Options::default()) {
        Ok(made) => made,
        Err(error) => {
            // Whoever started us gets the reason; this thread just ends.
            let _starter_gone = hello.send(Err(error));
            return Ok(Finish::Stopped);
        }
    };
    let (sender, mail) = mailbox(engine.waker());
    let greeting = Ok((sender, engine.name(), refusal));
    let setup = Setup {
        index,
        generation: supplies.generation,
        store: supplies.store,
        registry: supplies.registry,
        events: supplies.events,
        mail,
        shared: supplies.shared,
        started: supplies.started,
    };
    if hello.send(greeting).is_err() {
        return Ok(Finish::Stopped);
    }
    Worker::new(engine, setup).run()
}
