//! An organization in the process, and its days: runs as the sweeper makes them, on a paused clock.
//!
//! Every call to AWS is answered late, and the clock stands still while something is computed: what it shows is
//! waiting alone. Beside it stands the time on a CPU, less that inside the AWS and the Slack of this process.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    Invocation, TokenSource,
    deliver::{Deliver, DeliverSettings},
    run::{Begun, Choice, Outcome as OfAccount, Runs, Source, Task},
    sweep::{Observer, Sweep},
};
use keytide_aws::{
    accounts::Accounts,
    disabler::{Disabler, DisablerRole},
    ledger::{Change, Ledger, LedgerReader, PolicyInForce, Recorded},
    member::{Members, RoleReach},
    queue::Queue,
    secrets::Secrets,
};
use keytide_core::{
    AccountId,
    alert::for_decision,
    decision::{Decided, Decision},
    fact::{Fact, FactBody},
    policy::Policy,
};
use keytide_local::{
    Fault, HOME_ACCOUNT, KeyStatus, LocalAws, Service,
    slack::{Person, SlackSim},
};
use keytide_slack::Slack;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    Outcome,
    company::{CHANNEL, EXTERNAL_ID, SECRET, TABLE, TOKEN},
    table::cpu_time,
    warm::{Inside, TimedAws, TimedSlack},
};

/// What every call to AWS takes.
pub(crate) const LATENCY: Duration = Duration::from_millis(30);
/// The readers' and the disablers' rights.
const READER_MAY: [&str; 6] = [
    "iam:GenerateCredentialReport",
    "iam:GetCredentialReport",
    "iam:ListUsers",
    "iam:ListAccessKeys",
    "iam:GetAccessKeyLastUsed",
    "iam:GetUser",
];
const DISABLER_MAY: [&str; 2] = ["iam:UpdateAccessKey", "iam:ListAccessKeys"];
/// What an invocation of the sweeper has, less what it keeps back.
const TIME_LIMIT: Duration = Duration::from_secs(15 * 60 - 5);
/// As long as a function may keep a message, and some.
const VISIBILITY: Duration = Duration::from_mins(20);
/// A message that comes this often never ends.
const MOST_VISITS: u32 = 20;
/// One call writes so many items (API reference, `BatchWriteItem`).
const ITEMS_A_CALL: usize = 25;

/// What is in each account. All accounts are alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) users: u32,
    pub(crate) keys: u32,
    /// How many days old the key of that number is on the day of the first sweep.
    pub(crate) age_days: fn(u32) -> u32,
}

type Item = HashMap<String, AttributeValue>;

/// An organization of accounts that are alike, its ledger and its Slack.
pub(crate) struct Organization {
    pub(crate) aws: LocalAws,
    pub(crate) slack: SlackSim,
    pub(crate) queue_url: String,
    shape: Shape,
    start: Timestamp,
    accounts: u32,
    inside: Inside,
    sessions: Arc<AtomicU64>,
    /// What the first sweep of the first account left in the ledger.
    swept: Vec<Item>,
}

/// What a day's run took.
#[derive(Debug)]
pub(crate) struct Day {
    /// By the paused clock, from the beginning to the last account.
    pub(crate) clock: Duration,
    /// The same, but of the invocations alone: without the pauses in which nobody is invoked.
    pub(crate) invoked: Duration,
    /// On a CPU, without what passed inside AWS and Slack.
    pub(crate) cpu: Duration,
    pub(crate) calls: BTreeMap<(Service, &'static str), u64>,
    /// Of these, so many were throttled.
    pub(crate) throttled: u64,
    pub(crate) accounts: Vec<AccountDay>,
}

/// What a day's run took in one account, and what came of it.
#[derive(Debug)]
pub(crate) struct AccountDay {
    pub(crate) invoked: Duration,
    /// On a CPU, as [`Day::cpu`]; where several sandboxes are at work, of all that were meanwhile.
    pub(crate) cpu: Duration,
    /// Calls to IAM, with the same reserve.
    pub(crate) iam_calls: u64,
    pub(crate) outcome: OfAccount,
}

impl Day {
    pub(crate) fn all_calls(&self) -> u64 {
        self.calls.values().sum()
    }

