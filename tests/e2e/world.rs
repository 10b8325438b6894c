//! A small company in the process, its queue of events, and the watch that empties it.
//!
//! The queue behaves as SQS does to a function: an event that was not finished comes again, later each time,
//! also when the invocation died. Time is tokio's paused clock: hours pass in milliseconds.

use std::{collections::BTreeMap, io::Write as _, sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    Invocation, TokenSource,
    deliver::{Deliver, DeliverSettings},
    watch::{Incoming, Telling, Watch, WatchError, Watched},
};
use keytide_aws::{
    directory::{Directory, ReaderRole},
    disabler::DisablerRole,
    ledger::{Change, History, Ledger, Place, PolicyInForce, Recorded},
    member::RoleReach,
    secrets::Secrets,
};
use keytide_core::{
    AccountNames,
    alert::for_decision,
    decision::{Decided, Decision},
    delivery::{Delivery, Ending, Receipt},
    fact::{Fact, FactBody},
    policy::Policy,
};
use keytide_local::{
    KeyStatus, LocalAws,
    slack::{Person, SlackSim},
};
use keytide_slack::Slack;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

pub(crate) const PROD: &str = "111122223333";
pub(crate) const CHANNEL: &str = "C0INFRA001";
pub(crate) const ALICE: &str = "U0ALICE01";
pub(crate) const TOKEN: &str = "xoxb-only-for-tests";
pub(crate) const KEY: &str = "AKIATIDEWATERALICE77";
/// A policy; names are told apart without regard to case, as IAM tells them.
pub(crate) const ALICE_IS_BREAK_GLASS: &str =
    "[[break-glass]]\naccount = \"111122223333\"\nuser = \"ALICE\"\n";
pub(crate) const TABLE: &str = "keytide";
pub(crate) const EXTERNAL_ID: &str = "tidewater-7";
/// When the stories begin.
pub(crate) const START: &str = "2026-05-04T09:12:40Z";
/// What the reader role may do.
pub(crate) const READER_MAY: [&str; 6] = [
    "iam:GenerateCredentialReport",
    "iam:GetCredentialReport",
    "iam:ListUsers",
    "iam:ListAccessKeys",
    "iam:GetAccessKeyLastUsed",
    "iam:GetUser",
];
/// How long an event stays hidden after an invocation that died with it.
const VISIBILITY: Duration = Duration::from_secs(90);
/// How long one invocation may take.
const TIME_LIMIT: Duration = Duration::from_mins(1);

pub(crate) struct World {
    pub(crate) aws: LocalAws,
    pub(crate) slack: SlackSim,
    pub(crate) started: Instant,
    sessions: std::cell::Cell<u64>,
}

/// An event on the queue.
#[derive(Clone)]
pub(crate) struct Queued {
    json: Vec<u8>,
    received: u32,
    visible: Instant,
}

impl World {
    /// Two accounts, alice with her tags and one key, and a Slack that knows her.
    pub(crate) async fn new() -> Self {
        keytide_local::seed(7);
        let aws = LocalAws::in_memory().unwrap();
        aws.set_now(START.parse().unwrap());
        aws.iam().add_account(PROD).unwrap();
        aws.iam().add_role(PROD, "keytide-reader", Some(EXTERNAL_ID), &READER_MAY).unwrap();
        let tags = [("type", "human"), ("slack-id", ALICE), ("full-name", "Alice Adler")];
        aws.iam().add_user(PROD, "alice", "/engineering/", &tags).unwrap();
        aws.iam()
            .add_access_key(PROD, "alice", KEY, "2026-05-04T09:12:33Z".parse().unwrap(), KeyStatus::Active)
            .unwrap();
        aws.secrets().put("slack-token", TOKEN).unwrap();
        let slack = SlackSim::new(TOKEN).with_channel(CHANNEL).with_person(ALICE, Person::Active);
        let world = Self { aws, slack, started: Instant::now(), sessions: 0.into() };
        world.ledger().create_table().await.unwrap();
        world.aws.calls().restart();
        world
    }

    /// The same world once more, for whoever else acts in it.
    pub(crate) fn beside(&self) -> Self {
        let (aws, slack) = (self.aws.clone(), self.slack.clone());
        Self { aws, slack, started: self.started, sessions: 0.into() }
    }

    /// Puts a policy in force over whatever is, as a person does; but one that this version cannot read too, as a
    /// newer one may have done.
    pub(crate) async fn apply_policy(&self, text: &str, at: Timestamp) {
        let hash = Policy::parse(text).map_or_else(|_| "none".to_owned(), |policy| policy.hash().to_owned());
        put_in_force(&self.ledger(), text, &hash, at, Delivery::clone).await;
    }

    /// The same, long since told.
    pub(crate) async fn have_policy(&self, text: &str, at: Timestamp) -> Policy {
        let policy = Policy::parse(text).unwrap();
        put_in_force(&self.ledger(), text, policy.hash(), at, told).await;
        policy
    }

