//! moto, an AWS that others wrote: the contract of IAM, STS and Organizations, and our own directory over
//! `AssumeRole`.

use std::{collections::BTreeMap, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use keytide_aws::directory::{Directory, ReaderRole};
use keytide_core::owner::OwnerReport;

use crate::{
    counterparts::{Moto, start_moto},
    iam_contract, organizations,
};

const MEMBER: &str = "111122223333";

pub(crate) async fn config(moto: &Moto) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(&moto.url)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "moto", "moto", None, None, "moto",
        )))
        .load()
        .await
}

#[tokio::test]
async fn moto_holds_the_contract_that_our_simulation_holds() {
    let moto = start_moto();
    let config = config(&moto).await;
    iam_contract::holds(&config, "contract").await;
    let role = format!("arn:aws:iam::{MEMBER}:role/keytide-contract");
    iam_contract::a_role_acts_in_its_own_account(&config, &role, Some("external"), "contract").await;
}

#[tokio::test]
async fn moto_makes_the_credential_report_that_our_simulation_makes() {
    let moto = start_moto();
    iam_contract::a_credential_report_tells_of_users_and_keys(&config(&moto).await, "report").await;
}

#[tokio::test]
async fn moto_lists_accounts_as_our_simulation_does() {
    let moto = start_moto();
    let config = config(&moto).await;
    organizations::nothing_without_one(&config).await;
    let client = aws_sdk_organizations::Client::new(&config);
    client.create_organization().send().await.unwrap();
    let mut members = BTreeMap::new();
    for name in ["prod", "staging", "security", "sandbox"] {
        let email = format!("aws+{name}@tidewater.example");
        let asked = client.create_account().account_name(name).email(email).send().await.unwrap();
        let id = asked.create_account_status().unwrap().account_id().unwrap().to_owned();
        members.insert(id, name.to_owned());
    }
    organizations::holds(&config, &members).await;
}

#[tokio::test]
async fn the_directory_reads_an_owner_in_another_account() {
    let moto = start_moto();
    let config = config(&moto).await;
    let role = ReaderRole {
        partition: "aws".to_owned(),
        name: "keytide-reader".to_owned(),
        external_id: Some("tidewater-7".to_owned()),
        session_name: "keytide-watcher".to_owned(),
    };
    let there = iam_contract::as_role(&config, &format!("arn:aws:iam::{MEMBER}:role/anything"), None).await;
    let iam = aws_sdk_iam::Client::new(&there);
    let tag =
        |key: &str, value: &str| aws_sdk_iam::types::Tag::builder().key(key).value(value).build().unwrap();
    iam.create_user()
        .user_name("alice")
        .path("/engineering/")
        .tags(tag("slack-id", "U0ALICE01"))
        .tags(tag("full-name", "Alice Adler"))
        .send()
        .await
        .unwrap();
    let made = iam.create_access_key().user_name("alice").send().await.unwrap();
    let key_id = made.access_key().unwrap().access_key_id().to_owned();

    let directory = Directory::new(&config, role, Duration::from_secs(20));
    let account = MEMBER.parse().unwrap();
    let now = "2026-05-04T09:12:40Z".parse().unwrap();
    let OwnerReport::Found { owner, keys } = directory.report(&account, "alice", now).await else {
        panic!("alice is there")
    };
    assert_eq!(owner.path, "/engineering/");
    assert_eq!(owner.tags.slack_id().unwrap().as_str(), "U0ALICE01");
    assert_eq!(keys.unwrap()[0].key_id, key_id);
    assert_eq!(directory.report(&account, "nobody", now).await, OwnerReport::NotFound);
}
