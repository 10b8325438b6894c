//! The accounts arranged by hand, past what the API permits.

use std::time::Duration;

use jiff::Timestamp;

use super::report::Report;
use crate::LocalAws;
use crate::error::LocalError;
use crate::world::{
    AccessKey, Account, Draft, KeyStatus, LastUse, Password, Role, User, World, is_account_id, whole_seconds,
};

/// The accounts of a [`LocalAws`] and what is in them. What is arranged here is seen at
/// once, together with what was on its way for the same user.
#[derive(Debug, Clone, Copy)]
pub struct Iam<'aws> {
    aws: &'aws LocalAws,
}

impl<'aws> Iam<'aws> {
    pub(crate) fn of(aws: &'aws LocalAws) -> Self {
        Self { aws }
    }

    /// Adds an empty account.
    pub fn add_account(self, id: &str) -> Result<(), LocalError> {
        if !is_account_id(id) {
            return Err(LocalError::AccountId { given: id.to_owned() });
        }
        let now = self.aws.now();
        if self.aws.world().add_account(id, now) { Ok(()) } else { Err(present("account", id)) }
    }

    /// Adds a role that may be assumed from every account by who knows its external id, and that
    /// may do these actions (`iam:GetUser`, `iam:List*`, `*`).
    pub fn add_role(
        self,
        account: &str,
        name: &str,
        external_id: Option<&str>,
        actions: &[&str],
    ) -> Result<(), LocalError> {
        let mut world = self.aws.world();
        let id = world.new_id("AROA", 17);
        let role = Role {
            id,
            external_id: external_id.map(str::to_owned),
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        };
        let replaced = in_account(&mut world, account)?.roles.insert(name.to_owned(), role);
        match replaced {
            None => Ok(()),
            Some(_) => Err(present("role", name)),
        }
    }

    /// Adds a user who was created now, and gives the user's unique id.
    pub fn add_user(
        self,
        account: &str,
        name: &str,
        path: &str,
        tags: &[(&str, &str)],
    ) -> Result<String, LocalError> {
        let created = whole_seconds(self.aws.now());
        let id = self.aws.world().new_id("AIDA", 17);
        let user = User {
            name: name.to_owned(),
            id: id.clone(),
            path: path.to_owned(),
            created,
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            keys: Vec::new(),
            password: None,
            mfa: false,
        };
        self.change(account, |users| {
            if users.get(name).is_some() {
                return Err(present("user", name));
            }
            users.insert(user);
            Ok(id)
        })
    }

    /// Adds an access key as old as it should be, beyond the quota too.
    pub fn add_access_key(
        self,
        account: &str,
        user: &str,
        key_id: &str,
        created: Timestamp,
        status: KeyStatus,
    ) -> Result<(), LocalError> {
        let key = AccessKey::new(key_id, status, whole_seconds(created));
        self.change(account, |users| {
            if users.holder_of(key_id).is_some() {
                return Err(present("access key", key_id));
            }
            user_mut(users, user)?.keys.push(key);
            Ok(())
        })
    }

    /// Gives the account's root an access key, which a credential report alone shows.
    ///
    /// [`Self::set_status`], [`Self::set_last_used`] and [`Self::delete_access_key`] know it too.
    pub fn add_root_access_key(
        self,
        account: &str,
        key_id: &str,
        created: Timestamp,
        status: KeyStatus,
    ) -> Result<(), LocalError> {
        let mut world = self.aws.world();
        let keys = &mut in_account(&mut world, account)?.root_keys;
        if keys.iter().any(|key| key.id == key_id) {
            return Err(present("access key", key_id));
        }
        keys.push(AccessKey::new(key_id, status, whole_seconds(created)));
        Ok(())
    }

    /// Sets a key's state.
    pub fn set_status(self, account: &str, key_id: &str, status: KeyStatus) -> Result<(), LocalError> {
        let now = whole_seconds(self.aws.now());
        self.change_key(account, key_id, |key| key.set_status(status, now))
    }

    /// Sets when a key was last used, for which service and in which region.
    pub fn set_last_used(
        self,
        account: &str,
        key_id: &str,
        at: Timestamp,
        service: &str,
        region: &str,
    ) -> Result<(), LocalError> {
        let last_used =
            LastUse { at: whole_seconds(at), service: service.to_owned(), region: region.to_owned() };
        self.change_key(account, key_id, |key| key.last_used = Some(last_used))
    }

    /// Gives a user a password for the console, changed and last used at those times.
    pub fn set_password(
        self,
        account: &str,
        user: &str,
        changed: Timestamp,
        last_used: Option<Timestamp>,
    ) -> Result<(), LocalError> {
        self.change(account, |users| {
            user_mut(users, user)?.password =
                Some(Password { changed: whole_seconds(changed), last_used: last_used.map(whole_seconds) });
            Ok(())
        })
    }

