//! IAM and STS: accounts apart, roles, pages, changes that are seen late.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_iam::error::ProvideErrorMetadata as _;
use aws_sdk_iam::types::{StatusType, Tag};
use keytide_local::{HOME_ACCOUNT, KeyStatus, LocalAws};

const MEMBER: &str = "111122223333";
const OTHER: &str = "444455556666";
const READER: &str = "arn:aws:iam::111122223333:role/keytide-reader";

/// Two accounts with a user of the same name, and a reader role in one of them.
fn company() -> LocalAws {
    let aws = LocalAws::in_memory().unwrap();
    aws.set_now("2026-03-01T12:00:00Z".parse().unwrap());
    let iam = aws.iam();
    for account in [MEMBER, OTHER] {
        iam.add_account(account).unwrap();
        iam.add_user(account, "ann", "/people/", &[("account", account)]).unwrap();
    }
    iam.add_role(MEMBER, "keytide-reader", Some("secret <&> id"), &["iam:Get*", "iam:ListAccessKeys"])
        .unwrap();
    aws
}

async fn assume(aws: &LocalAws, external_id: Option<&str>) -> Result<aws_sdk_iam::Client, String> {
    let config = aws.sdk_config();
    let answer = aws_sdk_sts::Client::new(&config)
        .assume_role()
        .role_arn(READER)
        .role_session_name("keytide-watch")
        .set_external_id(external_id.map(str::to_owned))
        .send()
        .await
        .map_err(|error| error.code().unwrap_or_default().to_owned())?;
    assert_eq!(
        answer.assumed_role_user().unwrap().arn(),
        "arn:aws:sts::111122223333:assumed-role/keytide-reader/keytide-watch"
    );
    let given = answer.credentials().unwrap();
    assert_eq!(given.expiration().secs(), aws.now().as_second() + 3_600, "an hour by the world's clock");
    let credentials = Credentials::new(
        given.access_key_id(),
        given.secret_access_key(),
        Some(given.session_token().to_owned()),
        None,
        "test",
    );
    let config =
        config.to_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build();
    Ok(aws_sdk_iam::Client::new(&config))
}

#[tokio::test(start_paused = true)]
async fn an_assumed_role_reads_its_own_account_and_no_more_than_it_may() {
    let aws = company();
    let iam = assume(&aws, Some("secret <&> id")).await.unwrap();
    let answer = iam.get_user().user_name("ann").send().await.unwrap();
    let user = answer.user().unwrap();
    assert_eq!(user.arn(), "arn:aws:iam::111122223333:user/people/ann");
    assert_eq!(user.path(), "/people/");
    assert_eq!(user.tags()[0].value(), MEMBER);
    assert_eq!(user.create_date().to_string(), "2026-03-01T12:00:00Z");

    let refused = iam
        .update_access_key()
        .user_name("ann")
        .access_key_id("AKIAEXAMPLE000000001")
        .status(StatusType::Inactive)
        .send()
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some("AccessDenied"));
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 403);

    let call = aws.calls().list().pop().unwrap();
    assert_eq!(call.account, MEMBER);
    assert_eq!(call.role.as_deref(), Some("keytide-reader"));
    assert_eq!(call.session.as_deref(), Some("keytide-watch"));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_external_id_or_an_absent_role_is_refused() {
    let aws = company();
    for wrong in [None, Some("another"), Some("")] {
        assert_eq!(assume(&aws, wrong).await.unwrap_err(), "AccessDenied");
    }
    let absent = aws_sdk_sts::Client::new(&aws.sdk_config())
        .assume_role()
        .role_arn("arn:aws:iam::444455556666:role/keytide-reader")
        .role_session_name("keytide-watch")
        .external_id("secret <&> id")
        .send()
        .await
        .unwrap_err();
    assert_eq!(absent.code(), Some("AccessDenied"));
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_hour() {
    let aws = company();
    let iam = assume(&aws, Some("secret <&> id")).await.unwrap();
    aws.set_now("2026-03-01T13:00:00Z".parse().unwrap());
    let refused = iam.get_user().user_name("ann").send().await.unwrap_err();
    assert_eq!(refused.code(), Some("ExpiredToken"));
}

#[tokio::test(start_paused = true)]
async fn who_am_i() {
    let aws = company();
    for account in [HOME_ACCOUNT, MEMBER] {
        let identity =
            aws_sdk_sts::Client::new(&aws.sdk_config_in(account)).get_caller_identity().send().await.unwrap();
        assert_eq!(identity.account(), Some(account));
    }
    let unknown = aws_sdk_sts::Client::new(&aws.sdk_config_in("000011112222"))
        .get_caller_identity()
        .send()
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Some("InvalidClientTokenId"));
}

