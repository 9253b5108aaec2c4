//! `person ...`: who has a token.

use portcullis_embedded::people::{People, Person as Known};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::args::Person;
use crate::exit;
use crate::out::Out;
use crate::show::text::pad;
use crate::when;

/// Does what was said.
pub(crate) fn run(command: Person, out: Out) -> anyhow::Result<()> {
    match command {
        Person::Add { name, data } => {
            let people = People::open_in(&data)?;
            if people.list()?.iter().any(|known| known.name == name) {
                let words = format!("{name} has a token already; `portcullis person remove {name}` ends it");
                return Err(exit::refused(words));
            }
            let token = people.add(&name)?;
            out.answer(&json!({ "name": name, "token": token.expose_secret() }), || {
                format!(
                    "{}\n\nThis is the token of {name}. It is shown this once; keep it in PORTCULLIS_TOKEN.",
                    token.expose_secret()
                )
            })
        }
        Person::List { data } => {
            let people = People::open_in(&data)?.list()?;
            let value: Vec<_> =
                people.iter().map(|known| json!({ "name": known.name, "since": known.created_at })).collect();
            out.answer(&value, || if people.is_empty() { "Nobody has a token.".to_owned() } else { table(&people) })
        }
        Person::Remove { name, data } => {
            if !People::open_in(&data)?.remove(&name)? {
                return Err(exit::not_found(format!("{name} has no token")));
            }
            out.answer(&json!({ "name": name, "removed": true }), || format!("{name} has no token any more."))
        }
    }
}

fn table(people: &[Known]) -> String {
    let rows =
        people.iter().map(|known| format!("{}  since {}", pad(known.name.as_str(), 24), when::day(known.created_at)));
    rows.collect::<Vec<_>>().join("\n")
}
