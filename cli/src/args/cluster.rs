//! What is said about clusters: which one, what is done on it, and what about its backups.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use portcullis_domain::names::{CommitSha, ServiceName, TargetId};
use portcullis_domain::time::Millis;

use super::Bucket;
use crate::when::duration;

const HEADING: &str = "Cluster";

/// Which cluster of which kubeconfig.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Kube {
    /// The kubeconfig file; without it the one that KUBECONFIG names, else ~/.kube/config.
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context in it. Commands that write never take the file's current one.
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub(crate) context: Option<String>,
}

/// An environment on a cluster, as a policy has it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Environment {
    /// The environment, as APP/ENV.
    pub(crate) target: TargetId,
    /// The policies: files, or directories of them.
    #[arg(long, value_name = "FILE", required = true, value_delimiter = ',', env = "PORTCULLIS_POLICY")]
    pub(crate) policy: Vec<PathBuf>,
    /// Where it is. Without --context, the context is called as the policy's `cluster:`.
    #[command(flatten)]
    pub(crate) kube: Kube,
}

/// Prepare and examine a cluster of Kubernetes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  portcullis cluster doctor shop/production --policy portcullis.yaml\n  \
    portcullis cluster rbac shop/production --policy portcullis.yaml | kubectl apply -f -\n  \
    portcullis cluster adopt shop/production --policy portcullis.yaml --dry-run")]
pub(crate) enum Cluster {
    /// Make plain Deployments and Services services with colours, without losing a request.
    #[command(
        after_help = "A blue copy comes up beside each Deployment and takes over; the Deployment stays, at rest.\n\
        Interrupted, it goes on where it was when it is run again.\n\n\
        Examples:\n  portcullis cluster adopt shop/production --policy portcullis.yaml --dry-run\n  \
        portcullis cluster adopt shop/production --policy portcullis.yaml --service web --yes\n  \
        portcullis cluster adopt shop/production --policy portcullis.yaml --service web --dry-run"
    )]
    Adopt(Change),
    /// The inverse of adopt: one plain Deployment and Service again, without losing a request.
    #[command(after_help = "End its releases first, or put its hands off: what is done here carries no fence.\n\n\
        Example:\n  portcullis cluster release shop/production --policy portcullis.yaml --dry-run")]
    Release(Change),
    /// The rights that the policy needs in its namespace, as YAML; nothing is changed.
    #[command(
        after_help = "Examples:\n  portcullis cluster rbac shop/production --policy portcullis.yaml > rbac.yaml\n  \
        portcullis cluster rbac shop/production --policy portcullis.yaml --service-account ops/portcullis --restore\n  \
        portcullis cluster rbac shop/production --policy portcullis.yaml --adopt --group platform"
    )]
    Rbac(Rbac),
    /// A policy for the API server that lets only released digests run, as YAML; nothing is changed.
    #[command(
        after_help = "Begin with `audit`: whoever changes an image past Portcullis is warned. Adopt first, or as somebody of the\n\
        break-glass group. Say the same --group, --user or --service-account as to `cluster rbac`.\n\n\
        Examples:\n  portcullis cluster admission shop/production --policy portcullis.yaml | kubectl apply -f -\n  \
        portcullis cluster admission shop/production --policy portcullis.yaml --enforce deny --break-glass on-call"
    )]
    Admission(Admission),
    /// What stands in the way, each finding with its fix: access, rights, who else writes, traffic, capacity.
    #[command(
        after_help = "Exit code 0 if all is well, 5 if there is something to look at, 6 if something is in the way.\n\n\
        Example:\n  portcullis cluster doctor shop/production --policy portcullis.yaml"
    )]
    Doctor(Doctor),
}

