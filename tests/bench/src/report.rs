//! A measured line: what, reached, goal, and what ran beside it; for people and as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// All lines of one run.
#[derive(Serialize)]
pub(crate) struct Report {
    /// What was measured.
    bench: &'static str,
    /// The version measured.
    version: &'static str,
    /// Cores this process may use.
    cores: usize,
    /// The processor's name, where the system tells.
    processor: Option<String>,
    /// Whether the build is an optimised one; the figures of another say nothing.
    optimised: bool,
    /// The lines, in the order they were measured.
    pub(crate) lines: Vec<Line>,
}

/// One figure.
#[derive(Serialize)]
pub(crate) struct Line {
    /// The line's short name; stable.
    pub(crate) name: Cow<'static, str>,
    /// What was measured, in words.
    pub(crate) what: String,
    /// What was reached.
    pub(crate) reached: f64,
    /// The unit of `reached` and of the goal.
    pub(crate) unit: &'static str,
    /// What was promised; none = measured for its own sake.
    pub(crate) goal: Option<Goal>,
    /// Whether it was reached; none = there is no goal.
    pub(crate) met: Option<bool>,
    /// What ran beside it.
    pub(crate) beside: Beside,
    /// More of what was seen.
    pub(crate) details: BTreeMap<&'static str, Value>,
}

/// What was promised.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// At least so much.
    AtLeast(f64),
    /// Less than so much.
    Below(f64),
    /// So much, or less.
    AtMost(f64),
    /// Exactly so much.
    Exactly(f64),
}

/// Something else, measured in the same run on the same machine.
#[derive(Serialize)]
pub(crate) struct Beside {
    /// What it is.
    pub(crate) what: String,
    /// What it reached.
    pub(crate) reached: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What was reached of it, as a share: how the one compares with the other.
    pub(crate) ratio: f64,
}

impl Report {
    pub(crate) fn new(bench: &'static str) -> Self {
        Self {
            bench,
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: processor(),
            optimised: !cfg!(debug_assertions),
            lines: Vec::new(),
        }
    }

    /// The first line for people.
    pub(crate) fn title(&self) -> String {
        let processor = self.processor.as_deref().unwrap_or("an unnamed processor");
        let note = if self.optimised { "" } else { "\nA debug build: these figures say nothing." };
        format!("Portcullis {} {} on {} cores of {processor}{note}", self.version, self.bench, self.cores)
    }

    /// The last line for people.
    pub(crate) fn summary(&self) -> String {
        let goals = self.lines.iter().filter(|line| line.goal.is_some()).count();
        let missed: Vec<&str> =
            self.lines.iter().filter(|line| line.met == Some(false)).map(|line| line.name.as_ref()).collect();
        let met = goals - missed.len();
        if missed.is_empty() {
            format!("{met} of {goals} goals reached")
        } else {
            format!("{met} of {goals} goals reached; goal not reached: {}", missed.join(", "))
        }
    }
}

impl Line {
    pub(crate) fn new(
        name: impl Into<Cow<'static, str>>,
        what: impl Into<String>,
        reached: f64,
        unit: &'static str,
    ) -> Self {
        let beside = Beside { what: String::new(), reached: 0.0, unit, ratio: 0.0 };
        let (name, what) = (name.into(), what.into());
        Self { name, what, reached, unit, goal: None, met: None, beside, details: BTreeMap::new() }
    }

    pub(crate) fn goal(self, goal: Goal) -> Self {
        let met = goal.is_met(self.reached);
        Self { goal: Some(goal), met: Some(met), ..self }
    }

    /// What ran beside it, in the same unit.
    pub(crate) fn beside(self, what: impl Into<String>, reached: f64, unit: &'static str) -> Self {
        let ratio = if reached == 0.0 { f64::NAN } else { self.reached / reached };
        self.beside_at(what, reached, unit, ratio)
    }

