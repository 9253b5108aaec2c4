//! Every wire format of an event from outside: one entrance reads them all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::within_time;
use portcullis_ingest::Read;

fuzz_target!(|body: &[u8]| {
    match within_time(body.len(), || portcullis_ingest::read(body)) {
        Ok(read @ Read::Facts(_)) => {
            let Read::Facts(facts) = &read else { return };
            assert!(!facts.is_empty(), "facts that are none");
            assert!(!read.to_string().chars().any(char::is_control), "a control character is shown");
        }
        Ok(read) => assert!(!read.to_string().chars().any(char::is_control), "a control character is shown"),
        Err(malformed) => assert!(malformed.to_string().chars().count() < 2_000, "an endless message"),
    }
});
