//! When the table is lost: `keytide exempt restore`, which puts back what the sweeper's log kept, and `keytide ledger
//! accept`, which goes by the ledger again.

use std::{collections::BTreeSet, path::Path};

use clap::Args;
use jiff::Timestamp;
use keytide_app::{
    copy::{Kept, Latest, latest_exemptions},
    decide::policy_in_force,
};
use keytide_aws::ledger::LedgerReader;
use keytide_core::{AccountId, decision::PutBack};

use crate::{
    Ended, Environment, Trouble,
    args::LedgerArgs,
    confirm::confirmed,
    decide::{Desk, ReasonArgs, failed, list, open, told},
    output::{Output, shown},
};

pub(crate) const RESTORE_EXAMPLES: &str = "\
Example, with the lines of the last three days:
  aws logs filter-log-events --log-group-name /aws/lambda/keytide-sweeper --filter-pattern '{ $.keytide = \"exemptions\" }' \\
    --start-time $(( ($(date +%s) - 259200) * 1000 )) --output json --query 'events[].message' | jq -r '.[]' > exemptions.log
  keytide exempt restore exemptions.log --ledger dynamodb:keytide-ledger

Exits with 1 where something may be missing: a line that cannot be read, an account of the ledger of which there is no \
line, an exemption that could not be put back. Each is named.";

/// Going by the ledger again.
#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    #[command(flatten)]
    reason: ReasonArgs,
    /// Accept it without asking
    #[arg(long)]
    yes: bool,
}

/// Puts back the exemptions that a file of the sweeper's log holds.
pub(crate) async fn restore(
    file: &Path,
    ledger: &LedgerArgs,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    let name = shown(&file.to_string_lossy(), 300);
    let unusable = |problem: String| Trouble::Usage(format!("{name}: {problem}; nothing was done"));
    let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
    let Kept { accounts, broken } = latest_exemptions(&text);
    for broken in &broken {
        output.remark(&format!("keytide: {name}: {}", shown(&broken.to_string(), 300)));
    }
    if accounts.is_empty() {
        let problem =
            "it has no line with \"keytide\":\"exemptions\" that can be read; expected the sweeper's log";
        return Err(unusable(problem.to_owned()));
    }
    let desk = open(ledger, &environment, now, output).await?;
    let mut is_part = !broken.is_empty();
    let known = accounts_of(&desk).await?;
    for account in known.iter().filter(|account| !accounts.contains_key(account)) {
        is_part = true;
        output.remark(&format!(
            "keytide: {account}: {name} has no line of it: whatever was exempt there is not put back"
        ));
    }
    for (account, latest) in &accounts {
        is_part |= !restore_account(&desk, account, latest, now, output).await;
    }
    output.line("The next sweep tells the channel of each.");
    Ok(if is_part { Ended::SomeFailed } else { Ended::Done })
}

/// The accounts of which the ledger has keys, and those that its latest run expected.
async fn accounts_of(desk: &Desk) -> Result<BTreeSet<AccountId>, Trouble> {
    let keys = LedgerReader::of(&desk.ledger).all_keys().await.map_err(|failure| failed(&failure))?;
    let runs = desk.ledger.latest_runs(1).await.map_err(|failure| failed(&failure))?;
    let expected = runs.into_iter().flat_map(|run| run.value.expected.into_keys());
    Ok(keys.into_iter().map(|key| key.value.account).chain(expected).collect())
}

/// Whether all of it is put back that is to be.
async fn restore_account(
    desk: &Desk,
    account: &AccountId,
    latest: &Latest,
    now: Timestamp,
    output: &mut Output,
) -> bool {
    output.line(&format!("{account}: as of {}", latest.at));
    let mut is_whole = true;
    if let Some((missing, of)) = latest.missing() {
        is_whole = false;
        output.remark(&format!(
            "keytide: {account}: {missing} of the {of} lines of that sweep are missing: what they hold is not put back"
        ));
    }
    for (key_id, was) in &latest.exemptions {
        let key = shown(key_id, 128);
        match desk.decide().restore_exemption(account, key_id, was, now).await {
            Ok(PutBack::Until(until)) => {
                output.line(&format!("  {key}: exempt until {}", until.strftime("%Y-%m-%d")));
            }
            Ok(PutBack::Ended(ended)) if ended == Timestamp::MIN => {
                output.line(&format!("  {key}: left out: granted in the future, so it is void"));
            }
            Ok(PutBack::Ended(ended)) => {
                output.line(&format!("  {key}: its exemption ended on {}", ended.strftime("%Y-%m-%d")));
            }
            Ok(PutBack::Known) => output.line(&format!(
                "  {key}: left as it is: the ledger knows this exemption, or a later one, and what became of it"
            )),
            Err(error) => {
                is_whole = false;
                output.remark(&format!("keytide: {key} in {account}: {}", shown(&error.to_string(), 600)));
            }
        }
    }
    is_whole
}

