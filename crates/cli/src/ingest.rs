//! `keytide ingest`: events into a ledger, by the code that does it in AWS, and their messages drawn.

use std::{
    collections::{VecDeque, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    Invocation, TokenSource,
    deliver::{Cause, Deliver, DeliverSettings, Undelivered},
    watch::{Incoming, Record, Telling, Watch, WatchError, Watched},
};
use keytide_aws::directory::{Directory, ReaderRole};
use keytide_core::{
    alert,
    cloudtrail::{self, Outcome},
    delivery::{ClaimRefused, Recipient},
    fact::FactBody,
};
use keytide_local::draw::draw;
use keytide_slack::{
    Answer, Call, ErrorClass, Message, NoAnswer, Post, Slack, Token, WebApi,
    messages::{self, Notice},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    Ended, Environment, Trouble,
    args::{IngestArgs, LedgerChoice},
    input::{self, Item, Origin},
    output::{Output, Style, counted, shown},
    store::{self, IfMissing},
};

/// What is older than this is never posted.
const POSTED_FOR: SignedDuration = SignedDuration::from_hours(1);
/// How long an event may still wait in the watcher's queue. Recorded untold, it would never be told of.
const QUEUED_FOR: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Events at once. What one key's history holds depends on the order, so a lane keeps it.
const LANES: usize = 4;
/// Events under way, at most: it bounds the memory.
const WINDOW: usize = 64;
/// After so many events in a row that could not be recorded or told, the rest is left.
const MOST_FAILURES_IN_A_ROW: u32 = 10;
/// How often one event is tried.
const MOST_TRIES: u32 = 6;
/// A person is in front: the ledger gets the patience of a second receive, and no alert goes out before it
/// has answered.
const FIRST_RECEIVE: u32 = 2;
/// The progress is shown when it takes longer than this.
const PROGRESS_AFTER: Duration = Duration::from_secs(2);
/// How long finding out about one owner may take.
const OWNER_BOUND: Duration = Duration::from_secs(5);

pub(crate) async fn run(
    args: &IngestArgs,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    let posting = posting(args.post, args.channel.clone(), environment)?;
    if !input::is_anything_readable(&args.paths) {
        return Ok(tell_all_bad(args, output));
    }
    let in_dynamodb = matches!(args.ledger.ledger, LedgerChoice::DynamoDb(_));
    let aws = if in_dynamodb || args.reader_role.is_some() {
        Some(store::open_aws(&args.ledger).await?)
    } else {
        None
    };
    let store = store::open_ledger(&args.ledger.ledger, aws.as_ref(), IfMissing::Make, now).await?;

    let channel = posting.as_ref().map_or_else(String::new, |posting| posting.channel.clone());
    let mut settings = DeliverSettings::for_channel(channel);
    settings.accounts = args.account_names.clone();
    let directory = if let (Some(aws), Some(role)) = (&aws, &args.reader_role) {
        settings.rules.own_roles.reader.clone_from(role);
        let role = ReaderRole {
            partition: "aws".to_owned(),
            name: role.clone(),
            external_id: args.external_id.clone(),
            session_name: "keytide-cli".to_owned(),
        };
        Some(Directory::new(&aws.config, role, OWNER_BOUND))
    } else {
        // Nobody is going to be found by trying again.
        settings.owner_lookups = 1;
        settings.owner_may_appear = SignedDuration::ZERO;
        None
    };

    output.remark(&format!("keytide: the ledger is {}", store.words));
    output.remark(&match &aws {
        Some(aws) => format!("keytide: AWS as {}", aws.words),
        None => "keytide: AWS is not used".to_owned(),
    });
    output.remark(&match (&posting, &args.reader_role) {
        (Some(posting), _) => format!(
            "keytide: posts to Slack's channel {} what happened since {}",
            shown(&posting.channel, 30),
            since(now).strftime("%Y-%m-%d %H:%M:%S UTC")
        ),
        (None, _) if args.quiet => "keytide: posts nothing to Slack, and draws nothing".to_owned(),
        (None, _) => "keytide: posts nothing to Slack; messages are drawn here".to_owned(),
    });
    if directory.is_none() {
        output.remark("keytide: owners are not looked up, since no --reader-role is given");
    }

    let session = format!("cli-{}-{}", std::process::id(), now.as_millisecond());
    let plan = Plan {
        settings: settings.clone(),
        is_watched: in_dynamodb,
        told_since: posting.is_some().then(|| since(now)),
        queued_since: now.saturating_sub(QUEUED_FOR).unwrap_or(now),
        quiet: args.quiet,
        // No limit: a person can end it.
        invocation: Invocation::begin(session, now, Duration::from_secs(u64::from(u32::MAX))),
    };
    let ledger = store.ledger;
    let counts = if let Some(Posting { token, web, .. }) = posting {
        let deliver = Deliver::new(ledger, Slack::new(web), TokenSource::Given(token), settings);
        let watch = Watch::new(deliver, directory, Telling::Since(since(now)));
        take_all(watch, args, &plan, output).await?
    } else {
        let token = TokenSource::Given(Token::new(String::new()));
        let deliver = Deliver::new(ledger, Slack::new(NoSlack), token, settings);
        take_all(Watch::new(deliver, directory, Telling::Nothing), args, &plan, output).await?
    };
    output.end_progress();
    output.remark(&counts.summary());
    Ok(counts.ended())
}

/// Names inputs of which none can be read: no ledger is made, or asked, for those.
fn tell_all_bad(args: &IngestArgs, output: &mut Output) -> Ended {
    let mut counts = Counts::default();
    let tally = input::read_all(&args.paths, &mut |item| {
        tell_bad(&item, &mut counts, output);
        ControlFlow::Continue(())
    });
    (counts.files, counts.ignored) = (tally.files, tally.ignored);
    output.remark(&counts.summary());
    Ended::SomeFailed
}

fn since(now: Timestamp) -> Timestamp {
    now.saturating_sub(POSTED_FOR).unwrap_or(now)
}

/// Where to post, with what.
pub(crate) struct Posting {
    pub(crate) token: Token,
    pub(crate) channel: String,
    pub(crate) web: WebApi,
}

/// All that `--post` needs, or everything that is missing.
pub(crate) fn posting(
    is_wanted: bool,
    channel: Option<String>,
    environment: Environment,
) -> Result<Option<Posting>, Trouble> {
    if !is_wanted {
        return Ok(None);
    }
    let channel = channel.or(environment.channel);
    let is_channel = |text: &str| {
        text.len() > 5
            && text.starts_with(['C', 'G'])
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    let mut missing = Vec::new();
    if environment.slack_token.is_none() {
        missing.push("KEYTIDE_SLACK_TOKEN is not set: set it to the bot's token (xoxb-…)".to_owned());
    }
    match &channel {
        None => {
            missing.push("there is no channel: give its id (C…) by --channel or KEYTIDE_CHANNEL".to_owned());
        }
        Some(text) if !is_channel(text) => missing.push(format!(
            "{:?} is no channel's id: expected C and capital letters and digits, as Slack shows it in the \
             channel's details",
            shown(text, 40)
        )),
        Some(_) => {}
    }
    let (Some(token), Some(channel), true) = (environment.slack_token, channel, missing.is_empty()) else {
        return Err(Trouble::Usage(format!("--post: {}", missing.join("; and "))));
    };
    let url = environment.slack_url.as_deref().unwrap_or(WebApi::BASE);
    let web = WebApi::new(url)
        .map_err(|error| Trouble::Usage(format!("KEYTIDE_SLACK_URL: {}", store::chain(&error))))?;
    Ok(Some(Posting { token, channel, web }))
}

/// The Slack of who does not post: there is none, so nothing can be posted by mistake.
pub(crate) struct NoSlack;

impl Post for NoSlack {
    async fn post(&self, _: &Token, _: Call) -> Result<Answer, NoAnswer> {
        Err(NoAnswer::NotSent("nothing is posted without --post".to_owned()))
    }
}

/// What holds for every event of a run.
struct Plan {
    settings: DeliverSettings,
    /// Whether the ledger is the one that the functions keep.
    is_watched: bool,
    /// Events since then are posted now; `None`: none is.
    told_since: Option<Timestamp>,
    /// Events since then may still be in the watcher's queue.
    queued_since: Timestamp,
    quiet: bool,
    invocation: Invocation,
}

#[derive(Debug, Default)]
struct Counts {
    files: u64,
    ignored: u64,
    events: u64,
    recorded: u64,
    known: u64,
    not_ours: u64,
    /// Of those recorded or known.
    failed_calls: u64,
    unreadable: u64,
    bad_files: u64,
    refused: u64,
    failed: u64,
    /// Of those recorded, known or failed.
    perhaps_twice: u64,
    stopped: bool,
    in_a_row: u32,
}

impl Counts {
    fn summary(&self) -> String {
        let mut parts = vec![format!("{} recorded", self.recorded)];
        let mut some = |count: u64, words: &str| {
            if count > 0 {
                parts.push(format!("{count} {words}"));
            }
        };
        some(self.known, "known already");
        some(self.not_ours, "not about keys");
        some(self.failed_calls, "of all these were failed calls");
        some(self.unreadable, "unreadable");
        some(self.refused, "refused, being the watcher's to tell");
        some(self.failed, "failed");
        some(self.perhaps_twice, "of all these may have been posted twice");
        if self.bad_files > 0 {
            parts.push(format!("{} could not be read", counted(self.bad_files, "file")));
        }
        if self.ignored > 0 {
            parts.push(format!("{} in folders left alone", counted(self.ignored, "other file")));
        }
        let extent = if self.stopped {
            "until it stopped".to_owned()
        } else {
            format!("in {}", counted(self.files, "file"))
        };
        format!("{} {extent}: {}", counted(self.events, "event"), parts.join(", "))
    }

    fn ended(&self) -> Ended {
        let nothing_else = self.recorded + self.known + self.unreadable + self.failed + self.bad_files == 0;
        if self.refused > 0 && nothing_else {
            Ended::Refused
        } else if self.unreadable + self.bad_files + self.refused + self.failed > 0 || self.stopped {
            Ended::SomeFailed
        } else {
            Ended::Done
        }
    }
}

/// What became of an event.
struct Taken {
    answer: Result<Watched, WatchError>,
    /// Whether a message of it may stand on Slack twice.
    perhaps_twice: bool,
}

/// An event on its way through a lane.
struct Job {
    json: Vec<u8>,
    answer: oneshot::Sender<Taken>,
}

/// An input whose turn to be told of comes when all before it have had theirs.
enum Waiting {
    Event(Origin, oneshot::Receiver<Taken>),
    NotOurs(Origin),
    Refused(Origin),
    Bad(Item),
}

async fn take_all<P: Post + 'static>(
    watch: Watch<P>,
    args: &IngestArgs,
    plan: &Plan,
    output: &mut Output,
) -> Result<Counts, Trouble> {
    let watch = Arc::new(watch);
    let (lanes, at_work): (Vec<mpsc::Sender<Job>>, Vec<JoinHandle<()>>) =
        (0..LANES).map(|_| lane(Arc::clone(&watch), plan.invocation.clone())).unzip();
    let (items, mut inputs) = mpsc::channel(WINDOW);
    let paths = args.paths.clone();
    let reader = tokio::task::spawn_blocking(move || {
        input::read_all(&paths, &mut |item| match items.blocking_send(item) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })
    });

    let began = Instant::now();
    let mut counts = Counts::default();
    let mut waiting = VecDeque::new();
    while let Some(item) = inputs.recv().await {
        let Item::Event { origin, json } = item else {
            waiting.push_back(Waiting::Bad(item));
            continue;
        };
        let outcome = cloudtrail::read(&json);
        if let Some(reason) = is_nothing(&outcome) {
            let Origin { file, line, .. } = origin;
            waiting.push_back(Waiting::Bad(Item::BadEvent { file, line, column: None, reason }));
        } else if !is_ours(&outcome, plan) {
            waiting.push_back(Waiting::NotOurs(origin));
        } else if is_refused(&outcome, plan) {
            waiting.push_back(Waiting::Refused(origin));
        } else {
            // A user's change touches keys that other lanes may be at: it waits for all before it, and all
            // after it wait for it.
            let stands_alone = matches!(outcome, Outcome::Owner(_));
            if stands_alone {
                settle(&mut waiting, 0, plan, &mut counts, output).await;
            }
            let (answer, answered) = oneshot::channel();
            let number = lane_of(&outcome);
            if let Some(lane) = lanes.get(number) {
                // A lane that is gone answers by its silence, below.
                let _ = lane.send(Job { json, answer }).await;
            }
            waiting.push_back(Waiting::Event(origin, answered));
            if stands_alone {
                settle(&mut waiting, 0, plan, &mut counts, output).await;
            }
        }
        settle(&mut waiting, WINDOW, plan, &mut counts, output).await;
        if counts.stopped {
            break;
        }
        if began.elapsed() > PROGRESS_AFTER {
            output.start_progress();
        }
    }
    drop(inputs);
    settle(&mut waiting, 0, plan, &mut counts, output).await;
    drop(lanes);
    for lane in at_work {
        // A lane that panicked has been told of: its events failed.
        let _ = lane.await;
    }
    if !counts.stopped {
        // One that was stopped may wait for standard input for ever.
        let tally = reader.await.map_err(|error| Trouble::Failed(format!("reading the inputs: {error}")))?;
        (counts.files, counts.ignored) = (tally.files, tally.ignored);
    }
    Ok(counts)
}

