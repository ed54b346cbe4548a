//! Where a key goes and why, said in words: `keyway explain` and the admin API.
//!
//! Walks the configuration, not the compiled tables, and asks the same [`Placement`] that forwards
//! requests. What depends on the moment (health, ejection, a policy's outcome) is told as a
//! possibility: every child that a policy might ask is explained.

use crate::config::{
    Address, CommandClass, Config, Distribution, KeyPart, ListenerId, PoolId, RouteId, RouteKind,
};
use crate::pool::Placement;
use std::fmt::Write;

/// The way of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Name of the listener that the request comes in on.
    pub listener: String,
    /// The key.
    pub key: Vec<u8>,
    /// What kind of request it is.
    pub class: CommandClass,
    /// Where it goes from there.
    pub way: Way,
}

/// A route and what it does with the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// Name of the route.
    pub route: String,
    /// What it does.
    pub does: Does,
}

/// What a route does with the request.
#[derive(Clone, Debug, PartialEq)]
pub enum Does {
    /// The embedded store answers.
    Store,
    /// Answered as if nothing were stored.
    Null,
    /// Answered with this error.
    Error(String),
    /// A pool's backend answers.
    Pool(Placed),
    /// Goes on by the key's prefix.
    Prefix {
        /// The prefix that matched; `None` when none did.
        matched: Option<Vec<u8>>,
        /// Where to.
        then: Box<Way>,
    },
    /// Goes on by the command.
    Command {
        /// Whether the command has a route of its own there.
        has_own: bool,
        /// Where to.
        then: Box<Way>,
    },
    /// Several routes take part.
    Policy {
        /// `failover`, `all_sync` or `all_fastest`.
        kind: &'static str,
        /// What that means, in words.
        meaning: &'static str,
        /// The routes, in order.
        children: Vec<Way>,
    },
}

/// A key's place in a pool, with every backend in the ring.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Name of the pool.
    pub pool: String,
    /// The rule from hash to backend.
    pub distribution: String,
    /// The hash function.
    pub hash_function: String,
    /// The bytes that were hashed.
    pub part: Vec<u8>,
    /// The hash; `None` where the choice needs none.
    pub hash: Option<u64>,
    /// The ring's point that was hit, where there is a ring.
    pub point: Option<u64>,
    /// Position of the backend in the pool, from 0.
    pub index: usize,
    /// Number of backends in the pool.
    pub of: usize,
    /// Name of the backend; for random distribution one of those that are possible.
    pub backend: String,
    /// Where it is; `None` while its name is not resolved.
    pub address: Option<String>,
    /// Whether any backend may be chosen.
    pub is_random: bool,
}

/// Explains the way of a key that comes in on a listener.
///
/// # Panics
/// When the configuration has no such listener, or is not valid.
pub fn explain(
    config: &Config,
    listener: ListenerId,
    class: CommandClass,
    key: &[u8],
) -> Explanation {
    let listener = &config.listeners[listener];
    Explanation {
        listener: listener.name.clone(),
        key: key.to_vec(),
        class,
        way: way(config, listener.route, class, key),
    }
}

