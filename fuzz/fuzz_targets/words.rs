//! The small texts: names, digests, plans, fences, tag patterns, globs. What parses prints as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_domain::action::Fence;
use portcullis_domain::digest::Digest;
use portcullis_domain::glob;
use portcullis_domain::names::{CommitSha, Identity, ObjectName, Repository, Subject, Tag, TargetId};
use portcullis_domain::plan::PlanId;
use portcullis_domain::tags::TagPattern;
use portcullis_fuzz::within_time;

fn reads_back<T: std::str::FromStr + ToString>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let shown = value.to_string();
        assert!(shown.parse::<T>().is_ok_and(|again| again.to_string() == shown), "{shown:?} does not read back");
    }
}

fuzz_target!(|input: (&str, &str)| {
    let (one, other) = input;
    within_time(one.len() + other.len(), || {
        reads_back::<Fence>(one);
        reads_back::<Digest>(one);
        reads_back::<PlanId>(one);
        reads_back::<TargetId>(one);
        reads_back::<CommitSha>(one);
        reads_back::<Repository>(one);
        reads_back::<Subject>(one);
        reads_back::<Identity>(one);
        reads_back::<ObjectName>(one);
        let _ = glob::matches(one, other);
        if let (Ok(pattern), Ok(tag)) = (one.parse::<TagPattern>(), Tag::new(other)) {
            let _ = pattern.commit(&tag);
        }
    });
});
