//! A Slack message drawn in a terminal.
//!
//! A bar on the left, the header in bold, short fields in two columns. Without colour there is nothing but
//! text: what Slack shows as code stands in backticks, and no control character is ever written.

use keytide_slack::text::defused;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

/// The narrowest that a message is drawn.
const NARROWEST: usize = 40;
/// Between two columns of fields.
const GAP: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Code,
    Mention,
    Dim,
    Alarm,
}

impl Style {
    fn colour(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\u{1b}[1m",
            Self::Code => "\u{1b}[36m",
            Self::Mention => "\u{1b}[35m",
            Self::Dim => "\u{1b}[2m",
            Self::Alarm => "\u{1b}[1;31m",
        }
    }
}

/// A stretch of text in one style.
#[derive(Clone)]
struct Run {
    style: Style,
    text: String,
}

impl Run {
    fn new(style: Style, text: impl Into<String>) -> Self {
        Self { style, text: text.into() }
    }
}

type Line = Vec<Run>;

/// Draws a message, given as `{text, blocks}` or as the arguments of `chat.postMessage`, at most `width`
/// columns wide. It ends in a line break.
pub fn draw(message: &Value, width: usize, colour: bool) -> String {
    let room = width.max(NARROWEST) - 2;
    let blocks = message.get("blocks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut lines: Vec<Line> = blocks.iter().flat_map(|block| draw_block(block, room, colour)).collect();
    if blocks.is_empty() {
        let text = message.get("text").and_then(Value::as_str).unwrap_or_default();
        lines = paragraphs(text, room, colour);
    }
    let alarm = lines.iter().flatten().any(|run| run.style == Style::Alarm);
    let mut drawn = String::new();
    for line in lines {
        drawn.push_str(match (colour, alarm) {
            (false, _) => "|",
            (true, false) => "\u{1b}[34m┃\u{1b}[0m",
            (true, true) => "\u{1b}[31m┃\u{1b}[0m",
        });
        if !line.is_empty() {
            drawn.push(' ');
        }
        for run in line {
            if colour && run.style != Style::Plain {
                drawn.push_str(run.style.colour());
                drawn.push_str(&run.text);
                drawn.push_str("\u{1b}[0m");
            } else {
                drawn.push_str(&run.text);
            }
        }
        drawn.push('\n');
    }
    drawn
}

fn text_of(object: &Value) -> &str {
    object.get("text").and_then(Value::as_str).unwrap_or_default()
}

fn draw_block(block: &Value, room: usize, colour: bool) -> Vec<Line> {
    let list = |name: &str| {
        let entries = block.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        entries.iter().map(text_of).collect::<Vec<_>>()
    };
    match block.get("type").and_then(Value::as_str) {
        Some("header") => {
            let title = block.get("text").map(text_of).unwrap_or_default();
            let style = if title.contains("CRITICAL") { Style::Alarm } else { Style::Bold };
            wrapped(&[Run::new(style, defused(title))], room)
        }
        Some("section") => {
            let text = block.get("text").map(text_of).unwrap_or_default();
            let mut lines = if text.is_empty() { Vec::new() } else { paragraphs(text, room, colour) };
            lines.extend(columns(&list("fields"), room, colour));
            lines
        }
        Some("context") => {
            let small = |mut run: Run| {
                run.style = Style::Dim;
                run
            };
            let lines = list("elements").into_iter().flat_map(|text| paragraphs(text, room, colour));
            lines.map(|line| line.into_iter().map(small).collect()).collect()
        }
        _ => vec![vec![Run::new(Style::Dim, "-".repeat(room))]],
    }
}

/// Each line of a text, wrapped on its own.
fn paragraphs(text: &str, room: usize, colour: bool) -> Vec<Line> {
    text.split('\n').flat_map(|line| wrapped(&runs(line, colour), room)).collect()
}

/// The fields that fit two in a row, and then the others, a row each.
fn columns(fields: &[&str], room: usize, colour: bool) -> Vec<Line> {
    let column = (room - GAP) / 2;
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for field in fields {
        // A name and its value share a line here.
        let runs = runs(&field.replacen("*\n", ":* ", 1).replace('\n', " "), colour);
        if size(&runs) <= column { short.push(runs) } else { long.push(runs) }
    }
    let mut lines = Vec::new();
    for pair in short.chunks(2) {
        let mut line = Line::new();
        for (index, runs) in pair.iter().enumerate() {
            if index > 0 {
                line.push(Run::new(Style::Plain, " ".repeat(column + GAP - size(&line))));
            }
            line.extend(runs.iter().cloned());
        }
        lines.push(line);
    }
    lines.extend(long.iter().flat_map(|runs| wrapped(runs, room)));
    lines
}

fn size(runs: &[Run]) -> usize {
    runs.iter().map(|run| run.text.width()).sum()
}

/// One line of Slack's markup in stretches: *bold*, `code`, mentions, and the three escapes undone.
fn runs(line: &str, colour: bool) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let at = rest.find(['`', '*', '<']).unwrap_or(rest.len());
        let (before, found) = rest.split_at(at);
        if !before.is_empty() {
            runs.push(Run::new(Style::Plain, plain(before)));
        }
        let mut letters = found.chars();
        let Some(mark) = letters.next() else { break };
        let inside = letters.as_str();
        let end = if mark == '<' { '>' } else { mark };
        let Some((text, after)) = inside.split_once(end) else {
            runs.push(Run::new(Style::Plain, mark));
            rest = inside;
            continue;
        };
        runs.push(match mark {
            '`' if colour => Run::new(Style::Code, plain(text)),
            '`' => Run::new(Style::Code, format!("`{}`", plain(text))),
            '*' => Run::new(Style::Bold, plain(text)),
            _ => Run::new(Style::Mention, plain(text)),
        });
        rest = after;
    }
    runs
}

