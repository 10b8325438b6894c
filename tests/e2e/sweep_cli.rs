//! `keytide sweep` and people's decisions, as the real program: what it only looks at, and what it takes to act.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use keytide_aws::{inventory::Inventory, ledger::AccountRecord};
use keytide_core::{
    AccountId,
    cloudtrail::Status,
    delivery::{NoticeDay, Stage},
    key::{Ground, NoticeMark},
    lifecycle::utc_date,
    policy::Mode,
};
use keytide_local::{HOME_ACCOUNT, KeyStatus, Service};
use keytide_tests::runtime_api::{RuntimeApi, time_of_day};

use crate::program::{self, Ran};
use crate::world::{ALICE, EXTERNAL_ID, KEY, PROD, World};

pub(crate) const OLD: &str = "AKIATIDEWATERBOB0080";
pub(crate) const REASON: &str = "the vendor rotates it in June";
/// What changes anything, in the ledger or in an account.
const WRITES: [&str; 9] = [
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "TransactWriteItems",
    "BatchWriteItem",
    "CreateTable",
    "UpdateAccessKey",
    "DeleteAccessKey",
    "CreateAccessKey",
];

fn account() -> AccountId {
    PROD.parse().unwrap()
}

pub(crate) fn days_ago(days: i64) -> Timestamp {
    time_of_day().checked_sub(SignedDuration::from_hours(days * 24)).unwrap()
}

/// A company whose AWS and Slack are at an address; bob has a key of 80 days.
pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) api: RuntimeApi,
    pub(crate) here: PathBuf,
}

impl Served {
    pub(crate) async fn new(story: &str) -> Self {
        let world = World::new().await;
        world.aws.set_now(time_of_day());
        let iam = world.aws.iam();
        iam.delete_access_key(PROD, KEY).unwrap();
        iam.add_user(PROD, "bob", "/", &[("slack-id", ALICE)]).unwrap();
        iam.add_access_key(PROD, "bob", OLD, days_ago(80), KeyStatus::Active).unwrap();
        let disabler = ["iam:UpdateAccessKey", "iam:ListAccessKeys"];
        iam.add_role(PROD, "keytide-disabler", Some(EXTERNAL_ID), &disabler).unwrap();
        let api = RuntimeApi::start(world.aws.clone(), world.slack.clone()).await.unwrap();
        let here = program::folder("sweep-cli", story);
        world.aws.calls().restart();
        Self { world, api, here }
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = program::command_of_owner(&self.api, &self.here, arguments);
        command.env("USER", "bruno");
        program::run(command).await
    }

    /// A sweep of the one account, over the table.
    pub(crate) async fn sweep(&self, more: &[&str]) -> Ran {
        let arguments =
            ["sweep", "--ledger", "dynamodb:keytide", "--account", PROD, "--external-id", EXTERNAL_ID];
        self.run(&[&arguments[..], more].concat()).await
    }

    pub(crate) async fn in_table(&self, arguments: &[&str]) -> Ran {
        self.run(&[arguments, &["--ledger", "dynamodb:keytide"]].concat()).await
    }

