//! From the names of backends to addresses, on the control side.
//!
//! Workers connect to addresses only. Names are asked for at start, at reload, and every so often;
//! an answer that fails or is empty changes nothing, and an address that is still among the answers
//! is kept, so that a name server that rotates its answers does not make us reconnect.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use keyway_proxy::config::{Address, Config};
use tokio::task::JoinSet;

/// Time between two rounds of questions.
pub const REFRESH: Duration = Duration::from_secs(30);
/// Longest wait for one answer; the round goes on without it.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for all answers of a round; what is missing then has failed.
const ROUND_WAIT: Duration = Duration::from_secs(10);
/// Questions on their way at the same time. Each occupies a thread while the resolver waits.
pub const QUESTIONS_MAX: usize = 16;

/// A host as written, and a port.
pub type Name = (String, u16);

/// What one round of questions brought: addresses, or why there are none.
pub type Answers = HashMap<Name, Result<Vec<SocketAddr>, String>>;

/// Names of a configuration and the last good answer for each.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<Name, SocketAddr>,
    failing: BTreeSet<Name>,
}

/// What taking in a round of answers changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names that now have another address, or one for the first time.
    pub moved: Vec<(Name, SocketAddr)>,
    /// Names that have just begun to fail, with the reason.
    pub failed: Vec<(Name, String)>,
    /// Names that answer again.
    pub recovered: Vec<Name>,
}

/// The names that a configuration leaves to be resolved.
pub fn wanted(config: &Config) -> BTreeSet<Name> {
    let backends = config.pools.iter().flat_map(|pool| &pool.backends);
    let unresolved = backends.filter(|backend| backend.address.is_none());
    unresolved.map(|backend| (backend.host.clone(), backend.port)).collect()
}

/// Asks for all `names`, some at a time. Takes no longer than [`ROUND_WAIT`].
pub async fn ask(names: BTreeSet<Name>) -> Answers {
    let mut answers = Answers::new();
    // A timer that fires drops the look-ups that are still running; their names are missing then.
    let _late = tokio::time::timeout(ROUND_WAIT, ask_all(&names, &mut answers)).await;
    for name in names {
        answers.entry(name).or_insert_with(|| Err("no answer in time".into()));
    }
    answers
}

async fn ask_all(names: &BTreeSet<Name>, answers: &mut Answers) {
    let mut running = JoinSet::new();
    let mut waiting = names.iter().cloned();
    loop {
        while running.len() < QUESTIONS_MAX {
            let Some(name) = waiting.next() else { break };
            running.spawn(async move { (name.clone(), look_up(name).await) });
        }
        match running.join_next().await {
            Some(Ok((name, answer))) => {
                answers.insert(name, answer);
            }
            // Aborted or panicked look-ups bring no answer, which the caller notices.
            Some(Err(_)) => {}
            None => return,
        }
    }
}

async fn look_up((host, port): Name) -> Result<Vec<SocketAddr>, String> {
    let answer = tokio::time::timeout(ANSWER_WAIT, tokio::net::lookup_host((host, port))).await;
    match answer {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WAIT.as_secs())),
    }
}

/// Logs what a round of answers changed.
pub fn log(changes: &Changes) {
    for ((host, port), address) in &changes.moved {
        tracing::info!(host, port, %address, "name resolved");
    }
    for ((host, port), reason) in &changes.failed {
        tracing::warn!(host, port, reason, "name does not resolve; the last good answer is kept");
    }
    for (host, port) in &changes.recovered {
        tracing::info!(host, port, "name resolves again");
    }
}

