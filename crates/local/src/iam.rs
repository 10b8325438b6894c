//! IAM: users, their tags and their access keys.

mod arrange;

use jiff::Timestamp;

pub use self::arrange::Iam;
use crate::LocalAws;
use crate::answer::Answer;
use crate::calls::Service;
use crate::query::{Parameters, Xml};
use crate::world::{AccessKey, Account, Caller, KeyStatus, Refusal, User, Users, whole_seconds};

pub(crate) const OPERATIONS: &[&str] = &[
    "GetUser",
    "ListUsers",
    "ListUserTags",
    "ListAccessKeys",
    "GetAccessKeyLastUsed",
    "CreateAccessKey",
    "UpdateAccessKey",
    "DeleteAccessKey",
    "CreateUser",
    "DeleteUser",
    "UpdateUser",
    "TagUser",
    "UntagUser",
];

/// At most so many keys for a user (IAM's quotas); a race can make more, and so can a hand-made
/// world.
const KEYS_PER_USER: usize = 2;

/// One page may hold at most so many entries (IAM's API reference, `MaxItems`).
const LARGEST_PAGE: usize = 1_000;

pub(crate) fn serve(aws: &LocalAws, operation: &'static str, caller: &Caller, query: &Parameters) -> Answer {
    let call = IamCall { aws, operation, caller, query, now: aws.now(), page_size: aws.world().page_size };
    let result = match operation {
        "GetUser" => call.get_user(),
        "ListUsers" => call.list_users(),
        "ListUserTags" => call.list_user_tags(),
        "ListAccessKeys" => call.list_access_keys(),
        "GetAccessKeyLastUsed" => call.get_access_key_last_used(),
        "CreateAccessKey" => call.create_access_key(),
        "UpdateAccessKey" => call.update_access_key(),
        "DeleteAccessKey" => call.delete_access_key(),
        "CreateUser" => call.create_user(),
        "DeleteUser" => call.delete_user(),
        "UpdateUser" => call.update_user(),
        "TagUser" => call.tag_user(),
        "UntagUser" => call.untag_user(),
        _ => Err(Refusal::new(400, "InvalidAction", "Could not find operation for version 2010-05-08")),
    };
    result.unwrap_or_else(|refusal| refusal.answer(Service::Iam))
}

struct IamCall<'call> {
    aws: &'call LocalAws,
    operation: &'static str,
    caller: &'call Caller,
    query: &'call Parameters,
    now: Timestamp,
    page_size: usize,
}

