//! `keytide upcoming`: what the coming days hold, by date, from the ledger alone. No account is asked.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use jiff::{Timestamp, civil::Date};
use keytide_aws::{
    Failure,
    ledger::{Acceptance, DisablesOf, Ledger},
};
use keytide_core::{
    AccountId,
    delivery::{NoticeDay, Stage},
    key::{Ground, Key},
    lifecycle::utc_date,
    plan::{AccountState, Coming, ComingKind, Finding, foresee},
    policy::{Mode, Policy},
};
use serde::Serialize;

use crate::{
    Ended, Trouble,
    args::{LedgerArgs, LedgerChoice},
    output::{Output, Style, counted, safe_json, shown, table},
    scan::ScanFormat,
    store::{self, IfMissing, Store},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  keytide upcoming
  keytide upcoming --days 7 --ledger dynamodb:keytide-ledger --profile security
  keytide upcoming --account 111122223333 --format json | jq '.coming[] | select(.what == \"disable\")'

It follows the policy in force, which is in the ledger, or else the built-in one, as the sweep does: one sweep a day, \
every notice confirmed on its day, nobody rotating, no key used meanwhile. In an account in observe or notify \
nothing is disabled: there, `would be` stands where in enforce it would happen.

With --format json, one object, with all of these in it, null where there is nothing:
  at, days, policy {hash, built_in}, halt (its reason),
  coming [{on, account, mode, key_id, user, what (notice, disable, would-disable, exemption-ends), stage, age_days,
    disable_on, stopped_by}],
  unknown [{account, key_id, user, why}],
  troubles []

Exits with 1 if an account could not be read from the ledger: it is named, and the rest is shown.";

/// Of which ledger, and how far ahead.
#[derive(Debug, Args)]
pub(crate) struct UpcomingArgs {
    /// How many days ahead to look
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub(crate) days: u32,
    /// Only this account's keys
    #[arg(long, value_name = "ID", value_parser = AccountId::parse)]
    pub(crate) account: Option<AccountId>,
    /// For people, or for programs
    #[arg(long, value_enum, default_value_t = ScanFormat::Table)]
    pub(crate) format: ScanFormat,
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
}

/// The whole answer. Fields and order are a promise.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    at: Timestamp,
    days: u32,
    policy: PolicyName<'a>,
    halt: Option<&'a str>,
    coming: Vec<Line<'a>>,
    unknown: Vec<Unknown<'a>>,
    troubles: &'a [String],
}

#[derive(Debug, Serialize)]
struct PolicyName<'a> {
    hash: &'a str,
    built_in: bool,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    on: Date,
    account: &'a AccountId,
    mode: Mode,
    key_id: &'a str,
    user: &'a str,
    what: &'static str,
    stage: Option<String>,
    age_days: Option<u32>,
    disable_on: Option<Date>,
    stopped_by: Option<String>,
}

#[derive(Debug, Serialize)]
struct Unknown<'a> {
    account: &'a AccountId,
    key_id: &'a str,
    user: Option<&'a str>,
    why: String,
}

/// What the ledger holds for all accounts.
struct Common {
    policy: Policy,
    is_built_in: bool,
    halt: Option<String>,
    acceptance: Acceptance,
}

pub(crate) async fn run(args: &UpcomingArgs, now: Timestamp, output: &mut Output) -> Result<Ended, Trouble> {
    let aws = match args.ledger.ledger {
        LedgerChoice::File(_) => None,
        LedgerChoice::DynamoDb(_) => Some(store::open_aws(&args.ledger).await?),
    };
    let Store { ledger, words } =
        store::open_ledger(&args.ledger.ledger, aws.as_ref(), IfMissing::Refuse, now).await?;
    let identity = aws.map_or_else(|| "AWS is not used".to_owned(), |aws| format!("AWS as {}", aws.words));
    output.remark(&format!("keytide: reading {words}; {identity}"));

    let common = Box::pin(common(&ledger)).await?;
    let mut coming = Vec::new();
    let mut unknown: Vec<(AccountId, Finding)> = Vec::new();
    let mut troubles = Vec::new();
    let accounts = keys_by_account(&ledger, args.account.as_ref()).await?;
    let known = accounts.values().map(Vec::len).sum::<usize>();
    for (account, keys) in accounts {
        match state(&ledger, &account, keys, &common, now).await {
            Ok(state) => {
                let foreseen = foresee(&state, &common.policy, now, args.days);
                coming.extend(foreseen.coming);
                unknown.extend(foreseen.unknown.into_iter().map(|found| (account.clone(), found)));
            }
            Err(failure) => troubles.push(format!("account {account}: {}", shown(&failure.to_string(), 600))),
        }
    }
    // Each account's come in order; of a date, all accounts' together.
    coming.sort_by_key(|coming| coming.on);
    match args.format {
        ScanFormat::Json => print_json(args, &common, (&coming, &unknown, &troubles), now, output),
        ScanFormat::Table => print_table(args, &common, (&coming, &unknown), known, now, output),
    }
    for trouble in &troubles {
        output.remark(&format!("keytide: {trouble}: nothing of it is shown"));
    }
    Ok(if troubles.is_empty() { Ended::Done } else { Ended::SomeFailed })
}

