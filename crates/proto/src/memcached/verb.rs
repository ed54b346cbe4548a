//! The commands, and what shape the rest of each one's line has.
//!
//! A new command is a variant, a name, a word and a shape here; `request` then reads its line
//! without knowing it.

/// A command of the classic and meta protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the protocol's own words; `name` spells them.
pub enum Verb {
    Get,
    Gets,
    Gat,
    Gats,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
    Incr,
    Decr,
    Touch,
    Delete,
    Mg,
    Ms,
    Md,
    Ma,
    Mn,
    Me,
    Quit,
    Version,
    Stats,
    Watch,
    FlushAll,
    Verbosity,
    Shutdown,
    Lru,
    LruCrawler,
    Slabs,
    CacheMemlimit,
    RefreshCerts,
    Extstore,
    Debugtime,
    Misbehave,
    /// No command of memcached, or one with leading spaces that memcached does not know there.
    Unknown,
}

/// What follows the command word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Keys from token 1 on.
    Keys,
    /// An expiry time, then keys from token 2 on.
    TouchKeys,
    /// Key, flags, expiry time, value length; then the value.
    Store,
    /// A key at token 1, and at least this many tokens.
    Key { token_count_min: usize },
    /// A key and flags.
    Meta,
    /// A key, the value length and flags; then the value.
    MetaStore,
    /// Nothing that the head has to know, not even `noreply`.
    Bare,
    /// Arguments that only the command itself understands, `noreply` last.
    Words,
}

impl Verb {
    /// Every verb in declaration order; `verb as usize` is its index.
    pub const ALL: [Verb; 36] = [
        Verb::Get,
        Verb::Gets,
        Verb::Gat,
        Verb::Gats,
        Verb::Set,
        Verb::Add,
        Verb::Replace,
        Verb::Append,
        Verb::Prepend,
        Verb::Cas,
        Verb::Incr,
        Verb::Decr,
        Verb::Touch,
        Verb::Delete,
        Verb::Mg,
        Verb::Ms,
        Verb::Md,
        Verb::Ma,
        Verb::Mn,
        Verb::Me,
        Verb::Quit,
        Verb::Version,
        Verb::Stats,
        Verb::Watch,
        Verb::FlushAll,
        Verb::Verbosity,
        Verb::Shutdown,
        Verb::Lru,
        Verb::LruCrawler,
        Verb::Slabs,
        Verb::CacheMemlimit,
        Verb::RefreshCerts,
        Verb::Extstore,
        Verb::Debugtime,
        Verb::Misbehave,
        Verb::Unknown,
    ];

