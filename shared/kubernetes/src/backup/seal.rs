//! Secrets of a backup: encrypted to a public key before they leave this crate, and opened with the private one, which
//! only people have. Who stores or verifies a backup cannot read them.
//!
//! The format is age's (age-encryption.org/v1, X25519), so that `age -d` opens such a file, too. Nothing here says what is
//! inside, in an error neither.

use std::fmt;
use std::io::Read as _;
use std::str::FromStr;

use portcullis_engine::ports::Sealed;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value as Json;

use super::bounds::MOST_FILE;
use super::object::name;
use super::yaml_read::{objects, read};
use super::yaml_write::stream;

/// How a private key begins.
const PRIVATE: &str = "AGE-SECRET-KEY-";
/// The most private keys in one file.
const MOST_KEYS: usize = 100;

/// A public key that Secrets are encrypted to: `age1…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(age::x25519::Recipient);

/// Why a text is no key. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// A private key stands where a public one belongs.
    #[error(
        "this is a private key: whoever reads it can read every backup. Make another pair with age-keygen, and write its public key (age1...) here"
    )]
    Private,
    /// No public key.
    #[error("this is no public key of age: it begins with age1 and has 62 characters, as age-keygen prints it")]
    Public,
    /// A line of a file of keys is no private key; its number.
    #[error(
        "line {0} is no private key of age: they begin with AGE-SECRET-KEY-1, and keys of SSH or plugins are not read"
    )]
    Line(usize),
    /// The file of keys is itself encrypted.
    #[error("the keys are encrypted with a passphrase: open them first (age -d FILE), and give what comes out")]
    Encrypted,
    /// The file has no keys.
    #[error("there is no private key in it: they begin with AGE-SECRET-KEY-1")]
    Nothing,
    /// The file has more keys than anybody has.
    #[error("it has more than {MOST_KEYS} private keys")]
    TooMany,
}

impl FromStr for Recipient {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        if text.trim_start().to_ascii_uppercase().starts_with(PRIVATE) {
            return Err(BadKey::Private);
        }
        text.parse().map(Self).map_err(|_| BadKey::Public)
    }
}

/// `age1…`.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Private keys that open what was encrypted to their public ones. Never shown.
pub struct PrivateKeys(Vec<age::x25519::Identity>);

impl fmt::Debug for PrivateKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKeys({})", self.0.len())
    }
}

impl PrivateKeys {
    /// Reads a file as `age-keygen` writes it: a private key on each line, blank ones and comments (`#`) between.
    ///
    /// # Errors
    /// Which line is no private key, by its number.
    pub fn read(text: &SecretString) -> Result<Self, BadKey> {
        let text = text.expose_secret();
        if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
            return Err(BadKey::Encrypted);
        }
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if keys.len() == MOST_KEYS {
                return Err(BadKey::TooMany);
            }
            keys.push(line.parse().map_err(|_| BadKey::Line(at + 1))?);
        }
        if keys.is_empty() { Err(BadKey::Nothing) } else { Ok(Self(keys)) }
    }

    /// The public keys that belong to them.
    pub fn recipients(&self) -> Vec<Recipient> {
        self.0.iter().map(|key| Recipient(key.to_public())).collect()
    }
}

/// Why what is encrypted was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It was encrypted to another key.
    #[error("none of the private keys opens it: it is encrypted to another one's public key")]
    OtherKey,
    /// It is not what was stored.
    #[error("it is damaged, or was changed")]
    Damaged,
    /// It opens to more than a file of a backup has.
    #[error("it holds more than {MOST_FILE} bytes")]
    TooMuch,
    /// It opens to something else.
    #[error("what is inside are no manifests")]
    NoManifests,
}

/// Encrypts objects of one kind.
///
/// # Errors
/// When the key is one that nothing can be encrypted to.
pub fn seal(kind: &str, found: &[Json], recipient: &Recipient) -> Result<Sealed, String> {
    let plain = SecretString::from(stream(found));
    let bytes = age::encrypt(&recipient.0, plain.expose_secret().as_bytes())
        .map_err(|_| format!("nothing can be encrypted to {recipient}"))?;
    let names = found.iter().map(|object| name(object).to_owned()).collect();
    Ok(Sealed { kind: kind.to_owned(), names, recipient: recipient.to_string(), bytes })
}

