//! The real sweeper's program behind a local Runtime API: what only a process, its environment, its sockets
//! and its stdout can show.

use std::{collections::BTreeMap, path::PathBuf, sync::OnceLock, time::Duration};

use jiff::{SignedDuration, Timestamp};
use keytide_app::{copy::latest_exemptions, run::Begun};
use keytide_core::{AccountId, lifecycle::Exemption};
use keytide_local::{KeyStatus, Service};
use keytide_tests::{
    build,
    runtime_api::{Answered, Function, RuntimeApi, time_of_day},
};
use serde_json::{Value, json};

use crate::{
    run::Company,
    world::{CHANNEL, KEY, PROD, TOKEN},
};

/// Alice's key, whose day is today by the machine's clock.
const OLD_KEY: &str = "AKIATIDEWATERALICE91";
/// What an invocation of this function has.
const TIME_LIMIT: Duration = Duration::from_mins(15);

/// The program, built once for all stories. `KEYTIDE_SWEEPER_PROFILE` is for whoever builds this test:
/// `lambda` tries the very program that is deployed.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let profile = option_env!("KEYTIDE_SWEEPER_PROFILE").unwrap_or("dev");
    PROGRAM.get_or_init(|| build::program("keytide-sweeper", profile).unwrap()).clone()
}

struct Deployed {
    company: Company,
    api: RuntimeApi,
    function: Function,
}

impl Deployed {
    async fn new(company: Company, queue_url: &str) -> Self {
        let program = program();
        let (aws, slack) = (company.world.aws.clone(), company.world.slack.clone());
        let api = RuntimeApi::start(aws, slack).await.unwrap();
        let environment = [
            ("KEYTIDE_TABLE", "keytide"),
            ("KEYTIDE_CHANNEL", CHANNEL),
            ("KEYTIDE_SLACK_SECRET", "slack-token"),
            ("KEYTIDE_QUEUE_URL", queue_url),
            ("KEYTIDE_EXTERNAL_ID", "tidewater-7"),
            ("KEYTIDE_SLACK_URL", &api.slack_url()),
            // All that can be said is said: a secret would be among it.
            ("KEYTIDE_LOG", "info"),
        ];
        let function = api.start_function(&program, &environment).unwrap();
        Self { company, api, function }
    }

    async fn take(&self, body: &str, received: u32) -> Vec<Value> {
        let record = json!({
            "messageId": format!("m-{received}"), "receiptHandle": "receipt", "body": body,
            "attributes": {"ApproximateReceiveCount": received.to_string()},
            "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
        });
        let answered = self.api.invoke_within(TIME_LIMIT, &json!({"Records": [record]})).await;
        let Ok(Answered::Response(response)) = answered else {
            panic!("{answered:?}\n{}", self.function.output())
        };
        response["batchItemFailures"].as_array().unwrap().clone()
    }

    async fn line_of(&self, id: &str) -> Value {
        let about = |line: &Value| line["message_id"] == id && line["outcome"].is_string();
        self.function.wait_for_log(about).await.unwrap()
    }

