//! Runs over all accounts: one digest a day, whatever repeats, dies or does not answer.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_config::SdkConfig;
use aws_sdk_sqs::types::MessageSystemAttributeName;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    Invocation, TokenSource,
    copy::{latest_exemptions, lines_of},
    deliver::{Deliver, DeliverSettings},
    run::{Again, BeginError, Begun, Choice, DigestEnd, Done, Outcome, Runs, Source, Task},
    sweep::{Observer, Sweep},
};
use keytide_aws::{
    accounts::Accounts,
    disabler::Disabler,
    ledger::{Approval, Change, Halt, LedgerReader},
    member::Members,
    queue::Queue,
    secrets::Secrets,
};
use keytide_core::{
    AccountId,
    alert::for_decision,
    cloudtrail::Status,
    decision::{Decided, Decision},
    fact::{Fact, FactBody},
    lifecycle::Exemption,
};
use keytide_local::{
    Fault, HOME_ACCOUNT, Service,
    slack::{SlackFault, SlackSim},
};
use keytide_slack::Slack;
use serde_json::{Value, json};

use crate::{
    sweep::Tide,
    world::{CHANNEL, EXTERNAL_ID, KEY, PROD, World, roles},
};

/// A member of the organization that nobody can enter.
const SANDBOX: &str = "444455556666";
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// The world's company: an organization of three accounts, and the queue of its runs.
pub(crate) struct Company {
    pub(crate) world: World,
    pub(crate) queue_url: String,
    /// How many more messages SQS refuses to take.
    refusals: Arc<AtomicUsize>,
    sessions: Cell<u64>,
}

