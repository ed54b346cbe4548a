//! The form of an item in a segment: header, key, value, padding to eight bytes.
//!
//! The header is 32 bytes, little-endian, read and written through plain slices. A value too
//! long for a segment is replaced by four bytes: the number of its extent in the shard.
//!
//! The milliseconds of an expiry time take no room: their ten bits lie in the high bits of the
//! record's length (four), the value's length (two) and the second of the last use (four), none
//! of which can get that large.

use crate::item::ItemBits;

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 32;

/// Longest record that lives in a segment; longer values get an extent.
///
/// A quarter of a segment bounds what is lost at a segment's end, and from here on whole pages
/// waste less than that.
pub(crate) const RECORD_BYTES_MAX: usize = crate::memory::SEGMENT_BYTES / 4;

/// Bytes that stand for a value in an extent.
const EXTENT_BYTES: usize = 4;

/// Uses are counted up to this.
pub(crate) const USES_MAX: u8 = 3;

const DEAD: u8 = 1;
const LONG: u8 = 2;
const FETCHED: u8 = 4;
const STALE: u8 = 8;
const WIN_SENT: u8 = 16;
const BINARY_KEY: u8 = 32;
const USES_SHIFT: u8 = 6;

const BITS_AT: usize = 3;
const CAS_AT: usize = 8;
const FLAGS_AT: usize = 16;
const LAST_ACCESS_AT: usize = 24;

const UNITS_BITS: u32 = 12;
const VALUE_LEN_BITS: u32 = 30;
const LAST_ACCESS_BITS: u32 = 28;

/// The last second that can be told as a last use: eight and a half years after the clock's
/// origin. Later uses are told as this one.
pub(crate) const LAST_ACCESS_MAX: u32 = (1 << LAST_ACCESS_BITS) - 1;

const _: () = assert!(RECORD_BYTES_MAX / 8 < 1 << UNITS_BITS, "a record's length leaves bits");
const _: () = assert!(
    UNITS_BITS + VALUE_LEN_BITS + LAST_ACCESS_BITS + 10 == 16 + 32 + 32,
    "ten bits hold milliseconds"
);

/// A record's header, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Length of the record in units of eight bytes, and bits 0..=3 of the milliseconds.
    pub(crate) units_raw: u16,
    pub(crate) key_len: u8,
    pub(crate) bits: Bits,
    pub(crate) hash: u32,
    pub(crate) cas: u64,
    pub(crate) flags: u32,
    pub(crate) exptime: u32,
    /// At most [`LAST_ACCESS_MAX`], and bits 4..=7 of the milliseconds.
    pub(crate) last_access_raw: u32,
    /// Less than 2^30, and bits 8 and 9 of the milliseconds.
    pub(crate) value_len_raw: u32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES, "a header is read without unpacking");

/// The byte of state bits in a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits(u8);

impl Bits {
    pub(crate) fn new(bits: ItemBits, is_long: bool, uses: u8) -> Bits {
        let mut byte = uses << USES_SHIFT;
        byte |= if is_long { LONG } else { 0 };
        Bits(byte).with_item_bits(bits)
    }

    pub(crate) fn is_dead(self) -> bool {
        self.0 & DEAD != 0
    }

    pub(crate) fn is_long(self) -> bool {
        self.0 & LONG != 0
    }

    pub(crate) fn is_fetched(self) -> bool {
        self.0 & FETCHED != 0
    }

    /// Uses since the item came to its queue, 0..=3.
    pub(crate) fn uses(self) -> u8 {
        self.0 >> USES_SHIFT
    }

    pub(crate) fn item_bits(self) -> ItemBits {
        ItemBits {
            stale: self.0 & STALE != 0,
            win_sent: self.0 & WIN_SENT != 0,
            key_is_binary: self.0 & BINARY_KEY != 0,
        }
    }

