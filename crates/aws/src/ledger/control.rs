//! What the ledger holds about accounts, runs and people's decisions: the sweep's own items.
//!
//! Who may write a decision (an exemption, a halt, an approval, a policy) is told apart by partition keys, so
//! that a policy of IAM can grant one and not the other (`dynamodb:LeadingKeys`).

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp, civil::Date};
use keytide_core::{AccountId, key::Key, lifecycle::Exemption};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Ledger, Versioned, items};
use crate::Failure;

/// Approvals hold for the plan of one date: longer than a day they only lie about.
const APPROVAL_KEPT: SignedDuration = SignedDuration::from_hours(48);
/// Runs and counters are kept this long.
const RUN_KEPT: SignedDuration = SignedDuration::from_hours(400 * 24);

/// What is known of an account as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Its name, as the organization has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When its first sweep took stock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_at: Option<Timestamp>,
    /// The beginning of its latest sweep that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept_at: Option<Timestamp>,
    /// The beginning of its latest successful sweep that listed everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_all_at: Option<Timestamp>,
    /// Since when it is in `enforce`; none where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced_since: Option<Timestamp>,
    /// The version of the policy in force by which its mode was last noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<u64>,
    /// Digests of the latest credential report's rows, by a digest of the user's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub report_rows: BTreeMap<String, String>,
    /// When that report was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_at: Option<Timestamp>,
    /// Who sweeps it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Who posts the summary of its baseline now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_telling: Option<Lease>,
    /// When the summary of its baseline was posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_told_at: Option<Timestamp>,
}

/// Whose disables a cap counts.
#[derive(Debug, Clone, Copy)]
pub enum DisablesOf<'a> {
    /// All accounts'.
    Organization,
    /// One account's.
    Account(&'a AccountId),
}

impl DisablesOf<'_> {
    fn partition(self) -> String {
        match self {
            Self::Organization => "CAP".to_owned(),
            Self::Account(account) => format!("CAP#{account}"),
        }
    }
}

/// The right to sweep an account, for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose.
    pub by: String,
    /// Until when.
    pub until: Timestamp,
}

/// Nothing may be disabled anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// Why.
    pub reason: String,
    /// Who said so, as AWS named them.
    pub author: String,
    /// When.
    pub at: Timestamp,
}

/// A person let one plan through beyond its caps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The plan's hash.
    pub plan: String,
    /// Who, as AWS named them.
    pub author: String,
    /// When.
    pub at: Timestamp,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInForce {
    /// Its file, as it was written.
    pub text: String,
    /// Its hash.
    pub hash: String,
    /// Who applied it, as AWS named them.
    pub author: String,
    /// When.
    pub at: Timestamp,
}

/// One run over all accounts: of a date there is one at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The UTC date on which it began: its name.
    pub date: Date,
    /// When it began.
    pub began_at: Timestamp,
    /// When the run before it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_at: Option<Timestamp>,
    /// The accounts expected, with their names.
    pub expected: BTreeMap<AccountId, String>,
    /// Accounts that the run before expected and this one does not: they left, were suspended or excluded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: BTreeMap<AccountId, String>,
    /// Who puts its accounts on the queue now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queueing: Option<Lease>,
    /// When all its accounts were on the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Timestamp>,
    /// When accounts that it was done with were first put on the queue again, since what was held in them could go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_up_at: Option<Timestamp>,
    /// Who posts its digest now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telling: Option<Lease>,
    /// When its digest was posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_at: Option<Timestamp>,
    /// What its digest counted, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub totals: BTreeMap<String, u64>,
}

pub(super) const POLICY: &str = "POLICY";
pub(super) const POLICY_SORT: &str = "CURRENT";

/// Where the policy in force stands.
pub(super) fn policy_key() -> super::Item {
    items::key_of(POLICY, POLICY_SORT)
}

impl Ledger {
    /// An account's record, read consistently; version 0 where there is none yet.
    pub async fn account(&self, account: &AccountId) -> Result<Versioned<AccountRecord>, Failure> {
        let found = self.document(&account_partition(account), "RECORD").await?;
        Ok(found.unwrap_or(Versioned { value: AccountRecord::default(), version: 0 }))
    }

