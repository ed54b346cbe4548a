//! `getopt_long` as GNU does it: clusters, attached values, abbreviations, arguments in any order.
//!
//! Long names stand for short flags, so the caller sees only those. What is not an option is passed
//! over, as memcached does.

/// An option: its short flag and its value.
pub(super) type Flag<'a> = (u8, Option<&'a [u8]>);

/// Whether a flag takes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// Only attached, as in `--verbose=3`.
    Optional,
}

/// Reads options one after another.
pub(super) struct Getopt<'a> {
    program: &'a str,
    args: &'a [Vec<u8>],
    next: usize,
    /// What is left of a cluster of short flags.
    cluster: &'a [u8],
}

impl<'a> Getopt<'a> {
    pub(super) fn new(program: &'a str, args: &'a [Vec<u8>]) -> Self {
        Getopt { program, args, next: 0, cluster: b"" }
    }

    /// The next option; an error is `getopt`'s message.
    pub(super) fn next(&mut self) -> Option<Result<Flag<'a>, String>> {
        if !self.cluster.is_empty() {
            return Some(self.short());
        }
        loop {
            let arg = self.args.get(self.next)?.as_slice();
            self.next += 1;
            match arg {
                b"--" => return None,
                [b'-', b'-', name @ ..] => return Some(self.long(name)),
                [b'-', flags @ ..] if !flags.is_empty() => {
                    self.cluster = flags;
                    return Some(self.short());
                }
                _ => {}
            }
        }
    }

    fn short(&mut self) -> Result<Flag<'a>, String> {
        let (flag, rest) = self.cluster.split_first().expect("a cluster with flags left");
        self.cluster = rest;
        let shown = char::from(*flag);
        if VALUED.contains(flag) {
            let attached = std::mem::take(&mut self.cluster);
            let value = if attached.is_empty() { self.take() } else { Some(attached) };
            return match value {
                Some(value) => Ok((*flag, Some(value))),
                None => Err(self.message(&format!("option requires an argument -- '{shown}'"))),
            };
        }
        if PLAIN.contains(flag) {
            return Ok((*flag, None));
        }
        Err(self.message(&format!("invalid option -- '{shown}'")))
    }

    fn long(&mut self, arg: &'a [u8]) -> Result<Flag<'a>, String> {
        let (name, attached) = match arg.iter().position(|byte| *byte == b'=') {
            Some(at) => (&arg[..at], Some(&arg[at + 1..])),
            None => (arg, None),
        };
        let exact = LONG.iter().find(|(long, _)| long.as_bytes() == name);
        let matches: Vec<_> = match exact {
            Some(row) => vec![row],
            None => LONG.iter().filter(|(long, _)| long.as_bytes().starts_with(name)).collect(),
        };
        let shown = String::from_utf8_lossy(name);
        let &[&(long, flag)] = matches.as_slice() else {
            if matches.is_empty() {
                let arg = String::from_utf8_lossy(arg);
                return Err(self.message(&format!("unrecognized option '--{arg}'")));
            }
            let names: Vec<String> =
                matches.iter().map(|(long, _)| format!("'--{long}'")).collect();
            let names = names.join(" ");
            let message = format!("option '--{shown}' is ambiguous; possibilities: {names}");
            return Err(self.message(&message));
        };
        match (takes(flag), attached) {
            (Takes::Nothing, Some(_)) => {
                Err(self.message(&format!("option '--{long}' doesn't allow an argument")))
            }
            (Takes::Nothing, None) | (Takes::Optional, _) => Ok((flag, None)),
            (Takes::Value, _) => match attached.or_else(|| self.take()) {
                Some(value) => Ok((flag, Some(value))),
                None => Err(self.message(&format!("option '--{long}' requires an argument"))),
            },
        }
    }

    fn take(&mut self) -> Option<&'a [u8]> {
        let value = self.args.get(self.next)?;
        self.next += 1;
        Some(value)
    }

    fn message(&self, text: &str) -> String {
        format!("{}: {text}", self.program)
    }
}

