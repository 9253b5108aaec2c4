//! The command line: what can be said, with its help. What it does is in [`crate::commands`].
#![expect(clippy::doc_markdown, reason = "these comments are the help that a terminal shows")]

mod adapters;
mod cluster;
mod families;
mod simulate;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use portcullis_domain::names::{AlarmName, AppName, EnvName, TargetId};

pub(crate) use self::adapters::{AdapterFlags, Adapters, Bucket};
pub(crate) use self::cluster::{
    Admission, Backup, Change, Cluster, DirectArgs, Doctor, Enforce, Environment, Keeping, Kube, Manifests, Rbac,
    ReadCluster, Restore, Store, Wants, Whose,
};
pub(crate) use self::families::{Person, Policy, Quarantine, Release};
pub(crate) use self::simulate::{Found, Promoted, Simulate};
use crate::when::Until;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  portcullis demo                                        see the whole of it on this machine, in half a minute
  portcullis init                                        write a first policy
  portcullis policy check portcullis.yaml
  portcullis serve --policy portcullis.yaml --data DIR   with PORTCULLIS_EVENTS_TOKEN set
  portcullis status
  portcullis release show 142
  portcullis rollback shop/production --reason 'checkout fails'

Where commands look: --server URL (the person is PORTCULLIS_TOKEN's), or --data DIR on the server's own machine.";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", crate::exit::TABLE)
}

/// Portcullis: nothing reaches an environment unless its gates hold for exactly these images; what hurts is rolled back.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, styles = STYLES, after_help = after_help(), max_term_width = 100)]
#[command(propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How to answer.
    #[command(flatten)]
    pub(crate) answer: Answer,
}

/// How to answer.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Answer {
    /// For people, or for programs (one JSON value on stdout).
    #[arg(long, global = true, value_enum, default_value_t = Output::Table, env = "PORTCULLIS_OUTPUT")]
    pub(crate) output: Output,
    /// Only ASCII characters (also without a UTF-8 locale).
    #[arg(long, global = true)]
    pub(crate) ascii: bool,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Text for people.
    Table,
    /// JSON for programs.
    Json,
}

