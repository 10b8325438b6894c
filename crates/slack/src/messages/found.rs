//! What a sweep saw and no event told of, and what the first sweep of an account found.

use jiff::Timestamp;
use keytide_core::{
    AccountId, AccountNames,
    alert::Severity,
    cloudtrail::{Status, Subject},
    fact::ObservedKey,
    key::{Key, Standing},
    lifecycle::{utc_date, whole_days},
    owner::OwnerReport,
    plan::News,
    policy::Mode,
};

use super::{
    Draft, Notice,
    due::days_old,
    sweep_words::{self as sweep, counted, day},
    words::{self, KEY_ID, NAME, field},
};
use crate::{
    blocks::Message,
    text::{Markup, plain},
};

/// The weightiest of the news, which the message is about.
fn main_news(observed: &ObservedKey) -> Option<&News> {
    observed.news.iter().min_by_key(|news| match news {
        News::Found => 0,
        News::Status { to: Status::Active, .. } => 1,
        News::Reopened => 2,
        News::Status { .. } => 3,
        News::Renamed { .. } => 4,
        News::Gone => 5,
    })
}

/// Whether the key works, and did not, as far as was known.
fn may_be_used(observed: &ObservedKey) -> bool {
    matches!(observed.key.standing(), Some(Standing::Exists(mark)) if mark.status == Status::Active)
}

/// For the channel.
pub(super) fn for_channel(notice: &Notice<'_>, observed: &ObservedKey) -> Draft {
    let key = &observed.key;
    let subject = &key.holder.subject;
    let mut fields = vec![field("Owner", words::owner(notice, subject))];
    fields.extend(key_fields(notice, observed));
    let is_root = *subject == Subject::Root;
    let alarm = is_root.then(|| {
        Markup::new().say("It is a key of root: IAM policies do not limit it, and keytide never touches it.")
    });
    Draft {
        title: format!("{}: {}", title(observed), words::titled_in(notice.accounts, &key.account, subject)),
        sentence: sentence(notice, observed),
        alarms: alarm.into_iter().collect(),
        flags: flags(observed, notice.owner),
        fields,
        next: vec![channel_next(observed)],
        fine_print: vec![no_event()],
        ..Draft::default()
    }
}

/// An active key of root's that the credential report shows and no event told of: it has no id there.
pub fn root_key(account: &AccountId, changed_at: Timestamp, accounts: &AccountNames) -> Message {
    Draft {
        title: format!("Access key of root: {}", plain(accounts.label(account), 60)),
        sentence: Markup::new()
            .say("The credential report of ")
            .then(words::account(accounts, account))
            .say(" shows an active access key of the root user, made or last changed on ")
            .word(&words::when(changed_at))
            .say("; no event told of it, so who made it, and from where, is not known."),
        alarms: vec![
            Markup::new()
                .say("It is a key of root: IAM policies do not limit it, and keytide never touches it."),
        ],
        next: vec![Markup::new().bold("Next:").say(
            " ask the account's owners now. If nobody can explain it, sign in as root, delete the key, and change root's password and MFA.",
        )],
        fine_print: vec![no_event()],
        ..Draft::default()
    }
    .message(Severity::Critical)
}

/// For the owner.
pub(super) fn for_owner(notice: &Notice<'_>, observed: &ObservedKey) -> Draft {
    let key = &observed.key;
    let calm = Markup::new().bold("If you know of this:");
    let alarm = Markup::new().bold("If not:");
    let (calm, alarm) = if may_be_used(observed) {
        (
            calm.say(" nothing to do. Keep the key out of code, chat and e-mail."),
            alarm
                .say(" somebody may be using your credentials. Tell your security team now, and set the key Inactive")
                .then(set_inactive(key)),
        )
    } else {
        (
            calm.say(" nothing to do."),
            alarm.say(" tell your security team before you do anything with this key."),
        )
    };
    Draft {
        title: format!(
            "{}: your IAM user {}",
            title(observed),
            words::titled_in(notice.accounts, &key.account, &key.holder.subject)
        ),
        sentence: told(notice, observed, sweep::key_of_yours(key)),
        fields: key_fields(notice, observed),
        next: vec![calm.say("\n").then(alarm)],
        fine_print: vec![words::why_you()],
        ..Draft::default()
    }
}

