//! SQS: a queue with visibility, as much of it as a consumer sees.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::LocalAws;
use crate::answer::{Answer, JSON_1_0};
use crate::error::LocalError;
use crate::world::Caller;

pub(crate) const OPERATIONS: &[&str] = &[
    "SendMessage",
    "SendMessageBatch",
    "ReceiveMessage",
    "DeleteMessage",
    "ChangeMessageVisibility",
    "GetQueueUrl",
    "GetQueueAttributes",
];

/// One call takes so many messages (SQS's API reference, `SendMessageBatch`).
const LARGEST_BATCH: usize = 10;

/// How often a long poll looks again.
const POLL: Duration = Duration::from_millis(100);

/// The longest time a message may be hidden, 12 hours (SQS's quotas).
const LONGEST_VISIBILITY_SECONDS: u32 = 43_200;

#[derive(Debug)]
struct Message {
    id: String,
    body: String,
    sent: Timestamp,
    first_received: Option<Timestamp>,
    receive_count: u32,
    visible_from: Timestamp,
    /// Made anew at every receive.
    receipt: String,
}

/// One queue, by its URL.
#[derive(Debug)]
pub(crate) struct Queue {
    visibility: Duration,
    messages: VecDeque<Message>,
}

/// The queues of a [`LocalAws`].
#[derive(Debug, Clone, Copy)]
pub struct Queues<'aws> {
    aws: &'aws LocalAws,
}

impl<'aws> Queues<'aws> {
    pub(crate) fn of(aws: &'aws LocalAws) -> Self {
        Self { aws }
    }

    /// Adds an empty queue to an account, and gives its URL. What is received is hidden for
    /// `visibility`.
    pub fn add(self, account: &str, name: &str, visibility: Duration) -> Result<String, LocalError> {
        let url = url_of(account, name);
        let mut world = self.aws.world();
        if world.account(account).is_none() {
            return Err(LocalError::Absent { kind: "account", name: account.to_owned() });
        }
        if world.queues.contains_key(&url) {
            return Err(LocalError::Present { kind: "queue", name: name.to_owned() });
        }
        let queue = Queue { visibility, messages: VecDeque::new() };
        world.queues.insert(url.clone(), queue);
        Ok(url)
    }

    /// How many messages a queue holds, hidden ones included.
    pub fn length(self, url: &str) -> Result<usize, LocalError> {
        let world = self.aws.world();
        let queue = world
            .queues
            .get(url)
            .ok_or_else(|| LocalError::Absent { kind: "queue", name: url.to_owned() })?;
        Ok(queue.messages.len())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    queue_url: String,
    queue_name: String,
    message_body: String,
    delay_seconds: u32,
    entries: Vec<Entry>,
    receipt_handle: String,
    visibility_timeout: Option<u32>,
    max_number_of_messages: Option<usize>,
    wait_time_seconds: u32,
}

/// One message of a batch.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    id: String,
    message_body: String,
    delay_seconds: u32,
}

pub(crate) async fn serve(aws: &LocalAws, operation: &'static str, caller: &Caller, body: &[u8]) -> Answer {
    let request: Request = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => {
            return refuse("InvalidParameterValueException", "InvalidParameterValue", &error.to_string());
        }
    };
    if request.visibility_timeout.is_some_and(|seconds| seconds > LONGEST_VISIBILITY_SECONDS) {
        return refuse(
            "InvalidParameterValueException",
            "InvalidParameterValue",
            "Value for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200.",
        );
    }
    if operation == "GetQueueUrl" {
        let url = url_of(&caller.account, &request.queue_name);
        return if aws.world().queues.contains_key(&url) {
            Answer::json(JSON_1_0, serde_json::json!({ "QueueUrl": url }).to_string())
        } else {
            no_such_queue()
        };
    }
    // A role in one account reaches that account's queues alone: nothing here shares one.
    if !request.queue_url.contains(&format!("/{}/", caller.account)) {
        return no_such_queue();
    }
    match operation {
        "SendMessage" => send(aws, &request),
        "SendMessageBatch" => send_batch(aws, &request),
        "ReceiveMessage" => receive(aws, &request).await,
        "GetQueueAttributes" => attributes(aws, &request),
        "DeleteMessage" => with_receipt(aws, &request, |queue, position, _| {
            queue.messages.remove(position);
        }),
        "ChangeMessageVisibility" => with_receipt(aws, &request, |queue, position, now| {
            if let Some(message) = queue.messages.get_mut(position) {
                let seconds = request.visibility_timeout.unwrap_or_default();
                message.visible_from = later(now, Duration::from_secs(seconds.into()));
            }
        }),
        _ => refuse("InvalidAction", "InvalidAction", "no such operation"),
    }
}

fn send(aws: &LocalAws, request: &Request) -> Answer {
    match put(aws, &request.queue_url, &request.message_body, request.delay_seconds) {
        // No MD5OfMessageBody: the SDK for Rust does not look at it.
        Some(id) => Answer::json(JSON_1_0, serde_json::json!({ "MessageId": id }).to_string()),
        None => no_such_queue(),
    }
}

