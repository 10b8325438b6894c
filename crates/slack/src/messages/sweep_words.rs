//! The phrases that the messages of a sweep share.

use jiff::{Timestamp, civil::Date};
use keytide_core::{
    AccountId, AccountNames,
    cloudtrail::Subject,
    key::{Key, LastUse},
    owner::SlackId,
    policy::{LEAST_DATES_BETWEEN, Mode},
};

use super::words::{self, KEY_ID, LONG, NAME};
use crate::text::{Markup, plain};

/// Characters of a service's or a region's name.
const PLACE: usize = 60;
/// Characters of a key's id that tell it from its owner's other keys.
const TAIL: usize = 4;

/// Whether the owner has been told, and if not, why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerReached {
    /// Slack confirmed the message to this member.
    Told {
        /// The member.
        slack_id: SlackId,
    },
    /// The user has no tag `slack-id`.
    NoTag,
    /// The tag holds this, which is no member id. Untrusted text.
    Malformed(String),
    /// Slack could not reach the member, and why.
    Unreachable(String),
    /// Owners are not told in the account's mode.
    NotInThisMode,
    /// It is not known whether they were told, and why.
    Unknown(String),
}

impl OwnerReached {
    /// As a sentence for the channel.
    pub(super) fn sentence(&self) -> Markup {
        let say = |words| Markup::new().say(words);
        let not_told = |why: Markup| say("The owner was not told: ").then(why).say(".");
        match self {
            Self::Told { slack_id } => say("The owner, ").mention(slack_id).say(", was told."),
            Self::NoTag => not_told(say("the user has no tag ").code("slack-id", NAME)),
            Self::Malformed(value) => not_told(
                say("the tag ")
                    .code("slack-id", NAME)
                    .say(" is ")
                    .code(value, NAME)
                    .say(", which is no Slack member id"),
            ),
            Self::Unreachable(cause) => not_told(say("Slack could not reach them: ").code(cause, LONG)),
            Self::NotInThisMode => {
                not_told(say("in this account's mode, observe, only this channel is told"))
            }
            Self::Unknown(cause) => {
                say("Whether the owner was told is not known: ").code(cause, LONG).say(".")
            }
        }
    }

    /// In few words, for a row.
    pub(super) fn short(&self) -> Markup {
        let say = |words| Markup::new().say(words);
        match self {
            Self::Told { slack_id } => say("owner ").mention(slack_id).say(" told"),
            Self::NoTag => say("owner not told: no tag ").code("slack-id", NAME),
            Self::Malformed(value) => say("owner not told: malformed tag ").code(value, 40),
            Self::Unreachable(cause) => say("owner not told: ").code(cause, 60),
            Self::NotInThisMode => say("owner not told: the account is in observe"),
            Self::Unknown(cause) => say("whether the owner was told is not known: ").code(cause, 60),
        }
    }

    /// What the channel is to do about it; `None` where there is nothing.
    pub(super) fn next(&self) -> Option<Markup> {
        let next = Markup::new().bold("Next:");
        match self {
            Self::Told { .. } | Self::NotInThisMode => None,
            Self::NoTag | Self::Malformed(_) => Some(
                next.say(" pass this on to whoever owns the user, and set the user's tag ")
                    .code("slack-id", NAME)
                    .say(" to their Slack member id (in Slack: their profile, Copy member ID)."),
            ),
            Self::Unreachable(_) => Some(
                next.say(" pass this on to whoever owns the user, and see whether the tag ")
                    .code("slack-id", NAME)
                    .say(" still names the right person."),
            ),
            Self::Unknown(_) => Some(next.say(" make sure that whoever owns the user knows of this.")),
        }
    }
}

/// `1 key`, `2 keys`.
pub(super) fn counted(number: usize, one: &'static str, many: &'static str) -> Markup {
    Markup::new().word(&grouped(number)).say(" ").say(if number == 1 { one } else { many })
}

/// A number that people read, as `12,345`.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A UTC date that people read, as `Tue 3 June`, with its year where that is not this one.
pub(super) fn day(date: Date, today: Date) -> String {
    let form = if date.year() == today.year() { "%a %-d %B" } else { "%a %-d %B %Y" };
    date.strftime(form).to_string()
}

/// `today`, `tomorrow`, `in 5 days`, `5 days ago`.
pub(super) fn in_days(date: Date, today: Date) -> String {
    match date.duration_since(today).as_hours() / 24 {
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        -1 => "yesterday".to_owned(),
        days if days > 0 => format!("in {days} days"),
        days => format!("{} days ago", days.unsigned_abs()),
    }
}

