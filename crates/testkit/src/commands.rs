//! Random memcached commands: mostly sensible, often odd, sometimes broken.
//!
//! The stream is meant for comparing two servers, so it avoids what two right servers may answer
//! differently: expiry within the run, statistics, eviction. A word `{CAS}` stands for the number
//! that the server at hand last showed for the key of the command; see `differ`.

use keyway_proto::memcached::KEY_BYTES_MAX;

use crate::random::Random;

/// Which commands and flags both servers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// Those that memcached 1.6.18 (Debian 12) and 1.6.45 answer alike.
    Common,
    /// All of 1.6.45.
    Newest,
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

    /// One more command: its line and its value if it has one, with line ends.
    pub fn command(&mut self) -> Vec<u8> {
        match self.random.below(100) {
            0..20 => self.retrieval(),
            20..42 => self.storage(),
            42..50 => self.arithmetic(),
            50..56 => self.deletion(),
            56..60 => self.touch(),
            60..72 => self.meta_get(),
            72..84 => self.meta_set(),
            84..88 => self.meta_delete(),
            88..94 => self.meta_arithmetic(),
            94..97 => self.plain(),
            _ => self.broken(),
        }
    }

    fn key(&mut self) -> String {
        match self.random.below(200) {
            0 => "k".repeat(250),
            1 if self.is_newest() => "l".repeat(251),
            2 => format!("tab\t{}", self.random.below(3)),
            3 => format!("\u{e9}t\u{e9}{}", self.random.below(3)),
            _ => format!("key{}", self.random.below(40)),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.below(30) {
            0 => 0,
            1 => 1000 + self.random.below(8000),
            2 => 20_000 + self.random.below(60_000),
            _ => 1 + self.random.below(40),
        };
        match self.random.below(6) {
            0 => self.number().into_bytes(),
            1 => b"get key1\r\nEND\r\n\0".iter().copied().cycle().take(len).collect(),
            _ => {
                let first = self.random.below(26);
                (0..len).map(|i| b'a' + ((first + i) % 26) as u8).collect()
            }
        }
    }

    /// No number here, and no likely sum of them, reaches 2^63: from there on memcached looks for
    /// a minus sign past the end of the item, so its answer depends on what lies behind it.
    fn number(&mut self) -> String {
        let numbers =
            ["0", "1", "7", "99", "100", "4294967295", "4294967296", "100000000000000000"];
        match self.random.below(3) {
            0 => self.random.pick(&numbers).to_owned(),
            _ => self.random.below(100_000).to_string(),
        }
    }

    fn bad_number(&mut self) -> &'static str {
        let numbers = ["abc", "1x", "18446744073709551616", "99999999999999999999", "-1", "+1"];
        let count = if self.is_newest() { numbers.len() } else { numbers.len() - 2 };
        numbers[self.random.below(count)]
    }

    fn flags(&mut self) -> String {
        let kinds = if self.is_newest() { 12 } else { 9 };
        match kinds - 1 - self.random.below(kinds) {
            8 => "4294967295".into(),
            9 => "4294967296".into(),
            10 => "-1".into(),
            11 => "x".into(),
            _ => self.random.below(70_000).to_string(),
        }
    }

    fn is_newest(&self) -> bool {
        self.features == Features::Newest
    }

    fn exptime(&mut self) -> &'static str {
        let times = ["0", "0", "0", "0", "1000", "2592000", "-1", "1900000000", "4000000000", "x"];
        let count = if self.is_newest() { times.len() } else { times.len() - 2 };
        times[self.random.below(count)]
    }

    fn noreply(&mut self) -> &'static str {
        self.random.pick(&["", "", "", "", "", " noreply", " noreply", " noreplY", " x"])
    }

    fn retrieval(&mut self) -> Vec<u8> {
        let verb = self.random.pick(&["get", "get", "gets", "gat", "gats"]);
        let time = if verb.starts_with("gat") {
            let times = ["0", "1000", "-1", "1900000000", "abc", "2592001000"];
            let count = if self.is_newest() { times.len() } else { times.len() - 2 };
            format!(" {}", times[self.random.below(count)])
        } else {
            String::new()
        };
        let count = match self.random.below(10) {
            0..6 => 1,
            6..9 => 1 + self.random.below(8),
            _ => 20 + self.random.below(40),
        };
        // A key that is too long makes 1.6.45 lose the replies to earlier commands of the packet.
        let keys = (0..count).map(|_| self.key()).filter(|k| k.len() <= KEY_BYTES_MAX);
        let keys: String = keys.map(|k| format!(" {k}")).collect();
        line(&format!("{verb}{time}{keys}"))
    }

    fn storage(&mut self) -> Vec<u8> {
        let verbs = ["set", "set", "set", "add", "replace", "append", "prepend", "cas", "cas"];
        let verb = self.random.pick(&verbs);
        let (key, flags, time) = (self.key(), self.flags(), self.exptime());
        let cas = if verb == "cas" {
            let numbers = ["{CAS}", "{CAS}", "{CAS}", "1", "0", "nan", "-3"];
            let count = if self.is_newest() { numbers.len() } else { numbers.len() - 2 };
            format!(" {}", numbers[self.random.below(count)])
        } else {
            String::new()
        };
        let (noreply, mut value) = (self.noreply(), self.value());
        let length = self.length(&mut value);
        let head = format!("{verb} {key} {flags} {time} {length}{cas}{noreply}");
        with_value(&head, &value)
    }

    /// Nearly always the right length of a value that follows. With a wrong one the value is read
    /// as commands; it is short then, as what 1.6.45 does with lines above 2048 bytes depends on
    /// how they arrive.
    fn length(&mut self, value: &mut Vec<u8>) -> String {
        let kind = if self.is_newest() { self.random.below(60) } else { 60 };
        if kind < 3 {
            value.truncate(1000);
        }
        let right = value.len();
        match kind {
            0 => right.saturating_sub(1).to_string(),
            1 => self.bad_number().to_owned(),
            2 => format!("0{right}"),
            _ => right.to_string(),
        }
    }

    fn arithmetic(&mut self) -> Vec<u8> {
        let verb = self.random.pick(&["incr", "decr"]);
        let key = self.key();
        if self.random.once_in(4) {
            // Something to count on.
            let number = self.number();
            let mut set = with_value(&format!("set {key} 0 0 {}", number.len()), number.as_bytes());
            set.extend(line(&format!("{verb} {key} 1")));
            return set;
        }
        let by = if self.random.once_in(8) { self.bad_number().into() } else { self.number() };
        line(&format!("{verb} {key} {by}{}", self.noreply()))
    }

    fn deletion(&mut self) -> Vec<u8> {
        let key = self.key();
        let extras = ["", "", "", "", " 0", " noreply", " 0 noreply", " 1", " x y"];
        let count = if self.is_newest() { extras.len() } else { extras.len() - 2 };
        let extra = extras[self.random.below(count)];
        line(&format!("delete {key}{extra}"))
    }

    fn touch(&mut self) -> Vec<u8> {
        let (key, time, noreply) = (self.key(), self.exptime(), self.noreply());
        line(&format!("touch {key} {time}{noreply}"))
    }

    fn meta_flags(&mut self, choices: &[&str]) -> String {
        let count = self.random.below(6);
        let mut chosen: Vec<&str> = Vec::new();
        for _ in 0..count {
            let flag = self.random.pick(choices);
            // Repeated flags are an error of their own; `broken` asks for that.
            if !chosen.iter().any(|c| c.as_bytes()[0] == flag.as_bytes()[0]) {
                chosen.push(flag);
            }
        }
        chosen.iter().map(|f| format!(" {f}")).collect()
    }

    fn meta_get(&mut self) -> Vec<u8> {
        let mut choices = vec![
            "v", "v", "v", "k", "f", "s", "c", "t", "h", "q", "O123", "Oab", "N0", "N1000", "T0",
            "T1000", "Nx",
        ];
        if self.is_newest() {
            choices.extend(["E77", "Ex", "R30", "l"]);
        }
        let key = self.key();
        let flags = self.meta_flags(&choices);
        line(&format!("mg {key}{flags}"))
    }

    fn meta_set(&mut self) -> Vec<u8> {
        let mut choices = vec![
            "c", "k", "q", "O9", "F5", "Fx", "T0", "T1000", "T-1", "C{CAS}", "C{CAS}", "C1", "ME",
            "MR", "MS", "Mx", "b", "I",
        ];
        if self.is_newest() {
            choices.extend(["E1000", "s", "N100", "MA", "MP"]);
        }
        let key = self.key();
        let flags = self.meta_flags(&choices);
        let mut value = self.value();
        let length = self.length(&mut value);
        with_value(&format!("ms {key} {length}{flags}"), &value)
    }

    fn meta_delete(&mut self) -> Vec<u8> {
        let mut choices = vec!["q", "O1", "k", "I", "T30", "C{CAS}", "C2"];
        if self.is_newest() {
            choices.extend(["x", "E5"]);
        }
        let key = self.key();
        let flags = self.meta_flags(&choices);
        line(&format!("md {key}{flags}"))
    }

    fn meta_arithmetic(&mut self) -> Vec<u8> {
        let mut choices = vec![
            "v", "v", "t", "c", "q", "k", "O5", "J10", "J0", "D5", "D1", "DX", "MI", "MD", "M+",
            "M-", "Mz", "T1000", "C{CAS}",
        ];
        if self.is_newest() {
            choices.extend(["N0", "N100"]);
        }
        let key = self.key();
        let flags = self.meta_flags(&choices);
        line(&format!("ma {key}{flags}"))
    }

    fn plain(&mut self) -> Vec<u8> {
        let choices = [
            "mn",
            "version",
            "verbosity 0",
            "verbosity",
            "verbosity 1 noreply",
            "me nothing",
            "mn x",
        ];
        match self.random.below(12) {
            0 => line("flush_all"),
            1 => line("flush_all 0"),
            2 => line("flush_all noreply"),
            3 => line("flush_all x"),
            _ => line(self.random.pick(&choices)),
        }
    }

    fn broken(&mut self) -> Vec<u8> {
        let count = if self.is_newest() { BROKEN.len() } else { BROKEN_COMMON };
        line(BROKEN[self.random.below(count)])
    }
}

/// Lines that mean nothing. The first [`BROKEN_COMMON`] are an error in every memcached; the others
/// are read differently by older ones.
const BROKEN: [&str; 32] = [
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
    "get ",
    "gat 10",
    "set",
    "set key1",
    "set key1 0 0",
    "SET key1 0 0 1",
    "mg key1 v v",
    "mg key1 !",
    "me",
    "ms key1",
    "ms",
    "verbosity x",
    "cas key1 0 0 1",
    "\0",
    " get key1",
    "get  key1  key2",
    "mn  ",
];
const BROKEN_COMMON: usize = 13;

fn line(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.extend(b"\r\n");
    bytes
}

fn with_value(head: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = line(head);
    bytes.extend_from_slice(value);
    bytes.extend(b"\r\n");
    bytes
}