#[tokio::test(start_paused = true)]
async fn key_listings_come_in_pages() {
    let aws = company();
    let created = "2024-07-30T21:53:13Z".parse().unwrap();
    for number in 0..5 {
        aws.iam()
            .add_access_key(MEMBER, "ann", &format!("AKIAEXAMPLE{number:09}"), created, KeyStatus::Active)
            .unwrap();
    }
    aws.iam().set_page_size(2);
    let iam = aws_sdk_iam::Client::new(&aws.sdk_config_in(MEMBER));
    let mut ids = Vec::new();
    let mut pages = iam.list_access_keys().user_name("ann").into_paginator().send();
    let mut page_count = 0;
    while let Some(page) = pages.next().await {
        page_count += 1;
        for key in page.unwrap().access_key_metadata() {
            assert_eq!(key.create_date().unwrap().to_string(), "2024-07-30T21:53:13Z");
            ids.push(key.access_key_id().unwrap().to_owned());
        }
    }
    assert_eq!(page_count, 3);
    assert_eq!(ids, [0, 1, 2, 3, 4].map(|number| format!("AKIAEXAMPLE{number:09}")));

    // A caller that asks for fewer gets fewer.
    let first = iam.list_access_keys().user_name("ann").max_items(1).send().await.unwrap();
    assert_eq!(first.access_key_metadata().len(), 1);
    assert!(first.is_truncated());
}

#[tokio::test(start_paused = true)]
async fn a_rename_keeps_the_id_and_takes_the_keys_along() {
    let aws = company();
    let iam = aws_sdk_iam::Client::new(&aws.sdk_config_in(MEMBER));
    let before = iam.get_user().user_name("ann").send().await.unwrap();
    let created = iam.create_access_key().user_name("ann").send().await.unwrap();
    let key_id = created.access_key().unwrap().access_key_id().to_owned();
    iam.update_user().user_name("ann").new_user_name("anna").send().await.unwrap();

    let after = iam.get_user().user_name("anna").send().await.unwrap();
    assert_eq!(after.user().unwrap().user_id(), before.user().unwrap().user_id());
    let used = iam.get_access_key_last_used().access_key_id(&key_id).send().await.unwrap();
    assert_eq!(used.user_name(), Some("anna"));
    let never = used.access_key_last_used().unwrap();
    assert_eq!(never.last_used_date(), None);
    assert_eq!(never.region(), "N/A");
    let gone = iam.get_user().user_name("ann").send().await.unwrap_err();
    assert!(gone.into_service_error().is_no_such_entity_exception());
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_late_when_iam_is_slow() {
    let aws = company();
    let iam = aws_sdk_iam::Client::new(&aws.sdk_config_in(MEMBER));
    let key = iam.create_access_key().user_name("ann").send().await.unwrap();
    let key_id = key.access_key().unwrap().access_key_id().to_owned();
    aws.faults().set_iam_delay(Duration::from_secs(4));
    iam.update_access_key()
        .user_name("ann")
        .access_key_id(&key_id)
        .status(StatusType::Inactive)
        .send()
        .await
        .unwrap();
    for (second, seen) in [(0, StatusType::Active), (5, StatusType::Inactive)] {
        let now = "2026-03-01T12:00:00Z".parse::<jiff::Timestamp>().unwrap();
        aws.set_now(now + jiff::SignedDuration::from_secs(second));
        let keys = iam.list_access_keys().user_name("ann").send().await.unwrap();
        assert_eq!(keys.access_key_metadata()[0].status(), Some(&seen), "after {second} s");
    }
}

#[tokio::test(start_paused = true)]
async fn text_comes_through_xml_unchanged() {
    let aws = company();
    let iam = aws_sdk_iam::Client::new(&aws.sdk_config_in(MEMBER));
    let value = "Ann <\"O'Brien\"> & söhne\u{202f}=+/ \t";
    iam.tag_user()
        .user_name("ann")
        .tags(Tag::builder().key("full-name").value(value).build().unwrap())
        .send()
        .await
        .unwrap();
    let tags = iam.list_user_tags().user_name("ann").send().await.unwrap();
    let read = tags.tags().iter().find(|tag| tag.key() == "full-name").unwrap();
    assert_eq!(read.value(), value);
}

#[tokio::test(start_paused = true)]
async fn a_users_own_key_may_leave_its_name_out_until_it_is_disabled() {
    let aws = company();
    let created = "2026-01-01T00:00:00Z".parse().unwrap();
    let key_id = "AKIAEXAMPLE000000001";
    aws.iam().add_access_key(MEMBER, "ann", key_id, created, KeyStatus::Active).unwrap();
    let config = aws
        .sdk_config()
        .to_builder()
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            key_id, "secret", None, None, "test",
        )))
        .build();
    let iam = aws_sdk_iam::Client::new(&config);
    let own = iam.list_access_keys().send().await.unwrap();
    assert_eq!(own.access_key_metadata()[0].access_key_id(), Some(key_id));

    aws.iam().set_status(MEMBER, key_id, KeyStatus::Inactive).unwrap();
    let refused = iam.list_access_keys().send().await.unwrap_err();
    assert_eq!(refused.code(), Some("InvalidClientTokenId"));
}

