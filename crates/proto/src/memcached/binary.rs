//! The header, opcodes and status codes of the binary protocol.
//!
//! A packet is a header of 24 bytes, then extras, key and value, whose lengths the header gives.
//! All numbers are big-endian. What each opcode does is for the embedded store.

/// First byte of a request.
pub const REQUEST_MAGIC: u8 = 0x80;
/// First byte of a reply.
pub const REPLY_MAGIC: u8 = 0x81;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 24;

/// The header of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The command; `Opcode::from_byte` names it.
    pub opcode: u8,
    /// Length of the key, in bytes.
    pub key_bytes: u16,
    /// Length of the extras, in bytes.
    pub extras_bytes: u8,
    /// Always 0 in use.
    pub data_type: u8,
    /// The status of a reply; reserved in a request.
    pub status: u16,
    /// Length of extras, key and value together, in bytes.
    pub body_bytes: u32,
    /// Given back by the server as it came.
    pub opaque: u32,
    /// The CAS number; 0 for none.
    pub cas: u64,
}

/// What the front of the received bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryCut {
    /// A header; `Header::body_bytes` follow it.
    Head(Header),
    /// Fewer than `HEADER_BYTES` bytes.
    Partial,
    /// The first byte is not the expected magic, or the lengths contradict each other.
    Malformed,
}

/// Cuts a request header off the front of `bytes`.
pub fn cut_request(bytes: &[u8]) -> BinaryCut {
    cut(bytes, REQUEST_MAGIC)
}

/// Cuts a reply header off the front of `bytes`.
pub fn cut_reply(bytes: &[u8]) -> BinaryCut {
    cut(bytes, REPLY_MAGIC)
}

fn cut(bytes: &[u8], magic: u8) -> BinaryCut {
    if bytes.first().is_some_and(|&first| first != magic) {
        return BinaryCut::Malformed;
    }
    let Some(&[_, opcode, k0, k1, extras_bytes, data_type, s0, s1, ref rest @ ..]) =
        bytes.first_chunk::<HEADER_BYTES>()
    else {
        return BinaryCut::Partial;
    };
    let [b0, b1, b2, b3, o0, o1, o2, o3, cas @ ..] = *rest;
    let header = Header {
        opcode,
        key_bytes: u16::from_be_bytes([k0, k1]),
        extras_bytes,
        data_type,
        status: u16::from_be_bytes([s0, s1]),
        body_bytes: u32::from_be_bytes([b0, b1, b2, b3]),
        opaque: u32::from_be_bytes([o0, o1, o2, o3]),
        cas: u64::from_be_bytes(cas),
    };
    if u32::from(header.key_bytes) + u32::from(extras_bytes) > header.body_bytes {
        return BinaryCut::Malformed;
    }
    BinaryCut::Head(header)
}

impl Header {
    /// Length of the value, in bytes: what the body holds besides extras and key.
    pub const fn value_bytes(&self) -> u32 {
        self.body_bytes.saturating_sub(self.key_bytes as u32 + self.extras_bytes as u32)
    }

    /// The header as a request.
    pub fn render_request(&self) -> [u8; HEADER_BYTES] {
        self.render(REQUEST_MAGIC)
    }

    /// The header as a reply.
    pub fn render_reply(&self) -> [u8; HEADER_BYTES] {
        self.render(REPLY_MAGIC)
    }

    fn render(&self, magic: u8) -> [u8; HEADER_BYTES] {
        let [k0, k1] = self.key_bytes.to_be_bytes();
        let [s0, s1] = self.status.to_be_bytes();
        let [b0, b1, b2, b3] = self.body_bytes.to_be_bytes();
        let [o0, o1, o2, o3] = self.opaque.to_be_bytes();
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.cas.to_be_bytes();
        let (opcode, extras, data_type) = (self.opcode, self.extras_bytes, self.data_type);
        [
            magic, opcode, k0, k1, extras, data_type, s0, s1, b0, b1, b2, b3, o0, o1, o2, o3, c0,
            c1, c2, c3, c4, c5, c6, c7,
        ]
    }
}

