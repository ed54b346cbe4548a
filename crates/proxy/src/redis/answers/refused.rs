//! Commands that a proxy must not pass on, and what to do instead.
//!
//! They administer one server. Through a proxy they would hit whichever server the key of chance
//! leads to, or stop it for everybody. The client gets an error that says where to go.

use super::reply::Reply;
use keyway_proto::resp::Request;
use keyway_proto::resp::command::Verb;

/// What to do instead of a refused command.
const fn advice(verb: Verb) -> &'static str {
    match verb {
        Verb::Config => "change Keyway's configuration file, or connect to the server itself",
        Verb::Client => "Keyway's clients share connections, so it would concern others",
        Verb::Acl => "users are set in Keyway's configuration and on the servers",
        Verb::Monitor => "connect to a server itself, or see Keyway's metrics",
        Verb::Slowlog | Verb::Latency => "see Keyway's metrics, or connect to the server itself",
        Verb::Shutdown => "stop Keyway with SIGTERM, and a server by connecting to it",
        Verb::Swapdb => "a listener serves one database",
        Verb::Migrate => "connect to the server that has the key",
        Verb::Replicaof
        | Verb::Slaveof
        | Verb::Failover
        | Verb::Sync
        | Verb::Psync
        | Verb::Replconf => "replication is between servers: connect to them directly",
        _ => "connect to the server itself",
    }
}

/// Refuses a command with its name, subcommand included where it has any, and advice.
pub(super) fn refuse(request: &Request<'_>, reply: &mut Reply<'_>) {
    let Some(command) = request.command else { return };
    let sub = request.argument(1).and_then(|word| command.subcommand(word));
    let name = sub.unwrap_or(command).name.to_ascii_uppercase().replace('|', " ");
    let advice = advice(command.verb).as_bytes();
    reply.error(&[b"ERR ", name.as_bytes(), b" is not available through Keyway: ", advice]);
}

/// Clusters are not spoken; the words are those that clients look for to fall back.
pub(super) fn no_cluster(reply: &mut Reply<'_>) {
    reply.error(&[b"ERR This instance has cluster support disabled"]);
}
