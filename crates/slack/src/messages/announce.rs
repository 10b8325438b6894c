//! What people decided, told to the channel: a change of the rules that nobody hears of is a back door.

use jiff::Timestamp;
use keytide_core::{
    AccountId, AccountNames,
    alert::Severity,
    decision::{Decided, Decision},
    lifecycle::{Exemption, utc_date},
};

use super::{
    Draft,
    list::List,
    sweep_words::{self as sweep, counted, day_and_distance},
    words::{self, KEY_ID, LONG, NAME, field},
};
use crate::{
    blocks::Message,
    text::{Markup, plain},
};

/// Characters of an author's name, which is an ARN.
const AUTHOR: usize = 220;
/// Characters of a hash.
const HASH: usize = 80;

/// The message of a decision.
pub(super) fn decision(decision: &Decision, accounts: &AccountNames) -> Message {
    let Decision { author, at, what } = decision;
    match what {
        Decided::Halted { reason } => halted(author, reason, *at),
        Decided::Resumed { reason } => resumed(author, reason, *at),
        Decided::LedgerAccepted { table_id, reason } => ledger_accepted(author, table_id, reason, *at),
        Decided::Approved { account, plan, disables } => {
            approved(account, plan, author, *disables, accounts, *at)
        }
        Decided::Exempted { account, key_id, user, exemption } => {
            exemption_added(account, key_id, user, exemption, accounts, *at)
        }
        Decided::ExemptionRemoved { account, key_id, user, exemption, reason } => {
            exemption_removed(account, key_id, user, exemption, (author, reason), accounts, *at)
        }
        Decided::PolicyApplied { old_hash, new_hash, changes } => {
            policy_applied(author, old_hash.as_deref(), new_hash, changes, *at)
        }
    }
}

/// A decision as a line among others.
pub(super) fn line(start: Markup, decision: &Decision) -> Markup {
    let start = match decision.key() {
        Some((key_id, user)) => start.code(key_id, KEY_ID).say(" of ").code(user, NAME).say(": "),
        None => start,
    };
    start.say(decision.describe()).say(", by ").then(by(&decision.author))
}

/// A decision as a sentence.
pub(super) fn sentence(decision: &Decision) -> Markup {
    line(Markup::new(), decision).then(on(decision.at)).say(".")
}

fn say(words: &'static str) -> Markup {
    Markup::new().say(words)
}

fn by(author: &str) -> Markup {
    Markup::new().code(author, AUTHOR)
}

fn on(at: Timestamp) -> Markup {
    say(" on ").word(&words::when(at))
}

fn because(reason: &str) -> Markup {
    say(", because: ").code(reason, LONG)
}

fn what_follows() -> Markup {
    Markup::new().bold("What follows:")
}

fn warning(title: String, sentence: Markup, fields: Vec<Markup>, next: Markup) -> Message {
    Draft { title, sentence, fields, next: vec![next], ..Draft::default() }.message(Severity::Warning)
}

fn if_unknown() -> Markup {
    Markup::new().bold("Next:").say(
        " nothing, if you know of this. If not, ask its author now: this decides which keys are told of and disabled.",
    )
}

/// Another policy holds. `changes` says what that means for today's keys, a line each.
pub fn policy_applied(
    author: &str,
    old_hash: Option<&str>,
    new_hash: &str,
    changes: &[String],
    at: Timestamp,
) -> Message {
    let sentence = by(author).say(" put another policy in force").then(on(at)).say(if changes.is_empty() {
        "; it changes nothing for today's keys."
    } else {
        "; what it changes for today's keys stands below."
    });
    let rows: Vec<Markup> = changes.iter().map(|change| Markup::new().code(change, LONG)).collect();
    let lists = if rows.is_empty() {
        Vec::new()
    } else {
        vec![List { heading: Markup::new().bold("What changes:"), rows, beyond: 0, is_weighty: true }]
    };
    let old = match old_hash {
        Some(old) => Markup::new().code(old, HASH),
        None => say("none: the built-in policy held"),
    };
    Draft {
        title: "The policy was changed".to_owned(),
        sentence,
        fields: vec![
            field("Now", Markup::new().code(new_hash, HASH)),
            field("Before", old),
            field("Author", by(author)),
        ],
        lists,
        next: vec![if_unknown()],
        fine_print: vec![say("Earlier policies stay in the ledger.")],
        ..Draft::default()
    }
    .message(Severity::Notice)
}

