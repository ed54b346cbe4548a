//! Random commands for the comparison with redis-server: few keys, all options, all mistakes.
//!
//! Expiry times that are compared with one another lie hundreds of seconds apart, because the two
//! clocks are read at slightly different moments.

use keyway_testkit::random::Random;

/// A command's words.
pub type Words = Vec<Vec<u8>>;

/// A source of random commands.
pub struct Stream {
    random: Random,
    /// Unix time of the start, in seconds.
    started: u64,
    /// Grows with every time made up, so that no two are near each other.
    times: u64,
}

/// All keys of the commands.
pub const KEYS: [&[u8]; 10] =
    [b"k0", b"k1", b"k2", b"k3", b"k4", b"key:five", b"[k]", b"a b\r\n", b"\xff\x00\x01", b""];

const INTEGERS: [&str; 27] = [
    "0",
    "1",
    "-1",
    "2",
    "10",
    "-10",
    "100",
    "7",
    "9",
    "99",
    "999",
    "-999",
    "1000000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "9223372036854775806",
    "18446744073709551616",
    "4294967295",
    "2147483648",
    "01",
    "+1",
    " 1",
    "1 ",
    "1.0",
    "",
    "abc",
];

/// Times that are none, or long over, or far away.
const TIMES: [&str; 13] = [
    "9223372036854775",
    "9223372036854775807",
    "9223372036854775806",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775",
    "-9223372036854776",
    "0",
    "-1000",
    "3000000000",
    "01",
    "",
    "abc",
];

const FLOATS: [&str; 34] = [
    "0",
    "1",
    "-1",
    "0.1",
    "-0.1",
    "1.5",
    "3.0e3",
    "5.0e-3",
    "1e17",
    "1e18",
    "1e19",
    "1e-5",
    "1e-18",
    "123456789.987654321",
    "-123456789.987654321",
    "0x1p4",
    "0x.8",
    "0X1F.8p-2",
    "inf",
    "-inf",
    "nan",
    "1e4932",
    "1e4933",
    "1e-4950",
    "1e-4952",
    "1.",
    ".5",
    ".",
    " 1",
    "1 ",
    "1e",
    "-0",
    "9223372036854775807",
    "0.3333333333333333333333",
];

const PATTERNS: [&[u8]; 20] = [
    b"*",
    b"k*",
    b"k?",
    b"k[0-2]",
    b"k[^0-2]",
    b"k[2-0]",
    b"\\k0",
    b"*:*",
    b"[[]k]",
    b"[\\[]k\\]",
    b"k[",
    b"k[0",
    b"**",
    b"?",
    b"",
    b"a b*",
    b"*\xff*",
    b"[\x80-\xff]*",
    b"k\\",
    b"*0*",
];

impl Stream {
    pub fn new(seed: u64, started: u64) -> Stream {
        Stream { random: Random::new(seed), started, times: 0 }
    }

    /// The next command.
    pub fn command(&mut self) -> Words {
        let mut words = self.sensible();
        let random = &mut self.random;
        if random.once_in(20) {
            match random.below(3) {
                0 => words.truncate(1 + random.below(words.len())),
                1 => words.push(b"EX".to_vec()),
                _ => {
                    let at = random.below(words.len());
                    words.remove(at);
                }
            }
            // What has become a key may not be longer than the store allows.
            words.iter_mut().for_each(|word| word.truncate(250));
        }
        if words.is_empty() {
            words.push(b"get".to_vec());
        }
        // Names and options are understood in any case.
        if random.once_in(3) {
            words[0].make_ascii_uppercase();
        }
        words
    }

    fn key(&mut self) -> Vec<u8> {
        self.random.choose(&KEYS).to_vec()
    }

    fn integer(&mut self) -> Vec<u8> {
        if self.random.once_in(2) {
            return self.random.choose(&INTEGERS).as_bytes().to_vec();
        }
        (self.random.below(200) as i64 - 100).to_string().into_bytes()
    }

    fn float(&mut self) -> Vec<u8> {
        if self.random.once_in(2) {
            return self.random.choose(&FLOATS).as_bytes().to_vec();
        }
        let (whole, part) = (self.random.below(100_000), self.random.bits() % 1_000_000_000);
        let sign = if self.random.once_in(2) { "-" } else { "" };
        format!("{sign}{whole}.{part}").into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(12) {
            0..4 => self.integer(),
            4..6 => self.float(),
            6 => vec![b'x'; self.random.below(40_000)],
            7 => (0..self.random.below(300)).map(|_| self.random.bits() as u8).collect(),
            8 => Vec::new(),
            _ => b"foobar"[..1 + self.random.below(6)].to_vec(),
        }
    }

