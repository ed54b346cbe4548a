//! What clients are answered: by example here, against a real redis-server in `server`.

mod server;

use super::*;
use crate::local::conns::Opened;
use crate::local::{Facts, Settings};
use crate::stats::Scope;
use keyway_proto::resp::command::COMMANDS;
use keyway_proto::resp::request::{Cut, Limits, Progress, cut};
use keyway_store::Options;
use std::sync::Arc;
use std::time::Duration;

/// One client and what is around it.
struct Alone {
    users: Vec<User>,
    compat: Compat,
    db: u32,
    has_session: bool,
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    store: Option<Store>,
    entry: Arc<ConnEntry>,
    session: Session,
}

impl Alone {
    fn new() -> Alone {
        let started = Duration::from_secs(1_700_000_000);
        let facts = || Facts { pid: 4711, ..Facts::default() };
        let shared = Shared::new(Settings::default(), 2, started, Box::new(facts));
        let entry = shared.conns.open(
            Opened {
                address: "tcp:127.0.0.1:40000".into(),
                listen_address: "tcp:127.0.0.1:6379".into(),
                ..Opened::default()
            },
            62,
        );
        Alone {
            users: Vec::new(),
            compat: Compat::Native,
            db: 0,
            has_session: false,
            registry: Registry::new(2),
            store: None,
            session: Session::new(entry.id, 62, false),
            entry,
            shared,
        }
    }

    fn at(compat: Compat) -> Alone {
        Alone { compat, ..Alone::new() }
    }

    /// With users, and their passwords.
    fn guarded(compat: Compat, users: &[(&str, &str)]) -> Alone {
        let mut alone = Alone::at(compat);
        let user = |(name, password): &(&str, &str)| User {
            name: (*name).into(),
            password: (*password).into(),
        };
        alone.users = users.iter().map(user).collect();
        alone.session = Session::new(alone.entry.id, 62, true);
        alone
    }

    /// Sends one request of these arguments.
    fn send<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> (Outcome, Vec<u8>) {
        let bytes = keyway_testkit::resp::request(arguments);
        let mut progress = Progress::default();
        let Cut::Request(request) = cut(&bytes, &Limits::REDIS, &mut progress) else {
            panic!("no request: {}", bytes.escape_ascii());
        };
        let ctx = Context {
            users: &self.users,
            compat: self.compat,
            db: self.db,
            unix_us: 1_700_000_000_000_017,
            now_seconds: 62 + 90_000,
            shared: &self.shared,
            registry: &self.registry,
            store: self.store.as_ref(),
            entry: &self.entry,
            has_session: self.has_session,
        };
        let mut out = b"kept".to_vec();
        let is_muted = self.session.begin_request();
        let outcome = answer(&mut self.session, &ctx, &request, &mut out);
        assert_eq!(out.drain(..4).collect::<Vec<_>>(), b"kept");
        assert!(!is_muted || out.is_empty() || out == b"+OK\r\n" || outcome == Outcome::Reset);
        if matches!(outcome, Outcome::NotMine | Outcome::OnSession | Outcome::Drop) {
            assert!(out.is_empty(), "{}", out.escape_ascii());
        }
        (outcome, out)
    }

