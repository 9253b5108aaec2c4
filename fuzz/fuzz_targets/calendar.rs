//! Recurrence rules: any text is a window or an error, and a window answers at any moment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_domain::calendar::{Calendar, Window};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_fuzz::within_time;

fuzz_target!(|input: (&str, &str, &str, u64, u64)| {
    let (rule, starts, zone, length, now) = input;
    let zone = if zone.is_empty() { "Europe/Berlin" } else { zone };
    let starts = if starts.is_empty() { "2026-01-02T18:00" } else { starts };
    let size = rule.len() + starts.len() + zone.len();
    within_time(size, || {
        let once = Window::once("once", starts, rule, zone);
        let Ok(window) = Window::recurring("fuzzed", rule, starts, zone, Millis(length)) else { return };
        let calendar = Calendar { freeze: vec![window.clone()], open: once.into_iter().collect() };
        let _ = calendar.at(Timestamp(now));
        let open = Calendar { freeze: Vec::new(), open: vec![window] };
        let _ = open.at(Timestamp(now));
    });
});
