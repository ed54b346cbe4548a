//! The names of Redis' commands as an enumeration, for `match`.
//!
//! The order is that of `commands.tsv`, which holds the facts; the table does not compile when the
//! two disagree.

/// Declares `Verb` and the list of its values in order.
macro_rules! verbs {
    ($($verb:ident,)*) => {
        /// A command of Redis 7.0. A name of several words is one word here: `EVAL_RO` is
        /// `EvalRo`, `RESTORE-ASKING` is `RestoreAsking`.
        #[expect(missing_docs, reason = "each variant is named for its command")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Verb {
            $($verb,)*
        }

        impl Verb {
            /// Every command, in the order of the table.
            pub const ALL: &'static [Verb] = &[$(Verb::$verb,)*];

            /// The names of the variants, in the same order.
            pub(super) const SPELLED: &'static [&'static str] = &[$(stringify!($verb),)*];
        }
    };
}

verbs! {
    Acl, Append, Asking, Auth, Bgrewriteaof, Bgsave, Bitcount, Bitfield, BitfieldRo, Bitop,
    Bitpos, Blmove, Blmpop, Blpop, Brpop, Brpoplpush, Bzmpop, Bzpopmax, Bzpopmin, Client, Cluster,
    Command, Config, Copy, Dbsize, Debug, Decr, Decrby, Del, Discard, Dump, Echo, Eval, EvalRo,
    Evalsha, EvalshaRo, Exec, Exists, Expire, Expireat, Expiretime, Failover, Fcall, FcallRo,
    Flushall, Flushdb, Function, Geoadd, Geodist, Geohash, Geopos, Georadius, GeoradiusRo,
    Georadiusbymember, GeoradiusbymemberRo, Geosearch, Geosearchstore, Get, Getbit, Getdel, Getex,
    Getrange, Getset, Hdel, Hello, Hexists, Hget, Hgetall, Hincrby, Hincrbyfloat, Hkeys, Hlen,
    Hmget, Hmset, Hrandfield, Hscan, Hset, Hsetnx, Hstrlen, Hvals, Incr, Incrby, Incrbyfloat,
    Info, Keys, Lastsave, Latency, Lcs, Lindex, Linsert, Llen, Lmove, Lmpop, Lolwut, Lpop, Lpos,
    Lpush, Lpushx, Lrange, Lrem, Lset, Ltrim, Memory, Mget, Migrate, Module, Monitor, Move, Mset,
    Msetnx, Multi, Object, Persist, Pexpire, Pexpireat, Pexpiretime, Pfadd, Pfcount, Pfdebug,
    Pfmerge, Pfselftest, Ping, Psetex, Psubscribe, Psync, Pttl, Publish, Pubsub, Punsubscribe,
    Quit, Randomkey, Readonly, Readwrite, Rename, Renamenx, Replconf, Replicaof, Reset, Restore,
    RestoreAsking, Role, Rpop, Rpoplpush, Rpush, Rpushx, Sadd, Save, Scan, Scard, Script, Sdiff,
    Sdiffstore, Select, Set, Setbit, Setex, Setnx, Setrange, Shutdown, Sinter, Sintercard,
    Sinterstore, Sismember, Slaveof, Slowlog, Smembers, Smismember, Smove, Sort, SortRo, Spop,
    Spublish, Srandmember, Srem, Sscan, Ssubscribe, Strlen, Subscribe, Substr, Sunion,
    Sunionstore, Sunsubscribe, Swapdb, Sync, Time, Touch, Ttl, Type, Unlink, Unsubscribe, Unwatch,
    Wait, Watch, Xack, Xadd, Xautoclaim, Xclaim, Xdel, Xgroup, Xinfo, Xlen, Xpending, Xrange,
    Xread, Xreadgroup, Xrevrange, Xsetid, Xtrim, Zadd, Zcard, Zcount, Zdiff, Zdiffstore, Zincrby,
    Zinter, Zintercard, Zinterstore, Zlexcount, Zmpop, Zmscore, Zpopmax, Zpopmin, Zrandmember,
    Zrange, Zrangebylex, Zrangebyscore, Zrangestore, Zrank, Zrem, Zremrangebylex, Zremrangebyrank,
    Zremrangebyscore, Zrevrange, Zrevrangebylex, Zrevrangebyscore, Zrevrank, Zscan, Zscore,
    Zunion, Zunionstore,
}
