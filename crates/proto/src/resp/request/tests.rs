//! Requests in pieces, odd and malformed ones, against redis-server's rules.

use super::*;

#[test]
fn a_request_is_cut() {
    let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nrest";
    let mut progress = Progress::default();
    let Cut::Request(request) = cut(bytes, &Limits::REDIS, &mut progress) else {
        panic!("the request is complete");
    };
    assert_eq!(request.verb(), Some(Verb::Get));
    assert_eq!(request.first_key(), Some(b"a".as_slice()));
}
