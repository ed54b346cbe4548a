//! A new configuration for a running process.
//!
//! Reading and resolving happen aside (`Reloading`), taking over happens at once between two events
//! of control. Whatever cannot be had refuses the whole change, and the old configuration goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyway_proxy::config::{Config, StoreOptions, User};
use keyway_proxy::setup::{Generation, Mail};
use keyway_store::{Options, Store};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::names::{self, Answers};
use super::phase::Step;
use super::{Control, listeners};
use crate::admin::ReloadResult;
use crate::privileges;

/// Longest wait for workers to take over a configuration before a reload is reported as done.
const TAKE_OVER_WAIT: Duration = Duration::from_secs(2);
/// How often they are looked at meanwhile.
const TAKE_OVER_LOOK: Duration = Duration::from_millis(2);
/// Memory of the store while no route leads to it.
const UNUSED_STORE_BYTES: u64 = 1 << 20;

/// Reads a configuration anew: what it says and what was odd about it, or all mistakes.
type Read = Box<dyn Fn() -> Result<(Config, Vec<String>), Vec<String>> + Send + Sync>;

/// Where configurations come from.
pub struct Source {
    read: Arc<Read>,
    is_news: Box<dyn Fn() -> bool + Send>,
    accepted: Box<dyn Fn() + Send>,
}

impl Source {
    /// Asks `read` for each new configuration.
    pub fn new(
        read: impl Fn() -> Result<(Config, Vec<String>), Vec<String>> + Send + Sync + 'static,
    ) -> Source {
        let read: Arc<Read> = Arc::new(Box::new(read));
        Source { read, is_news: Box::new(|| true), accepted: Box::new(|| {}) }
    }

    /// A source that knows whether it has anything new: `is_news` says so, and `accepted` is called
    /// whenever what was read last has been taken over.
    pub fn with_memory(
        self,
        is_news: impl Fn() -> bool + Send + 'static,
        accepted: impl Fn() + Send + 'static,
    ) -> Source {
        Source { is_news: Box::new(is_news), accepted: Box::new(accepted), ..self }
    }
}

/// A configuration that was read, with answers for its names; or why it cannot be used.
pub type Loaded = Result<(Box<Config>, Answers), String>;

/// At most one reload on its way, and everyone who waits for one.
pub struct Reloading {
    source: Source,
    running: Option<JoinHandle<()>>,
    /// Something asked again while one was running: the file may have changed since it was read.
    again: bool,
    waiting: Vec<oneshot::Sender<ReloadResult>>,
    waiting_next: Vec<oneshot::Sender<ReloadResult>>,
    loaded: mpsc::Sender<Loaded>,
}

impl Reloading {
    /// Nothing on its way yet. Results come through the receiver.
    pub fn new(source: Source) -> (Reloading, mpsc::Receiver<Loaded>) {
        let (loaded, receiver) = mpsc::channel(1);
        let reloading = Reloading {
            source,
            running: None,
            again: false,
            waiting: Vec::new(),
            waiting_next: Vec::new(),
            loaded,
        };
        (reloading, receiver)
    }

    /// Tells `answer` how the reload that begins next ends.
    pub fn wait(&mut self, answer: oneshot::Sender<ReloadResult>) {
        match self.running {
            Some(_) => self.waiting_next.push(answer),
            None => self.waiting.push(answer),
        }
    }

    /// Begins a reload, now or after the one that is running.
    pub fn begin(&mut self) {
        if self.running.is_some() {
            self.again = true;
            return;
        }
        let (read, loaded) = (self.source.read.clone(), self.loaded.clone());
        self.running = Some(tokio::spawn(async move {
            let result = match (*read)() {
                Ok((config, warnings)) => {
                    for warning in warnings {
                        tracing::warn!("{warning}");
                    }
                    let answers = names::ask(names::wanted(&config)).await;
                    Ok((Box::new(config), answers))
                }
                Err(mistakes) => Err(mistakes.join("\n")),
            };
            // Control is gone only when the process ends.
            let _ending = loaded.send(result).await;
        }));
    }

    /// Whether reading the configuration again may bring another one.
    pub fn is_news(&self) -> bool {
        (self.source.is_news)()
    }

    /// Forgets everything: the process drains. Those who wait learn it by their closed channel.
    pub fn give_up(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        self.again = false;
        self.waiting.clear();
        self.waiting_next.clear();
    }

