//! What people decide: halt, resume, approve, exempt, another policy.
//!
//! Each reads what it stands on, and writes it over exactly that, together with the fact and the message that
//! tells the channel; whoever finds the message unfinished, which is the next sweep, sends it. A decision that
//! may not be taken, or that changes nothing, is refused and leaves no trace.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use keytide_aws::{
    Failure,
    ledger::{
        Accepted, Approval, Change, DisablesOf, Halt, Ledger, LedgerReader, PolicyInForce, Recorded,
        Versioned,
    },
};
use keytide_core::{
    AccountId, alert,
    decision::{self, Decided, Decision, MOST_CHANGES_KEPT, NotAllowed, PutBack},
    fact::{Fact, FactBody},
    key::Key,
    lifecycle::{Exemption, Phase, phase, utc_date},
    plan::{AccountState, HeldBy, SweepPlan, circumstances, obstacle, treatment_of},
    policy::{Mode, Policy},
    report::REPORT_LIFE,
};

/// A policy file has so many bytes at most: DynamoDB's items have 400 KB, and it stands in one.
pub const LARGEST_POLICY_BYTES: usize = 256 * 1024;
/// How often a decision is taken anew because what it stands on changed meanwhile.
const TRIES: u32 = 4;

/// Takes decisions, in one person's name.
#[derive(Debug)]
pub struct Decide {
    ledger: Ledger,
    author: String,
}

/// Why a decision was not taken. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// It may not be taken.
    #[error("{0}")]
    NotAllowed(#[from] NotAllowed),
    /// There is nothing that it could be about, or it changes nothing.
    #[error("{0}")]
    Refused(String),
    /// The ledger did not take it, so it is void.
    #[error("{0}: nothing was decided")]
    Failed(Failure),
}

impl From<Failure> for DecideError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Decide {
    /// `author`: as AWS named them.
    pub fn new(ledger: Ledger, author: String) -> Self {
        Self { ledger, author }
    }

    /// Nothing is disabled any more, anywhere. A halt over a halt is one more reason, and is told too.
    pub async fn halt(&self, reason: &str, now: Timestamp) -> Result<Decision, DecideError> {
        let reason = decision::reason(reason)?;
        let halt = Halt { reason: reason.clone(), author: self.author.clone(), at: now };
        for _ in 0..TRIES {
            let over = self.ledger.halt().await?.map_or(0, |known| known.version);
            let what = Decided::Halted { reason: reason.clone() };
            if let Some(taken) = self.take(Change::Halt(&halt), over, what, now).await? {
                return Ok(taken);
            }
        }
        Err(changing("the halt"))
    }

    /// Lifts the halt.
    pub async fn resume(&self, reason: &str, now: Timestamp) -> Result<Decision, DecideError> {
        let reason = decision::reason(reason)?;
        for _ in 0..TRIES {
            let Some(known) = self.ledger.halt().await? else {
                return Err(DecideError::Refused(
                    "nothing is halted, so there is nothing to resume".to_owned(),
                ));
            };
            let what = Decided::Resumed { reason: reason.clone() };
            if let Some(taken) = self.take(Change::Resume, known.version, what, now).await? {
                return Ok(taken);
            }
        }
        Err(changing("the halt"))
    }

    /// Goes by the ledger again, in the table where it is now: one that was restored, replaced or made for the first
    /// time. Every key's notices begin anew.
    pub async fn accept(&self, reason: &str, now: Timestamp) -> Result<Decision, DecideError> {
        let reason = decision::reason(reason)?;
        let table_id = self.ledger.table_id().await?;
        let author = self.author.clone();
        let accepted = Accepted { table_id: table_id.clone(), reason: reason.clone(), author, at: now };
        for _ in 0..TRIES {
            let known = self.ledger.accepted().await?;
            if let Some(Versioned { value: known, .. }) = &known
                && known.table_id == table_id
            {
                return Err(DecideError::Refused(format!(
                    "this table is accepted since {}, by {}: nothing is held back for it",
                    known.at, known.author
                )));
            }
            let over = known.map_or(0, |known| known.version);
            let what = Decided::LedgerAccepted { table_id: table_id.clone(), reason: reason.clone() };
            if let Some(taken) = self.take(Change::Accept(&accepted), over, what, now).await? {
                return Ok(taken);
            }
        }
        Err(changing("the ledger's acceptance"))
    }

