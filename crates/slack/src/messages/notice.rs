//! The notices of age: before a key is disabled, while it should have been, and before an exemption ends.

use jiff::Timestamp;
use keytide_core::{AccountId, AccountNames, alert::Severity, delivery::Stage, lifecycle::utc_date};

use super::{
    Draft,
    due::{DueKey, nearest_first},
    list::List,
    sweep_words::{self as sweep, OwnerReached, counted},
    words::{self, field},
};
use crate::{
    blocks::Message,
    text::{Markup, plain},
};

/// One message for all of an owner's keys that a notice is due for. It leads with the nearest date.
pub fn notices_for_owner(keys: &[DueKey<'_>], accounts: &AccountNames, now: Timestamp) -> Message {
    let keys = nearest_first(keys, |key| key.notice);
    let severity = severity(&keys);
    let draft = match keys.as_slice() {
        [only] => one_for_owner(only, accounts, now),
        _ => several_for_owner(&keys, accounts, now),
    };
    draft.message(severity)
}

/// The same news for the channel, about one account, with whether each owner was told.
pub fn notices_for_channel(
    account: &AccountId,
    keys: &[(DueKey<'_>, OwnerReached)],
    accounts: &AccountNames,
    now: Timestamp,
) -> Message {
    let keys = nearest_first(keys, |(key, _)| key.notice);
    let due: Vec<&DueKey<'_>> = keys.iter().map(|(key, _)| key).collect();
    let severity = severity(&due);
    let draft = match keys.as_slice() {
        [(only, reached)] => one_for_channel(only, reached, accounts, now),
        _ => several_for_channel(account, &keys, accounts, now),
    };
    draft.message(severity)
}

fn severity(keys: &[&DueKey<'_>]) -> Severity {
    keys.iter().map(|key| key.notice.severity).max().unwrap_or(Severity::Notice)
}

fn dates_are_utc() -> Markup {
    Markup::new().say("Dates are UTC.")
}

/// `Key …WXYZ (prod) will be disabled on Tue 3 June, in 5 days: it is access key …`; the date comes first, since
/// a phone shows no more than the beginning.
fn sentence(
    due: &DueKey<'_>,
    user: Option<&str>,
    key: Markup,
    accounts: &AccountNames,
    now: Timestamp,
) -> Markup {
    sweep::lead(accounts, due.account, due.key, user)
        .say(" ")
        .word(&due.verdict(utc_date(now)))
        .say(". This is ")
        .then(key)
        .say(" in ")
        .then(words::account(accounts, due.account))
        .say(". ")
        .then(due.reasons(now))
}

fn one_for_owner(due: &DueKey<'_>, accounts: &AccountNames, now: Timestamp) -> Draft {
    let mut next: Vec<Markup> = due.consequence(now).into_iter().collect();
    next.push(sweep::rotation(sweep::user(due.key), &due.key.key_id, sweep::is_machine(due.key)));
    if sweep::is_machine(due.key) {
        next.push(Markup::new().say(
            "Nobody sits behind this user, so nobody else will notice in time: please see to it, or tell your security team whose it is. Where the machine can take on a role, it needs no key at all.",
        ));
    }
    if matches!(due.notice.stage, Stage::ExemptionEnding(_)) {
        next.push(
            Markup::new()
                .bold("Need it for longer?")
                .say(" Only your security team can renew the exemption: ask them before it ends."),
        );
    }
    next.push(sweep::where_to_ask());
    Draft {
        title: due.title(accounts, utc_date(now), None),
        sentence: sentence(due, None, sweep::key_of_yours(due.key), accounts, now),
        alarms: due.alarms(now),
        fields: due.fields(accounts, now),
        next,
        fine_print: vec![words::why_you(), dates_are_utc()],
        ..Draft::default()
    }
}

fn several_for_owner(keys: &[&DueKey<'_>], accounts: &AccountNames, now: Timestamp) -> Draft {
    let count = counted(keys.len(), "access key", "access keys");
    let Some(first) = keys.first() else {
        return Draft {
            title: "No access key of yours is due".to_owned(),
            sentence: Markup::new().say("No access key of yours is due."),
            ..Draft::default()
        };
    };
    let rows = keys
        .iter()
        .map(|due| due.row(Markup::new().say(" in ").then(words::account(accounts, due.account)), now))
        .collect();
    let lead = sentence(first, None, sweep::key_of_yours(first.key), accounts, now);
    // Commands are for one key; where several users have them, each takes the names of its own.
    let is_one_user =
        keys.iter().all(|due| sweep::user(due.key) == sweep::user(first.key) && due.account == first.account);
    let user = if is_one_user { sweep::user(first.key) } else { "USER" };
    let mut next = vec![
        sweep::rotation(user, "KEY-ID", keys.iter().all(|due| sweep::is_machine(due.key))),
        Markup::new().say("The names in capitals stand for each key's own. Whatever still uses a key when it is disabled is refused by AWS."),
    ];
    next.push(sweep::where_to_ask());
    Draft {
        title: format!("{} (and {} more)", first.title(accounts, utc_date(now), None), keys.len() - 1),
        sentence: Markup::new()
            .then(count)
            .say(" that you are responsible for need you. The nearest date first: ")
            .then(lead),
        alarms: alarms_of(keys, now),
        lists: vec![List { heading: Markup::new().bold("All of them:"), rows, is_weighty: true, beyond: 0 }],
        next,
        fine_print: vec![words::why_you(), dates_are_utc()],
        ..Draft::default()
    }
}

/// Of several, each critical one by its key; a few, for the rows mark them all.
fn alarms_of(keys: &[&DueKey<'_>], now: Timestamp) -> Vec<Markup> {
    keys.iter()
        .filter(|due| due.notice.severity == Severity::Critical)
        .take(3)
        .map(|due| {
            let start = Markup::new().code(&sweep::tail(&due.key.key_id), 20).say(":");
            due.alarms(now).into_iter().fold(start, |whole, alarm| whole.say(" ").then(alarm))
        })
        .collect()
}

fn one_for_channel(
    due: &DueKey<'_>,
    reached: &OwnerReached,
    accounts: &AccountNames,
    now: Timestamp,
) -> Draft {
    let mut fields = due.fields(accounts, now);
    if let Some(name) = due.key.owner.as_ref().and_then(|owner| owner.tags.full_name.as_deref()) {
        fields.push(field("Owner's name", Markup::new().code(name, words::NAME)));
    }
    let mut next: Vec<Markup> = due.consequence(now).into_iter().collect();
    next.extend(reached.next());
    if due.notice.severity == Severity::Critical {
        next.push(
            Markup::new()
                .bold("Next:")
                .say(" talk to whoever set it Active, and see that they change to a new key today."),
        );
    }
    Draft {
        title: due.title(accounts, utc_date(now), Some(sweep::user(due.key))),
        sentence: sentence(due, Some(sweep::user(due.key)), sweep::key_of(due.key), accounts, now)
            .say(" ")
            .then(reached.sentence()),
        alarms: due.alarms(now),
        fields,
        next,
        fine_print: vec![dates_are_utc()],
        ..Draft::default()
    }
}

fn several_for_channel(
    account: &AccountId,
    keys: &[&(DueKey<'_>, OwnerReached)],
    accounts: &AccountNames,
    now: Timestamp,
) -> Draft {
    let place = words::account(accounts, account);
    let told = keys.iter().filter(|(_, reached)| matches!(reached, OwnerReached::Told { .. })).count();
    let mut sentence = Markup::new()
        .then(counted(keys.len(), "access key is", "access keys are"))
        .say(" due in ")
        .then(place)
        .say(".");
    if let Some((first, _)) = keys.first() {
        sentence = sentence
            .say(" The nearest: ")
            .then(sweep::key_of(first.key))
            .say(" ")
            .word(&first.verdict(utc_date(now)))
            .say(".");
    }
    sentence = match keys.len() - told {
        0 if told > 0 => sentence.say(" Every owner was told."),
        not_told => sentence
            .say(" Owners told of ")
            .then(counted(told, "key", "keys"))
            .say(", not of ")
            .word(&sweep::grouped(not_told))
            .say("."),
    };
    let due: Vec<&DueKey<'_>> = keys.iter().map(|(due, _)| due).collect();
    let rows = keys
        .iter()
        .map(|(due, reached)| due.row(Markup::new(), now).say("; ").then(reached.short()))
        .collect();
    let next = keys.iter().any(|(_, reached)| reached.next().is_some()).then(|| {
        Markup::new()
            .bold("Next:")
            .say(" tell whoever owns the users whose owners were not told, and see to these users' tags ")
            .code("slack-id", words::NAME)
            .say(".")
    });
    Draft {
        title: format!(
            "{} access keys are due ({})",
            sweep::grouped(keys.len()),
            plain(accounts.label(account), 30)
        ),
        sentence,
        alarms: alarms_of(&due, now),
        lists: vec![List { heading: Markup::new().bold("By date:"), rows, is_weighty: true, beyond: 0 }],
        next: next.into_iter().collect(),
        fine_print: vec![dates_are_utc(), Markup::new().say("The ledger holds each key's whole story.")],
        ..Draft::default()
    }
}
