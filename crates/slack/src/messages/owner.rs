//! The owner's direct message, and what the channel hears when it could not be sent.

use keytide_core::{
    alert::{self, Flag, is_same_user},
    cloudtrail::{KeyChange, KeyEvent, Status, Subject},
    fact::FactBody,
    owner::SlackIdTag,
};

use super::{
    Draft, Notice, announce,
    channel::{self, for_channel, key_title},
    disabled, found,
    words::{self, KEY_ID, LONG, NAME, Place, field},
};
use crate::{blocks::Message, text::Markup};

/// The owner's direct message: friendly, in the second person, with what to do if it was not them.
///
/// Only what is about a key is told to owners; of anything else this is what the channel hears.
pub fn for_owner(notice: &Notice<'_>) -> Message {
    let draft = match &notice.fact.body {
        FactBody::Key { event, .. } => key(notice, event),
        FactBody::Observed { observed } => found::for_owner(notice, observed),
        FactBody::Disabled { disabled } => disabled::for_owner(notice, disabled),
        FactBody::FailedCall { .. }
        | FactBody::Owner { .. }
        | FactBody::OwnRole { .. }
        | FactBody::Unreadable { .. }
        | FactBody::Decided { .. } => return for_channel(notice),
    };
    draft.into_message(notice)
}

fn key(notice: &Notice<'_>, event: &KeyEvent) -> Draft {
    let call = &event.call;
    let flags = alert::flags(notice.rules, event, notice.owner);
    let mut fields = Vec::new();
    fields.push(field("Key id", Markup::new().code(&event.key_id, KEY_ID)));
    fields.extend(words::caller_fields(notice, call, "By"));
    fields.push(field("Active keys", words::active_keys(notice, event)));
    fields.push(words::user_agent_field(call.user_agent.as_deref()));
    let alarm = flags.contains(&Flag::OwnRole).then(words::own_role_alarm);
    Draft {
        title: format!("{}: your IAM user {}", key_title(event), words::titled(notice, &event.subject)),
        sentence: sentence(notice, event),
        alarms: alarm.into_iter().collect(),
        fields,
        next: next(event),
        fine_print: vec![words::why_you()],
        ..Draft::default()
    }
}

fn sentence(notice: &Notice<'_>, event: &KeyEvent) -> Markup {
    let call = &event.call;
    let own = is_same_user(call, &event.subject);
    let yours = Markup::new().say("your IAM user ").then(words::subject(&event.subject));
    let who = if own {
        Markup::new().say("Your IAM user ").then(words::subject(&event.subject))
    } else {
        words::actor(notice.accounts, call, Place::Start)
    };
    let key = Markup::new().say("access key ").code(&event.key_id, KEY_ID);
    let of_yours = || if own { Markup::new() } else { Markup::new().say(" of ").then(yours.clone()) };
    let deed = match &event.change {
        KeyChange::Created { .. } if own => who.say(" created ").then(key).say(" for itself"),
        KeyChange::Created { .. } => who.say(" created ").then(key).say(" for ").then(yours),
        KeyChange::StatusChanged { to: Status::Active } => {
            who.say(" set ").then(key).then(of_yours()).say(" Active")
        }
        KeyChange::StatusChanged { to: Status::Inactive } => {
            who.say(" set ").then(key).then(of_yours()).say(" Inactive")
        }
        KeyChange::StatusChanged { to } => {
            who.say(" gave ").then(key).then(of_yours()).say(" the status ").code(to.as_str(), NAME)
        }
        KeyChange::Deleted => who.say(" deleted ").then(key).then(of_yours()),
    };
    deed.then(words::where_and_when(notice, call))
}

