//! What a process takes of the machine's memory, as Linux tells it (`proc_pid_status(5)`).

use std::path::Path;

use anyhow::{Context as _, Result};

/// In megabytes of 1,000,000 bytes.
pub(crate) struct Memory {
    /// What is in memory now.
    pub(crate) resident: f64,
    /// Of it, what is not backed by a file.
    pub(crate) anonymous: f64,
    /// The most that was in memory since it started.
    pub(crate) peak: f64,
}

impl Memory {
    /// Of a process that runs.
    pub(crate) fn of(id: u32) -> Result<Self> {
        let path = Path::new("/proc").join(id.to_string()).join("status");
        let text = std::fs::read_to_string(&path).context("memory is read from /proc, which only Linux has")?;
        let field = |name: &str| megabytes(&text, name).with_context(|| format!("{} has no {name}", path.display()));
        Ok(Self { resident: field("VmRSS")?, anonymous: field("RssAnon")?, peak: field("VmHWM")? })
    }
}

/// The value of a line such as `VmHWM:      2840 kB`.
fn megabytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1_024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_by_its_whole_name() {
        let text = "VmPeak:\t  9000 kB\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\n";
        assert_eq!(megabytes(text, "VmHWM"), Some(2.048));
        assert_eq!(megabytes(text, "VmRSS"), Some(1.024));
        assert_eq!(megabytes(text, "Vm"), None);
    }
}
