//! From a request to its plan: the route table of one configuration.
//!
//! Compiled from `config` once per worker and configuration; a request costs one look-up for each
//! table it passes. Nothing here sends anything: `forward` and the policies do.

use crate::config::{CommandClass, Config, FailoverOn, PoolId, RouteId, RouteKind};
use keyway_proto::memcached::{Head, Verb};

/// One route, ready to be followed.
#[derive(Debug)]
pub(crate) enum Node {
    /// To the backend that the key hashes to.
    Pool(PoolId),
    /// To the embedded store.
    Store,
    /// As if nothing were stored anywhere.
    Null,
    /// A complete error line.
    Error(Box<[u8]>),
    /// To another node, by key prefix.
    Prefix(Prefixes),
    /// To another node, by command class.
    Command([RouteId; CommandClass::COUNT]),
    /// A behaviour over several legs.
    Policy(Policy),
}

/// A behaviour over several legs, as configured.
#[derive(Debug)]
pub(crate) enum Policy {
    /// One child after the other.
    Failover { children: Box<[RouteId]>, on: FailoverOn, budget_percent: Option<u8> },
    /// All children, answered by the worst.
    AllSync(Box<[RouteId]>),
    /// All children, answered by the fastest good one.
    AllFastest(Box<[RouteId]>),
}

/// Longest-prefix match: sorted prefixes, each knowing the longest other prefix of itself.
#[derive(Debug)]
pub(crate) struct Prefixes {
    sorted: Vec<PrefixCase>,
    otherwise: RouteId,
}

#[derive(Debug)]
struct PrefixCase {
    prefix: Box<[u8]>,
    shorter: Option<usize>,
    target: RouteId,
}

impl Prefixes {
    fn new(cases: &[(Vec<u8>, RouteId)], otherwise: RouteId) -> Prefixes {
        let mut cases = cases.to_vec();
        cases.sort();
        let mut sorted: Vec<PrefixCase> = Vec::with_capacity(cases.len());
        for (prefix, target) in cases {
            let mut shorter = sorted.len().checked_sub(1);
            while let Some(index) = shorter {
                if prefix.starts_with(&sorted[index].prefix) {
                    break;
                }
                shorter = sorted[index].shorter;
            }
            sorted.push(PrefixCase { prefix: prefix.into(), shorter, target });
        }
        Prefixes { sorted, otherwise }
    }

    /// Where the longest prefix of `key` leads. A prefix of the key sorts at or before the key, and
    /// all longer candidates between them extend it, so one search and a short walk find it.
    fn find(&self, key: &[u8]) -> RouteId {
        let after = self.sorted.partition_point(|case| &case.prefix[..] <= key);
        let mut candidate = after.checked_sub(1);
        while let Some(index) = candidate {
            let case = &self.sorted[index];
            if key.starts_with(&case.prefix) {
                return case.target;
            }
            candidate = case.shorter;
        }
        self.otherwise
    }
}

/// All routes of one configuration; `RouteId`s are those of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Table {
    nodes: Vec<Node>,
}

impl Table {
    /// Compiles the routes of a valid configuration.
    pub fn new(config: &Config) -> Table {
        Table { nodes: config.routes.iter().map(|route| node(&route.kind)).collect() }
    }

    /// Follows tables from `from` until something that answers.
    #[inline]
    pub fn resolve(&self, from: RouteId, class: CommandClass, key: &[u8]) -> RouteId {
        let mut at = from;
        loop {
            at = match &self.nodes[at] {
                Node::Prefix(prefixes) => prefixes.find(key),
                Node::Command(targets) => targets[class as usize],
                _ => return at,
            };
        }
    }