/// How services change their form.
#[derive(Debug, Clone, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) on: Environment,
    /// Only this service; may be said several times.
    #[arg(long = "service", value_name = "NAME")]
    pub(crate) services: Vec<ServiceName>,
    /// Show every object before and after, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// How long each step may take until its pods are ready, or gone.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) within: Millis,
    /// Change the Service's selector also behind a load balancer that loses requests then.
    #[arg(long)]
    pub(crate) selector_everywhere: bool,
}

/// What rights are asked about.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Wants {
    /// With Secrets: into backups, and for the checksum of configuration.
    #[arg(long)]
    pub(crate) secrets: bool,
    /// With the rights to bring backups back.
    #[arg(long)]
    pub(crate) restore: bool,
    /// With reading the nodes of the whole cluster, to say how many more pods fit.
    #[arg(long)]
    pub(crate) capacity: bool,
}

/// The rights, and who gets them.
#[derive(Debug, Clone, Args)]
pub(crate) struct Rbac {
    #[command(flatten)]
    pub(crate) on: Environment,
    #[command(flatten)]
    pub(crate) wants: Wants,
    /// Ask the cluster for its kinds, so that backups hold custom ones, too.
    #[arg(long)]
    pub(crate) discover: bool,
    /// Instead, the rights of people who run `cluster adopt` and `cluster release`; without a name they are the group
    /// portcullis-adopters.
    #[arg(long, conflicts_with_all = ["secrets", "restore", "capacity", "discover"])]
    pub(crate) adopt: bool,
    #[command(flatten)]
    pub(crate) whose: Whose,
}

/// Which images the API server lets in, and who may do otherwise.
#[derive(Debug, Clone, Args)]
pub(crate) struct Admission {
    #[command(flatten)]
    pub(crate) on: Environment,
    /// What is done with a change that Portcullis did not make.
    #[arg(long, value_enum, default_value_t = Enforce::Audit)]
    pub(crate) enforce: Enforce,
    /// A group of people who may do it all the same, such as those on call; the audit log says when they did.
    #[arg(long, value_name = "GROUP")]
    pub(crate) break_glass: Option<String>,
    /// Who Portcullis is on the cluster.
    #[command(flatten)]
    pub(crate) whose: Whose,
}

/// What is done with a change that is not permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Enforce {
    /// It is made, with a warning, and is in the audit log.
    Audit,
    /// It is refused.
    Deny,
}

/// Who gets rights.
#[derive(Debug, Clone, Default, Args)]
#[group(required = false, multiple = false)]
pub(crate) struct Whose {
    /// A group, such as an EKS access entry names; without any of these: portcullis.
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// A user.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// A service account.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = account)]
    pub(crate) service_account: Option<(String, String)>,
}

fn account(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("it is not of the form NAMESPACE/NAME".to_owned()),
    }
}

/// What is examined.
#[derive(Debug, Clone, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) on: Environment,
    #[command(flatten)]
    pub(crate) wants: Wants,
}

/// Where backups are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Store {
    /// A server's data directory.
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_DATA", help_heading = "Where")]
    pub(crate) data: Option<PathBuf>,
    /// A place in S3, as s3://BUCKET/PREFIX; it counts where both are said, as it does for `serve`.
    #[arg(long, value_name = "S3", env = "PORTCULLIS_BLOBS", help_heading = "Where")]
    pub(crate) blobs: Option<Bucket>,
}

/// Where manifests are kept.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Keeping {
    /// A running server's address. The person is the one whose token is in PORTCULLIS_TOKEN.
    #[arg(long, value_name = "URL", env = "PORTCULLIS_SERVER", help_heading = "Where")]
    pub(crate) server: Option<String>,
    /// Or where it keeps them.
    #[command(flatten)]
    pub(crate) store: Store,
}

/// Manifests that come with a commit: what its release makes pods from.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example, in a pipeline, before the images are pushed:\n  \
    portcullis manifests give shop/production --commit \"$GITHUB_SHA\" deploy/production --blobs s3://BUCKET/")]
