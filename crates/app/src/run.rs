//! A run: every account swept once a day, and one digest at the end.
//!
//! [`Runs::begin`] writes down which accounts are expected and puts one message for each on a queue.
//! [`Runs::account`] takes one of them: it sweeps the account and writes what came of it beside the run.
//! Whoever finds that the run is done with its last account posts the digest. A second `begin`, hours later,
//! does not begin again: it posts the digest of a run that did not come to its end, naming what is missing.
//!
//! Every step may happen twice or stop in the middle: messages repeat, functions die. A run is one item of its
//! date, an account's outcome is one item, and what is posted is claimed first.

mod end;
mod outcome;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, civil::Date};
use keytide_aws::{
    Failure,
    accounts::{AccountState, Accounts},
    ledger::{AccountRecord, Lease, Ledger, Run, Versioned},
    queue::Queue,
};
use keytide_core::{
    AccountId,
    cloudtrail::Subject,
    delivery::Ending,
    key::Key,
    lifecycle::{Exemption, utc_date, whole_days},
    plan::{FindingKind, SweepPlan, treatment_of},
    policy::Policy,
};
use keytide_slack::{
    Post,
    messages::{self, BaselineCounts},
};
use serde::{Deserialize, Serialize};

pub use self::{
    end::{DigestEnd, End},
    outcome::{DisabledRow, FindingRow, Outcome, Rows},
};
use crate::{
    Invocation,
    deliver::Deliver,
    sweep::{Sweep, SweepError, Swept},
};

/// A `begin` so soon after the beginning of a run that has not ended is about that run, whatever the UTC date:
/// schedules lie hours apart, runs a day.
const SAME_RUN: SignedDuration = SignedDuration::from_hours(12);
/// So soon after it, it is about one that has ended, too: it repeats, or is the day's second.
const SAME_RUN_ENDED: SignedDuration = SignedDuration::from_hours(6);
/// Not before does a `begin` end a run: two schedulers at once are no reason to call accounts silent.
const MAY_END_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// How long putting the accounts on the queue may take, before somebody else does it.
const QUEUEING: SignedDuration = SignedDuration::from_mins(5);
/// How long posting a digest or a summary may take, before somebody else does it.
const SENDING: SignedDuration = SignedDuration::from_mins(2);
/// An account with troubles that another try may mend is swept up to so often in a run.
const MOST_TRIES: u32 = 3;
/// A credential report takes some seconds; its account is come back to after these.
const REPORT_PAUSE: Duration = Duration::from_secs(30);
/// After trouble, times the tries so far.
const TROUBLE_PAUSE: Duration = Duration::from_mins(1);
/// So many of the latest runs are looked at for a digest that they still owe.
const OWING: i32 = 5;
/// How often an item is written anew because somebody else was faster.
const TRIES: u32 = 6;

/// Which accounts a run sweeps.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Where the accounts come from.
    pub source: Source,
    /// Only these, unless empty.
    pub include: BTreeSet<AccountId>,
    /// All but these.
    pub exclude: BTreeSet<AccountId>,
}

/// Where the accounts come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The organization's active accounts, the management account among them.
    Organization(Accounts),
    /// A list.
    List(BTreeSet<AccountId>),
}

impl Choice {
    /// The accounts with their names. None at all is a failure: a run over nothing would end well.
    async fn accounts(&self) -> Result<BTreeMap<AccountId, String>, Failure> {
        let mut accounts: BTreeMap<AccountId, String> = match &self.source {
            Source::List(ids) => ids.iter().map(|id| (id.clone(), String::new())).collect(),
            Source::Organization(accounts) => accounts
                .list()
                .await?
                .into_iter()
                .filter(|account| account.state == AccountState::Active)
                .map(|account| (account.id, account.name))
                .collect(),
        };
        for wanted in self.include.difference(&accounts.keys().cloned().collect()) {
            tracing::warn!(account = %wanted, "an account is to be swept that is not there, or not active");
        }
        accounts.retain(|id, _| {
            (self.include.is_empty() || self.include.contains(id)) && !self.exclude.contains(id)
        });
        if accounts.is_empty() {
            let cause = "no account is left to sweep; expected at least one: look at the lists of accounts to \
                         include and to exclude";
            return Err(Failure::operators("choosing the accounts", cause));
        }
        Ok(accounts)
    }
}

