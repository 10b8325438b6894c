//! How the doctor looks: calls that only read, each by the name of the right that it takes.

use std::{collections::BTreeSet, future::Future};

use aws_config::SdkConfig;
use aws_sdk_cloudtrail::types::{EventSelector, ReadWriteType};
use aws_sdk_dynamodb::types::{PointInTimeRecoveryStatus, TimeToLiveStatus};
use aws_sdk_eventbridge::{error::ProvideErrorMetadata, types::RuleState};
use aws_sdk_scheduler::types::ScheduleState;
use aws_sdk_sqs::{config::http::HttpResponse, error::SdkError, types::QueueAttributeName};
use jiff::Timestamp;
use keytide_aws::{Failure, disabler, ledger::Ledger, secrets::Secrets};
use keytide_core::{AccountId, policy::Policy};
use keytide_slack::{Token, WebApi};

use super::judge::{Account, Bot, Installation, LatestRun, Queue, Rule, Seen, Table, Trail};

/// How the services say that there is no such thing.
const NOT_THERE: [&str; 6] = [
    "ResourceNotFoundException",
    "NoSuchEntity",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
    "TrailNotFoundException",
    "TableNotFoundException",
];
/// The rules of `infra/member-account.yaml`, without the prefix.
const RULES: [&str; 2] = ["key-events", "own-role-events"];

/// What a call found; `None`: there is no such thing. The error names the right that the call takes.
async fn asked<T, E>(
    right: &str,
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Seen<Option<T>>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match call.await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => {
            let failure = Failure::of(right, &error);
            let is_gone = failure.code.as_deref().is_some_and(|code| NOT_THERE.contains(&code));
            if is_gone { Ok(None) } else { Err(failure.to_string()) }
        }
    }
}

/// The same, of what is always there.
fn always<T>(seen: Seen<Option<T>>) -> Seen<T> {
    seen?.ok_or_else(|| "AWS says that there is no such thing".to_owned())
}

/// Where the installation is, and how its parts are called.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) config: &'a SdkConfig,
    pub(super) prefix: &'a str,
    pub(super) table: &'a str,
    pub(super) secret: &'a str,
    pub(super) channel: Option<&'a str>,
    /// Slack's token, where it was given and need not be read.
    pub(super) token: Option<Token>,
    pub(super) slack_url: &'a str,
}

/// Everything in the security account.
pub(super) async fn installation(place: &Place<'_>, ledger: &Ledger, now: Timestamp) -> Installation {
    let Place { config, prefix, .. } = place;
    let rule_name = format!("{prefix}-key-events-in");
    let names = |ends: &[&str]| ends.iter().map(|end| format!("{prefix}-{end}")).collect::<Vec<_>>();
    let (rule, schedule, table, acceptance, secret, queues, dead, clock_skew, run) = tokio::join!(
        rule(config, &rule_name, Some(prefix)),
        schedule(config, prefix),
        table(config, place.table),
        ledger.acceptance(),
        token(place),
        queues(config, names(&["events", "accounts"])),
        queues(config, names(&["events-dead", "accounts-dead", "begins-dead"])),
        disabler::clock_skew(config, now),
        ledger.latest_runs(1),
    );
    let bot = match &secret {
        Ok(Some(token)) => bot(place, token).await,
        // Of the secret something is said already.
        Ok(None) => Err("there is no token to ask with".to_owned()),
        Err(why) => Err(format!("its token could not be read: {why}")),
    };
    let run = run.map_err(|failure| failure.to_string()).map(|runs| {
        let latest = runs.into_iter().next().map(|run| run.value);
        latest.map(|run| LatestRun { began_at: run.began_at, digest_at: run.digest_at })
    });
    Installation {
        prefix: (*prefix).to_owned(),
        rule,
        schedule,
        table,
        unaccepted: acceptance
            .map(|acceptance| acceptance.unaccepted.map(|unaccepted| unaccepted.why))
            .map_err(|failure| failure.to_string()),
        secret: secret.map(|token| token.is_some()),
        bot,
        queues,
        dead,
        clock_skew: clock_skew.map_err(|failure| failure.to_string()),
        run,
    }
}

