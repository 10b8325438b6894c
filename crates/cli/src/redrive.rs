//! `keytide redrive`: the events that the watcher gave up, shown and sent back.

use clap::Args;
use keytide_aws::{
    Failure,
    queue::{DeadLetters, Given, LOOKED_AT, NotSentBack},
};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    Ended, Trouble,
    args::LedgerArgs,
    confirm::confirmed,
    output::{Output, counted, shown, table},
    store,
};

/// So many are shown and sent back at once; more are for another time, and that is said.
const MOST: usize = 1_000;

pub(crate) const EXAMPLES: &str = "\
Examples:
  keytide redrive --profile security
  keytide redrive --profile security --yes

It needs the policy PREFIX-redrive. While it asks, the events are hidden from others for some minutes; what is not sent \
back then waits on in PREFIX-events-dead, for fourteen days from the event's first day. Of PREFIX-accounts-dead nothing need \
be sent back: the next run sweeps every account.

Exits with 1 where an event could not be sent back: it is named, with where it is; where there may be more than the \
1,000 that it takes at once; where events are hidden by somebody else's look; and where more than five minutes went by, so \
that others may see them again. With 3 where it was not confirmed.";

/// Which installation's, and whether to ask.
#[derive(Debug, Args)]
pub(crate) struct RedriveArgs {
    /// What the names of the queues begin with, as the template's parameter Prefix
    #[arg(long, value_name = "NAME", default_value = "keytide")]
    prefix: String,
    /// Send them back without asking
    #[arg(long)]
    yes: bool,
    /// The AWS profile; without it, AWS's usual chain
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The AWS region: keytide stands where IAM's events are
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    region: String,
}

pub(crate) async fn run(args: &RedriveArgs, output: &mut Output) -> Result<Ended, Trouble> {
    let aws = store::open_aws(&LedgerArgs::for_aws(args.profile.clone(), args.region.clone())).await?;
    output.remark(&format!("keytide: AWS as {}", aws.words));
    let failed = |failure: Failure| Trouble::Failed(format!("redrive: {}", shown(&failure.to_string(), 600)));
    let (from, to) = (format!("{}-events-dead", args.prefix), format!("{}-events", args.prefix));
    let dead = DeadLetters::open(&aws.config, &from, &to).await.map_err(failed)?;
    // Before any is taken: what is taken is hidden, too.
    let hidden = dead.hidden().await.map_err(failed)?;
    let looked_at = Instant::now();
    let given_up = dead.take(MOST).await.map_err(failed)?;
    if given_up.is_empty() {
        return Ok(none_seen(hidden.max(dead.hidden().await.map_err(failed)?), &from, output));
    }
    let rows = given_up.iter().map(row).collect();
    output.line(&table(&["EVENT", "WHAT", "ACCOUNT", "WHEN", "RECEIVED"], rows, &[4]));
    let number = given_up.len();
    let may_be_more = number >= MOST;
    output.line(&if may_be_more {
        format!("The first {number} events given up in {from}; more may wait: run it again after this.")
    } else {
        format!("{} given up in {from}.", counted(number as u64, "event"))
    });
    if hidden > 0 {
        say_hidden(hidden, &from, output);
    }
    if !confirmed(args.yes, &format!("To send them back to {to}, type yes: "), "they wait on", output)? {
        dead.leave(&given_up).await;
        return Ok(Ended::Refused);
    }
    let (sent, all_are_sent) = send_back(&dead, &given_up, looked_at, output).await;
    let is_whole = all_are_sent && !may_be_more && hidden == 0;
    output.line(&format!("{} sent back to {to}.", counted(sent, "event")));
    if may_be_more {
        output
            .remark(&format!("keytide: these were the first {number}: run it again for what waits besides"));
    }
    Ok(if is_whole { Ended::Done } else { Ended::SomeFailed })
}

/// How many are sent back, and whether that is all of them. What others may see again they may have sent back, too.
async fn send_back(
    dead: &DeadLetters,
    given_up: &[Given],
    looked_at: Instant,
    output: &mut Output,
) -> (u64, bool) {
    let (mut sent, mut is_whole) = (0, true);
    for (number, one) in given_up.iter().enumerate() {
        if looked_at.elapsed() >= LOOKED_AT {
            output.remark(&format!(
                "keytide: more than {} minutes went by since they were looked at, so others may see them again: {} left \
                 as it was, run it again",
                LOOKED_AT.as_secs() / 60,
                counted((given_up.len() - number) as u64, "event")
            ));
            return (sent, false);
        }
        let done = dead.send_back(one).await;
        sent += u64::from(matches!(done, Ok(()) | Err(NotSentBack::IsInBoth(_))));
        if let Err(why) = done {
            is_whole = false;
            let [event, ..] = words(one);
            output.remark(&format!("keytide: {event} {}", shown(&why.to_string(), 600)));
        }
    }
    (sent, is_whole)
}

/// Nothing waits, or nothing that can be seen now.
fn none_seen(hidden: u64, from: &str, output: &mut Output) -> Ended {
    if hidden == 0 {
        output.line(&format!("Nothing waits in {from}."));
        return Ended::Done;
    }
    say_hidden(hidden, from, output);
    Ended::SomeFailed
}

fn say_hidden(hidden: u64, from: &str, output: &mut Output) {
    let minutes = LOOKED_AT.as_secs() / 60;
    output.remark(&format!(
        "keytide: about {} in {from} cannot be seen now, since somebody looked at them within the last {minutes} \
         minutes: run it again after that",
        counted(hidden, "event")
    ));
}

fn row(one: &Given) -> Vec<String> {
    let mut row = words(one).to_vec();
    row.push(one.received.to_string());
    row
}

/// The event's id, name, account and time, as far as it says so.
fn words(one: &Given) -> [String; 4] {
    let event: Value = serde_json::from_str(&one.body).unwrap_or_default();
    let text = |path: &[&str]| {
        path.iter().find_map(|path| event.pointer(path)?.as_str()).map(|text| shown(text, 64))
    };
    let id = text(&["/detail/eventID", "/id"]).unwrap_or_else(|| format!("message {}", shown(&one.id, 64)));
    let or = |found: Option<String>| found.unwrap_or_else(|| "not readable".to_owned());
    [
        id,
        or(text(&["/detail/eventName", "/detail-type"])),
        or(text(&["/detail/recipientAccountId", "/account"])),
        or(text(&["/detail/eventTime", "/time"])),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keytide_local::{HOME_ACCOUNT, LocalAws};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_others_may_see_again_is_not_sent_back() {
        let aws = LocalAws::in_memory().unwrap();
        let add = |name: &str| aws.queues().add(HOME_ACCOUNT, name, Duration::from_mins(6)).unwrap();
        let (from, to) = (add("keytide-events-dead"), add("keytide-events"));
        let config = aws.sdk_config();
        let sqs = aws_sdk_sqs::Client::new(&config);
        sqs.send_message().queue_url(&from).message_body("{}").send().await.unwrap();
        let dead = DeadLetters::open(&config, "keytide-events-dead", "keytide-events").await.unwrap();
        let looked_at = Instant::now();
        let given_up = dead.take(MOST).await.unwrap();
        let mut output = Output::new(true);
        let late = looked_at.checked_sub(LOOKED_AT).unwrap();
        assert_eq!(send_back(&dead, &given_up, late, &mut output).await, (0, false));
        assert_eq!(aws.queues().length(&to).unwrap(), 0);
        assert_eq!(send_back(&dead, &given_up, looked_at, &mut output).await, (1, true));
        assert_eq!(aws.queues().length(&to).unwrap(), 1);
    }
}
