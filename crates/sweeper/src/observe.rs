//! What is said of a run: one line in the log for each message, and numbers in CloudWatch's embedded metric
//! format.
//!
//! Never logged, at any level: the token and every other secret, whole bodies, the text of a panic.

use std::time::Duration;

use jiff::Timestamp;
use keytide_app::copy::{LONGEST_LINE_BYTES, lines_of};
use keytide_app::run::{Again, BeginError, Begun, DigestEnd, Done, End, Outcome};
use keytide_function::metrics::{self, document};
use serde_json::json;

use crate::records::Record;

/// How the work on one message ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The run is done with the account.
    Done(Box<Done>),
    /// It has to come again.
    Again(Box<Again>),
    /// It is no message of ours: it comes again until the queue gives it to its dead letters.
    Unreadable(String),
    /// It was broken off: the invocation's time was over. What was done stays done.
    OutOfTime,
    /// It was not begun: too little of the invocation's time was left.
    Untouched,
    /// It panicked: a bug. Where is in the log.
    Panicked,
}

/// What became of one message.
#[derive(Debug)]
pub(crate) struct Report {
    /// How it ended.
    pub(crate) ended: Ended,
    /// The account, where the message could be read.
    pub(crate) account: Option<String>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Report {
    /// Whether, and after how long, the message has to come again.
    pub(crate) fn comes_again(&self, received: u32) -> Option<Duration> {
        match &self.ended {
            Ended::Done(_) => None,
            Ended::Again(again) => Some(again.after),
            // Nothing is wrong with it: another invocation takes it at once.
            Ended::Untouched => Some(Duration::from_secs(1)),
            Ended::Unreadable(_) | Ended::OutOfTime | Ended::Panicked => {
                Some(Duration::from_mins(1) * received.clamp(1, 15))
            }
        }
    }

    /// The cause of a failure, a word.
    fn cause(&self) -> Option<&'static str> {
        match &self.ended {
            Ended::Done(_) => None,
            Ended::Again(again) => Some(again.word),
            Ended::Unreadable(_) => Some("unreadable-message"),
            Ended::OutOfTime => Some("out-of-time"),
            Ended::Untouched => Some("no-time-left"),
            Ended::Panicked => Some("panic"),
        }
    }

    fn outcome(&self) -> Option<&Outcome> {
        match &self.ended {
            Ended::Done(done) => Some(&done.outcome),
            Ended::Again(again) => again.outcome.as_deref(),
            _ => None,
        }
    }

    fn end(&self) -> Option<&End> {
        match &self.ended {
            Ended::Done(done) => done.end.as_ref(),
            Ended::Again(again) => again.end.as_ref(),
            _ => None,
        }
    }

