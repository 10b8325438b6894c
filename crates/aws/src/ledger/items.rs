//! How keys, facts and deliveries stand in the table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use keytide_core::{
    AccountId,
    delivery::{Delivery, DeliveryName},
    digest::sha256_hex,
    fact::{Fact, FactBody},
    key::{Key, Standing},
};
use serde::{Serialize, de::DeserializeOwned};

use super::Versioned;
use crate::Failure;

/// One item as DynamoDB has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The shape of the items that this version writes. A later one reads all the earlier ones.
pub(super) const SCHEMA: u64 = 1;

pub(super) const KEY_SORT: &str = "KEY";
pub(super) const FACT_PREFIX: &str = "EVENT#";
pub(super) const DELIVERY_PREFIX: &str = "OUT#";
/// What the unfinished deliveries about all accounts are found under.
pub(super) const UNFINISHED_OF_ALL: &str = "organization";
/// The same of events that name no account.
pub(super) const UNFINISHED_OF_STRAYS: &str = "stray";

/// Closed keys and history are kept this long.
const KEPT: SignedDuration = SignedDuration::from_hours(400 * 24);

/// When what came to be then may go.
pub(super) fn expiry(at: Timestamp) -> u64 {
    seconds_after(at, KEPT)
}

/// The counters of a minute are kept this long.
const MINUTE_KEPT: SignedDuration = SignedDuration::from_hours(24);

pub(super) const UNREAD: &str = "the answer is not in the ledger's shape";

/// Where in the ledger something stands: the partition it shares with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// An access key.
    Key {
        /// Its account.
        account: AccountId,
        /// Its id.
        key_id: String,
    },
    /// An IAM user, by name.
    User {
        /// Its account.
        account: AccountId,
        /// Its name.
        name: String,
    },
    /// An account: for what names neither key nor user.
    Account {
        /// The account.
        account: AccountId,
    },
    /// What people decide about an account, or one of its keys: apart from what the functions know of it, so that who
    /// may decide can write nothing else.
    Decisions {
        /// The account.
        account: AccountId,
        /// The key, where it is about one.
        key_id: Option<String>,
    },
    /// All accounts: for what people decide over them.
    Organization,
    /// An event that belongs to nothing that could be read.
    Stray {
        /// Its id.
        fact_id: String,
    },
}

impl Place {
    /// Where a fact belongs.
    pub fn of(fact_id: &str, body: &FactBody) -> Self {
        match (body, body.account()) {
            (FactBody::Decided { .. }, None) => Self::Organization,
            (FactBody::Decided { .. }, Some(account)) => {
                Self::Decisions { account: account.clone(), key_id: body.key_id().map(str::to_owned) }
            }
            (_, None) => Self::Stray { fact_id: fact_id.to_owned() },
            // Whatever key it names: what could not be read is not part of a key's history.
            (FactBody::Unreadable { .. } | FactBody::OwnRole { .. }, Some(account)) => {
                Self::Account { account: account.clone() }
            }
            (_, Some(account)) => {
                let account = account.clone();
                match (body.key_id(), body.user()) {
                    (Some(key_id), _) => Self::Key { account, key_id: key_id.to_owned() },
                    (None, Some(name)) => Self::User { account, name: name.to_owned() },
                    (None, None) => Self::Account { account },
                }
            }
        }
    }

    /// The partition key.
    pub(super) fn partition(&self) -> String {
        match self {
            Self::Key { account, key_id } => format!("KEY#{account}#{}", bounded(key_id)),
            Self::User { account, name } => format!("USER#{account}#{}", bounded(name)),
            Self::Account { account } => format!("ACCOUNT#{account}"),
            Self::Decisions { account, key_id: Some(key_id) } => {
                format!("DECISION#{account}#{}", bounded(key_id))
            }
            Self::Decisions { account, key_id: None } => format!("DECISION#{account}"),
            Self::Organization => "ORGANIZATION".to_owned(),
            Self::Stray { fact_id } => format!("STRAY#{}", bounded(fact_id)),
        }
    }

    /// What the unfinished deliveries of this place are found under.
    fn unfinished_under(&self) -> &str {
        match self {
            Self::Key { account, .. }
            | Self::User { account, .. }
            | Self::Account { account }
            | Self::Decisions { account, .. } => account.as_str(),
            Self::Organization => UNFINISHED_OF_ALL,
            Self::Stray { .. } => UNFINISHED_OF_STRAYS,
        }
    }
}