fn title(observed: &ObservedKey) -> String {
    match main_news(observed) {
        Some(News::Found) | None => "Access key found".to_owned(),
        Some(News::Status { to: Status::Other(text), .. }) => {
            format!("Access key found with unknown status {}", plain(text, 30))
        }
        Some(News::Status { to, .. }) => format!("Access key found {to}"),
        Some(News::Reopened) => "Access key found again".to_owned(),
        Some(News::Renamed { .. }) => "Access key found under another user name".to_owned(),
        Some(News::Gone) => "Access key not found any more".to_owned(),
    }
}

/// What the sweep saw, in one sentence.
pub(super) fn sentence(notice: &Notice<'_>, observed: &ObservedKey) -> Markup {
    told(notice, observed, sweep::key_of(&observed.key))
}

fn told(notice: &Notice<'_>, observed: &ObservedKey, key: Markup) -> Markup {
    let start = match main_news(observed) {
        Some(News::Gone) => Markup::new().say("For a day no sweep has found "),
        _ => Markup::new().say("The sweep found "),
    };
    let start = start.then(key).say(" in ").then(words::account(notice.accounts, &observed.key.account));
    let on = |whole: Markup| whole.say(" on ").word(&words::when(observed.at));
    match main_news(observed) {
        Some(News::Found) | None => {
            on(start).say("; no event told of it, so who made it, and from where, is not known.")
        }
        Some(News::Status { from, to }) => {
            let whole = on(start.say(" with the status ").then(status(to)));
            let whole = match from {
                Some(from) => whole.say("; the ledger had ").then(status(from)),
                None => whole.say("; the ledger knew no status"),
            };
            whole.say(", and no event told of the change.")
        }
        Some(News::Reopened) => on(start)
            .say("; no listing had shown it for a day, so it had been taken for deleted, and no event told that it is back."),
        Some(News::Renamed { from, to }) => {
            let whole = on(start).say(" under the user name ").code(to, NAME);
            match from {
                Some(from) => whole.say("; the ledger had ").code(from, NAME).say(", and no event told of the change."),
                None => whole.say("; the ledger knew no user."),
            }
        }
        Some(News::Gone) => start
            .say("; it is taken for deleted from ")
            .word(&words::when(observed.at))
            .say(" on, though no event told of that. Should it come back, that is told."),
    }
}

/// One line, for a message that joins many.
pub(super) fn line(start: Markup, observed: &ObservedKey) -> Markup {
    let start = match main_news(observed) {
        Some(News::Found) | None => start.say("found, told by no event, "),
        Some(News::Status { to, .. }) => start.say("found ").then(status(to)).say(", told by no event, "),
        Some(News::Reopened) => start.say("found again, "),
        Some(News::Renamed { .. }) => start.say("found under another name, "),
        Some(News::Gone) => start.say("not found any more, "),
    };
    let subject = words::subject(&observed.key.holder.subject);
    start.code(&observed.key.key_id, KEY_ID).say(" of ").then(subject)
}

fn no_event() -> Markup {
    Markup::new().say(
        "IAM's events can be lost on their way. If this comes often, see that the account's rule and trail still stand.",
    )
}

/// `: the command`, or where else.
fn set_inactive(key: &Key) -> Markup {
    match words::key_command(sweep::user(key), &key.key_id, "update-access-key", Some("Inactive")) {
        Some(command) => Markup::new().say(": ").then(command),
        None => Markup::new().say(" in the IAM console."),
    }
}

fn channel_next(observed: &ObservedKey) -> Markup {
    let next = Markup::new().bold("Next:");
    if !may_be_used(observed) {
        return next.say(
            " nothing, if this was meant. CloudTrail's event history of the last 90 days says who did it.",
        );
    }
    if observed.key.holder.subject == Subject::Root {
        return next.say(" ask the account's owners now. If nobody can explain it, sign in as root, delete the key, and change root's password and MFA.");
    }
    next.say(" find out who did it, and why: CloudTrail's event history holds the last 90 days. Its age counts from its creation. If nobody needs it, set it Inactive")
        .then(set_inactive(&observed.key))
}