    fn word(&self) -> &'static str {
        match &self.ended {
            Ended::Done(done) if done.was_done => "known",
            Ended::Done(done) if done.outcome.is_whole() => "swept",
            Ended::Done(done) if done.outcome.was_read => "swept-in-part",
            Ended::Done(_) => "failed",
            Ended::Again(again) if again.is_passing => "waits",
            Ended::Untouched => "untouched",
            Ended::Again(_) | Ended::Unreadable(_) | Ended::OutOfTime | Ended::Panicked => "comes-again",
        }
    }

    fn error(&self) -> Option<String> {
        match &self.ended {
            Ended::Done(done) => done.outcome.failed.clone(),
            Ended::Again(again) => Some(again.cause.clone()),
            Ended::Unreadable(problem) => Some(problem.clone()),
            Ended::OutOfTime => Some("the invocation's time was over; what was done stays done".to_owned()),
            Ended::Untouched => {
                Some("too little of the invocation's time was left to begin with it".to_owned())
            }
            Ended::Panicked => {
                Some("a bug in keytide: the line before says where; please report it".to_owned())
            }
        }
    }

    /// Writes the one line.
    pub(crate) fn log(&self, record: &Record) {
        let outcome = self.outcome();
        let (word, cause, error) = (self.word(), self.cause(), self.error());
        let comes_again_seconds = self.comes_again(record.received).map(|pause| pause.as_secs());
        let seconds = self.took.as_secs_f64();
        let told = outcome.map(|outcome| outcome.told);
        let disabled = outcome.map(|outcome| outcome.disabled.count());
        let held = outcome.map(|outcome| outcome.held.count());
        let troubles = outcome.map(|outcome| outcome.undelivered.count());
        let calls = outcome.map(|outcome| outcome.calls);
        let tries = outcome.map(|outcome| outcome.tries);
        // One macro call for each level: a level is part of the call's constant description.
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    message_id = record.id,
                    received = record.received,
                    account = self.account,
                    outcome = word,
                    told,
                    disabled,
                    held,
                    troubles,
                    calls,
                    tries,
                    seconds,
                    cause,
                    comes_again_seconds,
                    error,
                    $text
                )
            };
        }
        match word {
            "failed" | "swept-in-part" => line!(error, "an account was not swept, or not wholly"),
            "comes-again" => line!(error, "a message failed and comes again"),
            "waits" | "untouched" => line!(info, "a message has to come again"),
            _ => line!(info, "an account is done"),
        }
        if let Some(end) = self.end() {
            log_end(end);
        }
    }

    /// What is kept of people's decisions outside the ledger, a line each. It stands in the log whatever its level.
    pub(crate) fn copies(&self) -> Vec<String> {
        lines_of(self.outcome(), self.end())
    }

    /// The numbers, a line for each document.
    pub(crate) fn metrics(&self, at: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(cause) = self.cause() {
            lines.push(document(at, Some(("Cause", cause)), &[("SweepFailures", "Count", json!(1))]));
        }
        // Counted once, when the run is done with the account: earlier tries are in it. Each later visit counts what it did,
        // and neither the account nor what waits in it.
        let counted = match &self.ended {
            Ended::Done(done) if !done.was_done => Some((&done.outcome, done.is_taken_up)),
            Ended::Again(again) if again.is_last => {
                again.outcome.as_deref().map(|outcome| (outcome, again.is_taken_up))
            }
            _ => None,
        };
        if let Some((outcome, is_taken_up)) = counted {
            let is_whole = outcome.is_whole();
            let troubles = outcome.undelivered.count() + usize::from(!is_whole);
            let waits = |number: usize| if is_taken_up { 0 } else { number };
            lines.push(document(
                at,
                None,
                &[
                    ("AccountsSwept", "Count", json!(u8::from(is_whole && !is_taken_up))),
                    ("AccountsFailed", "Count", json!(u8::from(!is_whole && !is_taken_up))),
                    ("Notices", "Count", json!(outcome.told)),
                    ("Disables", "Count", json!(outcome.disabled.count())),
                    ("DisablesHeld", "Count", json!(waits(outcome.held.count()))),
                    ("DisablesOverCap", "Count", json!(outcome.over_cap)),
                    ("DisablesHalted", "Count", json!(waits(outcome.halted))),
                    ("KeysUnheard", "Count", json!(outcome.unheard)),
                    ("SweepTroubles", "Count", json!(troubles)),
                    ("IamCalls", "Count", json!(outcome.calls)),
                    ("SecondsPerAccount", "Seconds", json!(self.took.as_secs_f64())),
                ],
            ));
        }
        lines.extend(self.end().map(|end| end_metrics(end, at)));
        lines
    }
}

fn log_end(end: &End) {
    let silent: Vec<&str> = end.silent.iter().map(keytide_core::AccountId::as_str).collect();
    let (expected, swept, silent) = (end.expected, end.swept, silent.join(","));
    let oldest_sweep_hours = end.oldest_sweep_hours;
    match &end.digest {
        DigestEnd::Failed { cause, .. } => {
            tracing::error!(
                expected,
                swept,
                silent,
                oldest_sweep_hours,
                cause,
                "a run ended and its digest is still to be posted"
            );
        }
        digest if swept < expected => {
            tracing::error!(
                expected,
                swept,
                silent,
                oldest_sweep_hours,
                ?digest,
                "a run ended and is not whole"
            );
        }
        digest => tracing::info!(expected, swept, oldest_sweep_hours, ?digest, "a run ended"),
    }
}

fn end_metrics(end: &End, at: Timestamp) -> String {
    document(
        at,
        None,
        &[
            ("OldestSweepAgeHours", "None", json!(end.oldest_sweep_hours)),
            ("AccountsMissing", "Count", json!(end.expected.saturating_sub(end.swept))),
            ("AccountsSilent", "Count", json!(end.silent.len())),
            ("HaltSet", "Count", json!(u8::from(end.is_halted))),
            ("DigestsPosted", "Count", json!(u8::from(end.digest == DigestEnd::Posted))),
            ("DigestsFailed", "Count", json!(u8::from(matches!(end.digest, DigestEnd::Failed { .. })))),
        ],
    )
}

