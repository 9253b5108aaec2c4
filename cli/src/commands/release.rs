//! `release ...`: looking at releases, and deciding about them.

use portcullis_domain::names::{ReleaseId, TargetId};

use super::control::tell;
use super::glass;
use crate::api::{Ask, ReleaseDetail, State};
use crate::args::{Place, Release};
use crate::backend::Backend;
use crate::exit;
use crate::out::Out;
use crate::show::{gates, list, release, timeline};

/// Does what was said.
pub(crate) async fn run(command: Release, out: Out) -> anyhow::Result<()> {
    match command {
        Release::List { target, state, most, place } => {
            let state = state.map(|name| state_of(&name)).transpose()?;
            let mut releases = Backend::open(&place, out.screen)?.releases(target.as_ref(), state).await?;
            releases.truncate(most);
            out.answer(&releases, || list::show(&releases, out.screen, crate::out::times()))
        }
        Release::Show { release, all, place } => {
            let view = view(release, &place, out).await?;
            out.answer(&view, || release::show(&view, out.screen, crate::out::times(), all))
        }
        Release::Gates { release, place } => {
            let view = view(release, &place, out).await?;
            out.answer(&view.gates, || match &view.gates {
                Some(judgement) => gates::tree(judgement, view.summary.plan, out.screen, crate::out::times(), true),
                None => format!("Release {release} has not been judged yet: its images are still coming in."),
            })
        }
        Release::Ledger { release, place } => {
            let view = view(release, &place, out).await?;
            out.answer(&view.ledger, || timeline::ledger(&view.ledger, out.screen, crate::out::times()))
        }
        Release::Start { target, commit, confirm, reason, forward_only, place } => {
            ask(&place, &target, &Ask::Start { commit, typed: confirm, reason, forward_only }, out).await
        }
        Release::Approve { release, plan, confirm, place } => {
            let release = ReleaseId(release);
            on(&place, release, &Ask::Approve { release, plan, typed: confirm }, out).await
        }
        Release::Reject { release, reason, place } => {
            let release = ReleaseId(release);
            on(&place, release, &Ask::Reject { release, reason }, out).await
        }
        Release::Switch { release, place } => {
            let release = ReleaseId(release);
            on(&place, release, &Ask::Promote { release }, out).await
        }
        Release::Pause { release, place } => {
            let release = ReleaseId(release);
            on(&place, release, &Ask::Pause { release }, out).await
        }
        Release::Resume { release, place } => {
            let release = ReleaseId(release);
            on(&place, release, &Ask::Resume { release }, out).await
        }
        Release::Cancel { release, reason, place } => {
            let release = ReleaseId(release);
            on(&place, release, &Ask::Cancel { release, reason }, out).await
        }
        Release::BreakGlass { release, plan, gates, reason, yes, place } => {
            let gates = gates.into_iter().collect();
            glass::run(glass::Said { release: ReleaseId(release), plan, gates, reason, yes }, &place, out).await
        }
        Release::CloseWindow { target, reason, place } => ask(&place, &target, &Ask::CloseWindow { reason }, out).await,
    }
}

async fn view(release: u64, place: &Place, out: Out) -> anyhow::Result<ReleaseDetail> {
    Backend::open(place, out.screen)?.release(ReleaseId(release)).await
}

/// Asks for something about a release: its environment is looked up.
async fn on(place: &Place, release: ReleaseId, what: &Ask, out: Out) -> anyhow::Result<()> {
    let backend = Backend::open(place, out.screen)?;
    let target = backend.release(release).await?.summary.target;
    tell(&backend, &backend.command(&target, what).await?, out)
}

async fn ask(place: &Place, target: &TargetId, what: &Ask, out: Out) -> anyhow::Result<()> {
    let backend = Backend::open(place, out.screen)?;
    tell(&backend, &backend.command(target, what).await?, out)
}

fn state_of(name: &str) -> anyhow::Result<State> {
    let known = || State::ALL.map(State::name).join(", ");
    State::of_name(name).ok_or_else(|| exit::usage(format!("{name:?} is no state; there are {}", known())))
}
