//! The sweep in an AWS that others wrote: runs over an organization of moto's, with its accounts, its roles, its
//! ledger and its queue; only Slack is ours.
//!
//! Births lie back because moto's clock is set (`tests/counterparts/serve_moto.py`): it has no call for it. What
//! moto 5.2.5 does otherwise than AWS, as far as a sweep comes across it:
//! - Its credential report is always of now, is marked as made in 2015, and has no row of root's. Unmended it is older
//!   than the four hours that hold, so that a test of its own sees everybody listed instead; in the others the
//!   script gives it the date that it is of.
//! - The report says `not_supported` where AWS names the service and region of a key's last use. `GetAccessKeyLastUsed`
//!   names both, and finds keys of any account.
//! - A user who still has keys can be deleted. AWS refuses (`DeleteConflict`).
//! - Roles need not exist, and neither their policies nor external ids are checked: what a session asked for is read
//!   from moto's books, and that it may do no more is a test of the local AWS.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says so by failing")]

use std::{cell::Cell, time::Duration};

use aws_config::SdkConfig;
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_iam::types::{StatusType, Tag};
use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    Invocation, TokenSource,
    decide::{Decide, compare},
    deliver::{Deliver, DeliverSettings},
    run::{Begun, Choice, DigestEnd, Done, Outcome, Runs, Source, Task},
    sweep::{Observer, Sweep},
};
use keytide_aws::{
    accounts::Accounts,
    disabler::{Disabler, DisablerRole},
    ledger::{Ledger, LedgerReader},
    member::{Members, RoleReach},
    queue::Queue,
};
use keytide_core::{
    AccountId,
    key::Key,
    plan::HeldBy,
    policy::{Mode, Policy},
};
use keytide_local::slack::{Person, SlackSim};
use keytide_slack::{Slack, Token};
use serde_json::{Value, json};

use crate::{
    counterparts::{Moto, start_moto},
    iam_contract,
    moto::config,
};

/// The caller's account, which manages the organization.
const MANAGEMENT: &str = "123456789012";
const ALICE: &str = "U0ALICE01";
const CHIARA: &str = "U0CHIARA1";
const CHANNEL: &str = "C0INFRA001";
const TOKEN: &str = "xoxb-only-for-tests";
const EXTERNAL_ID: &str = "tidewater-7";

/// So many days after the oldest keys were made, and an hour, so that their age is whole days.
fn day(days: i64) -> Timestamp {
    birthday().checked_add(SignedDuration::from_hours(days * 24 + 1)).unwrap()
}

fn birthday() -> Timestamp {
    "2026-05-04T09:12:33Z".parse().unwrap()
}

/// A company in moto: two members of an organization, prod in `enforce` and lab in `notify`.
struct Company {
    moto: Moto,
    config: SdkConfig,
    slack: SlackSim,
    queue_url: String,
    prod: AccountId,
    lab: AccountId,
    sessions: Cell<u64>,
}

/// An access key as IAM gives it to its owner.
struct Made {
    id: String,
    secret: String,
}

impl Company {
    async fn new() -> Self {
        let moto = start_moto();
        let config = config(&moto).await;
        let organization = aws_sdk_organizations::Client::new(&config);
        organization.create_organization().send().await.unwrap();
        let member = async |name: &str| -> AccountId {
            let email = format!("aws+{name}@tidewater.example");
            let asked = organization.create_account().account_name(name).email(email).send().await.unwrap();
            asked.create_account_status().unwrap().account_id().unwrap().parse().unwrap()
        };
        let (prod, lab) = (member("prod").await, member("lab").await);
        let queue = aws_sdk_sqs::Client::new(&config).create_queue().queue_name("keytide-accounts");
        let queue_url = queue.send().await.unwrap().queue_url.unwrap();
        let slack = SlackSim::new(TOKEN).with_channel(CHANNEL);
        let slack = slack.with_person(ALICE, Person::Active).with_person(CHIARA, Person::Active);
        // Real seconds would pass.
        slack.set_burst(None);
        let company = Self { moto, config, slack, queue_url, prod, lab, sessions: 0.into() };
        for account in [&MANAGEMENT.parse().unwrap(), &company.prod, &company.lab] {
            let iam = company.iam_in(account).await;
            // Has no key. Without anybody a report of moto's has no row, and a sweep rightly does not take it.
            iam.create_user().user_name("vera").send().await.unwrap();
            for role in ["keytide-reader", "keytide-disabler"] {
                let trust = json!({"Version": "2012-10-17", "Statement": [{
                    "Effect": "Allow", "Action": "sts:AssumeRole",
                    "Principal": {"AWS": format!("arn:aws:iam::{MANAGEMENT}:root")},
                    "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
                }]});
                let role = iam.create_role().role_name(role).assume_role_policy_document(trust.to_string());
                role.send().await.unwrap();
            }
        }
        let ledger = company.ledger();
        ledger.create_table().await.unwrap();
        let text = format!(
            "[modes]\nenforce = [\"{}\"]\nnotify = [\"{}\"]\n",
            company.prod.as_str(),
            company.lab.as_str()
        );
        let policy = Policy::parse(&text).unwrap();
        let before = compare(&LedgerReader::of(&ledger), &policy, birthday()).await.unwrap();
        let decide = Decide::new(ledger, format!("arn:aws:iam::{MANAGEMENT}:user/vera"));
        decide.apply_policy(&text, &policy, &before, birthday()).await.unwrap();
        company
    }

