//! Between DynamoDB's attributes and the domain's types.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::Seq;
use portcullis_domain::scope::ScopeState;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::Head;

use super::table::{Key, OVERDUE_PARTITION_KEY, OVERDUE_SORT_KEY, PARTITION_KEY, SORT_KEY, WAITS};

pub(super) type Item = HashMap<String, AttributeValue>;

/// An item's attribute that is missing or of another kind than we write.
#[derive(Debug, thiserror::Error)]
#[error("the item {item} has no readable {attribute}: it was not written by this engine or its elders")]
pub(super) struct Unreadable {
    item: String,
    attribute: &'static str,
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn bytes(value: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

pub(super) fn key(key: &Key) -> Item {
    HashMap::from([
        (PARTITION_KEY.to_owned(), text(key.partition.as_str())),
        (SORT_KEY.to_owned(), text(key.sort.as_str())),
    ])
}

/// A new item with these attributes.
pub(super) fn item<const N: usize>(at: &Key, attributes: [(&str, AttributeValue); N]) -> Item {
    let mut item = key(at);
    item.extend(attributes.map(|(name, value)| (name.to_owned(), value)));
    item
}

pub(super) fn text_of<'a>(item: &'a Item, attribute: &'static str) -> Result<&'a str, Unreadable> {
    item.get(attribute)
        .and_then(|value| value.as_s().ok())
        .map(String::as_str)
        .ok_or_else(|| unreadable(item, attribute))
}

pub(super) fn number_of(item: &Item, attribute: &'static str) -> Result<u64, Unreadable> {
    let text = item.get(attribute).and_then(|value| value.as_n().ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| unreadable(item, attribute))
}

pub(super) fn bytes_of<'a>(item: &'a Item, attribute: &'static str) -> Result<&'a [u8], Unreadable> {
    item.get(attribute)
        .and_then(|value| value.as_b().ok())
        .map(AsRef::as_ref)
        .ok_or_else(|| unreadable(item, attribute))
}

pub(super) fn digest_of(item: &Item, attribute: &'static str) -> Result<Digest, Unreadable> {
    let bytes = bytes_of(item, attribute)?;
    Ok(Digest::from_bytes(bytes.try_into().map_err(|_| unreadable(item, attribute))?))
}

pub(super) fn key_of(item: &Item) -> Result<Key, Unreadable> {
    Ok(Key { partition: text_of(item, PARTITION_KEY)?.to_owned(), sort: text_of(item, SORT_KEY)?.to_owned() })
}

pub(super) fn unreadable(item: &Item, attribute: &'static str) -> Unreadable {
    let part = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).map_or("?", String::as_str).to_owned();
    Unreadable { item: format!("{} {}", part(PARTITION_KEY), part(SORT_KEY)), attribute }
}

/// A head as it is stored.
pub(super) fn head_item(at: &Key, head: &Head) -> Item {
    let mut item = item(
        at,
        [
            ("version", number(head.version)),
            ("snapshot", bytes(&head.snapshot)),
            ("chain", bytes(head.chain.bytes())),
            ("last_at", number(head.last_at.0)),
            ("min_reader", number(head.min_reader)),
        ],
    );
    if let Some(wake_at) = head.wake_at {
        item.insert(OVERDUE_SORT_KEY.to_owned(), number(wake_at.0));
        item.insert(OVERDUE_PARTITION_KEY.to_owned(), text(WAITS));
    }
    item
}

/// A head as it was stored.
pub(super) fn head_of(item: &Item) -> Result<Head, Unreadable> {
    let wake_at = match item.get(OVERDUE_SORT_KEY) {
        Some(_) => Some(Timestamp(number_of(item, OVERDUE_SORT_KEY)?)),
        None => None,
    };
    let min_reader = number_of(item, "min_reader")?;
    Ok(Head {
        version: Seq(number_of(item, "version")?),
        snapshot: bytes_of(item, "snapshot")?.to_vec(),
        chain: digest_of(item, "chain")?,
        last_at: Timestamp(number_of(item, "last_at")?),
        wake_at,
        min_reader: u32::try_from(min_reader).map_err(|_| unreadable(item, "min_reader"))?,
    })
}

/// The state of a scope; an absent item is one that was never changed.
pub(super) fn scope_state_of(item: Option<&Item>) -> Result<ScopeState, Unreadable> {
    let Some(item) = item else { return Ok(ScopeState::default()) };
    serde_json::from_str(text_of(item, "state")?).map_err(|_| unreadable(item, "state"))
}

#[cfg(test)]
mod tests {
    use portcullis_engine::codec;

    use super::*;

    fn key() -> Key {
        Key::head(&"shop/production".parse().unwrap())
    }

    #[test]
    fn a_head_comes_back_as_it_was_stored() {
        let mut head = Head {
            version: Seq(u64::MAX),
            snapshot: vec![0, 255],
            chain: codec::genesis(),
            last_at: Timestamp(5),
            wake_at: Some(Timestamp(77)),
            min_reader: 3,
        };
        assert_eq!(head_of(&head_item(&key(), &head)).unwrap(), head);
        head.wake_at = None;
        let item = head_item(&key(), &head);
        assert!(!item.contains_key(OVERDUE_PARTITION_KEY), "what waits for nothing is not in the index");
        assert_eq!(head_of(&item).unwrap(), head);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let item = item(&key(), [("version", text("seven"))]);
        let error = head_of(&item).unwrap_err().to_string();
        assert!(error.contains("T#shop/production HEAD") && error.contains("min_reader"), "{error}");
    }
}