    pub(crate) fn with_item_bits(self, bits: ItemBits) -> Bits {
        let mut byte = self.0 & !(STALE | WIN_SENT | BINARY_KEY);
        byte |= if bits.stale { STALE } else { 0 };
        byte |= if bits.win_sent { WIN_SENT } else { 0 };
        byte |= if bits.key_is_binary { BINARY_KEY } else { 0 };
        Bits(byte)
    }

    pub(crate) fn with_uses(self, uses: u8) -> Bits {
        Bits(self.0 & !(USES_MAX << USES_SHIFT) | uses << USES_SHIFT)
    }

    pub(crate) fn with_use(self) -> Bits {
        let uses = (self.uses() + 1).min(USES_MAX);
        Bits(self.with_uses(uses).0 | FETCHED)
    }

    pub(crate) fn dead(self) -> Bits {
        Bits(self.0 | DEAD)
    }
}

impl Header {
    /// Reads the header of the record that `bytes` starts with.
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Header {
        let raw: &[u8; HEADER_BYTES] = bytes.first_chunk().expect("a record has a whole header");
        let word = |at: usize| {
            u64::from_le_bytes(*raw[at..].first_chunk().expect("four words make a header"))
        };
        let (first, cas, third, fourth) = (word(0), word(8), word(16), word(24));
        Header {
            units_raw: first as u16,
            key_len: (first >> 16) as u8,
            bits: Bits((first >> 24) as u8),
            hash: (first >> 32) as u32,
            cas,
            flags: third as u32,
            exptime: (third >> 32) as u32,
            last_access_raw: fourth as u32,
            value_len_raw: (fourth >> 32) as u32,
        }
    }

    fn write(&self, bytes: &mut [u8]) {
        let first = u64::from(self.units_raw)
            | u64::from(self.key_len) << 16
            | u64::from(self.bits.0) << 24
            | u64::from(self.hash) << 32;
        let third = u64::from(self.flags) | u64::from(self.exptime) << 32;
        let fourth = u64::from(self.last_access_raw) | u64::from(self.value_len_raw) << 32;
        for (at, word) in [first, self.cas, third, fourth].into_iter().enumerate() {
            bytes[at * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Length of the record in units of eight bytes.
    #[inline]
    pub(crate) fn units(&self) -> u16 {
        self.units_raw & ((1 << UNITS_BITS) - 1)
    }

    /// Second of the last use.
    #[inline]
    pub(crate) fn last_access(&self) -> u32 {
        self.last_access_raw & LAST_ACCESS_MAX
    }

    /// Length of the value in bytes.
    #[inline]
    pub(crate) fn value_len(&self) -> u32 {
        self.value_len_raw & ((1 << VALUE_LEN_BITS) - 1)
    }

    /// Milliseconds beyond `exptime`, 0..=999.
    pub(crate) fn exptime_millis(&self) -> u16 {
        let low = self.units_raw >> UNITS_BITS;
        let middle = self.last_access_raw >> LAST_ACCESS_BITS;
        let high = self.value_len_raw >> VALUE_LEN_BITS;
        low | (middle << 4 | high << 8) as u16
    }

    /// The same header with another expiry time; milliseconds 0..=999.
    pub(crate) fn with_expiry(self, exptime: u32, millis: u16) -> Header {
        let millis = u32::from(millis);
        Header {
            exptime,
            units_raw: self.units() | ((millis & 15) << UNITS_BITS) as u16,
            last_access_raw: self.last_access() | (millis >> 4 & 15) << LAST_ACCESS_BITS,
            value_len_raw: self.value_len() | millis >> 8 << VALUE_LEN_BITS,
            ..self
        }
    }

    /// Length of the record in bytes.
    #[inline]
    pub(crate) fn record_bytes(&self) -> usize {
        self.units() as usize * 8
    }

    /// The key in the record.
    #[inline]
    pub(crate) fn key<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        &record[HEADER_BYTES..][..self.key_len as usize]
    }

    /// The value in the record; for records that are not long.
    #[inline]
    pub(crate) fn value<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        debug_assert!(!self.bits.is_long());
        &record[HEADER_BYTES + self.key_len as usize..][..self.value_len() as usize]
    }

    /// The same, for rewriting it.
    pub(crate) fn value_mut<'a>(&self, record: &'a mut [u8]) -> &'a mut [u8] {
        debug_assert!(!self.bits.is_long());
        &mut record[HEADER_BYTES + self.key_len as usize..][..self.value_len() as usize]
    }

    /// The number of the extent of a long record's value.
    #[inline]
    pub(crate) fn extent(&self, record: &[u8]) -> u32 {
        debug_assert!(self.bits.is_long());
        let at = HEADER_BYTES + self.key_len as usize;
        u32::from_le_bytes(*record[at..].first_chunk().expect("a long record names its extent"))
    }

    /// Bytes of the item as the owner counts them: header, key and value.
    pub(crate) fn item_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.key_len) + u64::from(self.value_len())
    }
}