    pub(crate) fn told(&self) -> u64 {
        self.accounts.iter().map(|account| account.outcome.told).sum()
    }

    /// The services that were called, most often first.
    pub(crate) fn by_service(&self) -> String {
        let mut services: BTreeMap<Service, u64> = BTreeMap::new();
        for ((service, _), count) in &self.calls {
            *services.entry(*service).or_default() += count;
        }
        let mut services: Vec<_> = services.into_iter().collect();
        services.sort_by_key(|(_, count)| Reverse(*count));
        let said: Vec<String> =
            services.into_iter().map(|(service, count)| format!("{count} {service}")).collect();
        said.join(", ")
    }

    /// The operations of a service that were called.
    pub(crate) fn of(&self, service: Service) -> String {
        let of_service = self.calls.iter().filter(|((of, _), _)| *of == service);
        let said: Vec<String> =
            of_service.map(|((_, operation), count)| format!("{count} {operation}")).collect();
        said.join(", ")
    }
}

/// The accounts' ids, in order.
pub(crate) fn account_id(number: u32) -> String {
    format!("1{number:011}")
}

impl Organization {
    /// With its first account, which nobody has swept yet, on the day `start`.
    pub(crate) async fn new(shape: Shape, start: Timestamp, most_accounts: u32) -> Outcome<Self> {
        keytide_local::seed(7);
        let aws = LocalAws::in_memory()?;
        aws.set_now(start);
        aws.secrets().put(SECRET, TOKEN)?;
        aws.organization().set_management_account(HOME_ACCOUNT)?;
        let queue_url = aws.queues().add(HOME_ACCOUNT, "keytide-accounts", VISIBILITY)?;
        let slack = SlackSim::new(TOKEN).with_channel(CHANNEL);
        // Slack's pace is not ours.
        slack.set_burst(None);
        for user in 0..shape.users {
            slack.set_person(&slack_id(user), Person::Active);
        }
        let mut organization = Self {
            aws,
            slack,
            queue_url,
            shape,
            start,
            accounts: 0,
            inside: Inside::default(),
            sessions: Arc::default(),
            swept: Vec::new(),
        };
        organization.ledger().create_table().await?;
        organization.apply_policy(most_accounts).await?;
        organization.fill_account()?;
        Ok(organization)
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::new(&self.config(), TABLE)
    }

    /// The next account, with its users and keys.
    fn fill_account(&mut self) -> Outcome<()> {
        let Shape { users, keys, age_days } = self.shape;
        let (account, iam) = (account_id(self.accounts), self.aws.iam());
        // The keys were made before this day; an account is filled as on the first.
        iam.add_account(&account)?;
        iam.add_role(&account, "keytide-reader", Some(EXTERNAL_ID), &READER_MAY)?;
        iam.add_role(&account, "keytide-disabler", Some(EXTERNAL_ID), &DISABLER_MAY)?;
        for user in 0..users {
            let (name, id) = (user_name(user), slack_id(user));
            let tags = [("type", "human"), ("slack-id", id.as_str()), ("full-name", name.as_str())];
            iam.add_user(&account, &name, "/", &tags)?;
        }
        for key in 0..keys {
            let age = SignedDuration::from_hours(i64::from(age_days(key)) * 24 + 1);
            let born = self.start.checked_sub(age)?;
            iam.add_access_key(&account, &user_name(key % users), &key_id(key), born, KeyStatus::Active)?;
        }
        self.aws.organization().add_member(&account, &format!("account-{}", self.accounts))?;
        self.accounts += 1;
        Ok(())
    }

