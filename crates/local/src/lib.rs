//! A whole small AWS in the process, for the demo and the tests.
//!
//! [`LocalAws`] stands behind the SDK's own `HttpClient`: the adapters that speak with the real AWS
//! speak with this one unchanged, without a socket. DynamoDB is dynoxide, on SQLite in memory or
//! in a file; IAM, STS, Organizations, Secrets Manager and SQS are a small simulation with accounts
//! kept apart. It can fail as the real one does: see [`Faults`]. What is done to users and their
//! keys leaves the events that EventBridge would deliver: see [`Trail`].

pub mod draw;
pub mod slack;

mod answer;
mod calls;
mod dynamodb;
mod error;
mod faults;
mod iam;
mod organizations;
mod query;
mod rate;
mod route;
mod secrets;
mod session_policy;
mod sqs;
mod sts;
mod time;
mod trail;
mod world;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SharedTimeSource;
use jiff::{SignedDuration, Timestamp};

pub use self::calls::{CallInfo, Calls, Service};
pub use self::dynamodb::Units;
pub use self::error::LocalError;
pub use self::faults::{Fault, Faults};
pub use self::iam::Iam;
pub use self::organizations::{AccountState, Organizations};
pub use self::secrets::Secrets;
pub use self::sqs::Queues;
pub use self::trail::Trail;
pub use self::world::KeyStatus;

use self::dynamodb::DynamoDb;
use self::time::SimulatedTime;
use self::world::World;

/// The account that [`LocalAws::sdk_config`] calls from. It is in the world from its beginning.
pub const HOME_ACCOUNT: &str = "999988887777";

/// The one region of this world: IAM's events are there.
const REGION: &str = "us-east-1";

/// A whole small AWS. Clones are the same AWS.
#[derive(Clone)]
pub struct LocalAws {
    parts: Arc<Parts>,
}

struct Parts {
    dynamodb: DynamoDb,
    world: Mutex<World>,
    faults: Faults,
    calls: Calls,
    time: SimulatedTime,
    trail: Trail,
}

impl LocalAws {
    /// An AWS that is gone when its last clone is.
    pub fn in_memory() -> Result<Self, LocalError> {
        Ok(Self::with(DynamoDb::in_memory()?))
    }

    /// An AWS whose DynamoDB tables stand in a file, made if it does not exist.
    pub fn in_file(path: &Path) -> Result<Self, LocalError> {
        Ok(Self::with(DynamoDb::in_file(path)?))
    }

    fn with(dynamodb: DynamoDb) -> Self {
        let time = SimulatedTime::new();
        Self {
            parts: Arc::new(Parts {
                dynamodb,
                world: Mutex::new(World::new(HOME_ACCOUNT, time.now())),
                faults: Faults::default(),
                calls: Calls::default(),
                time,
                trail: Trail::default(),
            }),
        }
    }

    /// The SDK's configuration to call this AWS from the home account.
    pub fn sdk_config(&self) -> SdkConfig {
        self.sdk_config_in(HOME_ACCOUNT)
    }

    /// The SDK's configuration to call this AWS with every right in that account.
    pub fn sdk_config_in(&self, account: &str) -> SdkConfig {
        self.sdk_config_as(&world::access_key_id_of(account))
    }

    /// The SDK's configuration to call this AWS with an access key of a user.
    ///
    /// An attempt ends after 5 s and a call after 15 s, by tokio's clock; a caller that wants other
    /// bounds sets them on its own client. Chance in the SDK (the waiting between attempts, tokens
    /// of transactions) comes from the thread's generator: [`seed`] fixes it.
    pub fn sdk_config_as(&self, access_key_id: &str) -> SdkConfig {
        let credentials = Credentials::new(access_key_id, "local", None, None, "keytide-local");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(self.clone())
            .sleep_impl(TokioSleep::new())
            .time_source(SharedTimeSource::new(self.parts.time.clone()))
            .retry_config(
                RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50)),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_attempt_timeout(Duration::from_secs(5))
                    .operation_timeout(Duration::from_secs(15))
                    .build(),
            )
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }

    /// Sets the world's clock. It runs on with tokio's, and never reads the machine's.
    pub fn set_now(&self, now: Timestamp) {
        self.parts.time.set(now);
    }

    /// The world's clock.
    pub fn now(&self) -> Timestamp {
        self.parts.time.now()
    }

    /// Sets how far the services' clocks are ahead of the world's: what the `Date` of every answer
    /// shows. IAM itself goes on by the world's clock.
    pub fn set_clock_skew(&self, ahead: SignedDuration) {
        self.world().clock_skew = ahead;
    }

    /// What goes wrong, and when.
    pub fn faults(&self) -> &Faults {
        &self.parts.faults
    }

    /// What was called.
    pub fn calls(&self) -> &Calls {
        &self.parts.calls
    }

    /// Queries of DynamoDB's secondary indexes do not see the latest `writes` writes, until this
    /// is set to `None`.
    pub fn set_index_lag(&self, writes: Option<usize>) -> Result<(), LocalError> {
        self.parts.dynamodb.set_index_lag(writes)
    }

    /// Counts from now on, or anew, what DynamoDB would bill.
    pub fn count_units(&self) {
        self.parts.dynamodb.count_units();
    }

    /// The units since [`Self::count_units`].
    pub fn units(&self) -> Units {
        self.parts.dynamodb.units()
    }

    /// The accounts and what is in them, to be arranged by hand.
    pub fn iam(&self) -> Iam<'_> {
        Iam::of(self)
    }

    /// The organization, to be arranged by hand.
    pub fn organization(&self) -> Organizations<'_> {
        Organizations::of(self)
    }

    /// The events of what is done to users and their keys.
    pub fn trail(&self) -> &Trail {
        &self.parts.trail
    }

    /// The secrets, to be arranged by hand.
    pub fn secrets(&self) -> Secrets<'_> {
        Secrets::of(self)
    }

    /// The queues, to be arranged by hand.
    pub fn queues(&self) -> Queues<'_> {
        Queues::of(self)
    }

    pub(crate) fn dynamodb(&self) -> &DynamoDb {
        &self.parts.dynamodb
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.parts.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fixes the SDK's chance on this thread: with a paused current-thread runtime, one seed tells one
/// story. Call it before clients are made, since each draws a seed of its own for its tokens.
pub fn seed(seed: u64) {
    fastrand::seed(seed);
}