    /// Writes an account's record over the version read; `None` where somebody was faster.
    pub async fn save_account(
        &self,
        account: &AccountId,
        record: &AccountRecord,
        over_version: u64,
    ) -> Result<Option<Versioned<AccountRecord>>, Failure> {
        let item = items::encode_at(&account_partition(account), "RECORD", record, over_version + 1)?;
        let saved = self.put_over(item, over_version, &format!("the record of {account}")).await?;
        Ok(saved.then(|| Versioned { value: record.clone(), version: over_version + 1 }))
    }

    /// The exemptions of an account's keys, by key id, ended ones too.
    pub async fn exemptions(&self, account: &AccountId) -> Result<BTreeMap<String, Exemption>, Failure> {
        let mut exemptions = BTreeMap::new();
        for item in self.query_partition(&exemption_partition(account)).await? {
            let key_id = items::text(&item, "sk").unwrap_or_default().to_owned();
            exemptions.insert(key_id, items::decode::<Exemption>(item)?.value);
        }
        Ok(exemptions)
    }

    /// One key's exemption, read consistently.
    pub async fn exemption(
        &self,
        account: &AccountId,
        key_id: &str,
    ) -> Result<Option<Versioned<Exemption>>, Failure> {
        self.document(&exemption_partition(account), key_id).await
    }

    /// Writes a key's exemption over the version read; `false` where somebody was faster.
    pub async fn save_exemption(
        &self,
        account: &AccountId,
        key_id: &str,
        exemption: &Exemption,
        over_version: u64,
    ) -> Result<bool, Failure> {
        let item = items::encode_at(&exemption_partition(account), key_id, exemption, over_version + 1)?;
        self.put_over(item, over_version, &format!("the exemption of {key_id}")).await
    }

    /// Whether everything is halted, read consistently.
    pub async fn halt(&self) -> Result<Option<Versioned<Halt>>, Failure> {
        self.document("HALT", "HALT").await
    }

    /// Halts.
    pub async fn set_halt(&self, halt: &Halt) -> Result<(), Failure> {
        self.put_document("HALT", "HALT", halt, None).await
    }

    /// Ends the halt.
    pub async fn lift_halt(&self) -> Result<(), Failure> {
        let request =
            self.client.delete_item().table_name(&self.table).set_key(Some(items::key_of("HALT", "HALT")));
        request.send().await.map(drop).map_err(|error| self.failure("DeleteItem of the halt", &error))
    }

    /// The approval of a plan, read consistently.
    pub async fn approval(&self, account: &AccountId, plan: &str) -> Result<Option<Approval>, Failure> {
        Ok(self.document(&format!("APPROVAL#{account}"), plan).await?.map(|found| found.value))
    }

    /// An account's approvals.
    pub async fn approvals(&self, account: &AccountId) -> Result<Vec<Approval>, Failure> {
        let found = self.query_partition(&format!("APPROVAL#{account}")).await?;
        found.into_iter().map(|item| Ok(items::decode::<Approval>(item)?.value)).collect()
    }

    /// The policy in force, read consistently; `None`: the built-in one.
    pub async fn policy(&self) -> Result<Option<Versioned<PolicyInForce>>, Failure> {
        self.document(POLICY, POLICY_SORT).await
    }

    /// Every policy that was ever in force, oldest first, with the version that it had then.
    pub async fn policies(&self) -> Result<Vec<Versioned<PolicyInForce>>, Failure> {
        let version = |item: &items::Item| -> Option<u64> {
            items::text(item, "sk")?.strip_prefix("APPLIED#")?.split('#').next()?.parse().ok()
        };
        let found = self.query_partition(POLICY).await?.into_iter();
        let applied = found.filter_map(|item| Some((version(&item)?, item)));
        applied
            .map(|(version, item)| {
                Ok(Versioned { value: items::decode::<PolicyInForce>(item)?.value, version })
            })
            .collect()
    }