impl Names {
    /// Takes in a round of answers.
    pub fn learn(&mut self, answers: Answers) -> Changes {
        let mut changes = Changes::default();
        let mut sorted: Vec<_> = answers.into_iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, answer) in sorted {
            let addresses = match answer {
                Ok(addresses) if addresses.is_empty() => Err("the answer is empty".to_string()),
                other => other,
            };
            match addresses {
                Ok(addresses) => self.answered(name, &addresses, &mut changes),
                Err(reason) => {
                    if self.failing.insert(name.clone()) {
                        changes.failed.push((name, reason));
                    }
                }
            }
        }
        changes
    }

    fn answered(&mut self, name: Name, addresses: &[SocketAddr], changes: &mut Changes) {
        if self.failing.remove(&name) {
            changes.recovered.push(name.clone());
        }
        if self.known.get(&name).is_some_and(|known| addresses.contains(known)) {
            return;
        }
        // The smallest, so that all proxies of a fleet choose the same one.
        if let Some(chosen) = addresses.iter().min_by_key(|address| (address.is_ipv6(), **address))
        {
            self.known.insert(name.clone(), *chosen);
            changes.moved.push((name, *chosen));
        }
    }

    /// Writes the last good answers into the backends that `config` leaves open.
    pub fn fill(&self, config: &mut Config) {
        for backend in config.pools.iter_mut().flat_map(|pool| &mut pool.backends) {
            if backend.address.is_none() {
                let name = (backend.host.clone(), backend.port);
                backend.address = self.known.get(&name).copied().map(Address::Tcp);
            }
        }
    }

    /// Forgets names that are not among `wanted`, so that reloads cannot make the table grow.
    pub fn keep_only(&mut self, wanted: &BTreeSet<Name>) {
        self.known.retain(|name, _| wanted.contains(name));
        self.failing.retain(|name| wanted.contains(name));
    }

    /// How many names have no usable answer at the moment.
    pub fn failing(&self) -> usize {
        self.failing.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        ("cache.internal".into(), 11211)
    }

    fn answer(addresses: &[&str]) -> Answers {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Answers::from([(name(), Ok(addresses))])
    }

    #[test]
    fn an_address_is_kept_while_it_is_among_the_answers() {
        let mut names = Names::default();
        let first = names.learn(answer(&["10.0.0.2:11211", "10.0.0.1:11211"]));
        assert_eq!(first.moved, [(name(), "10.0.0.1:11211".parse().unwrap())]);
        let rotated = names.learn(answer(&["10.0.0.0:11211", "10.0.0.1:11211"]));
        assert_eq!(rotated, Changes::default());
        let gone = names.learn(answer(&["10.0.0.0:11211"]));
        assert_eq!(gone.moved.len(), 1);
    }

    #[test]
    fn an_empty_or_failed_answer_keeps_the_last_good_one_and_is_told_once() {
        let mut names = Names::default();
        names.learn(answer(&["10.0.0.1:11211"]));
        assert_eq!(names.learn(answer(&[])).failed.len(), 1);
        assert_eq!(names.failing(), 1);
        let again = names.learn(Answers::from([(name(), Err("no such host".into()))]));
        assert_eq!(again, Changes::default());
        assert_eq!(names.known[&name()], "10.0.0.1:11211".parse().unwrap());
        let back = names.learn(answer(&["10.0.0.1:11211"]));
        assert_eq!((back.recovered, back.moved.len()), (vec![name()], 0));
    }

    #[test]
    fn four_comes_before_six() {
        let mut names = Names::default();
        let changes = names.learn(answer(&["[::1]:11211", "127.0.0.1:11211"]));
        assert_eq!(changes.moved[0].1, "127.0.0.1:11211".parse().unwrap());
    }

    #[test]
    fn forgotten_names_leave_nothing_behind() {
        let mut names = Names::default();
        names.learn(answer(&["10.0.0.1:11211"]));
        names.keep_only(&BTreeSet::new());
        assert!(names.known.is_empty());
    }

    #[tokio::test]
    async fn literals_answer_without_a_name_server() {
        let asked = BTreeSet::from([("127.0.0.1".to_string(), 5)]);
        let answers = ask(asked).await;
        let expected: Vec<SocketAddr> = vec!["127.0.0.1:5".parse().unwrap()];
        assert_eq!(answers[&("127.0.0.1".to_string(), 5)], Ok(expected));
    }
}