/// Takes events one after another; events of one key take the same lane.
fn lane<P: Post + 'static>(
    watch: Arc<Watch<P>>,
    invocation: Invocation,
) -> (mpsc::Sender<Job>, JoinHandle<()>) {
    let (jobs, mut next) = mpsc::channel::<Job>(WINDOW);
    let at_work = tokio::spawn(async move {
        while let Some(Job { json, answer }) = next.recv().await {
            // Nobody waits for the answer where the run was stopped.
            let _ = answer.send(take(&watch, &json, &invocation).await);
        }
    });
    (jobs, at_work)
}

fn lane_of(outcome: &Outcome) -> usize {
    let mut hasher = DefaultHasher::new();
    match outcome {
        Outcome::Key(event) => (&event.call.account, &event.key_id).hash(&mut hasher),
        Outcome::Failed(failed) => (&failed.call.account, &failed.key_id).hash(&mut hasher),
        Outcome::Owner(event) => event.call.account.hash(&mut hasher),
        Outcome::Unreadable(partial) | Outcome::NotOurs(partial) => partial.event_id.hash(&mut hasher),
    }
    usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default()
}

/// Takes one event, as often as it makes sense. What its tries did is told as if it were one: a later one finds
/// done what an earlier one did.
async fn take<P: Post>(watch: &Watch<P>, json: &[u8], invocation: &Invocation) -> Taken {
    let began = invocation.now();
    let (mut tries, mut perhaps_twice) = (0, false);
    let (mut sent_before, mut in_doubt_before) = (Vec::new(), Vec::new());
    loop {
        let mut answer = watch.event(&Incoming { json, received: FIRST_RECEIVE + tries }, invocation).await;
        tries += 1;
        let error = match &mut answer {
            Ok(Watched::NotOurs(_)) => return Taken { answer, perhaps_twice },
            Ok(Watched::Recorded(record)) => {
                perhaps_twice |= record.sent.iter().any(|(to, _)| in_doubt_before.contains(to));
                if tries > 1 && record.fact.recorded_at >= began {
                    record.known_before = false;
                }
                sent_before.append(&mut record.sent);
                record.sent = sent_before;
                return Taken { answer, perhaps_twice };
            }
            Err(error) => error,
        };
        let in_doubt = in_doubt(error, &invocation.session);
        let is_in_doubt_again = in_doubt.iter().any(|to| in_doubt_before.contains(to));
        perhaps_twice |= is_in_doubt_again;
        perhaps_twice |= error.sent().iter().any(|(to, _)| in_doubt_before.contains(to));
        sent_before.extend_from_slice(error.sent());
        match worth_another_try(error, tries) {
            // A message that may be there is posted once more, for twice is better than never; not thrice.
            Some(wait) if tries < MOST_TRIES && !is_in_doubt_again => sleep(wait).await,
            _ => return Taken { answer, perhaps_twice },
        }
        in_doubt_before.extend(in_doubt);
    }
}

