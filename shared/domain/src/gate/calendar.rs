//! Part `window` of gate `freeze`: no freeze of the policy's calendar covers the moment, and one of its windows is
//! open, if it has any.

use super::Case;
use crate::calendar::{Calendar, Standing, Window};
use crate::time::{Millis, Timestamp};
use crate::verdict::GateResult;

/// A freeze that begins this soon is told.
const SOON: Millis = Millis::days(7);

/// `None` if the policy has no calendar.
pub(super) fn part(case: &Case<'_>) -> Option<GateResult> {
    judge(&case.policy.gates.calendar, case.given.now)
}

fn judge(calendar: &Calendar, now: Timestamp) -> Option<GateResult> {
    if calendar.is_empty() {
        return None;
    }
    let (hold, until) = match calendar.at(now) {
        Standing::Open => return Some(pass(calendar, now)),
        Standing::Frozen { window, until: Some(until) } => {
            let why = format!("frozen: {window}, until {}", calendar.tell(until));
            (GateResult::hold("window", why, "the freeze is over"), Some(until))
        }
        Standing::Frozen { window, until: None } => {
            let why = format!("frozen: {window}, with no end in sight");
            (GateResult::hold("window", why, "the freeze is over, or the policy changes"), None)
        }
        Standing::Closed { opens } => {
            let names = calendar.open.iter().map(|window: &Window| window.name.as_str()).collect::<Vec<_>>().join(", ");
            let why = match opens {
                Some(opens) => format!("closed: outside {names}, until {}", calendar.tell(opens)),
                None => format!("closed: outside {names}, which never begins again"),
            };
            (GateResult::hold("window", why, "a window opens"), opens)
        }
    };
    Some(GateResult { until, ..hold })
}

fn pass(calendar: &Calendar, now: Timestamp) -> GateResult {
    let why = if calendar.open.is_empty() { "no freeze" } else { "open" };
    let soon = calendar.next_freeze(now).filter(|(_, begins)| *begins <= now + SOON);
    let evidence = soon.map(|(name, begins)| format!("freeze {name} begins {}", calendar.tell(begins)));
    GateResult::pass("window", why).with_evidence(evidence.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    /// Frozen from Friday 18:00 to Monday 06:00 in Berlin.
    fn weekend() -> Window {
        let length = Millis::hours(60);
        Window::recurring("weekend", "FREQ=WEEKLY;BYDAY=FR", "2026-01-02T18:00", "Europe/Berlin", length).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp(u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap())
    }

    #[test]
    fn a_policy_without_a_calendar_has_no_such_part() {
        assert_eq!(judge(&Calendar::default(), at("2026-01-03T12:00:00Z")), None);
    }

    #[test]
    fn a_freeze_holds_with_its_name_and_its_end_in_local_time() {
        let calendar = Calendar { freeze: vec![weekend()], open: vec![] };
        let gate = judge(&calendar, at("2026-01-03T12:00:00Z")).unwrap();
        assert_eq!((gate.gate.as_str(), gate.verdict), ("window", Verdict::Hold));
        assert_eq!(gate.why, "frozen: weekend, until 2026-01-05 06:00 Europe/Berlin");
        assert_eq!(gate.until, Some(at("2026-01-05T05:00:00Z")));
        assert_eq!(gate.clears_when.as_deref(), Some("the freeze is over"));
    }

    #[test]
    fn a_pass_says_which_freeze_begins_within_a_week() {
        let once = Window::once("year end", "2026-12-20T18:00", "2027-01-04T06:00", "UTC").unwrap();
        let calendar = Calendar { freeze: vec![once, weekend()], open: vec![] };
        let gate = judge(&calendar, at("2026-01-05T05:00:00Z")).unwrap();
        assert_eq!((gate.verdict, gate.why.as_str()), (Verdict::Pass, "no freeze"));
        assert_eq!(gate.evidence, ["freeze weekend begins 2026-01-09 18:00 Europe/Berlin"]);
    }

    #[test]
    fn a_freeze_that_begins_later_than_in_a_week_is_not_told() {
        let once = Window::once("year end", "2026-12-20T18:00", "2027-01-04T06:00", "UTC").unwrap();
        let calendar = Calendar { freeze: vec![once], open: vec![] };
        let before = |at| judge(&calendar, at).unwrap().evidence;
        assert_eq!(before(at("2026-12-13T17:59:59Z")), Vec::<String>::new());
        assert_eq!(before(at("2026-12-13T18:00:00Z")), ["freeze year end begins 2026-12-20 18:00 UTC"]);
    }

    #[test]
    fn outside_its_open_windows_it_holds_until_the_next_one_begins() {
        let rule = "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH";
        let hours = Window::recurring("office hours", rule, "2026-01-05T09:00", "Europe/Berlin", Millis::hours(7));
        let calendar = Calendar { freeze: vec![], open: vec![hours.unwrap()] };
        let gate = judge(&calendar, at("2026-01-08T15:00:00Z")).unwrap();
        assert_eq!(gate.why, "closed: outside office hours, until 2026-01-12 09:00 Europe/Berlin");
        assert_eq!((gate.verdict, gate.until), (Verdict::Hold, Some(at("2026-01-12T08:00:00Z"))));
        assert_eq!(judge(&calendar, at("2026-01-08T14:59:59Z")).unwrap().why, "open");
    }

    #[test]
    fn a_freeze_without_an_end_says_so() {
        let always = Window::recurring("for ever", "FREQ=DAILY", "2026-01-01", "UTC", Millis::hours(24)).unwrap();
        let gate = judge(&Calendar { freeze: vec![always], open: vec![] }, at("2026-01-08T15:00:00Z")).unwrap();
        assert_eq!(gate.why, "frozen: for ever, with no end in sight");
        assert_eq!((gate.verdict, gate.until), (Verdict::Hold, None));
    }
}
