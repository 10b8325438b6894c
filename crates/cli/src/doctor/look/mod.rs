//! How the doctor looks: calls that only read, each by the name of the right that it takes.
//!
//! What is asked in the security account alone is in [`installation`]; in every account, [`account`] and [`trails`]. The tests
//! read the rights out of these files, and hold the policies to them.

mod account;
mod installation;
mod slack;
mod trails;

use std::future::Future;

use aws_config::SdkConfig;
use aws_sdk_eventbridge::{error::ProvideErrorMetadata, types::RuleState};
use aws_sdk_sqs::{config::http::HttpResponse, error::SdkError, types::QueueAttributeName};
use keytide_aws::Failure;
use serde_json::Value;

pub(super) use self::{
    account::account,
    installation::{Place, installation},
    trails::Elsewhere,
};
use super::judge::{Queue, Rule, Seen, Target};

/// How the services say that there is no such thing.
const NOT_THERE: [&str; 8] = [
    "ResourceNotFoundException",
    "NoSuchEntity",
    "NotFound",
    "NotFoundException",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
    "TrailNotFoundException",
    "TableNotFoundException",
];

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

/// A document as AWS hands it out: as JSON, or percent-encoded as IAM does. What cannot be read says nothing.
fn document(text: &str) -> Value {
    if let Ok(document) = serde_json::from_str(text) {
        return document;
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        decoded.push(match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or_default(),
                _ => return Value::Null,
            },
            byte => byte,
        });
    }
    serde_json::from_slice(&decoded).unwrap_or_default()
}

async fn rule(config: &SdkConfig, name: &str, bus: Option<&str>) -> Seen<Option<Rule>> {
    let client = aws_sdk_eventbridge::Client::new(config);
    let bus = bus.map(str::to_owned);
    let described = client.describe_rule().name(name).set_event_bus_name(bus.clone()).send();
    let Some(described) = asked("events:DescribeRule", described).await? else { return Ok(None) };
    let listed = client.list_targets_by_rule().rule(name).set_event_bus_name(bus).send();
    let listed = always(asked("events:ListTargetsByRule", listed).await)?;
    let target = |target: &aws_sdk_eventbridge::types::Target| Target {
        arn: target.arn().to_owned(),
        role: target.role_arn().map(str::to_owned),
        is_rewritten: target.input().is_some()
            || target.input_path().is_some()
            || target.input_transformer().is_some(),
        dead_letters: target.dead_letter_config().and_then(|config| config.arn()).map(str::to_owned),
    };
    Ok(Some(Rule {
        // There is more than one way of being enabled.
        is_enabled: described.state().is_some_and(|state| *state != RuleState::Disabled),
        pattern: described.event_pattern().map(document).unwrap_or_default(),
        targets: listed.targets().iter().map(target).collect(),
    }))
}

async fn queue(config: &SdkConfig, name: &str) -> Seen<Option<Queue>> {
    let client = aws_sdk_sqs::Client::new(config);
    let found = asked("sqs:GetQueueUrl", client.get_queue_url().queue_name(name).send()).await?;
    let Some(url) = found.and_then(|found| found.queue_url) else { return Ok(None) };
    // A message that is being worked on, or waits out a pause, is as little done with as one that waits.
    let counts = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    let names = counts.iter().cloned().chain([QueueAttributeName::Policy]).collect();
    let asking = client.get_queue_attributes().queue_url(&url).set_attribute_names(Some(names)).send();
    let Some(answer) = asked("sqs:GetQueueAttributes", asking).await? else { return Ok(None) };
    let attributes = answer.attributes.unwrap_or_default();
    let counted = counts.iter().map(|name| attributes.get(name).and_then(|count| count.parse::<u64>().ok()));
    let messages = counted.sum::<Option<u64>>();
    let messages =
        messages.ok_or_else(|| "sqs:GetQueueAttributes: the answer lacks a number of messages".to_owned())?;
    let policy =
        attributes.get(&QueueAttributeName::Policy).map(|policy| document(policy)).unwrap_or_default();
    Ok(Some(Queue { url, messages, policy }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_read_as_they_come() {
        let one = json!({"a": "b c"});
        assert_eq!(document(r#"{"a": "b c"}"#), one);
        assert_eq!(document("%7B%22a%22%3A%20%22b%20c%22%7D"), one);
        assert_eq!(document("%7B%22a%22%3A"), Value::Null);
        assert_eq!(document("%7"), Value::Null);
        assert_eq!(document(""), Value::Null);
    }
}
