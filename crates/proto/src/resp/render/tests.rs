//! What is written, byte by byte, in both versions.

use proptest::prelude::*;

use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("the cases are text")
}

#[test]
fn each_form_is_written() {
    use Version::{Three, Two};
    assert_eq!(written(|out| simple(out, b"OK")), "+OK\r\n");
    assert_eq!(written(|out| error(out, b"ERR a\r\n+b")), "-ERR a  +b\r\n");
    assert_eq!(written(|out| integer(out, i64::MIN)), ":-9223372036854775808\r\n");
    assert_eq!(written(|out| bulk(out, b"a\r\nb")), "$4\r\na\r\nb\r\n");
    assert_eq!(written(|out| null(out, Two)) + &written(|out| null(out, Three)), "$-1\r\n_\r\n");
    assert_eq!(written(|out| null_array(out, Two)), "*-1\r\n");
    assert_eq!(written(|out| null_array(out, Three)), "_\r\n");
    assert_eq!(
        written(|out| map(out, 2, Two)) + &written(|out| map(out, 2, Three)),
        "*4\r\n%2\r\n"
    );
    assert_eq!(
        written(|out| set(out, 2, Two)) + &written(|out| set(out, 2, Three)),
        "*2\r\n~2\r\n"
    );
    assert_eq!(written(|out| push(out, 2, Two)), "*2\r\n");
    assert_eq!(written(|out| push(out, 2, Three)), ">2\r\n");
    assert_eq!(written(|out| boolean(out, true, Two)), ":1\r\n");
    assert_eq!(written(|out| boolean(out, false, Three)), "#f\r\n");
    assert_eq!(written(|out| verbatim(out, *b"txt", b"ab", Two)), "$2\r\nab\r\n");
    assert_eq!(written(|out| verbatim(out, *b"txt", b"ab", Three)), "=6\r\ntxt:ab\r\n");
    assert_eq!(written(|out| request(out, &[b"GET", b"k"])), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
}

#[test]
fn doubles_are_written_shortly() {
    for (value, digits) in [
        (0.0, "0"),
        (3.0, "3"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (1e300, "1e300"),
        (-1.25e-9, "-1.25e-9"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
    ] {
        let three = written(|out| double(out, value, Version::Three));
        assert_eq!(three, format!(",{digits}\r\n"));
        let two = written(|out| double(out, value, Version::Two));
        assert_eq!(two, format!("${}\r\n{digits}\r\n", digits.len()));
    }
}

proptest! {
    #[test]
    fn doubles_read_back(bits: u64) {
        let value = f64::from_bits(bits);
        let digits = written(|out| double(out, value, Version::Three));
        let digits = digits.trim_start_matches(',').trim_end();
        let read: f64 = digits.parse().expect("digits are a number");
        prop_assert!(read == value || read.is_nan() && value.is_nan());
    }
}
