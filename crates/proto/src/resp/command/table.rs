//! `commands.tsv` as tables, built by the compiler.
//!
//! A row that cannot be read stops the build with the reason. At run time there is only `find`:
//! names are folded to lower case in three words, whose hash names a slot.

use super::{
    Begin, Categories, Command, Count, Find, Flags, Hashed, KeyFlags, KeySpec, Kind,
    NAME_BYTES_MAX, Nutcracker, Verb,
};

/// Every command, by name; `Verb as usize` is the index.
pub static COMMANDS: [Command; COMMAND_COUNT] = commands();

/// Every subcommand, by parent and name.
pub static SUBCOMMANDS: [Command; SUBCOMMAND_COUNT] = subcommands();

static KEY_SPECS: [KeySpec; KEY_SPEC_COUNT] = key_specs();

const TEXT: &str = include_str!("../commands.tsv");
const COMMAND_COUNT: usize = count_rows(false);
const SUBCOMMAND_COUNT: usize = count_rows(true);
const KEY_SPEC_COUNT: usize = count_key_specs();
const FIELD_COUNT: usize = 11;

const _: () = assert!(COMMAND_COUNT == Verb::ALL.len(), "verb.rs lists every command");

// The look-up --------------------------------------------------------------------------------

const SLOT_COUNT: usize = 1024;
const EMPTY: u8 = u8::MAX;
const _: () = assert!(COMMAND_COUNT < EMPTY as usize, "an index fits a slot");

type Folded = [u64; 3];

static FOLDED: [Folded; COMMAND_COUNT] = folded_names();
static SLOTS: [u8; SLOT_COUNT] = slots();

#[inline]
pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let folded = fold(name);
    let mut slot = slot_of(&folded);
    loop {
        let index = usize::from(*SLOTS.get(slot)?);
        if *FOLDED.get(index)? == folded {
            // Zero bytes at the end of a name fold to nothing: only the length tells them.
            return COMMANDS.get(index).filter(|command| command.name.len() == name.len());
        }
        slot = (slot + 1) % SLOT_COUNT;
    }
}

/// As `find`, for a name of fewer than eight bytes at the low end of `word`.
#[inline(always)]
pub(super) fn find_short(word: u64, len: usize) -> Option<&'static Command> {
    let folded = lower(word & !(u64::MAX << (8 * len)));
    let mut slot = slot_of(&[folded, 0, 0]);
    loop {
        let index = usize::from(*SLOTS.get(slot)?);
        // With the same length the other words are zero as well.
        if FOLDED.get(index)?[0] == folded {
            return COMMANDS.get(index).filter(|command| command.name.len() == len);
        }
        slot = (slot + 1) % SLOT_COUNT;
    }
}

#[inline(always)]
const fn slot_of(folded: &Folded) -> usize {
    let mixed = folded[0]
        ^ folded[1].wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ folded[2].wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    (mixed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 54) as usize
}

/// The name in lower case, eight bytes a word, filled up with zeros.
#[inline(always)]
const fn fold(name: &[u8]) -> Folded {
    let Some((first, rest)) = name.split_first_chunk::<8>() else {
        return [lower(short_word(name)), 0, 0];
    };
    let first = lower(u64::from_le_bytes(*first));
    let Some((second, rest)) = rest.split_first_chunk::<8>() else {
        return [first, lower(short_word(rest)), 0];
    };
    let second = lower(u64::from_le_bytes(*second));
    let Some((third, _)) = rest.split_first_chunk::<8>() else {
        return [first, second, lower(short_word(rest))];
    };
    [first, second, lower(u64::from_le_bytes(*third))]
}

/// Fewer than eight bytes as a word: loads that overlap instead of a loop.
#[inline(always)]
const fn short_word(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let tail = u32::from_le_bytes(*tail) as u64;
        return u32::from_le_bytes(*head) as u64 | tail << (8 * (len - 4));
    }
    match bytes {
        [] => 0,
        [a] => *a as u64,
        [a, b] => *a as u64 | (*b as u64) << 8,
        [a, b, c, ..] => *a as u64 | (*b as u64) << 8 | (*c as u64) << 16,
    }
}

