//! The accounts arranged by hand, past what the API permits.

use jiff::Timestamp;

use crate::LocalAws;
use crate::error::LocalError;
use crate::world::{
    AccessKey, Account, KeyStatus, LastUse, Role, User, Users, World, is_account_id, whole_seconds,
};

/// The accounts of a [`LocalAws`] and what is in them. What is arranged here is seen at once.
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
        if self.aws.world().add_account(id) { Ok(()) } else { Err(present("account", id)) }
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
        };
        self.change(account, |users| {
            if users.contains_key(name) {
                return Err(present("user", name));
            }
            users.insert(name.to_owned(), user);
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
        self.change(account, |users| {
            if users.values().any(|user| user.keys.iter().any(|key| key.id == key_id)) {
                return Err(present("access key", key_id));
            }
            user_mut(users, user)?.keys.push(AccessKey {
                id: key_id.to_owned(),
                status,
                created: whole_seconds(created),
                last_used: None,
            });
            Ok(())
        })
    }

    /// Sets a key's state.
    pub fn set_status(self, account: &str, key_id: &str, status: KeyStatus) -> Result<(), LocalError> {
        self.change(account, |users| {
            key_mut(users, key_id)?.status = status;
            Ok(())
        })
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
        self.change(account, |users| {
            key_mut(users, key_id)?.last_used = Some(LastUse {
                at: whole_seconds(at),
                service: service.to_owned(),
                region: region.to_owned(),
            });
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
            if users.contains_key(new_name) {
                return Err(present("user", new_name));
            }
            let mut user = users.remove(name).ok_or_else(|| absent("user", name))?;
            new_name.clone_into(&mut user.name);
            users.insert(new_name.to_owned(), user);
            Ok(())
        })
    }

    /// Deletes a user with all keys.
    pub fn delete_user(self, account: &str, name: &str) -> Result<(), LocalError> {
        self.change(account, |users| users.remove(name).map(|_| ()).ok_or_else(|| absent("user", name)))
    }

    /// Deletes an access key.
    pub fn delete_access_key(self, account: &str, key_id: &str) -> Result<(), LocalError> {
        self.change(account, |users| {
            key_mut(users, key_id)?;
            for user in users.values_mut() {
                user.keys.retain(|key| key.id != key_id);
            }
            Ok(())
        })
    }

    /// At most so many entries in one page of a list, whatever the caller asks for.
    pub fn set_page_size(self, entries: usize) {
        self.aws.world().page_size = entries.max(1);
    }

    fn change<T>(
        self,
        account: &str,
        change: impl FnOnce(&mut Users) -> Result<T, LocalError>,
    ) -> Result<T, LocalError> {
        let now = self.aws.now();
        let mut world = self.aws.world();
        in_account(&mut world, account)?.change(now, std::time::Duration::ZERO, change)
    }
}

fn in_account<'world>(world: &'world mut World, account: &str) -> Result<&'world mut Account, LocalError> {
    world.account_mut(account).ok_or_else(|| absent("account", account))
}

fn user_mut<'users>(users: &'users mut Users, name: &str) -> Result<&'users mut User, LocalError> {
    users.get_mut(name).ok_or_else(|| absent("user", name))
}

fn key_mut<'users>(users: &'users mut Users, key_id: &str) -> Result<&'users mut AccessKey, LocalError> {
    users
        .values_mut()
        .find_map(|user| user.keys.iter_mut().find(|key| key.id == key_id))
        .ok_or_else(|| absent("access key", key_id))
}

fn absent(kind: &'static str, name: &str) -> LocalError {
    LocalError::Absent { kind, name: name.to_owned() }
}

fn present(kind: &'static str, name: &str) -> LocalError {
    LocalError::Present { kind, name: name.to_owned() }
}
