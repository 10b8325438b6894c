//! `keytide sweep`: what a sweep would do in each account, and, when it is asked for and confirmed, doing it.
//!
//! Looking and doing are two things. [`look`] has an [`Observer`] and nothing else, and an observer has no
//! writer. Only [`act`] opens what can write, and nothing leads there but `--apply`.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::Args;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use keytide_app::{
    Invocation, TokenSource,
    decide::policy_in_force,
    deliver::{Deliver, DeliverSettings},
    sweep::{Observer, Sweep, SweepError, Swept, Trouble as SweepTrouble},
};
use keytide_aws::{
    accounts::{AccountState, Accounts},
    disabler::{Disabler, DisablerRole},
    ledger::{Ledger, LedgerReader},
    member::{Members, RoleReach},
};
use keytide_core::{
    AccountId, AccountNames,
    plan::{HeldBy, SweepPlan},
    policy::Policy,
};
use keytide_slack::{Post, Slack, Token};
use tokio::time::sleep;

use crate::{
    Ended, Environment, Trouble,
    args::{LedgerArgs, LedgerChoice},
    confirm::ask,
    ingest::{self, NoSlack, Posting},
    output::{Output, counted, shown},
    policy,
    store::{self, Aws, IfMissing},
};

/// Accounts looked at at once.
const AT_ONCE: usize = 8;
/// A credential report takes seconds to make.
const REPORT_PAUSE: Duration = Duration::from_secs(5);
/// One account's sweep may take so long: shorter than its lease in the ledger.
const TIME_LIMIT: Duration = Duration::from_mins(14);
/// A person can end it.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

pub(crate) const SWEEP_EXAMPLES: &str = "\
Examples:
  keytide sweep --ledger dynamodb:keytide-ledger --external-id X    every account of the organization
  keytide sweep --account 111122223333 --at 2026-09-01              what would be due on that day
  keytide sweep --ledger dynamodb:keytide-ledger --external-id X --account 111122223333 --apply --post --channel C0123456789

Without --apply it only looks: it holds nothing that could write to the ledger, to IAM or to Slack.

With --apply it prints the plans, then acts, and only if all of this holds:
  - the ledger is one in DynamoDB; a file is a copy of somebody's, and licenses nothing
  - the time is now: --at cannot be given
  - the id of the account that you are signed in to was typed at the prompt, or given by --confirm
  - the policy is still the one that the plans were made with
Each key is read afresh before it is disabled, and all that stops the functions stops this too.

Without --post nobody can be told. So an account is refused where anybody would have to be: where a notice, a \
disable or news of a key is due, or where messages wait to be sent. In the others the ledger is brought up to \
date, by a sweep that holds nothing that could disable.

Exits with 3 where an account was refused for safety, with 1 where one could not be read or done.";

/// How the accounts are read.
#[derive(Debug, Args)]
pub(crate) struct ReachArgs {
    /// The role to read with, the same in every account
    #[arg(long, value_name = "NAME", default_value = "keytide-reader")]
    pub(crate) reader_role: String,
    /// What the roles' trust policies demand
    #[arg(long, value_name = "ID")]
    pub(crate) external_id: Option<String>,
}

