//! One account: what is in it, and what the ledger knows of it.

use aws_config::SdkConfig;
use keytide_aws::ledger::Ledger;
use keytide_core::{AccountId, policy::Policy};

use super::{
    super::judge::{Account, Inside, Role, Seen, without_owner},
    Elsewhere, asked, document, queue, rule,
    trails::trails,
};

/// The rules of `infra/member-account.yaml`, without the prefix.
const RULES: [&str; 2] = ["key-events", "own-role-events"];

/// Everything in one account; `config`: with credentials of that account, or why there are none.
pub(in super::super) async fn account<Enter: AsyncFn(&str) -> Seen<SdkConfig>>(
    id: &AccountId,
    config: Seen<SdkConfig>,
    prefix: &str,
    policy: Option<&Policy>,
    ledger: &Ledger,
    elsewhere: &Elsewhere<Enter>,
) -> Account {
    let record = async { ledger.account(id).await.map_err(|failure| failure.to_string()) };
    let keys = async { ledger.open_keys(id, None).await.map_err(|failure| failure.to_string()) };
    let (record, keys) = tokio::join!(record, keys);
    let ownerless = keys.map(|keys| without_owner(keys.iter().map(|key| &key.value)));
    let inside = match config {
        Ok(config) => Ok(Box::pin(inside(id, &config, prefix, elsewhere)).await),
        Err(why) => Err(why),
    };
    Account {
        id: id.to_string(),
        mode: policy.map(|policy| policy.mode(id)),
        inside,
        ownerless,
        swept_at: record.map(|record| record.value.swept_at),
        is_left_out: false,
    }
}

async fn inside<Enter: AsyncFn(&str) -> Seen<SdkConfig>>(
    id: &AccountId,
    config: &SdkConfig,
    prefix: &str,
    elsewhere: &Elsewhere<Enter>,
) -> Inside {
    let mut rules = Vec::new();
    for name in RULES {
        rules.push((name.to_owned(), rule(config, &format!("{prefix}-{name}"), None).await));
    }
    let undelivered = format!("{prefix}-undelivered");
    let iam = aws_sdk_iam::Client::new(config);
    let role = async |name: &str| -> Seen<Option<Role>> {
        let found = asked("iam:GetRole", iam.get_role().role_name(format!("{prefix}-{name}")).send()).await?;
        let trusts = |role: aws_sdk_iam::types::Role| {
            role.assume_role_policy_document.as_deref().map(document).unwrap_or_default()
        };
        Ok(found.map(|found| Role { trust: found.role.map(trusts).unwrap_or_default() }))
    };
    let (reader, disabler, forwarder, undelivered, trails) = tokio::join!(
        role("reader"),
        role("disabler"),
        role("forwarder"),
        queue(config, &undelivered),
        trails(config, id.as_str(), elsewhere),
    );
    Inside { rules, reader, disabler, forwarder, undelivered, trails }
}