pub(crate) enum Manifests {
    /// Give a directory of them with a commit: SERVICE.yaml each, with a Deployment and, unless it is a worker, its
    /// Service. Doing it again changes nothing; others are refused: a commit does not change.
    Give {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// The commit, with all of its characters.
        #[arg(long)]
        commit: CommitSha,
        /// The directory.
        directory: PathBuf,
        #[command(flatten)]
        keeping: Keeping,
    },
    /// What was given with a commit.
    List {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// The commit, or its beginning.
        #[arg(long)]
        commit: CommitSha,
        #[command(flatten)]
        keeping: Keeping,
    },
}

/// Look at backups, and bring them back.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "A backup is named by its key as `list` shows it, by as much of its end as is unique, or by `latest`.\n\n\
    Examples:\n  portcullis backup list shop/production --data /var/lib/portcullis\n  \
    portcullis backup show shop/production latest --blobs s3://BACKUPS/\n  \
    portcullis backup restore shop/production latest --context prod --dry-run"
)]
pub(crate) enum Backup {
    /// The backups, newest last; without an environment, of all of them.
    List {
        /// Only of this environment, as APP/ENV.
        target: Option<TargetId>,
        #[command(flatten)]
        store: Store,
    },
    /// One backup: of when it is, what ran, what is in it, what is not and why. It is verified by reading it.
    Show {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// The backup.
        backup: String,
        /// Every object, and everything that was left out.
        #[arg(long)]
        all: bool,
        /// Open the Secrets with the private key in this file, as age-keygen writes it.
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        #[command(flatten)]
        store: Store,
    },
    /// What changed from one backup to another.
    #[command(after_help = "Example:\n  portcullis backup diff shop/production 20261120T025842Z latest --data DIR")]
    Diff {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// The earlier one.
        from: String,
        /// The later one.
        #[arg(default_value = "latest")]
        to: String,
        /// Every difference of every object.
        #[arg(long)]
        all: bool,
        /// Compare Secrets, too, opened with the private key in this file, as age-keygen writes it.
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        #[command(flatten)]
        store: Store,
    },
    /// Read backups as a restore would: every file, every checksum, every object. Exit code 1 if one is not whole.
    Verify {
        /// Only of this environment, as APP/ENV.
        target: Option<TargetId>,
        /// Open the Secrets, too, with the private key in this file, as age-keygen writes it.
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        #[command(flatten)]
        store: Store,
    },
    /// Bring a backup's objects back: first what would change is shown, then the namespace is typed.
    #[command(
        after_help = "What is not there is created; what is there changes to what the backup has. Nothing is deleted, and what\n\
        controllers make is left to them. What changed since it was shown is left, and said: run it again.\n\n\
        Examples:\n  portcullis backup restore shop/production latest --data DIR --context prod --dry-run\n  \
        portcullis backup restore shop/production latest --data DIR --context prod --only ConfigMap/web\n  \
        portcullis backup restore shop/production latest --data DIR --context prod --namespace shop-copy --confirm shop-copy"
    )]
    Restore(Restore),
}

/// What is brought back, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Restore {
    /// The environment, as APP/ENV.
    pub(crate) target: TargetId,
    /// The backup.
    pub(crate) backup: String,
    /// Into this namespace; without it, the one that the backup is of.
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub(crate) namespace: Option<String>,
    /// Only this object; may be said several times.
    #[arg(long = "only", value_name = "KIND/NAME")]
    pub(crate) only: Vec<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The namespace, typed again: what is asked for at a terminal.
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "dry_run")]
    pub(crate) confirm: Option<String>,
    /// Every difference of every object.
    #[arg(long)]
    pub(crate) all: bool,
    /// Bring Secrets back, too, opened with the private key in this file, as age-keygen writes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) kube: Kube,
    #[command(flatten)]
    pub(crate) store: Store,
}

