//! `keytide doctor`: what is missing or wrong, account by account, and how to mend it. It only reads.
//!
//! [`look`] asks AWS and Slack; [`judge`] makes findings of it. What could not be looked at is a finding as well.

mod judge;
mod look;

use aws_config::SdkConfig;
use clap::Args;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use keytide_app::decide::policy_in_force;
use keytide_aws::{
    accounts::{AccountState, Accounts},
    ledger::{Ledger, LedgerReader},
    member::{self, RoleReach},
};
use keytide_core::AccountId;
use keytide_slack::WebApi;

use self::{
    judge::{Finding, Severity},
    look::{Elsewhere, Place},
};
use crate::{
    Ended, Environment, Trouble,
    args::{LedgerArgs, LedgerChoice},
    output::{Output, Style, counted, safe_json, shown},
    scan::ScanFormat,
    store::{self, Aws},
};

/// Accounts looked at at once.
const AT_ONCE: usize = 8;

pub(crate) const EXAMPLES: &str = "\
Examples:
  keytide doctor --ledger dynamodb:keytide-ledger --external-id X --channel C0123456789
  keytide doctor --ledger dynamodb:keytide-ledger --external-id X --account 111122223333 --format json
  keytide doctor --ledger dynamodb:keytide-ledger --role SecurityAudit

It looks at each account's forwarding rules, what they ask for, where and by which role they send it; at what could not be \
delivered; at keytide's roles and whom they let in (the disabler where the policy says enforce, and nowhere else); at a trail \
that records what EventBridge is to hear; at users without an owner's tag, and the latest sweep. In the security account at \
the bus and its rule, the schedule, the queues and what waits or was given up in them, the table's protection, recovery and \
expiry, the ledger's acceptance, a halt, Slack's token, scopes and channel, who is told by alarms, the clock and the latest run.

In the security account it needs the policy PREFIX-doctor, with PREFIX-look. The others it enters by PREFIX-reader, which \
lets in whom the setting OPERATORS names, with the external id; or by the role that --role names. Slack's token is the \
secret's; KEYTIDE_SLACK_TOKEN serves where the secret cannot be read, which is a finding all the same.

With --format json, one object: findings [{account (null: the installation), severity (broken, unknown, weak), what, mend}], \
accounts, left_out [account], which the latest run does not sweep.

Exits with 0 where all is well, with 1 where anything was found; what could not be looked at counts as found.";

/// What is looked at, and how.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Only this account; may be given again. Without it, every active account of the organization
    #[arg(long = "account", value_name = "ID", value_parser = AccountId::parse)]
    accounts: Vec<AccountId>,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// What the names of all parts begin with, as the templates' parameter Prefix
    #[arg(long, value_name = "NAME", default_value = "keytide")]
    prefix: String,
    /// The role to look with in the other accounts, instead of keytide's PREFIX-reader
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// What that role's trust policy demands
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// The Slack channel's id; else `KEYTIDE_CHANNEL`
    #[arg(long, value_name = "ID")]
    channel: Option<String>,
    /// The secret with Slack's token
    #[arg(long, value_name = "NAME", default_value = "keytide/slack")]
    slack_secret: String,
    /// For people, or for programs
    #[arg(long, value_enum, default_value_t = ScanFormat::Table)]
    format: ScanFormat,
}