/// Goes by the ledger where it is now, after showing what it holds of people's decisions.
pub(crate) async fn accept(
    args: &AcceptArgs,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    let AcceptArgs { reason: ReasonArgs { reason, ledger }, yes } = args;
    let desk = open(ledger, &environment, now, output).await?;
    let before = desk.ledger.accepted().await.map_err(|failure| failed(&failure))?;
    let table = desk.ledger.table_made().await.map_err(|failure| failed(&failure))?;
    if before.as_ref().is_some_and(|before| before.value.table_id == table.id) {
        return told(output, desk.decide().accept(reason, now).await);
    }
    let made = table.at.map_or_else(|| "at a time that is not known".to_owned(), |at| at.to_string());
    output.line(&format!("table       {}, made {made}", shown(&table.id, 80)));
    output.line(&match before.map(|before| before.value) {
        None => "accepted    never: no table of this ledger's was".to_owned(),
        Some(before) => format!(
            "accepted    another table, {}, on {}, by {}: {}",
            shown(&before.table_id, 80),
            before.at,
            shown(&before.author, 300),
            shown(&before.reason, 500)
        ),
    });
    let doubts = show_holdings(&desk, now, output).await?;
    let question = format!("{doubts}To go by this ledger from now on, type yes: ");
    if !confirmed(*yes, &question, "nothing is disabled by this ledger, as before", output)? {
        return Ok(Ended::Refused);
    }
    // A person may think for long.
    if desk.ledger.table_made().await.map_err(|failure| failed(&failure))? != table {
        output.remark("keytide: refused: another table stands there meanwhile: look again, then accept");
        return Ok(Ended::Refused);
    }
    told(output, desk.decide().accept(reason, now).await)
}

/// Shows what the ledger holds, and says what speaks against going by it.
async fn show_holdings(desk: &Desk, now: Timestamp, output: &mut Output) -> Result<String, Trouble> {
    let reader = LedgerReader::of(&desk.ledger);
    let in_force = policy_in_force(&reader).await.map_err(|failure| failed(&failure))?;
    let keys = reader.all_keys().await.map_err(|failure| failed(&failure))?;
    let halt = reader.halt().await.map_err(|failure| failed(&failure))?;
    let runs = desk.ledger.latest_runs(5).await.map_err(|failure| failed(&failure))?;
    let ended = runs.iter().find(|run| run.value.digest_at.is_some()).map(|run| run.value.date);
    let closed = keys.iter().filter(|key| key.value.is_closed()).count();
    output.line(&format!("keys        {}, {closed} of them closed", keys.len()));
    output.line(&match ended {
        Some(date) => format!("runs        the latest that ended is of {date}"),
        None => "runs        none has ended".to_owned(),
    });
    output.line(&format!(
        "policy      {}",
        in_force.hash.as_deref().unwrap_or("none: the built-in one, every account in observe")
    ));
    output.line(&match halt.map(|halt| halt.value) {
        Some(halt) => format!(
            "halt        since {}, by {}: {}",
            halt.at,
            shown(&halt.author, 300),
            shown(&halt.reason, 500)
        ),
        None => "halt        none".to_owned(),
    });
    list(desk, None, now, output).await?;
    let mut doubts = String::new();
    if keys.is_empty() {
        doubts.push_str("This ledger knows no key. ");
    }
    if ended.is_none() {
        doubts.push_str("No run of all accounts has ended by it, so it may know little. ");
    }
    if in_force.hash.is_none() {
        doubts.push_str("It holds no policy. ");
    }
    Ok(doubts)
}
