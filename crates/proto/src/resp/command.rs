//! What is known about each command of Redis 7.0.
//!
//! The facts come from `commands.tsv`, read by the compiler (`table.rs`): those that redis-server
//! itself gives, how the proxy carries the command out ([`Kind`]), which counter it moves
//! ([`Count`]), and what twemproxy accepts ([`Nutcracker`]). `find` is on the path of every
//! request: a hash of the folded name, one probe, one comparison of three words.

mod keys;
mod table;
mod verb;

pub use keys::{Key, Keys};
pub use table::{COMMANDS, SUBCOMMANDS};
pub use verb::Verb;

/// Longest name of a command, in bytes; longer names are unknown without a look-up.
pub const NAME_BYTES_MAX: usize = 24;

/// A command or a subcommand.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// The command; a subcommand has that of its parent.
    pub verb: Verb,
    /// Name in lower case; a subcommand's is `parent|name`.
    pub name: &'static str,
    /// Number of arguments with the name; negative: that many or more. A subcommand's counts
    /// both words.
    pub arity: i8,
    /// What redis-server's `COMMAND` says about it.
    pub flags: Flags,
    /// The categories of access control lists it belongs to.
    pub categories: Categories,
    /// First key, last key and step as `COMMAND` gives them: 0 = none, a negative last key
    /// counts from the end. `keys` is exact, these are not.
    pub legacy_keys: [i8; 3],
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// Whether the first argument is a key and the first one: the usual case.
    pub is_keyed_by_first: bool,
    /// Whether that is its only key, whatever its arguments are.
    pub has_one_key: bool,
    /// The group of the documentation, such as `sorted-set`.
    pub group: &'static str,
    /// First version of Redis that has it.
    pub since: &'static str,
    /// How the proxy carries it out.
    pub kind: Kind,
    /// Which counter it moves.
    pub count: Count,
    /// What twemproxy 0.5 accepts of it; `None` when it closes the connection.
    pub nutcracker: Option<Nutcracker>,
    /// Its subcommands, empty for most.
    pub subcommands: &'static [Command],
}

impl Command {
    /// Whether a request of `arguments` arguments, name included, has the right number.
    pub const fn accepts(&self, arguments: u32) -> bool {
        let bound = self.arity.unsigned_abs() as u32;
        if self.arity < 0 { arguments >= bound } else { arguments == bound }
    }

    /// The subcommand called `name`, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Command> {
        let start = self.name.len() + 1;
        self.subcommands.iter().find(|sub| {
            let own = sub.name.as_bytes().get(start..).unwrap_or_default();
            own.eq_ignore_ascii_case(name)
        })
    }

    /// Whether it changes data.
    pub const fn is_write(&self) -> bool {
        self.flags.contains(Flags::WRITE)
    }

    /// Whether it only reads data.
    pub const fn is_readonly(&self) -> bool {
        self.flags.contains(Flags::READONLY)
    }
}

/// How the proxy carries a command out. A container (`SCRIPT`, `XGROUP` …) has the kind of most of
/// its subcommands; ask the subcommand where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sent to the server of its keys: one server must hold all of them.
    Keyed,
    /// As `Keyed`, but may be split by server and the replies merged: MGET MSET DEL UNLINK EXISTS
    /// TOUCH.
    Split,
    /// Blocks the connection it is sent on: BLPOP, WAIT and the like.
    Blocking,
    /// Blocks only when the option BLOCK is given: XREAD XREADGROUP. See `Request::may_block`.
    BlockingOption,
    /// Changes what the connection is subscribed to.
    Subscribe,
    /// PUBLISH, SPUBLISH, PUBSUB: goes where the subscriptions of the pool are.
    Publish,
    /// MULTI EXEC DISCARD WATCH UNWATCH.
    Transaction,
    /// Concerns all servers of a pool: KEYS SCAN DBSIZE RANDOMKEY FLUSHDB FLUSHALL SCRIPT FUNCTION.
    Sweep,
    /// About the connection or the server as such: answered by the proxy.
    Local,
    /// No key and the same everywhere: any server will do.
    Anywhere,
    /// Administration of one server, which a proxy must not pass on.
    Refused,
}

/// The counter that a command moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Reads strings or asks whether keys exist.
    Get,
    /// Writes strings.
    Set,
    /// Removes keys.
    Delete,
    /// Increments and decrements.
    Arith,
    /// Changes the time to live or the last access.
    Touch,
    /// Everything else.
    Other,
}

/// What twemproxy 0.5 accepts of a command and which argument it hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nutcracker {
    /// Fewest arguments after the name.
    pub arguments_min: u32,
    /// Most arguments after the name; `u32::MAX` = no bound.
    pub arguments_max: u32,
    /// What it hashes.
    pub hashed: Hashed,
}

impl Nutcracker {
    /// Whether a request of `arguments` arguments, name included, is accepted.
    pub const fn accepts(&self, arguments: u32) -> bool {
        let after = arguments.saturating_sub(1);
        let is_paired = !matches!(self.hashed, Hashed::Pairs) || after.is_multiple_of(2);
        self.arguments_min <= after && after <= self.arguments_max && is_paired
    }
}

/// The arguments that twemproxy hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashed {
    /// The first argument after the name, even where that is no key.
    First,
    /// The third: the first key of EVAL and EVALSHA. Zero keys are refused.
    Third,
    /// Every argument, split by server.
    Every,
    /// Every other argument, split by server with its value.
    Pairs,
    /// The constant key `placeholder`.
    Placeholder,
    /// Nothing: the proxy answers.
    Local,
}

