//! The company: accounts, people and keys, what people do, and keytide's invocations among them.

use std::fmt::Write as _;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_iam::types::StatusType;
use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    Invocation, TokenSource,
    deliver::{Deliver, DeliverSettings},
    sweep::{Observer, Sweep, SweepError},
    watch::{Incoming, Telling, Watch, WatchError},
};
use keytide_aws::{
    directory::{Directory, ReaderRole},
    disabler::Disabler,
    ledger::{Accepted, Halt, Ledger, LedgerReader},
    member::Members,
    secrets::Secrets,
};
use keytide_core::{
    AccountNames,
    lifecycle::Exemption,
    policy::{Mode, Policy},
};
use keytide_local::{
    KeyStatus, LocalAws,
    slack::{Person as SlackPerson, SlackSim},
};
use keytide_slack::Slack;
use serde_json::Value;

use super::{
    story::{Decision, Ended, FirstKey, Person, Rules, Run, Story},
    weather::{Chance, Said, Weather, Wire},
};
use crate::world::{CHANNEL, EXTERNAL_ID, PROD, READER_MAY, TABLE, TOKEN, put_in_force, roles, told};

pub(super) const OTHER: &str = "444455556666";
const START: &str = "2026-05-04T09:12:40Z";
/// How long an invocation may take.
const TIME_LIMIT: Duration = Duration::from_mins(14);

/// A user as it is now.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) account: String,
    pub(super) name: String,
    pub(super) keys: BTreeMap<String, bool>,
}

pub(super) struct Company {
    pub(super) aws: LocalAws,
    pub(super) slack: SlackSim,
    pub(super) weather: Weather,
    pub(super) story: std::cell::RefCell<Story>,
    pub(super) users: std::cell::RefCell<Vec<User>>,
    pub(super) policies: Vec<(String, Policy)>,
    pub(super) rules: std::cell::Cell<usize>,
    said: Arc<Mutex<Vec<Said>>>,
}

impl Company {
    /// A company drawn by chance, and its empty ledger.
    pub(super) async fn draw(seed: u64, chance: &mut Chance) -> Self {
        keytide_local::seed(seed);
        let aws = LocalAws::in_memory().unwrap();
        aws.set_now(START.parse().unwrap());
        let mut slack = SlackSim::new(TOKEN).with_channel(CHANNEL);
        aws.secrets().put("slack-token", TOKEN).unwrap();
        let accounts: Vec<&str> = if chance.percent(40) { vec![PROD, OTHER] } else { vec![PROD] };
        let mut story =
            Story { accounts: accounts.iter().map(|id| (*id).to_owned()).collect(), ..Story::default() };
        let mut users = Vec::new();
        for account in &accounts {
            aws.iam().add_account(account).unwrap();
            aws.iam().add_role(account, "keytide-reader", Some(EXTERNAL_ID), &READER_MAY).unwrap();
            let disabler = ["iam:UpdateAccessKey", "iam:ListAccessKeys"];
            aws.iam().add_role(account, "keytide-disabler", Some(EXTERNAL_ID), &disabler).unwrap();
            let cast: &[Cast] = &[
                ("alice", "/engineering/", &[("type", "human"), ("slack-id", "U0ALICE01")]),
                ("bob", "/", &[]),
                ("carla", "/", &[("slack-id", "@carla")]),
                ("deploy", "/machines/", &[("type", "machine"), ("slack-id", "U0ALICE01")]),
                ("keeper", "/", &[("slack-id", "U0KEEPER1")]),
                ("dora", "/", &[("slack-id", "U0DORA001"), ("key-max-age-days", "60")]),
                ("erik", "/", &[("slack-id", "U0ERIK001"), ("key-max-age-days", "400")]),
                ("odd", "/we*rd/", &[("slack-id", "U0ODD0001")]),
            ];
            for (name, path, tags) in cast {
                if *name != "alice" && chance.percent(55) {
                    continue;
                }
                aws.iam().add_user(account, name, path, tags).unwrap();
                let slack_id = tags.iter().find(|(key, _)| *key == "slack-id").map(|(_, id)| *id);
                let slack_id = slack_id.filter(|id| id.starts_with('U'));
                if let Some(id) = slack_id {
                    slack = slack.with_person(id, SlackPerson::Active);
                }
                story.people.push(Person {
                    account: (*account).to_owned(),
                    name: (*name).to_owned(),
                    max_age: tags
                        .iter()
                        .find(|(key, _)| *key == "key-max-age-days")
                        .map(|(_, days)| days.parse().unwrap()),
                    break_glass: *name == "keeper",
                    direct: slack_id.map(SlackSim::direct_of),
                });
                let mut keys = BTreeMap::new();
                for number in 0..=u32::from(chance.percent(35)) {
                    let key_id = format!(
                        "AKIA{}{:0>5}{number}ABCD{}",
                        if *account == PROD { "P" } else { "Q" },
                        name.to_uppercase(),
                        chance.below(8) + 2
                    );
                    let hours = i64::try_from(chance.below(100 * 24)).unwrap();
                    let born = aws.now().checked_sub(SignedDuration::from_hours(hours)).unwrap();
                    let born = Timestamp::from_second(born.as_second()).unwrap();
                    let active = chance.percent(90);
                    let status = if active { KeyStatus::Active } else { KeyStatus::Inactive };
                    aws.iam().add_access_key(account, name, &key_id, born, status).unwrap();
                    keys.insert(key_id.clone(), active);
                    let (account, user) = ((*account).to_owned(), (*name).to_owned());
                    story.first_keys.push(FirstKey { key_id, account, user, born, active });
                }
                users.push(User { account: (*account).to_owned(), name: (*name).to_owned(), keys });
            }
        }
        story.rules = draw_rules(&accounts, chance);
        let policies = story.rules.iter().map(|rules| policy_of(rules, &accounts)).collect();
        aws.trail().start();
        aws.faults().set_latency(Duration::from_millis(20));
        let weather = Weather::over(&aws, seed);
        let (story, users) = (story.into(), users.into());
        let company =
            Self { aws, slack, weather, story, users, policies, rules: 0.into(), said: Arc::default() };
        company.ledger().create_table().await.unwrap();
        company.put_in_force(0).await;
        company
    }

