//! The binary protocol over the embedded store.
//!
//! A packet goes the same way as a text request: [`admit`] on the header and what is there of the
//! body, then [`execute`] on the whole. Quiet commands leave out their nominal reply and nothing
//! else: errors are always answered. There is no SASL here: its commands are answered like those
//! that do not exist, as by a memcached without it.

use super::arith::{self, Change, Changed};
use super::classic::{Deleted, delete_key, note_fetch, note_miss, touch_key};
use super::output::{HELD_BYTES_MIN, Output};
use super::prefix::Use;
use super::update::{Mode, Write, Written, refuse_large, store};
use super::watch::Streams;
use super::{Admission, COMPAT_VERSION, Context, Next, Session, admin, stats};
use keyway_proto::memcached::KEY_BYTES_MAX;
use keyway_proto::memcached::binary::{
    BinaryCut, HEADER_BYTES, Header, Opcode, REQUEST_MAGIC, Status, cut_request,
};
use keyway_proto::number::Decimal;
use keyway_store::{ItemBits, Miss, New};

/// Largest body of any packet, in bytes; memcached's bound of the item size.
const BODY_BYTES_MAX: u32 = 1 << 30;

/// Commands without a value that announce more than this are refused before it is read.
const BODY_BYTES_READ_MAX: u32 = 64 << 10;

/// The status "not supported" of the protocol; memcached itself never gives it.
const NOT_SUPPORTED: u16 = 0x83;

/// A request: header and parts of the body.
#[derive(Clone, Copy)]
struct Packet<'a> {
    header: &'a Header,
    /// The command without its quietness.
    opcode: Opcode,
    is_quiet: bool,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

/// What ends a connection: the lengths do not fit the command.
struct ProtocolError;

/// Answers a header whose lengths contradict each other, or nothing when `bytes` are no binary
/// request at all. The connection is to be closed.
pub fn refuse_malformed(bytes: &[u8], out: &mut Output) {
    let Some(&[REQUEST_MAGIC, opcode, _, _, _, _, _, _, _, _, _, _, ref rest @ ..]) =
        bytes.first_chunk::<HEADER_BYTES>()
    else {
        return;
    };
    let [o0, o1, o2, o3, ..] = *rest;
    let header =
        Header { opcode, opaque: u32::from_be_bytes([o0, o1, o2, o3]), ..Header::default() };
    put_error(&header, Status::UnknownCommand, out);
}

/// Answers a packet on a listener that does not serve the binary protocol.
pub fn refuse(header: &Header, out: &mut Output) {
    const TEXT: &[u8] = b"Binary protocol not supported on proxied listeners";
    put_header(header, NOT_SUPPORTED, 0, 0, TEXT.len(), 0, out);
    out.put(TEXT);
}

/// Decides about the body of a packet, of which `there` has come. [`Admission::Read`] may ask for
/// the part of the body that the decision needs; call again when that has come.
pub fn admit(ctx: &Context<'_>, header: &Header, there: &[u8], out: &mut Output) -> Admission {
    if !ctx.users.is_empty() {
        put_error(header, Status::AuthError, out);
        return Admission::Close;
    }
    if header.body_bytes > BODY_BYTES_MAX || usize::from(header.key_bytes) > KEY_BYTES_MAX {
        put_error(header, Status::InvalidArguments, out);
        return Admission::Close;
    }
    let body = Admission::Read(u64::from(header.body_bytes));
    if header.body_bytes as usize <= there.len() {
        return body;
    }
    let swallow = u64::from(header.body_bytes);
    match Opcode::from_byte(header.opcode).map(Opcode::loud) {
        Some(Opcode::Set | Opcode::Add | Opcode::Replace | Opcode::Append | Opcode::Prepend) => {
            admit_value(ctx, header, there, out)
        }
        _ if header.body_bytes <= BODY_BYTES_READ_MAX => body,
        None | Some(Opcode::SaslListMechs | Opcode::SaslAuth | Opcode::SaslStep) => {
            put_error(header, Status::UnknownCommand, out);
            Admission::Refuse { swallow }
        }
        Some(_) => {
            put_error(header, Status::InvalidArguments, out);
            Admission::Close
        }
    }
}