    /// IAM in a member account, as Organizations' own role in it.
    async fn iam_in(&self, account: &AccountId) -> aws_sdk_iam::Client {
        let role = format!("arn:aws:iam::{account}:role/OrganizationAccountAccessRole");
        aws_sdk_iam::Client::new(&iam_contract::as_role(&self.config, &role, None).await)
    }

    async fn user_with_key(&self, account: &AccountId, name: &str, slack_id: Option<&str>) -> Made {
        let iam = self.iam_in(account).await;
        let tags = slack_id.map(|id| vec![Tag::builder().key("slack-id").value(id).build().unwrap()]);
        iam.create_user().user_name(name).path("/engineering/").set_tags(tags).send().await.unwrap();
        let made = iam.create_access_key().user_name(name).send().await.unwrap().access_key.unwrap();
        Made { id: made.access_key_id, secret: made.secret_access_key }
    }

    /// What IAM itself says of a user's one key.
    async fn status(&self, account: &AccountId, user: &str) -> StatusType {
        let listed = self.iam_in(account).await.list_access_keys().user_name(user).send().await.unwrap();
        assert_eq!(listed.access_key_metadata().len(), 1, "{listed:?}");
        listed.access_key_metadata()[0].status().unwrap().clone()
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(&self.config, "keytide")
    }

    async fn key(&self, account: &AccountId, made: &Made) -> Key {
        self.ledger().key(account, &made.id).await.unwrap().unwrap().value
    }

    fn runs(&self) -> Runs<SlackSim> {
        let (config, ledger) = (&self.config, self.ledger());
        let reach = RoleReach {
            partition: "aws".to_owned(),
            name: "keytide-reader".to_owned(),
            external_id: Some(EXTERNAL_ID.to_owned()),
            session_name: "keytide-sweeper".to_owned(),
        };
        let role = DisablerRole {
            partition: "aws".to_owned(),
            name: "keytide-disabler".to_owned(),
            external_id: Some(EXTERNAL_ID.to_owned()),
        };
        let deliver = || {
            let token = TokenSource::Given(Token::new(TOKEN.to_owned()));
            let slack = Slack::new(self.slack.clone());
            Deliver::new(ledger.clone(), slack, token, DeliverSettings::for_channel(CHANNEL))
        };
        let observer = Observer::new(LedgerReader::of(&ledger), Members::new(config, reach));
        let sweep = Sweep::new(observer, ledger.clone(), deliver(), Disabler::new(config, role));
        let source = Source::Organization(Accounts::new(config));
        let choice = Choice { source, include: [].into(), exclude: [].into() };
        Runs::new(ledger.clone(), sweep, deliver(), Queue::new(config, self.queue_url.as_str()), choice)
    }

    /// The run of a day on which AWS's clock and ours agree.
    async fn on(&mut self, days: i64) -> Vec<Outcome> {
        self.moto.set_clock(day(days));
        self.run_at(day(days)).await.into_iter().map(|(done, _)| done.outcome).collect()
    }