fn takes(flag: u8) -> Takes {
    match flag {
        b'v' => Takes::Optional,
        flag if VALUED.contains(&flag) => Takes::Value,
        _ => Takes::Nothing,
    }
}

/// Short flags with a value.
const VALUED: &[u8] = b"apsUmclufnPtDRbBIYeoN";
/// Short flags without one.
const PLAIN: &[u8] = b"AZMkhiVrvdLCSFXW";

/// Long names, in memcached's order: `getopt` lists ambiguous ones in it.
pub(super) const LONG: [(&str, u8); 36] = [
    ("unix-mask", b'a'),
    ("enable-shutdown", b'A'),
    ("enable-ssl", b'Z'),
    ("port", b'p'),
    ("unix-socket", b's'),
    ("udp-port", b'U'),
    ("memory-limit", b'm'),
    ("disable-evictions", b'M'),
    ("conn-limit", b'c'),
    ("lock-memory", b'k'),
    ("help", b'h'),
    ("license", b'i'),
    ("version", b'V'),
    ("enable-coredumps", b'r'),
    ("verbose", b'v'),
    ("daemon", b'd'),
    ("listen", b'l'),
    ("user", b'u'),
    ("pidfile", b'P'),
    ("slab-growth-factor", b'f'),
    ("slab-min-size", b'n'),
    ("threads", b't'),
    ("enable-largepages", b'L'),
    ("max-reqs-per-event", b'R'),
    ("disable-cas", b'C'),
    ("listen-backlog", b'b'),
    ("protocol", b'B'),
    ("max-item-size", b'I'),
    ("enable-sasl", b'S'),
    ("disable-flush-all", b'F'),
    ("disable-dumping", b'X'),
    ("disable-watch", b'W'),
    ("auth-file", b'Y'),
    ("memory-file", b'e'),
    ("extended", b'o'),
    ("napi-ids", b'N'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Vec<Result<(char, Option<String>), String>> {
        let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let mut getopt = Getopt::new("mc", &args);
        let mut found = Vec::new();
        while let Some(flag) = getopt.next() {
            found.push(flag.map(|(flag, value)| {
                let value = value.map(|value| String::from_utf8(value.to_vec()).unwrap());
                (char::from(flag), value)
            }));
        }
        found
    }

    fn flag(flag: char, value: &str) -> Result<(char, Option<String>), String> {
        Ok((flag, (!value.is_empty()).then(|| value.to_owned())))
    }

    #[test]
    fn reads_clusters_values_and_abbreviations() {
        let found = read(&["-dvu", "nobody", "-m64", "file", "--thr=2", "--port", "1", "-"]);
        let expected = [
            flag('d', ""),
            flag('v', ""),
            flag('u', "nobody"),
            flag('m', "64"),
            flag('t', "2"),
            flag('p', "1"),
        ];
        assert_eq!(found, expected);
        assert_eq!(read(&["-v", "--", "-d"]), [flag('v', "")]);
        assert_eq!(read(&["--verbose=3", "--verb"]), [flag('v', ""), flag('v', "")]);
        assert_eq!(
            read(&["--listen", "a", "--listen-backlog=3"]),
            [flag('l', "a"), flag('b', "3")]
        );
        assert_eq!(read(&["-p", "-d"]), [flag('p', "-d")], "a value may look like a flag");
    }

    #[test]
    fn reports_as_getopt_does() {
        for (args, message) in [
            (&["-Q"][..], "mc: invalid option -- 'Q'"),
            (&["-v:"], "mc: invalid option -- ':'"),
            (&["-p"], "mc: option requires an argument -- 'p'"),
            (&["--bogus=1"], "mc: unrecognized option '--bogus=1'"),
            (&["--po"], "mc: option '--port' requires an argument"),
            (&["--daemon=3"], "mc: option '--daemon' doesn't allow an argument"),
            (&["--ver"], "mc: option '--ver' is ambiguous; possibilities: '--version' '--verbose'"),
        ] {
            let found = read(args);
            assert_eq!(found.last().unwrap(), &Err(message.to_owned()));
        }
    }
}
