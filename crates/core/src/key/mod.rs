//! The present state of one access key, and how events move it.
//!
//! Events come late, twice and in any order, so [`apply`] is a join: what it keeps of each part of the
//! state is the *largest* of all it has seen under an order that does not depend on arrival. Any order and
//! any repetition of a key's events therefore gives one state; a property test says so.

mod listing;
mod notice;
mod reactivations;
mod renames;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    listing::{ABSENT_FOR, Absence, LISTING_LAG, Sighting, miss, sight},
    notice::{Ground, NoticeMark, NoticeTerms, settle_notices},
    reactivations::Reactivations,
    renames::Renames,
};
use crate::{
    AccountId,
    cloudtrail::{Actor, KeyChange, KeyEvent, Status, Subject},
    owner::Owner,
};

/// One access key, as the ledger holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The account that owns the key.
    pub account: AccountId,
    /// The access key's id.
    pub key_id: String,
    /// Whose key it is, and since which event that is known.
    pub holder: Holder,
    /// Its creation, once an event told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<Creation>,
    /// The latest status known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusMark>,
    /// Set once the key is deleted: a tombstone, since an older event may still arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// The owner as last found in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// When it was set Active again.
    #[serde(default, skip_serializing_if = "Reactivations::is_empty")]
    pub reactivations: Reactivations,
    /// Its birth as a listing told it, which is better than any event's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_birth: Option<Timestamp>,
    /// Since when listings of its user have not shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absence: Option<Absence>,
    /// Its latest use that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_use: Option<LastUse>,
    /// The notices that Slack confirmed, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<NoticeMark>,
}

/// When and where a key was last used, and when that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    /// When; `None`: never (since AWS keeps track, which began on 2015-04-22).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The service, as `s3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// When this was read.
    pub seen_at: Timestamp,
}

/// Whose key it is, with the time of the event that said so: a later event knows better.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// The time of the event.
    pub at: Timestamp,
    /// The user, root, or unknown.
    pub subject: Subject,
}

/// How a key came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creation {
    /// The key's birth.
    pub at: Timestamp,
    /// The fact that told of it.
    pub fact_id: String,
    /// By whom.
    pub by: Actor,
    /// From where. Untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// With what. Untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// With MFA or without; `None` where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<bool>,
}

/// A status, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusMark {
    /// The status.
    pub status: Status,
    /// The time of the event that set it.
    pub since: Timestamp,
    /// Whether it is only the status at creation: any later word on it counts more, whatever the clocks say.
    pub from_creation: bool,
    /// Two events of the same second disagree. The safer one stands until a listing settles it.
    pub unsettled: bool,
}

/// How a key ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deletion {
    /// When.
    pub at: Timestamp,
    /// The fact that told of it.
    pub fact_id: String,
}

/// What is known of a key's standing now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing<'a> {
    /// The key is deleted.
    Deleted(&'a Deletion),
    /// No listing has shown the key for a day: it is taken for deleted until it is seen again.
    Gone(&'a Absence),
    /// The key exists with this status.
    Exists(&'a StatusMark),
}

/// What an event did to a key's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The state after it.
    pub key: Key,
    /// How the event stands to what was known.
    pub effect: Effect,
}

/// How an event stands to what was already known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is the newest word on the key.
    Current,
    /// A later event has already changed what it changed.
    Superseded,
    /// Another event of the same second says otherwise, and the safer of the two stands until a listing settles it.
    Unsettled,
    /// The key has already been deleted.
    AfterDeletion,
}

impl Key {
    /// Whether the key is deleted, has its status, or nothing is known of either.
    pub fn standing(&self) -> Option<Standing<'_>> {
        if let Some(deletion) = &self.deletion {
            return Some(Standing::Deleted(deletion));
        }
        if let Some(absence) = self.absence.as_ref().filter(|absence| absence.is_long()) {
            return Some(Standing::Gone(absence));
        }
        self.status.as_ref().map(Standing::Exists)
    }

    /// Whether nothing more is expected of the key: it is deleted, or taken for deleted.
    pub fn is_closed(&self) -> bool {
        matches!(self.standing(), Some(Standing::Deleted(_) | Standing::Gone(_)))
    }

    /// When the key came to be: as a listing told it, else by the event of its creation.
    pub fn born(&self) -> Option<Timestamp> {
        self.listed_birth.or_else(|| self.creation.as_ref().map(|creation| creation.at))
    }

    /// The standing in one word: `Active`, `Inactive`, …, `Deleted`, `Gone`, or `Unknown`.
    pub fn standing_word(&self) -> &str {
        match self.standing() {
            Some(Standing::Deleted(_)) => "Deleted",
            Some(Standing::Gone(_)) => "Gone",
            Some(Standing::Exists(mark)) => mark.status.as_str(),
            None => "Unknown",
        }
    }

    /// The key with what a fresh look at the directory found, unless a later look was already recorded.
    #[must_use]
    pub fn with_owner(mut self, owner: Owner) -> Self {
        if self.owner.as_ref().is_none_or(|known| known.seen_at < owner.seen_at) {
            self.owner = Some(owner);
        }
        self
    }

    /// The key of a user that was given another name at `at`.
    #[must_use]
    pub fn with_holder_renamed(mut self, from: &str, to: &str, at: Timestamp) -> Self {
        if self.holder.subject.user() == Some(from) && self.holder.at <= at {
            self.holder = Holder { at, subject: Subject::User(to.to_owned()) };
        }
        self
    }

    /// A key of which nothing is known yet but whose it is.
    fn first_seen(account: &AccountId, key_id: &str, holder: Holder) -> Self {
        Self {
            account: account.clone(),
            key_id: key_id.to_owned(),
            holder,
            creation: None,
            status: None,
            deletion: None,
            owner: None,
            reactivations: Reactivations::default(),
            listed_birth: None,
            absence: None,
            last_use: None,
            notices: Vec::new(),
        }
    }

    /// keytide disabled it, and IAM shows that.
    pub fn set_inactive(&mut self, at: Timestamp) {
        self.status = Some(joined(self.status.take(), mark(&Status::Inactive, at, false)));
    }
}

