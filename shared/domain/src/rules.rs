//! The user's own rules, in the Cedar language: each can only forbid.
//!
//! [`check`] reads one rule strictly against [`SCHEMA`]; [`compile`] makes a set of them that the gate `rules` asks.
//! What a rule may look at is made by the gate, never by the rule: it has no clock and reads nothing.

mod ask;
mod reads;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, ValidationWarning, Validator};
use serde::{Deserialize, Serialize};

use crate::names::is_bidi_control;
use reads::{Foreign, Reads};

pub(crate) use ask::{Answer, Attribute, Datum, Place, Situation};
pub(crate) use reads::{MODES, WEEKDAYS};

/// What a rule can speak of, as a Cedar schema.
pub const SCHEMA: &str = include_str!("rules/portcullis.cedarschema");

/// The most rules a target has.
pub const MOST_RULES: usize = 50;

/// The most bytes in the text of a rule.
pub const MOST_TEXT: usize = 4_000;

/// The most characters in the name of a rule.
pub const MOST_NAME: usize = 60;

/// The stack that a rule is read on, in bytes: many times what the longest chain and the deepest nesting need. Where
/// less than 100 KB are left Cedar gives up validating, and says that the rule is valid.
const STACK: usize = 4 * 1024 * 1024;

/// One rule. What it says is added to the gates; it can never take one away.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Its name: the id that a denial shows. At most 60 characters.
    pub name: String,
    /// One Cedar `forbid` policy.
    pub text: String,
}

/// Why a rule is refused, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column})")]
pub struct RuleError {
    /// What is wrong, in one line.
    pub message: String,
    /// The line in the rule's text, from 1.
    pub line: u32,
    /// The character in that line, from 1.
    pub column: u32,
    /// What to do.
    pub help: Option<String>,
}

impl RuleError {
    fn at(text: &str, offset: usize, message: impl Into<String>, help: Option<String>) -> Self {
        let (line, column) = text::position(text, offset);
        let message = text::one_line(&message.into());
        Self { message, line, column, help: help.map(|help| text::one_line(&help)) }
    }

    fn start(message: impl Into<String>, help: &str) -> Self {
        Self::at("", 0, message, Some(help.to_owned()))
    }
}

/// Rules that were read and validated: what the gate asks.
#[derive(Clone)]
pub struct Compiled {
    set: PolicySet,
    rules: Vec<Read>,
}

