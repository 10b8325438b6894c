//! What is said of each message: one line in the log, and numbers in CloudWatch's embedded metric format.
//!
//! Never logged, at any level: the token and every other secret, whole bodies, the text of a panic (it may
//! quote a body). An event's own texts, which others wrote, appear only as JSON fields.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keytide_app::watch::{Record, WatchError, Watched};
use keytide_core::{
    cloudtrail::{self, Call, Outcome, Partial},
    delivery::Recipient,
    fact::FactBody,
};
use keytide_function::metrics::document;
use serde_json::json;

use crate::batch::{Ended, Message};

/// What became of one message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Report {
    outcome: &'static str,
    event_id: Option<String>,
    event_name: Option<String>,
    account: Option<String>,
    key_id: Option<String>,
    /// Why it is not ours, or could not be read.
    reason: Option<String>,
    /// To whom something was sent.
    sent: Vec<&'static str>,
    /// From what happened to the channel's message about it.
    seconds_to_alert: Option<f64>,
    /// The causes of a failure, a word each.
    causes: Vec<&'static str>,
    /// The failure in words.
    error: Option<String>,
    /// The alert went out although the ledger was silent.
    early_alert: bool,
}

impl Report {
    /// Whether the message has to come again.
    pub(crate) fn has_failed(&self) -> bool {
        !self.causes.is_empty()
    }

    /// Tells how a message ended.
    pub(crate) fn of(message: &Message, ended: &Ended<Result<Watched, WatchError>>) -> Self {
        match ended {
            Ended::Returned(Ok(Watched::NotOurs(partial))) => Self::of_partial("not-ours", partial),
            Ended::Returned(Ok(Watched::Recorded(record))) => Self::of_record(record),
            Ended::Returned(Err(error)) => Self {
                sent: sent(error.sent()),
                seconds_to_alert: seconds_to_alert(error.sent(), error.happened()),
                causes: causes(error),
                early_alert: matches!(error, WatchError::NotRecorded { alerted: Some(Ok(())), .. }),
                error: Some(error.to_string()),
                ..Self::named("failed", message)
            },
            Ended::OutOfTime => Self {
                causes: vec!["out-of-time"],
                error: Some("the invocation's time was over; what was done stays done".to_owned()),
                ..Self::named("failed", message)
            },
            Ended::Untouched => Self {
                causes: vec!["no-time-left"],
                error: Some("too little of the invocation's time was left to begin with it".to_owned()),
                ..Self::named("untouched", message)
            },
            Ended::Panicked => Self {
                causes: vec!["panic"],
                error: Some("a bug in keytide: the line before says where; please report it".to_owned()),
                ..Self::named("failed", message)
            },
        }
    }

    fn of_record(record: &Record) -> Self {
        let body = &record.fact.body;
        let (outcome, reason) = match body {
            FactBody::Unreadable { partial } => ("unreadable", Some(partial.reason.clone())),
            _ if record.known_before => ("known", None),
            _ => ("recorded", None),
        };
        Self {
            outcome,
            event_id: Some(record.fact.id.clone()),
            event_name: match body {
                FactBody::Key { event, .. } => Some(event.call.event_name.clone()),
                FactBody::FailedCall { failed } => Some(failed.call.event_name.clone()),
                FactBody::Owner { event } => Some(event.call.event_name.clone()),
                FactBody::OwnRole { partial } | FactBody::Unreadable { partial } => {
                    partial.event_name.clone()
                }
                FactBody::Observed { .. } | FactBody::Disabled { .. } | FactBody::Decided { .. } => None,
            },
            account: body.account().map(ToString::to_string),
            key_id: body.key_id().map(str::to_owned),
            reason,
            sent: sent(&record.sent),
            seconds_to_alert: seconds_to_alert(&record.sent, body.at()),
            ..Self::default()
        }
    }

    fn of_partial(outcome: &'static str, partial: &Partial) -> Self {
        Self {
            outcome,
            event_id: partial.event_id.clone().or_else(|| partial.envelope_id.clone()),
            event_name: partial.event_name.clone(),
            account: partial.account.as_ref().map(ToString::to_string),
            key_id: partial.key_id.clone(),
            reason: Some(partial.reason.clone()),
            ..Self::default()
        }
    }

