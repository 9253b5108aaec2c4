//! The public key that Secrets in backups are encrypted to, and private keys that stand where they must not.
//!
//! An age recipient is Bech32 of the 32 bytes of an X25519 public key (C2SP, "The age file encryption format", section
//! "The X25519 recipient type"; checksum: BIP 173, "Bech32").

use std::borrow::Cow;

use crate::grammar::Wrong;
use crate::nearest::shown;

/// What every private key of age begins with, in whichever case.
const PRIVATE: &str = "AGE-SECRET-KEY-";
/// The 32 characters of Bech32, by their value.
const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// Characters after `age1`: 52 for 32 bytes, 6 for the checksum.
const DATA: usize = 58;
/// What is shown of a good one.
const EXAMPLE: &str = "write the public key that age-keygen prints: 62 characters, age1...";

/// Whether this is the public key of an X25519 identity of age.
pub(crate) fn recipient(text: &str) -> Result<(), Wrong> {
    if private_at(text).is_some() {
        return Err(Wrong::new(
            "a private key must never stand in a policy",
            "whoever reads this reads every Secret in the backups",
            "make a new key, since this one was written down, and write its public key here: age1...",
        ));
    }
    let wrong = |label: &str| Err(Wrong::new(format!("`{}` is not an age recipient", shown(text)), label, EXAMPLE));
    let Some(data) = text.strip_prefix("age1") else { return wrong("begins with age1") };
    if data.len() != DATA {
        return wrong(if data.contains('1') { "only keys without a plugin" } else { "has 62 characters" });
    }
    let value = |c: u8| CHARSET.iter().position(|known| *known == c).and_then(|at| u8::try_from(at).ok());
    let Some(values) = data.bytes().map(value).collect::<Option<Vec<u8>>>() else {
        return wrong("has a character that no such key has");
    };
    // 52 characters of 5 bits are 4 bits more than 32 bytes: those are zero.
    if checksum(&values) != 1 || values[DATA - 7] & 0b1111 != 0 {
        return wrong("mistyped: its checksum does not fit");
    }
    Ok(())
}

/// The checksum of Bech32 over `age` and these values; 1 for a text as it should be.
fn checksum(values: &[u8]) -> u32 {
    const STEPS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let prefix = b"age";
    let high = prefix.iter().map(|c| c >> 5);
    let low = prefix.iter().map(|c| c & 31);
    high.chain([0]).chain(low).chain(values.iter().copied()).fold(1, |sum, value| {
        let top = sum >> 25;
        let next = ((sum & 0x01ff_ffff) << 5) ^ u32::from(value);
        STEPS.iter().enumerate().filter(|(bit, _)| (top >> bit) & 1 == 1).fold(next, |sum, (_, step)| sum ^ step)
    })
}

/// Where a private key begins.
fn private_at(text: &str) -> Option<usize> {
    text.as_bytes().windows(PRIVATE.len()).position(|window| window.eq_ignore_ascii_case(PRIVATE.as_bytes()))
}

/// The text with every private key in it struck out, character by character: what is said of a policy is read by more
/// people than should have the key, and ends up in logs.
pub(crate) fn without_private_keys(text: &str) -> Cow<'_, str> {
    if private_at(text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = private_at(rest) {
        let from = at + PRIVATE.len();
        out.push_str(&rest[..from]);
        let key = rest[from..].bytes().take_while(|c| c.is_ascii_alphanumeric() || *c == b'-').count();
        out.extend(std::iter::repeat_n('*', key));
        rest = &rest[from + key..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests {
    use super::*;

    /// The recipient of the examples of age's own documentation.
    const GOOD: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    #[test]
    fn a_recipient_is_known_by_its_checksum() {
        assert_eq!(GOOD.len(), 62);
        recipient(GOOD).map_err(|wrong| wrong.label).unwrap();
        // One character of another kind anywhere, and two neighbours that change places.
        for at in 4..GOOD.len() {
            let other = if &GOOD[at..=at] == "q" { "p" } else { "q" };
            let typo = format!("{}{other}{}", &GOOD[..at], &GOOD[at + 1..]);
            assert!(recipient(&typo).is_err(), "{typo}");
        }
        for at in 4..GOOD.len() - 1 {
            let (a, b) = (&GOOD[at..=at], &GOOD[at + 1..at + 2]);
            let swapped = format!("{}{b}{a}{}", &GOOD[..at], &GOOD[at + 2..]);
            assert!(a == b || recipient(&swapped).is_err(), "{swapped}");
        }
        for (text, label) in [
            ("", "begins with age1"),
            ("ssh-ed25519 AAAA", "begins with age1"),
            ("age1", "has 62 characters"),
            (&GOOD[..61], "has 62 characters"),
            (&format!("{GOOD}q"), "has 62 characters"),
            (&GOOD.to_ascii_uppercase(), "begins with age1"),
            (&GOOD.replace('h', "b"), "has a character that no such key has"),
            (&GOOD.replace('h', "H"), "has a character that no such key has"),
            ("age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt", "only keys without a plugin"),
        ] {
            assert_eq!(recipient(text).unwrap_err().label, label, "{text}");
        }
    }

    #[test]
    fn a_private_key_is_struck_out_wherever_it_stands() {
        let key = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
        assert_eq!(recipient(key).unwrap_err().problem, "a private key must never stand in a policy");
        assert_eq!(
            recipient(&key.to_ascii_lowercase()).unwrap_err().problem,
            "a private key must never stand in a policy"
        );
        let line = format!("  backup: {{ secrets: \"{key}\", x: age-secret-key-pq-1abc, keep: 90d }}");
        let told = without_private_keys(&line);
        assert_eq!(told.chars().count(), line.chars().count(), "columns stay as they are");
        assert!(
            told.starts_with("  backup: { secrets: \"AGE-SECRET-KEY-*****") && told.ends_with("*****, keep: 90d }"),
            "{told}"
        );
        assert!(!told.contains("GFPYY") && !told.contains("pq-1abc"), "{told}");
        assert_eq!(without_private_keys("häge-secret: 1"), "häge-secret: 1");
        assert_eq!(without_private_keys("AGE-SECRET-KEY-"), "AGE-SECRET-KEY-");
    }
}