/// One message of the queue: an account to sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "keytide", rename_all = "kebab-case")]
pub enum Task {
    /// Sweep this account.
    Account {
        /// In the run of this UTC date.
        run: Date,
        /// The account.
        account: AccountId,
    },
}

/// What a `begin` did.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// The run began: its accounts are on the queue.
    Started {
        /// Its name.
        date: Date,
        /// How many accounts.
        accounts: usize,
    },
    /// It began already, and it is too early to end it.
    UnderWay {
        /// Its name.
        date: Date,
    },
    /// It began hours ago: it ends now, if it had not.
    Ended {
        /// Its name.
        date: Date,
        /// How.
        end: End,
    },
}

/// Why a run could not begin, or end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// A call failed.
    #[error("the run cannot begin: {0}")]
    Failed(Failure),
    /// Not all accounts are on the queue. They are put there again when it begins again.
    #[error(
        "the run of {date} has not wholly begun: {unsent} of {accounts} accounts are not on the queue, the first \
         because {failure}"
    )]
    Unsent {
        /// The run.
        date: Date,
        /// How many accounts it has.
        accounts: usize,
        /// How many are not on the queue.
        unsent: usize,
        /// What kept the first of them.
        failure: Failure,
    },
}

/// An account that the run is done with.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// What came of it.
    pub outcome: Outcome,
    /// Whether that was so before: the message was a repetition.
    pub was_done: bool,
    /// Whether the run was done with it before, and something that was held in it could be taken up: the outcome is of
    /// this visit alone.
    pub is_taken_up: bool,
    /// The run's end, where this was its last account.
    pub end: Option<End>,
}

/// A message that has to come again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{cause}")]
pub struct Again {
    /// The cause in one word, for a metric.
    pub word: &'static str,
    /// Why.
    pub cause: String,
    /// When.
    pub after: Duration,
    /// Whether that is the normal course of things.
    pub is_passing: bool,
    /// What came of the account so far.
    pub outcome: Option<Box<Outcome>>,
    /// As of [`Done`].
    pub is_taken_up: bool,
    /// Whether the outcome will not be told anew: what there is to count of it, is to be counted now.
    pub is_last: bool,
    /// The run's end, where that is what did not come off.
    pub end: Option<End>,
}

impl Again {
    fn new(word: &'static str, cause: impl Into<String>, after: Duration) -> Self {
        Self {
            word,
            cause: cause.into(),
            after,
            is_passing: false,
            outcome: None,
            is_taken_up: false,
            is_last: false,
            end: None,
        }
    }

    fn passing(word: &'static str, cause: impl Into<String>, after: Duration) -> Self {
        Self { is_passing: true, ..Self::new(word, cause, after) }
    }
}

/// Why there is no policy to follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFailure {
    /// It could not be read from the ledger.
    #[error("{0}")]
    Ledger(Failure),
    /// What stands in the ledger is no policy. Nothing is done as from a policy that nobody wrote.
    #[error(
        "the policy in force, applied by {author}, cannot be read: {problems}. Nothing is told or disabled until \
         it is mended: apply one with `keytide policy apply FILE`"
    )]
    Unreadable {
        /// Who applied it.
        author: String,
        /// What is wrong with it.
        problems: String,
    },
}

/// The policy in force: the ledger's, and only where it has none, the built-in one.
pub async fn policy_in_force(ledger: &Ledger) -> Result<Policy, PolicyFailure> {
    match ledger.policy().await.map_err(PolicyFailure::Ledger)? {
        None => Ok(Policy::built_in()),
        Some(Versioned { value: found, .. }) => Policy::parse(&found.text).map_err(|problems| {
            PolicyFailure::Unreadable { author: found.author, problems: problems.to_string() }
        }),
    }
}