fn admit_value(ctx: &Context<'_>, header: &Header, there: &[u8], out: &mut Output) -> Admission {
    let before_value = usize::from(header.extras_bytes) + usize::from(header.key_bytes);
    let Some(front) = there.get(..before_value) else {
        return Admission::Read(before_value as u64);
    };
    let Some(packet) = parse(header, front) else {
        return Admission::Close;
    };
    match read_write(ctx, &packet) {
        Err(ProtocolError) => {
            put_error(header, Status::InvalidArguments, out);
            Admission::Close
        }
        Ok(write) if is_too_large(ctx, &write, header) => {
            refuse_large(ctx, &write);
            put_error(header, Status::TooLarge, out);
            Admission::Refuse { swallow: u64::from(header.body_bytes) }
        }
        Ok(_) => Admission::Read(u64::from(header.body_bytes)),
    }
}

/// Answers the packet at the front of `bytes`, all of which is here: one datagram of UDP. Gives the
/// bytes that it took; none if the packet is not complete or ends what a connection would be.
pub fn answer(
    ctx: &Context<'_>,
    session: &mut Session,
    bytes: &[u8],
    out: &mut Output,
) -> Option<usize> {
    let header = match cut_request(bytes) {
        BinaryCut::Head(header) => header,
        BinaryCut::Partial => return None,
        BinaryCut::Malformed => {
            refuse_malformed(bytes, out);
            return None;
        }
    };
    let there = bytes.get(HEADER_BYTES..)?;
    match admit(ctx, &header, there, out) {
        Admission::Close => None,
        Admission::Refuse { swallow } => {
            Some(HEADER_BYTES.saturating_add(usize::try_from(swallow).ok()?))
        }
        Admission::Read(body) => {
            let body = there.get(..usize::try_from(body).ok()?)?;
            let next = execute(ctx, session, &header, body, out);
            matches!(next, Next::Continue).then_some(HEADER_BYTES + body.len())
        }
    }
}

/// Answers one complete packet. `body` is extras, key and value.
pub fn execute(
    ctx: &Context<'_>,
    session: &mut Session,
    header: &Header,
    body: &[u8],
    out: &mut Output,
) -> Next {
    let _ = session;
    let Some(packet) = parse(header, body) else {
        put_error(header, Status::UnknownCommand, out);
        return Next::Continue;
    };
    let done = match packet.opcode {
        Opcode::Get | Opcode::GetK => get(ctx, &packet, out),
        Opcode::Touch | Opcode::Gat | Opcode::GatK => touch(ctx, &packet, out),
        Opcode::Set | Opcode::Add | Opcode::Replace | Opcode::Append | Opcode::Prepend => {
            update(ctx, &packet, out)
        }
        Opcode::Delete => delete(ctx, &packet, out),
        Opcode::Increment | Opcode::Decrement => count(ctx, &packet, out),
        Opcode::Stat => stat(ctx, &packet, out),
        Opcode::Flush => flush(ctx, &packet, out),
        Opcode::Version if header.body_bytes == 0 => {
            put_reply(&packet, 0, 0, COMPAT_VERSION.len(), 0, out);
            out.put(COMPAT_VERSION.as_bytes());
            Ok(())
        }
        Opcode::Noop if header.body_bytes == 0 => {
            put_success(&packet, 0, out);
            Ok(())
        }
        Opcode::Quit if header.body_bytes == 0 => {
            put_success(&packet, 0, out);
            return Next::Close;
        }
        Opcode::SaslListMechs if header.body_bytes == 0 => {
            put_error(header, Status::UnknownCommand, out);
            Ok(())
        }
        Opcode::SaslAuth | Opcode::SaslStep
            if packet.extras.is_empty() && !packet.key.is_empty() =>
        {
            put_error(header, Status::UnknownCommand, out);
            Ok(())
        }
        _ => Err(ProtocolError),
    };
    match done {
        Ok(()) => Next::Continue,
        Err(ProtocolError) => {
            put_error(header, Status::InvalidArguments, out);
            Next::Close
        }
    }
}

