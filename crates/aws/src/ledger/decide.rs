//! People's decisions: what changes, the fact and the message about it are one transaction.
//!
//! So there is no decision that nobody is told of: without its message it is not written, and it is void.

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use keytide_core::{
    AccountId,
    delivery::{Delivery, Recipient},
    fact::Fact,
    lifecycle::Exemption,
};
use serde::Serialize;

use super::{
    Ledger, Place, Recorded,
    accept::{ACCEPTED, Accepted},
    control::{Approval, Halt, POLICY, POLICY_SORT, PolicyInForce, approval_expiry, exemption_partition},
    items,
};
use crate::Failure;

/// What a decision changes in the ledger.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Halts everything.
    Halt(&'a Halt),
    /// Lifts the halt.
    Resume,
    /// Accepts the table that the ledger is in.
    Accept(&'a Accepted),
    /// Approves a plan.
    Approve(&'a AccountId, &'a Approval),
    /// Grants a key an exemption, or ends the one it has.
    Exempt(&'a AccountId, &'a str, &'a Exemption),
    /// Puts a policy into force. Earlier ones stay.
    Policy(&'a PolicyInForce),
}

impl Ledger {
    /// Carries a decision out over the version that was read (0: there was nothing), with its fact and the
    /// message to the channel; all of it or nothing.
    pub async fn decide(
        &self,
        change: Change<'_>,
        over_version: u64,
        fact: &Fact,
        message: &Delivery,
    ) -> Result<Recorded, Failure> {
        let operation = format!("dynamodb:TransactWriteItems of {} in {}", fact.id, self.table);
        if message.name.recipient != Recipient::Channel || message.fact_id != fact.id {
            return Err(Failure::operators(operation, "a decision needs a message to the channel about it"));
        }
        let place = Place::of(&fact.id, &fact.body);
        let put = |item| Ok(TransactWriteItem::builder().put(self.put(item, 0)?).build());
        // The fact comes first: by that a refusal is told apart.
        let mut writes: Vec<TransactWriteItem> =
            vec![put(items::encode_fact(&place, fact)?)?, put(items::encode_delivery(&place, message, 1)?)?];
        match change {
            Change::Halt(halt) => writes.push(self.document_write("HALT", "HALT", halt, over_version)?),
            Change::Accept(accepted) => {
                writes.push(self.document_write(ACCEPTED, ACCEPTED, accepted, over_version)?);
            }
            Change::Resume => writes.push(self.halt_delete(over_version)?),
            Change::Approve(account, approval) => {
                let partition = format!("APPROVAL#{account}");
                let mut item = items::encode_at(&partition, &approval.plan, approval, over_version + 1)?;
                item.insert("expires_at".to_owned(), items::number(approval_expiry(approval)));
                writes.push(TransactWriteItem::builder().put(self.put(item, over_version)?).build());
            }
            Change::Exempt(account, key_id, exemption) => {
                let partition = exemption_partition(account);
                writes.push(self.document_write(&partition, key_id, exemption, over_version)?);
            }
            Change::Policy(policy) => {
                writes.push(self.document_write(POLICY, POLICY_SORT, policy, over_version)?);
                // By their order, not by their authors' clocks.
                let kept = format!("APPLIED#{:010}#{}", over_version + 1, policy.at);
                writes.push(self.document_write(POLICY, &kept, policy, 0)?);
            }
        }
        self.transact(&writes, operation).await
    }

    fn document_write(
        &self,
        partition: &str,
        sort: &str,
        value: &impl Serialize,
        over_version: u64,
    ) -> Result<TransactWriteItem, Failure> {
        let item = items::encode_at(partition, sort, value, over_version + 1)?;
        Ok(TransactWriteItem::builder().put(self.put(item, over_version)?).build())
    }

    fn halt_delete(&self, over_version: u64) -> Result<TransactWriteItem, Failure> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(items::key_of("HALT", "HALT")))
            .condition_expression("version = :version")
            .expression_attribute_values(":version", items::number(over_version))
            .build()
            .map_err(|error| Failure::operators("dynamodb:Delete of the halt", error.to_string()))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}