/// Each ASCII letter of the word in lower case.
#[inline(always)]
const fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let low_bits = word & !HIGHS;
    let from_a = low_bits + ONES * (0x80 - b'A' as u64);
    let above_z = low_bits + ONES * (0x7f - b'Z' as u64);
    let capitals = from_a & !above_z & !word & HIGHS;
    word | capitals >> 2
}

const fn folded_names() -> [Folded; COMMAND_COUNT] {
    let mut names = [[0; 3]; COMMAND_COUNT];
    let mut index = 0;
    while index < COMMAND_COUNT {
        assert!(COMMANDS[index].name.len() <= NAME_BYTES_MAX);
        names[index] = fold(COMMANDS[index].name.as_bytes());
        index += 1;
    }
    names
}

const fn slots() -> [u8; SLOT_COUNT] {
    let mut slots = [EMPTY; SLOT_COUNT];
    let mut index = 0;
    while index < COMMAND_COUNT {
        let mut slot = slot_of(&FOLDED[index]);
        while slots[slot] != EMPTY {
            slot = (slot + 1) % SLOT_COUNT;
        }
        slots[slot] = index as u8;
        index += 1;
    }
    slots
}

// Reading the table --------------------------------------------------------------------------

/// What stands before the first `byte`, and what behind it.
const fn split(text: &str, byte: u8) -> (&str, &str) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == byte {
            let (before, rest) = text.split_at(at);
            return (before, rest.split_at(1).1);
        }
        at += 1;
    }
    (text, "")
}

const fn equal(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn has(text: &str, byte: u8) -> bool {
    split(text, byte).0.len() < text.len()
}

/// The table without the comment lines at its top.
const fn rows() -> &'static str {
    let mut text = TEXT;
    while text.as_bytes()[0] == b'#' {
        text = split(text, b'\n').1;
    }
    text
}

const fn count_rows(of_subcommands: bool) -> usize {
    let mut rest = rows();
    let mut count = 0;
    while !rest.is_empty() {
        let (row, after) = split(rest, b'\n');
        if has(split(row, b'\t').0, b'|') == of_subcommands {
            count += 1;
        }
        rest = after;
    }
    count
}

const fn fields(row: &'static str) -> [&'static str; FIELD_COUNT] {
    let mut fields = [""; FIELD_COUNT];
    let mut rest = row;
    let mut at = 0;
    while at < FIELD_COUNT {
        (fields[at], rest) = split(rest, b'\t');
        assert!(!fields[at].is_empty(), "a row has eleven fields");
        at += 1;
    }
    assert!(rest.is_empty(), "a row has no more than eleven fields");
    fields
}

const fn count_words(text: &str) -> usize {
    if equal(text, "-") {
        return 0;
    }
    let mut rest = text;
    let mut count = 0;
    while !rest.is_empty() {
        rest = split(rest, b' ').1;
        count += 1;
    }
    count
}

const fn count_key_specs() -> usize {
    let mut rest = rows();
    let mut count = 0;
    while !rest.is_empty() {
        let (row, after) = split(rest, b'\n');
        count += count_words(fields(row)[KEYS]);
        rest = after;
    }
    count
}

const NAME: usize = 0;
const ARITY: usize = 1;
const FLAGS: usize = 2;
const CATEGORIES: usize = 3;
const LEGACY_KEYS: usize = 4;
const KEYS: usize = 5;
const GROUP: usize = 6;
const SINCE: usize = 7;
const KIND: usize = 8;
const COUNT: usize = 9;
const NUTCRACKER: usize = 10;

const fn commands() -> [Command; COMMAND_COUNT] {
    let mut table = [const { blank() }; COMMAND_COUNT];
    let mut rest = rows();
    let (mut index, mut spec, mut sub) = (0, 0, 0);
    while !rest.is_empty() {
        let (row, after) = split(rest, b'\n');
        let fields = fields(row);
        if has(fields[NAME], b'|') {
            sub += 1;
        } else {
            let verb = Verb::ALL[index];
            assert!(is_spelled(Verb::SPELLED[index], fields[NAME]), "verb.rs has the same order");
            let subcommands = subcommands_of(after, sub);
            table[index] = command(&fields, verb, spec, subcommands);
            index += 1;
        }
        spec += count_words(fields[KEYS]);
        rest = after;
    }
    table
}