    /// A place in a value, mostly near its beginning, sometimes beyond what any value may have.
    fn place(&mut self) -> Vec<u8> {
        match self.random.below(8) {
            0 => self
                .random
                .choose(&["-1", "536870912", "4294967296", "abc", "", "-9"])
                .as_bytes()
                .to_vec(),
            _ => self.random.below(60).to_string().into_bytes(),
        }
    }

    /// A bit's place, within what the store can hold or beyond what Redis can.
    fn bit(&mut self) -> Vec<u8> {
        match self.random.below(8) {
            0 => self.random.pick(&["-1", "4294967296", "abc", "", "01"]).as_bytes().to_vec(),
            _ => self.random.below(500).to_string().into_bytes(),
        }
    }

    /// A place from either end of a value.
    fn end(&mut self) -> Vec<u8> {
        match self.random.below(8) {
            0 => self.integer(),
            _ => (self.random.below(40) as i64 - 20).to_string().into_bytes(),
        }
    }

    /// A time in the unit that an option or a command asks for.
    fn time(&mut self, is_millis: bool, is_absolute: bool) -> Vec<u8> {
        let unit = if is_millis { 1000 } else { 1 };
        match self.random.below(10) {
            0 => {
                // Our clock ends before times that far away, unless they are refused at once.
                let refused = if is_absolute { 3 } else { usize::from(is_millis) };
                return self.random.choose(&TIMES[refused..]).as_bytes().to_vec();
            }
            1 if is_absolute => return (self.started - 10).to_string().into_bytes(),
            1 => return b"-5".to_vec(),
            _ => {}
        }
        self.times += 1;
        let after = 1000 * (1 + (self.times * 7919) % 99_991);
        let seconds = if is_absolute { self.started + after + 500 } else { after };
        (seconds * unit).to_string().into_bytes()
    }

    /// An expiry option with its time.
    fn expiry(&mut self) -> Words {
        let (name, is_millis, is_absolute) = *self.random.choose(&[
            ("ex", false, false),
            ("PX", true, false),
            ("ExAt", false, true),
            ("PXAT", true, true),
        ]);
        let mut words = vec![name.as_bytes().to_vec()];
        if !self.random.once_in(20) {
            words.push(self.time(is_millis, is_absolute));
        }
        words
    }

    fn options(&mut self, choices: &[&str]) -> Words {
        let mut words = Vec::new();
        while self.random.once_in(2) {
            if self.random.once_in(3) {
                words.extend(self.expiry());
            } else {
                words.push(self.random.pick(choices).as_bytes().to_vec());
            }
        }
        words
    }

    fn sensible(&mut self) -> Words {
        let all = [
            Stream::strings as fn(&mut Stream) -> Words,
            Stream::strings,
            Stream::parts,
            Stream::numbers,
            Stream::times,
            Stream::keyspace,
            Stream::many,
            Stream::strange,
        ];
        let choose = *self.random.choose(&all);
        choose(self)
    }

    fn strings(&mut self) -> Words {
        let (key, value) = (self.key(), self.value());
        match self.random.below(12) {
            0..2 => vec![b"get".to_vec(), key],
            2 => vec![b"set".to_vec(), key, value],
            3..5 => {
                let options = self.options(&["NX", "xx", "GET", "KEEPTTL", "nx", "PERSIST", "foo"]);
                [vec![b"set".to_vec(), key, value], options].concat()
            }
            5 => vec![b"setex".to_vec(), key, self.time(false, false), value],
            6 => vec![b"psetex".to_vec(), key, self.time(true, false), value],
            7 => vec![b"setnx".to_vec(), key, value],
            8 => vec![b"getset".to_vec(), key, value],
            9 => vec![b"getdel".to_vec(), key],
            10 => {
                let options = self.options(&["PERSIST", "persist", "KEEPTTL", "NX", ""]);
                [vec![b"getex".to_vec(), key], options].concat()
            }
            _ => vec![b"strlen".to_vec(), key],
        }
    }

    fn parts(&mut self) -> Words {
        let key = self.key();
        let name = self.random.pick(&[
            "append", "getrange", "substr", "setrange", "getbit", "setbit", "bitcount", "bitpos",
        ]);
        let mut words = vec![name.as_bytes().to_vec(), key];
        match name {
            "append" => words.push(self.value()),
            "getrange" | "substr" => words.extend([self.end(), self.end()]),
            "setrange" => words.extend([self.place(), self.value()]),
            "getbit" => words.push(self.bit()),
            "setbit" => {
                let bit = self.random.pick(&["0", "1", "1", "0", "2", "x"]).as_bytes().to_vec();
                words.extend([self.bit(), bit]);
            }
            _ => {
                if name == "bitpos" {
                    words.push(self.random.pick(&["0", "1", "1", "2", "x"]).as_bytes().to_vec());
                }
                for _ in 0..self.random.below(3) {
                    words.push(self.end());
                }
                if self.random.once_in(3) {
                    words.push(self.random.pick(&["BIT", "byte", "foo"]).as_bytes().to_vec());
                }
            }
        }
        words
    }