/// Where the ledger is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// A running server's address. The person is the one whose token is in PORTCULLIS_TOKEN.
    #[arg(long, value_name = "URL", env = "PORTCULLIS_SERVER", help_heading = "Where")]
    pub(crate) server: Option<String>,
    /// A server's data directory, on its own machine. Reading works beside a running server; writing when none runs.
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_DATA", help_heading = "Where")]
    pub(crate) data: Option<PathBuf>,
    /// With --data, to write: the policies in force, as files or directories of them.
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_POLICY", value_delimiter = ',', help_heading = "Where")]
    pub(crate) policy: Vec<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the main job on this machine: a good release, and a bad one that is rolled back by itself.
    Demo(Demo),
    /// Run Portcullis: take events, judge gates, deploy, watch, roll back.
    Serve(Serve),
    /// What runs where, and what waits for whom.
    #[command(after_help = "Examples:\n  portcullis status\n  portcullis status shop/production --output json")]
    Status {
        /// Only this environment, as APP/ENV.
        target: Option<TargetId>,
        #[command(flatten)]
        place: Place,
    },
    /// Look at releases, and decide about them.
    #[command(subcommand)]
    Release(Release),
    /// Bring back what served before. One person, no approval; repeating it changes nothing.
    #[command(after_help = "Examples:\n  portcullis rollback shop/production --reason 'checkout fails'\n  \
        portcullis rollback shop/production --to 141 --reason 'checkout fails' --yes\n  \
        portcullis rollback shop/production --direct --context prod --reason 'portcullis is down, too'")]
    Rollback {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// The release to be back at; without it, what served before the last change.
        #[arg(long, value_name = "RELEASE")]
        to: Option<u64>,
        /// Why, for the ledger and for those who are told.
        #[arg(long)]
        reason: String,
        /// Do not ask for confirmation.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        direct: DirectArgs,
        #[command(flatten)]
        place: Place,
    },
    /// Take an alarm that already rings as it is, for one waiting release.
    #[command(after_help = "Example:\n  portcullis accept shop/production --alarm shop-disk-full")]
    Accept {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// The alarm's name.
        #[arg(long)]
        alarm: AlarmName,
        /// The release; without it, the only one that waits.
        #[arg(long)]
        release: Option<u64>,
        #[command(flatten)]
        place: Place,
    },
    /// Stop releases; rollbacks go on.
    #[command(after_help = "Examples:\n  portcullis freeze shop/production --reason 'black friday' --until 3d\n  \
        portcullis freeze --env production --reason incident\n  portcullis freeze --all --reason 'change freeze'")]
    Freeze {
        #[command(flatten)]
        scope: ScopeArgs,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Until when: a duration (2h, 3d) or a moment (2026-12-01T08:00Z). Without it: until `unfreeze`.
        #[arg(long, value_name = "WHEN")]
        until: Option<Until>,
        #[command(flatten)]
        place: Place,
    },
    /// Lift a freeze.
    Unfreeze {
        #[command(flatten)]
        scope: ScopeArgs,
        #[command(flatten)]
        place: Place,
    },
    /// Stop every write to one environment, rollbacks too, for a time. For when a person works there by hand.
    #[command(
        after_help = "Examples:\n  portcullis hands-off shop/production --until 1h --reason 'restoring the database'\n  \
        portcullis hands-off shop/production --end --reason done"
    )]
    HandsOff {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// Until when: a duration (1h) or a moment. It always ends.
        #[arg(long, value_name = "WHEN", required_unless_present = "end", conflicts_with = "end")]
        until: Option<Until>,
        /// Writes go on from now.
        #[arg(long)]
        end: bool,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
    /// Digests that were rolled back.
    #[command(subcommand)]
    Quarantine(Quarantine),
    /// End a release that needs help by taking what is on the cluster as it is.
    Resolve {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
    /// Let releases begin again after too many rollbacks stopped the line of one environment.
    #[command(after_help = "Example:\n  portcullis resume-line shop/production --reason 'it was the database'\n\n\
        A stop of everything, also the one set when many environments roll back at once, ends with\n\
        portcullis unfreeze --all.")]
    ResumeLine {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
    /// After the ledger was restored from a backup: its fences count as newer than those already on the cluster.
    #[command(
        after_help = "Example:\n  portcullis raise-epoch shop/production --reason 'restored from the 02:00 backup'"
    )]
    RaiseEpoch {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
    /// Prepare and examine a cluster of Kubernetes: adopt, release, rbac, doctor.
    #[command(subcommand)]
    Cluster(Cluster),
    /// Look at backups, verify them, and bring them back.
    #[command(subcommand)]
    Backup(Backup),
    /// Manifests that come with a commit: what its release makes pods from.
    #[command(subcommand)]
    Manifests(Manifests),
    /// People and their tokens (on the server's machine).
    #[command(subcommand)]
    Person(Person),
    /// Check, explain and describe policies.
    #[command(subcommand)]
    Policy(Policy),
    /// Write a first policy by answering a few questions, or from what runs in a namespace.
    #[command(after_help = "Examples:\n  portcullis init --file portcullis.yaml\n  \
        portcullis init --from-cluster --context prod --namespace shop")]
    Init {
        /// The file to write; an existing one is never overwritten.
        #[arg(long, default_value = "portcullis.yaml")]
        file: PathBuf,
        #[command(flatten)]
        from: ReadCluster,
    },
    /// What would these events do under this policy? Decisions only; nothing outside is touched.
    #[command(after_help = "Example:\n  portcullis replay events/ecr/*.json --policy portcullis.yaml")]
    Replay {
        /// Event files (JSON), in the order they come.
        #[arg(required = true)]
        events: Vec<PathBuf>,
        /// The policies: files, or directories of them.
        #[arg(long, required = true, value_delimiter = ',', env = "PORTCULLIS_POLICY")]
        policy: Vec<PathBuf>,
    },
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  portcullis completions bash > /etc/bash_completion.d/portcullis")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The demo's flags.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  portcullis demo\n  portcullis demo --yes --output json | tail -n 1\n  \
    portcullis demo --cluster kubeconfig --context kind-kind \\\n    \
    --images v1=REPO@sha256:...,v2=REPO@sha256:...,v3=REPO@sha256:...\n\n\
    On a cluster it makes a namespace of its own and deletes it at the end. Its images answer GET /health with 200\n\
    when they can serve, and every other path with their name in the header x-version, on port 8080; the third fails\n\
    at least one request in ten with 500. docs/kubernetes.md says more.\n\n\
    Exit code 0 only if what it shows is true: release 1 live, release 2 rolled back, no request lost.")]
