//! What people decide, by hand: `keytide halt`, `resume`, `approve`, `exempt`, `policy apply` and `policy try`; when the
//! table is lost, see [`crate::lost`].
//!
//! Whose decision it is, AWS says. Each is written with the message that tells the channel of it, which the
//! next sweep sends.

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use keytide_app::{
    Invocation,
    decide::{Comparison, Decide, DecideError, LARGEST_POLICY_BYTES, compare, policy_in_force},
};
use keytide_aws::ledger::{Ledger, LedgerReader};
use keytide_core::{AccountId, decision::Decision, policy::Policy};

use crate::{
    Ended, Environment, Trouble,
    args::{LedgerArgs, LedgerChoice},
    confirm::confirmed,
    lost,
    output::{Output, counted, shown, table},
    policy,
    store::{self, Aws, IfMissing},
    sweep::{ReachArgs, plan_of},
};

/// A decision that needs nothing but a reason.
#[derive(Debug, Args)]
pub(crate) struct ReasonArgs {
    /// Why: 10 characters or more, on one line; the channel is told
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
}

pub(crate) const APPROVE_EXAMPLES: &str = "\
The plan's hash stands in the message that told of the cap, and in what `keytide sweep` prints. The account is \
looked at again, and only if its plan still is that one it is approved, for today. Each key is read afresh \
before it is disabled all the same.

