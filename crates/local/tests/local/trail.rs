//! CloudTrail's events: what keytide's own reader makes of each.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "a test says so by failing")]

use aws_config::SdkConfig;
use aws_sdk_iam::Client;
use aws_sdk_iam::types::{StatusType, Tag};
use keytide_core::cloudtrail::{
    ActorKind, FailedCall, KeyChange, KeyEvent, KeyEventKind, Outcome, OwnerChange, OwnerEvent, Status,
    Subject, read,
};
use keytide_local::{Fault, KeyStatus, LocalAws};

const MEMBER: &str = "111122223333";
const ANNS_KEY: &str = "AKIAEXAMPLE000000001";

fn company() -> LocalAws {
    let aws = LocalAws::in_memory().unwrap();
    aws.set_now("2026-03-01T12:00:00.25Z".parse().unwrap());
    aws.iam().add_account(MEMBER).unwrap();
    aws.iam().add_user(MEMBER, "ann", "/people/", &[]).unwrap();
    aws.iam().add_access_key(MEMBER, "ann", ANNS_KEY, aws.now(), KeyStatus::Active).unwrap();
    aws.iam().add_role(MEMBER, "disabler", None, &["iam:UpdateAccessKey"]).unwrap();
    aws.trail().start();
    aws
}

/// The one event since the last time, as the reader understands it.
fn outcome(aws: &LocalAws) -> Outcome {
    let events = aws.trail().take();
    assert_eq!(events.len(), 1, "{events:?}");
    read(events[0].to_string().as_bytes())
}

fn key_event(aws: &LocalAws) -> KeyEvent {
    match outcome(aws) {
        Outcome::Key(event) => {
            assert_eq!(event.call.account.as_str(), MEMBER);
            assert_eq!(event.call.at, "2026-03-01T12:00:00Z".parse().unwrap());
            assert_eq!(event.call.notes, Vec::<String>::new());
            event
        }
        other => panic!("expected a key event, got {other:?}"),
    }
}

fn owner_event(aws: &LocalAws) -> OwnerEvent {
    match outcome(aws) {
        Outcome::Owner(event) => event,
        other => panic!("expected an owner event, got {other:?}"),
    }
}

fn failed(aws: &LocalAws) -> FailedCall {
    match outcome(aws) {
        Outcome::Failed(call) => call,
        other => panic!("expected a failed call, got {other:?}"),
    }
}

