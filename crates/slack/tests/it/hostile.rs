//! Whatever others write, in whatever field: the message is valid and says nothing in Slack's own language.

use keytide_core::{AccountId, cloudtrail::Status, fact::FactBody, owner::OwnerReport};
use keytide_slack::{
    Message,
    check::faults_in,
    messages::{for_channel, for_owner, joined, owner_fallback},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::events::{Scene, found, record};

/// Text that tries: pieces of markup, invisible characters, and length.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<!channel>".to_owned()),
        Just("<@U0BOSS1234>".to_owned()),
        Just("<https://evil.example|reset>".to_owned()),
        Just("```".to_owned()),
        Just("&lt;&".to_owned()),
        Just("*_~".to_owned()),
        Just("\u{202e}\u{2066}\u{200b}\u{61c}\u{feff}".to_owned()),
        Just("\r\n\t\u{0}\u{1b}[31m\u{85}\u{2028}".to_owned()),
        any::<String>(),
        (any::<char>(), 0_usize..3_000).prop_map(|(character, times)| character.to_string().repeat(times)),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn texts<'a>(value: &'a Value, found: &mut Vec<(&'a str, bool)>) {
    match value {
        Value::Object(fields) => {
            if let Some(text) = fields.get("text").and_then(Value::as_str) {
                found.push((text, fields.get("type").is_some_and(|kind| kind == "plain_text")));
            }
            fields.values().for_each(|field| texts(field, found));
        }
        Value::Array(entries) => entries.iter().for_each(|entry| texts(entry, found)),
        _ => {}
    }
}

pub(crate) fn assert_harmless(message: &Message) -> Result<(), TestCaseError> {
    for message in [message, &message.plain()] {
        let arguments = message.to_arguments("C0INFRA", None);
        let faults = faults_in(&arguments);
        prop_assert!(faults.is_empty(), "{:?} in {}", faults, arguments);
        let mut found = Vec::new();
        texts(&arguments, &mut found);
        prop_assert!(!found.is_empty());
        for (text, is_plain) in found {
            // The one mention that may stand there is the checked one of the owner's tag.
            let rest = if is_plain { text.to_owned() } else { text.replace("<@U0ALICE123>", "") };
            prop_assert!(!rest.contains('<') && !rest.contains('>'), "{}", text);
            let hidden = |character: char| {
                (character.is_control() && character != '\n')
                    || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                        | '\u{2060}'..='\u{206f}' | '\u{feff}')
            };
            prop_assert!(!text.chars().any(hidden), "{:?}", text);
            prop_assert!(is_plain || text.matches('`').count() % 2 == 0, "{}", text);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_field_breaks_a_message(
        texts in proptest::collection::vec(hostile(), 12),
        call in 0_usize..7,
        failed in any::<bool>(),
        kind in 0_usize..8,
    ) {
        let name = ["CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey", "TagUser", "UntagUser",
                    "UpdateUser", "DeleteUser"][call];
        let kind = ["IAMUser", "AssumedRole", "AWSService", "FederatedUser", "Root", "SAMLUser",
                    &texts[0], "AWSAccount"][kind];
        let identity = json!({
            "type": kind, "userName": texts[1], "arn": format!("arn:x/{}", texts[2]),
            "accountId": texts[3], "invokedBy": texts[1], "principalId": format!("A:{}", texts[2]),
            "sessionContext": {"sessionIssuer": {"userName": texts[1], "accountId": texts[3]}},
        });
        // A key's id of any shape up to what the reader takes.
        let key_id: String = texts[4].chars().take(60).collect();
        let parameters = json!({
            "userName": texts[5], "accessKeyId": key_id, "status": texts[6], "newUserName": texts[7],
            "newPath": texts[8], "tags": [{"key": "slack-id", "value": texts[9]},
            {"key": texts[10], "value": texts[11]}], "tagKeys": [texts[10], texts[9]],
        });
        let mut more = json!({
            "eventID": texts[0], "sourceIPAddress": texts[7], "userAgent": texts[8],
            "responseElements": {"accessKey": {"accessKeyId": key_id, "status": texts[6],
                                               "userName": texts[5], "createDate": texts[9]}},
        });
        if failed {
            more["errorCode"] = json!(format!("E{}", texts[10]));
            more["errorMessage"] = json!(texts[11]);
        }
        let record = record(name, &identity, &parameters, &more);
        let tags = [("slack-id", "U0ALICE123"), ("full-name", texts[1].as_str()), ("type", texts[2].as_str())];
        let malformed = [("slack-id", texts[1].as_str())];
        for owner in [
            found(&tags, &[(texts[4].as_str(), Status::Active)]),
            found(&malformed, &[]),
            OwnerReport::Failed(texts[3].clone()),
        ] {
            let scene = Scene::new(&record, owner).critical();
            if let FactBody::Unreadable { partial } = &scene.fact.body {
                prop_assert!(!partial.reason.is_empty());
            }
            let notice = scene.notice();
            assert_harmless(&for_channel(&notice))?;
            assert_harmless(&for_owner(&notice))?;
            assert_harmless(&owner_fallback(&notice, &texts[6]))?;
            let account = AccountId::parse("111122223333").unwrap();
            for message in joined(&texts[11], &account, &[notice; 40]) {
                assert_harmless(&message)?;
            }
        }
    }
}
