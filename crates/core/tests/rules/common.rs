//! The sample events, and small ones made to measure; keys and their notices, too.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp, civil::Date};
use keytide_core::{
    cloudtrail::{KeyEvent, Outcome, Status, read},
    delivery::Stage,
    key::{Ground, Key, NoticeMark, Sighting, sight},
    owner::{Owner, OwnerTags},
    policy::Mode,
};
use serde_json::{Value, json};

pub(crate) const ACCOUNT: &str = "111122223333";

/// A moment, as `2026-03-01T15:20:00Z`.
pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|problem| panic!("{text}: {problem}"))
}

/// A UTC date, as `2026-03-01`.
pub(crate) fn on(text: &str) -> Date {
    text.parse().unwrap_or_else(|problem| panic!("{text}: {problem}"))
}

/// A user with these tags, as the directory had it at the start of the year.
pub(crate) fn owner(tags: &[(&str, &str)]) -> Owner {
    Owner {
        user_id: "AIDATIDEWATERALICE01".to_owned(),
        path: "/".to_owned(),
        tags: OwnerTags::from_tags(tags.iter().copied()),
        seen_at: at("2026-01-01T00:00:00Z"),
    }
}

/// A user's active key with this birth, as a listing of the day after showed it.
pub(crate) fn key(key_id: &str, user: &str, born: &str) -> Key {
    let listed = at(born).checked_add(SignedDuration::from_hours(24)).expect("a day later");
    let sighting = Sighting {
        account: ACCOUNT.parse().expect("an account"),
        key_id: key_id.to_owned(),
        user: user.to_owned(),
        status: Status::Active,
        created: Some(at(born)),
        at: listed,
    };
    sight(None, &sighting, Some(&owner(&[("slack-id", "U0ALICE01")])))
}

/// A notice of a key's age that Slack confirmed, sent in `enforce`.
pub(crate) fn told(epoch: &str, stage: Stage, confirmed: &str, names: &str) -> NoticeMark {
    NoticeMark {
        epoch: epoch.to_owned(),
        stage,
        ground: Ground::Age,
        at: at(confirmed),
        disable_on: on(names),
        mode: Mode::Enforce,
    }
}

/// Every sample event of `events/cloudtrail`, with its file's name.
pub(crate) fn samples() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events/cloudtrail");
    let mut samples: Vec<_> = std::fs::read_dir(&folder)
        .expect("events/cloudtrail")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a sample"))
        })
        .collect();
    samples.sort();
    assert!(samples.len() > 50, "the samples are there");
    samples
}

/// A record of a key's event, as small as it can be.
pub(crate) fn record(name: &str, at: &str, id: &str, user: &str, status: &str) -> Value {
    let created = name == "CreateAccessKey";
    json!({
        "eventVersion": "1.11",
        "eventSource": "iam.amazonaws.com",
        "eventName": name,
        "eventTime": at,
        "eventID": id,
        "recipientAccountId": "111122223333",
        "userIdentity": {"type": "IAMUser", "userName": user, "accountId": "111122223333"},
        "requestParameters": if created {
            json!({"userName": user})
        } else {
            json!({"userName": user, "accessKeyId": "AKIATIDEWATERORDER01", "status": status})
        },
        "responseElements": if created {
            json!({"accessKey": {"accessKeyId": "AKIATIDEWATERORDER01", "status": status, "userName": user}})
        } else {
            Value::Null
        },
    })
}

/// The key event in a record.
pub(crate) fn key_event(record: &Value) -> KeyEvent {
    match read(record.to_string().as_bytes()) {
        Outcome::Key(event) => event,
        other => panic!("expected a key event, found {other:?}"),
    }
}