/// `Tue 3 June, in 5 days`.
pub(super) fn day_and_distance(date: Date, today: Date) -> String {
    format!("{}, {}", day(date, today), in_days(date, today))
}

/// How long ago, as `3 hours` or `5 days`.
pub(super) fn elapsed(from: Timestamp, to: Timestamp) -> String {
    match to.duration_since(from).as_hours() {
        ..1 => "less than an hour".to_owned(),
        1 => "1 hour".to_owned(),
        hours @ ..48 => format!("{hours} hours"),
        hours => format!("{} days", hours / 24),
    }
}

/// ` (s3, eu-west-1)`; nothing where neither is known.
pub(super) fn used_where(last_use: &LastUse) -> Markup {
    // IAM answers `N/A` where it does not know (AccessKeyLastUsed in IAM's API reference).
    let known = |text: &Option<String>| text.clone().filter(|text| !text.is_empty() && text != "N/A");
    let mut places = known(&last_use.service).into_iter().chain(known(&last_use.region));
    let Some(first) = places.next() else { return Markup::new() };
    let whole = Markup::new().say(" (").code(&first, PLACE);
    places.fold(whole, |whole, place| whole.say(", ").code(&place, PLACE)).say(")")
}

/// A key's last use, with when that was read: `5 days ago (s3, eu-west-1), as of …`.
pub(super) fn last_use(key: &Key, now: Timestamp) -> Markup {
    match &key.last_use {
        Some(read) => last_use_short(key, now).say(", as of ").word(&words::when(read.seen_at)),
        None => last_use_short(key, now),
    }
}

/// A key's last use: `5 days ago (s3, eu-west-1)`, `never` or `unknown`.
pub(super) fn last_use_short(key: &Key, now: Timestamp) -> Markup {
    match &key.last_use {
        None => Markup::new().say("unknown"),
        Some(LastUse { at: None, .. }) => Markup::new().say("never"),
        Some(read @ LastUse { at: Some(at), .. }) => {
            Markup::new().word(&elapsed(*at, now)).say(" ago").then(used_where(read))
        }
    }
}

/// The end of a key's id, by which its owner knows it, as `…WXYZ`.
pub(super) fn tail(key_id: &str) -> String {
    let characters = key_id.chars().count();
    if characters <= TAIL {
        return key_id.to_owned();
    }
    format!("…{}", key_id.chars().skip(characters - TAIL).collect::<String>())
}

/// `Key …WXYZ (prod)`, for a header; with the user's name where that is not its reader's own.
pub(super) fn titled_key(
    accounts: &AccountNames,
    account: &AccountId,
    key: &Key,
    user: Option<&str>,
) -> String {
    let of = user.map_or_else(String::new, |user| format!(" of {}", plain(user, 40)));
    format!("{} {}{of} ({})", noun(key), plain(&tail(&key.key_id), 20), plain(accounts.label(account), 30))
}

/// The same within a text.
pub(super) fn lead(accounts: &AccountNames, account: &AccountId, key: &Key, user: Option<&str>) -> Markup {
    let whole = Markup::new().say(noun(key)).say(" ").code(&tail(&key.key_id), 20);
    let whole = match user {
        Some(user) => whole.say(" of ").code(user, NAME),
        None => whole,
    };
    whole.say(" (").word(accounts.label(account)).say(")")
}

fn noun(key: &Key) -> &'static str {
    if is_machine(key) { "Machine key" } else { "Key" }
}

/// The key's user, if it is a user's.
pub(super) fn user(key: &Key) -> &str {
    key.holder.subject.user().unwrap_or_default()
}

/// Access key such of whom, within a sentence.
pub(super) fn key_of(key: &Key) -> Markup {
    Markup::new()
        .say("access key ")
        .code(&key.key_id, KEY_ID)
        .say(" of ")
        .then(words::subject(&key.holder.subject))
}

/// The same, to its owner.
pub(super) fn key_of_yours(key: &Key) -> Markup {
    let whole = Markup::new().say("access key ").code(&key.key_id, KEY_ID);
    match &key.holder.subject {
        Subject::User(name) if is_machine(key) => {
            whole.say(" of the machine user ").code(name, NAME).say(", which you are responsible for,")
        }
        Subject::User(name) => whole.say(" of your IAM user ").code(name, NAME),
        other => whole.say(" of ").then(words::subject(other)),
    }
}

