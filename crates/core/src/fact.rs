//! What the ledger remembers of one event: immutable, complete enough to write its messages again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AccountId,
    cloudtrail::{Actor, ActorKind, FailedCall, KeyEvent, OwnerChange, OwnerEvent, Partial},
    decision::Decision,
    key::{Effect, Key},
    plan::{News, PlannedDisable},
    policy::Policy,
};

/// One event, as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The event's id, or a digest in its place.
    pub id: String,
    /// When it was written into the ledger.
    pub recorded_at: Timestamp,
    /// What happened.
    pub body: FactBody,
    /// Set where it called for messages and none was ever to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untold: Option<Untold>,
    /// The hash of the policy in force by which it was judged; none where none was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// By that policy, a break-glass user has to do with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

impl Fact {
    /// How the id of a fact begins that a sweep observed.
    pub const OBSERVED: &'static str = "sweep-";

    /// A fact that no policy has judged yet.
    pub fn new(id: impl Into<String>, recorded_at: Timestamp, body: FactBody) -> Self {
        Self { id: id.into(), recorded_at, body, untold: None, policy: None, break_glass: false }
    }

    /// The same, as this policy sees it; `holder`: whose key it is, as far as more is known than the event says.
    #[must_use]
    pub fn judged_by(self, policy: &Policy, holder: Option<&str>) -> Self {
        let break_glass = self.body.account().is_some_and(|account| {
            self.body.users().into_iter().chain(holder).any(|user| policy.is_break_glass(account, user))
        });
        Self { policy: Some(policy.hash().to_owned()), break_glass, ..self }
    }
}

/// Why nobody is told of a fact that called for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Untold {
    /// A person had it recorded, without posting.
    ByHand,
    /// A person had it recorded and posted, and it was old: old events are never posted.
    OldByHand,
    /// The first sweep of an account takes stock, and tells of it in one message.
    Baseline,
    /// A sweep died while it disabled the key: that is told of instead.
    AsDisable,
}

impl Untold {
    /// The reason in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ByHand => "read by hand and not posted",
            Self::OldByHand => "old when read by hand, so not posted",
            Self::Baseline => "first sweep",
            Self::AsDisable => "told of as a disable",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "kebab-case")]
pub enum FactBody {
    /// An access key's event.
    Key {
        /// The event.
        event: KeyEvent,
        /// How it stood to what was known when it was recorded.
        effect: Effect,
    },
    /// A refused call.
    FailedCall {
        /// The call.
        failed: FailedCall,
    },
    /// A change of a user.
    Owner {
        /// The change.
        event: OwnerEvent,
    },
    /// A call with one of keytide's own roles that keytide never makes.
    OwnRole {
        /// What is known of it.
        partial: Partial,
    },
    /// An event that could not be read.
    Unreadable {
        /// What could still be read of it, and why the rest could not.
        partial: Partial,
    },
    /// What a sweep saw of a key and no event had told.
    Observed {
        /// What it saw.
        observed: Box<ObservedKey>,
    },
    /// A disable by keytide.
    Disabled {
        /// What became of it.
        disabled: Box<DisabledKey>,
    },
    /// Something that a person decided.
    Decided {
        /// What.
        decision: Box<Decision>,
    },
}

/// What a sweep saw of a key and no event had told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedKey {
    /// The key, as it was then known.
    pub key: Key,
    /// When.
    pub at: Timestamp,
    /// What was new.
    pub news: Vec<News>,
}

/// A key that keytide disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisabledKey {
    /// The key, as it was then known, with its last use before.
    pub key: Key,
    /// When.
    pub at: Timestamp,
    /// What the plan said.
    pub planned: PlannedDisable,
    /// What IAM showed afterwards.
    pub seen: SeenAfter,
}

