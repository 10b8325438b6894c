//! What is said of an event, as pure functions. All wording that reaches Slack is in this folder.
//!
//! Nothing says more than is known, everything that others wrote is shown as code, and every message ends
//! with what to do next.

mod channel;
mod joined;
mod owner;
mod words;

use keytide_core::{
    AccountNames,
    alert::{AlertRules, Severity},
    fact::{Fact, FactBody},
    key::Effect,
    owner::OwnerReport,
};

pub use self::{
    channel::for_channel,
    joined::joined,
    owner::{for_owner, owner_fallback},
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
    /// What to do, a paragraph each.
    next: Vec<Markup>,
    /// In small letters, after the event's id.
    fine_print: Vec<Markup>,
}

impl Draft {
    fn into_message(self, notice: &Notice<'_>) -> Message {
        let mut text = Markup::new();
        let mut title = self.title;
        let mut story = self.sentence.clone();
        if notice.severity == Severity::Critical {
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
        for late in lateness(notice) {
            text = text.say(" ").then(late.clone());
            story = story.say("\n").then(late);
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
        blocks.extend(self.next.iter().map(Block::section));
        let mut fine_print = vec![words::event_id(notice.fact)];
        fine_print.extend(self.fine_print);
        fine_print.extend(notes(notice.fact).iter().map(|note| {
            // A note quotes the record.
            Markup::new().say("Odd about the record: ").code(note, 300)
        }));
        blocks.push(Block::context(&fine_print));
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
                "This event arrived late: a later one has already changed the key's status, so this is not how the key stands now.",
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
        FactBody::OwnRole { .. } | FactBody::Unreadable { .. } => &[],
    }
}
