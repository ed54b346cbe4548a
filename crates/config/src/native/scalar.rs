//! Human sizes and durations: `"64MiB"`, `"1m"`, `"250ms"`, `"3s"`.
//!
//! Whole numbers only. Units of sizes are powers of 1024, whatever their spelling; `m` is mebibytes
//! in a size and minutes in a duration.

use std::time::Duration;

/// Bytes from a text such as `512`, `1k`, `64MiB`, `2 GB`. All units are powers of 1024.
pub(super) fn bytes_from(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// A duration from a text such as `250ms`, `3s`, `5m`. The unit is required except for `0`.
pub(super) fn duration_from(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let micros: u64 = match unit.to_ascii_lowercase().as_str() {
        "us" | "µs" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        "" if number == 0 => 0,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

/// A byte count as it would be written: `64MiB`.
pub(super) fn bytes_text(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A duration as it would be written: `250ms`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units = [
        (86_400_000_000, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "m"),
        (1_000_000, "s"),
        (1_000, "ms"),
    ];
    if micros == 0 {
        return "0".to_owned();
    }
    for (size, unit) in units {
        if micros.is_multiple_of(size) {
            return format!("{}{unit}", micros / size);
        }
    }
    format!("{micros}us")
}

/// The digits and the unit of a text, with optional spaces between them.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    Some((number, text[digits..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1k", 1024),
            ("64MiB", 64 << 20),
            ("64 MB", 64 << 20),
            ("2G", 2 << 30),
            ("1tib", 1 << 40),
        ] {
            assert_eq!(bytes_from(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "1.5g", "-1", "1x", "99999999999t", "1 m m"] {
            assert_eq!(bytes_from(text), None, "{text}");
        }
    }

    #[test]
    fn reads_durations() {
        for (text, millis) in
            [("0", 0), ("0s", 0), ("250ms", 250), ("3s", 3000), ("2 m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration_from(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration_from("500us"), Some(Duration::from_micros(500)));
        for text in ["", "3", "s", "1.5s", "-1s", "1y", "99999999999999d"] {
            assert_eq!(duration_from(text), None, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0", "1KiB", "1000", "64MiB", "3GiB", "2TiB"] {
            assert_eq!(bytes_text(bytes_from(text).unwrap()), text);
        }
        for text in ["0", "1us", "250ms", "3s", "90s", "2m", "1h", "7d"] {
            assert_eq!(duration_text(duration_from(text).unwrap()), text);
        }
    }
}
