//! The twelve digits that name an AWS account.

use serde::{Deserialize, Serialize};

/// An AWS account id: exactly twelve ASCII digits, kept as text because leading zeros count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

/// A text that is no account id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no AWS account id: expected twelve digits")]
pub struct NotAnAccountId {
    found: String,
}

impl AccountId {
    /// Takes a text of exactly twelve ASCII digits.
    pub fn parse(text: &str) -> Result<Self, NotAnAccountId> {
        if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAnAccountId { found: text.chars().take(40).collect() })
        }
    }

    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AccountId {
    type Error = NotAnAccountId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for AccountId {
    type Err = NotAnAccountId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> Self {
        id.0
    }
}

impl std::fmt::Display for AccountId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The names that people use for accounts, as `prod`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountNames(std::collections::BTreeMap<AccountId, String>);

/// A list of names that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("account names: `{entry}` is not ID=NAME; expected such as 111122223333=prod,444455556666=staging")]
pub struct NotAccountNames {
    entry: String,
}

impl AccountNames {
    /// Reads `ID=NAME,ID=NAME`; an empty text is an empty list.
    pub fn parse(text: &str) -> Result<Self, NotAccountNames> {
        text.split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                let (id, name) = entry.split_once('=')?;
                let name = name.trim();
                (!name.is_empty()).then_some((AccountId::parse(id.trim()).ok()?, name.to_owned()))
            })
            .zip(text.split(',').map(str::trim).filter(|entry| !entry.is_empty()))
            .map(|(pair, entry)| pair.ok_or_else(|| NotAccountNames { entry: entry.to_owned() }))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The account's name, else its id.
    pub fn label<'a>(&'a self, account: &'a AccountId) -> &'a str {
        self.0.get(account).map_or(account.as_str(), String::as_str)
    }
}
