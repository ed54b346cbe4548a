//! The same bytes as a real redis-server, wherever the answer is not about this server alone.

use super::*;
use keyway_testkit::client::Client;
use keyway_testkit::redis::redis_server;
use keyway_testkit::resp;

/// A client of a real server beside one of ours.
struct Pair {
    real: Client,
    alone: Alone,
    count: usize,
}

impl Pair {
    fn new(addr: std::net::SocketAddr, mut alone: Alone) -> Pair {
        let real = Client::tcp(addr);
        let asks_auth = !alone.users.is_empty();
        let mut pair = Pair { real, count: 0, alone: Alone::new() };
        // Both have to have the same number.
        let id = if asks_auth { 0 } else { number(&pair.real.command(&["client", "id"])) };
        alone.session = Session::new(id, 62, asks_auth);
        pair.alone = alone;
        pair
    }

    /// What the real server says to this, which may be nothing: it is asked a second question.
    fn real(&mut self, arguments: &[&[u8]]) -> Vec<u8> {
        self.count += 1;
        let mark = format!("mark{}", self.count);
        self.real.send(resp::request(arguments));
        self.real.send(resp::request(&[&mark]));
        let mut replies = Vec::new();
        loop {
            let reply = self.real.reply();
            if reply.starts_with(format!("-ERR unknown command '{mark}'").as_bytes()) {
                return replies;
            }
            replies.extend(reply);
        }
    }

    #[track_caller]
    fn same(&mut self, arguments: &[&[u8]]) {
        let real = self.real(arguments);
        let (_, ours) = self.alone.send(arguments);
        let shown: Vec<_> = arguments.iter().map(|word| word.escape_ascii().to_string()).collect();
        let (ours, real) = (ours.escape_ascii().to_string(), real.escape_ascii().to_string());
        assert_eq!(ours, real, "{shown:?}");
    }

