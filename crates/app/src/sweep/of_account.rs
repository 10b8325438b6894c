//! What a plan has to say of the account as a whole, once: a cap that holds keys back, and a key of root's that no
//! event told of. And of the ledger as a whole, that it is another one.

use keytide_aws::ledger::{Place, Versioned};
use keytide_core::{
    alert::Severity,
    delivery::{Delivery, DeliveryName, Recipient, Stage},
    plan::{HeldBy, Unaccepted},
};
use keytide_slack::{Message, Post, messages};

use super::{Sweep, Swept, Trouble};
use crate::{Invocation, deliver::Cause};

impl<P: Post> Sweep<P> {
    /// Tells the channel of a plan that goes beyond the account's cap, with how to let it through; and of root's
    /// keys.
    pub(super) async fn tell_of_account(&self, swept: &mut Swept, invocation: &Invocation) {
        let plan = &swept.plan;
        let accounts = &self.deliver.settings.accounts;
        let mut due = Vec::new();
        let capped: Vec<u32> = plan
            .held
            .iter()
            .filter_map(|held| match held.by {
                HeldBy::AccountCap { most } => Some(most),
                _ => None,
            })
            .collect();
        if let Some(most) = capped.first() {
            let hash = plan.hash();
            let message = messages::cap_reached(&plan.account, *most, capped.len(), &hash, accounts);
            due.push((hash, Stage::CapReached, Severity::Warning, message));
        }
        for at in &plan.root_keys {
            let message = messages::root_key(&plan.account, *at, accounts);
            due.push((at.to_string(), Stage::RootKey, Severity::Critical, message));
        }
        for (epoch, stage, severity, message) in due {
            self.tell_account_once(swept, (epoch, stage), severity, &message, invocation).await;
        }
    }

    /// Tells the channel of the keys that, when it came to it, the organization's cap held back, with how to let them
    /// through.
    pub(super) async fn tell_of_organization_cap(&self, swept: &mut Swept, invocation: &Invocation) {
        let mut most = None;
        let capped: Vec<&str> = swept
            .refused
            .iter()
            .filter_map(|held| match held.by {
                HeldBy::OrganizationCap { most: cap } => {
                    most = Some(cap);
                    Some(held.key_id.as_str())
                }
                _ => None,
            })
            .collect();
        let Some(most) = most else { return };
        let (plan, held, accounts) = (&swept.plan, capped.len(), &self.deliver.settings.accounts);
        let hash = plan.hash_of(capped);
        let message = messages::organization_cap_reached(&plan.account, most, held, &hash, accounts);
        let name = (hash, Stage::CapReached);
        self.tell_account_once(swept, name, Severity::Warning, &message, invocation).await;
    }

    async fn tell_account_once(
        &self,
        swept: &mut Swept,
        (epoch, stage): (String, Stage),
        severity: Severity,
        message: &Message,
        invocation: &Invocation,
    ) {
        let place = Place::Account { account: swept.plan.account.clone() };
        let name = DeliveryName { epoch, stage, recipient: Recipient::Channel };
        if let Err(cause) = self.tell_once(&place, name, severity, message, invocation).await {
            swept.troubles.push(Trouble::general(format!("telling of the account: {cause}")));
        }
    }

    /// Tells the channel, once for a table, that nobody has accepted it, and so nothing is disabled. That it could not be
    /// seen which table it is, the digest says.
    pub(super) async fn tell_unaccepted(
        &self,
        unaccepted: &Unaccepted,
        invocation: &Invocation,
    ) -> Result<(), Trouble> {
        let Some(table_id) = &unaccepted.table_id else { return Ok(()) };
        let name = DeliveryName {
            epoch: table_id.clone(),
            stage: Stage::LedgerChanged,
            recipient: Recipient::Channel,
        };
        let message = messages::ledger_changed(&unaccepted.why, invocation.now());
        let told = self.tell_once(&Place::Organization, name, Severity::Critical, &message, invocation).await;
        told.map_err(|cause| Trouble::general(format!("telling that the ledger is another one: {cause}")))
    }

    async fn tell_once(
        &self,
        place: &Place,
        name: DeliveryName,
        severity: Severity,
        message: &Message,
        invocation: &Invocation,
    ) -> Result<(), String> {
        let known = self.ledger.look(place, "", std::slice::from_ref(&name)).await;
        let known = known.map_err(|failure| failure.to_string())?.deliveries.into_iter().next();
        let delivery = known.unwrap_or_else(|| {
            let fact_id = format!("sweep of {}", invocation.now());
            Versioned { value: Delivery::new(name, fact_id, severity, invocation.now()), version: 0 }
        });
        if delivery.value.state.is_finished() {
            return Ok(());
        }
        let claimed = self.deliver.claim(place, &delivery, invocation).await;
        let claimed = match claimed {
            // Another account's sweep, at the same moment; if it dies, the next one tells.
            Err(refused) if *place == Place::Organization && matches!(refused.cause, Cause::Claimed(_)) => {
                return Ok(());
            }
            claimed => claimed.map_err(|refused| refused.to_string())?,
        };
        let Some(claimed) = claimed else { return Ok(()) };
        let time = self.deliver.time_to_send(invocation);
        let (ending, undelivered) = self.deliver.to_channel(message, time).await;
        let ended = self.deliver.end(place, &claimed, ending, invocation).await;
        ended.map_err(|refused| refused.to_string())?;
        undelivered.map_or(Ok(()), |(cause, _)| Err(cause.to_string()))
    }
}