/// Whose message may be on Slack although it is not known to be: Slack's answer was lost or says nothing, or it
/// could not be recorded, so that our own claim still stands.
fn in_doubt(error: &WatchError, session: &str) -> Vec<Recipient> {
    let WatchError::Undelivered { troubles, .. } = error else { return Vec::new() };
    let is_in_doubt = |trouble: &&Undelivered| match &trouble.cause {
        Cause::Slack(error) => error.class == ErrorClass::Ambiguous,
        Cause::Claimed(ClaimRefused::Claimed { by, .. }) => by == session,
        Cause::Claimed(ClaimRefused::Finished)
        | Cause::Ledger(_)
        | Cause::Token(_)
        | Cause::Directory(_)
        | Cause::NoSuchUser
        | Cause::HeldToJoin => false,
    };
    troubles.iter().filter(is_in_doubt).map(|trouble| trouble.recipient).collect()
}

fn worth_another_try(error: &WatchError, tries: u32) -> Option<Duration> {
    let growing = Duration::from_millis(250) * 2_u32.saturating_pow(tries);
    match error {
        WatchError::NotRecorded { failure, .. } | WatchError::KeysBehind { failure, .. } => {
            failure.is_retryable().then_some(growing)
        }
        WatchError::Undelivered { troubles, .. } => {
            let passes = |trouble: &Undelivered| match &trouble.cause {
                Cause::Ledger(failure) | Cause::Token(failure) => failure.is_retryable(),
                Cause::Slack(error) => {
                    matches!(error.class, ErrorClass::Retry { .. } | ErrorClass::Ambiguous)
                }
                Cause::Claimed(_) | Cause::Directory(_) | Cause::NoSuchUser | Cause::HeldToJoin => true,
            };
            troubles.iter().all(passes).then(|| error.retry_after().unwrap_or(growing))
        }
    }
}

