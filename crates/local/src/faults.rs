//! What a real AWS does and emulators do not, on demand.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::answer::{Answer, JSON_1_0, JSON_1_1};
use crate::calls::{CallInfo, Service};
use crate::rate::Rate;

/// Something that goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// No answer ever comes, and nothing was done.
    TimeoutBefore,
    /// It is done, but no answer ever comes.
    TimeoutAfter,
    /// The connection breaks before anything was done.
    ConnectionErrorBefore,
    /// It is done, then the connection breaks.
    ConnectionErrorAfter,
    /// The service refuses for now, in its own shape (DynamoDB: `ThrottlingException`).
    Throttle,
    /// DynamoDB's `ProvisionedThroughputExceededException`; elsewhere like [`Self::Throttle`].
    ThroughputExceeded,
    /// DynamoDB cancels a transaction with the reason `ThrottlingError`. Other operations do not
    /// know it.
    TransactionThrottled,
    /// DynamoDB finds another transaction at work on an item: a transaction is cancelled with the
    /// reason `TransactionConflict`, a single write gets a `TransactionConflictException`. Other
    /// operations do not know it.
    TransactionConflict,
    /// DynamoDB still works on a transaction with this very token. Other operations do not know it.
    TransactionInProgress,
    /// The service fails by its own fault, in its own shape (5xx).
    ServerError,
    /// The caller's process dies before anything was done: [`Faults::crash`] is notified and no
    /// answer ever comes.
    CrashBefore,
    /// It is done, then the caller's process dies.
    CrashAfter,
}

impl Fault {
    /// Every fault, for tests that try them all.
    pub const ALL: [Self; 12] = [
        Self::TimeoutBefore,
        Self::TimeoutAfter,
        Self::ConnectionErrorBefore,
        Self::ConnectionErrorAfter,
        Self::Throttle,
        Self::ThroughputExceeded,
        Self::TransactionThrottled,
        Self::TransactionConflict,
        Self::TransactionInProgress,
        Self::ServerError,
        Self::CrashBefore,
        Self::CrashAfter,
    ];

    /// Whether AWS could do this to that operation at all; a plan's other faults are not done.
    pub fn can_happen_to(self, call: &CallInfo) -> bool {
        let transaction = call.service == Service::DynamoDb
            && matches!(call.operation, "TransactWriteItems" | "TransactGetItems");
        match self {
            Self::TransactionThrottled => transaction,
            Self::TransactionConflict => {
                transaction
                    || (call.service == Service::DynamoDb
                        && matches!(call.operation, "PutItem" | "UpdateItem" | "DeleteItem"))
            }
            Self::TransactionInProgress => {
                call.service == Service::DynamoDb && call.operation == "TransactWriteItems"
            }
            _ => true,
        }
    }

    /// What the service says instead of doing anything, where this fault is an answer.
    pub(crate) fn answer(self, call: &CallInfo, body: &[u8]) -> Option<Answer> {
        match self {
            Self::ThroughputExceeded if call.service == Service::DynamoDb => Some(dynamodb_error(
                400,
                "ProvisionedThroughputExceededException",
                "The level of configured provisioned throughput for the table was exceeded.",
            )),
            Self::Throttle | Self::ThroughputExceeded => Some(throttled(call.service)),
            Self::TransactionThrottled => Some(cancelled(body, "ThrottlingError")),
            Self::TransactionConflict if call.operation.starts_with("Transact") => {
                Some(cancelled(body, "TransactionConflict"))
            }
            Self::TransactionConflict => Some(dynamodb_error(
                400,
                "TransactionConflictException",
                "Transaction is ongoing for the item",
            )),
            Self::TransactionInProgress => Some(dynamodb_error(
                400,
                "TransactionInProgressException",
                "The transaction with the given request token is already in progress.",
            )),
            Self::ServerError => Some(failed(call.service)),
            _ => None,
        }
    }
}

fn dynamodb_error(status: u16, name: &str, message: &str) -> Answer {
    let error_type = format!("com.amazonaws.dynamodb.v20120810#{name}");
    Answer::json_error(JSON_1_0, status, &error_type, message)
}

/// Each service's own way to say "too fast".
fn throttled(service: Service) -> Answer {
    match service {
        Service::DynamoDb => {
            dynamodb_error(400, "ThrottlingException", "Rate of requests exceeds the allowed throughput.")
        }
        Service::Iam | Service::Sts => Answer::xml_error(400, "Throttling", "Rate exceeded"),
        Service::SecretsManager => Answer::json_error(JSON_1_1, 400, "ThrottlingException", "Rate exceeded"),
        Service::Sqs => Answer {
            query_error: Some("RequestThrottled;Sender".to_owned()),
            ..Answer::json_error(JSON_1_0, 400, "com.amazonaws.sqs#RequestThrottled", "Rate exceeded")
        },
        Service::Organizations => Answer::json_error(
            JSON_1_1,
            400,
            "TooManyRequestsException",
            "AWS Organizations can't complete your request because you reached the throttling limit.",
        ),
    }
}

