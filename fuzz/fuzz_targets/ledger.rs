//! The ledger's decoders: any bytes are a commit, a head, or an error. What a head says can be read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_domain::next;
use portcullis_engine::codec::{Commit, decode_head, encode_head};
use portcullis_fuzz::within_time;

fuzz_target!(|bytes: &[u8]| {
    within_time(bytes.len(), || {
        if let Ok(commit) = Commit::decode(bytes)
            && let Ok(again) = commit.encode()
        {
            assert_eq!(Commit::decode(&again).ok(), Some(commit), "a commit that does not read back");
        }
    });
    within_time(bytes.len(), || {
        if let Ok(state) = decode_head(bytes) {
            let _ = next(&state);
            if let Ok(again) = encode_head(&state) {
                assert_eq!(decode_head(&again).ok(), Some(state), "a head that does not read back");
            }
        }
    });
});