/// Where some of a command's keys are, as redis-server's key specifications say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What happens to these keys.
    pub flags: KeyFlags,
    /// Where to begin.
    pub begin: Begin,
    /// How to go on from there.
    pub find: Find,
}

/// Where a group of keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument; the name is argument 0.
    Index(i8),
    /// Behind this word, which is looked for from this argument on; a negative one counts from
    /// the end and looks backwards.
    Keyword(&'static str, i8),
    /// Redis does not say; the key iterator knows the rule.
    Unknown,
}

/// How a group of keys goes on from where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Every `step`th argument up to the `last` (relative to the first; negative: from the end).
    /// With a `limit` above 1 only that part of the rest: 2 = the first half.
    Range {
        /// Last key, relative to the first, or from the end if negative.
        last: i8,
        /// Distance of the keys.
        step: i8,
        /// Which part of the rest holds keys.
        limit: i8,
    },
    /// An argument gives the number of keys.
    Keynum {
        /// The number's argument, relative to the beginning.
        number: i8,
        /// The first key, relative to the beginning.
        first: i8,
        /// Distance of the keys.
        step: i8,
    },
    /// Redis does not say.
    Unknown,
}

/// Declares a set of named bits: its constants, its names and how to read it.
macro_rules! bits {
    ($(#[$doc:meta])* $set:ident: $($bit:ident $name:literal $what:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $set(u32);

        impl $set {
            bits!(@constants 0u32; $($bit $what,)*);

            /// The names as redis-server spells and orders them; bit n has name n.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// Whether all bits of `other` are set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The names of the bits that are set.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1)
                    .map(|(_, name)| *name)
            }
        }
    };
    (@constants $at:expr; $bit:ident $what:literal, $($rest:tt)*) => {
        #[doc = $what]
        pub const $bit: Self = Self(1 << ($at));
        bits!(@constants $at + 1; $($rest)*);
    };
    (@constants $at:expr;) => {};
}

bits! {
    /// The flags of a command as `COMMAND` names them.
    Flags:
    WRITE "write" "Changes data.",
    READONLY "readonly" "Only reads data.",
    PUBSUB "pubsub" "Publish and subscribe.",
    DENYOOM "denyoom" "Refused when the server is out of memory.",
    ADMIN "admin" "Administration.",
    ASKING "asking" "Asks for a slot that is being imported.",
    NOSCRIPT "noscript" "Not allowed in scripts.",
    BLOCKING "blocking" "May block the connection.",
    LOADING "loading" "Allowed while the data set is loaded.",
    STALE "stale" "Allowed on a stale replica.",
    FAST "fast" "Takes constant or logarithmic time.",
    SKIP_MONITOR "skip_monitor" "Not shown to monitors.",
    NO_ASYNC_LOADING "no_async_loading" "Refused while a replica loads in the background.",
    SKIP_SLOWLOG "skip_slowlog" "Not logged when slow.",
    NO_AUTH "no_auth" "Allowed before authentication.",
    NO_MANDATORY_KEYS "no_mandatory_keys" "May have no key at all.",
    NO_MULTI "no_multi" "Not allowed in a transaction.",
    MOVABLEKEYS "movablekeys" "First, last and step do not tell the keys.",
    ALLOW_BUSY "allow_busy" "Allowed while a script keeps the server busy.",
}

bits! {
    /// The categories of access control lists, without the `@`.
    Categories:
    KEYSPACE "keyspace" "Keys as such.",
    PUBSUB "pubsub" "Publish and subscribe.",
    WRITE "write" "Changes data.",
    READ "read" "Reads data.",
    BITMAP "bitmap" "Bits of strings.",
    STRING "string" "Strings.",
    SET "set" "Sets.",
    HASH "hash" "Hashes.",
    STREAM "stream" "Streams.",
    HYPERLOGLOG "hyperloglog" "HyperLogLogs.",
    GEO "geo" "Positions.",
    SORTEDSET "sortedset" "Sorted sets.",
    ADMIN "admin" "Administration.",
    LIST "list" "Lists.",
    SLOW "slow" "Not fast.",
    FAST "fast" "Takes constant or logarithmic time.",
    SCRIPTING "scripting" "Scripts and functions.",
    BLOCKING "blocking" "May block the connection.",
    DANGEROUS "dangerous" "Dangerous for one reason or another.",
    TRANSACTION "transaction" "Transactions.",
    CONNECTION "connection" "The connection.",
}

bits! {
    /// What a command does to a group of keys.
    KeyFlags:
    OVERWRITE "OW" "Replaces the value without looking at it.",
    READ_WRITE "RW" "Reads and changes the value.",
    READ_ONLY "RO" "Reads the value.",
    REMOVE "RM" "Removes the key.",
    NOT_KEY "not_key" "No key, but placed as if it were one.",
    ACCESS "access" "May return or copy the content.",
    UPDATE "update" "May change the content.",
    DELETE "delete" "May remove content.",
    INSERT "insert" "May add content.",
    VARIABLE "variable_flags" "The flags depend on the arguments.",
    INCOMPLETE "incomplete" "The specification does not find all keys.",
}

/// The command called `name`, in any case.
#[inline]
pub fn find(name: &[u8]) -> Option<&'static Command> {
    table::find(name)
}

/// As `find`, for the name of `len` bytes at `at` in `bytes`: what stands behind it is read along
/// with it, which saves a loop over its bytes.
#[inline(always)]
pub(super) fn find_in(bytes: &[u8], at: usize, len: usize) -> Option<&'static Command> {
    let rest = bytes.get(at..)?;
    match rest.first_chunk::<8>() {
        Some(chunk) if len < 8 => table::find_short(u64::from_le_bytes(*chunk), len),
        _ => table::find(rest.get(..len)?),
    }
}