/// All of a batch, or none where the batch itself is wrong.
fn send_batch(aws: &LocalAws, request: &Request) -> Answer {
    let entries = &request.entries;
    if entries.is_empty() {
        return refuse(
            "EmptyBatchRequest",
            "AWS.SimpleQueueService.EmptyBatchRequest",
            "There should be at least one SendMessageBatchRequestEntry in the request.",
        );
    }
    if entries.len() > LARGEST_BATCH {
        return refuse(
            "TooManyEntriesInBatchRequest",
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            &format!(
                "Maximum number of entries per request are {LARGEST_BATCH}. You have sent {}.",
                entries.len()
            ),
        );
    }
    let ids: BTreeSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    if ids.len() < entries.len() {
        return refuse(
            "BatchEntryIdsNotDistinct",
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            "Two or more batch entries in the request have the same Id.",
        );
    }
    let mut sent = Vec::new();
    for entry in entries {
        let Some(id) = put(aws, &request.queue_url, &entry.message_body, entry.delay_seconds) else {
            return no_such_queue();
        };
        sent.push(serde_json::json!({ "Id": entry.id, "MessageId": id }));
    }
    Answer::json(JSON_1_0, serde_json::json!({ "Successful": sent, "Failed": [] }).to_string())
}

/// Puts one message on a queue and gives its id; `None` where there is no such queue.
fn put(aws: &LocalAws, queue_url: &str, body: &str, delay_seconds: u32) -> Option<String> {
    let now = aws.now();
    let mut world = aws.world();
    let id = world.new_uuid();
    world.queues.get_mut(queue_url)?.messages.push_back(Message {
        id: id.clone(),
        body: body.to_owned(),
        sent: now,
        first_received: None,
        receive_count: 0,
        visible_from: later(now, Duration::from_secs(delay_seconds.into())),
        receipt: String::new(),
    });
    Some(id)
}

async fn receive(aws: &LocalAws, request: &Request) -> Answer {
    let wait = Duration::from_secs(request.wait_time_seconds.into());
    let began = tokio::time::Instant::now();
    loop {
        let Some(messages) = receive_visible(aws, request) else {
            return no_such_queue();
        };
        if !messages.is_empty() {
            return Answer::json(JSON_1_0, serde_json::json!({ "Messages": messages }).to_string());
        }
        if began.elapsed() >= wait {
            return Answer::json(JSON_1_0, "{}".to_owned());
        }
        tokio::time::sleep(POLL).await;
    }
}

fn receive_visible(aws: &LocalAws, request: &Request) -> Option<Vec<serde_json::Value>> {
    let now = aws.now();
    let mut world = aws.world();
    let receipts: Vec<String> = (0..request.max_number_of_messages.unwrap_or(1).clamp(1, 10))
        .map(|_| world.new_id("receipt-", 32))
        .collect();
    let queue = world.queues.get_mut(&request.queue_url)?;
    let visibility =
        request.visibility_timeout.map_or(queue.visibility, |seconds| Duration::from_secs(seconds.into()));
    let visible = queue.messages.iter_mut().filter(|message| message.visible_from <= now);
    let received = visible.zip(receipts).map(|(message, receipt)| {
        message.receipt = receipt;
        message.receive_count += 1;
        message.visible_from = later(now, visibility);
        let first_received = *message.first_received.get_or_insert(now);
        serde_json::json!({
            "MessageId": message.id,
            "ReceiptHandle": message.receipt,
            "Body": message.body,
            "Attributes": {
                "ApproximateReceiveCount": message.receive_count.to_string(),
                "SentTimestamp": message.sent.as_millisecond().to_string(),
                "ApproximateFirstReceiveTimestamp": first_received.as_millisecond().to_string(),
            },
        })
    });
    Some(received.collect())
}

/// How many messages there are: the numbers alone, and of them both, whichever was asked for.
fn attributes(aws: &LocalAws, request: &Request) -> Answer {
    let now = aws.now();
    let world = aws.world();
    let Some(queue) = world.queues.get(&request.queue_url) else {
        return no_such_queue();
    };
    let hidden = queue.messages.iter().filter(|message| message.visible_from > now).count();
    let attributes = serde_json::json!({
        "ApproximateNumberOfMessages": (queue.messages.len() - hidden).to_string(),
        "ApproximateNumberOfMessagesNotVisible": hidden.to_string(),
    });
    Answer::json(JSON_1_0, serde_json::json!({ "Attributes": attributes }).to_string())
}

/// Does something to the message that a receipt is of.
fn with_receipt(
    aws: &LocalAws,
    request: &Request,
    change: impl FnOnce(&mut Queue, usize, Timestamp),
) -> Answer {
    let now = aws.now();
    let mut world = aws.world();
    let Some(queue) = world.queues.get_mut(&request.queue_url) else {
        return no_such_queue();
    };
    let position = queue
        .messages
        .iter()
        .position(|message| !message.receipt.is_empty() && message.receipt == request.receipt_handle);
    let Some(position) = position else {
        return refuse(
            "ReceiptHandleIsInvalid",
            "ReceiptHandleIsInvalid",
            "The input receipt handle is invalid.",
        );
    };
    change(queue, position, now);
    Answer::json(JSON_1_0, "{}".to_owned())
}

fn no_such_queue() -> Answer {
    refuse(
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
        "The specified queue does not exist.",
    )
}

fn refuse(name: &str, query_code: &str, message: &str) -> Answer {
    Answer {
        query_error: Some(format!("{query_code};Sender")),
        ..Answer::json_error(JSON_1_0, 400, &format!("com.amazonaws.sqs#{name}"), message)
    }
}

fn url_of(account: &str, name: &str) -> String {
    format!("https://sqs.us-east-1.amazonaws.com/{account}/{name}")
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| now.saturating_add(by).ok()).unwrap_or(Timestamp::MAX)
}
