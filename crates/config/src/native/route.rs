//! `routes`: names and tables become the model's route graph.
//!
//! Routes may be named, written in place, or be the name of a pool. All of them become entries of
//! one vector; a pool gets its entry on first use. The graph is checked once it is complete: no
//! cycles, a bounded depth, a bounded number of legs for one request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use keyway_proxy::config::{
    CommandClass, FailoverOn, LinkProtocol, Listener, Pool, Route, RouteId, RouteKind,
};
use toml::de::{DeTable, DeValue};

use super::key;
use super::named;
use super::section::{Entry, Table, Value, article, entries};
use crate::diagnostic::Findings;
use crate::nearest::hint;

/// The route graph while it is being read.
pub(super) struct Routes<'t, 'f, 's> {
    slots: Vec<Slot>,
    named: HashMap<&'t str, RouteId>,
    named_spans: Vec<Range<usize>>,
    pools: HashMap<String, usize>,
    pool_spans: Vec<(String, Range<usize>)>,
    /// Which pools speak Redis.
    are_redis: Vec<bool>,
    /// Entries of pools and built-in routes, made on first use.
    direct: HashMap<Direct, RouteId>,
    findings: &'f RefCell<Findings<'s>>,
}

/// A route that has no table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Direct {
    Pool(usize),
    Store,
    Null,
}

struct Slot {
    name: String,
    span: Range<usize>,
    body: Body,
}

enum Body {
    Kind(RouteKind),
    /// The same as another route.
    Same(RouteId),
    /// Not read yet, or unreadable and reported.
    Unknown,
}

impl<'t, 'f, 's> Routes<'t, 'f, 's> {
    pub(super) fn new(pools: &[(Pool, Range<usize>)], findings: &'f RefCell<Findings<'s>>) -> Self {
        Routes {
            slots: Vec::new(),
            named: HashMap::new(),
            named_spans: Vec::new(),
            pools: pools
                .iter()
                .enumerate()
                .map(|(id, (pool, _))| (pool.name.clone(), id))
                .collect(),
            pool_spans: pools
                .iter()
                .map(|(pool, span)| (pool.name.clone(), span.clone()))
                .collect(),
            are_redis: pools
                .iter()
                .map(|(pool, _)| matches!(pool.link.protocol, LinkProtocol::Redis(_)))
                .collect(),
            direct: HashMap::new(),
            findings,
        }
    }

    /// Reads the named routes.
    pub(super) fn read(&mut self, top: &Table<'t, '_, '_>) {
        let list = named(top, "routes");
        for entry in &list {
            let span = entry.name_span();
            if let Some(pool) = self.pools.get(entry.name) {
                let line = self.findings.borrow().line_of(self.pool_spans[*pool].1.start);
                let message =
                    format!("`{}` is the name of a pool already (line {line})", entry.name);
                self.error(span.clone(), message, "pools and routes share their names");
            }
            let id = self.reserve(entry.name.to_owned(), span.clone());
            self.named.insert(entry.name, id);
            self.named_spans.push(span);
        }
        for (id, entry) in list.iter().enumerate() {
            self.slots[id].body = self.body(entry.value, entry.name);
        }
    }

    /// The route that a value means; `path` names it if it is written in place.
    pub(super) fn reference(&mut self, value: Value<'t>, path: &str) -> RouteId {
        match self.body(value, path) {
            Body::Same(id) => id,
            body => {
                let id = self.reserve(path.to_owned(), value.span());
                self.slots[id].body = body;
                id
            }
        }
    }

    /// The route of a listener that names none.
    pub(super) fn default_route(&mut self, listener: Range<usize>, is_udp: bool) -> RouteId {
        if is_udp {
            return self.direct(Direct::Store, &listener);
        }
        if let Some(id) = self.named.get("default") {
            return *id;
        }
        match (self.named_spans.len(), self.pools.len()) {
            (1, _) => 0,
            (0, 1) => self.direct(Direct::Pool(0), &listener),
            (0, 0) => self.direct(Direct::Store, &listener),
            (routes, _) => {
                let (what, names) = if routes > 0 {
                    ("routes", self.route_names())
                } else {
                    ("pools", self.pool_names())
                };
                let message = format!("there are several {what} and none is named `default`");
                let help = format!("say where requests go: `route = \"…\"`, one of {names}");
                self.error(listener, message, help);
                self.unknown()
            }
        }
    }

