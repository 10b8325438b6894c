//! The reader on whatever a fuzzer makes of the sample events: `make fuzz`.
#![no_main]

use keytide_core::cloudtrail::{Outcome, read};

libfuzzer_sys::fuzz_target!(|json: &[u8]| {
    let outcome = read(json);
    assert_eq!(outcome, read(json));
    if let Outcome::Key(event) = outcome {
        assert!(!event.key_id.is_empty() && event.key_id.len() <= 256);
        let _ = event.fact_id();
    }
});
