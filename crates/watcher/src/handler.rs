//! One invocation: a batch in, the messages that have to come again out.

use std::{sync::Arc, time::Duration};

use aws_lambda_events::event::sqs::SqsBatchResponse;
use jiff::Timestamp;
use keytide_app::{
    Invocation,
    watch::{Incoming, Watch, WatchError, Watched},
};
use keytide_function::metrics;
use keytide_slack::Post;
use lambda_runtime::LambdaEvent;
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    backoff::pause_seconds,
    batch::{self, Ended, Message, NotABatch, Pace},
    observe::{self, Report},
};

/// So many messages are worked on at once: enough to wait for several at a time, and few enough to keep
/// within Slack's message a second, for which all of them wait.
const AT_ONCE: usize = 4;
/// Kept back from the invocation's time: for having failed messages wait, for the log and for the answer.
const RESERVE: Duration = Duration::from_secs(2);
/// No message is begun with less time than this left: the ledger, the owner's look-up and Slack each get
/// their chance within it.
const LEAST: Duration = Duration::from_secs(8);
/// How long changing the visibility of failed messages may take, within the reserve.
const BACKOFF_LIMIT: Duration = Duration::from_millis(1_200);

/// The function, set up once and invoked many times.
#[derive(Debug)]
pub(crate) struct Handler<P> {
    watch: Arc<Watch<P>>,
    queue: Queue,
}

/// The queue that the messages come from.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    /// The client.
    pub(crate) client: aws_sdk_sqs::Client,
    /// Which queue.
    pub(crate) url: String,
}

impl<P: Post + 'static> Handler<P> {
    /// Watches what comes from the queue.
    pub(crate) fn new(watch: Watch<P>, queue: Queue) -> Self {
        Self { watch: Arc::new(watch), queue }
    }

    /// Works on one batch; `now` is the time of day at its beginning.
    pub(crate) async fn handle(
        &self,
        event: LambdaEvent<Value>,
        now: Timestamp,
    ) -> Result<SqsBatchResponse, NotABatch> {
        let began = Instant::now();
        let messages = batch::read(&event.payload)?;
        let time_limit = time_left(event.context.deadline, now).saturating_sub(RESERVE);
        // Lambda gives every invocation an id of its own: no two claim deliveries under the same name.
        let request_id = event.context.request_id;
        let invocation = Invocation::begin(request_id.clone(), now, time_limit);
        let pace = Pace { at_once: AT_ONCE, until: began + time_limit, least: LEAST };
        let ended = batch::run(&messages, pace, |message| {
            let watch = Arc::clone(&self.watch);
            // Nor do two messages of one batch: they may be the same event twice.
            let invocation = invocation.named(format!("{request_id}/{}", message.id));
            async move {
                let incoming = Incoming { json: message.body.as_bytes(), received: message.received };
                watch.event(&incoming, &invocation).await
            }
        })
        .await;

        let worked: Vec<(&Message, Report, Option<i32>)> = messages
            .iter()
            .zip(&ended)
            .map(|(message, ended)| {
                let report = Report::of(message, ended);
                let pause = report.has_failed().then(|| pause_of(message, ended));
                (message, report, pause)
            })
            .collect();
        let failed = worked.iter().filter_map(|(message, _, pause)| Some((*message, (*pause)?)));
        self.queue.hide(failed.clone()).await;
        for (message, report, pause) in &worked {
            report.log(message, *pause);
        }
        let response = batch::response(failed.map(|(message, _)| message));
        let reports: Vec<Report> = worked.into_iter().map(|(_, report, _)| report).collect();
        metrics::write(&observe::metrics(&reports, invocation.now()));
        Ok(response)
    }
}

/// How much time the invocation has, by the deadline in milliseconds of the epoch that Lambda gave it.
fn time_left(deadline_ms: u64, now: Timestamp) -> Duration {
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
    Duration::from_millis(deadline_ms.saturating_sub(now_ms))
}

/// When a failed message is to come again.
fn pause_of(message: &Message, ended: &Ended<Result<Watched, WatchError>>) -> i32 {
    let asked = match ended {
        Ended::Returned(Err(error)) => error.retry_after(),
        // Nothing is wrong with it: another invocation takes it at once.
        Ended::Untouched => return 1,
        _ => None,
    };
    pause_seconds(message.received, asked, &message.id)
}

impl Queue {
    /// Hides failed messages for so many seconds each. Where that fails, the message comes again when the
    /// queue's own time-out is over: later or earlier than wished, which is harmless.
    async fn hide<'a>(&self, failed: impl Iterator<Item = (&'a Message, i32)>) {
        let mut calls = JoinSet::new();
        for (message, seconds) in failed {
            let Some(receipt) = message.receipt.clone() else { continue };
            let call = self
                .client
                .change_message_visibility()
                .queue_url(&self.url)
                .receipt_handle(receipt)
                .visibility_timeout(seconds)
                .send();
            let id = message.id.clone();
            calls.spawn(async move { (id, call.await) });
        }
        let all = async {
            while let Some(joined) = calls.join_next().await {
                if let Ok((message_id, Err(error))) = joined {
                    let failure = keytide_aws::Failure::of("sqs:ChangeMessageVisibility", &error);
                    tracing::warn!(message_id, %failure, "a failed message comes again at the queue's own time");
                }
            }
        };
        if timeout(BACKOFF_LIMIT, all).await.is_err() {
            tracing::warn!("SQS does not answer: failed messages come again at the queue's own time");
        }
    }
}

#[cfg(test)]
mod tests {
    use keytide_app::deliver::{Cause, Undelivered};
    use keytide_core::delivery::Recipient;

    use super::*;

    #[test]
    fn the_time_that_is_left_is_the_deadline_less_now() {
        let now: Timestamp = "2026-06-02T08:58:14.250Z".parse().unwrap();
        let deadline = 1_780_390_694_250 + 60_000;
        assert_eq!(time_left(deadline, now), Duration::from_mins(1));
        assert_eq!(time_left(0, now), Duration::ZERO);
    }

    #[test]
    fn a_message_comes_again_when_its_failure_says_so() {
        let message = Message { received: 3, ..Message::default() };
        let undelivered = |retry_after| {
            let cause = Cause::HeldToJoin;
            let troubles = vec![Undelivered { recipient: Recipient::Channel, cause, retry_after }];
            WatchError::Undelivered { troubles, sent: Vec::new(), happened: None }
        };
        let asked = Ended::Returned(Err(undelivered(Some(Duration::from_secs(42)))));
        assert_eq!(pause_of(&message, &asked), 42);
        assert_eq!(pause_of(&message, &Ended::Returned(Err(undelivered(None)))), 20);
        assert_eq!(pause_of(&message, &Ended::Panicked), 20);
        assert_eq!(pause_of(&message, &Ended::OutOfTime), 20);
        assert_eq!(pause_of(&message, &Ended::Untouched), 1);
    }
}
