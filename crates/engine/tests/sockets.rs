//! The engine over real sockets: the same expectations for every backend that this system has.
//!
//! Peers are plain blocking sockets, on threads where they have to act at the same time.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use keyway_engine::{
    Address, Choice, CloseReason, ConnId, ConnectOptions, Engine, Event, ListenAddress,
    ListenOptions, MILLISECOND, Options, SECOND, Socket, listen, mailbox,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Makes the tests below once per backend. A system that refuses io_uring skips those, aloud.
macro_rules! for_each_backend {
    ($($test:ident),* $(,)?) => {
        mod epoll {
            $(#[test] fn $test() { super::$test(super::engine(super::Choice::Epoll).unwrap()); })*
        }
        mod uring {
            $(#[test] fn $test() {
                if let Some(engine) = super::engine(super::Choice::Uring) { super::$test(engine); }
            })*
        }
    };
}

for_each_backend![
    echoes_over_tcp_and_unix,
    connects_and_sends_what_was_written_before,
    reports_refused_connections,
    reports_a_path_that_is_no_socket,
    large_output_of_all_kinds_arrives_in_order,
    drained_comes_once_below_the_mark,
    large_input_arrives_whole_with_and_without_expectation,
    kept_chunks_are_not_overwritten,
    pause_loses_nothing,
    pause_survives_the_end_of_the_peer,
    pause_taken_back_in_the_same_turn_still_reads,
    finish_sends_everything_first,
    finish_does_not_destroy_the_last_reply,
    finish_without_output_closes_at_once,
    close_is_silent_and_ids_go_stale,
    close_with_output_under_way_is_safe,
    reset_comes_after_the_bytes_before_it,
    writing_to_a_gone_peer_ends_in_closed,
    half_close_lets_replies_out,
    wakers_coalesce,
    listeners_accept_until_removed,
    poll_keeps_its_deadline,
    retag_reaches_pending_events,
    many_connections_at_once,
    dropping_the_engine_sends_what_was_flushed,
    more_input_than_buffers_loses_nothing,
];

fn engine(choice: Choice) -> Option<Engine> {
    let (engine, refusal) = Engine::new(choice, Options::default()).unwrap();
    if let Some(refusal) = refusal {
        eprintln!("skipped: {refusal}");
        return None;
    }
    Some(engine)
}

/// Runs turns until `take` is satisfied with an event. Events it does not want are lost.
fn wait<T>(engine: &mut Engine, mut take: impl FnMut(&mut Engine, Event) -> Option<T>) -> T {
    for _ in 0..20_000 {
        engine.poll(Some(engine.now() + SECOND)).unwrap();
        while let Some(event) = engine.next() {
            if let Some(result) = take(engine, event) {
                engine.flush();
                return result;
            }
        }
        engine.flush();
    }
    panic!("the event did not come within 20000 turns");
}

/// Runs a few turns and returns whatever happens meanwhile.
fn settle(engine: &mut Engine) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..5 {
        engine.flush();
        engine.poll(Some(engine.now() + 20 * MILLISECOND)).unwrap();
        while let Some(event) = engine.next() {
            events.push(event);
        }
    }
    events
}

fn wait_closed(engine: &mut Engine, id: ConnId) -> CloseReason {
    wait(engine, |_, event| match event {
        Event::Closed { conn, reason, .. } if conn == id => Some(reason),
        _ => None,
    })
}

fn wait_bytes(engine: &mut Engine, id: ConnId, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    wait(engine, |_, event| match event {
        Event::Received { conn, chunk, .. } if conn == id => {
            bytes.extend_from_slice(&chunk);
            (bytes.len() >= count).then_some(())
        }
        Event::Closed { conn, reason, .. } if conn == id => panic!("closed: {reason:?}"),
        _ => None,
    });
    bytes
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn adopted(engine: &mut Engine) -> (ConnId, TcpStream) {
    let (near, far) = tcp_pair();
    (engine.adopt(Socket::from(near), 7), far)
}

fn temp_path(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("keyway-{}-{number}-{name}", std::process::id()))
}

