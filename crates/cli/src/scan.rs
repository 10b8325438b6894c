//! `keytide scan`: the access keys of one account, read with read-only credentials, and what the built-in
//! policy would make of them. No ledger, no Slack; nothing is written anywhere.
//!
//! Read in this order: here, for what is asked of AWS; `model`, for what is made of the answers; `view`, for
//! how people see it.

mod model;
mod view;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    path::PathBuf,
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use clap::{Args, ValueEnum};
use futures_util::{StreamExt as _, future, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use keytide_aws::{
    Failure,
    inventory::{Inventory, ListedUser, Report},
};
use keytide_core::{
    AccountId,
    cloudtrail::Status,
    key::LastUse,
    owner::{ListedKey, Owner},
    report::{CredentialReport, Whose},
};
use tokio::time::{Instant, timeout};

use self::model::Scan;
use crate::{
    Ended, Trouble,
    args::{LedgerArgs, LedgerChoice},
    output::{Output, counted, safe_json, shown},
    store::{self, Aws},
};

/// So long the credential report is waited for. It takes seconds; without it, root's keys stay unknown.
const REPORT_WITHIN: Duration = Duration::from_mins(1);
/// Users looked at together; how many calls are under way at once, the inventory bounds.
const USERS_AT_ONCE: usize = 16;
/// Whoever waits longer than this is shown what is going on.
const PATIENCE: Duration = Duration::from_secs(2);
const REFRESH: Duration = Duration::from_millis(200);
/// AWS's own policy that allows everything a scan asks, and no change.
const SECURITY_AUDIT: &str = "arn:aws:iam::aws:policy/SecurityAudit";
/// What a scan calls, besides `sts:GetCallerIdentity`, which everybody may.
const ACTIONS: &str = "iam:ListUsers, iam:ListAccessKeys, iam:GetUser, iam:GetAccessKeyLastUsed, \
                       iam:GenerateCredentialReport and iam:GetCredentialReport";

pub(crate) const EXAMPLES: &str = "\
Examples:
  keytide scan --profile audit
  keytide scan --format json > keys.json
  keytide scan --format json | jq -r '.keys[] | select(.flags | index(\"over-age\")) | .user'

Permissions: AWS's own policy SecurityAudit is enough (arn:aws:iam::aws:policy/SecurityAudit), or these alone:
  iam:ListUsers, iam:ListAccessKeys, iam:GetUser, iam:GetAccessKeyLastUsed,
  iam:GenerateCredentialReport, iam:GetCredentialReport
AWS makes a credential report of the account where there is none younger than four hours; that is all it leaves.

Flags of a key:
  over-age    active, and on or past the day on which it would be disabled (91, or the user's tag
              key-max-age-days where that is sooner)
  soon        active, and past its first notice (day 76)
  unused      active, and never used or not for over 90 days
  no-slack-id, bad-slack-id   active, and the user's tag slack-id is missing, or no member id
  no-tags     the user's tags could not be read
  two-active  the user has two active keys or more

With --format json, one object, with all of these in it, null where it is not known:
  at, account, caller, complete (false: see troubles), users,
  credential_report {state (fresh, being-made, malformed, failed), generated_at},
  keys [{key_id, user, path, status, created, age_days, used (true, false: never), last_used_at,
    last_used_service, last_used_region, owner_name, slack_id, slack_id_state (ok, missing, malformed, unknown),
    type, disable_day, flags []}],
  root_keys [{slot, active, last_changed, used, last_used_at}],
  histogram [{from_days, to_days, active, inactive}],
  summary {keys, active, inactive, birth_unknown, over_age, soon, never_used, unused_over_90_days, no_slack_id,
    malformed_slack_id, tags_unread, active_root_keys, users_with_two_active},
  if_enforced {notice_days, disable_day, days_ahead, notices_today, disables_today, notices, disables,
    coming [{on, key_id, user, what (notice, disable, held), stage, disable_on, cause}]},
  troubles []

Exits with 1 if anything could not be read: it is named on standard error, and the rest is shown; with 2 if
nothing could.";

/// Whose keys, and how to print them.
#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// The AWS profile; without it, AWS's usual chain
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The AWS region to ask; IAM answers the same in all of them
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub(crate) region: String,
    /// For people, or for programs
    #[arg(long, value_enum, default_value_t = ScanFormat::Table)]
    pub(crate) format: ScanFormat,
}

