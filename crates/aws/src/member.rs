//! Sessions in member accounts: the one place that assumes a role.
//!
//! Every account is reached alike, the security account included: by the role of that name in it.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_config::{
    SdkConfig,
    retry::{RetryConfig, RetryMode},
    timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_iam::config::retry::{ClientRateLimiter, RetryPartition};
use jiff::{SignedDuration, Timestamp};
use keytide_core::AccountId;
use tokio::sync::Semaphore;

use crate::Failure;

/// How a role in a member account is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleReach {
    /// `aws`, or another partition.
    pub partition: String,
    /// The role's name, the same in every account.
    pub name: String,
    /// The external id that its trust policy demands.
    pub external_id: Option<String>,
    /// The name our session bears in the account's own trail.
    pub session_name: String,
}

impl RoleReach {
    /// The role's ARN in that account.
    pub fn arn_in(&self, account: &AccountId) -> String {
        format!("arn:{}:iam::{account}:role/{}", self.partition, self.name)
    }
}

/// So many calls are under way at once in one account, unless said otherwise. IAM's limits are per account,
/// not published and cannot be raised.
const CALLS_AT_ONCE: usize = 8;

/// A session is not begun in its last minute, unless said otherwise.
const TIME_LEFT: SignedDuration = SignedDuration::from_secs(60);

/// How long a call may take with all its attempts where the SDK slows down. A retry costs five tokens there,
/// and two seconds make one in an account that was hardly called before: with the usual bound of some
/// seconds, a call that was throttled twice would never get its third attempt.
const ADAPTIVE_TIMEOUT: Duration = Duration::from_mins(1);

/// So many sessions are kept. A client weighs some tens of kilobytes, and a sweep passes a thousand accounts.
const KEPT_SESSIONS: usize = 64;

/// IAM in any account, by sessions that are kept until they are about to end.
#[derive(Debug)]
pub struct Members {
    config: SdkConfig,
    sts: aws_sdk_sts::Client,
    reach: RoleReach,
    time_left: SignedDuration,
    calls_at_once: usize,
    adaptive: bool,
    sessions: Mutex<HashMap<AccountId, Session>>,
}

#[derive(Debug, Clone)]
struct Session {
    iam: aws_sdk_iam::Client,
    expires: Timestamp,
    pace: Pace,
}

/// What paces the calls to one account, whichever session makes them.
#[derive(Debug, Clone)]
struct Pace {
    permits: Arc<Semaphore>,
    /// The SDK keeps its budget for retries, and what it learned from throttling, by partition. By default
    /// that is the service and region: one throttled account would slow all others down.
    partition: RetryPartition,
}

impl Members {
    /// On the security account's configuration.
    pub fn new(config: &SdkConfig, reach: RoleReach) -> Self {
        Self {
            config: config.clone(),
            sts: aws_sdk_sts::Client::new(config),
            reach,
            time_left: TIME_LEFT,
            calls_at_once: CALLS_AT_ONCE,
            adaptive: false,
            sessions: Mutex::default(),
        }
    }

    /// Slows down in an account that throttles, instead of only trying again: for reading many users, not for
    /// a few calls. Where little was called before, the SDK then lets a call wait for some ten seconds before
    /// each further attempt, so one call may take a minute with all of them.
    #[must_use]
    pub fn adaptive(mut self) -> Self {
        self.adaptive = true;
        self
    }