fn way(config: &Config, id: RouteId, class: CommandClass, key: &[u8]) -> Way {
    let route = &config.routes[id];
    let follow = |id: &RouteId| way(config, *id, class, key);
    let policy = |kind, meaning, children: &[RouteId]| Does::Policy {
        kind,
        meaning,
        children: children.iter().map(follow).collect(),
    };
    let does = match &route.kind {
        RouteKind::Pool(pool) => Does::Pool(placed(config, *pool, key)),
        RouteKind::Store => Does::Store,
        RouteKind::Null => Does::Null,
        RouteKind::Error(text) => Does::Error(text.clone()),
        RouteKind::Prefix { cases, otherwise } => {
            let matching = cases.iter().filter(|(prefix, _)| key.starts_with(prefix));
            let longest = matching.max_by_key(|(prefix, _)| prefix.len());
            let (matched, next) = match longest {
                Some((prefix, next)) => (Some(prefix.clone()), next),
                None => (None, otherwise),
            };
            Does::Prefix { matched, then: Box::new(follow(next)) }
        }
        RouteKind::Command { cases, otherwise } => {
            let own = cases.iter().find(|(case, _)| *case == class);
            let next = own.map_or(otherwise, |(_, next)| next);
            Does::Command { has_own: own.is_some(), then: Box::new(follow(next)) }
        }
        RouteKind::Failover { children, on, .. } => {
            let meaning = match (on.errors, on.misses) {
                (true, true) => "the next one is asked after an error or a miss",
                (false, true) => "the next one is asked after a miss",
                _ => "the next one is asked after an error",
            };
            policy("failover", meaning, children)
        }
        RouteKind::AllSync { children } => {
            policy("all_sync", "all are asked; the worst reply is given", children)
        }
        RouteKind::AllFastest { children } => {
            policy("all_fastest", "all are asked; the first good reply is given", children)
        }
    };
    Way { route: route.name.clone(), does }
}

fn placed(config: &Config, pool: PoolId, key: &[u8]) -> Placed {
    let pool = &config.pools[pool];
    let placement = Placement::new(pool, |_| true);
    let found = placement.explain(key, || 0);
    let backend = &pool.backends[found.backend];
    Placed {
        pool: pool.name.clone(),
        distribution: match pool.distribution {
            Distribution::Ketama => "ketama".into(),
            Distribution::Modula => "modula".into(),
            Distribution::Random => "random".into(),
            Distribution::Jump => "jump".into(),
            Distribution::Ring { mode, points } => {
                format!("ring ({mode:?}, {points} points each)").to_lowercase()
            }
        },
        hash_function: format!("{:?}", pool.hash).to_lowercase(),
        part: match pool.key_part {
            KeyPart::Whole => key.to_vec(),
            KeyPart::Tag { .. } | KeyPart::Stop(_) => found.part.to_vec(),
        },
        hash: found.hash,
        point: found.point,
        index: found.backend,
        of: pool.backends.len(),
        backend: backend.name.clone(),
        address: backend.address.as_ref().map(|address| match address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => path.display().to_string(),
        }),
        is_random: pool.distribution == Distribution::Random && pool.backends.len() > 1,
    }
}

impl Explanation {
    /// The explanation as indented lines for people; bytes that are not text are escaped.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let key = self.key.escape_ascii();
        let (class, listener) = (self.class.name(), &self.listener);
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{class} {key} on listener \"{listener}\"");
        self.way.write(&mut text, 1);
        text
    }
}

impl Way {
    fn write(&self, text: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        let route = &self.route;
        match &self.does {
            Does::Store => {
                let _ = writeln!(text, "{indent}route \"{route}\": the embedded store answers");
            }
            Does::Null => {
                let _ = writeln!(text, "{indent}route \"{route}\": as if nothing were stored");
            }
            Does::Error(error) => {
                let _ = writeln!(text, "{indent}route \"{route}\": SERVER_ERROR {error}");
            }
            Does::Pool(placed) => {
                let _ = writeln!(text, "{indent}route \"{route}\": pool \"{}\"", placed.pool);
                placed.write(text, &"  ".repeat(depth + 1));
            }
            Does::Prefix { matched, then } => {
                let why = match matched {
                    Some(prefix) => format!("prefix \"{}\" matches", prefix.escape_ascii()),
                    None => "no prefix matches".into(),
                };
                let _ = writeln!(text, "{indent}route \"{route}\": {why}");
                then.write(text, depth + 1);
            }
            Does::Command { has_own, then } => {
                let why = if *has_own { "by command" } else { "no case for this command" };
                let _ = writeln!(text, "{indent}route \"{route}\": {why}");
                then.write(text, depth + 1);
            }
            Does::Policy { kind, meaning, children } => {
                let _ = writeln!(text, "{indent}route \"{route}\": {kind}, {meaning}");
                for child in children {
                    child.write(text, depth + 1);
                }
            }
        }
    }
}

