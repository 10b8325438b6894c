//! That keytide disabled a key: what, when and why, with its last use before it on top, and how to recover.

use jiff::SignedDuration;
use keytide_core::{
    fact::{DisabledKey, SeenAfter},
    key::Ground,
    lifecycle::utc_date,
};

use super::{
    Draft, Notice,
    due::days_old,
    sweep_words::{self as sweep, day},
    words::{self, KEY_ID, field},
};
use crate::text::Markup;

/// A use this short a time before the disable means that something breaks now.
const IN_USE: SignedDuration = SignedDuration::from_hours(24);

/// For the channel.
pub(super) fn for_channel(notice: &Notice<'_>, disabled: &DisabledKey) -> Draft {
    let mut fields = vec![field("Owner", words::owner(notice, &disabled.key.holder.subject))];
    fields.extend(own_fields(notice, disabled));
    Draft {
        title: title(notice, disabled, Some(sweep::user(&disabled.key))),
        sentence: sentence(notice, disabled),
        fields,
        next: vec![recovery(disabled)],
        ..Draft::default()
    }
}

/// For the owner.
pub(super) fn for_owner(notice: &Notice<'_>, disabled: &DisabledKey) -> Draft {
    Draft {
        title: title(notice, disabled, None),
        sentence: last_use(disabled).say(" ").then(deed(
            notice,
            disabled,
            sweep::key_of_yours(&disabled.key),
        )),
        fields: own_fields(notice, disabled),
        next: vec![recovery(disabled), sweep::where_to_ask()],
        fine_print: vec![words::why_you()],
        ..Draft::default()
    }
}

/// What happened, in sentences: the last use before it first.
pub(super) fn sentence(notice: &Notice<'_>, disabled: &DisabledKey) -> Markup {
    last_use(disabled).say(" ").then(deed(notice, disabled, sweep::key_of(&disabled.key)))
}

fn title(notice: &Notice<'_>, disabled: &DisabledKey, user: Option<&str>) -> String {
    let key = sweep::titled_key(notice.accounts, &disabled.key.account, &disabled.key, user);
    match disabled.seen {
        SeenAfter::Inactive => format!("{key} was disabled"),
        SeenAfter::Unconfirmed => format!("{key}: its disabling is not confirmed"),
        SeenAfter::FoundInactive => format!("{key} was found Inactive"),
    }
}

/// When it was last used; as a warning where that was a moment ago.
fn last_use(disabled: &DisabledKey) -> Markup {
    let say = |words| Markup::new().say(words);
    let Some(read) = &disabled.key.last_use else {
        return say("When it was last used is not known.");
    };
    let as_of = |whole: Markup| whole.say(", as of ").word(&words::when(read.seen_at)).say(".");
    let Some(at) = read.at else { return as_of(say("It was never used")) };
    let used = say("last used ")
        .word(&sweep::elapsed(at, disabled.at))
        .say(" before this")
        .then(sweep::used_where(read));
    if disabled.at.duration_since(at) <= IN_USE {
        as_of(say("⚠️ It was in use: ").then(used)).say(match disabled.seen {
            SeenAfter::Inactive | SeenAfter::FoundInactive => " Whatever used it is refused by AWS now.",
            SeenAfter::Unconfirmed => " Whatever used it is refused by AWS once it is Inactive.",
        })
    } else {
        as_of(say("It was not in use: ").then(used))
    }
}

/// What was done, and why.
fn deed(notice: &Notice<'_>, disabled: &DisabledKey, key: Markup) -> Markup {
    let today = utc_date(disabled.at);
    let planned = &disabled.planned;
    let whole = Markup::new()
        .say(match disabled.seen {
            SeenAfter::Inactive => "keytide disabled ",
            SeenAfter::Unconfirmed => "keytide asked IAM to disable ",
            SeenAfter::FoundInactive => "A sweep stopped short as it was about to disable ",
        })
        .then(key)
        .say(" in ")
        .then(words::account(notice.accounts, &disabled.key.account))
        .say(match disabled.seen {
            SeenAfter::FoundInactive => "; it was found Inactive on ",
            SeenAfter::Inactive | SeenAfter::Unconfirmed => " on ",
        })
        .word(&words::when(disabled.at))
        .say(match disabled.seen {
            SeenAfter::FoundInactive => ". It was to be disabled",
            SeenAfter::Inactive | SeenAfter::Unconfirmed => "",
        })
        .say(match planned.ground {
            Ground::Age => ", because it is ",
            Ground::Unused => ", because nobody used it for too long; it is ",
        })
        .word(&days_old(planned.age_days))
        .say(". The notice of ")
        .word(&day(utc_date(planned.noticed_at), today))
        .say(" had named ")
        .word(&day(planned.named, today))
        .say(". ");
    match disabled.seen {
        SeenAfter::Inactive => whole.say("It is disabled, not deleted."),
        SeenAfter::FoundInactive => whole.say(
            "Whether that was keytide's call or somebody else's is not known: no event has told. It is disabled, not deleted.",
        ),
        SeenAfter::Unconfirmed => whole.bold("Not confirmed:").say(
            " IAM did not show it as Inactive when it was read again. The next sweep looks again; until then, take it for active.",
        ),
    }
}

fn own_fields(notice: &Notice<'_>, disabled: &DisabledKey) -> Vec<Markup> {
    let key = &disabled.key;
    vec![
        field("Key id", Markup::new().code(&key.key_id, KEY_ID)),
        field("User", words::subject(&key.holder.subject)),
        field("Account", words::account(notice.accounts, &key.account)),
        field("Last used", sweep::last_use(key, disabled.at)),
        field(
            "Seen afterwards",
            Markup::new().say(match disabled.seen {
                SeenAfter::Inactive | SeenAfter::FoundInactive => "Inactive",
                SeenAfter::Unconfirmed => "not yet Inactive",
            }),
        ),
    ]
}

/// How to get going again, the better way first.
fn recovery(disabled: &DisabledKey) -> Markup {
    let user = sweep::user(&disabled.key);
    let active = words::key_command(user, &disabled.key.key_id, "update-access-key", Some("Active"));
    Markup::new()
        .bold("If something broke:")
        .say(" make a new key and change to it: ")
        .then(sweep::or_console(sweep::create_command(user)))
        .say("\n")
        .bold("Only if that cannot be done now:")
        .say(" set this one Active again: ")
        .then(sweep::or_console(active))
        .say("\nThat gives it no new life: ")
        .then(sweep::notice_and_dates())
        .say(", and a second time within 30 days gives it one day.")
}
