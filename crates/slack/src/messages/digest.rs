//! The digest: once a run, also when all is well, since silence looks like failure.

use jiff::{Timestamp, civil::Date};
use keytide_core::{
    AccountId, AccountNames,
    alert::Severity,
    lifecycle::utc_date,
    plan::{Finding, FindingKind, HeldBy, HeldDisable, Upcoming, UpcomingKind},
};

use super::{
    Draft,
    list::List,
    sweep_words::{self as sweep, counted, day_and_distance, grouped, tail},
    words::{self, LONG, NAME, field},
};
use crate::{blocks::Message, text::Markup};

/// Characters of a policy's hash that are shown.
const SHORT_HASH: usize = 12;
/// Hours repeat after a week: a key that has waited that long may wait for ever.
const MOST_CLOSED_DAYS: u32 = 7;
/// Characters of a cause, in a row.
const CAUSE: usize = 160;

/// Some of many: the rows that are given, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// Those that are given. Fifteen are shown at most.
    pub rows: Vec<T>,
    /// How many there are besides.
    pub beyond: usize,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> From<Vec<T>> for Listed<T> {
    /// All of them.
    fn from(rows: Vec<T>) -> Self {
        Self { rows, beyond: 0 }
    }
}

impl<T> Listed<T> {
    /// How many there are in all.
    pub fn count(&self) -> usize {
        self.rows.len() + self.beyond
    }

    fn list(&self, title: &'static str, row: impl Fn(&T) -> Markup) -> List {
        List {
            heading: Markup::new().bold(title).say(" (").word(&grouped(self.count())).say("):"),
            rows: self.rows.iter().map(row).collect(),
            beyond: self.beyond,
            is_weighty: false,
        }
    }
}

/// A key that was disabled in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestDisabled {
    /// The account.
    pub account: AccountId,
    /// The access key's id.
    pub key_id: String,
    /// Its user.
    pub user: String,
    /// Its last use before it, if there was one and it is known.
    pub last_used: Option<Timestamp>,
    /// Whether IAM showed it as Inactive afterwards.
    pub is_confirmed: bool,
}

/// What is compared with the last run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Keys that are not closed.
    pub keys: usize,
    /// Of these, active.
    pub active: usize,
    /// Keys that are new since the last run, by event or found.
    pub new: usize,
    /// Notices sent.
    pub notices: usize,
}

/// What a run did, over all accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digest {
    /// The UTC date of the run.
    pub date: Date,
    /// How many accounts were to be swept.
    pub expected: usize,
    /// How many were.
    pub swept: usize,
    /// Accounts that were tried and not swept, and why.
    pub failed: Listed<(AccountId, String)>,
    /// Accounts of which nothing was heard.
    pub silent: Listed<AccountId>,
    /// The totals of the accounts that were swept.
    pub totals: Totals,
    /// The totals of the run before, if there was one.
    pub previous: Option<Totals>,
    /// Keys disabled.
    pub disabled: Listed<DigestDisabled>,
    /// Keys disabled after the digest before, which did not tell of them: what its run had held could go on.
    pub disabled_late: Listed<DigestDisabled>,
    /// Disables that something stopped.
    pub held: Listed<(AccountId, HeldDisable)>,
    /// Messages about keys that could not be delivered, and why.
    pub undelivered: Listed<(AccountId, String, String)>,
    /// For how many days the key has been due that waits longest for the policy's hours.
    pub closed_days: u32,
    /// What people should mend.
    pub findings: Listed<(AccountId, Finding)>,
    /// What will be due within 14 days.
    pub upcoming: Listed<(AccountId, Upcoming)>,
    /// The hash of the policy that the run followed.
    pub policy: String,
    /// Why nobody goes by the ledger, where that is so: nothing is disabled.
    pub unaccepted: Option<String>,
    /// Calls made to AWS.
    pub calls: u64,
}

impl Digest {
    fn missing(&self) -> usize {
        self.expected.saturating_sub(self.swept).max(self.failed.count() + self.silent.count())
    }

    fn unconfirmed(&self) -> usize {
        let all = self.disabled.rows.iter().chain(&self.disabled_late.rows);
        all.filter(|disabled| !disabled.is_confirmed).count()
    }

    /// What somebody should look at, as counts.
    fn concerns(&self) -> Vec<Markup> {
        [
            (usize::from(self.unaccepted.is_some()), "ledger to be accepted", "ledgers to be accepted"),
            (self.undelivered.count(), "message not delivered", "messages not delivered"),
            (self.unconfirmed(), "disable not confirmed", "disables not confirmed"),
            (self.held.count(), "disable held back", "disables held back"),
            (self.findings.count(), "thing to mend", "things to mend"),
        ]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| counted(count, one, many))
        .collect()
    }
}