impl Placed {
    fn write(&self, text: &mut String, indent: &str) {
        if self.is_random {
            let of = self.of;
            let _ = writeln!(text, "{indent}any of its {of} backends, chosen for each request");
            return;
        }
        if let Some(hash) = self.hash {
            let part = self.part.escape_ascii();
            let function = &self.hash_function;
            let _ = writeln!(text, "{indent}hash {function}(\"{part}\") = {hash} ({hash:#x})");
        }
        let point = self.point.map_or_else(String::new, |point| format!(", point {point}"));
        let (distribution, place, of) = (&self.distribution, self.index + 1, self.of);
        let _ = writeln!(text, "{indent}{distribution}{point}: backend {place} of {of}");
        let address = match &self.address {
            Some(address) if *address == self.backend => String::new(),
            Some(address) => format!(" at {address}"),
            None => " (its name is not resolved)".into(),
        };
        let _ = writeln!(text, "{indent}backend \"{}\"{address}", self.backend);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Backend, Hash, Link, Pool, Route};

    fn backend(port: u16) -> Backend {
        let name = format!("127.0.0.1:{port}");
        Backend {
            address: Some(Address::Tcp(name.parse().unwrap())),
            name,
            host: "127.0.0.1".into(),
            port,
            weight: 1,
        }
    }

    fn config() -> Config {
        let mut config = Config::embedded("127.0.0.1:1".parse().unwrap(), 1);
        config.pools.push(Pool {
            name: "users".into(),
            backends: vec![backend(7001), backend(7002), backend(7003)],
            distribution: Distribution::Ketama,
            hash: Hash::Fnv1a64,
            key_part: KeyPart::Tag { open: b'{', close: b'}', empty_counts: false },
            hash_seed: 0,
            link: Link::default(),
            ejection: None,
        });
        let route = |name: &str, kind| Route { name: name.into(), kind };
        config.routes.push(route("users", RouteKind::Pool(0)));
        config.routes.push(route(
            "safe",
            RouteKind::Failover {
                children: vec![1, 0],
                on: crate::config::FailoverOn::default(),
                budget_percent: None,
            },
        ));
        let cases = vec![(b"u:".to_vec(), 2), (b"u:x".to_vec(), 0)];
        config.routes.push(route("by prefix", RouteKind::Prefix { cases, otherwise: 0 }));
        config.listeners[0].route = 3;
        config
    }

    #[test]
    fn the_longest_prefix_and_the_hashed_part_are_told() {
        let text = explain(&config(), 0, CommandClass::Get, b"u:{42}:name").to_text();
        assert!(text.contains("prefix \"u:\" matches"), "{text}");
        assert!(text.contains("fnv1a64(\"42\")"), "{text}");
        assert!(text.contains("failover"), "{text}");
        assert!(text.contains("the embedded store answers"), "{text}");
        let short = explain(&config(), 0, CommandClass::Get, b"u:x1").to_text();
        assert!(!short.contains("failover"), "{short}");
    }

    #[test]
    fn the_backend_is_the_one_that_placement_chooses() {
        let config = config();
        let placement = Placement::new(&config.pools[0], |_| true);
        for key in ["u:1", "u:2", "u:{a}b", "u:zzz"] {
            let way = explain(&config, 0, CommandClass::Set, key.as_bytes()).way;
            let Does::Prefix { then, .. } = way.does else { panic!("a prefix route") };
            let Does::Policy { children, .. } = then.does else { panic!("a policy") };
            let Does::Pool(placed) = &children[0].does else { panic!("a pool") };
            assert_eq!(placed.index, placement.choose(key.as_bytes(), || 0));
        }
    }
}
