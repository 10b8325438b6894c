//! What is read of IAM users and their keys, whoever reads it: the directory, the inventory, the disabler.

use aws_sdk_iam::{
    error::SdkError,
    operation::{get_user::GetUserError, list_access_keys::ListAccessKeysError},
    types::{AccessKeyMetadata, User},
};
use jiff::Timestamp;
use keytide_core::{
    cloudtrail::Status,
    owner::{ListedKey, Owner, OwnerTags},
};

use crate::{Failure, member::Member};

impl Member {
    /// The user with its tags (`ListUsers` omits them); `None` where there is no such user.
    pub(crate) async fn get_user(&self, name: &str, now: Timestamp) -> Result<Option<Owner>, Failure> {
        let operation = || format!("iam:GetUser of {name} in {}", self.account());
        let answer = self.call("GetUser", Box::pin(self.iam().get_user().user_name(name).send())).await;
        match answer {
            Ok(answer) => match answer.user {
                Some(user) => Ok(Some(owner_of(&user, now))),
                None => Err(Failure::operators(operation(), "the answer holds no user")),
            },
            Err(error) if error.as_service_error().is_some_and(GetUserError::is_no_such_entity_exception) => {
                Ok(None)
            }
            Err(error) => Err(Failure::of(operation(), &error)),
        }
    }

    /// All of a user's access keys: the limit of two is a race that has been lost, so every page is read.
    /// `None` where there is no such user.
    pub(crate) async fn list_access_keys(&self, name: &str) -> Result<Option<Vec<ListedKey>>, Failure> {
        let operation = format!("iam:ListAccessKeys of {name} in {}", self.account());
        let mut keys = Vec::new();
        let mut marker = None;
        loop {
            let request = self.iam().list_access_keys().user_name(name).set_marker(marker.clone());
            let page = match self.call("ListAccessKeys", Box::pin(request.send())).await {
                Ok(page) => page,
                Err(error) if is_no_such_user(&error) => return Ok(None),
                Err(error) => return Err(Failure::of(operation, &error)),
            };
            for key in page.access_key_metadata() {
                keys.push(listed(&operation, key)?);
            }
            marker = next_page(&operation, page.is_truncated(), page.marker(), marker.as_deref())?;
            if marker.is_none() {
                return Ok(Some(keys));
            }
        }
    }
}

fn is_no_such_user<R>(error: &SdkError<ListAccessKeysError, R>) -> bool {
    error.as_service_error().is_some_and(ListAccessKeysError::is_no_such_entity_exception)
}

/// Where the next page begins; `None` after the last one.
///
/// A partial list must never pass for the whole, so a page that says there is more and not where, and one
/// that leads back to itself, are failures. (The SDK's own paginator would stop without a word.)
pub(crate) fn next_page(
    operation: &str,
    truncated: bool,
    marker: Option<&str>,
    before: Option<&str>,
) -> Result<Option<String>, Failure> {
    match marker.filter(|marker| !marker.is_empty()) {
        None if truncated => {
            Err(Failure::retry(operation, "the answer says that there is more, but not where it goes on"))
        }
        None => Ok(None),
        same if same == before => Err(Failure::retry(operation, "a page leads back to itself")),
        Some(next) => Ok(Some(next.to_owned())),
    }
}

fn listed(operation: &str, key: &AccessKeyMetadata) -> Result<ListedKey, Failure> {
    let (Some(key_id), Some(status)) = (key.access_key_id(), key.status()) else {
        return Err(Failure::operators(operation, "a key in the list has no id or no status; expected both"));
    };
    Ok(ListedKey {
        key_id: key_id.to_owned(),
        status: Status::from(status.as_str().to_owned()),
        created: key.create_date().and_then(|date| Timestamp::from_second(date.secs()).ok()),
    })
}

fn owner_of(user: &User, now: Timestamp) -> Owner {
    Owner {
        user_id: user.user_id().to_owned(),
        path: user.path().to_owned(),
        tags: OwnerTags::from_tags(user.tags().iter().map(|tag| (tag.key(), tag.value()))),
        seen_at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::next_page;

    #[test]
    fn pages_are_followed_to_the_end_and_never_taken_for_it_early() {
        assert_eq!(next_page("op", false, None, Some("a")), Ok(None));
        assert_eq!(next_page("op", false, Some(""), None), Ok(None));
        assert_eq!(next_page("op", true, Some("b"), Some("a")), Ok(Some("b".to_owned())));
        // A marker is followed even where `IsTruncated` is missing.
        assert_eq!(next_page("op", false, Some("b"), None), Ok(Some("b".to_owned())));
        assert!(next_page("op", true, None, Some("a")).is_err());
        assert!(next_page("op", true, Some(""), None).is_err());
        assert!(next_page("op", true, Some("a"), Some("a")).is_err());
    }
}
