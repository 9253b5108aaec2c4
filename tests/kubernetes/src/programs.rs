//! Where the control plane's programs come from: built once from Go modules, then kept in the user's cache folder.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use crate::CannotRun;

const GO_MOD: &str = include_str!("../control-plane/go.mod");
const GO_SUM: &str = include_str!("../control-plane/go.sum");
const MAIN: &str = include_str!("../control-plane/main.go");

/// The version of Kubernetes that is built, such as `1.36.3`.
pub fn kubernetes_version() -> &'static str {
    let required = GO_MOD.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"));
    required.expect("go.mod requires k8s.io/kubernetes").trim()
}

/// The file that is every program of the control plane, and kubectl. Built first if this version of it is not in the
/// cache: that takes minutes, is said, and is done by one process while others wait for it.
///
/// # Errors
/// When there is no cache folder, no Go, or the build fails.
pub fn control_plane() -> Result<PathBuf, CannotRun> {
    let kept = folder()?.join("control-plane");
    if kept.is_file() {
        return Ok(kept);
    }
    let folder = kept.parent().expect("it is in a folder");
    let cannot = |error: std::io::Error| CannotRun(format!("{} cannot be used: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(cannot)?;
    let lock = File::create(folder.join("lock")).map_err(cannot)?;
    lock.lock().map_err(cannot)?;
    if !kept.is_file() {
        let part = folder.join("control-plane.part");
        build(&part)?;
        fs::rename(&part, &kept).map_err(cannot)?;
    }
    Ok(kept)
}

/// kubectl of the same release, for this cluster. It keeps what it discovers beside the kubeconfig, because its cache
/// is keyed by host and port, and another cluster may have had this port before.
///
/// # Errors
/// As [`control_plane`].
pub fn kubectl(kubeconfig: &Path) -> Result<Command, CannotRun> {
    let mut command = Command::new(control_plane()?);
    command.arg("kubectl").env("KUBECONFIG", kubeconfig);
    if let Some(folder) = kubeconfig.parent() {
        command.env("KUBECACHEDIR", folder.join("kubectl-cache"));
    }
    Ok(command)
}

/// `<cache>/portcullis/control-plane/<version>-<hash of the sources>`.
fn folder() -> Result<PathBuf, CannotRun> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    let cache = cache.ok_or_else(|| CannotRun("neither XDG_CACHE_HOME nor HOME names a cache folder".into()))?;
    let mut hash = Sha256::new();
    for source in [GO_MOD, GO_SUM, MAIN] {
        hash.update(source.len().to_be_bytes());
        hash.update(source);
    }
    let mut key = kubernetes_version().to_owned();
    key.push('-');
    for byte in hash.finalize().iter().take(6) {
        let _ = write!(key, "{byte:02x}");
    }
    Ok(cache.join("portcullis").join("control-plane").join(key))
}

/// Says something to a person also where a test's output is captured.
pub(crate) fn say(what: &str) {
    // Nobody may be listening.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{what}\n").as_bytes());
}

fn build(to: &Path) -> Result<(), CannotRun> {
    let version = kubernetes_version();
    say(&format!(
        "building Kubernetes {version} for the tests: once, some minutes (`go build` in tests/kubernetes/control-plane)"
    ));
    let began = Instant::now();
    let parts: Vec<_> = version.split('.').collect();
    let of = "k8s.io/component-base/version";
    let says = format!(
        "-s -w -X {of}.gitVersion=v{version} -X {of}.gitMajor={} -X {of}.gitMinor={} -X {of}.gitTreeState=clean",
        parts[0], parts[1]
    );
    let status = Command::new("go")
        .args(["build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags", &says, "-o"])
        .arg(to)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("control-plane"))
        // What a person set for Go's builds in general is not meant for this one.
        .envs([("CGO_ENABLED", "0"), ("GOFLAGS", ""), ("GOWORK", "off")])
        .stdin(Stdio::null())
        // Standard output may be a command's answer.
        .stdout(Stdio::null())
        .status()
        .map_err(|error| {
            CannotRun(format!("Kubernetes {version} is built with Go, and `go` does not start: {error}"))
        })?;
    if !status.success() {
        return Err(CannotRun(format!("building Kubernetes {version} failed ({status}); what Go said is above")));
    }
    say(&format!("built Kubernetes {version} in {} s", began.elapsed().as_secs()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_the_release_is_replaced_by_the_published_one_of_the_same_release() {
        let published = format!("v0.{}", kubernetes_version().strip_prefix("1.").unwrap());
        let replaced: Vec<_> = GO_MOD.lines().filter_map(|line| line.trim().split_once(" => ")).collect();
        assert!(replaced.len() > 20, "{replaced:?}");
        for (module, by) in replaced {
            assert_eq!(by, format!("{module} {published}"));
        }
    }

    #[test]
    fn the_cache_is_keyed_by_version_and_sources() {
        let folder = folder().unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let hash = name.strip_prefix(kubernetes_version()).and_then(|rest| rest.strip_prefix('-')).unwrap();
        assert!(hash.len() == 12 && hash.bytes().all(|c| c.is_ascii_hexdigit()), "{name}");
    }
}
