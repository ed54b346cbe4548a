//! Whether this system lets us use io_uring, and the likely reason if not.
//!
//! Operators meet this once in the log: containers, hardened kernels and old ones all say no, each
//! with another error number.

use crate::engine::Refusal;
use std::io;

/// Explains why `operation` was refused.
pub(super) fn refusal(operation: &'static str, error: io::Error) -> Refusal {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let is_disabled = disabled.is_ok_and(|setting| setting.trim() != "0");
    let cause = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if is_disabled => {
            "the sysctl kernel.io_uring_disabled forbids it"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "a seccomp profile forbids it, as those of container engines do by default"
        }
        Some(libc::ENOSYS) => "the kernel was built without it, or a seccomp profile hides it",
        Some(libc::EINVAL) => "the kernel is older than 6.1",
        Some(libc::ENOMEM) => "the limit on locked memory (ulimit -l) is too low",
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptor is left",
        _ => "the reason is not known",
    };
    Refusal { operation, error, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_named() {
        let refusal = refusal("set-up", io::Error::from_raw_os_error(libc::EINVAL));
        assert!(refusal.to_string().contains("older than 6.1"), "{refusal}");
    }
}
