//! What the screen can show: characters, colours, and the width that all output keeps.

use std::io::IsTerminal;

use portcullis_domain::verdict::Verdict;

use super::text;

/// Every line fits in so many columns.
pub(crate) const WIDTH: usize = 100;

/// What the screen can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Only ASCII characters.
    pub(crate) ascii: bool,
    /// Colours.
    pub(crate) colour: bool,
}

/// What a line or word means to its reader. Always beside a mark or a word that says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    Plain,
    /// Less important.
    Dim,
    /// Live, held, done.
    Good,
    /// Waiting, or rolling back.
    Warn,
    /// Blocked, or a person is needed.
    Bad,
}

impl Screen {
    /// What standard output can show: colours on a terminal unless `NO_COLOR` is set or `TERM` is `dumb`, more than
    /// ASCII if the locale is UTF-8.
    pub(crate) fn of_stdout(ascii: bool) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        Self { ascii: ascii || !speaks_utf8(locale.as_deref()), colour }
    }

    /// All characters, no colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Screen = Screen { ascii: false, colour: false };

    /// The character, or its ASCII twin.
    fn glyph(self, full: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii { ascii } else { full }
    }

    /// A verdict's mark, all of them equally wide.
    pub(crate) fn mark(self, verdict: Verdict) -> String {
        let pad = |mark: &str| text::pad(mark, if self.ascii { 4 } else { 1 });
        match verdict {
            Verdict::Pass => self.paint(Tone::Good, &pad(self.ok())),
            Verdict::Hold => self.paint(Tone::Warn, &pad(self.hold())),
            Verdict::Block => self.paint(Tone::Bad, &pad(self.fail())),
        }
    }
    /// Done, fine.
    pub(crate) fn ok(self) -> &'static str {
        self.glyph("✓", "ok")
    }
    /// Waiting, in the middle of it.
    pub(crate) fn hold(self) -> &'static str {
        self.glyph("◐", "hold")
    }
    /// Failed.
    pub(crate) fn fail(self) -> &'static str {
        self.glyph("✗", "FAIL")
    }
    /// Not begun.
    pub(crate) fn idle(self) -> &'static str {
        self.glyph("○", "-")
    }
    /// Something is left out.
    pub(crate) fn more(self) -> &'static str {
        self.glyph("…", "...")
    }
    /// Between steps that follow one another.
    pub(crate) fn then(self) -> &'static str {
        self.glyph(" ─ ", " > ")
    }
    /// A branch of a tree, and the last one.
    pub(crate) fn branch(self, last: bool) -> &'static str {
        if last { self.glyph("└─ ", "\\- ") } else { self.glyph("├─ ", "|- ") }
    }
    /// The trunk beside a branch's own branches.
    pub(crate) fn trunk(self, last: bool) -> &'static str {
        if last { "   " } else { self.glyph("│  ", "|  ") }
    }
    /// A bar of 12 columns of which `share` of 10,000 is filled.
    pub(crate) fn bar(self, share: u16) -> String {
        let full = usize::from(share.min(10_000)) * 12 / 10_000;
        let (open, filled, rest, close) = if self.ascii { ("[", "#", ".", "]") } else { ("▕", "█", "░", "▏") };
        format!("{open}{}{}{close}", filled.repeat(full), rest.repeat(12 - full))
    }
    /// One column of a chart: 0 = empty, 8 = full.
    pub(crate) fn column(self, eighths: usize) -> &'static str {
        const FULL: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
        const ASCII: [&str; 9] = [" ", ".", ".", ":", ":", "+", "+", "#", "#"];
        let at = eighths.min(8);
        if self.ascii { ASCII[at] } else { FULL[at] }
    }

    /// The text in its tone's colour.
    pub(crate) fn paint(self, tone: Tone, words: &str) -> String {
        let code = match tone {
            Tone::Plain => return words.to_owned(),
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if self.colour && !words.is_empty() { format!("\u{1b}[{code}m{words}\u{1b}[0m") } else { words.to_owned() }
    }

    /// The text emphasised.
    pub(crate) fn bold(self, words: &str) -> String {
        if self.colour { format!("\u{1b}[1m{words}\u{1b}[0m") } else { words.to_owned() }
    }

    /// Text from outside, safe for this screen: one line, nothing that steers it, in ASCII where asked.
    pub(crate) fn safe(self, words: &str) -> String {
        let words = text::safe(words);
        if self.ascii { words.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect() } else { words }
    }

    /// Cut to so many columns.
    pub(crate) fn cut(self, words: &str, columns: usize) -> String {
        text::cut(words, columns, self.more())
    }

    /// One line with something at its right end; the left gives way.
    pub(crate) fn sides(self, left: &str, right: &str, tone: Tone) -> String {
        let room = WIDTH.saturating_sub(text::width(right) + 1);
        let left = text::pad(&self.cut(left, room), room + 1);
        format!("{left}{}", self.paint(tone, right))
    }
}

fn speaks_utf8(locale: Option<&str>) -> bool {
    locale.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_mean_the_same_without_colour_and_without_unicode() {
        let ascii = Screen { ascii: true, colour: false };
        let marks = |screen: Screen| [Verdict::Pass, Verdict::Hold, Verdict::Block].map(|verdict| screen.mark(verdict));
        assert_eq!(marks(Screen::PLAIN), ["✓", "◐", "✗"]);
        assert_eq!(marks(ascii), ["ok  ", "hold", "FAIL"]);
        assert_eq!(ascii.bar(2_500), "[###.........]");
        assert_eq!(ascii.safe("naïve"), "na?ve");
    }

    #[test]
    fn only_a_utf8_locale_gets_more_than_ascii() {
        assert!(speaks_utf8(Some("en_GB.UTF-8")) && speaks_utf8(Some("C.utf8")));
        assert!(!speaks_utf8(None) && !speaks_utf8(Some("POSIX")));
    }

    #[test]
    fn colour_wraps_words_and_never_changes_them() {
        let screen = Screen { ascii: false, colour: true };
        assert_eq!(screen.paint(Tone::Good, "LIVE"), "\u{1b}[32mLIVE\u{1b}[0m");
        assert_eq!(screen.paint(Tone::Plain, "x"), "x");
    }

    #[test]
    fn a_line_with_two_sides_is_as_wide_as_the_screen() {
        let line = Screen::PLAIN.sides(&"x".repeat(200), "LIVE", Tone::Good);
        assert_eq!(text::width(&line), WIDTH);
        assert!(line.ends_with("… LIVE"));
    }
}