/// Opens what [`seal`] encrypted.
///
/// # Errors
/// Why it was not opened; nothing of what is inside.
pub fn open(bytes: &[u8], keys: &PrivateKeys) -> Result<Vec<Json>, Unopened> {
    let refused = |error| match error {
        age::DecryptError::NoMatchingKeys => Unopened::OtherKey,
        _ => Unopened::Damaged,
    };
    let decryptor = age::Decryptor::new_buffered(bytes).map_err(refused)?;
    let opened = decryptor.decrypt(keys.0.iter().map(|key| key as &dyn age::Identity)).map_err(refused)?;
    let mut plain = Vec::with_capacity(bytes.len().min(MOST_FILE));
    opened.take(MOST_FILE as u64 + 1).read_to_end(&mut plain).map_err(|_| Unopened::Damaged)?;
    if plain.len() > MOST_FILE {
        return Err(Unopened::TooMuch);
    }
    let text = SecretString::from(String::from_utf8(plain).map_err(|_| Unopened::NoManifests)?);
    // A reader's own words repeat what it could not read.
    let documents = read(text.expose_secret()).map_err(|_| Unopened::NoManifests)?;
    objects(documents).map_err(|_| Unopened::NoManifests)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A public key.
    pub(crate) fn public() -> String {
        pair().0.to_string()
    }

    fn pair() -> (Recipient, PrivateKeys) {
        let key = age::x25519::Identity::generate();
        (Recipient(key.to_public()), PrivateKeys(vec![key]))
    }

    fn secrets() -> Vec<Json> {
        let secret = |name: &str| {
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "type": "Opaque",
                "data": { "password": "aHVudGVyMg==" } })
        };
        vec![secret("db"), secret("mail")]
    }

    #[test]
    fn what_is_sealed_says_names_and_nothing_else_and_its_private_key_opens_it() {
        let (recipient, keys) = pair();
        let sealed = seal("Secret", &secrets(), &recipient).unwrap();
        assert_eq!(
            (sealed.names.clone(), sealed.recipient.clone()),
            (vec!["db".into(), "mail".into()], recipient.to_string())
        );
        let lies_open = String::from_utf8_lossy(&sealed.bytes);
        for value in ["aHVudGVyMg", "password", "Opaque"] {
            assert!(!lies_open.contains(value), "{value}");
        }
        assert!(sealed.bytes.starts_with(b"age-encryption.org/v1\n-> X25519 "), "as age writes it");
        assert_eq!(open(&sealed.bytes, &keys).unwrap(), secrets());
        assert_ne!(
            seal("Secret", &secrets(), &recipient).unwrap().bytes,
            sealed.bytes,
            "the same twice can not be told"
        );
    }

    #[test]
    fn another_key_opens_nothing_and_of_several_one_is_enough() {
        let ((recipient, keys), (_, others)) = (pair(), pair());
        let sealed = seal("Secret", &secrets(), &recipient).unwrap().bytes;
        assert_eq!(open(&sealed, &others).unwrap_err(), Unopened::OtherKey);
        let both = PrivateKeys(others.0.into_iter().chain(keys.0).collect());
        assert_eq!(open(&sealed, &both).unwrap(), secrets());
    }

    #[test]
    fn whatever_byte_is_changed_or_cut_off_it_does_not_open() {
        let (recipient, keys) = pair();
        let sealed = seal("Secret", &secrets(), &recipient).unwrap().bytes;
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&changed, &keys).is_err(), "byte {at} of {}", sealed.len());
            assert!(open(&sealed[..at], &keys).is_err(), "cut off at {at}");
        }
        let mut longer = sealed;
        longer.push(b'\n');
        assert_eq!(open(&longer, &keys).unwrap_err(), Unopened::Damaged);
        assert_eq!(open(b"apiVersion: v1\n", &keys).unwrap_err(), Unopened::Damaged);
    }

    #[test]
    fn what_opens_to_no_manifests_is_refused_without_a_word_of_it() {
        let (recipient, keys) = pair();
        for plain in ["password: 0777hunter2: [", "hunter2", "\u{1b}"] {
            let sealed = age::encrypt(&recipient.0, plain.as_bytes()).unwrap();
            let error = open(&sealed, &keys).unwrap_err();
            assert_eq!(error, Unopened::NoManifests);
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn keys_are_read_as_age_keygen_writes_them_and_no_error_repeats_one() {
        let key = age::x25519::Identity::generate();
        let (private, public) = (key.to_string(), key.to_public().to_string());
        let file = format!("# created: 2026-11-21\n# public key: {public}\n{}\n\n", private.expose_secret());
        let keys = PrivateKeys::read(&SecretString::from(file)).unwrap();
        assert_eq!(keys.recipients(), [public.parse().unwrap()]);
        assert_eq!(format!("{keys:?}"), "PrivateKeys(1)");
        let read = |text: &str| PrivateKeys::read(&SecretString::from(text)).unwrap_err();
        assert_eq!(read("# nothing\n"), BadKey::Nothing);
        assert_eq!(read(&format!("\n{}x", private.expose_secret())), BadKey::Line(2));
        assert_eq!(read(&public), BadKey::Line(1));
        assert_eq!(read("age-encryption.org/v1\n-> scrypt x 18\n"), BadKey::Encrypted);
        let of = |text: &str| text.parse::<Recipient>().unwrap_err();
        assert_eq!(of(private.expose_secret()), BadKey::Private);
        assert_eq!(of(&private.expose_secret().to_lowercase()), BadKey::Private);
        for wrong in ["", "age1", "ssh-ed25519 AAAA", &public[..61], &public.replace("age1", "agf1")] {
            assert_eq!(of(wrong), BadKey::Public, "{wrong}");
        }
        assert!(!of(private.expose_secret()).to_string().contains(private.expose_secret()));
    }
}
