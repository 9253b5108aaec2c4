//! What the organisation always asks for, joined with what an application asks for: of the two always the stricter.
//!
//! An application can add. Where it asks for less, it is told so, with both places, and what is in force.

use std::collections::BTreeMap;

use portcullis_domain::policy::{Promotion, Quorum, ScanAction};
use portcullis_domain::rules::Rule;

use crate::defaults;
use crate::diagnostic::{Diagnostic, Sink};
use crate::gates::{Asked, By, MOST_QUORUMS, Said, Scan};
use crate::nearest::shown;
use crate::{own_rules, windows};

/// Joins what is asked for above with what is asked for below it.
pub(crate) fn join(above: &Asked, own: Asked, sink: &mut Sink) -> Asked {
    if above.is_empty() {
        return own;
    }
    let mut open = above.open.clone();
    if let (Some(first), Some(second)) = (above.open.first(), own.open.first()) {
        sink.push(
            Diagnostic::error("the organisation says already when releases may begin")
                .label(second.file, second.span.clone(), "one more open window would loosen that")
                .label(first.file, first.span.clone(), "open only in these")
                .help("write `freeze` for the times at which you do not want a release either"),
        );
    } else {
        open.extend(own.open);
    }
    let mut joined = Asked {
        scan: scan(above.scan.as_ref(), own.scan, sink),
        approvals: approvals(&above.approvals, own.approvals, sink),
        typed: typed(above.typed.as_ref(), own.typed, sink),
        promoted: promoted(above.promoted.as_ref(), own.promoted, sink),
        freeze: above.freeze.iter().cloned().chain(own.freeze).collect(),
        open,
        rules: rules(&above.rules, own.rules, sink),
        rule_groups: above.rule_groups.iter().cloned().chain(own.rule_groups).collect(),
        break_glass: break_glass(above, own.break_glass, sink),
    };
    windows::named_once(&mut joined, sink);
    joined
}

/// Says that what is asked for below is less than what is asked for above.
fn weaker<A, B>(what: &str, in_force: &str, own: &Said<A>, above: &Said<B>, sink: &mut Sink) {
    sink.push(
        Diagnostic::warning(format!("{what} asks for less than the organisation: {in_force} is in force"))
            .label(own.file, own.span.clone(), "asks for less")
            .label(above.file, above.span.clone(), "always asked for")
            .help("remove it, or ask for more: what the organisation asks for can be added to, never weakened"),
    );
}

fn scan(above: Option<&Scan>, own: Option<Scan>, sink: &mut Sink) -> Option<Scan> {
    let (above, own) = match (above, own) {
        (Some(above), Some(own)) => (above, own),
        (above, own) => return above.cloned().or(own),
    };
    let mut severities = above.severities.clone();
    for (severity, own) in own.severities {
        let Some(above) = severities.get_mut(&severity) else {
            severities.insert(severity, own);
            continue;
        };
        let value = strictest(above.value.as_ref(), own.value.as_ref());
        if value != own.value {
            weaker(&format!("scan.{severity}"), &format!("`{}`", action(value.as_ref())), &own, above, sink);
        }
        let by = if value == above.value && value != own.value { By::Organisation } else { By::Both };
        let place = if value == own.value { own } else { above.clone() };
        *above = Said { value, by, ..place };
    }
    if let (Some(first), Some(last)) = (own.waivers.first(), own.waivers.last()) {
        let span = first.span.start..last.span.end;
        sink.push(
            Diagnostic::warning("waivers of an application do not count where the organisation asks for the scan")
                .label(first.file, span, "passed over")
                .label(above.key.file, above.key.span.clone(), "asked for here")
                .help("remove them; the organisation can waive these findings for a time"),
        );
    }
    let standard = above.max_age.as_ref().map_or(defaults::SCAN_MAX_AGE, |said| said.value);
    let max_age = match own.max_age {
        Some(own) if own.value <= standard => {
            let by = if own.value == standard { By::Both } else { By::Application };
            Some(Said { by, ..own })
        }
        Some(own) => {
            match &above.max_age {
                Some(above) => weaker("scan.max_age", &format!("{standard}"), &own, above, sink),
                None => weaker("scan.max_age", &format!("{standard} (default)"), &own, &above.key, sink),
            }
            above.max_age.clone()
        }
        None => above.max_age.clone(),
    };
    // The longer one, whoever says it; where the organisation says nothing, an application may only ask for a time.
    let settle = match (own.settle, above.settle.clone()) {
        (Some(own), Some(above)) => Some(if own.value > above.value { own } else { above }),
        (own, above) => above.or(own),
    };
    Some(Scan { key: above.key.clone(), severities, max_age, settle, waivers: above.waivers.clone() })
}

/// The weakest action that asks for at least as much as each of the two; of two reviewing groups the first's.
fn strictest(a: Option<&ScanAction>, b: Option<&ScanAction>) -> Option<ScanAction> {
    use ScanAction::{Block, Review};
    Some(match (a, b) {
        (None, other) | (other, None) => return other.cloned(),
        (Some(Review { above: a, by }), Some(Review { above: b, .. })) => Review { above: *a.min(b), by: by.clone() },
        // No block is less than a review: from the first finding on that either asks something for, block.
        (Some(Block { above: a } | Review { above: a, .. }), Some(Block { above: b } | Review { above: b, .. })) => {
            Block { above: *a.min(b) }
        }
    })
}

