//! The phrases that messages share.

use jiff::Timestamp;
use keytide_core::{
    AccountId, AccountNames,
    alert::is_same_user,
    cloudtrail::{Actor, ActorKind, Call, KeyEvent, Status, Subject},
    fact::{Fact, FactBody},
    owner::{OwnerReport, SlackIdTag},
};

use super::Notice;
use crate::text::{Markup, plain};

/// Characters of a name that others chose: IAM's own limits are 64 for a user, 64 for a role and 64 for its
/// session.
pub(super) const NAME: usize = 140;
/// Characters of a key's id: IAM documents 16 to 128.
pub(super) const KEY_ID: usize = 140;
/// Characters of a user agent: what comes later tells little.
const USER_AGENT: usize = 120;
/// Characters of an error, a reason or a tag's value.
pub(super) const LONG: usize = 400;

/// A time that people read, as `Mon 4 May 2026, 09:12 UTC`.
pub(super) fn when(at: Timestamp) -> String {
    at.strftime("%a %-d %b %Y, %H:%M UTC").to_string()
}

/// `prod (111122223333)`, or the id alone.
pub(super) fn account(accounts: &AccountNames, account: &AccountId) -> Markup {
    let label = accounts.label(account);
    if label == account.as_str() {
        Markup::new().say("account ").word(label)
    } else {
        Markup::new().word(label).say(" (").word(account.as_str()).say(")")
    }
}

/// The caller's account, which may be no account id at all.
fn foreign_account(accounts: &AccountNames, text: &str) -> Markup {
    match AccountId::parse(text) {
        Ok(id) => account(accounts, &id),
        Err(_) => Markup::new().say("account ").code(text, NAME),
    }
}

/// Where a name stands in its sentence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    Within,
}

/// The caller's account, where it is another than the key's.
fn foreign(call: &Call) -> Option<&str> {
    call.actor.account.as_deref().filter(|account| *account != call.account.as_str())
}

/// Who made the call, with the account where it is another than the key's: a user of the same name there
/// is somebody else.
pub(super) fn caller(accounts: &AccountNames, call: &Call, place: Place) -> Markup {
    let who = identity(accounts, &call.actor, place);
    match foreign(call) {
        // It has said so already.
        Some(_) if call.actor.kind == ActorKind::AwsAccount => who,
        Some(other) => who.say(" of another account, ").then(foreign_account(accounts, other)),
        None => who,
    }
}

/// The same, with the comma that a sentence needs before it goes on.
pub(super) fn actor(accounts: &AccountNames, call: &Call, place: Place) -> Markup {
    let who = caller(accounts, call, place);
    if foreign(call).is_some() { who.say(",") } else { who }
}

/// Who made a call.
pub(super) fn identity(accounts: &AccountNames, actor: &Actor, place: Place) -> Markup {
    let noun = |start, within| Markup::new().say(if place == Place::Start { start } else { within });
    let what = match &actor.kind {
        ActorKind::Root => return noun("The account's root user", "the account's root user"),
        ActorKind::AwsAccount => {
            let other = noun("Somebody in another account", "somebody in another account");
            return match &actor.name {
                Some(id) => other.say(", ").then(foreign_account(accounts, id)),
                None => other,
            };
        }
        // A user needs no noun: its name is what people know.
        ActorKind::IamUser if actor.name.is_some() => Markup::new(),
        ActorKind::IamUser => noun("The IAM user ", "the IAM user "),
        ActorKind::AssumedRole => noun("The role session ", "the role session "),
        ActorKind::FederatedUser => noun("The federated user ", "the federated user "),
        ActorKind::AwsService => noun("The AWS service ", "the AWS service "),
        ActorKind::IdentityCenterUser => noun("The Identity Center user ", "the Identity Center user "),
        ActorKind::WebIdentityUser => noun("The web identity ", "the web identity "),
        ActorKind::SamlUser => noun("The SAML user ", "the SAML user "),
        ActorKind::Other(kind) => {
            noun("An identity of the type ", "an identity of the type ").code(kind, NAME).say(", ")
        }
        ActorKind::Missing => Markup::new(),
    };
    match (&actor.name, &actor.arn) {
        (Some(name), _) => what.code(name, NAME),
        (None, Some(arn)) => what.code(arn, NAME),
        (None, None) if what.is_empty() => {
            noun("Somebody whom the event does not name", "somebody whom the event does not name")
        }
        (None, None) => what.say("that the event does not name"),
    }
}