impl ReachArgs {
    /// What reads the accounts.
    pub(crate) fn observer(&self, aws: &Aws, ledger: LedgerReader) -> Observer {
        let reach = RoleReach {
            partition: "aws".to_owned(),
            name: self.reader_role.clone(),
            external_id: self.external_id.clone(),
            session_name: "keytide-cli".to_owned(),
        };
        Observer::new(ledger, Members::new(&aws.config, reach).adaptive())
    }
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// Only this account; may be given again. Without it, every active account of the organization
    #[arg(long = "account", value_name = "ID", value_parser = AccountId::parse)]
    accounts: Vec<AccountId>,
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    reach: ReachArgs,
    /// Plan as if it were then: a date, which begins in UTC, or a time in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = policy::birth, conflicts_with = "apply")]
    at: Option<Timestamp>,
    /// Do it: record, tell, disable
    #[arg(long)]
    apply: bool,
    /// The id of the account that you are signed in to, instead of typing it
    #[arg(long, value_name = "ID", value_parser = AccountId::parse, requires = "apply")]
    confirm: Option<AccountId>,
    #[arg(
        long,
        requires = "apply",
        help = "Send the messages to Slack; KEYTIDE_SLACK_TOKEN holds the token"
    )]
    post: bool,
    #[arg(long, value_name = "ID", help = "The Slack channel's id, for --post; else KEYTIDE_CHANNEL")]
    channel: Option<String>,
    /// The role to disable with, the same in every account in enforce
    #[arg(long, value_name = "NAME", default_value = "keytide-disabler")]
    disabler_role: String,
    /// What people call the accounts, as 111122223333=prod,444455556666=staging
    #[arg(long, value_name = "ID=NAME,…", value_parser = AccountNames::parse, default_value = "", hide_default_value = true)]
    account_names: AccountNames,
}

/// An account to sweep, with its name where Organizations gives one.
struct Wanted {
    id: AccountId,
    name: Option<String>,
}

/// What was seen of an account.
struct Looked {
    wanted: Wanted,
    plan: SweepPlan,
}

#[derive(Debug, Default)]
struct Counts {
    accounts: u64,
    notices: u64,
    disables: u64,
    held: u64,
    partly: u64,
    unread: u64,
    refused: u64,
    told: u64,
    disabled: u64,
    failed: u64,
}

impl Counts {
    fn ended(&self) -> Ended {
        if self.partly + self.unread + self.failed > 0 {
            Ended::SomeFailed
        } else if self.refused > 0 {
            Ended::Refused
        } else {
            Ended::Done
        }
    }

    fn summary(&self, applied: bool) -> String {
        let mut parts = vec![
            format!("{} due", counted(self.notices, "notice")),
            format!("{} to be disabled", self.disables),
            format!("{} held", self.held),
        ];
        if applied {
            parts.push(format!("told of {}, disabled {}", self.told, self.disabled));
        }
        let mut some = |count: u64, words: &str| {
            if count > 0 {
                parts.push(format!("{count} {words}"));
            }
        };
        some(self.refused, "refused for safety");
        some(self.partly, "read in part only");
        some(self.unread, "that could not be read at all");
        some(self.failed, "in which not everything could be done");
        format!("{}: {}", counted(self.accounts, "account"), parts.join(", "))
    }
}

