//! The commands that have commands of their own: releases, quarantine, people, policies.

use std::path::PathBuf;

use clap::Subcommand;
use portcullis_domain::names::{CommitSha, Subject, TargetId};
use portcullis_domain::plan::PlanId;

use super::{Place, Simulate};

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
        /// It cannot be undone (a schema change): instead of rolling back by itself, Portcullis stops and asks.
        #[arg(long)]
        forward_only: bool,
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
    /// Skip gates of its plan, together with another person who says the same. In the ledger for ever, told to all.
    #[command(
        after_help = "Example:\n  portcullis release break-glass 142 --plan 4be1-c07f --gate approval --gate freeze --reason 'fix for incident 7'"
    )]
    BreakGlass {
        /// Its number.
        release: u64,
        /// The plan as shown, such as 4be1-c07f: a new plan asks again.
        #[arg(long)]
        plan: PlanId,
        /// A gate to skip, by its name as `release gates` shows it; may be said several times.
        #[arg(long = "gate", value_name = "NAME", required = true)]
        gates: Vec<String>,
        /// Why, for the ledger and for those who are told.
        #[arg(long)]
        reason: String,
        /// Do not ask for confirmation.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Take down the old pods now that are kept for a quick way back; once the window is over, leave them.
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
        name: Subject,
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
        name: Subject,
        /// The server's data directory.
        #[arg(long, value_name = "DIR", env = "PORTCULLIS_DATA")]
        data: PathBuf,
    },
}

/// Check, explain and describe policies.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  portcullis policy check portcullis.yaml\n  \
    portcullis policy explain portcullis.yaml --target shop/production\n  \
    portcullis policy simulate portcullis.yaml shop/production --approve kofi\n  portcullis policy schema > portcullis.schema.json")]
pub(crate) enum Policy {
    /// All errors of these files in one run. Exit code 2 if there are any.
    Check {
        /// The files, or directories of them; several are also checked against one another.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// In words: what must hold, who may approve, what triggers a rollback.
    Explain {
        /// The files, or directories of them: the application's, and the organisation's if there is one.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The environment, as APP/ENV; without it, all of them.
        #[arg(long, value_name = "APP/ENV")]
        target: Option<TargetId>,
    },
    /// What would the gates say? The verdict of every gate on facts given by hand, and what would clear it.
    Simulate(Box<Simulate>),
    /// The JSON Schema of policies, for editors.
    Schema,
}