    /// The command word; `unknown` for `Unknown`.
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Gets => "gets",
            Verb::Gat => "gat",
            Verb::Gats => "gats",
            Verb::Set => "set",
            Verb::Add => "add",
            Verb::Replace => "replace",
            Verb::Append => "append",
            Verb::Prepend => "prepend",
            Verb::Cas => "cas",
            Verb::Incr => "incr",
            Verb::Decr => "decr",
            Verb::Touch => "touch",
            Verb::Delete => "delete",
            Verb::Mg => "mg",
            Verb::Ms => "ms",
            Verb::Md => "md",
            Verb::Ma => "ma",
            Verb::Mn => "mn",
            Verb::Me => "me",
            Verb::Quit => "quit",
            Verb::Version => "version",
            Verb::Stats => "stats",
            Verb::Watch => "watch",
            Verb::FlushAll => "flush_all",
            Verb::Verbosity => "verbosity",
            Verb::Shutdown => "shutdown",
            Verb::Lru => "lru",
            Verb::LruCrawler => "lru_crawler",
            Verb::Slabs => "slabs",
            Verb::CacheMemlimit => "cache_memlimit",
            Verb::RefreshCerts => "refresh_certs",
            Verb::Extstore => "extstore",
            Verb::Debugtime => "debugtime",
            Verb::Misbehave => "misbehave",
            Verb::Unknown => "unknown",
        }
    }

    /// The verb of an exact, case-sensitive command word.
    pub fn from_word(word: &[u8]) -> Verb {
        match word {
            b"get" => Verb::Get,
            b"gets" => Verb::Gets,
            b"gat" => Verb::Gat,
            b"gats" => Verb::Gats,
            b"set" => Verb::Set,
            b"add" => Verb::Add,
            b"replace" => Verb::Replace,
            b"append" => Verb::Append,
            b"prepend" => Verb::Prepend,
            b"cas" => Verb::Cas,
            b"incr" => Verb::Incr,
            b"decr" => Verb::Decr,
            b"touch" => Verb::Touch,
            b"delete" => Verb::Delete,
            b"mg" => Verb::Mg,
            b"ms" => Verb::Ms,
            b"md" => Verb::Md,
            b"ma" => Verb::Ma,
            b"mn" => Verb::Mn,
            b"me" => Verb::Me,
            b"quit" => Verb::Quit,
            b"version" => Verb::Version,
            b"stats" => Verb::Stats,
            b"watch" => Verb::Watch,
            _ => Verb::from_admin_word(word),
        }
    }

    /// The verb of a command word that memcached looks up only after its main commands; these
    /// are found behind leading spaces too.
    pub(crate) fn from_admin_word(word: &[u8]) -> Verb {
        match word {
            b"flush_all" => Verb::FlushAll,
            b"verbosity" => Verb::Verbosity,
            b"shutdown" => Verb::Shutdown,
            b"lru" => Verb::Lru,
            b"lru_crawler" => Verb::LruCrawler,
            b"slabs" => Verb::Slabs,
            b"cache_memlimit" => Verb::CacheMemlimit,
            b"refresh_certs" => Verb::RefreshCerts,
            b"extstore" => Verb::Extstore,
            b"debugtime" => Verb::Debugtime,
            b"misbehave" => Verb::Misbehave,
            _ => Verb::Unknown,
        }
    }

    /// Whether this is a command of the meta protocol.
    pub const fn is_meta(self) -> bool {
        matches!(self, Verb::Mg | Verb::Ms | Verb::Md | Verb::Ma | Verb::Mn | Verb::Me)
    }

    /// Whether this is `get`, `gets`, `gat` or `gats`.
    pub const fn is_retrieval(self) -> bool {
        matches!(self, Verb::Get | Verb::Gets | Verb::Gat | Verb::Gats)
    }

    /// Whether a value follows the line.
    pub const fn carries_value(self) -> bool {
        matches!(self.shape(), Shape::Store | Shape::MetaStore)
    }

    /// Whether the line names a key, so that the request can be routed by it.
    pub const fn has_key(self) -> bool {
        !matches!(self.shape(), Shape::Bare | Shape::Words)
    }

    pub(crate) const fn shape(self) -> Shape {
        match self {
            Verb::Get | Verb::Gets => Shape::Keys,
            Verb::Gat | Verb::Gats => Shape::TouchKeys,
            Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas => {
                Shape::Store
            }
            Verb::Incr | Verb::Decr | Verb::Touch => Shape::Key { token_count_min: 3 },
            Verb::Delete => Shape::Key { token_count_min: 2 },
            Verb::Mg | Verb::Md | Verb::Ma | Verb::Me => Shape::Meta,
            Verb::Ms => Shape::MetaStore,
            Verb::Mn | Verb::Quit | Verb::Version | Verb::Stats | Verb::Watch => Shape::Bare,
            _ => Shape::Words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_words_agree() {
        for (index, verb) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(verb as usize, index);
            assert_eq!(Verb::from_word(verb.name().as_bytes()), verb);
        }
        assert_eq!(Verb::from_word(b"GET"), Verb::Unknown);
        assert_eq!(Verb::from_word(b""), Verb::Unknown);
    }
}