/// The subcommands that follow a command's row; `sub` were before it.
const fn subcommands_of(mut rest: &'static str, sub: usize) -> &'static [Command] {
    let mut count = 0;
    while !rest.is_empty() {
        let (row, after) = split(rest, b'\n');
        if !has(split(row, b'\t').0, b'|') {
            break;
        }
        count += 1;
        rest = after;
    }
    SUBCOMMANDS.split_at(sub).1.split_at(count).0
}

const fn subcommands() -> [Command; SUBCOMMAND_COUNT] {
    let mut table = [const { blank() }; SUBCOMMAND_COUNT];
    let mut rest = rows();
    let (mut parents, mut index, mut spec) = (0, 0, 0);
    while !rest.is_empty() {
        let (row, after) = split(rest, b'\n');
        let fields = fields(row);
        if has(fields[NAME], b'|') {
            table[index] = command(&fields, Verb::ALL[parents - 1], spec, &[]);
            index += 1;
        } else {
            parents += 1;
        }
        spec += count_words(fields[KEYS]);
        rest = after;
    }
    table
}

const fn blank() -> Command {
    Command {
        verb: Verb::Get,
        name: "",
        arity: 0,
        flags: Flags(0),
        categories: Categories(0),
        legacy_keys: [0; 3],
        keys: &[],
        is_keyed_by_first: false,
        has_one_key: false,
        group: "",
        since: "",
        kind: Kind::Refused,
        count: Count::Other,
        nutcracker: None,
        subcommands: &[],
    }
}

/// Whether a variant's name is the command's but for case, `_` and `-`.
const fn is_spelled(variant: &str, name: &str) -> bool {
    let (variant, name) = (variant.as_bytes(), name.as_bytes());
    let (mut at, mut of) = (0, 0);
    while of < name.len() {
        if name[of] != b'_' && name[of] != b'-' {
            if at >= variant.len() || variant[at].to_ascii_lowercase() != name[of] {
                return false;
            }
            at += 1;
        }
        of += 1;
    }
    at == variant.len()
}

const fn command(
    fields: &[&'static str; FIELD_COUNT],
    verb: Verb,
    spec: usize,
    subcommands: &'static [Command],
) -> Command {
    let keys = KEY_SPECS.split_at(spec).1.split_at(count_words(fields[KEYS])).0;
    let (is_keyed_by_first, has_one_key) = match keys {
        [first, others @ ..] => {
            let is_first = matches!(first.begin, Begin::Index(1))
                && matches!(first.find, Find::Range { .. })
                && !first.flags.contains(KeyFlags::NOT_KEY);
            (
                is_first,
                is_first && others.is_empty() && matches!(first.find, Find::Range { last: 0, .. }),
            )
        }
        [] => (false, false),
    };
    let (first, rest) = split(fields[LEGACY_KEYS], b',');
    let (last, step) = split(rest, b',');
    Command {
        verb,
        name: fields[NAME],
        arity: number(fields[ARITY]),
        flags: Flags(bits(fields[FLAGS], Flags::NAMES)),
        categories: Categories(bits(fields[CATEGORIES], Categories::NAMES)),
        legacy_keys: [number(first), number(last), number(step)],
        keys,
        is_keyed_by_first,
        has_one_key,
        group: fields[GROUP],
        since: fields[SINCE],
        kind: kind(fields[KIND]),
        count: count(fields[COUNT]),
        nutcracker: nutcracker(fields[NUTCRACKER]),
        subcommands,
    }
}

const fn number(text: &str) -> i8 {
    let bytes = text.as_bytes();
    let is_negative = bytes[0] == b'-';
    let mut at = is_negative as usize;
    assert!(at < bytes.len(), "a number has digits");
    let mut sum = 0i8;
    while at < bytes.len() {
        assert!(bytes[at].is_ascii_digit(), "a number has only digits");
        sum = sum * 10 + (bytes[at] - b'0') as i8;
        at += 1;
    }
    if is_negative { -sum } else { sum }
}

const fn bits(text: &str, names: &[&str]) -> u32 {
    let mut set = 0;
    let mut rest = if equal(text, "-") { "" } else { text };
    while !rest.is_empty() {
        let (name, after) = split(rest, b',');
        let mut bit = 0;
        while !equal(names[bit], name) {
            bit += 1;
        }
        set |= 1 << bit;
        rest = after;
    }
    set
}

const fn kind(text: &str) -> Kind {
    match text.as_bytes() {
        b"keyed" => Kind::Keyed,
        b"split" => Kind::Split,
        b"blocking" => Kind::Blocking,
        b"blocking-option" => Kind::BlockingOption,
        b"subscribe" => Kind::Subscribe,
        b"publish" => Kind::Publish,
        b"transaction" => Kind::Transaction,
        b"sweep" => Kind::Sweep,
        b"local" => Kind::Local,
        b"anywhere" => Kind::Anywhere,
        b"refused" => Kind::Refused,
        _ => panic!("no such kind"),
    }
}

const fn count(text: &str) -> Count {
    match text.as_bytes() {
        b"get" => Count::Get,
        b"set" => Count::Set,
        b"delete" => Count::Delete,
        b"arith" => Count::Arith,
        b"touch" => Count::Touch,
        b"other" => Count::Other,
        _ => panic!("no such counter"),
    }
}

const fn nutcracker(text: &str) -> Option<Nutcracker> {
    if equal(text, "-") {
        return None;
    }
    let (bounds, hashed) = split(text, b':');
    let (min, max) = split(bounds, b'.');
    let max = max.split_at(1).1;
    let hashed = match hashed.as_bytes() {
        b"1" => Hashed::First,
        b"3" => Hashed::Third,
        b"all" => Hashed::Every,
        b"pairs" => Hashed::Pairs,
        b"placeholder" => Hashed::Placeholder,
        b"local" => Hashed::Local,
        _ => panic!("no such argument"),
    };
    let arguments_max = if equal(max, "*") { u32::MAX } else { number(max) as u32 };
    Some(Nutcracker { arguments_min: number(min) as u32, arguments_max, hashed })
}

const fn key_specs() -> [KeySpec; KEY_SPEC_COUNT] {
    let blank = KeySpec { flags: KeyFlags(0), begin: Begin::Unknown, find: Find::Unknown };
    let mut table = [blank; KEY_SPEC_COUNT];
    let mut rest = rows();
    let mut index = 0;
    while !rest.is_empty() {
        let (row, after) = split(rest, b'\n');
        let mut words = fields(row)[KEYS];
        while !words.is_empty() && !equal(words, "-") {
            let (word, others) = split(words, b' ');
            table[index] = key_spec(word);
            index += 1;
            words = others;
        }
        rest = after;
    }
    table
}

const fn key_spec(word: &'static str) -> KeySpec {
    let (flags, place) = split(word, b'@');
    let (begin, find) = split(place, b':');
    let begin = if equal(begin, "?") {
        Begin::Unknown
    } else if has(begin, b'+') {
        let (keyword, from) = split(begin, b'+');
        Begin::Keyword(keyword, number(from))
    } else {
        Begin::Index(number(begin))
    };
    let (how, numbers) = split(find, b':');
    let (first, rest) = split(numbers, b':');
    let (second, third) = split(rest, b':');
    let find = match how.as_bytes() {
        b"?" => Find::Unknown,
        b"range" => Find::Range { last: number(first), step: number(second), limit: number(third) },
        b"keynum" => {
            Find::Keynum { number: number(first), first: number(second), step: number(third) }
        }
        _ => panic!("no such way to find keys"),
    };
    KeySpec { flags: KeyFlags(bits(flags, KeyFlags::NAMES)), begin, find }
}