    /// Whether the keys of one request could lead to different places from here.
    #[inline]
    pub fn depends_on_key(&self, at: RouteId) -> bool {
        matches!(self.nodes[at], Node::Prefix(_))
            || matches!(&self.nodes[at], Node::Command(targets)
                if targets.iter().any(|target| self.depends_on_key(*target)))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node with this number.
    #[inline]
    pub fn node(&self, at: RouteId) -> &Node {
        &self.nodes[at]
    }

    /// All pools that can be reached from `from`, each once.
    pub fn pools_from(&self, from: RouteId, pools: &mut Vec<PoolId>) {
        match &self.nodes[from] {
            Node::Pool(pool) => {
                if !pools.contains(pool) {
                    pools.push(*pool);
                }
            }
            _ => self.children(from).into_iter().for_each(|child| self.pools_from(child, pools)),
        }
    }

    /// Whether the embedded store can be reached from `from`.
    pub fn reaches_store(&self, from: RouteId) -> bool {
        matches!(self.nodes[from], Node::Store)
            || self.children(from).into_iter().any(|child| self.reaches_store(child))
    }

    fn children(&self, of: RouteId) -> Vec<RouteId> {
        match &self.nodes[of] {
            Node::Pool(_) | Node::Store | Node::Null | Node::Error(_) => Vec::new(),
            Node::Prefix(prefixes) => {
                let cases = prefixes.sorted.iter().map(|case| case.target);
                cases.chain([prefixes.otherwise]).collect()
            }
            Node::Command(targets) => targets.to_vec(),
            Node::Policy(policy) => match policy {
                Policy::Failover { children, .. }
                | Policy::AllSync(children)
                | Policy::AllFastest(children) => children.to_vec(),
            },
        }
    }
}

fn node(kind: &RouteKind) -> Node {
    match kind {
        RouteKind::Pool(pool) => Node::Pool(*pool),
        RouteKind::Store => Node::Store,
        RouteKind::Null => Node::Null,
        RouteKind::Error(text) => {
            Node::Error([b"SERVER_ERROR ", text.as_bytes(), b"\r\n"].concat().into())
        }
        RouteKind::Prefix { cases, otherwise } => Node::Prefix(Prefixes::new(cases, *otherwise)),
        RouteKind::Command { cases, otherwise } => {
            let mut targets = [*otherwise; CommandClass::COUNT];
            for (class, target) in cases {
                targets[*class as usize] = *target;
            }
            Node::Command(targets)
        }
        RouteKind::Failover { children, on, budget_percent } => Node::Policy(Policy::Failover {
            children: children.clone().into(),
            on: *on,
            budget_percent: *budget_percent,
        }),
        RouteKind::AllSync { children } => Node::Policy(Policy::AllSync(children.clone().into())),
        RouteKind::AllFastest { children } => {
            Node::Policy(Policy::AllFastest(children.clone().into()))
        }
    }
}

/// The class of a request: what routes by command, counters and histograms go by.
#[inline]
pub fn class(head: &Head<'_>) -> CommandClass {
    match head.verb {
        Verb::Get | Verb::Gets => CommandClass::Get,
        Verb::Mg if !head.has_ttl_flag => CommandClass::Get,
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend => CommandClass::Set,
        Verb::Cas | Verb::Ms => CommandClass::Set,
        Verb::Delete | Verb::Md => CommandClass::Delete,
        Verb::Incr | Verb::Decr | Verb::Ma => CommandClass::Arith,
        Verb::Touch | Verb::Gat | Verb::Gats | Verb::Mg => CommandClass::Touch,
        _ => CommandClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_wherever_it_sorts() {
        let cases: Vec<(Vec<u8>, RouteId)> = ["a", "ab", "abc", "b/", "b/long/", "abd"]
            .iter()
            .enumerate()
            .map(|(index, prefix)| (prefix.as_bytes().to_vec(), index + 1))
            .collect();
        let prefixes = Prefixes::new(&cases, 0);
        for key in
            ["a", "aa", "ab", "abb", "abcz", "abc", "abe", "abdz", "b", "b/", "b/lo", "b/long/x"]
        {
            let longest = cases
                .iter()
                .filter(|(prefix, _)| key.as_bytes().starts_with(prefix))
                .max_by_key(|(prefix, _)| prefix.len());
            assert_eq!(prefixes.find(key.as_bytes()), longest.map_or(0, |case| case.1), "{key}");
        }
    }
}