/// A rollback with a kubeconfig only.
#[derive(Debug, Clone, Args)]
pub(crate) struct DirectArgs {
    /// Without server, ledger and policy: from what the objects on the cluster say of themselves. Needs --context.
    #[arg(long, requires = "context", conflicts_with = "to", help_heading = "Without a server")]
    pub(crate) direct: bool,
    /// With --direct: the namespace; without it, it is looked for in all of them.
    #[arg(long, value_name = "NAME", requires = "direct", help_heading = "Without a server")]
    pub(crate) namespace: Option<String>,
    /// With --direct: show what would be done, and change nothing.
    #[arg(long, requires = "direct", help_heading = "Without a server")]
    pub(crate) dry_run: bool,
    /// With --direct: how long pods may take to become ready.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration, help_heading = "Without a server")]
    pub(crate) within: Millis,
    /// With --direct: where.
    #[command(flatten)]
    pub(crate) kube: Kube,
}

/// A first policy from what runs on a cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadCluster {
    /// Read a namespace instead of asking: Deployments, Services, Ingresses, images. The policy only observes.
    #[arg(long, help_heading = "From a cluster")]
    pub(crate) from_cluster: bool,
    /// With --from-cluster: the namespace; without it, the context's.
    #[arg(long, value_name = "NAME", requires = "from_cluster", help_heading = "From a cluster")]
    pub(crate) namespace: Option<String>,
    /// With --from-cluster: what the application is called; without it, as the namespace.
    #[arg(long, value_name = "NAME", requires = "from_cluster", help_heading = "From a cluster")]
    pub(crate) app: Option<portcullis_domain::names::AppName>,
    /// With --from-cluster: what the environment is called.
    #[arg(long, value_name = "NAME", default_value = "production", help_heading = "From a cluster")]
    pub(crate) env: portcullis_domain::names::EnvName,
    /// With --from-cluster: where. Nothing is changed there, so the current context will do.
    #[command(flatten)]
    pub(crate) kube: Kube,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn parsed(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn a_direct_rollback_names_its_cluster_and_no_release() {
        let direct = "portcullis rollback shop/production --reason x --direct";
        assert!(parsed(&format!("{direct} --context prod")).is_ok());
        assert!(parsed(direct).is_err(), "which cluster is never guessed");
        assert!(parsed(&format!("{direct} --context prod --to 141")).is_err(), "numbers are the ledger's");
        assert!(parsed("portcullis rollback shop/production --reason x --dry-run").is_err());
    }

    #[test]
    fn a_restore_is_confirmed_by_a_name_and_not_by_a_yes() {
        let line = "portcullis backup restore shop/production latest --data d --context prod";
        let Ok(Command::Backup(Backup::Restore(restore))) = parsed(&format!("{line} --confirm shop")) else { panic!() };
        assert_eq!(restore.confirm.as_deref(), Some("shop"));
        assert!(parsed(&format!("{line} --yes")).is_err());
    }

    #[test]
    fn rights_are_given_to_one() {
        let line = "portcullis cluster rbac shop/production --policy p.yaml";
        assert!(parsed(line).is_ok());
        assert!(parsed(&format!("{line} --service-account ops/portcullis")).is_ok());
        assert!(parsed(&format!("{line} --service-account portcullis")).is_err());
        assert!(parsed(&format!("{line} --group a --user b")).is_err());
        assert!(parsed(&format!("{line} --adopt --group a")).is_ok());
        assert!(parsed(&format!("{line} --adopt --restore")).is_err(), "people need no rights of Portcullis");
    }

    #[test]
    fn nothing_is_refused_before_it_was_said() {
        let line = "portcullis cluster admission shop/production --policy p.yaml";
        let of = |line: &str| match parsed(line) {
            Ok(Command::Cluster(Cluster::Admission(asked))) => (asked.enforce, asked.break_glass),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(line), (Enforce::Audit, None));
        let deny = of(&format!("{line} --enforce deny --break-glass on-call --user portcullis"));
        assert_eq!(deny, (Enforce::Deny, Some("on-call".to_owned())));
    }
}
