//! The alert for the channel.

use keytide_core::{
    alert::{self, Flag},
    cloudtrail::{
        ActorKind, FailedCall, KeyChange, KeyEvent, KeyEventKind, OwnerChange, OwnerEvent, Partial, Status,
        Subject,
    },
    fact::FactBody,
    owner::{SlackId, TAG_MAX_AGE_DAYS, TAG_SLACK_ID, TAG_TYPE, is_watched_tag},
};

use super::{
    Draft, Notice, announce, disabled, found,
    words::{self, KEY_ID, LONG, NAME, Place, field},
};
use crate::{
    blocks::Message,
    text::{Markup, plain},
};

/// Tags that are listed one by one; IAM allows 50 in one call.
const MOST_TAGS: usize = 10;

/// The alert for the channel.
pub fn for_channel(notice: &Notice<'_>) -> Message {
    let draft = match &notice.fact.body {
        FactBody::Key { event, .. } => key(notice, event),
        FactBody::FailedCall { failed } => failed_call(notice, failed),
        FactBody::Owner { event } => owner_event(notice, event),
        FactBody::OwnRole { partial } => own_role(notice, partial),
        FactBody::Unreadable { partial } => unreadable(notice, partial),
        FactBody::Observed { observed } => found::for_channel(notice, observed),
        FactBody::Disabled { disabled } => disabled::for_channel(notice, disabled),
        FactBody::Decided { decision } => return announce::decision(decision, notice.accounts),
    };
    draft.into_message(notice)
}

/// What the event of a key's creation adds to the alert of a sweep that had found the key before.
pub fn made_by(notice: &Notice<'_>) -> Message {
    let FactBody::Key { event, .. } = &notice.fact.body else { return for_channel(notice) };
    let draft = key(notice, event);
    let sentence = draft.sentence.say(" The sweep had found the key before this event came.");
    let title = format!("Who made it: {}", words::titled(notice, &event.subject));
    Draft { title, sentence, ..draft }.into_message(notice)
}

/// What happened to a key, as a sentence.
pub(super) fn key_sentence(notice: &Notice<'_>, event: &KeyEvent) -> Markup {
    let call = &event.call;
    let who = words::actor(notice.accounts, call, Place::Start);
    let key_id = Markup::new().code(&event.key_id, KEY_ID);
    let of = || Markup::new().say(" of ").then(words::subject(&event.subject));
    let deed = match &event.change {
        KeyChange::Created { .. } => {
            who.say(" created access key ").then(key_id).then(words::for_whom(call, &event.subject))
        }
        KeyChange::StatusChanged { to: Status::Active } => {
            who.say(" set access key ").then(key_id).then(of()).say(" Active")
        }
        KeyChange::StatusChanged { to: Status::Inactive } => {
            who.say(" set access key ").then(key_id).then(of()).say(" Inactive")
        }
        KeyChange::StatusChanged { to } => who
            .say(" gave access key ")
            .then(key_id)
            .then(of())
            .say(" the status ")
            .code(to.as_str(), NAME)
            .say(if matches!(to, Status::Other(_)) { ", which keytide does not know," } else { "" }),
        KeyChange::Deleted => who.say(" deleted access key ").then(key_id).then(of()),
    };
    deed.then(words::where_and_when(notice, call))
}

/// What a key event is called in a header.
pub(super) fn key_title(event: &KeyEvent) -> String {
    match &event.change {
        KeyChange::Created { .. } => "New access key".to_owned(),
        KeyChange::StatusChanged { to: status @ (Status::Active | Status::Inactive | Status::Expired) } => {
            format!("Access key set {status}")
        }
        KeyChange::StatusChanged { to: Status::Other(status) } => {
            format!("Access key set to unknown status {}", plain(status, 30))
        }
        KeyChange::Deleted => "Access key deleted".to_owned(),
    }
}