/// The parts of a packet; none for a command that does not exist.
fn parse<'a>(header: &'a Header, body: &'a [u8]) -> Option<Packet<'a>> {
    let opcode = Opcode::from_byte(header.opcode)?;
    let (extras, rest) = body.split_at_checked(usize::from(header.extras_bytes))?;
    let (key, value) = rest.split_at_checked(usize::from(header.key_bytes))?;
    let is_quiet = opcode.is_quiet();
    Some(Packet { header, opcode: opcode.loud(), is_quiet, extras, key, value })
}

fn get(ctx: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), ProtocolError> {
    if !packet.extras.is_empty() || packet.key.is_empty() || !packet.value.is_empty() {
        return Err(ProtocolError);
    }
    let read = ctx.store.read(packet.key, ctx.now, true, |item| {
        if item.value.len() >= HELD_BYTES_MIN {
            return false;
        }
        put_value_head(packet, item.flags, item.cas, item.value.len(), out);
        out.put(item.value);
        true
    });
    let found = match read {
        Ok(true) => Ok(()),
        Ok(false) => hold_value(ctx, packet, out),
        Err(miss) => Err(miss),
    };
    ctx.counters.get_cmds.add(1);
    match found {
        Ok(()) => ctx.counters.get_hits.add(1),
        Err(miss) => {
            ctx.counters.get_misses.add(1);
            note_miss(ctx, miss);
            put_miss(packet, out);
        }
    }
    ctx.shared.prefixes.note(packet.key, Use::Get(found.is_ok()));
    if ctx.shared.hub.wants(Streams::FETCHERS) {
        note_fetch(ctx, packet.key, found.err());
    }
    Ok(())
}

fn touch(ctx: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), ProtocolError> {
    let Some(&asked) = packet.extras.as_array::<4>() else { return Err(ProtocolError) };
    if packet.key.is_empty() {
        return Err(ProtocolError);
    }
    // The value has to be seen before the new time to live may end it.
    let with_value = packet.opcode != Opcode::Touch;
    let read = ctx.store.read(packet.key, ctx.now, false, |item| {
        let value = if with_value { item.value } else { &[] };
        put_value_head(packet, item.flags, item.cas, value.len(), out);
        out.put(value);
    });
    let exptime = ctx.shared.exptime(i64::from(u32::from_be_bytes(asked)), ctx.now);
    let touched = touch_key(ctx, packet.key, exptime);
    if read.is_err() {
        put_miss(packet, out);
    }
    ctx.shared.prefixes.note(packet.key, Use::Get(touched.is_ok()));
    Ok(())
}

/// Renders a hit whose value stays in the store's memory. The use was counted already.
#[cold]
fn hold_value(ctx: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), Miss> {
    let held = ctx.store.hold(packet.key, ctx.now, false)?;
    put_value_head(packet, held.flags, held.cas, held.as_ref().len(), out);
    out.hold(held);
    Ok(())
}

fn put_value_head(packet: &Packet<'_>, flags: u32, cas: u64, value_bytes: usize, out: &mut Output) {
    const EXTRAS_BYTES: u8 = 4;
    let with_key = matches!(packet.opcode, Opcode::GetK | Opcode::GatK);
    let key = if with_key { packet.key } else { &[] };
    put_header(packet.header, 0, EXTRAS_BYTES, key.len(), key.len() + value_bytes, cas, out);
    out.put(&flags.to_be_bytes());
    out.put(key);
}

fn put_miss(packet: &Packet<'_>, out: &mut Output) {
    if packet.is_quiet {
        return;
    }
    if matches!(packet.opcode, Opcode::GetK | Opcode::GatK) {
        let key = packet.key;
        put_header(packet.header, Status::NotFound as u16, 0, key.len(), key.len(), 0, out);
        out.put(key);
    } else {
        put_error(packet.header, Status::NotFound, out);
    }
}

