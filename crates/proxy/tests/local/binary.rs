//! The binary protocol, packet by packet.
//!
//! Requests are made from headers and parts here; replies are taken apart again and compared by
//! status and body.

use crate::driver::Local;
use keyway_proto::memcached::binary::{BinaryCut, HEADER_BYTES, Header, Opcode, Status, cut_reply};

/// A request packet.
fn packet(opcode: Opcode, extras: &[u8], key: &[u8], value: &[u8], cas: u64) -> Vec<u8> {
    let body = [extras, key, value].concat();
    let header = Header {
        opcode: opcode as u8,
        key_bytes: key.len() as u16,
        extras_bytes: extras.len() as u8,
        body_bytes: body.len() as u32,
        opaque: 0xabcd_ef01,
        cas,
        ..Header::default()
    };
    [&header.render_request()[..], &body].concat()
}

/// The replies in order: header, and body as extras, key and value.
fn replies(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() && bytes != b"(closed)\r\n" {
        let BinaryCut::Head(header) = cut_reply(bytes) else { panic!("no reply: {bytes:?}") };
        let end = HEADER_BYTES + header.body_bytes as usize;
        found.push((header, bytes[HEADER_BYTES..end].to_vec()));
        bytes = &bytes[end..];
    }
    found
}

fn ask(local: &mut Local, request: &[u8]) -> Vec<(Header, Vec<u8>)> {
    replies(&local.exchange(request))
}

/// Asks for one thing and gets one reply: its status and body.
fn one(local: &mut Local, request: &[u8]) -> (u16, Vec<u8>) {
    let mut all = ask(local, request);
    assert_eq!(all.len(), 1, "{all:?}");
    let (header, body) = all.remove(0);
    assert_eq!(header.opaque, 0xabcd_ef01);
    (header.status, body)
}

const FLAGS_7: [u8; 8] = [0, 0, 0, 7, 0, 0, 0, 0];

fn count(delta: u64, initial: u64, expiration: u32) -> Vec<u8> {
    [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &expiration.to_be_bytes()].concat()
}

#[test]
fn values_come_and_go() {
    let mut local = Local::new();
    let ok = (0, Vec::new());
    assert_eq!(one(&mut local, &packet(Opcode::Set, &FLAGS_7, b"a", b"abc", 0)), ok);
    let got = ask(&mut local, &packet(Opcode::GetK, b"", b"a", b"", 0));
    assert_eq!(got[0].1, b"\0\0\0\x07aabc");
    assert_eq!((got[0].0.key_bytes, got[0].0.extras_bytes, got[0].0.cas), (1, 4, 1));
    assert_eq!(one(&mut local, &packet(Opcode::Get, b"", b"a", b"", 0)).1, b"\0\0\0\x07abc");
    assert_eq!(one(&mut local, &packet(Opcode::Append, b"", b"a", b"d", 0)), ok);
    assert_eq!(one(&mut local, &packet(Opcode::Prepend, b"", b"a", b"_", 0)), ok);
    assert_eq!(one(&mut local, &packet(Opcode::Get, b"", b"a", b"", 0)).1, b"\0\0\0\x07_abcd");
    assert_eq!(
        one(&mut local, &packet(Opcode::Delete, b"", b"a", b"", 99)).0,
        Status::Exists as u16
    );
    assert_eq!(one(&mut local, &packet(Opcode::Delete, b"", b"a", b"", 0)), ok);
    let missing = (Status::NotFound as u16, b"Not found".to_vec());
    assert_eq!(one(&mut local, &packet(Opcode::Get, b"", b"a", b"", 0)), missing);
    assert_eq!(one(&mut local, &packet(Opcode::GetK, b"", b"a", b"", 0)).1, b"a");
}

