//! CloudTrail: the events that EventBridge would deliver of what was done to users and their keys.
//!
//! Their shapes are those of the samples under `events/`, and of CloudTrail's user guide ("CloudTrail
//! record contents", "`userIdentity` element").

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::query::Parameters;
use crate::world::{AccessKey, Caller, Principal, Refusal, whole_seconds};

/// Callers of this world have no address; this one is kept for documentation (RFC 5737).
const SOURCE_ADDRESS: &str = "203.0.113.140";

/// Whether the trail tells of an operation of IAM.
pub(crate) fn watches(operation: &str) -> bool {
    matches!(
        operation,
        "CreateAccessKey"
            | "UpdateAccessKey"
            | "DeleteAccessKey"
            | "TagUser"
            | "UntagUser"
            | "UpdateUser"
            | "DeleteUser"
    )
}

/// The events of a [`LocalAws`](crate::LocalAws), collected from [`Trail::start`] on.
///
/// What is arranged by hand is done by nobody, and leaves no event.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    /// `None` until it is started.
    events: Arc<Mutex<Option<Vec<Value>>>>,
}

impl Trail {
    /// Collects events from now on, refused calls included.
    pub fn start(&self) {
        self.with(|events| {
            events.get_or_insert_default();
        });
    }

    /// The events since the start or the last time, oldest first, as EventBridge delivers them.
    pub fn take(&self) -> Vec<Value> {
        self.with(|events| events.as_mut().map(std::mem::take).unwrap_or_default())
    }

    pub(crate) fn record(&self, call: &Recorded<'_>, new_uuid: impl FnMut() -> String) {
        // Asked first: whoever does not collect should pay nothing.
        if self.with(|events| events.is_some()) {
            let event = call.event(new_uuid);
            self.with(|events| events.get_or_insert_default().push(event));
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Option<Vec<Value>>) -> T) -> T {
        work(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A call that was answered.
pub(crate) struct Recorded<'call> {
    pub(crate) operation: &'static str,
    pub(crate) caller: &'call Caller,
    pub(crate) query: &'call Parameters,
    pub(crate) user_agent: &'call str,
    pub(crate) now: Timestamp,
    /// `responseElements` of what was done, if there are any, or why it was not done.
    pub(crate) outcome: Result<Option<Value>, &'call Refusal>,
}

impl Recorded<'_> {
    fn event(&self, mut new_uuid: impl FnMut() -> String) -> Value {
        let at = whole_seconds(self.now).to_string();
        let account = &self.caller.account;
        let mut detail = json!({
            "eventVersion": "1.11",
            "userIdentity": user_identity(self.caller),
            "eventTime": at,
            "eventSource": "iam.amazonaws.com",
            "eventName": self.operation,
            "awsRegion": crate::REGION,
            "sourceIPAddress": SOURCE_ADDRESS,
            "userAgent": self.user_agent,
            "requestParameters": self.request_parameters(),
            "responseElements": self.outcome.as_ref().ok().and_then(Option::as_ref),
            "requestID": new_uuid(),
            "eventID": new_uuid(),
            "readOnly": false,
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "recipientAccountId": account,
            "eventCategory": "Management",
        });
        if let Err(refusal) = &self.outcome
            && let Some(fields) = detail.as_object_mut()
        {
            fields.insert("errorCode".to_owned(), error_code(refusal).into());
            fields.insert("errorMessage".to_owned(), refusal.message().into());
        }
        json!({
            "version": "0",
            "id": new_uuid(),
            "detail-type": "AWS API Call via CloudTrail",
            "source": "aws.iam",
            "account": account,
            "time": at,
            "region": crate::REGION,
            "resources": [],
            "detail": detail,
        })
    }

    /// What was asked for; null where that is nothing, and where a refusal drops it.
    fn request_parameters(&self) -> Value {
        // These lose their parameters, as recorded events do: the message alone may name the user.
        if self
            .outcome
            .as_ref()
            .is_err_and(|refusal| matches!(refusal.code(), "AccessDenied" | "LimitExceeded"))
        {
            return Value::Null;
        }
        let mut parameters = serde_json::Map::new();
        for (asked, written) in [
            ("UserName", "userName"),
            ("AccessKeyId", "accessKeyId"),
            ("Status", "status"),
            ("NewUserName", "newUserName"),
            ("NewPath", "newPath"),
        ] {
            if let Some(value) = self.query.get(asked) {
                parameters.insert(written.to_owned(), value.into());
            }
        }
        match self.operation {
            "TagUser" => {
                let tags: Vec<Value> = self
                    .query
                    .tags()
                    .into_iter()
                    .map(|(key, value)| json!({ "key": key, "value": value }))
                    .collect();
                parameters.insert("tags".to_owned(), tags.into());
            }
            "UntagUser" => {
                parameters.insert("tagKeys".to_owned(), self.query.tag_keys().into());
            }
            _ => {}
        }
        if parameters.is_empty() { Value::Null } else { parameters.into() }
    }
}

/// The answer to `CreateAccessKey` without its secret; the user is named there if the request did.
pub(crate) fn created_key(key: &AccessKey, query: &Parameters) -> Value {
    let mut written = json!({
        "accessKeyId": key.id,
        "status": key.status.name(),
        "createDate": key.created.strftime("%b %-d, %Y %-I:%M:%S %p").to_string(),
    });
    if let (Some(name), Some(fields)) = (query.get("UserName"), written.as_object_mut()) {
        fields.insert("userName".to_owned(), name.into());
    }
    json!({ "accessKey": written })
}

/// CloudTrail names most errors as the API's exceptions are named, where IAM itself answers with
/// their short codes.
fn error_code(refusal: &Refusal) -> String {
    match refusal.code() {
        "AccessDenied" => "AccessDenied".to_owned(),
        "ValidationError" => "ValidationException".to_owned(),
        code => format!("{code}Exception"),
    }
}

fn user_identity(caller: &Caller) -> Value {
    let account = &caller.account;
    let mut identity = json!({
        "principalId": caller.user_id(),
        "arn": caller.arn(),
        "accountId": account,
        "accessKeyId": caller.access_key_id,
    });
    let more = match &caller.principal {
        Principal::Owner => json!({ "type": "Root" }),
        Principal::User { name, .. } => json!({ "type": "IAMUser", "userName": name }),
        Principal::Role { name, id, began, .. } => json!({
            "type": "AssumedRole",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": id,
                    "arn": format!("arn:aws:iam::{account}:role/{name}"),
                    "accountId": account,
                    "userName": name,
                },
                "webIdFederationData": {},
                "attributes": { "creationDate": began.to_string(), "mfaAuthenticated": "false" },
            },
        }),
    };
    if let (Some(fields), Value::Object(more)) = (identity.as_object_mut(), more) {
        fields.extend(more);
    }
    identity
}