    /// Lets a plan through beyond its account's cap, or, where that does not hold it, the organization's: the plan
    /// as it is now, and only if that is the one that the person means.
    pub async fn approve(
        &self,
        plan: &SweepPlan,
        hash: &str,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Decision, DecideError> {
        let account = &plan.account;
        let of_account = plan.held.iter().filter(|held| matches!(held.by, HeldBy::AccountCap { .. })).count();
        let done = self.ledger.disabled_on(DisablesOf::Organization, utc_date(now)).await?;
        let left =
            usize::try_from(policy.caps().organization_per_day.saturating_sub(done)).unwrap_or(usize::MAX);
        // Where both caps hold keys, each set has its own name.
        let below = plan.hash_of(plan.disables.iter().map(|one| one.key_id.as_str()));
        let is_below = plan.disables.len() > left && (of_account == 0 || hash == below);
        let capped = if is_below { plan.disables.len() } else { of_account };
        if capped == 0 {
            return Err(DecideError::Refused(format!(
                "nothing in {account} is held back by a cap now, so there is nothing to approve"
            )));
        }
        if hash != if is_below { below } else { plan.hash() } {
            return Err(DecideError::Refused(format!(
                "the plan of {account} is {} now, not the one given: look at it, then approve that one",
                plan.hash()
            )));
        }
        let approval = Approval { plan: hash.to_owned(), author: self.author.clone(), at: now };
        if self.ledger.approval(account, hash).await?.is_some() {
            return Err(DecideError::Refused(format!("this plan of {account} is approved already")));
        }
        let what = Decided::Approved { account: account.clone(), plan: hash.to_owned(), disables: capped };
        let taken = self.take(Change::Approve(account, &approval), 0, what, now).await?;
        taken
            .ok_or_else(|| DecideError::Refused(format!("somebody approved this plan of {account} just now")))
    }

    /// Exempts a key until then.
    pub async fn exempt(
        &self,
        account: &AccountId,
        key_id: &str,
        until: Timestamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<Decision, DecideError> {
        for _ in 0..TRIES {
            let over = self.ledger.exemption(account, key_id).await?.map_or(0, |known| known.version);
            let exemption = decision::exemption(reason, &self.author, until, now)?;
            if let Some(taken) = self.exempt_over(over, (account, key_id), exemption, now).await? {
                return Ok(taken);
            }
        }
        Err(changing("the exemption"))
    }

    async fn exempt_over(
        &self,
        over_version: u64,
        (account, key_id): (&AccountId, &str),
        exemption: Exemption,
        now: Timestamp,
    ) -> Result<Option<Decision>, DecideError> {
        let key = self.key(account, key_id).await?;
        let user = match key.holder.subject.user() {
            Some(user) if !key.is_closed() => user.to_owned(),
            Some(_) => return Err(DecideError::Refused(format!("{key_id} is deleted: nothing to exempt"))),
            None => {
                return Err(DecideError::Refused(format!(
                    "{key_id} is no user's key: keytide never disables such a one, so there is nothing to exempt"
                )));
            }
        };
        let what = Decided::Exempted {
            account: account.clone(),
            key_id: key_id.to_owned(),
            user,
            exemption: exemption.clone(),
        };
        self.take(Change::Exempt(account, key_id, &exemption), over_version, what, now).await
    }

    /// Exempts a key again, for as long and for the same reason as the copy of a lost ledger says, where
    /// [`decision::put_back`] says so. It is a decision of whoever puts it back, and told as one.
    pub async fn restore_exemption(
        &self,
        account: &AccountId,
        key_id: &str,
        was: &Exemption,
        now: Timestamp,
    ) -> Result<PutBack, DecideError> {
        for _ in 0..TRIES {
            let known = self.ledger.exemption(account, key_id).await?;
            let good_for = decision::put_back(was, known.as_ref().map(|known| &known.value), now);
            let PutBack::Until(until) = good_for else { return Ok(good_for) };
            if self.is_gone(account, key_id, was.granted_at).await? {
                return Ok(PutBack::Gone);
            }
            let over = known.map_or(0, |known| known.version);
            let exemption = decision::as_put_back(was, until, &self.author)?;
            let taken = self.exempt_over(over, (account, key_id), exemption, now).await?;
            if taken.is_some() {
                return Ok(good_for);
            }
        }
        Err(changing("the exemption"))
    }

    /// Whether a key that was there at that time is deleted: the ledger says so, or does not know the key though
    /// everybody in the account was listed since, by a credential report that was made since.
    async fn is_gone(
        &self,
        account: &AccountId,
        key_id: &str,
        was_there: Timestamp,
    ) -> Result<bool, DecideError> {
        if let Some(key) = self.ledger.key(account, key_id).await? {
            return Ok(key.value.is_closed());
        }
        let listed_all_at = self.ledger.account(account).await?.value.listed_all_at;
        Ok(listed_all_at.is_some_and(|at| at.duration_since(was_there) > REPORT_LIFE))
    }

    /// Ends a key's exemption now. It stays in the ledger as one that ended: its end begins the key's arming
    /// epoch, so that no notice from before it licenses a disable.
    pub async fn end_exemption(
        &self,
        account: &AccountId,
        key_id: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Decision, DecideError> {
        let reason = decision::reason(reason)?;
        for _ in 0..TRIES {
            let known = self.ledger.exemption(account, key_id).await?;
            let Some(known) = known.filter(|known| known.value.ends(now) > now) else {
                return Err(DecideError::Refused(format!(
                    "{key_id} in {account} is not exempt: see `keytide exempt list`"
                )));
            };
            let user = self.key(account, key_id).await?.holder.subject.user().unwrap_or_default().to_owned();
            let ended = Exemption { until: now, ..known.value.clone() };
            let what = Decided::ExemptionRemoved {
                account: account.clone(),
                key_id: key_id.to_owned(),
                user,
                exemption: known.value,
                reason: reason.clone(),
            };
            let change = Change::Exempt(account, key_id, &ended);
            if let Some(taken) = self.take(change, known.version, what, now).await? {
                return Ok(taken);
            }
        }
        Err(changing("the exemption"))
    }

    /// Puts a policy into force over the one that `comparison` was made with.
    pub async fn apply_policy(
        &self,
        text: &str,
        policy: &Policy,
        comparison: &Comparison,
        now: Timestamp,
    ) -> Result<Decision, DecideError> {
        if text.len() > LARGEST_POLICY_BYTES {
            return Err(DecideError::Refused(format!(
                "the policy has {} bytes: expected {LARGEST_POLICY_BYTES} at most",
                text.len()
            )));
        }
        let hash = policy.hash().to_owned();
        let before = &comparison.before;
        if before.hash.as_ref() == Some(&hash) {
            return Err(DecideError::Refused(format!("the policy in force says the same already ({hash})")));
        }
        let in_force =
            PolicyInForce { text: text.to_owned(), hash: hash.clone(), author: self.author.clone(), at: now };
        let mut changes = comparison.lines();
        let beyond = changes.len().saturating_sub(MOST_CHANGES_KEPT);
        changes.truncate(MOST_CHANGES_KEPT);
        if beyond > 0 {
            changes.push(format!("and {beyond} more"));
        }
        let what = Decided::PolicyApplied { old_hash: before.hash.clone(), new_hash: hash, changes };
        let taken = self.take(Change::Policy(&in_force), before.version, what, now).await?;
        taken.ok_or_else(|| {
            DecideError::Refused(
                "somebody put another policy in force meanwhile: see what would change now, and apply it again"
                    .to_owned(),
            )
        })
    }

    async fn key(&self, account: &AccountId, key_id: &str) -> Result<Key, DecideError> {
        let known = self.ledger.key(account, key_id).await?;
        known.map(|known| known.value).ok_or_else(|| {
            DecideError::Refused(format!(
                "the ledger knows no key {key_id} in {account}: see `keytide ledger list --account {account}`"
            ))
        })
    }

    /// Writes a decision with its message; `None` where what it stands on has changed.
    async fn take(
        &self,
        change: Change<'_>,
        over_version: u64,
        what: Decided,
        now: Timestamp,
    ) -> Result<Option<Decision>, DecideError> {
        let decision = Decision { author: self.author.clone(), at: now, what };
        let id = decision.fact_id();
        let announcement = alert::for_decision(&id, &decision);
        let messages = announcement.deliveries(&id, now);
        let Some(message) = messages.first() else {
            return Err(DecideError::Refused("it would be told to nobody".to_owned()));
        };
        let body = FactBody::Decided { decision: Box::new(decision.clone()) };
        let in_force = self.ledger.policy().await?;
        let policy = in_force.map(|in_force| in_force.value.hash);
        let fact = Fact { policy, ..Fact::new(id, now, body) };
        Ok(match self.ledger.decide(change, over_version, &fact, message).await? {
            // Already there: our own write, whose answer was lost.
            Recorded::Written | Recorded::AlreadyThere => Some(decision),
            Recorded::StateChanged => None,
        })
    }
}

fn changing(what: &str) -> DecideError {
    DecideError::Failed(Failure::retry(format!("deciding over {what}"), format!("it changed {TRIES} times")))
}

/// The policy in force, for a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The policy.
    pub policy: Policy,
    /// Its hash, as it was stored; `None`: the built-in one holds.
    pub hash: Option<String>,
    /// The version that it has in the ledger; 0: none was ever applied.
    pub version: u64,
}

/// Reads the policy in force. One that cannot be read is a failure, and never the built-in one instead.
pub async fn policy_in_force(ledger: &LedgerReader) -> Result<InForce, Failure> {
    let Some(Versioned { value, version }) = ledger.policy().await? else {
        return Ok(InForce { policy: Policy::built_in(), hash: None, version: 0 });
    };
    let policy = Policy::parse(&value.text).map_err(|problems| {
        let count = problems.as_slice().len();
        Failure::operators(
            "reading the policy in force",
            format!("this version of keytide finds {count} problems in it: apply one that it can read"),
        )
    })?;
    Ok(InForce { policy, hash: Some(value.hash), version })
}

/// What a policy would change for today's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The policy in force.
    pub before: InForce,
    /// Accounts whose mode changes.
    pub modes: Vec<(AccountId, Mode, Mode)>,
    /// Keys whose dates or dues change.
    pub keys: Vec<KeyChange>,
    /// How many keys were looked at that have a date under one of the two.
    pub looked_at: usize,
}

/// What a policy would change for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// Its account.
    pub account: AccountId,
    /// The key.
    pub key_id: String,
    /// Its user.
    pub user: String,
    /// Under the policy in force.
    pub before: Outlook,
    /// Under the other.
    pub after: Outlook,
}

