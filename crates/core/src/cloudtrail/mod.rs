//! CloudTrail records, read once and for all into one typed [`Outcome`].
//!
//! Nothing in a record is trusted to be there or to have its documented type: fields are missing, null, `""`
//! where an object was promised, or written in another decade's spelling. What must be known is either
//! found or the outcome is [`Outcome::Unreadable`] with a reason that names the field; what need not be
//! known is left out and noted. [`read`] never panics.

mod actor;
mod dates;
mod read;
mod wire;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    actor::{Actor, ActorKind, RoleSession},
    dates::{parse_create_date, parse_event_time},
    read::read,
};
use crate::AccountId;

/// What one EventBridge event or CloudTrail record says to keytide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An access key came to be, changed its status or was deleted.
    Key(KeyEvent),
    /// A call that keytide watches was refused: nothing changed, but somebody tried.
    Failed(FailedCall),
    /// An IAM user's tags, name or existence changed, and with them who is told about a key.
    Owner(OwnerEvent),
    /// Not an event that says anything about access keys or their owners.
    NotOurs(Partial),
    /// An event that keytide should have understood and could not. Always told loudly.
    Unreadable(Partial),
}

/// Who called, from where, with what: the part that all readable events share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The account that owns the key or user (`recipientAccountId`), not the caller's.
    pub account: AccountId,
    /// `eventTime`, UTC, whole seconds in practice.
    pub at: Timestamp,
    /// `eventID`; missing in some hand-made or very old records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// `eventName`, as `CreateAccessKey`.
    pub event_name: String,
    /// Who called.
    pub actor: Actor,
    /// `sourceIPAddress`: an address, a service's name or `AWS Internal`. Untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `userAgent`: chosen by the caller. Untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Whether the session was made with MFA; `None` where the record does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<bool>,
    /// What was odd about the record without keeping it from being read, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Whose access key it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "type", content = "name", rename_all = "snake_case")]
pub enum Subject {
    /// The record does not say.
    #[default]
    Unknown,
    /// The account's root user.
    Root,
    /// An IAM user, by name.
    User(String),
}

impl Subject {
    /// The IAM user's name, if it is one.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::User(name) => Some(name),
            Self::Root | Self::Unknown => None,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(name) => formatter.write_str(name),
            Self::Root => formatter.write_str("root"),
            Self::Unknown => formatter.write_str("an unknown user"),
        }
    }
}

/// An access key's status. IAM documents three; a fourth must not stop the reader.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Status {
    /// The key works.
    Active,
    /// The key was disabled; it can be enabled again.
    Inactive,
    /// In the enumeration that IAM shares between kinds of credentials.
    Expired,
    /// Whatever AWS adds next.
    Other(String),
}

impl Status {
    /// The spelling that IAM uses.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
            Self::Expired => "Expired",
            Self::Other(text) => text,
        }
    }
}

impl From<String> for Status {
    fn from(text: String) -> Self {
        match text.as_str() {
            "Active" => Self::Active,
            "Inactive" => Self::Inactive,
            "Expired" => Self::Expired,
            _ => Self::Other(text),
        }
    }
}

impl From<Status> for String {
    fn from(status: Status) -> Self {
        status.as_str().to_owned()
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A fact about one access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEvent {
    /// Who, where, when.
    pub call: Call,
    /// The access key's id, of whatever shape (1 to 256 bytes).
    pub key_id: String,
    /// Whose key it is.
    pub subject: Subject,
    /// What happened to it.
    pub change: KeyChange,
}

/// What happened to an access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum KeyChange {
    /// `CreateAccessKey` succeeded.
    Created {
        /// The status in the response; `Active` in all records seen.
        status: Status,
        /// `createDate` where it could be parsed. The key's birth is `eventTime`; this only confirms it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        create_date: Option<Timestamp>,
    },
    /// `UpdateAccessKey` succeeded.
    StatusChanged {
        /// The status asked for.
        to: Status,
    },
    /// `DeleteAccessKey` succeeded.
    Deleted,
}

impl KeyChange {
    /// Which of the three kinds this is.
    pub fn kind(&self) -> KeyEventKind {
        match self {
            Self::Created { .. } => KeyEventKind::Created,
            Self::StatusChanged { .. } => KeyEventKind::StatusChanged,
            Self::Deleted => KeyEventKind::Deleted,
        }
    }

    /// The status that the change leaves behind, where it names one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Created { status, .. } => Some(status),
            Self::StatusChanged { to } => Some(to),
            Self::Deleted => None,
        }
    }
}

/// The kind of a key event, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyEventKind {
    /// `CreateAccessKey`.
    Created,
    /// `UpdateAccessKey`.
    StatusChanged,
    /// `DeleteAccessKey`.
    Deleted,
}

