//! What makes a request, what ends a connection, and that replies come in order.

use std::time::Duration;

use keyway_testkit::peer::Step;
use keyway_testkit::redis::FakeRedis;
use keyway_testkit::resp::{bulk, request, words};
use keyway_testkit::twemproxy::{Nutcracker, Program, pool, server};
use keyway_testkit::{port, wait_until};

use crate::{Answer, OURS, PING, Side, on_each};

on_each!(
    what_is_no_request_closes,
    empty_arguments_are_arguments,
    requests_arrive_in_any_pieces,
    long_keys_close,
    long_arguments_pass,
    replies_keep_their_order,
    quitting_pays_what_is_owed,
    replies_pass_whatever_their_shape,
    pipelines_are_as_long_as_they_like,
    scripts_go_by_their_first_key,
    one_connection_serves_all_clients,
);

fn honest(program: Program) -> (Side, FakeRedis) {
    let fake = FakeRedis::honest();
    (Side::redis(program, "", &[server(fake.addr)]), fake)
}

fn what_is_no_request_closes(program: Program) {
    let (side, fake) = honest(program);
    let inputs: [&[u8]; 14] = [
        b"PING\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*\r\n",
        b"*x\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$0\r\n\r\n",
        b"*2\r\n$3\r\nget\r\n$-1\r\n",
        b"*2\r\n$3\r\nget\r\n:1\r\n",
        b"*2\r\n$3\r\nget\r\n$1\r\nabc",
        b"*2\r\n$3\r\ngetxx$1\r\na\r\n",
        b"$3\r\nget\r\n",
    ];
    for input in inputs {
        let answer = side.probe(input);
        assert_eq!(answer, Answer::closed(""), "{}", input.escape_ascii());
    }
    assert_eq!(fake.lines(), [""; 0], "no server was asked");
}

fn empty_arguments_are_arguments(program: Program) {
    let (side, _fake) = honest(program);
    let mut client = side.client();
    client.ask(request(&["set", "", ""]), "+OK\r\n");
    client.ask(request(&["get", ""]), "$0\r\n\r\n");
    client.ask(request(&["mget", "", "a"]), "*2\r\n$0\r\n\r\n$-1\r\n");
}

fn requests_arrive_in_any_pieces(program: Program) {
    let (side, fake) = honest(program);
    let text = [
        request(&["set", "a", "1"]),
        PING.to_vec(),
        request(&["mset", "b", "2", "c", "3"]),
        request(&["mget", "a", "b", "c"]),
    ]
    .concat();
    let reply = "+OK\r\n+PONG\r\n+OK\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n";
    for size in [1, 2, 3, 7, text.len()] {
        let mut client = side.client();
        for piece in text.chunks(size) {
            client.send(piece);
            // A segment of its own, most likely.
            std::thread::sleep(Duration::from_micros(200));
        }
        client.expect(reply);
    }
    assert_eq!(fake.lines().len(), 15);
}

fn long_keys_close(program: Program) {
    let (side, _fake) = honest(program);
    let longest = "k".repeat(16_335);
    let mut client = side.client();
    client.ask(request(&["set", &longest, "1"]), "+OK\r\n");
    client.ask(request(&["get", &longest]), "$1\r\n1\r\n");
    if !program.is_ours() {
        let longer = request(&["get", &"k".repeat(16_336)]);
        assert_eq!(side.probe(&longer), Answer::closed(""));
    }
}

fn long_arguments_pass(program: Program) {
    let (side, _fake) = honest(program);
    let mut client = side.client();
    for len in [16_384, 100_000, 3_000_000] {
        let value = vec![b'v'; len];
        client.ask(request(&[b"set", b"a".as_slice(), &value]), "+OK\r\n");
        client.ask(words("get a"), bulk(&value));
        let pairs = [b"mset", b"a".as_slice(), &value, b"b", &value];
        client.ask(request(&pairs), "+OK\r\n");
        let both = [b"*2\r\n".to_vec(), bulk(&value), bulk(&value)].concat();
        client.ask(words("mget a b"), both);
    }
}