/// What IAM showed of a key after the call that disables it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenAfter {
    /// It is not active any more.
    Inactive,
    /// Half a minute later it was still shown as active, or could not be read: the next sweep looks again.
    Unconfirmed,
    /// A sweep died while it was about to disable it, and a later one finds it Inactive: whether that was the call
    /// of the first or somebody else's, no event says.
    FoundInactive,
}

impl FactBody {
    /// When it happened, as far as that is known.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Key { event, .. } => Some(event.call.at),
            Self::FailedCall { failed } => Some(failed.call.at),
            Self::Owner { event } => Some(event.call.at),
            Self::OwnRole { partial } | Self::Unreadable { partial } => partial.at,
            Self::Observed { observed } => Some(observed.at),
            Self::Disabled { disabled } => Some(disabled.at),
            Self::Decided { decision } => Some(decision.at),
        }
    }

    /// The account it happened in, as far as that is known.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Key { event, .. } => Some(&event.call.account),
            Self::FailedCall { failed } => Some(&failed.call.account),
            Self::Owner { event } => Some(&event.call.account),
            Self::OwnRole { partial } | Self::Unreadable { partial } => partial.account.as_ref(),
            Self::Observed { observed } => Some(&observed.key.account),
            Self::Disabled { disabled } => Some(&disabled.key.account),
            Self::Decided { decision } => decision.account(),
        }
    }

    /// The access key it is about, as far as that is known.
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Self::Key { event, .. } => Some(&event.key_id),
            Self::FailedCall { failed } => failed.key_id.as_deref(),
            Self::Owner { .. } => None,
            Self::OwnRole { partial } | Self::Unreadable { partial } => partial.key_id.as_deref(),
            Self::Observed { observed } => Some(&observed.key.key_id),
            Self::Disabled { disabled } => Some(&disabled.key.key_id),
            Self::Decided { decision } => decision.key().map(|(key_id, _)| key_id),
        }
    }

    /// The users of its account that have to do with it: whose key it is, or was, and who did it. Of a refused call
    /// only who made it: anybody may aim one at anybody, as often as they like.
    fn users(&self) -> Vec<&str> {
        let renamed = match self {
            Self::Owner { event } => match &event.change {
                OwnerChange::Renamed { new_name, .. } => new_name.as_deref(),
                _ => None,
            },
            Self::Observed { observed } => observed.news.iter().find_map(|news| match news {
                News::Renamed { from, .. } => from.as_deref(),
                _ => None,
            }),
            _ => None,
        };
        let caller = self.caller().filter(|actor| {
            let elsewhere = actor.account.as_deref() != self.account().map(AccountId::as_str);
            actor.kind == ActorKind::IamUser && !(actor.account.is_some() && elsewhere)
        });
        let caller = caller.and_then(|actor| actor.name.as_deref());
        let whose = match self {
            Self::FailedCall { .. } => None,
            Self::Unreadable { partial } => partial.subject.user(),
            _ => self.user(),
        };
        whose.into_iter().chain(renamed).chain(caller).collect()
    }

    /// Who made the call, where it was one.
    fn caller(&self) -> Option<&Actor> {
        match self {
            Self::Key { event, .. } => Some(&event.call.actor),
            Self::FailedCall { failed } => Some(&failed.call.actor),
            Self::Owner { event } => Some(&event.call.actor),
            Self::OwnRole { partial } | Self::Unreadable { partial } => Some(&partial.actor),
            Self::Observed { .. } | Self::Disabled { .. } | Self::Decided { .. } => None,
        }
    }

    /// The IAM user whose tags say who is to be told.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Key { event, .. } => event.subject.user(),
            Self::FailedCall { failed } => failed.subject.user(),
            Self::Owner { event } => Some(&event.user),
            Self::OwnRole { .. } | Self::Unreadable { .. } => None,
            Self::Observed { observed } => observed.key.holder.subject.user(),
            Self::Disabled { disabled } => disabled.key.holder.subject.user(),
            Self::Decided { decision } => decision.key().map(|(_, user)| user),
        }
    }
}