/// Bytes in which every position differs from its neighbours.
fn pattern(count: usize) -> Vec<u8> {
    (0..count as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn read_all(mut far: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes).unwrap();
    bytes
}

fn echoes_over_tcp_and_unix(mut engine: Engine) {
    fn exchange(engine: &mut Engine, socket: Socket, mut far: impl Read + Write) {
        let id = engine.adopt(socket, 42);
        for round in 0..20usize {
            let request = pattern(1 + round * 37);
            far.write_all(&request).unwrap();
            let mut got = 0;
            wait(engine, |engine, event| match event {
                Event::Received { conn, tag, chunk } => {
                    assert_eq!((conn, tag), (id, 42));
                    engine.write_chunk(conn, &chunk, 0..chunk.len());
                    got += chunk.len();
                    (got == request.len()).then_some(())
                }
                other => panic!("{other:?}"),
            });
            engine.poll(Some(0)).unwrap();
            let mut reply = vec![0; request.len()];
            far.read_exact(&mut reply).unwrap();
            assert_eq!(reply, request);
        }
        drop(far);
        assert_eq!(wait_closed(engine, id), CloseReason::Eof);
        assert!(!engine.is_open(id));
    }
    let (near, far) = tcp_pair();
    exchange(&mut engine, near.into(), far);
    let (near, far) = UnixStream::pair().unwrap();
    exchange(&mut engine, near.into(), far);
    assert_eq!(engine.open_conns(), 0);
}

fn connects_and_sends_what_was_written_before(mut engine: Engine) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = temp_path("connect");
    let unix = UnixListener::bind(&path).unwrap();
    let options = ConnectOptions { user_timeout_ms: 5000, ..ConnectOptions::default() };
    let first = engine.connect(&Address::Tcp(tcp.local_addr().unwrap()), &options, 1);
    let second = engine.connect(&Address::Unix(path.clone()), &options, 2);
    engine.write(first, b"to tcp");
    engine.write(second, b"to unix");
    engine.flush();
    let mut connected = Vec::new();
    wait(&mut engine, |_, event| match event {
        Event::Connected { conn, tag } => {
            connected.push((tag, conn));
            (connected.len() == 2).then_some(())
        }
        other => panic!("{other:?}"),
    });
    connected.sort_by_key(|(tag, _)| *tag);
    assert_eq!(connected, [(1, first), (2, second)]);
    let (mut far_tcp, _) = tcp.accept().unwrap();
    let (mut far_unix, _) = unix.accept().unwrap();
    settle(&mut engine);
    let mut bytes = [0; 7];
    far_tcp.read_exact(&mut bytes[..6]).unwrap();
    assert_eq!(&bytes[..6], b"to tcp");
    far_unix.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to unix");
    far_tcp.write_all(b"back").unwrap();
    assert_eq!(wait_bytes(&mut engine, first, 4), b"back");
    std::fs::remove_file(path).unwrap();
}

fn reports_refused_connections(mut engine: Engine) {
    // A port that was ours a moment ago and that nobody listens on now.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let id = engine.connect(&Address::Tcp(address), &ConnectOptions::default(), 3);
    engine.write(id, b"never sent");
    assert_eq!(wait_closed(&mut engine, id), CloseReason::Refused);
    let id = engine.connect(&Address::Unix(temp_path("gone")), &ConnectOptions::default(), 4);
    assert_eq!(wait_closed(&mut engine, id), CloseReason::Missing);
    assert_eq!(engine.open_conns(), 0);
}

fn reports_a_path_that_is_no_socket(mut engine: Engine) {
    let long = PathBuf::from("/".repeat(500));
    let id = engine.connect(&Address::Unix(long), &ConnectOptions::default(), 4);
    assert!(engine.is_open(id), "the failure arrives as an event, not before");
    assert!(matches!(wait_closed(&mut engine, id), CloseReason::Other(_)));
    assert!(!engine.is_open(id));
}

