//! The local AWS, seen through the SDK's own clients.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop loudly")]

mod dynamodb;
mod faults;
mod file;
mod identity;
mod loopback;
mod messages;
mod organizations;
mod report;
mod sessions;
mod trail;
