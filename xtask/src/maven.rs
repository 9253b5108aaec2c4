//! A program written in Java that tests run on: pinned, and fetched with Maven under `target/tools` when missing.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::step::{in_words, run as run_step};
use crate::tools;

/// AWS's own emulator of DynamoDB (under its own licence: used by tests, never shipped).
const DYNAMODB_LOCAL: &str = "2.6.1";

/// The folder with the jars of DynamoDB Local, fetched first if it is not there; none where there is no Java or no Maven,
/// since what is tested on it is tested on moto as well.
///
/// # Errors
/// Maven cannot fetch it.
pub(crate) fn dynamodb_local() -> Result<Option<PathBuf>> {
    if !is_found("java", "-version") {
        return Ok(None);
    }
    let folder = tools::home().join("dynamodb-local");
    let jars = folder.join("lib");
    if jars.join(format!("DynamoDBLocal-{DYNAMODB_LOCAL}.jar")).is_file() {
        return Ok(Some(jars));
    }
    if !is_found("mvn", "--version") {
        return Ok(None);
    }
    let begun = Instant::now();
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let pom = folder.join("pom.xml");
    std::fs::write(&pom, project()).with_context(|| format!("writing {}", pom.display()))?;
    // Copied under another name first, so that half of it is never taken for the whole.
    let fetched = folder.join("fetched");
    run_step(
        Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--file"])
            .arg(&pom)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", fetched.display())),
    )
    .with_context(|| format!("fetching DynamoDB Local {DYNAMODB_LOCAL}"))?;
    std::fs::rename(&fetched, &jars).with_context(|| format!("moving {}", fetched.display()))?;
    eprintln!("DynamoDB Local {DYNAMODB_LOCAL} fetched in {}", in_words(begun.elapsed()));
    Ok(Some(jars))
}

fn is_found(program: &str, version: &str) -> bool {
    let asked =
        Command::new(program).arg(version).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

fn project() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>portcullis</groupId><artifactId>tools</artifactId><version>1</version>\n  <dependencies>\n    \
         <dependency><groupId>com.amazonaws</groupId><artifactId>DynamoDBLocal</artifactId>\
         <version>{DYNAMODB_LOCAL}</version></dependency>\n  </dependencies>\n</project>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_pinned() {
        assert!(project().contains("<version>2.6.1</version>"), "{}", project());
    }
}