    /// Stands for a route that could not be read; the mistake has been reported.
    pub(super) fn unknown(&mut self) -> RouteId {
        self.reserve(String::new(), 0..0)
    }

    /// Whether a route is the embedded store itself.
    pub(super) fn is_store(&self, id: RouteId) -> bool {
        let mut id = id;
        // Longer chains of names are refused once the graph is complete.
        for _ in 0..=DEPTH_MAX {
            match &self.slots[id].body {
                Body::Same(target) => id = *target,
                body => return matches!(body, Body::Kind(RouteKind::Store)),
            }
        }
        false
    }

    /// The names of the pools that a route leads to: those that speak Redis, and the others.
    pub(super) fn pools_of(&self, id: RouteId) -> (Vec<&str>, Vec<&str>) {
        let mut is_seen = vec![false; self.slots.len()];
        let (mut redis, mut memcached) = (Vec::new(), Vec::new());
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            // Circles are reported once the graph is complete.
            if std::mem::replace(&mut is_seen[id], true) {
                continue;
            }
            if let Body::Kind(RouteKind::Pool(pool)) = self.slots[id].body {
                let list = if self.are_redis[pool] { &mut redis } else { &mut memcached };
                list.push(self.pool_spans[pool].0.as_str());
            }
            open.extend(self.below(id));
        }
        redis.sort_unstable();
        memcached.sort_unstable();
        (redis, memcached)
    }

    /// Whether any route leads to the embedded store.
    pub(super) fn uses_store(&self) -> bool {
        self.direct.contains_key(&Direct::Store)
    }

    /// Checks the graph and gives the routes of the model.
    pub(super) fn finish(mut self, listeners: &[(Listener, Range<usize>)]) -> Vec<Route> {
        self.check_graph();
        if self.findings.borrow().has_errors() {
            // Nothing will run; and what seems unused may only be misspelt where it is used.
            return Vec::new();
        }
        self.warn_unused(listeners);
        let ids = 0..self.slots.len();
        let kinds: Vec<RouteKind> = ids.map(|id| self.kind_of(id)).collect();
        let names = self.slots.drain(..).map(|slot| slot.name);
        names.zip(kinds).map(|(name, kind)| Route { name, kind }).collect()
    }

    /// The kind of a route, following names. Only for a graph without errors.
    fn kind_of(&self, mut id: RouteId) -> RouteKind {
        loop {
            match &self.slots[id].body {
                Body::Kind(kind) => return kind.clone(),
                Body::Same(target) => id = *target,
                Body::Unknown => unreachable!("a route that cannot be read is an error"),
            }
        }
    }

    fn body(&mut self, value: Value<'t>, path: &str) -> Body {
        match value.get_ref() {
            DeValue::String(name) => self.by_name(name, value.span()),
            DeValue::Table(table) => match self.by_table(table, value.span(), path) {
                Some(kind) => Body::Kind(kind),
                None => Body::Unknown,
            },
            other => {
                let message = "a route must be a name in quotes or a table";
                self.error(value.span(), message, format!("this is {}", article(other)));
                Body::Unknown
            }
        }
    }

    fn by_name(&mut self, name: &str, span: Range<usize>) -> Body {
        let direct = match name {
            "store" => Some(Direct::Store),
            "null" => Some(Direct::Null),
            _ => self.pools.get(name).map(|pool| Direct::Pool(*pool)),
        };
        if let Some(direct) = direct {
            return Body::Same(self.direct(direct, &span));
        }
        if let Some(id) = self.named.get(name) {
            return Body::Same(*id);
        }
        let help = if self.findings.borrow().is_full() {
            String::new()
        } else {
            let known: Vec<&str> = self
                .pool_spans
                .iter()
                .map(|(name, _)| name.as_str())
                .chain(self.slots[..self.named_spans.len()].iter().map(|slot| slot.name.as_str()))
                .chain(["store", "null"])
                .collect();
            hint(name, known.iter().copied(), "pools and routes are")
        };
        let message = format!("there is no pool or route named `{}`", name.escape_debug());
        self.error(span, message, help);
        Body::Unknown
    }

    /// The entry of a pool or built-in route.
    fn direct(&mut self, direct: Direct, span: &Range<usize>) -> RouteId {
        if let Some(id) = self.direct.get(&direct) {
            return *id;
        }
        let (name, kind) = match direct {
            Direct::Pool(pool) => (self.pool_spans[pool].0.clone(), RouteKind::Pool(pool)),
            Direct::Store => ("store".to_owned(), RouteKind::Store),
            Direct::Null => ("null".to_owned(), RouteKind::Null),
        };
        let id = self.reserve(name, span.clone());
        self.slots[id].body = Body::Kind(kind);
        self.direct.insert(direct, id);
        id
    }

    fn by_table(
        &mut self,
        table: &'t DeTable<'t>,
        span: Range<usize>,
        path: &str,
    ) -> Option<RouteKind> {
        let shown = format!("routes.{path}");
        let table = Table::open(&key::ROUTE, shown, span, table, self.findings);
        let present: Vec<&str> = SHAPES.iter().copied().filter(|shape| table.has(shape)).collect();
        let &[shape] = present.as_slice() else {
            if present.is_empty() && table.has_unknown {
                return None;
            }
            let (message, help) = match present.as_slice() {
                [] => ("this route does nothing".to_owned(), SHAPES_HELP.to_owned()),
                [first, second, ..] => (
                    format!("a route cannot have both `{first}` and `{second}`"),
                    "write one inside the other".to_owned(),
                ),
                [_] => return None,
            };
            self.error(table.span.clone(), message, help);
            return None;
        };
        self.check_companions(&table, shape);
        match shape {
            "prefix" => self.prefix(&table, path),
            "command" => self.command(&table, path),
            "failover" => self.failover(&table, path),
            "all_sync" => {
                Some(RouteKind::AllSync { children: self.children(&table, shape, path)? })
            }
            "all_fastest" => {
                Some(RouteKind::AllFastest { children: self.children(&table, shape, path)? })
            }
            _ => {
                let (text, span) = table.text("error")?;
                let fits = (1..=ERROR_BYTES_MAX).contains(&text.len());
                if !fits || text.chars().any(char::is_control) {
                    let message =
                        format!("`error` must be one line of 1 to {ERROR_BYTES_MAX} bytes");
                    self.error(span, message, "");
                }
                Some(RouteKind::Error(text.to_owned()))
            }
        }
    }

    fn failover(&mut self, table: &Table<'t, '_, '_>, path: &str) -> Option<RouteKind> {
        let children = self.children(table, "failover", path);
        let budget_percent = table.count("budget").and_then(|share| u8::try_from(share).ok());
        let on = table.words("on").map_or(FailoverOn::default(), |words| FailoverOn {
            errors: words.contains(&"error"),
            misses: words.contains(&"miss"),
        });
        if !on.errors && !on.misses {
            let span = table.get("on").map_or(0..0, |entry| entry.value.span());
            self.error(span, "`on` is empty: it would never fail over", "write `[\"error\"]`");
        }
        Some(RouteKind::Failover { children: children?, on, budget_percent })
    }

    /// Keys that belong to another shape than the one this route has.
    fn check_companions(&self, table: &Table<'t, '_, '_>, shape: &str) {
        for (name, shapes) in COMPANIONS {
            if let Some(entry) = table.get(name)
                && !shapes.contains(&shape)
            {
                let message = format!("`{name}` has no meaning with `{shape}`");
                let help = format!("it belongs to `{}`", shapes.join("` and `"));
                self.error(entry.name_span(), message, help);
            }
        }
    }

    fn prefix(&mut self, table: &Table<'t, '_, '_>, path: &str) -> Option<RouteKind> {
        let mut cases = Vec::new();
        for entry in self.cases(table, "prefix", "{ \"user:\" = \"users\" }")? {
            let key = entry.name;
            let in_keys = |byte: u8| byte > b' ' && byte != 0x7f;
            if key.is_empty() {
                let message = "the empty prefix matches every key";
                self.error(entry.name_span(), message, "write it as `default`");
            } else if key.len() > KEY_BYTES_MAX || !key.bytes().all(in_keys) {
                let message = format!("no key can begin with `{}`", key.escape_debug());
                let help = "keys have at most 250 bytes and no spaces or control characters";
                self.error(entry.name_span(), message, help);
            }
            let route = self.reference(entry.value, &format!("{path}/{key}"));
            cases.push((key.as_bytes().to_vec(), route));
        }
        let otherwise = self.otherwise(table, path, "keys without any of the prefixes")?;
        Some(RouteKind::Prefix { cases, otherwise })
    }

    fn command(&mut self, table: &Table<'t, '_, '_>, path: &str) -> Option<RouteKind> {
        let mut cases = Vec::new();
        for entry in self.cases(table, "command", "{ get = \"replicas\" }")? {
            let route = self.reference(entry.value, &format!("{path}/{}", entry.name));
            let class = CommandClass::ALL.into_iter().find(|class| class.name() == entry.name);
            match class {
                Some(class) => cases.push((class, route)),
                None => self.unknown_command(&entry),
            }
        }
        if cases.len() == CommandClass::COUNT && !table.has("default") {
            // Every class has its case; the last of them stands in for the default never used.
            let (_, otherwise) = cases[CommandClass::COUNT - 1];
            return Some(RouteKind::Command { cases, otherwise });
        }
        let otherwise = self.otherwise(table, path, "the other commands")?;
        Some(RouteKind::Command { cases, otherwise })
    }

    fn unknown_command(&self, entry: &Entry<'t>) {
        let class = CLASS_OF.iter().find(|(verbs, _)| verbs.contains(&entry.name));
        let (message, help) = match class {
            Some((verbs, class)) => (
                format!("`{}` is not routed on its own", entry.name),
                format!("write `{class}`, which covers {}", verbs.join(", ")),
            ),
            None => (
                format!("`{}` is not a class of commands", entry.name.escape_debug()),
                hint(entry.name, CommandClass::ALL.map(CommandClass::name), "the classes are"),
            ),
        };
        self.error(entry.name_span(), message, help);
    }

    /// The entries of `prefix` or `command`.
    fn cases(
        &self,
        table: &Table<'t, '_, '_>,
        name: &str,
        example: &str,
    ) -> Option<Vec<Entry<'t>>> {
        let entry = table.get(name)?;
        let DeValue::Table(cases) = entry.value.get_ref() else {
            table.wrong_kind(entry, entry.value.get_ref(), &format!("a table: `{example}`"));
            return None;
        };
        let cases = entries(cases);
        if cases.is_empty() {
            let message = format!("`{name}` has no cases");
            self.error(entry.value.span(), message, format!("write `{name} = {example}`"));
        }
        Some(cases)
    }

    fn otherwise(&mut self, table: &Table<'t, '_, '_>, path: &str, what: &str) -> Option<RouteId> {
        let Some(entry) = table.get("default") else {
            if table.has_unknown {
                return None;
            }
            let message = format!("`{}` says nothing about {what}", table.path);
            let help = "add `default = \"…\"` (`\"null\"` answers as if nothing were stored)";
            self.error(table.span.clone(), message, help);
            return None;
        };
        Some(self.reference(entry.value, &format!("{path}/default")))
    }

    /// The routes in a list, of which there must be two at least, all different.
    fn children(
        &mut self,
        table: &Table<'t, '_, '_>,
        name: &str,
        path: &str,
    ) -> Option<Vec<RouteId>> {
        let entry = table.get(name)?;
        let DeValue::Array(list) = entry.value.get_ref() else {
            let expected = "a list of routes: `[\"a\", \"b\"]`";
            table.wrong_kind(entry, entry.value.get_ref(), expected);
            return None;
        };
        if list.len() < 2 || list.len() > CHILDREN_MAX {
            let message = format!("`{name}` takes 2 to {CHILDREN_MAX} routes");
            self.error(entry.value.span(), message, format!("this list has {}", list.len()));
            return None;
        }
        let mut children = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let child = self.reference(value, &format!("{path}/{}", index + 1));
            if children.contains(&child) {
                self.error(value.span(), "this route is in the list already", "remove it");
            }
            children.push(child);
        }
        Some(children)
    }

    fn reserve(&mut self, name: String, span: Range<usize>) -> RouteId {
        self.slots.push(Slot { name, span, body: Body::Unknown });
        self.slots.len() - 1
    }

    fn error(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.findings.borrow_mut().error(span, message, help);
    }

    fn route_names(&self) -> String {
        listed(self.slots[..self.named_spans.len()].iter().map(|slot| slot.name.as_str()))
    }

    fn pool_names(&self) -> String {
        listed(self.pool_spans.iter().map(|(name, _)| name.as_str()))
    }

    /// Reports cycles, and requests that would take too many steps or legs.
    fn check_graph(&self) {
        let mut walk = Walk { seen: vec![Seen::No; self.slots.len()], stack: Vec::new() };
        for start in 0..self.slots.len() {
            if let Some(cycle) = self.walk_from(start, &mut walk) {
                let names: Vec<&str> =
                    cycle.iter().map(|id| self.slots[*id].name.as_str()).collect();
                let message = format!("routes lead in a circle: `{}`", names.join("` → `"));
                let help = "a request would never arrive; let one of them lead elsewhere";
                return self.error(self.slots[cycle[0]].span.clone(), message, help);
            }
        }
        for (seen, slot) in walk.seen.iter().zip(&self.slots) {
            let Seen::Done { depth, legs } = seen else { continue };
            if *depth == DEPTH_MAX + 1 {
                let message = format!("routes below `{}` are nested too deeply", slot.name);
                self.error(slot.span.clone(), message, format!("at most {DEPTH_MAX} in a row"));
            } else if *legs > LEGS_MAX && *depth <= DEPTH_MAX {
                let message = format!("`{}` could send one request {legs} times", slot.name);
                self.error(slot.span.clone(), message, format!("at most {LEGS_MAX} times"));
            }
        }
    }

    /// Visits all routes below `start`, children first, without recursion: files may nest deeply by
    /// name. Gives the cycle it meets.
    fn walk_from(&self, start: RouteId, walk: &mut Walk) -> Option<Vec<RouteId>> {
        if walk.seen[start] != Seen::No {
            return None;
        }
        walk.seen[start] = Seen::Open;
        walk.stack.push((start, self.below(start), 0));
        while let Some((id, below, at)) = walk.stack.last_mut() {
            let Some(child) = below.get(*at).copied() else {
                walk.seen[*id] = self.sum_up(*id, below, &walk.seen);
                walk.stack.pop();
                continue;
            };
            *at += 1;
            match walk.seen[child] {
                Seen::Done { .. } => {}
                Seen::Open => {
                    let open: Vec<RouteId> = walk.stack.iter().map(|(id, ..)| *id).collect();
                    let from = open.iter().position(|id| *id == child).unwrap_or(0);
                    return Some(open[from..].iter().copied().chain([child]).collect());
                }
                Seen::No => {
                    walk.seen[child] = Seen::Open;
                    walk.stack.push((child, self.below(child), 0));
                }
            }
        }
        None
    }

    /// The depth and the legs of a route whose children are done.
    fn sum_up(&self, id: RouteId, below: &[RouteId], seen: &[Seen]) -> Seen {
        let of = |child: &RouteId| match seen[*child] {
            Seen::Done { depth, legs } => (depth, legs),
            _ => (0, 0),
        };
        let deepest = below.iter().map(|child| of(child).0).max().unwrap_or(0);
        let most = below.iter().map(|child| of(child).1).max().unwrap_or(1);
        let sum = below.iter().map(|child| of(child).1).fold(0, u64::saturating_add);
        match &self.slots[id].body {
            Body::Kind(
                RouteKind::Failover { .. }
                | RouteKind::AllSync { .. }
                | RouteKind::AllFastest { .. },
            ) => Seen::Done { depth: deepest + 1, legs: sum },
            Body::Kind(_) | Body::Same(_) | Body::Unknown => {
                Seen::Done { depth: deepest + 1, legs: most }
            }
        }
    }

    fn below(&self, id: RouteId) -> Vec<RouteId> {
        match &self.slots[id].body {
            Body::Same(target) => vec![*target],
            Body::Unknown => Vec::new(),
            Body::Kind(kind) => match kind {
                RouteKind::Prefix { cases, otherwise } => {
                    cases.iter().map(|(_, route)| *route).chain([*otherwise]).collect()
                }
                RouteKind::Command { cases, otherwise } => {
                    cases.iter().map(|(_, route)| *route).chain([*otherwise]).collect()
                }
                RouteKind::Failover { children, .. }
                | RouteKind::AllSync { children }
                | RouteKind::AllFastest { children } => children.clone(),
                RouteKind::Pool(_) | RouteKind::Store | RouteKind::Null | RouteKind::Error(_) => {
                    Vec::new()
                }
            },
        }
    }

    /// Warns about named routes that no listener reaches and pools that nothing names.
    fn warn_unused(&self, listeners: &[(Listener, Range<usize>)]) {
        let mut reached = vec![false; self.slots.len()];
        let mut next: Vec<RouteId> = listeners.iter().map(|(listener, _)| listener.route).collect();
        while let Some(id) = next.pop() {
            if !std::mem::replace(&mut reached[id], true) {
                next.extend(self.below(id));
            }
        }
        let mut findings = self.findings.borrow_mut();
        for (id, span) in self.named_spans.iter().enumerate() {
            if !reached[id] {
                let message = format!("no listener leads to route `{}`", self.slots[id].name);
                findings.warning(span.clone(), message, "remove it, or use it in a route");
            }
        }
        for (id, (name, span)) in self.pool_spans.iter().enumerate() {
            if !self.direct.contains_key(&Direct::Pool(id)) {
                let message = format!("nothing uses pool `{name}`");
                findings.warning(span.clone(), message, "remove it, or use it in a route");
            }
        }
    }
}

