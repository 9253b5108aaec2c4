//! Signatures of webhooks, verified on the raw bytes before anything of them is read.
//!
//! Both senders sign with HMAC-SHA256. Of several secrets any may have signed: while a secret is rotated two are valid.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A Slack request that was signed longer ago, or further ahead, than this is refused: it may be somebody's copy
/// (Slack, "Verifying requests from Slack"). Seconds.
pub const SLACK_TOLERANCE: u64 = 5 * 60;

/// Why a webhook is not believed. It says nothing that would help somebody to forge one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature, or it is not of the documented form.
    #[error("the signature is missing or malformed")]
    Malformed,
    /// No secret gives this signature.
    #[error("the signature is wrong")]
    Wrong,
    /// It was signed too long ago, or in the future.
    #[error("the request was not signed just now")]
    Stale,
}

/// Verifies a GitHub webhook: `header` is `X-Hub-Signature-256`, `sha256=` and 64 hexadecimal digits (GitHub Docs,
/// "Validating webhook deliveries").
///
/// # Errors
/// [`SignatureError::Malformed`] or [`SignatureError::Wrong`]. Without a secret nothing is believed.
pub fn github(body: &[u8], header: Option<&str>, secrets: &[&[u8]]) -> Result<(), SignatureError> {
    let given = header.and_then(|header| header.strip_prefix("sha256=")).and_then(digits);
    verify(&[body], &given.ok_or(SignatureError::Malformed)?, secrets)
}

/// Verifies a request of Slack's: `header` is `X-Slack-Signature`, `timestamp` is `X-Slack-Request-Timestamp`, `now` is
/// in seconds since 1970 (Slack, "Verifying requests from Slack").
///
/// # Errors
/// [`SignatureError`]. Without a secret nothing is believed.
pub fn slack(
    body: &[u8],
    header: Option<&str>,
    timestamp: Option<&str>,
    now: u64,
    secrets: &[&[u8]],
) -> Result<(), SignatureError> {
    let given = header.and_then(|header| header.strip_prefix("v0=")).and_then(digits);
    let given = given.ok_or(SignatureError::Malformed)?;
    let timestamp = timestamp.ok_or(SignatureError::Malformed)?;
    let signed_at: u64 = timestamp.parse().map_err(|_| SignatureError::Malformed)?;
    verify(&[b"v0:", timestamp.as_bytes(), b":", body], &given, secrets)?;
    if now.abs_diff(signed_at) > SLACK_TOLERANCE { Err(SignatureError::Stale) } else { Ok(()) }
}

fn verify(parts: &[&[u8]], given: &[u8; 32], secrets: &[&[u8]]) -> Result<(), SignatureError> {
    let signed = |secret: &&[u8]| {
        // HMAC takes a key of any length; an empty one is everybody's.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
        for part in parts {
            mac.update(part);
        }
        !secret.is_empty() && mac.verify_slice(given).is_ok()
    };
    if secrets.iter().any(signed) { Ok(()) } else { Err(SignatureError::Wrong) }
}

/// 64 hexadecimal digits.
fn digits(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's own example ("Validating webhook deliveries").
    const GITHUB: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    const SECRET: &[u8] = b"It's a Secret to Everybody";
    /// Slack's own example ("Verifying requests from Slack").
    const SLACK: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const SLACK_SECRET: &[u8] = b"8f742231b10e8888abcd99yyyzzz85a5";
    const SLACK_AT: u64 = 1_531_420_618;
    const SLACK_BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect\
        &text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

    #[test]
    fn githubs_example_is_believed_and_nothing_else() {
        assert_eq!(github(b"Hello, World!", Some(GITHUB), &[SECRET]), Ok(()));
        assert_eq!(github(b"Hello, World?", Some(GITHUB), &[SECRET]), Err(SignatureError::Wrong));
        assert_eq!(github(b"Hello, World!", Some(GITHUB), &[b"another"]), Err(SignatureError::Wrong));
        assert_eq!(
            github(b"Hello, World!", Some(GITHUB), &[]),
            Err(SignatureError::Wrong),
            "no secret believes nobody"
        );
    }

    #[test]
    fn while_a_secret_is_rotated_both_are_valid() {
        assert_eq!(github(b"Hello, World!", Some(GITHUB), &[b"the new one", SECRET]), Ok(()));
    }

    #[test]
    fn an_empty_secret_is_no_secret() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"").unwrap();
        mac.update(b"x");
        let hex = mac.finalize().into_bytes().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        assert_eq!(github(b"x", Some(&format!("sha256={hex}")), &[b""]), Err(SignatureError::Wrong));
    }

    #[test]
    fn what_is_no_signature_is_malformed() {
        let of_sha1 = GITHUB.replace("sha256", "sha1");
        for header in [None, Some(""), Some("sha256="), Some(&GITHUB[..70]), Some(of_sha1.as_str())] {
            assert_eq!(github(b"Hello, World!", header, &[SECRET]), Err(SignatureError::Malformed), "{header:?}");
        }
        let not_hexadecimal = GITHUB.replace('7', "g");
        assert_eq!(github(b"", Some(&not_hexadecimal), &[SECRET]), Err(SignatureError::Malformed));
    }

    #[test]
    fn slacks_example_is_believed_for_five_minutes() {
        let at = |now| slack(SLACK_BODY, Some(SLACK), Some("1531420618"), now, &[SLACK_SECRET]);
        assert_eq!(at(SLACK_AT), Ok(()));
        assert_eq!(at(SLACK_AT + SLACK_TOLERANCE), Ok(()));
        assert_eq!(at(SLACK_AT + SLACK_TOLERANCE + 1), Err(SignatureError::Stale));
        assert_eq!(at(SLACK_AT - SLACK_TOLERANCE - 1), Err(SignatureError::Stale), "signed in the future");
    }

    #[test]
    fn the_time_is_part_of_what_slack_signed() {
        let moved = slack(SLACK_BODY, Some(SLACK), Some("1531420619"), SLACK_AT, &[SLACK_SECRET]);
        assert_eq!(moved, Err(SignatureError::Wrong));
        assert_eq!(slack(SLACK_BODY, Some(SLACK), None, SLACK_AT, &[SLACK_SECRET]), Err(SignatureError::Malformed));
    }
}