impl KeyEventKind {
    /// `created`, `status-changed` or `deleted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::StatusChanged => "status-changed",
            Self::Deleted => "deleted",
        }
    }
}

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCall {
    /// Who, where, when.
    pub call: Call,
    /// What was tried on a key; `None` where it was tried on a user (tags, name, existence).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<KeyEventKind>,
    /// The key it was tried on, where the record still says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The status asked for, of an `UpdateAccessKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Whom it was tried on; the parameters are often null, then the error message may still name the user.
    pub subject: Subject,
    /// `errorCode`, as `AccessDenied`. Untrusted text.
    pub error_code: String,
    /// `errorMessage`. Untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// A change of an IAM user that concerns who is told about its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerEvent {
    /// Who, where, when.
    pub call: Call,
    /// The user's name before the change.
    pub user: String,
    /// What changed.
    pub change: OwnerChange,
}

/// What changed about an IAM user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OwnerChange {
    /// `TagUser`: these tags were set.
    Tagged {
        /// Tag keys with their new values, as given. Untrusted text.
        tags: Vec<(String, String)>,
    },
    /// `UntagUser`: these tags were removed.
    Untagged {
        /// Tag keys, as given. Untrusted text.
        tags: Vec<String>,
    },
    /// `UpdateUser`: another name, another path, or both. Access keys move with the user.
    Renamed {
        /// The new name, if it changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        new_name: Option<String>,
        /// The new path, if it changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        new_path: Option<String>,
    },
    /// `DeleteUser`.
    Deleted,
}

impl OwnerChange {
    /// In words, for an explanation or a log; the values are untrusted text.
    pub fn describe(&self) -> String {
        match self {
            Self::Tagged { tags } => {
                let keys: Vec<&str> = tags.iter().map(|(key, _)| key.as_str()).collect();
                format!("tags set: {}", keys.join(", "))
            }
            Self::Untagged { tags } => format!("tags removed: {}", tags.join(", ")),
            Self::Renamed { new_name: Some(name), .. } => format!("renamed to {name}"),
            Self::Renamed { new_path: Some(path), .. } => format!("moved to the path {path}"),
            Self::Renamed { .. } => "updated without a new name or path".to_owned(),
            Self::Deleted => "user deleted".to_owned(),
        }
    }

    /// The tag keys that the change touches.
    pub fn tag_keys(&self) -> Vec<&str> {
        match self {
            Self::Tagged { tags } => tags.iter().map(|(key, _)| key.as_str()).collect(),
            Self::Untagged { tags } => tags.iter().map(String::as_str).collect(),
            Self::Renamed { .. } | Self::Deleted => Vec::new(),
        }
    }
}

/// What could still be read of a record that is not ours or not readable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// Why it is not ours, or which field kept it from being read and what was expected there.
    pub reason: String,
    /// The owning account, if it could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// `eventTime`, if it could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// `eventID`, else nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The EventBridge envelope's own `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope_id: Option<String>,
    /// `eventName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_name: Option<String>,
    /// The access key's id, where it was still readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// What was done to a key, of an unreadable event whose name still says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<KeyEventKind>,
    /// The status asked for or given, where it was still readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Whose key it is, as far as it is known.
    #[serde(default)]
    pub subject: Subject,
    /// Who called, as far as it is known.
    #[serde(default)]
    pub actor: Actor,
    /// `sourceIPAddress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `userAgent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// MFA, if the record says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<bool>,
}

impl Call {
    /// The name under which this event is a fact in the ledger: its `eventID`, or, where that is missing,
    /// a digest of what happened, so that the same record read twice is still one fact.
    pub fn fact_id(&self, key_id: Option<&str>, what: &str) -> String {
        self.event_id.clone().unwrap_or_else(|| {
            let parts = [
                self.account.as_str(),
                &self.event_name,
                key_id.unwrap_or_default(),
                what,
                &self.at.to_string(),
            ];
            format!("derived-{}", &crate::digest::sha256_hex(parts.join("\u{1f}").as_bytes()))
        })
    }
}

impl KeyEvent {
    /// See [`Call::fact_id`].
    pub fn fact_id(&self) -> String {
        let what = self.change.status().map_or("", Status::as_str);
        self.call.fact_id(Some(&self.key_id), what)
    }

    /// Whether it gave an existing key this status.
    pub fn sets(&self, status: &Status) -> bool {
        matches!(&self.change, KeyChange::StatusChanged { to } if to == status)
    }
}

impl FailedCall {
    /// See [`Call::fact_id`].
    pub fn fact_id(&self) -> String {
        self.call.fact_id(self.key_id.as_deref(), &self.error_code)
    }
}

impl OwnerEvent {
    /// See [`Call::fact_id`].
    pub fn fact_id(&self) -> String {
        self.call.fact_id(None, &format!("{}\u{1f}{}", self.user, self.change.describe()))
    }

    /// The user's name after the change.
    pub fn present_name(&self) -> &str {
        match &self.change {
            OwnerChange::Renamed { new_name: Some(name), .. } => name,
            _ => &self.user,
        }
    }
}