Example:
  keytide approve 9f86d0…0a08 --account 111122223333 --ledger dynamodb:keytide-ledger --external-id X";

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The plan's hash, all of it
    #[arg(value_name = "PLAN-HASH")]
    plan: String,
    /// The plan's account
    #[arg(long, value_name = "ID", value_parser = AccountId::parse)]
    account: AccountId,
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExemptCommand {
    /// Exempt a key from notices and from being disabled, for 180 days at most
    Add {
        /// The access key's id, as AKIA…
        #[arg(value_name = "KEY")]
        key_id: String,
        /// The key's account
        #[arg(long, value_name = "ID", value_parser = AccountId::parse)]
        account: AccountId,
        /// When it ends: a date, which begins in UTC, or a time in RFC 3339
        #[arg(long, value_name = "DATE", value_parser = policy::birth)]
        until: Timestamp,
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// End a key's exemption now
    Remove {
        /// The access key's id, as AKIA…
        #[arg(value_name = "KEY")]
        key_id: String,
        /// The key's account
        #[arg(long, value_name = "ID", value_parser = AccountId::parse)]
        account: AccountId,
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Put back the exemptions of a lost ledger, from the sweeper's log
    ///
    /// Every sweep writes the exemptions of its account into the log of the function. The lines of each account's latest
    /// sweep are gone by, of those before the loss: before this table's acceptance, if it was accepted, or before the time
    /// that is given. What has ended since is left out, and so is what the ledger knows, though it was taken back there.
    /// Each exemption is announced, in the name of whoever puts it back, and lasts no longer for it.
    #[command(after_long_help = lost::RESTORE_EXAMPLES)]
    Restore {
        /// The log's lines; all others in it are passed over
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only lines from before this time, when the ledger still held what is to be put back: a date, which begins in
        /// UTC, or a time in RFC 3339. For a table that was accepted all along, and whose content is wrong
        #[arg(long, value_name = "TIME", value_parser = policy::birth)]
        before: Option<Timestamp>,
        #[command(flatten)]
        ledger: LedgerArgs,
    },
    /// List the exemptions, those that ended too
    List {
        /// Only this account's
        #[arg(long, value_name = "ID", value_parser = AccountId::parse)]
        account: Option<AccountId>,
        #[command(flatten)]
        ledger: LedgerArgs,
    },
}

/// A policy file, held against the ledger.
#[derive(Debug, Args)]
pub(crate) struct PolicyFileArgs {
    /// The policy file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    ledger: LedgerArgs,
}

/// A policy file to put in force.
#[derive(Debug, Args)]
pub(crate) struct PolicyApplyArgs {
    #[command(flatten)]
    file: PolicyFileArgs,
    /// Put it in force without asking
    #[arg(long)]
    yes: bool,
}

/// An open ledger, and whose decisions go into it.
pub(crate) struct Desk {
    pub(crate) ledger: Ledger,
    author: String,
    aws: Option<Aws>,
}

/// Opens the ledger. In DynamoDB the author is whom AWS names; beside a file, AWS is not asked, and the author
/// is only whom the operating system names.
pub(crate) async fn open(
    args: &LedgerArgs,
    environment: &Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Desk, Trouble> {
    let aws = match args.ledger {
        LedgerChoice::DynamoDb(_) => Some(store::open_aws(args).await?),
        LedgerChoice::File(_) => None,
    };
    let author = match &aws {
        Some(aws) => aws.arn.clone().ok_or_else(|| {
            Trouble::Usage("AWS does not say who you are, and a decision needs an author".to_owned())
        })?,
        None => match &environment.user {
            Some(user) => format!("the operating system's user {}", shown(user, 64)),
            None => "a user of the operating system, which names nobody".to_owned(),
        },
    };
    let store = store::open_ledger(&args.ledger, aws.as_ref(), IfMissing::Refuse, now).await?;
    output.remark(&format!("keytide: the ledger is {}", store.words));
    output.remark(&match &aws {
        Some(aws) => format!("keytide: AWS as {}", aws.words),
        None => format!("keytide: AWS is not used; decisions are those of {author}"),
    });
    Ok(Desk { ledger: store.ledger, author, aws })
}

impl Desk {
    pub(crate) fn decide(&self) -> Decide {
        Decide::new(self.ledger.clone(), self.author.clone())
    }
}

/// Says how a decision went.
pub(crate) fn told(output: &mut Output, decided: Result<Decision, DecideError>) -> Result<Ended, Trouble> {
    match decided {
        Ok(decision) => {
            let key = decision.key().map(|(key_id, user)| format!("{key_id} of {user}: "));
            let what = shown(&format!("{}{}", key.unwrap_or_default(), decision.describe()), 300);
            output.line(&format!("{what}, by {}", shown(&decision.author, 300)));
            output.line("The next sweep tells the channel.");
            Ok(Ended::Done)
        }
        Err(DecideError::Failed(failure)) => {
            Err(Trouble::Failed(format!("{}; nothing was decided", shown(&failure.to_string(), 600))))
        }
        Err(error) => {
            output.remark(&format!(
                "keytide: refused: {}; nothing was decided",
                shown(&error.to_string(), 600)
            ));
            Ok(Ended::Refused)
        }
    }
}

/// What a reason alone decides.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Disabling {
    Halt,
    Resume,
}

pub(crate) async fn halt_or_resume(
    disabling: Disabling,
    args: &ReasonArgs,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    let desk = open(&args.ledger, &environment, now, output).await?;
    let decided = match disabling {
        Disabling::Halt => desk.decide().halt(&args.reason, now).await,
        Disabling::Resume => desk.decide().resume(&args.reason, now).await,
    };
    told(output, decided)
}

pub(crate) async fn approve(
    args: &ApproveArgs,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    let desk = open(&args.ledger, &environment, now, output).await?;
    let Some(aws) = &desk.aws else {
        output.remark(
            "keytide: refused: plans of a ledger in a file are never carried out, so none is approved; name the \
             ledger with --ledger dynamodb:TABLE",
        );
        return Ok(Ended::Refused);
    };
    let reader = LedgerReader::of(&desk.ledger);
    let in_force = policy_in_force(&reader).await.map_err(|failure| failed(&failure))?;
    let observer = args.reach.observer(aws, reader);
    let clock = Invocation::begin("cli".to_owned(), now, std::time::Duration::from_hours(1));
    let planned = plan_of(&observer, &args.account, &in_force.policy, None, &clock).await;
    let (plan, troubles) = planned.map_err(|error| failed(&error))?;
    if let Some(trouble) = troubles.first() {
        return Err(Trouble::Failed(format!(
            "{} could be read in part only, and a part is not approved: {}",
            args.account,
            shown(&trouble.to_string(), 600)
        )));
    }
    for line in plan.to_string().lines() {
        output.line(&shown(line, 400));
    }
    told(output, desk.decide().approve(&plan, &args.plan, &in_force.policy, clock.now()).await)
}

pub(crate) async fn exempt(
    command: &ExemptCommand,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    match command {
        ExemptCommand::Add { key_id, account, until, reason } => {
            let desk = open(&reason.ledger, &environment, now, output).await?;
            told(output, desk.decide().exempt(account, key_id, *until, &reason.reason, now).await)
        }
        ExemptCommand::Remove { key_id, account, reason } => {
            let desk = open(&reason.ledger, &environment, now, output).await?;
            told(output, desk.decide().end_exemption(account, key_id, &reason.reason, now).await)
        }
        ExemptCommand::Restore { file, before, ledger } => {
            lost::restore(file, *before, ledger, environment, now, output).await
        }
        ExemptCommand::List { account, ledger } => {
            let desk = open(ledger, &environment, now, output).await?;
            list(&desk, account.as_ref(), now, output).await
        }
    }
}

pub(crate) async fn list(
    desk: &Desk,
    account: Option<&AccountId>,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    let reader = LedgerReader::of(&desk.ledger);
    let accounts: BTreeSet<AccountId> = if let Some(account) = account {
        BTreeSet::from([account.clone()])
    } else {
        let keys = reader.all_keys().await.map_err(|failure| failed(&failure))?;
        keys.into_iter().map(|key| key.value.account).collect()
    };
    let mut rows = Vec::new();
    for account in accounts {
        let exemptions = reader.exemptions(&account).await.map_err(|failure| failed(&failure))?;
        for (key_id, exemption) in exemptions {
            let until = match exemption.ends(now) {
                void if void == Timestamp::MIN => "granted in the future: void".to_owned(),
                ends if ends > now => ends.strftime("%Y-%m-%d %H:%M UTC").to_string(),
                ends => ends.strftime("%Y-%m-%d %H:%M UTC (ended)").to_string(),
            };
            rows.push(vec![
                shown(&key_id, 40),
                account.to_string(),
                until,
                shown(&exemption.author, 80),
                shown(&exemption.reason, 80),
            ]);
        }
    }
    if rows.is_empty() {
        output.remark("No key is or was exempt.");
    } else {
        output.line(&table(&["KEY", "ACCOUNT", "UNTIL", "GRANTED BY", "REASON"], rows, &[]));
    }
    Ok(Ended::Done)
}

/// Says what a policy file would change for today's keys. Nothing is stored.
pub(crate) async fn try_policy(
    args: &PolicyFileArgs,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    let (_, policy) = policy::read_with_text(&args.file, output)?;
    let desk = open(&args.ledger, &environment, now, output).await?;
    compared(&desk, &policy, now, output).await?;
    output.line("Nothing was stored; `keytide policy apply` puts it in force.");
    Ok(Ended::Done)
}

/// Puts a policy in force, after showing what it changes.
pub(crate) async fn apply_policy(
    args: &PolicyApplyArgs,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    let PolicyApplyArgs { file: PolicyFileArgs { file, ledger }, yes } = args;
    let (text, policy) = policy::read_with_text(file, output)?;
    if text.len() > LARGEST_POLICY_BYTES {
        return Err(Trouble::Usage(format!(
            "{} has {} bytes: expected {LARGEST_POLICY_BYTES} at most, which is what the ledger takes; nothing \
             was done",
            shown(&file.to_string_lossy(), 300),
            text.len()
        )));
    }
    let desk = open(ledger, &environment, now, output).await?;
    let comparison = compared(&desk, &policy, now, output).await?;
    if !confirmed(*yes, "To put it in force, type yes: ", "the policy in force is as it was", output)? {
        return Ok(Ended::Refused);
    }
    told(output, desk.decide().apply_policy(&text, &policy, &comparison, now).await)
}

/// Says what a policy would change for today's keys.
async fn compared(
    desk: &Desk,
    policy: &Policy,
    now: Timestamp,
    output: &mut Output,
) -> Result<Comparison, Trouble> {
    let reader = LedgerReader::of(&desk.ledger);
    let comparison = compare(&reader, policy, now).await.map_err(|failure| failed(&failure))?;
    print_comparison(output, &comparison, policy);
    Ok(comparison)
}

fn print_comparison(output: &mut Output, comparison: &Comparison, policy: &Policy) {
    let before = comparison.before.hash.as_deref().unwrap_or("the built-in policy");
    output.line(&format!("in force    {}", shown(before, 80)));
    output.line(&format!("this file   {}", policy.hash()));
    let lines = comparison.lines();
    if lines.is_empty() {
        let keys = counted(comparison.looked_at as u64, "active key");
        output.line(&format!("Nothing changes for the {keys} in the ledger."));
        return;
    }
    for line in &lines {
        output.line(&format!("  {}", shown(line, 400)));
    }
    let (notices, disables) = comparison.newly_due();
    output.line(&format!(
        "Of {} in the ledger, {} {} other dates; newly due now: {}, {disables} to be disabled (by what the \
         ledger knows; caps aside).",
        counted(comparison.looked_at as u64, "active key"),
        comparison.keys.len(),
        if comparison.keys.len() == 1 { "gets" } else { "get" },
        counted(notices as u64, "notice"),
    ));
}

pub(crate) fn failed(failure: &impl ToString) -> Trouble {
    Trouble::Failed(shown(&failure.to_string(), 600))
}
