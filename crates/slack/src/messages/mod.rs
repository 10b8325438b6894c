//! What is said, as pure functions. All wording that reaches Slack is in this folder.
//!
//! Of a fact, be it an event's or what a sweep saw or did: [`for_channel`], [`for_owner`], [`joined`]. Of keys
//! that are due: [`notices_for_owner`], [`notices_for_channel`]. Of a whole sweep: its [`digest`], and an
//! account's [`baseline`]. Of what people decided: [`halted`], [`policy_applied`] and others of their kind.
//!
//! Nothing says more than is known, everything that others wrote is shown as code, and every message ends
//! with what to do next.

mod announce;
mod channel;
mod digest;
mod disabled;
mod due;
mod found;
mod joined;
mod list;
mod notice;
mod owner;
mod sweep_words;
mod words;

use keytide_core::{
    AccountNames,
    alert::{AlertRules, Severity},
    fact::{Fact, FactBody},
    key::Effect,
    owner::OwnerReport,
};

use self::list::List;
pub use self::{
    announce::{
        approved, cap_reached, exemption_added, exemption_removed, halted, ledger_accepted, ledger_changed,
        organization_cap_reached, policy_applied, resumed,
    },
    channel::{for_channel, made_by},
    digest::{Digest, DigestDisabled, Listed, Totals, digest},
    due::DueKey,
    found::{BaselineCounts, baseline, root_key},
    joined::joined,
    notice::{notices_for_channel, notices_for_owner},
    owner::{for_owner, owner_fallback},
    sweep_words::OwnerReached,
};
use crate::{
    blocks::{Block, Message},
    text::Markup,
};

/// All that a message is written from.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// What happened.
    pub fact: &'a Fact,
    /// How loud it is.
    pub severity: Severity,
    /// What is known of the owner.
    pub owner: &'a OwnerReport,
    /// What people call the accounts.
    pub accounts: &'a AccountNames,
    /// What is worth a second look.
    pub rules: &'a AlertRules,
    /// False where the alert goes out before the ledger answered.
    pub in_ledger: bool,
}

/// A message's parts, before they become blocks.
#[derive(Debug, Default)]
struct Draft {
    /// The header, without how loud it is.
    title: String,
    /// What happened, in one sentence or two: the message's own text as well.
    sentence: Markup,
    /// Why it is critical, a sentence each.
    alarms: Vec<Markup>,
    /// What is worth a second look, a sentence each.
    flags: Vec<Markup>,
    /// Names and values.
    fields: Vec<Markup>,
    /// Lists, of which as many rows are shown as there is room for.
    lists: Vec<List>,
    /// What to do, a paragraph each.
    next: Vec<Markup>,
    /// In small letters.
    fine_print: Vec<Markup>,
}

impl Draft {
    /// The message of an event: its lateness is said, and its id stands below.
    fn into_message(mut self, notice: &Notice<'_>) -> Message {
        if notice.fact.break_glass {
            self.alarms.push(Markup::new().say(words::BREAK_GLASS));
        }
        let mut fine_print = vec![words::event_id(notice.fact)];
        fine_print.append(&mut self.fine_print);
        fine_print.extend(notes(notice.fact).iter().map(|note| {
            // A note quotes the record.
            Markup::new().say("Odd about the record: ").code(note, 300)
        }));
        self.fine_print = fine_print;
        self.assemble(notice.severity, &lateness(notice))
    }

    /// The message, of what is no event.
    fn message(self, severity: Severity) -> Message {
        self.assemble(severity, &[])
    }

    fn assemble(self, severity: Severity, late: &[Markup]) -> Message {
        let mut text = Markup::new();
        let mut title = self.title;
        let mut story = self.sentence.clone();
        if severity == Severity::Critical {
            title = format!("🚨 CRITICAL: {title}");
            text = text.say("CRITICAL: ");
            story = story.say("\n").bold("Why critical:");
            if self.alarms.is_empty() {
                story = story.say(" keytide's rules mark it so.");
            }
        }
        text = text.then(self.sentence);
        for alarm in self.alarms {
            text = text.say(" ").then(alarm.clone());
            story = story.say(" ").then(alarm);
        }
        for late in late {
            text = text.say(" ").then(late.clone());
            story = story.say("\n").then(late.clone());
        }

        let mut blocks = vec![Block::header(&title), Block::section(&story)];
        if !self.flags.is_empty() {
            let mut flags = Markup::new().bold("Worth a second look:");
            for flag in self.flags {
                flags = flags.say("\n• ").then(flag);
            }
            blocks.push(Block::section(&flags));
        }
        blocks.extend(Block::fields(&self.fields));
        let mut end: Vec<Block> = self.next.iter().map(Block::section).collect();
        if !self.fine_print.is_empty() {
            end.push(Block::context(&self.fine_print));
        }
        blocks.extend(list::fitting(&self.lists, blocks.iter().chain(&end)));
        blocks.extend(end);
        Message::new(&text, blocks)
    }
}

/// What must be said where the event, or the alert, is not in its usual place in time.
fn lateness(notice: &Notice<'_>) -> Vec<Markup> {
    let mut sentences = Vec::new();
    if let FactBody::Key { effect, .. } = &notice.fact.body {
        match effect {
            Effect::Current => {}
            Effect::Superseded => sentences.push(Markup::new().say(
                "This event arrived late: what is known of the key since then says otherwise, so this is not how the key stands now.",
            )),
            Effect::Unsettled => sentences.push(Markup::new().say(
                "Another event of the same second says otherwise; the next sweep sees how the key stands.",
            )),
            Effect::AfterDeletion => sentences.push(
                Markup::new().say("This event arrived late: the key has already been deleted."),
            ),
        }
    }
    if !notice.in_ledger {
        sentences.push(
            Markup::new()
                .say("Not yet in the ledger, which did not answer in time: this alert may come once more."),
        );
    }
    sentences
}

fn notes(fact: &Fact) -> &[String] {
    match &fact.body {
        FactBody::Key { event, .. } => &event.call.notes,
        FactBody::FailedCall { failed } => &failed.call.notes,
        FactBody::Owner { event } => &event.call.notes,
        FactBody::OwnRole { .. }
        | FactBody::Unreadable { .. }
        | FactBody::Observed { .. }
        | FactBody::Disabled { .. }
        | FactBody::Decided { .. } => &[],
    }
}