pub(crate) async fn run(
    args: &SweepArgs,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    if args.apply && matches!(args.ledger.ledger, LedgerChoice::File(_)) {
        return Ok(refused(
            output,
            "--apply needs the ledger in DynamoDB (--ledger dynamodb:TABLE): a file licenses no disable",
        ));
    }
    let posting = ingest::posting(args.post, args.channel.clone(), environment)?;
    let aws = store::open_aws(&args.ledger).await?;
    if let Some(why) = args.apply.then(|| unconfirmable(args, &aws)).flatten() {
        return Ok(refused(output, &why));
    }
    let store = store::open_ledger(&args.ledger.ledger, Some(&aws), IfMissing::Refuse, now).await?;
    output.remark(&format!("keytide: the ledger is {}", store.words));
    output.remark(&format!("keytide: AWS as {}", aws.words));
    output.remark(&match (args.apply, &posting, args.at) {
        (false, _, None) => "keytide: only looks: nothing is written, and nobody is told".to_owned(),
        (false, _, Some(at)) => format!("keytide: only looks, as if it were {at}: nothing is written"),
        (true, Some(posting), _) => {
            format!("keytide: looks, then acts, and posts to Slack's channel {}", shown(&posting.channel, 30))
        }
        (true, None, _) => "keytide: looks, then records; posts nothing, so disables nothing".to_owned(),
    });

    let clock = Invocation::begin(session(now, 0), now, NO_LIMIT);
    let reader = LedgerReader::of(&store.ledger);
    let in_force = policy_in_force(&reader).await.map_err(|failure| failed(&failure))?;
    let wanted = accounts(args, &aws, output).await?;
    let observer = args.reach.observer(&aws, reader.clone());
    let mut counts = Counts { accounts: wanted.len() as u64, ..Counts::default() };
    let looked = look(&observer, wanted, (&in_force.policy, args.at), &clock, &mut counts, output).await;
    if !args.apply {
        output.remark(&counts.summary(false));
        return Ok(counts.ended());
    }

    let mut allowed = Vec::new();
    for one in looked {
        match nobody_told(&store.ledger, &one.plan, posting.is_some()).await {
            None => allowed.push(one),
            Some(why) => {
                counts.refused += 1;
                output.remark(&format!("keytide: {} is refused: {why}", one.wanted.id));
            }
        }
    }
    if !allowed.is_empty() {
        if !confirmed(args, &aws, output)? {
            return Ok(refused(output, "that is not the id of the account: nothing was done"));
        }
        // A person may think for long.
        let still = policy_in_force(&reader).await.map_err(|failure| failed(&failure))?;
        if still != in_force {
            return Ok(refused(output, "another policy was put in force meanwhile: look again, then apply"));
        }
        let role = DisablerRole {
            partition: "aws".to_owned(),
            name: args.disabler_role.clone(),
            external_id: args.reach.external_id.clone(),
        };
        let ledger = store.ledger;
        let channel = posting.as_ref().map_or_else(String::new, |posting| posting.channel.clone());
        let mut settings = DeliverSettings::for_channel(channel);
        settings.accounts = args.account_names.clone();
        settings.rules.own_roles.reader.clone_from(&args.reach.reader_role);
        settings.rules.own_roles.disabler.clone_from(&args.disabler_role);
        if let Some(Posting { token, web, .. }) = posting {
            let token = TokenSource::Given(token);
            let deliver = Deliver::new(ledger.clone(), Slack::new(web), token, settings);
            let disabler = Disabler::new(&aws.config, role);
            let sweep = Sweep::new(observer, ledger, deliver, disabler).by_hand();
            act(&sweep, allowed, &in_force.policy, &clock, &mut counts, output).await;
        } else {
            let token = TokenSource::Given(Token::new(String::new()));
            let deliver = Deliver::new(ledger.clone(), Slack::new(NoSlack), token, settings);
            let sweep = Sweep::without_disabler(observer, ledger, deliver).by_hand();
            act(&sweep, allowed, &in_force.policy, &clock, &mut counts, output).await;
        }
    }
    output.remark(&counts.summary(true));
    Ok(counts.ended())
}

fn refused(output: &mut Output, why: &str) -> Ended {
    output.remark(&format!("keytide: refused: {why}"));
    Ended::Refused
}

fn failed(failure: &impl ToString) -> Trouble {
    Trouble::Failed(shown(&failure.to_string(), 600))
}

fn session(now: Timestamp, number: usize) -> String {
    format!("cli-{}-{}-{number}", std::process::id(), now.as_millisecond())
}

/// The accounts given, or the organization's.
async fn accounts(args: &SweepArgs, aws: &Aws, output: &mut Output) -> Result<Vec<Wanted>, Trouble> {
    if !args.accounts.is_empty() {
        let mut given = args.accounts.clone();
        given.sort_unstable();
        given.dedup();
        return Ok(given.into_iter().map(|id| Wanted { id, name: None }).collect());
    }
    let listed = Accounts::new(&aws.config).list().await.map_err(|failure| {
        Trouble::Failed(format!(
            "{}; sign in to the management account or a delegated administrator, or name accounts with --account",
            shown(&failure.to_string(), 600)
        ))
    })?;
    let mut wanted = Vec::new();
    for account in listed {
        if account.state == AccountState::Active {
            wanted.push(Wanted { id: account.id, name: Some(account.name) });
        } else {
            output.remark(&format!("keytide: {} is left out: it is {:?}", account.id, account.state));
        }
    }
    Ok(wanted)
}

