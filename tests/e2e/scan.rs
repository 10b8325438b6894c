//! `keytide scan` and `keytide upcoming`: what one account holds, and what is coming, by the real program.

use std::{collections::BTreeSet, path::PathBuf};

use jiff::{SignedDuration, Timestamp};
use keytide_app::decide::{Decide, compare};
use keytide_aws::ledger::LedgerReader;
use keytide_core::{AccountId, key, lifecycle::Exemption, owner, policy::Policy};
use keytide_local::{Fault, KeyStatus, Service};
use keytide_tests::runtime_api::RuntimeApi;
use serde_json::Value;

use crate::program::{self, Ran};
use crate::world::{ALICE, KEY, PROD, World};

/// What AWS's policy `SecurityAudit` allows of IAM, as far as anything here asks for it.
const SECURITY_AUDIT: [&str; 3] = ["iam:GenerateCredentialReport", "iam:Get*", "iam:List*"];
/// Everything that is no change. A credential report is made where there is none.
const READS: [&str; 7] = [
    "GetCallerIdentity",
    "GetCredentialReport",
    "GenerateCredentialReport",
    "ListUsers",
    "ListAccessKeys",
    "GetUser",
    "GetAccessKeyLastUsed",
];
const OLD: &str = "AKIATIDEWATERBOLD001";
const SPARE: &str = "AKIATIDEWATERBOSPARE";

fn days_before(now: Timestamp, days: i64) -> Timestamp {
    now.checked_sub(SignedDuration::from_hours(days * 24 + 1)).unwrap()
}

/// A company whose AWS is at an address, and somebody with a session in it.
struct Served {
    world: World,
    api: RuntimeApi,
    here: PathBuf,
    credentials: Vec<(&'static str, String)>,
}

impl Served {
    /// Alice with a young key and her tags; bo with an old key and a spare one, and no tags; root with a key.
    async fn new(story: &str, actions: &[&str]) -> Self {
        let world = World::new().await;
        let api = RuntimeApi::start(world.aws.clone(), world.slack.clone()).await.unwrap();
        let here = program::folder("scan", story);
        let (iam, now) = (world.aws.iam(), world.aws.now());
        iam.delete_access_key(PROD, KEY).unwrap();
        iam.add_access_key(PROD, "alice", KEY, days_before(now, 70), KeyStatus::Active).unwrap();
        iam.set_last_used(PROD, KEY, days_before(now, 3), "s3", "eu-west-1").unwrap();
        iam.add_user(PROD, "bo", "/", &[("full-name", "Bo Bauer"), ("slack-id", "@bo")]).unwrap();
        iam.add_access_key(PROD, "bo", OLD, days_before(now, 400), KeyStatus::Active).unwrap();
        iam.add_access_key(PROD, "bo", SPARE, days_before(now, 5), KeyStatus::Inactive).unwrap();
        let root = "AKIATIDEWATERROOT001";
        iam.add_root_access_key(PROD, root, days_before(now, 900), KeyStatus::Active).unwrap();
        iam.add_role(PROD, "auditor", None, actions).unwrap();
        let mut served = Self { world, api, here, credentials: Vec::new() };
        served.sign_in(None).await;
        served
    }

