//! The directory of owners: IAM users in member accounts, read over `sts:AssumeRole` with the reader role.

use std::time::Duration;

use aws_config::SdkConfig;
use jiff::Timestamp;
use keytide_core::{AccountId, owner::OwnerReport};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::member::Members;
pub use crate::member::RoleReach as ReaderRole;

/// Looks IAM users up in any account, within a bound of time.
#[derive(Debug)]
pub struct Directory {
    members: Members,
    bound: Duration,
}

impl Directory {
    /// On the security account's configuration; `bound` is for one whole report (2 s by default).
    pub fn new(config: &SdkConfig, role: ReaderRole, bound: Duration) -> Self {
        // An alert does not wait for another one's look-up: the function bounds how many there are at once.
        let members = Members::new(config, role).calls_at_once(Semaphore::MAX_PERMITS);
        Self { members, bound }
    }

    /// What is known of a user now. Never an error: what could not be found out is said in the report, and
    /// the whole takes no longer than the bound.
    pub async fn report(&self, account: &AccountId, user: &str, now: Timestamp) -> OwnerReport {
        let deadline = Instant::now() + self.bound;
        let too_slow = || format!("no answer within {} s", self.bound.as_secs_f32());
        let member = match timeout_at(deadline, self.members.member(account, now)).await {
            Ok(Ok(member)) => member,
            Ok(Err(failure)) => return OwnerReport::Failed(failure.to_string()),
            Err(_) => return OwnerReport::Failed(format!("sts:AssumeRole in {account}: {}", too_slow())),
        };
        let (found, keys) = tokio::join!(
            timeout_at(deadline, member.get_user(user, now)),
            timeout_at(deadline, member.list_access_keys(user)),
        );
        let keys = match keys {
            Ok(Ok(Some(keys))) => Ok(keys),
            Ok(Ok(None)) => Err(format!("iam:ListAccessKeys of {user}: there is no such user")),
            Ok(Err(failure)) => Err(failure.to_string()),
            Err(_) => Err(format!("iam:ListAccessKeys of {user}: {}", too_slow())),
        };
        match found {
            Ok(Ok(Some(owner))) => OwnerReport::Found { owner, keys },
            Ok(Ok(None)) => OwnerReport::NotFound,
            Ok(Err(failure)) => OwnerReport::Failed(failure.to_string()),
            Err(_) => OwnerReport::Failed(format!("iam:GetUser of {user}: {}", too_slow())),
        }
    }
}
