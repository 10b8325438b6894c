//! What is in the security account alone.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::{PointInTimeRecoveryStatus, TimeToLiveDescription, TimeToLiveStatus};
use aws_sdk_scheduler::types::ScheduleState;
use jiff::Timestamp;
use keytide_aws::{Failure, disabler, ledger::Ledger};
use keytide_slack::Token;
use serde_json::Value;

use super::{
    super::judge::{Halt, Installation, LatestRun, Queue, Seen, Table},
    always, asked, document, queue, rule,
    slack::bot,
};

/// Where the installation is, and how its parts are called.
#[derive(Debug)]
pub(in super::super) struct Place<'a> {
    pub(in super::super) config: &'a SdkConfig,
    /// The security account.
    pub(in super::super) account: &'a str,
    pub(in super::super) prefix: &'a str,
    pub(in super::super) table: &'a str,
    pub(in super::super) secret: &'a str,
    pub(in super::super) channel: Option<&'a str>,
    /// A token to ask Slack with where the secret's could not be read.
    pub(in super::super) token: Option<Token>,
    pub(in super::super) slack_url: &'a str,
}

/// Everything in the security account.
pub(in super::super) async fn installation(
    place: &Place<'_>,
    ledger: &Ledger,
    now: Timestamp,
) -> Installation {
    let Place { config, prefix, account, .. } = place;
    let rule_name = format!("{prefix}-key-events-in");
    let names = |ends: &[&str]| ends.iter().map(|end| format!("{prefix}-{end}")).collect::<Vec<_>>();
    let topic = format!("arn:aws:sns:us-east-1:{account}:{prefix}-alarms");
    let looked_at = tokio::join!(
        rule(config, &rule_name, Some(prefix)),
        bus(config, prefix),
        schedule(config, prefix),
        table(config, place.table),
        queues(config, names(&["events", "accounts"])),
        queues(config, names(&["events-dead", "accounts-dead", "begins-dead"])),
        told(config, &topic),
        secret(config, place.secret),
    );
    let (rule, bus, schedule, table, queues, dead, told, secret) = looked_at;
    let (acceptance, halt, clock_skew, runs) = tokio::join!(
        ledger.acceptance(),
        ledger.halt(),
        disabler::clock_skew(config, now),
        ledger.latest_runs(2),
    );
    // What the functions post with, so far as it can be read.
    let token = match &secret {
        Ok(token) => token.as_ref(),
        Err(_) => place.token.as_ref(),
    };
    let bot = match token {
        Some(token) => Some(bot(place.slack_url, token, place.channel).await),
        None => None,
    };
    let run = runs.map(|runs| {
        let mut runs = runs.into_iter().map(|run| run.value);
        let latest = runs.next()?;
        let before = runs.next().and_then(|run| run.digest_at);
        Some(LatestRun {
            began_at: latest.began_at,
            has_told: latest.digest_at.is_some(),
            digest_at: latest.digest_at.max(before),
            expected: latest.expected.into_keys().map(|id| id.to_string()).collect(),
        })
    });
    let halt = halt.map(|halt| halt.map(|halt| Halt { author: halt.value.author, at: halt.value.at }));
    let words = |failure: Failure| failure.to_string();
    Installation {
        prefix: (*prefix).to_owned(),
        account: (*account).to_owned(),
        region: config.region().map(ToString::to_string).unwrap_or_default(),
        ledger: place.table.to_owned(),
        secret: place.secret.to_owned(),
        rule,
        bus,
        schedule,
        table,
        unaccepted: acceptance
            .map(|acceptance| acceptance.unaccepted.map(|unaccepted| unaccepted.why))
            .map_err(words),
        halt: halt.map_err(words),
        has_secret: secret.map(|token| token.is_some()),
        bot,
        queues,
        dead,
        told,
        clock_skew: clock_skew.map_err(words),
        run: run.map_err(words),
    }
}

async fn bus(config: &SdkConfig, name: &str) -> Seen<Option<Value>> {
    let client = aws_sdk_eventbridge::Client::new(config);
    let found = asked("events:DescribeEventBus", client.describe_event_bus().name(name).send()).await?;
    Ok(found.map(|bus| bus.policy().map(document).unwrap_or_default()))
}

