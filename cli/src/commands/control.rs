//! What a person decides about an environment: rollback, freeze, hands-off, quarantine, the line, resolve.

use portcullis_domain::digest::Digest;
use portcullis_domain::names::{ReleaseId, TargetId};
use portcullis_embedded::clock::SystemClock;
use portcullis_engine::ports::Clock as _;

use super::freeze;
use crate::api::{Answered, Ask, State, StopAsk, StopWords, TargetSummary};
use crate::args::{Command, Place, Quarantine};
use crate::backend::Backend;
use crate::out::Out;
use crate::show::sections::serving;
use crate::{ask, exit};

/// Does what was said.
pub(crate) async fn run(command: Command, out: Out) -> anyhow::Result<()> {
    match command {
        Command::Rollback { target, to: _, reason, yes, direct, place: _ } if direct.direct => {
            super::direct::run(&target, &reason, yes, &direct, out).await
        }
        Command::Rollback { direct, .. } if direct.kube.context.is_some() => {
            Err(exit::usage("--context is for --direct: a server knows its clusters by the policy"))
        }
        Command::Rollback { target, to, reason, yes, direct: _, place } => {
            roll_back(&target, to.map(ReleaseId), reason, yes, &Backend::open(&place, out.screen)?, out).await
        }
        Command::Accept { target, alarm, release, place } => {
            let backend = Backend::open(&place, out.screen)?;
            let release = match release {
                Some(release) => ReleaseId(release),
                None => only_open(&backend, &target).await?,
            };
            tell(&backend, &backend.command(&target, &Ask::AcceptAlarm { release, alarm }).await?, out)
        }
        Command::Freeze { scope, reason, until, place } => {
            let until = until.map(|until| until.moment(SystemClock.now()));
            let stop = StopAsk { scope: scope.scope(), stop: Some(StopWords { reason, until }) };
            freeze::run(&place, stop, out).await
        }
        Command::Unfreeze { scope, place } => {
            freeze::run(&place, StopAsk { scope: scope.scope(), stop: None }, out).await
        }
        Command::HandsOff { target, until, end: _, reason, place } => {
            let until = until.map(|until| until.moment(SystemClock.now()));
            simple(&place, &target, &Ask::HandsOff { until, reason }, out).await
        }
        Command::Resolve { target, reason, place } => simple(&place, &target, &Ask::Resolve { reason }, out).await,
        Command::ResumeLine { target, reason, place } => {
            simple(&place, &target, &Ask::ResumeLine { reason }, out).await
        }
        Command::RaiseEpoch { target, reason, place } => {
            simple(&place, &target, &Ask::RaiseEpoch { reason }, out).await
        }
        other => Err(anyhow::anyhow!("{other:?} is carried out elsewhere: a defect of this program")),
    }
}

async fn simple(place: &Place, target: &TargetId, what: &Ask, out: Out) -> anyhow::Result<()> {
    let backend = Backend::open(place, out.screen)?;
    tell(&backend, &backend.command(target, what).await?, out)
}

/// Says what was recorded, and who it was.
pub(crate) fn tell(backend: &Backend, answered: &Answered, out: Out) -> anyhow::Result<()> {
    out.answer(answered, || {
        let what = if answered.recorded.is_empty() {
            "it was so already; nothing changed".to_owned()
        } else {
            answered.recorded.join("\n  ")
        };
        format!("{} (as {})\n  {what}", answered.target, answered.who)
    })?;
    match backend.afterword() {
        Some(words) if !answered.recorded.is_empty() => out.aside(words),
        _ => Ok(()),
    }
}

/// A rollback names its destination before it is done, and is never a toggle.
async fn roll_back(
    target: &TargetId,
    to: Option<ReleaseId>,
    reason: String,
    yes: bool,
    backend: &Backend,
    out: Out,
) -> anyhow::Result<()> {
    let summary = summary(backend, target).await?;
    let current = summary.releases.iter().find(|release| {
        !matches!(release.state, State::Gathering | State::Gated | State::Cleared) && !release.state.is_settled()
    });
    let current = current.or_else(|| summary.releases.iter().find(|release| release.state == State::Live));
    let destination = match (to, current) {
        (Some(release), _) => format!("release {release}"),
        (None, Some(current)) => {
            let before = backend.release(current.id).await?.release.before;
            if before.is_empty() { "what served before".to_owned() } else { serving(&before) }
        }
        (None, None) => "what served before".to_owned(),
    };
    let from = current.map_or_else(String::new, |current| format!(", away from release {}", current.id));
    ask::confirm(&format!("Bring {target} back to {destination}{from}?"), yes)?;
    tell(backend, &backend.command(target, &Ask::RollBack { to, reason }).await?, out)
}

/// `quarantine lift`: the digest by as much of its beginning as is unique.
pub(crate) async fn quarantine(command: Quarantine, out: Out) -> anyhow::Result<()> {
    let Quarantine::Lift { target, digest, reason, place } = command;
    let backend = Backend::open(&place, out.screen)?;
    let summary = summary(&backend, &target).await?;
    let wanted = digest.strip_prefix("sha256:").unwrap_or(&digest).to_ascii_lowercase();
    let found: Vec<Digest> =
        summary.quarantine.keys().filter(|known| known.hex().starts_with(&wanted)).copied().collect();
    match found.as_slice() {
        _ if wanted.len() < 4 => Err(exit::usage("name at least four digits of the digest")),
        [] => Err(exit::not_found(format!("no digest in the quarantine of {target} begins with {wanted}"))),
        [digest] => {
            tell(&backend, &backend.command(&target, &Ask::LiftQuarantine { digest: *digest, reason }).await?, out)
        }
        several => {
            let all: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(exit::usage(format!("{wanted} could be any of\n  {}", all.join("\n  "))))
        }
    }
}

async fn summary(backend: &Backend, target: &TargetId) -> anyhow::Result<TargetSummary> {
    let found = backend.targets().await?.into_iter().find(|summary| summary.target == *target);
    found.ok_or_else(|| exit::not_found(format!("no policy and no ledger names {target}")))
}

/// The only release of an environment that waits.
async fn only_open(backend: &Backend, target: &TargetId) -> anyhow::Result<ReleaseId> {
    let summary = summary(backend, target).await?;
    let open: Vec<ReleaseId> =
        summary.releases.iter().filter(|release| !release.state.is_settled()).map(|release| release.id).collect();
    match open.as_slice() {
        [one] => Ok(*one),
        [] => Err(exit::not_found(format!("no release of {target} waits"))),
        several => {
            let all: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(exit::usage(format!("several releases of {target} wait; name one with --release: {}", all.join(", "))))
        }
    }
}
