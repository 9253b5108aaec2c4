//! The demo's folder: wiped only if it is an earlier demo's and nobody uses it.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Context as _;

use crate::exit;

/// The file that says whose folder it is.
const MARK: &str = "PORTCULLIS-DEMO";

/// Makes the folder ready: empty, or as an earlier demo left it.
///
/// # Errors
/// It holds something that is no demo's, or a server runs on it.
pub(crate) fn prepare(folder: &Path, keep: bool) -> anyhow::Result<()> {
    let shown = folder.display();
    let filled = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("looking into {shown}")),
    };
    if filled {
        if !folder.join(MARK).is_file() {
            return Err(exit::refused(format!(
                "{shown} is not empty and not a demo's: it is left alone. Name another folder with --data"
            )));
        }
        in_use(folder)?;
        if keep {
            return Ok(());
        }
        fs::remove_dir_all(folder).with_context(|| format!("emptying {shown}"))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("making {shown}"))?;
    fs::write(folder.join(MARK), "Made by `portcullis demo`, which empties this folder when it starts.\n")
        .with_context(|| format!("writing into {shown}"))
}

/// Fails if a server has the folder's lock.
fn in_use(folder: &Path) -> anyhow::Result<()> {
    let lock = folder.join("portcullis.lock");
    let Ok(file) = File::open(&lock) else { return Ok(()) };
    file.try_lock()
        .map_err(|_| exit::refused(format!("a server or another demo runs on {}; stop it first", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_demos_own_folder_is_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("demo");
        prepare(&folder, false).unwrap();
        fs::write(folder.join("old"), "x").unwrap();
        prepare(&folder, true).unwrap();
        assert!(folder.join("old").exists(), "kept");
        prepare(&folder, false).unwrap();
        assert!(!folder.join("old").exists(), "emptied");

        let home = directory.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("thesis"), "x").unwrap();
        assert!(prepare(&home, false).is_err() && prepare(&home, true).is_err());
        assert!(home.join("thesis").exists());
    }

    #[test]
    fn a_folder_in_use_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("demo");
        prepare(&folder, false).unwrap();
        let lock = File::create(folder.join("portcullis.lock")).unwrap();
        lock.lock().unwrap();
        assert!(prepare(&folder, false).is_err());
        assert!(folder.join(MARK).exists());
    }
}