/// Whose key, within a sentence.
pub(super) fn subject(subject: &Subject) -> Markup {
    match subject {
        Subject::User(name) => Markup::new().code(name, NAME),
        Subject::Root => Markup::new().say("root"),
        Subject::Unknown => Markup::new().say("a user whom the event does not name"),
    }
}

/// `alice (prod)`, for a header. The name is cut, so that the account stays in sight.
pub(super) fn titled(notice: &Notice<'_>, about: &Subject) -> String {
    match notice.fact.body.account() {
        Some(account) => titled_in(notice.accounts, account, about),
        None => format!("{} (account unknown)", titled_subject(about)),
    }
}

/// The same, of a key whose account is known.
pub(super) fn titled_in(accounts: &AccountNames, account: &AccountId, about: &Subject) -> String {
    format!("{} ({})", titled_subject(about), plain(accounts.label(account), 30))
}

fn titled_subject(about: &Subject) -> String {
    match about {
        Subject::User(name) => plain(name, 64),
        Subject::Root => "root".to_owned(),
        Subject::Unknown => "user unknown".to_owned(),
    }
}

/// `, in prod (111122223333), on Mon 4 May 2026, 09:12 UTC.`
pub(super) fn where_and_when(notice: &Notice<'_>, call: &Call) -> Markup {
    Markup::new()
        .say(" in ")
        .then(account(notice.accounts, &call.account))
        .say(" on ")
        .word(&when(call.at))
        .say(".")
}

/// A field: its name in bold, its value below.
pub(super) fn field(name: &'static str, value: Markup) -> Markup {
    Markup::new().bold(name).say("\n").then(value)
}

/// The owner, or why there is none to be told.
pub(super) fn owner(notice: &Notice<'_>, about: &Subject) -> Markup {
    owner_in(notice.owner, about)
}

/// The owner that a look at the directory found, or why there is none to be told.
pub(super) fn owner_in(report: &OwnerReport, about: &Subject) -> Markup {
    let unknown = Markup::new().say("unknown: ");
    let owner = match (report, about) {
        (OwnerReport::Found { owner, .. }, _) => owner,
        (OwnerReport::NoUser, Subject::Root) => {
            return Markup::new().say("root: the account's owners, nobody can be told directly");
        }
        (OwnerReport::NoUser, _) => return unknown.say("the event names no user"),
        (OwnerReport::NotFound, _) => return unknown.say("IAM has no such user (any more)"),
        (OwnerReport::Failed(reason), _) => {
            return unknown.say("the user could not be looked up: ").code(reason, LONG);
        }
    };
    let mut who = match &owner.tags.slack_id {
        SlackIdTag::Valid(id) => Markup::new().mention(id),
        SlackIdTag::Missing => unknown.say("the user has no tag ").code("slack-id", NAME),
        SlackIdTag::Malformed(value) => unknown
            .say("the tag ")
            .code("slack-id", NAME)
            .say(" is ")
            .code(value, NAME)
            .say(", which is no Slack member id"),
    };
    if let Some(name) = &owner.tags.full_name {
        who = who.say(", ").code(name, NAME);
    }
    if let Some(user_type) = &owner.tags.user_type {
        who = who.say(", type ").code(user_type, 40);
    }
    who
}

/// The fields that say who called, from where, with what.
pub(super) fn caller_fields(notice: &Notice<'_>, call: &Call, by: &'static str) -> Vec<Markup> {
    vec![
        field(by, caller(notice.accounts, call, Place::Within)),
        field("Account", account(notice.accounts, &call.account)),
        field("Source", told(call.source.as_deref(), NAME)),
        field("MFA", mfa(call.mfa)),
    ]
}

/// The field that says with what; it is long, and stands last.
pub(super) fn user_agent_field(user_agent: Option<&str>) -> Markup {
    field("User agent", told(user_agent, USER_AGENT))
}

/// A text of the record, or that it does not say.
pub(super) fn told(text: Option<&str>, longest: usize) -> Markup {
    text.map_or_else(
        || Markup::new().say("unknown: the event does not say"),
        |text| Markup::new().code(text, longest),
    )
}

pub(super) fn mfa(mfa: Option<bool>) -> Markup {
    Markup::new().say(match mfa {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown: the event does not say",
    })
}

/// How many of the user's keys are active.
pub(super) fn active_keys(notice: &Notice<'_>, event: &KeyEvent) -> Markup {
    active_keys_in(notice.owner, &event.subject, &event.key_id)
}

