//! The worst that a proxy can do, looked for on real sockets: a reply for the wrong client.
//!
//! Redis' replies do not say what they answer, so here every value names its key. The servers are
//! late, end in the middle and break off; they do not lie, as nobody could tell.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyway_testkit::client::Client;
use keyway_testkit::random::Random;
use keyway_testkit::redis::{Asked, FakeRedis, Step, send};
use keyway_testkit::resp::{bulk, words};

use crate::Proxy;

/// Transactions under way, by connection: the keys asked for.
type Queued = Mutex<HashMap<usize, Vec<String>>>;

fn value(random: &mut Random, key: &str) -> Vec<u8> {
    bulk(format!("<{key}>{}", "v".repeat(random.below(3000))))
}

fn array(elements: &[Vec<u8>]) -> Vec<u8> {
    [format!("*{}\r\n", elements.len()).into_bytes(), elements.concat()].concat()
}

/// The right reply.
fn truth(random: &mut Random, queued: &Queued, asked: &Asked) -> Vec<u8> {
    let mut queued = queued.lock().expect("no script panics");
    match asked.name().as_str() {
        "multi" => {
            queued.insert(asked.conn, Vec::new());
            b"+OK\r\n".to_vec()
        }
        "get" if queued.contains_key(&asked.conn) => {
            queued.entry(asked.conn).or_default().push(asked.text(1));
            b"+QUEUED\r\n".to_vec()
        }
        "exec" | "discard" => {
            let keys = queued.remove(&asked.conn).unwrap_or_default();
            array(&keys.iter().map(|key| value(random, key)).collect::<Vec<_>>())
        }
        "get" => value(random, &asked.text(1)),
        "mget" => {
            let keys = 1..asked.args.len();
            array(&keys.map(|n| value(random, &asked.text(n))).collect::<Vec<_>>())
        }
        name => format!("-ERR unknown command '{name}'\r\n").into_bytes(),
    }
}

/// Says the truth, but not always at once, at one go, or to the end.
fn chaos(counter: &AtomicUsize, queued: &Queued, asked: &Asked) -> Vec<Step> {
    if asked.name() == "ping" {
        return send("+PONG\r\n");
    }
    let mut random = Random::new(counter.fetch_add(1, Ordering::SeqCst) as u64);
    let reply = truth(&mut random, queued, asked);
    let cut = random.below(reply.len());
    let (front, rest) = (reply[..cut].to_vec(), reply[cut..].to_vec());
    let pause = |ms: u64| Step::Wait(Duration::from_millis(ms));
    match random.below(60) {
        0 => vec![Step::Send(front), Step::Close],
        1 => vec![Step::Send(front), Step::Reset],
        2 => vec![Step::Send(front), pause(200), Step::Send(rest)],
        3 => vec![pause(200), Step::Send(reply)],
        4..8 => vec![Step::Send(front), pause(3), Step::Send(rest)],
        _ => vec![Step::Send(reply)],
    }
}

#[test]
fn values_never_reach_the_wrong_client() {
    let fakes: Vec<FakeRedis> = (0..2)
        .map(|_| {
            let (counter, queued) = (AtomicUsize::new(0), Queued::default());
            FakeRedis::start(move |asked| chaos(&counter, &queued, asked))
        })
        .collect();
    let pool = "read_timeout = \"100ms\"\nretry = \"5ms\"\nretry_max = \"20ms\"\n\
                failure_limit = 1000000\nconnections = 2\nhash_tag = \"{}\"";
    let proxy = Proxy::start(&[fakes[0].addr, fakes[1].addr], pool);
    let values = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for id in 0..8 {
            let (proxy, values) = (&proxy, &values);
            scope.spawn(move || one_client(proxy, id, values));
        }
    });
    let values = values.into_inner();
    assert!(values > 500, "only {values} values got through");
}

/// A request and the keys whose values its reply must have; none where it has no values.
fn requests(random: &mut Random, place: &str) -> Vec<(String, Vec<String>)> {
    let mut requests = Vec::new();
    for n in 0..8 {
        let key = format!("{place}n{n}");
        match random.below(4) {
            0 => {
                let keys: Vec<String> = (0..4).map(|part| format!("{key}p{part}")).collect();
                requests.push((format!("MGET {}", keys.join(" ")), keys));
            }
            1 => {
                let keys = vec![format!("{{{key}}}a"), format!("{{{key}}}b")];
                requests.push(("MULTI".into(), Vec::new()));
                requests.extend(keys.iter().map(|key| (format!("GET {key}"), Vec::new())));
                requests.push(("EXEC".into(), keys));
            }
            _ => requests.push((format!("GET {key}"), vec![key])),
        }
    }
    requests
}

fn one_client(proxy: &Proxy, id: usize, values: &AtomicUsize) {
    let mut random = Random::new(id as u64);
    let mut client = proxy.client();
    for round in 0..60 {
        let requests = requests(&mut random, &format!("c{id}r{round}"));
        client.send(requests.iter().flat_map(|(line, _)| words(line)).collect::<Vec<u8>>());
        if random.once_in(10) {
            // Gone before the replies come: they must not reach whoever comes next.
            client = proxy.client();
            continue;
        }
        for (line, keys) in &requests {
            match check_one(&mut client, line, keys) {
                Some(found) => {
                    values.fetch_add(found, Ordering::Relaxed);
                }
                // A value that had begun cannot be finished: the client is closed with it.
                None => {
                    client = proxy.client();
                    break;
                }
            }
        }
    }
}

/// Reads one reply: how many values it had, `None` when the connection ended. Anything that is not
/// about `keys` fails.
fn check_one(client: &mut Client, line: &str, keys: &[String]) -> Option<usize> {
    let reply = client.try_reply()?;
    let text = String::from_utf8_lossy(&reply);
    if text.starts_with('-') {
        return Some(0);
    }
    if keys.is_empty() {
        assert!(["+OK\r\n", "+QUEUED\r\n"].contains(&&*text), "{line} got {text:?}");
        return Some(0);
    }
    let found: Vec<&str> = text.split('<').skip(1).filter_map(|v| v.split('>').next()).collect();
    assert_eq!(found, *keys, "{line} got {text:?}");
    Some(found.len())
}
