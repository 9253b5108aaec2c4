//! What differs between two texts, line by line, with everything that is the same.

/// A table of more cells than this is not made: then all of the one is taken away and all of the other added.
const MOST: usize = 4_000_000;

/// One line of both texts, or of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// It stays.
    Same(&'a str),
    /// It is only in the first.
    Gone(&'a str),
    /// It is only in the second.
    New(&'a str),
}

/// From the first text to the second, by a longest common subsequence.
pub(super) fn compare<'a>(from: &'a str, to: &'a str) -> Vec<Line<'a>> {
    let (from, to): (Vec<&str>, Vec<&str>) = (from.lines().collect(), to.lines().collect());
    let begin = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let rest = from.len().min(to.len()) - begin;
    let end = from.iter().rev().zip(to.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let (left, right) = (&from[begin..from.len() - end], &to[begin..to.len() - end]);
    let mut lines: Vec<Line<'a>> = from[..begin].iter().map(|line| Line::Same(line)).collect();
    middle(left, right, &mut lines);
    lines.extend(from[from.len() - end..].iter().map(|line| Line::Same(line)));
    lines
}

fn middle<'a>(left: &[&'a str], right: &[&'a str], lines: &mut Vec<Line<'a>>) {
    let width = right.len() + 1;
    if (left.len() + 1).saturating_mul(width) > MOST {
        lines.extend(left.iter().map(|line| Line::Gone(line)));
        lines.extend(right.iter().map(|line| Line::New(line)));
        return;
    }
    // How long the longest common part of what is left of both is.
    let mut longest = vec![0_u32; (left.len() + 1) * width];
    for a in (0..left.len()).rev() {
        for b in (0..right.len()).rev() {
            longest[a * width + b] = if left[a] == right[b] {
                longest[(a + 1) * width + b + 1] + 1
            } else {
                longest[(a + 1) * width + b].max(longest[a * width + b + 1])
            };
        }
    }
    let (mut a, mut b) = (0, 0);
    while a < left.len() && b < right.len() {
        if left[a] == right[b] {
            lines.push(Line::Same(left[a]));
            (a, b) = (a + 1, b + 1);
        } else if longest[(a + 1) * width + b] >= longest[a * width + b + 1] {
            lines.push(Line::Gone(left[a]));
            a += 1;
        } else {
            lines.push(Line::New(right[b]));
            b += 1;
        }
    }
    lines.extend(left[a..].iter().map(|line| Line::Gone(line)));
    lines.extend(right[b..].iter().map(|line| Line::New(line)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(from: &str, to: &str) -> String {
        let line = |line: &Line<'_>| match line {
            Line::Same(text) => format!(" {text}"),
            Line::Gone(text) => format!("-{text}"),
            Line::New(text) => format!("+{text}"),
        };
        compare(from, to).iter().map(line).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn what_stays_is_between_what_goes_and_what_comes() {
        assert_eq!(shown("a\nb\nc\nd", "a\nc\nx\nd"), " a|-b| c|+x| d");
        assert_eq!(shown("", "a"), "+a");
        assert_eq!(shown("a\nb", ""), "-a|-b");
        assert_eq!(shown("a\na", "a\na\na"), " a| a|+a");
    }

    #[test]
    fn texts_that_are_too_long_to_compare_are_shown_whole() {
        let from: String = (0..2_500).flat_map(|n| [format!("a{n}"), "\n".to_owned()]).collect();
        let to: String = (0..2_500).flat_map(|n| [format!("b{n}"), "\n".to_owned()]).collect();
        let lines = compare(&from, &to);
        assert_eq!(lines.len(), 5_000);
        assert_eq!((lines[0], lines[4_999]), (Line::Gone("a0"), Line::New("b2499")));
    }
}