impl Company {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let disabler = ["iam:UpdateAccessKey", "iam:ListAccessKeys"];
        world.aws.iam().add_role(PROD, "keytide-disabler", Some(EXTERNAL_ID), &disabler).unwrap();
        Self::over(world)
    }

    /// Runs in a world that is there already, with its disabler.
    pub(crate) fn over(world: World) -> Self {
        let (iam, organization) = (world.aws.iam(), world.aws.organization());
        let may = [
            "iam:GenerateCredentialReport",
            "iam:GetCredentialReport",
            "iam:ListUsers",
            "iam:ListAccessKeys",
            "iam:GetAccessKeyLastUsed",
            "iam:GetUser",
        ];
        iam.add_role(HOME_ACCOUNT, "keytide-reader", Some(EXTERNAL_ID), &may).unwrap();
        organization.set_management_account(HOME_ACCOUNT).unwrap();
        organization.add_member(PROD, "prod").unwrap();
        organization.add_member(SANDBOX, "sandbox, old").unwrap();
        // As long as a function may keep a message, and some.
        let visibility = Duration::from_mins(20);
        let queue_url = world.aws.queues().add(HOME_ACCOUNT, "keytide-accounts", visibility).unwrap();
        Self { world, queue_url, refusals: Arc::default(), sessions: 0.into() }
    }

    fn config(&self) -> SdkConfig {
        let config = self.world.aws.sdk_config();
        let client = Batches { inner: config.http_client().unwrap(), refusals: Arc::clone(&self.refusals) };
        config.to_builder().http_client(client).build()
    }

    /// A new sandbox of the function: nothing cached.
    pub(crate) fn runs(&self) -> Runs<SlackSim> {
        let config = self.config();
        let (reach, role) = roles();
        let ledger = self.world.ledger();
        let deliver = || {
            let token = TokenSource::secret(Secrets::new(&config), "slack-token".to_owned());
            let slack = Slack::new(self.world.slack.clone());
            Deliver::new(ledger.clone(), slack, token, DeliverSettings::for_channel(CHANNEL))
        };
        let observer = Observer::new(LedgerReader::of(&ledger), Members::new(&config, reach));
        let sweep = Sweep::new(observer, ledger.clone(), deliver(), Disabler::new(&config, role));
        let choice = Choice {
            source: Source::Organization(Accounts::new(&config)),
            include: [].into(),
            exclude: [].into(),
        };
        Runs::new(ledger.clone(), sweep, deliver(), self.queue(), choice)
    }

    fn queue(&self) -> Queue {
        Queue::new(&self.config(), self.queue_url.as_str())
    }

    fn invocation_at(&self, now: Timestamp) -> Invocation {
        self.sessions.set(self.sessions.get() + 1);
        Invocation::begin(format!("run-{}", self.sessions.get()), now, Duration::from_mins(14))
    }

    async fn begin(&self) -> Result<Begun, BeginError> {
        self.begin_at(self.world.now()).await
    }

    pub(crate) async fn begin_at(&self, now: Timestamp) -> Result<Begun, BeginError> {
        let invocation = self.invocation_at(now);
        Box::pin(self.runs().begin(&invocation)).await
    }

    async fn started(&self) {
        let begun = self.begin().await.unwrap();
        assert!(matches!(begun, Begun::Started { .. }), "{begun:?}");
    }

    async fn take(&self, body: &str, visit: u32) -> Result<Done, Again> {
        self.take_at(self.world.now(), body, visit).await
    }

    pub(crate) async fn take_at(&self, now: Timestamp, body: &str, visit: u32) -> Result<Done, Again> {
        let task: Task = serde_json::from_str(body).unwrap();
        let invocation = self.invocation_at(now);
        Box::pin(self.runs().account(&task, visit, &invocation)).await
    }

    /// Takes what is on the queue until it is empty, as Lambda does; `take_part` says whether somebody takes
    /// up a message at all, and how often at once. Gives what was done, by account, and how often each
    /// account's message was received.
    async fn drain(&self, take_part: impl Fn(&str) -> usize) -> Vec<(String, Done, u32)> {
        let client = aws_sdk_sqs::Client::new(&self.config());
        let mut done = Vec::new();
        for _ in 0..2_000 {
            if self.world.aws.queues().length(&self.queue_url).unwrap() == 0 {
                return done;
            }
            let received = client
                .receive_message()
                .queue_url(&self.queue_url)
                .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
                .max_number_of_messages(10)
                .send()
                .await
                .unwrap();
            let messages = received.messages.unwrap_or_default();
            if messages.is_empty() {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            for message in messages {
                let body = message.body.unwrap();
                let receipt = message.receipt_handle.unwrap();
                let count =
                    &message.attributes.unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount];
                let visit: u32 = count.parse().unwrap();
                let times = take_part(&body);
                let mut again = None;
                for _ in 0..times {
                    match self.take(&body, visit).await {
                        Ok(ended) => done.push((body.clone(), ended, visit)),
                        Err(failed) => again = Some(failed),
                    }
                }
                if let Some(again) = again {
                    self.queue().hide(&receipt, again.after).await.unwrap();
                } else {
                    let delete = client.delete_message().queue_url(&self.queue_url);
                    delete.receipt_handle(receipt).send().await.unwrap();
                }
            }
        }
        panic!("the queue never gets empty: {done:?}");
    }

    /// A day's run, from the schedule to the digest: the lines of people's decisions that it leaves in the log.
    pub(crate) async fn day(&self) -> Vec<String> {
        self.started().await;
        let done = self.drained().await;
        assert!(done.iter().any(|(_, done, _)| done.end.is_some()), "it came to its end: {done:?}");
        done.iter().flat_map(|(_, done, _)| lines_of(Some(&done.outcome), done.end.as_ref())).collect()
    }

    async fn drained(&self) -> Vec<(String, Done, u32)> {
        self.drain(|_| 1).await
    }

    /// The same, where nobody can be entered at the first visit; and how many visits there were.
    async fn drained_after_one_failure(&self) -> (Vec<(String, Done, u32)>, u32) {
        let faults = self.world.aws.faults();
        faults.plan(|call| (call.service == Service::Sts).then_some(Fault::ServerError));
        let visits = Cell::new(0);
        let done = self
            .drain(|_| {
                visits.set(visits.get() + 1);
                if visits.get() == 2 {
                    faults.clear();
                }
                1
            })
            .await;
        (done, visits.get())
    }

    /// Everything in the channel whose text or blocks hold these words.
    fn said(&self, words: &str) -> Vec<String> {
        let messages = self.world.slack.messages_in(CHANNEL);
        let whole = messages.into_iter().map(|message| format!("{}\n{}", message.text, message.blocks));
        whole.filter(|message| message.contains(words)).collect()
    }

    fn digests(&self) -> Vec<String> {
        self.said("Sweep of ")
    }

    fn baselines(&self) -> Vec<String> {
        self.said("for the first time")
    }
}

/// `SendMessageBatch`, made of a `SendMessage` for each, so that some messages can be refused in an answer that
/// is otherwise a success, as SQS may (API reference, `BatchResultErrorEntry`).
#[derive(Debug, Clone)]
struct Batches {
    inner: SharedHttpClient,
    refusals: Arc<AtomicUsize>,
}

#[derive(Debug, Clone)]
struct BatchConnector {
    inner: SharedHttpConnector,
    refusals: Arc<AtomicUsize>,
}

impl HttpClient for Batches {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(BatchConnector { inner, refusals: Arc::clone(&self.refusals) })
    }
}

impl HttpConnector for BatchConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if request.headers().get("x-amz-target") != Some("AmazonSQS.SendMessageBatch") {
            return self.inner.call(request);
        }
        let connector = self.clone();
        HttpConnectorFuture::new(async move { connector.batch(&request).await })
    }
}

