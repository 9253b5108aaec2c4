//! What a rule looks at, found in its syntax tree once: so that a fact nobody knows holds the rules that need it, and
//! a value that can never come is told when the rule is written.

use std::collections::BTreeSet;

use serde_json::Value;

/// Every operator of the language but calls of extension types.
const OPERATORS: &[&str] = &[
    "Value",
    "Var",
    "!",
    "neg",
    "==",
    "!=",
    "in",
    "<",
    "<=",
    ">",
    ">=",
    "&&",
    "||",
    "+",
    "-",
    "*",
    "contains",
    "containsAll",
    "containsAny",
    "isEmpty",
    "getTag",
    "hasTag",
    ".",
    "has",
    "like",
    "is",
    "if-then-else",
    "Set",
    "Record",
];

/// As `context.time.weekday` has them, the first day of the week first.
pub(crate) const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// As `resource.mode` has them.
pub(crate) const MODES: [&str; 3] = ["observe", "gate", "deploy"];

/// What a rule holds that its language does not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// A call of an extension type, such as `datetime`.
    Call(String),
    /// A text that this attribute never is; it is one of these.
    Never { attribute: &'static str, text: String, one_of: &'static [&'static str] },
}

/// The attributes of the context that a rule looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reads {
    attributes: BTreeSet<String>,
    /// The context is used as a whole.
    all: bool,
}

impl Reads {
    /// What a policy reads, by its JSON form.
    pub(super) fn of(policy: &Value) -> Result<Self, Foreign> {
        let mut reads = Self::default();
        let conditions = policy.get("conditions").and_then(Value::as_array);
        let mut open: Vec<&Value> = conditions.into_iter().flatten().filter_map(|one| one.get("body")).collect();
        while let Some(expression) = open.pop() {
            for (operator, operands) in expression.as_object().into_iter().flatten() {
                reads.visit(operator, operands, &mut open)?;
            }
        }
        Ok(reads)
    }

    fn visit<'a>(&mut self, operator: &str, operands: &'a Value, open: &mut Vec<&'a Value>) -> Result<(), Foreign> {
        if !OPERATORS.contains(&operator) {
            return Err(Foreign::Call(operator.to_owned()));
        }
        if matches!(operator, "==" | "!=" | "contains" | "containsAny" | "containsAll") {
            compares_what_can_be(operands)?;
        }
        match operator {
            "Value" => {}
            "Var" => self.all |= operands == "context",
            "Set" => open.extend(operands.as_array().into_iter().flatten()),
            "Record" => open.extend(operands.as_object().into_iter().flat_map(|fields| fields.values())),
            "." | "has" if operands.get("left").is_some_and(is_context) => match operands.get("attr") {
                Some(Value::String(attribute)) => {
                    self.attributes.insert(attribute.clone());
                }
                // `context has findings.high`: the first is the context's own.
                Some(Value::Array(path)) if path.first().is_some_and(Value::is_string) => {
                    self.attributes.extend(path.first().and_then(Value::as_str).map(str::to_owned));
                }
                _ => self.all = true,
            },
            _ => {
                let parts = ["arg", "left", "right", "if", "then", "else", "in"];
                open.extend(parts.iter().filter_map(|part| operands.get(part)));
            }
        }
        Ok(())
    }

    /// Whether the rule looks at this attribute.
    pub(super) fn contains(&self, attribute: &str) -> bool {
        self.all || self.attributes.contains(attribute)
    }
}

fn is_context(expression: &Value) -> bool {
    expression.get("Var").is_some_and(|name| name == "context")
}

/// A comparison of an attribute that is always one of a few texts is with one of them.
fn compares_what_can_be(operands: &Value) -> Result<(), Foreign> {
    let (Some(left), Some(right)) = (operands.get("left"), operands.get("right")) else {
        return Ok(());
    };
    for (looked_at, compared) in [(left, right), (right, left)] {
        let Some((attribute, one_of)) = one_of_a_few(looked_at) else {
            continue;
        };
        let members = compared.get("Set").and_then(Value::as_array).into_iter().flatten();
        let mut texts = members.chain([compared]).filter_map(|one| one.get("Value")?.as_str());
        if let Some(text) = texts.find(|text| !one_of.contains(text)) {
            return Err(Foreign::Never { attribute, text: text.to_owned(), one_of });
        }
    }
    Ok(())
}

fn one_of_a_few(expression: &Value) -> Option<(&'static str, &'static [&'static str])> {
    let access = expression.get(".")?;
    let of = access.get("left")?;
    match access.get("attr")?.as_str()? {
        "weekday" if of.get(".")?.get("left").is_some_and(is_context) => Some(("context.time.weekday", &WEEKDAYS)),
        "mode" if of.get("Var")? == "resource" => Some(("resource.mode", &MODES)),
        _ => None,
    }
}
