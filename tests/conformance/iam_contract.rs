//! IAM's and STS's contract, as functions: the local AWS and any other counterpart that is given an
//! `SdkConfig` are held to it.
//!
//! The configuration calls in an account of the counterpart with every right. Each function makes
//! what it needs under names that begin with its `prefix`, so that one counterpart can be used for
//! several runs, and deletes it at the end.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop loudly")]

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_iam::Client;
use aws_sdk_iam::error::ProvideErrorMetadata as _;
use aws_sdk_iam::types::{ReportStateType, StatusType, Tag};

/// All of the contract that every counterpart keeps, one part after another. Roles and limits are apart.
pub(crate) async fn holds(config: &SdkConfig, prefix: &str) {
    a_user_is_read_with_tags_path_and_id(config, prefix).await;
    keys_are_made_disabled_listed_and_deleted(config, prefix).await;
    a_rename_keeps_the_id_and_takes_the_keys_along(config, prefix).await;
    what_is_not_there_is_no_such_entity(config, prefix).await;
    tags_are_added_replaced_and_removed(config, prefix).await;
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().unwrap()
}

async fn make_user(client: &Client, name: &str) {
    client.create_user().user_name(name).send().await.unwrap();
}

async fn make_key(client: &Client, user: &str) -> String {
    let made = client.create_access_key().user_name(user).send().await.unwrap();
    made.access_key().unwrap().access_key_id().to_owned()
}

/// A user's keys by their ids, read page by page, as every listing must be.
async fn keys_of(client: &Client, user: &str) -> Vec<(String, StatusType)> {
    let mut pages = client.list_access_keys().user_name(user).into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        for key in page.unwrap().access_key_metadata() {
            assert!(key.create_date().is_some());
            keys.push((key.access_key_id().unwrap().to_owned(), key.status().unwrap().clone()));
        }
    }
    keys.sort();
    keys
}

/// Deletes a user with all keys, as one must: the keys first.
async fn remove(client: &Client, user: &str) {
    for (key_id, _) in keys_of(client, user).await {
        client.delete_access_key().user_name(user).access_key_id(key_id).send().await.unwrap();
    }
    client.delete_user().user_name(user).send().await.unwrap();
}

pub(crate) async fn a_user_is_read_with_tags_path_and_id(config: &SdkConfig, prefix: &str) {
    let client = Client::new(config);
    let name = format!("{prefix}-ann");
    let made = client
        .create_user()
        .user_name(&name)
        .path("/people/far/")
        .tags(tag("slack-id", "U012345"))
        .tags(tag("full-name", "Ann <&> Söhne"))
        .send()
        .await
        .unwrap();
    let made = made.user().unwrap();
    // moto's ids have no prefix; that ours have it is a test of our own.
    assert!(made.user_id().len() >= 16, "{}", made.user_id());

    let read = client.get_user().user_name(&name).send().await.unwrap();
    let read = read.user().unwrap();
    assert_eq!(read.user_id(), made.user_id());
    assert_eq!(read.path(), "/people/far/");
    assert!(read.arn().ends_with(&format!(":user/people/far/{name}")), "{}", read.arn());
    let mut tags: Vec<_> = read.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
    tags.sort_unstable();
    assert_eq!(tags, [("full-name", "Ann <&> Söhne"), ("slack-id", "U012345")]);

    let mut pages = client.list_users().into_paginator().send();
    let mut listed = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        listed.extend(page.users.into_iter().map(|user| user.user_name));
    }
    assert!(listed.contains(&name), "{listed:?}");
    remove(&client, &name).await;
}

pub(crate) async fn keys_are_made_disabled_listed_and_deleted(config: &SdkConfig, prefix: &str) {
    let client = Client::new(config);
    let name = format!("{prefix}-keys");
    make_user(&client, &name).await;
    let first = make_key(&client, &name).await;
    let second = make_key(&client, &name).await;
    assert!(first.starts_with("AKIA"), "{first}");
    client
        .update_access_key()
        .user_name(&name)
        .access_key_id(&first)
        .status(StatusType::Inactive)
        .send()
        .await
        .unwrap();

    let mut expected = vec![(first.clone(), StatusType::Inactive), (second.clone(), StatusType::Active)];
    expected.sort();
    assert_eq!(keys_of(&client, &name).await, expected);
    // Not asked after a rename: moto lists the key under the new name and still shows the old one.
    let listed = client.list_access_keys().user_name(&name).send().await.unwrap();
    assert!(listed.access_key_metadata().iter().all(|key| key.user_name() == Some(name.as_str())));

    let used = client.get_access_key_last_used().access_key_id(&second).send().await.unwrap();
    assert_eq!(used.user_name(), Some(name.as_str()));
    assert_eq!(used.access_key_last_used().unwrap().last_used_date(), None);

    client.delete_access_key().user_name(&name).access_key_id(&first).send().await.unwrap();
    assert_eq!(keys_of(&client, &name).await, [(second, StatusType::Active)]);
    remove(&client, &name).await;
}