    async fn metric(&self, name: &str) -> Value {
        let holds = |line: &Value| {
            line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Keytide" && !line[name].is_null()
        };
        self.function.wait_for_log(holds).await.unwrap();
        self.function.logged(holds).last().unwrap()[name].clone()
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

fn days_before(at: Timestamp, days: i64) -> Timestamp {
    at.checked_sub(SignedDuration::from_hours(days * 24)).unwrap()
}

fn message(begun: &Begun, account: &str) -> String {
    let Begun::Started { date, .. } = begun else { panic!("{begun:?}") };
    json!({"keytide": "account", "run": date, "account": account}).to_string()
}

#[tokio::test]
async fn the_sweeper_disables_a_key_on_its_day_tells_of_it_and_does_it_once() {
    let company = Company::new().await;
    let today = time_of_day();
    // Ninety-one days ago and an hour, alice made a key; her other one is older than this story.
    company.world.aws.iam().delete_access_key(PROD, KEY).unwrap();
    let born = days_before(today, 91).checked_sub(SignedDuration::from_hours(1)).unwrap();
    company.world.aws.iam().add_access_key(PROD, "alice", OLD_KEY, born, KeyStatus::Active).unwrap();
    company.world.apply_policy(&format!("[modes]\nenforce = [\"{PROD}\"]\n"), days_before(today, 30)).await;
    // The baseline twenty days ago, notices ten and five days ago, in the process: a program has the machine's clock.
    for (days, told) in [(20, 0), (10, 1), (5, 1)] {
        let at = days_before(today, days);
        company.world.aws.set_now(at);
        let begun = company.begin_at(at).await.unwrap();
        // The credential report is asked for first, and come back for.
        company.take_at(at, &message(&begun, PROD), 1).await.unwrap_err();
        let done = company.take_at(at, &message(&begun, PROD), 2).await.unwrap();
        assert!(done.outcome.is_whole(), "{done:?}");
        assert_eq!(done.outcome.told, told, "{days} days ago");
    }
    company.world.aws.set_now(today);
    let begun = company.begin_at(today).await.unwrap();
    let body = message(&begun, PROD);
    let queue_url = company.queue_url.clone();
    let exemption = Exemption {
        reason: "the vendor rotates it".to_owned(),
        author: "arn:aws:iam::999988887777:role/security".to_owned(),
        granted_at: days_before(today, 3),
        until: days_before(today, -30),
    };
    let prod: AccountId = PROD.parse().unwrap();
    assert!(
        company.world.ledger().save_exemption(&prod, "AKIATIDEWATERVENDOR1", &exemption, 0).await.unwrap()
    );
    let deployed = Deployed::new(company, &queue_url).await;
    let world = &deployed.company.world;
    let before = world.slack.messages().len();

    assert_eq!(deployed.take(&body, 1).await.len(), 1, "the credential report is come back for");
    assert_eq!(deployed.take(&body, 2).await, Vec::<Value>::new(), "{}", deployed.function.output());
    let story = world.story_of(OLD_KEY).await;
    assert_eq!(story.key.unwrap().value.standing_word(), "Inactive");
    assert_eq!(world.aws.calls().count(Service::Iam, "UpdateAccessKey"), 1);
    assert_eq!(world.slack.messages().len(), before + 2, "the owner and the channel: {}", world.all_said());
    let line = deployed.line_of("m-2").await;
    assert_eq!(
        (&line["outcome"], &line["account"], &line["disabled"]),
        (&json!("swept"), &json!(PROD), &json!(1))
    );
    for (metric, value) in
        [("AccountsSwept", 1), ("AccountsFailed", 0), ("Disables", 1), ("SweepTroubles", 0)]
    {
        assert_eq!(deployed.metric(metric).await, value, "{metric}");
    }
    assert!(deployed.metric("IamCalls").await.as_u64().unwrap() > 0);

    // What outlives the ledger stands in the log, as it is put back.
    let kept = deployed.function.wait_for_log(|line| line["keytide"] == "exemptions").await.unwrap();
    let kept = latest_exemptions(&kept.to_string(), None).accounts.remove(&prod).unwrap();
    assert_eq!(kept.exemptions, BTreeMap::from([("AKIATIDEWATERVENDOR1".to_owned(), exemption)]));

    // The same message again.
    assert_eq!(deployed.take(&body, 3).await, Vec::<Value>::new());
    assert_eq!(deployed.line_of("m-3").await["outcome"], "known");
    assert_eq!(world.aws.calls().count(Service::Iam, "UpdateAccessKey"), 1);
    assert_eq!(world.slack.messages().len(), before + 2);

    // With too little time, and with what is no message of ours: back to the queue, and nothing is done.
    let record = |id: &str, body: &str| json!({"messageId": id, "receiptHandle": "r", "body": body});
    for (id, body, time, outcome) in [
        ("m-late", body.as_str(), Duration::from_mins(1), "untouched"),
        ("m-odd", "{\"keytide\":\"other\"}", TIME_LIMIT, "comes-again"),
    ] {
        let event = json!({"Records": [record(id, body)]});
        let answered = deployed.api.invoke_within(time, &event).await.unwrap();
        assert_eq!(answered, Answered::Response(json!({"batchItemFailures": [{"itemIdentifier": id}]})));
        assert_eq!(deployed.line_of(id).await["outcome"], outcome);
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_put_on_the_queue_fails_loudly_and_an_odd_event_is_refused() {
    let nowhere = "https://sqs.us-east-1.amazonaws.com/999988887777/not-there";
    let deployed = Deployed::new(Company::new().await, nowhere).await;
    let answered = deployed.api.invoke_within(TIME_LIMIT, &json!({"keytide": "begin"})).await.unwrap();
    let Answered::Error(error) = answered else { panic!("{answered:?}") };
    let said = error["errorMessage"].as_str().unwrap();
    assert!(said.contains("3 of 3 accounts are not on the queue"), "{said}");
    assert_eq!(deployed.metric("RunsFailed").await, 1);

    let answered = deployed.api.invoke_within(TIME_LIMIT, &json!({"keytide": "end"})).await.unwrap();
    let Answered::Error(error) = answered else { panic!("{answered:?}") };
    assert_eq!(error["errorType"], "NotOurs");
    assert!(error["errorMessage"].as_str().unwrap().contains(r#"expected {"keytide":"begin"}"#), "{error}");
}

#[tokio::test]
async fn a_wrong_configuration_is_told_whole_before_anything_starts() {
    let program = program();
    let company = Company::new().await;
    let api = RuntimeApi::start(company.world.aws.clone(), company.world.slack.clone()).await.unwrap();
    let environment =
        [("KEYTIDE_CHANNEL", "#alerts"), ("KEYTIDE_SLACK_TOKEN", TOKEN), ("KEYTIDE_ACCOUNTS", "prod")];
    let function = api.start_function(&program, &environment).unwrap();
    let (status, output) = function.ended().await.unwrap();
    assert_eq!(status.code(), Some(1), "{output}");
    for expected in [
        "7 problem(s)",
        "KEYTIDE_TABLE is not set",
        "KEYTIDE_CHANNEL is ",
        "KEYTIDE_SLACK_SECRET is not set",
        "KEYTIDE_QUEUE_URL is not set",
        "KEYTIDE_EXTERNAL_ID is not set",
        "KEYTIDE_ACCOUNTS is ",
        "KEYTIDE_SLACK_TOKEN is set to what is not shown here",
    ] {
        assert!(output.contains(expected), "{expected} in {output}");
    }
    assert!(!output.contains(TOKEN));
}

/// What outlives the ledger, of all accounts: nothing of one that nobody accepted, which may know nothing; and of a policy
/// that the log cuts it is said.
#[tokio::test]
async fn a_run_that_ends_leaves_the_policy_in_the_log() {
    let ordinary = format!("[modes]\nenforce = [\"{PROD}\"]\n");
    let long = format!("{ordinary}{}", "# \"long\"\n".repeat(25_000));
    for (text, is_accepted) in [(&ordinary, true), (&ordinary, false), (&long, true)] {
        let company = Company::new().await;
        let began = time_of_day().checked_sub(SignedDuration::from_hours(2)).unwrap();
        company.world.apply_policy(text, days_before(began, 30)).await;
        company.world.aws.set_now(began);
        company.begin_at(began).await.unwrap();
        if !is_accepted {
            company.world.delete_item("ACCEPTED", "ACCEPTED").await;
        }
        let queue_url = company.queue_url.clone();
        let deployed = Deployed::new(company, &queue_url).await;
        let answered = deployed.api.invoke_within(TIME_LIMIT, &json!({"keytide": "begin"})).await.unwrap();
        assert_eq!(answered, Answered::Response(json!({"begin": "ended"})));
        // The numbers come last.
        deployed.metric("OldestSweepAgeHours").await;
        let kept = deployed.function.logged(|line| line["keytide"].is_string());
        let texts: Vec<&Value> = kept.iter().map(|line| &line["policy"]["text"]).collect();
        assert_eq!(texts, if is_accepted { vec![text.as_str()] } else { Vec::new() });
        let is_said =
            |line: &Value| line["message"] == "a copy of decisions is too long for the log, which cuts it";
        assert_eq!(deployed.function.logged(is_said).len(), usize::from(*text == long), "{}", kept.len());
    }
}
