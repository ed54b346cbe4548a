//! Random memcached commands: mostly sensible, often odd, sometimes broken.
//!
//! The stream is meant for comparing two servers, so it leaves out what two right ones may answer
//! differently: expiry within the run, statistics, eviction, and the few things that
//! docs/decisions/012-memcached-commands.md lists. The word [`CAS`] stands for the number that the
//! server at hand last showed for the key of the command; see `differ`.

use crate::random::Random;
use crate::replies::CAS;

/// Which commands and flags both servers answer alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// Those of memcached 1.6.18 (Debian 12) that are the same in 1.6.45. Error texts differ.
    Common,
    /// All of 1.6.45.
    Newest,
    /// All of 1.6.45 but what a proxy answers itself.
    Forwarded,
}

/// A stream of commands.
pub struct Commands {
    random: Random,
    features: Features,
}

impl Commands {
    /// The stream of this seed.
    pub fn new(seed: u64, features: Features) -> Commands {
        Commands { random: Random::new(seed), features }
    }

    fn is_newest(&self) -> bool {
        self.features != Features::Common
    }

    /// Commands that may go out together: each its line and its value if it has one, with line
    /// ends.
    pub fn round(&mut self) -> Vec<Vec<u8>> {
        let first = self.command();
        let mut round = vec![first];
        // Counters are rewritten in place unless a reply still holds the item: they go alone. So
        // do commands whose error takes back the replies before it.
        while !goes_alone(&round[0]) && !self.random.once_in(8) {
            let command = self.command();
            if goes_alone(&command) {
                break;
            }
            round.push(command);
        }
        round
    }

    fn command(&mut self) -> Vec<u8> {
        match self.random.below(100) {
            0..16 => self.retrieval(),
            16..34 => self.storage(),
            34..44 => self.arithmetic(),
            44..49 => self.deletion(),
            49..53 => self.touch(),
            53..67 => self.meta_get(),
            67..80 => self.meta_set(),
            80..86 => self.meta_delete(),
            86..93 => self.meta_arithmetic(),
            93..96 => self.plain(),
            _ => self.broken(),
        }
    }

    fn key(&mut self) -> String {
        match self.random.below(300) {
            0 => "k".repeat(250),
            // A proxy refuses the whole line; memcached does what stands before the long key.
            1 if self.features == Features::Newest => "l".repeat(251),
            2 => format!("tab\t{}", self.random.below(3)),
            3 => format!("\u{e9}t\u{e9}{}", self.random.below(3)),
            4 if self.is_newest() => "noreply".into(),
            5..40 => format!("n{}", self.random.below(6)),
            _ => format!("key{}", self.random.below(40)),
        }
    }

    /// A key for `b`: base64 of a few short texts, sometimes not base64 at all. These items are
    /// used by `b` requests only.
    fn binary_key(&mut self) -> String {
        let keys = ["AAEC", "/v8=", "Zm9vYg==", "QUJD", "Ym\tF6"];
        match self.random.below(30) {
            0 => self.random.pick(&["A", "AA", "A===", "!!!!", "===="]).into(),
            _ => self.random.pick(&keys).into(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.below(60) {
            0..3 => 0,
            3..5 => 1000 + self.random.below(8000),
            5 => 14_000 + self.random.below(60_000),
            // Around the largest item. A proxy does not know what that is: where a command is wrong
            // in two ways, it says the other.
            6 if self.random.once_in(8) && self.features != Features::Forwarded => {
                1_048_000 + self.random.below(2000)
            }
            _ => 1 + self.random.below(40),
        };
        match self.random.below(6) {
            0 | 1 => self.number().into_bytes(),
            2 => b"get key1\r\nEND\r\n\0".iter().copied().cycle().take(len).collect(),
            _ => {
                let first = self.random.below(26);
                (0..len).map(|at| b'a' + ((first + at) % 26) as u8).collect()
            }
        }
    }

    fn number(&mut self) -> String {
        let numbers = [
            "0",
            "1",
            "7",
            "9",
            "10",
            "99",
            "100",
            "4294967295",
            "4294967296",
            "18446744073709551615",
            "18446744073709551614",
            "9223372036854775808",
            "0005",
        ];
        match self.random.below(2) {
            0 => self.random.pick(&numbers).to_owned(),
            _ => self.random.below(100_000).to_string(),
        }
    }

    fn odd_number(&mut self) -> &'static str {
        let numbers = [
            "abc",
            "1x",
            "18446744073709551616",
            "99999999999999999999",
            "-1",
            "+1",
            "-",
            "0x10",
            "00000000000000000000001",
            "2147483646",
            "2147483645",
            "2147483648",
            "1.5",
        ];
        // Lengths that an older version would wait for are left out there.
        let count = if self.is_newest() { numbers.len() } else { 4 };
        numbers[self.random.below(count)]
    }

    fn flags(&mut self) -> String {
        let odd = ["4294967295", "4294967296", "-1", "x", "12x", "-18446744073709551615", "+7"];
        match self.random.below(12) {
            0 if self.is_newest() => self.random.pick(&odd).to_owned(),
            0 => "4294967295".into(),
            1..6 => "0".into(),
            _ => self.random.below(70_000).to_string(),
        }
    }

    fn exptime(&mut self) -> &'static str {
        let times = [
            "0",
            "0",
            "0",
            "0",
            "1000",
            "5000",
            "2592000",
            "-1",
            "1900000000",
            "2592001",
            "x",
            "4000000000",
            "5000x",
        ];
        let count = if self.is_newest() { times.len() } else { 10 };
        times[self.random.below(count)]
    }

