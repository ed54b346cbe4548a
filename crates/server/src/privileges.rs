//! What a process may do: limits on files and cores, whom it runs as, locked memory.
//!
//! Everything here happens while the process has one thread, before workers exist. The calls go
//! through `nix`, whose set-user-id calls are libc's and therefore hold for the whole process.

use std::fmt;
use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::{User, geteuid, getuid, setgid, setgroups, setuid};
use rustix::mm::{MlockAllFlags, mlockall};

use crate::console;

/// Why the process cannot run as asked. The texts and codes are memcached's.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Root without `-u`.
    RootWithoutUser,
    /// No such user.
    UnknownUser(String),
    /// The user exists but cannot be assumed.
    CannotAssume(String),
    /// Supplementary groups stay.
    Groups(String),
    /// No core files can be made.
    Core,
    /// The limit on open files cannot be raised so far.
    Files,
}

impl Refusal {
    /// Exit status, as in sysexits.h.
    pub fn exit(&self) -> u8 {
        match self {
            Refusal::RootWithoutUser => 64,
            Refusal::UnknownUser(_) => 67,
            Refusal::CannotAssume(_) | Refusal::Groups(_) | Refusal::Core | Refusal::Files => 71,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::RootWithoutUser => f.write_str("must add '-u root' to start as root"),
            Refusal::UnknownUser(name) => write!(f, "can't find the user {name} to switch to"),
            Refusal::CannotAssume(name) => write!(f, "failed to assume identity of user {name}"),
            Refusal::Groups(error) => write!(f, "failed to drop supplementary groups: {error}"),
            Refusal::Core => f.write_str("failed to ensure corefile creation"),
            Refusal::Files => f.write_str(
                "failed to set rlimit for open files. Try starting as root or requesting smaller \
                 maxconns value.",
            ),
        }
    }
}

/// Allows core files as large as the system permits.
pub fn allow_core_files() -> Result<(), Refusal> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).map_err(|_| Refusal::Core)?;
    if setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY).is_err() {
        // The soft limit may still be raised to the hard one; what counts is read below.
        let _best_effort = setrlimit(Resource::RLIMIT_CORE, hard, hard);
    }
    match getrlimit(Resource::RLIMIT_CORE) {
        Ok((soft, _)) if soft > 0 => Ok(()),
        _ => Err(Refusal::Core),
    }
}

/// Raises the limit on open files to `wanted` if possible, and to `needed` at least; never lowers
/// it.
pub fn allow_files(needed: u64, wanted: u64) -> Result<(), Refusal> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|_| Refusal::Files)?;
    if soft >= wanted || setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok() {
        return Ok(());
    }
    // Without the right to raise the hard limit, what it allows may still be enough.
    match soft.max(allow_files_to_hard_limit()) >= needed {
        true => Ok(()),
        false => Err(Refusal::Files),
    }
}

/// Raises the soft limit on open files to the hard one and returns it; for the native command line,
/// where clients are limited by configuration and not by `ulimit`.
pub fn allow_files_to_hard_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// How many files may be open.
pub fn files_allowed() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Becomes `user` when started as root. Without root nothing happens, whatever `user` says.
pub fn leave_root(user: Option<&str>) -> Result<(), Refusal> {
    if !getuid().is_root() && !geteuid().is_root() {
        return Ok(());
    }
    let Some(name) = user.filter(|name| !name.is_empty()) else {
        return Err(Refusal::RootWithoutUser);
    };
    let Ok(Some(account)) = User::from_name(name) else {
        return Err(Refusal::UnknownUser(name.into()));
    };
    match setgroups(&[]) {
        Ok(()) => {}
        // Without the capability there is nothing left to give up: go on, but say so.
        Err(nix::errno::Errno::EPERM) => {
            console::err(format_args!(
                "failed to drop supplementary groups: {}",
                nix::errno::Errno::EPERM.desc()
            ));
        }
        Err(error) => return Err(Refusal::Groups(error.desc().into())),
    }
    if setgid(account.gid).is_err() || setuid(account.uid).is_err() {
        return Err(Refusal::CannotAssume(name.into()));
    }
    Ok(())
}

/// Locks all memory of the process, present and future, as it comes into use.
///
/// Address space that is only reserved (the allocator's, stacks') is not made resident: locking it
/// at once would take gigabytes that nobody asked for.
pub fn lock_memory() -> io::Result<()> {
    let whenever_touched = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(whenever_touched).map_err(io::Error::from)
}

/// Goes to the background: a new session, `/` as directory unless core files are wanted, and no
/// standard streams unless the process is verbose. The caller's process exits with status 0.
pub fn daemonize(keep_directory: bool, keep_streams: bool) -> io::Result<()> {
    nix::unistd::daemon(keep_directory, keep_streams).map_err(io::Error::from)
}

/// Goes to the background as nutcracker does: a new session, standard streams to nowhere, no mask
/// on the permissions of files that are made; the directory stays. The caller's process exits with
/// status 0.
pub fn leave_terminal() -> io::Result<()> {
    nix::unistd::daemon(true, false)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_codes_of_sysexits() {
        assert_eq!(Refusal::RootWithoutUser.exit(), 64);
        assert_eq!(Refusal::UnknownUser("x".into()).exit(), 67);
        assert_eq!(Refusal::Files.exit(), 71);
    }

    #[test]
    fn file_limits_are_raised_but_never_lowered() {
        let before = getrlimit(Resource::RLIMIT_NOFILE).unwrap().0;
        allow_files(1, 1).unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, before);
    }
}