/// Whether this has nothing of an event at all, and why. The watcher tells even of such, since it came as an
/// event; from a file it is most likely something else.
fn is_nothing(outcome: &Outcome) -> Option<String> {
    let Outcome::Unreadable(partial) = outcome else { return None };
    let is_nothing =
        partial.event_id.is_none() && partial.envelope_id.is_none() && partial.event_name.is_none();
    is_nothing.then(|| partial.reason.clone())
}

/// Whether the watch has anything to do with it: a call that says nothing about keys may still be one that
/// nobody should make with our own roles.
fn is_ours(outcome: &Outcome, plan: &Plan) -> bool {
    match outcome {
        Outcome::NotOurs(partial) => alert::for_other_call(&plan.settings.rules, "", partial).is_some(),
        _ => true,
    }
}

/// Whether recording this event would keep the watcher from telling of it: it is not told of now, and the
/// watcher may still have it in its queue. (Of an event without a time it cannot be told how old it is.)
fn is_refused(outcome: &Outcome, plan: &Plan) -> bool {
    let at = match outcome {
        Outcome::Key(event) => Some(event.call.at),
        Outcome::Failed(failed) => Some(failed.call.at),
        Outcome::Owner(event) => Some(event.call.at),
        Outcome::Unreadable(partial) | Outcome::NotOurs(partial) => partial.at,
    };
    let is_told = plan.told_since.is_some_and(|since| at.is_some_and(|at| at >= since));
    let may_be_queued = at.is_none_or(|at| at >= plan.queued_since);
    plan.is_watched && may_be_queued && !is_told
}