impl IamCall<'_> {
    fn get_user(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        self.read(|account| {
            let user = seen_user(account, self.now, name)?;
            Ok(self.response(|xml| {
                xml.inside("User", |xml| {
                    write_user(xml, user, &self.caller.account);
                    write_tags(xml, user.tags.iter());
                });
            }))
        })
    }

    fn list_users(&self) -> Result<Answer, Refusal> {
        let prefix = self.query.get("PathPrefix").unwrap_or("/");
        self.read(|account| {
            let users: Vec<&User> =
                account.seen(self.now).filter(|user| user.path.starts_with(prefix)).collect();
            // No tags: ListUsers leaves them out (its API reference).
            self.page("Users", &users, |xml, user| {
                write_user(xml, user, &self.caller.account);
            })
        })
    }

    fn list_user_tags(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        self.read(|account| {
            let tags: Vec<_> = seen_user(account, self.now, name)?.tags.iter().collect();
            self.page("Tags", &tags, |xml, tag| write_tag(xml, *tag))
        })
    }

    fn list_access_keys(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        self.read(|account| {
            let user = seen_user(account, self.now, name)?;
            let keys: Vec<&AccessKey> = user.keys.iter().collect();
            self.page("AccessKeyMetadata", &keys, |xml, key| {
                write_key(xml, name, key);
            })
        })
    }

    fn get_access_key_last_used(&self) -> Result<Answer, Refusal> {
        let key_id = self.required("AccessKeyId")?;
        self.read(|account| {
            let (user, key) = account
                .seen(self.now)
                .find_map(|user| {
                    let key = user.keys.iter().find(|key| key.id == key_id)?;
                    Some((user, key))
                })
                .ok_or_else(|| no_such_key(key_id))?;
            Ok(self.response(|xml| {
                xml.text("UserName", &user.name);
                xml.inside("AccessKeyLastUsed", |xml| {
                    // A key that was never used has no date, and N/A in the other places.
                    let latest = key.last_used.as_ref();
                    if let Some(latest) = latest {
                        xml.text("LastUsedDate", &latest.at.to_string());
                    }
                    xml.text("ServiceName", latest.map_or("N/A", |latest| &latest.service));
                    xml.text("Region", latest.map_or("N/A", |latest| &latest.region));
                });
            }))
        })
    }

    fn create_access_key(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        let (id, secret) = {
            let mut world = self.aws.world();
            (world.new_id("AKIA", 16), world.new_id("", 40))
        };
        let key =
            AccessKey { id, status: KeyStatus::Active, created: whole_seconds(self.now), last_used: None };
        self.change(|users| {
            let keys = &mut user_mut(users, name)?.keys;
            if keys.len() >= KEYS_PER_USER {
                return Err(Refusal::new(
                    409,
                    "LimitExceeded",
                    format!("Cannot exceed quota for AccessKeysPerUser: {KEYS_PER_USER}"),
                ));
            }
            keys.push(key.clone());
            Ok(())
        })?;
        Ok(self.response(|xml| {
            xml.inside("AccessKey", |xml| {
                write_key(xml, name, &key);
                xml.text("SecretAccessKey", &secret);
            });
        }))
    }

    fn update_access_key(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        let key_id = self.required("AccessKeyId")?;
        let status = match self.required("Status")? {
            "Active" => KeyStatus::Active,
            "Inactive" => KeyStatus::Inactive,
            other => {
                return Err(invalid(format!(
                    "Value '{other}' at 'status' failed to satisfy constraint: Member must satisfy \
                     enum value set: [Active, Inactive]"
                )));
            }
        };
        self.change(|users| {
            let user = user_mut(users, name)?;
            let key = user.keys.iter_mut().find(|key| key.id == key_id);
            key.ok_or_else(|| no_such_key(key_id))?.status = status;
            Ok(())
        })?;
        Ok(self.response(|_| {}))
    }

    fn delete_access_key(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        let key_id = self.required("AccessKeyId")?;
        self.change(|users| {
            let keys = &mut user_mut(users, name)?.keys;
            let before = keys.len();
            keys.retain(|key| key.id != key_id);
            if keys.len() == before {
                return Err(no_such_key(key_id));
            }
            Ok(())
        })?;
        Ok(self.response(|_| {}))
    }

    fn create_user(&self) -> Result<Answer, Refusal> {
        let name = self.required("UserName")?;
        check_name("userName", name)?;
        let user = User {
            name: name.to_owned(),
            id: self.aws.world().new_id("AIDA", 17),
            path: self.query.get("Path").unwrap_or("/").to_owned(),
            created: whole_seconds(self.now),
            tags: self.tags().into_iter().collect(),
            keys: Vec::new(),
        };
        self.change(|users| {
            if users.contains_key(name) {
                return Err(already_exists(name));
            }
            users.insert(name.to_owned(), user.clone());
            Ok(())
        })?;
        Ok(self.response(|xml| {
            xml.inside("User", |xml| {
                write_user(xml, &user, &self.caller.account);
                write_tags(xml, user.tags.iter());
            });
        }))
    }

    fn delete_user(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        self.change(|users| {
            if !user_mut(users, name)?.keys.is_empty() {
                return Err(Refusal::new(
                    409,
                    "DeleteConflict",
                    "Cannot delete entity, must delete access keys first.",
                ));
            }
            users.remove(name);
            Ok(())
        })?;
        Ok(self.response(|_| {}))
    }

    fn update_user(&self) -> Result<Answer, Refusal> {
        let name = self.required("UserName")?;
        let new_name = self.query.get("NewUserName").unwrap_or(name);
        check_name("newUserName", new_name)?;
        self.change(|users| {
            if new_name != name && users.contains_key(new_name) {
                return Err(already_exists(new_name));
            }
            // The id stays and the keys go along: only the names change.
            let mut user = users.remove(name).ok_or_else(|| no_such_user(name))?;
            new_name.clone_into(&mut user.name);
            if let Some(path) = self.query.get("NewPath") {
                path.clone_into(&mut user.path);
            }
            users.insert(new_name.to_owned(), user);
            Ok(())
        })?;
        Ok(self.response(|_| {}))
    }

    fn tag_user(&self) -> Result<Answer, Refusal> {
        let name = self.required("UserName")?;
        let tags = self.tags();
        self.change(|users| {
            user_mut(users, name)?.tags.extend(tags);
            Ok(())
        })?;
        Ok(self.response(|_| {}))
    }

    fn untag_user(&self) -> Result<Answer, Refusal> {
        let name = self.required("UserName")?;
        let keys = self.query.list("TagKeys", |query, prefix| query.get(prefix).map(str::to_owned));
        self.change(|users| {
            let tags = &mut user_mut(users, name)?.tags;
            for key in &keys {
                tags.remove(key);
            }
            Ok(())
        })?;
        Ok(self.response(|_| {}))
    }

    fn required(&self, parameter: &str) -> Result<&str, Refusal> {
        self.query.get(parameter).filter(|value| !value.is_empty()).ok_or_else(|| {
            invalid(format!(
                "Value null at '{parameter}' failed to satisfy constraint: Member must not be \
                     null"
            ))
        })
    }

    /// The user that is meant: named, or the user whose key signed.
    fn user_name(&self) -> Result<&str, Refusal> {
        self.query
            .get("UserName")
            .or_else(|| self.caller.user())
            .ok_or_else(|| invalid("Must specify userName when calling with non-User credentials"))
    }

    fn tags(&self) -> Vec<(String, String)> {
        self.query.list("Tags", |query, prefix| {
            let key = query.get(&format!("{prefix}.Key"))?;
            let value = query.get(&format!("{prefix}.Value")).unwrap_or_default();
            Some((key.to_owned(), value.to_owned()))
        })
    }

    fn read<T>(&self, read: impl FnOnce(&Account) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let world = self.aws.world();
        let account = world.account(&self.caller.account).ok_or_else(|| no_account(&self.caller.account))?;
        read(account)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Users) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let delay = self.aws.faults().iam_delay();
        let mut world = self.aws.world();
        let account =
            world.account_mut(&self.caller.account).ok_or_else(|| no_account(&self.caller.account))?;
        account.change(self.now, delay, change)
    }

    fn response(&self, write: impl FnOnce(&mut Xml)) -> Answer {
        Xml::response(self.operation, write)
    }

    /// The page that `Marker` and `MaxItems` ask for.
    fn page<T>(&self, name: &str, all: &[T], write: impl FnMut(&mut Xml, &T)) -> Result<Answer, Refusal> {
        let asked = match self.query.get("MaxItems") {
            None => usize::MAX,
            Some(number) => {
                number.parse().ok().filter(|number| (1..=LARGEST_PAGE).contains(number)).ok_or_else(|| {
                    invalid(format!(
                        "Value '{number}' at 'maxItems' failed to satisfy constraint: Member must \
                         have value between 1 and {LARGEST_PAGE}"
                    ))
                })?
            }
        };
        let begin = match self.query.get("Marker") {
            None => 0,
            Some(marker) => marker
                .strip_prefix("after-")
                .and_then(|number| number.parse::<usize>().ok())
                .ok_or_else(|| invalid(format!("Invalid Marker: {marker}")))?,
        };
        let size = asked.min(self.page_size);
        let rest = all.get(begin..).unwrap_or_default();
        let page = rest.get(..size).unwrap_or(rest);
        let truncated = page.len() < rest.len();
        Ok(self.response(|xml| {
            xml.text("IsTruncated", if truncated { "true" } else { "false" });
            xml.list(name, page, write);
            if truncated {
                xml.text("Marker", &format!("after-{}", begin + page.len()));
            }
        }))
    }
}