impl BatchConnector {
    async fn batch(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let batch: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let entries = batch["Entries"].as_array().unwrap();
        assert!((1..=10).contains(&entries.len()), "SQS takes up to ten: {batch}");
        let (mut sent, mut failed) = (Vec::new(), Vec::new());
        let mut status = None;
        for entry in entries {
            let id = &entry["Id"];
            if self
                .refusals
                .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
            {
                failed.push(json!({"Id": id, "SenderFault": false, "Code": "InternalError"}));
                continue;
            }
            let mut single = request.try_clone().unwrap();
            single.headers_mut().insert("x-amz-target", "AmazonSQS.SendMessage");
            let body = json!({"QueueUrl": batch["QueueUrl"], "MessageBody": entry["MessageBody"]});
            *single.body_mut() = body.to_string().into();
            let answer = self.inner.call(single).await?;
            if !answer.status().is_success() {
                return Ok(answer);
            }
            status = Some(answer.status());
            sent.push(
                json!({"Id": id, "MessageId": "m", "MD5OfMessageBody": "d41d8cd98f00b204e9800998ecf8427e"}),
            );
        }
        let status = status.unwrap_or_else(|| 200_u16.try_into().unwrap());
        let body = json!({"Successful": sent, "Failed": failed}).to_string();
        let mut answer = HttpResponse::new(status, body.into());
        answer.headers_mut().insert("content-type", "application/x-amz-json-1.0");
        Ok(answer)
    }
}

