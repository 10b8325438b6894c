//! What the ledger remembers of one event: immutable, complete enough to write its messages again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AccountId,
    cloudtrail::{FailedCall, KeyEvent, OwnerEvent, Partial},
    key::Effect,
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
}

/// Why nobody is told of a fact that called for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Untold {
    /// A person had it recorded, without posting.
    ByHand,
    /// A person had it recorded and posted, and it was old: old events are never posted.
    OldByHand,
}

impl Untold {
    /// The reason in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ByHand => "read by hand and not posted",
            Self::OldByHand => "old when read by hand, so not posted",
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
}

impl FactBody {
    /// When it happened, as far as that is known.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Key { event, .. } => Some(event.call.at),
            Self::FailedCall { failed } => Some(failed.call.at),
            Self::Owner { event } => Some(event.call.at),
            Self::OwnRole { partial } | Self::Unreadable { partial } => partial.at,
        }
    }

    /// The account it happened in, as far as that is known.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Key { event, .. } => Some(&event.call.account),
            Self::FailedCall { failed } => Some(&failed.call.account),
            Self::Owner { event } => Some(&event.call.account),
            Self::OwnRole { partial } | Self::Unreadable { partial } => partial.account.as_ref(),
        }
    }

    /// The access key it is about, as far as that is known.
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Self::Key { event, .. } => Some(&event.key_id),
            Self::FailedCall { failed } => failed.key_id.as_deref(),
            Self::Owner { .. } => None,
            Self::OwnRole { partial } | Self::Unreadable { partial } => partial.key_id.as_deref(),
        }
    }

    /// The IAM user whose tags say who is to be told.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Key { event, .. } => event.subject.user(),
            Self::FailedCall { failed } => failed.subject.user(),
            Self::Owner { event } => Some(&event.user),
            Self::OwnRole { .. } | Self::Unreadable { .. } => None,
        }
    }
}