fn key_fields(notice: &Notice<'_>, observed: &ObservedKey) -> Vec<Markup> {
    let key = &observed.key;
    let born = match key.born() {
        Some(born) => {
            Markup::new().word(&words::when(born)).say(", ").word(&days_old(whole_days(born, observed.at)))
        }
        None => Markup::new().say("unknown"),
    };
    let standing = match key.standing() {
        Some(Standing::Exists(mark)) => status(&mark.status),
        _ => Markup::new().word(key.standing_word()),
    };
    let mut fields = vec![
        field("Account", words::account(notice.accounts, &key.account)),
        field("Made on", born),
        field("Status", standing),
        field("Last used", sweep::last_use(key, observed.at)),
        field("Key id", Markup::new().code(&key.key_id, KEY_ID)),
    ];
    // A sweep lists the keys only of those whom it has to look at.
    if matches!(notice.owner, OwnerReport::Found { keys: Ok(_), .. }) {
        fields.push(field(
            "Active keys",
            words::active_keys_in(notice.owner, &key.holder.subject, &key.key_id),
        ));
    }
    fields
}

/// A status in our words where it is known, else as code.
fn status(status: &Status) -> Markup {
    match status {
        Status::Active => Markup::new().say("Active"),
        Status::Inactive => Markup::new().say("Inactive"),
        Status::Expired => Markup::new().say("Expired"),
        Status::Other(text) => Markup::new().code(text, NAME),
    }
}

fn flags(observed: &ObservedKey, owner: &OwnerReport) -> Vec<Markup> {
    let mut flags = Vec::new();
    let subject = &observed.key.holder.subject;
    let others_active = matches!(owner, OwnerReport::Found { keys: Ok(keys), .. }
        if keys.iter().any(|other| other.status == Status::Active && other.key_id != observed.key.key_id));
    if may_be_used(observed) && others_active {
        let only = Markup::new().say("This is not the only active key of ").then(words::subject(subject));
        flags.push(only.say("."));
    }
    if *subject != Subject::Root && owner.owner().is_none_or(|owner| owner.tags.slack_id().is_none()) {
        flags.push(Markup::new().say("The owner cannot be told directly."));
    }
    flags
}

/// What an account's first sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BaselineCounts {
    /// Keys.
    pub keys: usize,
    /// Of these, active.
    pub active: usize,
    /// Of these, active and past their day.
    pub over_age: usize,
    /// Keys of root.
    pub root: usize,
    /// Keys whose owner cannot be told: no tag `slack-id`, or a malformed one.
    pub without_owner: usize,
}

/// The one summary of an account's first sweep, whose keys are not alerted one by one.
pub fn baseline(
    account: &AccountId,
    counts: &BaselineCounts,
    mode: Mode,
    accounts: &AccountNames,
    now: Timestamp,
) -> Message {
    let BaselineCounts { keys, active, over_age, root, without_owner } = *counts;
    let sentence = Markup::new()
        .say("keytide swept ")
        .then(words::account(accounts, account))
        .say(" for the first time on ")
        .word(&day(utc_date(now), utc_date(now)))
        .say(" and entered ")
        .then(counted(keys, "access key", "access keys"))
        .say(" into the ledger, ")
        .word(&sweep::grouped(active))
        .say(
            " active. What was there before keytide is not alerted one by one; from now on every new key is.",
        );
    let mut flags = Vec::new();
    if root > 0 {
        let count = Markup::new().say("Root has ").then(counted(root, "access key", "access keys"));
        flags.push(count.say(". Root needs none, and keytide never touches it: delete what is there."));
    }
    if over_age > 0 {
        let count = counted(over_age, "active key is", "active keys are");
        flags.push(count.say(" past their day already."));
    }
    if without_owner > 0 {
        flags.push(
            counted(without_owner, "key has", "keys have")
                .say(" nobody to be told: the user has no usable tag ")
                .code("slack-id", NAME)
                .say("."),
        );
    }
    let next = Markup::new().bold("What follows:").say(match mode {
        Mode::Observe => {
            " the account is in observe: this channel is told, owners are not, and nothing is disabled."
        }
        Mode::Notify => {
            " the account is in notify: owners are told of their keys' dates, and nothing is disabled."
        }
        Mode::Enforce => {
            " the account is in enforce: owners are told, and keys are disabled, each after a notice that named its date at least five days before."
        }
    });
    let number = |number: usize| Markup::new().word(&sweep::grouped(number));
    Draft {
        title: format!("First sweep: {}", plain(accounts.label(account), 60)),
        sentence,
        flags,
        fields: vec![
            field("Keys", number(keys)),
            field("Active", number(active)),
            field("Past their day", number(over_age)),
            field("Of root", number(root)),
            field("Without an owner to tell", number(without_owner)),
        ],
        next: vec![next],
        ..Draft::default()
    }
    .message(Severity::Notice)
}