async fn rule(config: &SdkConfig, name: &str, bus: Option<&str>) -> Seen<Option<Rule>> {
    let client = aws_sdk_eventbridge::Client::new(config);
    let bus = bus.map(str::to_owned);
    let described = client.describe_rule().name(name).set_event_bus_name(bus.clone()).send();
    let Some(described) = asked("events:DescribeRule", described).await? else { return Ok(None) };
    let listed = client.list_targets_by_rule().rule(name).set_event_bus_name(bus).send();
    let listed = always(asked("events:ListTargetsByRule", listed).await)?;
    let target = |target: &aws_sdk_eventbridge::types::Target| {
        (target.arn().to_owned(), target.role_arn().map(str::to_owned))
    };
    Ok(Some(Rule {
        is_enabled: described.state() == Some(&RuleState::Enabled),
        targets: listed.targets().iter().map(target).collect(),
    }))
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
    let expires_by = always(expiry).map(|answer| {
        let found = answer.time_to_live_description;
        found
            .filter(|found| found.time_to_live_status == Some(TimeToLiveStatus::Enabled))
            .and_then(|found| found.attribute_name)
    });
    Ok(Some(Table {
        is_protected: described.deletion_protection_enabled == Some(true),
        has_recovery,
        expires_by,
    }))
}

async fn queues(config: &SdkConfig, names: Vec<String>) -> Vec<Queue> {
    let client = aws_sdk_sqs::Client::new(config);
    let mut found = Vec::new();
    for name in names {
        let waiting = waiting(&client, &name).await;
        found.push((name, waiting));
    }
    found
}

async fn waiting(client: &aws_sdk_sqs::Client, name: &str) -> Seen<Option<u64>> {
    let found = asked("sqs:GetQueueUrl", client.get_queue_url().queue_name(name).send()).await?;
    let Some(url) = found.and_then(|found| found.queue_url) else { return Ok(None) };
    let number = QueueAttributeName::ApproximateNumberOfMessages;
    let asking = client.get_queue_attributes().queue_url(url).attribute_names(number.clone()).send();
    let Some(answer) = asked("sqs:GetQueueAttributes", asking).await? else { return Ok(None) };
    let count = answer.attributes.and_then(|all| all.get(&number)?.parse().ok());
    count.map(Some).ok_or_else(|| "sqs:GetQueueAttributes: the answer has no number of messages".to_owned())
}

/// Slack's token: as given, or out of the secret; `None` where there is no such secret.
async fn token(place: &Place<'_>) -> Seen<Option<Token>> {
    if let Some(token) = &place.token {
        return Ok(Some(token.clone()));
    }
    match Secrets::new(place.config).read(place.secret).await {
        Ok(text) => Ok(Some(Token::new(text))),
        Err(failure) if failure.code.as_deref() == Some("ResourceNotFoundException") => Ok(None),
        Err(failure) => Err(failure.to_string()),
    }
}

async fn bot(place: &Place<'_>, token: &Token) -> Seen<Bot> {
    let slack = WebApi::new(place.slack_url).map_err(|error| error.to_string())?;
    let said = slack.look(token, "auth.test", &[]).await.map_err(|error| error.to_string())?;
    let refusal = |body: &serde_json::Value| {
        let refused = body.get("ok").is_none_or(|ok| *ok != true);
        let error = || body.get("error").and_then(|error| error.as_str()).unwrap_or("no reason given");
        refused.then(|| error().to_owned())
    };
    let refused = refusal(&said.body);
    let is_member = match place.channel {
        None => Err("no channel was named: --channel, or KEYTIDE_CHANNEL".to_owned()),
        Some(channel) => {
            let asked = slack.look(token, "conversations.info", &[("channel", channel)]).await;
            match asked.map(|said| (refusal(&said.body), said.body)) {
                Ok((None, body)) => Ok(body.pointer("/channel/is_member").is_some_and(|is| *is == true)),
                // A channel that the bot cannot see, private ones among them.
                Ok((Some(error), _)) if error == "channel_not_found" || error == "not_in_channel" => {
                    Ok(false)
                }
                Ok((Some(error), _)) => Err(error),
                Err(error) => Err(error.to_string()),
            }
        }
    };
    Ok(Bot { refused, scopes: said.scopes, is_member })
}