    /// Sets whether a user has an MFA device.
    pub fn set_mfa(self, account: &str, user: &str, active: bool) -> Result<(), LocalError> {
        self.change(account, |users| {
            user_mut(users, user)?.mfa = active;
            Ok(())
        })
    }

    /// Replaces a user's tags.
    pub fn set_tags(self, account: &str, user: &str, tags: &[(&str, &str)]) -> Result<(), LocalError> {
        self.change(account, |users| {
            user_mut(users, user)?.tags =
                tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            Ok(())
        })
    }

    /// Renames a user: the unique id stays and the keys go along.
    pub fn rename_user(self, account: &str, name: &str, new_name: &str) -> Result<(), LocalError> {
        self.change(account, |users| {
            if users.get(new_name).is_some() {
                return Err(present("user", new_name));
            }
            let mut user = users.remove(name).ok_or_else(|| absent("user", name))?;
            new_name.clone_into(&mut user.name);
            users.insert(user);
            Ok(())
        })
    }

    /// Deletes a user with all keys.
    pub fn delete_user(self, account: &str, name: &str) -> Result<(), LocalError> {
        self.change(account, |users| users.remove(name).map(|_| ()).ok_or_else(|| absent("user", name)))
    }

    /// Deletes an access key.
    pub fn delete_access_key(self, account: &str, key_id: &str) -> Result<(), LocalError> {
        {
            let mut world = self.aws.world();
            let root_keys = &mut in_account(&mut world, account)?.root_keys;
            if let Some(position) = root_keys.iter().position(|key| key.id == key_id) {
                root_keys.remove(position);
                return Ok(());
            }
        }
        self.change(account, |users| {
            holder_mut(users, key_id)?.keys.retain(|key| key.id != key_id);
            Ok(())
        })
    }

    /// How long the making of a credential report takes from now on; nothing, until this is set.
    pub fn set_report_making(self, takes: Duration) {
        self.aws.world().report_making = takes;
    }

    /// Puts a credential report in the place of the account's, whatever it says, as if it had been
    /// made at that time.
    pub fn set_report(self, account: &str, csv: &str, made: Timestamp) -> Result<(), LocalError> {
        let mut world = self.aws.world();
        in_account(&mut world, account)?.reports.put(Report::new(csv.to_owned(), whole_seconds(made)));
        Ok(())
    }

    /// At most so many entries in one page of a list, whatever the caller asks for.
    pub fn set_page_size(self, entries: usize) {
        self.aws.world().page_size = entries.max(1);
    }

    fn change<T>(
        self,
        account: &str,
        change: impl FnOnce(&mut Draft<'_>) -> Result<T, LocalError>,
    ) -> Result<T, LocalError> {
        let now = self.aws.now();
        let mut world = self.aws.world();
        in_account(&mut world, account)?.change(now, Duration::ZERO, change)
    }

    /// Changes a key, root's or a user's.
    fn change_key(
        self,
        account: &str,
        key_id: &str,
        change: impl FnOnce(&mut AccessKey),
    ) -> Result<(), LocalError> {
        {
            let mut world = self.aws.world();
            let root_keys = &mut in_account(&mut world, account)?.root_keys;
            if let Some(key) = root_keys.iter_mut().find(|key| key.id == key_id) {
                change(key);
                return Ok(());
            }
        }
        self.change(account, |users| {
            let keys = &mut holder_mut(users, key_id)?.keys;
            let key = keys.iter_mut().find(|key| key.id == key_id);
            change(key.ok_or_else(|| absent("access key", key_id))?);
            Ok(())
        })
    }
}

fn in_account<'world>(world: &'world mut World, account: &str) -> Result<&'world mut Account, LocalError> {
    world.account_mut(account).ok_or_else(|| absent("account", account))
}

fn user_mut<'users>(users: &'users mut Draft<'_>, name: &str) -> Result<&'users mut User, LocalError> {
    users.get_mut(name).ok_or_else(|| absent("user", name))
}

fn holder_mut<'users>(users: &'users mut Draft<'_>, key_id: &str) -> Result<&'users mut User, LocalError> {
    let holder = users.holder_of(key_id).ok_or_else(|| absent("access key", key_id))?;
    user_mut(users, &holder)
}

fn absent(kind: &'static str, name: &str) -> LocalError {
    LocalError::Absent { kind, name: name.to_owned() }
}

fn present(kind: &'static str, name: &str) -> LocalError {
    LocalError::Present { kind, name: name.to_owned() }
}
