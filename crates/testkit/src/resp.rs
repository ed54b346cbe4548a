//! RESP as tests need it: requests made of arguments, replies cut whole, both easy to read.
//!
//! Written apart from the `proto` crate on purpose: what checks must not share the code, and so the
//! mistakes, of what is checked.

use crate::client::Client;

/// A request of `args`, as any client library sends it.
pub fn request<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend(format!("${}\r\n", arg.len()).bytes());
        bytes.extend_from_slice(arg);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// A request of the words of `line`, for commands without blanks in their arguments.
pub fn words(line: &str) -> Vec<u8> {
    request(&line.split(' ').collect::<Vec<_>>())
}

/// A bulk string.
pub fn bulk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The length of the first request when it is complete: arguments, or else a line.
pub fn cut_request(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'*') {
        return Some(line_end(bytes, 0)?.1);
    }
    let (count, mut at) = number(bytes, 1)?;
    for _ in 0..count {
        let (len, start) = number(bytes, at + 1)?;
        at = start + usize::try_from(len).unwrap_or(0) + 2;
    }
    (bytes.len() >= at).then_some(at)
}

/// The arguments of a complete request; the words of a line.
pub fn args(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.first() != Some(&b'*') {
        let words = bytes.split(|b| b.is_ascii_whitespace());
        return words.filter(|w| !w.is_empty()).map(<[u8]>::to_vec).collect();
    }
    let mut args = Vec::new();
    let Some((count, mut at)) = number(bytes, 1) else { return args };
    for _ in 0..count {
        let Some((len, start)) = number(bytes, at + 1) else { return args };
        let end = start + usize::try_from(len).unwrap_or(0);
        args.push(bytes[start..end].to_vec());
        at = end + 2;
    }
    args
}

/// The length of the first reply when it is complete; RESP2 and RESP3. Panics on what is neither.
pub fn cut_reply(bytes: &[u8]) -> Option<usize> {
    let kind = *bytes.first()?;
    let (end, next) = line_end(bytes, 1)?;
    let head = &bytes[1..end];
    let count = || {
        let text = std::str::from_utf8(head).ok().and_then(|t| t.parse::<i64>().ok());
        text.unwrap_or_else(|| panic!("no length in {}", bytes[..end].escape_ascii())).max(0)
    };
    let many = |count: i64| {
        let mut at = next;
        for _ in 0..count {
            at += cut_reply(&bytes[at..])?;
        }
        Some(at)
    };
    match kind {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Some(next),
        b'$' | b'=' | b'!' if head == b"-1" => Some(next),
        b'$' | b'=' | b'!' => {
            let all = next + count() as usize + 2;
            (bytes.len() >= all).then_some(all)
        }
        b'*' | b'~' | b'>' => many(count()),
        b'%' => many(2 * count()),
        // What is said about a reply is part of it.
        b'|' => {
            let about = many(2 * count())?;
            Some(about + cut_reply(&bytes[about..])?)
        }
        _ => panic!("not a reply: {}", bytes[..end].escape_ascii()),
    }
}

/// A number, and where what follows its line begins.
fn number(bytes: &[u8], from: usize) -> Option<(i64, usize)> {
    let (end, next) = line_end(bytes, from)?;
    let text = std::str::from_utf8(&bytes[from..end]).ok()?;
    Some((text.parse().unwrap_or(0), next))
}

/// Where the line that begins at `from` ends, and where the next begins.
fn line_end(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let at = bytes.get(from..)?.windows(2).position(|w| w == b"\r\n")?;
    Some((from + at, from + at + 2))
}

impl Client {
    /// The next complete RESP reply, as its bytes.
    #[track_caller]
    pub fn reply(&mut self) -> Vec<u8> {
        self.try_reply().expect("a reply before the end of the connection")
    }

    /// The next complete RESP reply, or `None` when the connection ends before.
    pub fn try_reply(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = cut_reply(self.waiting()) {
                return self.try_take(len);
            }
            let before = self.waiting().len();
            if self.wait_for_more() == before {
                return None;
            }
        }
    }

    /// Sends the words of `line` as a request and returns the reply as text.
    #[track_caller]
    pub fn redis(&mut self, line: &str) -> String {
        self.send(words(line));
        self.reply().escape_ascii().to_string()
    }

    /// Sends arguments as a request and returns the reply.
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Vec<u8> {
        self.send(request(args));
        self.reply()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_cut_only_when_they_are_complete() {
        let replies: [&[u8]; 9] = [
            b"+OK\r\n",
            b"$3\r\na\r\n\r\n",
            b"$-1\r\n",
            b"*2\r\n$1\r\na\r\n*-1\r\n",
            b"%1\r\n+k\r\n*1\r\n:1\r\n",
            b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
            b">3\r\n+message\r\n+a\r\n+b\r\n",
            b"_\r\n",
            b"*0\r\n",
        ];
        for reply in replies {
            for len in 0..reply.len() {
                assert_eq!(cut_reply(&reply[..len]), None, "{}", reply[..len].escape_ascii());
            }
            assert_eq!(cut_reply(&[reply, b"+more\r\n"].concat()), Some(reply.len()));
        }
    }

    #[test]
    fn requests_come_back_as_they_went_in() {
        let bytes = request(&["set", "a\r\nb", ""]);
        for len in 0..bytes.len() {
            assert_eq!(cut_request(&bytes[..len]), None);
        }
        assert_eq!(cut_request(&bytes), Some(bytes.len()));
        assert_eq!(args(&bytes), [b"set".to_vec(), b"a\r\nb".to_vec(), Vec::new()]);
        assert_eq!(args(b"PING  x\r\n"), [b"PING".to_vec(), b"x".to_vec()]);
    }
}
