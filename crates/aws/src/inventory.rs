//! The inventory of one account: who is in it, which keys they have, and what the credential report says.
//!
//! Every list is read to its last page, or it is a [`Failure`]: a part never passes for the whole.

use std::{collections::BTreeMap, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_iam::{
    operation::get_credential_report::{GetCredentialReportError, GetCredentialReportOutput},
    types::ReportStateType,
};
use jiff::{SignedDuration, Timestamp};
use keytide_core::{
    AccountId,
    key::LastUse,
    owner::{ListedKey, Owner},
    report::{CredentialReport, REPORT_LIFE, ReportProblem, parse},
};
use tokio::time::{Instant, sleep};

use crate::{
    Failure,
    member::{Member, Members},
    users::next_page,
};

/// A report takes seconds. It is asked for again after this, then later each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The most that IAM puts on one page (API reference, `ListUsers`).
const PAGE: i32 = 1_000;

/// What became of asking for the credential report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Here it is, no older than four hours.
    Fresh {
        /// When AWS made it: what happened since is not in it.
        generated_at: Timestamp,
        /// What it says.
        report: CredentialReport,
    },
    /// AWS is still making it. Come back for it.
    StillBeingMade,
    /// AWS gave one that cannot be used.
    Malformed {
        /// When AWS made it.
        generated_at: Timestamp,
        /// What is wrong with it.
        problem: ReportProblem,
    },
    /// It could not be had.
    Failed(Failure),
}

impl Report {
    /// How old it is, if there is one. Less than nothing where AWS's clock is ahead of ours.
    pub fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        match self {
            Self::Fresh { generated_at, .. } | Self::Malformed { generated_at, .. } => {
                Some(now.duration_since(*generated_at))
            }
            Self::StillBeingMade | Self::Failed(_) => None,
        }
    }
}

/// A user, as `ListUsers` shows it: without tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUser {
    /// The name, which may change.
    pub name: String,
    /// The stable id (`AIDA…`), which survives a rename.
    pub id: String,
    /// The path, as `/engineering/`.
    pub path: String,
    /// When the user was made, where AWS says a time that can be.
    pub created: Option<Timestamp>,
}

/// One account, read as the reader.
#[derive(Debug)]
pub struct Inventory {
    member: Member,
}

impl Inventory {
    /// Of a member account, over the reader role.
    pub async fn open(members: &Members, account: &AccountId, now: Timestamp) -> Result<Self, Failure> {
        Ok(Self { member: members.member(account, now).await? })
    }

    /// Of the very account that the configuration's credentials are of; no role is assumed.
    pub fn direct(config: &SdkConfig, account: &AccountId) -> Self {
        Self { member: Member::direct(config, account) }
    }

