//! One account read whole, and one key disabled: the sweep's adapters against the local AWS.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use keytide_aws::{
    Failure, Remedy,
    accounts::{AccountState, Accounts},
    disabler::{Disabler, DisablerRole, DisablerSession, Target},
    inventory::{Inventory, Report},
    member::{Members, RoleReach},
};
use keytide_core::{
    AccountId,
    cloudtrail::Status,
    owner::ListedKey,
    report::{LastUsed, ReportProblem},
};
use keytide_local::{Fault, HOME_ACCOUNT, KeyStatus, LocalAws, Service};
use tokio::time::Instant;

const PROD: &str = "111122223333";
const EXTERNAL_ID: &str = "tidewater-7";
const START: &str = "2026-05-04T09:00:00Z";
const ALICE: &str = "AKIATIDEWATERALICE01";
const BOB: &str = "AKIATIDEWATERBOB0001";
const READER_MAY: [&str; 6] = [
    "iam:GenerateCredentialReport",
    "iam:GetCredentialReport",
    "iam:ListUsers",
    "iam:ListAccessKeys",
    "iam:GetAccessKeyLastUsed",
    "iam:GetUser",
];

fn now() -> Timestamp {
    START.parse().unwrap()
}

fn prod() -> AccountId {
    PROD.parse().unwrap()
}

/// Alice with one key, bob with one, in an account with both roles; lists are cut after each entry.
fn company() -> LocalAws {
    keytide_local::seed(11);
    let aws = LocalAws::in_memory().unwrap();
    aws.set_now(now());
    let iam = aws.iam();
    iam.add_account(PROD).unwrap();
    iam.add_role(PROD, "keytide-reader", Some(EXTERNAL_ID), &READER_MAY).unwrap();
    let disabler_may = ["iam:UpdateAccessKey", "iam:ListAccessKeys"];
    iam.add_role(PROD, "keytide-disabler", Some(EXTERNAL_ID), &disabler_may).unwrap();
    iam.add_user(PROD, "alice", "/engineering/", &[("slack-id", "U0ALICE01")]).unwrap();
    iam.add_user(PROD, "bob", "/", &[]).unwrap();
    let made = "2026-02-01T08:00:00Z".parse().unwrap();
    iam.add_access_key(PROD, "alice", ALICE, made, KeyStatus::Active).unwrap();
    iam.add_access_key(PROD, "bob", BOB, made, KeyStatus::Active).unwrap();
    iam.set_page_size(1);
    aws.calls().restart();
    aws
}

fn reach() -> RoleReach {
    RoleReach {
        partition: "aws".to_owned(),
        name: "keytide-reader".to_owned(),
        external_id: Some(EXTERNAL_ID.to_owned()),
        session_name: "keytide-sweeper".to_owned(),
    }
}

async fn open(aws: &LocalAws) -> Inventory {
    let members = Members::new(&aws.sdk_config(), reach());
    Inventory::open(&members, &prod(), aws.now()).await.unwrap()
}

/// Alice, and the disabler's session for her.
async fn session(aws: &LocalAws, path: &str) -> Result<DisablerSession, Failure> {
    let role = DisablerRole {
        partition: "aws".to_owned(),
        name: "keytide-disabler".to_owned(),
        external_id: Some(EXTERNAL_ID.to_owned()),
    };
    let target = Target { account: prod(), path: path.to_owned(), name: "alice".to_owned() };
    Disabler::new(&aws.sdk_config(), role).session(&target, "keytide-disable-1", aws.now()).await
}

async fn status_of(aws: &LocalAws, user: &str) -> Option<Status> {
    let inventory = Inventory::direct(&aws.sdk_config_in(PROD), &prod());
    inventory.keys_of(user).await.unwrap().unwrap().pop().map(|key| key.status)
}