/// A key is exempt from now on. One whose exemption was granted before that is exempt again: it is put back, in a ledger
/// that had forgotten it.
pub fn exemption_added(
    account: &AccountId,
    key_id: &str,
    user: &str,
    exemption: &Exemption,
    accounts: &AccountNames,
    at: Timestamp,
) -> Message {
    let exempted = Exempted { account, key_id, user, exemption, accounts };
    let until = day_and_distance(utc_date(exemption.until), utc_date(at));
    let is_put_back = exemption.granted_at < at;
    let (title, by_whom, did) = if is_put_back {
        ("Exemption put back", "Put back by", " put back the exemption of ")
    } else {
        ("Access key exempted", "Granted by", " exempted ")
    };
    let sentence = by(&exemption.author)
        .say(did)
        .then(exempted.key())
        .say(" from being disabled until ")
        .word(&until)
        .then(because(&exemption.reason));
    exempted.message(title, by_whom, sentence, if_unknown())
}

/// A key is not exempt any more, before its exemption ended by itself.
pub fn exemption_removed(
    account: &AccountId,
    key_id: &str,
    user: &str,
    exemption: &Exemption,
    (author, reason): (&str, &str),
    accounts: &AccountNames,
    at: Timestamp,
) -> Message {
    let exempted = Exempted { account, key_id, user, exemption, accounts };
    let sentence = by(author)
        .say(" took back the exemption of ")
        .then(exempted.key())
        .then(on(at))
        .then(because(reason))
        .say(". From now on the rules hold for it as for any other key.");
    let next = what_follows()
        .say(" once it is old enough, ")
        .then(sweep::notice_and_dates())
        .say("; it is disabled where the account is in enforce.");
    exempted.message("Exemption taken back", "Granted or put back by", sentence, next)
}

/// An exemption, and the key that it is of.
struct Exempted<'a> {
    account: &'a AccountId,
    key_id: &'a str,
    user: &'a str,
    exemption: &'a Exemption,
    accounts: &'a AccountNames,
}

impl Exempted<'_> {
    fn key(&self) -> Markup {
        say("access key ")
            .code(self.key_id, KEY_ID)
            .say(" of ")
            .code(self.user, NAME)
            .say(" in ")
            .then(words::account(self.accounts, self.account))
    }

    fn message(&self, what: &'static str, by_whom: &'static str, sentence: Markup, next: Markup) -> Message {
        let Self { account, key_id, user, exemption, accounts } = self;
        Draft {
            title: format!(
                "{what}: {} of {} ({})",
                plain(&sweep::tail(key_id), 20),
                plain(user, 50),
                plain(accounts.label(account), 30)
            ),
            sentence,
            fields: vec![
                field("Key id", Markup::new().code(key_id, KEY_ID)),
                field(by_whom, by(&exemption.author)),
                field("Granted on", Markup::new().word(&words::when(exemption.granted_at))),
                field("Until", Markup::new().word(&words::when(exemption.until))),
                field("Reason", Markup::new().code(&exemption.reason, LONG)),
            ],
            next: vec![next],
            ..Draft::default()
        }
        .message(Severity::Notice)
    }
}

/// Nothing is disabled any more, anywhere, until somebody lifts the halt.
pub fn halted(author: &str, reason: &str, at: Timestamp) -> Message {
    let sentence =
        by(author).say(" halted all disabling, in every account,").then(on(at)).then(because(reason));
    let next = what_follows()
        .say(" notices still go out, but no key is disabled until somebody runs `keytide resume`.");
    warning("Disabling is halted".to_owned(), sentence, Vec::new(), next)
}

/// The halt is lifted.
pub fn resumed(author: &str, reason: &str, at: Timestamp) -> Message {
    let sentence = by(author).say(" lifted the halt of all disabling").then(on(at)).then(because(reason));
    let next = what_follows().say(
        " the next sweep disables what is due, within the caps, where a notice named the date at least five days before. `keytide halt` stops it again.",
    );
    warning("Disabling goes on".to_owned(), sentence, Vec::new(), next)
}

