//! `keytide explain`: what the reader makes of each event. Nothing is stored, nobody is told.

use std::{collections::BTreeMap, ops::ControlFlow, path::PathBuf};

use jiff::Timestamp;
use keytide_core::cloudtrail::{self, Actor, Call, KeyEventKind, Outcome, Partial, Status, Subject};
use serde::Serialize;

use crate::{
    Ended,
    args::{ExplainArgs, ExplainFormat},
    input::{self, Item},
    output::{Output, Style, counted, safe_json, shown},
};

/// One line of `--format json`. Its fields and their order are a promise; what is absent is null.
#[derive(Debug, PartialEq, Serialize)]
struct Explanation<'a> {
    file: &'a str,
    outcome: &'static str,
    kind: Option<&'static str>,
    status: Option<&'a str>,
    account: Option<&'a str>,
    key_id: Option<&'a str>,
    subject: ExplainedSubject<'a>,
    actor: ExplainedActor<'a>,
    at: Option<Timestamp>,
    event_id: Option<&'a str>,
    source: Option<&'a str>,
    user_agent: Option<&'a str>,
    mfa: Option<bool>,
    reason: Option<String>,
}

#[derive(Debug, PartialEq, Serialize)]
struct ExplainedSubject<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: Option<&'a str>,
}

#[derive(Debug, PartialEq, Serialize)]
struct ExplainedActor<'a> {
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    name: Option<&'a str>,
    arn: Option<&'a str>,
}

const KEY_EVENT: &str = "key-event";
const FAILED_CALL: &str = "failed-call";
const OWNER_EVENT: &str = "owner-event";
const NOT_A_KEY_EVENT: &str = "not-a-key-event";
const UNREADABLE: &str = "unreadable";

