//! keytide's use cases: what happens between an event and a message, in terms of the adapters.
//!
//! - [`watch`]: one event → the ledger → its deliveries.
//! - [`deliver`]: one delivery, claimed, made and recorded; and what happens when there are too many.
//! - [`sweep`]: one account, looked at, planned and carried out.
//! - [`run`]: every account swept once a day, and one digest of it all.
//! - [`decide`]: what people decide, written together with the message about it.
//! - [`copy`]: what they decided, outside the ledger, should that be lost.
//!
//! All take an [`Invocation`], which is where time comes from, and report what they did; logging and
//! metrics are the caller's.

pub mod copy;
pub mod decide;
pub mod deliver;
mod invocation;
mod join;
pub mod run;
pub mod sweep;
mod token;
pub mod watch;

pub use invocation::Invocation;
pub use token::TokenSource;