/// What a policy makes of one key today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// How far its account goes.
    pub mode: Mode,
    /// The rule that it falls under; `None`: the defaults.
    pub rule: Option<String>,
    /// Where it stands; `None`: it has no date, being exempt or not active.
    pub due: Option<Due>,
}

/// A key's dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The earliest date on which it may be disabled.
    pub disable_on: jiff::civil::Date,
    /// A notice is due now.
    pub notice: bool,
    /// It is to be disabled now, caps aside.
    pub disable: bool,
}

impl Comparison {
    /// A line for each account and key that changes.
    pub fn lines(&self) -> Vec<String> {
        let modes = self.modes.iter().map(|(account, from, to)| format!("{account}: {from} becomes {to}"));
        modes.chain(self.keys.iter().map(ToString::to_string)).collect()
    }

    /// How many keys are newly due for a notice, and how many for a disable.
    pub fn newly_due(&self) -> (usize, usize) {
        let is = |outlook: &Outlook, of: fn(&Due) -> bool| outlook.due.as_ref().is_some_and(of);
        let newly = |of: fn(&Due) -> bool| {
            self.keys.iter().filter(|key| is(&key.after, of) && !is(&key.before, of)).count()
        };
        (newly(|due| due.notice), newly(|due| due.disable))
    }
}

