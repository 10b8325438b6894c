//! The real watcher's program behind a local Runtime API: what only a process, its environment, its sockets
//! and its stdout can show.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use keytide_local::{Fault, HOME_ACCOUNT, Service};
use keytide_tests::{
    build,
    runtime_api::{Answered, Function, RuntimeApi},
};
use serde_json::{Value, json};

use crate::world::{CHANNEL, KEY, PROD, TOKEN, World, created, event, unreadable};

const STAGING: &str = "444455556666";

/// The program, built once for all stories. `KEYTIDE_WATCHER_PROFILE` is for whoever builds this test:
/// `lambda` tries the very program that is deployed.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let profile = option_env!("KEYTIDE_WATCHER_PROFILE").unwrap_or("dev");
    PROGRAM.get_or_init(|| build::program("keytide-watcher", profile).unwrap()).clone()
}

/// A company with a queue, and the watcher's process.
struct Deployed {
    world: World,
    queue_url: String,
    api: RuntimeApi,
    function: Function,
}

impl Deployed {
    async fn new() -> Self {
        let program = program();
        let world = World::new().await;
        let api = RuntimeApi::start(world.aws.clone(), world.slack.clone()).await.unwrap();
        // What is received is visible again at once, unless somebody hides it for longer.
        let queue_url = world.aws.queues().add(HOME_ACCOUNT, "keytide-events", Duration::ZERO).unwrap();
        let environment = [
            ("KEYTIDE_TABLE", "keytide"),
            ("KEYTIDE_CHANNEL", CHANNEL),
            ("KEYTIDE_SLACK_SECRET", "slack-token"),
            ("KEYTIDE_QUEUE_URL", &queue_url),
            ("KEYTIDE_EXTERNAL_ID", "tidewater-7"),
            ("KEYTIDE_ACCOUNT_NAMES", "111122223333=prod"),
            ("KEYTIDE_SLACK_URL", &api.slack_url()),
            // All that can be said is said: a secret would be among it.
            ("KEYTIDE_LOG", "info"),
        ];
        let function = api.start_function(&program, &environment).unwrap();
        Self { world, queue_url, api, function }
    }

    /// Invokes it with such messages (id, body, receive count), and gives the ids that come again.
    async fn take(&self, messages: &[(&str, &str, u32)]) -> Vec<String> {
        let records: Vec<Value> = messages
            .iter()
            .map(|(id, body, received)| {
                json!({
                    "messageId": id, "receiptHandle": format!("receipt-of-{id}"), "body": body,
                    "attributes": {"ApproximateReceiveCount": received.to_string()},
                    "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
                })
            })
            .collect();
        self.invoke(records).await
    }

    async fn invoke(&self, records: Vec<Value>) -> Vec<String> {
        let answered = self.api.invoke(&json!({ "Records": records })).await;
        let Ok(Answered::Response(response)) = answered else {
            panic!("{answered:?}\n{}", self.function.output())
        };
        let failures = response["batchItemFailures"].as_array().unwrap_or_else(|| panic!("{response}"));
        failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
    }

    /// The line about one message.
    async fn line_of(&self, id: &str) -> Value {
        let about = |line: &Value| line["message_id"] == id && line["outcome"].is_string();
        self.function.wait_for_log(about).await.unwrap()
    }

    /// All values of a metric so far, by name, and by its dimension's value where it has one.
    async fn metric(&self, name: &str, dimension: Option<(&str, &str)>) -> Vec<f64> {
        let holds = |line: &Value| {
            line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Keytide"
                && !line[name].is_null()
                && dimension.is_none_or(|(dimension, value)| line[dimension] == value)
        };
        self.function.wait_for_log(holds).await.unwrap();
        let documents = self.function.logged(holds);
        documents
            .iter()
            .flat_map(|line| line[name].as_array().cloned().unwrap_or_else(|| vec![line[name].clone()]))
            .map(|value| value.as_f64().unwrap())
            .collect()
    }

