//! All objects of one kind in a namespace, page by page, as they were at one moment.
//!
//! Every page of a list is of the resource version of its first one. Where the cluster has forgotten that version in the
//! middle (410), the kind is begun again: two halves of different moments are no consistent pass.

use portcullis_engine::ports::PortError;
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::bounds;
use super::discover::Kind;
use super::leave::{LeftOut, Why};
use super::wire::{Ask, MOST_PAGE, NoAnswer, Wire, encoded, shown};

/// Objects of one page.
const PAGE: u32 = 500;
/// How often a kind is begun again before it is read in one answer without pages.
const MOST_RESTARTS: u32 = 3;
/// The most pages of one kind.
const MOST_PAGES: u32 = 10_000;

/// What came of listing a kind.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listed {
    /// Its objects, with `apiVersion` and `kind`, as the cluster has them.
    pub objects: Vec<Json>,
    /// The resource version that all of them are of.
    pub version: String,
    /// Objects that could not be read, or why there is none at all.
    pub left_out: Vec<LeftOut>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
struct PageMetadata {
    #[serde(default, rename = "resourceVersion")]
    version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

/// Of an object that is refused, what names it.
#[derive(Deserialize, Default)]
struct Named {
    #[serde(default)]
    metadata: NamedMetadata,
}
#[derive(Deserialize, Default)]
struct NamedMetadata {
    #[serde(default)]
    name: String,
}

/// Lists a kind.
///
/// # Errors
/// When the cluster cannot be reached. A refusal is in the answer.
pub async fn list(wire: &dyn Wire, kind: &Kind, namespace: &str) -> Result<Listed, PortError> {
    let (mut limit, mut restarts) = (PAGE, 0);
    'again: loop {
        let mut listed = Listed::default();
        let mut next = String::new();
        for _ in 0..MOST_PAGES {
            let mut path = kind.path(namespace);
            if limit > 0 {
                path = format!("{path}?limit={limit}");
                if !next.is_empty() {
                    path = format!("{path}&continue={}", encoded(&next));
                }
            }
            let answer = match wire.ask(Ask::get(path).at_most(MOST_PAGE)).await {
                Ok(answer) => answer,
                // Fewer at once, from the beginning: the rest of a page cannot be asked for.
                Err(NoAnswer::TooLarge(_)) if limit > 1 => {
                    limit = (limit / 8).max(1);
                    continue 'again;
                }
                Err(NoAnswer::TooLarge(most)) => {
                    let of = format!("one object, or all at once, have more than {most} bytes");
                    return Ok(nothing(kind, Why::TooMuch { of }));
                }
                Err(NoAnswer::Failed(error)) => return Err(error),
            };
            match answer.status {
                200..=299 => {}
                410 if restarts < MOST_RESTARTS => {
                    restarts += 1;
                    continue 'again;
                }
                // It changes faster than it can be paged: once without pages.
                410 if limit > 0 => {
                    limit = 0;
                    continue 'again;
                }
                403 => return Ok(nothing(kind, Why::NotPermitted { said: answer.words() })),
                // Removed since discovery, or served without being listable.
                404 | 405 => return Ok(nothing(kind, Why::ReadOnly)),
                _ => return Ok(nothing(kind, Why::NotAnswered { said: answer.words() })),
            }
            let page: Page<'_> = match serde_json::from_slice(&answer.body) {
                Ok(page) => page,
                Err(error) => {
                    let said = format!("the answer is no list: {error}");
                    return Ok(nothing(kind, Why::NotAnswered { said: shown(&said) }));
                }
            };
            let Some(items) = page.items else {
                return Ok(nothing(kind, Why::NotAnswered { said: "the answer is no list".into() }));
            };
            for raw in items {
                take(kind, raw, &mut listed);
            }
            listed.version = page.metadata.version;
            next = page.metadata.next;
            if next.is_empty() || limit == 0 {
                return Ok(listed);
            }
        }
        return Ok(nothing(kind, Why::TooMuch { of: format!("it has more than {MOST_PAGES} pages") }));
    }
}

fn take(kind: &Kind, raw: &RawValue, listed: &mut Listed) {
    match bounds::object(raw) {
        Ok(mut object) => {
            // Items of a list do not say what they are.
            if let Some(fields) = object.as_object_mut() {
                fields.insert("apiVersion".into(), kind.api_version().into());
                fields.insert("kind".into(), kind.kind.clone().into());
            }
            listed.objects.push(object);
        }
        Err(error) => {
            // What is ignored is skipped without recursion, so that depth does no harm here.
            let named: Named = serde_json::from_str(raw.get()).unwrap_or_default();
            let name = Some(shown(&named.metadata.name)).filter(|name| !name.is_empty());
            let why = Why::TooMuch { of: error.to_string() };
            listed.left_out.push(LeftOut { kind: kind.title(), name: name.or(Some("?".into())), why });
        }
    }
}

fn nothing(kind: &Kind, why: Why) -> Listed {
    Listed { left_out: vec![LeftOut { kind: kind.title(), name: None, why }], ..Listed::default() }
}
