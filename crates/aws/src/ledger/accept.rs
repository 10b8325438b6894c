//! Whether this table is the one that people know of.
//!
//! A table that was restored from a backup, or made anew, has forgotten who was told of what, and perhaps who is
//! exempt. Both are another table to DynamoDB: restoring always makes a new one, and each has an id of its own
//! (`TableId`, in DynamoDB's API reference of `TableDescription`). So nothing has to be noticed and noted: by a table
//! whose id is not the one that a person accepted, nothing is disabled.

use jiff::Timestamp;
use keytide_core::plan::Unaccepted;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerReader, Versioned};
use crate::Failure;

pub(super) const ACCEPTED: &str = "ACCEPTED";

/// A person's word that the ledger in this table is to be gone by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// DynamoDB's id of the table.
    pub table_id: String,
    /// Why.
    pub reason: String,
    /// Who, as AWS named them.
    pub author: String,
    /// When.
    pub at: Timestamp,
}

/// The table that the ledger is in, as DynamoDB knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMade {
    /// Its id, which no other table ever has.
    pub id: String,
    /// When it was made, or restored.
    pub at: Option<Timestamp>,
}

/// Whether the ledger is gone by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// When a person last accepted it, be it another table: what was said before licenses no disable.
    pub at: Option<Timestamp>,
    /// Why this table is not the one that was accepted, as far as can be seen.
    pub unaccepted: Option<Unaccepted>,
}

impl Ledger {
    /// What DynamoDB says of this table.
    pub async fn table_made(&self) -> Result<TableMade, Failure> {
        let asked = self.client.describe_table().table_name(&self.table).send().await;
        let answer = asked.map_err(|error| self.failure("DescribeTable", &error))?;
        // AWS always gives the id; what only imitates it may not, and a table that is made anew is made later, too.
        let made = answer.table.and_then(|table| {
            let at = table.creation_date_time;
            let by_time = at.map(|made| format!("made-at-{}.{:09}", made.secs(), made.subsec_nanos()));
            let at = at.and_then(|made| Timestamp::from_second(made.secs()).ok());
            table.table_id.or(by_time).map(|id| TableMade { id, at })
        });
        made.ok_or_else(|| {
            let cause = "the answer has neither TableId nor CreationDateTime, by which a table is known";
            Failure::operators(format!("dynamodb:DescribeTable of {}", self.table), cause)
        })
    }

    /// DynamoDB's own id of this table.
    pub async fn table_id(&self) -> Result<String, Failure> {
        Ok(self.table_made().await?.id)
    }

    /// The latest acceptance, whatever table it was of, read consistently.
    pub async fn accepted(&self) -> Result<Option<Versioned<Accepted>>, Failure> {
        self.document(ACCEPTED, ACCEPTED).await
    }

    /// Whether this table is accepted. What cannot be found out about the table means that it is not; the item is read
    /// like all the others.
    pub async fn acceptance(&self) -> Result<Acceptance, Failure> {
        let (accepted, table_id) = tokio::join!(self.accepted(), self.table_id());
        let accepted = accepted?.map(|found| found.value);
        let table = &self.table;
        let why = match (&accepted, &table_id) {
            (Some(accepted), Ok(id)) if accepted.table_id == *id => None,
            (Some(accepted), Ok(_)) => Some(format!(
                "the table {table} was restored or copied: it is not the one that was accepted on {}",
                accepted.at.strftime("%Y-%m-%d")
            )),
            (None, Ok(_)) => {
                Some(format!("the table {table} is new or was replaced: nobody has accepted it yet"))
            }
            (_, Err(failure)) => Some(format!("which table {table} is could not be found out: {failure}")),
        };
        let unaccepted = why.map(|why| Unaccepted { table_id: table_id.ok(), why });
        Ok(Acceptance { at: accepted.map(|accepted| accepted.at), unaccepted })
    }

    /// Accepts a table that was made this moment, and so has forgotten nothing. The time is none that could begin an
    /// epoch.
    pub(super) async fn accept_as_new(&self) -> Result<(), Failure> {
        let accepted = Accepted {
            table_id: self.table_id().await?,
            reason: "keytide made this table itself".to_owned(),
            author: "keytide".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        };
        self.set_accepted(&accepted).await
    }

    /// Notes an acceptance, without a message to anybody.
    pub async fn set_accepted(&self, accepted: &Accepted) -> Result<(), Failure> {
        self.put_document(ACCEPTED, ACCEPTED, accepted, None).await
    }
}

impl LedgerReader {
    /// See [`Ledger::acceptance`].
    pub async fn acceptance(&self) -> Result<Acceptance, Failure> {
        self.0.acceptance().await
    }
}
