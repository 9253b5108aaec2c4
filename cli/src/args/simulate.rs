//! `policy simulate`: the facts that can be given by hand.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{AlarmName, CommitSha, Subject, TargetId};
use portcullis_domain::policy::Severity;
use portcullis_domain::time::Millis;

use crate::when::{Until, duration};

/// What is given; everything else is as on an ordinary day.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Without options: every image is there, the scan is clean and fresh, every alarm is OK, the cluster is \
    healthy,\nnobody has approved. Nothing outside is asked or touched.\n\n\
    Exit codes: 0 every gate passes, 5 a gate holds, 6 a gate blocks (2 used wrongly, 4 no such environment).\n\n\
    Examples:\n  portcullis policy simulate portcullis.yaml shop/production\n  \
    portcullis policy simulate policies/ shop/production --approve kofi --finding critical=1\n  \
    portcullis policy simulate portcullis.yaml shop/production --at 2026-12-24T18:00:00Z --approve kofi --json"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Simulate {
    /// The policies: files, or directories of them.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The environment, as APP/ENV.
    #[arg(required = true, value_name = "APP/ENV")]
    pub(crate) target: TargetId,
    /// The commit; without it, one made up.
    #[arg(long, value_name = "SHA")]
    pub(crate) commit: Option<CommitSha>,
    /// Who wrote part of it: a person of the policy, or an account such as github:amara. May be said several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Vec<String>,
    /// The person who starts the release; without it, a push does.
    #[arg(long, value_name = "NAME")]
    pub(crate) requested_by: Option<Subject>,
    /// The confirmation text that this person types.
    #[arg(long, value_name = "TEXT", requires = "requested_by")]
    pub(crate) confirm: Option<String>,
    /// What the scan of the first service's image found: critical=1, or CVE-2026-1234=critical.
    #[arg(long, value_name = "SEVERITY=COUNT", conflicts_with = "no_scan")]
    pub(crate) finding: Vec<Found>,
    /// How old the scans are.
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "no_scan")]
    pub(crate) scan_age: Option<Millis>,
    /// No image was scanned.
    #[arg(long)]
    pub(crate) no_scan: bool,
    /// Who approves. May be said several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) approve: Vec<Subject>,
    /// When: a moment (2026-12-24T18:00:00Z) or so long from now (8h). Without it: now.
    #[arg(long, value_name = "WHEN")]
    pub(crate) at: Option<Until>,
    /// What an alarm says: NAME=alarm, NAME=ok or NAME=insufficient_data. Those not named are OK.
    #[arg(long, value_name = "NAME=STATE")]
    pub(crate) alarm: Vec<Rings>,
    /// Its digests were rolled back before.
    #[arg(long)]
    pub(crate) quarantined: bool,
    /// A person has frozen the environment, for this reason.
    #[arg(long, value_name = "REASON")]
    pub(crate) stop: Option<String>,
    /// What the environment that it must be promoted from has verified.
    #[arg(long, value_enum)]
    pub(crate) promoted: Option<Promoted>,
    /// How long ago that was.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) promoted_age: Option<Millis>,
    /// It cannot be undone.
    #[arg(long)]
    pub(crate) forward_only: bool,
    /// Who would skip which gate: approval=kofi. May be said several times.
    #[arg(long, value_name = "GATE=NAME")]
    pub(crate) break_glass: Vec<Skips>,
    /// The same as --output json.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What another environment verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Promoted {
    /// These very images.
    Digests,
    /// Other images of the same source tree.
    #[value(name = "source_tree", alias = "source-tree")]
    SourceTree,
    /// Nothing of it.
    No,
}

/// Something a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// How bad.
    pub(crate) severity: Severity,
    /// How many.
    pub(crate) count: u32,
    /// The vulnerability's id, where it has one: what a waiver names.
    pub(crate) id: Option<String>,
}

/// An alarm and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rings {
    /// Its name.
    pub(crate) alarm: AlarmName,
    /// Its state.
    pub(crate) state: AlarmState,
}

/// A gate and who would skip it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skips {
    /// The gate.
    pub(crate) gate: String,
    /// Who.
    pub(crate) who: Subject,
}

/// The last `=` divides: an alarm's name may hold one.
fn divided<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), String> {
    let parts = text.rsplit_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    parts.ok_or_else(|| format!("{text:?} is not of the form {form}"))
}

fn severity(text: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|severity| severity.to_string().eq_ignore_ascii_case(text))
}

impl FromStr for Found {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = divided(text, "critical=1 or CVE-2026-1234=critical")?;
        if let Some(severity) = severity(name) {
            let count = value.parse().map_err(|_| format!("{value:?} is no number of findings"))?;
            return Ok(Self { severity, count, id: None });
        }
        let all = || Severity::ALL.map(|severity| severity.to_string()).join(", ");
        let severity = severity(value)
            .ok_or_else(|| format!("neither {name:?} nor {value:?} is a severity; there are {}", all()))?;
        let id: String = name.chars().take(60).collect();
        Ok(Self { severity, count: 1, id: Some(id) })
    }
}

impl FromStr for Rings {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, state) = divided(text, "NAME=alarm, NAME=ok or NAME=insufficient_data")?;
        let state = match state.to_ascii_lowercase().as_str() {
            "ok" => AlarmState::Ok,
            "alarm" => AlarmState::Alarm,
            "insufficient_data" => AlarmState::InsufficientData,
            other => return Err(format!("{other:?} is no state of an alarm; there are alarm, ok, insufficient_data")),
        };
        Ok(Self { alarm: AlarmName::new(name).map_err(|error| error.to_string())?, state })
    }
}

impl FromStr for Skips {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (gate, who) = divided(text, "GATE=NAME")?;
        Ok(Self { gate: gate.to_owned(), who: Subject::new(who).map_err(|error| error.to_string())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_count_of_a_severity_or_a_named_one() {
        let found = |text: &str| text.parse::<Found>();
        assert_eq!(found("critical=2"), Ok(Found { severity: Severity::Critical, count: 2, id: None }));
        let named = Found { severity: Severity::High, count: 1, id: Some("CVE-2026-1".into()) };
        assert_eq!(found("CVE-2026-1=HIGH"), Ok(named));
        for bad in ["critical", "critical=", "=1", "critical=many", "CVE-2026-1=bad", "critical=-1"] {
            assert!(found(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_alarms_name_may_hold_what_divides_it_from_its_state() {
        let rings: Rings = "a=b=ALARM".parse().unwrap();
        assert_eq!((rings.alarm.as_str(), rings.state), ("a=b", AlarmState::Alarm));
        assert!("a=ringing".parse::<Rings>().is_err() && "a".parse::<Rings>().is_err());
    }
}
