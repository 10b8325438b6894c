//! keytide's adapters on the AWS SDK. They are concrete and take an `SdkConfig`: a laptop, a test and a
//! fault simulation differ in the HTTP client inside it, and in nothing here.

pub mod directory;
mod failure;
pub mod ledger;
pub mod secrets;

pub use failure::{Failure, Remedy};
