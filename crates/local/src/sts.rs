//! STS: who the caller is, and roles assumed.

use jiff::SignedDuration;

use crate::LocalAws;
use crate::answer::Answer;
use crate::calls::Service;
use crate::iam::check_name;
use crate::query::{Parameters, Xml};
use crate::session_policy::SessionPolicy;
use crate::world::{Caller, NewSession, Refusal, whole_seconds};

pub(crate) const OPERATIONS: &[&str] = &["GetCallerIdentity", "AssumeRole"];

/// A session lasts an hour if nothing else is asked for (STS's API reference, `AssumeRole`).
const USUAL_SECONDS: i64 = 3_600;

pub(crate) fn serve(aws: &LocalAws, operation: &'static str, caller: &Caller, query: &Parameters) -> Answer {
    let result = match operation {
        "GetCallerIdentity" => Ok(Xml::response(operation, |xml| {
            xml.text("Arn", &caller.arn());
            xml.text("UserId", &caller.user_id());
            xml.text("Account", &caller.account);
        })),
        "AssumeRole" => assume_role(aws, caller, query),
        _ => Err(Refusal::new(400, "InvalidAction", "Could not find operation for version 2011-06-15")),
    };
    result.unwrap_or_else(|refusal| refusal.answer(Service::Sts))
}

fn assume_role(aws: &LocalAws, caller: &Caller, query: &Parameters) -> Result<Answer, Refusal> {
    let arn = query.get("RoleArn").unwrap_or_default();
    let session_name = query.get("RoleSessionName").unwrap_or_default();
    check_name("roleSessionName", session_name)?;
    let seconds = match query.get("DurationSeconds") {
        None => USUAL_SECONDS,
        Some(text) => {
            text.parse().ok().filter(|seconds| (900..=43_200).contains(seconds)).ok_or_else(|| {
                Refusal::new(
                    400,
                    "ValidationError",
                    format!(
                        "Value '{text}' at 'durationSeconds' failed to satisfy constraint: Member \
                         must have value between 900 and 43200"
                    ),
                )
            })?
        }
    };
    let policy = query.get("Policy").map(SessionPolicy::parse).transpose()?;
    let packed_percent = policy.as_ref().map(|policy| policy.packed_percent);
    let Some((account, role)) = role_of(arn) else {
        return Err(Refusal::new(400, "ValidationError", format!("{arn} is invalid")));
    };
    let now = whole_seconds(aws.now());
    let mut world = aws.world();
    // A role that is not there, and one that wants another external id, look the same from outside.
    let admitted = world.account(account).and_then(|account| account.roles.get(role)).is_some_and(|role| {
        role.external_id.as_deref().is_none_or(|expected| query.get("ExternalId") == Some(expected))
    });
    let denied = || {
        Refusal::access_denied(format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
            caller.arn()
        ))
    };
    if !admitted {
        return Err(denied());
    }
    let expires = now.saturating_add(SignedDuration::from_secs(seconds)).map_err(|_| denied())?;
    let new = NewSession { account, role, name: session_name, began: now, expires, policy };
    let session = world.begin_session(new).ok_or_else(denied)?;
    let secret = world.new_id("", 40);
    let token = world.new_id("", 64);
    Ok(Xml::response("AssumeRole", |xml| {
        xml.inside("AssumedRoleUser", |xml| {
            xml.text("AssumedRoleId", &session.user_id());
            xml.text("Arn", &session.arn());
        });
        xml.inside("Credentials", |xml| {
            xml.text("AccessKeyId", &session.access_key_id);
            xml.text("SecretAccessKey", &secret);
            xml.text("SessionToken", &token);
            xml.text("Expiration", &expires.to_string());
        });
        // Only of what was handed in (STS's API reference, `AssumeRole`).
        if let Some(percent) = packed_percent {
            xml.text("PackedPolicySize", &percent.to_string());
        }
    }))
}

/// `arn:aws:iam::111122223333:role/path/name`: the account and the name.
fn role_of(arn: &str) -> Option<(&str, &str)> {
    let rest = arn.strip_prefix("arn:aws:iam::")?;
    let (account, role) = rest.split_once(":role/")?;
    Some((account, role.rsplit('/').next()?))
}