    #[track_caller]
    fn same_lines(&mut self, lines: &str) {
        for line in lines.split(';').map(str::trim_start) {
            self.same(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
    }
}

fn number(reply: &[u8]) -> u64 {
    std::str::from_utf8(reply).unwrap().trim()[1..].parse().unwrap()
}

#[test]
fn connection_commands_answer_as_a_server_does() {
    let (_server, addr) = redis_server(&[]);
    let mut pair = Pair::new(addr, Alone::new());
    pair.same_lines(
        "hello; hello 4; hello 1; hello x; hello 3.0; hello -1; hello 03; \
         hello 99999999999999999999; hello 2 auth; hello 2 auth default; \
         hello 2 auth default x; hello 2 auth nobody x; hello 2 setname; hello 2 foo; \
         hello 2 setname good; client getname; hello 2 auth default x setname other; \
         client getname; hello 3; client getname; client trackinginfo; client getredir; \
         client setname ; client getname; hello; hello 2; client getname; hello 3 foo; auth; \
         auth x; auth default x; auth nobody x; auth a b c; ping; PING a; ping a b; echo a; \
         echo; echo a b; select 0; select 16; select -1; select x; select; select 0 1; \
         select 99999999999999999999; reset x; readonly x; role; role x; time x; acl whoami; \
         acl; acl foo; acl whoami x; module list; latency latest; asking; cluster; \
         cluster foo; cluster info; cluster slots; cluster keyslot a; cluster keyslot; \
         lolwut version x",
    );
    pair.same_lines(
        "client; client foo; client foo bar; client id; client id x; client getname x; \
         client setname; client setname a b; client setname ab; client getname; \
         client info x; client list type; client list type foo; client list type pubsub; \
         client list type master; client list type replica; client list id; client list id x; \
         client list id 999999; client list foo; client no-evict; client no-evict on; \
         client no-evict off; client no-evict foo; client reply; client reply foo; \
         client reply on; client caching; client caching yes; client tracking; \
         client tracking foo; client tracking off; client unblock; client unblock 999999; \
         client unblock x; client unblock 9 foo; client unblock 999999 error; \
         client unblock 999999 TIMEOUT; client kill; client help x; client getredir x",
    );
    // The next reply is left out: that to the question which ends each answer.
    pair.real.send(resp::words("client reply skip"));
    assert_eq!(pair.alone.ask("client reply skip"), "");
    pair.real.send(resp::words("echo unheard"));
    assert_eq!(pair.alone.ask("echo unheard"), "");
    pair.same_lines("ping");
    for name in [b"a b".as_slice(), b"a\nb", b"\x80", b"a\x7f", b"~!", b"", b"\0"] {
        pair.same(&[b"client", b"setname", name]);
        pair.same(&[b"hello", b"2", b"setname", name]);
    }
    pair.same(&[b"hello", b"2", b"se\ntname"]);
    pair.same(&[b"hello", b"3\n"]);
}

#[test]
fn faults_are_told_in_the_same_words() {
    let (_server, addr) = redis_server(&[]);
    let mut pair = Pair::new(addr, Alone::new());
    pair.same_lines(
        "foo; foo a b; FOO A; get; GET; Get a b; mset a; mset a 1 b; msetnx a 1 b; config; \
         config foo; config get; config set; config|get x; object; object foo; object foo a; \
         object encoding; object freq a b; debug; monitor x; save x; memory; memory usage; \
         latency; slowlog; module; script; function; xgroup; pubsub; command foo; \
         command count x; wait; lastsave x; swapdb",
    );
    for length in [1, 100, 127, 128, 129, 200] {
        let word = vec![b'w'; length];
        pair.same(&[&word]);
        pair.same(&[b"foo", &word]);
        pair.same(&[b"foo", &word, b"b"]);
        pair.same(&[b"foo", b"abc", &word, &word]);
        pair.same(&[b"client", &word]);
    }
    let many: Vec<String> = (0..60).map(|index| format!("arg{index}")).collect();
    let mut arguments = vec![b"foo".as_slice()];
    arguments.extend(many.iter().map(|word| word.as_bytes()));
    pair.same(&arguments);
    pair.same(&[b"foo\r\nbar", b"a\r\nb", b"\0x", b"\xff"]);
    pair.same(&[b"client", b"fo\no"]);
    pair.same(&[b"client", b"fo\0o"]);
    pair.same(&[b"", b"a"]);
    for command in COMMANDS.iter().filter(|command| command.arity > 2 || command.arity < -2) {
        pair.same(&[command.name.as_bytes()]);
        for sub in command.subcommands.iter().filter(|sub| sub.arity > 2 || sub.arity < -2) {
            let word = sub.name.split('|').nth(1).expect("a subcommand has its own word");
            pair.same(&[command.name.as_bytes(), word.as_bytes()]);
        }
    }
}

#[test]
fn passwords_are_asked_for_in_the_same_words() {
    let (_server, addr) = redis_server(&["--requirepass", "pw"]);
    let mut pair = Pair::new(addr, Alone::guarded(Compat::Native, &[("default", "pw")]));
    pair.same_lines(
        "ping; foo; get; get a; hello; hello 2; hello 3 auth default x; hello 9; client id; \
         client foo; command count; info; auth x; auth default x; auth u pw; auth a b c; \
         reset; ping; auth pw; ping; auth x; ping; reset; ping; auth default pw; \
         client getname; client setname n; client getname; reset; client getname; auth pw; \
         client getname; reset; hello 3 setname n",
    );
    pair.alone.session.reset(true);
    let id = {
        pair.real(&[b"auth", b"pw"]);
        number(&pair.real(&[b"client", b"id"]))
    };
    pair.real(&[b"reset"]);
    pair.alone.session = Session::new(id, 62, true);
    pair.same_lines("hello 3 auth default pw setname n; client getname; hello 2; reset");
}

/// A reply as a tree.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Leaf(String),
    /// The kind of collection, and its elements.
    Node(u8, Vec<Tree>),
}

fn tree(bytes: &mut &[u8]) -> Tree {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
    let kind = bytes[0];
    let count = || std::str::from_utf8(&bytes[1..line_end - 2]).unwrap().parse::<usize>().unwrap();
    let elements = match kind {
        b'*' | b'~' => count(),
        b'%' => 2 * count(),
        _ => {
            let (leaf, rest) = bytes.split_at(resp::cut_reply(bytes).unwrap());
            *bytes = rest;
            return Tree::Leaf(leaf.escape_ascii().to_string());
        }
    };
    *bytes = &bytes[line_end..];
    Tree::Node(kind, (0..elements).map(|_| tree(bytes)).collect())
}

/// Takes what we do not tell out of the facts of a command: tips, and notes about keys.
fn without_prose(facts: &mut Tree) {
    let Tree::Node(_, facts) = facts else { return };
    facts[7] = Tree::Node(0, Vec::new());
    let Tree::Node(_, specs) = &mut facts[8] else { panic!("key specifications are a set") };
    for spec in specs {
        let Tree::Node(_, pairs) = spec else { panic!("a key specification is a map") };
        if pairs[0] == Tree::Leaf("$5\\r\\nnotes\\r\\n".to_owned()) {
            pairs.drain(..2);
        }
    }
    let Tree::Node(_, subs) = &mut facts[9] else { panic!("subcommands are a set") };
    for sub in subs.iter_mut() {
        without_prose(sub);
    }
    subs.sort_by_key(|sub| format!("{sub:?}"));
}

#[test]
fn the_table_of_commands_is_that_of_a_server() {
    let (_server, addr) = redis_server(&[]);
    let mut pair = Pair::new(addr, Alone::new());
    pair.same_lines("command count");
    for version in ["hello 2", "hello 3"] {
        pair.same_lines(version);
        for command in COMMANDS.iter() {
            let asked = [b"command".as_slice(), b"info", command.name.as_bytes()];
            let (real, ours) = (pair.real(&asked), pair.alone.send(&asked).1);
            let trees = [real, ours].map(|reply| match tree(&mut reply.as_slice()) {
                Tree::Node(b'*', mut all) => {
                    without_prose(&mut all[0]);
                    all.remove(0)
                }
                other => panic!("{other:?}"),
            });
            assert_eq!(trees[1], trees[0], "{}", command.name);
        }
    }
    pair.same_lines(
        "command info foo; command info config|foo; command info foo|bar; \
         command docs foo; command list foo; command list filterby; \
         command list filterby foo bar; command list filterby module x; \
         command list filterby aclcat foo; \
         command list filterby pattern nothing*; command list filterby pattern GET; \
         command list filterby pattern g?t",
    );
    for filter in ["", " filterby pattern x*", " filterby aclcat geo", " filterby aclcat SET"] {
        let line = format!("command list{filter}");
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        let mut lists = [pair.real(&words), pair.alone.send(&words).1].map(|reply| {
            String::from_utf8(reply).unwrap().split("\r\n").map(str::to_owned).collect::<Vec<_>>()
        });
        lists.iter_mut().for_each(|list| list.sort());
        assert_eq!(lists[1], lists[0], "{line}");
    }
}

#[test]
fn keys_are_found_as_a_server_finds_them() {
    let (_server, addr) = redis_server(&[]);
    let mut pair = Pair::new(addr, Alone::new());
    for version in ["hello 2", "hello 3"] {
        pair.same_lines(version);
        let lines = "foo bar; ping x; get a b; get a; \
            mset a b c; mset a 1 b 2; set a b; object encoding a; \
            xgroup create a b c; config get x; object foo x; zunionstore d 2 a b; \
            zunionstore d 9 a b; zunionstore d x a b; xread count 1 streams a b 0 0; \
            migrate h 1 k 0 10; \
            publish a b; eval s 0; eval s 1 a; eval s 2 a b c; \
            lmpop 1 a left; ping ping; lmove a b left right; memory usage a; \
            auth a b";
        for line in lines.split("; ") {
            for word in ["getkeys", "getkeysandflags"] {
                pair.same_lines(&format!("command {word} {line}"));
            }
        }
        pair.same_lines("command getkeys get; command getkeys");
    }
}

#[test]
fn settings_are_found_by_patterns() {
    let (_server, addr) = redis_server(&[]);
    let mut pair = Pair::new(addr, Alone::new());
    for version in ["hello 2", "hello 3"] {
        pair.same_lines(version);
        pair.same_lines(
            "config get save; config get SAVE; config get sav?; \
             config get [rst]ave; config get appendonly; config get databases; \
             config get maxmemory; config get maxmemory-policy; config get notify-keyspace-events; \
             config get proto-max-bulk-len; config get nothing; config get *max*x; \
             config get cluster-enabled save[",
        );
    }
}