    /// The same with a person at a terminal, who types this.
    pub(crate) async fn typed(&self, typed: &str, arguments: &[&str]) -> Ran {
        let (mut terminal, its_end) = program::terminal();
        writeln!(terminal, "{typed}").unwrap();
        let mut command = program::command_of_owner(&self.api, &self.here, arguments);
        command.env("USER", "bruno").stdin(its_end);
        program::run(command).await
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.here.join(name), text).unwrap();
        name.to_owned()
    }

    fn assert_nothing_was_written(&self) {
        let written: Vec<_> = self
            .world
            .aws
            .calls()
            .list()
            .into_iter()
            .filter(|call| WRITES.contains(&call.operation))
            .collect();
        assert_eq!(written, []);
        assert_eq!(self.world.slack.calls(), [""; 0], "nobody was told");
    }

    async fn status(&self) -> Status {
        let inventory = Inventory::direct(&self.world.aws.sdk_config_in(PROD), &account());
        let keys = inventory.keys_of("bob").await.unwrap().unwrap();
        keys.into_iter().find(|key| key.key_id == OLD).unwrap().status
    }

    /// Enforces the account since 20 days, with a notice of 10 days ago that named yesterday; the key is 95 old.
    pub(crate) async fn license(&self) {
        let iam = self.world.aws.iam();
        iam.delete_access_key(PROD, OLD).unwrap();
        iam.add_access_key(PROD, "bob", OLD, days_ago(95), KeyStatus::Active).unwrap();
        let policy = self.file("enforce.toml", &format!("[modes]\nenforce = [\"{PROD}\"]\n"));
        self.in_table(&["policy", "apply", &policy, "--yes"]).await.expect(0);
        let ledger = self.world.ledger();
        let since = days_ago(20);
        let record = AccountRecord {
            enforced_since: Some(since),
            baseline_at: Some(since),
            ..AccountRecord::default()
        };
        ledger.save_account(&account(), &record, 0).await.unwrap().unwrap();
        self.sweep(&["--apply", "--post", "--confirm", HOME_ACCOUNT]).await.expect(0);
        let mut key = ledger.key(&account(), OLD).await.unwrap().unwrap();
        key.value.notices = vec![NoticeMark {
            epoch: since.to_string(),
            stage: Stage::Notice(NoticeDay::Age(86)),
            ground: Ground::Age,
            at: days_ago(10),
            disable_on: utc_date(days_ago(1)),
            mode: Mode::Enforce,
        }];
        assert!(ledger.save_key(&key.value, key.version, time_of_day()).await.unwrap());
        self.world.aws.calls().restart();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let served = Served::new("dry").await;
    let ran = served.sweep(&[]).await.expect(0);
    ran.says(&[
        &format!("account {PROD}, observe, on "),
        "first sweep of this account",
        &format!("{OLD} of bob: notice-76 to channel, 80 days old"),
        "only looks",
        "1 account: 1 notice due, 0 to be disabled",
    ]);
    served.assert_nothing_was_written();
    assert!(served.world.aws.calls().count(Service::Iam, "ListAccessKeys") > 0, "it did look");

    // At another time, too.
    let then = utc_date(days_ago(-10)).to_string();
    served.sweep(&["--at", &then]).await.expect(0).says(&[&then, "notice-86 to channel"]);
    served.assert_nothing_was_written();
    assert_eq!(served.world.ledger().all_keys().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_a_licensed_disable_disables_nothing_at_any_time() {
    let served = Served::new("dry-disable").await;
    served.license().await;
    let posted = served.world.slack.messages().len();
    let then = utc_date(days_ago(-3)).to_string();
    for more in [&[][..], &["--at", &then]] {
        served.sweep(more).await.expect(0).says(&["to be disabled:", "1 to be disabled"]);
        served.sweep(&[&["--apply"], more].concat()).await.expect(if more.is_empty() { 3 } else { 2 });
    }
    // A time other than now never acts, whatever else is given.
    let all = ["--apply", "--post", "--confirm", HOME_ACCOUNT, "--at", &then];
    served.sweep(&all).await.expect(2).says(&["--at"]);
    assert_eq!(served.status().await, Status::Active);
    let written = served.world.aws.calls().list();
    let written: Vec<_> = written.iter().filter(|call| WRITES.contains(&call.operation)).collect();
    assert_eq!(written, Vec::<&keytide_local::CallInfo>::new());
    assert_eq!(served.world.slack.messages().len(), posted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_takes_to_act() {
    let served = Served::new("apply").await;
    let other = "000011112222";
    for (more, why) in [
        (&["--apply"][..], "nobody is at a terminal"),
        (&["--apply", "--confirm", other], "--confirm says 000011112222"),
        (&["--apply", "--post", "--confirm", other], "you are signed in to 999988887777"),
        (&["--apply", "--confirm", HOME_ACCOUNT], "without --post nobody can be told, and 1 notice due"),
    ] {
        served.sweep(more).await.expect(3).says(&["refused", why]);
    }
    let file = ["sweep", "--account", PROD, "--apply", "--post", "--confirm", HOME_ACCOUNT];
    served.run(&file).await.expect(3).says(&["a file licenses no disable"]);
    served.assert_nothing_was_written();
    assert_eq!(fs::read_dir(&served.here).unwrap().count(), 0, "no ledger was made");

    let apply = ["--apply", "--post", "--confirm", HOME_ACCOUNT];
    served.sweep(&apply).await.expect(0).says(&["told of 1 key", "1 account"]);
    assert_eq!(served.world.channel_texts().len(), 1, "{:?}", served.world.channel_texts());
    assert_eq!(served.world.owner_texts().len(), 0, "in observe nobody but the channel");
    assert_eq!(served.world.ledger().all_keys().await.unwrap().len(), 1);
    served.sweep(&apply).await.expect(0).says(&["told of 0 keys"]);
    assert_eq!(served.world.slack.messages().len(), 1, "nothing is told twice");
    // Nobody has to be told any more: the ledger may be brought up to date in silence.
    served.sweep(&["--apply", "--confirm", HOME_ACCOUNT]).await.expect(0);
    assert_eq!(served.world.slack.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_stops_it_and_resuming_lets_it_disable() {
    let served = Served::new("halt").await;
    served.license().await;
    served.in_table(&["halt", "--reason", "short"]).await.expect(3).says(&["10 or more"]);
    served
        .in_table(&["halt", "--reason", REASON])
        .await
        .expect(0)
        .says(&["all disabling halted, by arn:aws:", HOME_ACCOUNT]);
    let apply = ["--apply", "--post", "--confirm", HOME_ACCOUNT];
    served.sweep(&["--apply", "--confirm", HOME_ACCOUNT]).await.expect(3).says(&["without --post"]);
    served.sweep(&apply).await.expect(0).says(&["everything is halted", REASON]);
    assert_eq!(served.status().await, Status::Active);
    assert!(served.world.all_said().contains("halted all disabling"));
    served.in_table(&["resume", "--reason", "the vendor has rotated"]).await.expect(0);
    served.sweep(&apply).await.expect(0).says(&[&format!("{OLD} disabled, and IAM shows it Inactive")]);
    assert_eq!(served.status().await, Status::Inactive);
    assert!(served.world.all_said().contains("lifted the halt"));
    served
        .in_table(&["resume", "--reason", "once more, please"])
        .await
        .expect(3)
        .says(&["nothing is halted"]);
}

/// A person at a terminal has to type the id of the account that they are signed in to, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_at_the_prompt_decides_whether_anything_is_done() {
    let served = Served::new("prompt").await;
    for (typed, code) in [(PROD, 3), ("", 3), (HOME_ACCOUNT, 0)] {
        let arguments = ["sweep", "--ledger", "dynamodb:keytide", "--account", PROD];
        let arguments = [&arguments[..], &["--external-id", EXTERNAL_ID, "--apply", "--post"]].concat();
        let ran = served.typed(typed, &arguments).await.expect(code).says(&["type the id of the account"]);
        if code == 0 {
            assert_ne!(served.world.slack.messages().len(), 0, "{}", ran.stderr);
        } else {
            ran.says(&["refused: that is not the id of the account: nothing was done"]);
            served.assert_nothing_was_written();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_accounts_it_is_the_organization_and_what_cannot_be_read_is_named() {
    let served = Served::new("organization").await;
    let organization = served.world.aws.organization();
    organization.set_management_account(HOME_ACCOUNT).unwrap();
    organization.add_member(PROD, "prod \u{1b}[31m").unwrap();
    organization.add_member("444455556666", "ghost").unwrap();
    organization.add_member("555566667777", "left").unwrap();
    let suspended = keytide_local::AccountState::Suspended;
    organization.set_state("555566667777", suspended).unwrap();
    let arguments = ["sweep", "--ledger", "dynamodb:keytide", "--external-id", EXTERNAL_ID];
    let ran = served.run(&arguments).await.expect(1);
    assert!(!ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    ran.says(&[
        &format!("{OLD} of bob"),
        "444455556666 could not be read",
        "999988887777 could not be read",
        "555566667777 is left out: it is Suspended",
        "3 accounts: 1 notice due",
        "2 that could not be read at all",
    ]);
    served.assert_nothing_was_written();
}

#[tokio::test(flavor = "multi_thread")]
async fn exemptions_and_policies_by_hand() {
    let served = Served::new("decide").await;
    let apply = ["--apply", "--post", "--confirm", HOME_ACCOUNT];
    served.sweep(&apply).await.expect(0);
    let date = |days: i64| utc_date(days_ago(-days)).to_string();
    let add = |until: String| {
        let words = ["exempt", "add", OLD, "--account", PROD, "--until", &until, "--reason", REASON];
        words.map(str::to_owned)
    };
    for (until, code) in [(date(182), 3), (date(-1), 3), ("never".to_owned(), 2), (date(170), 0)] {
        let words = add(until);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        served.in_table(&words).await.expect(code);
    }
    served.in_table(&["exempt", "add", OLD, "--account", PROD, "--reason", REASON]).await.expect(2);
    served.in_table(&["exempt", "list"]).await.expect(0).says(&[OLD, &date(170), REASON, "arn:aws:"]);
    let remove = ["exempt", "remove", OLD, "--account", PROD, "--reason", "not needed any more"];
    served.in_table(&remove).await.expect(0).says(&["exemption taken back"]);
    served.in_table(&["exempt", "list"]).await.expect(0).says(&["(ended)"]);
    served.in_table(&["approve", "0a0a", "--account", PROD, "--external-id", EXTERNAL_ID]).await.expect(3);

    let policy = served.file("p.toml", "[defaults]\nnotice-days = [30]\ndisable-day = 60\n");
    let try_it = served.in_table(&["policy", "try", &policy]).await.expect(0);
    try_it.says(&["the built-in policy", OLD, "Nothing was stored"]);
    served.in_table(&["policy", "apply", &policy]).await.expect(3).says(&["--yes"]);
    assert_eq!(served.world.ledger().policy().await.unwrap(), None);
    let large = served.file("large.toml", &format!("# {}\n", "a".repeat(256 * 1024)));
    served.in_table(&["policy", "apply", &large, "--yes"]).await.expect(2).says(&["262144 at most"]);
    let wrong = served.file("wrong.toml", "mode = 1\n");
    served.in_table(&["policy", "apply", &wrong, "--yes"]).await.expect(2).says(&["wrong.toml:1"]);
    served.in_table(&["policy", "apply", &policy, "--yes"]).await.expect(0).says(&["another policy"]);
    assert_eq!(served.world.ledger().policies().await.unwrap().len(), 1);
    served.in_table(&["policy", "apply", &policy, "--yes"]).await.expect(3).says(&["says the same"]);
    served.sweep(&apply).await.expect(0);
    for words in ["exempted access key", "took back the exemption", "put another policy in force"] {
        assert!(served.world.all_said().contains(words), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_file_aws_is_not_used_and_the_author_is_the_system_s_user() {
    let served = Served::new("file").await;
    let sample =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("events/cloudtrail/create-own.json");
    served.run(&["ingest", "--quiet", &sample.to_string_lossy()]).await.expect(0);
    served
        .run(&["halt", "--reason", REASON])
        .await
        .expect(0)
        .says(&["AWS is not used", "by the operating system's user bruno"]);
    served.run(&["approve", "0a0a", "--account", PROD]).await.expect(3).says(&["never carried out"]);
    assert_eq!(served.world.aws.calls().total(), 0);
    served.assert_nothing_was_written();
}