/// The commands that memcached serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the protocol's own words; Q means quiet.
pub enum Opcode {
    Get = 0x00,
    Set = 0x01,
    Add = 0x02,
    Replace = 0x03,
    Delete = 0x04,
    Increment = 0x05,
    Decrement = 0x06,
    Quit = 0x07,
    Flush = 0x08,
    GetQ = 0x09,
    Noop = 0x0a,
    Version = 0x0b,
    GetK = 0x0c,
    GetKQ = 0x0d,
    Append = 0x0e,
    Prepend = 0x0f,
    Stat = 0x10,
    SetQ = 0x11,
    AddQ = 0x12,
    ReplaceQ = 0x13,
    DeleteQ = 0x14,
    IncrementQ = 0x15,
    DecrementQ = 0x16,
    QuitQ = 0x17,
    FlushQ = 0x18,
    AppendQ = 0x19,
    PrependQ = 0x1a,
    Touch = 0x1c,
    Gat = 0x1d,
    GatQ = 0x1e,
    SaslListMechs = 0x20,
    SaslAuth = 0x21,
    SaslStep = 0x22,
    GatK = 0x23,
    GatKQ = 0x24,
}

/// Every opcode with its quiet bit taken out: itself if it is loud.
const OPCODES: [(Opcode, Opcode); 35] = [
    (Opcode::Get, Opcode::Get),
    (Opcode::Set, Opcode::Set),
    (Opcode::Add, Opcode::Add),
    (Opcode::Replace, Opcode::Replace),
    (Opcode::Delete, Opcode::Delete),
    (Opcode::Increment, Opcode::Increment),
    (Opcode::Decrement, Opcode::Decrement),
    (Opcode::Quit, Opcode::Quit),
    (Opcode::Flush, Opcode::Flush),
    (Opcode::GetQ, Opcode::Get),
    (Opcode::Noop, Opcode::Noop),
    (Opcode::Version, Opcode::Version),
    (Opcode::GetK, Opcode::GetK),
    (Opcode::GetKQ, Opcode::GetK),
    (Opcode::Append, Opcode::Append),
    (Opcode::Prepend, Opcode::Prepend),
    (Opcode::Stat, Opcode::Stat),
    (Opcode::SetQ, Opcode::Set),
    (Opcode::AddQ, Opcode::Add),
    (Opcode::ReplaceQ, Opcode::Replace),
    (Opcode::DeleteQ, Opcode::Delete),
    (Opcode::IncrementQ, Opcode::Increment),
    (Opcode::DecrementQ, Opcode::Decrement),
    (Opcode::QuitQ, Opcode::Quit),
    (Opcode::FlushQ, Opcode::Flush),
    (Opcode::AppendQ, Opcode::Append),
    (Opcode::PrependQ, Opcode::Prepend),
    (Opcode::Touch, Opcode::Touch),
    (Opcode::Gat, Opcode::Gat),
    (Opcode::GatQ, Opcode::Gat),
    (Opcode::SaslListMechs, Opcode::SaslListMechs),
    (Opcode::SaslAuth, Opcode::SaslAuth),
    (Opcode::SaslStep, Opcode::SaslStep),
    (Opcode::GatK, Opcode::GatK),
    (Opcode::GatKQ, Opcode::GatK),
];

/// The rows of `OPCODES` by the byte of the opcode.
static BY_BYTE: [Option<(Opcode, Opcode)>; 64] = by_byte();

const fn by_byte() -> [Option<(Opcode, Opcode)>; 64] {
    let mut table = [None; 64];
    let mut index = 0;
    while index < OPCODES.len() {
        table[OPCODES[index].0 as usize] = Some(OPCODES[index]);
        index += 1;
    }
    table
}