/// Keys of DynamoDB hold 1,024 bytes; a name that leaves no room for the rest is replaced by its digest.
fn bounded(text: &str) -> String {
    if text.len() <= 512 { text.to_owned() } else { format!("sha256-{}", sha256_hex(text.as_bytes())) }
}

pub(super) fn fact_sort(fact_id: &str) -> String {
    format!("{FACT_PREFIX}{}", bounded(fact_id))
}

pub(super) fn delivery_sort(name: &DeliveryName) -> String {
    format!("{DELIVERY_PREFIX}{}#{}#{}", bounded(&name.epoch), name.stage, name.recipient.as_str())
}

pub(super) fn user_prefix(user: &str) -> String {
    format!("{}#", bounded(user))
}

pub(super) fn primary_key(place: &Place, sort: &str) -> Item {
    key_of(&place.partition(), sort)
}

pub(super) fn key_of(partition: &str, sort: &str) -> Item {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(partition.to_owned())),
        ("sk".to_owned(), AttributeValue::S(sort.to_owned())),
    ])
}

pub(super) fn minute_key(account: &AccountId, now: Timestamp) -> Item {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(format!("RATE#{account}"))),
        ("sk".to_owned(), AttributeValue::S(format!("MINUTE#{}", now.as_second().div_euclid(60)))),
    ])
}

pub(super) fn minute_expiry(now: Timestamp) -> u64 {
    seconds_after(now, MINUTE_KEPT)
}

/// The condition, with its values, that an item still has the version that was read; 0: that there is none.
pub(super) fn over(version: u64) -> (&'static str, Option<Item>) {
    match version {
        0 => ("attribute_not_exists(pk)", None),
        read => ("version = :version", Some(HashMap::from([(":version".to_owned(), number(read))]))),
    }
}