/// The run's digest, for the channel.
pub fn digest(digest: &Digest, accounts: &AccountNames, now: Timestamp) -> Message {
    let today = utc_date(now);
    let mut fine_print = vec![
        Markup::new()
            .say("Policy ")
            .code(&digest.policy.chars().take(SHORT_HASH).collect::<String>(), NAME)
            .say(", ")
            .then(counted(usize::try_from(digest.calls).unwrap_or(usize::MAX), "AWS call", "AWS calls"))
            .say(". Dates are UTC."),
    ];
    if digest.missing() > 0 {
        fine_print
            .push(Markup::new().say("All numbers are of the accounts that were swept, and of no others."));
    }
    Draft {
        title: format!("Sweep of {}: {}", sweep::day(digest.date, today), verdict(digest)),
        sentence: summary(digest),
        next: digest.unaccepted.iter().map(|why| accept(why)).chain(never_open(digest)).collect(),
        fields: totals(digest),
        lists: lists(digest, accounts, today),
        fine_print,
        ..Draft::default()
    }
    .message(Severity::Notice)
}

/// That nothing is disabled for want of a ledger, and what to do.
fn accept(why: &str) -> Markup {
    Markup::new()
        .bold("Nothing is disabled:")
        .say(" ")
        .code(why, LONG)
        .say(". Once its exemptions and the policy are what they should be: ")
        .code("keytide ledger accept --reason …", NAME)
}

/// That no sweep may come while disabling is open, and what to do.
fn never_open(digest: &Digest) -> Option<Markup> {
    let days = Some(digest.closed_days).filter(|days| *days >= MOST_CLOSED_DAYS)?;
    let whole = Markup::new()
        .bold("Held by the policy's hours:")
        .say(" a key has been due for ")
        .then(counted(usize::try_from(days).unwrap_or(usize::MAX), "day", "days"))
        .say(". Where neither of the two hours at which a day's sweep begins (")
        .code("SWEEP_HOURS", NAME)
        .say(", in UTC) lies within them, in summer and in winter, nothing is ever disabled.");
    Some(whole)
}

fn verdict(digest: &Digest) -> String {
    match digest.missing() {
        0 if digest.concerns().is_empty() => "all is well".to_owned(),
        0 => "done, with things to look at".to_owned(),
        missing => {
            format!("NOT WHOLE, {} of {} accounts missing", grouped(missing), grouped(digest.expected))
        }
    }
}

/// The line on top.
fn summary(digest: &Digest) -> Markup {
    let say = |words| Markup::new().say(words);
    let concerns = digest.concerns();
    let missing = digest.missing();
    let mut whole = if missing > 0 {
        let unheard = missing.saturating_sub(digest.failed.count() + digest.silent.count());
        let whole = say("⚠️ This is not the whole: ")
            .word(&grouped(digest.swept))
            .say(" of ")
            .word(&grouped(digest.expected))
            .say(" accounts were swept, ")
            .word(&grouped(digest.failed.count()))
            .say(" failed and ")
            .word(&grouped(digest.silent.count()))
            .say(" did not answer");
        let whole = if unheard > 0 {
            whole.say("; of ").word(&grouped(unheard)).say(" more nothing is known")
        } else {
            whole
        };
        whole.say(". In those, keys may be due or new without anybody being told.")
    } else if concerns.is_empty() {
        say("All is well: every account (")
            .word(&grouped(digest.swept))
            .say(") was swept, all that was due was done, and nothing waits for anybody.")
    } else {
        say("Every account (").word(&grouped(digest.swept)).say(") was swept.")
    };
    let mut concerns = concerns.into_iter();
    if let Some(first) = concerns.next() {
        whole = concerns
            .fold(whole.say(" To be looked at: ").then(first), |whole, concern| whole.say(", ").then(concern))
            .say(".");
    }
    whole = whole.say(" Keys disabled: ").word(&grouped(digest.disabled.count()));
    if digest.disabled_late.count() > 0 {
        whole = whole
            .say(", and ")
            .word(&grouped(digest.disabled_late.count()))
            .say(" more after the digest before");
    }
    whole.say("; notices sent: ").word(&grouped(digest.totals.notices)).say(".")
}

fn totals(digest: &Digest) -> Vec<Markup> {
    let before = |number: fn(&Totals) -> usize| digest.previous.as_ref().map(number);
    let total =
        |name, number: fn(&Totals) -> usize| field(name, with_change(number(&digest.totals), before(number)));
    vec![
        field(
            "Accounts swept",
            Markup::new().word(&grouped(digest.swept)).say(" of ").word(&grouped(digest.expected)),
        ),
        total("Keys", |totals| totals.keys),
        total("Active", |totals| totals.active),
        total("New", |totals| totals.new),
        total("Notices sent", |totals| totals.notices),
        field("Disabled", Markup::new().word(&grouped(digest.disabled.count()))),
    ]
}

/// `1,234 (+3 since the last run)`.
fn with_change(number: usize, before: Option<usize>) -> Markup {
    let whole = Markup::new().word(&grouped(number));
    match before {
        None => whole,
        Some(before) if before == number => whole.say(" (unchanged)"),
        Some(before) => {
            let sign = if number > before { " (+" } else { " (−" };
            whole.say(sign).word(&grouped(number.abs_diff(before))).say(" since the last run)")
        }
    }
}

