//! keytide's adapters on the AWS SDK. They are concrete and take an `SdkConfig`: a laptop, a test and a
//! fault simulation differ in the HTTP client inside it, and in nothing here.
//!
//! Read in this order:
//! 1. [`Failure`]: what a failed call means for whoever made it.
//! 2. [`ledger`]: one DynamoDB table, the memory.
//! 3. [`member`]: sessions in member accounts, by which the next three speak with IAM.
//! 4. [`directory`]: one user, within seconds, for an alert. [`inventory`]: a whole account, for the sweep.
//! 5. [`disabler`]: the only part that changes anything in an account, and the only thing that it can do.
//! 6. [`accounts`]: which accounts there are. [`queue`]: where a run puts them. [`secrets`]: Slack's token.

pub mod accounts;
pub mod directory;
pub mod disabler;
mod failure;
pub mod inventory;
pub mod ledger;
pub mod member;
pub mod queue;
pub mod secrets;
mod users;

pub use failure::{Failure, Remedy};