impl Opcode {
    /// The command with that byte, if memcached serves it.
    #[inline]
    pub fn from_byte(byte: u8) -> Option<Opcode> {
        let row = BY_BYTE.get(usize::from(byte)).copied().flatten()?;
        Some(row.0)
    }

    /// The command without its quietness: `Get` for `GetQ`. Loud commands are themselves.
    #[inline]
    pub fn loud(self) -> Opcode {
        let row = BY_BYTE.get(self as usize).copied().flatten();
        row.map_or(self, |(_, loud)| loud)
    }

    /// Whether the command leaves out its nominal reply.
    pub fn is_quiet(self) -> bool {
        self.loud() != self
    }
}

/// Status of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// Done.
    Success = 0x00,
    /// There is no such item.
    NotFound = 0x01,
    /// The item exists, or its CAS number is another.
    Exists = 0x02,
    /// The value is too large.
    TooLarge = 0x03,
    /// The lengths do not fit the command.
    InvalidArguments = 0x04,
    /// The condition of a store command did not hold.
    NotStored = 0x05,
    /// The value is no number.
    NonNumeric = 0x06,
    /// Authentication is required or failed.
    AuthError = 0x20,
    /// Authentication goes on.
    AuthContinue = 0x21,
    /// No such command.
    UnknownCommand = 0x81,
    /// There is no memory.
    OutOfMemory = 0x82,
}

impl Status {
    /// The text that memcached puts into the body of a failed reply; empty for success.
    pub const fn text(self) -> &'static [u8] {
        match self {
            Status::Success => b"",
            Status::NotFound => b"Not found",
            Status::Exists => b"Data exists for key.",
            Status::TooLarge => b"Too large.",
            Status::InvalidArguments => b"Invalid arguments",
            Status::NotStored => b"Not stored.",
            Status::NonNumeric => b"Non-numeric server-side value for incr or decr",
            Status::AuthError => b"Auth failure.",
            Status::AuthContinue => b"UNHANDLED ERROR",
            Status::UnknownCommand => b"Unknown command",
            Status::OutOfMemory => b"Out of memory",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn opcodes_are_found_by_byte_and_know_their_loud_form() {
        for (opcode, loud) in OPCODES {
            assert_eq!(Opcode::from_byte(opcode as u8), Some(opcode));
            assert_eq!((opcode.loud(), loud.is_quiet()), (loud, false));
        }
        assert_eq!(Opcode::GetKQ.loud(), Opcode::GetK);
        assert_eq!(Opcode::from_byte(0x1b), None);
    }

    #[test]
    fn contradicting_lengths_and_foreign_magic_are_malformed() {
        let header = Header { key_bytes: 3, extras_bytes: 4, body_bytes: 6, ..Header::default() };
        assert_eq!(cut_request(&header.render_request()), BinaryCut::Malformed);
        assert_eq!(cut_request(b"get"), BinaryCut::Malformed);
        assert_eq!(cut_request(b""), BinaryCut::Partial);
        assert_eq!(cut_request(&[REQUEST_MAGIC; HEADER_BYTES - 1]), BinaryCut::Partial);
    }

    proptest! {
        #[test]
        fn a_rendered_header_reads_back(
            opcode: u8, key_bytes: u16, extras_bytes: u8, value_bytes in 0u32..1 << 30,
            status: u16, opaque: u32, cas: u64, data_type: u8,
        ) {
            let body_bytes = u32::from(key_bytes) + u32::from(extras_bytes) + value_bytes;
            let header = Header {
                opcode, key_bytes, extras_bytes, data_type, status, body_bytes, opaque, cas,
            };
            prop_assert_eq!(cut_request(&header.render_request()), BinaryCut::Head(header));
            prop_assert_eq!(cut_reply(&header.render_reply()), BinaryCut::Head(header));
            prop_assert_eq!(header.value_bytes(), value_bytes);
        }
    }
}
