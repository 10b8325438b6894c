//! A batch of messages: read leniently, worked on a few at a time, each on its own.
//!
//! Nothing that happens to one message reaches another: not its failure, not its panic, not its slowness.

use std::{collections::HashMap, future::Future, time::Duration};

use aws_lambda_events::event::sqs::SqsBatchResponse;
use lambda_runtime::Diagnostic;
use serde_json::Value;
use tokio::{
    task::{Id, JoinSet},
    time::{Instant, timeout_at},
};
use tracing::Instrument as _;

/// One message of the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its id, by which it is handed back; empty where the record has none.
    pub(crate) id: String,
    /// What its visibility is changed with.
    pub(crate) receipt: Option<String>,
    /// The EventBridge event, or whatever it is.
    pub(crate) body: String,
    /// How often it was received, this time included.
    pub(crate) received: u32,
}

/// What the function was invoked with is no batch of messages at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the invocation's event is {found}; expected a batch of SQS messages: an object with a list `Records`"
)]
pub(crate) struct NotABatch {
    found: &'static str,
}

/// So it stands in Lambda's own record of the failed invocation.
impl From<NotABatch> for Diagnostic {
    fn from(error: NotABatch) -> Self {
        Self { error_type: "NotABatch".to_owned(), error_message: error.to_string() }
    }
}

/// Reads a batch. A record that lacks something, or has it in another type, is still a message: what cannot
/// be made out of it is found out, and told, where its body is read.
pub(crate) fn read(event: &Value) -> Result<Vec<Message>, NotABatch> {
    let found = match event {
        Value::Object(members) => match members.get("Records") {
            Some(Value::Array(records)) => return Ok(records.iter().map(message).collect()),
            Some(_) => "an object whose `Records` are no list",
            None => "an object without `Records`",
        },
        Value::Array(_) => "a list",
        Value::Null => "null",
        _ => "neither an object nor a list",
    };
    Err(NotABatch { found })
}

fn message(record: &Value) -> Message {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let member = |name| record.get(name).and_then(text);
    let received = record.pointer("/attributes/ApproximateReceiveCount").and_then(text);
    Message {
        id: member("messageId").unwrap_or_default(),
        receipt: member("receiptHandle"),
        // Not a record as SQS makes them: what there is, is taken for the body.
        body: if record.is_object() { member("body").unwrap_or_default() } else { record.to_string() },
        received: received.and_then(|count| count.parse().ok()).unwrap_or(1),
    }
}

/// How the work on one message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended<T> {
    /// It came to its own end.
    Returned(T),
    /// It was broken off: the invocation's time was over.
    OutOfTime,
    /// It was not begun: too little of the invocation's time was left.
    Untouched,
    /// It panicked: a bug. Where is in the log.
    Panicked,
}

/// How the messages of a batch are worked on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// So many at a time.
    pub(crate) at_once: usize,
    /// When all work is broken off.
    pub(crate) until: Instant,
    /// None is begun with less time than this left.
    pub(crate) least: Duration,
}

/// Works on all messages, a few at a time, and says of each how it ended, in their order.
pub(crate) async fn run<T, Work>(
    messages: &[Message],
    pace: Pace,
    work: impl Fn(Message) -> Work,
) -> Vec<Ended<T>>
where
    T: Send + 'static,
    Work: Future<Output = T> + Send + 'static,
{
    let mut ended: Vec<Ended<T>> = messages.iter().map(|_| Ended::Untouched).collect();
    let mut waiting = messages.iter().enumerate();
    let mut working = JoinSet::new();
    let mut positions: HashMap<Id, usize> = HashMap::new();
    loop {
        while working.len() < pace.at_once.max(1)
            && Instant::now() + pace.least <= pace.until
            && let Some((position, message)) = waiting.next()
        {
            let task = timeout_at(pace.until, work(message.clone()));
            // A task of its own is what a panic ends; the span carries the invocation's id into its lines.
            let handle = working.spawn(task.instrument(tracing::Span::current()));
            positions.insert(handle.id(), position);
        }
        let Some(joined) = working.join_next_with_id().await else { return ended };
        let (id, end) = match joined {
            Ok((id, Ok(value))) => (id, Ended::Returned(value)),
            Ok((id, Err(_))) => (id, Ended::OutOfTime),
            Err(broken) => (broken.id(), Ended::Panicked),
        };
        if let Some(place) = positions.remove(&id).and_then(|position| ended.get_mut(position)) {
            *place = end;
        }
    }
}

