//! What is promised about memory: once warm, ordinary requests allocate nothing.
//!
//! Counted on this thread only, with the allocator of the test kit. `append` and `prepend` are not
//! ordinary: the store joins old and new in a buffer of the right size first.

use keyway_proto::memcached::{Cut, cut};
use keyway_proxy::config::Allow;
use keyway_proxy::local::{
    Admission, Context, Facts, Output, Session, Settings, Shared, admit, execute,
};
use keyway_store::{Options, Store};
use keyway_testkit::alloc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

#[test]
fn warm_requests_allocate_nothing() {
    let store = Store::new(Options::new(64 << 20));
    let started = Duration::from_secs(1_700_000_000);
    let shared = Shared::new(Settings::default(), 1, started, Box::new(Facts::default));
    let ctx = Context {
        store: &store,
        shared: &shared,
        counters: shared.counters(0),
        now: Shared::now(Duration::from_secs(10)),
        allow: Allow::default(),
        users: &[],
        cfd: 1,
        is_pipelined: false,
    };
    let mut session = Session::new();
    let mut out = Output::new();
    let big = format!("set big 0 0 20000\r\n{}\r\n", "x".repeat(20_000));
    let requests = [
        "set a 0 0 3\r\nabc\r\n",
        "get a\r\n",
        "gets a none a\r\n",
        "get none\r\n",
        &big,
        "get big\r\n",
        "mg a v t f k s c h l O123\r\n",
        "mg none v q\r\n",
        "mg YQ== b v k\r\n",
        "ms a 3 T100 F5 c\r\nabc\r\n",
        "ms n 2\r\n10\r\n",
        "incr n 5\r\n",
        "ma n v t\r\n",
        "touch a 100\r\n",
        "gat 100 a\r\n",
        "cas a 0 0 1 1\r\nx\r\n",
        "md a I q\r\n",
        "delete a\r\n",
        "set a x 0 1\r\nx\r\n",
        "nonsense\r\n",
        "mn\r\n",
    ];
    let mut run = || {
        for request in requests {
            let Cut::Head(head) = cut(request.as_bytes()) else { panic!("{request}") };
            let there = &request.as_bytes()[head.line_bytes..];
            let admission = admit(&ctx, &session, &head, there.len(), &mut out);
            let Admission::Read(body) = admission else { panic!("{request}: {admission:?}") };
            execute(&ctx, &mut session, &head, &there[..body as usize], &mut out);
            out.pieces(|_| {});
        }
    };
    for _ in 0..50 {
        run();
    }
    let before = alloc::here();
    for _ in 0..50 {
        run();
    }
    let allocated = alloc::here() - before;
    assert_eq!(allocated, 0, "allocations in 50 rounds of {} requests", requests.len());
}
