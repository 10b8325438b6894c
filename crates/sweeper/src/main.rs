//! `keytide-sweeper`, the Lambda: every account swept once a day, and one digest of it.
//!
//! One function for two kinds of event. A schedule (EventBridge Scheduler, daily, and once more three hours
//! later) invokes it with the input `{"keytide":"begin"}`: the day's run begins, or, the second time, ends if it
//! had not. Its queue, with a batch size of 1, partial batch responses and a visibility of 20 minutes, which is
//! more than the function's timeout of 15, invokes it with one account each. A message may well be received a
//! dozen times (a credential report being made, an account held by another sweep): the queue's dead letters
//! begin after 20.
//!
//! Thin on purpose: what is done is [`keytide_app::run`] and [`keytide_app::sweep`]. Here is what a function
//! adds:
//!
//! - [`config`]: the environment, judged whole.
//! - [`records`]: what an invocation asks for.
//! - [`handler`]: one invocation, within its time.
//! - [`observe`]: the log and the metrics.

mod config;
mod handler;
mod observe;
mod records;

use std::{process::ExitCode, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    TokenSource,
    deliver::{Deliver, DeliverSettings},
    run::{Choice, Runs, Source},
    sweep::{Observer, Sweep},
};
use keytide_aws::{
    accounts::Accounts,
    disabler::{Disabler, DisablerRole},
    ledger::{Ledger, LedgerReader},
    member::{Members, RoleReach},
    queue::Queue,
    secrets::Secrets,
};
use keytide_core::alert::AlertRules;
use keytide_slack::{Slack, WebApi, WebApiError};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{config::Config, handler::Handler};

/// A session in an account lasts at least as long as an invocation may.
const SESSION_LEFT: SignedDuration = SignedDuration::from_mins(15);

/// Whatever keeps the function from starting is logged whole, and the process ends: Lambda reports it, and
/// the messages stay on the queue.
fn main() -> ExitCode {
    let config = Config::from_env(environment);
    log_to_stdout(config.as_ref().map_or(LevelFilter::INFO, |config| config.log_level));
    log_panics();
    let config = match config {
        Ok(config) => config,
        Err(problems) => {
            tracing::error!(%problems, "keytide-sweeper cannot start");
            return ExitCode::FAILURE;
        }
    };
    // One thread: a sweep waits for the network nearly all of its time.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "keytide-sweeper cannot start: there is no async runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(&config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(error.as_ref()), "keytide-sweeper ends");
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
    let reach = RoleReach {
        partition: config.partition.clone(),
        name: config.roles.reader.clone(),
        external_id: Some(config.external_id.clone()),
        session_name: "keytide-sweeper".to_owned(),
    };
    let role = DisablerRole {
        partition: config.partition.clone(),
        name: config.roles.disabler.clone(),
        external_id: Some(config.external_id.clone()),
    };
    let ledger = Ledger::new(aws, config.table.as_str());
    let web = WebApi::new(&config.slack_url)?;
    let deliver = || {
        let settings = DeliverSettings {
            accounts: config.names.clone(),
            rules: AlertRules { own_roles: config.roles.clone(), ..AlertRules::default() },
            ..DeliverSettings::for_channel(config.channel.as_str())
        };
        let token = TokenSource::secret(Secrets::new(aws), config.slack_secret.clone());
        Deliver::new(ledger.clone(), Slack::new(web.clone()), token, settings)
    };
    let members = Members::new(aws, reach).adaptive().time_left(SESSION_LEFT);
    let sweep = Sweep::new(
        Observer::new(LedgerReader::of(&ledger), members),
        ledger.clone(),
        deliver(),
        Disabler::new(aws, role),
    );
    let choice = Choice {
        source: if config.listed.is_empty() {
            Source::Organization(Accounts::new(aws))
        } else {
            Source::List(config.listed.clone())
        },
        include: config.include.clone(),
        exclude: config.exclude.clone(),
    };
    let queue = Queue::new(aws, config.queue_url.as_str());
    let runs = Runs::new(ledger.clone(), sweep, deliver(), queue.clone(), choice);
    Ok(Handler::new(runs, queue))
}

/// AWS as the function's own role.
async fn sdk_config(config: &Config) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_secs(30))
        .build();
    // Pinned: a new version of the SDK's habits is taken on purpose.
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(config.region.clone()))
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(4))
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
