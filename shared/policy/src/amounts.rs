//! Amounts inside a policy: durations, shares, times, rates, and the thresholds made of them.

use portcullis_domain::policy::{Comparison, Unit};
use portcullis_domain::time::Millis;

use crate::grammar::Wrong;
use crate::nearest::shown;

/// What an amount counts, and so which units it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// `1%`, to hundredths of a percent; at most 100 %.
    Percent,
    /// `800ms`, `2s`, to microseconds.
    Time,
    /// `5/s`, to thousandths.
    Rate,
    /// A share, a size or a count: what a metric without a known unit may have.
    Any,
}

impl From<Unit> for Measure {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::BasisPoints => Measure::Percent,
            Unit::Micros => Measure::Time,
            Unit::MilliPerSecond => Measure::Rate,
        }
    }
}

impl Measure {
    /// The units, each with how many of the base unit it is.
    fn units(self) -> &'static [(&'static str, i64)] {
        match self {
            Measure::Percent => &[("%", 100)],
            Measure::Time => &[("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000)],
            Measure::Rate => &[("/s", 1_000)],
            Measure::Any => &[
                ("%", 100),
                ("ms", 1_000),
                ("s", 1_000_000),
                ("/s", 1_000),
                ("KB", 1_000),
                ("MB", 1_000_000),
                ("GB", 1_000_000_000),
                ("", 1),
            ],
        }
    }

    pub(crate) fn example(self) -> &'static str {
        match self {
            Measure::Percent | Measure::Any => "1%",
            Measure::Time => "800ms",
            Measure::Rate => "5/s",
        }
    }

    /// For the JSON Schema.
    pub(crate) fn pattern(self) -> String {
        let units: Vec<&str> = self.units().iter().map(|(unit, _)| *unit).collect();
        format!(r"[0-9]+(\.[0-9]+)?({})", units.join("|"))
    }
}

const LONGEST_DURATION: u64 = 3_650 * 86_400_000;

/// `30s`, `5m`, `24h`, `90d`; also `800ms`. At most 3,650 days.
pub(crate) fn duration(text: &str) -> Result<Millis, Wrong> {
    const LABEL: &str = "a duration is one integer and one unit";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let short = shown(text);
    if digits == 0 {
        return Err(Wrong::new(format!("`{short}` is not a duration"), LABEL, "write 30s, 5m, 24h or 90d"));
    }
    let size = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => {
            let help = format!("write {short}s, {short}m, {short}h or {short}d");
            return Err(Wrong::new(format!("`{short}` has no unit"), LABEL, help));
        }
        _ => {
            let letter = unit.trim_start().bytes().next().map(char::from);
            let help = match letter {
                Some(c @ ('s' | 'm' | 'h' | 'd')) if !unit.starts_with('.') => format!("write {number}{c}"),
                _ => "write 30s, 5m, 24h or 90d; instead of 1.5h write 90m".to_owned(),
            };
            return Err(Wrong::new(format!("`{short}` is not a duration"), LABEL, help));
        }
    };
    let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(size)).filter(|ms| *ms <= LONGEST_DURATION);
    total
        .map(Millis)
        .ok_or_else(|| Wrong::new(format!("`{short}` is too long"), "at most 3650d", "write a shorter one"))
}