#[tokio::test(start_paused = true)]
async fn an_account_is_read_to_the_last_page_and_every_call_is_counted() {
    let aws = company();
    let iam = aws.iam();
    // Three keys: the limit of two is a race that has been lost.
    for (id, status) in
        [("AKIATIDEWATERALICE02", KeyStatus::Inactive), ("AKIATIDEWATERALICE03", KeyStatus::Active)]
    {
        iam.add_access_key(PROD, "alice", id, now(), status).unwrap();
    }
    iam.set_last_used(PROD, ALICE, "2026-05-03T21:45:00Z".parse().unwrap(), "s3", "N/A").unwrap();
    let inventory = open(&aws).await;

    let users = inventory.users().await.unwrap();
    let found: Vec<_> = users.iter().map(|user| (user.name.as_str(), user.path.as_str())).collect();
    assert_eq!(found, [("alice", "/engineering/"), ("bob", "/")]);
    assert!(users.iter().all(|user| user.id.starts_with("AIDA") && user.created == Some(now())));

    let mut keys = inventory.keys_of("alice").await.unwrap().unwrap();
    keys.sort_by(|one, other| one.key_id.cmp(&other.key_id));
    let made: Timestamp = "2026-02-01T08:00:00Z".parse().unwrap();
    let expected = [
        (ALICE, Status::Active, made),
        ("AKIATIDEWATERALICE02", Status::Inactive, now()),
        ("AKIATIDEWATERALICE03", Status::Active, now()),
    ];
    assert_eq!(
        keys,
        expected.map(|(id, status, made)| ListedKey { key_id: id.to_owned(), status, created: Some(made) })
    );
    assert_eq!(inventory.keys_of("carol").await.unwrap(), None);

    let owner = inventory.user("alice", now()).await.unwrap().unwrap();
    assert_eq!(owner.user_id, users[0].id);
    assert_eq!(owner.tags.slack_id().map(keytide_core::owner::SlackId::as_str), Some("U0ALICE01"));
    assert_eq!(inventory.user("carol", now()).await.unwrap(), None);

    let used = inventory.last_used(ALICE, now()).await.unwrap();
    assert_eq!(used.at, Some("2026-05-03T21:45:00Z".parse().unwrap()));
    assert_eq!((used.service.as_deref(), used.region.as_deref()), (Some("s3"), None));
    let never = inventory.last_used(BOB, now()).await.unwrap();
    assert_eq!((never.at, never.service, never.region), (None, None, None));

    let expected = [
        ("AssumeRole", 1),
        ("GetAccessKeyLastUsed", 2),
        ("GetUser", 2),
        ("ListAccessKeys", 4),
        ("ListUsers", 2),
    ];
    assert_eq!(inventory.calls(), BTreeMap::from(expected));
    assert_eq!(aws.calls().total(), 11, "what was counted is what was called");
}