    fn numbers(&mut self) -> Words {
        let key = self.key();
        match self.random.below(8) {
            0 => vec![b"incr".to_vec(), key],
            1 => vec![b"decr".to_vec(), key],
            2 => vec![b"incrby".to_vec(), key, self.integer()],
            3 => vec![b"decrby".to_vec(), key, self.integer()],
            4..6 => vec![b"incrbyfloat".to_vec(), key, self.float()],
            6 => vec![b"set".to_vec(), key, self.float()],
            _ => vec![b"set".to_vec(), key, self.integer()],
        }
    }

    fn times(&mut self) -> Words {
        let key = self.key();
        let name = self.random.pick(&[
            "expire",
            "pexpire",
            "expireat",
            "pexpireat",
            "ttl",
            "pttl",
            "expiretime",
            "pexpiretime",
            "persist",
            "expire",
            "pexpireat",
        ]);
        let mut words = vec![name.as_bytes().to_vec(), key];
        let is_setter = name.starts_with("expire") || name.starts_with("pexpire");
        if is_setter && !name.ends_with("time") {
            words.push(self.time(name.starts_with('p'), name.ends_with("at")));
            while self.random.once_in(3) {
                let option = self.random.pick(&["NX", "xx", "GT", "lt", "foo", "b\r\nar"]);
                words.push(option.as_bytes().to_vec());
            }
        }
        words
    }

    fn keyspace(&mut self) -> Words {
        let key = self.key();
        match self.random.below(11) {
            0 => vec![b"del".to_vec(), key, self.key()],
            1 => vec![b"unlink".to_vec(), key],
            2 => vec![b"exists".to_vec(), key.clone(), self.key(), key],
            3 => vec![b"touch".to_vec(), key, self.key()],
            4 => vec![b"type".to_vec(), key],
            5 => vec![b"rename".to_vec(), key, self.key()],
            6 => vec![b"renamenx".to_vec(), key, self.key()],
            7 => {
                let mut words = vec![b"copy".to_vec(), key, self.key()];
                while self.random.once_in(3) {
                    match self.random.below(3) {
                        0 => words.push(b"replace".to_vec()),
                        1 => words.extend([b"DB".to_vec(), self.integer()]),
                        _ => words.push(b"DB".to_vec()),
                    }
                }
                words
            }
            8 => vec![b"keys".to_vec(), self.random.choose(&PATTERNS).to_vec()],
            9 => self.scan(),
            _ => match self.random.below(20) {
                0 => vec![b"flushall".to_vec()],
                1 => vec![b"flushdb".to_vec(), b"async".to_vec()],
                2 => vec![b"flushall".to_vec(), b"now".to_vec()],
                3..8 => vec![b"randomkey".to_vec()],
                _ => vec![b"dbsize".to_vec()],
            },
        }
    }

    fn scan(&mut self) -> Words {
        let cursor = match self.random.below(6) {
            0 => self.random.pick(&["abc", "", "-", " 1", "99999999999999999999999", "1x"]),
            _ => "0",
        };
        let mut words = vec![b"scan".to_vec(), cursor.as_bytes().to_vec()];
        while self.random.once_in(2) {
            match self.random.below(4) {
                0 => words.extend([b"MATCH".to_vec(), self.random.choose(&PATTERNS).to_vec()]),
                1 => {
                    let count = self.random.pick(&["1", "10", "1000", "0", "-1", "x"]);
                    words.extend([b"count".to_vec(), count.as_bytes().to_vec()]);
                }
                2 => {
                    let kind = self.random.pick(&["string", "STRING", "list", "nothing"]);
                    words.extend([b"type".to_vec(), kind.as_bytes().to_vec()]);
                }
                _ => words.push(self.random.pick(&["foo", "COUNT"]).as_bytes().to_vec()),
            }
        }
        words
    }

    fn many(&mut self) -> Words {
        let name = self.random.pick(&["mget", "mset", "msetnx"]);
        let mut words = vec![name.as_bytes().to_vec()];
        for _ in 0..1 + self.random.below(5) {
            words.push(self.key());
            if name != "mget" {
                words.push(self.value());
            }
        }
        words
    }

    /// Commands that nobody has.
    fn strange(&mut self) -> Words {
        if !self.random.once_in(4) {
            return self.strings();
        }
        let names: [&[u8]; 6] = [b"foo", b"GETT", b"", b"a\r\nb", b"x\0y", &[b'z'; 300]];
        let mut words = vec![self.random.choose(&names).to_vec()];
        for _ in 0..self.random.below(5) {
            words.push(self.value());
        }
        words
    }
}