fn update(ctx: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), ProtocolError> {
    let write = read_write(ctx, packet)?;
    ctx.shared.prefixes.note(packet.key, Use::Set);
    if is_too_large(ctx, &write, packet.header) {
        refuse_large(ctx, &write);
        put_error(packet.header, Status::TooLarge, out);
        return Ok(());
    }
    ctx.counters.set_cmds.add(1);
    let status = match store(ctx, &write, packet.value) {
        Written::Stored(cas, _) => {
            put_success(packet, cas, out);
            return Ok(());
        }
        Written::Exists => Status::Exists,
        Written::NotFound => Status::NotFound,
        Written::TooLarge => Status::TooLarge,
        Written::NoMemory => {
            put_error_text(
                packet.header,
                Status::OutOfMemory,
                b"Out of memory allocating item",
                out,
            );
            return Ok(());
        }
        Written::NotStored => match write.mode {
            Mode::Add => Status::Exists,
            Mode::Replace => Status::NotFound,
            _ => Status::NotStored,
        },
    };
    put_error(packet.header, status, out);
    Ok(())
}

fn is_too_large(ctx: &Context<'_>, write: &Write<'_>, header: &Header) -> bool {
    let value_bytes = u64::from(header.value_bytes());
    ctx.shared.settings.is_too_large(write.key.len(), write.flags, value_bytes)
}

/// The write that a store command asks for.
fn read_write<'a>(ctx: &Context<'_>, packet: &Packet<'a>) -> Result<Write<'a>, ProtocolError> {
    if packet.key.is_empty() {
        return Err(ProtocolError);
    }
    let mut write = Write {
        key: packet.key,
        mode: Mode::Set,
        flags: 0,
        exptime: 0,
        compare: packet.header.cas,
        cas: None,
        stale_is_fine: false,
        key_is_binary: false,
    };
    let with_extras = match packet.opcode {
        Opcode::Append => {
            write.mode = Mode::Append(false);
            false
        }
        Opcode::Prepend => {
            write.mode = Mode::Prepend(false);
            false
        }
        Opcode::Add => {
            write.mode = Mode::Add;
            true
        }
        Opcode::Replace => {
            write.mode = Mode::Replace;
            true
        }
        _ => true,
    };
    if !with_extras {
        return if packet.extras.is_empty() { Ok(write) } else { Err(ProtocolError) };
    }
    let Some(&[f0, f1, f2, f3, e0, e1, e2, e3]) = packet.extras.as_array::<8>() else {
        return Err(ProtocolError);
    };
    write.flags = u32::from_be_bytes([f0, f1, f2, f3]);
    let asked = u32::from_be_bytes([e0, e1, e2, e3]);
    write.exptime = ctx.shared.exptime(i64::from(asked), ctx.now);
    if packet.header.cas != 0 {
        write.mode = Mode::Cas;
    }
    Ok(write)
}

fn delete(ctx: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), ProtocolError> {
    if packet.key.is_empty() || !packet.extras.is_empty() || !packet.value.is_empty() {
        return Err(ProtocolError);
    }
    ctx.shared.prefixes.note(packet.key, Use::Delete);
    match delete_key(ctx, packet.key, "delete", packet.header.cas) {
        Deleted::Yes => put_success(packet, 0, out),
        Deleted::Missing => put_error(packet.header, Status::NotFound, out),
        Deleted::OtherCas => put_error(packet.header, Status::Exists, out),
    }
    Ok(())
}