/// Whether the record of an item exceeds what a segment takes.
pub(crate) fn is_long(key_len: usize, value_len: usize) -> bool {
    HEADER_BYTES + key_len + value_len > RECORD_BYTES_MAX
}

/// Units of eight bytes of an item's record.
pub(crate) fn units(key_len: usize, value_len: usize, is_long: bool) -> u16 {
    let value_len = if is_long { EXTENT_BYTES } else { value_len };
    let units = (HEADER_BYTES + key_len + value_len).div_ceil(8);
    u16::try_from(units).expect("records are at most a quarter of a segment")
}

/// What follows the key in a record.
pub(crate) enum Body<'a> {
    /// The value, in pieces.
    Pieces(&'a [&'a [u8]]),
    /// The number of the extent that holds it.
    Extent(u32),
}

/// Writes a whole record to the front of `bytes`.
#[inline]
pub(crate) fn write(bytes: &mut [u8], header: &Header, key: &[u8], body: Body<'_>) {
    header.write(bytes);
    let mut at = HEADER_BYTES + key.len();
    bytes[HEADER_BYTES..at].copy_from_slice(key);
    match body {
        Body::Extent(number) => bytes[at..][..4].copy_from_slice(&number.to_le_bytes()),
        Body::Pieces(pieces) => {
            for piece in pieces {
                bytes[at..][..piece.len()].copy_from_slice(piece);
                at += piece.len();
            }
        }
    }
}

/// Rewrites the state bits of the record that `bytes` starts with.
pub(crate) fn set_bits(bytes: &mut [u8], bits: Bits) {
    bytes[BITS_AT] = bits.0;
}

/// Rewrites the CAS number.
pub(crate) fn set_cas(bytes: &mut [u8], cas: u64) {
    bytes[CAS_AT..][..8].copy_from_slice(&cas.to_le_bytes());
}

/// Rewrites the client flags.
pub(crate) fn set_flags(bytes: &mut [u8], flags: u32) {
    bytes[FLAGS_AT..][..4].copy_from_slice(&flags.to_le_bytes());
}

/// Rewrites the expiry time.
pub(crate) fn set_expiry(bytes: &mut [u8], exptime: u32, exptime_millis: u16) {
    Header::read(bytes).with_expiry(exptime, exptime_millis).write(bytes);
}

