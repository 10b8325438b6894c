//! One account's sweep: observed, planned, and carried out.
//!
//! *Observe* reads (the ledger, the credential report, the keys of the users that matter), *plan* decides
//! ([`keytide_core::plan`], pure), *apply* does it: it records what no event told, tells owners and the
//! channel, and disables. An [`Observer`] holds nothing that can write, and a dry run has nothing else.
//!
//! One key, one user, one message failing stops nothing else. What failed is in [`Swept::troubles`], and a
//! sweep with troubles is not a success.

mod disable;
mod notify;
mod observe;
mod of_account;
mod record;

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream};
use jiff::{SignedDuration, Timestamp};
use keytide_aws::{
    Failure,
    disabler::Disabler,
    ledger::{AccountRecord, Lease, Ledger, PolicyInForce, Versioned},
};
use keytide_core::{
    AccountId,
    lifecycle::Exemption,
    plan::{HeldDisable, SweepPlan},
    policy::{Mode, Policy},
};
use keytide_slack::Post;

pub use self::observe::{Observed, Observer};
use crate::{Invocation, deliver::Deliver};

/// Sweeps accounts.
#[derive(Debug)]
pub struct Sweep<P> {
    observer: Observer,
    ledger: Ledger,
    deliver: Deliver<P>,
    disabler: Option<Disabler>,
    leaves_events: bool,
}

/// What a sweep of one account did.
#[derive(Debug)]
pub struct Swept {
    /// What it set out to do.
    pub plan: SweepPlan,
    /// Keys that it disabled, and whether IAM showed them as Inactive.
    pub disabled: Vec<(String, bool)>,
    /// Disables that turned out, when everything was read afresh, not to be allowed.
    pub refused: Vec<HeldDisable>,
    /// Keys that it was to disable and that turned out, read afresh, to be gone or not active.
    pub moot: Vec<String>,
    /// How many keys were told of.
    pub told: u64,
    /// What could not be done, with the key where it was about one.
    pub troubles: Vec<Trouble>,
    /// When the account's stock was taken; `None`: by this sweep.
    pub baseline_at: Option<Timestamp>,
    /// Calls to IAM, by operation.
    pub calls: BTreeMap<&'static str, u64>,
    /// The account's exemptions that have not ended, as they were read; `None`: of a ledger that nobody has accepted,
    /// which may have forgotten some.
    pub exemptions: Option<BTreeMap<String, Exemption>>,
}

/// Something that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{cause}", .key_id.as_ref().map(|key_id| format!("{key_id}: ")).unwrap_or_default())]
pub struct Trouble {
    /// The key that it was about.
    pub key_id: Option<String>,
    /// What kept it.
    pub cause: String,
}

impl Trouble {
    fn of(key_id: &str, cause: impl Into<String>) -> Self {
        Self { key_id: Some(key_id.to_owned()), cause: cause.into() }
    }

    fn general(cause: impl std::fmt::Display) -> Self {
        Self { key_id: None, cause: cause.to_string() }
    }
}

/// Why an account was not swept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    /// Somebody else is at it.
    #[error("{account} is being swept by {by} until {until}")]
    Taken {
        /// The account.
        account: AccountId,
        /// Who.
        by: String,
        /// Until when.
        until: Timestamp,
    },
    /// AWS is still making its credential report: come back in some seconds. Nothing was done.
    #[error("the credential report of {account} is still being made: come back for it")]
    ReportInTheMaking {
        /// The account.
        account: AccountId,
    },
    /// It could not be looked at: nothing was planned and nothing was done.
    #[error("{0}")]
    Unreadable(Failure),
}

/// How long one sweep of an account may hold it: as long as an invocation lasts, and a claim to disable that it made
/// at its end. Whoever has the account next finds none of those still open.
const LEASE: SignedDuration = SignedDuration::from_mins(25);
/// Items of the ledger that are written side by side.
const AT_ONCE: usize = 16;
/// How often the account's record is written anew because somebody else was faster.
const TRIES: u32 = 6;

impl<P: Post> Sweep<P> {
    /// With everything that a sweep needs.
    pub fn new(observer: Observer, ledger: Ledger, deliver: Deliver<P>, disabler: Disabler) -> Self {
        Self { observer, ledger, deliver, disabler: Some(disabler), leaves_events: false }
    }

