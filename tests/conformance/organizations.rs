//! Organizations' contract, as a function: the local AWS and any other counterpart are held to it.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_organizations::Client;
use aws_sdk_organizations::error::ProvideErrorMetadata as _;
use aws_sdk_organizations::types::AccountState;

/// Every account is listed once, with what keytide reads of it, however small the pages are.
///
/// The configuration calls from the management account; `members` are the others, by id and name.
pub(crate) async fn holds(config: &SdkConfig, members: &BTreeMap<String, String>) {
    let client = Client::new(config);
    let described = client.describe_organization().send().await.unwrap();
    let organization = described.organization().unwrap();
    let management = organization.master_account_id().unwrap().to_owned();
    assert!(organization.id().unwrap().starts_with("o-"), "{organization:?}");

    let mut listed = BTreeMap::new();
    let (mut token, mut pages) = (None, 0);
    loop {
        let page = client.list_accounts().max_results(2).set_next_token(token).send().await.unwrap();
        pages += 1;
        assert!(page.accounts().len() <= 2, "{page:?}");
        for account in page.accounts() {
            let id = account.id().unwrap();
            assert_eq!(account.state(), Some(&AccountState::Active), "{account:?}");
            assert!(account.arn().unwrap().ends_with(&format!("/{id}")), "{account:?}");
            assert!(account.email().unwrap().contains('@'), "{account:?}");
            assert!(account.joined_timestamp().is_some(), "{account:?}");
            let before = listed.insert(id.to_owned(), account.name().unwrap().to_owned());
            assert_eq!(before, None, "listed twice: {account:?}");
        }
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert!(pages > 1, "{pages} pages for {} accounts", listed.len());
    assert!(listed.remove(&management).is_some(), "the management account is listed too");
    assert_eq!(&listed, members);
}

/// Without an organization there is nothing to list.
pub(crate) async fn nothing_without_one(config: &SdkConfig) {
    let error = Client::new(config).describe_organization().send().await.unwrap_err();
    assert_eq!(error.code(), Some("AWSOrganizationsNotInUseException"));
}

mod local {
    use std::collections::BTreeMap;

    use keytide_local::{HOME_ACCOUNT, LocalAws};

    #[tokio::test]
    async fn holds() {
        for empty_pages in [false, true] {
            let aws = LocalAws::in_memory().unwrap();
            super::nothing_without_one(&aws.sdk_config()).await;
            let organization = aws.organization();
            organization.set_management_account(HOME_ACCOUNT).unwrap();
            organization.set_empty_pages(empty_pages);
            let mut members = BTreeMap::new();
            for number in 1..=4 {
                let (id, name) = (format!("11112222333{number}"), format!("member {number}"));
                organization.add_member(&id, &name).unwrap();
                members.insert(id, name);
            }
            super::holds(&aws.sdk_config(), &members).await;
        }
    }
}
