//! How many rollbacks are too many: `most: 3 in 1h` of an environment, `breaker: 5 in 10m` of the organisation.

use portcullis_domain::time::Millis;

use crate::amounts;
use crate::grammar;
use crate::node::{Kind, Node};

/// So many in so long, in its short form or as a map with this key and `within`.
pub(crate) fn often(node: &Node<'_>, key: &str) -> Option<(u8, Millis)> {
    match &node.kind {
        Kind::Scalar { text, .. } => grammar::often(text).ok(),
        Kind::Map(_) => {
            let text = |key: &str| node.get(key).and_then(|entry| entry.value.text());
            let count = text(key)?.parse().ok().filter(|count| (1..=50).contains(count))?;
            Some((count, amounts::some_duration(text("within")?).ok()?))
        }
        _ => None,
    }
}
