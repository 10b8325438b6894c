//! A queue of SQS: where a run puts its accounts, and where what could not be done waits.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::{
    Client,
    types::{MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry},
};

use crate::Failure;

/// One call takes so many messages (API reference, `SendMessageBatch`).
const MOST_AT_ONCE: usize = 10;
/// How often what SQS did not take is offered again.
const TRIES: u32 = 4;
/// The first pause before that; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest a message may be hidden from the beginning of its receive, in seconds, less the longest
/// invocation: SQS refuses what ends later than 12 hours after the receive (API reference,
/// `ChangeMessageVisibility`).
const LONGEST_HIDDEN_SECONDS: u64 = 11 * 3_600;

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

/// A message that SQS did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsent {
    /// Which of those that were to be sent.
    pub index: usize,
    /// Why.
    pub failure: Failure,
}

impl Queue {
    /// The queue at this address.
    pub fn new(config: &SdkConfig, url: impl Into<String>) -> Self {
        Self { client: Client::new(config), url: url.into() }
    }

    /// Sends messages, ten at a time. What SQS does not take, of a whole call or of single messages in it, is
    /// offered again; what it still does not take is given back.
    pub async fn send(&self, bodies: &[String]) -> Vec<Unsent> {
        let numbered: Vec<(usize, &String)> = bodies.iter().enumerate().collect();
        let mut unsent = Vec::new();
        for some in numbered.chunks(MOST_AT_ONCE) {
            let mut waiting = some.to_vec();
            let mut pause = FIRST_PAUSE;
            for turn in 1..=TRIES {
                let refused = self.send_batch(&waiting).await;
                let (again, lost): (Vec<Unsent>, Vec<Unsent>) =
                    refused.into_iter().partition(|one| turn < TRIES && one.failure.is_retryable());
                unsent.extend(lost);
                waiting.retain(|(index, _)| again.iter().any(|one| one.index == *index));
                if waiting.is_empty() {
                    break;
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        unsent
    }

    async fn send_batch(&self, messages: &[(usize, &String)]) -> Vec<Unsent> {
        const OPERATION: &str = "sqs:SendMessageBatch";
        let all = |failure: &Failure| {
            messages.iter().map(|(index, _)| Unsent { index: *index, failure: failure.clone() }).collect()
        };
        let mut entries = Vec::new();
        for (index, body) in messages {
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(*body);
            match entry.build() {
                Ok(entry) => entries.push(entry),
                Err(error) => return all(&Failure::operators(OPERATION, error.to_string())),
            }
        }
        let call = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => return all(&Failure::of(OPERATION, &error)),
        };
        // A call that is answered may still have refused some of its messages.
        let refused = answer.failed().iter().map(|failed| {
            let cause = format!("{}: {}", failed.code(), failed.message().unwrap_or("no reason given"));
            let failure = if failed.sender_fault() {
                Failure::operators(OPERATION, cause)
            } else {
                Failure::retry(OPERATION, cause)
            };
            (failed.id(), failure)
        });
        refused
            .filter_map(|(id, failure)| {
                let index = messages.iter().find(|(index, _)| index.to_string() == id)?.0;
                Some(Unsent { index, failure })
            })
            .collect()
    }

    /// Hides a received message for so long, instead of for the queue's own time.
    pub async fn hide(&self, receipt: &str, pause: Duration) -> Result<(), Failure> {
        // Never earlier than asked: rounded up, since SQS knows whole seconds only.
        let seconds = pause.as_millis().div_ceil(1_000).min(u128::from(LONGEST_HIDDEN_SECONDS));
        let call = self
            .client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt)
            .visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX));
        call.send().await.map(drop).map_err(|error| Failure::of("sqs:ChangeMessageVisibility", &error))
    }
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// SQS's id of it.
    pub id: String,
    /// How often it was received here.
    pub received: u32,
    /// Its text.
    pub body: String,
    receipt: String,
}

/// A queue of what was given up, and the one that it came from: for a person who sends it back.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    client: Client,
    from: String,
    to: String,
}

/// Why a message is not, or not only, where it came from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSentBack {
    /// It was not sent: it waits where it was.
    #[error("waits on: {0}")]
    Waits(Failure),
    /// It was sent, and stands in the dead letters besides.
    #[error("is sent back, and still stands among what was given up, so it may be sent back once more: {0}")]
    IsInBoth(Failure),
}

