//! The fence protocol's judgement: may this write be made on what was found? Pure.

use portcullis_domain::action::{Fence, Stamp, Value, Write};

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// What was found is a state the write expects: patch it, conditional on exactly that.
    Accept,
    /// Our own earlier write is there already.
    Again,
    /// Anything else: touch nothing.
    Refuse,
}

/// Reads an annotation. An error is the text that is not a fence, or not written as we write one.
pub(super) fn parse(annotation: Option<&str>) -> Result<Option<Fence>, String> {
    let Some(text) = annotation else { return Ok(None) };
    match text.parse::<Fence>() {
        Ok(fence) if fence.to_string() == text => Ok(Some(fence)),
        _ => Err(text.to_owned()),
    }
}

/// Judges a write under `ours` by the annotation and value found; `None` = there is no object.
pub(super) fn judge(found: Option<(Option<&str>, Value)>, write: &Write, ours: &Fence) -> Judgement {
    let Some((annotation, value)) = found else {
        let may_be_absent = write.from.is_empty() || write.from.contains(&None);
        return if may_be_absent { Judgement::Accept } else { Judgement::Refuse };
    };
    let Ok(fence) = parse(annotation) else { return Judgement::Refuse };
    if let Some(fence) = &fence {
        if fence == ours {
            return if value == write.to { Judgement::Again } else { Judgement::Refuse };
        }
        let lower = fence.ledger == ours.ledger && (fence.epoch, fence.seq) < (ours.epoch, ours.seq);
        if !lower {
            return Judgement::Refuse;
        }
    }
    if write.from.contains(&Some(Stamp { fence, value })) { Judgement::Accept } else { Judgement::Refuse }
}

#[cfg(test)]
mod tests {
    use portcullis_domain::action::{ObjectKey, Purpose};
    use portcullis_domain::names::ServiceName;

    use super::Judgement::{Accept, Again, Refuse};
    use super::*;

    const BLUE: Value = Value::Traffic { green: 0 };
    const HALF: Value = Value::Traffic { green: 5_000 };
    const GREEN: Value = Value::Traffic { green: 10_000 };

    fn stamp(fence: Option<&str>, value: Value) -> Stamp {
        Stamp { fence: fence.map(|text| text.parse().unwrap()), value }
    }

    #[test]
    fn a_write_is_accepted_on_nothing_but_what_it_expects() {
        let expects = vec![Some(stamp(Some("l/1/10"), BLUE)), Some(stamp(Some("l/1/12"), HALF))];
        let adopts = vec![Some(stamp(None, BLUE))];
        let creates = vec![None, Some(stamp(Some("l/1/10"), BLUE))];
        let higher_from = vec![
            Some(stamp(Some("l/1/30"), BLUE)),
            Some(stamp(Some("m/1/10"), BLUE)),
            Some(stamp(Some("l/2/1"), BLUE)),
        ];
        let nothing = vec![];
        for (what, from, found, expected) in [
            ("the last confirmed state", &expects, Some((Some("l/1/10"), BLUE)), Accept),
            ("what was intended since", &expects, Some((Some("l/1/12"), HALF)), Accept),
            ("an expected fence with a value by hand", &expects, Some((Some("l/1/10"), HALF)), Refuse),
            ("an expected value under another fence", &expects, Some((Some("l/1/11"), BLUE)), Refuse),
            ("a lower fence", &expects, Some((Some("l/1/9"), BLUE)), Refuse),
            ("a missing annotation", &expects, Some((None, BLUE)), Refuse),
            ("a missing object", &expects, None, Refuse),
            ("an unfenced object that is expected", &adopts, Some((None, BLUE)), Accept),
            ("an unfenced object with another value", &adopts, Some((None, GREEN)), Refuse),
            ("our own fence and value", &expects, Some((Some("l/1/20"), GREEN)), Again),
            ("our own fence with another value", &expects, Some((Some("l/1/20"), BLUE)), Refuse),
            ("a higher fence, even if listed", &higher_from, Some((Some("l/1/30"), BLUE)), Refuse),
            ("a higher epoch, even if listed", &higher_from, Some((Some("l/2/1"), BLUE)), Refuse),
            ("another ledger, even if listed", &higher_from, Some((Some("m/1/10"), BLUE)), Refuse),
            ("text that is no fence", &expects, Some((Some("by hand"), BLUE)), Refuse),
            ("a fence not written as we write it", &expects, Some((Some("l/1/+10"), BLUE)), Refuse),
            ("an absent object that may be absent", &creates, None, Accept),
            ("a present object beside `absent`", &creates, Some((Some("l/1/10"), BLUE)), Accept),
            ("an absent object, nothing listed", &nothing, None, Accept),
            ("a present object, nothing listed", &nothing, Some((None, BLUE)), Refuse),
            ("our own write, nothing listed", &nothing, Some((Some("l/1/20"), GREEN)), Again),
        ] {
            let object = ObjectKey::traffic(&ServiceName::new("s").unwrap());
            let write = Write { object, from: from.clone(), to: GREEN, purpose: Purpose::Switch, bundle: None };
            assert_eq!(judge(found, &write, &"l/1/20".parse().unwrap()), expected, "{what}");
        }
    }

    #[test]
    fn a_lower_epoch_is_lower_whatever_its_sequence() {
        let object = ObjectKey::traffic(&ServiceName::new("s").unwrap());
        let from = vec![Some(stamp(Some("l/1/900"), BLUE))];
        let write = Write { object, from, to: GREEN, purpose: Purpose::Restore, bundle: None };
        assert_eq!(judge(Some((Some("l/1/900"), BLUE)), &write, &"l/2/3".parse().unwrap()), Accept);
    }
}
