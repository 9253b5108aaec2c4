//! Files that are there whole or not at all, and stay there when the power goes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// What a process left behind that was killed while it wrote is removed after this long.
const LEFT_BEHIND: Duration = Duration::from_hours(1);

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A directory of files, each written beside its place, flushed, and moved there in one step.
#[derive(Debug)]
pub(crate) struct Durable {
    root: PathBuf,
    unfinished: PathBuf,
}

impl Durable {
    /// Creates the directory, and sweeps out what others left unfinished long ago.
    pub(crate) fn at(root: &Path) -> io::Result<Self> {
        let unfinished = root.join(".unfinished");
        fs::create_dir_all(&unfinished)?;
        flush_directory_of(&unfinished)?;
        flush_directory_of(&root.canonicalize()?)?;
        for entry in fs::read_dir(&unfinished)? {
            let entry = entry?;
            let age =
                entry.metadata().and_then(|found| found.modified()).map(|at| SystemTime::now().duration_since(at));
            if matches!(age, Ok(Ok(age)) if age > LEFT_BEHIND) {
                // Another process may have been quicker.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { root: root.to_owned(), unfinished })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes the file, in place of what may be there.
    pub(crate) fn replace(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let written = self.write(parts)?;
        self.directory_of(path)?;
        fs::rename(&written.0, path)?;
        flush_directory_of(path)
    }

    /// Writes the file if none is there, false if one is. Of several at once exactly one is told true.
    pub(crate) fn create(&self, path: &Path, parts: &[&[u8]]) -> io::Result<bool> {
        let written = self.write(parts)?;
        self.directory_of(path)?;
        match fs::hard_link(&written.0, path) {
            Ok(()) => flush_directory_of(path).map(|()| true),
            // What is there may have been put there a moment ago by somebody who has not flushed it yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => flush_directory_of(path).map(|()| false),
            Err(error) => Err(error),
        }
    }

    fn write(&self, parts: &[&[u8]]) -> io::Result<Unfinished> {
        let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = self.unfinished.join(name);
        let mut file = File::create(&path)?;
        let unfinished = Unfinished(path);
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        Ok(unfinished)
    }

    /// Creates the directories down to a file, each flushed into the one above it.
    fn directory_of(&self, path: &Path) -> io::Result<()> {
        let Some(directory) = path.parent() else { return Ok(()) };
        if directory.is_dir() || directory == self.root {
            return Ok(());
        }
        self.directory_of(directory)?;
        match fs::create_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            other => other?,
        }
        flush_directory_of(directory)
    }
}

/// Removed unless it was renamed; after a hard link, the second name is what is removed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn flush_directory_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unfinished_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let durable = Durable::at(directory.path()).unwrap();
        let path = directory.path().join("a/b/c");
        assert!(durable.create(&path, &[b"1"]).unwrap());
        assert!(!durable.create(&path, &[b"2"]).unwrap());
        durable.replace(&path, &[b"3", b"4"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"34");
        assert_eq!(fs::read_dir(directory.path().join(".unfinished")).unwrap().count(), 0);
    }
}
