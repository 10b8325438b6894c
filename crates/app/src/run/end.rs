//! A run's end: what all its accounts came to, told once.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use keytide_aws::{
    Failure,
    ledger::{Lease, Run, Versioned},
};
use keytide_core::{AccountId, AccountNames, delivery::Ending, lifecycle::utc_date};
use keytide_slack::{
    Post,
    messages::{self, Digest, DigestDisabled, Listed, Totals},
};

use super::{DisabledRow, Outcome, PolicyFailure, Rows, Runs, SENDING, TRIES, later, policy_in_force};
use crate::{Invocation, copy::Copy};

/// So many rows of each kind go into the digest, which shows no more.
const ROWS: usize = 15;
/// The age of a sweep that never was: as long ago as the ledger remembers, in hours.
const NEVER_HOURS: f64 = 400.0 * 24.0;

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The accounts expected.
    pub expected: usize,
    /// Of these, the ones that were swept whole.
    pub swept: usize,
    /// Accounts of which nothing was heard.
    pub silent: Vec<AccountId>,
    /// The age, in hours, of the latest successful sweep of the account where that is longest ago; an account
    /// that was never swept counts as 400 days.
    pub oldest_sweep_hours: f64,
    /// Whether a halt is set.
    pub is_halted: bool,
    /// What people decided for all accounts, to be kept outside the ledger.
    pub copy: Option<Box<Copy>>,
    /// What became of the digest.
    pub digest: DigestEnd,
}

/// What became of a run's digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestEnd {
    /// It was posted, now.
    Posted,
    /// It had been posted before.
    Already,
    /// Somebody else is posting it: come back after that, and see.
    Taken {
        /// Until when.
        until: Timestamp,
    },
    /// It could not be posted.
    Failed {
        /// Why.
        cause: String,
        /// When another try makes sense, if Slack said so.
        after: Option<Duration>,
    },
}

impl<P: Post> Runs<P> {
    /// Ends a run: posts its digest, unless that was done, naming what is missing.
    pub(super) async fn end(&self, run: Versioned<Run>, invocation: &Invocation) -> Result<End, Failure> {
        let date = run.value.date;
        let outcomes: Vec<Outcome> = self.ledger.outcomes(date).await?;
        let outcomes: BTreeMap<AccountId, Outcome> =
            outcomes.into_iter().map(|outcome| (outcome.account.clone(), outcome)).collect();
        let runs = self.ledger.latest_runs(5).await?;
        let previous =
            runs.into_iter().map(|run| run.value).find(|one| one.date < date && !one.totals.is_empty());
        let policy = match policy_in_force(&self.ledger).await {
            Ok(policy) => policy.hash().to_owned(),
            Err(PolicyFailure::Unreadable { .. }) => "UNREADABLE".to_owned(),
            Err(PolicyFailure::Ledger(failure)) => return Err(failure),
        };
        // Read only where there may be any.
        let late: Vec<Outcome> = match previous.as_ref().filter(|previous| previous.taken_up_at.is_some()) {
            Some(previous) => self.ledger.outcomes(previous.date).await?,
            None => Vec::new(),
        };
        let mut digest = compose(&run.value, &outcomes, previous.as_ref(), &late, policy, invocation.now());
        digest.unaccepted = self.ledger.acceptance().await?.unaccepted.map(|unaccepted| unaccepted.why);
        let oldest_sweep_hours = self.oldest_sweep_hours(&run.value, &outcomes, invocation.now()).await?;
        let halt = self.ledger.halt().await?.map(|found| found.value);
        let is_halted = halt.is_some();
        // What a ledger that nobody has accepted holds must not stand above what was known before.
        let copy = match digest.unaccepted {
            Some(_) => None,
            None => Some(Box::new(Copy::InForce {
                at: invocation.now(),
                policy: self.ledger.policy().await?.map(|found| found.value),
                halt,
            })),
        };
        let mut end = End {
            expected: digest.expected,
            swept: digest.swept,
            silent: digest.silent.rows.clone(),
            oldest_sweep_hours,
            is_halted,
            copy,
            digest: DigestEnd::Already,
        };
        end.digest = self.tell(run, &digest, invocation).await?;
        Ok(end)
    }

    /// How long ago the latest successful sweep is, of the account where that is longest.
    async fn oldest_sweep_hours(
        &self,
        run: &Run,
        outcomes: &BTreeMap<AccountId, Outcome>,
        now: Timestamp,
    ) -> Result<f64, Failure> {
        let mut oldest: f64 = 0.0;
        for account in run.expected.keys() {
            let swept_at = match outcomes.get(account) {
                Some(outcome) => outcome.swept_at,
                None => self.ledger.account(account).await?.value.swept_at,
            };
            let hours = swept_at.map_or(NEVER_HOURS, |at| now.duration_since(at).as_secs_f64() / 3_600.0);
            oldest = oldest.max(hours);
        }
        Ok(oldest)
    }

