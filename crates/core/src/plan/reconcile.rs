//! What was seen, against what the ledger knew.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{AccountState, Observations};
use crate::{
    AccountId,
    cloudtrail::Status,
    key::{Key, Sighting, Standing, miss, sight},
    owner::ListedKey,
};

/// One key's new state, and what is new about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The key as it is now known.
    pub key: Key,
    /// What is new; empty where only what was read afresh was noted.
    pub news: Vec<News>,
}

/// What is new about a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum News {
    /// No event told of it: it is entered, and alerted as new unless this is the account's first sweep.
    Found,
    /// It was taken for deleted, and is there.
    Reopened,
    /// It has another status than the ledger knew.
    Status {
        /// The ledger's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Status>,
        /// The true one.
        to: Status,
    },
    /// Its user has another name.
    Renamed {
        /// The name before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The name now.
        to: String,
    },
    /// Nobody has seen it for a day: it is taken for deleted.
    Gone,
}

impl Observations {
    /// What was seen of one key, applied to what is known of it; `None` where nothing of it changed, or where
    /// nobody looked. Users that were not looked at change nothing, and close nothing.
    pub fn settle(&self, account: &AccountId, key_id: &str, known: Option<&Key>) -> Option<Change> {
        let listed = self.listed().find(|(_, listed)| listed.key_id == key_id);
        self.settle_listed(account, key_id, known, listed)
    }

    fn settle_listed(
        &self,
        account: &AccountId,
        key_id: &str,
        known: Option<&Key>,
        listed: Option<(&str, &ListedKey)>,
    ) -> Option<Change> {
        let mut key = if let Some((name, listed)) = listed {
            let user = self.users.get(name)?;
            let sighting = Sighting {
                account: account.clone(),
                key_id: key_id.to_owned(),
                user: name.to_owned(),
                status: listed.status.clone(),
                created: listed.created,
                at: user.at,
            };
            sight(known.cloned(), &sighting, user.owner.as_ref())
        } else {
            let known = known?;
            match known.holder.subject.user().and_then(|user| self.users.get(user)) {
                // Listed with success, or gone as a whole: either way it is not there.
                Some(user) => miss(known.clone(), user.at),
                None => known.clone(),
            }
        };
        if let Some(last_use) = self.last_use.get(key_id)
            && key.last_use.as_ref().is_none_or(|known| known.seen_at < last_use.seen_at)
        {
            key.last_use = Some(last_use.clone());
        }
        let news = news(known, &key);
        (known != Some(&key)).then_some(Change { key, news })
    }

    /// All keys that were listed, with the name under which: one that moved to a new name is found there.
    fn listed(&self) -> impl Iterator<Item = (&str, &ListedKey)> {
        self.users
            .iter()
            .flat_map(|(name, user)| user.keys.iter().flatten().map(move |listed| (name.as_str(), listed)))
    }
}

/// The keys as they are now known, and which of them changed.
pub(super) fn reconcile(state: &AccountState, seen: &Observations) -> (Vec<Key>, Vec<Change>) {
    let before: BTreeMap<&str, &Key> = state.keys.iter().map(|key| (key.key_id.as_str(), key)).collect();
    let listed: BTreeMap<&str, (&str, &ListedKey)> =
        seen.listed().map(|(user, listed)| (listed.key_id.as_str(), (user, listed))).collect();
    let all: BTreeSet<&str> = before.keys().chain(listed.keys()).copied().collect();
    let mut keys = Vec::new();
    let mut changes = Vec::new();
    for key_id in all {
        let known = before.get(key_id).copied();
        match seen.settle_listed(&state.account, key_id, known, listed.get(key_id).copied()) {
            Some(change) => {
                keys.push(change.key.clone());
                changes.push(change);
            }
            None => keys.extend(known.cloned()),
        }
    }
    (keys, changes)
}

fn news(known: Option<&Key>, key: &Key) -> Vec<News> {
    let mut news = Vec::new();
    let Some(known) = known else {
        if !key.is_closed() {
            news.push(News::Found);
        }
        return news;
    };
    // An event of another kind may have come first, and that of its creation never: it is still to be told of.
    if known.born().is_none() && key.born().is_some() && !key.is_closed() {
        news.push(News::Found);
    }
    match (known.standing(), key.standing()) {
        (Some(Standing::Gone(_)), Some(Standing::Exists(_))) => news.push(News::Reopened),
        (Some(Standing::Exists(_)) | None, Some(Standing::Gone(_))) => news.push(News::Gone),
        _ => {}
    }
    let status = |key: &Key| key.status.as_ref().map(|mark| mark.status.clone());
    if let (from, Some(to)) = (status(known), status(key))
        && from.as_ref() != Some(&to)
    {
        news.push(News::Status { from, to });
    }
    if let (from, Some(to)) = (known.holder.subject.user(), key.holder.subject.user())
        && from != Some(to)
    {
        news.push(News::Renamed { from: from.map(str::to_owned), to: to.to_owned() });
    }
    news
}
