//! What keytide's functions share, whatever they do with an invocation.
//!
//! - [`Settings`]: the environment, judged whole; each function reads what it takes besides through the same
//!   [`Environment`].
//! - [`start`]: the log, the panic hook and the runtime around a function; [`sdk_config`], AWS as its own role.
//! - [`metrics`]: numbers in CloudWatch's embedded metric format.

mod environment;
pub mod metrics;
mod settings;
mod start;

pub use self::{
    environment::{Environment, Problems},
    settings::Settings,
    start::{Bounds, Failed, sdk_config, start, time_of_day},
};
