//! What an IAM user's tags say about who owns its keys, and how far they are believed.
//!
//! Whoever may call `iam:TagUser` can redirect a message, so a tag is untrusted: a malformed one is reported
//! and not used, and a tag can only ever tighten.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cloudtrail::Status;

/// The tag that tells people from machines.
pub const TAG_TYPE: &str = "type";
/// The tag that holds the owner's Slack member id.
pub const TAG_SLACK_ID: &str = "slack-id";
/// The tag that holds the owner's name.
pub const TAG_FULL_NAME: &str = "full-name";
/// The tag that may shorten a key's life, in days.
pub const TAG_MAX_AGE_DAYS: &str = "key-max-age-days";

/// The tags whose change is an event: they decide who is told and when a key ends.
pub const WATCHED_TAGS: [&str; 3] = [TAG_TYPE, TAG_SLACK_ID, TAG_MAX_AGE_DAYS];

/// Whether a change of this tag is an event. IAM compares tag keys without regard to case.
pub fn is_watched_tag(tag: &str) -> bool {
    WATCHED_TAGS.iter().any(|watched| watched.eq_ignore_ascii_case(tag))
}

/// A tag's key as keytide keeps it. IAM keeps the case in which it was written, and compares without it.
pub fn tag_key(key: &str) -> String {
    key.to_lowercase()
}

/// A Slack member id: `U` or `W` and 5 to 20 capitals and digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlackId(String);

/// A text that is no Slack member id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no Slack member id: expected U or W and 5 to 20 capital letters and digits")]
pub struct NotASlackId {
    found: String,
}

impl SlackId {
    /// Takes a text of the shape of a member id.
    pub fn parse(text: &str) -> Result<Self, NotASlackId> {
        let mut bytes = text.bytes();
        let starts_well = matches!(bytes.next(), Some(b'U' | b'W'));
        let rest = text.len().saturating_sub(1);
        if starts_well
            && (5..=20).contains(&rest)
            && bytes.all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotASlackId { found: text.chars().take(40).collect() })
        }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SlackId {
    type Error = NotASlackId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<SlackId> for String {
    fn from(id: SlackId) -> Self {
        id.0
    }
}

/// What the tag `slack-id` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", content = "text", rename_all = "snake_case")]
pub enum SlackIdTag {
    /// There is no such tag.
    Missing,
    /// There is one, and it is no member id. Untrusted text.
    Malformed(String),
    /// A member id.
    Valid(SlackId),
}

/// The tags of an IAM user, by what they mean to keytide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerTags {
    /// `type`. Untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_type: Option<String>,
    /// `slack-id`.
    pub slack_id: SlackIdTag,
    /// `full-name`. Untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// `key-max-age-days`, as it was written. Untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_days: Option<String>,
    /// Every other tag, keys in lower case: the policy's rules may ask for them. Untrusted text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<String, String>,
}

impl OwnerTags {
    /// Sorts a user's tags by what they mean to keytide.
    pub fn from_tags<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut found = Self {
            user_type: None,
            slack_id: SlackIdTag::Missing,
            full_name: None,
            max_age_days: None,
            others: BTreeMap::new(),
        };
        for (key, value) in tags {
            if key.eq_ignore_ascii_case(TAG_TYPE) {
                found.user_type = Some(value.to_owned());
            } else if key.eq_ignore_ascii_case(TAG_FULL_NAME) {
                found.full_name = Some(value.to_owned());
            } else if key.eq_ignore_ascii_case(TAG_SLACK_ID) {
                found.slack_id = match SlackId::parse(value.trim()) {
                    Ok(id) => SlackIdTag::Valid(id),
                    Err(_) => SlackIdTag::Malformed(value.to_owned()),
                };
            } else if key.eq_ignore_ascii_case(TAG_MAX_AGE_DAYS) {
                found.max_age_days = Some(value.to_owned());
            } else {
                found.others.insert(tag_key(key), value.to_owned());
            }
        }
        found
    }

    /// The member id, if there is a usable one.
    pub fn slack_id(&self) -> Option<&SlackId> {
        match &self.slack_id {
            SlackIdTag::Valid(id) => Some(id),
            SlackIdTag::Missing | SlackIdTag::Malformed(_) => None,
        }
    }
}

/// One of a user's access keys, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedKey {
    /// The access key's id.
    pub key_id: String,
    /// Its status.
    pub status: Status,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
}

/// An IAM user as it was found in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The stable id (`AIDA…`), which survives a rename.
    pub user_id: String,
    /// The user's path, as `/engineering/`.
    pub path: String,
    /// The tags that matter.
    pub tags: OwnerTags,
    /// When this was read.
    pub seen_at: Timestamp,
}

/// What is known of a key's owner at the moment a message is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerReport {
    /// The user was found.
    Found {
        /// The user.
        owner: Owner,
        /// All of the user's access keys, the new one among them; or why they could not be listed.
        keys: Result<Vec<ListedKey>, String>,
    },
    /// There is nobody to look up: root has no tags, or the event names no user.
    NoUser,
    /// The user does not exist (any more).
    NotFound,
    /// It could not be found out, and why, in words for the alert.
    Failed(String),
}

impl OwnerReport {
    /// The owner, if found.
    pub fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Found { owner, .. } => Some(owner),
            Self::NoUser | Self::NotFound | Self::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_id_is_u_or_w_and_capitals_and_digits() {
        for good in ["U12345", "W0123456789ABCDEFGHI", "U02ABCDEF"] {
            assert!(SlackId::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "U",
            "U1234",
            "u12345",
            "D12345",
            "U12345!",
            "U012345678901234567890",
            "U1234é",
            "<!channel>",
        ] {
            assert!(SlackId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_malformed_tag_is_kept_to_be_reported_and_never_used() {
        let tags = OwnerTags::from_tags([("Slack-Id", "@alice"), ("full-name", "Alice"), ("team", "x")]);
        assert_eq!(tags.slack_id, SlackIdTag::Malformed("@alice".to_owned()));
        assert_eq!(tags.slack_id(), None);
        assert_eq!(tags.full_name.as_deref(), Some("Alice"));
    }

    #[test]
    fn every_tag_is_kept_under_a_key_without_case() {
        let tags =
            OwnerTags::from_tags([("Key-Max-Age-Days", " 30 "), ("Team", "Payments"), ("TYPE", "machine")]);
        assert_eq!(tags.max_age_days.as_deref(), Some(" 30 "), "as it was written");
        assert_eq!(tags.user_type.as_deref(), Some("machine"));
        assert_eq!(tags.others, [("team".to_owned(), "Payments".to_owned())].into());
    }

    #[test]
    fn what_was_stored_before_still_reads_and_nothing_is_stored_for_no_tags() {
        let stored = r#"{"slack_id":{"is":"missing"}}"#;
        let tags: OwnerTags = serde_json::from_str(stored).unwrap();
        assert_eq!(tags, OwnerTags::from_tags([]));
        assert_eq!(serde_json::to_string(&tags).unwrap(), stored);
    }
}