    /// How often each operation was called, pages one by one; what the SDK tried again counts once.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.member.calls()
    }

    /// The credential report. One that is there is taken; where there is none that still holds, AWS is asked
    /// to make one, and it is waited for until `deadline` and not beyond (the calls themselves last as long
    /// as the configuration's time-outs allow). A deadline that has passed means: ask, and do not wait.
    pub async fn credential_report(&self, now: Timestamp, deadline: Instant) -> Report {
        let mut pause = FIRST_PAUSE;
        let mut asked = false;
        loop {
            match self.present_report(now).await {
                Ok(Present::Report(report)) => return report,
                Ok(Present::InTheMaking) => {}
                Ok(Present::None) if asked => {}
                Ok(Present::None) => {
                    asked = true;
                    match self.ask_for_report().await {
                        Ok(Asked::Complete) => continue,
                        Ok(Asked::InTheMaking) => {}
                        Err(failure) => return Report::Failed(failure),
                    }
                }
                Err(failure) => return Report::Failed(failure),
            }
            if Instant::now() + pause > deadline {
                return Report::StillBeingMade;
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn present_report(&self, now: Timestamp) -> Result<Present, Failure> {
        let request = self.member.iam().get_credential_report();
        let answer = match self.member.call("GetCredentialReport", Box::pin(request.send())).await {
            Ok(answer) => answer,
            Err(error) => {
                return match error.as_service_error() {
                    Some(GetCredentialReportError::CredentialReportNotReadyException(_)) => {
                        Ok(Present::InTheMaking)
                    }
                    Some(
                        GetCredentialReportError::CredentialReportNotPresentException(_)
                        | GetCredentialReportError::CredentialReportExpiredException(_),
                    ) => Ok(Present::None),
                    _ => Err(Failure::of(self.operation("iam:GetCredentialReport"), &error)),
                };
            }
        };
        let (generated_at, content) = self.contents(answer)?;
        // The API may hand out one that is older, too: its documents promise nothing else.
        if now.duration_since(generated_at) > REPORT_LIFE {
            return Ok(Present::None);
        }
        let account = self.member.account();
        let read =
            parse(&content).and_then(|report| match report.rows.iter().find(|row| row.account != *account) {
                None => Ok(report),
                Some(row) => {
                    Err(ReportProblem::OtherAccount { expected: account.clone(), found: row.account.clone() })
                }
            });
        Ok(Present::Report(match read {
            Ok(report) => Report::Fresh { generated_at, report },
            Err(problem) => Report::Malformed { generated_at, problem },
        }))
    }

    fn contents(&self, answer: GetCredentialReportOutput) -> Result<(Timestamp, Vec<u8>), Failure> {
        let generated = answer.generated_time.and_then(|time| Timestamp::from_second(time.secs()).ok());
        match (generated, answer.content) {
            (Some(generated_at), Some(content)) => Ok((generated_at, content.into_inner())),
            (generated, content) => {
                let lacks = match (generated, content) {
                    (None, _) => "no time at which the report was made",
                    (Some(_), _) => "no report",
                };
                Err(Failure::operators(
                    self.operation("iam:GetCredentialReport"),
                    format!("the answer holds {lacks}; expected a report and its time"),
                ))
            }
        }
    }

    async fn ask_for_report(&self) -> Result<Asked, Failure> {
        let request = self.member.iam().generate_credential_report();
        let answer = self.member.call("GenerateCredentialReport", Box::pin(request.send())).await;
        let operation = || self.operation("iam:GenerateCredentialReport");
        let answer = answer.map_err(|error| Failure::of(operation(), &error))?;
        match answer.state {
            Some(ReportStateType::Complete) => Ok(Asked::Complete),
            Some(ReportStateType::Started | ReportStateType::Inprogress) => Ok(Asked::InTheMaking),
            other => {
                let found = other.as_ref().map_or("no state", ReportStateType::as_str);
                let cause = format!("the answer holds {found}; expected STARTED, INPROGRESS or COMPLETE");
                Err(Failure::operators(operation(), cause))
            }
        }
    }

    /// All users of the account.
    pub async fn users(&self) -> Result<Vec<ListedUser>, Failure> {
        let operation = self.operation("iam:ListUsers");
        let mut users = Vec::new();
        let mut marker = None;
        loop {
            let request = self.member.iam().list_users().max_items(PAGE).set_marker(marker.clone());
            let page = self.member.call("ListUsers", Box::pin(request.send())).await;
            let page = page.map_err(|error| Failure::of(operation.as_str(), &error))?;
            marker = next_page(&operation, page.is_truncated, page.marker.as_deref(), marker.as_deref())?;
            users.extend(page.users.into_iter().map(|user| ListedUser {
                name: user.user_name,
                id: user.user_id,
                path: user.path,
                created: Timestamp::from_second(user.create_date.secs()).ok(),
            }));
            if marker.is_none() {
                return Ok(users);
            }
        }
    }

    /// All of a user's access keys; `None` where there is no such user (any more).
    pub async fn keys_of(&self, user: &str) -> Result<Option<Vec<ListedKey>>, Failure> {
        self.member.list_access_keys(user).await
    }

    /// The user with its tags; `None` where there is no such user (any more).
    pub async fn user(&self, name: &str, now: Timestamp) -> Result<Option<Owner>, Failure> {
        self.member.get_user(name, now).await
    }

    /// When and where a key was last used. AWS answers `N/A` where there is nothing to name.
    pub async fn last_used(&self, key_id: &str, now: Timestamp) -> Result<LastUse, Failure> {
        let operation = || self.operation(&format!("iam:GetAccessKeyLastUsed of {key_id}"));
        let request = self.member.iam().get_access_key_last_used().access_key_id(key_id);
        let answer = self.member.call("GetAccessKeyLastUsed", Box::pin(request.send())).await;
        let answer = answer.map_err(|error| Failure::of(operation(), &error))?;
        let Some(used) = answer.access_key_last_used else {
            return Err(Failure::operators(
                operation(),
                "the answer holds no last use; expected one, or `N/A`",
            ));
        };
        let at = match used.last_used_date {
            None => None,
            Some(date) => Some(Timestamp::from_second(date.secs()).map_err(|error| {
                Failure::operators(operation(), format!("the time of the last use is impossible: {error}"))
            })?),
        };
        let named = |text: String| (!text.is_empty() && text != "N/A").then_some(text);
        Ok(LastUse { at, service: named(used.service_name), region: named(used.region), seen_at: now })
    }

    fn operation(&self, what: &str) -> String {
        format!("{what} in {}", self.member.account())
    }
}

/// What there is of a report.
enum Present {
    Report(Report),
    InTheMaking,
    None,
}

/// What AWS says when asked to make one.
enum Asked {
    Complete,
    InTheMaking,
}