    /// One account more, as the first one is, and as if it had been swept on the same day: to sweep each for the
    /// first time is not what is measured, and would take the greater part of an hour.
    pub(crate) async fn add_account_like_the_first(&mut self) -> Outcome<()> {
        let (first, next) = (account_id(0), account_id(self.accounts));
        let client = aws_sdk_dynamodb::Client::new(&self.aws.sdk_config());
        if self.swept.is_empty() {
            self.swept = items_of(&client, &first).await?;
            let expected = usize::try_from(self.shape.keys)? + 1;
            if self.swept.len() != expected {
                return Err(format!(
                    "the first sweep left {} items of its account; expected {expected}: its record and its keys",
                    self.swept.len()
                )
                .into());
            }
        }
        self.fill_account()?;
        for items in self.swept.chunks(ITEMS_A_CALL) {
            let mut waiting = Vec::new();
            for item in items {
                let item =
                    item.iter().map(|(name, value)| (name.clone(), renamed(value, &first, &next))).collect();
                let put = PutRequest::builder().set_item(Some(item)).build()?;
                waiting.push(WriteRequest::builder().put_request(put).build());
            }
            while !waiting.is_empty() {
                let written = client.batch_write_item().request_items(TABLE, waiting).send().await?;
                waiting =
                    written.unprocessed_items.and_then(|mut left| left.remove(TABLE)).unwrap_or_default();
            }
        }
        Ok(())
    }

    async fn apply_policy(&self, accounts: u32) -> Outcome<()> {
        let enforced: Vec<String> =
            (0..accounts).map(|number| format!("\"{}\"", account_id(number))).collect();
        let text = format!("[modes]\nenforce = [{}]\n", enforced.join(", "));
        let hash = Policy::parse(&text)?.hash().to_owned();
        let (author, at) = ("arn:aws:sts::999988887777:assumed-role/security/vera".to_owned(), self.start);
        let what = Decided::PolicyApplied { old_hash: None, new_hash: hash.clone(), changes: Vec::new() };
        let decision = Decision { author: author.clone(), at, what };
        let id = decision.fact_id();
        let messages = for_decision(&id, &decision).deliveries(&id, at);
        let message = messages.first().ok_or("a policy calls for no message")?;
        let body = FactBody::Decided { decision: Box::new(decision) };
        let fact = Fact::new(id, at, body);
        let policy = PolicyInForce { text, hash, author, at };
        match self.ledger().decide(Change::Policy(&policy), 0, &fact, message).await? {
            Recorded::Written => Ok(()),
            other => Err(format!("the policy was not applied: {other:?}").into()),
        }
    }