pub(crate) async fn run(
    args: &DoctorArgs,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    let LedgerChoice::DynamoDb(table_name) = &args.ledger.ledger else {
        return Err(Trouble::Usage(
            "doctor: it looks at an installation in AWS; name its ledger with --ledger dynamodb:TABLE"
                .to_owned(),
        ));
    };
    let aws = store::open_aws(&args.ledger).await?;
    output.remark(&format!("keytide: AWS as {}; it only reads", aws.words));
    // Not probed first: that it is not there is what the doctor is for.
    let ledger = Ledger::new(&aws.config, table_name);
    let security = aws.account.clone().unwrap_or_default();
    let place = Place {
        config: &aws.config,
        account: &security,
        prefix: &args.prefix,
        table: table_name,
        secret: &args.slack_secret,
        channel: args.channel.as_deref().or(environment.channel.as_deref()),
        token: environment.slack_token,
        slack_url: environment.slack_url.as_deref().unwrap_or(WebApi::BASE),
    };
    let installation = Box::pin(look::installation(&place, &ledger, now)).await;
    if installation.is_absent() {
        // Whoever looks in the wrong place learns nothing about the accounts, either.
        print(args.format, &judge::installation(&installation, now), 0, &[], output);
        return Ok(Ended::SomeFailed);
    }
    let expected = installation.run.as_ref().ok().and_then(Option::as_ref).map(|run| &run.expected);
    let is_left_out = |id: &AccountId| expected.is_some_and(|expected| !expected.contains(id.as_str()));
    let mut findings = judge::installation(&installation, now);
    let mut general = |what: String, mend: &str| {
        findings.push(Finding { account: None, severity: Severity::Unknown, what, mend: mend.to_owned() });
    };
    // Of what nobody goes by, no account has its mode.
    let policy = match policy_in_force(&LedgerReader::of(&ledger)).await {
        Ok(in_force) => (installation.unaccepted == Ok(None)).then_some(in_force.policy),
        Err(failure) => {
            general(
                format!(
                    "the policy in force could not be looked at, so in which mode the accounts are is not known: {failure}"
                ),
                "mend the ledger first, then look again",
            );
            None
        }
    };
    let accounts = match accounts(args, &aws, &ledger).await {
        Ok(accounts) => accounts,
        Err((accounts, why)) => {
            general(
                format!(
                    "the organization's accounts could not be listed, so those of the latest run are looked at: {why}"
                ),
                "sign in to a delegated administrator's account, or name accounts with --account",
            );
            accounts
        }
    };
    let elsewhere = Elsewhere::by(async |owner: &str| {
        let owner = AccountId::parse(owner).map_err(|error| error.to_string())?;
        config_in(args, &aws, &owner).await
    });
    let mut left_out = Vec::new();
    output.start_progress_of("accounts");
    let mut looked = stream::iter(&accounts)
        .map(|id| {
            let (aws, policy, ledger, elsewhere) = (&aws, &policy, &ledger, &elsewhere);
            async move {
                let config = config_in(args, aws, id).await;
                (
                    id,
                    Box::pin(look::account(id, config, &args.prefix, policy.as_ref(), ledger, elsewhere))
                        .await,
                )
            }
        })
        .buffered(AT_ONCE);
    let mut done = 0;
    while let Some((id, mut seen)) = looked.next().await {
        done += 1;
        seen.is_left_out = is_left_out(id);
        if seen.is_left_out {
            left_out.push(id.to_string());
        }
        output.progress(done, id.as_str());
        findings.extend(judge::account(&seen, &args.prefix, &security, now));
    }
    output.end_progress();
    findings.sort();
    // What is the same in many accounts is found in each, and said once.
    findings.dedup();
    print(args.format, &findings, accounts.len(), &left_out, output);
    Ok(if findings.is_empty() { Ended::Done } else { Ended::SomeFailed })
}

/// The accounts to look at; where they could not be listed, those that the latest run expected, and why.
async fn accounts(
    args: &DoctorArgs,
    aws: &Aws,
    ledger: &Ledger,
) -> Result<Vec<AccountId>, (Vec<AccountId>, String)> {
    if !args.accounts.is_empty() {
        let mut given = args.accounts.clone();
        given.sort_unstable();
        given.dedup();
        return Ok(given);
    }
    let why = match Accounts::new(&aws.config).list().await {
        Ok(listed) => {
            let active = listed.into_iter().filter(|account| account.state == AccountState::Active);
            let active: Vec<AccountId> = active.map(|account| account.id).collect();
            if !active.is_empty() {
                return Ok(active);
            }
            // At least the one that asks is there: whoever looks at none has not looked.
            "organizations:ListAccounts named none".to_owned()
        }
        Err(failure) => failure.to_string(),
    };
    let runs = ledger.latest_runs(1).await.unwrap_or_default();
    Err((runs.into_iter().flat_map(|run| run.value.expected.into_keys()).collect(), why))
}