/// Explains everything that is found at the paths.
pub(crate) fn run(args: &ExplainArgs, output: &mut Output) -> Ended {
    let mut count: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut bad_files = 0_u64;
    let paths: &[PathBuf] = &args.paths;
    let tally = input::read_all(paths, &mut |item| {
        let outcome = match item {
            Item::Event { origin, json } => {
                let outcome = cloudtrail::read(&json);
                let explanation = Explanation::of(&origin.file, &outcome);
                match args.format {
                    ExplainFormat::Json => print_json(&explanation, output),
                    ExplainFormat::Text => print_text(&origin.heading(), &explanation, output),
                }
                explanation.outcome
            }
            Item::BadEvent { file, line, column, reason } => {
                match args.format {
                    ExplainFormat::Json => {
                        let column = column.map_or_else(String::new, |column| format!(", column {column}"));
                        let reason = format!("line {line}{column}: {reason}");
                        print_json(&Explanation::unreadable(&file, reason), output);
                    }
                    ExplainFormat::Text => {
                        let place = input::place(&file, line, column);
                        print_text(&place, &Explanation::unreadable(&file, reason), output);
                    }
                }
                UNREADABLE
            }
            Item::BadFile { file, reason } => {
                bad_files += 1;
                output.remark(&format!("keytide: {}: {}", shown(&file, 300), shown(&reason, 500)));
                return ControlFlow::Continue(());
            }
        };
        *count.entry(outcome).or_default() += 1;
        if output.is_open() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let of = |outcome| count.get(outcome).copied().unwrap_or_default();
    let total: u64 = count.values().sum();
    let mut parts = vec![format!(
        "{} in {}: {} of keys, {}, {} of owners, {} not about keys, {} unreadable",
        counted(total, "event"),
        counted(tally.files, "file"),
        of(KEY_EVENT),
        counted(of(FAILED_CALL), "failed call"),
        of(OWNER_EVENT),
        of(NOT_A_KEY_EVENT),
        of(UNREADABLE),
    )];
    if tally.ignored > 0 {
        parts.push(format!("{} in folders left alone", counted(tally.ignored, "other file")));
    }
    if bad_files > 0 {
        parts.push(format!("{} could not be read", counted(bad_files, "file")));
    }
    output.remark(&parts.join("; "));
    if of(UNREADABLE) > 0 || bad_files > 0 { Ended::SomeFailed } else { Ended::Done }
}

impl<'a> Explanation<'a> {
    fn of(file: &'a str, outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Key(event) => Self {
                kind: Some(event.change.kind().as_str()),
                status: event.change.status().map(Status::as_str),
                key_id: Some(&event.key_id),
                subject: ExplainedSubject::of(&event.subject),
                reason: sentences(&event.call.notes),
                ..Self::of_call(file, KEY_EVENT, &event.call)
            },
            Outcome::Failed(failed) => {
                let mut reason = match &failed.error_message {
                    Some(message) => format!("{}: {message}", failed.error_code),
                    None => failed.error_code.clone(),
                };
                if let Some(notes) = sentences(&failed.call.notes) {
                    reason = format!("{reason}; {notes}");
                }
                Self {
                    kind: failed.kind.map(KeyEventKind::as_str),
                    status: failed.status.as_ref().map(Status::as_str),
                    key_id: failed.key_id.as_deref(),
                    subject: ExplainedSubject::of(&failed.subject),
                    reason: Some(reason),
                    ..Self::of_call(file, FAILED_CALL, &failed.call)
                }
            }
            Outcome::Owner(event) => {
                let mut reason = event.change.describe();
                if let Some(notes) = sentences(&event.call.notes) {
                    reason = format!("{reason}; {notes}");
                }
                Self {
                    subject: ExplainedSubject { kind: "user", name: Some(&event.user) },
                    reason: Some(reason),
                    ..Self::of_call(file, OWNER_EVENT, &event.call)
                }
            }
            Outcome::NotOurs(partial) => Self {
                kind: None,
                status: None,
                key_id: None,
                subject: ExplainedSubject::of(&Subject::Unknown),
                ..Self::of_partial(file, NOT_A_KEY_EVENT, partial)
            },
            Outcome::Unreadable(partial) => Self::of_partial(file, UNREADABLE, partial),
        }
    }

    fn of_call(file: &'a str, outcome: &'static str, call: &'a Call) -> Self {
        Self {
            file,
            outcome,
            kind: None,
            status: None,
            account: Some(call.account.as_str()),
            key_id: None,
            subject: ExplainedSubject::of(&Subject::Unknown),
            actor: ExplainedActor::of(&call.actor),
            at: Some(call.at),
            event_id: call.event_id.as_deref(),
            source: call.source.as_deref(),
            user_agent: call.user_agent.as_deref(),
            mfa: call.mfa,
            reason: None,
        }
    }

    fn of_partial(file: &'a str, outcome: &'static str, partial: &'a Partial) -> Self {
        Self {
            file,
            outcome,
            kind: partial.kind.map(KeyEventKind::as_str),
            status: partial.status.as_ref().map(Status::as_str),
            account: partial.account.as_ref().map(keytide_core::AccountId::as_str),
            key_id: partial.key_id.as_deref(),
            subject: ExplainedSubject::of(&partial.subject),
            actor: ExplainedActor::of(&partial.actor),
            at: partial.at,
            event_id: partial.event_id.as_deref(),
            source: partial.source.as_deref(),
            user_agent: partial.user_agent.as_deref(),
            mfa: partial.mfa,
            reason: Some(partial.reason.clone()),
        }
    }

    /// A stretch of a file that is no event at all.
    fn unreadable(file: &'a str, reason: String) -> Self {
        Self {
            file,
            outcome: UNREADABLE,
            kind: None,
            status: None,
            account: None,
            key_id: None,
            subject: ExplainedSubject { kind: "unknown", name: None },
            actor: ExplainedActor { kind: None, name: None, arn: None },
            at: None,
            event_id: None,
            source: None,
            user_agent: None,
            mfa: None,
            reason: Some(reason),
        }
    }
}

impl<'a> ExplainedSubject<'a> {
    fn of(subject: &'a Subject) -> Self {
        let kind = match subject {
            Subject::User(_) => "user",
            Subject::Root => "root",
            Subject::Unknown => "unknown",
        };
        Self { kind, name: subject.user() }
    }
}

impl<'a> ExplainedActor<'a> {
    fn of(actor: &'a Actor) -> Self {
        Self { kind: actor.kind.as_str(), name: actor.name.as_deref(), arn: actor.arn.as_deref() }
    }
}

