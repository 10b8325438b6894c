//! The directory of owners: IAM users in member accounts, read over `sts:AssumeRole` with the reader role.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_config::SdkConfig;
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_iam::types::{AccessKeyMetadata, User};
use jiff::{SignedDuration, Timestamp};
use keytide_core::{
    AccountId,
    cloudtrail::Status,
    owner::{ListedKey, Owner, OwnerReport, OwnerTags},
};
use tokio::time::{Instant, timeout_at};

use crate::Failure;

/// How the reader role is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderRole {
    /// `aws`, or another partition.
    pub partition: String,
    /// The role's name, the same in every account.
    pub name: String,
    /// The external id that its trust policy demands.
    pub external_id: Option<String>,
    /// The name our session bears in the account's own trail.
    pub session_name: String,
}

/// Looks IAM users up in any account, within a bound of time.
#[derive(Debug)]
pub struct Directory {
    config: SdkConfig,
    role: ReaderRole,
    bound: Duration,
    clients: Mutex<HashMap<AccountId, (aws_sdk_iam::Client, Timestamp)>>,
}

/// A session is not begun in its last minute.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(60);

impl Directory {
    /// On the security account's configuration; `bound` is for one whole report (2 s by default).
    pub fn new(config: &SdkConfig, role: ReaderRole, bound: Duration) -> Self {
        Self { config: config.clone(), role, bound, clients: Mutex::default() }
    }

    /// What is known of a user now. Never an error: what could not be found out is said in the report, and
    /// the whole takes no longer than the bound.
    pub async fn report(&self, account: &AccountId, user: &str, now: Timestamp) -> OwnerReport {
        let deadline = Instant::now() + self.bound;
        let too_slow = || format!("no answer within {} s", self.bound.as_secs_f32());
        let client = match timeout_at(deadline, self.client(account, now)).await {
            Ok(Ok(client)) => client,
            Ok(Err(failure)) => return OwnerReport::Failed(failure.to_string()),
            Err(_) => return OwnerReport::Failed(format!("sts:AssumeRole in {account}: {}", too_slow())),
        };
        let (found, keys) = tokio::join!(
            timeout_at(deadline, get_user(&client, user)),
            timeout_at(deadline, list_access_keys(&client, user)),
        );
        let keys = match keys {
            Ok(listed) => listed.map_err(|failure| failure.to_string()),
            Err(_) => Err(format!("iam:ListAccessKeys of {user}: {}", too_slow())),
        };
        match found {
            Ok(Ok(Some(found))) => OwnerReport::Found { owner: owner_of(&found, now), keys },
            Ok(Ok(None)) => OwnerReport::NotFound,
            Ok(Err(failure)) => OwnerReport::Failed(failure.to_string()),
            Err(_) => OwnerReport::Failed(format!("iam:GetUser of {user}: {}", too_slow())),
        }
    }

    /// IAM in that account, as the reader; sessions are kept until they are about to end.
    async fn client(&self, account: &AccountId, now: Timestamp) -> Result<aws_sdk_iam::Client, Failure> {
        let kept = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(account).cloned();
        if let Some((client, expires)) = kept
            && now.saturating_add(EXPIRY_MARGIN).is_ok_and(|soon| soon < expires)
        {
            return Ok(client);
        }
        let arn = format!("arn:{}:iam::{account}:role/{}", self.role.partition, self.role.name);
        let operation = format!("sts:AssumeRole of {arn}");
        let answer = aws_sdk_sts::Client::new(&self.config)
            .assume_role()
            .role_arn(arn)
            .role_session_name(&self.role.session_name)
            .set_external_id(self.role.external_id.clone())
            .send()
            .await
            .map_err(|error| Failure::of(operation.as_str(), &error))?;
        let Some(session) = answer.credentials else {
            return Err(Failure::operators(operation, "the answer holds no credentials"));
        };
        let expires = Timestamp::from_second(session.expiration.secs())
            .map_err(|error| Failure::operators(operation, error.to_string()))?;
        let credentials = Credentials::new(
            session.access_key_id,
            session.secret_access_key,
            Some(session.session_token),
            session.expiration.try_into().ok(),
            "keytide-reader",
        );
        let config = self
            .config
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let client = aws_sdk_iam::Client::new(&config);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.insert(account.clone(), (client.clone(), expires));
        Ok(client)
    }
}

/// The user with its tags (`ListUsers` omits them); `None` where there is no such user.
async fn get_user(client: &aws_sdk_iam::Client, name: &str) -> Result<Option<User>, Failure> {
    match client.get_user().user_name(name).send().await {
        Ok(answer) => Ok(answer.user),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(aws_sdk_iam::operation::get_user::GetUserError::is_no_such_entity_exception) =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure::of(format!("iam:GetUser of {name}"), &error)),
    }
}

/// All of a user's access keys: the limit of two is a race that has been lost, so every page is read.
async fn list_access_keys(client: &aws_sdk_iam::Client, name: &str) -> Result<Vec<ListedKey>, Failure> {
    let mut pages = client.list_access_keys().user_name(name).into_paginator().items().send();
    let mut keys = Vec::new();
    while let Some(key) = pages.next().await {
        let key = key.map_err(|error| Failure::of(format!("iam:ListAccessKeys of {name}"), &error))?;
        keys.extend(listed(&key));
    }
    Ok(keys)
}

fn listed(key: &AccessKeyMetadata) -> Option<ListedKey> {
    let status = key.status()?.as_str().to_owned();
    Some(ListedKey {
        key_id: key.access_key_id()?.to_owned(),
        status: Status::from(status),
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
