//! Who asks for each gate of an effective policy: `explain` says it where there is an organisation.

use std::collections::BTreeMap;

use crate::gates::{Asked, By};

/// Who asks for each gate, by its key in the policy: `approvals.security`, `scan.critical`, `freeze.weekend`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins(BTreeMap<String, By>);

impl Origins {
    /// Of everything asked for.
    pub(crate) fn of(asked: &Asked) -> Self {
        let mut origins = BTreeMap::new();
        if let Some(scan) = &asked.scan {
            origins.insert("scan".to_owned(), scan.key.by);
            origins.extend(scan.severities.iter().map(|(severity, said)| (format!("scan.{severity}"), said.by)));
            origins.extend(scan.max_age.iter().map(|said| ("scan.max_age".to_owned(), said.by)));
            origins.extend(scan.settle.iter().map(|said| ("scan.settle".to_owned(), said.by)));
        }
        origins.extend(asked.approvals.iter().map(|said| (format!("approvals.{}", said.value.group), said.by)));
        origins.extend(asked.typed.iter().map(|said| ("typed_confirmation".to_owned(), said.by)));
        origins.extend(asked.promoted.iter().map(|said| ("promoted_from".to_owned(), said.by)));
        origins.extend(asked.freeze.iter().map(|said| (format!("freeze.{}", said.value.name), said.by)));
        origins.extend(asked.open.iter().map(|said| (format!("open.{}", said.value.name), said.by)));
        origins.extend(asked.rules.iter().map(|said| (format!("rules.{}", said.value.name), said.by)));
        origins.extend(asked.break_glass.iter().map(|said| ("break_glass".to_owned(), said.by)));
        Self(origins)
    }

    /// ` (organisation)`, after a statement about this key.
    pub(crate) fn mark(&self, key: &str) -> &'static str {
        match self.0.get(key) {
            Some(By::Organisation) => " (organisation)",
            Some(By::Application) => " (application)",
            Some(By::Both) => " (organisation and application)",
            None => "",
        }
    }
}
