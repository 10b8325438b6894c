//! The one part that changes anything in an account, and the only thing that it can do: make one access key
//! of one user `Inactive`.
//!
//! There is no function here that makes a key active or deletes one. IAM itself cannot forbid the first (no
//! condition of `iam:UpdateAccessKey` names the status), so this code's type is what keeps it, and the watch
//! treats a key that our role makes active as critical.
//!
//! Each session is narrowed by an inline policy to the one user, so that even a session's credentials in
//! wrong hands reach nobody else's keys.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_config::SdkConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_iam::{
    config::{Intercept, retry::RetryConfig},
    operation::RequestId as _,
    types::StatusType,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::context::BeforeDeserializationInterceptorContextRef,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{DateTime, config_bag::ConfigBag, date_time::Format};
use jiff::{SignedDuration, Timestamp};
use keytide_core::{AccountId, owner::ListedKey};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    Failure,
    member::{Member, RoleReach, assume},
};

/// How the disabler role is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisablerRole {
    /// `aws`, or another partition.
    pub partition: String,
    /// The role's name, the same in every account that is in `enforce`.
    pub name: String,
    /// The external id that its trust policy demands.
    pub external_id: Option<String>,
}

/// The one user whose keys a session may disable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The account.
    pub account: AccountId,
    /// The user's path, as `/engineering/`.
    pub path: String,
    /// The user's name.
    pub name: String,
}

/// Begins sessions that can disable.
#[derive(Debug, Clone)]
pub struct Disabler {
    config: SdkConfig,
    role: DisablerRole,
}

impl Disabler {
    /// On the security account's configuration.
    pub fn new(config: &SdkConfig, role: DisablerRole) -> Self {
        Self { config: config.clone(), role }
    }

    /// A session for this one user, under a name that the account's own trail shows. Nothing is kept: each
    /// session is for one user and short.
    pub async fn session(
        &self,
        target: &Target,
        session_name: &str,
        now: Timestamp,
    ) -> Result<DisablerSession, Failure> {
        let policy = session_policy(&self.role.partition, target)
            .map_err(|cause| Failure::operators(format!("narrowing a session to {target}"), cause))?;
        let reach = RoleReach {
            partition: self.role.partition.clone(),
            name: self.role.name.clone(),
            external_id: self.role.external_id.clone(),
            session_name: session_name.to_owned(),
        };
        let clock = ClockComparison::beginning(now);
        let sts = aws_sdk_sts::config::Builder::from(&self.config).interceptor(clock.clone()).build();
        let sts = aws_sdk_sts::Client::from_conf(sts);
        let (credentials, _) = assume(&sts, &reach, &target.account, Some(policy)).await?;
        let narrowed = self
            .config
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let iam = aws_sdk_iam::config::Builder::from(&narrowed).interceptor(clock.clone()).build();
        let member = Member::of_client(&target.account, aws_sdk_iam::Client::from_conf(iam));
        Ok(DisablerSession { member, target: target.clone(), clock })
    }
}

/// AWS took the request to disable. That is no proof that the key is disabled: IAM needs some seconds to
/// hold everywhere, and only a listing shows what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// The key.
    pub key_id: String,
    /// AWS's id of the request, which stands in the trail's record of it too.
    pub request_id: Option<String>,
}

/// A session that can disable one user's keys, and list them.
#[derive(Debug)]
pub struct DisablerSession {
    member: Member,
    target: Target,
    clock: ClockComparison,
}