pub(crate) async fn a_rename_keeps_the_id_and_takes_the_keys_along(config: &SdkConfig, prefix: &str) {
    let client = Client::new(config);
    let (old, new) = (format!("{prefix}-old"), format!("{prefix}-new"));
    make_user(&client, &old).await;
    let key = make_key(&client, &old).await;
    let before = client.get_user().user_name(&old).send().await.unwrap();
    client.update_user().user_name(&old).new_user_name(&new).send().await.unwrap();
    let after = client.get_user().user_name(&new).send().await.unwrap();
    assert_eq!(after.user().unwrap().user_id(), before.user().unwrap().user_id());
    assert_eq!(keys_of(&client, &new).await, [(key, StatusType::Active)]);
    remove(&client, &new).await;
}

pub(crate) async fn what_is_not_there_is_no_such_entity(config: &SdkConfig, prefix: &str) {
    let client = Client::new(config);
    let nobody = format!("{prefix}-nobody");
    let error = client.get_user().user_name(&nobody).send().await.unwrap_err();
    assert_eq!(error.code(), Some("NoSuchEntity"));
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 404);
    assert_eq!(error.message(), Some(format!("The user with name {nobody} cannot be found.").as_str()));
    let error = client.list_access_keys().user_name(&nobody).send().await.unwrap_err();
    assert_eq!(error.code(), Some("NoSuchEntity"));
    let error = client.delete_user().user_name(&nobody).send().await.unwrap_err();
    assert_eq!(error.code(), Some("NoSuchEntity"));

    let somebody = format!("{prefix}-somebody");
    make_user(&client, &somebody).await;
    let error = client
        .update_access_key()
        .user_name(&somebody)
        .access_key_id("AKIANOTTHERE00000000")
        .status(StatusType::Inactive)
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("NoSuchEntity"));
    remove(&client, &somebody).await;
}

/// AWS's limits: moto 5.2.5 deletes a user who still has keys, so only our simulation is held to this.
pub(crate) async fn limits_and_conflicts_are_refused(config: &SdkConfig, prefix: &str) {
    let client = Client::new(config);
    let name = format!("{prefix}-limits");
    make_user(&client, &name).await;
    let again = client.create_user().user_name(&name).send().await.unwrap_err();
    assert_eq!(again.code(), Some("EntityAlreadyExists"));
    assert_eq!(again.raw_response().unwrap().status().as_u16(), 409);

    make_key(&client, &name).await;
    make_key(&client, &name).await;
    let third = client.create_access_key().user_name(&name).send().await.unwrap_err();
    assert_eq!(third.code(), Some("LimitExceeded"));

    let with_keys = client.delete_user().user_name(&name).send().await.unwrap_err();
    assert_eq!(with_keys.code(), Some("DeleteConflict"));
    remove(&client, &name).await;
}

pub(crate) async fn tags_are_added_replaced_and_removed(config: &SdkConfig, prefix: &str) {
    let client = Client::new(config);
    let name = format!("{prefix}-tags");
    make_user(&client, &name).await;
    client
        .tag_user()
        .user_name(&name)
        .tags(tag("type", "machine"))
        .tags(tag("slack-id", "U1"))
        .send()
        .await
        .unwrap();
    client.tag_user().user_name(&name).tags(tag("slack-id", "U2")).send().await.unwrap();
    client.untag_user().user_name(&name).tag_keys("type").send().await.unwrap();
    let read = client.list_user_tags().user_name(&name).send().await.unwrap();
    let tags: Vec<_> = read.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
    assert_eq!(tags, [("slack-id", "U2")]);
    remove(&client, &name).await;
}

/// The columns of a credential report that keytide reads, in the order in which AWS writes all 22.
const REPORT_COLUMNS: [&str; 13] = [
    "user",
    "arn",
    "user_creation_time",
    "access_key_1_active",
    "access_key_1_last_rotated",
    "access_key_1_last_used_date",
    "access_key_1_last_used_region",
    "access_key_1_last_used_service",
    "access_key_2_active",
    "access_key_2_last_rotated",
    "access_key_2_last_used_date",
    "access_key_2_last_used_region",
    "access_key_2_last_used_service",
];