    /// Sends the words of a line and expects an answer, which is returned as text.
    #[track_caller]
    fn ask(&mut self, line: &str) -> String {
        let (outcome, out) = self.send(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(outcome, Outcome::Answered, "{line}");
        String::from_utf8(out).unwrap()
    }

    /// What becomes of the words of a line.
    fn outcome(&mut self, line: &str) -> Outcome {
        self.send(&line.split(' ').collect::<Vec<_>>()).0
    }

    #[track_caller]
    fn expect(&mut self, line: &str, reply: &str) {
        assert_eq!(self.ask(line), reply, "{line}");
    }
}

#[test]
fn commands_with_keys_go_on() {
    for compat in [Compat::Native, Compat::Nutcracker, Compat::Strict] {
        let mut alone = Alone::at(compat);
        for line in
            ["get k", "SET k v", "mget a b", "MSET a 1 b 2", "eval s 1 k", "lolwit", "zadd z 1 m"]
        {
            let expected = match (line, compat) {
                ("lolwit", Compat::Native) => Outcome::Answered,
                ("lolwit", _) => Outcome::Drop,
                _ => Outcome::NotMine,
            };
            assert_eq!(alone.outcome(line), expected, "{line} {compat:?}");
        }
    }
    let mut native = Alone::new();
    for line in [
        "xadd s * f v",
        "blpop a 0",
        "multi",
        "subscribe c",
        "publish c m",
        "scan 0",
        "script load x",
        "memory usage k",
        "object encoding k",
        "xgroup create s g $",
        "pubsub channels",
        "wait 0 0",
        "eval s 0",
        "move k 1",
        "dbsize",
    ] {
        assert_eq!(native.outcome(line), Outcome::NotMine, "{line}");
    }
}

#[test]
fn unknown_words_close_where_twemproxy_is_copied() {
    for (line, nutcracker, strict) in [
        // twemproxy's table, and arguments beyond it.
        ("get", Outcome::Drop, Outcome::Drop),
        ("get a b", Outcome::Drop, Outcome::Drop),
        ("zrem z", Outcome::NotMine, Outcome::NotMine),
        ("set k", Outcome::NotMine, Outcome::NotMine),
        ("expire k 1 nx", Outcome::NotMine, Outcome::Drop),
        ("mset a 1 b", Outcome::Drop, Outcome::Drop),
        ("mset a", Outcome::Drop, Outcome::Drop),
        ("move k 1", Outcome::Drop, Outcome::Drop),
        ("eval s 0", Outcome::NotMine, Outcome::Drop),
        ("eval s 0 k", Outcome::NotMine, Outcome::Drop),
        ("eval s x k", Outcome::NotMine, Outcome::Drop),
        ("eval s 1 k", Outcome::NotMine, Outcome::NotMine),
        ("ping", Outcome::Answered, Outcome::Answered),
        ("ping x", Outcome::Answered, Outcome::Drop),
        ("ping x y", Outcome::Drop, Outcome::Drop),
        ("command", Outcome::Answered, Outcome::NotMine),
        ("command count", Outcome::Answered, Outcome::Drop),
        ("lolwut", Outcome::Answered, Outcome::NotMine),
        ("quit", Outcome::Close, Outcome::Close),
        ("quit x", Outcome::Close, Outcome::Drop),
        ("auth pw", Outcome::Answered, Outcome::Answered),
        ("auth user pw", Outcome::Answered, Outcome::Drop),
        // What twemproxy has not.
        ("msetnx a 1", Outcome::Drop, Outcome::Drop),
        ("scan 0", Outcome::Drop, Outcome::Drop),
        ("keys *", Outcome::Drop, Outcome::Drop),
        ("dbsize", Outcome::Drop, Outcome::Drop),
        ("randomkey", Outcome::Drop, Outcome::Drop),
        ("flushall", Outcome::Drop, Outcome::Drop),
        ("flushdb", Outcome::Drop, Outcome::Drop),
        ("nonsense k", Outcome::Drop, Outcome::Drop),
        ("hello 3", Outcome::Answered, Outcome::Drop),
        ("client setname x", Outcome::Answered, Outcome::Drop),
        ("client nonsense", Outcome::Answered, Outcome::Drop),
        ("select 0", Outcome::Answered, Outcome::Drop),
        ("info", Outcome::Answered, Outcome::Drop),
        ("xadd s * f v", Outcome::NotMine, Outcome::Drop),
        ("multi", Outcome::NotMine, Outcome::Drop),
        ("subscribe c", Outcome::NotMine, Outcome::Drop),
        ("blpop k 0", Outcome::NotMine, Outcome::Drop),
        ("debug sleep 1", Outcome::Answered, Outcome::Drop),
    ] {
        assert_eq!(Alone::at(Compat::Nutcracker).outcome(line), nutcracker, "nutcracker: {line}");
        assert_eq!(Alone::at(Compat::Strict).outcome(line), strict, "strict: {line}");
    }
}

#[test]
fn only_quit_of_redis_says_goodbye() {
    for (compat, reply) in
        [(Compat::Native, "+OK\r\n"), (Compat::Nutcracker, ""), (Compat::Strict, "")]
    {
        let mut alone = Alone::guarded(compat, &[("default", "pw")]);
        let (outcome, out) = alone.send(&["QUIT"]);
        assert_eq!((outcome, out.as_slice()), (Outcome::Close, reply.as_bytes()));
    }
}

#[test]
fn nutcracker_has_its_own_words_for_passwords() {
    for compat in [Compat::Nutcracker, Compat::Strict] {
        let mut open = Alone::at(compat);
        open.expect("auth pw", "-ERR Client sent AUTH, but no password is set\r\n");
        let mut alone = Alone::guarded(compat, &[("default", "pw")]);
        let no = "-NOAUTH Authentication required\r\n";
        alone.expect("ping", no);
        alone.expect("get k", no);
        assert_eq!(alone.outcome("nonsense"), Outcome::Drop);
        alone.expect("auth PW", "-ERR invalid password\r\n");
        alone.expect("auth pw", "+OK\r\n");
        alone.expect("ping", "+PONG\r\n");
        assert_eq!(alone.outcome("get k"), Outcome::NotMine);
        alone.expect("auth pwx", "-ERR invalid password\r\n");
        alone.expect("ping", no);
    }
}

#[test]
fn users_enter_with_their_own_passwords() {
    let mut alone = Alone::guarded(Compat::Native, &[("alice", "a"), ("default", "d")]);
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    for line in ["auth a", "auth alice d", "auth alice ", "auth bob a", "hello 3 auth alice d"] {
        alone.expect(line, wrong);
    }
    alone.expect("acl whoami", "-NOAUTH Authentication required.\r\n");
    alone.expect("auth d", "+OK\r\n");
    alone.expect("acl whoami", "$7\r\ndefault\r\n");
    alone.expect("auth alice a", "+OK\r\n");
    alone.expect("acl whoami", "$5\r\nalice\r\n");
    alone.expect("auth bob a", wrong);
    alone.expect("acl whoami", "$5\r\nalice\r\n");
    alone.expect("auth default d", "+OK\r\n");
    alone.expect("acl whoami", "$7\r\ndefault\r\n");
}

#[test]
fn only_the_served_database_can_be_selected() {
    let mut alone = Alone::new();
    alone.db = 3;
    alone.expect("select 3", "+OK\r\n");
    let other = "-ERR DB index is out of range, only database 3 is served\r\n";
    alone.expect("select 0", other);
    alone.expect("select 15", other);
    alone.expect("select 16", "-ERR DB index is out of range\r\n");
    alone.expect("select 03", "-ERR value is not an integer or out of range\r\n");
}

#[test]
fn a_client_that_wants_no_replies_gets_none() {
    let mut alone = Alone::new();
    alone.expect("client reply skip", "");
    alone.expect("ping", "");
    alone.expect("ping", "+PONG\r\n");
    alone.expect("client reply off", "");
    for line in ["ping", "nonsense", "get", "client reply skip", "client reply nonsense"] {
        alone.expect(line, "");
    }
    alone.expect("client reply on", "+OK\r\n");
    alone.expect("ping", "+PONG\r\n");
    alone.expect("client reply off", "");
    let (outcome, out) = alone.send(&["reset"]);
    assert_eq!((outcome, out.as_slice()), (Outcome::Reset, b"+RESET\r\n".as_slice()));
    alone.expect("ping", "+PONG\r\n");
}

#[test]
fn clients_of_later_versions_may_name_their_library() {
    let mut alone = Alone::new();
    alone.expect("client setinfo lib-name redis-py", "+OK\r\n");
    alone.expect("CLIENT SETINFO LIB-VER 5.0.1", "+OK\r\n");
    alone.expect("client setinfo lib-foo x", "-ERR Unrecognized option 'lib-foo'\r\n");
    let bad = "-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n";
    let (_, out) = alone.send(&["client", "setinfo", "lib-ver", "a b"]);
    assert_eq!(out, bad.as_bytes());
    let few = "-ERR wrong number of arguments for 'client|setinfo' command\r\n";
    alone.expect("client setinfo lib-name", few);
    alone.expect("client no-touch on", "+OK\r\n");
    alone.expect("client no-evict on", "+OK\r\n");
    alone.expect("client setname me", "+OK\r\n");
    let info = alone.ask("client info");
    for field in [
        "id=1 ",
        " addr=127.0.0.1:40000 ",
        " laddr=127.0.0.1:6379 ",
        " name=me ",
        " age=90000 ",
        " flags=eT ",
        " db=0 ",
        " cmd=client|info ",
        " user=default ",
        " resp=2 ",
        " lib-name=redis-py lib-ver=5.0.1\n",
    ] {
        assert!(info.contains(field), "{field} in {info}");
    }
}

#[test]
fn names_stay_short() {
    let mut alone = Alone::new();
    let long = "n".repeat(1025);
    assert!(alone.ask(&format!("client setname {long}")).starts_with("-ERR Client names"));
    assert!(alone.ask(&format!("hello 3 setname {long}")).starts_with("-ERR Client names"));
    alone.expect("client getname", "$-1\r\n");
    alone.expect(&format!("client setname {}", &long[1..]), "+OK\r\n");
}

#[test]
fn the_list_of_clients_shows_everybody() {
    let mut alone = Alone::new();
    let opened = |address: &str, is_listening| Opened {
        address: address.into(),
        listen_address: if is_listening { String::new() } else { "tcp:[::1]:6379".into() },
        is_listening,
        ..Opened::default()
    };
    alone.shared.conns.open(opened("tcp:[::1]:5000", false), 62);
    alone.shared.conns.open(opened("tcp:0.0.0.0:6379", true), 62);
    let list = alone.ask("client list");
    assert_eq!(list.matches("id=").count(), 2, "{list}");
    assert!(list.contains("id=2 addr=[::1]:5000 laddr=[::1]:6379 "), "{list}");
    assert_eq!(alone.ask("client list id 2 9").matches("id=").count(), 1);
    assert_eq!(alone.ask("client list type normal").matches("id=").count(), 2);
    alone.expect("client list type pubsub", "$0\r\n\r\n");
}

#[test]
fn tracking_is_for_the_clients_own_connection() {
    let mut alone = Alone::new();
    alone.expect("client tracking off", "+OK\r\n");
    assert_eq!(alone.outcome("client tracking on bcast"), Outcome::OnSession);
    assert!(alone.ask("client tracking on redirect 5").starts_with("-ERR CLIENT TRACKING with"));
    alone.has_session = true;
    for line in ["client tracking off", "client caching yes", "client trackinginfo"] {
        assert_eq!(alone.outcome(line), Outcome::OnSession, "{line}");
    }
}

#[test]
fn what_concerns_one_server_is_refused_with_advice() {
    let mut alone = Alone::new();
    for line in [
        "debug sleep 0",
        "monitor",
        "shutdown",
        "shutdown nosave",
        "replicaof no one",
        "slaveof no one",
        "migrate h 1 k 0 10",
        "save",
        "bgsave",
        "lastsave",
        "failover",
        "swapdb 0 1",
        "psync a b",
        "config set maxmemory 1",
        "config resetstat",
        "acl setuser x",
        "module load x",
        "client kill id 7",
        "client pause 100",
        "client unpause",
        "slowlog get",
        "latency doctor",
        "memory doctor",
        "pfselftest",
    ] {
        let reply = alone.ask(line);
        let name = line.split(' ').next().unwrap().to_uppercase();
        assert!(reply.starts_with(&format!("-ERR {name}")), "{line}: {reply}");
        assert!(reply.contains(" is not available through Keyway: "), "{line}: {reply}");
        assert!(reply.ends_with("\r\n") && reply.matches('\n').count() == 1, "{line}: {reply}");
    }
}

#[test]
fn help_lists_the_subcommands() {
    let mut alone = Alone::new();
    let reply = alone.ask("object help");
    assert!(reply.starts_with("*6\r\n+OBJECT has these subcommands:\r\n"), "{reply}");
    assert!(reply.contains("+ENCODING <key>\r\n") && reply.contains("+HELP\r\n"), "{reply}");
    for name in ["client", "command", "config", "acl", "script", "xinfo", "pubsub", "memory"] {
        let reply = alone.ask(&format!("{name} help"));
        let count: usize = reply[1..].split("\r\n").next().unwrap().parse().unwrap();
        assert_eq!(reply.matches("\r\n+").count(), count, "{reply}");
    }
}

#[test]
fn transactions_cannot_change_the_connection_they_run_on() {
    let queued = |line: &str, may_flush| {
        let bytes = keyway_testkit::resp::words(line);
        match cut(&bytes, &Limits::REDIS, &mut Progress::default()) {
            Cut::Request(request) => may_be_queued(&request, 3, may_flush),
            other => panic!("{other:?}"),
        }
    };
    for line in [
        "get k",
        "mget a b",
        "blpop k 0",
        "exec",
        "publish c m",
        "ping",
        "select 3",
        "script load x",
    ] {
        assert!(queued(line, false), "{line}");
    }
    for line in [
        "select 0",
        "hello 3",
        "auth pw",
        "reset",
        "client reply off",
        "client tracking on",
        "subscribe c",
        "monitor",
        "config set a b",
        "script debug yes",
        "memory purge",
        "migrate h 1 k 0 10",
        "nonsense",
    ] {
        assert!(!queued(line, true), "{line}");
    }
    for line in ["flushall", "flushdb", "function flush"] {
        assert_eq!((queued(line, false), queued(line, true)), (false, true), "{line}");
    }
}

#[test]
fn the_manual_names_every_command_of_twemproxy_and_every_answer() {
    let manual = include_str!("../../../../../docs/nutcracker.md");
    let section = manual.split("\n## ").find(|text| text.starts_with("Commands\n"));
    let section = section.expect("the manual has a section about commands");
    for command in COMMANDS.iter().filter(|command| command.nutcracker.is_some()) {
        let name = format!("`{}`", command.name.to_ascii_uppercase());
        assert!(section.contains(&name), "docs/nutcracker.md does not name {name}");
    }
    let manual = include_str!("../../../../../docs/redis.md");
    let is_mine = |command: &&Command| matches!(command.kind, Kind::Local | Kind::Refused);
    for command in COMMANDS.iter().filter(is_mine) {
        let name = command.name.to_ascii_uppercase();
        assert!(manual.contains(&format!("`{name}")), "docs/redis.md does not name {name}");
    }
}

#[test]
fn documentation_is_made_from_the_table() {
    let mut alone = Alone::new();
    let mget = alone.ask("command docs mget");
    let expected = "*2\r\n$4\r\nmget\r\n*8\r\n$7\r\nsummary\r\n$13\r\nReads: string\r\n\
        $5\r\nsince\r\n$5\r\n1.0.0\r\n$5\r\ngroup\r\n$6\r\nstring\r\n$9\r\narguments\r\n*2\r\n\
        *4\r\n$4\r\nname\r\n$3\r\nkey\r\n$4\r\ntype\r\n$3\r\nkey\r\n\
        *6\r\n$4\r\nname\r\n$3\r\nkey\r\n$4\r\ntype\r\n$3\r\nkey\r\n\
        $5\r\nflags\r\n*2\r\n+optional\r\n+multiple\r\n";
    assert_eq!(mget, expected);
    let all = alone.ask("command docs");
    assert!(all.starts_with(&format!("*{}\r\n", 2 * COMMANDS.len())));
    assert!(alone.ask("command docs object|freq config").starts_with("*4\r\n$11\r\nobject|freq"));
}

#[test]
fn information_is_true_and_in_sections() {
    let mut alone = Alone::new();
    let scope = Scope::Front { listener: "main".into(), route: "all".into() };
    for (worker, count) in [(0, 30), (1, 12)] {
        let block = alone.registry.block(worker, &scope);
        block.classes[0].requests.add(count);
        block.classes[0].hits.add(count / 3);
    }
    let legs = Scope::Front { listener: String::new(), route: "all".into() };
    alone.registry.block(0, &legs).classes[0].requests.add(1000);
    let all = alone.ask("info");
    for line in [
        "# Server\r\nredis_version:7.0.15\r\n",
        "\r\nkeyway_version:",
        "\r\nprocess_id:4711\r\n",
        "\r\ntcp_port:6379\r\n",
        "\r\nuptime_in_seconds:90000\r\nuptime_in_days:1\r\n",
        "\r\n\r\n# Clients\r\nconnected_clients:1\r\n",
        "\r\n# Persistence\r\nloading:0\r\n",
        "\r\ntotal_commands_processed:42\r\n",
        "\r\nkeyspace_hits:14\r\n",
        "\r\nrole:master\r\n",
        "\r\n# CPU\r\n",
        "\r\ncluster_enabled:0\r\n",
        "# Keyspace\r\n",
    ] {
        assert!(all.contains(line), "{line:?} in {all}");
    }
    assert_eq!(alone.ask("info everything"), all);
    alone.expect("info nonsense", "$0\r\n\r\n");
    let two = alone.ask("INFO cluster Replication");
    assert!(two.contains("# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Cluster"));
    assert!(!two.contains("# Server"));
    alone.store = Some(Store::new(Options::new(64 << 20)));
    assert!(alone.ask("config get maxmemory").contains("$8\r\n67108864\r\n"));
    assert!(alone.ask("info memory").contains("maxmemory:67108864\r\nmaxmemory_policy:allkeys"));
    alone.expect("time", "*2\r\n$10\r\n1700000000\r\n$2\r\n17\r\n");
}

#[test]
fn arbitrary_arguments_never_panic() {
    let words = ["", "x", "0", "-1", "9223372036854775808", "HELP", "ON", "*", "\0", "a\r\nb", "["];
    let every =
        COMMANDS.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands));
    for command in every {
        let name: Vec<&str> = command.name.split('|').collect();
        for (word, count) in words.iter().flat_map(|word| (0..5).map(move |count| (word, count))) {
            let rest = std::iter::repeat_n(*word, count);
            let line: Vec<&str> = name.iter().copied().chain(rest).collect();
            for compat in [Compat::Native, Compat::Nutcracker, Compat::Strict] {
                let (_, out) = Alone::at(compat).send(&line);
                let len = keyway_testkit::resp::cut_reply(&out);
                assert_eq!(len.unwrap_or(0), out.len(), "{line:?}: one whole reply");
            }
        }
    }
}
