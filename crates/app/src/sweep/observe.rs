//! Reading one account: what the ledger knows, what IAM shows. Nothing here can write.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use keytide_aws::{
    Failure,
    inventory::{Inventory, Report},
    ledger::{AccountRecord, DisablesOf, LedgerReader, Versioned},
    member::Members,
};
use keytide_core::{
    AccountId,
    digest::sha256_hex,
    key::Key,
    lifecycle::utc_date,
    plan::{AccountState, Observations, SeenUser, SweepPlan, UserRow, needs, plan},
    policy::Policy,
    report::{Row, Whose},
};
use tokio::time::Instant;

use super::{SweepError, Trouble};
use crate::Invocation;

/// Calls to IAM at once: enough to wait for several, few enough for one account's share of them.
const AT_ONCE: usize = 16;

/// So often an account is come back to for its credential report.
const MOST_VISITS: u32 = 5;

/// Reads accounts. It has no writer.
#[derive(Debug)]
pub struct Observer {
    ledger: LedgerReader,
    members: Members,
}

/// One account, as it stood.
#[derive(Debug)]
pub struct Observed {
    /// When the observation began.
    pub at: Timestamp,
    /// What the ledger held.
    pub state: AccountState,
    /// What IAM showed.
    pub seen: Observations,
    /// What could not be read. The rest stands.
    pub troubles: Vec<Trouble>,
    pub(super) report_rows: Option<(Timestamp, BTreeMap<String, String>)>,
    pub(super) is_everybody: bool,
    pub(super) inventory: Inventory,
}

impl Observed {
    /// What a sweep would do.
    pub fn plan(&self, policy: &Policy, now: Timestamp) -> SweepPlan {
        plan(&self.state, &self.seen, policy, now)
    }
}

impl Observer {
    /// Over this ledger, into these accounts.
    pub fn new(ledger: LedgerReader, members: Members) -> Self {
        Self { ledger, members }
    }

    /// Reads what a sweep needs. An account that cannot be entered, or a ledger that cannot be read, is a
    /// failure; a user that cannot be read is a trouble, and the others are read.
    ///
    /// `visit` counts from 1. A credential report that is still being made is come back for, and not waited
    /// for; at the last visit everybody is listed instead.
    pub async fn observe(
        &self,
        account: &AccountId,
        policy: &Policy,
        visit: u32,
        invocation: &Invocation,
    ) -> Result<Observed, SweepError> {
        let at = invocation.now();
        let entering = async {
            let inventory = Inventory::open(&self.members, account, at).await?;
            // Not waited for: one that is being made is come back for.
            let report = inventory.credential_report(at, Instant::now()).await;
            Ok::<_, Failure>((inventory, report))
        };
        // The first visit mostly asks for the report, and goes: the account's keys are not read for that.
        let ((inventory, report), state) = if visit <= 1 {
            let entered = entering.await.map_err(SweepError::Unreadable)?;
            if matches!(entered.1, Report::StillBeingMade) {
                return Err(SweepError::ReportInTheMaking { account: account.clone() });
            }
            (entered, Box::pin(self.state(account, at)).await)
        } else {
            let (entered, state) = tokio::join!(entering, self.state(account, at));
            (entered.map_err(SweepError::Unreadable)?, state)
        };
        let (state, record) = state.map_err(SweepError::Unreadable)?;
        let mut troubles = Vec::new();
        let (rows, report_rows, root_keys) = match report {
            Report::Fresh { generated_at, report } => {
                for problem in &report.bad_rows {
                    troubles.push(Trouble::general(format!("the credential report: {problem}")));
                }
                let root = report.root().map(|root| {
                    let active = root.slots.iter().filter(|slot| slot.active);
                    active.map(|slot| slot.last_rotated).collect()
                });
                let (rows, marks) = compared(&report.rows, &record.report_rows);
                (Some(rows), Some((generated_at, marks)), root)
            }
            Report::StillBeingMade if visit < MOST_VISITS => {
                return Err(SweepError::ReportInTheMaking { account: account.clone() });
            }
            Report::StillBeingMade => {
                // Everybody is listed all the same; only root's keys stand nowhere else.
                tracing::warn!(%account, "the credential report is not made in time: root's keys are not looked at");
                (None, None, None)
            }
            Report::Malformed { problem, .. } => {
                troubles.push(Trouble::general(problem));
                (None, None, None)
            }
            Report::Failed(failure) => {
                troubles.push(Trouble::general(failure));
                (None, None, None)
            }
        };
        let wanted = needs(&state, rows.as_deref(), record.listed_all_at, policy, at);
        let mut users = wanted.users;
        if rows.is_none() {
            // Without a report only the list of all users shows who is new.
            match inventory.users().await {
                Ok(listed) => users.extend(listed.into_iter().map(|user| user.name)),
                Err(failure) => troubles.push(Trouble::general(failure)),
            }
        }
        let known: BTreeMap<&str, &Key> = state.keys.iter().map(|key| (key.key_id.as_str(), key)).collect();
        let looked = stream::iter(users)
            .map(|user| self.look(&inventory, user, &wanted.owners, &known, at))
            .buffer_unordered(AT_ONCE);
        let looked: Vec<_> = looked.collect().await;
        let mut seen = Observations { root_keys, ..Observations::default() };
        for (name, outcome) in looked {
            match outcome {
                Ok(user) => {
                    seen.users.insert(name, user);
                }
                Err(failure) => troubles.push(Trouble::general(failure)),
            }
        }
        let used = stream::iter(wanted.last_use)
            .map(|key_id| async {
                let read = inventory.last_used(&key_id, at).await;
                (key_id, read)
            })
            .buffer_unordered(AT_ONCE);
        for (key_id, read) in used.collect::<Vec<_>>().await {
            match read {
                Ok(last_use) => {
                    seen.last_use.insert(key_id, last_use);
                }
                // A message without it says so; it is no reason not to send one.
                Err(failure) => tracing::warn!(key_id, %failure, "a key's last use could not be read"),
            }
        }
        let is_everybody = wanted.is_everybody;
        Ok(Observed { at, state, seen, troubles, report_rows, is_everybody, inventory })
    }

