//! What ties a client to a server for a while: transactions, subscriptions, blocking commands.
//! Others on the shared connections notice nothing, and nothing is left behind.

use keyway_testkit::client::Client;
use keyway_testkit::redis::redis_server;
use keyway_testkit::resp::{bulk, request, words};
use keyway_testkit::wait_until;

use crate::{Proxy, Twins};

/// Several requests, each as a line of words.
fn lines(text: &str) -> Vec<Vec<u8>> {
    text.split('|').map(|line| words(line.trim())).collect()
}

#[test]
fn transactions_answer_as_redis_does() {
    let twins = Twins::start();
    let mut clients = twins.clients();
    let cases = [
        "MULTI | EXEC",
        "MULTI | DISCARD",
        "EXEC | DISCARD | UNWATCH",
        "MULTI | MULTI | SET a 1 | EXEC | GET a",
        "MULTI | SET a | GET a | EXEC",
        "MULTI | nosuchcommand | EXEC",
        "MULTI | WATCH a | EXEC",
        "MULTI | PING | ECHO x | GET a | EXEC",
        "SET s x | MULTI | LPUSH s 1 | SET s y | EXEC | GET s",
        "WATCH a | SET a 2 | MULTI | GET a | EXEC",
        "WATCH a | MULTI | INCR a | EXEC | GET a",
        "WATCH a | UNWATCH | SET a 3 | MULTI | GET a | EXEC",
        "WATCH a b c | MULTI | MSET a 1 b 2 | MGET a b c | EXEC",
        "MULTI | SET a 1 | DISCARD | GET a | EXEC",
        "MULTI | SET a 1 | EXEC | MULTI | SET b 2 | EXEC | MULTI | MGET a b | EXEC | GET a",
        "MULTI | EXPIRE a 100 | PERSIST a | TYPE a | EXEC",
        "WATCH | MULTI x | EXEC x | PING",
        "MULTI | BLPOP none 1 | EXEC",
        "MULTI | GET a | RESET | GET a",
    ];
    for case in cases {
        eprintln!("{case}");
        Twins::same(&mut clients, &lines(case));
        // One by one as well as in one segment.
        for request in lines(case) {
            Twins::same(&mut clients, &[request]);
        }
    }
}

#[test]
fn a_change_by_another_client_ends_a_transaction() {
    let twins = Twins::start();
    for version in ["HELLO 2", "HELLO 3"] {
        let mut clients = twins.clients();
        let mut others = twins.clients();
        for client in &mut clients {
            client.send(words(version));
            client.reply();
        }
        Twins::same(&mut clients, &lines("SET a 1 | WATCH a | GET a"));
        Twins::same(&mut others, &lines("SET a 2"));
        Twins::same(&mut clients, &lines("MULTI | SET a 3 | EXEC | GET a"));
    }
}

/// A client that leaves in the middle takes its transaction with it.
#[test]
fn transactions_of_clients_that_left_are_gone() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "sessions_max = 4");
    for n in 0..30 {
        let mut client = proxy.client();
        client.send(lines("WATCH a | MULTI | SET a 1").concat());
        client.expect("+OK\r\n+OK\r\n+QUEUED\r\n");
        if n % 2 == 0 {
            // The end of this connection is seen when the next one is served, or later.
            client.finish_sending();
            client.expect_close();
        }
    }
    let mut direct = Client::tcp(addr);
    direct.ask(words("GET a"), "$-1\r\n");
    wait_until("a session is free", || {
        let mut client = proxy.client();
        client.send(lines("MULTI | GET a | EXEC").concat());
        let first = [client.reply(), client.reply(), client.reply()];
        first == [b"+OK\r\n".to_vec(), b"+QUEUED\r\n".to_vec(), b"*1\r\n$-1\r\n".to_vec()]
    });
}

#[test]
fn subscriptions_speak_both_versions() {
    let twins = Twins::start();
    for version in ["HELLO 2", "HELLO 3"] {
        let mut clients = twins.clients();
        let mut others = twins.clients();
        for client in &mut clients {
            client.send(words(version));
            client.reply();
        }
        let ask = "SUBSCRIBE a | PSUBSCRIBE a* | SUBSCRIBE b | UNSUBSCRIBE b | PING | PING x";
        Twins::same(&mut clients, &lines(ask));
        Twins::same(&mut others, &lines("PUBLISH a hello | PUBLISH none x | PUBLISH a again"));
        // Each message comes twice: for the channel and for the pattern.
        for _ in 0..4 {
            let [ours, reference] = clients.each_mut().map(Client::reply);
            assert_eq!(ours.escape_ascii().to_string(), reference.escape_ascii().to_string());
        }
        Twins::same(&mut clients, &lines("UNSUBSCRIBE | PUNSUBSCRIBE | PING | GET a"));
    }
}

