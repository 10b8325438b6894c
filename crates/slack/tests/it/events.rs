//! Events, read by the very reader that production uses, and what is known besides.

use jiff::Timestamp;
use keytide_core::{
    AccountNames,
    alert::{AlertRules, Severity},
    cloudtrail::{self, Outcome, Status},
    fact::{Fact, FactBody},
    key,
    owner::{ListedKey, Owner, OwnerReport, OwnerTags},
};
use keytide_slack::messages::Notice;
use serde_json::{Value, json};

pub(crate) const KEY: &str = "AKIAEXAMPLEALICE0001";

pub(crate) fn user(name: &str) -> Value {
    json!({"type": "IAMUser", "arn": format!("arn:aws:iam::111122223333:user/{name}"),
           "accountId": "111122223333", "userName": name,
           "sessionContext": {"attributes": {"mfaAuthenticated": "true"}}})
}

pub(crate) fn role(role: &str, session: &str) -> Value {
    json!({"type": "AssumedRole", "accountId": "111122223333",
           "arn": format!("arn:aws:sts::111122223333:assumed-role/{role}/{session}"),
           "sessionContext": {"sessionIssuer": {"userName": role, "accountId": "111122223333"},
                              "attributes": {"mfaAuthenticated": "false"}}})
}

/// A record of a call, with `more` laid over it.
pub(crate) fn record(name: &str, identity: &Value, parameters: &Value, more: &Value) -> Value {
    let mut record = json!({
        "eventVersion": "1.11", "eventSource": "iam.amazonaws.com", "eventName": name,
        "eventTime": "2026-05-04T09:12:33Z", "eventID": "6f0b1c1e-0001-4000-8000-000000000001",
        "recipientAccountId": "111122223333", "sourceIPAddress": "203.0.113.24",
        "userAgent": "aws-cli/2.27.41 os/macos#24.5.0 lang/python#3.13.4",
        "userIdentity": identity, "requestParameters": parameters, "responseElements": null,
    });
    for (field, value) in more.as_object().unwrap() {
        record[field] = value.clone();
    }
    record
}

/// A `CreateAccessKey` that succeeded.
pub(crate) fn created(identity: &Value, user: Option<&str>) -> Value {
    let key = json!({"accessKeyId": KEY, "status": "Active", "userName": user,
                     "createDate": "May 4, 2026, 9:12:33 AM"});
    let more = json!({"responseElements": {"accessKey": key}});
    record("CreateAccessKey", identity, &json!({"userName": user}), &more)
}

pub(crate) fn changed(identity: &Value, status: &str) -> Value {
    let parameters = json!({"userName": "alice", "accessKeyId": KEY, "status": status});
    record("UpdateAccessKey", identity, &parameters, &json!({}))
}

pub(crate) fn fact(record: &Value) -> Fact {
    let recorded_at: Timestamp = "2026-05-04T09:12:40Z".parse().unwrap();
    let body = match cloudtrail::read(record.to_string().as_bytes()) {
        Outcome::Key(event) => FactBody::Key { effect: key::apply(None, &event).effect, event },
        Outcome::Failed(failed) => FactBody::FailedCall { failed },
        Outcome::Owner(event) => FactBody::Owner { event },
        Outcome::Unreadable(partial) => FactBody::Unreadable { partial },
        // Told only where one of our roles made the call, which a scene takes for granted.
        Outcome::NotOurs(partial) => FactBody::OwnRole { partial },
    };
    let id = match &body {
        FactBody::Key { event, .. } => event.fact_id(),
        FactBody::FailedCall { failed } => failed.fact_id(),
        FactBody::Owner { event } => event.fact_id(),
        _ => "derived-0001".to_owned(),
    };
    Fact::new(id, recorded_at, body)
}

/// A user with these tags and these keys besides the new one.
pub(crate) fn found(tags: &[(&str, &str)], others: &[(&str, Status)]) -> OwnerReport {
    let seen_at: Timestamp = "2026-05-04T09:12:41Z".parse().unwrap();
    let mut keys = vec![ListedKey { key_id: KEY.to_owned(), status: Status::Active, created: None }];
    keys.extend(others.iter().map(|(key_id, status)| ListedKey {
        key_id: (*key_id).to_owned(),
        status: status.clone(),
        created: None,
    }));
    OwnerReport::Found {
        owner: Owner {
            user_id: "AIDAEXAMPLE".to_owned(),
            path: "/".to_owned(),
            tags: OwnerTags::from_tags(tags.iter().copied()),
            seen_at,
        },
        keys: Ok(keys),
    }
}

pub(crate) fn alice() -> OwnerReport {
    found(&[("slack-id", "U0ALICE123"), ("full-name", "Alice Abara"), ("type", "human")], &[])
}

/// All that a notice borrows.
pub(crate) struct Scene {
    pub(crate) fact: Fact,
    pub(crate) owner: OwnerReport,
    pub(crate) severity: Severity,
    pub(crate) in_ledger: bool,
    accounts: AccountNames,
    rules: AlertRules,
}

impl Scene {
    pub(crate) fn new(record: &Value, owner: OwnerReport) -> Self {
        Self {
            fact: fact(record),
            owner,
            severity: Severity::Notice,
            in_ledger: true,
            accounts: AccountNames::parse("111122223333=prod,444455556666=staging").unwrap(),
            rules: AlertRules::default(),
        }
    }

    pub(crate) fn critical(mut self) -> Self {
        self.severity = Severity::Critical;
        self
    }

    pub(crate) fn notice(&self) -> Notice<'_> {
        Notice {
            fact: &self.fact,
            severity: self.severity,
            owner: &self.owner,
            accounts: &self.accounts,
            rules: &self.rules,
            in_ledger: self.in_ledger,
        }
    }
}