/// While a person looks at them, nobody else receives them.
pub const LOOKED_AT: Duration = Duration::from_mins(5);

impl DeadLetters {
    /// By the queues' names.
    pub async fn open(config: &SdkConfig, from: &str, to: &str) -> Result<Self, Failure> {
        let mut opened = Self { client: Client::new(config), from: String::new(), to: String::new() };
        opened.from = opened.url_of(from).await?;
        opened.to = opened.url_of(to).await?;
        Ok(opened)
    }

    async fn url_of(&self, name: &str) -> Result<String, Failure> {
        let operation = format!("sqs:GetQueueUrl of {name}");
        let answer = self.client.get_queue_url().queue_name(name).send().await;
        let answer = answer.map_err(|error| Failure::of(operation.as_str(), &error))?;
        answer.queue_url.ok_or_else(|| Failure::operators(operation, "the answer has no address"))
    }

    /// Takes what waits, at most so many, and hides it for some minutes. Where that fails on the way, all of it is left.
    pub async fn take(&self, most: usize) -> Result<Vec<Given>, Failure> {
        const OPERATION: &str = "sqs:ReceiveMessage";
        let mut taken = Vec::new();
        while taken.len() < most {
            let asked = self
                .client
                .receive_message()
                .queue_url(&self.from)
                .max_number_of_messages(i32::try_from(MOST_AT_ONCE).unwrap_or(1))
                .visibility_timeout(i32::try_from(LOOKED_AT.as_secs()).unwrap_or(i32::MAX))
                // A receive that does not wait asks some of the queue's servers only, and may find nothing.
                .wait_time_seconds(1)
                .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
                .send()
                .await;
            let received = match asked {
                Ok(answer) => answer.messages.unwrap_or_default(),
                Err(error) => {
                    self.leave(&taken).await;
                    return Err(Failure::of(OPERATION, &error));
                }
            };
            if received.is_empty() {
                break;
            }
            taken.extend(received.into_iter().map(|message| {
                let count = message.attributes.as_ref().and_then(|all| {
                    all.get(&MessageSystemAttributeName::ApproximateReceiveCount)?.parse().ok()
                });
                Given {
                    id: message.message_id.unwrap_or_default(),
                    received: count.unwrap_or_default(),
                    body: message.body.unwrap_or_default(),
                    receipt: message.receipt_handle.unwrap_or_default(),
                }
            }));
        }
        Ok(taken)
    }

    /// How many messages are hidden, since somebody received them: about, as SQS counts.
    pub async fn hidden(&self) -> Result<u64, Failure> {
        const OPERATION: &str = "sqs:GetQueueAttributes";
        const HIDDEN: QueueAttributeName = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let asked = self.client.get_queue_attributes().queue_url(&self.from).attribute_names(HIDDEN);
        let answer = asked.send().await.map_err(|error| Failure::of(OPERATION, &error))?;
        let count = answer.attributes.as_ref().and_then(|all| all.get(&HIDDEN)?.parse().ok());
        count.ok_or_else(|| Failure::operators(OPERATION, format!("the answer has no number {HIDDEN}")))
    }

    /// Sends one back to where it came from; only then it leaves this queue, so that it is rather there twice than
    /// nowhere.
    pub async fn send_back(&self, given: &Given) -> Result<(), NotSentBack> {
        let sending = self.client.send_message().queue_url(&self.to).message_body(&given.body);
        let sent = sending.send().await.map_err(|error| Failure::of("sqs:SendMessage", &error));
        sent.map_err(NotSentBack::Waits)?;
        let deleting = self.client.delete_message().queue_url(&self.from).receipt_handle(&given.receipt);
        let deleted = deleting.send().await.map_err(|error| Failure::of("sqs:DeleteMessage", &error));
        deleted.map(drop).map_err(NotSentBack::IsInBoth)
    }

    /// Leaves them where they are, to be seen again at once. What fails here is seen again some minutes later.
    pub async fn leave(&self, given: &[Given]) {
        for one in given {
            let showing = self.client.change_message_visibility().queue_url(&self.from).visibility_timeout(0);
            let _ = showing.receipt_handle(&one.receipt).send().await;
        }
    }
}