impl std::fmt::Display for KeyChange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { account, key_id, user, before, after } = self;
        let date = |outlook: &Outlook| {
            outlook.due.as_ref().map_or_else(|| "no date".to_owned(), |due| due.disable_on.to_string())
        };
        let would = if after.mode == Mode::Enforce { "disabled" } else { "would be disabled" };
        write!(out, "{key_id} of {user} in {account}: {would} on {}, not {}", date(after), date(before))?;
        let rule = |outlook: &Outlook| outlook.rule.clone().unwrap_or_else(|| "the defaults".to_owned());
        if before.rule != after.rule {
            write!(out, "; by {}, not {}", rule(after), rule(before))?;
        }
        let (was, is) = (before.due.as_ref(), after.due.as_ref());
        if is.is_some_and(|due| due.notice) && !was.is_some_and(|due| due.notice) {
            out.write_str("; a notice is due at once")?;
        }
        if is.is_some_and(|due| due.disable) && !was.is_some_and(|due| due.disable) {
            out.write_str("; due to be disabled at once")?;
        }
        Ok(())
    }
}

/// Compares a policy with the one in force, over the keys as the ledger has them. AWS is not asked: what a
/// sweep would first find out is not in it.
pub async fn compare(ledger: &LedgerReader, after: &Policy, now: Timestamp) -> Result<Comparison, Failure> {
    let before = policy_in_force(ledger).await?;
    let mut by_account: BTreeMap<AccountId, Vec<Key>> = BTreeMap::new();
    for Versioned { value, .. } in ledger.all_keys().await? {
        by_account.entry(value.account.clone()).or_default().push(value);
    }
    let named = before.policy.accounts_named().keys().chain(after.accounts_named().keys());
    let accounts: BTreeSet<AccountId> = named.chain(by_account.keys()).cloned().collect();
    let modes = accounts
        .into_iter()
        .map(|account| {
            let (from, to) = (before.policy.mode(&account), after.mode(&account));
            (account, from, to)
        })
        .filter(|(_, from, to)| from != to)
        .collect();
    let mut comparison = Comparison { before, modes, keys: Vec::new(), looked_at: 0 };
    let halt = ledger.halt().await?.map(|halt| halt.value.reason);
    let acceptance = ledger.acceptance().await?;
    for (account, mut keys) in by_account {
        keys.sort_by(|left, right| left.key_id.cmp(&right.key_id));
        let record = ledger.account(&account).await?.value;
        let state = AccountState {
            exemptions: ledger.exemptions(&account).await?,
            account,
            keys: Vec::new(),
            baseline_at: record.baseline_at,
            enforced_since: record.enforced_since,
            restored_at: acceptance.at,
            unaccepted: acceptance.unaccepted.clone(),
            disabled_today: 0,
            halt: halt.clone(),
            approved: Vec::new(),
        };
        for key in &keys {
            let was = outlook(&comparison.before.policy, &state, key, now);
            let is = outlook(after, &state, key, now);
            comparison.looked_at += usize::from(was.due.is_some() || is.due.is_some());
            if was.due != is.due || (is.due.is_some() && was.rule != is.rule) {
                comparison.keys.push(KeyChange {
                    account: state.account.clone(),
                    key_id: key.key_id.clone(),
                    user: key.holder.subject.user().unwrap_or_default().to_owned(),
                    before: was,
                    after: is,
                });
            }
        }
    }
    Ok(comparison)
}

fn outlook(policy: &Policy, state: &AccountState, key: &Key, now: Timestamp) -> Outlook {
    let mode = state.mode(policy);
    // As the next sweep has it: entering `enforce` begins an epoch, and leaving it ends that.
    let enforced_since = match policy.mode(&state.account) {
        Mode::Enforce => state.enforced_since.or(Some(now)),
        Mode::Observe | Mode::Notify => None,
    };
    let state = AccountState { enforced_since, ..state.clone() };
    let treatment = treatment_of(policy, key);
    let around = circumstances(&state, policy, key, &treatment, now);
    let due = match phase(key, &around) {
        Phase::Running(clock) => Some(Due {
            disable_on: clock.disable_on.max(utc_date(now)),
            notice: clock.notice.is_some(),
            disable: clock.licence.is_some()
                && obstacle(&clock, &around, true, mode, (&state, policy)).is_none(),
        }),
        _ => None,
    };
    Outlook { mode, rule: treatment.rule, due }
}
