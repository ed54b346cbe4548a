//! Runs one path of `keyway_testkit::path` so that its instructions can be counted.
//!
//! `paths` lists the names; `paths NAME ROUNDS` runs one and prints how many requests were counted.
//! bench/instructions.sh runs it under callgrind, which counts inside `counted_turn` only.

use keyway_proxy::Worker;
use keyway_testkit::path::{self, Rig};

/// Rounds before counting begins: buffers and tables have their sizes by then.
const WARM_UP_ROUNDS: u64 = 200;

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(name) = args.next() else {
        path::all().iter().for_each(|path| println!("{}", path.name));
        return;
    };
    let rounds: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let path = path::all().into_iter().find(|path| path.name == name);
    let path = path.unwrap_or_else(|| panic!("no path is called {name}"));
    let requests = path.requests * rounds;
    let mut rig = Rig::new(path);
    for _ in 0..WARM_UP_ROUNDS {
        rig.round(&mut |worker| worker.turn().map(drop).expect("epoll works"));
    }
    for _ in 0..rounds {
        rig.round(&mut counted_turn);
    }
    println!("{requests}");
}

/// The part that counts: its name is what callgrind looks for.
#[inline(never)]
fn counted_turn(worker: &mut Worker) {
    worker.turn().map(drop).expect("epoll works");
    // Keeps the call above from becoming a jump, which callgrind would take for the end of this.
    std::hint::black_box(());
}