    fn noreply(&mut self) -> &'static str {
        self.random.pick(&["", "", "", "", "", " noreply", " noreply", " noreplY", " x"])
    }

    fn retrieval(&mut self) -> Vec<u8> {
        let verb = self.random.pick(&["get", "get", "gets", "gets", "gat", "gats"]);
        let time = if verb.starts_with("gat") {
            let times = ["0", "1000", "-1", "1900000000", "abc", "2592001000", "-", "", "+5"];
            let count = if self.is_newest() { times.len() } else { 4 };
            format!(" {}", times[self.random.below(count)])
        } else {
            String::new()
        };
        let count = match self.random.below(10) {
            0..6 => 1,
            6..9 => 1 + self.random.below(8),
            _ => 20 + self.random.below(40),
        };
        let gap = self.random.pick(&[" ", " ", " ", " ", "  "]);
        let mut text = format!("{verb}{time}");
        for _ in 0..count {
            let key = self.key();
            // Whether memcached closes on a longer line depends on how it arrives.
            if text.len() + key.len() < LINE_BYTES_MAX {
                text.extend([gap, &key]);
            }
        }
        line(&text)
    }

    fn storage(&mut self) -> Vec<u8> {
        let verbs = ["set", "set", "set", "add", "replace", "append", "prepend", "cas", "cas"];
        let verb = self.random.pick(&verbs);
        let (key, flags, time) = (self.key(), self.flags(), self.exptime());
        let cas = if verb == "cas" {
            let numbers = [CAS, CAS, CAS, CAS, "1", "0", "nan", "-3", ""];
            let count = if self.is_newest() { numbers.len() } else { 6 };
            format!(" {}", numbers[self.random.below(count)])
        } else {
            String::new()
        };
        let (noreply, value) = (self.noreply(), self.value());
        let length = self.length(value.len());
        let head = format!("{verb} {key} {flags} {time} {length}{cas}{noreply}");
        with_value(&head, &value)
    }

    /// Nearly always the right length of a value that follows.
    fn length(&mut self, right: usize) -> String {
        // A long value would be taken for a line.
        if !self.is_newest() || right >= LINE_BYTES_MAX {
            return right.to_string();
        }
        match self.random.below(60) {
            0 => right.saturating_sub(1).to_string(),
            // A huge length would have to be sent, too.
            1 => match self.odd_number() {
                "2147483645" => "-2147483648".into(),
                number => number.to_owned(),
            },
            2 => format!("0{right}"),
            3 => format!("{right}x"),
            _ => right.to_string(),
        }
    }

    fn arithmetic(&mut self) -> Vec<u8> {
        let verb = self.random.pick(&["incr", "decr"]);
        let key = self.key();
        if self.random.once_in(4) {
            // Something to count on.
            let number = self.number();
            return with_value(&format!("set {key} 0 0 {}", number.len()), number.as_bytes());
        }
        let by = if self.random.once_in(8) { self.odd_number().into() } else { self.number() };
        line(&format!("{verb} {key} {by}{}", self.noreply()))
    }

    fn deletion(&mut self) -> Vec<u8> {
        let key = self.key();
        let extras = ["", "", "", "", " 0", " noreply", " 0 noreply", " 1", " x y"];
        let count = if self.is_newest() { extras.len() } else { 7 };
        let extra = extras[self.random.below(count)];
        line(&format!("delete {key}{extra}"))
    }

    fn touch(&mut self) -> Vec<u8> {
        let (key, time, noreply) = (self.key(), self.exptime(), self.noreply());
        line(&format!("touch {key} {time}{noreply}"))
    }

    /// Some of `choices`, each letter once but for a rare mistake.
    fn meta_flags(&mut self, choices: &[&str]) -> String {
        let count = match self.random.below(40) {
            // Older versions do not discard the value of an `ms` with too many.
            0 if self.is_newest() => 17 + self.random.below(8),
            _ => self.random.below(7),
        };
        let mut chosen: Vec<&str> = Vec::new();
        for _ in 0..count {
            let flag = self.random.pick(choices);
            let is_new = !chosen.iter().any(|other| other.as_bytes()[0] == flag.as_bytes()[0]);
            let is_repeated = !is_new && self.random.once_in(if count > 10 { 4 } else { 60 });
            // A proxy refuses a repeated `q`, and forwards none: what else is wrong with the line,
            // such as too many flags, shows otherwise.
            let is_odd = flag == "q" && (is_repeated || count > 10);
            if (is_new || is_repeated) && !(is_odd && self.features == Features::Forwarded) {
                chosen.push(flag);
            }
        }
        chosen.iter().map(|flag| format!(" {flag}")).collect()
    }

    /// A key and the flag that goes with it.
    fn meta_key(&mut self) -> (String, &'static str) {
        if self.is_newest() && self.random.once_in(6) {
            (self.binary_key(), " b")
        } else {
            (self.key(), "")
        }
    }

    fn meta_get(&mut self) -> Vec<u8> {
        let mut choices = vec![
            "v", "v", "v", "v", "f", "s", "c", "t", "h", "q", "O123", "Oab", "N0", "N1000", "T0",
            "T1000",
        ];
        if self.is_newest() {
            choices.extend([
                "E77",
                "Ex",
                "R30",
                "R2000",
                "l",
                "u",
                "P1",
                "Lx",
                "T",
                "T-1",
                "N-1",
                "Nx",
                "C{CAS}",
                "C1",
                "o",
                "!",
                "1",
                "_",
                LONG_OPAQUE,
                LONGEST_OPAQUE,
            ]);
        }
        let (key, binary) = self.meta_key();
        // A binary key that was made by `N` comes back unencoded from memcached.
        if binary.is_empty() {
            choices.push("k");
        }
        let flags = self.meta_flags(&choices);
        line(&format!("mg {key}{binary}{flags}"))
    }

    fn meta_set(&mut self) -> Vec<u8> {
        let mut choices = vec![
            "c", "q", "O9", "F5", "T0", "T1000", "C{CAS}", "C{CAS}", "C1", "ME", "MR", "MS", "I",
            "I", "k",
        ];
        if self.is_newest() {
            choices.extend([
                "E1",
                "E9000000000000000000",
                "s",
                "N1000",
                "MA",
                "MP",
                "MA",
                "MP",
                "Mx",
                "M",
                "Mset",
                "T-1",
                "Fx",
                "Fx",
                "F4294967296",
                "F",
                "C0",
                "Cx",
                "E0",
                "o",
                LONG_OPAQUE,
                LONGEST_OPAQUE,
            ]);
        }
        let (key, binary) = self.meta_key();
        let flags = self.meta_flags(&choices);
        let value = self.value();
        // memcached gives the `E` of an `ms` that failed late to the next item that is stored.
        let (length, flags) = if flags.contains(" E") {
            (value.len().to_string(), flags.replace(LONGEST_OPAQUE, "O7"))
        } else {
            (self.length(value.len()), flags)
        };
        with_value(&format!("ms {key} {length}{binary}{flags}"), &value)
    }

    fn meta_delete(&mut self) -> Vec<u8> {
        let mut choices = vec!["q", "O1", "k", "I", "I", "T3000", "C{CAS}", "C2"];
        if self.is_newest() {
            choices.extend(["x", "x", "E5", "F7", "T-1", "Tx", "C0", "v", LONG_OPAQUE]);
        }
        let (key, binary) = self.meta_key();
        let flags = self.meta_flags(&choices);
        line(&format!("md {key}{binary}{flags}"))
    }

    /// memcached loses `T` and `E` when the number of digits grows, so they are asked for only
    /// with changes that cannot grow it.
    fn meta_arithmetic(&mut self) -> Vec<u8> {
        let mut choices = vec![
            "v", "v", "t", "c", "q", "k", "O5", "J10", "J0", "D5", "D1", "MI", "MD", "M+", "M-",
            "C{CAS}",
        ];
        if self.is_newest() {
            choices.extend(["N0", "N1000", "N-1", "DX", "Jx", "Mz", "M", "C0", "D", LONG_OPAQUE]);
        }
        let (key, binary) = self.meta_key();
        let mut flags = self.meta_flags(&choices);
        if self.random.once_in(6) {
            flags = " MD T1000 t v c".into();
        }
        line(&format!("ma {key}{binary}{flags}"))
    }

    fn plain(&mut self) -> Vec<u8> {
        match self.random.below(30) {
            0 => line("flush_all"),
            1 => line("flush_all 0"),
            2 => line("flush_all noreply"),
            3 => line("flush_all -5"),
            _ if !self.is_newest() => line(self.random.pick(&["mn", "verbosity 0"])),
            4..10 => {
                let key = self.key();
                line(&format!("me {key}"))
            }
            _ if self.features == Features::Forwarded => line("mn"),
            _ => line(self.random.pick(&PLAIN)),
        }
    }

    fn broken(&mut self) -> Vec<u8> {
        let count = if self.is_newest() { BROKEN.len() } else { BROKEN_ALWAYS };
        let text = BROKEN[self.random.below(count)];
        let mut bytes = text.as_bytes().to_vec();
        let bare = self.is_newest() && self.random.once_in(4);
        bytes.extend_from_slice(if bare { b"\n" } else { b"\r\n" });
        bytes
    }
}