fn large_output_of_all_kinds_arrives_in_order(mut engine: Engine) {
    let (id, far) = adopted(&mut engine);
    let reader = thread::spawn(move || read_all(far));
    // A chunk of the engine's own, to be shared in pieces of many sizes.
    let (source, mut feeder) = adopted(&mut engine);
    let (mut expected, mut offset) = (Vec::new(), 0usize);
    let bytes = pattern(3_000_000);
    let feed = bytes.clone();
    let feeding = thread::spawn(move || feeder.write_all(&feed).unwrap());
    while offset < bytes.len() {
        let mut chunks = Vec::new();
        wait(&mut engine, |_, event| match event {
            Event::Received { conn, chunk, .. } => {
                assert_eq!(conn, source);
                chunks.push(chunk);
                Some(())
            }
            other => panic!("{other:?}"),
        });
        for chunk in chunks {
            offset += chunk.len();
            engine.write(id, &offset.to_le_bytes());
            expected.extend_from_slice(&offset.to_le_bytes());
            let cut = chunk.len() / 3;
            for range in [0..cut, cut..chunk.len()] {
                expected.extend_from_slice(&chunk[range.clone()]);
                engine.write_chunk(id, &chunk, range);
            }
            let owned = pattern(offset % 50_000);
            expected.extend_from_slice(&owned);
            engine.write_owned(id, Box::new(owned));
        }
    }
    engine.write(id, &bytes);
    expected.extend_from_slice(&bytes);
    engine.finish(id);
    assert_eq!(wait_closed(&mut engine, id), CloseReason::Finished);
    feeding.join().unwrap();
    let got = reader.join().unwrap();
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "the bytes arrived in order");
    assert_eq!(engine.counters().sent_bytes as usize, expected.len());
}

fn drained_comes_once_below_the_mark(mut engine: Engine) {
    let (id, far) = adopted(&mut engine);
    let bytes = pattern(16 << 20);
    engine.write(id, &bytes);
    assert_eq!(engine.unflushed(), bytes.len());
    engine.flush();
    assert_eq!(engine.unflushed(), 0);
    assert!(engine.unsent(id) > 1 << 20, "the kernel does not take all of it");
    assert!(settle(&mut engine).is_empty());
    engine.notify_drained(id, 100_000);
    assert!(settle(&mut engine).is_empty(), "nothing was read, so nothing drained");
    let reader = thread::spawn(move || read_all(far));
    let unsent = wait(&mut engine, |engine, event| match event {
        Event::Drained { conn, tag: 7 } if conn == id => Some(engine.unsent(id)),
        other => panic!("{other:?}"),
    });
    assert!(unsent < 100_000);
    assert_eq!(engine.unsent_total(), engine.unsent(id));
    wait_until_sent(&mut engine, id);
    assert!(settle(&mut engine).is_empty(), "one request, one event");
    engine.notify_drained(id, 1);
    let events = settle(&mut engine);
    assert!(matches!(events[..], [Event::Drained { .. }]), "at once if it is so already");
    engine.close(id);
    settle(&mut engine);
    assert!(reader.join().unwrap() == bytes);
}

fn wait_until_sent(engine: &mut Engine, id: ConnId) {
    for _ in 0..10_000 {
        if engine.unsent(id) == 0 {
            return;
        }
        engine.poll(Some(engine.now() + 10 * MILLISECOND)).unwrap();
        assert!(engine.next().is_none());
        engine.flush();
    }
    panic!("the output was not sent within 10000 turns");
}

fn large_input_arrives_whole_with_and_without_expectation(mut engine: Engine) {
    for expectation in [0, 1_500_000, usize::MAX] {
        let (id, mut far) = adopted(&mut engine);
        let bytes = pattern(1_500_000);
        let sent = bytes.clone();
        let writer = thread::spawn(move || {
            far.write_all(&sent).unwrap();
            far
        });
        engine.expect(id, expectation);
        assert!(wait_bytes(&mut engine, id, bytes.len()) == bytes);
        let mut far = writer.join().unwrap();
        far.write_all(b"next").unwrap();
        assert_eq!(wait_bytes(&mut engine, id, 4), b"next");
        engine.close(id);
    }
}