/// The answer that hands the failed messages back to the queue, and lets SQS delete all others.
///
/// A failed message without an id cannot be handed back alone: an empty identifier hands the whole batch
/// back (Lambda's documentation of partial batch responses), which loses nothing, since what was done is
/// not done twice.
pub(crate) fn response<'a>(failed: impl IntoIterator<Item = &'a Message>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for message in failed {
        response.add_failure(message.id.as_str());
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use serde_json::json;
    use tokio::time::sleep;

    use super::*;

    fn named(id: &str) -> Message {
        Message { id: id.to_owned(), received: 1, ..Message::default() }
    }

    fn pace(at_once: usize, time_seconds: u64) -> Pace {
        let until = Instant::now() + Duration::from_secs(time_seconds);
        Pace { at_once, until, least: Duration::from_secs(5) }
    }

    #[test]
    fn a_batch_is_read_as_lambda_gives_it() {
        let event = json!({"Records": [{
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": "{\"a\":1}",
            "attributes": {"ApproximateReceiveCount": "3", "SentTimestamp": "1545082649183"},
            "messageAttributes": {},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:my-queue",
            "awsRegion": "us-east-1"
        }]});
        let expected = Message {
            id: "059f36b4-87a3-44ab-83d2-661975830a7d".to_owned(),
            receipt: Some("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".to_owned()),
            body: "{\"a\":1}".to_owned(),
            received: 3,
        };
        assert_eq!(read(&event), Ok(vec![expected]));
    }

    #[test]
    fn a_record_that_lacks_something_loses_neither_itself_nor_the_batch() {
        let event = json!({"Records": [
            {},
            null,
            {"messageId": null, "body": {"detail": {}}, "attributes": null},
            {"messageId": 7, "body": "x", "attributes": {"ApproximateReceiveCount": 2}},
            {"messageId": "m", "body": null, "attributes": {"ApproximateReceiveCount": "many"}},
        ]});
        let messages = read(&event).unwrap();
        let seen: Vec<_> =
            messages.iter().map(|message| (&*message.id, &*message.body, message.received)).collect();
        let expected =
            [("", "", 1), ("", "null", 1), ("", "{\"detail\":{}}", 1), ("7", "x", 2), ("m", "", 1)];
        assert_eq!(seen, expected);
        assert_eq!(read(&json!({"Records": []})), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_batch_is_refused_with_what_was_expected() {
        for event in [json!({}), json!({"Records": {}}), json!([]), json!(null), json!("text"), json!(7)] {
            let said = read(&event).unwrap_err().to_string();
            assert!(said.contains("expected a batch of SQS messages"), "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_a_panic_and_an_endless_wait_stay_with_their_own_message() {
        let messages = ["good", "bad", "broken", "endless", "last"].map(named);
        let ended = run(&messages, pace(2, 60), |message| async move {
            match &*message.id {
                "bad" => Err("no"),
                "broken" => panic!("a bug"),
                "endless" => std::future::pending().await,
                _ => Ok(()),
            }
        })
        .await;
        let expected = [
            Ended::Returned(Ok(())),
            Ended::Returned(Err("no")),
            Ended::Panicked,
            Ended::OutOfTime,
            Ended::Returned(Ok(())),
        ];
        assert_eq!(ended, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_are_worked_on_at_once() {
        let messages: Vec<Message> = (0..20).map(|n| named(&n.to_string())).collect();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let ended = run(&messages, pace(4, 600), |_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_secs(1)).await;
                now.fetch_sub(1, Ordering::SeqCst);
            }
        })
        .await;
        assert_eq!(most.load(Ordering::SeqCst), 4);
        assert!(ended.iter().all(|end| *end == Ended::Returned(())), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn when_too_little_time_is_left_the_rest_is_not_begun() {
        let messages: Vec<Message> = (0..10).map(|n| named(&n.to_string())).collect();
        let begun = Arc::new(AtomicUsize::new(0));
        let ended = run(&messages, pace(1, 20), |_| {
            begun.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_secs(4))
        })
        .await;
        // At 0, 4, 8 and 12 s; at 16 s less than 5 s are left.
        assert_eq!(begun.load(Ordering::SeqCst), 4);
        assert_eq!(ended.iter().filter(|end| **end == Ended::Returned(())).count(), 4);
        assert!(ended[4..].iter().all(|end| *end == Ended::Untouched), "{ended:?}");
        let none = run(&messages, pace(4, 0), |_| async { unreachable!("no time") }).await;
        assert!(none.iter().all(|end: &Ended<()>| *end == Ended::Untouched));
    }

    #[test]
    fn the_answer_names_the_failed_in_sqs_own_words() {
        let (first, nameless) = (named("m-1"), named(""));
        let answer = serde_json::to_value(response([&first, &nameless])).unwrap();
        let expected = json!({"batchItemFailures": [{"itemIdentifier": "m-1"}, {"itemIdentifier": ""}]});
        assert_eq!(answer, expected);
        assert_eq!(serde_json::to_value(response([])).unwrap(), json!({"batchItemFailures": []}));
    }
}