fn sentences(notes: &[String]) -> Option<String> {
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn print_json(explanation: &Explanation<'_>, output: &mut Output) {
    // Texts, numbers and times always have a spelling in JSON.
    if let Ok(json) = serde_json::to_string(explanation) {
        output.line(&safe_json(&json));
    }
}

fn print_text(place: &str, explanation: &Explanation<'_>, output: &mut Output) {
    let Explanation { outcome, kind, status, account, key_id, subject, actor, .. } = explanation;
    let key = key_id.map_or_else(|| "a key".to_owned(), |id| shown(id, 128));
    let owner = match (subject.kind, &subject.name) {
        (_, Some(name)) => shown(name, 64),
        ("root", None) => "root".to_owned(),
        _ => "an unknown user".to_owned(),
    };
    let account =
        account.map_or_else(|| "an unknown account".to_owned(), |account| format!("account {account}"));
    let status = status.as_deref().map(|status| shown(status, 40));
    let change = match (*kind, &status) {
        (Some("created"), _) => format!("key {key} of {owner} created"),
        (Some("deleted"), _) => format!("key {key} of {owner} deleted"),
        (Some(_), Some(status)) => format!("key {key} of {owner} set {status}"),
        (Some(_), None) => format!("key {key} of {owner} changed its status"),
        (None, _) => format!("user {owner}"),
    };
    let reason = explanation.reason.as_deref().map(|reason| shown(reason, 300));
    let said = reason.clone().unwrap_or_default();
    let (style, headline, rest) = match *outcome {
        KEY_EVENT => (Style::Bold, format!("{change}, in {account}"), reason),
        FAILED_CALL => {
            let tried = match kind {
                Some("created") => format!("a key for {owner} was to be created"),
                Some("deleted") => format!("key {key} of {owner} was to be deleted"),
                Some(_) => {
                    format!("key {key} of {owner} was to be set {}", status.as_deref().unwrap_or("otherwise"))
                }
                None => format!("user {owner} was to be changed"),
            };
            (Style::Bold, format!("refused: {tried}, in {account}"), reason)
        }
        OWNER_EVENT => (Style::Bold, format!("{change}, in {account}: {said}"), None),
        NOT_A_KEY_EVENT => (Style::Dim, format!("not about keys: {said}"), None),
        _ => (Style::Alarm, format!("unreadable: {said}"), None),
    };
    output.line(&format!("{}  {}", output.styled(Style::Dim, place), output.styled(style, &headline)));
    let is_told = *outcome != NOT_A_KEY_EVENT && (explanation.at.is_some() || actor.kind.is_some());
    if is_told {
        output.line(&format!("    {}", circumstances(explanation)));
    }
    if let Some(rest) = rest {
        output.line(&format!("    {rest}"));
    }
}

/// Who, when, from where, with what.
fn circumstances(explanation: &Explanation<'_>) -> String {
    let Explanation { actor, at, source, user_agent, mfa, .. } = explanation;
    let kind = actor.kind.map(|kind| shown(kind, 40));
    let mut parts = vec![match (actor.name.or(actor.arn), kind) {
        (_, Some(kind)) if kind == "Root" => "by root".to_owned(),
        (Some(name), Some(kind)) => format!("by {} ({kind})", shown(name, 128)),
        (None, Some(kind)) => format!("by {kind}"),
        (_, None) => "by somebody the event does not name".to_owned(),
    }];
    parts.extend(at.map(|at| at.to_string()));
    parts.extend(source.map(|source| format!("from {}", shown(source, 64))));
    // Where the first word is a program and its version, the rest is more versions.
    let program = user_agent.map(|agent| match agent.split_whitespace().next() {
        Some(first) if first.contains('/') => first,
        _ => agent,
    });
    parts.extend(program.map(|program| format!("with {}", shown(program, 40))));
    parts.push(match mfa {
        Some(true) => "MFA".to_owned(),
        Some(false) => "no MFA".to_owned(),
        None => "MFA unknown".to_owned(),
    });
    parts.join(", ")
}