/// Runs over all accounts.
#[derive(Debug)]
pub struct Runs<P> {
    ledger: Ledger,
    sweep: Sweep<P>,
    deliver: Deliver<P>,
    queue: Queue,
    choice: Choice,
}

impl<P: Post> Runs<P> {
    /// With everything that a run needs; the sweep and the digest each have their own way to Slack.
    pub fn new(ledger: Ledger, sweep: Sweep<P>, deliver: Deliver<P>, queue: Queue, choice: Choice) -> Self {
        Self { ledger, sweep, deliver, queue, choice }
    }

    /// Begins the day's run; of one that has begun, sees to its end once that is due.
    pub async fn begin(&self, invocation: &Invocation) -> Result<Begun, BeginError> {
        let now = invocation.now();
        let runs = self.ledger.latest_runs(OWING).await.map_err(BeginError::Failed)?;
        let latest = runs.first().cloned();
        let present = latest.as_ref().filter(|latest| is_about(&latest.value, now));
        let run = if let Some(run) = present {
            run.clone()
        } else {
            let started = self.start(latest.map(|latest| latest.value), invocation).await;
            started.map_err(BeginError::Failed)?
        };
        let date = run.value.date;
        for owing in runs.iter().filter(|one| one.value.date < date && one.value.digest_at.is_none()) {
            self.end_one_before(owing.clone(), invocation).await;
        }
        if run.value.queued_at.is_none() {
            return self.fill_queue(run, invocation).await;
        }
        if run.value.digest_at.is_none() && now.duration_since(run.value.began_at) < MAY_END_AFTER {
            return Ok(Begun::UnderWay { date });
        }
        // What cannot be taken up must not keep the digest from being posted.
        let taken_up = self.take_up_what_was_held(&run, now).await;
        let end = self.end(run, invocation).await.map_err(BeginError::Failed)?;
        taken_up.map_err(BeginError::Failed)?;
        Ok(Begun::Ended { date, end })
    }

    /// Puts the accounts on the queue again in which more may be disabled than when they were swept: a plan was
    /// approved that a cap had held, or the hours are open that were closed.
    async fn take_up_what_was_held(&self, run: &Versioned<Run>, now: Timestamp) -> Result<(), Failure> {
        let date = run.value.date;
        let outcomes: Vec<Outcome> = self.ledger.outcomes(date).await?;
        let policy = policy_in_force(&self.ledger).await;
        let mut bodies = Vec::new();
        for held in outcomes.iter().filter(|outcome| outcome.is_final) {
            if self.may_go_on(held, &policy, now).await? {
                bodies.push(task(date, &held.account)?);
            }
        }
        if !bodies.is_empty() && run.value.taken_up_at.is_none() {
            self.change_run(run.clone(), |run| run.taken_up_at = Some(now)).await?;
        }
        match self.queue.send(&bodies).await.into_iter().next() {
            Some(unsent) => Err(unsent.failure),
            None => Ok(()),
        }
    }

    /// Whether something of what was held in an account may be disabled by now.
    async fn may_go_on(
        &self,
        held: &Outcome,
        policy: &Result<Policy, PolicyFailure>,
        now: Timestamp,
    ) -> Result<bool, Failure> {
        if held.closed > 0 {
            match policy {
                Ok(policy) if policy.disabling_open(now).is_ok() => return Ok(true),
                Ok(_) | Err(PolicyFailure::Unreadable { .. }) => {}
                Err(PolicyFailure::Ledger(failure)) => return Err(failure.clone()),
            }
        }
        Ok(held.over_cap > 0 && self.is_approved_since(&held.account, held.looked_at()).await?)
    }

    async fn is_approved_since(&self, account: &AccountId, at: Timestamp) -> Result<bool, Failure> {
        Ok(self.ledger.approvals(account).await?.iter().any(|approval| approval.at > at))
    }