    pub(super) fn now(&self) -> Timestamp {
        self.aws.now()
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger::new(&self.aws.sdk_config(), TABLE)
    }

    fn deliver(&self, run: usize) -> Deliver<Wire> {
        let config = self.aws.sdk_config();
        let mut settings = DeliverSettings::for_channel(CHANNEL);
        settings.accounts = AccountNames::parse(&format!("{PROD}=prod,{OTHER}=other")).unwrap();
        let wire = Wire {
            slack: self.slack.clone(),
            weather: self.weather.clone(),
            said: Arc::clone(&self.said),
            run,
        };
        let token = TokenSource::secret(Secrets::new(&config), "slack-token".to_owned());
        Deliver::new(self.ledger(), Slack::new(wire), token, settings)
    }

    fn begin(&self, account: &str, event: Option<String>) -> usize {
        let now = self.now();
        let mut story = self.story.borrow_mut();
        story.runs.push(Run {
            account: account.to_owned(),
            begin: now,
            end: now,
            rules: self.rules.get(),
            ended: Ended::Died,
            excused: false,
            event,
            is_repeat: false,
        });
        story.runs.len() - 1
    }

    fn end(&self, run: usize, ended: Ended, excuses_before: u64) {
        let now = self.now();
        let excused = self.weather.excuses() > excuses_before || ended == Ended::Died;
        let mut story = self.story.borrow_mut();
        let run = &mut story.runs[run];
        (run.end, run.ended, run.excused) = (now, ended, excused);
    }

    /// One sweep, as the queue makes it; gives the run's number. It may be killed after some time.
    pub(super) async fn sweep(&self, account: &str, killed_after: Option<Duration>) -> usize {
        let run = self.begin(account, None);
        let excuses = self.weather.excuses();
        let limit = killed_after.unwrap_or(TIME_LIMIT);
        let crash = self.aws.faults().crash();
        let ended = tokio::select! {
            biased;
            () = crash.notified() => Ended::Died,
            ended = tokio::time::timeout(limit, Box::pin(self.visits(account, run))) => ended.unwrap_or(Ended::Died),
        };
        self.end(run, ended, excuses);
        run
    }

    async fn visits(&self, account: &str, run: usize) -> Ended {
        let config = self.aws.sdk_config();
        let (reach, role) = roles();
        let ledger = self.ledger();
        let observer = Observer::new(LedgerReader::of(&ledger), Members::new(&config, reach));
        let sweep = Sweep::new(observer, ledger, self.deliver(run), Disabler::new(&config, role));
        let (_, policy) = &self.policies[self.rules.get()];
        let account = account.parse().unwrap();
        let mut visit = 1;
        loop {
            let invocation = Invocation::begin(format!("run-{run}-{visit}"), self.now(), TIME_LIMIT);
            match Box::pin(sweep.account(&account, None, policy, visit, &invocation)).await {
                Ok(swept) => {
                    let told = |trouble: keytide_app::sweep::Trouble| (trouble.key_id, trouble.cause);
                    return Ended::Done(swept.troubles.into_iter().map(told).collect());
                }
                Err(SweepError::ReportInTheMaking { .. }) => {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                }
                Err(error) => return Ended::Failed(error.to_string()),
            }
            visit += 1;
        }
    }

