//! `keytide-watcher`, the Lambda: CloudTrail events from a queue to the ledger and to Slack.
//!
//! Thin on purpose: what is done with an event is [`keytide_app::watch`]. Here is what a function adds:
//!
//! - [`config`]: the environment, judged whole.
//! - [`handler`]: one invocation.
//! - [`batch`]: messages apart from each other, within the invocation's time.
//! - [`backoff`]: how long a failed message waits.
//! - [`observe`]: the log and the metrics.

mod backoff;
mod batch;
mod config;
mod handler;
mod observe;

use std::{process::ExitCode, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use jiff::Timestamp;
use keytide_app::{
    TokenSource,
    deliver::{Deliver, DeliverSettings},
    watch::{Telling, Watch},
};
use keytide_aws::{
    directory::{Directory, ReaderRole},
    ledger::Ledger,
    secrets::Secrets,
};
use keytide_slack::{Slack, WebApi, WebApiError};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config::Config,
    handler::{Handler, Queue},
};

/// Whatever keeps the function from starting is logged whole, and the process ends: Lambda reports it, and
/// the messages stay on the queue.
fn main() -> ExitCode {
    let config = Config::from_env(environment);
    log_to_stdout(config.as_ref().map_or(LevelFilter::INFO, |config| config.log_level));
    log_panics();
    let config = match config {
        Ok(config) => config,
        Err(problems) => {
            tracing::error!(%problems, "keytide-watcher cannot start");
            return ExitCode::FAILURE;
        }
    };
    // One thread: an invocation waits for the network nearly all of its time, a function of this size has a
    // fraction of one CPU, and threads that are not started cost neither time nor memory in a cold start.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "keytide-watcher cannot start: there is no async runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(&config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(error.as_ref()), "keytide-watcher ends");
            ExitCode::FAILURE
        }
    }
}

/// Sets everything up once, and answers invocations until Lambda ends the process.
async fn serve(config: &Config) -> Result<(), lambda_runtime::Error> {
    let handler = handler(config, &sdk_config(config).await)?;
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| handler.handle(event, time_of_day())))
        .await
}

fn handler(config: &Config, aws: &SdkConfig) -> Result<Handler<WebApi>, WebApiError> {
    let role = ReaderRole {
        partition: config.partition.clone(),
        name: config.rules.own_roles.reader.clone(),
        external_id: Some(config.external_id.clone()),
        session_name: "keytide-watcher".to_owned(),
    };
    let settings = DeliverSettings {
        accounts: config.accounts.clone(),
        rules: config.rules.clone(),
        ..DeliverSettings::for_channel(config.channel.as_str())
    };
    let deliver = Deliver::new(
        Ledger::new(aws, config.table.as_str()),
        Slack::new(WebApi::new(&config.slack_url)?),
        TokenSource::secret(Secrets::new(aws), config.slack_secret.clone()),
        settings,
    );
    let directory = Directory::new(aws, role, config.owner_lookup);
    let queue = Queue { client: aws_sdk_sqs::Client::new(aws), url: config.queue_url.clone() };
    Ok(Handler::new(Watch::new(deliver, Some(directory), Telling::All), queue))
}

/// AWS as the function's own role. Bounds are short, since a whole invocation has a minute: what is slower
/// is tried again from the queue.
async fn sdk_config(config: &Config) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(3))
        .operation_timeout(Duration::from_secs(8))
        .build();
    // Pinned: a new version of the SDK's habits is taken on purpose.
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(config.region.clone()))
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .load()
        .await
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads this program's configuration")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(clippy::disallowed_methods, reason = "the one place, once per invocation, where time comes from")]
fn time_of_day() -> Timestamp {
    Timestamp::now()
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

/// A panic becomes a line of the log that says where, and not what: its text may quote an event's body.
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
