//! The keys of a request, wherever its command has them.
//!
//! The table's key specifications say it for almost every command. Two have rules of their own:
//! SORT (`STORE` anywhere behind the key) and MIGRATE (one key, or a list behind `KEYS`).

use super::{Begin, Find, KeyFlags, KeySpec, Verb};
use crate::resp::request::{Arguments, Request};

/// Most groups of keys of one command.
const GROUPS_MAX: usize = 3;

/// A key of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// The key.
    pub bytes: &'a [u8],
    /// Which argument it is; the name is 0.
    pub at: u32,
    /// What the command does to it.
    pub flags: KeyFlags,
}

/// The keys of a request, by `Request::keys`.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    request: Request<'a>,
    group: Group,
    /// The groups after this one, in order.
    later: [Group; GROUPS_MAX - 1],
    walk: Arguments<'a>,
    /// The argument that `walk` gives next.
    walk_at: u32,
}

/// Every `step`th argument from `next` to `last`, both included; `step` 0 = nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    next: u32,
    last: u32,
    step: u32,
    flags: KeyFlags,
}

impl<'a> Keys<'a> {
    pub(in crate::resp) fn new(request: &Request<'a>) -> Self {
        let [group, second, third] = groups(request).unwrap_or_default();
        let (walk, walk_at) = (request.arguments(), 0);
        Self { request: *request, group, later: [second, third], walk, walk_at }
    }

    /// Goes to the next group that has keys.
    #[cold]
    fn next_group(&mut self) -> Option<()> {
        while self.group.step == 0 || self.group.next > self.group.last {
            let [second, third] = self.later;
            if second.step == 0 && third.step == 0 {
                return None;
            }
            self.group = second;
            self.later = [third, Group::default()];
        }
        // Groups are mostly in order, so the walk mostly goes on.
        if self.group.next < self.walk_at {
            self.walk = self.request.arguments();
            self.walk_at = 0;
        }
        Some(())
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = Key<'a>;

    #[inline]
    fn next(&mut self) -> Option<Key<'a>> {
        if self.group.step == 0 || self.group.next > self.group.last {
            self.next_group()?;
        }
        let (at, flags) = (self.group.next, self.group.flags);
        self.group.next += self.group.step;
        while self.walk_at < at {
            self.walk.next()?;
            self.walk_at += 1;
        }
        let argument = self.walk.next()?;
        self.walk_at += 1;
        Some(Key { bytes: argument.bytes, at, flags })
    }
}

fn groups(request: &Request<'_>) -> Option<[Group; GROUPS_MAX]> {
    let mut groups = [Group::default(); GROUPS_MAX];
    let command = request.subcommand()?;
    let specs = command.keys.iter().filter(|spec| !spec.flags.contains(KeyFlags::NOT_KEY));
    for (group, spec) in groups.iter_mut().zip(specs) {
        *group = group_of(request, spec).unwrap_or_default();
    }
    match command.verb {
        Verb::Sort => {
            // The third specification only says what becomes of the key, not where it is.
            let flags = command.keys.get(2).map_or(KeyFlags::OVERWRITE, |spec| spec.flags);
            groups[1] = sort_store(request, flags);
        }
        Verb::Migrate => migrate(request, &mut groups),
        _ => {}
    }
    Some(groups)
}

fn group_of(request: &Request<'_>, spec: &KeySpec) -> Option<Group> {
    let begin = match spec.begin {
        Begin::Index(index) => u32::try_from(index).ok()?,
        Begin::Keyword(keyword, from) => keyword_at(request, keyword, from)? + 1,
        Begin::Unknown => return None,
    };
    let end = request.arguments;
    let (next, last, step) = match spec.find {
        Find::Range { last, step, limit } => {
            let last = match last {
                0.. => begin + u32::from(last.unsigned_abs()),
                _ if limit > 1 => {
                    begin + (end.checked_sub(begin)? / limit as u32).checked_sub(1)?
                }
                _ => end.checked_sub(u32::from(last.unsigned_abs()))?,
            };
            (begin, last, u32::try_from(step).ok()?)
        }
        Find::Keynum { number, first, step } => {
            let number = request.argument(begin + u32::try_from(number).ok()?)?;
            let count = crate::number::strict_u32(number).filter(|&count| count > 0)?;
            let next = begin + u32::try_from(first).ok()?;
            let step = u32::try_from(step).ok()?;
            (next, next.checked_add((count - 1).checked_mul(step)?)?, step)
        }
        Find::Unknown => return None,
    };
    // A number of keys beyond the arguments is an error of the whole request.
    (last < end).then_some(Group { next, last, step, flags: spec.flags })
}

/// Where the keyword stands, looked for from argument `from`; a negative one from the end.
fn keyword_at(request: &Request<'_>, keyword: &str, from: i8) -> Option<u32> {
    let is_keyword = |word: &[u8]| word.eq_ignore_ascii_case(keyword.as_bytes());
    let words = request.arguments().map(|argument| argument.bytes);
    let mut words = (0u32..).zip(words);
    if let Ok(from) = u32::try_from(from) {
        return words.find(|&(at, word)| at >= from && is_keyword(word)).map(|(at, _)| at);
    }
    let until = request.arguments.checked_sub(u32::from(from.unsigned_abs()))?;
    let found =
        words.take_while(|&(at, _)| at <= until).filter(|&(at, word)| at > 0 && is_keyword(word));
    found.last().map(|(at, _)| at)
}

/// The key behind SORT's last `STORE`, which may stand anywhere among the options.
fn sort_store(request: &Request<'_>, flags: KeyFlags) -> Group {
    let mut group = Group::default();
    let mut option_at = 2;
    for (at, argument) in (0u32..).zip(request.arguments()) {
        if at < option_at || at + 1 >= request.arguments {
            continue;
        }
        option_at = at + 1 + sort_option_arguments(argument.bytes);
        if argument.bytes.eq_ignore_ascii_case(b"STORE") {
            group = Group { next: at + 1, last: at + 1, step: 1, flags };
        }
    }
    group
}

fn sort_option_arguments(word: &[u8]) -> u32 {
    if word.eq_ignore_ascii_case(b"LIMIT") {
        return 2;
    }
    u32::from(word.eq_ignore_ascii_case(b"GET") || word.eq_ignore_ascii_case(b"BY"))
}

/// `MIGRATE host port key db timeout [options] [KEYS key …]`: the list counts only when the key
/// is empty, and a password may be called `KEYS`.
fn migrate(request: &Request<'_>, groups: &mut [Group; GROUPS_MAX]) {
    let [first, list, ..] = groups;
    *list = Group::default();
    if request.argument(3).is_none_or(|key| !key.is_empty()) {
        return;
    }
    let mut option_at = 6;
    for (at, argument) in (0u32..).zip(request.arguments()) {
        if at < option_at {
            continue;
        }
        if argument.bytes.eq_ignore_ascii_case(b"KEYS") {
            let last = request.arguments - 1;
            *list = Group { next: at + 1, last, step: 1, flags: first.flags };
            *first = Group::default();
            return;
        }
        let is_auth = argument.bytes.eq_ignore_ascii_case(b"AUTH");
        let is_auth2 = argument.bytes.eq_ignore_ascii_case(b"AUTH2");
        option_at = at + 1 + u32::from(is_auth) + 2 * u32::from(is_auth2);
    }
}