pub(crate) struct Demo {
    /// Approve by itself instead of asking.
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Where it keeps its data; wiped at the start if it is an earlier demo's, refused if it is anything else.
    #[arg(long, value_name = "DIR", default_value = ".portcullis-demo")]
    pub(crate) data: PathBuf,
    /// Go on with the data of an earlier demo instead of wiping it.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Requests per second; without it 400, or 60 where they go through the API server.
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    pub(crate) rate: Option<u32>,
    /// The kind of cluster.
    #[arg(long, value_enum, default_value_t = ClusterKind::Local, help_heading = ON_A_CLUSTER)]
    pub(crate) cluster: ClusterKind,
    /// With --cluster kubeconfig: what serves first, a good build and a bad one, each as NAME=REPOSITORY@DIGEST.
    #[arg(long, value_name = "IMAGES", value_delimiter = ',', env = "PORTCULLIS_DEMO_IMAGES")]
    #[arg(help_heading = ON_A_CLUSTER)]
    pub(crate) images: Vec<DemoImage>,
    /// With --cluster kubeconfig: how requests reach the Services.
    #[arg(long, value_enum, default_value_t = Way::Auto, help_heading = ON_A_CLUSTER)]
    pub(crate) way: Way,
    /// With --cluster kubeconfig: where.
    #[command(flatten)]
    pub(crate) kube: Kube,
}

const ON_A_CLUSTER: &str = "On a cluster";

/// How the demo's requests reach a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// By its address if this machine reaches it, else through the API server.
    Auto,
    /// By its cluster IP.
    Direct,
    /// Through the API server's service proxy.
    ApiServer,
}

/// One of the demo's images: what it answers in `x-version`, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DemoImage {
    /// The name that it answers with.
    pub(crate) name: String,
    /// The repository, with its registry.
    pub(crate) repository: String,
    /// The digest.
    pub(crate) digest: portcullis_domain::digest::Digest,
}

impl std::str::FromStr for DemoImage {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not NAME=REPOSITORY@sha256:..., such as v1=ghcr.io/example/web@sha256:...");
        let (name, image) = text.split_once('=').ok_or_else(wrong)?;
        let (repository, digest) = image.split_once('@').ok_or_else(wrong)?;
        let fine = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
        };
        if !fine(name, b".-_") || name.len() > 20 || !fine(repository, b".-_/:") {
            return Err(wrong());
        }
        let digest = digest.parse().map_err(|error: portcullis_domain::digest::InvalidDigest| error.to_string())?;
        Ok(Self { name: name.to_owned(), repository: repository.to_owned(), digest })
    }
}

/// The server's flags.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Environment:\n  \
    PORTCULLIS_EVENTS_TOKEN  bearer token of POST /events, at least 16 characters; two, separated by a comma, for rotation\n  \
    AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL and so on  as every AWS tool reads them\n\n\
    Examples:\n  PORTCULLIS_EVENTS_TOKEN=... portcullis serve --policy portcullis.yaml --data /var/lib/portcullis\n  \
    portcullis serve --policy-location s3://POLICIES/policies/ --data /var/lib/portcullis \\\n    \
    --ledger dynamodb --table portcullis-ledger --queue sqs --queue-url https://sqs... --blobs s3://BACKUPS/\n  \
    portcullis serve --policy portcullis.yaml --data DIR --cluster kubeconfig --metrics cloudwatch\n  \
    portcullis serve --policy portcullis.yaml --data DIR --cluster eks --registry ecr --metrics cloudwatch\n\n\
    SIGHUP reads the policies again (kept as they are if the new ones have errors); SIGTERM and Ctrl-C stop it;\n\
    a restart goes on with every release where it was.")]