impl DisablerSession {
    /// Makes the key `Inactive`.
    ///
    /// The SDK does not try again by itself: what became of one request would be hidden behind the next
    /// one's answer. **Any failure leaves the outcome unknown** (a time-out, a broken connection and a 5xx may
    /// come after the effect), so it says nothing about the key: [`Self::reread`] decides, after some
    /// seconds. To ask again is harmless, since a key that is inactive stays so.
    pub async fn disable(&self, key_id: &str) -> Result<Disabled, Failure> {
        let once = aws_sdk_iam::config::Builder::new().retry_config(RetryConfig::disabled());
        let request = self
            .member
            .iam()
            .update_access_key()
            .user_name(&self.target.name)
            .access_key_id(key_id)
            .status(StatusType::Inactive)
            .customize()
            .config_override(once);
        let answer = self.member.call("UpdateAccessKey", Box::pin(request.send())).await;
        let answer = answer.map_err(|error| {
            Failure::of(format!("iam:UpdateAccessKey of {key_id} of {}", self.target), &error)
        })?;
        Ok(Disabled { key_id: key_id.to_owned(), request_id: answer.request_id().map(str::to_owned) })
    }

    /// The key as IAM shows it now, out of all of the user's keys; `None` where the user has no such key (any
    /// more), or is not there. A user who was deleted or renamed meanwhile may also come as `AccessDenied`,
    /// because this session's policy names a path, and nobody who is not there has one.
    pub async fn reread(&self, key_id: &str) -> Result<Option<ListedKey>, Failure> {
        let keys = self.member.list_access_keys(&self.target.name).await?;
        Ok(keys.into_iter().flatten().find(|key| key.key_id == key_id))
    }

    /// How far AWS's clock is ahead of ours (behind: less than nothing), by the `Date` of its answers in this
    /// session: the widest gap that any of them showed, since one answer that disagrees is reason enough not
    /// to act. The answer to the role's assumption counts, so this is known before anything is done. `None`
    /// where no answer had a readable date: the clocks were not compared, and are not known to agree.
    pub fn aws_clock_skew(&self) -> Option<SignedDuration> {
        self.clock.widest()
    }

    /// The user whom the session is narrowed to.
    pub fn target(&self) -> &Target {
        &self.target
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{} in {}", self.path, self.name, self.account)
    }
}

/// The inline policy. What a session may do is what both the role's policies and this one allow (IAM's user
/// guide, "Session policies").
fn session_policy(partition: &str, target: &Target) -> Result<String, String> {
    let Target { account, path, name } = target;
    // IAM's API reference, `CreateUser`: what names and paths are made of.
    let proper_name = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
    if !proper_name {
        return Err(format!("{name:?} is no IAM user's name: expected 1 to 64 letters, digits or _+=,.@-"));
    }
    let proper_path = path.len() <= 512
        && path.starts_with('/')
        && path.ends_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !proper_path {
        return Err(format!("{path:?} is no IAM path: expected such as / or /engineering/"));
    }
    // IAM allows these in a path, and in a policy they would mean more than themselves.
    if path.contains(['*', '?', '$']) {
        return Err(format!(
            "the path {path:?} holds *, ? or $, which in a policy stand for more than this one user; move the \
             user to another path, or disable the key by hand"
        ));
    }
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["iam:UpdateAccessKey", "iam:ListAccessKeys"],
            "Resource": format!("arn:{partition}:iam::{account}:user{path}{name}"),
        }],
    });
    Ok(policy.to_string())
}

/// Compares the `Date` of every answer with our own time: the time of day at the session's beginning, and
/// what has passed since.
#[derive(Debug, Clone)]
struct ClockComparison {
    beginning: Timestamp,
    began: Instant,
    widest: Arc<Mutex<Option<SignedDuration>>>,
}

impl ClockComparison {
    fn beginning(now: Timestamp) -> Self {
        Self { beginning: now, began: Instant::now(), widest: Arc::default() }
    }

    fn widest(&self) -> Option<SignedDuration> {
        *self.widest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compare(&self, date: &str) {
        let elapsed = SignedDuration::try_from(self.began.elapsed()).unwrap_or(SignedDuration::MAX);
        let ours = self.beginning.saturating_add(elapsed).unwrap_or(Timestamp::MAX);
        let theirs = DateTime::from_str(date, Format::HttpDate).ok();
        let Some(theirs) = theirs.and_then(|theirs| Timestamp::from_second(theirs.secs()).ok()) else {
            return;
        };
        let skew = theirs.duration_since(ours);
        let mut widest = self.widest.lock().unwrap_or_else(PoisonError::into_inner);
        if widest.is_none_or(|known| skew.unsigned_abs() > known.unsigned_abs()) {
            *widest = Some(skew);
        }
    }
}

impl Intercept for ClockComparison {
    fn name(&self) -> &'static str {
        "ClockComparison"
    }

