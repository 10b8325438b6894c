//! `keytide-sweeper`, the Lambda: every account swept once a day, and one digest of it.
//!
//! One function for two kinds of event. A schedule (EventBridge Scheduler, daily, and once more three hours
//! later) invokes it with the input `{"keytide":"begin"}`: the day's run begins, or, the second time, ends if it
//! had not. Its queue, with a batch size of 1, partial batch responses and a visibility of 20 minutes, which is
//! more than the function's timeout of 15, invokes it with one account each. A message may well be received a
//! dozen times (a credential report being made, an account held by another sweep): the queue's dead letters
//! begin after 20.
//!
//! Thin on purpose: what is done is [`keytide_app::run`] and [`keytide_app::sweep`], and what every function needs
//! is [`keytide_function`]. Here is what this one adds:
//!
//! - [`config`]: what it alone is told.
//! - [`records`]: what an invocation asks for.
//! - [`handler`]: one invocation, within its time.
//! - [`observe`]: the log and the metrics.

mod config;
mod handler;
mod observe;
mod records;

use std::{process::ExitCode, time::Duration};

use aws_config::SdkConfig;
use jiff::SignedDuration;
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
use keytide_function::{Bounds, Settings, sdk_config, time_of_day};
use keytide_slack::{Slack, WebApi, WebApiError};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

use crate::{config::Config, handler::Handler};

/// A session in an account lasts at least as long as an invocation may.
const SESSION_LEFT: SignedDuration = SignedDuration::from_mins(15);

/// Bounds are wider than the watcher's: an invocation has a quarter of an hour.
const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(2),
    attempt: Duration::from_secs(10),
    call: Duration::from_secs(30),
    attempts: 4,
};

fn main() -> ExitCode {
    keytide_function::start("keytide-sweeper", Config::read, serve)
}

/// Sets everything up once, and answers invocations until Lambda ends the process.
async fn serve(settings: &Settings, config: &Config) -> Result<(), lambda_runtime::Error> {
    let handler = handler(settings, config, &sdk_config(settings, BOUNDS))?;
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| handler.handle(event, time_of_day())))
        .await
}

fn handler(settings: &Settings, config: &Config, aws: &SdkConfig) -> Result<Handler<WebApi>, WebApiError> {
    let reach = RoleReach {
        partition: settings.partition.clone(),
        name: settings.roles.reader.clone(),
        external_id: Some(settings.external_id.clone()),
        session_name: "keytide-sweeper".to_owned(),
    };
    let role = DisablerRole {
        partition: settings.partition.clone(),
        name: settings.roles.disabler.clone(),
        external_id: Some(settings.external_id.clone()),
    };
    let ledger = Ledger::new(aws, settings.table.as_str());
    let web = WebApi::new(&settings.slack_url)?;
    let deliver = || {
        let deliveries = DeliverSettings {
            accounts: settings.names.clone(),
            rules: AlertRules { own_roles: settings.roles.clone(), ..AlertRules::default() },
            ..DeliverSettings::for_channel(settings.channel.as_str())
        };
        let token = TokenSource::secret(Secrets::new(aws), settings.slack_secret.clone());
        Deliver::new(ledger.clone(), Slack::new(web.clone()), token, deliveries)
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
    let queue = Queue::new(aws, settings.queue_url.as_str());
    let runs = Runs::new(ledger.clone(), sweep, deliver(), queue.clone(), choice);
    Ok(Handler::new(runs, queue))
}