/// Looks at every account and prints its plan. There is nothing here that writes.
async fn look(
    observer: &Observer,
    wanted: Vec<Wanted>,
    (policy, at): (&Policy, Option<Timestamp>),
    clock: &Invocation,
    counts: &mut Counts,
    output: &mut Output,
) -> Vec<Looked> {
    output.start_progress_of("accounts");
    let mut planned = stream::iter(wanted)
        .map(|wanted| async move {
            let planned = plan_of(observer, &wanted.id, policy, at, clock).await;
            (wanted, planned)
        })
        .buffered(AT_ONCE);
    let mut looked = Vec::new();
    let mut done = 0;
    while let Some((wanted, outcome)) = planned.next().await {
        done += 1;
        output.progress(done, wanted.id.as_str());
        match outcome {
            Ok((plan, troubles)) => {
                print_plan(output, &wanted, &plan);
                for trouble in &troubles {
                    let why = shown(&trouble.to_string(), 600);
                    output.remark(&format!("keytide: {} was read in part only: {why}", wanted.id));
                }
                counts.partly += u64::from(!troubles.is_empty());
                counts.notices += plan.notices.len() as u64;
                counts.disables += plan.disables.len() as u64;
                counts.held += plan.held.len() as u64;
                looked.push(Looked { wanted, plan });
            }
            Err(error) => {
                counts.unread += 1;
                let why = shown(&error.to_string(), 600);
                output.remark(&format!("keytide: {} could not be read: {why}", wanted.id));
            }
        }
    }
    output.end_progress();
    looked
}

/// One account's plan as it is now, or as it would be at another time, and what could not be read for it.
pub(crate) async fn plan_of(
    observer: &Observer,
    account: &AccountId,
    policy: &Policy,
    at: Option<Timestamp>,
    clock: &Invocation,
) -> Result<(SweepPlan, Vec<SweepTrouble>), SweepError> {
    let (clock, mut visit) = match at {
        // No report is of another time: everybody is listed, as at the last visit.
        Some(at) => (Invocation::begin(clock.session.clone(), at, NO_LIMIT), u32::MAX),
        None => (clock.clone(), 1),
    };
    loop {
        match Box::pin(observer.observe(account, policy, visit, &clock)).await {
            Err(SweepError::ReportInTheMaking { .. }) => sleep(REPORT_PAUSE).await,
            outcome => {
                return outcome.map(|seen| (seen.plan(policy, clock.now()), seen.troubles));
            }
        }
        visit += 1;
    }
}

/// Prints a plan; what others wrote in it is made harmless.
fn print_plan(output: &mut Output, wanted: &Wanted, plan: &SweepPlan) {
    if let Some(name) = &wanted.name {
        output.line(&format!("{}:", shown(name, 60)));
    }
    for line in plan.to_string().lines() {
        output.line(&shown(line, 400));
    }
    output.line("");
}

/// Why an account is not swept where nobody can be told; `None` where nobody would have to be.
async fn nobody_told(ledger: &Ledger, plan: &SweepPlan, is_posting: bool) -> Option<String> {
    if is_posting {
        return None;
    }
    let reason = |what: String| Some(format!("without --post nobody can be told, and {what}"));
    let news = plan.changes.iter().filter(|change| !change.news.is_empty()).count();
    if !plan.disables.is_empty() {
        return reason(format!("{} to be disabled", counted(plan.disables.len() as u64, "key")));
    }
    if !plan.notices.is_empty() {
        return reason(format!("{} due", counted(plan.notices.len() as u64, "notice")));
    }
    if news > 0 && !plan.is_baseline {
        return reason(format!("there is news of {}", counted(news as u64, "key")));
    }
    if !plan.root_keys.is_empty() {
        return reason("root has an access key that no event told of".to_owned());
    }
    if plan.held.iter().any(|held| matches!(held.by, HeldBy::AccountCap { .. })) {
        return reason("a cap is reached, of which the channel is told".to_owned());
    }
    // Of events, the functions' own queue takes care.
    let (of_account, of_all) =
        tokio::join!(ledger.unfinished(&plan.account, 1), ledger.unfinished_of_organization(1));
    match (of_account, of_all) {
        (Ok(mine), Ok(all)) if mine.is_empty() && all.is_empty() => None,
        (Ok(_), Ok(_)) => reason("messages wait to be sent".to_owned()),
        (Err(failure), _) | (_, Err(failure)) => {
            Some(format!("whether messages wait could not be read: {}", shown(&failure.to_string(), 300)))
        }
    }
}

