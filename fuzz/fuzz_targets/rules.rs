//! Rules in Cedar: any text is a rule or an error with a place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_domain::rules::{Rule, check};
use portcullis_fuzz::within_time;

fuzz_target!(|text: &str| {
    let rule = Rule { name: "fuzzed".to_owned(), text: text.to_owned() };
    if let Err(error) = within_time(text.len(), || check(&rule)) {
        assert!(error.line >= 1 && error.column >= 1, "an error without a place");
    }
});