    /// At most so many calls at once in one account; at least one.
    #[must_use]
    pub fn calls_at_once(mut self, calls: usize) -> Self {
        self.calls_at_once = calls.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Gives only sessions that hold for so long yet: as long as what is to be done in one may take. A role
    /// that is assumed by a role's session lasts an hour at most.
    #[must_use]
    pub fn time_left(mut self, time_left: SignedDuration) -> Self {
        self.time_left = time_left;
        self
    }

    /// IAM in that account, as the role.
    pub async fn member(&self, account: &AccountId, now: Timestamp) -> Result<Member, Failure> {
        let kept = self.sessions().get(account).cloned();
        if let Some(session) = &kept
            && now.saturating_add(self.time_left).is_ok_and(|then| then < session.expires)
        {
            return Ok(Member::new(account, session.iam.clone(), Arc::clone(&session.pace.permits)));
        }
        let (credentials, expires) = assume(&self.sts, &self.reach, account, None).await?;
        let pace = kept.map_or_else(|| self.new_pace(account, now), |session| session.pace);
        let member_config = self
            .config
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let mut iam_config =
            aws_sdk_iam::config::Builder::from(&member_config).retry_partition(pace.partition.clone());
        if self.adaptive {
            let retry = self.config.retry_config().cloned().unwrap_or_else(RetryConfig::standard);
            let timeouts = self.config.timeout_config().cloned().unwrap_or_else(TimeoutConfig::disabled);
            iam_config = iam_config
                .retry_config(retry.with_retry_mode(RetryMode::Adaptive))
                .timeout_config(timeouts.to_builder().operation_timeout(ADAPTIVE_TIMEOUT).build());
        }
        let iam = aws_sdk_iam::Client::from_conf(iam_config.build());
        let member = Member::new(account, iam.clone(), Arc::clone(&pace.permits));
        member.count("AssumeRole");
        self.keep(account, Session { iam, expires, pace }, now);
        Ok(member)
    }

    fn new_pace(&self, account: &AccountId, now: Timestamp) -> Pace {
        let limiter = ClientRateLimiter::new(now.as_duration().as_secs_f64());
        Pace {
            permits: Arc::new(Semaphore::new(self.calls_at_once)),
            partition: RetryPartition::custom(account.to_string()).client_rate_limiter(limiter).build(),
        }
    }

    fn keep(&self, account: &AccountId, session: Session, now: Timestamp) {
        let mut sessions = self.sessions();
        sessions.insert(account.clone(), session);
        if sessions.len() > KEPT_SESSIONS {
            sessions.retain(|_, session| now < session.expires);
        }
        while sessions.len() > KEPT_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(id, session)| (session.expires, (*id).clone()));
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
            sessions.remove(&oldest);
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<AccountId, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Assumes the role in that account, narrowed to what an inline policy allows besides where there is one.
/// Gives the credentials and when they end.
pub(crate) async fn assume(
    sts: &aws_sdk_sts::Client,
    reach: &RoleReach,
    account: &AccountId,
    narrowed_to: Option<String>,
) -> Result<(Credentials, Timestamp), Failure> {
    let arn = reach.arn_in(account);
    let operation = format!("sts:AssumeRole of {arn}");
    let answer = sts
        .assume_role()
        .role_arn(arn)
        .role_session_name(&reach.session_name)
        .set_external_id(reach.external_id.clone())
        .set_policy(narrowed_to)
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
        "keytide-role",
    );
    Ok((credentials, expires))
}

/// A configuration with the role's credentials in that account: for other services than IAM.
pub async fn config_in(
    config: &SdkConfig,
    reach: &RoleReach,
    account: &AccountId,
) -> Result<SdkConfig, Failure> {
    let (credentials, _) = assume(&aws_sdk_sts::Client::new(config), reach, account, None).await?;
    Ok(config.to_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build())
}

/// IAM in one account. Its calls are bounded together with those of all other members of this account that
/// came from the same [`Members`], and counted on their own.
#[derive(Debug, Clone)]
pub struct Member {
    account: AccountId,
    iam: aws_sdk_iam::Client,
    permits: Arc<Semaphore>,
    calls: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Member {
    fn new(account: &AccountId, iam: aws_sdk_iam::Client, permits: Arc<Semaphore>) -> Self {
        Self { account: account.clone(), iam, permits, calls: Arc::default() }
    }

    /// IAM with the configuration's own credentials, which are that account's: no role is assumed.
    pub fn direct(config: &SdkConfig, account: &AccountId) -> Self {
        Self::of_client(account, aws_sdk_iam::Client::new(config))
    }

    pub(crate) fn of_client(account: &AccountId, iam: aws_sdk_iam::Client) -> Self {
        Self::new(account, iam, Arc::new(Semaphore::new(CALLS_AT_ONCE)))
    }

    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// How often each operation was called, pages one by one; what the SDK tried again counts once.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.counts().clone()
    }

    pub(crate) fn iam(&self) -> &aws_sdk_iam::Client {
        &self.iam
    }

    /// Makes one call when its turn comes, and counts it.
    pub(crate) async fn call<T>(&self, operation: &'static str, call: impl Future<Output = T>) -> T {
        // Nobody closes the semaphore, so this is always a permit.
        let _permit = self.permits.acquire().await;
        self.count(operation);
        call.await
    }

    fn count(&self, operation: &'static str) {
        *self.counts().entry(operation).or_default() += 1;
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