    /// One run as the functions make it: the accounts of the organization onto the queue, each taken from it until
    /// it is done, how often stands beside; the last one posts the digest.
    async fn run_at(&self, now: Timestamp) -> Vec<(Done, u32)> {
        let runs = self.runs();
        let invocation = || {
            self.sessions.set(self.sessions.get() + 1);
            Invocation::begin(format!("run-{}", self.sessions.get()), now, Duration::from_mins(14))
        };
        let begun = Box::pin(runs.begin(&invocation())).await.unwrap();
        assert!(matches!(begun, Begun::Started { accounts: 3, .. }), "{begun:?}");
        let queue = aws_sdk_sqs::Client::new(&self.config);
        let mut all_done = Vec::new();
        while all_done.len() < 3 {
            let received = queue.receive_message().queue_url(&self.queue_url).send().await.unwrap();
            let message = &received.messages()[0];
            let task: Task = serde_json::from_str(message.body().unwrap()).unwrap();
            let mut visit = 1;
            let done = loop {
                match Box::pin(runs.account(&task, visit, &invocation())).await {
                    Ok(done) => break done,
                    Err(again) => assert!(again.is_passing && visit < 10, "{again:?}"),
                }
                visit += 1;
            };
            assert!(done.outcome.is_whole(), "{:?}", done.outcome);
            all_done.push((done, visit));
            let delete = queue.delete_message().queue_url(&self.queue_url);
            delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
        }
        let end = all_done[2].0.end.as_ref().unwrap();
        assert_eq!((end.expected, end.swept, &end.digest), (3, 3, &DigestEnd::Posted));
        all_done
    }

    /// How many messages alice and chiara got.
    fn told(&self) -> (usize, usize) {
        let direct = |owner: &str| self.slack.messages_in(&SlackSim::direct_of(owner)).len();
        (direct(ALICE), direct(CHIARA))
    }
}

fn of<'a>(account: &AccountId, outcomes: &'a [Outcome]) -> &'a Outcome {
    outcomes.iter().find(|outcome| outcome.account == *account).unwrap()
}

#[tokio::test]
async fn ninety_one_days_in_an_organization_of_motos() {
    let mut company = Company::new().await;
    let (prod, lab) = (company.prod.clone(), company.lab.clone());
    company.moto.set_clock(birthday());
    let alice = company.user_with_key(&prod, "alice", Some(ALICE)).await;
    let chiara = company.user_with_key(&lab, "chiara", Some(CHIARA)).await;
    company.moto.set_clock(day(40));
    let bruno = company.user_with_key(&prod, "bruno", None).await;

    let baseline = company.on(40).await;
    assert_eq!(of(&prod, &baseline).active, 2);
    assert_eq!(of(&lab, &baseline).active, 1);
    for outcome in &baseline {
        let findings = format!("{:?}", outcome.findings);
        assert!(findings.contains("whether root has a key is not known"), "no row of root's: {findings}");
    }
    let young = company.key(&prod, &bruno).await;
    let old = company.key(&prod, &alice).await;
    assert_eq!((old.standing_word(), young.standing_word()), ("Active", "Active"));
    // The policy, a summary of each account, the digest: nothing of any key.
    let said = company.slack.messages();
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(said.iter().all(|message| message.channel == CHANNEL), "{said:?}");
    for made in [&alice, &bruno, &chiara] {
        assert!(!format!("{said:?}").contains(&made.id), "{said:?}");
    }

    company.moto.set_clock(day(70));
    let as_alice = Credentials::new(&alice.id, &alice.secret, None, None, "alice");
    let as_alice = company.config.to_builder().credentials_provider(SharedCredentialsProvider::new(as_alice));
    let identity = aws_sdk_sts::Client::new(&as_alice.build()).get_caller_identity().send().await.unwrap();
    assert!(identity.arn().unwrap().ends_with(":user/engineering/alice"), "{identity:?}");

    company.on(75).await;
    assert_eq!(company.told(), (0, 0), "{:?}", company.slack.messages());
    for (days, messages) in [(76, 1), (81, 2), (86, 3), (90, 3)] {
        let outcomes = company.on(days).await;
        assert_eq!(company.told(), (messages, messages), "day {days}: {:?}", company.slack.messages());
        assert!(outcomes.iter().all(|outcome| outcome.disabled.count() == 0), "day {days}: {outcomes:?}");
    }
    assert_eq!(company.status(&prod, "alice").await, StatusType::Active);
    assert!(!company.moto.sessions().iter().any(|session| session.role.ends_with("/keytide-disabler")));

    let outcomes = company.on(91).await;
    let disabled = &of(&prod, &outcomes).disabled;
    assert_eq!(disabled.count(), 1, "{outcomes:?}");
    assert_eq!((&disabled.rows[0].key_id, disabled.rows[0].is_confirmed), (&alice.id, true));
    let used_after = disabled.rows[0].last_used.unwrap().duration_since(day(70));
    assert!(used_after.abs() < SignedDuration::from_mins(5), "{outcomes:?}");
    let in_lab = of(&lab, &outcomes);
    let held: Vec<_> = in_lab.held.rows.iter().map(|held| (&held.key_id, &held.by)).collect();
    assert_eq!(held, [(&chiara.id, &HeldBy::Mode(Mode::Notify))]);
    assert_eq!(in_lab.disabled.count(), 0);
    assert_eq!(company.status(&prod, "alice").await, StatusType::Inactive);
    assert_eq!(company.status(&prod, "bruno").await, StatusType::Active);
    assert_eq!(company.status(&lab, "chiara").await, StatusType::Active);
    assert_eq!(company.key(&prod, &alice).await.standing_word(), "Inactive");
    assert_eq!(company.told().0, 4, "{:?}", company.slack.messages());

    let (disablers, others): (Vec<_>, Vec<_>) =
        company.moto.sessions().into_iter().partition(|session| session.role.ends_with("/keytide-disabler"));
    assert_eq!(disablers.len(), 1, "one user, one session: {disablers:?}");
    assert_eq!(disablers[0].role, format!("arn:aws:iam::{prod}:role/keytide-disabler"));
    let narrowed: Value = serde_json::from_str(disablers[0].policy.as_ref().unwrap()).unwrap();
    let user = format!("arn:aws:iam::{prod}:user/engineering/alice");
    assert_eq!(narrowed["Statement"].as_array().unwrap().len(), 1, "{narrowed}");
    assert_eq!(narrowed["Statement"][0]["Resource"], user, "{narrowed}");
    let readers = others.iter().filter(|session| session.role.ends_with("/keytide-reader"));
    for session in readers.clone().chain(&disablers) {
        assert_eq!(session.external_id.as_deref(), Some(EXTERNAL_ID), "{session:?}");
    }
    for account in [MANAGEMENT, prod.as_str(), lab.as_str()] {
        let role = format!("arn:aws:iam::{account}:role/keytide-reader");
        assert!(readers.clone().any(|session| session.role == role), "{role}");
    }

    // With his key, which AWS would not allow.
    company.iam_in(&prod).await.delete_user().user_name("bruno").send().await.unwrap();
    let mut words = Vec::new();
    // A day later would be some milliseconds more or less than the 24 hours that have to lie between.
    for days in [92, 94] {
        let outcomes = company.on(days).await;
        assert!(outcomes.iter().all(|outcome| outcome.disabled.count() == 0), "day {days}: {outcomes:?}");
        words.push(company.key(&prod, &bruno).await.standing_word().to_owned());
    }
    assert_eq!(words, ["Active", "Gone"], "once is not enough");
    assert_eq!(company.told().0, 4, "{:?}", company.slack.messages());
}

