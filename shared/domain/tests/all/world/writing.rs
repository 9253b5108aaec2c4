//! What is written and waited for, in words.

use portcullis_domain::action::{Action, Value};
use portcullis_domain::event::{Event, What};

use super::*;

/// An intended write or wait, in words.
pub fn write_in_words(event: &Event) -> Option<String> {
    let What::Intended { intention, .. } = &event.what else { return None };
    match &intention.action {
        Action::Write(write) => {
            let purpose = format!("{:?}", write.purpose).to_lowercase();
            Some(match write.to {
                Value::Workload { replicas, .. } => format!("{purpose} {} to {replicas} pods", write.object),
                Value::Traffic { green } => format!("{purpose} {} to {green} green", write.object),
            })
        }
        Action::AwaitReady(ask) => Some(format!("await {} with {} pods", ask.object, ask.replicas)),
        _ => None,
    }
}

/// What was written and waited for since, of one service.
pub fn steps(world: &World, begun: usize, name: &str) -> Vec<String> {
    let of = |text: &String| text.contains(&format!("/{name}"));
    world.events[begun..].iter().filter_map(write_in_words).filter(of).collect()
}