fn key(notice: &Notice<'_>, event: &KeyEvent) -> Draft {
    let call = &event.call;
    let flags = alert::flags(notice.rules, event, notice.owner);
    let mut fields = vec![field("Owner", words::owner(notice, &event.subject))];
    let by = match &event.change {
        KeyChange::Created { .. } => "Created by",
        KeyChange::StatusChanged { .. } => "Changed by",
        KeyChange::Deleted => "Deleted by",
    };
    fields.extend(words::caller_fields(notice, call, by));
    fields.push(field("Active keys", words::active_keys(notice, event)));
    fields.push(field("Key id", Markup::new().code(&event.key_id, KEY_ID)));
    fields.push(words::user_agent_field(call.user_agent.as_deref()));
    Draft {
        title: format!("{}: {}", key_title(event), words::titled(notice, &event.subject)),
        sentence: key_sentence(notice, event),
        alarms: flags.iter().filter_map(|flag| key_alarm(*flag)).collect(),
        flags: flags.iter().filter_map(|flag| key_flag(*flag, event)).collect(),
        fields,
        next: key_next(event, &flags),
        ..Draft::default()
    }
}

fn key_alarm(flag: Flag) -> Option<Markup> {
    match flag {
        Flag::Root => Some(
            Markup::new()
                .say("It is a key of root: IAM policies do not limit it, and keytide never touches it."),
        ),
        Flag::OwnRole => Some(words::own_role_alarm()),
        Flag::CreatorIsNotOwner | Flag::WithoutMfa | Flag::SecondActiveKey | Flag::OwnerUnknown => None,
    }
}

fn key_flag(flag: Flag, event: &KeyEvent) -> Option<Markup> {
    let created = matches!(event.change, KeyChange::Created { .. });
    match flag {
        Flag::Root | Flag::OwnRole => None,
        // Where the user is unknown, nobody can say whether it is the caller.
        Flag::CreatorIsNotOwner if event.subject == Subject::Unknown => {
            Some(Markup::new().say("Whose key it is, the event does not say."))
        }
        Flag::CreatorIsNotOwner if created => Some(Markup::new().say("Its creator is not its owner.")),
        Flag::CreatorIsNotOwner => Some(Markup::new().say("Whoever set it Active is not its owner.")),
        Flag::WithoutMfa => Some(Markup::new().say("The caller's session had no MFA.")),
        Flag::SecondActiveKey => Some(
            Markup::new()
                .say("This is not the only active key of ")
                .then(words::subject(&event.subject))
                .say("."),
        ),
        Flag::OwnerUnknown => Some(Markup::new().say("The owner cannot be told directly.")),
    }
}

fn key_next(event: &KeyEvent, flags: &[Flag]) -> Vec<Markup> {
    let next = Markup::new().bold("Next:");
    if flags.contains(&Flag::OwnRole) {
        return vec![words::own_role_next()];
    }
    let stop = |words| {
        let with = match words::status_command(event, "Inactive") {
            Some(command) => Markup::new().say(": ").then(command),
            None => Markup::new().say(" in the IAM console."),
        };
        Markup::new().say(words).then(with)
    };
    vec![match &event.change {
        KeyChange::Created { .. } | KeyChange::StatusChanged { to: Status::Active }
            if event.subject == Subject::Root =>
        {
            next.say(" ask the account's owners now. If nobody can explain it, sign in as root, delete the key, and change root's password and MFA.")
        }
        KeyChange::Created { .. } if flags.contains(&Flag::OwnerUnknown) => {
            next.then(stop(" find out who needs this key. If nobody does, set it Inactive"))
        }
        KeyChange::Created { .. } => {
            next.then(stop(" nothing, if the owner expected this key. If not, set it Inactive"))
        }
        KeyChange::StatusChanged { to: Status::Active } => {
            next.then(stop(" ask why it is needed again. Its age counts from its creation. If nobody can say, set it Inactive"))
        }
        KeyChange::StatusChanged { to: Status::Inactive } => {
            next.say(" nothing, if this was meant. Whatever still uses the key is refused.")
        }
        KeyChange::StatusChanged { .. } => {
            next.say(" look the key up in IAM and see whether it can still be used.")
        }
        KeyChange::Deleted => {
            next.say(" nothing, if this was meant. A deleted key cannot be brought back; whatever used it needs a new one.")
        }
    }]
}