fn next(event: &KeyEvent) -> Vec<Markup> {
    let expected = Markup::new().bold("If you expected this:");
    let surprise = Markup::new().bold("If not:");
    let (calm, alarm) = match &event.change {
        KeyChange::Created { .. } | KeyChange::StatusChanged { to: Status::Active } => {
            let how = match words::status_command(event, "Inactive") {
                Some(command) => Markup::new().say(": ").then(command),
                None => Markup::new().say(" in the IAM console."),
            };
            (
                expected.say(" nothing to do. Keep the key out of code, chat and e-mail."),
                surprise
                    .say(" somebody may be using your credentials. Tell your security team now, and set the key Inactive")
                    .then(how),
            )
        }
        KeyChange::StatusChanged { to: Status::Inactive } => (
            expected.say(" nothing to do. Whatever still uses this key is refused."),
            surprise.say(" ask whoever did it, or your security team, before you set it Active again."),
        ),
        KeyChange::StatusChanged { .. } => (
            expected.say(" nothing to do."),
            surprise.say(" ask whoever did it, or your security team, whether the key can still be used."),
        ),
        KeyChange::Deleted => (
            expected.say(" nothing to do. A deleted key cannot be brought back."),
            surprise
                .say(" ask whoever did it, or your security team. Whatever used this key needs a new one."),
        ),
    };
    vec![calm.say("\n").then(alarm)]
}

/// What goes to the channel in the owner's stead, and why.
pub fn owner_fallback(notice: &Notice<'_>, why: &str) -> Message {
    let body = &notice.fact.body;
    let subject = match body {
        FactBody::Key { event, .. } => event.subject.clone(),
        FactBody::FailedCall { failed } => failed.subject.clone(),
        FactBody::Owner { event } => Subject::User(event.user.clone()),
        FactBody::OwnRole { .. } | FactBody::Unreadable { .. } => Subject::Unknown,
        FactBody::Observed { observed } => observed.key.holder.subject.clone(),
        FactBody::Disabled { disabled } => disabled.key.holder.subject.clone(),
        FactBody::Decided { decision } => {
            decision.key().map_or(Subject::Unknown, |(_, user)| Subject::User(user.to_owned()))
        }
    };
    let who = match &subject {
        Subject::User(_) => words::subject(&subject),
        Subject::Root | Subject::Unknown => Markup::new().say("The owner"),
    };
    let story = match body {
        FactBody::Key { event, .. } => channel::key_sentence(notice, event),
        FactBody::FailedCall { failed } => channel::failed_sentence(notice, failed),
        FactBody::Owner { event } => channel::owner_sentence(notice, event),
        FactBody::OwnRole { partial } => channel::own_role_sentence(notice, partial),
        FactBody::Unreadable { partial } => channel::unreadable_sentence(notice, partial),
        FactBody::Observed { observed } => found::sentence(notice, observed),
        FactBody::Disabled { disabled } => disabled::sentence(notice, disabled),
        FactBody::Decided { decision } => announce::sentence(decision),
    };
    let mut fields = vec![field("Owner", words::owner(notice, &subject))];
    if let Some(account) = body.account() {
        fields.push(field("Account", words::account(notice.accounts, account)));
    }
    if let Some(key_id) = body.key_id() {
        fields.push(field("Key id", Markup::new().code(key_id, KEY_ID)));
    }
    let tag = || {
        Markup::new()
            .bold("Next:")
            .say(" pass it on to whoever owns this user, and set the user's tag ")
            .code("slack-id", NAME)
    };
    let next = match notice.owner.owner().map(|owner| &owner.tags.slack_id) {
        Some(SlackIdTag::Missing | SlackIdTag::Malformed(_)) => {
            tag().say(" to their Slack member id (in Slack: their profile, Copy member ID).")
        }
        Some(SlackIdTag::Valid(_)) => Markup::new()
            .bold("Next:")
            .say(" pass it on to whoever owns this user, and see whether the tag ")
            .code("slack-id", NAME)
            .say(" still names the right person."),
        None => Markup::new().bold("Next:").say(" pass it on to whoever owns this user."),
    };
    let alarms = match body {
        FactBody::Key { event, .. }
            if alert::flags(notice.rules, event, notice.owner).contains(&Flag::OwnRole) =>
        {
            vec![words::own_role_alarm()]
        }
        _ => Vec::new(),
    };
    Draft {
        title: format!("Owner not told: {}", words::titled(notice, &subject)),
        sentence: who.say(" could not be told directly (").code(why, LONG).say("): ").then(story),
        alarms,
        fields,
        next: vec![next],
        ..Draft::default()
    }
    .into_message(notice)
}