async fn set_status(config: &SdkConfig, user: Option<&str>, key_id: &str, to: StatusType) -> bool {
    let call = Client::new(config).update_access_key().set_user_name(user.map(str::to_owned));
    call.access_key_id(key_id).status(to).send().await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_keys_life() {
    let aws = company();
    let root = Client::new(&aws.sdk_config_in(MEMBER));
    let made = root.create_access_key().user_name("ann").send().await.unwrap();
    let key_id = made.access_key().unwrap().access_key_id().to_owned();
    let event = key_event(&aws);
    assert_eq!(event.key_id, key_id);
    assert_eq!(event.subject, Subject::User("ann".to_owned()));
    assert_eq!(event.call.actor.kind, ActorKind::Root);
    let create_date = Some("2026-03-01T12:00:00Z".parse().unwrap());
    assert_eq!(event.change, KeyChange::Created { status: Status::Active, create_date });
    assert!(event.call.user_agent.unwrap().contains("aws-sdk-rust"));

    // By the user's own key, without a name.
    let own = aws.sdk_config_as(&key_id);
    assert!(set_status(&own, None, ANNS_KEY, StatusType::Inactive).await);
    let event = key_event(&aws);
    assert_eq!((event.key_id.as_str(), event.subject), (ANNS_KEY, Subject::User("ann".to_owned())));
    assert_eq!(event.call.actor.kind, ActorKind::IamUser);
    assert_eq!(event.call.actor.name.as_deref(), Some("ann"));
    assert_eq!(event.change, KeyChange::StatusChanged { to: Status::Inactive });

    root.delete_access_key().user_name("ann").access_key_id(ANNS_KEY).send().await.unwrap();
    let event = key_event(&aws);
    assert_eq!((event.key_id.as_str(), event.change), (ANNS_KEY, KeyChange::Deleted));
}

#[tokio::test(start_paused = true)]
async fn a_roles_session_is_named() {
    let aws = company();
    let there = crate::sessions::assume(&aws, "disabler", None).await.unwrap();
    assert!(set_status(&there, Some("ann"), ANNS_KEY, StatusType::Inactive).await);
    let actor = key_event(&aws).call.actor;
    assert_eq!(actor.kind, ActorKind::AssumedRole);
    let role = actor.role.unwrap();
    assert_eq!(role.role, "disabler");
    assert_eq!(role.account.as_deref(), Some(MEMBER));
    assert_eq!(role.session.as_deref(), Some("keytide-sweep-20260301"));
    assert_eq!(
        actor.arn.as_deref(),
        Some("arn:aws:sts::111122223333:assumed-role/disabler/keytide-sweep-20260301")
    );
}

#[tokio::test(start_paused = true)]
async fn a_users_changes() {
    let aws = company();
    let root = Client::new(&aws.sdk_config_in(MEMBER));
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build().unwrap();
    let tagged = root.tag_user().user_name("ann").tags(tag("slack-id", "U1")).tags(tag("type", "human"));
    tagged.send().await.unwrap();
    let event = owner_event(&aws);
    assert_eq!(event.user, "ann");
    let tags = [("slack-id", "U1"), ("type", "human")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(event.change, OwnerChange::Tagged { tags: tags.to_vec() });

    root.untag_user().user_name("ann").tag_keys("type").send().await.unwrap();
    assert_eq!(owner_event(&aws).change, OwnerChange::Untagged { tags: vec!["type".to_owned()] });

    root.update_user().user_name("ann").new_user_name("anna").new_path("/far/").send().await.unwrap();
    let event = owner_event(&aws);
    assert_eq!(event.user, "ann", "by the name before");
    let renamed =
        OwnerChange::Renamed { new_name: Some("anna".to_owned()), new_path: Some("/far/".to_owned()) };
    assert_eq!(event.change, renamed);

    root.create_user().user_name("ben").send().await.unwrap();
    assert_eq!(aws.trail().take(), Vec::<serde_json::Value>::new(), "a new user has no key yet");
    root.delete_user().user_name("ben").send().await.unwrap();
    let event = owner_event(&aws);
    assert_eq!((event.user.as_str(), event.change), ("ben", OwnerChange::Deleted));
}

#[tokio::test(start_paused = true)]
async fn refused_calls_are_told_as_refused() {
    let aws = company();
    let root = Client::new(&aws.sdk_config_in(MEMBER));
    let there = crate::sessions::assume(&aws, "disabler", None).await.unwrap();
    Client::new(&there).create_access_key().user_name("ann").send().await.unwrap_err();
    let call = failed(&aws);
    assert_eq!((call.error_code.as_str(), call.kind), ("AccessDenied", Some(KeyEventKind::Created)));
    assert_eq!(call.subject, Subject::User("ann".to_owned()), "by the message alone");

    root.create_access_key().user_name("ann").send().await.unwrap();
    aws.trail().take();
    root.create_access_key().user_name("ann").send().await.unwrap_err();
    let call = failed(&aws);
    assert_eq!((call.error_code.as_str(), call.subject), ("LimitExceededException", Subject::Unknown));

    assert!(!set_status(&there, Some("nobody"), ANNS_KEY, StatusType::Inactive).await);
    let call = failed(&aws);
    assert_eq!(call.error_code, "NoSuchEntityException");
    assert_eq!(call.subject, Subject::User("nobody".to_owned()));
    assert_eq!((call.key_id.as_deref(), call.status), (Some(ANNS_KEY), Some(Status::Inactive)));

    root.delete_user().user_name("ann").send().await.unwrap_err();
    assert_eq!(failed(&aws).error_code, "DeleteConflictException");
}

#[tokio::test(start_paused = true)]
async fn an_event_is_of_what_was_done_and_not_of_what_was_answered() {
    let aws = company();
    let config = aws.sdk_config_in(MEMBER);
    let at_call = |number, fault| {
        aws.calls().restart();
        aws.faults().at_call(number, fault);
    };
    // Lost before: one event, of the SDK's second attempt. Lost after: two, each with its own id.
    for (fault, expected) in [(Fault::ConnectionErrorBefore, 1), (Fault::ConnectionErrorAfter, 2)] {
        at_call(1, fault);
        assert!(set_status(&config, Some("ann"), ANNS_KEY, StatusType::Inactive).await);
        let events = aws.trail().take();
        assert_eq!(events.len(), expected, "{fault:?}");
        let mut ids: Vec<&str> =
            events.iter().map(|event| event["detail"]["eventID"].as_str().unwrap()).collect();
        ids.dedup();
        assert_eq!(ids.len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_collected_before_the_start() {
    let aws = LocalAws::in_memory().unwrap();
    aws.iam().add_account(MEMBER).unwrap();
    aws.iam().add_user(MEMBER, "ann", "/", &[]).unwrap();
    let root = Client::new(&aws.sdk_config_in(MEMBER));
    root.create_access_key().user_name("ann").send().await.unwrap();
    assert_eq!(aws.trail().take(), Vec::<serde_json::Value>::new());
    aws.trail().start();
    root.create_access_key().user_name("ann").send().await.unwrap();
    assert_eq!(aws.trail().take().len(), 1);
    assert_eq!(aws.trail().take().len(), 0);
}