/// How a scan, or what is upcoming, is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScanFormat {
    Table,
    Json,
}

/// One user, as far as it could be read.
#[derive(Debug)]
struct LookedAt {
    user: ListedUser,
    keys: Vec<ListedKey>,
    owner: Option<Owner>,
    last_use: BTreeMap<String, LastUse>,
}

/// What AWS answered.
#[derive(Debug)]
struct Answers {
    report: Report,
    looked_at: Vec<LookedAt>,
    /// How many users there are.
    users: usize,
    failures: Vec<Failure>,
}

/// How far it is, told while it goes on.
#[derive(Debug, Default)]
struct Progress {
    users: AtomicU64,
    done: AtomicU64,
    has_report: AtomicBool,
}

impl Progress {
    fn words(&self) -> String {
        let (users, done) = (self.users.load(Ordering::Relaxed), self.done.load(Ordering::Relaxed));
        match (users, self.has_report.load(Ordering::Relaxed)) {
            (0, _) => "listing the users".to_owned(),
            (users, false) if done >= users => {
                "all users are read; AWS is still making the credential report (a minute at most)".to_owned()
            }
            (users, _) => format!("{done} of {} read", counted(users, "user")),
        }
    }
}

pub(crate) async fn run(args: &ScanArgs, now: Timestamp, output: &mut Output) -> Result<Ended, Trouble> {
    // The way in is every command's; there is no ledger here.
    let way_in = LedgerArgs {
        ledger: LedgerChoice::File(PathBuf::new()),
        profile: args.profile.clone(),
        region: args.region.clone(),
    };
    let aws = store::open_aws(&way_in).await?;
    let (account, caller) = who(&aws)?;
    output.remark(&format!("keytide: reading account {account} as {}; nothing is written", aws.words));

    let inventory = Inventory::direct(&patient(&aws.config), &account);
    let progress = Progress::default();
    let answers = showing(&progress, read(&inventory, now, &progress)).await;
    let answers = answers.map_err(|failure| nothing_read(&failure, &caller))?;
    let scan = Scan::of(&account, &caller, &answers, now)?;
    match args.format {
        ScanFormat::Json => {
            let json = serde_json::to_string_pretty(&scan).unwrap_or_default();
            // Line by line: what may not stand within a line is what ends it.
            for line in json.lines() {
                output.line(&safe_json(line));
            }
        }
        ScanFormat::Table => {
            let text = view::text(&scan, output.width, &|style, text| output.styled(style, text));
            output.print(&text);
        }
    }
    for trouble in &scan.troubles {
        output.remark(&format!("keytide: {trouble}"));
    }
    if scan.complete {
        Ok(Ended::Done)
    } else {
        output.remark(&format!(
            "keytide: this is not the whole account: what could not be read is named above. AWS's policy \
             {SECURITY_AUDIT} allows everything that is asked"
        ));
        Ok(Ended::SomeFailed)
    }
}

/// For thousands of calls to one account, whose limits are not published: slower where AWS says so, and not
/// given up soon.
fn patient(config: &SdkConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_mins(2))
        .build();
    config
        .to_builder()
        .retry_config(RetryConfig::adaptive().with_max_attempts(6))
        .timeout_config(timeouts)
        .build()
}

/// The account and the ARN that the credentials are of.
fn who(aws: &Aws) -> Result<(AccountId, String), Trouble> {
    let account = AccountId::parse(aws.account.as_deref().unwrap_or_default()).map_err(|error| {
        Trouble::Failed(format!("scan: sts:GetCallerIdentity names no account: {error}; try again"))
    })?;
    Ok((account, shown(aws.arn.as_deref().unwrap_or("somebody without a name"), 200)))
}

/// Reads the account. A failure of one part is told beside the rest; without anybody's keys there is none.
async fn read(inventory: &Inventory, now: Timestamp, progress: &Progress) -> Result<Answers, Failure> {
    let report = async {
        let report = inventory.credential_report(now, Instant::now() + REPORT_WITHIN).await;
        progress.has_report.store(true, Ordering::Relaxed);
        report
    };
    let listed = async {
        match inventory.users().await {
            Ok(users) => Ok(look_at_all(inventory, users, now, progress).await),
            Err(failure) => Err(failure),
        }
    };
    let (report, listed) = tokio::join!(report, listed);
    let (users, looked_at, mut failures) = match (listed, &report) {
        (Ok(looked), _) => looked,
        // The report names all users of up to four hours ago: better than none, and said.
        (Err(failure), Report::Fresh { report, .. }) => {
            let users = users_in(report);
            let (users, looked_at, mut failures) = look_at_all(inventory, users, now, progress).await;
            failures.push(failure);
            (users, looked_at, failures)
        }
        (Err(failure), _) => return Err(failure),
    };
    if looked_at.is_empty()
        && let Some(index) = failures.iter().position(|failure| failure.operation.contains("ListAccessKeys"))
    {
        return Err(failures.swap_remove(index));
    }
    Ok(Answers { report, looked_at, users, failures })
}