fn kept_chunks_are_not_overwritten(mut engine: Engine) {
    let (id, mut far) = adopted(&mut engine);
    let (other, mut other_far) = adopted(&mut engine);
    let bytes = pattern(6_000_000);
    let sent = bytes.clone();
    let writer = thread::spawn(move || {
        for (number, part) in sent.chunks(70_001).enumerate() {
            far.write_all(part).unwrap();
            other_far.write_all(&[number as u8; 3000]).unwrap();
        }
        (far, other_far)
    });
    let mut kept = Vec::new();
    let (mut count, mut other_count) = (0, 0);
    wait(&mut engine, |_, event| match event {
        Event::Received { conn, chunk, .. } if conn == id => {
            count += chunk.len();
            // Keep a part of it, and some parts twice.
            kept.push(chunk.slice(0..chunk.len() / 2));
            kept.push(chunk.slice(chunk.len() / 2..chunk.len()).clone());
            (count == bytes.len()).then_some(())
        }
        Event::Received { conn, chunk, .. } => {
            assert_eq!(conn, other);
            other_count += chunk.len();
            None
        }
        other => panic!("{other:?}"),
    });
    assert!(kept.iter().flat_map(|chunk| chunk.iter()).eq(&bytes));
    drop(writer.join().unwrap());
    // Chunks outlive the engine they came from.
    drop(engine);
    assert!(kept.iter().flat_map(|chunk| chunk.iter()).eq(&bytes));
    assert!(other_count > 0);
}

fn pause_loses_nothing(mut engine: Engine) {
    let (id, mut far) = adopted(&mut engine);
    far.write_all(b"before").unwrap();
    assert_eq!(wait_bytes(&mut engine, id, 6), b"before");
    let bytes = pattern(5_000_000);
    let sent = bytes.clone();
    let writer = thread::spawn(move || {
        far.write_all(&sent).unwrap();
        far
    });
    let mut got = Vec::new();
    let mut take = |events: Vec<Event>| {
        for event in events {
            match event {
                Event::Received { chunk, .. } => got.extend_from_slice(&chunk),
                other => panic!("{other:?}"),
            }
        }
        got.len()
    };
    for _ in 0..8 {
        engine.pause(id);
        take(settle(&mut engine));
        let before = take(settle(&mut engine));
        assert_eq!(take(settle(&mut engine)), before, "nothing arrives while paused");
        engine.resume(id);
        engine.poll(Some(engine.now() + SECOND)).unwrap();
        take(std::iter::from_fn(|| engine.next()).collect());
    }
    let left = bytes.len() - take(Vec::new());
    got.extend(wait_bytes(&mut engine, id, left));
    assert!(got == bytes);
    writer.join().unwrap();
}

fn pause_survives_the_end_of_the_peer(mut engine: Engine) {
    // A Unix socket reports a hang-up at once, which must not hide the bytes before it.
    let (near, mut far) = UnixStream::pair().unwrap();
    let unix = engine.adopt(near.into(), 1);
    let (tcp, mut far_tcp) = adopted(&mut engine);
    engine.pause(unix);
    engine.pause(tcp);
    settle(&mut engine);
    far.write_all(b"last words").unwrap();
    far_tcp.write_all(b"last words").unwrap();
    drop(far);
    drop(far_tcp);
    let polls = engine.counters().polls;
    assert!(settle(&mut engine).is_empty());
    assert!(engine.counters().polls - polls <= 5, "and it does not spin");
    for id in [unix, tcp] {
        engine.resume(id);
        assert_eq!(wait_bytes(&mut engine, id, 10), b"last words");
        assert_eq!(wait_closed(&mut engine, id), CloseReason::Eof);
    }
}

fn pause_taken_back_in_the_same_turn_still_reads(mut engine: Engine) {
    let (id, mut far) = adopted(&mut engine);
    settle(&mut engine);
    for round in 0..3u8 {
        engine.pause(id);
        engine.resume(id);
        if round == 1 {
            settle(&mut engine);
        }
        engine.pause(id);
        engine.resume(id);
        far.write_all(&[round; 100]).unwrap();
        assert_eq!(wait_bytes(&mut engine, id, 100), [round; 100]);
    }
}

fn finish_sends_everything_first(mut engine: Engine) {
    let (id, far) = adopted(&mut engine);
    let bytes = pattern(12_000_000);
    engine.write(id, &bytes);
    engine.flush();
    engine.finish(id);
    engine.write(id, b"too late");
    assert!(engine.unsent(id) > 0);
    let reader = thread::spawn(move || read_all(far));
    assert_eq!(wait_closed(&mut engine, id), CloseReason::Finished);
    assert!(reader.join().unwrap() == bytes);
    assert!(!engine.is_open(id));
}