pub(super) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(super) fn natural(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

pub(super) fn encode_key(key: &Key, version: u64, now: Timestamp) -> Result<Item, Failure> {
    let place = Place::Key { account: key.account.clone(), key_id: key.key_id.clone() };
    let mut item = encode(&place, KEY_SORT, key, version)?;
    let closed_at = match key.standing() {
        Some(Standing::Deleted(deletion)) => Some(deletion.at),
        Some(Standing::Gone(absence)) => Some(absence.latest),
        Some(Standing::Exists(_)) | None => None,
    };
    if let Some(closed_at) = closed_at {
        item.insert("expires_at".to_owned(), number(expiry(closed_at.max(now))));
    } else {
        let user = key.holder.subject.user().unwrap_or_default();
        let user_key = format!("{}{}", user_prefix(user), bounded(&key.key_id));
        item.insert("open_account".to_owned(), AttributeValue::S(key.account.to_string()));
        item.insert("user_key".to_owned(), AttributeValue::S(user_key));
        if let Some(slack_id) = key.owner.as_ref().and_then(|owner| owner.tags.slack_id()) {
            item.insert("owner_slack_id".to_owned(), AttributeValue::S(slack_id.as_str().to_owned()));
        }
    }
    Ok(item)
}

pub(super) fn encode_fact(place: &Place, fact: &Fact) -> Result<Item, Failure> {
    let mut item = encode(place, &fact_sort(&fact.id), fact, 1)?;
    item.insert("expires_at".to_owned(), number(expiry(fact.recorded_at)));
    Ok(item)
}

pub(super) fn encode_delivery(place: &Place, delivery: &Delivery, version: u64) -> Result<Item, Failure> {
    let mut item = encode(place, &delivery_sort(&delivery.name), delivery, version)?;
    item.insert("place".to_owned(), encode_place(place));
    item.insert("expires_at".to_owned(), number(expiry(delivery.created_at)));
    // What a sweep sends it finds by its plan, and the watcher must not take it up.
    if !delivery.state.is_finished() && !delivery.name.stage.is_planned() {
        let under = place.unfinished_under().to_owned();
        item.insert("unfinished".to_owned(), AttributeValue::S(under));
    }
    Ok(item)
}

pub(super) fn decode_key(item: Item) -> Result<Versioned<Key>, Failure> {
    decode(item)
}

pub(super) fn decode_fact(item: Item) -> Result<Fact, Failure> {
    decode(item).map(|fact| fact.value)
}

pub(super) fn decode_delivery(item: Item) -> Result<Versioned<Delivery>, Failure> {
    decode(item)
}

/// A place stands in a delivery by its parts: a partition key with a digest in it could not be read back.
fn encode_place(place: &Place) -> AttributeValue {
    let (kind, account, name) = match place {
        Place::Key { account, key_id } => ("key", Some(account), Some(key_id)),
        Place::User { account, name } => ("user", Some(account), Some(name)),
        Place::Account { account } => ("account", Some(account), None),
        Place::Decisions { account, key_id } => ("decisions", Some(account), key_id.as_ref()),
        Place::Organization => ("organization", None, None),
        Place::Stray { fact_id } => ("stray", None, Some(fact_id)),
    };
    let mut parts = HashMap::from([("kind".to_owned(), AttributeValue::S(kind.to_owned()))]);
    parts.extend(account.map(|account| ("account".to_owned(), AttributeValue::S(account.to_string()))));
    parts.extend(name.map(|name| ("name".to_owned(), AttributeValue::S(name.clone()))));
    AttributeValue::M(parts)
}

pub(super) fn place_of(item: &Item) -> Result<Place, Failure> {
    let parts = item.get("place").and_then(|place| place.as_m().ok());
    let part = |name: &str| parts.and_then(|parts| text(parts, name)).map(str::to_owned);
    let account = part("account").and_then(|account| AccountId::parse(&account).ok());
    match (part("kind").as_deref(), account, part("name")) {
        (Some("key"), Some(account), Some(key_id)) => Ok(Place::Key { account, key_id }),
        (Some("user"), Some(account), Some(name)) => Ok(Place::User { account, name }),
        (Some("account"), Some(account), _) => Ok(Place::Account { account }),
        (Some("decisions"), Some(account), key_id) => Ok(Place::Decisions { account, key_id }),
        (Some("organization"), ..) => Ok(Place::Organization),
        (Some("stray"), _, Some(fact_id)) => Ok(Place::Stray { fact_id }),
        _ => Err(unreadable(item, "its place names no key, user, account, decision or stray event")),
    }
}

/// A delivery and its place, by the item's own parts. They decide where it is claimed and recorded, so they have to say
/// where the item stands: who may write in one partition must not have the sweeper write in another.
pub(super) fn delivery_in_its_place(item: Item) -> Result<(Place, Versioned<Delivery>), Failure> {
    let place = place_of(&item)?;
    let stands = (text(&item, "pk").map(str::to_owned), text(&item, "sk").map(str::to_owned));
    let problem = unreadable(&item, "it says of itself that it stands elsewhere");
    let delivery = decode_delivery(item)?;
    let says = (Some(place.partition()), Some(delivery_sort(&delivery.value.name)));
    if stands == says { Ok((place, delivery)) } else { Err(problem) }
}

fn encode(place: &Place, sort: &str, value: &impl Serialize, version: u64) -> Result<Item, Failure> {
    encode_at(&place.partition(), sort, value, version)
}

/// An item that belongs to no place.
pub(super) fn encode_at(
    partition: &str,
    sort: &str,
    value: &impl Serialize,
    version: u64,
) -> Result<Item, Failure> {
    let encoded: serde_dynamo::Item = serde_dynamo::to_item(value)
        .map_err(|error| Failure::operators(format!("encoding {sort} of {partition}"), error.to_string()))?;
    let mut item: Item = encoded.into();
    item.extend(key_of(partition, sort));
    item.insert("schema".to_owned(), number(SCHEMA));
    item.insert("version".to_owned(), number(version));
    Ok(item)
}

pub(super) fn decode<T: DeserializeOwned>(item: Item) -> Result<Versioned<T>, Failure> {
    match natural(&item, "schema") {
        Some(schema) if schema <= SCHEMA => {}
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
            let problem = format!(
                "its schema is {found}, and this version of keytide reads up to {SCHEMA}: upgrade it"
            );
            return Err(unreadable(&item, &problem));
        }
    }
    let Some(version) = natural(&item, "version") else {
        return Err(unreadable(&item, "it has no version"));
    };
    // Named before it is consumed: an error must say which item it was.
    let name = name_of(&item);
    let value = serde_dynamo::from_item(serde_dynamo::Item::from(item))
        .map_err(|error| Failure::operators(name, error.to_string()))?;
    Ok(Versioned { value, version })
}

fn unreadable(item: &Item, problem: &str) -> Failure {
    Failure::operators(name_of(item), problem)
}

fn name_of(item: &Item) -> String {
    format!(
        "reading the ledger's item {} {}",
        text(item, "pk").unwrap_or("(no pk)"),
        text(item, "sk").unwrap_or("(no sk)")
    )
}

pub(super) fn seconds_after(at: Timestamp, kept: SignedDuration) -> u64 {
    let end = at.saturating_add(kept).unwrap_or(Timestamp::MAX);
    u64::try_from(end.as_second()).unwrap_or_default()
}
