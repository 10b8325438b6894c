//! conformance
#[cfg(feature = "counterparts")]
mod counterparts;