    /// As the function sets it up, over this AWS with a clock around it.
    fn config(&self) -> SdkConfig {
        let timed = TimedAws { aws: self.aws.clone(), inside: self.inside.clone() };
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(10))
            .operation_timeout(Duration::from_secs(30))
            .build();
        self.aws
            .sdk_config()
            .to_builder()
            .http_client(timed)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(4))
            .build()
    }

    /// A new sandbox of the function: nothing cached.
    fn sandbox(&self) -> Runs<TimedSlack> {
        let config = self.config();
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
        let ledger = Ledger::new(&config, TABLE);
        let deliver = || {
            let slack = TimedSlack { slack: self.slack.clone(), inside: self.inside.clone() };
            let token = TokenSource::secret(Secrets::new(&config), SECRET.to_owned());
            Deliver::new(ledger.clone(), Slack::new(slack), token, DeliverSettings::for_channel(CHANNEL))
        };
        let members = Members::new(&config, reach).adaptive().time_left(SignedDuration::from_mins(15));
        let sweep = Sweep::new(
            Observer::new(LedgerReader::of(&ledger), members),
            ledger.clone(),
            deliver(),
            Disabler::new(&config, role),
        );
        let choice = Choice {
            source: Source::Organization(Accounts::new(&config)),
            include: [].into(),
            exclude: AccountId::parse(HOME_ACCOUNT).into_iter().collect(),
        };
        let queue = Queue::new(&config, self.queue_url.as_str());
        Runs::new(ledger.clone(), sweep, deliver(), queue, choice)
    }

    /// Sets the clock to so many days after the first sweep.
    pub(crate) fn go_to_day(&self, number: u32) -> Outcome<()> {
        self.aws.set_now(self.start.checked_add(SignedDuration::from_hours(i64::from(number) * 24))?);
        Ok(())
    }

    /// One day's run over all accounts, by so many sandboxes at once. One account after the other is handed to
    /// whichever is free; one that has to come again waits for as long as was asked for, as it would on the queue.
    pub(crate) async fn run(&self, at_once: u32) -> Outcome<Day> {
        self.aws.calls().restart();
        let (began, cpu) = (Instant::now(), own_time(&self.inside));
        let invocation = next_invocation(&self.sessions, &self.aws);
        let date = match Box::pin(self.sandbox().begin(&invocation)).await? {
            Begun::Started { date, accounts } if accounts == usize::try_from(self.accounts)? => date,
            other => return Err(format!("the run of {} accounts began as {other:?}", self.accounts).into()),
        };
        let mut invoked = began.elapsed();
        let work = Arc::new(Work::default());
        for number in 0..self.accounts {
            let account = AccountId::parse(&account_id(number))?;
            work.waiting().push(Reverse((Instant::now(), 1, account)));
        }
        let mut sandboxes = JoinSet::new();
        for _ in 0..at_once {
            let (runs, work) = (self.sandbox(), Arc::clone(&work));
            let (aws, sessions) = (self.aws.clone(), Arc::clone(&self.sessions));
            let inside = self.inside.clone();
            sandboxes.spawn(async move {
                while let Some(next) = work.next() {
                    let Reverse((at, visit, account)) = next;
                    sleep_until(at).await;
                    let task = Task::Account { run: date, account: account.clone() };
                    let invocation = next_invocation(&sessions, &aws);
                    let (began, cpu, calls) = (Instant::now(), own_time(&inside), iam_calls(&aws));
                    let ended = timeout(TIME_LIMIT, Box::pin(runs.account(&task, visit, &invocation))).await;
                    let cpu = own_time(&inside).saturating_sub(cpu);
                    work.note(&account, (began.elapsed(), cpu, iam_calls(&aws) - calls));
                    match ended {
                        Ok(Ok(done)) => work.end(done.outcome)?,
                        Ok(Err(again)) if visit < MOST_VISITS => {
                            work.waiting().push(Reverse((Instant::now() + again.after, visit + 1, account)));
                        }
                        Ok(Err(again)) => {
                            return Err(format!("{account}, visited {visit} times: {again}").into());
                        }
                        Err(_) => return Err(format!("{account} does not fit into an invocation").into()),
                    }
                }
                Outcome::Ok(())
            });
        }
        while let Some(ended) = sandboxes.join_next().await {
            ended??;
        }
        let clock = began.elapsed();
        let cpu = own_time(&self.inside).saturating_sub(cpu);
        let accounts = work.ended(usize::try_from(self.accounts)?)?;
        invoked += accounts.iter().map(|account| account.invoked).sum::<Duration>();
        let calls = self.aws.calls().counts();
        let throttled = self.aws.calls().faults().get(&Fault::Throttle).copied().unwrap_or_default();
        Ok(Day { clock, invoked, cpu, calls, throttled, accounts })
    }
}

/// This thread's time on a CPU so far, less that inside AWS and Slack.
fn own_time(inside: &Inside) -> Duration {
    cpu_time().saturating_sub(inside.so_far())
}

fn iam_calls(aws: &LocalAws) -> u64 {
    aws.calls().counts().iter().filter(|((of, _), _)| *of == Service::Iam).map(|(_, count)| count).sum()
}

