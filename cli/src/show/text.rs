//! Text from outside made safe to show, and text measured as a terminal shows it.

use portcullis_domain::names::is_bidi_control;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text on one line, without characters that steer a terminal or reorder what is read.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == '\t' {
            out.push(' ');
        } else if !c.is_control() && !is_bidi_control(c) && !is_invisible(c) {
            out.push(c);
        }
    }
    out
}

/// Characters that take no room and so hide differences: zero-width ones and the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{061c}')
}

/// Columns it takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Cut to so many columns, with a mark where something is missing.
pub(crate) fn cut(text: &str, columns: usize, mark: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(width(mark));
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > room {
            break;
        }
        used += wide;
        out.push(c);
    }
    out.push_str(mark);
    out
}

/// Padded on the right to so many columns.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Broken at spaces into lines of at most so many columns; a longer word is cut through.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && width(&line) + 1 + width(word) > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        let mut word = word.to_owned();
        while width(&word) > columns {
            let head = cut(&word, columns, "");
            word = word[head.len()..].to_owned();
            if head.is_empty() {
                break;
            }
            lines.push(head);
        }
        line.push_str(&word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// As it is where it fits, with the gaps that were put into it; else broken into lines.
pub(crate) fn wrap_kept(text: &str, columns: usize) -> Vec<String> {
    if width(text) <= columns { vec![text.to_owned()] } else { wrap(text, columns) }
}

/// `1,204`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 request`, `2 requests`.
pub(crate) fn count(number: u64, one: &str) -> String {
    format!("{} {one}{}", thousands(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_the_terminal_or_reorder_what_is_read() {
        assert_eq!(safe("fix \u{1b}[31mred\u{202e}evil\u{200b}\nnext\r"), "fix [31mredevil next");
    }

    #[test]
    fn text_is_cut_and_padded_by_columns_not_by_bytes() {
        assert_eq!(cut("日本語のタイトル", 7, "…"), "日本語…");
        assert_eq!(pad("日本", 6), "日本  ");
        assert_eq!(cut("short", 7, "…"), "short");
    }

    #[test]
    fn long_text_wraps_at_words_and_long_words_are_cut() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdefgh i", 3), ["abc", "def", "gh", "i"]);
        assert_eq!(wrap("", 3), [""]);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
