//! Asking the rules: a situation as plain data, given to Cedar, and each rule's answer.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId,
    Request, RestrictedExpression, Schema,
};

use super::{Compiled, text, validator};
use crate::names::{GroupName, Subject, TargetId};

/// Evaluation has a stack of its own, in bytes: whether a rule can be evaluated must not hang on who asks. The longest
/// rule that is taken needs a little more than half of it.
const STACK: usize = 2 * 1024 * 1024;

/// The most characters of a value that evidence shows.
const MOST_SHOWN: usize = 120;

/// A value that a rule can look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Datum {
    Text(String),
    Number(i64),
    Flag(bool),
    Texts(BTreeSet<String>),
    Record(Vec<(&'static str, Datum)>),
}

/// One attribute of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    /// As the schema has it.
    pub(crate) name: &'static str,
    /// Its value; of an unknown one, any of its type.
    pub(crate) value: Datum,
    /// Why nobody knows it. A rule that looks at it can not be evaluated.
    pub(crate) unknown: Option<String>,
}

/// Where a release goes.
pub(crate) struct Place<'a> {
    pub(crate) target: &'a TargetId,
    pub(crate) mode: &'static str,
    pub(crate) cluster: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) account: Option<&'a str>,
    pub(crate) region: Option<&'a str>,
}

/// Everything that rules may look at.
pub(crate) struct Situation<'a> {
    /// Who started the release; none = a push did.
    pub(crate) requester: Option<&'a Subject>,
    /// The groups the requester is in.
    pub(crate) groups: Vec<&'a GroupName>,
    pub(crate) place: Place<'a>,
    pub(crate) context: Vec<Attribute>,
}

/// What one rule says of a situation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It does not forbid it.
    Silent,
    /// It forbids it.
    Forbids,
    /// Nobody can tell, and why. Never a pass.
    Unsure(String),
}

impl Compiled {
    /// Each rule's answer, in their order, with the values it looked at.
    pub(crate) fn ask(&self, situation: &Situation<'_>) -> Vec<(&str, Answer, Vec<String>)> {
        let answers = stacker::grow(STACK, || self.evaluate(situation));
        let of = |index: usize| match &answers {
            Ok(answers) => answers.get(index).cloned().unwrap_or_else(|| Answer::Unsure("it has no answer".to_owned())),
            Err(why) => Answer::Unsure(why.clone()),
        };
        self.rules
            .iter()
            .enumerate()
            .map(|(index, rule)| {
                let mut looked_at = situation.context.iter().filter(|one| rule.reads.contains(one.name));
                let unknown =
                    looked_at.clone().find_map(|one| Some(format!("{}: {}", one.name, one.unknown.as_ref()?)));
                let answer = unknown.map_or_else(|| of(index), Answer::Unsure);
                let reason = rule.policy.annotation("reason").filter(|reason| !reason.is_empty());
                let reason = reason.map(|reason| cut(reason.to_owned()));
                let shown = looked_at.by_ref().filter(|one| one.unknown.is_none());
                let evidence = reason.into_iter().chain(shown.map(|one| cut(format!("{}: {}", one.name, one.value))));
                (rule.name.as_str(), answer, evidence.collect())
            })
            .collect()
    }

    fn evaluate(&self, situation: &Situation<'_>) -> Result<Vec<Answer>, String> {
        let schema = validator()?.schema();
        let (request, entities) = situation.given_to_cedar(schema)?;
        let response = Authorizer::new().is_authorized(&request, &self.set, &entities);
        let reasons: HashSet<&PolicyId> = response.diagnostics().reason().collect();
        // Cedar skips a forbid that fails to evaluate and then allows: each error must be somebody's denial here.
        let mut errors: HashMap<PolicyId, String> = HashMap::new();
        for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
            errors.insert(error.policy_id().clone(), text::one_line(&error.inner().to_string()));
        }
        let answers: Vec<Answer> = self
            .rules
            .iter()
            .map(|rule| match errors.remove(rule.policy.id()) {
                Some(error) => Answer::Unsure(error),
                None if reasons.contains(rule.policy.id()) => Answer::Forbids,
                None => Answer::Silent,
            })
            .collect();
        if let Some(error) = errors.into_values().next() {
            return Err(error);
        }
        match response.decision() {
            Decision::Deny if !answers.contains(&Answer::Forbids) => {
                Err("it is denied, and no rule says why".to_owned())
            }
            Decision::Allow if answers.contains(&Answer::Forbids) => Err("it is forbidden and allowed".to_owned()),
            Decision::Allow | Decision::Deny => Ok(answers),
        }
    }
}

