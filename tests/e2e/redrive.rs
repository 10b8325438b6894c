//! `keytide redrive`, as the real program at a terminal: what was given up is shown, and sent back only when that is
//! confirmed; what is not sent back, or not seen, is said.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use keytide_local::{Fault, HOME_ACCOUNT};
use serde_json::json;

use crate::{sweep_cli::Served, world::PROD};

struct Queues {
    served: Served,
    dead: String,
    events: String,
}

impl Queues {
    async fn with(story: &str, given_up: usize) -> Self {
        let served = Served::new(story).await;
        let visibility = Duration::from_mins(6);
        let add = |name: &str| served.world.aws.queues().add(HOME_ACCOUNT, name, visibility).unwrap();
        let (dead, events) = (add("keytide-events-dead"), add("keytide-events"));
        let sqs = aws_sdk_sqs::Client::new(&served.world.aws.sdk_config());
        for number in 0..given_up {
            let event = json!({"detail": {"eventID": format!("e-{number}"), "eventName": "CreateAccessKey",
                "recipientAccountId": PROD, "eventTime": "2026-06-02T08:58:14Z"}});
            sqs.send_message().queue_url(&dead).message_body(event.to_string()).send().await.unwrap();
        }
        Self { served, dead, events }
    }

    /// How many stand in the dead letters, and how many are back.
    fn lengths(&self) -> (usize, usize) {
        let length = |url: &str| self.served.world.aws.queues().length(url).unwrap();
        (length(&self.dead), length(&self.events))
    }

    /// The first call of this operation fails, with every try that the SDK makes of it.
    fn fail(&self, operation: &'static str) {
        let calls = AtomicUsize::new(0);
        self.served.world.aws.faults().plan(move |call| {
            if call.operation != operation {
                return None;
            }
            let is_of_first = calls.fetch_add(1, Ordering::SeqCst) < 3;
            is_of_first.then_some(Fault::ServerError)
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_yes_sends_them_back_and_nothing_else_does() {
    let queues = Queues::with("redrive-typed", 3).await;
    for typed in ["", "y", "no"] {
        let ran = queues.served.typed(typed, &["redrive"]).await.expect(3);
        ran.says(&[
            "e-0",
            "e-2",
            "3 events given up",
            "type yes",
            "refused: it was not confirmed; they wait on",
        ]);
        assert_eq!(queues.lengths(), (3, 0));
    }
    queues.served.run(&["redrive"]).await.expect(3).says(&[
        "nobody is at a terminal",
        "--yes",
        "they wait on",
    ]);
    queues.served.typed("yes", &["redrive"]).await.expect(0).says(&["3 events sent back to keytide-events."]);
    assert_eq!(queues.lengths(), (0, 3));
    queues.served.run(&["redrive"]).await.expect(0).says(&["Nothing waits in keytide-events-dead."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_looks_at_is_not_called_nothing() {
    let queues = Queues::with("redrive-hidden", 2).await;
    let sqs = aws_sdk_sqs::Client::new(&queues.served.world.aws.sdk_config());
    let look = sqs.receive_message().queue_url(&queues.dead).max_number_of_messages(10);
    look.visibility_timeout(300).send().await.unwrap();
    let ran = queues.served.run(&["redrive", "--yes"]).await.expect(1);
    ran.says(&["about 2 events in keytide-events-dead cannot be seen now", "within the last 5 minutes"]);
    assert_eq!(queues.lengths(), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_beside_what_is_seen_is_said_before_the_question() {
    let queues = Queues::with("redrive-some-hidden", 5).await;
    let sqs = aws_sdk_sqs::Client::new(&queues.served.world.aws.sdk_config());
    let look = sqs.receive_message().queue_url(&queues.dead).max_number_of_messages(3);
    look.visibility_timeout(300).send().await.unwrap();
    let hidden = "about 3 events in keytide-events-dead cannot be seen now";
    queues.served.typed("no", &["redrive"]).await.expect(3).says(&["2 events given up", hidden]);
    let ran = queues.served.run(&["redrive", "--yes"]).await.expect(1);
    ran.says(&[hidden, "2 events sent back"]);
    assert_eq!(queues.lengths(), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_before_a_failure_is_seen_again_at_once() {
    let queues = Queues::with("redrive-half", 15).await;
    let calls = AtomicUsize::new(0);
    queues.served.world.aws.faults().plan(move |call| {
        let is_receive = call.operation == "ReceiveMessage";
        // The second, with every try that the SDK makes of it.
        (is_receive && (1..4).contains(&calls.fetch_add(1, Ordering::SeqCst))).then_some(Fault::ServerError)
    });
    queues.served.run(&["redrive", "--yes"]).await.expect(1).says(&["sqs:ReceiveMessage"]);
    queues.served.run(&["redrive", "--yes"]).await.expect(0).says(&["15 events sent back"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_what_was_not_are_told_apart() {
    let queues = Queues::with("redrive-unsent", 3).await;
    queues.fail("SendMessage");
    let ran = queues.served.run(&["redrive", "--yes"]).await.expect(1);
    ran.says(&["e-0 waits on: sqs:SendMessage", "2 events sent back"]);
    assert_eq!(queues.lengths(), (1, 2));

    let queues = Queues::with("redrive-undeleted", 3).await;
    queues.fail("DeleteMessage");
    let ran = queues.served.run(&["redrive", "--yes"]).await.expect(1);
    assert!(!ran.stderr.contains("waits on"), "{}", ran.stderr);
    ran.says(&["e-0 is sent back, and still stands among what was given up", "3 events sent back"]);
    assert_eq!(queues.lengths(), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_are_taken_at_once_are_not_called_all() {
    let queues = Queues::with("redrive-many", 1_003).await;
    let ran = queues.served.run(&["redrive", "--yes"]).await.expect(1);
    ran.says(&["The first 1000 events", "more may wait", "1000 events sent back", "run it again"]);
    assert_eq!(queues.lengths(), (3, 1_000));
    queues.served.run(&["redrive", "--yes"]).await.expect(0).says(&["3 events sent back"]);
    assert_eq!(queues.lengths(), (0, 1_003));
}