fn count(ctx: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), ProtocolError> {
    let Some(extras) = packet.extras.as_array::<20>() else { return Err(ProtocolError) };
    if packet.key.is_empty() || !packet.value.is_empty() {
        return Err(ProtocolError);
    }
    let [d0, d1, d2, d3, d4, d5, d6, d7, i0, i1, i2, i3, i4, i5, i6, i7, e0, e1, e2, e3] = *extras;
    let delta = u64::from_be_bytes([d0, d1, d2, d3, d4, d5, d6, d7]);
    let initial = u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]);
    let asked = u32::from_be_bytes([e0, e1, e2, e3]);
    let up = packet.opcode == Opcode::Increment;
    let change = Change { up, delta, compare: packet.header.cas, cas: None };
    let changed = ctx.store.entry(packet.key, ctx.now, |entry| {
        match arith::apply(ctx, entry, &change) {
            // All ones: a missing counter is not made.
            Changed::Missing if asked != u32::MAX => {
                let digits = Decimal::new(initial);
                let new = New {
                    flags: 0,
                    exptime: ctx.shared.exptime(i64::from(asked), ctx.now),
                    exptime_millis: 0,
                    cas: if ctx.shared.settings.cas_enabled { None } else { Some(0) },
                    bits: ItemBits::default(),
                    value: &[digits.as_bytes()],
                };
                entry.put(&new).map_or(Changed::NoMemory, |cas| Changed::To(initial, cas))
            }
            changed => changed,
        }
    });
    let status = match changed {
        Changed::To(value, cas) => {
            if !packet.is_quiet {
                put_reply(packet, 0, 0, 8, cas, out);
                out.put(&value.to_be_bytes());
            }
            return Ok(());
        }
        Changed::Missing => {
            arith::count_miss(ctx, up);
            Status::NotFound
        }
        Changed::OtherCas => Status::Exists,
        Changed::NonNumeric => Status::NonNumeric,
        Changed::NoMemory => {
            let text = b"Out of memory incrementing value";
            put_error_text(packet.header, Status::OutOfMemory, text, out);
            return Ok(());
        }
    };
    put_error(packet.header, status, out);
    Ok(())
}

fn stat(ctx: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), ProtocolError> {
    if !packet.extras.is_empty() {
        return Err(ProtocolError);
    }
    if !stats::binary(ctx, packet.key, packet.header.opaque, out) {
        put_error(packet.header, Status::NotFound, out);
    }
    Ok(())
}

fn flush(ctx: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), ProtocolError> {
    let delay = match packet.extras {
        [] => 0,
        &[d0, d1, d2, d3] => u32::from_be_bytes([d0, d1, d2, d3]),
        _ => return Err(ProtocolError),
    };
    if !packet.key.is_empty() || !packet.value.is_empty() {
        return Err(ProtocolError);
    }
    if !ctx.allow.flush {
        put_error(packet.header, Status::AuthError, out);
        return Ok(());
    }
    admin::flush(ctx, i64::from(delay));
    ctx.counters.flush_cmds.add(1);
    put_success(packet, 0, out);
    Ok(())
}

/// The nominal reply without a body; quiet commands leave it out.
fn put_success(packet: &Packet<'_>, cas: u64, out: &mut Output) {
    if !packet.is_quiet {
        put_reply(packet, 0, 0, 0, cas, out);
    }
}

fn put_reply(
    packet: &Packet<'_>,
    extras_bytes: u8,
    key_bytes: usize,
    rest_bytes: usize,
    cas: u64,
    out: &mut Output,
) {
    put_header(packet.header, 0, extras_bytes, key_bytes, rest_bytes, cas, out);
}

fn put_error(request: &Header, status: Status, out: &mut Output) {
    put_error_text(request, status, status.text(), out);
}

fn put_error_text(request: &Header, status: Status, text: &[u8], out: &mut Output) {
    put_header(request, status as u16, 0, 0, text.len(), 0, out);
    out.put(text);
}

/// Appends a reply header. `rest_bytes` is the body without extras.
fn put_header(
    request: &Header,
    status: u16,
    extras_bytes: u8,
    key_bytes: usize,
    rest_bytes: usize,
    cas: u64,
    out: &mut Output,
) {
    let body_bytes = usize::from(extras_bytes) + rest_bytes;
    let header = Header {
        opcode: request.opcode,
        key_bytes: u16::try_from(key_bytes).unwrap_or(u16::MAX),
        extras_bytes,
        data_type: 0,
        status,
        body_bytes: u32::try_from(body_bytes).unwrap_or(u32::MAX),
        opaque: request.opaque,
        cas,
    };
    out.put(&header.render_reply());
}
