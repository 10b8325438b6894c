//! One invocation: a run begun, or accounts swept and what has to come again handed back.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use keytide_app::{
    Invocation,
    run::{Begun, DigestEnd, Runs, Task},
};
use keytide_aws::queue::Queue;
use keytide_function::metrics;
use keytide_slack::Post;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument as _;

use crate::{
    observe::{self, Ended, Report},
    records::{self, Asked, NotOurs, Record},
};

/// Kept back from the invocation's time: for having messages wait, for the log and for the answer.
const RESERVE: Duration = Duration::from_secs(5);
/// No account is begun with less time than this left: what begins a disable wants a minute for itself.
const LEAST: Duration = Duration::from_mins(2);
/// How long changing a message's visibility may take, within the reserve.
const HIDING: Duration = Duration::from_secs(3);

/// The function, set up once and invoked many times.
#[derive(Debug)]
pub(crate) struct Handler<P> {
    runs: Arc<Runs<P>>,
    queue: Queue,
}

/// Why an invocation failed as a whole. Lambda makes one that came from a schedule again, twice.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// The event is not ours.
    #[error("{0}")]
    NotOurs(#[from] NotOurs),
    /// The run could not begin, or end.
    #[error("{0}")]
    Run(String),
}

impl From<Failed> for Diagnostic {
    fn from(error: Failed) -> Self {
        match error {
            Failed::NotOurs(error) => error.into(),
            Failed::Run(error_message) => Self { error_type: "Run".to_owned(), error_message },
        }
    }
}

impl<P: Post + 'static> Handler<P> {
    /// Runs over accounts that come back over this queue.
    pub(crate) fn new(runs: Runs<P>, queue: Queue) -> Self {
        Self { runs: Arc::new(runs), queue }
    }

    /// One invocation; `now` is the time of day at its beginning.
    pub(crate) async fn handle(&self, event: LambdaEvent<Value>, now: Timestamp) -> Result<Value, Failed> {
        let began = Instant::now();
        let asked = records::read(&event.payload)?;
        let time_limit = time_left(event.context.deadline, now).saturating_sub(RESERVE);
        // Lambda gives every invocation an id of its own: no two claim anything under the same name. One that
        // it makes again keeps its id, and takes up what it left.
        let invocation = Invocation::begin(event.context.request_id, now, time_limit);
        match asked {
            Asked::Begin => self.begin(&invocation).await,
            Asked::Sweep(records) => Ok(self.sweep(&records, began + time_limit, &invocation).await),
        }
    }

    async fn begin(&self, invocation: &Invocation) -> Result<Value, Failed> {
        let begun = Box::pin(self.runs.begin(invocation)).await;
        observe::log_begin(&begun);
        observe::keep(&observe::begin_copies(&begun));
        metrics::write(&observe::begin_metrics(&begun, invocation.now()));
        match begun {
            Err(error) => Err(Failed::Run(error.to_string())),
            Ok(Begun::Ended { end, .. }) => match end.digest {
                DigestEnd::Failed { cause, .. } => {
                    Err(Failed::Run(format!("the digest is still to be posted: {cause}")))
                }
                _ => Ok(json!({"begin": "ended"})),
            },
            Ok(Begun::Started { accounts, .. }) => Ok(json!({"begin": "started", "accounts": accounts})),
            Ok(Begun::UnderWay { .. }) => Ok(json!({"begin": "under-way"})),
        }
    }

    /// One account after the other: the batch has one, and if it had more, the rest would go back in time.
    async fn sweep(&self, records: &[Record], until: Instant, invocation: &Invocation) -> Value {
        let mut failures = Vec::new();
        for record in records {
            let report = self.one(record, until, invocation).await;
            if let Some(pause) = report.comes_again(record.received) {
                self.hide(record, pause).await;
                // An empty identifier hands the whole batch back (Lambda's documentation of partial batch
                // responses), which loses nothing.
                failures.push(json!({"itemIdentifier": record.id}));
            }
            report.log(record);
            observe::keep(&report.copies());
            metrics::write(&report.metrics(invocation.now()));
        }
        json!({"batchItemFailures": failures})
    }

    async fn one(&self, record: &Record, until: Instant, invocation: &Invocation) -> Report {
        let began = Instant::now();
        let report = |ended, account| Report { ended, account, took: began.elapsed() };
        let task = match &record.task {
            Ok(task) => task.clone(),
            Err(problem) => return report(Ended::Unreadable(problem.clone()), None),
        };
        let Task::Account { account, .. } = &task;
        let account = Some(account.to_string());
        if Instant::now() + LEAST > until {
            return report(Ended::Untouched, account);
        }
        let (runs, visit) = (Arc::clone(&self.runs), record.received);
        // The same account may be in a batch twice, as two messages.
        let invocation = invocation.named(format!("{}/{}", invocation.session, record.id));
        let work = async move { runs.account(&task, visit, &invocation).await };
        // A task of its own is what a panic ends; the span carries the invocation's id into its lines.
        let task = tokio::spawn(timeout_at(until, work).instrument(tracing::Span::current()));
        let ended = match task.await {
            Ok(Ok(Ok(done))) => Ended::Done(Box::new(done)),
            Ok(Ok(Err(again))) => Ended::Again(Box::new(again)),
            Ok(Err(_)) => Ended::OutOfTime,
            Err(_) => Ended::Panicked,
        };
        report(ended, account)
    }

    /// Hides a message until it makes sense again. Where that fails, it comes when the queue's own time-out is
    /// over: later than wished, which is harmless.
    async fn hide(&self, record: &Record, pause: Duration) {
        let Some(receipt) = &record.receipt else { return };
        let message_id = &record.id;
        match timeout(HIDING, self.queue.hide(receipt, pause)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                tracing::warn!(message_id, %failure, "a message comes again at the queue's own time");
            }
            Err(_) => {
                tracing::warn!(
                    message_id,
                    "SQS does not answer: a message comes again at the queue's own time"
                );
            }
        }
    }
}

/// How much time the invocation has, by the deadline in milliseconds of the epoch that Lambda gave it.
fn time_left(deadline_ms: u64, now: Timestamp) -> Duration {
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
    Duration::from_millis(deadline_ms.saturating_sub(now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_is_the_deadline_less_now() {
        let now: Timestamp = "2026-06-02T08:58:14.250Z".parse().unwrap();
        assert_eq!(time_left(1_780_390_694_250 + 60_000, now), Duration::from_mins(1));
        assert_eq!(time_left(0, now), Duration::ZERO);
    }
}
