//! keytide's use cases: what happens between an event and a message, in terms of the adapters.
//!
//! - [`watch`]: one event → the ledger → its deliveries.
//! - [`deliver`]: one delivery, claimed, made and recorded; and what happens when there are too many.
//!
//! Both take an [`Invocation`], which is where time comes from, and report what they did; logging and
//! metrics are the caller's.

pub mod deliver;
mod invocation;
mod join;
pub mod sweep;
mod token;
pub mod watch;

pub use invocation::Invocation;
pub use token::TokenSource;
