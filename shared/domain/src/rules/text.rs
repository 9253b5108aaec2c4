//! A rule's text before Cedar reads it: bounded, so that no text makes the parser recurse deeply or work long.

use super::{MOST_TEXT, RuleError};
use crate::names::is_bidi_control;

/// The most brackets open at once. Cedar's parser recurses for each.
const MOST_OPEN: usize = 16;

/// The most `if`s. Each nests the rest of its expression.
const MOST_IFS: usize = 16;

/// The most operators: a chain of them nests as deep as it is long.
const MOST_OPERATORS: usize = 250;

/// The most characters of a message that is made of the rule's own text.
const MOST_MESSAGE: usize = 300;

/// Refuses a text that is too long, too deep, or shows something else than it says.
pub(super) fn check_bounds(text: &str) -> Result<(), RuleError> {
    if text.len() > MOST_TEXT {
        let message = format!("the rule has {} bytes; the most is {MOST_TEXT}", text.len());
        return Err(RuleError::start(message, "split it in two, or say it shorter"));
    }
    if let Some((offset, _)) = text.char_indices().find(|(_, c)| is_hidden(*c)) {
        let help = "remove it: what is read must be what is seen".to_owned();
        return Err(RuleError::at(text, offset, "the rule holds a control character", Some(help)));
    }
    let bytes = text.as_bytes();
    let (mut at, mut open, mut ifs, mut operators) = (0, 0_usize, 0, 0);
    while let Some(byte) = bytes.get(at) {
        let begin = at;
        at += 1;
        match byte {
            b'"' => {
                at = end_of_text(bytes, at).ok_or_else(|| {
                    let help = "close it with \"".to_owned();
                    RuleError::at(text, begin, "this text has no end", Some(help))
                })?;
            }
            b'/' if bytes.get(at) == Some(&b'/') => {
                at += bytes[at..].iter().position(|c| matches!(c, b'\n' | b'\r')).unwrap_or(bytes.len() - at);
            }
            b'(' | b'[' | b'{' => {
                open += 1;
                if open > MOST_OPEN {
                    let help = "say it flatter, or make it two rules".to_owned();
                    let message = format!("more than {MOST_OPEN} brackets are open here");
                    return Err(RuleError::at(text, begin, message, Some(help)));
                }
            }
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'.' | b'!' | b'-' | b'+' | b'*' | b'<' | b'>' => operators += 1,
            b'&' | b'|' | b'=' if bytes.get(at) == Some(byte) => {
                operators += 1;
                at += 1;
            }
            c if c.is_ascii_alphabetic() || *c == b'_' => {
                at += bytes[at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b'_').count();
                match &bytes[begin..at] {
                    b"if" => ifs += 1,
                    b"in" | b"has" | b"like" | b"is" => operators += 1,
                    _ => {}
                }
            }
            _ => {}
        }
        if ifs > MOST_IFS || operators > MOST_OPERATORS {
            let help = "split it in two: each rule forbids by itself".to_owned();
            let message = format!("the rule has more than {MOST_OPERATORS} operators, or more than {MOST_IFS} ifs");
            return Err(RuleError::at(text, begin, message, Some(help)));
        }
    }
    Ok(())
}

fn is_hidden(c: char) -> bool {
    is_bidi_control(c) || (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

/// Behind the closing quote of a text that begins here.
fn end_of_text(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Line and column of a byte, both from 1; a column is a character.
pub(super) fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset.min(text.len())).unwrap_or("");
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
    (number(before.matches('\n').count()), number(before[line_start..].chars().count()))
}

/// Where a word stands first outside texts and comments; the beginning if nowhere.
pub(super) fn find_word(text: &str, word: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let begin = at;
        at += 1;
        match byte {
            b'"' => at = end_of_text(bytes, at).unwrap_or(bytes.len()),
            b'/' if bytes.get(at) == Some(&b'/') => {
                at += bytes[at..].iter().position(|c| matches!(c, b'\n' | b'\r')).unwrap_or(bytes.len() - at);
            }
            c if c.is_ascii_alphabetic() || *c == b'_' => {
                at += bytes[at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b'_').count();
                if &bytes[begin..at] == word.as_bytes() {
                    return begin;
                }
            }
            _ => {}
        }
    }
    0
}

/// A message on one line, without what could deceive, of a bounded length.
pub(super) fn one_line(message: &str) -> String {
    let clean = message.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    let clean = clean.filter(|c| !c.is_control() && !is_bidi_control(*c));
    clean.take(MOST_MESSAGE).collect()
}