/// Logs how a `begin` went.
pub(crate) fn log_begin(begun: &Result<Begun, BeginError>) {
    match begun {
        Ok(Begun::Started { date, accounts }) => {
            tracing::info!(run = %date, accounts, outcome = "started", "a run began");
        }
        Ok(Begun::UnderWay { date }) => {
            tracing::info!(run = %date, outcome = "under-way", "the run has begun already");
        }
        Ok(Begun::Ended { date, end }) => {
            tracing::info!(run = %date, outcome = "ended", "the run began hours ago");
            log_end(end);
        }
        Err(error) => tracing::error!(%error, outcome = "failed", "a run could not begin"),
    }
}

/// What a `begin` that ended a run keeps of people's decisions outside the ledger.
pub(crate) fn begin_copies(begun: &Result<Begun, BeginError>) -> Vec<String> {
    match begun {
        Ok(Begun::Ended { end, .. }) => lines_of(None, Some(end)),
        _ => Vec::new(),
    }
}

/// Writes what is kept of people's decisions. A line that the log cuts is no copy, and nobody would know of it before
/// the day when it is needed: so that is an error now.
pub(crate) fn keep(copies: &[String]) {
    metrics::write(copies);
    for bytes in too_long(copies) {
        tracing::error!(
            bytes,
            most = LONGEST_LINE_BYTES,
            "a copy of decisions is too long for the log, which cuts it"
        );
    }
}

/// The lengths of the lines that the log cuts: of exemptions there are none, a policy may be one.
fn too_long(copies: &[String]) -> impl Iterator<Item = usize> {
    copies.iter().map(String::len).filter(|bytes| *bytes > LONGEST_LINE_BYTES)
}

/// The numbers of a `begin`.
pub(crate) fn begin_metrics(begun: &Result<Begun, BeginError>, at: Timestamp) -> Vec<String> {
    let (started, expected) = match begun {
        Ok(Begun::Started { accounts, .. }) => (1, *accounts),
        _ => (0, 0),
    };
    let mut lines = vec![document(
        at,
        None,
        &[
            ("RunsStarted", "Count", json!(started)),
            ("AccountsExpected", "Count", json!(expected)),
            ("RunsFailed", "Count", json!(u8::from(begun.is_err()))),
        ],
    )];
    if let Ok(Begun::Ended { end, .. }) = begun {
        lines.push(end_metrics(end, at));
    }
    lines
}

#[cfg(test)]
mod tests {
    use keytide_app::copy::Copy;
    use keytide_aws::ledger::PolicyInForce;
    use serde_json::{Map, Value};

    use super::*;

    fn at() -> Timestamp {
        "2026-06-02T08:58:17Z".parse().unwrap()
    }

    fn end(digest: DigestEnd) -> End {
        End {
            expected: 3,
            swept: 1,
            silent: vec!["111122223333".parse().unwrap()],
            oldest_sweep_hours: 49.5,
            is_halted: true,
            copy: Some(Box::new(Copy::InForce { at: at(), policy: None, halt: None })),
            digest,
        }
    }