    /// Posts the digest that an earlier run still owes. Failing to must not keep the next one from beginning.
    async fn end_one_before(&self, run: Versioned<Run>, invocation: &Invocation) {
        let date = run.value.date;
        match self.end(run, invocation).await {
            Ok(End { digest: DigestEnd::Failed { cause, .. }, .. }) => {
                tracing::error!(%date, cause, "the digest of an earlier run cannot be posted");
            }
            Ok(End { digest: DigestEnd::Taken { .. }, .. }) => {}
            Ok(_) => tracing::warn!(%date, "an earlier run had not come to its end: it is told now"),
            Err(failure) => tracing::error!(%date, %failure, "an earlier run cannot be ended"),
        }
    }

    /// Writes the run's item; where somebody was faster, theirs.
    async fn start(&self, previous: Option<Run>, invocation: &Invocation) -> Result<Versioned<Run>, Failure> {
        let now = invocation.now();
        let expected = self.choice.accounts().await?;
        let date = utc_date(now);
        let left = previous.as_ref().map(|previous| {
            let known = previous.expected.iter().filter(|(id, _)| !expected.contains_key(id));
            known.map(|(id, name)| (id.clone(), name.clone())).collect()
        });
        let run = Run {
            date,
            began_at: now,
            previous_at: previous.map(|previous| previous.began_at),
            expected,
            left: left.unwrap_or_default(),
            queueing: Some(Lease { by: invocation.session.clone(), until: later(now, QUEUEING) }),
            queued_at: None,
            taken_up_at: None,
            telling: None,
            digest_at: None,
            totals: BTreeMap::new(),
        };
        match self.ledger.save_run(&run, 0).await? {
            Some(saved) => Ok(saved),
            None => self.run_of(date).await,
        }
    }

    /// Puts every account on the queue that the run is not done with. One that is there already may come twice,
    /// which changes nothing.
    async fn fill_queue(&self, run: Versioned<Run>, invocation: &Invocation) -> Result<Begun, BeginError> {
        let date = run.value.date;
        let now = invocation.now();
        let run = match &run.value.queueing {
            Some(Lease { by, .. }) if *by == invocation.session => run,
            Some(Lease { until, .. }) if *until > now => return Ok(Begun::UnderWay { date }),
            _ => {
                let mut taken = run.value.clone();
                taken.queueing = Some(Lease { by: invocation.session.clone(), until: later(now, QUEUEING) });
                match self.ledger.save_run(&taken, run.version).await.map_err(BeginError::Failed)? {
                    Some(saved) => saved,
                    None => return Ok(Begun::UnderWay { date }),
                }
            }
        };
        let done = self.ledger.done(date).await.map_err(BeginError::Failed)?;
        let waiting = run.value.expected.keys().filter(|account| !done.contains(account));
        let bodies: Result<Vec<String>, _> = waiting.map(|account| task(date, account)).collect();
        let bodies = bodies.map_err(BeginError::Failed)?;
        let unsent = self.queue.send(&bodies).await;
        let accounts = run.value.expected.len();
        let is_queued = unsent.is_empty();
        let noted = self
            .change_run(run, |run| {
                run.queueing = None;
                if is_queued {
                    run.queued_at = Some(invocation.now());
                }
            })
            .await;
        if let Some(first) = unsent.first() {
            for one in &unsent {
                let body = bodies.get(one.index);
                tracing::error!(body, failure = %one.failure, "an account is not on the queue");
            }
            let failure = first.failure.clone();
            return Err(BeginError::Unsent { date, accounts, unsent: unsent.len(), failure });
        }
        noted.map_err(BeginError::Failed)?;
        Ok(Begun::Started { date, accounts })
    }