    /// What is on the queue and visible.
    async fn receive(&self) -> Vec<Message> {
        let client = aws_sdk_sqs::Client::new(&self.world.aws.sdk_config());
        let received = client
            .receive_message()
            .queue_url(&self.queue_url)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .max_number_of_messages(10)
            .send()
            .await
            .unwrap();
        received.messages.unwrap_or_default()
    }
}

/// Promise 9 in each of these stories: however it went, the token was not written.
impl Drop for Deployed {
    fn drop(&mut self) {
        let output = self.function.output();
        if !std::thread::panicking() {
            assert!(!output.contains(TOKEN), "the token is in the log:\n{output}");
            assert!(!output.contains("panic"), "{output}");
        }
    }
}

#[tokio::test]
async fn the_watcher_takes_a_new_key_to_the_ledger_the_channel_and_the_owner_and_not_twice() {
    let deployed = Deployed::new().await;
    let world = &deployed.world;
    let body = created().to_string();
    assert_eq!(
        deployed.take(&[("m-1", &body, 1)]).await,
        Vec::<String>::new(),
        "{}",
        deployed.function.output()
    );

    let story = world.story_of(KEY).await;
    assert_eq!(story.key.as_ref().unwrap().value.standing_word(), "Active");
    assert_eq!((story.facts.len(), story.deliveries.len()), (1, 2));
    assert!(story.deliveries.iter().all(|delivery| delivery.value.state.as_str() == "done"));
    assert_eq!((world.channel_texts().len(), world.owner_texts().len()), (1, 1));

    let line = deployed.line_of("m-1").await;
    let expected = json!({
        "level": "INFO", "outcome": "recorded", "event_id": "e-created", "event_name": "CreateAccessKey",
        "account": PROD, "key_id": KEY, "sent": "channel,owner", "received": 1,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&line[field], value, "{field} in {line}");
    }
    let request_id = line["span"]["requestId"].as_str().unwrap();
    assert!(request_id.starts_with("8476a536-"), "{line}");
    assert_eq!(deployed.metric("Alerts", None).await, [1.0]);
    assert_eq!(deployed.metric("OwnerMessages", None).await, [1.0]);
    let seconds = deployed.metric("SecondsFromEventToAlert", None).await;
    assert!(seconds.len() == 1 && seconds[0] >= 0.0, "{seconds:?}");

    // The same message again, and the same event in another one: promise 6.
    let before = world.story_of(KEY).await;
    assert_eq!(deployed.take(&[("m-2", &body, 2), ("m-3", &body, 1)]).await, Vec::<String>::new());
    assert_eq!(deployed.line_of("m-2").await["outcome"], "known");
    assert_eq!(deployed.line_of("m-3").await["outcome"], "known");
    assert_eq!(world.story_of(KEY).await, before);
    assert_eq!(world.slack.messages().len(), 2);
    assert_eq!(deployed.metric("Events", Some(("Outcome", "known"))).await, [2.0]);
}