    /// Counts one more disable on this date, unless `most` is reached: `false` then. It is counted before it is
    /// done, so that whoever dies in between has counted it.
    pub async fn count_disable(
        &self,
        of: DisablesOf<'_>,
        date: Date,
        most: u32,
        now: Timestamp,
    ) -> Result<bool, Failure> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(items::key_of(&of.partition(), &format!("DATE#{date}"))))
            .update_expression("SET expires_at = :expires, #schema = :schema ADD disabled :one")
            .condition_expression("attribute_not_exists(disabled) OR disabled < :most")
            .expression_attribute_names("#schema", "schema")
            .expression_attribute_values(":expires", items::number(items::seconds_after(now, RUN_KEPT)))
            .expression_attribute_values(":schema", items::number(items::SCHEMA))
            .expression_attribute_values(":one", items::number(1))
            .expression_attribute_values(":most", items::number(u64::from(most)))
            .send()
            .await;
        match answer {
            // Nothing may be disabled under a cap of none, be it the first.
            Ok(_) => Ok(most > 0),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(aws_sdk_dynamodb::operation::update_item::UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(self.failure("UpdateItem of the date's count of disables", &error)),
        }
    }

    /// How many of an account's keys were disabled on this date, read consistently.
    pub async fn disabled_on(&self, of: DisablesOf<'_>, date: Date) -> Result<u32, Failure> {
        let partition = of.partition();
        let wanted = items::key_of(&partition, &format!("DATE#{date}"));
        let found = self.get_all(vec![wanted]).await?.into_iter().next();
        let Some(item) = found else { return Ok(0) };
        let count =
            item.get("disabled").and_then(|count| count.as_n().ok()).and_then(|count| count.parse().ok());
        count.ok_or_else(|| {
            let cause = "it has no number `disabled`; expected the count of that date's disables";
            Failure::operators(format!("reading {partition} of {date} in {}", self.table), cause)
        })
    }

    /// One run, read consistently.
    pub async fn run(&self, date: Date) -> Result<Option<Versioned<Run>>, Failure> {
        self.document("RUN", &date.to_string()).await
    }

    /// The latest runs, at most so many, the latest first, read consistently.
    pub async fn latest_runs(&self, most: i32) -> Result<Vec<Versioned<Run>>, Failure> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(most)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S("RUN".to_owned()));
        let page = query.send().await.map_err(|error| self.failure("Query of the latest runs", &error))?;
        page.items.unwrap_or_default().into_iter().map(items::decode).collect()
    }

    /// Writes a run over the version read; `None` where somebody was faster.
    pub async fn save_run(&self, run: &Run, over_version: u64) -> Result<Option<Versioned<Run>>, Failure> {
        let mut item = items::encode_at("RUN", &run.date.to_string(), run, over_version + 1)?;
        item.insert("expires_at".to_owned(), items::number(items::seconds_after(run.began_at, RUN_KEPT)));
        let saved = self.put_over(item, over_version, &format!("the run of {}", run.date)).await?;
        Ok(saved.then(|| Versioned { value: run.clone(), version: over_version + 1 }))
    }

    /// What a run made of one account, read consistently.
    pub async fn outcome<T: DeserializeOwned>(
        &self,
        date: Date,
        account: &AccountId,
    ) -> Result<Option<Versioned<T>>, Failure> {
        self.document(&format!("RUN#{date}"), account.as_str()).await
    }

    /// What a run made of its accounts so far, read consistently.
    pub async fn outcomes<T: DeserializeOwned>(&self, date: Date) -> Result<Vec<T>, Failure> {
        let found = self.query_partition(&format!("RUN#{date}")).await?;
        found.into_iter().map(|item| Ok(items::decode(item)?.value)).collect()
    }

    /// Writes what a run made of an account over the version read; `false` where somebody was faster.
    pub async fn save_outcome(
        &self,
        date: Date,
        account: &AccountId,
        outcome: &impl Serialize,
        over_version: u64,
        now: Timestamp,
    ) -> Result<bool, Failure> {
        let mut item = items::encode_at(&format!("RUN#{date}"), account.as_str(), outcome, over_version + 1)?;
        item.insert("expires_at".to_owned(), items::number(items::seconds_after(now, RUN_KEPT)));
        self.put_over(item, over_version, &format!("the outcome of {account} in the run of {date}")).await
    }

    /// Marks an account as done with in a run, and gives all that are. The marks stand apart from the
    /// outcomes, since every account's end reads them all.
    pub async fn mark_done(
        &self,
        date: Date,
        account: &AccountId,
        now: Timestamp,
    ) -> Result<BTreeSet<AccountId>, Failure> {
        let partition = format!("RUN#{date}#DONE");
        let expires = Some(items::seconds_after(now, RUN_KEPT));
        self.put_document(&partition, account.as_str(), &BTreeMap::<String, String>::new(), expires).await?;
        self.done(date).await
    }

    /// The accounts that a run is done with, read consistently.
    pub async fn done(&self, date: Date) -> Result<BTreeSet<AccountId>, Failure> {
        let marks = self.query_partition(&format!("RUN#{date}#DONE")).await?;
        let ids = marks.iter().map(|item| items::text(item, "sk").unwrap_or_default());
        ids.map(|id| {
            AccountId::parse(id).map_err(|error| {
                Failure::operators(
                    format!("reading the accounts done in the run of {date}"),
                    error.to_string(),
                )
            })
        })
        .collect()
    }

    /// Reads one item of these, consistently.
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        partition: &str,
        sort: &str,
    ) -> Result<Option<Versioned<T>>, Failure> {
        let found = self.get_all(vec![items::key_of(partition, sort)]).await?;
        found.into_iter().next().map(items::decode).transpose()
    }

    pub(super) async fn put_document(
        &self,
        partition: &str,
        sort: &str,
        value: &impl Serialize,
        expires: Option<u64>,
    ) -> Result<(), Failure> {
        let mut item = items::encode_at(partition, sort, value, 1)?;
        item.extend(expires.map(|seconds| ("expires_at".to_owned(), items::number(seconds))));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send()
            .await
            .map(drop)
            .map_err(|error| self.failure(&format!("PutItem of {partition} {sort}"), &error))
    }

    async fn query_partition(&self, partition: &str) -> Result<Vec<items::Item>, Failure> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(partition.to_owned()));
        let mut pages = query.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            found.push(item.map_err(|error| self.failure(&format!("Query of {partition}"), &error))?);
        }
        Ok(found)
    }
}