    /// One receive of one event; true once it is done with.
    pub(super) async fn receive(&self, event: &Value, received: u32) -> bool {
        let id = event["detail"]["eventID"].as_str().unwrap().to_owned();
        let run = self.begin(event["account"].as_str().unwrap(), Some(id));
        let excuses = self.weather.excuses();
        let role = ReaderRole {
            partition: "aws".to_owned(),
            name: "keytide-reader".to_owned(),
            external_id: Some(EXTERNAL_ID.to_owned()),
            session_name: "keytide-watcher".to_owned(),
        };
        let directory = Directory::new(&self.aws.sdk_config(), role, Duration::from_secs(2));
        let watch = Watch::new(self.deliver(run), Some(directory), Telling::All);
        let invocation = Invocation::begin(format!("run-{run}"), self.now(), Duration::from_mins(1));
        let json = event.to_string();
        let incoming = Incoming { json: json.as_bytes(), received };
        let crash = self.aws.faults().crash();
        let outcome = tokio::select! {
            biased;
            () = crash.notified() => None,
            outcome = tokio::time::timeout(Duration::from_mins(1), Box::pin(watch.event(&incoming, &invocation))) => outcome.ok(),
        };
        let (ended, done) = match outcome {
            None => (Ended::Died, false),
            Some(Ok(_)) => (Ended::Done(Vec::new()), true),
            Some(Err(error)) => {
                // An alert before the ledger answered may come once more.
                if matches!(error, WatchError::NotRecorded { .. }) {
                    self.story.borrow_mut().runs[run].excused = true;
                }
                (Ended::Failed(error.to_string()), false)
            }
        };
        self.end(run, ended, excuses);
        done
    }

    pub(super) fn decide(&self, decision: Decision) {
        self.story.borrow_mut().decisions.push((self.now(), decision));
    }

    fn iam(&self, account: &str) -> aws_sdk_iam::Client {
        aws_sdk_iam::Client::new(&self.aws.sdk_config_in(account))
    }

    /// What an owner does: nothing that fails stops the story.
    pub(super) async fn set_status(&self, account: &str, user: &str, key_id: &str, active: bool) {
        let status = if active { StatusType::Active } else { StatusType::Inactive };
        let call = self.iam(account).update_access_key().user_name(user).access_key_id(key_id).status(status);
        let _ = call.send().await;
    }

    pub(super) async fn create_key(&self, account: &str, user: &str) {
        let _ = self.iam(account).create_access_key().user_name(user).send().await;
    }

    pub(super) async fn delete_key(&self, account: &str, user: &str, key_id: &str) {
        let _ = self.iam(account).delete_access_key().user_name(user).access_key_id(key_id).send().await;
    }

    pub(super) async fn delete_user(&self, account: &str, user: &str) {
        let _ = self.iam(account).delete_user().user_name(user).send().await;
    }

    pub(super) async fn rename_user(&self, account: &str, user: &str, new_name: &str) {
        let _ = self.iam(account).update_user().user_name(user).new_user_name(new_name).send().await;
    }

    /// Somebody who got hold of the disabler's role uses it.
    pub(super) async fn steal(&self, account: &str, user: &str, key_id: &str, active: bool) {
        let sts = aws_sdk_sts::Client::new(&self.aws.sdk_config());
        let arn = format!("arn:aws:iam::{account}:role/keytide-disabler");
        let role = sts.assume_role().role_arn(arn).role_session_name("thief").external_id(EXTERNAL_ID);
        let credentials = role.send().await.unwrap().credentials.unwrap();
        let iam = aws_sdk_iam::Client::new(&self.aws.sdk_config_as(&credentials.access_key_id));
        let status = if active { StatusType::Active } else { StatusType::Inactive };
        let _ = iam.update_access_key().user_name(user).access_key_id(key_id).status(status).send().await;
    }

    /// From now on other rules hold.
    pub(super) async fn put_in_force(&self, rules: usize) {
        let (text, policy) = &self.policies[rules];
        put_in_force(&self.ledger(), text, policy.hash(), self.now(), told).await;
        self.rules.set(rules);
    }