    /// One user's keys, and its tags where they matter.
    async fn look(
        &self,
        inventory: &Inventory,
        name: String,
        owners: &std::collections::BTreeSet<String>,
        known: &BTreeMap<&str, &Key>,
        at: Timestamp,
    ) -> (String, Result<SeenUser, Failure>) {
        let read = async {
            let Some(keys) = inventory.keys_of(&name).await? else {
                return Ok(SeenUser { owner: None, keys: None, at });
            };
            let is_news = keys.iter().any(|key| {
                known
                    .get(key.key_id.as_str())
                    .is_none_or(|known| known.owner.is_none() || known.holder.subject.user() != Some(&name))
            });
            let owner =
                if owners.contains(&name) || is_news { inventory.user(&name, at).await? } else { None };
            Ok(SeenUser { owner, keys: Some(keys), at })
        };
        let outcome = read.await;
        (name, outcome)
    }

    /// What the ledger holds about the account's keys, and about itself.
    async fn state(
        &self,
        account: &AccountId,
        now: Timestamp,
    ) -> Result<(AccountState, AccountRecord), Failure> {
        let (record, keys, exemptions, halt, acceptance, disabled_today, approvals) = tokio::join!(
            self.ledger.account(account),
            self.ledger.open_keys(account),
            self.ledger.exemptions(account),
            self.ledger.halt(),
            self.ledger.acceptance(),
            self.ledger.disabled_on(DisablesOf::Account(account), utc_date(now)),
            self.ledger.approvals(account),
        );
        let record = record?.value;
        let acceptance = acceptance?;
        let state = AccountState {
            account: account.clone(),
            keys: keys?.into_iter().map(|Versioned { value, .. }| value).collect(),
            exemptions: exemptions?,
            baseline_at: record.baseline_at,
            enforced_since: record.enforced_since,
            restored_at: acceptance.at,
            unaccepted: acceptance.unaccepted,
            disabled_today: disabled_today?,
            halt: halt?.map(|halt| halt.value.reason),
            approved: approvals?.into_iter().map(|approval| approval.plan).collect(),
        };
        Ok((state, record))
    }
}

fn active_keys(row: &Row) -> usize {
    row.slots.iter().filter(|slot| slot.active).count()
}

/// The users' rows beside those of the report before, and what is kept of them for the next.
fn compared(rows: &[Row], previous: &BTreeMap<String, String>) -> (Vec<UserRow>, BTreeMap<String, String>) {
    let mut kept = BTreeMap::new();
    let mut compared = Vec::new();
    for row in rows {
        let Whose::User { name, .. } = &row.whose else { continue };
        // Short: an account has up to 5,000 users, and an item 400 KB.
        let (name_digest, mark) = (short(name), short(&row.mark()));
        compared.push(UserRow {
            user: name.clone(),
            active: active_keys(row),
            has_more: row.more.is_some(),
            has_changed: previous.get(&name_digest) != Some(&mark),
        });
        kept.insert(name_digest, mark);
    }
    (compared, kept)
}

fn short(text: &str) -> String {
    sha256_hex(text.as_bytes()).chars().take(16).collect()
}
