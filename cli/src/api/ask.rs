//! What people ask for by the API, and what comes of it.

use std::collections::BTreeSet;

use portcullis_domain::digest::Digest;
use portcullis_domain::names::{AlarmName, CommitSha, ReleaseId, Subject, TargetId};
use portcullis_domain::plan::PlanId;
use portcullis_domain::scope::Scope;
use portcullis_domain::signal::Command;
use portcullis_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a person can ask for: [`Command`] without what the server finds out by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command", deny_unknown_fields)]
pub(crate) enum Ask {
    /// Open a release of a commit; the images are looked up in the registry.
    Start {
        /// The commit.
        commit: CommitSha,
        /// The typed confirmation.
        #[serde(default)]
        typed: Option<String>,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
        /// It can not be undone: an automatic rollback becomes a question.
        #[serde(default)]
        forward_only: bool,
    },
    /// Approve a plan.
    Approve {
        /// The release.
        release: ReleaseId,
        /// The plan as shown.
        plan: PlanId,
        /// The typed confirmation.
        #[serde(default)]
        typed: Option<String>,
    },
    /// Veto a release.
    Reject {
        /// The release.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
    /// Let it go on.
    Promote {
        /// The release.
        release: ReleaseId,
    },
    /// Stop forward steps.
    Pause {
        /// The release.
        release: ReleaseId,
    },
    /// Forward steps go on.
    Resume {
        /// The release.
        release: ReleaseId,
    },
    /// Give a release up.
    Cancel {
        /// The release.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
    /// Bring back what served before.
    RollBack {
        /// The release to be back at.
        #[serde(default)]
        to: Option<ReleaseId>,
        /// Why.
        reason: String,
    },
    /// Take an alarm that rings as it is.
    AcceptAlarm {
        /// The release.
        release: ReleaseId,
        /// The alarm.
        alarm: AlarmName,
    },
    /// Stop every write until then; none = writes go on.
    HandsOff {
        /// Until when.
        until: Option<Timestamp>,
        /// Why.
        reason: String,
    },
    /// Allow a digest that was rolled back.
    LiftQuarantine {
        /// The digest.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// End a release that needs help by taking what is there.
    Resolve {
        /// Why.
        reason: String,
    },
    /// The ledger was restored from a backup: from now on its fences count as newer than all before.
    RaiseEpoch {
        /// Why.
        reason: String,
    },
    /// Skip gates of a plan, together with another person who says the same.
    BreakGlass {
        /// The release.
        release: ReleaseId,
        /// The plan as shown.
        plan: PlanId,
        /// The gates, by their names.
        gates: BTreeSet<String>,
        /// Why.
        reason: String,
    },
    /// Let releases begin again after too many rollbacks.
    ResumeLine {
        /// Why.
        reason: String,
    },
    /// Take down the old colour now; once the window is over, leave it as it is.
    CloseWindow {
        /// Why.
        reason: String,
    },
}

/// What asking comes to: a command for the ledger, or a commit whose images must be looked up first.
pub(crate) enum Asked {
    /// Look up the images of this commit.
    Start {
        /// The commit.
        commit: CommitSha,
        /// The typed confirmation.
        typed: Option<String>,
        /// Why.
        reason: Option<String>,
        /// It can not be undone.
        forward_only: bool,
    },
    /// Record this.
    Command(Command),
}

/// Words people give are kept for ever: at most so many bytes.
pub(crate) const MOST_WORDS: usize = 500;

impl Ask {
    /// What it comes to; an error names the field that is too long or empty.
    pub(crate) fn asked(self) -> Result<Asked, String> {
        let words = |text: String| -> Result<String, String> {
            let text = crate::show::text::safe(text.trim());
            match text.len() {
                0 => Err("reason is empty: say why, it stays in the ledger".to_owned()),
                1..=MOST_WORDS => Ok(text),
                n => Err(format!("reason has {n} bytes, at most {MOST_WORDS} are kept")),
            }
        };
        Ok(Asked::Command(match self {
            Ask::Start { commit, typed, reason, forward_only } => {
                return Ok(Asked::Start { commit, typed, reason: reason.map(words).transpose()?, forward_only });
            }
            Ask::Approve { release, plan, typed } => Command::Approve { release, plan, typed },
            Ask::Reject { release, reason } => Command::Reject { release, reason: words(reason)? },
            Ask::Promote { release } => Command::Promote { release },
            Ask::Pause { release } => Command::Pause { release },
            Ask::Resume { release } => Command::Resume { release },
            Ask::Cancel { release, reason } => Command::Cancel { release, reason: words(reason)? },
            Ask::RollBack { to, reason } => Command::RollBack { to, reason: words(reason)? },
            Ask::AcceptAlarm { release, alarm } => Command::AcceptAlarm { release, alarm },
            Ask::HandsOff { until, reason } => Command::HandsOff { until, reason: words(reason)? },
            Ask::LiftQuarantine { digest, reason } => Command::LiftQuarantine { digest, reason: words(reason)? },
            Ask::Resolve { reason } => Command::Resolve { reason: words(reason)? },
            Ask::RaiseEpoch { reason } => Command::RaiseEpoch { reason: words(reason)? },
            Ask::BreakGlass { release, plan, gates, reason } => {
                Command::BreakGlass { release, plan, gates, reason: words(reason)? }
            }
            Ask::ResumeLine { reason } => Command::ResumeLine { reason: words(reason)? },
            Ask::CloseWindow { reason } => Command::CloseWindow { reason: words(reason)? },
        }))
    }
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// The environment.
    pub(crate) target: TargetId,
    /// The person, as the token says.
    pub(crate) who: Subject,
    /// The release it concerned or opened, where there is one.
    pub(crate) release: Option<ReleaseId>,
    /// What was recorded, one line each; none = it was so already.
    pub(crate) recorded: Vec<String>,
}

/// Put a stop on a scope, or lift it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopAsk {
    /// Where.
    pub(crate) scope: Scope,
    /// The stop; none = lift it.
    pub(crate) stop: Option<StopWords>,
}

/// A stop as a person asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopWords {
    /// Why.
    pub(crate) reason: String,
    /// Until when; none = until it is lifted.
    #[serde(default)]
    pub(crate) until: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_name_themselves_or_bring_images_of_their_own() {
        for bad in [
            r#"{"command":"approve","release":1,"plan":"0000-0000","who":"kofi"}"#,
            r#"{"command":"start","commit":"8f3c2a1","images":{}}"#,
            r#"{"command":"raise_epoch","reason":"x","who":"kofi"}"#,
        ] {
            assert!(serde_json::from_str::<Ask>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reason_is_wanted_and_kept_short() {
        let ask = |reason: &str| Ask::Resolve { reason: reason.to_owned() }.asked();
        assert!(ask("  ").is_err() && ask(&"x".repeat(501)).is_err());
        let Ok(Asked::Command(Command::Resolve { reason })) = ask(" was\u{1b} me ") else { panic!() };
        assert_eq!(reason, "was me");
    }
}
