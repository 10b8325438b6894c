//! Golden files of every kind of message, each held to our own judge as well.

use keytide_core::{AccountId, cloudtrail::Status, fact::FactBody, key::Effect, owner::OwnerReport};
use keytide_slack::{
    Message,
    check::faults_in,
    messages::{for_channel, for_owner, joined, made_by, owner_fallback},
};
use serde_json::{Value, json};

use crate::events::{KEY, Scene, alice, changed, created, found, record, role, user};

fn judged(message: &Message) -> &Message {
    for message in [message, &message.plain()] {
        assert_eq!(faults_in(&message.to_arguments("C0INFRA", None)), Vec::<String>::new());
    }
    message
}

macro_rules! golden {
    ($name:ident, $message:expr) => {
        #[test]
        fn $name() {
            insta::assert_json_snapshot!(stringify!($name), judged(&$message));
        }
    };
}

macro_rules! channel {
    ($name:ident, $scene:expr) => {
        golden!($name, for_channel(&$scene.notice()));
    };
}

fn own() -> Value {
    created(&user("alice"), Some("alice"))
}

fn by_bruno() -> Value {
    created(&user("bruno"), Some("alice"))
}

channel!(created_own, Scene::new(&own(), alice()));
channel!(
    created_for_another_user,
    Scene::new(&by_bruno(), found(&[("slack-id", "U0ALICE123")], &[("AKIAOLD", Status::Active)]))
);
channel!(
    created_by_a_role,
    Scene::new(&created(&role("Admin", "bruno@example.com"), Some("alice")), alice())
);
channel!(
    created_by_a_service,
    Scene::new(
        &created(&json!({"type": "AWSService", "invokedBy": "cloudformation.amazonaws.com"}), Some("alice")),
        alice()
    )
);
channel!(
    created_by_another_account,
    Scene::new(&created(&json!({"type": "AWSAccount", "accountId": "444455556666"}), Some("alice")), alice())
);
channel!(
    created_by_a_user_of_another_account,
    Scene::new(
        &created(
            &json!({"type": "IAMUser", "accountId": "444455556666", "userName": "alice"}),
            Some("alice")
        ),
        alice()
    )
);
channel!(
    created_for_root,
    Scene::new(
        &created(
            &json!({"type": "Root", "accountId": "111122223333", "userName": "tidewater-alias",
                    "sessionContext": {"attributes": {"mfaAuthenticated": "false"}}}),
            None
        ),
        OwnerReport::NoUser
    )
    .critical()
);
channel!(
    created_with_our_own_role,
    Scene::new(&created(&role("keytide-disabler", "run-1"), Some("alice")), alice()).critical()
);
channel!(created_nobody_named, {
    let mut record = created(&Value::Null, None);
    record["eventID"] = Value::Null;
    Scene::new(&record, OwnerReport::NoUser)
});
channel!(created_without_tag, Scene::new(&own(), found(&[], &[])));
channel!(created_with_malformed_tag, Scene::new(&own(), found(&[("slack-id", "@alice <!here>")], &[])));
channel!(
    created_owner_lookup_failed,
    Scene::new(&own(), OwnerReport::Failed("no answer from IAM within 2 s".to_owned()))
);
channel!(created_user_is_gone, Scene::new(&own(), OwnerReport::NotFound));
channel!(created_not_in_the_ledger_yet, {
    let mut scene = Scene::new(&own(), alice());
    scene.in_ledger = false;
    scene
});
channel!(created_superseded, with_effect(Effect::Superseded));
channel!(created_unsettled, with_effect(Effect::Unsettled));
channel!(created_after_deletion, with_effect(Effect::AfterDeletion));
channel!(created_hostile, {
    let name = "mallory`*<!channel>&<https://evil.example|reset>\u{202e}gpj\n_@here_\u{7}";
    let mut record = created(&user("bruno"), Some(name));
    record["userAgent"] = json!("```<!everyone> *approved*```\r\n> <https://evil.example>\u{1b}[31m");
    record["sourceIPAddress"] = json!("<@U0BOSS1234>");
    Scene::new(&record, found(&[("slack-id", "U0ALICE123"), ("full-name", "<!here>`x`")], &[]))
});
channel!(created_with_odd_records, {
    let mut record = own();
    record["responseElements"]["accessKey"]["createDate"] = json!("yesterday");
    Scene::new(&json!({"detail": record, "account": "444455556666"}), alice())
});
channel!(reactivated, Scene::new(&changed(&user("bruno"), "Active"), alice()));
channel!(deactivated, Scene::new(&changed(&user("alice"), "Inactive"), alice()));
channel!(
    deactivated_with_our_own_role,
    Scene::new(&changed(&role("keytide-disabler", "stranger"), "Inactive"), alice()).critical()
);
channel!(expired, Scene::new(&changed(&user("bruno"), "Expired"), alice()));
channel!(status_unknown, Scene::new(&changed(&user("bruno"), "Suspended"), alice()));
channel!(deleted, Scene::new(&deletion(), alice()));
channel!(failed_attempt, {
    let message = "User: arn:aws:iam::111122223333:user/bruno is not authorized to perform: \
                   iam:CreateAccessKey on resource: user alice because no identity-based policy allows it";
    let more = json!({"errorCode": "AccessDenied", "errorMessage": message});
    Scene::new(&record("CreateAccessKey", &user("bruno"), &Value::Null, &more), alice())
});
channel!(failed_attempt_of_root, {
    let identity = json!({"type": "Root", "accountId": "111122223333"});
    let more = json!({"errorCode": "LimitExceededException", "errorMessage": "`Cannot` exceed\n<quota>"});
    Scene::new(&record("CreateAccessKey", &identity, &Value::Null, &more), OwnerReport::NoUser)
});
channel!(failed_update, {
    let more = json!({"errorCode": "NoSuchEntityException"});
    let parameters = json!({"userName": "alice", "accessKeyId": KEY, "status": "Active"});
    Scene::new(&record("UpdateAccessKey", &user("bruno"), &parameters, &more), alice())
});
channel!(failed_tagging_with_our_own_role, {
    let more = json!({"errorCode": "AccessDenied"});
    let parameters = json!({"userName": "alice"});
    let identity = role("keytide-reader", "watch");
    Scene::new(&record("TagUser", &identity, &parameters, &more), alice()).critical()
});
channel!(tags_set, {
    let tags = json!([{"key": "team", "value": "x"}, {"key": "Slack-Id", "value": "U0MALLORY9"},
                      {"key": "key-max-age-days", "value": "<!here>"}]);
    let parameters = json!({"userName": "alice", "tags": tags});
    Scene::new(&record("TagUser", &user("bruno"), &parameters, &json!({})), alice())
});
channel!(tags_set_fifty, {
    let tags: Vec<Value> = (0..50)
        .map(|index| json!({"key": format!("{index}-{}", "&".repeat(120)), "value": "<".repeat(256)}))
        .collect();
    let parameters = json!({"userName": "alice", "tags": tags});
    Scene::new(&record("TagUser", &user("bruno"), &parameters, &json!({})), alice())
});
channel!(tags_removed, {
    let parameters = json!({"userName": "alice", "tagKeys": ["type", "team"]});
    Scene::new(&record("UntagUser", &user("bruno"), &parameters, &json!({})), alice())
});
channel!(user_renamed, {
    let parameters = json!({"userName": "alice", "newUserName": "alicia", "newPath": "/ops/"});
    Scene::new(&record("UpdateUser", &user("bruno"), &parameters, &json!({})), alice())
});
channel!(user_deleted, {
    let identity = role("keytide-reader", "watch");
    Scene::new(&record("DeleteUser", &identity, &json!({"userName": "alice"}), &json!({})), alice())
        .critical()
});
channel!(our_own_role_misused, {
    let identity = role("keytide-disabler", "stranger");
    let parameters = json!({"userName": "alice", "policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"});
    Scene::new(&record("AttachUserPolicy", &identity, &parameters, &json!({})), OwnerReport::NoUser)
        .critical()
});
channel!(unreadable, {
    let parameters = json!({"accessKeyId": KEY});
    Scene::new(&record("UpdateAccessKey", &user("bruno"), &parameters, &json!({})), OwnerReport::NoUser)
});
channel!(unreadable_without_account, {
    let mut record = own();
    record["recipientAccountId"] = Value::Null;
    Scene::new(&record, OwnerReport::NoUser)
});