/// What somebody tried, as a sentence.
pub(super) fn failed_sentence(notice: &Notice<'_>, failed: &FailedCall) -> Markup {
    let call = &failed.call;
    let who = words::actor(notice.accounts, call, Place::Start);
    let key = match &failed.key_id {
        Some(key_id) => Markup::new().say("access key ").code(key_id, KEY_ID),
        None => Markup::new().say("an access key"),
    };
    let of = || Markup::new().say(" of ").then(words::subject(&failed.subject));
    let attempt = match failed.kind {
        Some(KeyEventKind::Created) => {
            who.say(" tried to create an access key").then(words::for_whom(call, &failed.subject))
        }
        Some(KeyEventKind::StatusChanged) => {
            let tried = who.say(" tried to change ").then(key).then(of());
            match &failed.status {
                Some(status) => tried.say(" to ").code(status.as_str(), NAME),
                None => tried,
            }
        }
        Some(KeyEventKind::Deleted) => who.say(" tried to delete ").then(key).then(of()),
        None => {
            who.say(" tried ").code(&call.event_name, NAME).say(" on ").then(words::subject(&failed.subject))
        }
    };
    attempt
        .then(words::where_and_when(notice, call))
        .say(" AWS answered ")
        .code(&failed.error_code, NAME)
        .say("; nothing changed.")
}

fn failed_call(notice: &Notice<'_>, failed: &FailedCall) -> Draft {
    let call = &failed.call;
    let ours = alert::own_role(notice.rules, call).is_some();
    let mut fields = vec![field("Error", Markup::new().code(&failed.error_code, NAME))];
    fields.extend(words::caller_fields(notice, call, "Tried by"));
    if let Some(key_id) = &failed.key_id {
        fields.push(field("Key id", Markup::new().code(key_id, KEY_ID)));
    }
    fields.push(words::user_agent_field(call.user_agent.as_deref()));
    if let Some(message) = &failed.error_message {
        fields.push(field("Error message", Markup::new().code(message, LONG)));
    }
    let mut flags = Vec::new();
    if call.actor.kind == ActorKind::Root {
        flags.push(Markup::new().say("The caller is root, which should hardly ever be used."));
    }
    if call.mfa == Some(false) {
        flags.push(Markup::new().say("The caller's session had no MFA."));
    }
    let next = if ours {
        words::own_role_next()
    } else {
        Markup::new().bold("Next:").say(
            " ask the caller what this was for. If they do not know of it, somebody else has their credentials: source and user agent say more.",
        )
    };
    Draft {
        title: format!(
            "Failed attempt: {} on {}",
            plain(&call.event_name, 40),
            words::titled(notice, &failed.subject)
        ),
        sentence: failed_sentence(notice, failed),
        alarms: ours.then(words::own_role_alarm).into_iter().collect(),
        flags,
        fields,
        next: vec![next],
        ..Draft::default()
    }
}

/// What changed about a user, as a sentence.
pub(super) fn owner_sentence(notice: &Notice<'_>, event: &OwnerEvent) -> Markup {
    let call = &event.call;
    let user = Markup::new().code(&event.user, NAME);
    let who = words::actor(notice.accounts, call, Place::Start);
    let keys = || {
        let mut names = Markup::new();
        for (index, key) in watched_first(event.change.tag_keys()).into_iter().take(MOST_TAGS).enumerate() {
            names = if index == 0 { names } else { names.say(", ") }.code(key, NAME);
        }
        names
    };
    let deed = match &event.change {
        OwnerChange::Tagged { .. } => who.say(" set tags of ").then(user).say(" (").then(keys()).say(")"),
        OwnerChange::Untagged { .. } => {
            who.say(" removed tags of ").then(user).say(" (").then(keys()).say(")")
        }
        OwnerChange::Renamed { new_name, new_path } => {
            let deed = match new_name {
                Some(name) => who.say(" renamed ").then(user).say(" to ").code(name, NAME),
                None => who.say(" changed ").then(user),
            };
            match new_path {
                Some(path) => deed.say(", new path ").code(path, NAME).say(","),
                None => deed,
            }
        }
        OwnerChange::Deleted => who.say(" deleted the user ").then(user),
    };
    deed.then(words::where_and_when(notice, call))
}