    /// Takes an item out of the table, as somebody with the console may.
    pub(crate) async fn delete_item(&self, partition: &str, sort: &str) {
        let client = aws_sdk_dynamodb::Client::new(&self.aws.sdk_config());
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let deleting =
            client.delete_item().table_name(TABLE).key("pk", text(partition)).key("sk", text(sort));
        deleting.send().await.unwrap();
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::new(&self.aws.sdk_config(), TABLE)
    }

    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.started.elapsed()).unwrap();
        START.parse::<Timestamp>().unwrap().checked_add(elapsed).unwrap()
    }

    /// A new sandbox of the function: nothing cached.
    pub(crate) fn watch(&self) -> Watch<SlackSim> {
        self.watch_telling(Telling::All)
    }

    pub(crate) fn watch_telling(&self, telling: Telling) -> Watch<SlackSim> {
        let config = self.aws.sdk_config();
        let mut settings = DeliverSettings::for_channel(CHANNEL);
        settings.accounts = AccountNames::parse(&format!("{PROD}=prod")).unwrap();
        let token = TokenSource::secret(Secrets::new(&config), "slack-token".to_owned());
        let deliver = Deliver::new(self.ledger(), Slack::new(self.slack.clone()), token, settings);
        let role = ReaderRole {
            partition: "aws".to_owned(),
            name: "keytide-reader".to_owned(),
            external_id: Some(EXTERNAL_ID.to_owned()),
            session_name: "keytide-watcher".to_owned(),
        };
        let directory = Directory::new(&config, role, Duration::from_secs(2));
        Watch::new(deliver, Some(directory), telling)
    }

    /// As `keytide ingest` reads without `--post`: nobody is looked up, and nobody told.
    pub(crate) fn watch_by_hand(&self) -> Watch<SlackSim> {
        let config = self.aws.sdk_config();
        let token = TokenSource::secret(Secrets::new(&config), "slack-token".to_owned());
        let settings = DeliverSettings::for_channel(CHANNEL);
        let deliver = Deliver::new(self.ledger(), Slack::new(self.slack.clone()), token, settings);
        Watch::new(deliver, None, Telling::Nothing)
    }

    pub(crate) fn invocation(&self) -> Invocation {
        self.sessions.set(self.sessions.get() + 1);
        Invocation::begin(format!("request-{}", self.sessions.get()), self.now(), TIME_LIMIT)
    }

    /// One receive of one event; `None` where the invocation died.
    pub(crate) async fn receive(&self, json: &Value, received: u32) -> Option<Result<Watched, WatchError>> {
        let json = json.to_string();
        self.receive_bytes(json.as_bytes(), received, &Arc::new(Notify::new())).await
    }

    async fn receive_bytes(
        &self,
        json: &[u8],
        received: u32,
        slack_crash: &Notify,
    ) -> Option<Result<Watched, WatchError>> {
        let watch = self.watch();
        let invocation = self.invocation();
        let incoming = Incoming { json, received };
        let crash = self.aws.faults().crash();
        tokio::select! {
            biased;
            () = crash.notified() => None,
            () = slack_crash.notified() => None,
            outcome = tokio::time::timeout(TIME_LIMIT, watch.event(&incoming, &invocation)) => outcome.ok(),
        }
    }

    /// Takes events off the queue until it is empty; gives how often each was received.
    pub(crate) async fn drain(&self, events: &[Value], slack_crash: &Notify) -> Vec<u32> {
        let mut queue: BTreeMap<usize, Queued> = events
            .iter()
            .map(|event| Queued {
                json: event.to_string().into_bytes(),
                received: 0,
                visible: Instant::now(),
            })
            .enumerate()
            .collect();
        let mut receives = vec![0; events.len()];
        while let Some((&id, _)) = queue.iter().min_by_key(|(id, queued)| (queued.visible, **id)) {
            let mut queued = queue.remove(&id).unwrap();
            tokio::time::sleep_until(queued.visible).await;
            queued.received += 1;
            receives[id] = queued.received;
            let outcome = self.receive_bytes(&queued.json, queued.received, slack_crash).await;
            assert!(queued.received < 400, "event {id} never gets done: {outcome:?}");
            // Later each time, and never before another try makes sense.
            let growing = Duration::from_secs(5 << queued.received.min(7));
            let wait = match outcome {
                Some(Ok(_)) => continue,
                Some(Err(error)) => error.retry_after().unwrap_or_default().max(growing),
                None => VISIBILITY,
            };
            queued.visible = Instant::now() + wait;
            queue.insert(id, queued);
        }
        receives
    }

    pub(crate) async fn story_of(&self, key_id: &str) -> History {
        let place = Place::Key { account: PROD.parse().unwrap(), key_id: key_id.to_owned() };
        self.ledger().history(&place).await.unwrap()
    }

    /// Everything that was ever said on Slack, in one text.
    pub(crate) fn all_said(&self) -> String {
        let mut said = String::new();
        for message in self.slack.messages() {
            said.push_str(&message.text);
            said.push_str(&message.blocks.to_string());
        }
        said
    }

    pub(crate) fn channel_texts(&self) -> Vec<String> {
        self.slack.messages_in(CHANNEL).into_iter().map(|message| message.text).collect()
    }

    pub(crate) fn owner_texts(&self) -> Vec<String> {
        let direct = SlackSim::direct_of(ALICE);
        self.slack.messages_in(&direct).into_iter().map(|message| message.text).collect()
    }
}

