//! Findings by severity, as ECR and Inspector count them.

use std::collections::BTreeMap;

use portcullis_domain::policy::Severity;

use crate::Malformed;
use crate::json::At;

/// A severity by the name ECR (`UNDEFINED`) or Inspector (`UNTRIAGED`) gives it. A name we do not know counts as not
/// rated, so that no finding disappears.
pub(crate) fn named(name: &str) -> Severity {
    match name {
        "CRITICAL" => Severity::Critical,
        "HIGH" => Severity::High,
        "MEDIUM" => Severity::Medium,
        "LOW" => Severity::Low,
        "INFORMATIONAL" => Severity::Informational,
        _ => Severity::Undefined,
    }
}

/// The counts of an object such as `{"CRITICAL": 1, "TOTAL": 4}`. `TOTAL` is left out, and so are zeros: senders
/// differ in whether they write them.
pub(crate) fn counts(at: &At<'_>) -> Result<BTreeMap<Severity, u32>, Malformed> {
    let mut counts = BTreeMap::new();
    for (name, at) in at.entries()? {
        let count = at.count()?;
        if count > 0 && name != "TOTAL" {
            let sum: &mut u32 = counts.entry(named(name)).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_severity_without_a_name_we_know_is_not_lost() {
        let value =
            json!({"CRITICAL": 1, "LOW": 0, "UNTRIAGED": 2, "UNDEFINED": 3, "DIRE": 4, "TOTAL": 99, "HIGH": null});
        let expected = BTreeMap::from([(Severity::Critical, 1), (Severity::Undefined, 9)]);
        assert_eq!(counts(&At::root(&value, "counts")).unwrap(), expected);
    }

    #[test]
    fn a_count_that_is_no_count_names_its_severity() {
        for (bad, why) in [
            (json!({"HIGH": -1}), "counts.HIGH: must be a whole number from 0 to 4294967295"),
            (json!({"HIGH": 1.5}), "counts.HIGH: must be a whole number from 0 to 4294967295"),
            (json!({"HIGH": "1"}), "counts.HIGH: must be a number, not a string"),
            (json!({"a\nb": "1"}), "counts[\"a\\nb\"]: must be a number, not a string"),
            (json!([1]), "counts: must be an object, not an array"),
        ] {
            assert_eq!(counts(&At::root(&bad, "counts")).unwrap_err().to_string(), why);
        }
    }
}
