//! The policy loader: any text gives policies or a report, never a panic, and a report can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::within_time;

fuzz_target!(|text: &str| {
    let files = [("policy.yaml".to_owned(), text.to_owned())];
    match within_time(text.len(), || portcullis_policy::load(&files)) {
        Ok(set) => {
            for policy in &set.policies {
                assert!(!portcullis_policy::explain(policy).is_empty());
            }
        }
        Err(report) => assert!(report.failed(), "refused without an error"),
    }
});