/// Lines are shorter: with more than 2048 bytes it depends on how they arrive whether memcached
/// closes the connection, and a proxied listener closes it with more than 1024.
const LINE_BYTES_MAX: usize = 1000;

/// 32 bytes with its letter: the most that is allowed.
const LONG_OPAQUE: &str = "O1234567890123456789012345678901";
/// One byte more.
const LONGEST_OPAQUE: &str = "O12345678901234567890123456789012";

const PLAIN: [&str; 42] = [
    "mn",
    "mn x",
    "version",
    "version x",
    "verbosity",
    "verbosity 1 noreply",
    "verbosity 0",
    "verbosity 99",
    "verbosity x",
    "flush_all x",
    "flush_all 0 noreply",
    "flush_all noreply 0",
    " flush_all x",
    "cache_memlimit",
    "cache_memlimit 1",
    "cache_memlimit 64",
    "cache_memlimit 4000000000",
    "lru",
    "lru tune 10 25 0.1 2.0",
    "lru tune 90 25 0.1 2.0",
    "lru tune 10 25 0 2.0",
    "lru tune 10 25 x 2.0",
    "lru mode x",
    "lru_crawler",
    "lru_crawler x",
    "lru_crawler crawl",
    "lru_crawler sleep 1",
    "lru_crawler sleep 1000001",
    "lru_crawler tocrawl 5",
    "lru_crawler tocrawl x",
    "slabs",
    "slabs automove",
    "slabs automove 0",
    "slabs automove 3",
    "slabs automove window 2",
    "slabs automove window 20",
    "slabs automove ratio 0.7",
    "slabs automove freeratio x",
    "stats nonsense",
    "stats detail",
    "stats cachedump 1",
    "stats cachedump 99 1",
];