fn finish_does_not_destroy_the_last_reply(mut engine: Engine) {
    let (id, mut far) = adopted(&mut engine);
    // Input that the engine never hands out: closing on top of it would reset the connection.
    engine.pause(id);
    settle(&mut engine);
    far.write_all(&[b'x'; 20_000]).unwrap();
    engine.write(id, b"ERROR line too long\r\n");
    engine.finish(id);
    assert_eq!(wait_closed(&mut engine, id), CloseReason::Finished);
    settle(&mut engine);
    assert_eq!(read_all(far), b"ERROR line too long\r\n");
}

fn finish_without_output_closes_at_once(mut engine: Engine) {
    let (id, far) = adopted(&mut engine);
    engine.finish(id);
    engine.finish(id);
    assert_eq!(wait_closed(&mut engine, id), CloseReason::Finished);
    assert_eq!(read_all(far), b"");
    assert!(settle(&mut engine).is_empty(), "one Closed, not two");
}

fn close_is_silent_and_ids_go_stale(mut engine: Engine) {
    let (old, mut far) = adopted(&mut engine);
    far.write_all(b"bytes that nobody reads").unwrap();
    // It is ready now; closing must also silence what this turn already knows.
    engine.poll(Some(engine.now() + SECOND)).unwrap();
    engine.close(old);
    assert!(engine.next().is_none());
    let (new, mut new_far) = adopted(&mut engine);
    assert_ne!(old, new);
    for _ in 0..2 {
        engine.write(old, b"stale");
        engine.write_owned(old, Box::new(b"stale".to_vec()));
        engine.pause(old);
        engine.finish(old);
        engine.notify_drained(old, 10);
        engine.retag(old, 99);
        engine.expect(old, 10);
        engine.close(old);
        assert_eq!(engine.unsent(old), 0);
        assert!(engine.peer(old).is_none());
    }
    assert!(settle(&mut engine).is_empty());
    assert!(engine.is_open(new) && !engine.is_open(old));
    new_far.write_all(b"hello").unwrap();
    assert_eq!(wait_bytes(&mut engine, new, 5), b"hello");
    engine.write(new, b"hi");
    engine.close(new);
    assert!(matches!(
        far.read(&mut [0; 100]).map_err(|error| error.kind()),
        Ok(0) | Err(ErrorKind::ConnectionReset)
    ));
}

fn close_with_output_under_way_is_safe(mut engine: Engine) {
    for _ in 0..20 {
        let (id, far) = adopted(&mut engine);
        engine.write(id, &pattern(8_000_000));
        engine.write_owned(id, Box::new(pattern(100_000)));
        engine.flush();
        engine.close(id);
        engine.write(id, b"stale");
        engine.flush();
        drop(far);
    }
    assert!(settle(&mut engine).is_empty());
    assert_eq!((engine.open_conns(), engine.unsent_total()), (0, 0));
}

fn reset_comes_after_the_bytes_before_it(mut engine: Engine) {
    let (id, mut far) = adopted(&mut engine);
    engine.write(id, b"never read");
    settle(&mut engine);
    far.write_all(b"last words").unwrap();
    // Closing with unread input makes the kernel send a reset.
    drop(far);
    let mut got = Vec::new();
    let reason = wait(&mut engine, |_, event| match event {
        Event::Received { chunk, .. } => {
            got.extend_from_slice(&chunk);
            None
        }
        Event::Closed { reason, .. } => Some(reason),
        other => panic!("{other:?}"),
    });
    assert_eq!(reason, CloseReason::Reset);
    assert!(got.is_empty() || got == b"last words");
}

