//! IAM: users, their tags and their access keys.

mod arrange;
mod keys;
mod report;

use std::cell::OnceCell;

use jiff::Timestamp;

pub use self::arrange::Iam;
pub(crate) use self::report::Reports;
use crate::LocalAws;
use crate::answer::Answer;
use crate::calls::Service;
use crate::query::{Parameters, Xml};
use crate::trail::{self, Recorded};
use crate::world::{Account, Caller, Draft, Refusal, User, World, whole_seconds};

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
    "GenerateCredentialReport",
    "GetCredentialReport",
];

/// One page may hold at most so many entries (IAM's API reference, `MaxItems`).
const LARGEST_PAGE: usize = 1_000;

/// The user that a call is about, as policies and refusals name it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) arn: String,
}

/// Whom a call is about: the user that it names, or the one whose key it names.
pub(crate) fn target(
    world: &World,
    operation: &str,
    caller: &Caller,
    query: &Parameters,
    now: Timestamp,
) -> Option<Target> {
    let account = world.account(&caller.account)?;
    let user = if operation == "GetAccessKeyLastUsed" {
        account.seen_holder(now, query.get("AccessKeyId")?)?
    } else {
        let name = query.get("UserName")?;
        let Some(user) = account.seen_user(now, name) else {
            // Nobody's path is known who is not there.
            let arn = format!("arn:aws:iam::{}:user/{name}", caller.account);
            return Some(Target { name: name.to_owned(), arn });
        };
        user
    };
    Some(Target { name: user.name.clone(), arn: user.arn(&caller.account) })
}

/// Answers a call, and lets the trail know of it; `permitted` is what the caller's policies say.
pub(crate) fn serve(
    aws: &LocalAws,
    operation: &'static str,
    caller: &Caller,
    query: &Parameters,
    permitted: Result<(), Refusal>,
    user_agent: &str,
) -> Answer {
    let call = IamCall {
        aws,
        operation,
        caller,
        query,
        now: aws.now(),
        page_size: aws.world().page_size,
        response_elements: OnceCell::new(),
    };
    let result = permitted.and_then(|()| call.dispatch());
    if trail::watches(operation) {
        let response_elements = call.response_elements.into_inner();
        let outcome = result.as_ref().map(|_| response_elements);
        let call = Recorded { operation, caller, query, user_agent, now: call.now, outcome };
        aws.trail().record(&call, || aws.world().new_uuid());
    }
    result.unwrap_or_else(|refusal| refusal.answer(Service::Iam))
}

struct IamCall<'call> {
    aws: &'call LocalAws,
    operation: &'static str,
    caller: &'call Caller,
    query: &'call Parameters,
    now: Timestamp,
    page_size: usize,
    /// What CloudTrail writes of the answer.
    response_elements: OnceCell<serde_json::Value>,
}

impl IamCall<'_> {
    fn dispatch(&self) -> Result<Answer, Refusal> {
        match self.operation {
            "GetUser" => self.get_user(),
            "ListUsers" => self.list_users(),
            "ListUserTags" => self.list_user_tags(),
            "ListAccessKeys" => self.list_access_keys(),
            "GetAccessKeyLastUsed" => self.get_access_key_last_used(),
            "CreateAccessKey" => self.create_access_key(),
            "UpdateAccessKey" => self.update_access_key(),
            "DeleteAccessKey" => self.delete_access_key(),
            "CreateUser" => self.create_user(),
            "DeleteUser" => self.delete_user(),
            "UpdateUser" => self.update_user(),
            "TagUser" => self.tag_user(),
            "UntagUser" => self.untag_user(),
            "GenerateCredentialReport" => self.generate_credential_report(),
            "GetCredentialReport" => self.get_credential_report(),
            _ => Err(Refusal::new(400, "InvalidAction", "Could not find operation for version 2010-05-08")),
        }
    }

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
            let mut users = account.seen(self.now);
            users.retain(|user| user.path.starts_with(prefix));
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

    fn create_user(&self) -> Result<Answer, Refusal> {
        let name = self.required("UserName")?;
        check_name("userName", name)?;
        let user = User {
            name: name.to_owned(),
            id: self.aws.world().new_id("AIDA", 17),
            path: self.query.get("Path").unwrap_or("/").to_owned(),
            created: whole_seconds(self.now),
            tags: self.query.tags().into_iter().collect(),
            keys: Vec::new(),
            password: None,
            mfa: false,
        };
        self.change(|users| {
            if users.get(name).is_some() {
                return Err(already_exists(name));
            }
            users.insert(user.clone());
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
            if new_name != name && users.get(new_name).is_some() {
                return Err(already_exists(new_name));
            }
            // The id stays and the keys go along: only the names change.
            let mut user = users.remove(name).ok_or_else(|| no_such_user(name))?;
            new_name.clone_into(&mut user.name);
            if let Some(path) = self.query.get("NewPath") {
                path.clone_into(&mut user.path);
            }
            users.insert(user);
            Ok(())
        })?;
        Ok(self.response(|_| {}))
    }

    fn tag_user(&self) -> Result<Answer, Refusal> {
        let name = self.required("UserName")?;
        let tags = self.query.tags();
        self.change(|users| {
            user_mut(users, name)?.tags.extend(tags);
            Ok(())
        })?;
        Ok(self.response(|_| {}))
    }

    fn untag_user(&self) -> Result<Answer, Refusal> {
        let name = self.required("UserName")?;
        let keys = self.query.tag_keys();
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

    fn read<T>(&self, read: impl FnOnce(&Account) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let world = self.aws.world();
        let account = world.account(&self.caller.account).ok_or_else(|| no_account(&self.caller.account))?;
        read(account)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Draft<'_>) -> Result<T, Refusal>) -> Result<T, Refusal> {
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

fn seen_user<'account>(
    account: &'account Account,
    now: Timestamp,
    name: &str,
) -> Result<&'account User, Refusal> {
    account.seen_user(now, name).ok_or_else(|| no_such_user(name))
}

fn user_mut<'users>(users: &'users mut Draft<'_>, name: &str) -> Result<&'users mut User, Refusal> {
    users.get_mut(name).ok_or_else(|| no_such_user(name))
}

fn no_such_user(name: &str) -> Refusal {
    let message = format!("The user with name {name} cannot be found.");
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