    /// What the message itself says it is about, for one of which nothing else is known.
    fn named(outcome: &'static str, message: &Message) -> Self {
        let of_call = |call: &Call, key_id: Option<&String>, event_id: String| Self {
            outcome,
            event_id: Some(event_id),
            event_name: Some(call.event_name.clone()),
            account: Some(call.account.to_string()),
            key_id: key_id.cloned(),
            ..Self::default()
        };
        // What panicked a moment ago would panic again, and here it would take the batch along.
        let read = std::panic::catch_unwind(|| cloudtrail::read(message.body.as_bytes()));
        match read {
            Ok(Outcome::Key(event)) => of_call(&event.call, Some(&event.key_id), event.fact_id()),
            Ok(Outcome::Failed(failed)) => of_call(&failed.call, failed.key_id.as_ref(), failed.fact_id()),
            Ok(Outcome::Owner(event)) => of_call(&event.call, None, event.fact_id()),
            Ok(Outcome::NotOurs(partial) | Outcome::Unreadable(partial)) => {
                Self::of_partial(outcome, &partial)
            }
            Err(_) => Self { outcome, ..Self::default() },
        }
    }

    /// Writes the one line.
    pub(crate) fn log(&self, message: &Message, comes_again_seconds: Option<i32>) {
        let sent = (!self.sent.is_empty()).then(|| self.sent.join(","));
        let cause = (!self.causes.is_empty()).then(|| self.causes.join(","));
        // One macro call for each level: a level is part of the call's constant description.
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    message_id = message.id,
                    received = message.received,
                    event_id = self.event_id,
                    event_name = self.event_name,
                    account = self.account,
                    key_id = self.key_id,
                    outcome = self.outcome,
                    reason = self.reason,
                    sent,
                    cause,
                    comes_again_seconds,
                    error = self.error,
                    $text
                )
            };
        }
        if self.causes.iter().any(|cause| !PASSING.contains(cause)) {
            line!(error, "a message failed and comes again");
        } else if self.has_failed() {
            line!(info, "a message has to come again");
        } else if self.outcome == "unreadable" {
            line!(warn, "an event could not be read");
        } else {
            line!(info, "a message is done");
        }
    }
}

fn sent(sent: &[(Recipient, Timestamp)]) -> Vec<&'static str> {
    sent.iter().map(|(recipient, _)| recipient.as_str()).collect()
}

/// Another clock made the event's time: it may lie ahead of ours.
fn seconds_to_alert(sent: &[(Recipient, Timestamp)], happened: Option<Timestamp>) -> Option<f64> {
    let (_, posted) = sent.iter().find(|(recipient, _)| *recipient == Recipient::Channel)?;
    Some(posted.duration_since(happened?).as_secs_f64().max(0.0))
}

/// Causes that are the normal course of things, not trouble.
const PASSING: [&str; 4] = ["claimed", "held-to-join", "no-such-user", "no-time-left"];

fn causes(error: &WatchError) -> Vec<&'static str> {
    match error {
        WatchError::NotRecorded { alerted: Some(Err(trouble)), .. } => vec!["ledger", trouble.cause.as_str()],
        WatchError::NotRecorded { .. } | WatchError::KeysBehind { .. } => vec!["ledger"],
        WatchError::Undelivered { troubles, .. } => {
            let mut causes: Vec<_> = troubles.iter().map(|trouble| trouble.cause.as_str()).collect();
            causes.sort_unstable();
            causes.dedup();
            causes
        }
    }
}

/// So many values a metric may have in one document (the specification of the embedded metric format).
const MOST_VALUES: usize = 100;

