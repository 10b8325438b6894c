//! Many alerts of one account in few messages: a line each.

use jiff::Timestamp;
use keytide_core::{
    AccountId,
    alert::Severity,
    cloudtrail::{Call, KeyChange, KeyEventKind, Status, Subject},
    fact::FactBody,
};

use super::{
    Notice, announce, found,
    list::packed,
    words::{self, KEY_ID, NAME, Place},
};
use crate::{
    blocks::{Block, LARGEST_BLOCKS, MOST_BLOCKS, Message},
    text::{Markup, plain},
};

/// What a header, a first section and a last line may take, in characters of JSON.
const FRAME: usize = 1_000;

/// The alerts of one account that came too fast to stand alone: as few messages as Slack's limits allow,
/// which list every one of them, in the order given.
pub fn joined(account_label: &str, account: &AccountId, notices: &[Notice<'_>]) -> Vec<Message> {
    let messages = pages(packed(notices.iter().map(line)));
    let pages = messages.len();
    let times: Vec<Timestamp> = notices.iter().filter_map(|notice| notice.fact.body.at()).collect();
    let missing = notices.iter().filter(|notice| !notice.in_ledger).count();
    messages
        .into_iter()
        .enumerate()
        .map(|(index, (sections, listed))| {
            let part = if pages == 1 { String::new() } else { format!(", {} of {pages}", index + 1) };
            let title =
                format!("{} alerts about access keys ({}){part}", notices.len(), plain(account_label, 40));
            let mut story = Markup::new()
                .word(&format!("{} alerts about access keys came in quick succession in", notices.len()))
                .say(" ")
                .word(account_label)
                .say(" (")
                .word(account.as_str())
                .say(")");
            if let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) {
                story = story
                    .say(", for events from ")
                    .word(&words::when(*first))
                    .say(" to ")
                    .word(&words::when(*last));
            }
            story = if pages == 1 {
                story.say("; all are listed here.")
            } else {
                story.word(&format!("; this message lists {listed} of them, part {} of {pages}.", index + 1))
            };
            let mut blocks = vec![Block::header(&title), Block::section(&story)];
            blocks.extend(sections);
            let mut fine_print =
                vec![Markup::new().say("Times are UTC. The ledger holds each key's whole story.")];
            if missing > 0 {
                fine_print.push(Markup::new().word(&format!(
                    "{missing} of the {} are not yet in the ledger, which did not answer in time; they may come once more.",
                    notices.len()
                )));
            }
            blocks.push(Block::context(&fine_print));
            Message::new(&story, blocks)
        })
        .collect()
}

/// The sections, packed into messages; with each message how many lines it holds.
fn pages(sections: Vec<(Block, usize)>) -> Vec<(Vec<Block>, usize)> {
    let mut pages: Vec<(Vec<Block>, usize)> = Vec::new();
    let mut room = 0;
    for (section, lines) in sections {
        let size = section.size();
        match pages.last_mut() {
            Some((blocks, listed)) if size <= room && blocks.len() + 4 <= MOST_BLOCKS => {
                room -= size;
                blocks.push(section);
                *listed += lines;
            }
            _ => {
                room = LARGEST_BLOCKS.saturating_sub(FRAME + size);
                pages.push((vec![section], lines));
            }
        }
    }
    pages
}

/// One alert on one line: when, what, which key, whose, by whom.
fn line(notice: &Notice<'_>) -> Markup {
    let time = |at: Timestamp| at.strftime("%-d %b %H:%M:%S").to_string();
    let start = Markup::new().say("• ");
    let start = match notice.fact.body.at() {
        Some(at) => start.word(&time(at)).say(" "),
        None => start,
    };
    let start = if notice.severity == Severity::Critical { start.bold("CRITICAL").say(" ") } else { start };
    let by = |markup: Markup, call: &Call| {
        markup.say(", by ").then(words::caller(notice.accounts, call, Place::Within))
    };
    let of = |markup: Markup, subject: &Subject| markup.say(" of ").then(words::subject(subject));
    match &notice.fact.body {
        FactBody::Key { event, .. } => {
            let start = match &event.change {
                KeyChange::Created { .. } => start.say("new key "),
                KeyChange::StatusChanged { to: Status::Active } => start.say("set Active "),
                KeyChange::StatusChanged { to: Status::Inactive } => start.say("set Inactive "),
                KeyChange::StatusChanged { to } => start.say("set ").code(to.as_str(), NAME).say(" "),
                KeyChange::Deleted => start.say("deleted "),
            };
            by(of(start.code(&event.key_id, KEY_ID), &event.subject), &event.call)
        }
        FactBody::FailedCall { failed } => {
            let start = start.say("failed (").code(&failed.error_code, NAME).say(") to ");
            let start = match failed.kind {
                Some(KeyEventKind::Created) => start.say("create a key"),
                Some(KeyEventKind::StatusChanged) => start.say("change a key"),
                Some(KeyEventKind::Deleted) => start.say("delete a key"),
                None => start.say("call ").code(&failed.call.event_name, NAME),
            };
            let start = match &failed.key_id {
                Some(key_id) => start.say(" ").code(key_id, KEY_ID),
                None => start,
            };
            by(of(start, &failed.subject), &failed.call)
        }
        FactBody::Owner { event } => by(
            start.say("user ").code(&event.user, NAME).say(" changed: ").code(&event.change.describe(), 200),
            &event.call,
        ),
        FactBody::OwnRole { partial } => start
            .say("keytide's own role called ")
            .code(partial.event_name.as_deref().unwrap_or("a call without a name"), NAME),
        FactBody::Unreadable { partial } => start.say("could not be read: ").code(&partial.reason, 200),
        FactBody::Observed { observed } => found::line(start, observed),
        FactBody::Disabled { disabled } => {
            let start = start.say("disabled by keytide ").code(&disabled.key.key_id, KEY_ID);
            of(start, &disabled.key.holder.subject)
        }
        FactBody::Decided { decision } => announce::line(start, decision),
    }
}
