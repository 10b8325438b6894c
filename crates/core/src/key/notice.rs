//! What a notice said, and when that counts.
//!
//! A notice goes to the owner and to the channel, each a delivery of its own that keeps what its message names
//! ([`NoticeTerms`]). Only what Slack confirmed becomes a [`NoticeMark`] of the key, with the date that people
//! read and the time at which they could: never with what a later plan would have said.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::Key;
use crate::{
    delivery::{Delivery, DeliveryState, Recipient, Stage},
    policy::Mode,
};

/// The marks that a key keeps: those of its present epoch and a good many before.
const MARKS_KEPT: usize = 60;

/// Why a key is to be disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ground {
    /// It is too old.
    Age,
    /// It has not been used for too long.
    Unused,
}

/// What a notice's message says of the key's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeTerms {
    /// Why the key is to be disabled.
    pub ground: Ground,
    /// The UTC date that is named for it.
    pub disable_on: Date,
    /// The mode in which it was said: `enforce` only where keytide means to do it.
    pub mode: Mode,
}

impl NoticeTerms {
    /// What a message says that is made once more, after an attempt that may have been read. A date once named
    /// to somebody is never undercut.
    #[must_use]
    pub fn after(self, earlier: Option<Self>) -> Self {
        Self {
            disable_on: earlier.map_or(self.disable_on, |said| said.disable_on.max(self.disable_on)),
            ..self
        }
    }
}

/// A notice that Slack confirmed: what was said, and in which mode, since only a notice sent in `enforce`
/// that named a date can ever license a disable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeMark {
    /// The arming epoch it was sent in.
    pub epoch: String,
    /// Which notice.
    pub stage: Stage,
    /// Why the key is to be disabled.
    pub ground: Ground,
    /// When Slack confirmed the last of its messages.
    pub at: Timestamp,
    /// The latest date that a message of it named for the disable.
    pub disable_on: Date,
    /// The account's mode when it was sent: the mildest that a confirmed message was sent in.
    pub mode: Mode,
}

impl NoticeMark {
    /// What the messages of one notice amount to; `None` until the channel's and, where there is one, the
    /// owner's are finished, and at least one of them was confirmed.
    fn of(messages: &[&Delivery]) -> Option<Self> {
        let channel = messages.iter().find(|message| message.name.recipient == Recipient::Channel)?;
        if !messages.iter().all(|message| message.state.is_finished()) {
            return None;
        }
        let confirmed = messages.iter().filter_map(|message| match &message.state {
            DeliveryState::Done { at, .. } => Some((*at, message.notice?)),
            _ => None,
        });
        let (at, _) = confirmed.clone().max_by_key(|(at, _)| *at)?;
        let (_, mildest) = confirmed.min_by_key(|(_, terms)| terms.mode)?;
        let said = messages.iter().filter_map(|message| message.notice);
        Some(Self {
            epoch: channel.name.epoch.clone(),
            stage: channel.name.stage,
            ground: mildest.ground,
            at,
            disable_on: said.map(|terms| terms.disable_on).max()?,
            mode: mildest.mode,
        })
    }
}

/// The key with a mark for each notice that its deliveries show to be made and that has none yet; `None` where
/// there is no such notice.
pub fn settle_notices<'a>(key: &Key, deliveries: impl IntoIterator<Item = &'a Delivery>) -> Option<Key> {
    let mut notices: BTreeMap<(&str, Stage), Vec<&Delivery>> = BTreeMap::new();
    for delivery in deliveries.into_iter().filter(|delivery| delivery.notice.is_some()) {
        notices.entry((&delivery.name.epoch, delivery.name.stage)).or_default().push(delivery);
    }
    let is_known = |mark: &NoticeMark| {
        key.notices.iter().any(|known| known.epoch == mark.epoch && known.stage == mark.stage)
    };
    let new = notices.values().filter_map(|messages| NoticeMark::of(messages));
    let mut marks = key.notices.clone();
    marks.extend(new.filter(|mark| !is_known(mark)));
    marks.sort_by_key(|mark| mark.at);
    while marks.len() > MARKS_KEPT {
        // Reminders go on for as long as a key stays; which of its days it was told of must not be forgotten.
        let oldest = marks.iter().position(|mark| matches!(mark.stage, Stage::Reminder(_)));
        marks.remove(oldest.unwrap_or(0));
    }
    (marks != key.notices).then(|| Key { notices: marks, ..key.clone() })
}
