//! `keytide ledger`: what the ledger holds, for people and for programs.

use jiff::Timestamp;
use keytide_aws::{
    Failure,
    ledger::{History, Ledger, Place, Versioned},
};
use keytide_core::plan::News;
use keytide_core::{
    AccountId,
    cloudtrail::{Call, KeyChange, Subject},
    delivery::{Delivery, DeliveryState},
    fact::{Fact, FactBody, SeenAfter},
    key::{Effect, Key, Standing},
    owner::{Owner, SlackIdTag},
};
use serde::Serialize;

use crate::{
    Ended, Environment, Trouble,
    args::{
        ExplainFormat, LedgerArgs, LedgerChoice, LedgerCommand, ListArgs, ListFormat, ShowArgs, StatusChoice,
    },
    lost,
    output::{Output, Style, counted, safe_json, shown, table},
    store::{self, IfMissing, Store},
};

/// A key as `list` prints it. Fields and order are a promise.
#[derive(Debug, Serialize)]
struct Row<'a> {
    account: &'a str,
    key_id: &'a str,
    /// `user`, `root` or `unknown`.
    holder: &'static str,
    user: Option<&'a str>,
    status: &'a str,
    status_since: Option<Timestamp>,
    /// Two events of one second disagreed on the status: the safer one stands.
    unsettled: bool,
    created: Option<Timestamp>,
    /// Whole days since birth; of a deleted key, the days that it lived.
    age_days: Option<i64>,
    created_by: Option<String>,
    owner_slack_id: Option<&'a str>,
    owner_name: Option<&'a str>,
}

pub(crate) async fn run(
    command: &LedgerCommand,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    match command {
        LedgerCommand::List(args) => list(args, now, output).await,
        LedgerCommand::Show(args) => show(args, now, output).await,
        LedgerCommand::Accept(args) => lost::accept(args, environment, now, output).await,
    }
}

async fn open(args: &LedgerArgs, now: Timestamp, output: &mut Output) -> Result<Store, Trouble> {
    let aws = match args.ledger {
        LedgerChoice::File(_) => None,
        LedgerChoice::DynamoDb(_) => Some(store::open_aws(args).await?),
    };
    let store = store::open_ledger(&args.ledger, aws.as_ref(), IfMissing::Refuse, now).await?;
    let identity = aws.map_or_else(|| "AWS is not used".to_owned(), |aws| format!("AWS as {}", aws.words));
    output.remark(&format!("keytide: reading {}; {identity}", store.words));
    Ok(store)
}

fn unreadable(failure: &Failure) -> Trouble {
    Trouble::Failed(format!("reading the ledger: {}", shown(&failure.to_string(), 600)))
}

async fn list(args: &ListArgs, now: Timestamp, output: &mut Output) -> Result<Ended, Trouble> {
    let Store { ledger, .. } = open(&args.ledger, now, output).await?;
    let with_deleted = args.status == Some(StatusChoice::Deleted);
    // The indexes hold what is not deleted. Without anything to look for in them, all is read.
    let found = match (&args.account, &args.owner) {
        (_, Some(owner)) if !with_deleted => ledger.keys_of_owner(owner.as_str()).await,
        (Some(account), None) if !with_deleted => ledger.open_keys(account, None).await,
        _ => ledger.all_keys().await,
    };
    let mut keys: Vec<Key> =
        found.map_err(|failure| unreadable(&failure))?.into_iter().map(|key| key.value).collect();
    let is_empty = keys.is_empty();
    keys.retain(|key| {
        args.account.as_ref().is_none_or(|account| key.account == *account)
            && args.owner.as_ref().is_none_or(|owner| slack_id_of(key) == Some(owner.as_str()))
    });
    let closed = keys.iter().filter(|key| key.is_closed()).count();
    keys.retain(|key| match args.status {
        Some(status) => key.standing_word() == status.as_str(),
        None => !key.is_closed(),
    });
    keys.sort_by(|left, right| {
        let order = |key: &Key| (key.account.clone(), key.holder.subject.clone(), key.key_id.clone());
        order(left).cmp(&order(right))
    });
    let rows: Vec<Row<'_>> = keys.iter().map(|key| Row::of(key, now)).collect();
    match args.format {
        ListFormat::Json => print_json(&rows, output),
        ListFormat::Csv => print_csv(&rows, output),
        ListFormat::Table if rows.is_empty() => {}
        ListFormat::Table => output.line(&key_table(&rows)),
    }
    if args.format == ListFormat::Table || rows.is_empty() {
        output.remark(&match rows.len() {
            0 if is_empty && args.account.is_none() && args.owner.is_none() => {
                "No keys yet: `keytide ingest` takes events into a ledger.".to_owned()
            }
            0 => "No key is so.".to_owned(),
            count => counted(count as u64, "key"),
        });
        if closed > 0 && args.status.is_none() {
            let closed = counted(closed as u64, "deleted key");
            output.remark(&format!("{closed} not shown: --status Deleted, or Gone, lists them"));
        }
    }
    Ok(Ended::Done)
}