#[test]
fn conditions_of_store_commands() {
    let mut local = Local::new();
    let status =
        |local: &mut Local, opcode, cas| one(local, &packet(opcode, &FLAGS_7, b"a", b"x", cas)).0;
    assert_eq!(status(&mut local, Opcode::Replace, 0), Status::NotFound as u16);
    assert_eq!(status(&mut local, Opcode::Set, 5), Status::NotFound as u16);
    assert_eq!(status(&mut local, Opcode::Add, 0), 0);
    assert_eq!(status(&mut local, Opcode::Add, 0), Status::Exists as u16);
    assert_eq!(status(&mut local, Opcode::Set, 99), Status::Exists as u16);
    assert_eq!(status(&mut local, Opcode::Replace, 1), 0);
    let append = packet(Opcode::Append, b"", b"none", b"x", 0);
    assert_eq!(one(&mut local, &append).0, Status::NotStored as u16);
}

#[test]
fn quiet_commands_answer_only_what_is_not_nominal() {
    let mut local = Local::new();
    let mut request = packet(Opcode::SetQ, &FLAGS_7, b"a", b"x", 0);
    request.extend(packet(Opcode::GetQ, b"", b"none", b"", 0));
    request.extend(packet(Opcode::GetKQ, b"", b"a", b"", 0));
    request.extend(packet(Opcode::AddQ, &FLAGS_7, b"a", b"x", 0));
    request.extend(packet(Opcode::DeleteQ, b"", b"none", b"", 0));
    request.extend(packet(Opcode::IncrementQ, &count(1, 5, 0), b"n", b"", 0));
    request.extend(packet(Opcode::FlushQ, b"", b"", b"", 0));
    request.extend(packet(Opcode::Noop, b"", b"", b"", 0));
    let got: Vec<(u8, u16)> =
        ask(&mut local, &request).iter().map(|(h, _)| (h.opcode, h.status)).collect();
    assert_eq!(
        got,
        [
            (Opcode::GetKQ as u8, 0),
            (Opcode::AddQ as u8, Status::Exists as u16),
            (Opcode::DeleteQ as u8, Status::NotFound as u16),
            (Opcode::Noop as u8, 0),
        ]
    );
    assert_eq!(local.exchange(&packet(Opcode::QuitQ, b"", b"", b"", 0)), b"(closed)\r\n");
}

#[test]
fn counters_are_made_changed_and_bounded() {
    let mut local = Local::new();
    let ask = |local: &mut Local, opcode, extras: &[u8]| {
        one(local, &packet(opcode, extras, b"n", b"", 0))
    };
    let value = |number: u64| (0, number.to_be_bytes().to_vec());
    let absent = ask(&mut local, Opcode::Increment, &count(1, 5, u32::MAX));
    assert_eq!(absent.0, Status::NotFound as u16);
    assert_eq!(ask(&mut local, Opcode::Increment, &count(1, 5, 0)), value(5));
    assert_eq!(ask(&mut local, Opcode::Increment, &count(10, 5, 0)), value(15));
    assert_eq!(ask(&mut local, Opcode::Decrement, &count(100, 5, 0)), value(0));
    one(&mut local, &packet(Opcode::Set, &FLAGS_7, b"n", b"x", 0));
    let text = (Status::NonNumeric as u16, Status::NonNumeric.text().to_vec());
    assert_eq!(ask(&mut local, Opcode::Increment, &count(1, 5, 0)), text);
}

#[test]
fn touch_and_get_and_touch() {
    let mut local = Local::new();
    one(&mut local, &packet(Opcode::Set, &FLAGS_7, b"a", b"x", 0));
    let touch = |opcode| packet(opcode, &100u32.to_be_bytes(), b"a", b"", 0);
    assert_eq!(one(&mut local, &touch(Opcode::Touch)), (0, b"\0\0\0\x07".to_vec()));
    assert_eq!(one(&mut local, &touch(Opcode::Gat)), (0, b"\0\0\0\x07x".to_vec()));
    assert_eq!(one(&mut local, &touch(Opcode::GatK)), (0, b"\0\0\0\x07ax".to_vec()));
    local.ahead = 200;
    assert_eq!(one(&mut local, &touch(Opcode::Touch)).0, Status::NotFound as u16);
    assert!(local.exchange(&touch(Opcode::GatQ)).is_empty());
}