/// What did not work first, then what was done, what waits, and what comes.
fn lists(digest: &Digest, accounts: &AccountNames, today: Date) -> Vec<List> {
    let at = |account: &AccountId| words::account(accounts, account);
    let weighty = |list: List| List { is_weighty: true, ..list };
    let whose = |key_id: &str, user: Option<&str>, account: &AccountId| {
        let whole = Markup::new().code(&tail(key_id), 20);
        let whole = match user {
            Some(user) => whole.say(" of ").code(user, NAME),
            None => whole,
        };
        whole.say(" in ").then(at(account))
    };
    let disabled = |disabled: &DigestDisabled| {
        let row = whose(&disabled.key_id, Some(&disabled.user), &disabled.account);
        let row = match disabled.last_used {
            Some(at) => row.say(", last used on ").word(&sweep::day(utc_date(at), today)),
            None => row.say(", no use known"),
        };
        if disabled.is_confirmed { row } else { row.say(", ").bold("not confirmed").say(" by IAM yet") }
    };
    let mut upcoming = digest.upcoming.clone();
    upcoming.rows.sort_by(|(left_account, left), (right_account, right)| {
        (left.on, left_account, left).cmp(&(right.on, right_account, right))
    });
    let lists = [
        weighty(digest.failed.list("Accounts that could not be swept", |(account, cause)| {
            at(account).say(": ").code(cause, CAUSE)
        })),
        weighty(digest.silent.list("Accounts that did not answer", at)),
        weighty(digest.undelivered.list("Messages not delivered", |(account, key_id, cause)| {
            whose(key_id, None, account).say(": ").code(cause, CAUSE)
        })),
        weighty(digest.disabled.list("Disabled", disabled)),
        weighty(digest.disabled_late.list("Disabled after the digest before", disabled)),
        digest.held.list("Held back", |(account, held)| {
            whose(&held.key_id, Some(&held.user), account).say(": ").then(held_by(&held.by))
        }),
        digest.findings.list("To be mended", |(account, finding)| {
            whose(&finding.key_id, finding.user.as_deref(), account).say(": ").then(found(&finding.what))
        }),
        upcoming.list("Due within 14 days", |(account, upcoming)| {
            Markup::new()
                .word(&day_and_distance(upcoming.on, today))
                .say(": ")
                .then(whose(&upcoming.key_id, Some(&upcoming.user), account))
                .say(", ")
                .then(coming(upcoming.what))
        }),
    ];
    lists.into_iter().filter(|list| list.beyond > 0 || !list.rows.is_empty()).collect()
}

/// What stops a disable.
fn held_by(by: &HeldBy) -> Markup {
    let say = |words| Markup::new().say(words);
    match by {
        HeldBy::Mode(mode) => say("the account is in ").word(mode.as_str()),
        HeldBy::NoLicence => say("no notice is old enough yet"),
        HeldBy::BreakGlass => say("a break-glass user is never disabled"),
        HeldBy::Unaccepted(_) => say("nobody has accepted the ledger as it is"),
        HeldBy::Halt(reason) => say("disabling is halted: ").code(reason, CAUSE),
        HeldBy::AccountCap { most } => {
            say("above the account's cap of ").word(&most.to_string()).say(" a day")
        }
        HeldBy::Hours(words) => Markup::new().word(words),
        HeldBy::NotSeen => say("its user's keys could not be listed"),
        HeldBy::TagsUnknown => say("a rule needs the user's tags, which could not be read"),
        HeldBy::BornAhead => say("its birth lies ahead of the clock"),
        HeldBy::PolicyChanged => say("another policy came into force meanwhile"),
        HeldBy::Clock => say("keytide's clock and AWS's do not agree within five minutes"),
        HeldBy::OrganizationCap { most } => {
            say("above the organization's cap of ").word(&most.to_string()).say(" a day")
        }
    }
}

/// What is to be mended.
fn found(what: &FindingKind) -> Markup {
    let say = |words| Markup::new().say(words);
    match what {
        FindingKind::NoSlackId => say("the user has no tag ").code("slack-id", NAME),
        FindingKind::MalformedSlackId(text) => say("the tag ")
            .code("slack-id", NAME)
            .say(" is ")
            .code(text, 40)
            .say(", which is no Slack member id"),
        // It quotes the tag.
        FindingKind::Tag(remark) => Markup::new().code(remark, LONG),
        FindingKind::BornAhead => say("its birth lies ahead of the clock"),
        FindingKind::Unknown(what) => Markup::new().word(what),
        FindingKind::Root => say("root has an access key: delete it"),
    }
}

/// What will be due.
fn coming(what: UpcomingKind) -> Markup {
    match what {
        UpcomingKind::Notice(days) => {
            Markup::new().say("its notice at ").word(&days.to_string()).say(" days")
        }
        UpcomingKind::ExemptionEnds => Markup::new().say("its exemption ends"),
        UpcomingKind::Disable => Markup::new().say("due to be disabled"),
    }
}