/// The roles that a sweep assumes: the one that looks, the one that disables.
pub(crate) fn roles() -> (RoleReach, DisablerRole) {
    let (partition, external_id) = ("aws".to_owned(), Some(EXTERNAL_ID.to_owned()));
    let reach = RoleReach {
        partition: partition.clone(),
        name: "keytide-reader".to_owned(),
        external_id: external_id.clone(),
        session_name: "keytide-sweeper".to_owned(),
    };
    (reach, DisablerRole { partition, name: "keytide-disabler".to_owned(), external_id })
}

/// Says a figure that belongs into the log of a run that is well, too.
pub(crate) fn tell(line: &str) {
    // Past the harness, which keeps to itself what a test that succeeds prints.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// An EventBridge event around a record of a key's event.
pub(crate) fn event(name: &str, id: &str, at: &str, key_id: &str, user: &str, status: &str) -> Value {
    let created = name == "CreateAccessKey";
    let identity = json!({
        "type": "IAMUser", "principalId": "AIDATIDEWATERALICE01", "accountId": PROD, "userName": user,
        "arn": format!("arn:aws:iam::{PROD}:user/engineering/{user}"),
    });
    json!({
        "version": "0", "id": format!("envelope-{id}"), "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.iam", "account": PROD, "time": at, "region": "us-east-1", "resources": [],
        "detail": {
            "eventVersion": "1.11", "eventSource": "iam.amazonaws.com", "eventName": name,
            "eventTime": at, "eventID": id, "recipientAccountId": PROD, "awsRegion": "us-east-1",
            "sourceIPAddress": "203.0.113.24", "userAgent": "aws-cli/2.27.41",
            "userIdentity": identity,
            "requestParameters": if created {
                json!({"userName": user})
            } else {
                json!({"userName": user, "accessKeyId": key_id, "status": status})
            },
            "responseElements": if created {
                json!({"accessKey": {"accessKeyId": key_id, "status": status, "userName": user,
                    "createDate": "May 4, 2026, 9:12:33\u{202f}AM"}})
            } else {
                Value::Null
            },
        },
    })
}

pub(crate) fn created() -> Value {
    event("CreateAccessKey", "e-created", "2026-05-04T09:12:33Z", KEY, "alice", "Active")
}

pub(crate) fn deactivated() -> Value {
    event("UpdateAccessKey", "e-inactive", "2026-05-04T09:12:36Z", KEY, "alice", "Inactive")
}

pub(crate) fn tagged() -> Value {
    let mut event = event("TagUser", "e-tagged", "2026-05-04T09:12:37Z", KEY, "alice", "");
    event["detail"]["requestParameters"] =
        json!({"userName": "alice", "tags": [{"key": "slack-id", "value": ALICE}]});
    event
}

/// Puts a policy in force over whatever is, with its message as `told` makes it; in bad weather a person tries again.
pub(crate) async fn put_in_force(
    ledger: &Ledger,
    text: &str,
    hash: &str,
    at: Timestamp,
    told: impl Fn(&Delivery) -> Delivery,
) {
    let author = "arn:aws:sts::999988887777:assumed-role/security/vera".to_owned();
    let what = Decided::PolicyApplied { old_hash: None, new_hash: hash.to_owned(), changes: Vec::new() };
    let decision = Decision { author: author.clone(), at, what };
    let id = decision.fact_id();
    let message = told(&for_decision(&id, &decision).deliveries(&id, at).remove(0));
    let fact = Fact::new(id, at, FactBody::Decided { decision: Box::new(decision) });
    let policy = PolicyInForce { text: text.to_owned(), hash: hash.to_owned(), author, at };
    for _ in 0..100 {
        let Ok(known) = ledger.policy().await else { continue };
        let version = known.map_or(0, |in_force| in_force.version);
        let written = ledger.decide(Change::Policy(&policy), version, &fact, &message).await;
        if matches!(written, Ok(Recorded::Written | Recorded::AlreadyThere)) {
            return;
        }
    }
    panic!("the policy does not come into force");
}

/// A message that was sent as it came to be.
pub(crate) fn told(message: &Delivery) -> Delivery {
    let at = message.created_at;
    let claimed = message.claim("vera", at, SignedDuration::from_mins(1)).unwrap();
    let receipt = Receipt { channel: CHANNEL.to_owned(), ts: "1780000000.000002".to_owned(), note: None };
    claimed.end("vera", at, Ending::Done(receipt)).unwrap()
}

pub(crate) fn renamed(from: &str, to: &str) -> Value {
    let mut event = tagged();
    event["detail"]["eventID"] = json!(format!("e-renamed-{from}"));
    event["detail"]["eventName"] = json!("UpdateUser");
    event["detail"]["requestParameters"] = json!({"userName": from, "newUserName": to});
    event
}

pub(crate) fn unreadable() -> Value {
    let mut event = created();
    event["detail"]["eventID"] = json!("e-unreadable");
    event["detail"]["responseElements"] = Value::Null;
    event
}