    /// Exempts a key until then; a moment ago ends its exemption.
    pub(super) async fn exempt(&self, account: &str, key_id: &str, until: Timestamp) {
        let (account, ledger) = (account.parse().unwrap(), self.ledger());
        let version = ledger.exemption(&account, key_id).await.unwrap().map_or(0, |known| known.version);
        let exemption = Exemption {
            reason: "migration".to_owned(),
            author: "arn:aws:iam::999988887777:role/security".to_owned(),
            granted_at: self.now(),
            until,
        };
        assert!(ledger.save_exemption(&account, key_id, &exemption, version).await.unwrap());
        self.decide(Decision::Exempt { key_id: key_id.to_owned(), until });
    }

    pub(super) async fn halt(&self, on: bool) {
        let (reason, author) =
            ("an incident".to_owned(), "arn:aws:iam::999988887777:role/security".to_owned());
        let halt = Halt { reason, author, at: self.now() };
        // In bad weather a person tries again.
        loop {
            let ledger = self.ledger();
            let set = if on { ledger.set_halt(&halt).await } else { ledger.lift_halt().await };
            if set.is_ok() {
                break;
            }
        }
        self.decide(if on { Decision::Halt } else { Decision::Resume });
    }

    pub(super) async fn restored(&self) {
        let (ledger, at) = (self.ledger(), self.now());
        let accepted = Accepted {
            table_id: ledger.table_id().await.unwrap(),
            reason: "it was restored".to_owned(),
            author: "arn:aws:iam::999988887777:role/security".to_owned(),
            at,
        };
        // It was told of, which is no matter of this story.
        ledger.set_accepted(&accepted).await.unwrap();
        self.decide(Decision::Restored);
    }

    /// The keys and names as they are now, by the account's own word.
    pub(super) async fn take_stock(&self) {
        let mut users = self.users.borrow().clone();
        let accounts = self.story.borrow().accounts.clone();
        users.clear();
        for account in accounts {
            let iam = self.iam(&account);
            for user in iam.list_users().send().await.unwrap().users() {
                let listed = iam.list_access_keys().user_name(user.user_name()).send().await.unwrap();
                let keys = listed.access_key_metadata().iter().map(|key| {
                    (key.access_key_id().unwrap().to_owned(), key.status() == Some(&StatusType::Active))
                });
                let (account, name) = (account.clone(), user.user_name().to_owned());
                users.push(User { account, name, keys: keys.collect() });
            }
        }
        *self.users.borrow_mut() = users;
    }

    /// The story so far, with what was said.
    pub(super) async fn tell(&self) -> Story {
        let mut story = self.story.take();
        story.said.clone_from(&self.said.lock().unwrap_or_else(PoisonError::into_inner));
        story.faults = self.weather.log();
        let rows = self.ledger().all_keys().await.unwrap();
        story.rows = rows.into_iter().map(|row| row.value).collect();
        story
    }
}

/// A user: name, path and tags.
type Cast = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

fn draw_rules(accounts: &[&str], chance: &mut Chance) -> Vec<Rules> {
    let modes = [Mode::Enforce, Mode::Enforce, Mode::Enforce, Mode::Notify, Mode::Observe];
    let organization_cap = if chance.percent(20) { 1 } else { 50 };
    let days = [([76, 81, 86], 91), ([66, 71, 76], 81), ([76, 81, 86], 91), ([80, 85, 90], 96)];
    let mut rules = Vec::new();
    for (notice_days, disable_day) in days {
        let mut drawn: BTreeMap<String, Mode> = BTreeMap::new();
        for account in accounts {
            drawn.insert((*account).to_owned(), *chance.of(&modes).unwrap());
        }
        rules.push(Rules { modes: drawn, notice_days, disable_day, organization_cap });
    }
    rules
}

fn policy_of(rules: &Rules, accounts: &[&str]) -> (String, Policy) {
    let mut text = "[modes]\n".to_owned();
    for mode in Mode::ALL {
        let named: Vec<&str> = accounts.iter().copied().filter(|id| rules.modes[*id] == mode).collect();
        let _ = writeln!(text, "{mode} = {named:?}");
    }
    let Rules { notice_days, disable_day, organization_cap, .. } = rules;
    let _ = writeln!(text, "[defaults]\nnotice-days = {notice_days:?}\ndisable-day = {disable_day}");
    let _ = writeln!(text, "[caps]\norganization-per-day = {organization_cap}");
    for account in accounts {
        let _ = writeln!(text, "[[break-glass]]\naccount = \"{account}\"\nuser = \"keeper\"");
    }
    let policy = Policy::parse(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    (text, policy)
}
