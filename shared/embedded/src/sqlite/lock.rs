//! One server per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use portcullis_engine::ports::{PortError, PortResult};

const NAME: &str = "portcullis.lock";

/// Held as long as this process may write. The kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    /// Takes the directory's lock, or says who has it.
    pub(super) fn take(directory: &Path) -> PortResult<Self> {
        let doing = || format!("opening the data directory {}", directory.display());
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(directory.join(NAME))
            .map_err(|error| PortError::new(doing(), format!("{NAME}: {error}")))?;
        match file.try_lock() {
            Ok(()) => {
                // Only for people: who holds it. The lock is what counts.
                let note = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                if let Err(error) = note {
                    tracing::debug!(%error, "the lock file does not say which process holds it");
                }
                Ok(Self(file))
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(20).read_to_string(&mut holder);
                let holder = match holder.trim().parse::<u32>() {
                    Ok(process) => format!("process {process}"),
                    Err(_) => "another process".to_owned(),
                };
                let hint = "stop it first, or send the command to that server";
                Err(PortError::new(doing(), format!("{holder} has it open for writing; {hint}")))
            }
            Err(TryLockError::Error(error)) => Err(PortError::new(doing(), format!("locking {NAME}: {error}"))),
        }
    }
}
