//! The nearest of some known names to one that was probably mistyped.
//!
//! Used for hints only: being wrong costs the reader a glance, so near means few edits for the
//! length of the name, and very short names get no guess.

/// The known name that `typed` most likely means, if any is near enough.
pub(crate) fn nearest<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if typed.len() > NAME_BYTES_MAX {
        return None;
    }
    let allowed = (typed.chars().count() / 3).min(3);
    known
        .into_iter()
        .take(NAMES_MAX)
        .filter(|name| name.len() <= NAME_BYTES_MAX)
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "did you mean `x`?" or, where nothing is near, the whole choice.
pub(crate) fn hint<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    what: &str,
) -> String {
    if let Some(name) = nearest(typed, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let names: Vec<String> =
        known.into_iter().take(CHOICES_MAX + 1).map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        return String::new();
    }
    let more = if names.len() > CHOICES_MAX { ", …" } else { "" };
    let shown = names.len().min(CHOICES_MAX);
    format!("{what}: {}{more}", names[..shown].join(", "))
}

/// Edits (insert, delete, replace, swap neighbours) between two names, ignoring case and the
/// difference between `-` and `_`.
fn distance(a: &str, b: &str) -> usize {
    let fold = |c: char| if c == '-' { '_' } else { c.to_ascii_lowercase() };
    let a: Vec<char> = a.chars().map(fold).collect();
    let b: Vec<char> = b.chars().map(fold).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Longer names are not compared: a hint must cost next to nothing.
const NAME_BYTES_MAX: usize = 64;
/// How many names are compared at most.
const NAMES_MAX: usize = 1000;
/// How many names a hint lists.
const CHOICES_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_common_slips() {
        let known = ["servers", "distribution", "hash", "hash_tag", "connections"];
        assert_eq!(nearest("server", known), Some("servers"));
        assert_eq!(nearest("distrbution", known), Some("distribution"));
        assert_eq!(nearest("hahs", known), Some("hash"));
        assert_eq!(nearest("Hash-Tag", known), Some("hash_tag"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn lists_the_choice_when_nothing_is_near() {
        assert_eq!(hint("zzzzzz", ["a", "b"], "keys here"), "keys here: `a`, `b`");
        assert_eq!(hint("zzzzzz", [], "keys here"), "");
    }
}