/// Tells what became of the oldest inputs, in their order, until no more than `most` are under way.
async fn settle(
    waiting: &mut VecDeque<Waiting>,
    most: usize,
    plan: &Plan,
    counts: &mut Counts,
    output: &mut Output,
) {
    while waiting.len() > most {
        let Some(first) = waiting.pop_front() else { return };
        match first {
            Waiting::Bad(item) => tell_bad(&item, counts, output),
            Waiting::NotOurs(origin) => {
                counts.events += 1;
                counts.not_ours += 1;
                output.progress(counts.events, &origin.file);
            }
            Waiting::Refused(origin) => {
                counts.events += 1;
                counts.refused += 1;
                output.remark(&format!(
                    "keytide: {origin}: refused: it is younger than 14 days, so the watcher may have it in its queue, \
                     and recorded here, untold, it would never be told of; --post tells Slack of the last hour's"
                ));
            }
            Waiting::Event(origin, answered) => {
                counts.events += 1;
                match answered.await {
                    Ok(Taken { answer, perhaps_twice }) => {
                        match answer {
                            Ok(Watched::NotOurs(_)) => counts.not_ours += 1,
                            Ok(Watched::Recorded(record)) => {
                                tell_record(&origin, &record, plan, counts, output);
                            }
                            Err(error) => tell_failure(&origin, &error.to_string(), counts, output),
                        }
                        if perhaps_twice {
                            counts.perhaps_twice += 1;
                            output.remark(&format!(
                                "keytide: {origin}: it was not clear whether Slack had taken its message, so it was \
                                 posted again: it may be there twice"
                            ));
                        }
                    }
                    Err(_) => {
                        tell_failure(&origin, "it was not finished: a bug, please report it", counts, output);
                    }
                }
                output.progress(counts.events, &origin.file);
            }
        }
    }
}