#[tokio::test(start_paused = true)]
async fn a_report_is_asked_for_come_back_for_and_good_for_four_hours() {
    let aws = company();
    aws.iam().add_root_access_key(PROD, "AKIATIDEWATERROOT001", now(), KeyStatus::Active).unwrap();
    aws.iam().set_report_making(Duration::from_secs(30));
    let inventory = open(&aws).await;

    // Not waited for.
    let before = Instant::now();
    assert_eq!(inventory.credential_report(aws.now(), Instant::now()).await, Report::StillBeingMade);
    assert_eq!(before.elapsed(), Duration::ZERO);
    // Waited for, and not beyond.
    let deadline = Instant::now() + Duration::from_secs(10);
    assert_eq!(inventory.credential_report(aws.now(), deadline).await, Report::StillBeingMade);
    assert!(Instant::now() <= deadline);
    assert_eq!(inventory.calls()["GenerateCredentialReport"], 1, "it is asked for once");
    // Come back for.
    tokio::time::advance(Duration::from_secs(30)).await;
    let report = inventory.credential_report(aws.now(), Instant::now()).await;
    let Report::Fresh { generated_at, report: first } = &report else { panic!("{report:?}") };
    assert_eq!(*generated_at, now());
    let age = report.age(aws.now()).unwrap();
    assert!((30..=40).contains(&age.as_secs()), "{age}");
    assert_eq!(first.bad_rows, []);
    let root = first.root().unwrap();
    assert!(root.slots[0].active && root.slots[0].last_used == LastUsed::Never);
    let users: Vec<_> = first.rows.iter().map(|row| (row.user(), row.slots[0].active)).collect();
    assert_eq!(users, [("<root_account>", true), ("alice", true), ("bob", true)]);

    // What happens now is not in it until it is four hours old: one call each.
    aws.iam().set_status(PROD, ALICE, KeyStatus::Inactive).unwrap();
    tokio::time::advance(Duration::from_hours(3)).await;
    let inventory = open(&aws).await;
    let calls = aws.calls().total();
    let Report::Fresh { report: same, .. } = inventory.credential_report(aws.now(), Instant::now()).await
    else {
        panic!("it still holds");
    };
    assert_eq!(&same, first);
    assert_eq!(aws.calls().total(), calls + 1);

    tokio::time::advance(Duration::from_hours(1)).await;
    let deadline = Instant::now() + Duration::from_mins(1);
    let report = open(&aws).await.credential_report(aws.now(), deadline).await;
    let Report::Fresh { generated_at, report: second } = &report else { panic!("{report:?}") };
    assert!(*generated_at > now());
    let changed: Vec<_> = (second.rows.iter())
        .zip(&first.rows)
        .filter(|(after, before)| after.differs_from(before))
        .map(|(after, _)| after.user())
        .collect();
    assert_eq!(changed, ["alice"]);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_cannot_be_used_is_said_and_one_that_cannot_be_had_too() {
    let aws = company();
    let read = async || {
        let deadline = Instant::now() + Duration::from_secs(5);
        open(&aws).await.credential_report(aws.now(), deadline).await
    };
    assert!(matches!(read().await, Report::Fresh { .. }));

    aws.iam().set_report(PROD, "user,arn\nalice,x", now()).unwrap();
    let report = read().await;
    assert!(
        matches!(&report, Report::Malformed { problem: ReportProblem::MissingColumns { missing, .. }, .. }
            if missing.len() == 12),
        "{report:?}"
    );
    aws.iam().set_report(PROD, "", now()).unwrap();
    assert!(matches!(read().await, Report::Malformed { problem: ReportProblem::Empty, .. }));

    for (fault, operation) in [
        (Fault::ServerError, "GetCredentialReport"),
        (Fault::Throttle, "GenerateCredentialReport"),
        (Fault::TimeoutBefore, "GetCredentialReport"),
    ] {
        aws.faults().plan(move |call| (call.operation == operation).then_some(fault));
        tokio::time::advance(Duration::from_hours(5)).await;
        let Report::Failed(failure) = read().await else { panic!("{fault:?} of {operation}") };
        assert_eq!(failure.operation, format!("iam:{operation} in {PROD}"));
        assert_eq!(failure.remedy, Remedy::Retry);
        aws.faults().clear();
    }
}

#[tokio::test(start_paused = true)]
async fn another_accounts_report_is_not_believed() {
    let aws = company();
    let soon = Instant::now() + Duration::from_secs(5);
    let inventory = open(&aws).await;
    assert!(matches!(inventory.credential_report(aws.now(), soon).await, Report::Fresh { .. }));
    let calls = [("AssumeRole", 1), ("GenerateCredentialReport", 1), ("GetCredentialReport", 2)];
    assert_eq!(inventory.calls(), BTreeMap::from(calls), "a day's report costs three calls of IAM");
    // The same account's credentials, taken for another's.
    let other: AccountId = "444455556666".parse().unwrap();
    let mistaken = Inventory::direct(&aws.sdk_config_in(PROD), &other);
    let report = mistaken.credential_report(aws.now(), Instant::now()).await;
    let Report::Malformed { problem, .. } = &report else { panic!("{report:?}") };
    assert_eq!(problem, &ReportProblem::OtherAccount { expected: other, found: prod() });
}

#[tokio::test(start_paused = true)]
async fn a_failure_names_the_operation_and_the_account() {
    let aws = company();
    let members = Members::new(&aws.sdk_config(), RoleReach { external_id: None, ..reach() });
    let failure = Inventory::open(&members, &prod(), now()).await.unwrap_err();
    assert_eq!(failure.operation, format!("sts:AssumeRole of arn:aws:iam::{PROD}:role/keytide-reader"));
    assert_eq!(failure.remedy, Remedy::Operators);

    let inventory = open(&aws).await;
    let cases = ["ListUsers", "ListAccessKeys", "GetUser", "GetAccessKeyLastUsed"];
    for operation in cases {
        aws.faults().plan(move |call| (call.operation == operation).then_some(Fault::ServerError));
        let failure = match operation {
            "ListUsers" => inventory.users().await.unwrap_err(),
            "ListAccessKeys" => inventory.keys_of("alice").await.unwrap_err(),
            "GetUser" => inventory.user("alice", now()).await.unwrap_err(),
            _ => inventory.last_used(ALICE, now()).await.unwrap_err(),
        };
        assert!(failure.operation.starts_with(&format!("iam:{operation}")), "{failure}");
        assert!(failure.operation.ends_with(&format!(" in {PROD}")), "{failure}");
        assert_eq!(failure.remedy, Remedy::Retry, "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_fails_the_list() {
    let aws = company();
    let inventory = open(&aws).await;
    let second = aws.calls().total() + 2;
    aws.faults().plan(move |call| (call.number >= second).then_some(Fault::ServerError));
    assert!(inventory.users().await.is_err(), "one of two users is not the account");
}

#[tokio::test(start_paused = true)]
async fn sessions_are_kept_until_they_are_about_to_end_and_calls_at_once_are_bounded() {
    let aws = company();
    let members = Members::new(&aws.sdk_config(), reach()).calls_at_once(2).adaptive();
    let assumed = || aws.calls().count(Service::Sts, "AssumeRole");
    for _ in 0..3 {
        members.member(&prod(), aws.now()).await.unwrap();
    }
    assert_eq!(assumed(), 1);
    tokio::time::advance(Duration::from_mins(58)).await;
    members.member(&prod(), aws.now()).await.unwrap();
    assert_eq!(assumed(), 1, "it lasts an hour");
    tokio::time::advance(Duration::from_mins(1)).await;
    let (account, now) = (prod(), aws.now());
    let (one, other) =
        tokio::join!(Inventory::open(&members, &account, now), Inventory::open(&members, &account, now),);
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(assumed() > 1, "a session is not begun in its last minute");

    // Six calls of a second each, two at once, whichever inventory makes them.
    aws.faults().set_latency(Duration::from_secs(1));
    let began = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    let (one, other) = (std::sync::Arc::new(one), std::sync::Arc::new(other));
    for inventory in [&one, &other, &one, &other, &one, &other] {
        let inventory = std::sync::Arc::clone(inventory);
        calls.spawn(async move { inventory.keys_of("bob").await.unwrap().unwrap().len() });
    }
    assert_eq!(calls.join_all().await, [1; 6]);
    assert_eq!(began.elapsed().as_secs(), 3);
    aws.faults().set_latency(Duration::ZERO);

    // What throttles is slowed down for and tried again.
    let until = aws.calls().total() + 2;
    aws.faults().plan(move |call| (call.number <= until).then_some(Fault::Throttle));
    assert_eq!(one.users().await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_has_as_much_time_left_as_was_asked_for() {
    let aws = company();
    let members = Members::new(&aws.sdk_config(), reach()).time_left(SignedDuration::from_mins(16));
    members.member(&prod(), aws.now()).await.unwrap();
    tokio::time::advance(Duration::from_mins(43)).await;
    members.member(&prod(), aws.now()).await.unwrap();
    assert_eq!(aws.calls().count(Service::Sts, "AssumeRole"), 1);
    tokio::time::advance(Duration::from_mins(2)).await;
    members.member(&prod(), aws.now()).await.unwrap();
    assert_eq!(aws.calls().count(Service::Sts, "AssumeRole"), 2);
}

#[tokio::test(start_paused = true)]
async fn the_organizations_accounts_are_listed_through_empty_pages() {
    let aws = company();
    let organization = aws.organization();
    organization.set_management_account(HOME_ACCOUNT).unwrap();
    for index in 0..45 {
        organization.add_member(&format!("5{index:011}"), &format!("team {index}")).unwrap();
    }
    organization.add_member(PROD, "prod").unwrap();
    organization.set_state(PROD, keytide_local::AccountState::Suspended).unwrap();
    organization.set_empty_pages(true);
    let accounts = Accounts::new(&aws.sdk_config()).list().await.unwrap();
    assert_eq!(accounts.len(), 47);
    assert!(accounts.is_sorted_by(|one, other| one.id < other.id), "each once, by id");
    assert_eq!((accounts[0].name.as_str(), &accounts[0].state), ("prod", &AccountState::Suspended));
    assert!(accounts[1..].iter().all(|account| account.state == AccountState::Active));

    let failure = Accounts::new(&aws.sdk_config_in(PROD)).list().await.unwrap_err();
    assert_eq!(failure.operation, "organizations:ListAccounts");
    assert_eq!(failure.remedy, Remedy::Operators, "{failure}");

    aws.faults().plan(|call| (call.number > 3).then_some(Fault::ServerError));
    assert!(Accounts::new(&aws.sdk_config()).list().await.is_err(), "some accounts are not all");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_disabled_and_what_is_recorded_is_what_is_seen() {
    let aws = company();
    aws.faults().set_iam_delay(Duration::from_secs(4));
    let session = session(&aws, "/engineering/").await.unwrap();
    let skew = session.aws_clock_skew().expect("known before anything is done");
    assert!(skew.unsigned_abs() <= Duration::from_secs(1), "{skew}");

    let disabled = session.disable(ALICE).await.unwrap();
    assert_eq!(disabled.key_id, ALICE);
    let seen = async || session.reread(ALICE).await.unwrap().map(|key| key.status);
    assert_eq!(seen().await, Some(Status::Active), "IAM needs its seconds");
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(seen().await, Some(Status::Inactive));
    assert_eq!(session.reread("AKIANOTTHERE00000000").await.unwrap(), None);
    assert_eq!(status_of(&aws, "bob").await, Some(Status::Active));

    aws.iam().delete_access_key(PROD, ALICE).unwrap();
    assert_eq!(session.reread(ALICE).await.unwrap(), None);
    // Who is not there has no path, so the policy does not name them: a refusal, never a key that is seen.
    aws.iam().delete_user(PROD, "alice").unwrap();
    let gone = session.reread(ALICE).await.unwrap_err();
    assert_eq!(gone.code.as_deref(), Some("AccessDenied"), "{gone}");
}

#[tokio::test(start_paused = true)]
async fn a_session_reaches_nobody_but_its_user() {
    let aws = company();
    // Bob's key is not alice's, whatever the role may do.
    let failure = session(&aws, "/engineering/").await.unwrap().disable(BOB).await.unwrap_err();
    assert_eq!(failure.code.as_deref(), Some("NoSuchEntity"), "{failure}");
    // The very path is part of it: this policy is for somebody else.
    let elsewhere = session(&aws, "/sales/").await.unwrap();
    let failure = elsewhere.disable(ALICE).await.unwrap_err();
    assert_eq!(failure.code.as_deref(), Some("AccessDenied"), "{failure}");
    assert_eq!(
        failure.operation,
        format!("iam:UpdateAccessKey of {ALICE} of /sales/alice in {PROD}"),
        "it names the key, the user and the account"
    );
    assert_eq!(elsewhere.reread(ALICE).await.unwrap_err().code.as_deref(), Some("AccessDenied"));
    // A path that a policy would not take for itself.
    let before = aws.calls().total();
    let failure = session(&aws, "/*/").await.unwrap_err();
    assert_eq!(failure.remedy, Remedy::Operators);
    assert_eq!(aws.calls().total(), before, "nothing was asked for");
    for user in ["alice", "bob"] {
        assert_eq!(status_of(&aws, user).await, Some(Status::Active));
    }
}

#[tokio::test(start_paused = true)]
async fn a_disable_that_failed_was_tried_once_and_may_have_been_done() {
    for (fault, done) in [
        (Fault::TimeoutBefore, false),
        (Fault::TimeoutAfter, true),
        (Fault::ConnectionErrorBefore, false),
        (Fault::ConnectionErrorAfter, true),
        (Fault::ServerError, false),
        (Fault::Throttle, false),
    ] {
        let aws = company();
        let session = session(&aws, "/engineering/").await.unwrap();
        aws.faults().plan(move |call| (call.operation == "UpdateAccessKey").then_some(fault));
        let failure = session.disable(ALICE).await.unwrap_err();
        assert_eq!(failure.remedy, Remedy::Retry, "{fault:?}: {failure}");
        assert_eq!(aws.calls().count(Service::Iam, "UpdateAccessKey"), 1, "{fault:?}");
        let expected = if done { Status::Inactive } else { Status::Active };
        let seen = session.reread(ALICE).await.unwrap().unwrap();
        assert_eq!(seen.status, expected, "{fault:?}: only the listing tells");
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_that_disagree_are_known_before_anything_is_done() {
    for minutes in [6, -6] {
        let aws = company();
        aws.set_clock_skew(SignedDuration::from_mins(minutes));
        let session = session(&aws, "/engineering/").await.unwrap();
        let skew = session.aws_clock_skew().unwrap();
        assert!(
            (skew - SignedDuration::from_mins(minutes)).unsigned_abs() <= Duration::from_secs(1),
            "{skew}"
        );
        // Later agreement does not undo it.
        aws.set_clock_skew(SignedDuration::ZERO);
        session.reread(ALICE).await.unwrap();
        assert_eq!(session.aws_clock_skew(), Some(skew));
        assert_eq!(aws.calls().count(Service::Iam, "UpdateAccessKey"), 0);
    }
}
