//! Requests that no client means well: each is answered with one whole reply, and the store's
//! books balance afterwards.

use crate::local::Local;
use keyway_proto::resp::Verb;
use keyway_proto::resp::command::COMMANDS;
use keyway_proxy::local::redis;
use keyway_store::Options;
use keyway_testkit::random::Random;
use keyway_testkit::resp;

const MEMORY_BYTES_MAX: u64 = 12 << 20;

const WORDS: [&[u8]; 22] = [
    b"",
    b"0",
    b"1",
    b"-1",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"4294967295",
    b"1048000",
    b"536870911",
    b"1e4000",
    b"-1e-4000",
    b"0x1p-16000",
    b"inf",
    b"nan",
    b"EX",
    b"PX",
    b"PXAT",
    b"GET",
    b"*",
    b"[",
    b"BIT",
    b"\r\n$5\r\nhello\r\n",
];

fn word(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => (0..random.below(40)).map(|_| random.bits() as u8).collect(),
        1 => vec![b'x'; random.below(60_000)],
        2 => vec![b'9'; random.below(5_200)],
        3..6 => format!("k{}", random.below(40)).into_bytes(),
        _ => random.choose(&WORDS).to_vec(),
    }
}

#[test]
fn anything_is_answered_once_and_leaves_order() {
    let ours: Vec<Verb> = Verb::ALL.iter().copied().filter(|verb| redis::is_ours(*verb)).collect();
    assert!(ours.len() > 40);
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let options = Options { shards: Some(4), ..Options::new(MEMORY_BYTES_MAX) };
        let mut local = Local::with(options);
        for number in 0..5_000 {
            let verb = *random.choose(&ours);
            // Only now and then, or there is never anything in the store.
            if matches!(verb, Verb::Flushall | Verb::Flushdb) && !random.once_in(20) {
                continue;
            }
            let mut args = vec![COMMANDS[verb as usize].name.as_bytes().to_vec()];
            args.extend((0..random.below(8)).map(|_| word(&mut random)));
            let reply = local.ask(number % 2 == 0, &args);
            let whole = resp::cut_reply(&reply);
            assert_eq!(whole, Some(reply.len()), "seed {seed}: {}", args[0].escape_ascii());
            let used = local.store.stats().memory_bytes;
            assert!(used <= MEMORY_BYTES_MAX, "seed {seed}: {used} bytes");
        }
        local.store.check_invariants();
    }
}
