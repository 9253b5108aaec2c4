//! The private keys that open a backup's Secrets, and what is said without them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use portcullis_kubernetes::backup::seal::PrivateKeys;
use portcullis_kubernetes::backup::stored::Stored;
use secrecy::SecretString;

use crate::exit;
use crate::show::text::count;

/// The most bytes of a file of keys: a hundred keys have about 8 KiB.
const MOST: u64 = 64 << 10;

/// Reads the file that a person named, as `age-keygen` writes it.
///
/// # Errors
/// It cannot be read, or is no file of private keys. Never says what is in it.
pub(super) fn read(file: Option<&Path>) -> anyhow::Result<Option<PrivateKeys>> {
    let Some(file) = file else { return Ok(None) };
    let wrong = |why: &dyn std::fmt::Display| exit::usage(format!("--identity {}: {why}", file.display()));
    let opened = File::open(file).map_err(|error| wrong(&error))?;
    let mut text = String::new();
    let read = opened.take(MOST + 1).read_to_string(&mut text);
    // From here on it is wiped when it is let go.
    let text = SecretString::from(text);
    let length = read.map_err(|_| wrong(&"it is no text"))?;
    if length as u64 > MOST {
        return Err(wrong(&format!("it has more than {MOST} bytes")));
    }
    PrivateKeys::read(&text).map(Some).map_err(|error| wrong(&error))
}

/// What was not opened: `2 Secrets, for age1...; --identity FILE opens them`. None = everything was.
pub(super) fn not_opened(stored: &Stored) -> Option<String> {
    let files: Vec<String> = stored
        .sealed
        .iter()
        .map(|file| {
            let recipient = file.sealed_to.as_deref().unwrap_or_default();
            format!("{}, for {recipient}", count(file.objects.len() as u64, &file.kind))
        })
        .collect();
    (!files.is_empty()).then(|| format!("{}; --identity FILE opens them", files.join(", ")))
}

/// The objects that were not opened, such as `Secret/db`.
pub(super) fn names(stored: &Stored) -> Vec<String> {
    let of = |file: &portcullis_engine::perform::backup::BackupFile| {
        file.objects.iter().map(|name| format!("{}/{name}", file.kind)).collect::<Vec<_>>()
    };
    stored.sealed.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{map, stored};
    use super::*;
    use crate::exit::{Exit, Stop};

    /// It opens nothing but what tests make.
    const PRIVATE: &str = "AGE-SECRET-KEY-1P5ZD2GVSJ79CX5YJQL9FFG9RTK0MWSPMP3Q0RG8JCLKZ00H0MGZSVMVF7U";

    #[test]
    fn a_file_of_keys_is_read_and_no_refusal_says_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup.key");
        std::fs::write(&file, format!("# created: today\n{PRIVATE}\n")).unwrap();
        let keys = read(Some(&file)).unwrap().unwrap();
        assert_eq!(keys.recipients().len(), 1);
        assert!(read(None).unwrap().is_none());
        let large = format!("{PRIVATE}\n").repeat(1_000);
        for wrong in [format!("{PRIVATE}x\n").into_bytes(), b"\xff\xfe".to_vec(), Vec::new(), large.into_bytes()] {
            std::fs::write(&file, wrong).unwrap();
            let error = read(Some(&file)).unwrap_err();
            let stop = error.downcast_ref::<Stop>().unwrap();
            assert_eq!(stop.code, Exit::Usage);
            assert!(stop.words.contains("backup.key") && !stop.words.contains(&PRIVATE[..30]), "{}", stop.words);
        }
        assert!(read(Some(&folder.path().join("typo"))).is_err());
    }

    #[test]
    fn what_was_not_opened_is_said_by_number_and_key_and_told_by_name() {
        let mut backup = stored(vec![map("a", "1")]);
        assert_eq!((not_opened(&backup), names(&backup)), (None, Vec::new()));
        backup.sealed.push(super::super::tests::sealed(&["db", "mail"]));
        assert_eq!(not_opened(&backup).unwrap(), "2 Secrets, for age1xyz; --identity FILE opens them");
        assert_eq!(names(&backup), ["Secret/db", "Secret/mail"]);
    }
}
