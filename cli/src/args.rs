//! The command line: what can be said, with its help. What it does is in [`crate::commands`].

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use portcullis_domain::names::{AlarmName, AppName, CommitSha, EnvName, TargetId};
use portcullis_domain::plan::PlanId;

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
    /// With --data, to write: the policies in force.
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
        portcullis rollback shop/production --to 141 --reason 'checkout fails' --yes")]
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
    /// People and their tokens (on the server's machine).
    #[command(subcommand)]
    Person(Person),
    /// Check, explain and describe policies.
    #[command(subcommand)]
    Policy(Policy),
    /// Write a first policy by answering a few questions.
    #[command(after_help = "Example:\n  portcullis init --file portcullis.yaml")]
    Init {
        /// The file to write; an existing one is never overwritten.
        #[arg(long, default_value = "portcullis.yaml")]
        file: PathBuf,
    },
    /// What would these events do under this policy? Decisions only; nothing outside is touched.
    #[command(after_help = "Example:\n  portcullis replay events/ecr/*.json --policy portcullis.yaml")]
    Replay {
        /// Event files (JSON), in the order they come.
        #[arg(required = true)]
        events: Vec<PathBuf>,
        /// The policies.
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
#[command(after_help = "Examples:\n  portcullis demo\n  portcullis demo --yes --output json | tail -n 1\n\n\
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
    /// Requests per second.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    pub(crate) rate: u32,
}

/// The server's flags.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Environment:\n  \
    PORTCULLIS_EVENTS_TOKEN  bearer token of POST /events, at least 16 characters; two, separated by a comma, for rotation\n\n\
    Examples:\n  PORTCULLIS_EVENTS_TOKEN=... portcullis serve --policy portcullis.yaml --data /var/lib/portcullis\n\n\
    SIGHUP reads the policies again (kept as they are if the new ones have errors); SIGTERM and Ctrl-C stop it;\n\
    a restart goes on with every release where it was.")]
pub(crate) struct Serve {
    /// The policies, one file per application.
    #[arg(long, value_name = "FILE", required = true, env = "PORTCULLIS_POLICY", value_delimiter = ',')]
    pub(crate) policy: Vec<PathBuf>,
    /// Where the ledger is kept; made if absent.
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_DATA")]
    pub(crate) data: PathBuf,
    /// The address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8470", env = "PORTCULLIS_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// The kind of cluster.
    #[arg(long, value_enum, default_value_t = ClusterKind::Local, env = "PORTCULLIS_CLUSTER")]
    pub(crate) cluster: ClusterKind,
    /// The form of the log on stderr.
    #[arg(long, value_enum, default_value_t = LogForm::Text, env = "PORTCULLIS_LOG")]
    pub(crate) log: LogForm,
}

/// The kind of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterKind {
    /// Servers on this machine's loopback.
    Local,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Look at releases, and decide about them.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  portcullis release list\n  portcullis release show 142\n  \
    portcullis release approve 142 --plan 4be1-c07f\n  portcullis release start shop/production 8f3c2a1 --confirm 'DEPLOY TO PRODUCTION'")]
pub(crate) enum Release {
    /// The releases, newest first.
    List {
        /// Only of this environment.
        #[arg(long, value_name = "APP/ENV")]
        target: Option<TargetId>,
        /// Only in this state, such as `gated` or `rolled_back`.
        #[arg(long)]
        state: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        most: usize,
        #[command(flatten)]
        place: Place,
    },
    /// One release: are users all right, what runs, why, what to do.
    Show {
        /// Its number.
        release: u64,
        /// Everything: every gate's evidence and every event.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Its gates with all their evidence.
    Gates {
        /// Its number.
        release: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Its events, one line each.
    Ledger {
        /// Its number.
        release: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Open a release of a commit; its images are looked up in the registry.
    Start {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// The commit.
        commit: CommitSha,
        /// The confirmation text, where the policy asks for one.
        #[arg(long, value_name = "TEXT")]
        confirm: Option<String>,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Approve its plan, exactly as shown.
    Approve {
        /// Its number.
        release: u64,
        /// The plan as shown, such as 4be1-c07f: what you approve, and nothing else.
        #[arg(long)]
        plan: PlanId,
        /// The confirmation text, where the policy asks for one.
        #[arg(long, value_name = "TEXT")]
        confirm: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Veto it. One is enough.
    Reject {
        /// Its number.
        release: u64,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
    /// Go on: let traffic move where the policy waits for a person, or let an inconclusive watch count as healthy.
    Switch {
        /// Its number.
        release: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Stop its forward steps; a rollback still works.
    Pause {
        /// Its number.
        release: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Let its forward steps go on.
    Resume {
        /// Its number.
        release: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Give it up before it is live; what it changed is undone.
    Cancel {
        /// Its number.
        release: u64,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
    /// Take down the old pods now that are kept for a quick way back.
    CloseWindow {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Digests that were rolled back.
#[derive(Debug, Subcommand)]
pub(crate) enum Quarantine {
    /// Allow a digest that was rolled back to be released again.
    #[command(
        after_help = "Example:\n  portcullis quarantine lift shop/production sha256:4c07 --reason 'was the database'"
    )]
    Lift {
        /// The environment, as APP/ENV.
        target: TargetId,
        /// The digest, or as much of its beginning as is unique there, such as sha256:4c07.
        digest: String,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
}

/// People and their tokens.
#[derive(Debug, Subcommand)]
#[command(after_help = "A person's name is the one the policy's groups use.\n\n\
    Example:\n  portcullis person add kofi --data /var/lib/portcullis")]
pub(crate) enum Person {
    /// Make a person's token, and print it once. A person who has one gets a new one; the old one ends.
    Add {
        /// The name, as in the policy.
        name: portcullis_domain::names::Subject,
        /// The server's data directory.
        #[arg(long, value_name = "DIR", env = "PORTCULLIS_DATA")]
        data: PathBuf,
    },
    /// The people who have a token.
    List {
        /// The server's data directory.
        #[arg(long, value_name = "DIR", env = "PORTCULLIS_DATA")]
        data: PathBuf,
    },
    /// End a person's token.
    Remove {
        /// The name.
        name: portcullis_domain::names::Subject,
        /// The server's data directory.
        #[arg(long, value_name = "DIR", env = "PORTCULLIS_DATA")]
        data: PathBuf,
    },
}

/// Check, explain and describe policies.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  portcullis policy check portcullis.yaml\n  \
    portcullis policy explain portcullis.yaml --target shop/production\n  portcullis policy schema > portcullis.schema.json")]
pub(crate) enum Policy {
    /// All errors of these files in one run. Exit code 2 if there are any.
    Check {
        /// The files; several are also checked against one another.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// In words: what must hold, who may approve, what triggers a rollback.
    Explain {
        /// The file.
        file: PathBuf,
        /// The environment, as APP/ENV; without it, all of the file.
        #[arg(long, value_name = "APP/ENV")]
        target: Option<TargetId>,
    },
    /// The JSON Schema of policies, for editors.
    Schema,
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
    fn a_freeze_names_its_scope() {
        let cli = Cli::try_parse_from(["portcullis", "freeze", "--env", "production", "--reason", "x"]).unwrap();
        let Command::Freeze { scope, .. } = cli.command else { panic!() };
        assert_eq!(scope.scope().to_string(), "environment production");
    }
}