/// A subscriber of version 2 may do little else; one of version 3 anything.
#[test]
fn subscribers_may_do_what_redis_lets_them() {
    let twins = Twins::start();
    let mut clients = twins.clients();
    Twins::same(
        &mut clients,
        &lines("SUBSCRIBE a | GET a | SET a 1 | PING | UNSUBSCRIBE a | GET a"),
    );
    for client in &mut clients {
        client.send(words("HELLO 3"));
        client.reply();
    }
    Twins::same(
        &mut clients,
        &lines("SUBSCRIBE a | GET a | SET a 1 | PING | MGET a b | UNSUBSCRIBE"),
    );
    Twins::same(&mut clients, &lines("UNSUBSCRIBE none | PUNSUBSCRIBE none | SUBSCRIBE | GET a"));
}

#[test]
fn blocking_commands_wait_for_what_others_push() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "");
    let cases = [
        ("BLPOP list 0", "RPUSH list x", "*2\r\n$4\r\nlist\r\n$1\r\nx\r\n"),
        ("BRPOP none list 0", "RPUSH list x", "*2\r\n$4\r\nlist\r\n$1\r\nx\r\n"),
        ("BLMOVE list other LEFT RIGHT 0", "RPUSH list x", "$1\r\nx\r\n"),
        ("BRPOPLPUSH list other 0", "RPUSH list x", "$1\r\nx\r\n"),
        ("BZPOPMIN z 0", "ZADD z 1 m", "*3\r\n$1\r\nz\r\n$1\r\nm\r\n$1\r\n1\r\n"),
        ("BLMPOP 0 1 list LEFT", "RPUSH list x", "*2\r\n$4\r\nlist\r\n*1\r\n$1\r\nx\r\n"),
    ];
    let mut other = proxy.client();
    let mut direct = Client::tcp(addr);
    for (block, push, reply) in cases {
        let mut client = proxy.client();
        // What comes behind waits its turn.
        client.send([words("PING"), words(block), words("PING"), words("GET none")].concat());
        client.expect("+PONG\r\n");
        wait_until("the server has a blocked client", || {
            let info = direct.command(&["INFO", "clients"]);
            String::from_utf8_lossy(&info).contains("blocked_clients:1")
        });
        // Nobody else is held up.
        other.ask(words("SET s 1"), "+OK\r\n");
        assert_eq!(other.command(&push.split(' ').collect::<Vec<_>>())[0], b':');
        client.expect([reply.as_bytes(), b"+PONG\r\n$-1\r\n"].concat());
    }
    other.ask(words("BLPOP none 0.05"), "*-1\r\n");
    other.ask(words("XADD st 1-1 f v"), bulk("1-1"));
    other.ask(words("XREAD BLOCK 20 STREAMS st 1-1"), "*-1\r\n");
}

/// A client that leaves while it waits frees the connection: nothing is popped for nobody.
#[test]
fn nothing_is_popped_for_clients_that_left() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "sessions_max = 2");
    let mut direct = Client::tcp(addr);
    let blocked = |direct: &mut Client| {
        let info = String::from_utf8_lossy(&direct.command(&["INFO", "clients"])).into_owned();
        let (_, rest) = info.split_once("blocked_clients:").expect("redis counts them");
        rest.split("\r\n").next().and_then(|n| n.parse::<usize>().ok()).expect("a number")
    };
    for _ in 0..6 {
        let mut client = proxy.client();
        client.send(words("BLPOP list 0"));
        wait_until("it waits", || blocked(&mut direct) == 1);
        drop(client);
        wait_until("it waits no more", || blocked(&mut direct) == 0);
    }
    direct.ask(words("RPUSH list x"), ":1\r\n");
    proxy.client().ask(words("LPOP list"), bulk("x"));
}

