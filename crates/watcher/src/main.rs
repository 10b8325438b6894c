//! `keytide-watcher`, the Lambda: CloudTrail events from a queue to the ledger and to Slack.
//!
//! Thin on purpose: what is done with an event is [`keytide_app::watch`], and what every function needs is
//! [`keytide_function`]. Here is what this one adds:
//!
//! - [`config`]: what it alone is told.
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

use aws_config::SdkConfig;
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
use keytide_core::alert::AlertRules;
use keytide_function::{Bounds, Settings, sdk_config, time_of_day};
use keytide_slack::{Slack, WebApi, WebApiError};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

use crate::{
    config::Config,
    handler::{Handler, Queue},
};

/// Bounds are short, since a whole invocation has a minute: what is slower is tried again from the queue.
const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(3),
    call: Duration::from_secs(8),
    attempts: 3,
};

fn main() -> ExitCode {
    keytide_function::start("keytide-watcher", Config::read, serve)
}

/// Sets everything up once, and answers invocations until Lambda ends the process.
async fn serve(settings: &Settings, config: &Config) -> Result<(), lambda_runtime::Error> {
    let handler = handler(settings, config, &sdk_config(settings, BOUNDS))?;
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| handler.handle(event, time_of_day())))
        .await
}

fn handler(settings: &Settings, config: &Config, aws: &SdkConfig) -> Result<Handler<WebApi>, WebApiError> {
    let role = ReaderRole {
        partition: settings.partition.clone(),
        name: settings.roles.reader.clone(),
        external_id: Some(settings.external_id.clone()),
        session_name: "keytide-watcher".to_owned(),
    };
    let deliveries = DeliverSettings {
        accounts: settings.names.clone(),
        rules: AlertRules { own_roles: settings.roles.clone(), failed_attempts: config.failed_attempts },
        ..DeliverSettings::for_channel(settings.channel.as_str())
    };
    let deliver = Deliver::new(
        Ledger::new(aws, settings.table.as_str()),
        Slack::new(WebApi::new(&settings.slack_url)?),
        TokenSource::secret(Secrets::new(aws), settings.slack_secret.clone()),
        deliveries,
    );
    let directory = Directory::new(aws, role, config.owner_lookup);
    let queue = Queue { client: aws_sdk_sqs::Client::new(aws), url: settings.queue_url.clone() };
    Ok(Handler::new(Watch::new(deliver, Some(directory), Telling::All), queue))
}