fn unreadable(failure: &Failure) -> Trouble {
    Trouble::Failed(format!("reading the ledger: {}", shown(&failure.to_string(), 600)))
}

async fn common(ledger: &Ledger) -> Result<Common, Trouble> {
    let (policy, halt, acceptance) = tokio::join!(ledger.policy(), ledger.halt(), ledger.acceptance());
    let in_force = policy.map_err(|failure| unreadable(&failure))?;
    let policy = match &in_force {
        // One that nobody can read is no reason to show what another would do.
        Some(in_force) => Policy::parse(&in_force.value.text).map_err(|problems| {
            Trouble::Failed(format!(
                "the policy in force ({}) cannot be read by this version: {}; use the version that applied it, \
                 or apply another",
                shown(&in_force.value.hash, 80),
                shown(&problems.to_string(), 600)
            ))
        })?,
        None => Policy::built_in(),
    };
    Ok(Common {
        policy,
        is_built_in: in_force.is_none(),
        halt: halt.map_err(|failure| unreadable(&failure))?.map(|halt| halt.value.reason),
        acceptance: acceptance.map_err(|failure| unreadable(&failure))?,
    })
}

async fn keys_by_account(
    ledger: &Ledger,
    account: Option<&AccountId>,
) -> Result<BTreeMap<AccountId, Vec<Key>>, Trouble> {
    let keys = match account {
        Some(account) => ledger.open_keys(account, None).await,
        None => ledger.all_keys().await,
    };
    let mut accounts: BTreeMap<AccountId, Vec<Key>> = BTreeMap::new();
    for key in keys.map_err(|failure| unreadable(&failure))? {
        if !key.value.is_closed() {
            accounts.entry(key.value.account.clone()).or_default().push(key.value);
        }
    }
    Ok(accounts)
}

async fn state(
    ledger: &Ledger,
    account: &AccountId,
    keys: Vec<Key>,
    common: &Common,
    now: Timestamp,
) -> Result<AccountState, Failure> {
    let (record, exemptions, approved, disabled_today) = tokio::join!(
        ledger.account(account),
        ledger.exemptions(account),
        ledger.approvals(account),
        ledger.disabled_on(DisablesOf::Account(account), utc_date(now)),
    );
    let record = record?.value;
    Ok(AccountState {
        account: account.clone(),
        keys,
        exemptions: exemptions?,
        baseline_at: record.baseline_at,
        enforced_since: record.enforced_since,
        restored_at: common.acceptance.at,
        unaccepted: common.acceptance.unaccepted.clone(),
        disabled_today: disabled_today?,
        halt: common.halt.clone(),
        approved: approved?.into_iter().map(|approval| approval.plan).collect(),
    })
}

impl<'a> Line<'a> {
    fn of(coming: &'a Coming) -> Self {
        let Coming { on, account, mode, key_id, user, what } = coming;
        let mut line = Self {
            on: *on,
            account,
            mode: *mode,
            key_id,
            user,
            what: "exemption-ends",
            stage: None,
            age_days: None,
            disable_on: None,
            stopped_by: None,
        };
        match what {
            ComingKind::ExemptionEnds => {}
            ComingKind::Notice(notice) => {
                line.what = "notice";
                line.stage = Some(notice.stage.to_string());
                line.age_days = Some(notice.age_days);
                line.disable_on = Some(notice.disable_on);
            }
            ComingKind::Disable(disable) => {
                line.what = "disable";
                line.age_days = Some(disable.age_days);
            }
            ComingKind::Held(by) => {
                line.what = "would-disable";
                line.stopped_by = Some(by.to_string());
            }
        }
        line
    }
}

fn print_json(
    args: &UpcomingArgs,
    common: &Common,
    (coming, unknown, troubles): (&[Coming], &[(AccountId, Finding)], &[String]),
    now: Timestamp,
    output: &mut Output,
) {
    let answer = Answer {
        at: now,
        days: args.days,
        policy: PolicyName { hash: common.policy.hash(), built_in: common.is_built_in },
        halt: common.halt.as_deref(),
        coming: coming.iter().map(Line::of).collect(),
        unknown: unknown
            .iter()
            .map(|(account, found)| Unknown {
                account,
                key_id: &found.key_id,
                user: found.user.as_deref(),
                why: found.what.to_string(),
            })
            .collect(),
        troubles,
    };
    let json = serde_json::to_string_pretty(&answer).unwrap_or_default();
    // Line by line: what may not stand within a line is what ends it.
    for line in json.lines() {
        output.line(&safe_json(line));
    }
}