    /// Sweeps the account of one message; `visit` says how often that was received, this time included.
    pub async fn account(&self, task: &Task, visit: u32, invocation: &Invocation) -> Result<Done, Again> {
        let Task::Account { run: date, account } = task;
        let (began, pause) = (invocation.now(), TROUBLE_PAUSE * visit.clamp(1, 15));
        let ledger = |failure: Failure| Again::new("ledger", failure.to_string(), pause);
        let (run, known, policy) = tokio::join!(
            self.run_of(*date),
            self.ledger.outcome::<Outcome>(*date, account),
            policy_in_force(&self.ledger),
        );
        let run = run.map_err(ledger)?;
        let Some(name) = run.value.expected.get(account) else {
            let cause = format!("{account} is not among the accounts of the run of {date}: it is not swept");
            return Err(Again::new("not-expected", cause, pause));
        };
        let mut is_taken_up = false;
        if let Some(Versioned { value: outcome, .. }) = known.map_err(ledger)?
            && outcome.is_final
        {
            is_taken_up = self.may_go_on(&outcome, &policy, invocation.now()).await.map_err(ledger)?;
            if !is_taken_up {
                return self.finish(outcome, true, *date, pause, invocation).await;
            }
            if run.value.taken_up_at.is_none() {
                self.change_run(run.clone(), |run| run.taken_up_at = Some(began)).await.map_err(ledger)?;
            }
        }
        let name = Some(name.as_str()).filter(|name| !name.is_empty());
        let (outcome, may_mend) = match policy {
            Err(PolicyFailure::Ledger(failure)) => return Err(ledger(failure)),
            Err(unreadable @ PolicyFailure::Unreadable { .. }) => {
                tracing::error!(%account, error = %unreadable, "there is no policy to follow");
                (Outcome::unread(account, &unreadable.to_string(), invocation.now()), false)
            }
            Ok(policy) => {
                let swept = Box::pin(self.sweep.account(account, name, &policy, visit, invocation)).await;
                match swept {
                    Ok(swept) => (self.outcome_of(swept, &policy, &run.value, invocation).await, true),
                    Err(SweepError::Unreadable(failure)) => {
                        let outcome = Outcome::unread(account, &failure.to_string(), invocation.now());
                        (outcome, failure.is_retryable())
                    }
                    Err(error @ SweepError::ReportInTheMaking { .. }) => {
                        return Err(Again::passing("report-in-the-making", error.to_string(), REPORT_PAUSE));
                    }
                    Err(SweepError::Taken { account, by, until }) => {
                        let left = until.duration_since(invocation.now());
                        let after = Duration::try_from(left).unwrap_or(REPORT_PAUSE);
                        let error = SweepError::Taken { account, by, until };
                        return Err(Again::passing("taken", error.to_string(), after));
                    }
                }
            }
        };
        let outcome = Outcome { looked_at: Some(began), ..outcome };
        // What was held and could not be taken up is come back for as well, though the run is done with the account.
        let is_held_on = is_taken_up && may_mend && outcome.has_troubles();
        let cause = outcome.first_trouble();
        let of_this_visit = is_taken_up.then(|| outcome.clone());
        let joined = self.save_outcome(*date, outcome, may_mend, invocation).await.map_err(ledger)?;
        let (is_final, tries) = (joined.is_final, joined.tries);
        // What the run did before in an account that is taken up was told, and counted, when it was done with it.
        let mut told = match of_this_visit {
            Some(visit) => Outcome { swept_at: joined.swept_at, is_final: true, ..visit },
            None => joined,
        };
        if !told.was_read {
            told.exemptions = self.exemptions_that_hold(account, invocation.now()).await;
        }
        if !is_final || (is_held_on && visit < MOST_TRIES) {
            let after = if is_held_on { pause } else { TROUBLE_PAUSE * tries };
            let again = Again::new("troubles", cause, after);
            return Err(Again { outcome: Some(Box::new(told)), is_taken_up, is_last: is_taken_up, ..again });
        }
        if is_held_on {
            tracing::error!(%account, cause, "what was held could not be taken up: it is for the next run");
        }
        // By the time the message comes again this outcome is known.
        let done = self.finish(told, false, *date, pause, invocation).await;
        let done = done.map_err(|again| Again { is_taken_up, is_last: true, ..again })?;
        Ok(Done { is_taken_up, ..done })
    }