fn users_in(report: &CredentialReport) -> Vec<ListedUser> {
    let user = |whose: &Whose| match whose {
        Whose::Root => None,
        Whose::User { name, path } => {
            Some(ListedUser { name: name.clone(), id: String::new(), path: path.clone(), created: None })
        }
    };
    report.rows.iter().filter_map(|row| user(&row.whose)).collect()
}

async fn look_at_all(
    inventory: &Inventory,
    users: Vec<ListedUser>,
    now: Timestamp,
    progress: &Progress,
) -> (usize, Vec<LookedAt>, Vec<Failure>) {
    let count = users.len();
    progress.users.store(count as u64, Ordering::Relaxed);
    let looks = stream::iter(users).map(|user| async {
        let looked = look_at(inventory, user, now).await;
        progress.done.fetch_add(1, Ordering::Relaxed);
        looked
    });
    let mut looked_at = Vec::new();
    let mut failures = Vec::new();
    for (looked, failed) in looks.buffer_unordered(USERS_AT_ONCE).collect::<Vec<_>>().await {
        looked_at.extend(looked);
        failures.extend(failed);
    }
    (count, looked_at, failures)
}

/// One user: all keys, and where there is one, the tags and the active keys' last use.
async fn look_at(
    inventory: &Inventory,
    user: ListedUser,
    now: Timestamp,
) -> (Option<LookedAt>, Vec<Failure>) {
    let keys = match inventory.keys_of(&user.name).await {
        Ok(Some(keys)) => keys,
        // Deleted since the list was made.
        Ok(None) => return (None, Vec::new()),
        Err(failure) => return (None, vec![failure]),
    };
    let mut looked = LookedAt { user, keys, owner: None, last_use: BTreeMap::new() };
    if looked.keys.is_empty() {
        return (Some(looked), Vec::new());
    }
    let active = looked.keys.iter().filter(|key| key.status == Status::Active);
    let asked = active.map(|key| async { (key.key_id.clone(), inventory.last_used(&key.key_id, now).await) });
    let (owner, answered) = tokio::join!(inventory.user(&looked.user.name, now), future::join_all(asked));
    let mut failures = Vec::new();
    match owner {
        Ok(owner) => looked.owner = owner,
        Err(failure) => failures.push(failure),
    }
    for (key_id, answer) in answered {
        match answer {
            Ok(last_use) => {
                looked.last_use.insert(key_id, last_use);
            }
            Err(failure) => failures.push(failure),
        }
    }
    (Some(looked), failures)
}

/// Whether AWS refused for want of a permission.
fn is_denied(failure: &Failure) -> bool {
    failure.code.as_deref().is_some_and(|code| code.starts_with("AccessDenied"))
}

/// Nothing could be read at all: which action, and what to do.
fn nothing_read(failure: &Failure, caller: &str) -> Trouble {
    let said = shown(&failure.to_string(), 600);
    if is_denied(failure) {
        return Trouble::Usage(format!(
            "scan: {said}; attach AWS's policy SecurityAudit ({SECURITY_AUDIT}) to {caller}: it allows \
             {ACTIONS}, and no change"
        ));
    }
    let advice = if failure.is_retryable() { "try again" } else { "see what AWS says" };
    Trouble::Failed(format!("scan: {said}; nothing was read: {advice}"))
}

/// Shows how far it is, once it takes long, if somebody looks.
async fn showing<T>(progress: &Progress, task: impl Future<Output = T>) -> T {
    let mut task = pin!(task);
    if !io::stderr().is_terminal() {
        return task.await;
    }
    if let Ok(done) = timeout(PATIENCE, task.as_mut()).await {
        return done;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    loop {
        bar.set_message(progress.words());
        bar.tick();
        if let Ok(done) = timeout(REFRESH, task.as_mut()).await {
            bar.finish_and_clear();
            return done;
        }
    }
}