impl<'a> Row<'a> {
    fn of(key: &'a Key, now: Timestamp) -> Self {
        let holder = match key.holder.subject {
            Subject::User(_) => "user",
            Subject::Root => "root",
            Subject::Unknown => "unknown",
        };
        let status_since = match key.standing() {
            Some(Standing::Deleted(deletion)) => Some(deletion.at),
            Some(Standing::Gone(absence)) => Some(absence.since),
            Some(Standing::Exists(mark)) => Some(mark.since),
            None => None,
        };
        let until = match key.standing() {
            Some(Standing::Deleted(deletion)) => deletion.at,
            Some(Standing::Gone(absence)) => absence.since,
            Some(Standing::Exists(_)) | None => now,
        };
        let born = key.born();
        Self {
            account: key.account.as_str(),
            key_id: &key.key_id,
            holder,
            user: key.holder.subject.user(),
            status: key.standing_word(),
            status_since,
            unsettled: !key.is_closed() && key.status.as_ref().is_some_and(|mark| mark.unsettled),
            created: born,
            age_days: born.map(|born| until.duration_since(born).as_hours() / 24),
            created_by: key.creation.as_ref().map(|creation| creation.by.display_name()),
            owner_slack_id: slack_id_of(key),
            owner_name: key.owner.as_ref().and_then(|owner| owner.tags.full_name.as_deref()),
        }
    }
}

fn slack_id_of(key: &Key) -> Option<&str> {
    key.owner.as_ref().and_then(|owner| owner.tags.slack_id()).map(keytide_core::owner::SlackId::as_str)
}

/// Keys, a line each, as they stand at `now`.
pub(crate) fn key_table_of(keys: &[Key], now: Timestamp) -> String {
    let rows: Vec<Row<'_>> = keys.iter().map(|key| Row::of(key, now)).collect();
    key_table(&rows)
}

fn key_table(rows: &[Row<'_>]) -> String {
    let cells = |row: &Row<'_>| {
        vec![
            shown(row.key_id, 24),
            row.account.to_owned(),
            row.user.map_or_else(|| format!("({})", row.holder), |user| shown(user, 20)),
            if row.unsettled { format!("{}?", shown(row.status, 20)) } else { shown(row.status, 20) },
            row.age_days.map_or_else(|| "-".to_owned(), |days| days.to_string()),
            row.created.map_or_else(|| "-".to_owned(), day),
            row.created_by.as_deref().map_or_else(|| "-".to_owned(), |by| shown(by, 20)),
            row.owner_slack_id.unwrap_or("-").to_owned(),
        ]
    };
    let header = ["KEY", "ACCOUNT", "USER", "STATUS", "DAYS", "CREATED", "BY", "OWNER"];
    table(&header, rows.iter().map(cells).collect(), &[4])
}