/// A credential report is there once it was asked for, and tells of users and their keys.
///
/// The configuration calls in an account that has none yet.
pub(crate) async fn a_credential_report_tells_of_users_and_keys(config: &SdkConfig, prefix: &str) {
    let client = Client::new(config);
    let (with, without) = (format!("{prefix}-with"), format!("{prefix}-without"));
    for name in [&with, &without] {
        make_user(&client, name).await;
    }
    let first = make_key(&client, &with).await;
    make_key(&client, &with).await;
    let disable = client.update_access_key().user_name(&with).access_key_id(first);
    disable.status(StatusType::Inactive).send().await.unwrap();

    let error = client.get_credential_report().send().await.unwrap_err().into_service_error();
    assert!(error.is_credential_report_not_present_exception(), "{error:?}");
    let mut states = Vec::new();
    while states.last() != Some(&ReportStateType::Complete) && states.len() < 10 {
        let asked = client.generate_credential_report().send().await.unwrap();
        states.push(asked.state().unwrap().clone());
    }
    assert_eq!(states.first(), Some(&ReportStateType::Started));
    assert_eq!(states.last(), Some(&ReportStateType::Complete));

    let report = client.get_credential_report().send().await.unwrap();
    assert!(report.generated_time().is_some());
    let text = String::from_utf8(report.content().unwrap().as_ref().to_vec()).unwrap();
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    assert_eq!(header.len(), 22, "{header:?}");
    let columns: Vec<_> =
        REPORT_COLUMNS.map(|name| header.iter().position(|column| *column == name)).to_vec();
    assert!(columns.iter().all(Option::is_some) && columns.is_sorted(), "{header:?}");
    let cell = |user: &str, column: &str| {
        let row = text.lines().find(|line| line.starts_with(&format!("{user},"))).unwrap();
        let position = header.iter().position(|name| *name == column).unwrap();
        row.split(',').nth(position).unwrap().to_owned()
    };
    // Which key has which place is not documented.
    let mut active = ["access_key_1_active", "access_key_2_active"].map(|column| cell(&with, column));
    active.sort();
    assert_eq!(active, ["false", "true"]);
    for slot in ["access_key_1", "access_key_2"] {
        let rotated = cell(&with, &format!("{slot}_last_rotated"));
        assert!(rotated.parse::<jiff::Timestamp>().is_ok(), "{rotated}");
        assert_eq!(cell(&with, &format!("{slot}_last_used_date")), "N/A");
        assert_eq!(cell(&without, &format!("{slot}_active")), "false");
        assert_eq!(cell(&without, &format!("{slot}_last_rotated")), "N/A");
    }
    assert!(cell(&with, "arn").ends_with(&format!(":user/{with}")));
    for name in [&with, &without] {
        remove(&client, name).await;
    }
}

/// Assumes a role and gives a configuration that calls as it.
pub(crate) async fn as_role(config: &SdkConfig, role_arn: &str, external_id: Option<&str>) -> SdkConfig {
    let answer = aws_sdk_sts::Client::new(config)
        .assume_role()
        .role_arn(role_arn)
        .role_session_name("keytide-contract")
        .set_external_id(external_id.map(str::to_owned))
        .send()
        .await
        .unwrap();
    let given = answer.credentials().unwrap();
    assert!(given.access_key_id().starts_with("ASIA"));
    config
        .to_builder()
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().to_owned()),
            None,
            "keytide-contract",
        )))
        .build()
}

/// A role in another account acts there, under its own name; the whole contract holds for it.
///
/// `role_arn` is of a role that exists, may do everything and wants this external id.
pub(crate) async fn a_role_acts_in_its_own_account(
    config: &SdkConfig,
    role_arn: &str,
    external_id: Option<&str>,
    prefix: &str,
) {
    let account = role_arn.split(':').nth(4).unwrap();
    let role = role_arn.rsplit('/').next().unwrap();
    let there = as_role(config, role_arn, external_id).await;
    let identity = aws_sdk_sts::Client::new(&there).get_caller_identity().send().await.unwrap();
    assert_eq!(identity.account(), Some(account));
    assert_eq!(
        identity.arn(),
        Some(format!("arn:aws:sts::{account}:assumed-role/{role}/keytide-contract").as_str())
    );

    let name = format!("{prefix}-there");
    let client = Client::new(&there);
    make_user(&client, &name).await;
    let read = client.get_user().user_name(&name).send().await.unwrap();
    assert_eq!(read.user().unwrap().arn(), format!("arn:aws:iam::{account}:user/{name}"));
    let here = Client::new(config).get_user().user_name(&name).send().await.unwrap_err();
    assert_eq!(here.code(), Some("NoSuchEntity"), "accounts are kept apart");
    remove(&client, &name).await;

    holds(&there, prefix).await;
}

mod local {
    use keytide_local::LocalAws;

    const MEMBER: &str = "111122223333";
    const ROLE: &str = "arn:aws:iam::111122223333:role/keytide-contract";

    #[tokio::test]
    async fn holds() {
        let aws = LocalAws::in_memory().unwrap();
        // Small pages, so that listings are cut.
        aws.iam().set_page_size(1);
        let config = aws.sdk_config_in(MEMBER);
        aws.iam().add_account(MEMBER).unwrap();
        super::holds(&config, "contract").await;
        super::limits_and_conflicts_are_refused(&config, "limits").await;
        super::a_credential_report_tells_of_users_and_keys(&config, "report").await;
    }

    #[tokio::test]
    async fn a_users_id_begins_as_in_aws() {
        let aws = LocalAws::in_memory().unwrap();
        aws.iam().add_account(MEMBER).unwrap();
        let id = aws.iam().add_user(MEMBER, "ann", "/", &[]).unwrap();
        assert!(id.starts_with("AIDA"), "{id}");
    }

    #[tokio::test]
    async fn a_role_acts_in_its_own_account() {
        let aws = LocalAws::in_memory().unwrap();
        aws.iam().add_account(MEMBER).unwrap();
        aws.iam().add_role(MEMBER, "keytide-contract", Some("the external id"), &["*"]).unwrap();
        super::a_role_acts_in_its_own_account(&aws.sdk_config(), ROLE, Some("the external id"), "contract")
            .await;
    }
}