/// How many of the user's keys are active, as a look at the directory found them.
pub(super) fn active_keys_in(report: &OwnerReport, about: &Subject, key_id: &str) -> Markup {
    let unknown = Markup::new().say("unknown");
    let keys = match report {
        OwnerReport::Found { keys: Ok(keys), .. } => keys,
        OwnerReport::Found { keys: Err(reason), .. } => {
            return unknown.say(": they could not be listed: ").code(reason, LONG);
        }
        OwnerReport::NoUser if *about == Subject::Root => {
            return unknown.say(": root's keys cannot be listed from outside");
        }
        OwnerReport::NoUser => return unknown.say(": the event names no user"),
        OwnerReport::NotFound => return unknown.say(": IAM has no such user (any more)"),
        OwnerReport::Failed(_) => return unknown.say(": the user could not be looked up"),
    };
    let active = keys.iter().filter(|key| key.status == Status::Active).count();
    let count = Markup::new().word(&format!("{active} of {}", keys.len()));
    if keys.iter().any(|key| key.key_id == key_id) {
        count
    } else {
        // IAM's listings are a few seconds behind, or the key is gone already.
        count.say(" listed, this key not among them")
    }
}

/// The event's id, which finds it in CloudTrail.
pub(super) fn event_id(fact: &Fact) -> Markup {
    let event_id = match &fact.body {
        FactBody::Key { event, .. } => event.call.event_id.as_deref(),
        FactBody::FailedCall { failed } => failed.call.event_id.as_deref(),
        FactBody::Owner { event } => event.call.event_id.as_deref(),
        FactBody::OwnRole { partial } | FactBody::Unreadable { partial } => partial.event_id.as_deref(),
        FactBody::Observed { .. } | FactBody::Disabled { .. } | FactBody::Decided { .. } => {
            return Markup::new().say("In the ledger as ").code(&fact.id, NAME);
        }
    };
    match event_id {
        Some(id) => Markup::new().say("CloudTrail event ").code(id, NAME),
        None => {
            Markup::new().say("The event has no id of its own; the ledger calls it ").code(&fact.id, NAME)
        }
    }
}

/// The command that gives a key another status, where user and key have names that are safe in a shell.
/// A name that IAM could not have given is not made into a command for somebody to paste.
pub(super) fn status_command(event: &KeyEvent, status: &'static str) -> Option<Markup> {
    key_command(event.subject.user()?, &event.key_id, "update-access-key", Some(status))
}

/// A command on one key, likewise.
pub(super) fn key_command(
    user: &str,
    key_id: &str,
    verb: &'static str,
    status: Option<&'static str>,
) -> Option<Markup> {
    (is_plain_name(user) && is_plain_name(key_id)).then(|| {
        let status = status.map_or_else(String::new, |status| format!(" --status {status}"));
        let command = format!("aws iam {verb} --user-name {user} --access-key-id {key_id}{status}");
        Markup::new().code(&command, 400)
    })
}

/// Why an owner gets a message, and that the tag is no proof: whoever may tag a user can send it to anybody.
pub(super) fn why_you() -> Markup {
    Markup::new()
        .say("You get this because the user's tag ")
        .code("slack-id", NAME)
        .say(" names you. If this user is not yours, tell your security team: somebody set the wrong id.")
}

/// Whether a name has only what IAM allows in names, and does not begin with what a shell or a command
/// would take for something else.
pub(super) fn is_plain_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= 128
        && name.chars().all(|character| character.is_ascii_alphanumeric() || "+=,.@_-".contains(character))
}

/// Why an event of a break-glass user is critical.
pub(super) const BREAK_GLASS: &str =
    "A break-glass user has to do with it, and everything about such a user is critical.";

/// Why a call with one of our roles is critical.
pub(super) fn own_role_alarm() -> Markup {
    Markup::new()
        .say("The caller used one of keytide's own roles, and keytide has no record of making this call.")
}

/// What to do about a call with one of our roles.
pub(super) fn own_role_next() -> Markup {
    Markup::new().bold("Next:").say(
        " treat that role as taken over. In the account, revoke its sessions (IAM, Roles, the role, Revoke sessions), undo what was done, and find out who may assume it.",
    )
}

/// `for their own user`, `for root itself` or `for NAME`.
pub(super) fn for_whom(call: &Call, about: &Subject) -> Markup {
    match about {
        Subject::Root if is_same_user(call, about) => Markup::new().say(" for itself"),
        _ if is_same_user(call, about) => Markup::new().say(" for their own user"),
        _ => Markup::new().say(" for ").then(subject(about)),
    }
}