#[tokio::test]
async fn a_clock_that_does_not_agree_with_motos_disables_nothing() {
    let mut company = Company::new().await;
    let prod = company.prod.clone();
    company.moto.set_clock(birthday());
    let alice = company.user_with_key(&prod, "alice", Some(ALICE)).await;
    for days in [0, 76, 86] {
        company.on(days).await;
    }
    for (days, ahead) in [(91, 6), (92, -6)] {
        company.moto.set_clock(day(days).checked_add(SignedDuration::from_mins(ahead)).unwrap());
        let done = company.run_at(day(days)).await;
        let outcomes: Vec<_> = done.into_iter().map(|(done, _)| done.outcome).collect();
        let held: Vec<_> = of(&prod, &outcomes).held.rows.iter().map(|held| &held.by).collect();
        assert_eq!(held, [&HeldBy::Clock], "AWS is {ahead} minutes ahead: {outcomes:?}");
        assert_eq!(company.status(&prod, "alice").await, StatusType::Active);
    }
    let outcomes = company.on(93).await;
    assert_eq!(of(&prod, &outcomes).disabled.rows[0].key_id, alice.id);
    assert_eq!(company.status(&prod, "alice").await, StatusType::Inactive);
}

/// As moto is: its reports say that they are of 2015, and it makes no other.
#[tokio::test]
async fn a_report_that_stays_old_is_not_believed_and_everybody_is_listed() {
    let company = Company::new().await;
    let (prod, lab) = (company.prod.clone(), company.lab.clone());
    let alice = company.user_with_key(&prod, "alice", Some(ALICE)).await;
    let chiara = company.user_with_key(&lab, "chiara", Some(CHIARA)).await;
    let done = company.run_at(birthday()).await;
    assert!(done.iter().all(|(_, visits)| *visits == 5), "come back for, and not for ever: {done:?}");
    assert_eq!(company.key(&prod, &alice).await.standing_word(), "Active");
    assert_eq!(company.key(&lab, &chiara).await.standing_word(), "Active");
    assert_eq!(company.told(), (0, 0));
}