/// Whether the user's tag `type` says that nobody sits behind it.
pub(super) fn is_machine(key: &Key) -> bool {
    let user_type = key.owner.as_ref().and_then(|owner| owner.tags.user_type.as_deref());
    user_type.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("machine"))
}

/// That keytide goes only so far here; nothing where it disables.
pub(super) fn how_far(mode: Mode, break_glass: bool) -> Option<Markup> {
    if break_glass {
        return Some(
            Markup::new().say("The user is a break-glass user, whose keys keytide never disables by itself."),
        );
    }
    match mode {
        Mode::Enforce => None,
        Mode::Observe | Mode::Notify => Some(
            Markup::new()
                .say("keytide does not disable keys in this account yet (it is in ")
                .word(mode.as_str())
                .say("), so whoever owns the key has to see to it."),
        ),
    }
}

/// The command that makes a new key, where the user's name is safe in a shell.
pub(super) fn create_command(user: &str) -> Option<Markup> {
    words::is_plain_name(user)
        .then(|| Markup::new().code(&format!("aws iam create-access-key --user-name {user}"), LONG))
}

/// The command, or where else it can be done.
pub(super) fn or_console(command: Option<Markup>) -> Markup {
    command.unwrap_or_else(|| Markup::new().say("in the IAM console"))
}

/// How to change to a new key, as commands where the names are safe in a shell.
pub(super) fn rotation(user: &str, key_id: &str, is_machine: bool) -> Markup {
    let key_command = |verb, status| or_console(words::key_command(user, key_id, verb, status));
    let switch = if is_machine {
        "\n2. Put it where the machine reads it (its secret store or its deployment's settings), restart what reads it only at its start, and see that it works."
    } else {
        "\n2. Put it wherever you use the old one, and see that it works: `aws sts get-caller-identity`"
    };
    Markup::new()
        .bold("To rotate:")
        .say("\n1. Make a new key: ")
        .then(or_console(create_command(user)))
        .say(" (a user can have two: if there are two, delete the one that nothing uses first)")
        .say(switch)
        .say("\n3. Switch the old one off: ")
        .then(key_command("update-access-key", Some("Inactive")))
        .say("\n4. Once nothing has missed it for a few days, delete it: ")
        .then(key_command("delete-access-key", None))
        .say("\nNo longer needed? Steps 3 and 4 are enough.")
}

/// What follows where a key is set Active, or its exemption ends: a notice, and then so many dates.
pub(super) fn notice_and_dates() -> Markup {
    Markup::new()
        .say("a notice names the date of its end, at least ")
        .word(&LEAST_DATES_BETWEEN.to_string())
        .say(" days ahead")
}

/// Where to ask, for owners.
pub(super) fn where_to_ask() -> Markup {
    Markup::new().bold("Questions?").say(" Ask your security team: their channel has this message too.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_said_as_people_say_them() {
        let today: Date = "2026-05-19".parse().unwrap();
        for (date, words) in [
            ("2026-05-19", "Tue 19 May, today"),
            ("2026-05-20", "Wed 20 May, tomorrow"),
            ("2026-05-18", "Mon 18 May, yesterday"),
            ("2026-06-03", "Wed 3 June, in 15 days"),
            ("2026-05-14", "Thu 14 May, 5 days ago"),
            ("2027-01-04", "Mon 4 January 2027, in 230 days"),
        ] {
            assert_eq!(day_and_distance(date.parse().unwrap(), today), words);
        }
        let now: Timestamp = "2026-05-19T06:00:00Z".parse().unwrap();
        for (at, words) in [
            ("2026-05-19T07:00:00Z", "less than an hour"),
            ("2026-05-19T05:00:01Z", "less than an hour"),
            ("2026-05-19T05:00:00Z", "1 hour"),
            ("2026-05-17T06:00:01Z", "47 hours"),
            ("2026-05-17T06:00:00Z", "2 days"),
        ] {
            assert_eq!(elapsed(at.parse().unwrap(), now), words, "{at}");
        }
    }

    #[test]
    fn numbers_and_ids_are_short_and_whole() {
        for (number, words) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), words);
        }
        assert_eq!(counted(1, "key", "keys").render(99), "1 key");
        assert_eq!(counted(0, "key", "keys").render(99), "0 keys");
        assert_eq!(tail("AKIAIOSFODNN7EXAMPLE"), "…MPLE");
        assert_eq!(tail("KEY"), "KEY");
        assert_eq!(tail("日本語の鍵"), "…本語の鍵");
    }
}
