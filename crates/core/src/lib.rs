//! keytide's rules, and nothing else.
//!
//! There is no async here, no I/O, no clock and no environment: what time it is, what AWS answered and
//! what the ledger holds are arguments. That is what lets one property test stand for a thousand nights.
//!
//! Read in this order:
//! 1. [`cloudtrail`]: bytes from outside become one typed [`cloudtrail::Outcome`].
//! 2. [`key`]: the state of one access key, and [`key::apply`], which holds every ordering rule.
//! 3. [`alert`]: which messages an outcome calls for, how loud, and which one is our own echo.
//! 4. [`delivery`]: the small life of every outgoing effect.
//! 5. [`fact`]: what the ledger remembers of an event, for good.
//! 6. [`owner`]: what an IAM user's tags say, and how far they are believed.
//! 7. [`report`]: IAM's credential report, which says cheaply whose keys changed.
//! 8. [`policy`]: how long keys live, whose live otherwise, and how far keytide may go.
//! 9. [`decision`]: what people decide over all of that, always told.

pub mod account;
pub mod alert;
pub mod cloudtrail;
pub mod decision;
pub mod delivery;
pub mod digest;
pub mod fact;
pub mod key;
pub mod lifecycle;
pub mod owner;
pub mod plan;
pub mod policy;
pub mod report;

pub use account::{AccountId, AccountNames};
