//! What listings of a user's keys say, and how it moves a key's state.
//!
//! A listing is a word on the present, from a service that is some seconds behind itself. It settles what
//! events left open and fills in what no event told; it never overrules what happened while it was made.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Holder, Key, Standing, StatusMark};
use crate::{
    AccountId,
    cloudtrail::{Status, Subject},
    owner::Owner,
};

/// IAM shows a change some seconds later, so a listing vouches for the state up to this long before it.
pub const LISTING_LAG: SignedDuration = SignedDuration::from_mins(1);

/// A key that no listing shows for this long is taken for deleted.
pub const ABSENT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// A key as a listing of its user shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The account.
    pub account: AccountId,
    /// The access key's id.
    pub key_id: String,
    /// The user whose keys were listed.
    pub user: String,
    /// Its status.
    pub status: Status,
    /// Its birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When the listing was made.
    pub at: Timestamp,
}

/// Since when listings of a user, made with success, have not shown one of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// The first that did not show it.
    pub since: Timestamp,
    /// The latest that did not.
    pub latest: Timestamp,
}

impl Absence {
    /// Whether it has lasted long enough to take the key for deleted.
    pub fn is_long(&self) -> bool {
        self.latest.duration_since(self.since) >= ABSENT_FOR
    }
}

/// Applies a sighting to a key's state, `None` where the key was not known.
///
/// A deleted key stays deleted: a listing that still shows it is behind. A key that was only taken for
/// deleted is open again. Doing it twice changes nothing.
pub fn sight(known: Option<Key>, seen: &Sighting, owner: Option<&Owner>) -> Key {
    let until = seen.at.saturating_sub(LISTING_LAG).unwrap_or(seen.at);
    let holder = Holder { at: until, subject: Subject::User(seen.user.clone()) };
    let mut key = known.unwrap_or_else(|| Key::first_seen(&seen.account, &seen.key_id, holder.clone()));
    if key.holder.subject != holder.subject && key.holder.at < until {
        key.holder = holder;
    }
    key.listed_birth = seen.created.or(key.listed_birth);
    key.absence = key.absence.take().filter(|absence| absence.latest >= seen.at);
    let stands = match &key.status {
        Some(mark) => mark.since >= until || (mark.status == seen.status && !mark.unsettled),
        None => false,
    };
    if !stands {
        let off = key.status.as_ref().filter(|mark| mark.status != Status::Active).map(|mark| mark.since);
        if let Some(after) = off
            && seen.status == Status::Active
        {
            key.reactivations.seen(after, until, seen.at);
        }
        key.status = Some(StatusMark {
            status: seen.status.clone(),
            since: until,
            from_creation: false,
            unsettled: false,
        });
    }
    match owner {
        Some(owner) => key.with_owner(owner.clone()),
        None => key,
    }
}

/// Notes that a listing of its user, made with success at `at`, did not show a key.
#[must_use]
pub fn miss(mut key: Key, at: Timestamp) -> Key {
    if matches!(key.standing(), Some(Standing::Deleted(_))) {
        return key;
    }
    let until = at.saturating_sub(LISTING_LAG).unwrap_or(at);
    // A key that was made, or changed, a moment ago may not be shown yet.
    let is_fresh = key.born().is_some_and(|born| born >= until)
        || key.status.as_ref().is_some_and(|mark| mark.since >= until);
    if !is_fresh {
        let since = key.absence.as_ref().map_or(at, |absence| absence.since.min(at));
        let latest = key.absence.as_ref().map_or(at, |absence| absence.latest.max(at));
        key.absence = Some(Absence { since, latest });
    }
    key
}