    /// Without anything that could disable: it tells and records.
    pub fn without_disabler(observer: Observer, ledger: Ledger, deliver: Deliver<P>) -> Self {
        Self { observer, ledger, deliver, disabler: None, leaves_events: false }
    }

    /// By hand: what events called for stays the functions' to tell, since old events are never posted by hand.
    #[must_use]
    pub fn by_hand(mut self) -> Self {
        self.leaves_events = true;
        self
    }

    /// Sweeps one account; `visit` says how often that was tried in this run, this time included.
    pub async fn account(
        &self,
        account: &AccountId,
        name: Option<&str>,
        policy: &Policy,
        visit: u32,
        invocation: &Invocation,
    ) -> Result<Swept, SweepError> {
        let taken = self.take(account, name, policy, invocation).await?;
        // What is owed already must go out of an account that cannot be read any more, too.
        let ((open_disables, mut troubles), observed) = tokio::join!(
            Box::pin(self.finish_unfinished(account, invocation)),
            Box::pin(self.observer.observe(account, policy, visit, invocation)),
        );
        let mut observed = match observed {
            Ok(observed) => observed,
            Err(error) => {
                if let Err(trouble) = self.release(account, taken, invocation, |_| {}).await {
                    tracing::error!(%account, %trouble, "an account was not given back");
                }
                return Err(error);
            }
        };
        troubles.extend(observed.troubles.iter().cloned());
        if let Some(unaccepted) = &observed.state.unaccepted {
            troubles.extend(self.tell_unaccepted(unaccepted, invocation).await.err());
        }
        let mut plan = observed.plan(policy, invocation.now());
        // What is said must not say more than what is done.
        let (as_written, policy) = (policy, &policy.at_most(plan.mode));
        let (is_any, untold) = self.mark_what_was_said(&mut observed, &plan, invocation).await;
        troubles.extend(untold);
        if is_any {
            plan = observed.plan(as_written, invocation.now());
        }
        let mut swept = Swept {
            disabled: Vec::new(),
            refused: Vec::new(),
            moot: Vec::new(),
            told: 0,
            troubles,
            baseline_at: observed.state.baseline_at,
            calls: BTreeMap::new(),
            exemptions: observed.state.unaccepted.is_none().then(|| observed.state.exemptions.clone()),
            plan,
        };
        self.record_changes(&observed, &open_disables, &mut swept, policy, invocation).await;
        for (place, claim) in &open_disables {
            let finished = self.finish_disable(place, claim, &mut swept, policy, invocation).await;
            swept.troubles.extend(finished.err());
        }
        self.tell_of_account(&mut swept, invocation).await;
        self.notify(&mut swept, policy, invocation).await;
        self.disable(&observed, &mut swept, policy, &taken.value, invocation).await;
        self.tell_of_organization_cap(&mut swept, invocation).await;
        self.notify_refused(&mut swept, policy, invocation).await;
        swept.calls = observed.inventory.calls();
        let now = invocation.now();
        if let Some(exemptions) = &mut swept.exemptions {
            exemptions.retain(|_, exemption| exemption.ends(now) > now);
        }
        let is_success = swept.troubles.is_empty();
        let released = self.release(account, taken, invocation, |record| {
            // Stock was taken once, even if not everybody could be read: see `AccountState::is_stock`.
            record.baseline_at = record.baseline_at.or(Some(observed.at));
            if is_success {
                // The beginning: what happened since is for the next sweep.
                record.swept_at = Some(observed.at);
                if observed.is_everybody {
                    record.listed_all_at = Some(observed.at);
                }
                // Only now: a user who changed and could not be read counts as changed the next time too.
                if let Some((made_at, rows)) = &observed.report_rows {
                    record.report_at = Some(*made_at);
                    record.report_rows.clone_from(rows);
                }
            }
        });
        swept.troubles.extend(released.await.err());
        Ok(swept)
    }