    /// Claims the digest, posts it, and records that: no two post it, unless the first one's claim ran out.
    async fn tell(
        &self,
        mut run: Versioned<Run>,
        digest: &Digest,
        invocation: &Invocation,
    ) -> Result<DigestEnd, Failure> {
        let date = run.value.date;
        let mut claimed = None;
        for _ in 0..TRIES {
            if run.value.digest_at.is_some() {
                return Ok(DigestEnd::Already);
            }
            let now = invocation.now();
            if let Some(Lease { by, until }) = &run.value.telling
                && *until > now
                && *by != invocation.session
            {
                return Ok(DigestEnd::Taken { until: *until });
            }
            run.value.telling = Some(Lease { by: invocation.session.clone(), until: later(now, SENDING) });
            claimed = self.ledger.save_run(&run.value, run.version).await?;
            if claimed.is_some() {
                break;
            }
            run = self.run_of(date).await?;
        }
        let Some(claimed) = claimed else {
            return Err(Failure::retry(format!("claiming the digest of {date}"), "the run keeps changing"));
        };
        let names = self.names(&claimed.value);
        let message = messages::digest(digest, &names, invocation.now());
        let time = self.deliver.time_to_send(invocation);
        let (ending, trouble) = self.deliver.to_channel(&message, time).await;
        let is_posted = matches!(ending, Ending::Done(_));
        let totals = BTreeMap::from([
            ("keys".to_owned(), digest.totals.keys as u64),
            ("active".to_owned(), digest.totals.active as u64),
            ("new".to_owned(), digest.totals.new as u64),
            ("notices".to_owned(), digest.totals.notices as u64),
        ]);
        let mut run = claimed;
        let mut failure = Failure::retry(format!("recording the digest of {date}"), "the run keeps changing");
        for turn in 0..TRIES {
            run.value.telling = None;
            if is_posted {
                run.value.digest_at = Some(invocation.now());
                run.value.totals.clone_from(&totals);
            }
            match self.ledger.save_run(&run.value, run.version).await {
                Ok(Some(_)) => {
                    return Ok(match trouble {
                        _ if is_posted => DigestEnd::Posted,
                        Some((cause, after)) => DigestEnd::Failed { cause: cause.to_string(), after },
                        None => DigestEnd::Failed { cause: "it was given up".to_owned(), after: None },
                    });
                }
                Ok(None) => {}
                Err(failed) => {
                    failure = failed;
                    tokio::time::sleep(Duration::from_millis(50 << turn)).await;
                }
            }
            match self.run_of(date).await {
                // Our own write, whose answer was lost, refuses the next one.
                Ok(read) if is_posted && read.value.digest_at.is_some() => return Ok(DigestEnd::Posted),
                Ok(read) => run = read,
                Err(failed) => failure = failed,
            }
        }
        // Posted and not recorded: the claim runs out, and it is posted once more. Better than never.
        Err(failure)
    }

    /// What people call the accounts: as it is configured, else as the organization has it.
    pub(super) fn names(&self, run: &Run) -> AccountNames {
        let configured = &self.deliver.settings.accounts;
        let name = |(id, name): (&AccountId, &String)| {
            let label = configured.label(id);
            // A comma would end the entry.
            let name = if label == id.as_str() { name.replace(',', " ") } else { label.to_owned() };
            let name: String = name.chars().filter(|letter| !letter.is_control()).take(50).collect();
            (!name.trim().is_empty()).then(|| format!("{id}={name}"))
        };
        let all: Vec<String> = run.expected.iter().chain(&run.left).filter_map(name).collect();
        AccountNames::parse(&all.join(",")).unwrap_or_else(|_| configured.clone())
    }
}