/// The ledger, for whoever may only look: what a dry run holds.
#[derive(Debug, Clone)]
pub struct LedgerReader(pub(super) Ledger);

impl LedgerReader {
    /// Of this ledger.
    pub fn of(ledger: &Ledger) -> Self {
        Self(ledger.clone())
    }

    /// See [`Ledger::account`].
    pub async fn account(&self, account: &AccountId) -> Result<Versioned<AccountRecord>, Failure> {
        self.0.account(account).await
    }

    /// See [`Ledger::all_keys`].
    pub async fn all_keys(&self) -> Result<Vec<Versioned<Key>>, Failure> {
        self.0.all_keys().await
    }

    /// See [`Ledger::policy`].
    pub async fn policy(&self) -> Result<Option<Versioned<PolicyInForce>>, Failure> {
        self.0.policy().await
    }

    /// See [`Ledger::open_keys`]: all of the account's.
    pub async fn open_keys(&self, account: &AccountId) -> Result<Vec<Versioned<Key>>, Failure> {
        self.0.open_keys(account, None).await
    }

    /// See [`Ledger::disabled_on`].
    pub async fn disabled_on(&self, of: DisablesOf<'_>, date: Date) -> Result<u32, Failure> {
        self.0.disabled_on(of, date).await
    }

    /// See [`Ledger::exemptions`].
    pub async fn exemptions(&self, account: &AccountId) -> Result<BTreeMap<String, Exemption>, Failure> {
        self.0.exemptions(account).await
    }

    /// See [`Ledger::halt`].
    pub async fn halt(&self) -> Result<Option<Versioned<Halt>>, Failure> {
        self.0.halt().await
    }

    /// See [`Ledger::approvals`].
    pub async fn approvals(&self, account: &AccountId) -> Result<Vec<Approval>, Failure> {
        self.0.approvals(account).await
    }
}

pub(super) fn approval_expiry(approval: &Approval) -> u64 {
    items::seconds_after(approval.at, APPROVAL_KEPT)
}

fn account_partition(account: &AccountId) -> String {
    format!("SWEEP#{account}")
}

pub(super) fn exemption_partition(account: &AccountId) -> String {
    format!("EXEMPTION#{account}")
}