    /// The exemptions of an account that could not be looked at, for the copy of them: they stand in the ledger all the
    /// same. `None` where the ledger does not answer, or nobody has accepted it.
    async fn exemptions_that_hold(
        &self,
        account: &AccountId,
        now: Timestamp,
    ) -> Option<BTreeMap<String, Exemption>> {
        let acceptance = self.ledger.acceptance().await.ok()?;
        if acceptance.unaccepted.is_some() {
            return None;
        }
        let mut exemptions = self.ledger.exemptions(account).await.ok()?;
        exemptions.retain(|_, exemption| exemption.ends(now) > now);
        Some(exemptions)
    }

    /// What came of a sweep, and the one summary where it was the account's first.
    async fn outcome_of(
        &self,
        mut swept: Swept,
        policy: &Policy,
        run: &Run,
        invocation: &Invocation,
    ) -> Outcome {
        let account = swept.plan.account.clone();
        let keys = match self.ledger.open_keys(&account, None).await {
            Ok(keys) => keys.into_iter().map(|key| key.value).collect(),
            Err(failure) => {
                swept.troubles.push(crate::sweep::Trouble { key_id: None, cause: failure.to_string() });
                Vec::new()
            }
        };
        if swept.troubles.is_empty()
            && let Err(cause) = self.tell_baseline(&swept.plan, &keys, policy, run, invocation).await
        {
            let cause = format!("the summary of its first sweep is still to be posted: {cause}");
            swept.troubles.push(crate::sweep::Trouble { key_id: None, cause });
        }
        Outcome::of(&swept, &keys, run.previous_at, invocation.now())
    }

    /// Writes the outcome, joined to what stands there, and whether the run is done with the account. What was done is
    /// told of by this alone, and the next try would find nothing more to do: so it is tried for some seconds.
    async fn save_outcome(
        &self,
        date: Date,
        mut outcome: Outcome,
        may_mend: bool,
        invocation: &Invocation,
    ) -> Result<Outcome, Failure> {
        let account = outcome.account.clone();
        let changing = format!("it changed {TRIES} times meanwhile");
        let mut failure = Failure::retry(format!("writing the outcome of {account}"), changing);
        for turn in 0..TRIES {
            let read = tokio::try_join!(
                self.ledger.account(&account),
                self.ledger.outcome::<Outcome>(date, &account)
            );
            let saved = match read {
                // Our own write, whose answer was lost.
                Ok((_, Some(known))) if known.value.at == outcome.at => return Ok(known.value),
                Ok((record, known)) => {
                    outcome.swept_at = record.value.swept_at;
                    let version = known.as_ref().map_or(0, |known| known.version);
                    let has_troubles = outcome.has_troubles();
                    let mut joined = outcome.clone().after(known.map(|known| known.value));
                    joined.is_final =
                        joined.is_final || !has_troubles || !may_mend || joined.tries >= MOST_TRIES;
                    let saved =
                        self.ledger.save_outcome(date, &account, &joined, version, invocation.now()).await;
                    saved.map(|is_saved| is_saved.then_some(joined))
                }
                Err(failed) => Err(failed),
            };
            match saved {
                Ok(Some(joined)) => return Ok(joined),
                Ok(None) => {}
                Err(failed) => {
                    failure = failed;
                    tokio::time::sleep(Duration::from_millis(50 << turn)).await;
                }
            }
        }
        Err(failure)
    }

