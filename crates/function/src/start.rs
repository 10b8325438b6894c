//! The start of a function: its configuration, its log and its runtime, once.

use std::{process::ExitCode, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::{rt::sleep::TokioSleep, time::SystemTimeSource};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use jiff::Timestamp;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{Environment, Settings};

/// What ends a function.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Starts the function of this name: reads its settings and what it takes `besides`, and lets it `serve` until
/// Lambda ends the process.
///
/// Whatever keeps it from starting is logged whole, and the process ends: Lambda reports it, and the messages
/// stay on the queue.
pub fn start<Own>(
    name: &str,
    besides: impl FnOnce(&mut Environment<'_>) -> Own,
    serve: impl AsyncFnOnce(&Settings, &Own) -> Result<(), Failed>,
) -> ExitCode {
    let read = Settings::read(variable, besides);
    log_to_stdout(read.as_ref().map_or(LevelFilter::INFO, |(settings, _)| settings.log_level));
    log_panics();
    let (settings, own) = match read {
        Ok(read) => read,
        Err(problems) => {
            tracing::error!(%problems, "{name} cannot start");
            return ExitCode::FAILURE;
        }
    };
    // One thread: an invocation waits for the network nearly all of its time, a function of this size has a
    // fraction of one CPU, and threads that are not started cost neither time nor memory in a cold start.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "{name} cannot start: there is no async runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(&settings, &own)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(error.as_ref()), "{name} ends");
            ExitCode::FAILURE
        }
    }
}

/// How long a call to AWS may take, and how often it is tried.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// To connect.
    pub connect: Duration,
    /// One attempt.
    pub attempt: Duration,
    /// All attempts together.
    pub call: Duration,
    /// So many attempts at most.
    pub attempts: u32,
}

/// AWS as the function's own role, whose credentials Lambda gives in the environment. Nothing else is looked for, no
/// profile and no metadata service: that would cost half a megabyte, and time in every cold start.
pub fn sdk_config(settings: &Settings, bounds: Bounds) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(bounds.connect)
        .operation_attempt_timeout(bounds.attempt)
        .operation_timeout(bounds.call)
        .build();
    // Pinned: a new version of the SDK's habits is taken on purpose.
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .sleep_impl(TokioSleep::new())
        .time_source(SystemTimeSource::new())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(bounds.attempts))
        .service_config(Endpoints);
    config.set_use_fips(switch("AWS_USE_FIPS_ENDPOINT"));
    config.set_use_dual_stack(switch("AWS_USE_DUALSTACK_ENDPOINT"));
    config.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
    config.build()
}

/// A switch of the SDK's own: `true` or `false`.
fn switch(name: &str) -> Option<bool> {
    variable(name)?.trim().to_ascii_lowercase().parse().ok()
}

/// Where one service is, if it is elsewhere: `AWS_ENDPOINT_URL_DYNAMODB` and its like.
#[derive(Debug)]
struct Endpoints;

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_ascii_uppercase().replace(' ', "_");
        variable(&format!("{}_{service}", key.env()))
    }
}

/// The time of day, for one invocation.
#[expect(clippy::disallowed_methods, reason = "the one place, once per invocation, where time comes from")]
pub fn time_of_day() -> Timestamp {
    Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads a function's configuration")]
fn variable(name: &str) -> Option<String> {
    // Set to nothing counts as not set.
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// JSON lines on stdout. The level is keytide's own: the libraries under it stay at warnings, since what
/// they say below (requests, answers, payloads) holds what must never be logged.
fn log_to_stdout(level: LevelFilter) {
    let levels = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_target("keytide", level)
        // Its one span at this level carries the invocation's id into every line.
        .with_target("lambda_runtime::layers", LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stdout);
    tracing_subscriber::registry().with(lines).with(levels).init();
}

/// A panic becomes a line of the log that says where, and not what: its text may quote what others wrote.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a panic: a bug in keytide, please report it");
    }));
}

/// An error with its sources.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
