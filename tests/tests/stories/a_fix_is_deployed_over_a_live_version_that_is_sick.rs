//! Argo Rollouts #1377: while the stable version was unhealthy no fix could be deployed over it, for the tool waited
//! for the old one to be well first.
//! Here: what is live being sick holds nothing back. The fix comes up beside it, takes the traffic, and goes live.

use portcullis_domain::time::Millis;
use portcullis_engine::memory::world::{Ending, image, name};
use portcullis_engine::memory::{Build, World};

#[tokio::test(start_paused = true)]
async fn the_fix_goes_live() {
    let mut world = World::new();
    let sick = Build { problem: Some("CrashLoopBackOff".into()), ..Build::default() };
    for service in ["api", "web"] {
        world.cluster.set_build(image(service, 0), sick.clone());
    }
    world.run_for(Millis::minutes(5)).await;
    assert!(world.cluster.serving(&world.target, &name("api")).is_empty(), "nobody answers");
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    assert!(world.all_serve(1), "requests are answered again");
    world.run_until_phase("live").await;
    let release = world.newest().await;
    assert_eq!(world.ending(release).await, Some(Ending::Live));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn and_when_the_fix_is_no_better_its_traffic_stays_and_a_person_is_called() {
    let mut world = World::with(|policy| policy.limits.ready = Millis::minutes(1));
    let sick = Build { problem: Some("CrashLoopBackOff".into()), ..Build::default() };
    for service in ["api", "web"] {
        world.cluster.set_build(image(service, 0), sick.clone());
    }
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world.roll_back("ama").await;
    world.run_until_phase("needs_help").await;
    world.run_for(Millis::minutes(2)).await;
    assert!(world.all_serve(1), "never from pods that answer to pods that do not");
    world.assert_sound().await;
}