fn tell_bad(item: &Item, counts: &mut Counts, output: &mut Output) {
    match item {
        Item::Event { .. } => {}
        Item::BadEvent { file, line, column, reason } => {
            counts.events += 1;
            counts.unreadable += 1;
            let place = input::place(file, *line, *column);
            output.remark(&format!("keytide: {place}: unreadable: {}", shown(reason, 500)));
        }
        Item::BadFile { file, reason } => {
            counts.bad_files += 1;
            output.remark(&format!("keytide: {}: {}", shown(file, 300), shown(reason, 500)));
        }
    }
}

fn tell_failure(origin: &Origin, reason: &str, counts: &mut Counts, output: &mut Output) {
    counts.failed += 1;
    counts.in_a_row += 1;
    if counts.stopped {
        return;
    }
    output.remark(&format!("keytide: {origin}: failed: {}", shown(reason, 600)));
    if counts.in_a_row >= MOST_FAILURES_IN_A_ROW {
        counts.stopped = true;
        output.remark(&format!(
            "keytide: {MOST_FAILURES_IN_A_ROW} events in a row failed, so the rest is left; mend the cause and run \
             this again: what is recorded stays, and is not recorded twice"
        ));
    }
}

fn tell_record(origin: &Origin, record: &Record, plan: &Plan, counts: &mut Counts, output: &mut Output) {
    counts.in_a_row = 0;
    if record.known_before {
        counts.known += 1;
    } else {
        counts.recorded += 1;
    }
    match &record.fact.body {
        FactBody::FailedCall { .. } => counts.failed_calls += 1,
        FactBody::Unreadable { partial } => {
            counts.unreadable += 1;
            output.remark(&format!("keytide: {origin}: unreadable: {}", shown(&partial.reason, 500)));
        }
        FactBody::Key { .. }
        | FactBody::Owner { .. }
        | FactBody::OwnRole { .. }
        | FactBody::Observed { .. }
        | FactBody::Disabled { .. }
        | FactBody::Decided { .. } => {}
    }
    let is_news = !record.known_before || !record.sent.is_empty();
    if plan.quiet || !is_news || !output.is_open() {
        return;
    }
    let notice = Notice {
        fact: &record.fact,
        severity: record.announcement.severity,
        owner: &record.owner,
        accounts: &plan.settings.accounts,
        rules: &plan.settings.rules,
        in_ledger: true,
    };
    for name in &record.announcement.names {
        let slack_id = record.owner.owner().and_then(|owner| owner.tags.slack_id());
        let (to, message) = match (name.recipient, slack_id) {
            (Recipient::Channel, _) => ("the channel".to_owned(), messages::for_channel(&notice)),
            (Recipient::Owner, Some(id)) => (id.as_str().to_owned(), messages::for_owner(&notice)),
            // The channel's message says that the owner cannot be told.
            (Recipient::Owner, None) | (Recipient::Iam, _) => continue,
        };
        let posted = record.sent.iter().any(|(recipient, _)| *recipient == name.recipient);
        let how = if posted { "posted" } else { "not posted" };
        let heading = format!("{}: to {to}, {how}", origin.heading());
        output.line(&output.styled(Style::Dim, &heading));
        output.print(&drawn(&message, output));
        output.line("");
    }
}