/// The numbers of one invocation as documents of the embedded metric format, a line each.
///
/// A metric has one value in a document, or a list, and a dimension one: so there is one document for the
/// numbers without a dimension, one for each outcome and one for each cause. What is counted without a
/// dimension is counted even where it is 0, so that an alarm sees the difference to silence.
pub(crate) fn metrics(reports: &[Report], at: Timestamp) -> Vec<String> {
    let count = |of: fn(&Report) -> bool| reports.iter().filter(|report| of(report)).count();
    let mut lines = vec![document(
        at,
        None,
        &[
            ("Alerts", "Count", json!(count(|report| report.sent.contains(&"channel")))),
            ("OwnerMessages", "Count", json!(count(|report| report.sent.contains(&"owner")))),
            ("EarlyAlerts", "Count", json!(count(|report| report.early_alert))),
        ],
    )];
    let seconds: Vec<f64> = reports.iter().filter_map(|report| report.seconds_to_alert).collect();
    for some in seconds.chunks(MOST_VALUES) {
        lines.push(document(at, None, &[("SecondsFromEventToAlert", "Seconds", json!(some))]));
    }
    let outcomes = tally(reports.iter().map(|report| report.outcome));
    let causes = tally(reports.iter().flat_map(|report| report.causes.iter().copied()));
    for (metric, dimension, tally) in [("Events", "Outcome", outcomes), ("Failures", "Cause", causes)] {
        for (value, number) in tally {
            lines.push(document(at, Some((dimension, value)), &[(metric, "Count", json!(number))]));
        }
    }
    lines
}