    /// Takes the right to sweep the account, and notes since when it is in `enforce`.
    async fn take(
        &self,
        account: &AccountId,
        name: Option<&str>,
        policy: &Policy,
        invocation: &Invocation,
    ) -> Result<Versioned<AccountRecord>, SweepError> {
        let (in_force, first) = tokio::join!(self.ledger.policy(), self.ledger.account(account));
        let in_force = in_force.map_err(SweepError::Unreadable)?;
        // Of the policy at hand, not of one that came after it: that one is still to be noted.
        let policy_version =
            in_force.filter(|in_force| is_of(in_force, policy)).map(|in_force| in_force.version);
        let mut read = first;
        for _ in 0..TRIES {
            let Versioned { value: mut record, version } = read.map_err(SweepError::Unreadable)?;
            let left_meanwhile = self.left_enforce(account, record.policy_version, policy_version).await;
            if left_meanwhile.map_err(SweepError::Unreadable)? {
                record.enforced_since = None;
            }
            record.policy_version = policy_version.or(record.policy_version);
            let now = invocation.now();
            if let Some(Lease { by, until }) = record.lease.take()
                && until > now
                && by != invocation.session
            {
                return Err(SweepError::Taken { account: account.clone(), by, until });
            }
            let until = now.saturating_add(LEASE).unwrap_or(Timestamp::MAX);
            record.lease = Some(Lease { by: invocation.session.clone(), until });
            record.name = name.map(str::to_owned).or(record.name);
            // A first notice in `enforce` must come before any disable: entering it begins an epoch.
            record.enforced_since = match (policy.mode(account), record.enforced_since) {
                (Mode::Enforce, None) => Some(now),
                (Mode::Enforce, since) => since,
                (Mode::Observe | Mode::Notify, _) => None,
            };
            let saved = self.ledger.save_account(account, &record, version).await;
            if let Some(taken) = saved.map_err(SweepError::Unreadable)? {
                return Ok(taken);
            }
            read = self.ledger.account(account).await;
        }
        let cause = format!("it changed {TRIES} times meanwhile");
        Err(SweepError::Unreadable(Failure::retry(format!("taking the record of {account}"), cause)))
    }

    /// Whether a policy that came and went between two sweeps had taken the account out of `enforce`: then it
    /// has entered it anew. A policy that cannot be read any more counts as one.
    async fn left_enforce(
        &self,
        account: &AccountId,
        noted: Option<u64>,
        now: Option<u64>,
    ) -> Result<bool, Failure> {
        let (Some(noted), Some(now)) = (noted, now) else { return Ok(false) };
        if now < noted {
            // It was taken away and begun anew: nothing tells what held meanwhile.
            return Ok(true);
        }
        if now <= noted + 1 {
            return Ok(false);
        }
        let policies = self.ledger.policies().await?;
        // One that is not kept any more counts as one that did.
        Ok((noted + 1..now).any(|version| {
            let unseen = policies.iter().find(|applied| applied.version == version);
            let policy = unseen.and_then(|unseen| Policy::parse(&unseen.value.text).ok());
            policy.is_none_or(|policy| policy.mode(account) != Mode::Enforce)
        }))
    }

    /// Gives the account back, as it was taken and with what is new about it. Failing to costs a wait: the lease runs
    /// out, and what was done is recorded with the keys. But the sweep was not one that succeeded.
    async fn release(
        &self,
        account: &AccountId,
        taken: Versioned<AccountRecord>,
        invocation: &Invocation,
        change: impl Fn(&mut AccountRecord),
    ) -> Result<(), Trouble> {
        let mut known = Ok(taken);
        let mut cause = format!("it changed {TRIES} times meanwhile");
        for turn in 0..TRIES {
            let saved = match known {
                Ok(Versioned { value: mut record, version }) => {
                    change(&mut record);
                    if record.lease.as_ref().is_some_and(|lease| lease.by == invocation.session) {
                        record.lease = None;
                    }
                    self.ledger.save_account(account, &record, version).await
                }
                Err(failure) => Err(failure),
            };
            match saved {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(failure) => {
                    cause = failure.to_string();
                    tokio::time::sleep(Duration::from_millis(50 << turn)).await;
                }
            }
            known = self.ledger.account(account).await;
        }
        Err(Trouble::general(format!("the account's record could not be written: {cause}")))
    }
}

/// Whether what is in force is this policy, as this program reads it: another version of keytide may have stored it
/// with another hash.
fn is_of(in_force: &Versioned<PolicyInForce>, policy: &Policy) -> bool {
    Policy::parse(&in_force.value.text).is_ok_and(|parsed| parsed.hash() == policy.hash())
}

/// Does what waits for the ledger side by side, some at a time, and gives what came of each in its order.
async fn side_by_side<T>(work: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    some_at_once(AT_ONCE, work).await
}

/// The same, with another number at a time.
async fn some_at_once<T>(most: usize, work: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(work).buffered(most).collect().await
}