/// Each service's own way to say "our fault".
fn failed(service: Service) -> Answer {
    match service {
        Service::DynamoDb => dynamodb_error(500, "InternalServerError", "Internal server error"),
        Service::Iam => Answer::xml_error(
            500,
            "ServiceFailure",
            "The request processing has failed because of an unknown error.",
        ),
        Service::Sts => Answer::xml_error(
            500,
            "InternalFailure",
            "The request processing has failed because of an unknown error.",
        ),
        Service::SecretsManager => {
            Answer::json_error(JSON_1_1, 500, "InternalServiceError", "An error occurred on the server side.")
        }
        Service::Sqs => Answer::json_error(
            JSON_1_0,
            500,
            "com.amazonaws.sqs#InternalFailure",
            "The request processing has failed because of an unknown error.",
        ),
        Service::Organizations => Answer::json_error(
            JSON_1_1,
            500,
            "ServiceException",
            "AWS Organizations can't complete your request because of an internal service error.",
        ),
    }
}

/// A cancelled transaction: one reason per item in the request's order, the first item to blame.
fn cancelled(body: &[u8], code: &str) -> Answer {
    let items = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|request| request.get("TransactItems")?.as_array().map(Vec::len))
        .unwrap_or(1);
    let codes: Vec<&str> =
        std::iter::once(code).chain(std::iter::repeat_n("None", items.saturating_sub(1))).collect();
    let reasons: Vec<serde_json::Value> = codes
        .iter()
        .map(|code| match *code {
            "None" => serde_json::json!({ "Code": code }),
            "TransactionConflict" => serde_json::json!({
                "Code": code, "Message": "Transaction is ongoing for the item"
            }),
            _ => serde_json::json!({
                "Code": code, "Message": "Throughput exceeds the current capacity of the table."
            }),
        })
        .collect();
    let message = format!(
        "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
        codes.join(", ")
    );
    Answer {
        status: 400,
        content_type: JSON_1_0,
        body: serde_json::json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": message,
            "CancellationReasons": reasons,
        })
        .to_string(),
        query_error: None,
    }
}

type Plan = Arc<dyn Fn(&CallInfo) -> Option<Fault> + Send + Sync>;

#[derive(Default)]
struct Settings {
    plan: Option<Plan>,
    latency: Duration,
    iam_delay: Duration,
    iam_rate: Option<Rate>,
}

/// The faults of one world, to be set by a test.
#[derive(Clone, Default)]
pub struct Faults {
    settings: Arc<RwLock<Settings>>,
    crash: Arc<Notify>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Faults")
    }
}

impl Faults {
    /// Asks `plan` about every call from now on.
    pub fn plan(&self, plan: impl Fn(&CallInfo) -> Option<Fault> + Send + Sync + 'static) {
        self.change(|settings| settings.plan = Some(Arc::new(plan)));
    }

    /// Does `fault` to the call with that number, and nothing to the others.
    pub fn at_call(&self, number: u64, fault: Fault) {
        self.plan(move |call| (call.number == number).then_some(fault));
    }

    /// No more faults.
    pub fn clear(&self) {
        self.change(|settings| settings.plan = None);
    }

    /// Notified by [`Fault::CrashBefore`] and [`Fault::CrashAfter`]; whoever runs the invocation
    /// waits for it beside the invocation, which it then drops.
    pub fn crash(&self) -> Arc<Notify> {
        Arc::clone(&self.crash)
    }

    /// Every answer takes this long (tokio's sleep), for benchmarks.
    pub fn set_latency(&self, latency: Duration) {
        self.change(|settings| settings.latency = latency);
    }

    /// A change in IAM is seen by readers only after so much of the world's time.
    pub fn set_iam_delay(&self, delay: Duration) {
        self.change(|settings| settings.iam_delay = delay);
    }

    /// IAM answers at most so many calls a second in each account (one at least), by the world's clock,
    /// and what was left unused in the last second besides; to what comes faster it does
    /// [`Fault::Throttle`]. `None`, as in the beginning: it answers them all.
    ///
    /// IAM's own limits are not published and differ by operation; here there is one for all.
    pub fn set_iam_rate(&self, calls_a_second: Option<u32>) {
        self.change(|settings| settings.iam_rate = calls_a_second.map(Rate::new));
    }

    pub(crate) fn decide(&self, call: &CallInfo, now: Timestamp) -> Option<Fault> {
        // The plan is a test's code: it is called outside of the lock.
        let plan = self.read(|settings| settings.plan.clone());
        let planned = plan.and_then(|plan| plan(call)).filter(|fault| fault.can_happen_to(call));
        planned.or_else(|| self.is_too_fast(call, now).then_some(Fault::Throttle))
    }

    fn is_too_fast(&self, call: &CallInfo, now: Timestamp) -> bool {
        // Whose credentials are nobody's has no account, and gets another refusal.
        if call.service != Service::Iam || call.account.is_empty() {
            return false;
        }
        let mut is_taken = true;
        self.change(|settings| {
            is_taken = settings.iam_rate.as_mut().is_none_or(|rate| rate.take(&call.account, now));
        });
        !is_taken
    }

    pub(crate) fn latency(&self) -> Duration {
        self.read(|settings| settings.latency)
    }

    pub(crate) fn iam_delay(&self) -> Duration {
        self.read(|settings| settings.iam_delay)
    }

    fn read<T>(&self, read: impl FnOnce(&Settings) -> T) -> T {
        read(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.write().unwrap_or_else(PoisonError::into_inner));
    }
}
