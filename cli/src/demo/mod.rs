//! The main job on one machine: a good release goes live, a bad one is rolled back by itself, under real load.
//!
//! Nothing here decides anything about a release: the demo starts the server that everybody runs, posts to it the
//! events that AWS would, answers as a person would, and tells what the ledger says. Start reading at [`run`];
//! [`world`] sets everything up, [`story`] tells one release, [`ending`] checks that what was shown is true.

mod chart;
mod ending;
mod folder;
mod story;
mod world;

use portcullis_domain::time::Millis;
use serde_json::json;

use self::story::{Expect, Story};
use self::world::World;
use crate::args::{Demo, LogForm, Output};
use crate::exit::{Exit, Stop};
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
    folder::prepare(&flags.data, flags.keep)?;
    teller.say(&format!(
        "Three services on this machine, {} requests/s, nothing leaves it. About 20 seconds.",
        flags.rate
    ))?;
    let world = World::start(&flags, out.screen).await?;
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

/// Both releases, one after the other.
async fn tell(flags: &Demo, world: &World, teller: Teller) -> anyhow::Result<(story::Told, story::Told)> {
    let good = world.good();
    let bad = world.bad();
    let mut story = Story::new(world, teller, flags.yes);
    world.rest(BEFORE).await;
    let first = story.release(&good, Expect::Live, "a good build").await?;
    let second = story.release(&bad, Expect::RolledBack, "fails 1 request in 5").await?;
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
