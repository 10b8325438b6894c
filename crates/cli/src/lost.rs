//! When the table is lost: `keytide exempt restore`, which puts back what the sweeper's log kept, and `keytide ledger
//! accept`, which goes by the ledger again.

use std::{collections::BTreeSet, path::Path};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    copy::{Kept, Latest, latest_exemptions},
    decide::policy_in_force,
};
use keytide_aws::ledger::{Acceptance, LedgerReader};
use keytide_core::{
    AccountId,
    decision::{PutBack, may_be_taken_back},
    lifecycle::Exemption,
    plan::Unaccepted,
};

use crate::{
    Ended, Environment, Trouble,
    args::LedgerArgs,
    confirm::confirmed,
    decide::{Desk, ReasonArgs, failed, list, open, told},
    output::{Output, counted, shown},
};

pub(crate) const RESTORE_EXAMPLES: &str = "\
Example, with the lines of the last three days:
  aws logs filter-log-events --log-group-name /aws/lambda/keytide-sweeper --filter-pattern '{ $.keytide = \"exemptions\" }' \\
    --start-time $(( ($(date +%s) - 259200) * 1000 )) --output json --query 'events[].message' | jq -r '.[]' > exemptions.log
  keytide exempt restore exemptions.log --ledger dynamodb:keytide-ledger

Exits with 1 where something may be missing: a line that cannot be read, an account of the ledger of which there is no \
line, an exemption that could not be put back; or be too much: one that the ledger holds and that had been taken back by \
then, as it seems. Each is named.";

/// Going by the ledger again.
#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    #[command(flatten)]
    reason: ReasonArgs,
    /// Accept it without asking
    #[arg(long)]
    yes: bool,
}

/// A sweep a day, and some: a copy that was older at the loss leaves a time of which nothing is known.
const COPY_IS_OLD: SignedDuration = SignedDuration::from_hours(26);

/// Puts back the exemptions that a file of the sweeper's log holds.
pub(crate) async fn restore(
    file: &Path,
    before: Option<Timestamp>,
    ledger: &LedgerArgs,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    let name = shown(&file.to_string_lossy(), 300);
    let unusable = |problem: String| Trouble::Usage(format!("{name}: {problem}; nothing was done"));
    let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
    let Kept { accounts, broken, .. } = latest_exemptions(&text, None);
    for broken in &broken {
        output.remark(&format!("keytide: {name}: {}", shown(&broken.to_string(), 300)));
    }
    if accounts.is_empty() {
        let problem =
            "it has no line with \"keytide\":\"exemptions\" that can be read; expected the sweeper's log";
        return Err(unusable(problem.to_owned()));
    }
    let desk = open(ledger, &environment, now, output).await?;
    let too_late = match before {
        Some(at) => Some((at, format!("of {at} or later"))),
        None => {
            accepted_at(&desk).await?.map(|at| (at, format!("of this table, since its acceptance on {at}")))
        }
    };
    let Kept { accounts, late, .. } = latest_exemptions(&text, too_late.as_ref().map(|(at, _)| *at));
    if let Some((_, which)) = too_late.filter(|_| late > 0) {
        let are = if late == 1 { "is" } else { "are" };
        let lines = counted(late as u64, "line");
        output.remark(&format!("keytide: {lines} {are} {which}: left out; --before gives another time"));
    }
    let mut is_part = !broken.is_empty();
    for account in accounts_of(&desk).await?.iter().filter(|account| !accounts.contains_key(account)) {
        is_part = true;
        output.remark(&format!(
            "keytide: {account}: {name} has no line of it{}: whatever was exempt there is not put back",
            if late > 0 { " from before that" } else { "" }
        ));
    }
    let mut put_back = 0;
    for (account, latest) in &accounts {
        if before.unwrap_or(now).duration_since(latest.at) > COPY_IS_OLD {
            output.remark(&format!(
                "keytide: {account}: its latest line is more than {} hours older than {}: what was exempted or taken \
                 back since then is not known",
                COPY_IS_OLD.as_hours(),
                if before.is_some() { "the time given" } else { "now" }
            ));
        }
        let (number, is_whole) = restore_account(&desk, account, latest, now, output).await?;
        put_back += number;
        is_part |= !is_whole;
    }
    if put_back > 0 {
        output.line("The next sweep tells the channel of each that is exempt again.");
    }
    Ok(if is_part { Ended::SomeFailed } else { Ended::Done })
}

