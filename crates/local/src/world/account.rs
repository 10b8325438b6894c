//! One account: users that are seen late where IAM is slow, roles, and what its root has.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::KeyStatus;
use crate::iam::Reports;

#[derive(Debug, Clone)]
pub(crate) struct LastUse {
    pub(crate) at: Timestamp,
    pub(crate) service: String,
    pub(crate) region: String,
}

#[derive(Debug, Clone)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) status: KeyStatus,
    pub(crate) created: Timestamp,
    /// When it was created or its status last changed: what a credential report calls rotated.
    pub(crate) changed: Timestamp,
    pub(crate) last_used: Option<LastUse>,
}

impl AccessKey {
    pub(crate) fn new(id: &str, status: KeyStatus, created: Timestamp) -> Self {
        Self { id: id.to_owned(), status, created, changed: created, last_used: None }
    }

    pub(crate) fn set_status(&mut self, status: KeyStatus, now: Timestamp) {
        if self.status != status {
            self.status = status;
            self.changed = now;
        }
    }
}

/// A password for the console.
#[derive(Debug, Clone)]
pub(crate) struct Password {
    pub(crate) changed: Timestamp,
    pub(crate) last_used: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) created: Timestamp,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) keys: Vec<AccessKey>,
    pub(crate) password: Option<Password>,
    pub(crate) mfa: bool,
}

impl User {
    pub(crate) fn arn(&self, account: &str) -> String {
        format!("arn:aws:iam::{account}:user{}{}", self.path, self.name)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) id: String,
    pub(crate) external_id: Option<String>,
    pub(crate) actions: Vec<String>,
}

impl Role {
    pub(super) fn permits(&self, action: &str) -> bool {
        self.actions.iter().any(|pattern| {
            pattern.strip_suffix('*').map_or(pattern == action, |beginning| action.starts_with(beginning))
        })
    }
}

/// Users by name, as a change leaves them; `None` is one who is gone.
type Changed = BTreeMap<String, Option<User>>;

/// A change that readers do not see before its time.
#[derive(Debug)]
struct Pending {
    seen_from: Timestamp,
    users: Changed,
}

/// One account. What changed lately stands apart until every reader sees it, so that a change costs
/// what it changes, and not what the account holds.
#[derive(Debug)]
pub(crate) struct Account {
    settled: BTreeMap<String, User>,
    /// Who holds which key, among the settled users.
    holders: HashMap<String, String>,
    /// The oldest first.
    pending: VecDeque<Pending>,
    pub(crate) created: Timestamp,
    pub(crate) root_keys: Vec<AccessKey>,
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) reports: Reports,
}

impl Account {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            settled: BTreeMap::new(),
            holders: HashMap::new(),
            pending: VecDeque::new(),
            created: super::whole_seconds(now),
            root_keys: Vec::new(),
            roles: BTreeMap::new(),
            reports: Reports::default(),
        }
    }

    /// The users as a reader sees them now, by name.
    pub(crate) fn seen(&self, now: Timestamp) -> Vec<&User> {
        let visible = self.visible(now);
        if visible == 0 {
            return self.settled.values().collect();
        }
        let mut users: BTreeMap<&str, &User> =
            self.settled.iter().map(|(name, user)| (name.as_str(), user)).collect();
        for (name, user) in self.pending.iter().take(visible).flat_map(|pending| &pending.users) {
            match user {
                Some(user) => users.insert(name, user),
                None => users.remove(name.as_str()),
            };
        }
        users.into_values().collect()
    }

    pub(crate) fn seen_user(&self, now: Timestamp, name: &str) -> Option<&User> {
        self.user_at(self.visible(now), name)
    }

    /// The user whose key that is.
    pub(crate) fn seen_holder(&self, now: Timestamp, key_id: &str) -> Option<&User> {
        self.holder_at(self.visible(now), key_id)
    }

    /// How many of the pending changes a reader sees: with one, all before it.
    fn visible(&self, now: Timestamp) -> usize {
        self.pending.iter().rposition(|pending| pending.seen_from <= now).map_or(0, |latest| latest + 1)
    }

    fn user_at(&self, visible: usize, name: &str) -> Option<&User> {
        let mut latest_first = self.pending.iter().take(visible).rev();
        match latest_first.find_map(|pending| pending.users.get(name)) {
            Some(changed) => changed.as_ref(),
            None => self.settled.get(name),
        }
    }

    fn holder_at(&self, visible: usize, key_id: &str) -> Option<&User> {
        let changed = self.pending.iter().take(visible).flat_map(|pending| pending.users.keys());
        changed
            .chain(self.holders.get(key_id))
            .filter_map(|name| self.user_at(visible, name))
            .find(|user| user.keys.iter().any(|key| key.id == key_id))
    }

    /// Changes the users, to be seen after `delay`; a refused change leaves no trace.
    pub(crate) fn change<T, E>(
        &mut self,
        now: Timestamp,
        delay: Duration,
        change: impl FnOnce(&mut Draft<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut draft = Draft { account: self, changed: Changed::new() };
        let result = change(&mut draft)?;
        let users = draft.changed;
        let seen_from = SignedDuration::try_from(delay)
            .ok()
            .and_then(|delay| now.saturating_add(delay).ok())
            .unwrap_or(Timestamp::MAX);
        // What every reader sees needs no place of its own any more.
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.seen_from <= now) {
            self.settle(pending.users);
        }
        if delay.is_zero() {
            // What else was on its way for these users is seen with it; for others it is not.
            for pending in &mut self.pending {
                pending.users.retain(|name, _| !users.contains_key(name));
            }
            self.settle(users);
        } else {
            self.pending.push_back(Pending { seen_from, users });
        }
        Ok(result)
    }

    fn settle(&mut self, users: Changed) {
        for (name, user) in users {
            for key in self.settled.remove(&name).iter().flat_map(|before| &before.keys) {
                // After a rename the key is another's already.
                if self.holders.get(&key.id) == Some(&name) {
                    self.holders.remove(&key.id);
                }
            }
            if let Some(user) = user {
                self.holders.extend(user.keys.iter().map(|key| (key.id.clone(), name.clone())));
                self.settled.insert(name, user);
            }
        }
    }
}

/// The users of an account while one change is made: as the changes before left them, seen or not.
#[derive(Debug)]
pub(crate) struct Draft<'account> {
    account: &'account Account,
    changed: Changed,
}

impl Draft<'_> {
    pub(crate) fn get(&self, name: &str) -> Option<&User> {
        match self.changed.get(name) {
            Some(changed) => changed.as_ref(),
            None => self.account.user_at(self.account.pending.len(), name),
        }
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut User> {
        if !self.changed.contains_key(name) {
            let user = self.get(name)?.clone();
            self.insert(user);
        }
        self.changed.get_mut(name)?.as_mut()
    }

    pub(crate) fn insert(&mut self, user: User) {
        self.changed.insert(user.name.clone(), Some(user));
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<User> {
        let user = self.get(name)?.clone();
        self.changed.insert(name.to_owned(), None);
        Some(user)
    }

    /// The name of the user whose key that was before this change.
    pub(crate) fn holder_of(&self, key_id: &str) -> Option<String> {
        self.account.holder_at(self.account.pending.len(), key_id).map(|user| user.name.clone())
    }
}