/// How far the check of the graph has come with a route.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    No,
    Open,
    Done { depth: usize, legs: u64 },
}

struct Walk {
    seen: Vec<Seen>,
    /// Routes being visited, their children, and how many of those are done.
    stack: Vec<(RouteId, Vec<RouteId>, usize)>,
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.take(12).map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The keys of which a route has exactly one.
const SHAPES: [&str; 6] = ["prefix", "command", "failover", "all_sync", "all_fastest", "error"];
const SHAPES_HELP: &str =
    "give it one of `prefix`, `command`, `failover`, `all_sync`, `all_fastest`, `error`";
/// The other keys, and the shapes they belong to.
const COMPANIONS: [(&str, &[&str]); 3] =
    [("default", &["prefix", "command"]), ("on", &["failover"]), ("budget", &["failover"])];
/// Commands that people look for, and the class that covers them.
const CLASS_OF: [(&[&str], &str); 5] = [
    (&["gets", "mg"], "get"),
    (&["add", "replace", "append", "prepend", "cas", "ms"], "set"),
    (&["md"], "delete"),
    (&["incr", "decr", "ma"], "arith"),
    (&["gat", "gats"], "touch"),
];
/// Longest chain of routes that one request may pass.
const DEPTH_MAX: usize = 16;
/// Most times that one request may be sent to a backend.
const LEGS_MAX: u64 = 64;
/// Most routes in one list.
const CHILDREN_MAX: usize = 16;
/// Longest key in the memcached protocol.
const KEY_BYTES_MAX: usize = 250;
/// Longest text of an `error` route.
const ERROR_BYTES_MAX: usize = 200;