/// Applies one event to a key's state, `None` where the key was not known.
///
/// Every ordering rule is here: a creation is the earliest one told of; a deletion is final, whenever it is
/// heard of; of two statuses the later one stands, and of two in one second the safer one, marked unsettled;
/// a word on the status counts more than the status at creation; who is named beats who is not, and the
/// later name beats the earlier.
pub fn apply(known: Option<Key>, event: &KeyEvent) -> Transition {
    let call = &event.call;
    let holder = Holder { at: call.at, subject: event.subject.clone() };
    let mut key = known.unwrap_or_else(|| Key::first_seen(&call.account, &event.key_id, holder.clone()));

    let rank = |holder: &Holder| (holder.subject != Subject::Unknown, holder.clone());
    if rank(&holder) > rank(&key.holder) {
        key.holder = holder;
    }

    match &event.change {
        KeyChange::Created { status, .. } => {
            let creation = Creation {
                at: call.at,
                fact_id: event.fact_id(),
                by: call.actor.clone(),
                source: call.source.clone(),
                user_agent: call.user_agent.clone(),
                mfa: call.mfa,
            };
            let order = |creation: &Creation| (creation.at, creation.fact_id.clone());
            if key.creation.as_ref().is_none_or(|known| order(&creation) < order(known)) {
                key.creation = Some(creation);
            }
            key.status = Some(joined(key.status.take(), mark(status, call.at, true)));
        }
        KeyChange::StatusChanged { to } => {
            key.status = Some(joined(key.status.take(), mark(to, call.at, false)));
            if *to == Status::Active {
                key.reactivations.told(call.at);
            }
        }
        KeyChange::Deleted => {
            let deletion = Deletion { at: call.at, fact_id: event.fact_id() };
            if key.deletion.as_ref().is_none_or(|known| deletion < *known) {
                key.deletion = Some(deletion);
            }
        }
    }

    // Who is changed is there, whatever a listing before that did not show.
    if event.change != KeyChange::Deleted {
        key.absence = key.absence.take().filter(|absence| absence.latest >= call.at);
    }

    let effect = effect_of(&key, event);
    Transition { key, effect }
}

fn effect_of(key: &Key, event: &KeyEvent) -> Effect {
    if event.change == KeyChange::Deleted {
        return Effect::Current;
    }
    match key.standing() {
        Some(Standing::Deleted(_)) => Effect::AfterDeletion,
        Some(Standing::Exists(mark)) if event.change.status() == Some(&mark.status) => Effect::Current,
        Some(Standing::Exists(mark)) if mark.unsettled && mark.since == event.call.at => Effect::Unsettled,
        // Of a key that no listing shows any more, too: it says what happened before.
        Some(Standing::Exists(_) | Standing::Gone(_)) => Effect::Superseded,
        None => Effect::Current,
    }
}

fn mark(status: &Status, since: Timestamp, from_creation: bool) -> StatusMark {
    StatusMark { status: status.clone(), since, from_creation, unsettled: false }
}

/// The larger of two marks; commutative, associative and idempotent.
fn joined(known: Option<StatusMark>, new: StatusMark) -> StatusMark {
    let Some(known) = known else { return new };
    let class = |mark: &StatusMark| (!mark.from_creation, mark.since);
    match class(&known).cmp(&class(&new)) {
        std::cmp::Ordering::Less => new,
        std::cmp::Ordering::Greater => known,
        std::cmp::Ordering::Equal => {
            let unsettled = known.unsettled || new.unsettled || known.status != new.status;
            let safer = if caution(&new.status) > caution(&known.status) { new } else { known };
            StatusMark { unsettled, ..safer }
        }
    }
}

/// How safe a status is to assume; the text decides between two unknown ones, so that the order is total.
fn caution(status: &Status) -> (u8, &str) {
    let rank = match status {
        Status::Inactive => 3,
        Status::Expired => 2,
        Status::Other(_) => 1,
        Status::Active => 0,
    };
    (rank, status.as_str())
}