fn writing_to_a_gone_peer_ends_in_closed(mut engine: Engine) {
    for is_paused in [false, true] {
        let (near, far) = UnixStream::pair().unwrap();
        let id = engine.adopt(near.into(), 5);
        if is_paused {
            engine.pause(id);
        }
        settle(&mut engine);
        drop(far);
        engine.write(id, b"to nobody");
        engine.flush();
        assert_eq!(wait_closed(&mut engine, id), CloseReason::Reset);
        let (id, far) = adopted(&mut engine);
        if is_paused {
            engine.pause(id);
        }
        engine.allow_half_close(id);
        settle(&mut engine);
        drop(far);
        // The first write makes the peer answer with a reset, the second one meets it.
        let mut reason = None;
        for _ in 0..100 {
            engine.write(id, b"to nobody");
            engine.flush();
            engine.poll(Some(engine.now() + 20 * MILLISECOND)).unwrap();
            while let Some(event) = engine.next() {
                if let Event::Closed { reason: why, .. } = event {
                    reason = Some(why);
                }
            }
        }
        assert_eq!(reason, Some(CloseReason::Reset));
    }
}

fn half_close_lets_replies_out(mut engine: Engine) {
    let (id, mut far) = adopted(&mut engine);
    engine.allow_half_close(id);
    far.write_all(b"request").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    wait(&mut engine, |_, event| match event {
        Event::Received { chunk, .. } => {
            got.extend_from_slice(&chunk);
            None
        }
        Event::Ended { conn, tag: 7 } if conn == id => Some(()),
        other => panic!("{other:?}"),
    });
    assert_eq!(got, b"request");
    let polls = engine.counters().polls;
    assert!(settle(&mut engine).is_empty());
    assert!(engine.counters().polls - polls <= 5, "the end is reported once");
    engine.write(id, b"reply");
    engine.finish(id);
    assert_eq!(wait_closed(&mut engine, id), CloseReason::Finished);
    assert_eq!(read_all(far), b"reply");
}

fn wakers_coalesce(mut engine: Engine) {
    let (sender, mut receiver) = mailbox::<u32>(engine.waker());
    for round in 0..3 {
        let sender = sender.clone();
        let thread = thread::spawn(move || {
            for number in 0..100 {
                sender.send(round * 100 + number);
            }
        });
        let mut got = 0;
        while got < 100 {
            wait(&mut engine, |_, event| matches!(event, Event::Mail).then_some(()));
            while let Some(number) = receiver.try_recv() {
                assert_eq!(number, round * 100 + got);
                got += 1;
            }
        }
        thread.join().unwrap();
    }
    settle(&mut engine);
    engine.waker().wake();
    engine.waker().wake();
    let events = settle(&mut engine);
    assert!(matches!(events[..], [Event::Mail]), "{events:?}");
}

