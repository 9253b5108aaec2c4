//! The main job on one machine, or on a cluster of Kubernetes: a good release goes live, a bad one is rolled back by itself, under real load.
//!
//! Nothing here decides anything about a release: the demo starts the server that everybody runs, posts to it the
//! events that AWS would, answers as a person would, and tells what the ledger says. Start reading at [`run`];
//! [`world`] sets everything up, [`story`] tells one release, [`ending`] checks that what was shown is true.

mod chart;
mod ending;
mod folder;
mod kubernetes;
mod story;
mod world;

use portcullis_domain::time::Millis;
use serde_json::json;

use self::story::{Expect, Story};
use self::world::World;
use crate::args::{ClusterKind, Demo, LogForm, Output};
use crate::exit::{self, Exit, Stop};
use crate::out::Out;
use crate::serve;

/// How long the load goes on before the first push, so that what serves then is seen.
const BEFORE: Millis = Millis::seconds(1);
/// How long the load goes on after the end, so that what serves then is seen.
const AFTER: Millis = Millis::seconds(2);

/// Runs the demo; an error if what it shows is not what it promises.
pub(crate) async fn run(flags: Demo, out: Out) -> anyhow::Result<()> {
    if std::env::var_os("RUST_LOG").is_some() {
        serve::log::start(LogForm::Text);
    }
    let teller = Teller { out };
    usable(&flags)?;
    folder::prepare(&flags.data, flags.keep)?;
    let here = flags.cluster == ClusterKind::Local;
    if here {
        let rate = flags.rate.unwrap_or(world::RATE);
        teller
            .say(&format!("Three services on this machine, {rate} requests/s, nothing leaves it. About 20 seconds."))?;
    } else {
        teller.say("Three services come up in a namespace of their own, and are adopted. About a minute.")?;
    }
    let world = Box::pin(World::start(&flags, out.screen)).await?;
    if !here {
        let place = out.screen.safe(&world.place());
        teller.say(&format!("They run {place}: {} requests/s. About a minute more.", world.rate))?;
    }
    let told = tell(&flags, &world, teller).await;
    let ended = match told {
        Ok((good, bad)) => ending::of(&world, good, bad).await,
        Err(error) => Err(error),
    };
    let at = flags.data.display();
    world.stop().await;
    let ended = ended?;
    teller.say(&ended.words(out.screen))?;
    let program = if std::env::var_os("CARGO").is_some() { "cargo run --" } else { "portcullis" };
    teller.say(&format!("\nLook around:   {program} release show {} --data {at}", ended.bad.id))?;
    if out.form == Output::Json {
        crate::out::line(&ended.json().to_string())?;
    }
    if ended.broken.is_empty() {
        return Ok(());
    }
    let words = format!("The demo did not show what it promises:\n  {}", ended.broken.join("\n  "));
    Err(Stop { code: Exit::Failed, words }.into())
}

/// What is said of a cluster means something only where there is one.
fn usable(flags: &Demo) -> anyhow::Result<()> {
    match flags.cluster {
        ClusterKind::Kubeconfig if flags.keep => Err(exit::usage(
            "--keep goes on with an earlier demo, and one on a cluster leaves nothing there to go on with",
        )),
        ClusterKind::Local if flags.kube.context.is_some() => {
            Err(exit::usage("--context means nothing without --cluster kubeconfig: say both"))
        }
        ClusterKind::Local | ClusterKind::Kubeconfig => Ok(()),
    }
}

/// Both releases, one after the other.
async fn tell(flags: &Demo, world: &World, teller: Teller) -> anyhow::Result<(story::Told, story::Told)> {
    let good = world.good();
    let bad = world.bad();
    let mut story = Story::new(world, teller, flags.yes);
    world.rest(BEFORE).await;
    let first = story.release(&good, Expect::Live, "a good build").await?;
    let what = if world.is_elsewhere() { "a bad build" } else { "fails 1 request in 5" };
    let second = story.release(&bad, Expect::RolledBack, what).await?;
    world.rest(AFTER).await;
    Ok((first, second))
}

/// Tells the story: on stdout for people, on stderr beside the JSON for programs.
#[derive(Clone, Copy)]
pub(crate) struct Teller {
    out: Out,
}

impl Teller {
    fn say(self, words: &str) -> anyhow::Result<()> {
        match self.out.form {
            Output::Table => crate::out::line(words),
            Output::Json => {
                eprintln!("{words}");
                Ok(())
            }
        }
    }
}

/// One release as the JSON names it.
fn release_json(told: &ending::Ended) -> serde_json::Value {
    json!({ "id": told.id, "state": told.state.name(), "commit": told.commit })
}