fn id(account: &str) -> AccountId {
    account.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn three_accounts_one_of_them_unreadable_end_in_one_digest_that_names_it() {
    let company = Company::new().await;
    company.world.aws.iam().set_report_making(Duration::from_secs(50));
    company.started().await;
    assert_eq!(company.world.aws.queues().length(&company.queue_url).unwrap(), 3);
    let done = company.drained().await;
    assert_eq!(done.len(), 3);
    // A credential report that is being made is come back for.
    assert!(done.iter().any(|(_, _, visits)| *visits > 1), "{done:?}");
    let ends: Vec<_> = done.iter().filter_map(|(_, done, _)| done.end.as_ref()).collect();
    assert_eq!(ends.len(), 1, "one is the last");
    assert_eq!((ends[0].expected, ends[0].swept, &ends[0].digest), (3, 2, &DigestEnd::Posted));
    assert!(ends[0].oldest_sweep_hours > 9_000.0, "the sandbox was never swept: {ends:?}");

    let digests = company.digests();
    assert_eq!(digests.len(), 1, "{digests:?}");
    assert!(digests[0].contains("NOT WHOLE, 1 of 3 accounts missing"), "{}", digests[0]);
    assert!(digests[0].contains("2 of 3 accounts were swept, 1 failed"), "{}", digests[0]);
    // By the organization's name, whose comma must not end a list of names.
    assert!(digests[0].contains("sandbox old"), "{}", digests[0]);
    let baselines = company.baselines();
    assert_eq!(baselines.len(), 2, "prod and the management account: {baselines:?}");
    assert!(
        baselines.iter().any(|said| said.contains("prod") && said.contains("1 access key")),
        "{baselines:?}"
    );
    // And nothing else was said of what was there before keytide.
    assert_eq!(company.world.slack.messages().len(), 3, "{}", company.world.all_said());
    assert_eq!(company.world.story_of(KEY).await.facts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_begins_at_once_and_every_message_twice_and_again_change_nothing() {
    let company = Company::new().await;
    let (one, other) = tokio::join!(company.begin(), company.begin());
    let begun = [one.unwrap(), other.unwrap()];
    let started = begun.iter().filter(|begun| matches!(begun, Begun::Started { accounts: 3, .. })).count();
    let waiting = begun.iter().filter(|begun| matches!(begun, Begun::UnderWay { .. })).count();
    assert_eq!((started, waiting), (1, 1), "{begun:?}");
    assert_eq!(company.world.aws.queues().length(&company.queue_url).unwrap(), 3);

    let done = company.drain(|_| 2).await;
    assert!(done.len() >= 6, "{done:?}");
    assert_eq!(done.iter().filter(|(_, done, _)| !done.was_done).count(), 3, "each account once: {done:?}");
    let said = company.world.all_said();
    assert_eq!((company.digests().len(), company.baselines().len()), (1, 2), "{said}");
    let story = company.world.story_of(KEY).await;

    company.world.aws.calls().restart();
    for (body, _, visits) in &done {
        let again = company.take(body, visits + 1).await.unwrap();
        assert!(again.was_done && again.end.is_none(), "{again:?}");
    }
    let begun = company.begin().await.unwrap();
    assert!(matches!(&begun, Begun::Ended { end, .. } if end.digest == DigestEnd::Already), "{begun:?}");
    assert_eq!(company.world.all_said(), said);
    assert_eq!(company.world.story_of(KEY).await, story);
    // Not even looked at: a message that comes again costs IAM nothing.
    let calls = company.world.aws.calls().list();
    assert!(calls.iter().all(|call| call.service != Service::Iam && call.service != Service::Sts));
}

#[tokio::test(start_paused = true)]
async fn the_second_schedule_names_the_account_that_does_not_answer_once() {
    let company = Company::new().await;
    company.started().await;
    // Its message is lost: taken, and nothing is done.
    company.drain(|body| usize::from(!body.contains(PROD))).await;
    assert!(company.digests().is_empty(), "the run is not over");
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(matches!(company.begin().await.unwrap(), Begun::UnderWay { .. }), "too early to call it silent");

    tokio::time::sleep(3 * HOUR).await;
    let (one, other) = tokio::join!(company.begin(), company.begin());
    let posted = [one.unwrap(), other.unwrap()];
    let posted = posted.iter().filter(|begun| {
        matches!(begun, Begun::Ended { end, .. } if end.digest == DigestEnd::Posted && end.silent == [id(PROD)])
    });
    assert_eq!(posted.count(), 1);
    let digests = company.digests();
    assert_eq!(digests.len(), 1);
    assert!(digests[0].contains("NOT WHOLE, 2 of 3"), "{}", digests[0]);
    assert!(
        digests[0].contains("1 did not answer") && digests[0].contains("prod (111122223333)"),
        "{}",
        digests[0]
    );

    // It answers after all: it is swept, and the day's one digest was that.
    let body =
        serde_json::to_string(&Task::Account { run: "2026-05-04".parse().unwrap(), account: id(PROD) });
    let body = body.unwrap();
    // Its credential report is made, and come back for.
    company.take(&body, 1).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let late = company.take(&body, 2).await.unwrap();
    assert!(late.outcome.is_whole() && late.end.is_none(), "{late:?}");
    assert!(matches!(company.begin().await.unwrap(), Begun::Ended { .. }));
    assert_eq!(company.digests().len(), 1);
}

/// Nobody came to end a run that lost an account: the next day's does, before it begins its own.
#[tokio::test(start_paused = true)]
async fn a_digest_that_is_owed_is_posted_by_the_next_day_s_run() {
    let company = Company::new().await;
    company.started().await;
    company.drain(|body| usize::from(!body.contains(PROD))).await;
    assert!(company.digests().is_empty(), "the run is not over");
    tokio::time::sleep(DAY).await;
    company.world.slack.set_burst(None);
    company.started().await;
    let digests = company.digests();
    assert_eq!(digests.len(), 1);
    assert!(digests[0].contains("1 did not answer") && digests[0].contains("4 May"), "{}", digests[0]);
    company.drain(|_| 1).await;
    assert_eq!(company.digests().len(), 2, "and then its own");
}

/// The run is done with the account, and a cap had held something in it: an approval has it swept again, once.
#[tokio::test(start_paused = true)]
async fn an_approval_has_its_account_swept_again_by_the_next_begin() {
    let company = Company::new().await;
    company.started().await;
    company.drained().await;
    let (ledger, now) = (company.world.ledger(), company.world.now());
    let date = keytide_core::lifecycle::utc_date(now);
    let known = ledger.outcome::<Outcome>(date, &id(PROD)).await.unwrap().unwrap();
    assert!(known.value.looked_at.is_some(), "when its approvals were read");
    let held = Outcome { over_cap: 1, ..known.value };
    assert!(ledger.save_outcome(date, &id(PROD), &held, known.version, now).await.unwrap());
    company.world.aws.calls().restart();
    let swept = || company.world.aws.calls().count(Service::Sts, "AssumeRole");
    tokio::time::sleep(HOUR).await;
    company.begin().await.unwrap();
    company.drained().await;
    assert_eq!(swept(), 0, "nobody has approved anything");

    let (author, at) = ("arn:aws:iam::1:role/vera".to_owned(), company.world.now());
    let approval = Approval { plan: "0a0a".to_owned(), author: author.clone(), at };
    let what = Decided::Approved { account: id(PROD), plan: "0a0a".to_owned(), disables: 1 };
    let decision = Decision { author, at, what };
    let fact_id = decision.fact_id();
    let message = for_decision(&fact_id, &decision).deliveries(&fact_id, at).remove(0);
    let fact = Fact::new(fact_id, at, FactBody::Decided { decision: Box::new(decision) });
    ledger.decide(Change::Approve(&id(PROD), &approval), 0, &fact, &message).await.unwrap();
    tokio::time::sleep(HOUR).await;
    // In vain at first.
    company.begin().await.unwrap();
    let (done, visits) = company.drained_after_one_failure().await;
    assert!(visits == 2 && done.len() == 1 && !done[0].1.was_done, "{done:?}");
    assert!(swept() > 0);
    company.world.aws.calls().restart();
    tokio::time::sleep(HOUR).await;
    assert!(matches!(company.begin().await.unwrap(), Begun::Ended { .. }));
    company.drained().await;
    assert_eq!(swept(), 0);
    assert_eq!(company.digests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_sqs_does_not_take_is_offered_again_and_told() {
    let company = Company::new().await;
    company.refusals.store(4, Ordering::SeqCst);
    company.started().await;
    assert_eq!(company.world.aws.queues().length(&company.queue_url).unwrap(), 3);

    let company = Company::new().await;
    company.refusals.store(usize::MAX, Ordering::SeqCst);
    let refused = company.begin().await.unwrap_err();
    assert!(matches!(&refused, BeginError::Unsent { accounts: 3, unsent: 3, .. }), "{refused}");
    assert!(refused.to_string().contains("InternalError"), "{refused}");
    company.refusals.store(0, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_mins(1)).await;
    company.started().await;
    company.drained().await;
    assert_eq!(company.digests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_begin_that_dies_before_the_queue_is_filled_is_taken_up_by_the_next() {
    // At every call of it: whatever stands then, the next begin makes a whole run of it.
    for number in 1..40 {
        let company = Company::new().await;
        company.world.aws.calls().restart();
        company.world.aws.faults().at_call(number, Fault::CrashAfter);
        let crash = company.world.aws.faults().crash();
        let died = tokio::select! {
            biased;
            () = crash.notified() => true,
            begun = company.begin() => { begun.unwrap(); false }
        };
        company.world.aws.faults().clear();
        if !died {
            assert!(number > 5, "a begin makes a handful of calls, not {number}");
            return;
        }
        // What got onto the queue is taken meanwhile.
        company.drained().await;
        tokio::time::sleep(3 * HOUR).await;
        company.begin().await.unwrap();
        company.drained().await;
        assert_eq!(company.digests().len(), 1, "after call {number}");
        assert!(company.digests()[0].contains("2 of 3 accounts were swept"), "{:?}", company.digests());
    }
    panic!("a begin makes no 40 calls");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_read_fails_the_whole_run_loudly_and_does_nothing() {
    let company = Company::new().await;
    company.world.apply_policy("modes = \"enforce everything\"", company.world.now()).await;
    tokio::time::sleep(100 * DAY).await;
    company.started().await;
    let done = company.drained().await;
    assert!(done.iter().all(|(_, done, visits)| !done.outcome.was_read && *visits == 1), "{done:?}");
    let digests = company.digests();
    assert_eq!((digests.len(), company.world.slack.messages().len()), (1, 1), "{}", company.world.all_said());
    assert!(digests[0].contains("NOT WHOLE, 3 of 3"), "{}", digests[0]);
    assert!(digests[0].contains("the policy in force, applied by arn"), "{}", digests[0]);
    let calls = company.world.aws.calls().list();
    assert!(calls.iter().all(|call| call.service != Service::Iam && call.service != Service::Sts));
}

#[tokio::test(start_paused = true)]
async fn trouble_that_passes_is_come_back_for_and_leaves_no_trace_in_the_digest() {
    let company = Company::new().await;
    company.world.aws.organization().leave(SANDBOX).unwrap();
    company.started().await;
    company.world.aws.faults().plan(|call| (call.service == Service::Sts).then_some(Fault::ServerError));
    let body = |account| {
        serde_json::to_string(&Task::Account { run: "2026-05-04".parse().unwrap(), account: id(account) })
            .unwrap()
    };
    let failed = company.take(&body(PROD), 1).await.unwrap_err();
    assert!(!failed.is_passing && failed.word == "troubles", "{failed:?}");
    assert!(!failed.outcome.unwrap().is_final);
    company.world.aws.faults().clear();
    let done = company.drained().await;
    let prod = &done.iter().find(|(body, ..)| body.contains(PROD)).unwrap().1;
    assert_eq!((prod.outcome.is_whole(), prod.outcome.tries), (true, 2));
    assert!(company.digests()[0].contains("every account (2) was swept"), "{:?}", company.digests());

    // What does not pass is given up on the third time, and said.
    let company = Company::new().await;
    company.world.aws.organization().leave(SANDBOX).unwrap();
    company.started().await;
    company.world.aws.faults().plan(|call| (call.service == Service::Sts).then_some(Fault::ServerError));
    let done = company.drained().await;
    assert!(done.iter().all(|(_, done, visits)| done.outcome.tries == 3 && *visits == 3), "{done:?}");
    assert_eq!(company.digests().len(), 1);
    assert!(company.digests()[0].contains("NOT WHOLE, 2 of 2"), "{:?}", company.digests());
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_slack_does_not_take_comes_later_and_once() {
    let company = Company::new().await;
    company.started().await;
    // Baselines are posted, the digest is refused, and then its answer is lost.
    let mut digests = 0;
    company.world.slack.set_faults(move |number, _| {
        digests += usize::from(number > 2);
        (number > 2 && digests <= 4).then_some(SlackFault::Error("service_unavailable"))
    });
    let done = company.drained().await;
    assert_eq!(done.len(), 3);
    assert_eq!(company.digests().len(), 1, "{}", company.world.all_said());
    assert_eq!(company.baselines().len(), 2);
}

/// The queue of accounts gives a message up when it was received twenty times (`infra/security-account.yaml`).
#[tokio::test(start_paused = true)]
async fn the_last_account_s_message_outlasts_a_slack_that_is_down_until_the_second_schedule() {
    let company = Company::new().await;
    let began = company.world.now();
    company.started().await;
    let (slack, aws) = (company.world.slack.clone(), company.world.aws.clone());
    let until = began.checked_add(SignedDuration::from_mins(179)).unwrap();
    slack.set_faults(move |_, _| (aws.now() < until).then_some(SlackFault::Error("service_unavailable")));
    let done = company.drained().await;
    let most = done.iter().map(|(_, _, visits)| *visits).max().unwrap();
    assert!((5..=20).contains(&most), "{most}");
    assert_eq!(company.digests().len(), 1, "{}", company.world.all_said());
}

/// What the run made of an account is counted when it is made, also where the digest is still to be posted.
#[tokio::test(start_paused = true)]
async fn an_account_whose_digest_cannot_be_posted_is_counted_once() {
    let company = Company::new().await;
    company.world.aws.organization().leave(SANDBOX).unwrap();
    company.started().await;
    company.drain(|body| usize::from(!body.contains(PROD))).await;
    let task = Task::Account { run: "2026-05-04".parse().unwrap(), account: id(PROD) };
    let body = serde_json::to_string(&task).unwrap();
    // Its credential report is made, and come back for.
    assert!(!company.take(&body, 1).await.unwrap_err().is_last);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let digests = AtomicUsize::new(0);
    // The summary of its first sweep comes before.
    company.world.slack.set_faults(move |_, _| {
        (digests.fetch_add(1, Ordering::SeqCst) > 0).then_some(SlackFault::Error("service_unavailable"))
    });
    let unposted = company.take(&body, 2).await.unwrap_err();
    assert!(unposted.is_last && unposted.outcome.as_ref().unwrap().is_final, "{unposted:?}");
    let again = company.take(&body, 3).await.unwrap_err();
    assert!(!again.is_last, "{again:?}");
    company.world.slack.set_faults(|_, _| None);
    assert!(company.take(&body, 4).await.unwrap().was_done);
}

#[tokio::test(start_paused = true)]
async fn day_after_day_and_an_account_that_leaves_is_named_once() {
    let company = Company::new().await;
    for day in 1..=3 {
        company.started().await;
        company.drained().await;
        assert_eq!(company.digests().len(), day);
        tokio::time::sleep(DAY).await;
    }
    let digests = company.digests();
    assert!(!digests[0].contains("(unchanged)"), "{}", digests[0]);
    assert!(digests[1].contains("*Keys*\\n1 (unchanged)"), "{}", digests[1]);
    assert_eq!(company.baselines().len(), 2, "once for each account that can be read");

    company.world.aws.organization().leave(PROD).unwrap();
    let before = company.world.story_of(KEY).await;
    for _ in 0..2 {
        company.started().await;
        company.drained().await;
        tokio::time::sleep(DAY).await;
    }
    let digests = company.digests();
    assert!(digests[3].contains("its keys stay in the ledger as they were"), "{}", digests[3]);
    assert!(digests[3].contains("prod (111122223333)"), "{}", digests[3]);
    assert!(!digests[4].contains("stay in the ledger"), "{}", digests[4]);
    assert_eq!(company.world.story_of(KEY).await, before, "frozen, not closed");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_shortly_before_midnight_and_one_after_it_are_one_run() {
    let company = Company::new().await;
    // From 09:12 to 22:12; the second schedule lies on the next UTC date.
    tokio::time::sleep(13 * HOUR).await;
    company.started().await;
    company.drain(|body| usize::from(!body.contains(PROD))).await;
    tokio::time::sleep(3 * HOUR).await;
    let begun = company.begin().await.unwrap();
    assert!(matches!(&begun, Begun::Ended { date, .. } if date.to_string() == "2026-05-04"), "{begun:?}");
    tokio::time::sleep(21 * HOUR).await;
    let begun = company.begin().await.unwrap();
    assert!(matches!(&begun, Begun::Started { date, .. } if date.to_string() == "2026-05-05"), "{begun:?}");
}

/// What the alarm on a forgotten halt hears, however a run comes to its end.
#[tokio::test(start_paused = true)]
async fn each_end_says_whether_a_halt_is_set() {
    let company = Company::new().await;
    let ledger = company.world.ledger();
    let ended_by_an_account = async || {
        company.started().await;
        let done = company.drained().await;
        let ends: Vec<bool> =
            done.iter().filter_map(|(_, done, _)| Some(done.end.as_ref()?.is_halted)).collect();
        tokio::time::sleep(DAY).await;
        ends
    };
    let ended_by_a_begin = async || {
        company.started().await;
        company.drain(|body| usize::from(!body.contains(PROD))).await;
        tokio::time::sleep(3 * HOUR).await;
        let begun = company.begin().await.unwrap();
        let Begun::Ended { end, .. } = begun else { panic!("{begun:?}") };
        tokio::time::sleep(21 * HOUR).await;
        end.is_halted
    };
    assert_eq!(ended_by_an_account().await, [false]);
    let at = company.world.now();
    let halt = Halt { reason: "an incident".to_owned(), author: "arn:aws:iam::1:role/vera".to_owned(), at };
    ledger.set_halt(&halt).await.unwrap();
    assert_eq!(ended_by_an_account().await, [true]);
    assert!(ended_by_a_begin().await);
    ledger.lift_halt().await.unwrap();
    assert!(!ended_by_a_begin().await);
    assert_eq!(ended_by_an_account().await, [false]);
}

#[tokio::test(start_paused = true)]
async fn the_exemptions_of_an_account_that_nobody_can_enter_are_copied_all_the_same() {
    let company = Company::new().await;
    let now = company.world.now();
    let exemption = |days: i64| Exemption {
        reason: "the vendor rotates it".to_owned(),
        author: "arn:aws:iam::1:role/vera".to_owned(),
        granted_at: now.checked_sub(SignedDuration::from_hours(20 * 24)).unwrap(),
        until: now.checked_add(SignedDuration::from_hours(days * 24)).unwrap(),
    };
    for (key_id, days) in [("AKIATIDEWATERVENDOR1", 30), ("AKIATIDEWATERENDED01", -1)] {
        let saved = company.world.ledger().save_exemption(&id(SANDBOX), key_id, &exemption(days), 0).await;
        assert!(saved.unwrap());
    }
    let kept = latest_exemptions(&company.day().await.join("\n"), None);
    let of_all: Vec<&str> = kept.accounts.keys().map(AccountId::as_str).collect();
    assert_eq!(of_all, [PROD, SANDBOX, HOME_ACCOUNT]);
    let of_sandbox = &kept.accounts[&id(SANDBOX)].exemptions;
    assert_eq!(of_sandbox.keys().collect::<Vec<_>>(), ["AKIATIDEWATERVENDOR1"]);
}

/// Begun by hand in the evening, to see it work: the morning's schedule begins the next.
#[tokio::test(start_paused = true)]
async fn a_run_that_was_begun_late_in_the_evening_and_ended_leaves_the_next_morning_its_own() {
    let company = Company::new().await;
    for time in ["2026-05-04T22:00:00Z", "2026-05-05T06:00:00Z"] {
        at(&company, time).await;
        company.day().await;
        tokio::time::sleep(3 * HOUR).await;
        assert!(matches!(company.begin().await.unwrap(), Begun::Ended { .. }), "the second of {time}");
    }
    assert_eq!(company.digests().len(), 2);
}

/// What the hours of `infra/policy.example.toml` hold at the first begin of the default schedule, 06:00 UTC, is disabled
/// at its second, 09:00 UTC.
#[tokio::test(start_paused = true)]
async fn a_key_that_the_hours_hold_at_the_first_begin_is_disabled_at_the_second() {
    let (tide, company) = due_under_hours("09:00-16:00").await;
    at(&company, "2026-08-04T06:00:00Z").await;
    company.day().await;
    assert!(company.digests()[0].contains("disabling is closed"), "{}", company.digests()[0]);
    assert!(!company.digests()[0].contains("nothing is ever disabled"), "{}", company.digests()[0]);
    company.world.aws.calls().restart();
    let swept = || company.world.aws.calls().count(Service::Sts, "AssumeRole");
    at(&company, "2026-08-04T06:59:00Z").await;
    // A message that comes again while it is closed, as it was.
    let body =
        serde_json::to_string(&Task::Account { run: "2026-08-04".parse().unwrap(), account: id(PROD) });
    assert!(company.take(&body.unwrap(), 2).await.unwrap().was_done);
    assert_eq!((swept(), tide.status().await), (0, Status::Active));

    at(&company, "2026-08-04T09:00:00Z").await;
    assert!(matches!(company.begin().await.unwrap(), Begun::Ended { .. }));
    assert_eq!(
        company.world.aws.queues().length(&company.queue_url).unwrap(),
        1,
        "only where something is held"
    );
    // Trouble that passes does not put it off to the next day.
    let (done, visits) = company.drained_after_one_failure().await;
    assert_eq!((done.len(), visits), (1, 2), "{done:?}");
    assert_eq!((done[0].1.outcome.disabled.count(), tide.status().await), (1, Status::Inactive), "{done:?}");
    // The log and the metrics are of this visit: the notice of the first begin was counted then.
    assert_eq!(done[0].1.outcome.told, 0, "{done:?}");
    let date = "2026-08-04".parse().unwrap();
    let of_the_run = company.world.ledger().outcome::<Outcome>(date, &id(PROD)).await.unwrap().unwrap().value;
    assert_eq!((of_the_run.told, of_the_run.disabled.count(), of_the_run.closed), (1, 1, 0));

    // Once.
    company.world.aws.calls().restart();
    at(&company, "2026-08-04T10:00:00Z").await;
    company.begin().await.unwrap();
    company.drained().await;
    assert_eq!((swept(), company.digests().len()), (0, 1));

    // The day's digest was posted before: the next one tells of it, and once.
    for (day, told) in [("2026-08-05", true), ("2026-08-06", false)] {
        at(&company, &format!("{day}T06:00:00Z")).await;
        company.day().await;
        let digest = company.digests().pop().unwrap();
        assert_eq!(digest.contains("Disabled after the digest before"), told, "{digest}");
        assert_eq!(digest.contains("and 1 more after the digest before"), told, "{digest}");
    }
}

/// Nothing is given up for the day by trouble that passes; by trouble that does not, it is said, and a begin by hand helps.
#[tokio::test(start_paused = true)]
async fn what_is_taken_up_in_vain_is_come_back_for_thrice_and_then_by_the_next_begin() {
    let (tide, company) = due_under_hours("09:00-16:00").await;
    at(&company, "2026-08-04T06:00:00Z").await;
    company.day().await;
    at(&company, "2026-08-04T09:00:00Z").await;
    company.begin().await.unwrap();
    company.world.aws.faults().plan(|call| (call.service == Service::Sts).then_some(Fault::ServerError));
    let done = company.drained().await;
    assert_eq!((done.len(), done[0].2), (1, 3), "{done:?}");
    assert!(done[0].1.is_taken_up && done[0].1.outcome.failed.is_some(), "{done:?}");
    assert_eq!(tide.status().await, Status::Active);

    company.world.aws.faults().clear();
    at(&company, "2026-08-04T10:00:00Z").await;
    company.begin().await.unwrap();
    company.drained().await;
    assert_eq!(tide.status().await, Status::Inactive);
}

/// A table that nobody accepted has forgotten who is exempt, and its copy would stand above the one that knows.
#[tokio::test(start_paused = true)]
async fn of_a_ledger_that_nobody_accepted_no_exemptions_are_copied_whoever_can_be_entered() {
    let company = Company::new().await;
    company.world.delete_item("ACCEPTED", "ACCEPTED").await;
    assert_eq!(company.day().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn hours_that_no_sweep_comes_in_are_told_loudly_after_a_week() {
    let (tide, company) = due_under_hours("20:00-22:00").await;
    for day in 4..=10 {
        at(&company, &format!("2026-08-{day:02}T06:00:00Z")).await;
        company.day().await;
        at(&company, &format!("2026-08-{day:02}T09:00:00Z")).await;
        company.begin().await.unwrap();
        assert_eq!(company.world.aws.queues().length(&company.queue_url).unwrap(), 0, "it is closed");
    }
    let loud = |digest: &String| {
        digest.contains("a key has been due for 7 days") && digest.contains("nothing is ever")
    };
    let digests = company.digests();
    assert!(digests.iter().all(|digest| digest.contains("disabling is closed")), "{digests:?}");
    assert_eq!((digests.iter().position(loud), digests.len()), (Some(6), 7), "{digests:?}");
    assert_eq!(tide.status().await, Status::Active);
}

/// A company where the one key, in `enforce`, was told of by notices that were confirmed, and is due on 4 August 2026, a
/// Tuesday, under these hours.
async fn due_under_hours(hours: &str) -> (Tide, Company) {
    let mut tide = Tide::new("enforce").await;
    let days = "weekdays = [\"mon\", \"tue\", \"wed\", \"thu\"]\ntime-zone = \"Europe/Berlin\"";
    let disabling = format!("[disabling]\nhours = \"{hours}\"\n{days}\n");
    tide.change_policy(&format!("[modes]\nenforce = [\"{PROD}\"]\n{disabling}")).await;
    tide.run().await.unwrap();
    tide.days(90).await;
    let company = Company::over(tide.world.beside());
    (tide, company)
}

async fn at(company: &Company, time: &str) {
    let left = time.parse::<Timestamp>().unwrap().duration_since(company.world.now());
    tokio::time::sleep(left.try_into().unwrap()).await;
}
