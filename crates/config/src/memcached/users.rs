//! The file of `-Y`: `user:password`, one a line.
//!
//! Only its content is read here; the binary reads the file at start and on HUP. Where memcached
//! would let nobody in, or half a line, the file is refused instead.

use std::fmt;

use keyway_proxy::config::User;

/// Why a file of users cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsersError {
    /// A line is not `user:password`, is too long, or is not text.
    Malformed,
    /// There is no line at all: nobody could log in.
    Empty,
}

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UsersError::Malformed => "has a malformed entry. Should be 'user:password'",
            UsersError::Empty => "has no entry. Should be 'user:password'",
        })
    }
}

/// Reads the content of the file of `-Y`. As memcached does, only the first eight lines count.
///
/// # Errors
/// The message of memcached is `Authfile [PATH] ` and the error, without a line end.
pub fn users_from(content: &[u8]) -> Result<Vec<User>, UsersError> {
    let lines = content.strip_suffix(b"\n").unwrap_or(content);
    if lines.is_empty() {
        return Err(UsersError::Empty);
    }
    lines.split(|byte| *byte == b'\n').take(USERS_MAX).map(user_from).collect()
}

fn user_from(line: &[u8]) -> Result<User, UsersError> {
    let line = line.split(|byte| *byte == b'\r').next().unwrap_or(line);
    if line.len() >= LINE_BYTES_MAX || line.contains(&0) {
        return Err(UsersError::Malformed);
    }
    let line = std::str::from_utf8(line).map_err(|_| UsersError::Malformed)?;
    let (name, password) = line.split_once(':').ok_or(UsersError::Malformed)?;
    Ok(User { name: name.to_owned(), password: password.to_owned() })
}

/// Most users that count.
const USERS_MAX: usize = 8;
/// A line has fewer bytes than this, its end included.
const LINE_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(content: &str) -> Result<Vec<String>, UsersError> {
        let users = users_from(content.as_bytes())?;
        Ok(users.into_iter().map(|user| format!("{}={}", user.name, user.password)).collect())
    }

    #[test]
    fn reads_lines() {
        assert_eq!(
            names("foo:bar\nx:y:z\r\nlast:end"),
            Ok(vec!["foo=bar".to_owned(), "x=y:z".to_owned(), "last=end".to_owned(),])
        );
        assert_eq!(names(&"a:b\n".repeat(20)).unwrap().len(), 8);
        assert_eq!(names("a:\n").unwrap(), ["a="]);
    }

    #[test]
    fn refuses_other_files() {
        assert_eq!(names(""), Err(UsersError::Empty));
        assert_eq!(names("\n"), Err(UsersError::Empty));
        for content in ["foo\n", "a:b\n\nc:d\n", "a\0:b\n", &format!("a:{}\n", "x".repeat(300))] {
            assert_eq!(names(content), Err(UsersError::Malformed), "{content:?}");
        }
        assert_eq!(users_from(b"\xff:x\n"), Err(UsersError::Malformed));
    }
}