/// Credentials of the account, or why there are none.
async fn config_in(args: &DoctorArgs, aws: &Aws, account: &AccountId) -> Result<SdkConfig, String> {
    if aws.account.as_deref() == Some(account.as_str()) {
        return Ok(aws.config.clone());
    }
    let reach = RoleReach {
        partition: "aws".to_owned(),
        name: args.role.clone().unwrap_or_else(|| format!("{}-reader", args.prefix)),
        external_id: args.external_id.clone(),
        session_name: "keytide-doctor".to_owned(),
    };
    member::config_in(&aws.config, &reach, account).await.map_err(|failure| failure.to_string())
}

fn print(
    format: ScanFormat,
    findings: &[Finding],
    accounts: usize,
    left_out: &[String],
    output: &mut Output,
) {
    if format == ScanFormat::Json {
        let json = serde_json::json!({"findings": findings, "accounts": accounts, "left_out": left_out});
        output.line(&safe_json(&format!("{json:#}")));
        return;
    }
    let looked_at = counted(accounts as u64, "account");
    if !left_out.is_empty() {
        output.remark(&format!(
            "keytide: the latest run does not sweep {}, by its settings or since they joined later",
            left_out.join(", ")
        ));
    }
    if findings.is_empty() {
        output.line(&all_is_well(&looked_at, left_out.len()));
        return;
    }
    for (index, of_one) in findings.chunk_by(|one, next| one.account == next.account).enumerate() {
        if index > 0 {
            output.line("");
        }
        let place = of_one.first().and_then(|finding| finding.account.as_deref());
        output.line(&output.styled(Style::Bold, place.unwrap_or("The installation")));
        for line in of_one.iter().flat_map(lines) {
            output.line(&line);
        }
    }
    output.remark(&format!(
        "keytide: {} in the installation and {looked_at}",
        counted(findings.len() as u64, "finding")
    ));
}

/// Who is not swept is nobody's defect, and not well either: it is said.
fn all_is_well(looked_at: &str, left_out: usize) -> String {
    match left_out {
        0 => format!("All is well: the installation and {looked_at}."),
        left_out => {
            format!(
                "All is well: the installation and {looked_at}, {left_out} of them left out of the sweep."
            )
        }
    }
}

/// A finding for people: a line for what is wrong and one for how to mend it, whole, so that a command can be taken out of it.
fn lines(finding: &Finding) -> [String; 2] {
    let whole = |text: &str| shown(text, usize::MAX);
    // Around a command stand backticks, which are taken from what others wrote.
    let in_ticks = |word: &str| word.split('`').map(whole).collect::<Vec<_>>().join("`");
    let mend: Vec<String> = finding.mend.split(' ').map(in_ticks).collect();
    [
        format!("  {:<9}  {}", finding.severity.to_string(), whole(&finding.what)),
        format!("             to mend: {}", mend.join(" ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_shown_whole_and_how_to_mend_it_below() {
        let finding = Finding {
            account: None,
            severity: Severity::Unknown,
            what: format!("a rule asks for {}\u{1b}[2J and more", "x".repeat(2_000)),
            mend: format!("{}, then `aws iam get-role --role-name x` and that is all", "y".repeat(2_000)),
        };
        let [what, mend] = lines(&finding);
        assert!(what.starts_with("  not known  a rule asks for xx") && what.ends_with(" and more"), "{what}");
        assert!(!what.contains('\u{1b}'), "{what}");
        assert!(mend.starts_with("             to mend: yy"), "{mend}");
        assert!(mend.ends_with("y, then `aws iam get-role --role-name x` and that is all"), "{mend}");
    }

    #[test]
    fn who_is_left_out_is_told_where_all_is_well() {
        assert_eq!(all_is_well("40 accounts", 0), "All is well: the installation and 40 accounts.");
        let most = all_is_well("40 accounts", 39);
        assert_eq!(most, "All is well: the installation and 40 accounts, 39 of them left out of the sweep.");
    }
}