#[tokio::test]
async fn one_bad_message_keeps_no_other_from_being_done() {
    let deployed = Deployed::new().await;
    let world = &deployed.world;
    // An account whose reader role is missing: its owners cannot be told, not even on the second try.
    world.aws.iam().add_account(STAGING).unwrap();
    let mut elsewhere =
        event("CreateAccessKey", "e-staging", "2026-05-04T09:12:33Z", "AKIASTAGING", "eve", "Active");
    elsewhere["account"] = json!(STAGING);
    elsewhere["detail"]["recipientAccountId"] = json!(STAGING);
    let (bad, good, odd) = (elsewhere.to_string(), created().to_string(), unreadable().to_string());
    let failed = deployed.take(&[("bad", &bad, 1), ("good", &good, 1), ("odd", &odd, 1)]).await;
    assert_eq!(failed, ["bad"]);

    assert_eq!(world.owner_texts().len(), 1, "the good one's owner");
    assert_eq!(world.channel_texts().len(), 3, "the channel hears of all three");
    let line = deployed.line_of("bad").await;
    assert_eq!((&line["outcome"], &line["cause"]), (&json!("failed"), &json!("directory")));
    assert_eq!((&line["account"], &line["event_id"]), (&json!(STAGING), &json!("e-staging")));
    assert!(line["error"].as_str().unwrap().contains("sts:AssumeRole"), "{line}");
    let line = deployed.line_of("odd").await;
    assert_eq!((&line["level"], &line["outcome"]), (&json!("WARN"), &json!("unreadable")));
    assert!(line["reason"].as_str().unwrap().contains("responseElements"), "{line}");
    assert_eq!(deployed.metric("Failures", Some(("Cause", "directory"))).await, [1.0]);
    // Its receipt is not one of the queue's: that could not be told to wait longer, which is harmless.
    let warned = deployed.function.logged(|line| line["failure"].is_string() && line["message_id"] == "bad");
    assert!(warned[0]["failure"].as_str().unwrap().contains("ReceiptHandleIsInvalid"), "{warned:?}");

    // The third time it is given up on, and the channel already knows.
    assert_eq!(deployed.take(&[("bad", &bad, 3)]).await, Vec::<String>::new());
    assert_eq!(world.channel_texts().len(), 3);
}

#[tokio::test]
async fn while_slack_is_down_the_message_waits_on_the_queue_and_is_done_afterwards() {
    let deployed = Deployed::new().await;
    let world = &deployed.world;
    let client = aws_sdk_sqs::Client::new(&world.aws.sdk_config());
    let body = created().to_string();
    client.send_message().queue_url(&deployed.queue_url).message_body(&body).send().await.unwrap();
    let message = deployed.receive().await.remove(0);
    let record = json!({
        "messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
        "attributes": {"ApproximateReceiveCount": "1"},
    });
    world.slack.set_down(true);
    assert_eq!(deployed.invoke(vec![record]).await, [message.message_id.clone().unwrap()]);
    assert_eq!(world.aws.calls().count(Service::Sqs, "ChangeMessageVisibility"), 1);
    assert_eq!(deployed.receive().await, Vec::new(), "hidden for longer than the queue's own time");
    let line = deployed.line_of(message.message_id.as_deref().unwrap()).await;
    assert!((5..=6).contains(&line["comes_again_seconds"].as_i64().unwrap()), "{line}");
    assert_eq!(line["cause"], "slack-busy");
    assert_eq!(world.story_of(KEY).await.facts.len(), 1, "what could be done is done");

    world.slack.set_down(false);
    assert_eq!(deployed.take(&[("again", &body, 2)]).await, Vec::<String>::new());
    assert_eq!((world.channel_texts().len(), world.owner_texts().len()), (1, 1));
    assert_eq!(deployed.line_of("again").await["outcome"], "known");
}

#[tokio::test]
async fn when_the_ledger_is_silent_the_alert_goes_out_all_the_same() {
    let deployed = Deployed::new().await;
    let world = &deployed.world;
    world.aws.faults().plan(|call| (call.service == Service::DynamoDb).then_some(Fault::TimeoutBefore));
    let body = created().to_string();
    assert_eq!(deployed.take(&[("m-1", &body, 1)]).await, ["m-1"]);
    assert_eq!(world.channel_texts().len(), 1);
    assert_eq!(deployed.metric("EarlyAlerts", None).await, [1.0]);
    assert_eq!(deployed.line_of("m-1").await["cause"], "ledger");
    world.aws.faults().clear();
    assert_eq!(deployed.take(&[("m-1", &body, 2)]).await, Vec::<String>::new());
    assert_eq!(world.story_of(KEY).await.facts.len(), 1);
}

