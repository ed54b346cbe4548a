//! Random commands to redis-server, and to a pool in front of another: the same bytes.
//!
//! `KEYWAY_SEEDS` and `KEYWAY_COMMANDS` make longer runs; `KEYWAY_FIRST_SEED` repeats one. Left out
//! is what two right servers answer differently: order in hash tables, time, random choice.

use keyway_testkit::client::{Client, show};
use keyway_testkit::random::Random;
use keyway_testkit::resp::request;

use crate::{Twins, number};

/// Commands with places for keys (`K`), fields and members (`M`), numbers (`N`), scores (`S`) and
/// texts (`V`).
const COMMANDS: [&str; 133] = [
    "GET K",
    "GET K",
    "SET K V",
    "SET K V NX",
    "SET K V XX GET",
    "SET K V EX 1000",
    "SETNX K V",
    "SETEX K 1000 V",
    "PSETEX K 100000 V",
    "GETSET K V",
    "GETDEL K",
    "GETEX K PERSIST",
    "APPEND K V",
    "STRLEN K",
    "SETRANGE K N V",
    "GETRANGE K N N",
    "SUBSTR K N N",
    "INCR K",
    "DECR K",
    "INCRBY K N",
    "DECRBY K N",
    "INCRBYFLOAT K S",
    "MGET K K K",
    "MGET K",
    "MSET K V K V",
    "MSETNX K V K V",
    "LCS K K",
    "SETBIT K N 1",
    "GETBIT K N",
    "BITCOUNT K",
    "BITPOS K 1",
    "BITOP AND K K K",
    "BITFIELD K SET u8 0 N",
    "BITFIELD_RO K GET u8 0",
    "DEL K K",
    "UNLINK K",
    "EXISTS K K K",
    "TOUCH K K",
    "TYPE K",
    "TTL K",
    "PTTL none",
    "EXPIRE K 1000",
    "EXPIRE K 1000 GT",
    "PERSIST K",
    "EXPIREAT K 9999999999",
    "EXPIRETIME K",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K REPLACE",
    "OBJECT ENCODING K",
    "DUMP none",
    "HSET K M V",
    "HSET K M V M V",
    "HMSET K M V",
    "HSETNX K M V",
    "HGET K M",
    "HMGET K M M",
    "HDEL K M",
    "HEXISTS K M",
    "HLEN K",
    "HSTRLEN K M",
    "HINCRBY K M N",
    "HINCRBYFLOAT K M S",
    "LPUSH K V V",
    "RPUSH K V",
    "LPUSHX K V",
    "RPUSHX K V",
    "LPOP K",
    "RPOP K 2",
    "LLEN K",
    "LINDEX K N",
    "LSET K N V",
    "LINSERT K BEFORE V V",
    "LREM K N V",
    "LRANGE K N N",
    "LTRIM K N N",
    "LPOS K V",
    "LMOVE K K LEFT RIGHT",
    "RPOPLPUSH K K",
    "LMPOP 2 K K LEFT",
    "SADD K N N",
    "SREM K N",
    "SISMEMBER K N",
    "SMISMEMBER K N N",
    "SCARD K",
    "SMOVE K K N",
    "SINTERCARD 2 K K",
    "SINTERSTORE K K K",
    "SUNIONSTORE K K K",
    "SDIFFSTORE K K K",
    "ZADD K S M",
    "ZADD K NX S M S M",
    "ZADD K INCR S M",
    "ZREM K M",
    "ZSCORE K M",
    "ZMSCORE K M M",
    "ZCARD K",
    "ZRANK K M",
    "ZREVRANK K M",
    "ZINCRBY K S M",
    "ZRANGE K N N",
    "ZRANGE K N N WITHSCORES",
    "ZRANGE K N N BYSCORE",
    "ZREVRANGE K N N WITHSCORES",
    "ZRANGEBYSCORE K -inf +inf",
    "ZCOUNT K -inf N",
    "ZLEXCOUNT K - +",
    "ZPOPMIN K",
    "ZPOPMAX K 2",
    "ZMPOP 2 K K MIN",
    "ZUNION 2 K K WITHSCORES",
    "ZINTER 2 K K",
    "ZDIFF 2 K K",
    "ZUNIONSTORE K 2 K K",
    "ZINTERCARD 2 K K",
    "ZRANGESTORE K K N N",
    "PFADD K M M",
    "PFCOUNT K K",
    "PFMERGE K K",
    "GEOADD K 13.361389 38.115556 M",
    "GEOPOS K M",
    "GEODIST K M M",
    "GEOHASH K M",
    "XADD K 99999999999999-* M V",
    "XLEN K",
    "XRANGE K - +",
    "EVAL return{KEYS[1],ARGV[1]} 1 K V",
    "SORT K ALPHA",
    "SORT_RO K",
    "ECHO V",
    "PING V",
    "MULTI",
    "EXEC",
];

