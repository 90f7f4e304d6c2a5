//! "a similar argument exists: `key`".

/// The candidate that a mistyped `name` was probably meant to be, by the threshold that rustc itself uses.
pub(crate) fn similar<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = name.chars().count().max(3) / 3;
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours count one each.
/// Plain edit distance counts a swap twice, and would find nothing similar to `kye`.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    // Three rows of the usual table: the one before the last, the last, and the one being filled.
    let mut older = Vec::new();
    let mut old: Vec<usize> = (0..=right.len()).collect();
    let mut previous_left = None;
    for (row, left) in left.chars().enumerate() {
        let mut new = vec![row + 1];
        let mut previous_right = None;
        for (column, &right) in right.iter().enumerate() {
            let replaced = at(&old, column) + usize::from(left != right);
            let mut best = replaced.min(at(&old, column + 1) + 1).min(at(&new, column) + 1);
            if column > 0 && previous_left == Some(right) && previous_right == Some(left) {
                best = best.min(at(&older, column - 1) + 1);
            }
            new.push(best);
            previous_right = Some(right);
        }
        older = std::mem::replace(&mut old, new);
        previous_left = Some(left);
    }
    at(&old, right.len())
}

/// A cell of the table. Those outside of it do not occur; if they did, they would be far away.
fn at(row: &[usize], column: usize) -> usize {
    row.get(column).copied().unwrap_or(usize::MAX / 2)
}

/// "`a`, `b` or `c`".
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match (names.pop(), names.is_empty()) {
        (Some(only), true) => only,
        (Some(end), false) => format!("{} {last} {end}", names.join(", ")),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{distance, list, similar};

    #[test]
    fn a_swap_of_neighbours_counts_one() {
        assert_eq!(distance("kye", "key"), 1);
        assert_eq!(distance("on_bsuy", "on_busy"), 1);
    }

    #[test]
    fn edits_count_one_each() {
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("", "key"), 3);
        assert_eq!(distance("key", ""), 3);
        assert_eq!(distance("ttl", "ttls"), 1);
        assert_eq!(distance("wait", "retry"), 5);
        assert_eq!(distance("größe", "grösse"), 2);
    }

    #[test]
    fn similar_is_the_closest_within_a_third() {
        assert_eq!(similar("kye", ["ttl", "key"]), Some("key"));
        assert_eq!(similar("order_idd", ["order", "order_id"]), Some("order_id"));
        assert_eq!(similar("timeout", ["ttl", "key"]), None);
        assert_eq!(similar("", ["key"]), None);
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(list([], "or"), "");
        assert_eq!(list(["a"], "or"), "`a`");
        assert_eq!(list(["a", "b", "c"], "and"), "`a`, `b` and `c`");
    }
}