/// A message as it looks.
pub(crate) fn drawn(message: &Message, output: &Output) -> String {
    // A message is texts and lists: it always has a spelling in JSON.
    let value = serde_json::to_value(message).unwrap_or_default();
    draw(&value, output.width, output.colour)
}

#[cfg(test)]
mod tests {
    use keytide_aws::Failure;
    use keytide_slack::SlackError;

    use super::*;

    fn undelivered(trouble: Undelivered) -> WatchError {
        WatchError::Undelivered { troubles: vec![trouble], sent: Vec::new(), happened: None }
    }

    fn slack(class: ErrorClass) -> WatchError {
        let cause = Cause::Slack(SlackError { class, detail: "x".to_owned() });
        undelivered(Undelivered { recipient: Recipient::Channel, cause, retry_after: None })
    }

    #[test]
    fn what_a_person_must_mend_is_not_tried_again() {
        assert_eq!(worth_another_try(&slack(ErrorClass::Configuration { token_refused: true }), 1), None);
        assert_eq!(worth_another_try(&slack(ErrorClass::OurFault), 1), None);
        assert!(worth_another_try(&slack(ErrorClass::Retry { after: None }), 1).is_some());
        let denied = Failure::operators("x", "AccessDenied");
        assert_eq!(worth_another_try(&WatchError::NotRecorded { failure: denied, alerted: None }, 1), None);
        let held = undelivered(Undelivered {
            recipient: Recipient::Channel,
            cause: Cause::HeldToJoin,
            retry_after: Some(Duration::from_secs(31)),
        });
        assert_eq!(worth_another_try(&held, 3), Some(Duration::from_secs(31)));
    }

    #[test]
    fn a_message_is_in_doubt_where_slack_or_the_ledger_left_it_open() {
        let to_channel =
            |cause| undelivered(Undelivered { recipient: Recipient::Channel, cause, retry_after: None });
        let claimed = |by: &str| {
            to_channel(Cause::Claimed(ClaimRefused::Claimed {
                by: by.to_owned(),
                until: Timestamp::UNIX_EPOCH,
                now: Timestamp::UNIX_EPOCH,
            }))
        };
        assert_eq!(in_doubt(&slack(ErrorClass::Ambiguous), "cli-1"), [Recipient::Channel]);
        assert_eq!(in_doubt(&claimed("cli-1"), "cli-1"), [Recipient::Channel], "it could not be recorded");
        assert_eq!(in_doubt(&claimed("watcher-7"), "cli-1"), []);
        assert_eq!(in_doubt(&slack(ErrorClass::Retry { after: None }), "cli-1"), []);
        assert_eq!(in_doubt(&to_channel(Cause::HeldToJoin), "cli-1"), []);
    }

    #[test]
    fn a_run_ends_as_its_inputs_did() {
        let ended = |counts: Counts| counts.ended();
        assert_eq!(ended(Counts::default()), Ended::Done);
        assert_eq!(ended(Counts { recorded: 3, not_ours: 2, ..Counts::default() }), Ended::Done);
        assert_eq!(ended(Counts { refused: 1, not_ours: 2, ..Counts::default() }), Ended::Refused);
        assert_eq!(ended(Counts { refused: 1, recorded: 2, ..Counts::default() }), Ended::SomeFailed);
        assert_eq!(ended(Counts { unreadable: 1, recorded: 2, ..Counts::default() }), Ended::SomeFailed);
        assert_eq!(ended(Counts { bad_files: 1, ..Counts::default() }), Ended::SomeFailed);
    }
}