impl Situation<'_> {
    fn given_to_cedar(&self, schema: &Schema) -> Result<(Request, Entities), String> {
        let names = names()?;
        let principal = match self.requester {
            Some(person) => uid(&names.person, person.as_str()),
            None => uid(&names.push, "push"),
        };
        let groups = self.groups.iter().map(|group| uid(&names.group, group.as_str())).collect::<HashSet<_>>();
        let resource = uid(&names.environment, &self.place.target.to_string());
        let attributes = self.place.attributes();
        let environment = Entity::new(resource.clone(), attributes, HashSet::new()).map_err(said)?;
        let mut entities = vec![environment, Entity::new_no_attrs(principal.clone(), groups.clone())];
        entities.extend(groups.into_iter().map(|group| Entity::new_no_attrs(group, HashSet::new())));
        let entities = Entities::from_entities(entities, Some(schema)).map_err(said)?;
        let pairs = self.context.iter().map(|one| Ok((one.name.to_owned(), one.value.to_cedar()?)));
        let pairs = pairs.collect::<Result<Vec<_>, String>>()?;
        let context = Context::from_pairs(pairs).map_err(said)?;
        let request = Request::new(principal, names.release.clone(), resource, context, Some(schema));
        Ok((request.map_err(said)?, entities))
    }
}

impl Place<'_> {
    fn attributes(&self) -> HashMap<String, RestrictedExpression> {
        let named = [
            ("application", Some(self.target.app.as_str())),
            ("name", Some(self.target.env.as_str())),
            ("mode", Some(self.mode)),
            ("cluster", Some(self.cluster)),
            ("namespace", Some(self.namespace)),
            ("account", self.account),
            ("region", self.region),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
        named.map(|(name, value)| (name.to_owned(), RestrictedExpression::new_string(value.to_owned()))).collect()
    }
}

/// The names of the schema that every question uses, read once.
struct Names {
    person: EntityTypeName,
    push: EntityTypeName,
    group: EntityTypeName,
    environment: EntityTypeName,
    release: EntityUid,
}

fn names() -> Result<&'static Names, &'static str> {
    static NAMES: LazyLock<Result<Names, String>> = LazyLock::new(|| {
        let kind = |name: &str| EntityTypeName::from_str(&format!("Portcullis::{name}")).map_err(said);
        Ok(Names {
            person: kind("Person")?,
            push: kind("Push")?,
            group: kind("Group")?,
            environment: kind("Environment")?,
            release: uid(&kind("Action")?, "release"),
        })
    });
    NAMES.as_ref().map_err(String::as_str)
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// An error of Cedar's while it is given the situation.
fn said(error: impl fmt::Display) -> String {
    text::one_line(&error.to_string())
}

fn cut(line: String) -> String {
    if line.chars().count() <= MOST_SHOWN {
        return line;
    }
    line.chars().take(MOST_SHOWN).chain(['…']).collect()
}

impl Datum {
    fn to_cedar(&self) -> Result<RestrictedExpression, String> {
        Ok(match self {
            Datum::Text(text) => RestrictedExpression::new_string(text.clone()),
            Datum::Number(number) => RestrictedExpression::new_long(*number),
            Datum::Flag(flag) => RestrictedExpression::new_bool(*flag),
            Datum::Texts(texts) => {
                RestrictedExpression::new_set(texts.iter().cloned().map(RestrictedExpression::new_string))
            }
            Datum::Record(fields) => {
                let fields = fields.iter().map(|(name, value)| Ok(((*name).to_owned(), value.to_cedar()?)));
                RestrictedExpression::new_record(fields.collect::<Result<Vec<_>, String>>()?).map_err(said)?
            }
        })
    }
}

/// As evidence shows it: `main, next`; `critical 0, high 2`.
impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Text(text) => f.write_str(&text::one_line(text)),
            Datum::Number(number) => number.fmt(f),
            Datum::Flag(flag) => f.write_str(if *flag { "yes" } else { "no" }),
            Datum::Texts(texts) if texts.is_empty() => f.write_str("none"),
            Datum::Texts(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| text::one_line(text)).collect();
                f.write_str(&texts.join(", "))
            }
            Datum::Record(fields) => {
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
                f.write_str(&fields.join(", "))
            }
        }
    }
}