/// Why it can never be confirmed, where that is so: told before anything is read.
fn unconfirmable(args: &SweepArgs, aws: &Aws) -> Option<String> {
    match (&args.confirm, &aws.account) {
        (_, None) => Some("AWS does not say which account you are signed in to".to_owned()),
        (Some(given), Some(account)) if given.as_str() != account => {
            Some(format!("--confirm says {given}, and you are signed in to {}", shown(account, 20)))
        }
        (None, _) if !io::stdin().is_terminal() => Some(
            "--apply has to be confirmed: nobody is at a terminal to type the account's id, so give it by \
             --confirm"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Whether the caller's account was named.
fn confirmed(args: &SweepArgs, aws: &Aws, output: &mut Output) -> Result<bool, Trouble> {
    let Some(account) = &aws.account else { return Ok(false) };
    if let Some(given) = &args.confirm {
        return Ok(given.as_str() == account);
    }
    let typed = ask(output, "To go on, type the id of the account that you are signed in to: ")?;
    Ok(typed == *account)
}

/// Sweeps one account after another.
async fn act<P: Post>(
    sweep: &Sweep<P>,
    allowed: Vec<Looked>,
    policy: &Policy,
    clock: &Invocation,
    counts: &mut Counts,
    output: &mut Output,
) {
    output.start_progress_of("accounts");
    for (number, Looked { wanted, .. }) in allowed.into_iter().enumerate() {
        output.progress(number as u64, wanted.id.as_str());
        let mut visit = 1;
        let swept = loop {
            let now = clock.now();
            let invocation = Invocation::begin(session(now, number + 1), now, TIME_LIMIT);
            let name = wanted.name.as_deref();
            match Box::pin(sweep.account(&wanted.id, name, policy, visit, &invocation)).await {
                Err(SweepError::ReportInTheMaking { .. }) => sleep(REPORT_PAUSE).await,
                swept => break swept,
            }
            visit += 1;
        };
        match swept {
            Ok(swept) => {
                counts.told += swept.told;
                counts.disabled += swept.disabled.len() as u64;
                counts.failed += u64::from(!swept.troubles.is_empty());
                tell(output, &wanted.id, &swept);
            }
            Err(error) => {
                counts.failed += 1;
                output.remark(&format!(
                    "keytide: {} was not swept: {}",
                    wanted.id,
                    shown(&error.to_string(), 600)
                ));
            }
        }
    }
    output.end_progress();
}

fn tell(output: &mut Output, account: &AccountId, swept: &Swept) {
    output.line(&format!("{account}: told of {}", counted(swept.told, "key")));
    for (key_id, is_seen) in &swept.disabled {
        let seen = if *is_seen { "and IAM shows it Inactive" } else { "and IAM does not show it yet" };
        output.line(&format!("  {} disabled, {seen}", shown(key_id, 40)));
    }
    for held in &swept.refused {
        let (key_id, by) = (shown(&held.key_id, 40), shown(&held.by.to_string(), 300));
        output.line(&format!("  {key_id} not disabled after all: {by}"));
    }
    for trouble in &swept.troubles {
        output.remark(&format!("keytide: {account}: {}", shown(&trouble.to_string(), 600)));
    }
}