/// The tags that matter to keytide, then the others.
fn watched_first(mut tags: Vec<&str>) -> Vec<&str> {
    tags.sort_by_key(|tag| !is_watched_tag(tag));
    tags
}

/// What a watched tag decides.
fn consequence(tag: &str) -> Option<&'static str> {
    if tag.eq_ignore_ascii_case(TAG_SLACK_ID) {
        Some("decides who is told about this user's keys")
    } else if tag.eq_ignore_ascii_case(TAG_TYPE) {
        Some("decides whether this user is taken for a person or a machine")
    } else if tag.eq_ignore_ascii_case(TAG_MAX_AGE_DAYS) {
        Some("decides how old this user's keys may get")
    } else {
        None
    }
}

fn owner_event(notice: &Notice<'_>, event: &OwnerEvent) -> Draft {
    let call = &event.call;
    let ours = alert::own_role(notice.rules, call).is_some();
    let mut sentence = owner_sentence(notice, event);
    let what = match &event.change {
        OwnerChange::Tagged { .. } => "User tags changed",
        OwnerChange::Untagged { .. } => "User tags removed",
        OwnerChange::Renamed { new_name: Some(_), .. } => "User renamed",
        OwnerChange::Renamed { .. } => "User changed",
        OwnerChange::Deleted => "User deleted",
    };
    let mut details = Markup::new();
    match &event.change {
        OwnerChange::Tagged { tags } => {
            let mut tags: Vec<(&str, &str)> =
                tags.iter().map(|(tag, value)| (tag.as_str(), value.as_str())).collect();
            tags.sort_by_key(|(tag, _)| !is_watched_tag(tag));
            for (index, &(tag, value)) in tags.iter().take(MOST_TAGS).enumerate() {
                details = if index == 0 { details } else { details.say("\n") };
                details = details.say("• ").code(tag, NAME).say(" is now ").code(value, NAME);
                if tag.eq_ignore_ascii_case(TAG_SLACK_ID) {
                    details = match SlackId::parse(value.trim()) {
                        Ok(id) => details.say(", ").mention(&id),
                        Err(_) => details.say(", which is no Slack member id"),
                    };
                }
                if let Some(consequence) = consequence(tag) {
                    details = details.say(": it ").say(consequence);
                }
            }
            details = and_more(details, tags.len());
        }
        OwnerChange::Untagged { tags } => {
            let tags = watched_first(tags.iter().map(String::as_str).collect());
            for (index, &tag) in tags.iter().take(MOST_TAGS).enumerate() {
                details = if index == 0 { details } else { details.say("\n") };
                details = details.say("• ").code(tag, NAME).say(" is gone");
                if let Some(consequence) = consequence(tag) {
                    details = details.say(": it ").say(consequence);
                }
            }
            details = and_more(details, tags.len());
        }
        OwnerChange::Renamed { .. } => sentence = sentence.say(" The access keys stay with the user."),
        OwnerChange::Deleted => {}
    }
    let mut fields = words::caller_fields(notice, call, "Changed by");
    fields.push(words::user_agent_field(call.user_agent.as_deref()));
    let next = if ours {
        words::own_role_next()
    } else {
        Markup::new().bold("Next:").say(
            " nothing, if you know of this change. If not, ask whoever made it: a tag or a name can turn messages away from a key's owner.",
        )
    };
    Draft {
        title: format!("{what}: {}", words::titled(notice, &Subject::User(event.user.clone()))),
        sentence,
        alarms: ours.then(words::own_role_alarm).into_iter().collect(),
        fields,
        next: [details, next].into_iter().filter(|paragraph| !paragraph.is_empty()).collect(),
        ..Draft::default()
    }
}

