//! One rule: for whom it is, and how it stands to the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Life, PolicySubject};
use crate::AccountId;

/// A rule of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which no other rule has.
    pub name: String,
    /// For whom it is.
    pub conditions: Conditions,
    /// How long their keys live: what the rule sets, and the defaults for the rest.
    pub life: Life,
}

/// For whom a rule is. All that are given must hold; what is empty is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// One of these accounts.
    pub accounts: BTreeSet<AccountId>,
    /// The user's path begins with this.
    pub path: Option<String>,
    /// The user's name is so.
    pub user: Option<UserPattern>,
    /// The user's tag `type` is this.
    pub user_type: Option<String>,
    /// The user has all of these tags, keys in lower case.
    pub tags: BTreeMap<String, String>,
}

impl Conditions {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.by_tags_alone() && self.user_type.is_none() && self.tags.is_empty()
    }

    /// Whether nothing but tags decides, which whoever may tag a user can set.
    pub fn by_tags_alone(&self) -> bool {
        self.accounts.is_empty() && self.path.is_none() && self.user.is_none()
    }

    /// Whether all that is asked holds. Of a user whose path and tags are not known, no path and no tag does.
    pub fn hold_for(&self, subject: &PolicySubject<'_>) -> bool {
        let owner = subject.owner;
        let has_path = |path: &String| owner.is_some_and(|owner| owner.path.starts_with(path));
        let has_type =
            |wanted: &String| owner.is_some_and(|owner| owner.tags.user_type.as_ref() == Some(wanted));
        let has_tag = |(key, value): (&String, &String)| {
            owner.is_some_and(|owner| owner.tags.others.get(key) == Some(value))
        };
        (self.accounts.is_empty() || self.accounts.contains(subject.account))
            && self.user.as_ref().is_none_or(|pattern| pattern.matches(subject.user))
            && self.path.as_ref().is_none_or(has_path)
            && self.user_type.as_ref().is_none_or(has_type)
            && self.tags.iter().all(has_tag)
    }

    /// Whether these hold wherever `others` do. It may say no where the answer is yes, never the reverse.
    pub(super) fn cover(&self, others: &Self) -> bool {
        let accounts = self.accounts.is_empty()
            || (!others.accounts.is_empty() && others.accounts.is_subset(&self.accounts));
        let path = self
            .path
            .as_ref()
            .is_none_or(|path| others.path.as_ref().is_some_and(|other| other.starts_with(path)));
        // Taken as a name, the other's `*` can only have been met by one of ours, and so can all that it
        // stands for.
        let user = self
            .user
            .as_ref()
            .is_none_or(|pattern| others.user.as_ref().is_some_and(|other| pattern.matches(other.as_str())));
        let user_type = self.user_type.is_none() || self.user_type == others.user_type;
        let tags = self.tags.iter().all(|(key, value)| others.tags.get(key) == Some(value));
        accounts && path && user && user_type && tags
    }

    /// Whether no user can have the tags that both ask for.
    pub(super) fn tags_exclude(&self, others: &Self) -> bool {
        let types = matches!((&self.user_type, &others.user_type), (Some(own), Some(other)) if own != other);
        types || self.tags.iter().any(|(key, value)| others.tags.get(key).is_some_and(|other| other != value))
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.accounts.is_empty() {
            let accounts: Vec<&str> = self.accounts.iter().map(AccountId::as_str).collect();
            let s = if accounts.len() == 1 { "" } else { "s" };
            parts.push(format!("account{s} {}", accounts.join(", ")));
        }
        parts.extend(self.path.as_ref().map(|path| format!("path {path}")));
        parts.extend(self.user.as_ref().map(|user| format!("user {}", user.as_str())));
        parts.extend(self.user_type.as_ref().map(|text| format!("type {text:?}")));
        parts.extend(self.tags.iter().map(|(key, value)| format!("tag {key:?} = {value:?}")));
        formatter.write_str(&parts.join("; "))
    }
}

/// A user's name, in which `*` stands for any stretch of it. IAM does not tell names apart by case, and so
/// neither does this (`CreateUser`, `UserName`, in IAM's API reference).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPattern(String);

impl UserPattern {
    /// Takes a pattern that has already been looked at.
    pub(super) fn checked(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name is so.
    pub fn matches(&self, user: &str) -> bool {
        let (pattern, user) = (self.0.to_ascii_lowercase(), user.to_ascii_lowercase());
        let Some((first, rest_of_pattern)) = pattern.split_once('*') else { return pattern == user };
        let Some(mut rest) = user.strip_prefix(first) else { return false };
        let mut pieces: Vec<&str> = rest_of_pattern.split('*').collect();
        let last = pieces.pop().unwrap_or_default();
        // The earliest place for each piece leaves the most room for what follows.
        for piece in pieces {
            match rest.split_once(piece) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}
