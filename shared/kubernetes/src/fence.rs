//! The fence protocol's judgement: may this write be made on what was found? Pure.

use portcullis_domain::action::{Fence, Stamp, Value, Write};

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// What was found is a state the write expects: patch it, conditional on exactly that.
    Accept,
    /// Our own earlier write is there already.
    Again,
    /// Our own earlier write got as far as an object at rest.
    Begun,
    /// Anything else: touch nothing.
    Refuse,
}

/// Reads an annotation.
///
/// # Errors
/// The text, if it is not a fence or not written as we write one.
pub fn parse(annotation: Option<&str>) -> Result<Option<Fence>, String> {
    let Some(text) = annotation else { return Ok(None) };
    match text.parse::<Fence>() {
        Ok(fence) if fence.to_string() == text => Ok(Some(fence)),
        _ => Err(text.to_owned()),
    }
}

/// Whether a fence is an older one of the same ledger.
pub fn is_lower(one: &Fence, than: &Fence) -> bool {
    one.ledger == than.ledger && (one.epoch, one.seq) < (than.epoch, than.seq)
}

/// What an object is created as before it is patched: it does nothing.
pub fn at_rest(value: Value) -> Value {
    match value {
        Value::Workload { digest, .. } => Value::Workload { digest, replicas: 0 },
        Value::Traffic { .. } => value,
    }
}

/// Judges a write under `ours` by the fence and value found; `None` = there is no object. An annotation that is no fence
/// never comes here: nothing is written over it.
pub fn judge(found: Option<&Stamp>, write: &Write, ours: &Fence) -> Judgement {
    let Some(found) = found else {
        let may_be_absent = write.from.is_empty() || write.from.contains(&None);
        return if may_be_absent { Judgement::Accept } else { Judgement::Refuse };
    };
    if let Some(fence) = &found.fence {
        if fence == ours {
            return match found.value {
                value if value == write.to => Judgement::Again,
                value if value == at_rest(write.to) => Judgement::Begun,
                _ => Judgement::Refuse,
            };
        }
        if !is_lower(fence, ours) {
            return Judgement::Refuse;
        }
    }
    if write.from.iter().flatten().any(|from| from == found) { Judgement::Accept } else { Judgement::Refuse }
}

#[cfg(test)]
mod tests {
    use portcullis_domain::action::{ObjectKey, Purpose};
    use portcullis_domain::digest::Digest;
    use portcullis_domain::names::ServiceName;
    use portcullis_domain::policy::Colour;

    use super::Judgement::{Accept, Again, Begun, Refuse};
    use super::*;

    fn workload(n: u8, replicas: u32) -> Value {
        Value::Workload { digest: Digest::of(&[n]), replicas }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what is found may be nothing")]
    fn stamp(fence: Option<&str>, value: Value) -> Option<Stamp> {
        Some(Stamp { fence: fence.map(|text| text.parse().unwrap()), value })
    }

    #[test]
    fn a_write_is_accepted_on_nothing_but_what_it_expects() {
        let expects = vec![stamp(Some("l/1/10"), workload(1, 2)), stamp(Some("l/1/12"), workload(2, 0))];
        let adopts = vec![stamp(None, workload(1, 2))];
        let creates = vec![None, stamp(Some("l/1/10"), workload(1, 2))];
        let too_high = vec![
            stamp(Some("l/1/30"), workload(1, 2)),
            stamp(Some("m/1/10"), workload(1, 2)),
            stamp(Some("l/2/1"), workload(1, 2)),
        ];
        let nothing = vec![];
        for (what, from, found, expected) in [
            ("the last confirmed state", &expects, stamp(Some("l/1/10"), workload(1, 2)), Accept),
            ("what was intended since", &expects, stamp(Some("l/1/12"), workload(2, 0)), Accept),
            ("an expected fence, replicas by hand", &expects, stamp(Some("l/1/10"), workload(1, 3)), Refuse),
            ("an expected fence, another image", &expects, stamp(Some("l/1/10"), workload(3, 2)), Refuse),
            ("an expected value under another fence", &expects, stamp(Some("l/1/11"), workload(1, 2)), Refuse),
            ("a missing annotation", &expects, stamp(None, workload(1, 2)), Refuse),
            ("a missing object", &expects, None, Refuse),
            ("an unfenced object that is expected", &adopts, stamp(None, workload(1, 2)), Accept),
            ("our own fence and value", &expects, stamp(Some("l/1/20"), workload(2, 4)), Again),
            ("our own fence, still at rest", &expects, stamp(Some("l/1/20"), workload(2, 0)), Begun),
            ("our own fence with another value", &expects, stamp(Some("l/1/20"), workload(1, 4)), Refuse),
            ("a higher fence, even if listed", &too_high, stamp(Some("l/1/30"), workload(1, 2)), Refuse),
            ("a higher epoch, even if listed", &too_high, stamp(Some("l/2/1"), workload(1, 2)), Refuse),
            ("another ledger, even if listed", &too_high, stamp(Some("m/1/10"), workload(1, 2)), Refuse),
            ("an absent object that may be absent", &creates, None, Accept),
            ("an absent object, nothing listed", &nothing, None, Accept),
            ("a present object, nothing listed", &nothing, stamp(None, workload(1, 2)), Refuse),
        ] {
            let object = ObjectKey::workload(&ServiceName::new("s").unwrap(), Colour::Green);
            let write =
                Write { object, from: from.clone(), to: workload(2, 4), purpose: Purpose::Deploy, bundle: None };
            assert_eq!(judge(found.as_ref(), &write, &"l/1/20".parse().unwrap()), expected, "{what}");
        }
    }

    #[test]
    fn a_lower_epoch_is_lower_whatever_its_sequence() {
        let (old, new): (Fence, Fence) = ("l/1/900".parse().unwrap(), "l/2/3".parse().unwrap());
        assert!(is_lower(&old, &new) && !is_lower(&new, &old) && !is_lower(&old, &old));
    }

    #[test]
    fn a_fence_not_written_as_we_write_it_is_none_of_ours() {
        assert_eq!(parse(Some("l/1/+10")), Err("l/1/+10".to_owned()));
        assert_eq!(parse(Some("by hand")), Err("by hand".to_owned()));
        assert_eq!(parse(None), Ok(None));
    }
}