pub(crate) struct Serve {
    /// The policies: files, or directories of them; may be said several times. The organisation is a file of its own.
    #[arg(long, value_name = "FILE", required_unless_present = "policy_location", env = "PORTCULLIS_POLICY")]
    #[arg(value_delimiter = ',')]
    pub(crate) policy: Vec<PathBuf>,
    /// Where everything is kept that is not kept on AWS: the ledger, people's tokens; made if absent.
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_DATA")]
    pub(crate) data: PathBuf,
    /// The address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8470", env = "PORTCULLIS_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// The kind of cluster.
    #[arg(long, value_enum, default_value_t = ServeCluster::Local, env = "PORTCULLIS_CLUSTER")]
    pub(crate) cluster: ServeCluster,
    /// With --cluster kubeconfig: where. Without --context, each environment's `cluster:` names its context.
    #[command(flatten)]
    pub(crate) kube: Kube,
    /// The form of the log on stderr.
    #[arg(long, value_enum, default_value_t = LogForm::Text, env = "PORTCULLIS_LOG")]
    pub(crate) log: LogForm,
    /// Which adapters it runs on.
    #[command(flatten)]
    pub(crate) adapters: AdapterFlags,
}

/// The kind of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterKind {
    /// Servers on this machine's loopback.
    Local,
    /// Kubernetes, by the contexts of a kubeconfig.
    Kubeconfig,
}

/// The kind of cluster that a server releases to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServeCluster {
    /// Servers on this machine's loopback.
    Local,
    /// Kubernetes, by the contexts of a kubeconfig.
    Kubeconfig,
    /// Amazon EKS: each environment's `cluster:` by its name, in its region, with its role.
    Eks,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where a freeze applies.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ScopeArgs {
    /// One environment, as APP/ENV.
    pub(crate) target: Option<TargetId>,
    /// Everything.
    #[arg(long)]
    pub(crate) all: bool,
    /// One application.
    #[arg(long)]
    pub(crate) app: Option<AppName>,
    /// Every application's environment of this name.
    #[arg(long)]
    pub(crate) env: Option<EnvName>,
}

impl ScopeArgs {
    /// The scope that was named. Exactly one is, by the group's rule.
    pub(crate) fn scope(self) -> portcullis_domain::scope::Scope {
        use portcullis_domain::scope::Scope;
        match (self.target, self.app, self.env) {
            (Some(target), _, _) => Scope::Target(target),
            (_, Some(app), _) => Scope::Application(app),
            (_, _, Some(env)) => Scope::Environment(env),
            _ => Scope::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_names_its_examples_and_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    }

    #[test]
    fn there_is_no_default_environment() {
        for line in [
            &["portcullis", "rollback", "--reason", "x"][..],
            &["portcullis", "freeze", "--reason", "x"],
            &["portcullis", "freeze", "--all", "--app", "x", "--reason", "x"],
            &["portcullis", "hands-off", "a/b", "--reason", "x"],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn an_image_of_the_demo_is_a_name_and_a_digest() {
        let digest = portcullis_domain::digest::Digest::of(b"1");
        let image: DemoImage = format!("v1=localhost:5000/web@{digest}").parse().unwrap();
        assert_eq!((image.name.as_str(), image.repository.as_str()), ("v1", "localhost:5000/web"));
        for wrong in
            ["v1", "v1=web:latest", "v1=web@sha256:00", &format!("=web@{digest}"), &format!("a b=web@{digest}")]
        {
            assert!(wrong.parse::<DemoImage>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_freeze_names_its_scope() {
        let cli = Cli::try_parse_from(["portcullis", "freeze", "--env", "production", "--reason", "x"]).unwrap();
        let Command::Freeze { scope, .. } = cli.command else { panic!() };
        assert_eq!(scope.scope().to_string(), "environment production");
    }
}
