//! The sample events, and small ones made to measure.

use std::path::PathBuf;

use keytide_core::cloudtrail::{KeyEvent, Outcome, read};
use serde_json::{Value, json};

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
