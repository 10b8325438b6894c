//! Opens ledgers, and AWS where one is used.

use std::{error::Error, path::Path, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use jiff::Timestamp;
use keytide_aws::{
    Failure,
    ledger::{Ledger, Place},
};
use keytide_core::AccountId;
use keytide_local::LocalAws;

use crate::{
    Trouble,
    args::{LedgerArgs, LedgerChoice},
    output::shown,
};

/// The one table of an embedded ledger.
const TABLE: &str = "keytide";

/// The real AWS, as somebody.
pub(crate) struct Aws {
    pub(crate) config: SdkConfig,
    /// Who that is, in words.
    pub(crate) words: String,
    /// Who that is, as AWS names them.
    pub(crate) arn: Option<String>,
    /// The account that the credentials are of.
    pub(crate) account: Option<String>,
}

/// An open ledger.
pub(crate) struct Store {
    pub(crate) ledger: Ledger,
    /// Where it is, in words.
    pub(crate) words: String,
}

/// Whether a ledger that is not there may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfMissing {
    Make,
    Refuse,
}

/// AWS by its usual chain, asked who we are: so wrong credentials are told before anything else.
pub(crate) async fn open_aws(args: &LedgerArgs) -> Result<Aws, Trouble> {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_secs(30))
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(args.region.clone()))
        .timeout_config(timeouts);
    let mut source = "the usual chain".to_owned();
    if let Some(profile) = &args.profile {
        loader = loader.profile_name(profile);
        source = format!("profile {}", shown(profile, 64));
    }
    let config = loader.load().await;
    let identity = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await;
    let identity = identity.map_err(|error| {
        let failure = Failure::of("sts:GetCallerIdentity", &error);
        let named = args.profile.as_deref().unwrap_or("NAME");
        Trouble::Usage(format!(
            "AWS, by {source}: {}; sign in (`aws sso login --profile {named}` or `aws login`), or name another \
             profile with --profile",
            shown(&failure.to_string(), 600)
        ))
    })?;
    let arn = identity.arn().unwrap_or("somebody without a name");
    let words = format!("{} ({source}), {}", shown(arn, 200), args.region);
    Ok(Aws {
        words,
        arn: identity.arn().map(str::to_owned),
        account: identity.account().map(str::to_owned),
        config,
    })
}

/// Opens the ledger and sees that it is one. A ledger in DynamoDB is never made here: it is part of the
/// installation.
pub(crate) async fn open_ledger(
    choice: &LedgerChoice,
    aws: Option<&Aws>,
    if_missing: IfMissing,
    now: Timestamp,
) -> Result<Store, Trouble> {
    match (choice, aws) {
        (LedgerChoice::File(path), _) => open_file(path, if_missing, now).await,
        (LedgerChoice::DynamoDb(table), Some(aws)) => {
            let store = Store {
                ledger: Ledger::new(&aws.config, table),
                words: format!("the DynamoDB table {table}"),
            };
            probe(&store).await.map_err(|failure| {
                Trouble::Usage(format!(
                    "ledger dynamodb:{table}: {}; see that the table is in this account and region and that you \
                     may read and write it",
                    shown(&failure.to_string(), 600)
                ))
            })?;
            Ok(store)
        }
        (LedgerChoice::DynamoDb(table), None) => {
            Err(Trouble::Failed(format!("ledger dynamodb:{table}: AWS was not opened: please report this")))
        }
    }
}

async fn open_file(path: &Path, if_missing: IfMissing, now: Timestamp) -> Result<Store, Trouble> {
    let name = shown(&path.to_string_lossy(), 300);
    if if_missing == IfMissing::Refuse && !path.exists() {
        return Err(Trouble::Usage(format!(
            "ledger {name}: there is no such file; `keytide ingest` makes one from events, and --ledger names \
             another"
        )));
    }
    let local =
        LocalAws::in_file(path).map_err(|error| Trouble::Usage(format!("ledger {}", chain(&error))))?;
    local.set_now(now);
    let store = Store { ledger: Ledger::new(&local.sdk_config(), TABLE), words: format!("the file {name}") };
    if if_missing == IfMissing::Make {
        store.ledger.create_table().await.map_err(|failure| {
            Trouble::Usage(format!("ledger {name}: {}", shown(&failure.to_string(), 600)))
        })?;
    }
    probe(&store).await.map_err(|failure| {
        let why = if failure.code.as_deref() == Some("ResourceNotFoundException") {
            "it is a database, but not keytide's".to_owned()
        } else {
            shown(&failure.to_string(), 600)
        };
        Trouble::Usage(format!("ledger {name}: {why}; name another file with --ledger"))
    })?;
    Ok(store)
}

/// Asks for a key that there is not: whatever is wrong with the ledger shows.
async fn probe(store: &Store) -> Result<(), Failure> {
    let account = AccountId::parse("000000000000")
        .map_err(|error| Failure::operators("probing the ledger", error.to_string()))?;
    let place = Place::Key { account, key_id: "probe".to_owned() };
    store.ledger.look(&place, "probe", &[]).await.map(|_| ())
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    shown(&text, 600)
}