    /// What ran beside it, where the ratio is not that of the two figures shown.
    pub(crate) fn beside_at(self, what: impl Into<String>, reached: f64, unit: &'static str, ratio: f64) -> Self {
        Self { beside: Beside { what: what.into(), reached, unit, ratio }, ..self }
    }

    pub(crate) fn detail(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.insert(name, value.into());
        self
    }
}

impl Goal {
    fn is_met(self, reached: f64) -> bool {
        match self {
            Goal::AtLeast(least) => reached >= least,
            Goal::Below(limit) => reached < limit,
            Goal::AtMost(most) => reached <= most,
            Goal::Exactly(value) => (reached - value).abs() < f64::EPSILON,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14} {}", self.name, self.what)?;
        write!(f, "  {:<12} {} {}", "reached", show(self.reached), self.unit)?;
        if let Some(goal) = self.goal {
            let goal = match goal {
                Goal::AtLeast(least) => format!("at least {}", show(least)),
                Goal::Below(limit) => format!("below {}", show(limit)),
                Goal::AtMost(most) => format!("at most {}", show(most)),
                Goal::Exactly(value) => show(value),
            };
            let met = if self.met == Some(true) { "goal reached" } else { "GOAL NOT REACHED" };
            write!(f, "   (goal: {goal})  {met}")?;
        }
        let beside = &self.beside;
        let (what, reached, unit) = (&beside.what, show(beside.reached), beside.unit);
        let ratio = if beside.ratio.is_nan() { "none to 0".to_owned() } else { show(beside.ratio) };
        write!(f, "\n  {:<12} {reached} {unit}   {what}\n  {:<12} {ratio}", "beside", "ratio")?;
        for (name, value) in &self.details {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Object(map) => {
                    let each: Vec<String> =
                        map.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
                    each.join(", ")
                }
                value => plain(value),
            };
            write!(f, "\n  {:<12} {value}", name.replace('_', " "))?;
        }
        Ok(())
    }
}

fn plain(value: &Value) -> String {
    match (value.as_u64(), value.as_f64()) {
        (Some(count), _) => thousands(&count.to_string()),
        (None, Some(value)) => show(value),
        _ => value.to_string(),
    }
}

/// A number with three digits or more, thousands apart.
pub(crate) fn show(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    thousands(&format!("{value:.decimals$}"))
}

fn thousands(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits: Vec<char> = whole.chars().collect();
    let mut out = String::new();
    for (index, digit) in digits.iter().enumerate() {
        let apart = index > 0 && (digits.len() - index).is_multiple_of(3);
        if apart && digits[index - 1].is_ascii_digit() {
            out.push(',');
        }
        out.push(*digit);
    }
    out + rest
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find(|line| line.starts_with("model name"))?.split_once(':')?.1;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        let shown = [0.0, 0.1234, 1.5, 12.34, 123.4, 1234.5, 1_234_567.0, -1234.0].map(show);
        assert_eq!(shown, ["0", "0.123", "1.50", "12.3", "123", "1,234", "1,234,567", "-1,234"]);
    }

    #[test]
    fn a_line_says_whether_its_goal_was_reached_and_fails_nothing() {
        let line = |reached| Line::new("x", "y", reached, "ms").goal(Goal::Below(10.0)).beside("z", 5.0, "ms");
        assert!(line(9.0).to_string().contains("goal reached"));
        assert!(line(10.0).to_string().contains("GOAL NOT REACHED"));
        let mut report = Report::new("engine");
        report.lines.extend([line(9.0), line(11.0)]);
        assert_eq!(report.summary(), "1 of 2 goals reached; goal not reached: x");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["lines"][1]["met"], false);
        assert_eq!(json["lines"][1]["goal"]["below"], 10.0);
    }

    #[test]
    fn a_ratio_without_a_divisor_is_no_number() {
        let line = Line::new("x", "y", 1.0, "ms").beside("z", 0.0, "ms");
        assert!(line.beside.ratio.is_nan() && line.to_string().ends_with("none to 0"), "{line}");
    }
}