    /// A session of the auditor's, narrowed by a policy if there is one.
    async fn sign_in(&mut self, policy: Option<&str>) {
        let session = aws_sdk_sts::Client::new(&self.world.aws.sdk_config())
            .assume_role()
            .role_arn(format!("arn:aws:iam::{PROD}:role/auditor"))
            .role_session_name("ada")
            .set_policy(policy.map(str::to_owned))
            .send()
            .await
            .unwrap()
            .credentials
            .unwrap();
        self.credentials = vec![
            ("AWS_ACCESS_KEY_ID", session.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", session.secret_access_key),
            ("AWS_SESSION_TOKEN", session.session_token),
        ];
        self.world.aws.calls().restart();
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = program::command_in(&self.api, &self.here, arguments);
        command.envs(self.credentials.iter().map(|(name, value)| (name, value)));
        program::run(command).await
    }

    fn called(&self) -> BTreeSet<&'static str> {
        self.world.aws.calls().list().iter().map(|call| call.operation).collect()
    }
}

fn key<'a>(scan: &'a Value, key_id: &str) -> &'a Value {
    let keys = scan["keys"].as_array().unwrap();
    keys.iter().find(|key| key["key_id"] == key_id).unwrap_or_else(|| panic!("no {key_id} in {scan:#}"))
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_read_only_credentials_everything_is_read_and_nothing_is_written() {
    let mut served = Served::new("read-only", &SECURITY_AUDIT).await;
    let ran = served.run(&["scan"]).await.expect(0);
    assert_eq!(served.called(), BTreeSet::from(READS), "no call that changes anything");
    assert_eq!(
        served.world.aws.calls().count(Service::Sts, "GetCallerIdentity"),
        1,
        "who we are is asked once"
    );
    for part in [
        &format!("Account {PROD}: 3 access keys of 2 users"),
        "assumed-role/auditor/ada",
        KEY,
        OLD,
        SPARE,
        "Alice Adler",
        "3 d ago, s3",
        "never",
        "over-age",
        "bad-slack-id",
        "Ages",
        "1-2 years",
        "1 active key, on or past day 91",
        "an active access key",
        "If this account were in enforce",
        "keytide policy --help",
    ] {
        // Wherever lines were broken.
        let words = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(part), "{part:?} is missing in\n{}", ran.stdout);
    }
    assert!(ran.stderr.contains("nothing is written"), "{}", ran.stderr);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ran.stdout);
    assert_eq!(std::fs::read_dir(&served.here).unwrap().count(), 0, "no file either");

    // Whoever may do everything, in a session in which every change is denied.
    let all = Served::new("denied-writes", &["*"]).await;
    served = all;
    let reads = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[\"iam:Get*\",\
                 \"iam:List*\",\"iam:GenerateCredentialReport\"],\"Resource\":\"*\"}]}";
    served.sign_in(Some(reads)).await;
    let ran = served.run(&["scan", "--format", "json"]).await.expect(0);
    assert_eq!(ran.json()["complete"], true);
    assert_eq!(served.called(), BTreeSet::from(READS));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_says_everything_and_what_is_absent_is_null() {
    let served = Served::new("json", &SECURITY_AUDIT).await;
    let scan = served.run(&["scan", "--format", "json"]).await.expect(0).json();
    let expected = BTreeSet::from([
        "at",
        "account",
        "caller",
        "complete",
        "users",
        "credential_report",
        "keys",
        "root_keys",
        "histogram",
        "summary",
        "if_enforced",
        "troubles",
    ]);
    assert_eq!(names(&scan), expected);
    let (young, old, spare) = (key(&scan, KEY), key(&scan, OLD), key(&scan, SPARE));
    assert_eq!(names(young), names(spare), "all fields are always there");
    assert_eq!((&young["age_days"], &young["flags"]), (&70.into(), &Value::Array(vec![])));
    assert_eq!((young["slack_id"].as_str(), young["slack_id_state"].as_str()), (Some(ALICE), Some("ok")));
    assert_eq!((young["last_used_service"].as_str(), young["used"].as_bool()), (Some("s3"), Some(true)));
    assert_eq!(old["flags"], serde_json::json!(["over-age", "unused", "bad-slack-id"]));
    assert_eq!((old["used"].as_bool(), old["slack_id"].as_str()), (Some(false), Some("@bo")));
    assert_eq!(
        (&spare["used"], &spare["last_used_at"], &spare["flags"]),
        (&Value::Null, &Value::Null, &Value::Array(vec![]))
    );
    assert_eq!(scan["root_keys"].as_array().unwrap().len(), 1);
    let summary = &scan["summary"];
    for (name, count) in [
        ("keys", 3),
        ("active", 2),
        ("inactive", 1),
        ("over_age", 1),
        ("soon", 0),
        ("never_used", 1),
        ("unused_over_90_days", 0),
        ("malformed_slack_id", 1),
        ("no_slack_id", 0),
        ("active_root_keys", 1),
        ("users_with_two_active", 0),
    ] {
        assert_eq!(summary[name], count, "{name}");
    }
    let steps: Vec<(u64, u64)> = scan["histogram"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["active"].as_u64().unwrap(), step["inactive"].as_u64().unwrap()))
        .collect();
    assert_eq!(steps, [(0, 1), (0, 0), (1, 0), (0, 0), (0, 0), (0, 0), (1, 0), (0, 0)]);
    // What would be done: the old key is told of today and disabled five dates later, the young one on its day.
    let plan = &scan["if_enforced"];
    assert_eq!((&plan["notices_today"], &plan["disables_today"]), (&1.into(), &0.into()));
    let today: jiff::civil::Date = scan["at"].as_str().unwrap()[..10].parse().unwrap();
    let disables: Vec<(i32, &str)> = plan["coming"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|coming| coming["what"] == "disable")
        .map(|coming| {
            let on: jiff::civil::Date = coming["on"].as_str().unwrap().parse().unwrap();
            ((on - today).get_days(), coming["key_id"].as_str().unwrap())
        })
        .collect();
    assert_eq!(disables, [(5, OLD), (21, KEY)]);
    assert_eq!(plan["notices"], 4, "one of the old key's, three of the young one's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named_with_what_to_attach() {
    // Not even a list: nothing is shown.
    let served = Served::new("no-permission", &["s3:GetObject"]).await;
    let ran = served.run(&["scan"]).await.expect(2);
    assert_eq!(ran.stdout, "");
    for part in ["iam:ListUsers", "AccessDenied", "arn:aws:iam::aws:policy/SecurityAudit", "role/auditor"] {
        assert!(ran.stderr.contains(part), "{part:?} is missing in {}", ran.stderr);
    }
    // Users, but nobody's keys.
    let served = Served::new("no-keys", &["iam:ListUsers", "iam:Get*"]).await;
    let ran = served.run(&["scan"]).await.expect(2);
    assert!(ran.stderr.contains("iam:ListAccessKeys"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    // No report: all but root's keys.
    let served = Served::new("no-report", &["iam:List*", "iam:GetUser", "iam:GetAccessKeyLastUsed"]).await;
    let ran = served.run(&["scan"]).await.expect(1);
    assert!(ran.stdout.contains(OLD) && ran.stdout.contains("root          not known"), "{}", ran.stdout);
    assert!(ran.stderr.contains("iam:GetCredentialReport"), "{}", ran.stderr);
    let scan = served.run(&["scan", "--format", "json"]).await.expect(1).json();
    assert_eq!((&scan["complete"], &scan["root_keys"]), (&false.into(), &Value::Null));
    // No tags: whose they are is not known, and what needs them is not promised.
    let but_tags = ["iam:List*", "iam:GetAccessKeyLastUsed", "iam:G*CredentialReport"];
    let served = Served::new(
        "no-tags",
        &[&but_tags[..2], &SECURITY_AUDIT[..1], &["iam:GetCredentialReport"]].concat(),
    )
    .await;
    let ran = served.run(&["scan"]).await.expect(1);
    assert!(ran.stderr.contains("iam:GetUser failed 2 times (of alice, bo)"), "{}", ran.stderr);
    assert!(ran.stdout.contains("no-tags") && ran.stdout.contains("held"), "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_that_cannot_be_read_is_named_and_the_rest_is_shown() {
    let mut served = Served::new("one-user", &["*"]).await;
    let alone = format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":[\
         {{\"Effect\":\"Allow\",\"Resource\":\"*\",\"Action\":[\"iam:ListUsers\",\"iam:GetCredentialReport\",\
         \"iam:GenerateCredentialReport\",\"iam:GetAccessKeyLastUsed\"]}},\
         {{\"Effect\":\"Allow\",\"Resource\":\"arn:aws:iam::{PROD}:user/engineering/alice\",\
         \"Action\":[\"iam:ListAccessKeys\",\"iam:GetUser\"]}}]}}"
    );
    served.sign_in(Some(&alone)).await;
    let ran = served.run(&["scan"]).await.expect(1);
    assert!(ran.stdout.contains(KEY) && !ran.stdout.contains(OLD), "{}", ran.stdout);
    assert!(ran.stderr.contains("iam:ListAccessKeys of bo") && ran.stderr.contains("not the whole account"));
    // A call that fails once is tried again, and nothing is missing.
    served.sign_in(None).await;
    served.world.aws.faults().at_call(6, Fault::Throttle);
    served.run(&["scan"]).await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_are_read() {
    let served = Served::new("pages", &SECURITY_AUDIT).await;
    let (iam, now) = (served.world.aws.iam(), served.world.aws.now());
    iam.set_page_size(20);
    for number in 0..250_i64 {
        let user = format!("user-{number:03}");
        iam.add_user(PROD, &user, "/many/", &[("slack-id", ALICE)]).unwrap();
        let id = format!("AKIATIDEWATERMANY{number:03}");
        iam.add_access_key(PROD, &user, &id, days_before(now, number), KeyStatus::Active).unwrap();
    }
    let scan = served.run(&["scan", "--format", "json"]).await.expect(0).json();
    assert_eq!((&scan["users"], &scan["summary"]["keys"]), (&252.into(), &253.into()));
    assert_eq!(scan["summary"]["over_age"], 250 - 91 + 1);
    let disables: u64 = scan["if_enforced"]["disables"].as_u64().unwrap();
    assert!(disables > 150, "{disables}");
    let list_calls = served.world.aws.calls().count(Service::Iam, "ListUsers");
    assert_eq!(list_calls, 13, "252 users, twenty a page");
    let text = served.run(&["scan"]).await.expect(0).stdout;
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("no more than 10 % of the account's active keys"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_attackers_write_into_names_and_tags_does_nothing() {
    let served = Served::new("hostile", &SECURITY_AUDIT).await;
    let hostile = "\u{1b}[2J\u{202e}evil\u{9b}31m\u{7}漢字";
    served.world.aws.iam().set_tags(PROD, "bo", &[("full-name", hostile), ("slack-id", hostile)]).unwrap();
    served
        .world
        .aws
        .iam()
        .rename_user(PROD, "bo", "bo+=,.@-_very-long-name-that-goes-on-and-on-and-on")
        .unwrap();
    for arguments in [&["scan"][..], &["scan", "--format", "json"]] {
        let ran = served.run(arguments).await.expect(0);
        let bad = ran.stdout.chars().chain(ran.stderr.chars()).find(|letter| {
            (letter.is_control() && *letter != '\n') || matches!(letter, '\u{202a}'..='\u{202e}')
        });
        assert_eq!(bad, None, "{:?}", ran.stdout);
        if arguments.len() > 1 {
            assert_eq!(key(&ran.json(), OLD)["owner_name"], hostile, "for programs it is what it is");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_account_is_no_trouble() {
    let served = Served::new("empty", &SECURITY_AUDIT).await;
    for user in ["alice", "bo"] {
        served.world.aws.iam().delete_user(PROD, user).unwrap();
    }
    served.world.aws.iam().delete_access_key(PROD, "AKIATIDEWATERROOT001").unwrap();
    let ran = served.run(&["scan"]).await.expect(0);
    assert!(ran.stdout.contains("0 access keys of 0 users"), "{}", ran.stdout);
    let scan = served.run(&["scan", "--format", "json"]).await.expect(0).json();
    assert_eq!(scan["keys"], Value::Array(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_coming_is_said_by_date_and_no_account_is_asked() {
    let served = Served::new("upcoming", &["dynamodb:*"]).await;
    let home = Served {
        credentials: vec![
            ("AWS_ACCESS_KEY_ID", keytide_local::HOME_ACCOUNT.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ],
        ..served
    };
    let (ledger, now) = (home.world.ledger(), home.world.aws.now());
    let account: AccountId = PROD.parse().unwrap();
    let owner = owner::Owner {
        user_id: "AIDA1".to_owned(),
        path: "/".to_owned(),
        tags: owner::OwnerTags::from_tags([("slack-id", ALICE)]),
        seen_at: now,
    };
    for (key_id, user, age) in [(KEY, "alice", 80), (OLD, "bo", 400), (SPARE, "bo", 2)] {
        let sighting = key::Sighting {
            account: account.clone(),
            key_id: key_id.to_owned(),
            user: user.to_owned(),
            status: keytide_core::cloudtrail::Status::Active,
            created: Some(days_before(now, age)),
            at: now,
        };
        let key = key::sight(None, &sighting, Some(&owner));
        assert!(ledger.save_key(&key, 0, now).await.unwrap());
    }
    let exemption = Exemption {
        reason: "a long migration".to_owned(),
        author: "arn:aws:iam::1:role/x".to_owned(),
        granted_at: now,
        until: now.checked_add(SignedDuration::from_hours(8 * 24)).unwrap(),
    };
    assert!(ledger.save_exemption(&account, OLD, &exemption, 0).await.unwrap());
    let before = ledger.all_keys().await.unwrap();
    home.world.aws.calls().restart();
    let table = ["--ledger", "dynamodb:keytide"];
    let coming = |answer: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        answer["coming"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (text(&one["key_id"]), text(&one["what"])))
            .collect()
    };
    let answer = home.run(&[&["upcoming", "--format", "json"], &table[..]].concat()).await.expect(0).json();
    assert_eq!(answer["policy"]["built_in"], true);
    let pair = |key_id: &str, what: &str| (key_id.to_owned(), what.to_owned());
    let alices: Vec<_> = coming(&answer).into_iter().filter(|(key_id, _)| key_id == KEY).collect();
    // Told today (day 76), on days 81 and 86, then past its day and reminded of every five dates.
    assert_eq!(alices[..3], [pair(KEY, "notice"), pair(KEY, "notice"), pair(KEY, "notice")]);
    assert!(alices.contains(&pair(KEY, "would-disable")), "in observe nothing is disabled: {alices:?}");
    assert!(coming(&answer).iter().all(|(_, what)| what != "disable"));
    assert!(coming(&answer).contains(&pair(OLD, "exemption-ends")));
    let held =
        answer["coming"].as_array().unwrap().iter().find(|one| one["what"] == "would-disable").unwrap();
    assert_eq!(held["stopped_by"], "the account is in observe");
    assert!(coming(&answer).iter().all(|(key_id, _)| key_id != SPARE), "it is young");

    // Under the policy in force.
    let text = format!("[modes]\nenforce = [\"{PROD}\"]\n");
    let policy = Policy::parse(&text).unwrap();
    let hash = policy.hash().to_owned();
    let comparison = compare(&LedgerReader::of(&ledger), &policy, now).await.unwrap();
    let decide = Decide::new(ledger.clone(), "arn:aws:iam::1:role/x".to_owned());
    decide.apply_policy(&text, &policy, &comparison, now).await.unwrap();
    home.world.aws.calls().restart();
    let answer = home
        .run(&[&["upcoming", "--format", "json", "--account", PROD], &table[..]].concat())
        .await
        .expect(0)
        .json();
    assert_eq!(
        (answer["policy"]["hash"].as_str(), &answer["policy"]["built_in"]),
        (Some(hash.as_str()), &false.into())
    );
    assert!(
        coming(&answer).contains(&pair(KEY, "disable")) && coming(&answer).contains(&pair(OLD, "disable"))
    );
    let text = home.run(&[&["upcoming", "--days", "20"], &table[..]].concat()).await.expect(0);
    assert!(
        text.stdout.contains(", today\n") && text.stdout.contains("its exemption ends"),
        "{}",
        text.stdout
    );
    assert!(text.stdout.contains("disabled, 9"), "{}", text.stdout);
    assert!(text.stderr.contains("the policy in force"), "{}", text.stderr);
    let reads = BTreeSet::from(["GetCallerIdentity", "DescribeTable", "BatchGetItem", "Query", "Scan"]);
    assert!(home.called().is_subset(&reads), "{:?}", home.called());
    assert!(home.world.aws.calls().list().iter().all(|call| call.service != Service::Iam));
    assert_eq!(ledger.all_keys().await.unwrap(), before);
}
