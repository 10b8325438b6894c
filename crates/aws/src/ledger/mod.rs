//! The ledger: one DynamoDB table that says, for good, which access keys there are, what happened to them
//! and who was told.
//!
//! Every item has a version, and every write is conditioned on the version that was read, or on there being
//! none: who loses a race reads again and decides again. Indexes find; a consistent read decides.

mod accept;
mod control;
mod decide;
mod items;
mod renames;
mod table;

use std::collections::HashMap;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, KeysAndAttributes, Put, ReturnValue, TransactWriteItem},
};
use jiff::Timestamp;
use keytide_core::{
    AccountId,
    delivery::{Delivery, DeliveryName},
    fact::Fact,
    key::{Key, Renames},
};

use self::items::{Item, UNREAD, decode_delivery, decode_fact, decode_key};
pub use self::{
    accept::{Acceptance, Accepted, TableMade},
    control::{AccountRecord, Approval, DisablesOf, Halt, Lease, LedgerReader, PolicyInForce, Run},
    decide::Change,
    items::Place,
    renames::Unrenamed,
};
use crate::Failure;

/// Something read from the ledger, with the version it had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versioned<T> {
    /// What was read.
    pub value: T,
    /// Its version then.
    pub version: u64,
}

/// What the ledger knows about one event's matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The key's state, if the matter is a key and it is known.
    pub key: Option<Versioned<Key>>,
    /// The event itself, if it was recorded before.
    pub fact: Option<Fact>,
    /// Those of the deliveries asked for that exist.
    pub deliveries: Vec<Versioned<Delivery>>,
    /// The policy in force, where it was asked for and there is one.
    pub policy: Option<Result<PolicyInForce, Failure>>,
    /// What became of users of the name that was asked for; version 0 where nothing did.
    pub renames: Versioned<Renames>,
}

/// What one event asks the ledger for, in one call.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Where it belongs.
    pub place: &'a Place,
    /// The event.
    pub fact_id: &'a str,
    /// The deliveries that it may call for.
    pub names: &'a [DeliveryName],
    /// The user whom it names.
    pub user: Option<(&'a AccountId, &'a str)>,
    /// Whether the policy in force is asked for, too.
    pub with_policy: bool,
}

/// Everything about one place, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The key's state.
    pub key: Option<Versioned<Key>>,
    /// All facts, by the time of what happened.
    pub facts: Vec<Fact>,
    /// All deliveries, by the time they came to be.
    pub deliveries: Vec<Versioned<Delivery>>,
}

/// How recording a fact ended, when AWS carried it out or refused it for cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is written, with the key's new state and its deliveries.
    Written,
    /// The fact was there already.
    AlreadyThere,
    /// The key or a delivery has changed since it was read: read again, decide again.
    StateChanged,
}

/// The ledger in one table.
#[derive(Debug, Clone)]
pub struct Ledger {
    client: Client,
    table: String,
}

/// How often an unprocessed or conflicting request is made again before it counts as busy.
const TRIES: u32 = 4;

