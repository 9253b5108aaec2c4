//! "Did you mean": the known name nearest to the one that was written.

use crate::age::without_private_keys;

/// The candidate within a third of the name's length in edits, if there is one.
pub(crate) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    const LONGEST: usize = 48;
    if name.len() > LONGEST {
        return None;
    }
    let wanted = normal(name);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (distance(&wanted, &normal(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(wanted.len()) / 3).clamp(1, 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean "x"?`, else what there is, else nothing.
pub(crate) fn suggestion(name: &str, candidates: &[&str], plural: &str) -> String {
    match nearest(name, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if candidates.is_empty() => format!("there are no {plural} yet"),
        None => format!("{plural}: {}", listed(candidates, 12)),
    }
}

/// At most `most` of the words, joined by commas.
pub(crate) fn listed(words: &[&str], most: usize) -> String {
    let mut text = words.iter().take(most).copied().collect::<Vec<_>>().join(", ");
    if words.len() > most {
        text.push_str(", …");
    }
    text
}

/// A text of the user's as an error may show it: one line, at most 60 characters, nothing that moves a cursor.
pub(crate) fn shown(text: &str) -> String {
    let text = without_private_keys(text);
    let mut shown: String = text.chars().take(60).map(visible).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

/// The character, or a mark in its place if it would move the cursor or reorder the line.
pub(crate) fn visible(c: char) -> char {
    if c == '\t' {
        ' '
    } else if c.is_control() || portcullis_domain::names::is_bidi_control(c) {
        '\u{fffd}'
    } else {
        c
    }
}

fn normal(name: &str) -> Vec<char> {
    name.chars().map(|c| if c == '-' || c == ' ' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Edits (insert, delete, replace, swap neighbours) between two short words.
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut rows = vec![0; (a.len() + 1) * width];
    for (i, row) in rows.chunks_mut(width).enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows.iter_mut().take(width).enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[(i - 1) * width + j] + 1)
                .min(rows[i * width + j - 1] + 1)
                .min(rows[(i - 1) * width + j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[(i - 2) * width + j - 2] + 1);
            }
            rows[i * width + j] = best;
        }
    }
    rows.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_word_and_another_word_does_not() {
        let keys = ["verify", "watch", "roll_back", "gates", "typed_confirmation"];
        for (written, meant) in [
            ("verfy", Some("verify")),
            ("rollback", Some("roll_back")),
            ("roll-back", Some("roll_back")),
            ("Watch", Some("watch")),
            ("gtaes", Some("gates")),
            ("typed_confrmation", Some("typed_confirmation")),
            ("colour", None),
        ] {
            assert_eq!(nearest(written, keys), meant, "{written}");
        }
    }
}