/// Rewrites the second of the last use, at most [`LAST_ACCESS_MAX`].
pub(crate) fn set_last_access(bytes: &mut [u8], seconds: u32) {
    // The high bits of the last byte are not ours.
    let high = bytes[LAST_ACCESS_AT + 3] & 0xf0;
    let word = seconds | u32::from(high) << 24;
    bytes[LAST_ACCESS_AT..][..4].copy_from_slice(&word.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written() {
        let bits = ItemBits { stale: true, win_sent: false, key_is_binary: true };
        let mut header = Header {
            units_raw: units(5, 7, false),
            key_len: 5,
            bits: Bits::new(bits, false, 2),
            hash: 0xdead_beef,
            cas: u64::MAX - 1,
            flags: 0x8000_0001,
            exptime: 0,
            last_access_raw: 66,
            value_len_raw: 7,
        }
        .with_expiry(77, 999);
        assert_eq!(header.record_bytes(), 48);
        let mut bytes = [0xaa; 56];
        write(&mut bytes, &header, b"hello", Body::Pieces(&[b"wor", b"", b"ld!!"]));
        assert_eq!(Header::read(&bytes), header);
        assert_eq!(header.key(&bytes), b"hello");
        assert_eq!(header.value(&bytes), b"world!!");
        assert_eq!(bytes[48..], [0xaa; 8]);

        set_cas(&mut bytes, 9);
        set_flags(&mut bytes, 8);
        set_expiry(&mut bytes, 7, 123);
        set_last_access(&mut bytes, 6);
        set_bits(&mut bytes, header.bits.with_use().with_use().dead());
        (header.cas, header.flags, header.last_access_raw) = (9, 8, 6);
        header = header.with_expiry(7, 123);
        let read = Header::read(&bytes);
        assert!(read.bits.is_dead() && read.bits.is_fetched() && !read.bits.is_long());
        assert_eq!((read.bits.uses(), read.bits.item_bits()), (3, bits));
        assert_eq!(Header { bits: header.bits, ..read }, header);
    }

    #[test]
    fn milliseconds_share_words_without_harm() {
        for exptime_millis in [0, 1, 15, 16, 255, 256, 511, 512, 999] {
            let header = Header {
                units_raw: (RECORD_BYTES_MAX / 8) as u16,
                key_len: 250,
                bits: Bits::new(ItemBits::default(), true, 3),
                hash: u32::MAX,
                cas: u64::MAX,
                flags: u32::MAX,
                exptime: 0,
                last_access_raw: LAST_ACCESS_MAX,
                value_len_raw: (1 << VALUE_LEN_BITS) - 1,
            };
            let header = header.with_expiry(u32::MAX, exptime_millis);
            assert_eq!(header.exptime_millis(), exptime_millis);
            assert_eq!(header.units() as usize, RECORD_BYTES_MAX / 8);
            assert_eq!(header.last_access(), LAST_ACCESS_MAX);
            assert_eq!(header.value_len(), (1 << VALUE_LEN_BITS) - 1);
            let mut bytes = [0; HEADER_BYTES];
            header.write(&mut bytes);
            assert_eq!(Header::read(&bytes), header);
            set_last_access(&mut bytes, 5);
            let read = Header::read(&bytes);
            assert_eq!((read.last_access(), read.exptime_millis()), (5, exptime_millis));
            set_expiry(&mut bytes, 8, 999 - exptime_millis);
            let expected = read.with_expiry(8, 999 - exptime_millis);
            assert_eq!(Header::read(&bytes), expected);
            assert_eq!((expected.exptime, expected.exptime_millis()), (8, 999 - exptime_millis));
            assert_eq!((expected.units_raw & 4095, expected.last_access()), (2048, 5));
        }
    }

    #[test]
    fn long_records_name_their_extent() {
        assert!(!is_long(10, RECORD_BYTES_MAX - HEADER_BYTES - 10));
        assert!(is_long(10, RECORD_BYTES_MAX - HEADER_BYTES - 9));
        let units = units(3, 1 << 20, true);
        assert_eq!(units, 5);
        let header = Header {
            units_raw: units,
            key_len: 3,
            bits: Bits::new(ItemBits::default(), true, 0),
            hash: 1,
            cas: 2,
            flags: 3,
            exptime: 4,
            last_access_raw: 5,
            value_len_raw: 1 << 20,
        };
        let mut bytes = [0; 40];
        write(&mut bytes, &header, b"key", Body::Extent(0x0102_0304));
        assert_eq!(Header::read(&bytes).extent(&bytes), 0x0102_0304);
    }
}