    /// The running reload has ended: whom to tell. Begins the next one if somebody asked meanwhile.
    fn finish(&mut self) -> Vec<oneshot::Sender<ReloadResult>> {
        self.running = None;
        let told = std::mem::replace(&mut self.waiting, std::mem::take(&mut self.waiting_next));
        if std::mem::take(&mut self.again) {
            self.begin();
        }
        told
    }
}

impl Control {
    /// Takes over a configuration that was read, or says why not.
    pub(super) fn reloaded(&mut self, loaded: Loaded) -> Step {
        if self.phase != super::Phase::Ready {
            return Step::Nothing;
        }
        let result = loaded.and_then(|(config, answers)| self.take_over(*config, answers));
        match &result {
            Ok(generation) => {
                (self.reloading.source.accepted)();
                tracing::info!(generation, "configuration reloaded");
                self.status.change(|view| {
                    view.reloads.accepted += 1;
                    view.reloads.last_refusal.clear();
                });
            }
            Err(reason) => {
                tracing::error!("reload refused, the old configuration goes on: {reason}");
                self.status.change(|view| {
                    view.reloads.refused += 1;
                    view.reloads.last_refusal.clone_from(reason);
                });
            }
        }
        let waiting = self.reloading.finish();
        let status = self.status.clone();
        tokio::spawn(async move {
            if let Ok(generation) = result {
                taken_over(&status, generation).await;
            }
            for answer in waiting {
                // Who asked may have gone away.
                let _gone = answer.send(result.clone());
            }
        });
        Step::Nothing
    }

    fn take_over(&mut self, base: Config, answers: Answers) -> ReloadResult {
        let old = &self.generation.config;
        for (what, differs) in needs_restart(old, &base) {
            if differs {
                tracing::warn!("a new value for {what} takes effect at the next start");
            }
        }
        let wanted = names::wanted(&base);
        let mut config = base.clone();
        names::log(&self.names.learn(answers));
        self.names.fill(&mut config);
        let prepared = self.listeners.prepare(&config, &self.listen_groups);
        let change = prepared.map_err(|failed| {
            // What was learned for the refused configuration must not pile up.
            self.names.keep_only(&names::wanted(&self.base));
            refusal(&failed)
        })?;
        // From here on nothing can fail.
        self.names.keep_only(&wanted);
        self.base = base;
        self.listeners.commit(&change);
        self.shrink_or_grow_store(&config);
        let keys = change.keys.clone();
        self.configure(config, keys);
        self.open(change);
        Ok(self.generation.number)
    }

    /// Gives the next generation to all workers.
    fn configure(&mut self, config: Config, listener_keys: Vec<u32>) {
        let number = self.generation.number + 1;
        let places = self.manners.places(&config, privileges::files_allowed());
        // A limit that is read a moment late is no worse than one that is set a moment later.
        self.status.gate.clients_max.store(places, Ordering::Relaxed);
        self.generation = Arc::new(Generation { number, config, listener_keys });
        self.workers.tell(|| Mail::Configure(self.generation.clone()));
        self.publish();
    }

    fn shrink_or_grow_store(&self, config: &Config) {
        let bytes = |config: &Config| {
            config.store.as_ref().map_or(UNUSED_STORE_BYTES, |store| store.memory_bytes_max)
        };
        // Only when the file says something new: `cache_memlimit` may have changed it meanwhile.
        if bytes(config) != bytes(&self.generation.config) {
            self.status.store.set_memory_bytes_max(bytes(config));
        }
    }

    /// Asks the name servers again, aside.
    pub(super) fn refresh_names(&mut self) -> Step {
        let wanted = names::wanted(&self.base);
        if !wanted.is_empty() && self.phase == super::Phase::Ready {
            let sender = self.answers_sender.clone();
            tokio::spawn(async move {
                // One round may wait for control; another one is not needed then.
                let _full_or_ending = sender.try_send(names::ask(wanted).await);
            });
        }
        Step::Nothing
    }

    /// Takes in a round of answers; backends that moved mean a new generation.
    pub(super) fn answered(&mut self, answers: Answers) -> Step {
        let wanted = names::wanted(&self.base);
        let current = answers.into_iter().filter(|(name, _)| wanted.contains(name)).collect();
        let changes = self.names.learn(current);
        names::log(&changes);
        if !changes.moved.is_empty() && self.phase == super::Phase::Ready {
            let mut config = self.base.clone();
            self.names.fill(&mut config);
            self.configure(config, self.generation.listener_keys.clone());
        } else {
            let failing = self.names.failing() as u64;
            self.status.change(|view| view.names_failing = failing);
        }
        Step::Nothing
    }
}

