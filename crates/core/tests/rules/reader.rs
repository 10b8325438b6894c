//! The reader on every sample, and on samples that were tampered with: it never panics, and never makes a
//! key of what is none.

use crate::common::{key_event, record, samples};
use keytide_core::{
    AccountId,
    cloudtrail::{KeyChange, Outcome, Subject, read},
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What must hold of whatever the reader says, judged on the JSON itself and not by the reader's code.
fn judge(json: &[u8]) {
    let outcome = read(json);
    assert_eq!(outcome, read(json), "the same bytes read the same");
    let Ok(document) = serde_json::from_slice::<Value>(json) else {
        // Serde's own parser refuses a few things that a skipping one does not look at.
        assert!(!matches!(&outcome, Outcome::Key(event) if event.key_id.is_empty()));
        return;
    };
    let record = if document["detail"].is_object() { &document["detail"] } else { &document };
    match &outcome {
        Outcome::Key(event) => {
            let refused = record["errorCode"].as_str().is_some_and(|code| !code.is_empty());
            assert!(!refused, "a refused call made a key: {document}");
            assert_eq!(record["eventSource"], "iam.amazonaws.com");
            assert!((1..=256).contains(&event.key_id.len()));
            let id = match event.change {
                KeyChange::Created { .. } => &record["responseElements"]["accessKey"]["accessKeyId"],
                KeyChange::StatusChanged { .. } | KeyChange::Deleted => {
                    &record["requestParameters"]["accessKeyId"]
                }
            };
            assert_eq!(id.as_str(), Some(event.key_id.as_str()));
            let named = [&record["recipientAccountId"], &document["account"]];
            assert!(named.iter().any(|account| account.as_str() == Some(event.call.account.as_str())));
            assert!(!event.fact_id().is_empty());
        }
        Outcome::Failed(failed) => {
            assert_eq!(record["errorCode"].as_str(), Some(failed.error_code.as_str()));
        }
        Outcome::Owner(event) => {
            assert_eq!(record["requestParameters"]["userName"].as_str(), Some(event.user.as_str()));
        }
        Outcome::NotOurs(partial) | Outcome::Unreadable(partial) => {
            assert!(!partial.reason.is_empty(), "it says why");
        }
    }
}

#[test]
fn every_sample_is_judged_well() {
    for (_, json) in samples() {
        judge(&json);
    }
}

#[test]
fn an_event_of_256_kilobytes_is_read() {
    let mut large = record("CreateAccessKey", "2026-05-04T09:00:00Z", "e1", "alice", "Active");
    large["userAgent"] = Value::String("x".repeat(250 * 1024));
    assert_eq!(key_event(&large).call.user_agent.unwrap().len(), 250 * 1024);
}

#[test]
fn deep_nesting_is_no_stack_overflow() {
    let mut deep = record("CreateAccessKey", "2026-05-04T09:00:00Z", "e1", "alice", "Active").to_string();
    deep.pop();
    deep.push_str(r#","additionalEventData":"#);
    deep.push_str(&"[".repeat(100_000));
    deep.push_str(&"]".repeat(100_000));
    deep.push('}');
    let _ = read(deep.as_bytes());
}

#[test]
fn a_reason_says_what_was_found_where_something_else_belongs() {
    let reason = |field: &str, value: Value| {
        let mut event = record("CreateAccessKey", "2026-05-04T09:00:00Z", "e1", "alice", "Active");
        event[field] = value;
        match read(event.to_string().as_bytes()) {
            Outcome::Unreadable(partial) => partial.reason,
            other => panic!("expected an unreadable event, found {other:?}"),
        }
    };
    for (value, found) in [
        (json!(""), "an empty string"),
        (json!("x"), "a string"),
        (json!(null), "null"),
        (json!(7), "a number"),
        (json!([]), "a list"),
        (json!(true), "a boolean"),
    ] {
        let wanted = format!("responseElements: expected an object with an accessKey, found {found}");
        assert_eq!(reason("responseElements", value), wanted);
    }
    assert!(reason("eventName", json!("")).ends_with("found an empty string"));
}

#[test]
fn a_user_of_another_account_is_not_the_subject_of_a_key_without_a_name() {
    let mut foreign = record("CreateAccessKey", "2026-05-04T09:00:00Z", "e1", "alice", "Active");
    foreign["requestParameters"] = Value::Null;
    foreign["responseElements"]["accessKey"].as_object_mut().unwrap().remove("userName");
    assert_eq!(key_event(&foreign).subject, Subject::User("alice".to_owned()));
    foreign["userIdentity"]["accountId"] = json!("999900001111");
    assert_eq!(key_event(&foreign).subject, Subject::Unknown);
}

#[test]
fn a_record_without_an_id_has_one_fact_name_and_another_record_another() {
    let mut nameless = record("CreateAccessKey", "2026-05-04T09:00:00Z", "e1", "alice", "Active");
    nameless.as_object_mut().unwrap().remove("eventID");
    let one = key_event(&nameless).fact_id();
    assert_eq!(one, key_event(&nameless).fact_id());
    nameless["eventTime"] = json!("2026-05-04T09:00:01Z");
    assert_ne!(one, key_event(&nameless).fact_id());
}

#[test]
fn an_error_message_that_ends_before_its_target_names_nobody() {
    let mut refused = record("CreateAccessKey", "2026-05-04T09:00:00Z", "e1", "alice", "Active");
    refused["errorCode"] = json!("AccessDenied");
    refused["requestParameters"] = Value::Null;
    for message in [
        "on resource: user ",
        "on resource: user",
        "on resource: arn:aws:iam::111122223333:user/",
        "on resource: arn:",
        "The user with name ",
        "The Access Key with id  ",
    ] {
        refused["errorMessage"] = json!(message);
        let Outcome::Failed(failed) = read(refused.to_string().as_bytes()) else { panic!("{message}") };
        assert_eq!((failed.subject, failed.key_id), (Subject::Unknown, None), "{message}");
    }
}

#[test]
fn half_an_emoji_does_not_hide_a_key() {
    let whole = record("CreateAccessKey", "2026-05-04T09:00:00Z", "e1", "alice", "Active").to_string();
    for (agent, read_as) in [
        (r"cut \ud83d", "cut \u{fffd}"),
        (r"\udc00 cut", "\u{fffd} cut"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (r"\\ud83d stays", r"\ud83d stays"),
        (r"\ud83d\u0041", "\u{fffd}A"),
    ] {
        let json = whole.replacen('{', &format!("{{\"userAgent\":\"{agent}\","), 1);
        let Outcome::Key(event) = read(json.as_bytes()) else {
            panic!("{agent}: {:?}", read(json.as_bytes()))
        };
        assert_eq!(event.call.user_agent.as_deref(), Some(read_as), "{agent}");
    }
}

#[test]
fn account_ids_are_twelve_digits() {
    for bad in ["", "11112222333", "1111222233334", "11112222333a", "１１１１２２２２３３３３"] {
        assert!(AccountId::parse(bad).is_err(), "{bad}");
    }
}

/// Anything that may stand where something else was expected.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!("")),
        Just(json!(0)),
        Just(json!(-1.5e300)),
        Just(json!(true)),
        Just(json!([])),
        Just(json!([null, "x", {}])),
        Just(json!({})),
        Just(json!({"accessKey": "x", "userName": 7})),
        Just(json!("CreateAccessKey")),
        Just(json!("AccessDenied")),
        Just(json!("denied on resource: user ")),
        Just(json!("denied on resource: arn:aws:iam::111122223333:user/")),
        Just(json!("The user with name  cannot be found.")),
        Just(json!("The Access Key with id ")),
        Just(json!("Root")),
        Just(json!("AssumedRole")),
        Just(json!("2026-13-45T99:00:00Z")),
        Just(json!("\u{202e}\u{0}`<!channel>")),
        "\\PC{0,300}".prop_map(Value::String),
    ]
}

/// Every place in a document, as JSON pointers.
fn pointers(value: &Value, at: String, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                pointers(field, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), into);
            }
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                pointers(entry, format!("{at}/{index}"), into);
            }
        }
        _ => {}
    }
    if !at.is_empty() {
        into.push(at);
    }
}