/// `1%`, `800ms`, `5/s` in the base unit of its measure.
pub(crate) fn amount(text: &str, measure: Measure) -> Result<i64, Wrong> {
    let short = shown(text);
    let end = text.bytes().take_while(|c| c.is_ascii_digit() || *c == b'.').count();
    let (number, unit) = text.split_at(end);
    let units = measure.units();
    let names: Vec<&str> = units.iter().map(|(unit, _)| *unit).filter(|unit| !unit.is_empty()).collect();
    let write = || match names[..] {
        [only] => format!("write a number and {only}, such as {}", measure.example()),
        _ => format!("write a number and one of {}, such as {}", names.join(" "), measure.example()),
    };
    let not = |label: &str| Wrong::new(format!("`{short}` is not an amount"), label, write());
    if number.is_empty() {
        return Err(not("a number and its unit"));
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 12 || fraction.contains('.') || number.ends_with('.') {
        return Err(not("this is not a number"));
    }
    let Some((_, size)) = units.iter().find(|(name, _)| *name == unit) else {
        if unit.is_empty() && measure == Measure::Percent {
            let help = match as_share(whole, fraction) {
                Some(percent) => format!("{percent}% or {number}%? Write the one you mean, with its unit"),
                None => format!("write {number}%"),
            };
            return Err(Wrong::new(format!("`{short}` has no unit"), "a rate is written in %", help));
        }
        let problem = if unit.is_empty() { "has no unit" } else { "has a unit that does not fit here" };
        return Err(Wrong::new(format!("`{short}` {problem}"), "a number and its unit", write()));
    };
    let digits = u32::try_from(fraction.trim_end_matches('0').len()).unwrap_or(u32::MAX);
    let fine = 10_i64.checked_pow(digits).filter(|fine| size % fine == 0);
    let (Some(fine), Ok(whole)) = (fine, whole.parse::<i64>()) else {
        let label = match measure {
            Measure::Percent => "finer than 0.01%",
            Measure::Time => "finer than a microsecond",
            Measure::Rate => "finer than 0.001/s",
            Measure::Any => "too fine for its unit",
        };
        return Err(Wrong::new(format!("`{short}` is finer than can be measured"), label, "write fewer digits"));
    };
    let rest = fraction.trim_end_matches('0').parse::<i64>().unwrap_or(0);
    let total = whole.checked_mul(*size).and_then(|total| total.checked_add(rest * (size / fine)));
    match total {
        Some(total) if measure == Measure::Percent && total > 10_000 => {
            Err(Wrong::new(format!("`{short}` is more than everything"), "at most 100%", "write a share up to 100%"))
        }
        Some(total) => Ok(total),
        None => Err(Wrong::new(format!("`{short}` is too large"), "too large", "write a smaller number")),
    }
}

/// `0.01` read as a share: `1`.
fn as_share(whole: &str, fraction: &str) -> Option<String> {
    if whole.parse::<u64>().ok()? > 0 || fraction.len() > 4 || fraction.is_empty() {
        return None;
    }
    let points = format!("{fraction:0<4}").parse::<u32>().ok()?;
    let text = format!("{}.{:02}", points / 100, points % 100);
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// `below 1% for 2m`: what must be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Threshold {
    pub(crate) comparison: Comparison,
    pub(crate) limit: i64,
    pub(crate) hold: Option<Millis>,
}

/// The four comparisons with their words.
pub(crate) const COMPARISONS: [(&str, Comparison); 4] = [
    ("below", Comparison::Below),
    ("above", Comparison::Above),
    ("at least", Comparison::AtLeast),
    ("at most", Comparison::AtMost),
];

pub(crate) fn threshold(text: &str, measure: Measure) -> Result<Threshold, Wrong> {
    let example = measure.example();
    let found = COMPARISONS
        .iter()
        .find_map(|(word, comparison)| Some((*comparison, text.strip_prefix(word)?.strip_prefix(' ')?.trim_start())));
    let Some((comparison, rest)) = found else {
        let bare = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let value = if amount(bare, measure).is_ok() { bare } else { example };
        let help = match text.split_whitespace().next() {
            Some("under" | "<" | "less") => format!("write: below {value}"),
            Some("over" | ">" | "more" | "greater") => format!("write: above {value}"),
            Some("<=" | "max" | "maximum") => format!("write: at most {value}"),
            Some(">=" | "min" | "minimum") => format!("write: at least {value}"),
            _ => format!("write: below {value}   or with a time: below {value} for 2m"),
        };
        let label = "begins with below, above, at least or at most";
        return Err(Wrong::new(format!("`{}` compares nothing", shown(text)), label, help));
    };
    let (value, hold) = match rest.split_once(" for ") {
        Some((value, hold)) => (value.trim_end(), Some(some_duration(hold.trim_start())?)),
        None => (rest.trim_end(), None),
    };
    Ok(Threshold { comparison, limit: amount(value, measure)?, hold })
}

/// A duration that is not zero.
pub(crate) fn some_duration(text: &str) -> Result<Millis, Wrong> {
    match duration(text)? {
        Millis(0) => Err(Wrong::new(format!("`{}` is no time at all", shown(text)), "more than 0", "write 30s or 5m")),
        length => Ok(length),
    }
}