/// Everything in one account; `config`: with credentials of that account, or why there are none.
pub(super) async fn account(
    id: &AccountId,
    config: Seen<SdkConfig>,
    prefix: &str,
    policy: &Policy,
    ledger: &Ledger,
) -> Account {
    let record = async { ledger.account(id).await.map_err(|failure| failure.to_string()) };
    let keys = async { ledger.open_keys(id, None).await.map_err(|failure| failure.to_string()) };
    let (record, keys) = tokio::join!(record, keys);
    let ownerless = keys.map(|keys| {
        let nobody = keys.iter().filter(|key| {
            let owner = key.value.owner.as_ref();
            owner.is_some_and(|owner| owner.tags.slack_id().is_none())
        });
        let users: BTreeSet<String> =
            nobody.filter_map(|key| key.value.holder.subject.user().map(str::to_owned)).collect();
        users.into_iter().collect()
    });
    let mut rules = Vec::new();
    for name in RULES {
        let found = match &config {
            Ok(config) => rule(config, &format!("{prefix}-{name}"), None).await,
            Err(why) => Err(why.clone()),
        };
        rules.push((name.to_owned(), found));
    }
    let has_role = async |name: &str| -> Seen<bool> {
        let client = aws_sdk_iam::Client::new(config.as_ref().map_err(Clone::clone)?);
        let found =
            asked("iam:GetRole", client.get_role().role_name(format!("{prefix}-{name}")).send()).await;
        found.map(|found| found.is_some())
    };
    let trails = async {
        match &config {
            Ok(config) => Box::pin(trails(config)).await,
            Err(why) => Err(why.clone()),
        }
    };
    let (reader, disabler, forwarder, trails) =
        tokio::join!(has_role("reader"), has_role("disabler"), has_role("forwarder"), trails);
    Account {
        id: id.to_string(),
        mode: policy.mode(id),
        rules,
        reader,
        disabler,
        forwarder,
        trails,
        ownerless,
        swept_at: record.map(|record| record.value.swept_at),
    }
}

/// The account's trails, the organization's among them, as they are seen from it.
async fn trails(config: &SdkConfig) -> Seen<Vec<Trail>> {
    let client = aws_sdk_cloudtrail::Client::new(config);
    let described = client.describe_trails().include_shadow_trails(true).send();
    let described = always(asked("cloudtrail:DescribeTrails", described).await)?;
    let mut trails = Vec::new();
    for found in described.trail_list.unwrap_or_default() {
        let name = found.trail_arn.or(found.name).unwrap_or_default();
        let (status, selectors) = tokio::join!(
            asked("cloudtrail:GetTrailStatus", client.get_trail_status().name(&name).send()),
            asked("cloudtrail:GetEventSelectors", client.get_event_selectors().trail_name(&name).send()),
        );
        trails.push(Trail {
            is_multi_region: found.is_multi_region_trail == Some(true),
            has_global_events: found.include_global_service_events == Some(true),
            is_logging: always(status).map(|status| status.is_logging == Some(true)),
            has_writes: always(selectors).map(|answer| {
                // A trail without selectors of its own records all management events (CloudTrail's user guide,
                // "Logging management events").
                let (simple, advanced) = (answer.event_selectors(), answer.advanced_event_selectors());
                (simple.is_empty() && advanced.is_empty())
                    || simple.iter().any(records_writes)
                    || advanced.iter().any(|selector| records_writes_by_fields(selector.field_selectors()))
            }),
            name,
        });
    }
    Ok(trails)
}

fn records_writes(selector: &EventSelector) -> bool {
    let is_of_management = selector.include_management_events().unwrap_or(true);
    is_of_management && selector.read_write_type().is_none_or(|kind| *kind != ReadWriteType::ReadOnly)
}

fn records_writes_by_fields(fields: &[aws_sdk_cloudtrail::types::AdvancedFieldSelector]) -> bool {
    let of = |name: &str| fields.iter().find(|field| field.field() == name);
    let is_of_management =
        of("eventCategory").is_some_and(|field| field.equals().iter().any(|value| value == "Management"));
    let only_reads = of("readOnly").is_some_and(|field| field.equals().iter().any(|value| value == "true"));
    // What narrows the sources may leave IAM out: said to be unfit, rather than taken for good.
    let may_leave_out = fields.iter().any(|field| {
        field.field() == "eventSource"
            && !(field.equals().is_empty()
                && field.not_equals().iter().all(|source| source != "iam.amazonaws.com"))
    });
    is_of_management && !only_reads && !may_leave_out
}