/// The digest of a run, of what its accounts came to so far, and of what was done `late` in those of the run before.
pub(super) fn compose(
    run: &Run,
    outcomes: &BTreeMap<AccountId, Outcome>,
    previous: Option<&Run>,
    late: &[Outcome],
    policy: String,
    now: Timestamp,
) -> Digest {
    let mut digest = Digest {
        date: run.date,
        // Those that left were to be swept the day before: gone is no silence, but it is said.
        expected: run.expected.len() + run.left.len(),
        policy,
        previous: previous.map(totals_of),
        ..Digest::default()
    };
    debug_assert!(run.date <= utc_date(now), "a run ends after it began");
    for account in run.left.keys() {
        // Short: the digest shows 160 characters.
        let cause = "gone from the list (it left, is suspended or closed, or is excluded): its keys stay in the \
                     ledger as they were";
        push(&mut digest.failed, (account.clone(), cause.to_owned()));
    }
    for account in run.expected.keys() {
        let Some(outcome) = outcomes.get(account) else {
            push(&mut digest.silent, account.clone());
            continue;
        };
        if outcome.is_whole() {
            digest.swept += 1;
            digest.totals.keys += outcome.keys;
            digest.totals.active += outcome.active;
            digest.totals.new += outcome.new;
        } else {
            let cause = outcome.failed.clone().unwrap_or_else(|| "no cause is known".to_owned());
            push(&mut digest.failed, (account.clone(), cause));
        }
        // What was done was done, in whatever account.
        digest.totals.notices += usize::try_from(outcome.told).unwrap_or(usize::MAX);
        digest.calls += outcome.calls;
        if !late.iter().any(|late| late.account == *account && late.late.count() > 0) {
            // Else the hours do open for a sweep.
            digest.closed_days = digest.closed_days.max(outcome.closed_days);
        }
        gather(&mut digest.disabled, &outcome.disabled_in_time(), |row| disabled_in(account, row));
        gather(&mut digest.held, &outcome.held, |row| (account.clone(), row.clone()));
        gather(&mut digest.findings, &outcome.findings, |row| (account.clone(), row.clone().into()));
        gather(&mut digest.undelivered, &outcome.undelivered, |(key_id, cause)| {
            (account.clone(), key_id.clone(), cause.clone())
        });
        // By date before any is left out: the nearest are shown.
        digest.upcoming.beyond += outcome.upcoming.beyond;
        digest.upcoming.rows.extend(outcome.upcoming.rows.iter().map(|row| (account.clone(), row.clone())));
        digest.upcoming.rows.sort_by(|(_, left), (_, right)| left.cmp(right));
        let too_many = digest.upcoming.rows.len().saturating_sub(ROWS);
        digest.upcoming.rows.truncate(ROWS);
        digest.upcoming.beyond += too_many;
    }
    for outcome in late {
        gather(&mut digest.disabled_late, &outcome.late, |row| disabled_in(&outcome.account, row));
    }
    digest
}

fn disabled_in(account: &AccountId, row: &DisabledRow) -> DigestDisabled {
    DigestDisabled {
        account: account.clone(),
        key_id: row.key_id.clone(),
        user: row.user.clone(),
        last_used: row.last_used,
        is_confirmed: row.is_confirmed,
    }
}

fn totals_of(run: &Run) -> Totals {
    let count =
        |name| run.totals.get(name).and_then(|count| usize::try_from(*count).ok()).unwrap_or_default();
    Totals { keys: count("keys"), active: count("active"), new: count("new"), notices: count("notices") }
}

/// One row more. Those that are not kept are counted. A name is worth more than a bound where accounts fail,
/// but a message of Slack is bounded all the same.
fn push<T>(listed: &mut Listed<T>, row: T) {
    if listed.rows.len() < ROWS {
        listed.rows.push(row);
    } else {
        listed.beyond += 1;
    }
}

fn gather<T, R>(listed: &mut Listed<T>, rows: &Rows<R>, of: impl Fn(&R) -> T) {
    for row in &rows.rows {
        push(listed, of(row));
    }
    listed.beyond += rows.beyond;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_that_opened_after_the_digest_before_are_not_called_closed_for_ever() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let account: AccountId = "111122223333".parse().unwrap();
        let run = Run {
            date: utc_date(at("2026-06-02T06:00:00Z")),
            began_at: at("2026-06-02T06:00:00Z"),
            previous_at: None,
            expected: [(account.clone(), "prod".to_owned())].into(),
            left: BTreeMap::new(),
            queueing: None,
            queued_at: None,
            taken_up_at: None,
            telling: None,
            digest_at: None,
            totals: BTreeMap::new(),
        };
        let now = at("2026-06-02T06:10:00Z");
        let mut held = Outcome::unread(&account, "", now);
        (held.closed, held.closed_days) = (1, 9);
        let closed_days = |late: &[Outcome]| {
            let outcomes = [(account.clone(), held.clone())].into();
            let digest = compose(&run, &outcomes, None, late, String::new(), now);
            (digest.closed_days, digest.disabled_late.count())
        };
        let mut before = Outcome::unread(&account, "", at("2026-06-01T09:00:00Z"));
        assert_eq!(closed_days(&[before.clone()]), (9, 0));
        before.late.beyond = 2;
        assert_eq!(closed_days(&[before.clone()]), (0, 2));
        before.account = "444455556666".parse().unwrap();
        assert_eq!(closed_days(&[before]), (9, 2), "of another account that says nothing");
    }

    #[test]
    fn what_was_disabled_late_is_the_next_digests() {
        let row = |key_id: &str| DisabledRow {
            key_id: key_id.to_owned(),
            user: "alice".to_owned(),
            last_used: None,
            is_confirmed: true,
        };
        let account: AccountId = "111122223333".parse().unwrap();
        let mut outcome = Outcome::unread(&account, "", Timestamp::UNIX_EPOCH);
        outcome.disabled = Rows { rows: vec![row("A"), row("B")], beyond: 3 };
        outcome.late = Rows { rows: vec![row("B")], beyond: 2 };
        assert_eq!(outcome.disabled_in_time(), Rows { rows: vec![row("A")], beyond: 1 });
    }
}
