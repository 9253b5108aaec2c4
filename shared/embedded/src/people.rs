//! Who may speak as whom: one bearer token per person, shown once, stored as its hash.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_domain::digest::Digest;
use portcullis_domain::names::Subject;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{Clock, PortError, PortResult};
use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::{Connection, ErrorCode, params};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::clock::SystemClock;
use crate::sqlite::{SqliteStore, schema};

const PREFIX: &str = "pcp_";

/// The people of one installation. Works beside a running server: a person who is added or removed counts at once.
pub struct People {
    connection: Mutex<Connection>,
}

/// Somebody who has a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The id that the policy and the ledger know them by.
    pub name: Subject,
    /// When their token was made.
    pub created_at: Timestamp,
}

impl People {
    /// The people of an open store.
    pub fn open(store: &SqliteStore) -> PortResult<Self> {
        Self::open_in(store.directory())
    }

    /// The people of a data directory, which is made if need be. No server has to run, and one may.
    pub fn open_in(directory: &Path) -> PortResult<Self> {
        let doing = || format!("opening the people in {}", directory.display());
        schema::create_directory(directory).map_err(|error| PortError::new(doing(), error))?;
        let connection = schema::open_for_writing(directory).map_err(|error| PortError::new(doing(), error))?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Makes a token of 256 random bits for a person and stores its hash: it can never be shown again. Fails if the
    /// person has one already.
    pub fn add(&self, name: &Subject) -> PortResult<SecretString> {
        let doing = || format!("adding {name}");
        let mut random = [0_u8; 32];
        SysRng.try_fill_bytes(&mut random).map_err(|error| PortError::new(doing(), error))?;
        let token = format!("{PREFIX}{}", Digest::from_bytes(random).hex());
        let created_at = i64::try_from(SystemClock.now().0).unwrap_or(i64::MAX);
        let added = self.connection().execute(
            "INSERT INTO people (name, token, created_at) VALUES (?1, ?2, ?3)",
            params![name.as_str(), Digest::of(token.as_bytes()).bytes(), created_at],
        );
        match added {
            Ok(_) => Ok(SecretString::from(token)),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Err(PortError::new(doing(), "they have a token already; remove them first to make a new one"))
            }
            Err(error) => Err(PortError::new(doing(), error)),
        }
    }

    /// Takes a person's token away; false if they had none.
    pub fn remove(&self, name: &Subject) -> PortResult<bool> {
        let removed = self.connection().execute("DELETE FROM people WHERE name = ?1", [name.as_str()]);
        removed.map(|rows| rows > 0).map_err(|error| PortError::new(format!("removing {name}"), error))
    }

    /// Everybody who has a token, by name.
    pub fn list(&self) -> PortResult<Vec<Person>> {
        let all = self.rows("listing the people")?;
        Ok(all.into_iter().map(|(person, _)| person).collect())
    }

    /// Whose token this is. Takes the same time whether and whom it fits.
    pub fn who(&self, token: &SecretString) -> PortResult<Option<Subject>> {
        let hash = Digest::of(token.expose_secret().as_bytes());
        let mut found = None;
        for (person, stored) in self.rows("looking for a token")? {
            if bool::from(stored.ct_eq(hash.bytes())) {
                found = Some(person.name);
            }
        }
        Ok(found)
    }

    fn rows(&self, doing: &str) -> PortResult<Vec<(Person, [u8; 32])>> {
        let connection = self.connection();
        let read = || -> Result<Vec<_>, Box<dyn std::error::Error + Send + Sync>> {
            let mut query = connection.prepare_cached("SELECT name, created_at, token FROM people ORDER BY name")?;
            let mut rows = query.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                let name = Subject::new(row.get_ref(0)?.as_str()?)?;
                let created_at = Timestamp(u64::try_from(row.get::<_, i64>(1)?)?);
                all.push((Person { name, created_at }, row.get(2)?));
            }
            Ok(all)
        };
        read().map_err(|error| PortError::new(doing, error))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for People {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("People")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str) -> Subject {
        Subject::new(name).unwrap()
    }

    #[test]
    fn a_token_names_its_person_until_they_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).unwrap();
        let server = People::open(&store).unwrap();
        // As `portcullis person add` does it while the server runs.
        let beside = People::open_in(directory.path()).unwrap();
        let ama = beside.add(&subject("ama")).unwrap();
        let kofi = beside.add(&subject("kofi")).unwrap();
        assert_eq!(server.who(&ama).unwrap(), Some(subject("ama")));
        assert_eq!(server.who(&kofi).unwrap(), Some(subject("kofi")));
        let listed: Vec<_> = server.list().unwrap().into_iter().map(|person| person.name).collect();
        assert_eq!(listed, [subject("ama"), subject("kofi")]);
        assert!(beside.remove(&subject("ama")).unwrap());
        assert!(!beside.remove(&subject("ama")).unwrap());
        assert_eq!(server.who(&ama).unwrap(), None);
        assert_eq!(server.who(&kofi).unwrap(), Some(subject("kofi")));
    }

    #[test]
    fn what_is_no_token_names_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let people = People::open_in(directory.path()).unwrap();
        let token = people.add(&subject("ama")).unwrap();
        let whole = token.expose_secret();
        assert!(whole.starts_with("pcp_") && whole.len() == 68);
        for wrong in ["", "pcp_", &whole[..67], &format!("{whole} "), &whole.to_uppercase(), "ama"] {
            assert_eq!(people.who(&SecretString::from(wrong)).unwrap(), None, "{wrong}");
        }
    }

    #[test]
    fn the_token_itself_is_in_no_file_and_in_no_debug_text() {
        let directory = tempfile::tempdir().unwrap();
        let people = People::open_in(directory.path()).unwrap();
        let token = people.add(&subject("ama")).unwrap();
        let digits = &token.expose_secret()[4..];
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(64).any(|part| part == digits.as_bytes()));
        }
        assert!(!format!("{token:?} {people:?}").contains(digits));
    }

    #[test]
    fn a_second_token_for_the_same_person_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let people = People::open_in(directory.path()).unwrap();
        let first = people.add(&subject("ama")).unwrap();
        let error = people.add(&subject("ama")).unwrap_err().to_string();
        assert!(error.contains("remove them first"), "{error}");
        assert_eq!(people.who(&first).unwrap(), Some(subject("ama")));
        people.remove(&subject("ama")).unwrap();
        let second = people.add(&subject("ama")).unwrap();
        assert_eq!(people.who(&first).unwrap(), None);
        assert_eq!(people.who(&second).unwrap(), Some(subject("ama")));
    }
}