#[test]
fn statistics_and_version() {
    let mut local = Local::new();
    let version = packet(Opcode::Version, b"", b"", b"", 0);
    assert_eq!(one(&mut local, &version), (0, b"1.6.45".to_vec()));
    let rows = ask(&mut local, &packet(Opcode::Stat, b"", b"", b"", 0));
    assert!(rows.len() > 50);
    assert!(rows.iter().any(|(_, body)| body == b"version1.6.45"));
    assert_eq!(rows.last().unwrap().0.body_bytes, 0);
    let rows = ask(&mut local, &packet(Opcode::Stat, b"", b"settings", b"", 0));
    assert!(rows.iter().any(|(_, body)| body == b"maxconns1024"));
    let none = one(&mut local, &packet(Opcode::Stat, b"", b"nonsense", b"", 0));
    assert_eq!(none.0, Status::NotFound as u16);
}

#[test]
fn what_does_not_exist_is_read_over() {
    let mut local = Local::new();
    let mut request = packet(Opcode::SaslListMechs, b"", b"", b"", 0);
    request.extend(packet(Opcode::SaslAuth, b"", b"PLAIN", b"\0u\0p", 0));
    let mut unknown = packet(Opcode::Get, b"", b"key", b"value", 0);
    unknown[1] = 0x1b;
    request.extend(unknown);
    request.extend(packet(Opcode::Noop, b"", b"", b"", 0));
    let got: Vec<u16> = ask(&mut local, &request).iter().map(|(h, _)| h.status).collect();
    let unknown = Status::UnknownCommand as u16;
    assert_eq!(got, [unknown, unknown, unknown, 0]);
}

#[test]
fn lengths_that_do_not_fit_close() {
    let mut local = Local::new();
    let key = [b'k'; 251];
    let broken = [
        packet(Opcode::Get, b"extra", b"k", b"", 0),
        packet(Opcode::Get, b"", b"", b"", 0),
        packet(Opcode::Set, b"", b"k", b"v", 0),
        packet(Opcode::Noop, b"", b"k", b"", 0),
        packet(Opcode::Get, b"", &key, b"", 0),
        packet(Opcode::Flush, b"12345", b"", b"", 0),
        packet(Opcode::Increment, b"1", b"k", b"", 0),
    ];
    for request in broken {
        let bytes = local.exchange(&request);
        assert!(bytes.ends_with(b"(closed)\r\n"), "{request:?}");
        let reply = &replies(&bytes[..bytes.len() - 10])[0];
        assert_eq!(reply.0.status, Status::InvalidArguments as u16);
    }
    let mut contradictory = packet(Opcode::Get, b"", b"key", b"", 0);
    contradictory[11] = 1;
    let bytes = local.exchange(&contradictory);
    assert_eq!(replies(&bytes[..bytes.len() - 10])[0].0.status, Status::UnknownCommand as u16);
}

#[test]
fn too_large_values_are_swallowed_in_any_pieces() {
    let mut local = Local::new();
    one(&mut local, &packet(Opcode::Set, &FLAGS_7, b"a", b"x", 0));
    let mut request = packet(Opcode::Set, &FLAGS_7, b"a", &vec![b'x'; 2 << 20], 0);
    request.extend(packet(Opcode::Get, b"", b"a", b"", 0));
    let mut bytes = local.exchange(&request[..26]);
    for piece in request[26..].chunks(100_000) {
        bytes.extend(local.exchange(piece));
    }
    let got: Vec<u16> = replies(&bytes).iter().map(|(h, _)| h.status).collect();
    assert_eq!(got, [Status::TooLarge as u16, Status::NotFound as u16]);
}