golden!(owner_created_own, for_owner(&Scene::new(&own(), alice()).notice()));
golden!(owner_created_by_another, for_owner(&Scene::new(&by_bruno(), alice()).notice()));
golden!(owner_reactivated, for_owner(&Scene::new(&changed(&user("alice"), "Active"), alice()).notice()));
golden!(owner_deactivated, for_owner(&Scene::new(&changed(&user("bruno"), "Inactive"), alice()).notice()));
golden!(owner_status_unknown, for_owner(&Scene::new(&changed(&user("bruno"), "Odd"), alice()).notice()));
golden!(owner_deleted, for_owner(&Scene::new(&deletion(), alice()).notice()));
golden!(
    owner_created_with_our_own_role,
    for_owner(
        &Scene::new(&created(&role("keytide-disabler", "run-1"), Some("alice")), alice()).critical().notice()
    )
);

golden!(
    fallback_without_tag,
    owner_fallback(&Scene::new(&own(), found(&[], &[])).notice(), "the user has no tag slack-id")
);
golden!(fallback_user_disabled, owner_fallback(&Scene::new(&by_bruno(), alice()).notice(), "user_disabled"));

golden!(joined_of_every_kind, {
    let scenes = [
        Scene::new(&own(), alice()),
        Scene::new(&by_bruno(), alice()).critical(),
        Scene::new(&changed(&user("bruno"), "Active"), alice()),
        Scene::new(&changed(&role("Admin", "bruno"), "Inactive"), alice()),
        Scene::new(&changed(&user("bruno"), "Odd"), alice()),
        Scene::new(&deletion(), alice()),
        Scene::new(&record("DeleteUser", &user("bruno"), &json!({"userName": "alice"}), &json!({})), alice()),
        Scene::new(
            &record("DeleteAccessKey", &user("bruno"), &Value::Null, &json!({"errorCode": "AccessDenied"})),
            alice(),
        ),
        Scene::new(&record("UpdateAccessKey", &user("bruno"), &json!({}), &json!({})), OwnerReport::NoUser),
    ];
    let notices: Vec<_> = scenes.iter().map(Scene::notice).collect();
    let account = AccountId::parse("111122223333").unwrap();
    let mut messages = joined("prod", &account, &notices);
    assert_eq!(messages.len(), 1);
    messages.remove(0)
});

