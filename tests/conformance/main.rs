//! The same contract held against our simulation and against what others wrote; and the workspace's shape.
//!
//! What needs Python 3 and pinned tools is behind the feature `counterparts`, which `make test` turns on.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

mod cost;
#[cfg(feature = "counterparts")]
mod counterparts;
#[cfg(feature = "counterparts")]
mod deploy;
#[cfg(all(feature = "counterparts", target_os = "linux"))]
mod deployed;
#[cfg(feature = "counterparts")]
mod doctor;
mod dynamodb;
#[cfg(feature = "counterparts")]
mod emulate;
mod iam_contract;
#[cfg(feature = "counterparts")]
mod infrastructure;
mod messages;
#[cfg(feature = "counterparts")]
mod moto;
mod organizations;
#[cfg(feature = "counterparts")]
mod packaging;
mod shape;
#[cfg(feature = "counterparts")]
mod sweep;
