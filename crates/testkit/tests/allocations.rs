//! No request on a common path allocates, once its worker is warm.

use keyway_testkit::alloc::{self, Counting};
use keyway_testkit::path::{self, Rig};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations in the worker's turns over `rounds` rounds of the path.
fn allocations(rig: &mut Rig, rounds: u64) -> u64 {
    let mut count = 0;
    for _ in 0..rounds {
        rig.round(&mut |worker| {
            let before = alloc::here();
            worker.turn().map(drop).expect("epoll works");
            count += alloc::here() - before;
        });
    }
    count
}

#[test]
fn forwarding_and_store_hits_do_not_allocate() {
    // A request that is split over backends is an exchange with legs, which may take memory.
    let may_allocate = ["multiget_10_over_3", "resp_mget_10_over_3"];
    let mut found = Vec::new();
    for path in path::all().into_iter().filter(|path| !may_allocate.contains(&path.name)) {
        let name = path.name;
        let mut rig = Rig::new(path);
        allocations(&mut rig, 500);
        let count = allocations(&mut rig, 1000);
        if count > 0 {
            found.push(format!("{name}: {count} allocations in 1000 rounds"));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}