fn deletion() -> Value {
    let parameters = json!({"userName": "alice", "accessKeyId": KEY});
    record("DeleteAccessKey", &user("bruno"), &parameters, &json!({}))
}

fn with_effect(given: Effect) -> Scene {
    let mut scene = Scene::new(&own(), alice());
    if let FactBody::Key { effect, .. } = &mut scene.fact.body {
        *effect = given;
    }
    scene
}

#[test]
fn a_thousand_alerts_are_all_listed_in_few_messages() {
    let mut scenes = Vec::new();
    for number in 0..1_000 {
        let mut record = own();
        record["responseElements"]["accessKey"]["accessKeyId"] = json!(format!("AKIABURST{number:011}"));
        scenes.push(Scene::new(&record, alice()));
    }
    let notices: Vec<_> = scenes.iter().map(Scene::notice).collect();
    let account = AccountId::parse("111122223333").unwrap();
    let messages = joined("prod", &account, &notices);
    let mut listed = 0;
    let mut whole = String::new();
    for message in &messages {
        let arguments = judged(message).to_arguments("C0INFRA", None);
        let json = arguments["blocks"].to_string();
        listed += json.matches("AKIABURST").count();
        whole.push_str(&json);
    }
    assert_eq!(listed, 1_000, "each stands there once");
    for number in 0..1_000 {
        assert!(whole.contains(&format!("AKIABURST{number:011}")), "{number}");
    }
    assert!((8..=14).contains(&messages.len()), "{} messages", messages.len());
    assert_eq!(joined("prod", &account, &[]), Vec::new());
}

#[test]
fn arguments_ask_slack_for_nothing_it_should_not_do() {
    let message = for_channel(&Scene::new(&own(), alice()).notice());
    let arguments = message.to_arguments("C0INFRA", Some("1.2"));
    assert_eq!(arguments["unfurl_links"], false);
    assert_eq!(arguments["unfurl_media"], false);
    assert_eq!(arguments["thread_ts"], "1.2");
    let mut names: Vec<&str> = arguments.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["blocks", "channel", "text", "thread_ts", "unfurl_links", "unfurl_media"]);
    assert!(message.plain().to_arguments("C", None).get("blocks").is_none());
}

golden!(created_by_break_glass, {
    let mut scene = Scene::new(&own(), alice()).critical();
    scene.fact.break_glass = true;
    for_channel(&scene.notice())
});
golden!(created_found_before, made_by(&Scene::new(&by_bruno(), alice()).notice()));