/// As a policy writes it.
fn action(action: Option<&ScanAction>) -> String {
    match action {
        None => "allow".to_owned(),
        Some(ScanAction::Block { above: 0 }) => "block".to_owned(),
        Some(ScanAction::Block { above }) => format!("block above {above}"),
        Some(ScanAction::Review { above: 0, by }) => format!("review by {by}"),
        Some(ScanAction::Review { above, by }) => format!("review above {above} by {by}"),
    }
}

fn approvals(above: &[Said<Quorum>], own: Vec<Said<Quorum>>, sink: &mut Sink) -> Vec<Said<Quorum>> {
    let mut joined = above.to_vec();
    for own in own {
        let Some(above) = joined.iter_mut().find(|said| said.value.group == own.value.group) else {
            joined.push(own);
            continue;
        };
        if own.value.count < above.value.count {
            weaker(&format!("`{}`", own.value), &format!("`{}`", above.value), &own, above, sink);
        } else {
            *above = Said { by: By::Both, ..own };
        }
    }
    if let (true, Some(last)) = (joined.len() > MOST_QUORUMS, joined.last()) {
        let found = Diagnostic::error(format!("at most {MOST_QUORUMS} quorums can be asked for"));
        let found = found.label(last.file, last.span.clone(), "too many, with those of the organisation");
        sink.push(found.help("join groups that are asked for the same reason"));
    }
    joined
}

fn typed(above: Option<&Said<String>>, own: Option<Said<String>>, sink: &mut Sink) -> Option<Said<String>> {
    match (above, own) {
        (_, Some(own)) if own.by == By::Organisation => Some(own),
        (Some(above), Some(own)) if above.value == own.value => Some(Said { by: By::Both, ..own }),
        (Some(above), Some(own)) => {
            other("typed_confirmation", &format!("`{}`", shown(&above.value)), &own, above, sink);
            Some(above.clone())
        }
        (above, own) => above.cloned().or(own),
    }
}

/// Says that something else is asked for above, of which there can only be one.
fn other<A, B>(what: &str, in_force: &str, own: &Said<A>, above: &Said<B>, sink: &mut Sink) {
    sink.push(
        Diagnostic::warning(format!("{what} is not what the organisation asks for: {in_force} is in force"))
            .label(own.file, own.span.clone(), "passed over")
            .label(above.file, above.span.clone(), "always asked for")
            .help("remove it: there can only be one, and the organisation's is in force"),
    );
}

fn promoted(above: Option<&Said<Promotion>>, own: Option<Said<Promotion>>, sink: &mut Sink) -> Option<Said<Promotion>> {
    let (above, own) = match (above, own) {
        (Some(above), Some(own)) => (above, own),
        (above, own) => return above.cloned().or(own),
    };
    if above.value.environment != own.value.environment {
        other("promoted_from", &format!("from {}", above.value.environment), &own, above, sink);
        return Some(above.clone());
    }
    let value = Promotion {
        environment: own.value.environment.clone(),
        same: own.value.same.min(above.value.same),
        within: [own.value.within, above.value.within].into_iter().flatten().min(),
    };
    let longer = own.value.within.is_some() && own.value.within != value.within;
    if own.value.same != value.same || longer {
        weaker("promoted_from", "the stricter of both", &own, above, sink);
    }
    let by = if value == above.value && value != own.value { By::Organisation } else { By::Both };
    Some(Said { value, by, ..own })
}

fn rules(above: &[Said<Rule>], own: Vec<Said<Rule>>, sink: &mut Sink) -> Vec<Said<Rule>> {
    let mut joined: BTreeMap<String, Said<Rule>> =
        above.iter().map(|said| (said.value.name.clone(), said.clone())).collect();
    for own in own {
        if let Some(first) = joined.get(&own.value.name) {
            sink.push(windows::clash("rules", &own.value.name, first, &own));
        } else {
            joined.insert(own.value.name.clone(), own);
        }
    }
    if let (true, Some(last)) = (joined.len() > own_rules::MOST, joined.values().next_back()) {
        let found = Diagnostic::error(format!("at most {} rules can be given", own_rules::MOST));
        let found = found.label(last.file, last.span.clone(), "too many, with those of the organisation");
        sink.push(found.help("join rules that forbid for the same reason with ||"));
    }
    joined.into_values().collect()
}

/// Who may skip the organisation's gates, only the organisation says: for the environments of a name it can say other
/// people than for all.
fn break_glass(above: &Asked, own: Option<Said<Quorum>>, sink: &mut Sink) -> Option<Said<Quorum>> {
    match (&above.break_glass, own) {
        (_, Some(own)) if own.by == By::Organisation => Some(own),
        (Some(above), Some(own)) if above.value == own.value => Some(Said { by: By::Both, ..own }),
        (Some(above), Some(own)) => {
            other("break_glass", &format!("`{}`", above.value), &own, above, sink);
            Some(above.clone())
        }
        (None, Some(own)) => {
            sink.push(
                Diagnostic::warning("break_glass would skip gates of the organisation: nobody can break the glass")
                    .label(own.file, own.span.clone(), "passed over")
                    .help("remove it; who may skip the organisation's gates is written under its `always`"),
            );
            None
        }
        (above, None) => above.clone(),
    }
}
