//! What core promises, rule by rule. No clock, no I/O but the sample events' files.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says so by failing"
)]

mod alert;
mod clock;
mod common;
mod delivery;
mod key;
mod lifecycle;
mod needs;
mod notice;
mod plan;
mod policy;
mod reader;
mod reminders;
mod report;
mod stopped;
mod walk;