fn print_table(
    args: &UpcomingArgs,
    common: &Common,
    (coming, unknown): (&[Coming], &[(AccountId, Finding)]),
    known: usize,
    now: Timestamp,
    output: &mut Output,
) {
    let today = utc_date(now);
    if let Some(reason) = &common.halt {
        let text = format!("Everything is halted, and nothing is disabled: {}", shown(reason, 200));
        output.line(&output.styled(Style::Alarm, &text));
    }
    let mut by_date: BTreeMap<Date, Vec<&Coming>> = BTreeMap::new();
    for one in coming {
        by_date.entry(one.on).or_default().push(one);
    }
    for (index, (date, of_date)) in by_date.iter().enumerate() {
        if index > 0 {
            output.line("");
        }
        let distance = match (*date - today).get_days() {
            0 => "today".to_owned(),
            1 => "tomorrow".to_owned(),
            days => format!("in {days} days"),
        };
        let title = format!("{}, {distance}", date.strftime("%a %Y-%m-%d"));
        output.line(&output.styled(Style::Bold, &title));
        let room = output.width.saturating_sub(2 + 20 + 2 + 12 + 2 + 2);
        let user_room = (room / 3).clamp(8, 32);
        let rows = of_date
            .iter()
            .map(|one| {
                vec![
                    format!("  {}", shown(&one.key_id, 24)),
                    one.account.to_string(),
                    shown(&one.user, user_room),
                    words(one),
                ]
            })
            .collect();
        // Without a header, since every date would repeat it.
        let text = table(&["", "", "", ""], rows, &[]);
        for line in text.lines().skip_while(|line| line.trim().is_empty()) {
            output.line(line);
        }
    }
    if !unknown.is_empty() {
        if !by_date.is_empty() {
            output.line("");
        }
        output.line(&output.styled(Style::Bold, "Not foreseen"));
        for (account, found) in unknown {
            let user = found.user.as_deref().map_or_else(|| "-".to_owned(), |user| shown(user, 32));
            let why = shown(&found.what.to_string(), 200);
            output.line(&format!("  {}  {account}  {user}  {why}", shown(&found.key_id, 24)));
        }
    }
    let source = if common.is_built_in { "the built-in policy" } else { "the policy in force" };
    let disables = coming.iter().filter(|one| matches!(one.what, ComingKind::Disable(_))).count();
    let notices = coming.iter().filter(|one| matches!(one.what, ComingKind::Notice(_))).count();
    let held = coming.iter().filter(|one| matches!(one.what, ComingKind::Held(_)));
    let held: BTreeSet<(&AccountId, &str)> = held.map(|one| (&one.account, one.key_id.as_str())).collect();
    let held = if held.is_empty() {
        String::new()
    } else {
        format!("; something stops the disable of {}", counted(held.len() as u64, "key"))
    };
    output.remark(&format!(
        "{} about {} in the next {} under {source}; {}{held}",
        counted(notices as u64, "notice"),
        counted(known as u64, "open key"),
        counted(u64::from(args.days), "day"),
        if disables == 0 {
            "nothing is to be disabled".to_owned()
        } else {
            format!("{} to be disabled", counted(disables as u64, "key"))
        },
    ));
}

/// What is coming, short enough for a line.
fn words(coming: &Coming) -> String {
    match &coming.what {
        ComingKind::ExemptionEnds => "its exemption ends".to_owned(),
        ComingKind::Disable(disable) => {
            let why = match disable.ground {
                Ground::Age => format!("{} days old", disable.age_days),
                Ground::Unused => "unused".to_owned(),
            };
            format!("disabled, {why}")
        }
        ComingKind::Held(by) => match by {
            keytide_core::plan::HeldBy::Mode(mode) => format!("would be disabled ({mode})"),
            by => format!("would be disabled, but {}", shown(&by.to_string(), 120)),
        },
        ComingKind::Notice(notice) => {
            let stage = match notice.stage {
                Stage::Notice(NoticeDay::Age(day)) => format!("notice of day {day}"),
                Stage::Notice(NoticeDay::Unused) => "notice: unused".to_owned(),
                Stage::Reminder(_) => {
                    return format!("reminder, past its day since {}", notice.disable_on);
                }
                Stage::ExemptionEnding(_) => {
                    return format!("notice: exemption ends {}", notice.disable_on);
                }
                other => other.to_string(),
            };
            let will = if notice.in_earnest { "ends" } else { "would end" };
            format!("{stage}, {will} {}", notice.disable_on)
        }
    }
}
