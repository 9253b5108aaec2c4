//! Gates that somebody would skip: how many people said so, who else may, and with which command.

use std::collections::BTreeSet;

use portcullis_domain::names::{ReleaseId, Subject};
use portcullis_domain::plan::PlanId;
use serde::Serialize;

use crate::api::ReleaseDetail;

/// How far the gates that were named are from being skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Standing {
    /// Each gate.
    gates: Vec<Voices>,
    /// So many people are needed for each.
    wanted: u8,
    /// Who may say it, where the policy is known.
    may: Vec<Subject>,
}

/// Who would skip one gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Voices {
    /// Its name.
    gate: String,
    /// Who would skip it for the plan at hand.
    by: Vec<Subject>,
    /// Whether they are enough.
    skipped: bool,
}

impl Standing {
    /// Of these gates, by what the release says now.
    pub(crate) fn of(view: &ReleaseDetail, plan: PlanId, gates: &BTreeSet<String>) -> Self {
        let rule = view.rules.as_ref().and_then(|rules| rules.break_glass.as_ref());
        let wanted = rule.map_or(2, |rule| rule.count);
        let counts = |who: &Subject| rule.is_none_or(|rule| rule.people.contains(who));
        let gates = gates.iter().map(|gate| {
            let said = view.release.glass.iter().filter(|glass| glass.plan == plan && glass.gates.contains(gate));
            let by: BTreeSet<&Subject> = said.map(|glass| &glass.who).filter(|who| counts(who)).collect();
            Voices {
                gate: gate.clone(),
                skipped: by.len() >= usize::from(wanted),
                by: by.into_iter().cloned().collect(),
            }
        });
        Self { gates: gates.collect(), wanted, may: rule.iter().flat_map(|rule| &rule.people).cloned().collect() }
    }

    /// The gates that wait for another person.
    pub(crate) fn open(&self) -> Vec<&str> {
        self.gates.iter().filter(|gate| !gate.skipped).map(|gate| gate.gate.as_str()).collect()
    }

    /// Who else can say it, and what.
    pub(crate) fn words(&self, release: ReleaseId, plan: PlanId) -> String {
        let mut out = Vec::new();
        for gate in &self.gates {
            let by: Vec<&str> = gate.by.iter().map(Subject::as_str).collect();
            let by = if by.is_empty() { "nobody".to_owned() } else { by.join(", ") };
            out.push(if gate.skipped {
                format!("{} is skipped for plan {plan}, by {by}. The ledger keeps it for ever.", gate.gate)
            } else {
                format!(
                    "{}: {} of {} people so far ({by}); it is not skipped yet.",
                    gate.gate,
                    gate.by.len(),
                    self.wanted
                )
            });
        }
        let open = self.open();
        if open.is_empty() {
            return out.join("\n");
        }
        let said = |who: &&Subject| self.gates.iter().any(|gate| !gate.skipped && gate.by.contains(who));
        let others: Vec<&str> = self.may.iter().filter(|who| !said(who)).map(Subject::as_str).collect();
        let who = match others.as_slice() {
            [] if self.may.is_empty() => "Another person whom the policy lets break glass".to_owned(),
            [] => "Nobody else may; add somebody to the group under break_glass:. They".to_owned(),
            [one] => format!("Now {one}"),
            [others @ .., last] => format!("Now {} or {last}", others.join(", ")),
        };
        out.push(format!("{who} must say the same, each with their own token:\n  {}", command(release, plan, &open)));
        out.join("\n")
    }
}

/// The command that skips these gates.
pub(crate) fn command(release: ReleaseId, plan: PlanId, gates: &[&str]) -> String {
    let quoted = |gate: &&str| if gate.contains(' ') { format!("--gate '{gate}'") } else { format!("--gate {gate}") };
    let gates: Vec<String> = gates.iter().map(quoted).collect();
    format!("portcullis release break-glass {release} --plan {plan} {} --reason TEXT", gates.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::BreakGlass;
    use crate::show::samples::waiting;
    use portcullis_domain::target::Glass;

    fn person(name: &str) -> Subject {
        Subject::new(name).unwrap()
    }

    fn view(said: &[&str]) -> (ReleaseDetail, PlanId) {
        let mut view = waiting();
        let plan = view.summary.plan.unwrap();
        let people = ["kofi", "lena", "tunde"].map(person).into();
        view.rules.as_mut().unwrap().break_glass = Some(BreakGlass { count: 2, people });
        let gates = BTreeSet::from(["approval".to_owned(), "way back".to_owned()]);
        let glass = |name: &&str| Glass { plan, gates: gates.clone(), who: person(name), reason: "incident".into() };
        view.release.glass = said.iter().map(glass).collect();
        (view, plan)
    }

    fn standing(said: &[&str]) -> (Standing, PlanId) {
        let (view, plan) = view(said);
        (Standing::of(&view, plan, &["approval".to_owned(), "way back".to_owned()].into()), plan)
    }

    #[test]
    fn after_the_first_person_it_says_who_else_must_say_what() {
        let (standing, plan) = standing(&["kofi"]);
        insta::assert_snapshot!(standing.words(ReleaseId(142), plan));
    }

    #[test]
    fn after_the_second_person_it_says_what_is_skipped() {
        let (standing, plan) = standing(&["kofi", "lena"]);
        assert_eq!(standing.open(), Vec::<&str>::new());
        insta::assert_snapshot!(standing.words(ReleaseId(142), plan));
    }

    #[test]
    fn who_said_it_twice_or_may_not_say_it_does_not_count() {
        assert_eq!(standing(&["kofi", "kofi"]).0.open(), ["approval", "way back"]);
        assert_eq!(standing(&["kofi", "amara"]).0.open(), ["approval", "way back"]);
        let (view, _) = view(&["kofi", "lena"]);
        let newer = "0000-0001".parse().unwrap();
        assert_eq!(Standing::of(&view, newer, &["approval".to_owned()].into()).open(), ["approval"]);
    }
}