/// Local answers wait for slow ones before them.
fn replies_keep_their_order(program: Program) {
    let slow = FakeRedis::start(|asked| match asked.text(1).starts_with("slow") {
        true => vec![Step::Wait(Duration::from_millis(30)), Step::Send(bulk(asked.text(1)))],
        false => vec![Step::Send(bulk(asked.text(1)))],
    });
    let fast = FakeRedis::start(|asked| vec![Step::Send(bulk(asked.text(1)))]);
    let more = "hash: fnv1a_32\ndistribution: modula";
    let side = Side::redis(program, more, &[server(slow.addr), server(fast.addr)]);
    let mut client = side.client();
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for n in 0..60 {
        let key = if n % 7 == 0 { format!("slow{n}") } else { format!("fast{n}") };
        match n % 5 {
            0 => {
                sent.extend_from_slice(PING);
                expected.extend_from_slice(b"+PONG\r\n");
            }
            _ => {
                sent.extend(words(&format!("get {key}")));
                expected.extend(bulk(key));
            }
        }
    }
    client.ask(sent, expected);
}

fn quitting_pays_what_is_owed(program: Program) {
    let fake = FakeRedis::start(|asked| {
        vec![Step::Wait(Duration::from_millis(50)), Step::Send(bulk(asked.text(1)))]
    });
    let side = Side::redis(program, "", &[server(fake.addr)]);
    for quit in ["QUIT", "quit", "qUiT"] {
        let mut client = side.client();
        client.send([words("get a"), words(quit), words("get b")].concat());
        client.expect(bulk("a"));
        client.expect_close();
    }
    assert!(fake.lines().iter().all(|l| l == "get a"), "{:?}", fake.lines());
}

fn replies_pass_whatever_their_shape(program: Program) {
    let deep = "*1\r\n".repeat(20) + "$1\r\na\r\n";
    let replies = [
        "+\r\n",
        "+OK\r\n",
        "-ERR\r\n",
        "-\r\n",
        ":-42\r\n",
        ":0\r\n",
        "$0\r\n\r\n",
        "$-1\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*3\r\n$1\r\na\r\n$-1\r\n:7\r\n",
        "*2\r\n*2\r\n:1\r\n*0\r\n*1\r\n+a\r\n",
        deep.as_str(),
    ];
    for reply in replies {
        for trickles in [false, true] {
            let bytes = reply.as_bytes().to_vec();
            let fake = FakeRedis::start(move |_| match trickles {
                true => vec![Step::Trickle(bytes.clone())],
                false => vec![Step::Send(bytes.clone())],
            });
            let side = Side::redis(program, "", &[server(fake.addr)]);
            let answer = side.probe(&words("lrange a 0 1"));
            assert_eq!(answer, Answer::open(reply), "{reply:?}");
            assert_eq!(side.probe(&words("get a").repeat(2)), Answer::open(reply.repeat(2)));
            assert_eq!(fake.accepted(), 1);
        }
    }
}

fn pipelines_are_as_long_as_they_like(program: Program) {
    let (side, _fake) = honest(program);
    let mut client = side.client();
    client.ask(words("set a 1"), "+OK\r\n");
    client.send(words("get a").repeat(3000));
    client.expect("$1\r\n1\r\n".repeat(3000));
}

fn scripts_go_by_their_first_key(program: Program) {
    let fakes = [FakeRedis::named("s0"), FakeRedis::named("s1")];
    let lines = [server(fakes[0].addr), server(fakes[1].addr)];
    let side = Side::redis(program, "hash: fnv1a_32\ndistribution: modula", &lines);
    let mut client = side.client();
    for n in 0..20 {
        let home = client.redis(&format!("get key{n}"));
        for name in ["eval", "evalsha", "EVAL"] {
            let line = format!("{name} script 1 key{n} more");
            assert_eq!(client.redis(&line), home, "{line}");
            assert_eq!(client.redis(&format!("{name} script 2 key{n} key{}", n + 1)), home);
        }
    }
    if program == OURS {
        return;
    }
    for line in ["eval s 0", "eval s 0 a", "eval s x a", "eval s -1 a", "eval s 1"] {
        assert_eq!(side.probe(&words(line)), Answer::closed(""), "{line}");
    }
}

/// All clients of a worker share the one connection that the file allows.
fn one_connection_serves_all_clients(program: Program) {
    let fake = FakeRedis::honest();
    let addr = port::local();
    let yaml = pool("alpha", addr, "redis: true\npreconnect: true", &[server(fake.addr)]);
    let _nutcracker = Nutcracker::start(program, &yaml, &[addr]);
    wait_until("a connection is made before anybody asks", || fake.accepted() == 1);
    let mut clients: Vec<_> = (0..50).map(|_| keyway_testkit::client::Client::tcp(addr)).collect();
    for client in &mut clients {
        client.send(words("set a 1"));
    }
    for client in &mut clients {
        client.expect("+OK\r\n");
    }
    assert_eq!(fake.accepted(), 1);
}