impl Ledger {
    /// The table's name is the installation's; its definition is `infra/ledger-table.json`.
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self { client: Client::new(config), table: table.into() }
    }

    /// Reads the key, whether the event is known, and the deliveries it may call for.
    pub async fn look(&self, place: &Place, fact_id: &str, names: &[DeliveryName]) -> Result<Known, Failure> {
        self.answer(Question { place, fact_id, names, user: None, with_policy: false }).await
    }

    /// Reads what one event needs. A policy that cannot be understood hides nothing of the rest.
    pub async fn answer(&self, question: Question<'_>) -> Result<Known, Failure> {
        let Question { place, fact_id, names, user, with_policy } = question;
        let mut wanted = vec![items::primary_key(place, &items::fact_sort(fact_id))];
        wanted.extend(user.map(|(account, name)| renames::key(account, name)));
        if with_policy {
            wanted.push(control::policy_key());
        }
        if matches!(place, Place::Key { .. }) {
            wanted.push(items::primary_key(place, items::KEY_SORT));
        }
        wanted.extend(names.iter().map(|name| items::primary_key(place, &items::delivery_sort(name))));
        let mut known = Known::default();
        for item in self.get_all(wanted).await? {
            let sort = items::text(&item, "sk").unwrap_or_default().to_owned();
            if sort == items::KEY_SORT {
                known.key = Some(decode_key(item)?);
            } else if sort.starts_with(items::FACT_PREFIX) {
                known.fact = Some(decode_fact(item)?);
            } else if sort == renames::SORT {
                known.renames = items::decode(item)?;
            } else if sort == control::POLICY_SORT {
                known.policy = Some(items::decode::<PolicyInForce>(item).map(|found| found.value));
            } else {
                known.deliveries.push(decode_delivery(item)?);
            }
        }
        known.deliveries.sort_by(|left, right| left.value.name.cmp(&right.value.name));
        Ok(known)
    }

    /// Writes a fact, the key's new state and the deliveries it calls for, all or nothing.
    ///
    /// `key` is the new state with the version that was read (0: there was none).
    pub async fn record(
        &self,
        place: &Place,
        fact: &Fact,
        key: Option<&Versioned<Key>>,
        deliveries: &[Delivery],
    ) -> Result<Recorded, Failure> {
        self.record_while(None, place, fact, key, deliveries).await
    }

    /// The same, unless the user was renamed meanwhile.
    pub async fn record_while(
        &self,
        unrenamed: Option<Unrenamed<'_>>,
        place: &Place,
        fact: &Fact,
        key: Option<&Versioned<Key>>,
        deliveries: &[Delivery],
    ) -> Result<Recorded, Failure> {
        let mut puts = vec![self.put(items::encode_fact(place, fact)?, 0)?];
        if let Some(key) = key {
            puts.push(
                self.put(items::encode_key(&key.value, key.version + 1, fact.recorded_at)?, key.version)?,
            );
        }
        for delivery in deliveries {
            puts.push(self.put(items::encode_delivery(place, delivery, 1)?, 0)?);
        }
        let operation = format!("dynamodb:TransactWriteItems of fact {} in {}", fact.id, self.table);
        let mut writes: Vec<TransactWriteItem> =
            puts.into_iter().map(|put| TransactWriteItem::builder().put(put).build()).collect();
        let check = unrenamed.map(|unrenamed| self.check(unrenamed)).transpose()?;
        writes.extend(check.map(|check| TransactWriteItem::builder().condition_check(check).build()));
        self.transact(&writes, operation).await
    }

    /// Carries a transaction out whose first item is a new fact.
    async fn transact(&self, writes: &[TransactWriteItem], operation: String) -> Result<Recorded, Failure> {
        let mut waits = pauses();
        loop {
            let request = self.client.transact_write_items().set_transact_items(Some(writes.to_vec()));
            let Err(error) = request.send().await else { return Ok(Recorded::Written) };
            match Refusal::of(&error) {
                Refusal::FactExists => return Ok(Recorded::AlreadyThere),
                Refusal::StateChanged => return Ok(Recorded::StateChanged),
                Refusal::Contended(cause) => match waits.next() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(Failure::retry(operation, cause)),
                },
                Refusal::Failed => return Err(Failure::of(operation, &error)),
            }
        }
    }

    /// Writes a delivery's next state over the version that was read; `None` where somebody was faster.
    pub async fn save_delivery(
        &self,
        place: &Place,
        delivery: &Delivery,
        over_version: u64,
    ) -> Result<Option<Versioned<Delivery>>, Failure> {
        let version = over_version + 1;
        let item = items::encode_delivery(place, delivery, version)?;
        let saved = self.put_over(item, over_version, &format!("delivery {}", delivery.name)).await?;
        Ok(saved.then(|| Versioned { value: delivery.clone(), version }))
    }

    /// Writes a key's state over the version that was read; `false` where somebody was faster.
    pub async fn save_key(&self, key: &Key, over_version: u64, now: Timestamp) -> Result<bool, Failure> {
        let item = items::encode_key(key, over_version + 1, now)?;
        self.put_over(item, over_version, &format!("key {}", key.key_id)).await
    }

    /// One key's state, read consistently.
    pub async fn key(&self, account: &AccountId, key_id: &str) -> Result<Option<Versioned<Key>>, Failure> {
        let place = Place::Key { account: account.clone(), key_id: key_id.to_owned() };
        let found = self.get_all(vec![items::primary_key(&place, items::KEY_SORT)]).await?;
        found.into_iter().next().map(decode_key).transpose()
    }

    /// The deliveries of one place, read consistently.
    pub async fn deliveries(&self, place: &Place) -> Result<Vec<Versioned<Delivery>>, Failure> {
        let found = self.query_place(place, Some(items::DELIVERY_PREFIX)).await?;
        found.into_iter().map(decode_delivery).collect()
    }

    /// Everything the ledger holds about one place, read consistently; of a key, what people decided about it, too.
    pub async fn history(&self, place: &Place) -> Result<History, Failure> {
        let mut found = self.query_place(place, None).await?;
        if let Place::Key { account, key_id } = place {
            let decisions = Place::Decisions { account: account.clone(), key_id: Some(key_id.clone()) };
            found.extend(self.query_place(&decisions, None).await?);
        }
        let mut history = History::default();
        for item in found {
            let sort = items::text(&item, "sk").unwrap_or_default();
            if sort == items::KEY_SORT {
                history.key = Some(decode_key(item)?);
            } else if sort.starts_with(items::FACT_PREFIX) {
                history.facts.push(decode_fact(item)?);
            } else if sort.starts_with(items::DELIVERY_PREFIX) {
                history.deliveries.push(decode_delivery(item)?);
            }
        }
        history.facts.sort_by_key(|fact| (fact.body.at(), fact.recorded_at));
        history.deliveries.sort_by_key(|delivery| (delivery.value.created_at, delivery.value.name.clone()));
        Ok(history)
    }

    /// The keys of an account that are not deleted, by the index; of one user, if named. May lag by moments.
    pub async fn open_keys(
        &self,
        account: &AccountId,
        user: Option<&str>,
    ) -> Result<Vec<Versioned<Key>>, Failure> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by-account")
            .expression_attribute_values(":account", AttributeValue::S(account.to_string()));
        let query = match user {
            None => query.key_condition_expression("open_account = :account"),
            Some(user) => query
                .key_condition_expression("open_account = :account AND begins_with(user_key, :user)")
                .expression_attribute_values(":user", AttributeValue::S(items::user_prefix(user))),
        };
        let mut pages = query.into_paginator().items().send();
        let mut keys = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| self.failure("Query of by-account", &error))?;
            keys.push(decode_key(item)?);
        }
        // A user's name may begin with another's and `#` is no letter of either.
        keys.retain(|key| user.is_none_or(|user| key.value.holder.subject.user() == Some(user)));
        Ok(keys)
    }

    /// The keys whose owner has this Slack member id, by the index, then read.
    pub async fn keys_of_owner(&self, slack_id: &str) -> Result<Vec<Versioned<Key>>, Failure> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by-owner")
            .key_condition_expression("owner_slack_id = :owner")
            .expression_attribute_values(":owner", AttributeValue::S(slack_id.to_owned()));
        let mut pages = query.into_paginator().items().send();
        let mut wanted = Vec::new();
        while let Some(item) = pages.next().await {
            let mut item = item.map_err(|error| self.failure("Query of by-owner", &error))?;
            item.retain(|name, _| name == "pk" || name == "sk");
            wanted.push(item);
        }
        self.get_all(wanted).await?.into_iter().map(decode_key).collect()
    }

    /// All keys, deleted ones too, by reading the whole table: for a person who asks, not for a function.
    pub async fn all_keys(&self) -> Result<Vec<Versioned<Key>>, Failure> {
        let scan = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression("sk = :key")
            .expression_attribute_values(":key", AttributeValue::S(items::KEY_SORT.to_owned()));
        let mut pages = scan.into_paginator().items().send();
        let mut keys = Vec::new();
        while let Some(item) = pages.next().await {
            keys.push(decode_key(item.map_err(|error| self.failure("Scan", &error))?)?);
        }
        Ok(keys)
    }

    /// The unfinished deliveries of an account, oldest first, by the sparse index; at most `most`.
    pub async fn unfinished(
        &self,
        account: &AccountId,
        most: usize,
    ) -> Result<Vec<(Place, Versioned<Delivery>)>, Failure> {
        self.unfinished_under(account.as_str(), most).await
    }

    /// The unfinished deliveries about all accounts, which people's decisions bring; at most `most`.
    pub async fn unfinished_of_organization(
        &self,
        most: usize,
    ) -> Result<Vec<(Place, Versioned<Delivery>)>, Failure> {
        self.unfinished_under(items::UNFINISHED_OF_ALL, most).await
    }

    /// The unfinished deliveries of events that name no account; at most `most`.
    pub async fn unfinished_of_strays(
        &self,
        most: usize,
    ) -> Result<Vec<(Place, Versioned<Delivery>)>, Failure> {
        self.unfinished_under(items::UNFINISHED_OF_STRAYS, most).await
    }

    async fn unfinished_under(
        &self,
        under: &str,
        most: usize,
    ) -> Result<Vec<(Place, Versioned<Delivery>)>, Failure> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("unfinished")
            .key_condition_expression("unfinished = :under")
            .expression_attribute_values(":under", AttributeValue::S(under.to_owned()));
        let mut pages = query.into_paginator().items().send();
        let mut wanted = Vec::new();
        while let Some(item) = pages.next().await {
            let mut item = item.map_err(|error| self.failure("Query of unfinished", &error))?;
            item.retain(|name, _| name == "pk" || name == "sk");
            wanted.push(item);
            if wanted.len() >= most {
                break;
            }
        }
        let mut found = Vec::new();
        for item in self.get_all(wanted).await? {
            // One that cannot be read, as after a rollback, must not keep the others from going out.
            match items::delivery_in_its_place(item) {
                Ok(delivery) => found.push(delivery),
                Err(failure) => tracing::error!(%failure, "an unfinished delivery cannot be read"),
            }
        }
        found.retain(|(_, delivery)| !delivery.value.state.is_finished());
        found.sort_by_key(|(_, delivery)| delivery.value.created_at);
        Ok(found)
    }

    /// One recorded fact.
    pub async fn fact(&self, place: &Place, fact_id: &str) -> Result<Option<Fact>, Failure> {
        Ok(self.look(place, fact_id, &[]).await?.fact)
    }

    /// Counts one more alert of this account in this minute and says how many that makes.
    pub async fn count_alert(&self, account: &AccountId, now: Timestamp) -> Result<u64, Failure> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(items::minute_key(account, now)))
            .update_expression("SET expires_at = :expires, #schema = :schema ADD alerts :one")
            .expression_attribute_names("#schema", "schema")
            .expression_attribute_values(":expires", items::number(items::minute_expiry(now)))
            .expression_attribute_values(":schema", items::number(items::SCHEMA))
            .expression_attribute_values(":one", items::number(1))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await
            .map_err(|error| self.failure("UpdateItem of the minute's count", &error))?;
        let count = answer.attributes().and_then(|item| items::natural(item, "alerts"));
        count.ok_or_else(|| Failure::operators("dynamodb:UpdateItem of the minute's count", UNREAD))
    }

    /// Takes the right to join this account's alerts of this minute into one message; one invocation has it.
    pub async fn take_joining(&self, account: &AccountId, by: &str, now: Timestamp) -> Result<bool, Failure> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(items::minute_key(account, now)))
            .update_expression("SET joined_by = :by, expires_at = :expires, #schema = :schema")
            .condition_expression("attribute_not_exists(joined_by)")
            .expression_attribute_names("#schema", "schema")
            .expression_attribute_values(":by", AttributeValue::S(by.to_owned()))
            .expression_attribute_values(":expires", items::number(items::minute_expiry(now)))
            .expression_attribute_values(":schema", items::number(items::SCHEMA))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(aws_sdk_dynamodb::operation::update_item::UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(self.failure("UpdateItem of the minute's joining", &error)),
        }
    }

    /// Creates the table and its expiry where it is not there yet: for ledgers in files, and tests. What is made here
    /// has forgotten nothing, so it is accepted.
    pub async fn create_table(&self) -> Result<(), Failure> {
        if table::create(&self.client, &self.table).await? {
            self.accept_as_new().await?;
        }
        Ok(())
    }

    fn put(&self, item: Item, over_version: u64) -> Result<Put, Failure> {
        let (condition, values) = items::over(over_version);
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        let put = put.condition_expression(condition).set_expression_attribute_values(values);
        put.build().map_err(|error| Failure::operators("dynamodb:Put", error.to_string()))
    }

    async fn put_over(&self, item: Item, over_version: u64, what: &str) -> Result<bool, Failure> {
        let (condition, values) = items::over(over_version);
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = put.condition_expression(condition).set_expression_attribute_values(values);
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(aws_sdk_dynamodb::operation::put_item::PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(self.failure(&format!("PutItem of {what}"), &error)),
        }
    }

    /// Reads items by their primary keys, consistently, in no order; what is not there is left out.
    async fn get_all(&self, wanted: Vec<Item>) -> Result<Vec<Item>, Failure> {
        let mut found = Vec::new();
        let mut waits = pauses();
        for chunk in wanted.chunks(100) {
            let mut rest = chunk.to_vec();
            while !rest.is_empty() {
                let keys = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(rest)).build();
                let keys =
                    keys.map_err(|error| Failure::operators("dynamodb:BatchGetItem", error.to_string()))?;
                let answer = self
                    .client
                    .batch_get_item()
                    .request_items(&self.table, keys)
                    .send()
                    .await
                    .map_err(|error| self.failure("BatchGetItem", &error))?;
                found.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
                rest = unprocessed(answer.unprocessed_keys);
                if !rest.is_empty() {
                    let Some(wait) = waits.next() else {
                        let cause = format!("{} items stayed unprocessed", rest.len());
                        return Err(Failure::retry("dynamodb:BatchGetItem", cause));
                    };
                    tokio::time::sleep(wait).await;
                }
            }
        }
        Ok(found)
    }

    async fn query_place(&self, place: &Place, prefix: Option<&str>) -> Result<Vec<Item>, Failure> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .expression_attribute_values(":pk", AttributeValue::S(place.partition()));
        let query = match prefix {
            None => query.key_condition_expression("pk = :pk"),
            Some(prefix) => query
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned())),
        };
        let mut pages = query.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            found.push(item.map_err(|error| self.failure("Query", &error))?);
        }
        Ok(found)
    }

    fn failure<E>(
        &self,
        operation: &str,
        error: &SdkError<E, aws_smithy_runtime_api::http::Response>,
    ) -> Failure
    where
        E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        Failure::of(format!("dynamodb:{operation} in {}", self.table), error)
    }
}

