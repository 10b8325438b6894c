//! Renames, kept where an event that comes later finds them: under the name that was given up.

use aws_sdk_dynamodb::types::ConditionCheck;
use jiff::Timestamp;
use keytide_core::{AccountId, key::Renames};

use super::{Item, Ledger, Place, Versioned, items};
use crate::Failure;

pub(super) const SORT: &str = "RENAMED";
/// How often one is noted anew because somebody else was faster.
const TRIES: u32 = 6;

/// A user's former name, and which version of its renames was read (0: there were none): what is written with it
/// holds only while nothing more was noted.
#[derive(Debug, Clone, Copy)]
pub struct Unrenamed<'a> {
    /// The user's account.
    pub account: &'a AccountId,
    /// The name.
    pub name: &'a str,
    /// The version.
    pub version: u64,
}

pub(super) fn key(account: &AccountId, name: &str) -> Item {
    items::primary_key(&place(account, name), SORT)
}

fn place(account: &AccountId, name: &str) -> Place {
    Place::User { account: account.clone(), name: name.to_owned() }
}

impl Ledger {
    /// What became of users who bore this name, read consistently; version 0 where nothing did.
    pub async fn renames(&self, account: &AccountId, name: &str) -> Result<Versioned<Renames>, Failure> {
        Ok(self.document(&place(account, name).partition(), SORT).await?.unwrap_or_default())
    }

    /// Notes that a user was given another name.
    pub async fn note_rename(
        &self,
        account: &AccountId,
        from: &str,
        to: &str,
        at: Timestamp,
    ) -> Result<(), Failure> {
        let partition = place(account, from).partition();
        for _ in 0..TRIES {
            let known = self.renames(account, from).await?;
            let Some(renames) = known.value.with(at, to) else { return Ok(()) };
            let mut item = items::encode_at(&partition, SORT, &renames, known.version + 1)?;
            item.insert(
                "expires_at".to_owned(),
                items::number(items::expiry(renames.latest().unwrap_or(at))),
            );
            if self.put_over(item, known.version, "a user's renames").await? {
                return Ok(());
            }
        }
        Err(Failure::retry("noting a rename", format!("the renames of {from} keep changing")))
    }

    /// That nothing more was noted of the user.
    pub(super) fn check(&self, unrenamed: Unrenamed<'_>) -> Result<ConditionCheck, Failure> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(key(unrenamed.account, unrenamed.name)));
        let (condition, values) = items::over(unrenamed.version);
        let check = check.condition_expression(condition).set_expression_attribute_values(values);
        check.build().map_err(|error| Failure::operators("dynamodb:ConditionCheck", error.to_string()))
    }
}