/// A sweep found the ledger in another table than the one that was accepted.
pub fn ledger_changed(why: &str, at: Timestamp) -> Message {
    let sentence = say("A sweep found")
        .then(on(at))
        .say(" that the ledger is not the one that people went by: ")
        .code(why, LONG)
        .say(". It may have forgotten who was told of what, and who is exempt.");
    let next = what_follows().say(
        " no key is disabled in any account, as if all were in notify. Put back the exemptions and the policy (infra/RUNBOOK.md, \"The table is lost\"), then run `keytide ledger accept --reason …`. If nobody restored, replaced or first made it, ask who did.",
    );
    Draft {
        title: "The ledger is another one: nothing is disabled".to_owned(),
        sentence,
        next: vec![next],
        ..Draft::default()
    }
    .message(Severity::Critical)
}

/// A person goes by the ledger in the table where it is now.
pub fn ledger_accepted(author: &str, table_id: &str, reason: &str, at: Timestamp) -> Message {
    let sentence = by(author).say(" accepted the ledger as it is").then(on(at)).then(because(reason));
    let next = what_follows().say(
        " every key's notices begin anew, and no key is disabled before one of them has named the date at least five days ahead. `keytide halt` stops it all.",
    );
    let fields = vec![field("Table", Markup::new().code(table_id, HASH)), field("Author", by(author))];
    warning("The ledger is accepted".to_owned(), sentence, fields, next)
}

/// A person let a plan through that is above a cap.
pub fn approved(
    account: &AccountId,
    plan_hash: &str,
    author: &str,
    disables: usize,
    accounts: &AccountNames,
    at: Timestamp,
) -> Message {
    let title = format!(
        "Plan approved: {} to disable ({})",
        sweep::grouped(disables),
        plain(accounts.label(account), 30)
    );
    let sentence = by(author)
        .say(" approved")
        .then(on(at))
        .say(" that keytide disables ")
        .then(counted(disables, "key", "keys"))
        .say(" in ")
        .then(words::account(accounts, account))
        .say(", more than its cap allows.");
    let fields = vec![
        field("Plan", Markup::new().code(plan_hash, HASH)),
        field("Approved by", by(author)),
        field("Account", words::account(accounts, account)),
    ];
    let next = what_follows().say(
        " exactly this plan is let through, today, and each key is checked once more before it is disabled. To stop it, run `keytide halt`.",
    );
    warning(title, sentence, fields, next)
}

/// More is due to be disabled in an account than its cap allows, so `held` keys are left alone.
pub fn cap_reached(
    account: &AccountId,
    most: u32,
    held: usize,
    plan_hash: &str,
    accounts: &AccountNames,
) -> Message {
    above("the account's cap of ", account, most, held, plan_hash, accounts)
}

/// The same, where the organization's cap was reached.
pub fn organization_cap_reached(
    account: &AccountId,
    most: u32,
    held: usize,
    plan_hash: &str,
    accounts: &AccountNames,
) -> Message {
    above("the whole organization's cap of ", account, most, held, plan_hash, accounts)
}

fn above(
    cap: &'static str,
    account: &AccountId,
    most: u32,
    held: usize,
    plan_hash: &str,
    accounts: &AccountNames,
) -> Message {
    let command = if words::is_plain_name(plan_hash) {
        Markup::new().code(&format!("keytide approve {plan_hash} --account {account}"), LONG)
    } else {
        Markup::new().code("keytide approve", NAME)
    };
    let title = format!(
        "Not disabled, above a cap: {} ({})",
        sweep::grouped(held),
        plain(accounts.label(account), 30)
    );
    let sentence = counted(held, "key is", "keys are")
        .say(" due to be disabled in ")
        .then(words::account(accounts, account))
        .say(" and left alone, beyond ")
        .say(cap)
        .word(&most.to_string())
        .say(" a day.");
    let fields = vec![
        field("Account", words::account(accounts, account)),
        field("Held back", Markup::new().word(&sweep::grouped(held))),
        field("Plan", Markup::new().code(plan_hash, HASH)),
    ];
    let next = Markup::new()
        .bold("Next:")
        .say(" see whether so many are right. If they are, let exactly this plan through: ")
        .then(command)
        .say("\nIf not, nothing has to be done: nothing above the cap is disabled without that. `keytide halt` stops the rest as well.");
    warning(title, sentence, fields, next)
}
