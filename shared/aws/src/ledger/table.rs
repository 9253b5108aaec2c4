//! The one table: its keys, its index, and how each thing in it is named. What makes the table (the template, the tests)
//! and what uses it agree by these constants; `docs/decisions/0007-ledger-on-dynamodb.md` has the access patterns and
//! what each costs.
//!
//! | partition key | sort key | what it is |
//! | --- | --- | --- |
//! | `T#app/env` | `HEAD` | the head of a target |
//! | `T#app/env` | `C#00000000000000000042` | the commit whose last event is 42; of a large one the beginning |
//! | `T#app/env` | `C#00000000000000000042#01` | the next part of that commit |
//! | `T#app/env` | `D#…` | a delivery that is done; expires |
//! | `T#app/env` | `L#…` | a soft lease on an intention; expires |
//! | `T#app/env` | `R#…` | how far a reader came |
//! | `RELEASE#142` | `RELEASE` | which target a release belongs to |
//! | `RELEASE#NEXT` | `RELEASE` | the lowest number that no release has |
//! | `SCOPES` | `all`, `environment/…`, `application/…`, `target/…` | the state of a scope |
//! | `TARGETS` | `app/env` | there is such a target |
//! | `INSTALLATION` | `LEDGER` | the ledger's name |
//!
//! All that belongs to a target is in one partition, so that a policy condition on `dynamodb:LeadingKeys` keeps a role
//! to its own targets.

use portcullis_domain::names::{AppName, DeliveryId, EnvName, ReleaseId, Seq, TargetId};
use portcullis_domain::scope::Scope;

/// The partition key, a string.
pub const PARTITION_KEY: &str = "pk";
/// The sort key, a string.
pub const SORT_KEY: &str = "sk";
/// Seconds since 1970 after which DynamoDB may delete an item: the table's TTL attribute.
pub const EXPIRES: &str = "expires";

/// The index of heads that wait for a moment. Sparse: only those are in it. It projects the keys only.
pub const OVERDUE_INDEX: &str = "overdue";
/// Its partition key, a string, always [`WAITS`].
pub const OVERDUE_PARTITION_KEY: &str = "waits";
/// Its sort key, a number: the moment in milliseconds since 1970.
pub const OVERDUE_SORT_KEY: &str = "wake_at";
/// The only partition of the index. One takes 1,000 changed moments a second (Amazon DynamoDB Developer Guide, "Best
/// practices for designing and using partition keys"): more than any installation deploys.
pub const WAITS: &str = "yes";

/// The condition that there is no such item.
pub(super) const ABSENT: &str = "attribute_not_exists(pk)";

/// The sort key of a head.
pub(super) const HEAD: &str = "HEAD";
/// The sort key of a release, and of the next number.
pub(super) const RELEASE: &str = "RELEASE";
/// The partition of all scopes.
pub(super) const SCOPES: &str = "SCOPES";
/// The partition that lists the targets.
pub(super) const TARGETS: &str = "TARGETS";

/// The key of an item.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) partition: String,
    pub(super) sort: String,
}

impl Key {
    fn new(partition: impl Into<String>, sort: impl Into<String>) -> Self {
        Self { partition: partition.into(), sort: sort.into() }
    }

    pub(super) fn head(target: &TargetId) -> Self {
        Self::new(partition(target), HEAD)
    }

    /// The commit with this last event: its beginning, or a later part.
    pub(super) fn commit(target: &TargetId, last: Seq, part: usize) -> Self {
        let sort = commit_sort(last);
        Self::new(partition(target), if part == 0 { sort } else { format!("{sort}#{part:02}") })
    }

    pub(super) fn delivery(target: &TargetId, delivery: &DeliveryId) -> Self {
        Self::new(partition(target), format!("D#{delivery}"))
    }

    pub(super) fn lease(target: &TargetId, intention: Seq) -> Self {
        Self::new(partition(target), format!("L#{intention}"))
    }

    pub(super) fn cursor(reader: &str, target: &TargetId) -> Self {
        Self::new(partition(target), format!("R#{reader}"))
    }

    pub(super) fn release(release: ReleaseId) -> Self {
        Self::new(format!("RELEASE#{release}"), RELEASE)
    }

    pub(super) fn next_release() -> Self {
        Self::new("RELEASE#NEXT", RELEASE)
    }

    pub(super) fn scope(scope: &Scope) -> Self {
        let sort = match scope {
            Scope::All => "all".to_owned(),
            Scope::Environment(env) => format!("environment/{env}"),
            Scope::Application(app) => format!("application/{app}"),
            Scope::Target(target) => format!("target/{target}"),
        };
        Self::new(SCOPES, sort)
    }

    pub(super) fn listed(target: &TargetId) -> Self {
        Self::new(TARGETS, target.to_string())
    }

    pub(super) fn installation() -> Self {
        Self::new("INSTALLATION", "LEDGER")
    }
}

/// The partition of a target.
pub(super) fn partition(target: &TargetId) -> String {
    format!("T#{target}")
}

/// The target whose partition this is.
pub(super) fn target_of(partition: &str) -> Option<TargetId> {
    partition.strip_prefix("T#")?.parse().ok()
}

/// The scope with this sort key.
pub(super) fn scope_of(sort: &str) -> Option<Scope> {
    match sort.split_once('/') {
        None => (sort == "all").then_some(Scope::All),
        Some(("environment", env)) => EnvName::new(env).ok().map(Scope::Environment),
        Some(("application", app)) => AppName::new(app).ok().map(Scope::Application),
        Some(("target", target)) => target.parse().ok().map(Scope::Target),
        Some(_) => None,
    }
}

/// Sort keys are compared as text: so many digits that every number compares as a number does.
pub(super) fn commit_sort(last: Seq) -> String {
    format!("C#{:020}", last.0)
}

/// Behind every commit of a partition.
pub(super) const COMMITS_END: &str = "C#~";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_and_their_parts_sort_as_their_events_do() {
        let target: TargetId = "shop/production".parse().unwrap();
        let sorts = [(9, 0), (9, 1), (9, 10), (10, 0), (u64::MAX, 0)]
            .map(|(last, part)| Key::commit(&target, Seq(last), part).sort);
        assert!(sorts.is_sorted(), "{sorts:?}");
        assert!(sorts.iter().all(|sort| sort.as_str() < COMMITS_END && sort.as_str() > "C#"));
        assert!(Key::commit(&target, Seq(9), 10).sort < commit_sort(Seq(10)));
    }

    #[test]
    fn what_is_absent_has_no_partition_key() {
        assert_eq!(ABSENT, format!("attribute_not_exists({PARTITION_KEY})"));
    }

    #[test]
    fn a_scope_is_read_back_from_its_key() {
        let target: TargetId = "shop/production".parse().unwrap();
        for scope in Scope::of(&target) {
            assert_eq!(scope_of(&Key::scope(&scope).sort), Some(scope));
        }
        assert_eq!(scope_of("elsewhere"), None);
        assert_eq!(scope_of("team/x"), None);
    }

    #[test]
    fn a_target_is_read_back_from_its_partition_and_nothing_else_is() {
        let target: TargetId = "shop/production".parse().unwrap();
        assert_eq!(target_of(&partition(&target)), Some(target));
        assert_eq!(target_of("RELEASE#1"), None);
    }
}