#[tokio::test(start_paused = true)]
async fn changes_on_their_way_are_seen_in_their_order_and_by_writers_at_once() {
    let aws = company();
    let iam = aws_sdk_iam::Client::new(&aws.sdk_config_in(MEMBER));
    let start = aws.now();
    let at = |second| aws.set_now(start + jiff::SignedDuration::from_secs(second));
    let names = || async {
        let listed = iam.list_users().send().await.unwrap();
        listed.users().iter().map(|user| user.user_name().to_owned()).collect::<Vec<_>>()
    };
    let holder = |key_id: String| {
        let used = iam.get_access_key_last_used().access_key_id(key_id);
        async move { used.send().await.ok().and_then(|used| used.user_name().map(str::to_owned)) }
    };
    aws.faults().set_iam_delay(Duration::from_secs(4));
    let made = iam.create_access_key().user_name("ann").send().await.unwrap();
    let key_id = made.access_key().unwrap().access_key_id().to_owned();
    at(2);
    // Writers work on what was written, seen or not.
    iam.update_user().user_name("ann").new_user_name("anna").send().await.unwrap();
    iam.create_user().user_name("ben").send().await.unwrap();
    let absent = iam.tag_user().user_name("ann").tags(Tag::builder().key("a").value("b").build().unwrap());
    assert_eq!(absent.send().await.unwrap_err().code(), Some("NoSuchEntity"));

    for (second, listed, holds) in [
        (3, vec!["ann"], None),
        (5, vec!["ann"], Some("ann")),
        (6, vec!["anna", "ben"], Some("anna")),
        (600, vec!["anna", "ben"], Some("anna")),
    ] {
        at(second);
        assert_eq!(names().await, listed, "after {second} s");
        assert_eq!(holder(key_id.clone()).await.as_deref(), holds, "after {second} s");
    }
    // The next change finds all of them settled.
    iam.delete_user().user_name("ben").send().await.unwrap();
    at(700);
    assert_eq!(names().await, ["anna"]);
    assert_eq!(holder(key_id).await.as_deref(), Some("anna"));
}

#[test]
fn what_is_refused_leaves_no_trace() {
    let aws = company();
    let iam = aws.iam();
    let created = aws.now();
    let key_id = "AKIAEXAMPLE000000001";
    iam.add_access_key(MEMBER, "ann", key_id, created, KeyStatus::Active).unwrap();
    iam.add_user(MEMBER, "ben", "/", &[]).unwrap();
    // One id is one key, also of somebody else.
    iam.add_access_key(MEMBER, "ben", key_id, created, KeyStatus::Active).unwrap_err();
    iam.rename_user(MEMBER, "ann", "ben").unwrap_err();
    iam.delete_access_key(MEMBER, "AKIAEXAMPLE000000002").unwrap_err();
    iam.rename_user(MEMBER, "ann", "zoe").unwrap();
    iam.add_access_key(MEMBER, "ben", key_id, created, KeyStatus::Active).unwrap_err();
    iam.delete_user(MEMBER, "zoe").unwrap();
    iam.add_access_key(MEMBER, "ben", key_id, created, KeyStatus::Active).unwrap();
    // The same id may well be in another account.
    iam.add_access_key(OTHER, "ann", key_id, created, KeyStatus::Active).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_arranged_by_hand_hurries_nobody_elses_change() {
    let aws = company();
    let created = aws.now();
    for (user, key_id) in [("ann", "AKIAEXAMPLE000000001"), ("ben", "AKIAEXAMPLE000000002")] {
        aws.iam().add_user(MEMBER, user, "/", &[]).ok();
        aws.iam().add_access_key(MEMBER, user, key_id, created, KeyStatus::Active).unwrap();
    }
    let iam = aws_sdk_iam::Client::new(&aws.sdk_config_in(MEMBER));
    aws.faults().set_iam_delay(Duration::from_secs(4));
    let disable = iam.update_access_key().user_name("ann").access_key_id("AKIAEXAMPLE000000001");
    disable.status(StatusType::Inactive).send().await.unwrap();
    aws.iam().set_status(MEMBER, "AKIAEXAMPLE000000002", KeyStatus::Inactive).unwrap();
    let status = |user: &str| {
        let listed = iam.list_access_keys().user_name(user);
        async move { listed.send().await.unwrap().access_key_metadata()[0].status().unwrap().clone() }
    };
    assert_eq!(status("ben").await, StatusType::Inactive);
    assert_eq!(status("ann").await, StatusType::Active);
    // By hand for the same user: all of it is seen.
    aws.iam().set_tags(MEMBER, "ann", &[]).unwrap();
    assert_eq!(status("ann").await, StatusType::Inactive);
}