/// The pauses between tries of a contended request: short, since another queue delivery comes anyway.
fn pauses() -> impl Iterator<Item = std::time::Duration> {
    (0..TRIES - 1).map(|turn| std::time::Duration::from_millis(20 << turn))
}

fn unprocessed(rest: Option<HashMap<String, KeysAndAttributes>>) -> Vec<Item> {
    rest.into_iter().flatten().flat_map(|(_, keys)| keys.keys).collect()
}

/// The ways in which a recording transaction is refused; they ask for three different things.
enum Refusal {
    FactExists,
    StateChanged,
    Contended(String),
    Failed,
}

impl Refusal {
    /// The reasons stand in the order of the transaction's items, and the fact is the first.
    fn of<R>(error: &SdkError<TransactWriteItemsError, R>) -> Self {
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error()
        else {
            return Self::Failed;
        };
        let codes: Vec<&str> =
            canceled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or("None")).collect();
        if codes.first() == Some(&"ConditionalCheckFailed") {
            return Self::FactExists;
        }
        if codes.contains(&"ConditionalCheckFailed") {
            return Self::StateChanged;
        }
        let contended = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
        match codes.iter().find(|code| contended.contains(code)) {
            Some(code) => Self::Contended((*code).to_owned()),
            None => Self::Failed,
        }
    }
}