#[test]
fn scripts_run_by_their_keys() {
    let twins = Twins::start();
    let mut clients = twins.clients();
    let script = "return {KEYS[1],ARGV[1],redis.call('set',KEYS[1],ARGV[1])}";
    let sha = clients[1].command(&["SCRIPT", "LOAD", script]);
    let sha = String::from_utf8_lossy(&sha[5..45]).into_owned();
    let requests = [
        request(&["EVAL", script, "1", "a", "b"]),
        request(&["SCRIPT", "LOAD", script]),
        request(&["EVALSHA", &sha, "1", "a", "c"]),
        request(&["SCRIPT", "EXISTS", &sha, "ffff"]),
        request(&["EVAL", "return 1", "0"]),
        request(&["EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "1", "a"]),
        request(&["EVAL", "return redis.error_reply('MY own')", "1", "a"]),
        request(&["SCRIPT", "FLUSH"]),
        request(&["EVALSHA", &sha, "1", "a", "c"]),
        request(&[
            "FUNCTION",
            "LOAD",
            "#!lua name=l\nredis.register_function('f', function(k) return k[1] end)",
        ]),
        request(&["FCALL", "f", "1", "a"]),
        request(&["FUNCTION", "DELETE", "l"]),
    ];
    Twins::same(&mut clients, &requests);
}

/// Replies that a client does not want are not sent; what comes behind is.
#[test]
fn unwanted_replies_are_left_out() {
    let twins = Twins::start();
    let texts = [
        "CLIENT REPLY SKIP | SET a 1 | GET a",
        "CLIENT REPLY OFF | SET a 2 | GET a | MGET a b | PING | CLIENT REPLY ON | GET a",
        "CLIENT REPLY SKIP | PING | PING",
        "CLIENT REPLY SKIP | MGET a b | GET a",
    ];
    for text in texts {
        let all: Vec<Vec<u8>> = twins
            .clients()
            .into_iter()
            .map(|mut client| {
                client.send(lines(text).concat());
                client.send(words("ECHO end"));
                let mut got = Vec::new();
                while !got.ends_with(&bulk("end")) {
                    got.extend(client.reply());
                }
                got
            })
            .collect();
        assert_eq!(all[0].escape_ascii().to_string(), all[1].escape_ascii().to_string(), "{text}");
    }
}

/// Client-side caching: what a client has read is announced to it when somebody changes it.
#[test]
fn tracked_keys_are_announced() {
    let twins = Twins::start();
    let mut clients = twins.clients();
    let mut others = twins.clients();
    for client in &mut clients {
        client.send(words("HELLO 3"));
        client.reply();
    }
    Twins::same(&mut clients, &lines("CLIENT TRACKING ON | GET a | GET b"));
    Twins::same(&mut others, &lines("SET a 1 | SET none 1"));
    let announced = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";
    for client in &mut clients {
        client.expect(announced);
    }
    Twins::same(&mut clients, &lines("GET a | CLIENT TRACKING OFF | GET a"));
    Twins::same(&mut others, &lines("SET a 2 | SET b 2"));
    Twins::same(&mut clients, &lines("GET a | PING"));
}

/// A session that ends leaves a connection that others may use: no transaction, no watched key, no
/// version, no tracking of the one before.
#[test]
fn connections_are_clean_for_the_next_client() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "sessions_max = 1");
    let endings = ["EXEC", "DISCARD", "RESET", "nothing", "SET a", "QUIT"];
    for ending in endings.iter().cycle().take(24) {
        let mut client = proxy.client();
        client.send([words("HELLO 3"), words("WATCH a"), words("MULTI"), words("GET a")].concat());
        client.reply();
        // The one connection may still be on its way back from the client before.
        let first = client.reply();
        if first == b"+OK\r\n" {
            client.expect("+OK\r\n+QUEUED\r\n");
            client.send(words(ending));
            if *ending != "nothing" {
                client.reply();
            }
        }
        drop(client);
        wait_until("the connection is free", || {
            let mut next = proxy.client();
            next.send([words("MULTI"), words("GET none"), words("EXEC")].concat());
            next.reply();
            next.reply();
            next.reply() == b"*1\r\n$-1\r\n"
        });
    }
}

/// How long a command blocks is the client's to say; the limit on silence is for others.
#[test]
fn blocking_longer_than_the_read_timeout_is_answered() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "read_timeout = \"200ms\"");
    let mut client = proxy.client();
    client.ask(words("BLPOP none 1"), "*-1\r\n");
    client.ask(words("BLPOP none 0.5"), "*-1\r\n");
    client.ask(words("PING"), "+PONG\r\n");
}

#[test]
fn beyond_the_bound_of_sessions_is_an_error() {
    let (_server, addr) = redis_server(&[]);
    let config = "sessions_max = 2";
    let proxy = Proxy::start(&[addr], config);
    // Two workers, each with its bound.
    let mut clients: Vec<Client> = (0..12).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send([words("MULTI"), words("GET a")].concat());
    }
    let mut refused = 0;
    for client in &mut clients {
        client.expect("+OK\r\n");
        match client.reply()[0] {
            b'-' => refused += 1,
            other => assert_eq!(other, b'+'),
        }
    }
    assert_eq!(refused, 8, "four have a session");
    // Those without one go on, and so does everybody else.
    for client in &mut clients {
        client.send(words("EXEC"));
        client.reply();
        client.ask(words("GET a"), "$-1\r\n");
    }
}
