//! Reaching a cluster by a kubeconfig: the file, the context, the client.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;
use portcullis_domain::policy::Policy;
use portcullis_kubernetes::client::{Client, ClientOptions};

use crate::args::Kube;
use crate::exit;
use crate::show::text::safe;

/// A context of a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    /// The file.
    pub(crate) file: PathBuf,
    /// Its name.
    pub(crate) name: String,
    /// The namespace that it names.
    pub(crate) namespace: Option<String>,
}

/// Which context a command takes where none is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise<'a> {
    /// The file's current one: only to read.
    Current,
    /// The one that is called as the policy's cluster.
    Named(&'a str),
    /// None: it must be said.
    Nothing,
}

impl Context {
    /// As the flags say.
    ///
    /// # Errors
    /// There is no such file or context, or which one is meant is not known.
    pub(crate) fn of(kube: &Kube, otherwise: Otherwise<'_>) -> anyhow::Result<Self> {
        let file = file(kube.kubeconfig.as_deref())?;
        let known = Kubeconfig::read_from(&file)
            .map_err(|error| exit::usage(format!("reading the kubeconfig {}: {error}", file.display())))?;
        let name = match (&kube.context, otherwise) {
            (Some(name), _) => name.clone(),
            (None, Otherwise::Named(cluster)) => cluster.to_owned(),
            (None, Otherwise::Current) => {
                known.current_context.clone().filter(|name| !name.is_empty()).ok_or_else(|| {
                    exit::usage(format!("{} has no current context: say --context NAME", file.display()))
                })?
            }
            (None, Otherwise::Nothing) => return Err(exit::usage("on which cluster? Say --context NAME")),
        };
        let Some(found) = known.contexts.iter().find(|context| context.name == name) else {
            let all: Vec<&str> = known.contexts.iter().map(|context| context.name.as_str()).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            let said = if kube.context.is_some() { "" } else { " (the policy's cluster); say --context NAME" };
            return Err(exit::not_found(format!("{} has no context {name}{said}. It has: {all}", file.display())));
        };
        let namespace = found.context.as_ref().and_then(|context| context.namespace.clone());
        Ok(Self { file, name, namespace })
    }

    /// The context of a policy's environment.
    ///
    /// # Errors
    /// As [`Context::of`].
    pub(crate) fn of_policy(kube: &Kube, policy: &Policy) -> anyhow::Result<Self> {
        Self::of(kube, Otherwise::Named(&policy.place.cluster))
    }

    /// A client. The cluster is not asked yet.
    ///
    /// # Errors
    /// The context cannot be used.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::from_kubeconfig(&self.file, Some(&self.name), ClientOptions::default()).await?)
    }

    /// Its name, safe to show.
    pub(crate) fn shown(&self) -> String {
        safe(&self.name)
    }
}

/// The kubeconfig file.
///
/// # Errors
/// None is said and there is no home; `KUBECONFIG` names several.
pub(crate) fn file(said: Option<&Path>) -> anyhow::Result<PathBuf> {
    // Set and empty means not set, as for kubectl.
    match (said, std::env::var_os("KUBECONFIG").filter(|files| !files.is_empty())) {
        (Some(said), _) => Ok(said.to_owned()),
        (None, Some(files)) => one(&files),
        (None, None) => std::env::home_dir()
            .map(|home| home.join(".kube/config"))
            .ok_or_else(|| exit::usage("which kubeconfig? Say --kubeconfig FILE")),
    }
}

/// One file: `KUBECONFIG` may list several, of which the first one that is there is not always what is meant.
fn one(said: &OsStr) -> anyhow::Result<PathBuf> {
    let parts: Vec<PathBuf> = std::env::split_paths(said).filter(|path| !path.as_os_str().is_empty()).collect();
    let there: Vec<&PathBuf> = parts.iter().filter(|path| path.exists()).collect();
    match (parts.as_slice(), there.as_slice()) {
        ([one], _) => Ok(one.clone()),
        (_, [one]) => Ok((*one).clone()),
        _ => Err(exit::usage(format!(
            "KUBECONFIG lists several files ({}): name one with --kubeconfig FILE",
            Path::new(said).display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Exit, Stop};

    const FILE: &str = r"
apiVersion: v1
kind: Config
current-context: dev
clusters: [{ name: c, cluster: { server: 'https://127.0.0.1:1' } }]
users: [{ name: u, user: { token: x } }]
contexts:
  - { name: dev, context: { cluster: c, user: u } }
  - { name: prod, context: { cluster: c, user: u, namespace: shop } }
";

    fn kube(folder: &Path, context: Option<&str>) -> Kube {
        let file = folder.join("config");
        std::fs::write(&file, FILE).unwrap();
        Kube { kubeconfig: Some(file), context: context.map(str::to_owned) }
    }

    #[test]
    fn the_context_is_the_one_that_is_said_else_the_policys_and_the_current_one_only_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let of = |context, otherwise| Context::of(&kube(folder.path(), context), otherwise);
        let prod = of(Some("prod"), Otherwise::Nothing).unwrap();
        assert_eq!((prod.name.as_str(), prod.namespace.as_deref()), ("prod", Some("shop")));
        assert_eq!(of(None, Otherwise::Named("prod")).unwrap(), prod);
        assert_eq!(of(None, Otherwise::Current).unwrap().name, "dev");
        let error = of(None, Otherwise::Nothing).unwrap_err();
        assert_eq!(error.downcast_ref::<Stop>().unwrap().code, Exit::Usage);
    }

    #[test]
    fn a_context_that_is_not_there_is_told_with_those_that_are() {
        let folder = tempfile::tempdir().unwrap();
        let error = Context::of(&kube(folder.path(), None), Otherwise::Named("shop-production")).unwrap_err();
        let stop = error.downcast_ref::<Stop>().unwrap();
        assert_eq!(stop.code, Exit::NotFound);
        assert!(stop.words.contains("--context NAME") && stop.words.ends_with("It has: dev, prod"), "{}", stop.words);
    }

    #[test]
    fn of_several_files_one_has_to_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let both = std::env::join_paths([&a, &b]).unwrap();
        std::fs::write(&a, "").unwrap();
        assert_eq!(one(&both).unwrap(), a, "only one of them is there");
        std::fs::write(&b, "").unwrap();
        assert!(one(&both).unwrap_err().to_string().contains("--kubeconfig"));
        assert_eq!(one(a.as_os_str()).unwrap(), a);
    }
}