/// The text with its escapes undone and nothing that a terminal would obey; its outer spaces stay.
fn plain(text: &str) -> String {
    let unescaped = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let clean = defused(&unescaped);
    let space = |has| if has { " " } else { "" };
    if clean.is_empty() {
        return space(!text.is_empty()).to_owned();
    }
    format!("{}{clean}{}", space(text.starts_with(' ')), space(text.ends_with(' ')))
}

/// The stretches, broken between words, or inside a word that is wider than a line.
fn wrapped(runs: &[Run], room: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = Line::new();
    let mut used = 0;
    for run in runs {
        for word in run.text.split_inclusive(' ') {
            let mut word = word;
            if used > 0 && used + word.trim_end().width() > room {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            while word.trim_end().width() > room {
                let (start, rest) = word.split_at(fitting(word, room));
                lines.push(vec![Run::new(run.style, start)]);
                word = rest;
            }
            // A space at a break is not carried to the next line.
            let word = if used == 0 { word.trim_start() } else { word };
            used += word.width();
            match line.last_mut() {
                Some(last) if last.style == run.style => last.text.push_str(word),
                _ => line.push(Run::new(run.style, word)),
            }
        }
    }
    lines.push(line);
    for line in &mut lines {
        if let Some(last) = line.last_mut() {
            last.text.truncate(last.text.trim_end().len());
        }
    }
    lines
}

/// How many bytes of the word fit, at least one character.
fn fitting(word: &str, room: usize) -> usize {
    let mut end = 0;
    for (start, character) in word.char_indices() {
        let next = start + character.len_utf8();
        if end > 0 && word.get(..next).is_none_or(|part| part.width() > room) {
            break;
        }
        end = next;
    }
    end
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use keytide_core::AccountNames;
    use keytide_core::alert::{AlertRules, Severity};
    use keytide_core::cloudtrail::{self, Outcome, Status};
    use keytide_core::fact::{Fact, FactBody};
    use keytide_core::key;
    use keytide_core::owner::{ListedKey, Owner, OwnerReport, OwnerTags};
    use keytide_slack::Message;
    use keytide_slack::messages::{Notice, for_channel, for_owner};
    use serde_json::json;

    use super::*;

    fn message(user: &str, owner: bool, severity: Severity) -> Message {
        let record = json!({
            "eventSource": "iam.amazonaws.com", "eventName": "CreateAccessKey",
            "eventTime": "2026-05-04T09:12:33Z", "eventID": "6f0b1c1e-0001-4000-8000-000000000001",
            "recipientAccountId": "111122223333", "sourceIPAddress": "203.0.113.24",
            "userAgent": "aws-cli/2.27.41 md/awscrt#0.26.1 ua/2.1 os/macos#24.5.0 md/arch#arm64 lang/python#3.13.4",
            "userIdentity": {"type": "IAMUser", "userName": "alice", "accountId": "111122223333"},
            "responseElements": {"accessKey": {"accessKeyId": "AKIAEXAMPLEALICE0001", "userName": user}},
        });
        let Outcome::Key(event) = cloudtrail::read(record.to_string().as_bytes()) else {
            panic!("not a key event")
        };
        let now: Timestamp = "2026-05-04T09:12:40Z".parse().unwrap();
        let effect = key::apply(None, &event).effect;
        let key_id = event.key_id.clone();
        let fact = Fact::new(event.fact_id(), now, FactBody::Key { event, effect });
        let report = OwnerReport::Found {
            owner: Owner {
                user_id: "AIDAEXAMPLE".to_owned(),
                path: "/".to_owned(),
                tags: OwnerTags::from_tags([("slack-id", "U0ALICE123"), ("full-name", "Alice Abara")]),
                seen_at: now,
            },
            keys: Ok(vec![ListedKey { key_id, status: Status::Active, created: None }]),
        };
        let accounts = AccountNames::parse("111122223333=prod").unwrap();
        let rules = AlertRules::default();
        let notice = Notice {
            fact: &fact,
            severity,
            owner: &report,
            accounts: &accounts,
            rules: &rules,
            in_ledger: true,
        };
        if owner { for_owner(&notice) } else { for_channel(&notice) }
    }

    fn drawn(message: &Message, width: usize, colour: bool) -> String {
        draw(&serde_json::to_value(message).unwrap(), width, colour)
    }

    #[test]
    fn an_alert_at_100_columns() {
        let drawn = drawn(&message("alice", false, Severity::Notice), 100, false);
        assert!(drawn.lines().count() <= 12, "{drawn}");
        insta::assert_snapshot!(drawn);
    }

    #[test]
    fn an_alert_at_60_columns() {
        insta::assert_snapshot!(drawn(&message("alice", false, Severity::Notice), 60, false));
    }

    #[test]
    fn a_critical_alert_in_colour() {
        let drawn = drawn(&message("alice", false, Severity::Critical), 100, true);
        insta::assert_snapshot!(drawn.replace('\u{1b}', "^"));
    }

    #[test]
    fn a_message_to_an_owner() {
        insta::assert_snapshot!(drawn(&message("alice", true, Severity::Notice), 100, false));
    }

    #[test]
    fn a_message_without_blocks() {
        let plain = message("alice", false, Severity::Notice).plain();
        insta::assert_snapshot!(drawn(&plain, 100, false));
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_drawn_and_no_line_is_too_wide() {
        let name = format!("m\u{1b}[2J\u{202e}*<!here>`\u{7}{}漢字", "x".repeat(150));
        let hostile = message(&name, false, Severity::Critical);
        let mut arguments = hostile.to_arguments("C", None);
        // Even a message that is not defused at all.
        arguments["blocks"][1]["text"]["text"] = json!("\u{1b}[31m\u{9b}2J *a `b <@c \r\n&lt;\u{202e}");
        for value in [serde_json::to_value(&hostile).unwrap(), arguments] {
            for width in [40, 61, 100] {
                let text = draw(&value, width, false);
                assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
                assert!(!text.contains('\u{202e}'));
                for line in text.lines() {
                    assert!(line.width() <= width, "{line}");
                }
            }
        }
    }
}