async fn schedule(config: &SdkConfig, prefix: &str) -> Seen<Option<bool>> {
    let client = aws_sdk_scheduler::Client::new(config);
    let found =
        asked("scheduler:GetSchedule", client.get_schedule().name(format!("{prefix}-sweep")).send()).await?;
    Ok(found.map(|found| found.state() == Some(&ScheduleState::Enabled)))
}

async fn table(config: &SdkConfig, name: &str) -> Seen<Option<Table>> {
    let client = aws_sdk_dynamodb::Client::new(config);
    let described = asked("dynamodb:DescribeTable", client.describe_table().table_name(name).send()).await?;
    let Some(described) = described.and_then(|answer| answer.table) else { return Ok(None) };
    let (backups, expiry) = tokio::join!(
        asked(
            "dynamodb:DescribeContinuousBackups",
            client.describe_continuous_backups().table_name(name).send()
        ),
        asked("dynamodb:DescribeTimeToLive", client.describe_time_to_live().table_name(name).send()),
    );
    let has_recovery = always(backups).map(|answer| {
        let recovery =
            answer.continuous_backups_description.and_then(|found| found.point_in_time_recovery_description);
        recovery.and_then(|found| found.point_in_time_recovery_status)
            == Some(PointInTimeRecoveryStatus::Enabled)
    });
    let expires_by = always(expiry).map(|answer| answer.time_to_live_description.and_then(expires_by));
    Ok(Some(Table {
        is_protected: described.deletion_protection_enabled == Some(true),
        has_recovery,
        expires_by,
    }))
}

/// The attribute by which rows expire. It is told from the moment on at which somebody asked for it, an hour before it is so.
fn expires_by(found: TimeToLiveDescription) -> Option<String> {
    let status = found.time_to_live_status?;
    let is_on = [TimeToLiveStatus::Enabled, TimeToLiveStatus::Enabling].contains(&status);
    found.attribute_name.filter(|_| is_on)
}

async fn queues(config: &SdkConfig, names: Vec<String>) -> Vec<(String, Seen<Option<Queue>>)> {
    let mut found = Vec::new();
    for name in names {
        let queue = queue(config, &name).await;
        found.push((name, queue));
    }
    found
}

/// How many confirmed subscriptions the topic has: one that waits for its confirmation has no ARN yet.
async fn told(config: &SdkConfig, topic: &str) -> Seen<Option<usize>> {
    let client = aws_sdk_sns::Client::new(config);
    let (mut confirmed, mut next) = (0, None);
    loop {
        let listing =
            client.list_subscriptions_by_topic().topic_arn(topic).set_next_token(next.take()).send();
        let Some(page) = asked("sns:ListSubscriptionsByTopic", listing).await? else { return Ok(None) };
        let arns = page.subscriptions().iter().filter_map(|one| one.subscription_arn());
        confirmed += arns.filter(|arn| arn.starts_with("arn:")).count();
        next = page.next_token;
        if next.is_none() {
            return Ok(Some(confirmed));
        }
    }
}

/// Slack's token, out of its secret; `None` where there is no such secret, or nothing in it that is a text.
async fn secret(config: &SdkConfig, name: &str) -> Seen<Option<Token>> {
    let client = aws_sdk_secretsmanager::Client::new(config);
    let found =
        asked("secretsmanager:GetSecretValue", client.get_secret_value().secret_id(name).send()).await?;
    let text = found.and_then(|found| found.secret_string).map(|text| text.trim().to_owned());
    Ok(text.filter(|text| !text.is_empty()).map(Token::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_that_is_being_turned_on_is_on() {
        let by = |status: TimeToLiveStatus| {
            let found = TimeToLiveDescription::builder().attribute_name("expires_at");
            expires_by(found.time_to_live_status(status).build())
        };
        for on in [TimeToLiveStatus::Enabled, TimeToLiveStatus::Enabling] {
            assert_eq!(by(on).as_deref(), Some("expires_at"));
        }
        for off in [TimeToLiveStatus::Disabled, TimeToLiveStatus::Disabling] {
            assert_eq!(by(off), None);
        }
    }
}
