//! The organization's accounts, as AWS Organizations lists them.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_organizations::{
    Client,
    types::{Account, AccountState as AwsState, AccountStatus},
};
use keytide_core::AccountId;

use crate::{Failure, users::next_page};

/// One account of the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedAccount {
    /// The twelve digits.
    pub id: AccountId,
    /// The name, which people chose. Untrusted text, and empty where Organizations gives none.
    pub name: String,
    /// Where it is in an account's life.
    pub state: AccountState,
}

/// Where an account is in its life. Only in an active one can anything be read or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountState {
    /// It works.
    Active,
    /// AWS has suspended it.
    Suspended,
    /// It was made and cannot be used yet.
    PendingActivation,
    /// It is being closed.
    PendingClosure,
    /// It was closed.
    Closed,
    /// Whatever AWS adds next, or `(none)` where neither state nor status is given.
    Other(String),
}

impl AccountState {
    fn named(name: &str) -> Self {
        match name {
            "ACTIVE" => Self::Active,
            "SUSPENDED" => Self::Suspended,
            "PENDING_ACTIVATION" => Self::PendingActivation,
            "PENDING_CLOSURE" => Self::PendingClosure,
            "CLOSED" => Self::Closed,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Lists the organization's accounts.
#[derive(Debug, Clone)]
pub struct Accounts {
    client: Client,
}

impl Accounts {
    /// On the configuration of the management account or of a delegated administrator: Organizations
    /// answers nobody else.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// All accounts, by their ids. A page may be empty while more follow (API reference, `ListAccounts`):
    /// only the token says where the end is.
    pub async fn list(&self) -> Result<Vec<ListedAccount>, Failure> {
        const OPERATION: &str = "organizations:ListAccounts";
        let mut accounts = BTreeMap::new();
        let mut token = None;
        loop {
            let page = self.client.list_accounts().set_next_token(token.clone()).send().await;
            let page = page.map_err(|error| Failure::of(OPERATION, &error))?;
            for account in page.accounts() {
                let listed = listed(account).map_err(|cause| Failure::operators(OPERATION, cause))?;
                accounts.insert(listed.id.clone(), listed);
            }
            token = next_page(OPERATION, false, page.next_token(), token.as_deref())?;
            if token.is_none() {
                return Ok(accounts.into_values().collect());
            }
        }
    }
}

/// An account that cannot be named fails the whole list: left out, it would never be swept, and nobody would
/// know.
fn listed(account: &Account) -> Result<ListedAccount, String> {
    let id = account.id().ok_or("an account in the list has no id; expected twelve digits")?;
    let id = AccountId::parse(id).map_err(|error| error.to_string())?;
    Ok(ListedAccount { id, name: account.name().unwrap_or_default().to_owned(), state: state_of(account) })
}

/// `State`, else `Status`, which says less and was retired in September 2026 (API reference, `Account`), but
/// which counterparts of AWS still give alone.
fn state_of(account: &Account) -> AccountState {
    let status = || account.status.as_ref().map(AccountStatus::as_str);
    let said = account.state().map(AwsState::as_str).or_else(status);
    AccountState::named(said.unwrap_or("(none)"))
}

#[cfg(test)]
mod tests {
    use super::{AccountStatus as Status, AwsState as State, *};

    fn account() -> aws_sdk_organizations::types::builders::AccountBuilder {
        Account::builder().id("111122223333").name("prod")
    }

    #[test]
    fn the_state_decides_and_the_status_only_where_there_is_none() {
        let state = |account: Account| listed(&account).unwrap().state;
        assert_eq!(
            state(account().state(State::Closed).status(Status::Suspended).build()),
            AccountState::Closed
        );
        assert_eq!(state(account().status(Status::Suspended).build()), AccountState::Suspended);
        assert_eq!(state(account().build()), AccountState::Other("(none)".to_owned()));
        let new = State::from("FROZEN");
        assert_eq!(state(account().state(new).build()), AccountState::Other("FROZEN".to_owned()));
        for (known, expected) in [
            (State::Active, AccountState::Active),
            (State::PendingActivation, AccountState::PendingActivation),
            (State::PendingClosure, AccountState::PendingClosure),
            (State::Suspended, AccountState::Suspended),
        ] {
            assert_eq!(state(account().state(known).build()), expected);
        }
    }

    #[test]
    fn an_account_without_a_proper_id_is_not_left_out_in_silence() {
        assert!(listed(&Account::builder().name("prod").build()).is_err());
        assert_eq!(
            listed(&Account::builder().id("1111").build()),
            Err("`1111` is no AWS account id: expected twelve digits".to_owned())
        );
    }
}