    /// Called with every answer, errors included, of every attempt.
    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.compare(date);
        }
        Ok(())
    }
}

/// How far AWS's clock is ahead of ours, by the `Date` of an answer: for whoever only wants to know.
pub async fn clock_skew(config: &SdkConfig, now: Timestamp) -> Result<SignedDuration, Failure> {
    const OPERATION: &str = "sts:GetCallerIdentity";
    // The time of day was read when the program began, some calls ago: only its drift is not our clock's.
    let clock = ClockComparison::beginning(now);
    let sts = aws_sdk_sts::config::Builder::from(config).interceptor(clock.clone()).build();
    let asked = aws_sdk_sts::Client::from_conf(sts).get_caller_identity().send().await;
    asked.map_err(|error| Failure::of(OPERATION, &error))?;
    clock.widest().ok_or_else(|| Failure::operators(OPERATION, "the answer has no readable date"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str, name: &str) -> Target {
        Target { account: "111122223333".parse().unwrap(), path: path.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_session_is_narrowed_to_exactly_two_actions_on_one_user() {
        let policy: serde_json::Value =
            serde_json::from_str(&session_policy("aws", &target("/engineering/", "alice")).unwrap()).unwrap();
        let expected = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Action": ["iam:UpdateAccessKey", "iam:ListAccessKeys"],
            "Resource": "arn:aws:iam::111122223333:user/engineering/alice",
        }]});
        assert_eq!(policy, expected);
        let longest =
            session_policy("aws-us-gov", &target(&format!("/{}/", "\"".repeat(510)), &"a".repeat(64)));
        assert!(longest.unwrap().len() <= 2_048, "STS takes 2,048 characters at most");
    }

    #[test]
    fn whoever_cannot_be_told_from_others_gets_no_session() {
        for (path, name) in [
            ("/", ""),
            ("/", "*"),
            ("/", "ali?e"),
            ("/", "${aws:username}"),
            ("/", "a/b"),
            ("/", "<root_account>"),
            ("/*/", "alice"),
            ("/${aws:username}/", "alice"),
            ("/te?m/", "alice"),
            ("", "alice"),
            ("team/", "alice"),
            ("/team", "alice"),
            ("/te am/", "alice"),
            ("/té/", "alice"),
        ] {
            assert!(session_policy("aws", &target(path, name)).is_err(), "{path} {name}");
        }
        for (path, name) in [("/", "alice"), ("/a/b/", "deploy+bot=x,y.z@w-1"), ("/a:b/", "alice")] {
            assert!(session_policy("aws", &target(path, name)).is_ok(), "{path} {name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_widest_gap_between_the_clocks_counts() {
        let clock = ClockComparison::beginning("2026-05-04T09:00:00Z".parse().unwrap());
        for unreadable in ["", "yesterday", "2026-05-04T09:00:00Z"] {
            clock.compare(unreadable);
        }
        assert_eq!(clock.widest(), None);
        clock.compare("Mon, 04 May 2026 09:00:02 GMT");
        assert_eq!(clock.widest(), Some(SignedDuration::from_secs(2)));
        tokio::time::advance(std::time::Duration::from_mins(10)).await;
        clock.compare("Mon, 04 May 2026 09:10:01 GMT");
        assert_eq!(clock.widest(), Some(SignedDuration::from_secs(2)));
        clock.compare("Mon, 04 May 2026 09:03:00 GMT");
        assert_eq!(clock.widest(), Some(SignedDuration::from_secs(-420)));
        clock.compare("Mon, 04 May 2026 09:15:00 GMT");
        assert_eq!(clock.widest(), Some(SignedDuration::from_secs(-420)));
    }
}