fn and_more(details: Markup, tags: usize) -> Markup {
    match tags.checked_sub(MOST_TAGS) {
        Some(more @ 1..) => details.say("\n• and ").word(&more.to_string()).say(" more"),
        _ => details,
    }
}

/// That an event could not be read, as a sentence.
pub(super) fn unreadable_sentence(notice: &Notice<'_>, partial: &Partial) -> Markup {
    let what = match &partial.event_name {
        Some(name) => Markup::new().say("An event ").code(name, NAME),
        None => Markup::new().say("An event"),
    };
    let place = match &partial.account {
        Some(account) => Markup::new().say(" in ").then(words::account(notice.accounts, account)),
        None => Markup::new().say(" of an account that cannot be told"),
    };
    let time = match partial.at {
        Some(at) => Markup::new().say(" on ").word(&words::when(at)),
        None => Markup::new(),
    };
    what.then(place)
        .then(time)
        .say(" could not be read, so keytide does not know what it did: ")
        .code(&partial.reason, LONG)
        .say(".")
}

/// That one of our roles did what keytide never does, as a sentence.
pub(super) fn own_role_sentence(notice: &Notice<'_>, partial: &Partial) -> Markup {
    let place = match &partial.account {
        Some(account) => Markup::new().say(" in ").then(words::account(notice.accounts, account)),
        None => Markup::new(),
    };
    let time = match partial.at {
        Some(at) => Markup::new().say(" on ").word(&words::when(at)),
        None => Markup::new(),
    };
    let name = partial.event_name.as_deref().unwrap_or("a call without a name");
    Markup::new()
        .say("One of keytide's own roles called ")
        .code(name, NAME)
        .then(place)
        .then(time)
        .say(", which keytide never does.")
}

fn own_role(notice: &Notice<'_>, partial: &Partial) -> Draft {
    let (title_account, fields) = partial_fields(notice, partial);
    Draft {
        title: format!("keytide's own role was misused ({title_account})"),
        sentence: own_role_sentence(notice, partial),
        alarms: vec![words::own_role_alarm()],
        fields,
        next: vec![words::own_role_next()],
        ..Draft::default()
    }
}

/// The account for a title, and the fields, of an event of which only parts are known.
fn partial_fields(notice: &Notice<'_>, partial: &Partial) -> (String, Vec<Markup>) {
    let account = match &partial.account {
        Some(account) => words::account(notice.accounts, account),
        None => Markup::new().say("unknown"),
    };
    let title_account = partial
        .account
        .as_ref()
        .map_or_else(|| "account unknown".to_owned(), |id| plain(notice.accounts.label(id), 30));
    let fields = vec![
        field("Account", account),
        field("Key id", words::told(partial.key_id.as_deref(), KEY_ID)),
        field("Called by", words::identity(notice.accounts, &partial.actor, Place::Within)),
        field("Source", words::told(partial.source.as_deref(), NAME)),
        field("MFA", words::mfa(partial.mfa)),
        words::user_agent_field(partial.user_agent.as_deref()),
    ];
    (title_account, fields)
}

fn unreadable(notice: &Notice<'_>, partial: &Partial) -> Draft {
    let lookup = partial.event_id.as_deref().filter(|id| words::is_plain_name(id)).map(|id| {
        let command = format!(
            "aws cloudtrail lookup-events --region us-east-1 --lookup-attributes AttributeKey=EventId,AttributeValue={id}"
        );
        Markup::new().say(": ").code(&command, LONG)
    });
    let next = Markup::new()
        .bold("Next:")
        .say(" look the event up, and treat it as a possible new key until you know better")
        .then(lookup.unwrap_or_else(|| Markup::new().say(".")));
    let (title_account, fields) = partial_fields(notice, partial);
    Draft {
        title: format!("Event that could not be read ({title_account})"),
        sentence: unreadable_sentence(notice, partial),
        fields,
        next: vec![next],
        ..Draft::default()
    }
}