fn write_user(xml: &mut Xml, user: &User, account: &str) {
    xml.text("Path", &user.path);
    xml.text("UserName", &user.name);
    xml.text("UserId", &user.id);
    xml.text("Arn", &user.arn(account));
    xml.text("CreateDate", &user.created.to_string());
}

fn write_tags<'tag>(xml: &mut Xml, tags: impl Iterator<Item = (&'tag String, &'tag String)>) {
    let tags: Vec<_> = tags.collect();
    if !tags.is_empty() {
        xml.list("Tags", tags, write_tag);
    }
}

fn write_tag(xml: &mut Xml, (key, value): (&String, &String)) {
    xml.text("Key", key);
    xml.text("Value", value);
}

fn write_key(xml: &mut Xml, user: &str, key: &AccessKey) {
    xml.text("UserName", user);
    xml.text("AccessKeyId", &key.id);
    xml.text("Status", key.status.name());
    xml.text("CreateDate", &key.created.to_string());
}

fn seen_user<'account>(
    account: &'account Account,
    now: Timestamp,
    name: &str,
) -> Result<&'account User, Refusal> {
    account.seen_user(now, name).ok_or_else(|| no_such_user(name))
}

fn user_mut<'users>(users: &'users mut Users, name: &str) -> Result<&'users mut User, Refusal> {
    users.get_mut(name).ok_or_else(|| no_such_user(name))
}

fn no_such_user(name: &str) -> Refusal {
    let message = format!("The user with name {name} cannot be found.");
    Refusal::new(404, "NoSuchEntity", message)
}

fn no_such_key(id: &str) -> Refusal {
    let message = format!("The Access Key with id {id} cannot be found.");
    Refusal::new(404, "NoSuchEntity", message)
}

fn no_account(id: &str) -> Refusal {
    Refusal::access_denied(format!("The account {id} does not exist."))
}

fn already_exists(name: &str) -> Refusal {
    let message = format!("User with name {name} already exists.");
    Refusal::new(409, "EntityAlreadyExists", message)
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "ValidationError", message)
}

/// Names of users and of sessions: letters, digits and `+=,.@_-`, at most 64 (IAM's and STS's API
/// references).
pub(crate) fn check_name(parameter: &str, name: &str) -> Result<(), Refusal> {
    let well_formed = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte));
    if well_formed {
        Ok(())
    } else {
        Err(invalid(format!(
            "The specified value for {parameter} is invalid. It must contain only alphanumeric \
             characters and/or the following: +=,.@_-"
        )))
    }
}