/// One rule that was read and validated.
#[derive(Clone)]
struct Read {
    name: String,
    policy: Policy,
    reads: Reads,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Compiled {
    /// The rules' names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// Whether any rule looks at this attribute of the context, such as `findings`.
    pub fn reads(&self, attribute: &str) -> bool {
        self.rules.iter().any(|rule| rule.reads.contains(attribute))
    }
}

/// Refuses a rule that is not one `forbid` policy, or speaks of what the schema does not have.
///
/// # Errors
///
/// The first thing wrong with it, and where. A name that can not be shown is refused at line 1, column 1.
pub fn check(rule: &Rule) -> Result<(), RuleError> {
    read(rule, 0).map(drop)
}

/// Reads and validates rules, to be asked together. None at all is no error: nothing is forbidden then.
///
/// # Errors
///
/// What is wrong with the first rule that is refused, with its name; more than 50 rules, or one name twice.
pub fn compile(rules: &[Rule]) -> Result<Compiled, RuleError> {
    if rules.len() > MOST_RULES {
        let message = format!("there are {} rules; the most is {MOST_RULES}", rules.len());
        return Err(RuleError::start(message, "join those that forbid for the same reason with ||"));
    }
    let mut names = BTreeSet::new();
    // Cedar denies what nothing permits: the rules only take away from this.
    let base = Policy::parse(Some(PolicyId::new("base")), "permit(principal, action, resource);");
    let mut policies = vec![base.map_err(|error| RuleError::start(error.to_string(), "this is not the rule's fault"))?];
    let mut read_rules = Vec::with_capacity(rules.len());
    for (index, rule) in rules.iter().enumerate() {
        if !names.insert(rule.name.as_str()) {
            let message = format!("two rules are named {}", rule.name);
            return Err(RuleError::start(message, "give each a name of its own: it is what a denial shows"));
        }
        let read = read(rule, index)
            .map_err(|error| RuleError { message: format!("rule {}: {}", rule.name, error.message), ..error })?;
        policies.push(read.policy.clone());
        read_rules.push(read);
    }
    let set = PolicySet::from_policies(policies)
        .map_err(|error| RuleError::start(error.to_string(), "this is not the rule's fault"))?;
    Ok(Compiled { set, rules: read_rules })
}

/// The schema, read once.
fn validator() -> Result<&'static Validator, &'static str> {
    static VALIDATOR: LazyLock<Result<Validator, String>> =
        LazyLock::new(|| Schema::from_str(SCHEMA).map(Validator::new).map_err(|error| error.to_string()));
    VALIDATOR.as_ref().map_err(String::as_str)
}

fn read(rule: &Rule, index: usize) -> Result<Read, RuleError> {
    check_name(&rule.name)?;
    text::check_bounds(&rule.text)?;
    stacker::grow(STACK, || read_bounded(rule, index))
}

/// Reads a rule whose text is within its bounds.
fn read_bounded(rule: &Rule, index: usize) -> Result<Read, RuleError> {
    let text = rule.text.as_str();
    let policy = only_policy(text)?.new_id(PolicyId::new(index.to_string()));
    if policy.effect() != Effect::Forbid {
        let help = "a rule can only forbid: write forbid, and when it does. What is allowed is said by the gates";
        return Err(RuleError::at(text, text::find_word(text, "permit"), "a rule can not permit", Some(help.into())));
    }
    let reads = match policy.to_json() {
        Ok(json) => Reads::of(&json),
        Err(error) => return Err(RuleError::at(text, 0, error.to_string(), None)),
    };
    let reads = reads.map_err(|foreign| foreign_error(text, foreign))?;
    validate(text, &policy)?;
    Ok(Read { name: rule.name.clone(), policy, reads })
}

fn check_name(name: &str) -> Result<(), RuleError> {
    let refuse = |what: &str| Err(RuleError::start(what, "name it as a denial should show it, in 1 to 60 characters"));
    if name.trim().is_empty() {
        return refuse("the rule has no name");
    }
    if name.chars().count() > MOST_NAME {
        return refuse("the rule's name is longer than 60 characters");
    }
    if name.chars().any(|c| c.is_control() || is_bidi_control(c)) {
        return refuse("the rule's name has control characters");
    }
    Ok(())
}

/// The one policy that a rule is.
fn only_policy(text: &str) -> Result<Policy, RuleError> {
    let set = PolicySet::from_str(text).map_err(|errors| {
        let first = errors.iter().map(DetailedError::from).next();
        first.map_or_else(|| RuleError::at(text, 0, errors.to_string(), None), |error| located(text, &error))
    })?;
    if set.templates().next().is_some() {
        let help = "write what it is about in place of ?principal or ?resource".to_owned();
        return Err(RuleError::at(text, text.find('?').unwrap_or(0), "a rule can not be a template", Some(help)));
    }
    let mut policies = set.policies();
    match (policies.next(), policies.next()) {
        (Some(policy), None) => Ok(policy.clone()),
        (None, _) => {
            let help = "write forbid(principal, action, resource) when { ... };".to_owned();
            Err(RuleError::at(text, 0, "the rule is empty", Some(help)))
        }
        (Some(_), Some(_)) => {
            let help = "make each of them a rule with a name of its own: the name is what a denial shows".to_owned();
            let message = format!("the rule holds {} policies", set.policies().count());
            let second = text.find(';').map_or(0, |end| end + 1);
            let second = second + text[second..].len() - text[second..].trim_start().len();
            Err(RuleError::at(text, second, message, Some(help)))
        }
    }
}

fn validate(text: &str, policy: &Policy) -> Result<(), RuleError> {
    let validator = validator().map_err(|error| RuleError::start(error, "the schema of rules can not be read"))?;
    let set =
        PolicySet::from_policies([policy.clone()]).map_err(|error| RuleError::at(text, 0, error.to_string(), None))?;
    let result = validator.validate(&set, ValidationMode::Strict);
    if let Some(error) = result.validation_errors().map(DetailedError::from).min_by_key(start_of) {
        return Err(located(text, &error));
    }
    // A text in two scripts may be a title that somebody writes; a rule that can never forbid protects nobody.
    let warning = result.validation_warnings().find(|warning| {
        !matches!(warning, ValidationWarning::MixedScriptString(_) | ValidationWarning::ConfusableIdentifier(_))
    });
    match warning {
        None if result.validation_passed() => Ok(()),
        None => Err(RuleError::at(text, 0, "the rule does not pass validation", None)),
        Some(ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_)) => {
            let help = "see whether it compares two things that can never be equal".to_owned();
            Err(RuleError::at(text, text::find_word(text, "forbid"), "the rule can never forbid anything", Some(help)))
        }
        Some(other) => Err(located(text, &DetailedError::from(other))),
    }
}

fn foreign_error(text: &str, foreign: Foreign) -> RuleError {
    match foreign {
        Foreign::Call(name) => {
            let help = "a rule compares text, numbers, sets and yes or no; context.time has the parts of the moment";
            RuleError::at(text, text::find_word(text, &name), format!("a rule can not call {name}"), Some(help.into()))
        }
        Foreign::Never { attribute, text: never, one_of } => {
            let offset = text.find(&format!("{never:?}")).unwrap_or(0);
            let help = format!("it is one of {}", one_of.join(", "));
            RuleError::at(text, offset, format!("{attribute} is never {never:?}"), Some(help))
        }
    }
}

fn start_of(error: &DetailedError) -> usize {
    error.source_locations.first().map_or(usize::MAX, |label| label.loc.start)
}

/// An error of Cedar's in our words, with its place.
fn located(text: &str, error: &DetailedError) -> RuleError {
    let label = error.source_locations.first();
    let offset = label.map_or(0, |label| label.loc.start);
    let expected = label.and_then(|label| label.label.clone());
    let message = without_number(&error.message);
    let help = error.help.as_deref().map(|help| without_number(help).to_owned());
    RuleError::at(text, offset, message, help.or(expected))
}

/// Cedar names the policy by our number for it, which tells nobody anything.
fn without_number(said: &str) -> &str {
    match said.split_once("`, ") {
        Some((start, rest)) if start.starts_with("for policy `") => rest,
        _ => said,
    }
}

#[cfg(test)]
mod tests;