fn listeners_accept_until_removed(mut engine: Engine) {
    let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = listen(&ListenAddress::Tcp(anywhere), &ListenOptions::default()).unwrap();
    let address = listener.local_address().unwrap();
    let other_handle = listener.try_clone().unwrap();
    engine.add_listener(listener, 77).unwrap();
    let path = temp_path("listener");
    let unix = ListenAddress::Unix { path: path.clone(), mode: 0o600 };
    engine.add_listener(listen(&unix, &ListenOptions::default()).unwrap(), 78).unwrap();

    let mut clients: Vec<_> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    let _local = UnixStream::connect(&path).unwrap();
    let mut accepted = Vec::new();
    wait(&mut engine, |engine, event| match event {
        Event::Accepted { listener, conn } => {
            engine.retag(conn, accepted.len() as u64);
            accepted.push((listener, conn));
            (accepted.len() == 51).then_some(())
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(accepted.iter().filter(|(listener, _)| *listener == 77).count(), 50);
    clients[49].write_all(b"hello").unwrap();
    let (conn, tag) = wait(&mut engine, |_, event| match event {
        Event::Received { conn, tag, .. } => Some((conn, tag)),
        other => panic!("{other:?}"),
    });
    assert_eq!(accepted[tag as usize].1, conn);
    assert_eq!(
        engine.peer(conn).unwrap().to_string(),
        clients[49].local_addr().unwrap().to_string()
    );

    engine.remove_listener(77);
    settle(&mut engine);
    let _waiting = TcpStream::connect(address).unwrap();
    assert!(settle(&mut engine).is_empty(), "nobody accepts any more");
    drop(other_handle);
    engine.remove_listener(78);
    std::fs::remove_file(path).unwrap();
}

fn poll_keeps_its_deadline(mut engine: Engine) {
    let (_, _far) = adopted(&mut engine);
    settle(&mut engine);
    let start = engine.now();
    while engine.now() < start + 30 * MILLISECOND {
        engine.poll(Some(start + 30 * MILLISECOND)).unwrap();
        assert!(engine.next().is_none());
    }
    assert!(engine.counters().polls < 1000, "it sleeps instead of spinning");
    // A moment that has passed only looks.
    engine.poll(Some(0)).unwrap();
    // Without a deadline, the next thing that happens ends the wait.
    let waker = engine.waker();
    let thread = thread::spawn(move || waker.wake());
    engine.poll(None).unwrap();
    thread.join().unwrap();
}

fn retag_reaches_pending_events(mut engine: Engine) {
    let id = engine.connect(&Address::Unix(temp_path("no")), &ConnectOptions::default(), 1);
    engine.retag(id, 2);
    wait(&mut engine, |_, event| match event {
        Event::Closed { conn, tag: 2, .. } if conn == id => Some(()),
        other => panic!("{other:?}"),
    });
    // And one that is closed before its failure is told stays silent.
    let id = engine.connect(&Address::Unix(temp_path("no")), &ConnectOptions::default(), 1);
    engine.close(id);
    assert!(settle(&mut engine).is_empty());
}

fn many_connections_at_once(mut engine: Engine) {
    // Few enough for the usual limit of 1024 descriptors, twice at a time.
    const COUNT: usize = 120;
    let mut conns = Vec::new();
    for number in 0..COUNT {
        let (near, far) = tcp_pair();
        conns.push((engine.adopt(near.into(), number as u64), far));
    }
    for round in 0..5usize {
        for (number, (_, far)) in conns.iter_mut().enumerate() {
            far.write_all(&pattern(100 + (number + round) % 64)).unwrap();
        }
        let mut missing: usize = (0..COUNT).map(|number| 100 + (number + round) % 64).sum();
        wait(&mut engine, |engine, event| match event {
            Event::Received { conn, tag, chunk } => {
                assert_eq!(conns[tag as usize].0, conn);
                missing -= chunk.len();
                engine.write(conn, &chunk);
                (missing == 0).then_some(())
            }
            other => panic!("{other:?}"),
        });
        settle(&mut engine);
        for (number, (_, far)) in conns.iter_mut().enumerate() {
            let mut reply = vec![0; 100 + (number + round) % 64];
            far.read_exact(&mut reply).unwrap();
            assert_eq!(reply, pattern(reply.len()));
        }
    }
    assert_eq!(engine.open_conns(), COUNT);
}

fn dropping_the_engine_sends_what_was_flushed(mut engine: Engine) {
    let (id, far) = adopted(&mut engine);
    let (_idle, idle_far) = adopted(&mut engine);
    settle(&mut engine);
    engine.write(id, b"last words");
    engine.flush();
    drop(engine);
    assert_eq!(read_all(far), b"last words");
    assert_eq!(read_all(idle_far), b"");
}

fn more_input_than_buffers_loses_nothing(mut engine: Engine) {
    // Far more than the receive memory that the engine has ready, all there before it looks.
    let mut conns = Vec::new();
    let mut total = 0;
    for number in 0..64 {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let bytes = pattern(300_000 + number);
        let mut written = 0;
        while let Ok(count) = far.write(&bytes[written..(written + 4000).min(bytes.len())]) {
            written += count;
        }
        total += written;
        let id = engine.adopt(near.into(), number as u64);
        conns.push((id, far, bytes, 0));
    }
    assert!(total > 6_000_000, "the sockets took {total} bytes");
    let mut kept = Vec::new();
    wait(&mut engine, |_, event| match event {
        Event::Received { tag, chunk, .. } => {
            let (_, _, bytes, at) = &mut conns[tag as usize];
            assert_eq!(chunk[..], bytes[*at..*at + chunk.len()]);
            *at += chunk.len();
            total -= chunk.len();
            if chunk.len() % 3 == 0 {
                kept.push((tag, *at - chunk.len(), chunk));
            }
            (total == 0).then_some(())
        }
        other => panic!("{other:?}"),
    });
    for (tag, at, chunk) in kept {
        assert_eq!(chunk[..], conns[tag as usize].2[at..at + chunk.len()]);
    }
}