fn any_sample() -> impl Strategy<Value = Vec<u8>> {
    let samples: Vec<Vec<u8>> = samples().into_iter().map(|(_, json)| json).collect();
    prop::sample::select(samples)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_field_may_hold_anything(
        sample in any_sample(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any_value(), any::<bool>()), 1..5),
    ) {
        let mut document: Value = serde_json::from_slice(&sample).unwrap();
        for (place, value, remove) in places {
            let mut all = Vec::new();
            pointers(&document, String::new(), &mut all);
            if all.is_empty() {
                continue;
            }
            let pointer = place.get(&all).clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            match document.pointer_mut(parent) {
                Some(Value::Object(fields)) if remove => { fields.remove(name); }
                _ => *document.pointer_mut(&pointer).unwrap() = value,
            }
        }
        judge(document.to_string().as_bytes());
    }

    #[test]
    fn any_bytes_may_be_torn(
        mut sample in any_sample(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
    ) {
        for (place, byte, how) in cuts {
            if sample.is_empty() {
                break;
            }
            let at = place.index(sample.len());
            match how {
                0 => sample[at] = byte,
                1 => { sample.remove(at); }
                2 => sample.insert(at, byte),
                _ => sample.truncate(at),
            }
        }
        judge(&sample);
    }

    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        judge(&bytes);
    }
}