    /// Every metric of the documents by its name, judged by the format's specification on the way.
    fn read(lines: &[String]) -> Map<String, Value> {
        let mut found = Map::new();
        for line in lines {
            let root: Value = serde_json::from_str(line).unwrap();
            let directive = &root["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(directive["Namespace"], "Keytide");
            for dimension in directive["Dimensions"][0].as_array().unwrap() {
                assert!(root[dimension.as_str().unwrap()].is_string());
            }
            for metric in directive["Metrics"].as_array().unwrap() {
                assert!(["Count", "Seconds", "None"].contains(&metric["Unit"].as_str().unwrap()));
                let name = metric["Name"].as_str().unwrap();
                assert!(root[name].is_number(), "{name} in {line}");
                assert!(found.insert(name.to_owned(), root[name].clone()).is_none(), "{name} twice");
            }
        }
        found
    }

    #[test]
    fn a_runs_end_is_told_in_numbers_whether_slack_answers_or_not() {
        let failed = DigestEnd::Failed { cause: "Slack is down".to_owned(), after: None };
        for (digest, posted, failures) in [(DigestEnd::Posted, 1, 0), (failed, 0, 1)] {
            let begun = Ok(Begun::Ended { date: "2026-06-02".parse().unwrap(), end: end(digest) });
            let found = read(&begin_metrics(&begun, at()));
            assert_eq!(found["OldestSweepAgeHours"], 49.5);
            assert_eq!((&found["AccountsMissing"], &found["AccountsSilent"]), (&json!(2), &json!(1)));
            assert_eq!(
                (&found["DigestsPosted"], &found["DigestsFailed"]),
                (&json!(posted), &json!(failures))
            );
            assert_eq!((&found["RunsFailed"], &found["HaltSet"]), (&json!(0), &json!(1)));
        }
    }

    #[test]
    fn what_is_held_and_what_no_event_told_of_are_numbers_of_their_own() {
        let rows = json!({"rows": [], "beyond": 0});
        let outcome = json!({
            "account": "111122223333", "at": "2026-06-02T08:58:17Z", "tries": 1, "is_final": true,
            "was_read": true, "keys": 9, "active": 9, "new": 4, "unheard": 4, "told": 0, "disabled": rows,
            "held": {"rows": [], "beyond": 5}, "over_cap": 3, "halted": 2, "findings": rows, "upcoming": rows,
            "undelivered": rows, "calls": 7,
        });
        let outcome: Outcome = serde_json::from_value(outcome).unwrap();
        let metrics = |ended| {
            let report = Report { ended, account: None, took: Duration::from_secs(1) };
            read(&report.metrics(at()))
        };
        let done = |was_done, is_taken_up| {
            let outcome = outcome.clone();
            metrics(Ended::Done(Box::new(Done { outcome, was_done, is_taken_up, end: None })))
        };
        let found = done(false, false);
        let named =
            ["DisablesHeld", "DisablesOverCap", "DisablesHalted", "KeysUnheard"].map(|name| &found[name]);
        assert_eq!(named, [5, 3, 2, 4]);
        let accounts = |found: &Map<String, Value>| {
            ["AccountsSwept", "AccountsFailed"].map(|name| found[name].as_u64().unwrap())
        };
        assert_eq!(accounts(&found), [1, 0]);
        // A later visit counts what it did, though it has to come again; the account was counted.
        let again = |is_last, is_taken_up| {
            metrics(Ended::Again(Box::new(Again {
                word: "troubles",
                cause: "throttled".to_owned(),
                after: Duration::from_mins(1),
                is_passing: false,
                outcome: Some(Box::new(outcome.clone())),
                is_taken_up,
                is_last,
                end: None,
            })))
        };
        for later in [done(false, true), again(true, true)] {
            assert_eq!((accounts(&later), &later["KeysUnheard"]), ([0, 0], &json!(4)));
            assert_eq!((&later["DisablesHeld"], &later["DisablesOverCap"]), (&json!(0), &json!(3)));
        }
        assert_eq!(again(false, false).get("KeysUnheard"), None, "it is in what comes of the next try");
        // The digest could not be posted: when the message comes again its account is known.
        let unposted = again(true, false);
        assert_eq!((accounts(&unposted), &unposted["KeysUnheard"]), ([1, 0], &json!(4)));
        assert!(done(true, false).is_empty());
    }

    #[test]
    fn a_policy_that_the_log_would_cut_is_told_of() {
        let lines = |text: String| {
            let policy =
                Some(PolicyInForce { text, hash: "0a".to_owned(), author: "vera".to_owned(), at: at() });
            let mut end = end(DigestEnd::Posted);
            end.copy = Some(Box::new(Copy::InForce { at: at(), policy, halt: None }));
            begin_copies(&Ok(Begun::Ended { date: "2026-06-02".parse().unwrap(), end }))
        };
        assert_eq!(too_long(&lines("# short\n".repeat(10_000))).count(), 0);
        let found: Vec<usize> = too_long(&lines("# \"long\"\n".repeat(25_000))).collect();
        assert!(found.len() == 1 && found[0] > 256 * 1024, "{found:?}");
    }

    #[test]
    fn a_run_that_cannot_begin_counts() {
        let failure = keytide_aws::Failure::operators("organizations:ListAccounts", "AccessDenied");
        let found = read(&begin_metrics(&Err(BeginError::Failed(failure)), at()));
        assert_eq!((&found["RunsFailed"], &found["RunsStarted"]), (&json!(1), &json!(0)));
    }

    #[test]
    fn what_failed_comes_again_later_each_time_and_what_was_not_begun_at_once() {
        let report = |ended| Report { ended, account: None, took: Duration::from_secs(1) };
        assert_eq!(report(Ended::Untouched).comes_again(9), Some(Duration::from_secs(1)));
        assert_eq!(report(Ended::Panicked).comes_again(1), Some(Duration::from_mins(1)));
        assert_eq!(report(Ended::OutOfTime).comes_again(99), Some(Duration::from_mins(15)));
        let found = read(&report(Ended::OutOfTime).metrics(at()));
        assert_eq!(found["SweepFailures"], 1);
    }
}