    /// Marks the account as done with, and ends the run after the last one.
    async fn finish(
        &self,
        outcome: Outcome,
        was_done: bool,
        date: Date,
        pause: Duration,
        invocation: &Invocation,
    ) -> Result<Done, Again> {
        let again = |cause: &dyn ToString, after| Again {
            outcome: Some(Box::new(outcome.clone())),
            ..Again::new("digest", cause.to_string(), after)
        };
        let done = self.ledger.mark_done(date, &outcome.account, invocation.now()).await;
        let done = done.map_err(|failure| again(&failure, TROUBLE_PAUSE))?;
        let run = self.run_of(date).await.map_err(|failure| again(&failure, TROUBLE_PAUSE))?;
        let is_last = run.value.expected.keys().all(|account| done.contains(account));
        if !is_last || run.value.digest_at.is_some() {
            return Ok(Done { outcome, was_done, is_taken_up: false, end: None });
        }
        let end = self.end(run, invocation).await.map_err(|failure| again(&failure, TROUBLE_PAUSE))?;
        match &end.digest {
            DigestEnd::Posted | DigestEnd::Already => {
                Ok(Done { outcome, was_done, is_taken_up: false, end: Some(end) })
            }
            DigestEnd::Taken { until } => {
                let left =
                    Duration::try_from(until.duration_since(invocation.now())).unwrap_or(TROUBLE_PAUSE);
                let mut waits = again(&"somebody else is posting the digest", left);
                waits.is_passing = true;
                Err(waits)
            }
            DigestEnd::Failed { cause, after } => {
                // Longer each time: the queue gives a message up that it brought twenty times, and by then the second
                // schedule should have come.
                let after = after.unwrap_or_default().max(2 * pause);
                let mut failed = again(&format!("the digest is still to be posted: {cause}"), after);
                failed.end = Some(end);
                Err(failed)
            }
        }
    }

    /// Posts the one summary of an account whose first sweep succeeded, unless that was done.
    async fn tell_baseline(
        &self,
        plan: &SweepPlan,
        keys: &[Key],
        policy: &Policy,
        run: &Run,
        invocation: &Invocation,
    ) -> Result<(), String> {
        let account = &plan.account;
        let mut is_claimed = false;
        for _ in 0..TRIES {
            let known = self.ledger.account(account).await.map_err(|failure| failure.to_string())?;
            let Versioned { value: mut record, version } = known;
            if record.baseline_at.is_none() || record.baseline_told_at.is_some() {
                return Ok(());
            }
            let now = invocation.now();
            if let Some(Lease { by, until }) = &record.baseline_telling
                && *until > now
                && *by != invocation.session
            {
                return Err(format!("{by} is posting it until {until}"));
            }
            record.baseline_telling =
                Some(Lease { by: invocation.session.clone(), until: later(now, SENDING) });
            let saved = self.ledger.save_account(account, &record, version).await;
            if saved.map_err(|failure| failure.to_string())?.is_some() {
                is_claimed = true;
                break;
            }
        }
        if !is_claimed {
            return Err("the account's record keeps changing".to_owned());
        }
        let counts = baseline_counts(plan, keys, policy, invocation.now());
        let message =
            messages::baseline(account, &counts, policy.mode(account), &self.names(run), invocation.now());
        let time = self.deliver.time_to_send(invocation);
        let (ending, trouble) = self.deliver.to_channel(&message, time).await;
        let is_posted = matches!(ending, Ending::Done(_));
        let noted = self
            .change_account(account, |record| {
                record.baseline_telling = None;
                if is_posted {
                    record.baseline_told_at = Some(invocation.now());
                }
            })
            .await;
        match trouble {
            Some((cause, _)) => Err(cause.to_string()),
            None => noted.map_err(|failure| failure.to_string()),
        }
    }

    async fn run_of(&self, date: Date) -> Result<Versioned<Run>, Failure> {
        let cause =
            "it is not in the ledger; expected it there, since it is written before its messages are sent";
        let found = self.ledger.run(date).await?;
        found.ok_or_else(|| Failure::operators(format!("reading the run of {date}"), cause))
    }

    async fn change_run(&self, mut run: Versioned<Run>, change: impl Fn(&mut Run)) -> Result<(), Failure> {
        for _ in 0..TRIES {
            change(&mut run.value);
            if self.ledger.save_run(&run.value, run.version).await?.is_some() {
                return Ok(());
            }
            run = self.run_of(run.value.date).await?;
        }
        Err(Failure::retry("writing the run", format!("it changed {TRIES} times meanwhile")))
    }