/// Waits until every worker runs `generation` or a later one.
async fn taken_over(status: &super::Status, generation: u64) {
    let all = async {
        let workers = status.registry.workers();
        while workers.iter().any(|worker| worker.generation.get() < generation) {
            tokio::time::sleep(TAKE_OVER_LOOK).await;
        }
    };
    if tokio::time::timeout(TAKE_OVER_WAIT, all).await.is_err() {
        tracing::warn!(generation, "a worker has not taken over the configuration yet");
    }
}

/// What a reload cannot change, and whether the new configuration wants it to.
fn needs_restart(old: &Config, new: &Config) -> [(&'static str, bool); 6] {
    let item = |config: &Config| config.store.as_ref().map(|store| store.item_bytes_max);
    let evict = |config: &Config| config.store.as_ref().map(|store| store.evict);
    let cas = |config: &Config| config.store.as_ref().map(|store| store.cas);
    [
        ("the number of workers", old.workers != new.workers),
        ("the engine", old.engine != new.engine),
        ("the admin address", old.admin != new.admin),
        ("the store's item size", item(old) != item(new)),
        ("the store's eviction", evict(old) != evict(new)),
        ("the store's CAS numbers", cas(old) != cas(new)),
    ]
}

fn refusal(failed: &listeners::Failed) -> String {
    let address = crate::admin::bind_text(&failed.bind);
    format!("listener \"{}\" cannot listen on {address}: {}", failed.name, failed.error)
}

/// The embedded store. Without options, a small one that no route leads to.
pub fn store(options: Option<&StoreOptions>) -> Store {
    let memory = options.map_or(UNUSED_STORE_BYTES, |options| options.memory_bytes_max);
    let mut made = Options::new(memory);
    if let Some(options) = options {
        made.item_bytes_max = u32::try_from(options.item_bytes_max).unwrap_or(u32::MAX);
        made.evicts = options.evict;
    }
    made.hash_seed = random_seed();
    Store::new(made)
}

/// A seed that clients cannot know, so that they cannot build keys that collide.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds its hash maps from the system's random numbers.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// The configuration with the users of an authentication file, for every listener.
pub fn with_users(config: &Config, users: &[User]) -> Config {
    let mut config = config.clone();
    for listener in &mut config.listeners {
        listener.users = users.to_vec();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn config() -> Config {
        Config::embedded("127.0.0.1:1".parse().unwrap(), 1)
    }

    #[tokio::test]
    async fn what_is_asked_for_during_a_reload_is_done_after_it() {
        let reads = Arc::new(AtomicU32::new(0));
        let counted = reads.clone();
        let (mut reloading, mut loaded) = Reloading::new(Source::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok((config(), Vec::new()))
        }));
        let (first, mut first_answer) = oneshot::channel();
        reloading.wait(first);
        reloading.begin();
        let (second, mut second_answer) = oneshot::channel();
        reloading.wait(second);
        reloading.begin();
        reloading.begin();

        loaded.recv().await.unwrap().unwrap();
        let told = reloading.finish();
        assert_eq!(
            told.len(),
            1,
            "the second asker waits for a file that was read after its asking"
        );
        for answer in told {
            answer.send(Ok(2)).unwrap();
        }
        assert_eq!(first_answer.try_recv().unwrap(), Ok(2));
        assert!(second_answer.try_recv().is_err());
        loaded.recv().await.unwrap().unwrap();
        assert_eq!(reloading.finish().len(), 1);
        assert!(reloading.running.is_none(), "three orders made two reloads");
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn giving_up_tells_those_who_wait() {
        let (mut reloading, _loaded) = Reloading::new(Source::new(|| Ok((config(), Vec::new()))));
        let (asker, answer) = oneshot::channel();
        reloading.wait(asker);
        reloading.begin();
        reloading.give_up();
        assert!(answer.await.is_err(), "the channel is closed");
    }

    #[test]
    fn what_a_reload_cannot_change_is_named() {
        let mut new = config();
        let named = |new: &Config| {
            let all = needs_restart(&config(), new).into_iter();
            all.filter(|(_, differs)| *differs).map(|(what, _)| what).collect::<Vec<_>>()
        };
        assert!(named(&new).is_empty());
        new.workers = 7;
        new.store = Some(StoreOptions { evict: false, ..StoreOptions::default() });
        assert_eq!(named(&new), ["the number of workers", "the store's eviction"]);
    }
}