/// A list, one key a line.
fn print_json(rows: &[Row<'_>], output: &mut Output) {
    output.print("[");
    for (index, row) in rows.iter().enumerate() {
        // Texts, numbers and times always have a spelling in JSON.
        let json = serde_json::to_string(row).unwrap_or_default();
        output.print(if index == 0 { "\n" } else { ",\n" });
        output.print(&safe_json(&json));
    }
    output.line(if rows.is_empty() { "]" } else { "\n]" });
}

fn print_csv(rows: &[Row<'_>], output: &mut Output) {
    let header = "account,key_id,holder,user,status,status_since,unsettled,created,age_days,created_by,\
                  owner_slack_id,owner_name";
    output.line(header);
    for row in rows {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        let cells = [
            row.account.to_owned(),
            row.key_id.to_owned(),
            row.holder.to_owned(),
            row.user.unwrap_or_default().to_owned(),
            row.status.to_owned(),
            time(row.status_since),
            row.unsettled.to_string(),
            time(row.created),
            row.age_days.map(|days| days.to_string()).unwrap_or_default(),
            row.created_by.clone().unwrap_or_default(),
            row.owner_slack_id.unwrap_or_default().to_owned(),
            row.owner_name.unwrap_or_default().to_owned(),
        ];
        output.line(&cells.map(|cell| csv_cell(&cell)).join(","));
    }
}

/// A cell of CSV (RFC 4180) that a spreadsheet shows and does not run: text that begins like a formula gets
/// an apostrophe before it.
fn csv_cell(text: &str) -> String {
    let clean = shown(text, 500);
    let is_formula = clean.starts_with(['=', '+', '-', '@']) && clean.parse::<i64>().is_err();
    let safe = if is_formula { format!("'{clean}") } else { clean };
    if safe.contains([',', '"']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}

async fn show(args: &ShowArgs, now: Timestamp, output: &mut Output) -> Result<Ended, Trouble> {
    let Store { ledger, words } = open(&args.ledger, now, output).await?;
    let found =
        find(&ledger, &args.key_id, args.account.as_ref()).await.map_err(|failure| unreadable(&failure))?;
    if found.is_empty() {
        let hint = match args.account {
            Some(_) => "`keytide ledger list` shows what there is",
            None => {
                "`keytide ledger list` shows what there is; a key that is known from refused calls alone is \
                     found with --account"
            }
        };
        let key_id = shown(&args.key_id, 128);
        return Err(Trouble::Failed(format!("ledger show: {key_id} is not in {words}: {hint}")));
    }
    for (index, (account, history)) in found.iter().enumerate() {
        match args.format {
            ExplainFormat::Json => {
                let json = serde_json::json!({
                    "account": account,
                    "key_id": args.key_id,
                    "status": history.key.as_ref().map(|key| key.value.standing_word()),
                    "age_days": history.key.as_ref().and_then(|key| Row::of(&key.value, now).age_days),
                    "key": history.key.as_ref().map(|key| &key.value),
                    "facts": history.facts,
                    "deliveries": deliveries(history),
                });
                output.line(&safe_json(&format!("{json:#}")));
            }
            ExplainFormat::Text => {
                if index > 0 {
                    output.line("");
                }
                print_history(account, &args.key_id, history, now, output);
            }
        }
    }
    Ok(Ended::Done)
}

/// The key's histories: one, unless two accounts have a key of that id.
async fn find(
    ledger: &Ledger,
    key_id: &str,
    account: Option<&AccountId>,
) -> Result<Vec<(AccountId, History)>, Failure> {
    let accounts: Vec<AccountId> = if let Some(account) = account {
        vec![account.clone()]
    } else {
        let keys = ledger.all_keys().await?;
        keys.into_iter().filter(|key| key.value.key_id == key_id).map(|key| key.value.account).collect()
    };
    let mut found = Vec::new();
    for account in accounts {
        let history = ledger.history(&place(&account, key_id)).await?;
        if history.key.is_some() || !history.facts.is_empty() {
            found.push((account, history));
        }
    }
    Ok(found)
}

pub(crate) fn place(account: &AccountId, key_id: &str) -> Place {
    Place::Key { account: account.clone(), key_id: key_id.to_owned() }
}

fn deliveries(history: &History) -> Vec<&Delivery> {
    history.deliveries.iter().map(|delivery| &delivery.value).collect()
}

fn print_history(account: &AccountId, key_id: &str, history: &History, now: Timestamp, output: &mut Output) {
    let key_id = shown(key_id, 128);
    if let Some(Versioned { value: key, .. }) = &history.key {
        let row = Row::of(key, now);
        let user = row.user.map_or_else(|| format!("({})", row.holder), |user| shown(user, 64));
        let title = format!("{key_id}  {}  {user}, account {account}", shown(row.status, 40));
        output.line(&output.styled(Style::Bold, &title));
        for (name, value) in state(key, &row) {
            output.line(&format!("  {name:<9}{value}"));
        }
    } else {
        let title = format!("{key_id}  never seen to exist, account {account}");
        output.line(&output.styled(Style::Bold, &title));
    }
    output.line("");
    output.line(&fact_table(history, LONGEST_ACTOR));
    if history.deliveries.is_empty() {
        return;
    }
    output.line("");
    let cells = |delivery: &Versioned<Delivery>| {
        let Delivery { name, attempts, state, created_at, .. } = &delivery.value;
        vec![
            time(*created_at),
            name.stage.to_string(),
            name.recipient.as_str().to_owned(),
            state.as_str().to_owned(),
            attempts.to_string(),
            detail(state),
        ]
    };
    let rows = history.deliveries.iter().map(cells).collect();
    output.line(&table(&["SINCE (UTC)", "MESSAGE", "TO", "STATE", "TRIES", "DETAIL"], rows, &[4]));
}

/// What is known of a key now: names and values.
fn state(key: &Key, row: &Row<'_>) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(creation) = &key.creation {
        let mfa = mfa_words(creation.mfa);
        let from =
            creation.source.as_deref().map_or("an unknown place".to_owned(), |source| shown(source, 64));
        let by = shown(&creation.by.display_name(), 64);
        lines.push(("created", format!("{} by {by}, from {from}, {mfa}", time(creation.at))));
    }
    lines.push(("owner", key.owner.as_ref().map_or_else(|| "not looked up".to_owned(), owner_words)));
    match key.standing() {
        Some(Standing::Deleted(deletion)) => lines.push(("deleted", time(deletion.at))),
        Some(Standing::Gone(absence)) => {
            lines.push(("gone", format!("not listed since {}", time(absence.since))));
        }
        Some(Standing::Exists(mark)) => {
            let unsettled =
                if mark.unsettled { ", unsettled: two events of that second disagree" } else { "" };
            lines.push((
                "status",
                format!("{} since {}{unsettled}", shown(mark.status.as_str(), 40), time(mark.since)),
            ));
        }
        None => {}
    }
    if let Some(days) = row.age_days {
        let word = if key.is_closed() { "lived" } else { "age" };
        lines.push((word, counted(days.unsigned_abs(), "day")));
    }
    lines
}

fn owner_words(owner: &Owner) -> String {
    let name =
        owner.tags.full_name.as_deref().map_or_else(String::new, |name| format!("{}, ", shown(name, 64)));
    let slack = match &owner.tags.slack_id {
        SlackIdTag::Valid(id) => format!("Slack {}", id.as_str()),
        SlackIdTag::Missing => "no tag slack-id".to_owned(),
        SlackIdTag::Malformed(text) => format!("malformed tag slack-id {:?}", shown(text, 40)),
    };
    let kind =
        owner.tags.user_type.as_deref().map_or_else(String::new, |kind| format!(", {}", shown(kind, 40)));
    format!("{name}{slack}{kind} (read {})", time(owner.seen_at))
}

fn mfa_words(mfa: Option<bool>) -> &'static str {
    match mfa {
        Some(true) => "MFA",
        Some(false) => "no MFA",
        None => "MFA unknown",
    }
}

/// Who did it is shown so far: a role's name and its session's have 64 characters each at most.
const LONGEST_ACTOR: usize = 160;

/// What happened, a line each, with what became of the messages about it. Who did it stands last, so that there is
/// room for all of it: two sessions of one role differ in their ends alone.
pub(crate) fn fact_table(history: &History, longest_actor: usize) -> String {
    let cells = |fact: &Fact| {
        let call = call_of(&fact.body);
        let circumstances = call.map_or_else(String::new, |call| {
            let source = call.source.as_deref().map_or("-".to_owned(), |source| shown(source, 30));
            format!("{source}, {}", mfa_words(call.mfa))
        });
        vec![
            fact.body.at().map_or_else(|| "-".to_owned(), time),
            deed(&fact.body),
            circumstances,
            told(history, fact),
            match (&fact.body, call) {
                (FactBody::Disabled { .. } | FactBody::Observed { .. }, _) => "keytide".to_owned(),
                (_, Some(call)) => shown(&call.actor.display_name(), longest_actor),
                (_, None) => "-".to_owned(),
            },
        ]
    };
    let rows = history.facts.iter().map(cells).collect();
    table(&["WHEN (UTC)", "WHAT", "FROM", "TOLD", "BY"], rows, &[])
}

fn call_of(body: &FactBody) -> Option<&Call> {
    match body {
        FactBody::Key { event, .. } => Some(&event.call),
        FactBody::FailedCall { failed } => Some(&failed.call),
        FactBody::Owner { event } => Some(&event.call),
        FactBody::OwnRole { .. }
        | FactBody::Unreadable { .. }
        | FactBody::Observed { .. }
        | FactBody::Disabled { .. }
        | FactBody::Decided { .. } => None,
    }
}

fn deed(body: &FactBody) -> String {
    match body {
        FactBody::Key { event, effect } => {
            let deed = match &event.change {
                KeyChange::Created { .. } => "created".to_owned(),
                KeyChange::StatusChanged { to } => format!("set {}", shown(to.as_str(), 30)),
                KeyChange::Deleted => "deleted".to_owned(),
            };
            match effect {
                Effect::Current => deed,
                Effect::Superseded | Effect::AfterDeletion => format!("{deed} (heard late)"),
                Effect::Unsettled => format!("{deed} (another event of that second says otherwise)"),
            }
        }
        FactBody::FailedCall { failed } => {
            format!("refused: {} ({})", failed.call.event_name, shown(&failed.error_code, 40))
        }
        FactBody::Owner { event } => shown(&event.change.describe(), 60),
        FactBody::OwnRole { partial } => {
            format!("own role used: {}", shown(partial.event_name.as_deref().unwrap_or("?"), 40))
        }
        FactBody::Unreadable { partial } => format!("unreadable: {}", shown(&partial.reason, 60)),
        FactBody::Observed { observed } => {
            if observed.news.contains(&News::Found) {
                return "found by a sweep".to_owned();
            }
            let news: Vec<String> = observed.news.iter().map(|news| shown(&news.to_string(), 60)).collect();
            format!("seen by a sweep: {}", news.join("; "))
        }
        FactBody::Disabled { disabled } => match disabled.seen {
            SeenAfter::Inactive => "disabled".to_owned(),
            SeenAfter::Unconfirmed => "disabled, unconfirmed".to_owned(),
            SeenAfter::FoundInactive => "found Inactive, perhaps by us".to_owned(),
        },
        FactBody::Decided { decision } => {
            format!("{}, by {}", decision.describe(), shown(&decision.author, 80))
        }
    }
}

/// Who was told of a fact, and who was not.
fn told(history: &History, fact: &Fact) -> String {
    if let Some(untold) = fact.untold {
        return format!("nobody: {}", untold.describe());
    }
    let of_fact = history.deliveries.iter().filter(|delivery| delivery.value.fact_id == fact.id);
    let words: Vec<String> = of_fact
        .map(|delivery| {
            let recipient = delivery.value.name.recipient.as_str();
            match &delivery.value.state {
                DeliveryState::Done { .. } => recipient.to_owned(),
                state => format!("{recipient} {}", state.as_str()),
            }
        })
        .collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn detail(state: &DeliveryState) -> String {
    match state {
        DeliveryState::Pending { cause } => {
            cause.as_deref().map(|cause| shown(cause, 200)).unwrap_or_default()
        }
        DeliveryState::Doing { by, until, .. } => format!("by {} until {}", shown(by, 64), time(*until)),
        DeliveryState::Done { receipt, .. } => {
            let note =
                receipt.note.as_deref().map_or_else(String::new, |note| format!(", {}", shown(note, 200)));
            format!("{} {}{note}", shown(&receipt.channel, 30), shown(&receipt.ts, 30))
        }
        DeliveryState::Ambiguous { cause, .. } | DeliveryState::GivenUp { cause, .. } => shown(cause, 200),
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_of_csv_is_no_formula_and_ends_where_it_ends() {
        for (text, cell) in [
            ("alice", "alice"),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1+2", "'+1+2"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'=1"),
            ("-7", "-7"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=\"a,b\"", "\"'=\"\"a,b\"\"\""),
            ("two\nlines", "two lines"),
        ] {
            assert_eq!(csv_cell(text), cell);
        }
    }
}