    async fn change_account(
        &self,
        account: &AccountId,
        change: impl Fn(&mut AccountRecord),
    ) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let Versioned { value: mut record, version } = self.ledger.account(account).await?;
            change(&mut record);
            if self.ledger.save_account(account, &record, version).await?.is_some() {
                return Ok(());
            }
        }
        let cause = format!("it changed {TRIES} times meanwhile");
        Err(Failure::retry(format!("writing the record of {account}"), cause))
    }
}

/// Whether a `begin` of now is about this run, the latest. One of another date that has ended, and did not begin just
/// before, is over: it must not stand in the way of the next day's, hours after it was begun by hand.
fn is_about(run: &Run, now: Timestamp) -> bool {
    let same = if run.digest_at.is_some() { SAME_RUN_ENDED } else { SAME_RUN };
    run.date == utc_date(now) || now.duration_since(run.began_at) < same
}

fn task(run: Date, account: &AccountId) -> Result<String, Failure> {
    let task = Task::Account { run, account: account.clone() };
    serde_json::to_string(&task)
        .map_err(|error| Failure::operators(format!("writing the message for {account}"), error.to_string()))
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// What an account's first sweep entered.
fn baseline_counts(plan: &SweepPlan, keys: &[Key], policy: &Policy, now: Timestamp) -> BaselineCounts {
    let is_active = |key: &&Key| key.standing_word() == "Active";
    let is_over_age = |key: &&Key| {
        let Some(born) = key.born() else { return false };
        key.holder.subject.user().is_some()
            && whole_days(born, now) >= treatment_of(policy, key).life.disable_day
    };
    let has_nobody = |key: &&Key| {
        key.holder.subject.user().is_some()
            && key.owner.as_ref().and_then(|owner| owner.tags.slack_id()).is_none()
    };
    let roots = keys.iter().filter(|key| key.holder.subject == Subject::Root).count();
    // Root's keys have no ids in a credential report: a finding is all there is of them.
    let root_findings = plan.findings.iter().filter(|finding| finding.what == FindingKind::Root).count();
    BaselineCounts {
        keys: keys.len(),
        active: keys.iter().filter(is_active).count(),
        over_age: keys.iter().filter(is_active).filter(is_over_age).count(),
        root: roots.max(root_findings),
        without_owner: keys.iter().filter(has_nobody).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begin_is_about_the_latest_run_or_begins_the_next() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let about = |began: &str, ended: bool, now: &str| {
            let run = Run {
                date: utc_date(at(began)),
                began_at: at(began),
                previous_at: None,
                expected: BTreeMap::new(),
                left: BTreeMap::new(),
                queueing: None,
                queued_at: None,
                taken_up_at: None,
                telling: None,
                digest_at: ended.then(|| at(began)),
                totals: BTreeMap::new(),
            };
            is_about(&run, at(now))
        };
        // A day's second schedule, and one that is repeated.
        assert!(about("2026-06-02T06:00:00Z", true, "2026-06-02T09:00:00Z"));
        assert!(about("2026-06-02T00:10:00Z", true, "2026-06-02T23:00:00Z"), "a date has one run");
        for ended in [true, false] {
            assert!(about("2026-06-02T23:59:00Z", ended, "2026-06-03T00:01:00Z"), "repeated over midnight");
            assert!(about("2026-06-02T22:00:00Z", ended, "2026-06-03T01:00:00Z"), "the second over midnight");
            assert!(!about("2026-06-02T06:00:00Z", ended, "2026-06-03T06:00:00Z"), "the next day's");
        }
        // Begun by hand in the evening: it is over in the morning, or the morning's schedule ends it.
        assert!(!about("2026-06-02T22:00:00Z", true, "2026-06-03T06:00:00Z"));
        assert!(about("2026-06-02T22:00:00Z", false, "2026-06-03T06:00:00Z"));
    }
}