/// Lines that mean nothing. The first [`BROKEN_ALWAYS`] are an error in every memcached.
const BROKEN: [&str; 51] = [
    "get",
    "gets",
    "incr key1",
    "decr",
    "touch key1",
    "delete",
    "mg",
    "md",
    "ma",
    "nonsense with words",
    "GET key1",
    "getx key1",
    "get\tkey1",
    "",
    " ",
    "x",
    "mn",
    "m",
    "get ",
    "gat 10",
    "gat 10 ",
    "set",
    "set key1",
    "set key1 0 0",
    "set key1 0 0 -1",
    "SET key1 0 0 1",
    "set  key1  0  0  x",
    "mg key1 v v",
    "mg key1 !",
    "mg key1 \u{e9}",
    "mg  key1  v",
    "me",
    "me key1",
    "ms key1",
    "ms key1 x",
    "ms key1 -1",
    "ms",
    "cas key1 0 0",
    "\0",
    " get key1",
    "get  key1  key2",
    "mn  ",
    "nonsense noreply",
    "delete noreply",
    "incr key1 noreply",
    "touch key1 noreply",
    "shutdown",
    "shutdown noreply",
    "quit",
    "a b c d e f g h i j k l m n o p q r s t u v w x y noreply",
    "mg key1 s s s s s s s s s s s s s s s s s s s s s s s s s",
];
const BROKEN_ALWAYS: usize = 13;

fn goes_alone(command: &[u8]) -> bool {
    let counts =
        [b"inc".as_slice(), b"dec", b"ma ", b"qui"].iter().any(|verb| command.starts_with(verb));
    counts || command.windows(251).any(|window| window.iter().all(|&byte| byte == b'l'))
}

fn line(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn with_value(head: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = line(head);
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
    bytes
}