fn tally(words: impl Iterator<Item = &'static str>) -> BTreeMap<&'static str, u64> {
    let mut tally = BTreeMap::new();
    for word in words {
        *tally.entry(word).or_default() += 1;
    }
    tally
}

#[cfg(test)]
mod tests {
    use keytide_app::deliver::{Cause, Undelivered};
    use keytide_aws::Failure;
    use serde_json::Value;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn reports() -> Vec<Report> {
        let recorded = Report {
            outcome: "recorded",
            sent: vec!["channel", "owner"],
            seconds_to_alert: Some(3.25),
            ..Report::default()
        };
        let joined = Report { sent: vec!["channel"], seconds_to_alert: Some(1.0), ..recorded.clone() };
        let known = Report { outcome: "known", ..Report::default() };
        let early = Report {
            outcome: "failed",
            causes: vec!["ledger", "slack-busy"],
            early_alert: true,
            ..Report::default()
        };
        let failed = Report { outcome: "failed", causes: vec!["ledger"], ..Report::default() };
        vec![recorded, joined, known, early, failed]
    }

    /// A metric with its dimension and its values.
    type Metric = (String, Option<(String, String)>, Vec<f64>);

    /// What CloudWatch makes of a document, by its specification: every metric with its dimension and
    /// values; refused where a rule of the specification is broken.
    fn extracted(line: &str) -> Vec<Metric> {
        assert!(line.len() <= 256 * 1024 && !line.contains('\n'), "{line}");
        let root: Value = serde_json::from_str(line).unwrap();
        assert_eq!(root["_aws"]["Timestamp"], 1_780_390_697_000_i64);
        let mut found = Vec::new();
        for directive in root["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            assert_eq!(directive["Namespace"], "Keytide");
            let sets = directive["Dimensions"].as_array().unwrap();
            assert_eq!(sets.len(), 1, "at least one set, be it an empty one");
            let dimension = sets[0].as_array().unwrap().first().map(|name| {
                let name = name.as_str().unwrap();
                (name.to_owned(), root[name].as_str().expect("a dimension's target is a text").to_owned())
            });
            let metrics = directive["Metrics"].as_array().unwrap();
            assert!(metrics.len() <= 100);
            for metric in metrics {
                let name = metric["Name"].as_str().unwrap();
                assert!(["Count", "Seconds"].contains(&metric["Unit"].as_str().unwrap()));
                let values = match &root[name] {
                    Value::Array(values) => values.iter().map(|value| value.as_f64().unwrap()).collect(),
                    value => vec![value.as_f64().expect("a metric's target is a number")],
                };
                assert!((1..=100).contains(&values.len()), "{name} has {} values", values.len());
                found.push((name.to_owned(), dimension.clone(), values));
            }
        }
        found
    }

    #[test]
    fn cloudwatch_finds_every_number_in_the_metrics() {
        let lines = metrics(&reports(), at("2026-06-02T08:58:17Z"));
        let found: Vec<_> = lines.iter().flat_map(|line| extracted(line)).collect();
        let plain = |name: &str, values: &[f64]| (name.to_owned(), None, values.to_vec());
        let of = |name: &str, dimension: &str, value: &str, number: f64| {
            (name.to_owned(), Some((dimension.to_owned(), value.to_owned())), vec![number])
        };
        let expected = [
            plain("Alerts", &[2.0]),
            plain("OwnerMessages", &[1.0]),
            plain("EarlyAlerts", &[1.0]),
            plain("SecondsFromEventToAlert", &[3.25, 1.0]),
            of("Events", "Outcome", "failed", 2.0),
            of("Events", "Outcome", "known", 1.0),
            of("Events", "Outcome", "recorded", 2.0),
            of("Failures", "Cause", "ledger", 2.0),
            of("Failures", "Cause", "slack-busy", 1.0),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_large_batch_and_an_empty_one_keep_to_the_specification() {
        let many = vec![reports().remove(0); 250];
        let found: Vec<_> =
            metrics(&many, at("2026-06-02T08:58:17Z")).iter().flat_map(|line| extracted(line)).collect();
        let latencies = found.iter().filter(|(name, ..)| name == "SecondsFromEventToAlert");
        assert_eq!(latencies.map(|(.., values)| values.len()).collect::<Vec<_>>(), [100, 100, 50]);
        let none: Vec<_> =
            metrics(&[], at("2026-06-02T08:58:17Z")).iter().flat_map(|line| extracted(line)).collect();
        assert_eq!(none.len(), 3, "{none:?}");
        assert!(none.iter().all(|(.., values)| values == &[0.0]));
    }

    #[test]
    fn a_failure_is_named_by_its_event_and_its_causes() {
        let body = include_str!("../../../events/story/01-alice-creates-her-key.json").to_owned();
        let message = Message { id: "m-1".to_owned(), body, received: 2, ..Message::default() };
        let failure = || Failure::retry("dynamodb:Query", "no answer");
        let undelivered = |recipient, cause| Undelivered { recipient, cause, retry_after: None };
        let troubles = vec![
            undelivered(Recipient::Owner, Cause::Directory("no answer within 2 s".to_owned())),
            undelivered(Recipient::Channel, Cause::Ledger(failure())),
            undelivered(Recipient::Channel, Cause::Ledger(failure())),
        ];
        let posted = "2026-06-02T08:58:24Z".parse().unwrap();
        let happened = Some("2026-06-02T08:58:14Z".parse().unwrap());
        let error = WatchError::Undelivered { troubles, sent: vec![(Recipient::Channel, posted)], happened };
        let report = Report::of(&message, &Ended::Returned(Err(error.clone())));
        assert!(report.has_failed());
        assert_eq!(report.outcome, "failed");
        assert_eq!(report.causes, ["directory", "ledger"]);
        assert_eq!((report.sent.as_slice(), report.seconds_to_alert), (&["channel"][..], Some(10.0)));
        assert_eq!(report.account.as_deref(), Some("111122223333"));
        assert_eq!(report.key_id.as_deref(), Some("AKIATIDEWATERSTORY22"));
        assert_eq!(report.event_id.as_deref(), Some("2df99d85-25cd-5007-a24e-2aabe638e2af"));
        assert_eq!(report.error, Some(error.to_string()));

        let early = WatchError::NotRecorded { failure: failure(), alerted: Some(Ok(())) };
        let report = Report::of(&message, &Ended::Returned(Err(early)));
        assert!(report.early_alert && report.causes == ["ledger"], "{report:?}");

        for (ended, cause) in [
            (Ended::OutOfTime, "out-of-time"),
            (Ended::Untouched, "no-time-left"),
            (Ended::Panicked, "panic"),
        ] {
            let report = Report::of(&message, &ended);
            assert!(report.has_failed() && report.causes == [cause], "{report:?}");
            assert_eq!(report.key_id.as_deref(), Some("AKIATIDEWATERSTORY22"));
        }
    }
}