/// When a person accepted this very table: from then on each sweep copied what it held, and not what was lost.
async fn accepted_at(desk: &Desk) -> Result<Option<Timestamp>, Trouble> {
    let Acceptance { at, unaccepted } = desk.ledger.acceptance().await.map_err(|failure| failed(&failure))?;
    match unaccepted {
        // A table that keytide made itself was accepted by nobody.
        None => Ok(at.filter(|at| *at > Timestamp::UNIX_EPOCH)),
        Some(Unaccepted { table_id: Some(_), .. }) => Ok(None),
        Some(Unaccepted { table_id: None, why }) => Err(Trouble::Failed(format!(
            "{}; so which lines are of this table is not known: give --before; nothing was done",
            shown(&why, 600)
        ))),
    }
}

/// The accounts where a key may be exempt: those of whose keys the ledger has open ones, and those that its latest run
/// expected and no sweep has seen.
async fn accounts_of(desk: &Desk) -> Result<BTreeSet<AccountId>, Trouble> {
    let keys = LedgerReader::of(&desk.ledger).all_keys().await.map_err(|failure| failed(&failure))?;
    let open = keys.into_iter().map(|key| key.value).filter(|key| !key.is_closed());
    let mut accounts: BTreeSet<AccountId> = open.map(|key| key.account).collect();
    let runs = desk.ledger.latest_runs(1).await.map_err(|failure| failed(&failure))?;
    let expected = runs.into_iter().flat_map(|run| run.value.expected.into_keys());
    let without_keys: Vec<AccountId> = expected.filter(|account| !accounts.contains(account)).collect();
    for account in without_keys {
        let record = desk.ledger.account(&account).await.map_err(|failure| failed(&failure))?.value;
        if record.swept_at.is_none() {
            accounts.insert(account);
        }
    }
    Ok(accounts)
}

/// How many exemptions were put back, and whether that is all that was to be.
async fn restore_account(
    desk: &Desk,
    account: &AccountId,
    latest: &Latest,
    now: Timestamp,
    output: &mut Output,
) -> Result<(usize, bool), Trouble> {
    let missing = latest.missing();
    let is_nobody = latest.exemptions.is_empty() && missing.is_none();
    let nobody = if is_nobody { ": nobody was exempt" } else { "" };
    output.line(&format!("{account}: as of {}{nobody}", latest.at));
    let (mut put_back, mut is_whole) = (0, true);
    if let Some((missing, of)) = missing {
        is_whole = false;
        output.remark(&format!(
            "keytide: {account}: {missing} of the {of} lines of that sweep are missing: what they hold is not put back"
        ));
    }
    for (key_id, was) in &latest.exemptions {
        let key = shown(key_id, 128);
        match desk.decide().restore_exemption(account, key_id, was, now).await {
            Ok(PutBack::Until(until)) => {
                put_back += 1;
                output.line(&format!("  {key}: exempt until {}", until.strftime("%Y-%m-%d")));
            }
            Ok(PutBack::Ended(ended)) if ended == Timestamp::MIN => {
                output.line(&format!("  {key}: left out: granted in the future, so it is void"));
            }
            Ok(PutBack::Ended(ended)) => {
                output.line(&format!("  {key}: its exemption ended on {}", ended.strftime("%Y-%m-%d")));
            }
            Ok(PutBack::Gone) => {
                output.line(&format!("  {key}: left out: it is deleted, so there is nothing to exempt"));
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
    if missing.is_none() {
        let known = LedgerReader::of(&desk.ledger).exemptions(account).await;
        let known = known.map_err(|failure| failed(&failure))?;
        let is_doubtful = |exemption: &Exemption| may_be_taken_back(exemption, latest.at, now);
        for (key_id, _) in known
            .iter()
            .filter(|(key_id, exemption)| !latest.exemptions.contains_key(*key_id) && is_doubtful(exemption))
        {
            is_whole = false;
            let key = shown(key_id, 128);
            output.remark(&format!(
                "keytide: {key} in {account}: exempt here, and not in the copy of {}: taken back since? `keytide exempt \
                 remove {key} --account {account} --reason …`",
                latest.at
            ));
        }
    }
    Ok((put_back, is_whole))
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