/// Commands with something wrong, or that have a life of their own.
const OTHERS: [&str; 22] = [
    "GET",
    "SET K",
    "MSET K V K",
    "MGET",
    "DEL",
    "nosuchcommand K",
    "OBJECT nosuch K",
    "CONFIG",
    "HSET K M",
    "EVAL x notanumber K",
    "EVAL x 5 K",
    "ZUNION 9 K",
    "LMPOP 0 K LEFT",
    "SELECT 0",
    "SELECT x",
    "DISCARD",
    "WATCH K",
    "UNWATCH",
    "PING a b",
    "ECHO",
    "CLIENT SETNAME me",
    "CLIENT GETNAME",
];

struct Commands {
    random: Random,
    in_multi: bool,
}

impl Commands {
    fn next(&mut self) -> Vec<u8> {
        // What connections are called is not part of transactions here.
        let template = match self.random.once_in(12) && !self.in_multi {
            true => *self.random.choose(&OTHERS),
            false => *self.random.choose(&COMMANDS),
        };
        // Most transactions end.
        let template = if self.in_multi && self.random.once_in(5) { "EXEC" } else { template };
        self.in_multi = template == "MULTI" || self.in_multi && template != "EXEC";
        let args: Vec<Vec<u8>> = template.split(' ').map(|word| self.argument(word)).collect();
        request(&args)
    }

    fn argument(&mut self, word: &str) -> Vec<u8> {
        let random = &mut self.random;
        match word {
            "K" => format!("key{}", random.below(12)).into_bytes(),
            "M" => format!("m{}", random.below(6)).into_bytes(),
            "N" => (random.below(30) as i64 - 8).to_string().into_bytes(),
            "S" => format!("{}.5", random.below(20)).into_bytes(),
            "V" => self.text(),
            _ if random.once_in(2) => word.to_lowercase().into_bytes(),
            _ => word.as_bytes().to_vec(),
        }
    }

    fn text(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        match random.below(12) {
            0 => Vec::new(),
            1 => b"\r\n$5\r\nhello\r\n\0\xff".to_vec(),
            2 => vec![b'v'; random.below(40_000)],
            3 => b"*3\r\n".to_vec(),
            4..7 => random.below(1000).to_string().into_bytes(),
            _ => (0..random.below(20)).map(|n| b'a' + (n % 26) as u8).collect(),
        }
    }
}

/// `OBJECT ENCODING` and the like are spelled as the server spells them; a script's text is text.
fn compare(twins: &Twins, seed: u64, version: &str) {
    let mut clients = twins.clients();
    let mut direct = Client::tcp(twins.reference);
    direct.command(&["FLUSHALL"]);
    for client in &mut clients {
        client.command(&["FLUSHALL"]);
        client.command(&["HELLO", version]);
    }
    let mut commands = Commands { random: Random::new(seed), in_multi: false };
    for round in 0..number("KEYWAY_COMMANDS", 3000) / 20 {
        let batch: Vec<Vec<u8>> = (0..20).map(|_| commands.next()).collect();
        for client in &mut clients {
            client.send(batch.concat());
        }
        for (n, request) in batch.iter().enumerate() {
            let [ours, reference] = clients.each_mut().map(Client::reply);
            let before: Vec<String> = batch[..n].iter().map(|r| show(r)).collect();
            assert!(
                ours == reference,
                "seed {seed}, RESP{version}, round {round}: {}\n got {}\n not {}\nafter \
                 {before:#?}",
                show(request),
                show(&ours),
                show(&reference)
            );
        }
    }
}

#[test]
fn random_commands_through_a_pool_are_answered_as_by_redis() {
    let twins = Twins::start();
    let first = number("KEYWAY_FIRST_SEED", 0);
    for seed in first..first + number("KEYWAY_SEEDS", 4) {
        compare(&twins, seed, if seed % 2 == 0 { "2" } else { "3" });
    }
}
