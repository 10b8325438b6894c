//! Organizations: who may list the accounts, and in how many pages.

use aws_sdk_organizations::Client;
use aws_sdk_organizations::error::ProvideErrorMetadata as _;
use aws_sdk_organizations::types::{Account, AccountStatus};
use keytide_local::{AccountState, HOME_ACCOUNT, LocalAws};

const MANAGEMENT: &str = "777788889999";
const MEMBER: &str = "111122223333";

fn company() -> LocalAws {
    let aws = LocalAws::in_memory().unwrap();
    aws.set_now("2026-03-01T12:00:00Z".parse().unwrap());
    for account in [MANAGEMENT, MEMBER] {
        aws.iam().add_account(account).unwrap();
    }
    let organization = aws.organization();
    organization.set_management_account(MANAGEMENT).unwrap();
    organization.add_member(MEMBER, "prod").unwrap();
    organization.add_member(HOME_ACCOUNT, "security").unwrap();
    aws
}

/// All accounts, and how many pages they came in.
async fn list(aws: &LocalAws, caller: &str, page: Option<i32>) -> Result<(Vec<Account>, usize), String> {
    let client = Client::new(&aws.sdk_config_in(caller));
    let (mut accounts, mut pages, mut token) = (Vec::new(), 0, None);
    loop {
        let answer = client.list_accounts().set_next_token(token).set_max_results(page).send().await;
        let answer = answer.map_err(|error| error.code().unwrap_or_default().to_owned())?;
        pages += 1;
        accounts.extend(answer.accounts().iter().cloned());
        token = answer.next_token().map(str::to_owned);
        if token.is_none() {
            return Ok((accounts, pages));
        }
    }
}

fn ids(accounts: &[Account]) -> Vec<&str> {
    accounts.iter().map(|account| account.id().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn accounts_are_listed_with_their_names_and_states() {
    let aws = company();
    let organization = aws.organization();
    organization.set_name(MEMBER, "prod & more").unwrap();
    organization.set_state(HOME_ACCOUNT, AccountState::Closed).unwrap();
    let (accounts, pages) = list(&aws, MANAGEMENT, None).await.unwrap();
    assert_eq!((ids(&accounts), pages), (vec![MANAGEMENT, MEMBER, HOME_ACCOUNT], 1));
    let prod = &accounts[1];
    assert_eq!(prod.name(), Some("prod & more"));
    assert_eq!(prod.email(), Some("aws+111122223333@tidewater.example"));
    assert_eq!(prod.arn(), Some("arn:aws:organizations::777788889999:account/o-keytidelocal/111122223333"));
    assert_eq!(prod.joined_timestamp().unwrap().secs(), aws.now().as_second());
    let states: Vec<_> = accounts
        .iter()
        .map(|account| (account.state().unwrap().as_str(), account.status().map(AccountStatus::as_str)))
        .collect();
    assert_eq!(
        states,
        [("ACTIVE", Some("ACTIVE")), ("ACTIVE", Some("ACTIVE")), ("CLOSED", Some("SUSPENDED"))]
    );

    // `Status` is there until it is retired.
    aws.set_now("2026-09-09T00:00:00Z".parse().unwrap());
    let (accounts, _) = list(&aws, MANAGEMENT, None).await.unwrap();
    assert!(accounts.iter().all(|account| account.status().is_none() && account.state().is_some()));

    organization.leave(MEMBER).unwrap();
    let (accounts, _) = list(&aws, MANAGEMENT, None).await.unwrap();
    assert_eq!(ids(&accounts), [MANAGEMENT, HOME_ACCOUNT]);
}

#[tokio::test(start_paused = true)]
async fn pages_are_small_and_some_are_empty() {
    let aws = company();
    for number in 0..48 {
        aws.organization().add_member(&format!("{number:012}"), "more").unwrap();
    }
    let (all, pages) = list(&aws, MANAGEMENT, None).await.unwrap();
    assert_eq!((all.len(), pages), (51, 3));
    aws.organization().set_empty_pages(true);
    let (again, pages) = list(&aws, MANAGEMENT, None).await.unwrap();
    assert_eq!((ids(&again), pages), (ids(&all), 6), "an empty page before each");
    let (again, pages) = list(&aws, MANAGEMENT, Some(10)).await.unwrap();
    assert_eq!((ids(&again), pages), (ids(&all), 12));

    assert_eq!(list(&aws, MANAGEMENT, Some(21)).await.unwrap_err(), "InvalidInputException");
    let wrong = Client::new(&aws.sdk_config_in(MANAGEMENT)).list_accounts().next_token("wrong").send().await;
    assert_eq!(wrong.unwrap_err().code(), Some("InvalidInputException"));
}

#[tokio::test(start_paused = true)]
async fn only_the_management_account_and_its_delegates_may_list() {
    let aws = company();
    assert_eq!(list(&aws, HOME_ACCOUNT, None).await.unwrap_err(), "AccessDeniedException");
    aws.organization().add_delegated_administrator(HOME_ACCOUNT).unwrap();
    assert_eq!(list(&aws, HOME_ACCOUNT, None).await.unwrap().0.len(), 3);
    // Any member may ask what it is a member of.
    let described = Client::new(&aws.sdk_config_in(MEMBER)).describe_organization().send().await.unwrap();
    assert_eq!(described.organization().unwrap().master_account_id(), Some(MANAGEMENT));

    aws.organization().leave(HOME_ACCOUNT).unwrap();
    let outside = list(&aws, HOME_ACCOUNT, None).await.unwrap_err();
    assert_eq!(outside, "AWSOrganizationsNotInUseException");
    let none = LocalAws::in_memory().unwrap();
    assert_eq!(list(&none, HOME_ACCOUNT, None).await.unwrap_err(), "AWSOrganizationsNotInUseException");

    // A role there needs the permission besides.
    aws.iam().add_role(MEMBER, "lister", None, &["organizations:ListAccounts"]).unwrap();
    aws.iam().add_role(MEMBER, "other", None, &["iam:*"]).unwrap();
    aws.organization().add_delegated_administrator(MEMBER).unwrap();
    for (role, permitted) in [("lister", true), ("other", false)] {
        let there = crate::sessions::assume(&aws, role, None).await.unwrap();
        let answer = Client::new(&there).list_accounts().send().await;
        assert_eq!(answer.is_ok(), permitted, "{role}: {answer:?}");
    }
}

#[test]
fn what_cannot_be_arranged_is_named() {
    let aws = company();
    let organization = aws.organization();
    for (error, part) in [
        (organization.add_member(MEMBER, "again"), "is in the local world already"),
        (organization.add_member("12", "short"), "expected 12 digits"),
        (organization.set_state("000000000001", AccountState::Active), "add it first"),
        (organization.leave("000000000001"), "add it first"),
    ] {
        let text = error.unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }
}