#[tokio::test]
async fn no_input_stops_the_watcher() {
    let mut deployed = Deployed::new().await;
    deployed.world.slack.set_burst(None);
    let deep = "[".repeat(100_000);
    let long = format!("{{\"detail\":\"{}\"}}", "\u{202e}".repeat(80_000));
    let bodies = ["", "not json", "null", "{}", "\u{0}\u{7}", "{\"detail\":[]}", &deep, &long];
    let ids: Vec<String> = (0..bodies.len()).map(|n| format!("hostile-{n}")).collect();
    let batch: Vec<_> = ids.iter().zip(bodies).map(|(id, body)| (id.as_str(), body, 1)).collect();
    assert_eq!(deployed.take(&batch).await, Vec::<String>::new(), "{}", deployed.function.output());
    for id in &ids {
        let outcome = deployed.line_of(id).await["outcome"].clone();
        assert!(outcome == "unreadable" || outcome == "not-ours" || outcome == "known", "{id}: {outcome}");
    }
    assert!(!deployed.function.output().contains("[[[["), "no body is logged");
    // Not a batch at all, and records that are none.
    for odd in [json!({"hello": 1}), json!([]), json!(null)] {
        let answered = deployed.api.invoke(&odd).await.unwrap();
        let Answered::Error(error) = answered else { panic!("{answered:?}") };
        assert!(
            error["errorMessage"].as_str().unwrap().contains("expected a batch of SQS messages"),
            "{error}"
        );
    }
    assert_eq!(deployed.invoke(vec![json!({}), json!(7)]).await, Vec::<String>::new());

    assert!(deployed.function.is_running());
    assert_eq!(deployed.take(&[("good", &created().to_string(), 1)]).await, Vec::<String>::new());
    assert_eq!(deployed.world.story_of(KEY).await.facts.len(), 1);
    assert_eq!(deployed.world.owner_texts().len(), 1);
}

#[tokio::test]
async fn with_too_little_time_left_messages_go_back_untouched() {
    let deployed = Deployed::new().await;
    let body = created().to_string();
    let event = json!({"Records": [{"messageId": "m-1", "receiptHandle": "r", "body": body}]});
    let answered = deployed.api.invoke_within(Duration::from_secs(5), &event).await.unwrap();
    assert_eq!(answered, Answered::Response(json!({"batchItemFailures": [{"itemIdentifier": "m-1"}]})));
    assert_eq!(deployed.line_of("m-1").await["outcome"], "untouched");
    assert_eq!(deployed.world.aws.calls().count(Service::DynamoDb, "TransactWriteItems"), 0);
    assert_eq!(deployed.world.slack.messages(), Vec::new());
}

#[tokio::test]
async fn a_wrong_configuration_is_told_whole_before_anything_starts() {
    let program = program();
    let world = World::new().await;
    let api = RuntimeApi::start(world.aws.clone(), world.slack.clone()).await.unwrap();
    let environment = [
        ("KEYTIDE_CHANNEL", "#alerts"),
        ("KEYTIDE_SLACK_TOKEN", TOKEN),
        ("KEYTIDE_OWNER_LOOKUP_MS", "soon"),
        ("KEYTIDE_LOG", "info"),
    ];
    let function = api.start_function(&program, &environment).unwrap();
    let (status, output) = function.ended().await.unwrap();
    assert_eq!(status.code(), Some(1), "{output}");
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "one line, whole:\n{output}");
    assert_eq!(lines[0]["level"], "ERROR");
    let problems = lines[0]["problems"].as_str().unwrap();
    for expected in [
        "7 problem(s)",
        "KEYTIDE_TABLE is not set",
        "KEYTIDE_CHANNEL is \"#alerts\"",
        "KEYTIDE_SLACK_SECRET is not set",
        "KEYTIDE_QUEUE_URL is not set",
        "KEYTIDE_EXTERNAL_ID is not set",
        "KEYTIDE_OWNER_LOOKUP_MS is \"soon\"",
        "KEYTIDE_SLACK_TOKEN is set to what is not shown here",
    ] {
        assert!(problems.contains(expected), "{expected} in {problems}");
    }
    assert!(!output.contains(TOKEN));
}
