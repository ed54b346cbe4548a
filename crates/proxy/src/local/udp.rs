//! memcached's UDP framing, as functions over bytes.
//!
//! Every datagram starts with eight bytes: request id, sequence number, number of datagrams, zero;
//! two bytes each, big-endian. Requests have to fit into one datagram; replies may take several.

/// Bytes of the frame header.
pub const HEADER_BYTES: usize = 8;

/// Most bytes of a reply datagram, header included.
pub const DATAGRAM_BYTES_MAX: usize = 1400;

/// Bytes of a reply that go into one datagram.
const PAYLOAD_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - HEADER_BYTES;

/// A request datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Given back in every datagram of the reply.
    pub request_id: u16,
    /// One request of the text or the binary protocol (or several).
    pub request: &'a [u8],
}

/// Reads a request datagram. None for those that memcached drops: without a request, or part of a
/// request in several datagrams.
pub fn parse(datagram: &[u8]) -> Option<Datagram<'_>> {
    let (header, request) = datagram.split_first_chunk::<HEADER_BYTES>()?;
    let [id_high, id_low, _, _, total_high, total_low, _, _] = *header;
    let is_whole = u16::from_be_bytes([total_high, total_low]) == 1;
    let request_id = u16::from_be_bytes([id_high, id_low]);
    (is_whole && !request.is_empty()).then_some(Datagram { request_id, request })
}

/// Number of datagrams that a reply of so many bytes takes. A reply that would need more than
/// 65535 of them is cut off there.
pub fn datagram_count(reply_bytes: usize) -> u16 {
    u16::try_from(reply_bytes.div_ceil(PAYLOAD_BYTES_MAX)).unwrap_or(u16::MAX)
}

/// Splits a reply into datagrams and gives each to `send`, in sequence. `buf` is working memory.
pub fn split(request_id: u16, reply: &[u8], buf: &mut Vec<u8>, mut send: impl FnMut(&[u8])) {
    let count = datagram_count(reply.len());
    for (sequence, payload) in (0..count).zip(reply.chunks(PAYLOAD_BYTES_MAX)) {
        buf.clear();
        buf.extend_from_slice(&request_id.to_be_bytes());
        buf.extend_from_slice(&sequence.to_be_bytes());
        buf.extend_from_slice(&count.to_be_bytes());
        buf.extend_from_slice(&[0, 0]);
        buf.extend_from_slice(payload);
        send(buf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_follows_the_header() {
        let datagram = b"\x12\x34\0\0\0\x01\0\0get a\r\n";
        let parsed = parse(datagram).unwrap();
        assert_eq!((parsed.request_id, parsed.request), (0x1234, b"get a\r\n".as_slice()));
    }

    #[test]
    fn empty_short_and_divided_requests_are_dropped() {
        assert_eq!(parse(b"\x12\x34\0\0\0\x01\0"), None);
        assert_eq!(parse(b"\x12\x34\0\0\0\x01\0\0"), None);
        assert_eq!(parse(b"\x12\x34\0\0\0\x02\0\0get a\r\n"), None);
    }

    #[test]
    fn replies_are_divided_in_sequence() {
        let reply: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
        let mut sent = Vec::new();
        split(7, &reply, &mut Vec::new(), |datagram| sent.push(datagram.to_vec()));
        assert_eq!(sent.len(), 3);
        assert_eq!(datagram_count(3000), 3);
        let mut joined = Vec::new();
        for (sequence, datagram) in sent.iter().enumerate() {
            assert!(datagram.len() <= DATAGRAM_BYTES_MAX);
            assert_eq!(datagram[..8], [0, 7, 0, sequence as u8, 0, 3, 0, 0]);
            joined.extend_from_slice(&datagram[8..]);
        }
        assert_eq!(joined, reply);
        split(7, b"", &mut Vec::new(), |_| panic!("nothing to send"));
    }
}