fn next_invocation(sessions: &AtomicU64, aws: &LocalAws) -> Invocation {
    let number = sessions.fetch_add(1, Ordering::Relaxed);
    Invocation::begin(format!("invocation-{number}"), aws.now(), TIME_LIMIT)
}

/// What is left to do on a day, and what was done.
#[derive(Default)]
struct Work {
    waiting: Mutex<BinaryHeap<Reverse<(Instant, u32, AccountId)>>>,
    /// For how long, how long on a CPU, and with how many calls to IAM.
    invoked: Mutex<BTreeMap<AccountId, (Duration, Duration, u64)>>,
    ended: Mutex<Vec<OfAccount>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work {
    fn waiting(&self) -> MutexGuard<'_, BinaryHeap<Reverse<(Instant, u32, AccountId)>>> {
        locked(&self.waiting)
    }

    fn next(&self) -> Option<Reverse<(Instant, u32, AccountId)>> {
        self.waiting().pop()
    }

    fn note(&self, account: &AccountId, (invoked, cpu, iam_calls): (Duration, Duration, u64)) {
        let mut all = locked(&self.invoked);
        let noted = all.entry(account.clone()).or_default();
        *noted = (noted.0 + invoked, noted.1 + cpu, noted.2 + iam_calls);
    }

    /// An account that was not wholly swept is a wrong result, however fast that was.
    fn end(&self, outcome: OfAccount) -> Outcome<()> {
        if !outcome.is_whole() || outcome.undelivered.count() > 0 {
            return Err(format!("an account was not wholly swept: {outcome:?}").into());
        }
        locked(&self.ended).push(outcome);
        Ok(())
    }

    fn ended(&self, expected: usize) -> Outcome<Vec<AccountDay>> {
        let invoked = std::mem::take(&mut *locked(&self.invoked));
        let ended = std::mem::take(&mut *locked(&self.ended));
        if ended.len() != expected {
            return Err(format!("{} of {expected} accounts were swept", ended.len()).into());
        }
        let of = |outcome: OfAccount| {
            let (invoked, cpu, iam_calls) = invoked.get(&outcome.account).copied().unwrap_or_default();
            AccountDay { invoked, cpu, iam_calls, outcome }
        };
        Ok(ended.into_iter().map(of).collect())
    }
}

pub(crate) fn user_name(number: u32) -> String {
    format!("user-{number:06}")
}

fn slack_id(user: u32) -> String {
    format!("U0{user:07}")
}

fn key_id(number: u32) -> String {
    format!("AKIATIDE{number:012}")
}

/// An account's record and its keys, as they stand in the ledger: without their history, which no sweep reads.
async fn items_of(client: &aws_sdk_dynamodb::Client, account: &str) -> Outcome<Vec<Item>> {
    let (record, keys) = (format!("SWEEP#{account}"), format!("KEY#{account}#"));
    let mut pages = client.scan().table_name(TABLE).consistent_read(true).into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(item) = pages.next().await {
        let item = item?;
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
        let (Some(partition), Some(sort)) = (text("pk"), text("sk")) else { continue };
        if (*partition == record && sort == "RECORD") || (partition.starts_with(&keys) && sort == "KEY") {
            found.push(item);
        }
    }
    Ok(found)
}

/// The same value with one account's id for another's.
fn renamed(value: &AttributeValue, from: &str, to: &str) -> AttributeValue {
    match value {
        AttributeValue::S(text) => AttributeValue::S(text.replace(from, to)),
        AttributeValue::M(members) => AttributeValue::M(
            members.iter().map(|(name, value)| (name.clone(), renamed(value, from, to))).collect(),
        ),
        AttributeValue::L(members) => {
            AttributeValue::L(members.iter().map(|value| renamed(value, from, to)).collect())
        }
        other => other.clone(),
    }
}
