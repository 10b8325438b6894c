//! The judges judged: each finds the defects that it is there for, and leaves a good message alone.

use serde_json::{Value, json};

use super::tools::find_python;
use super::{judge_messages, problems_by_slack_sdk, problems_by_slack_types};

/// A message with one of every block that keytide draws, and of those that it may come to draw.
fn good() -> Value {
    let plain = |text: &str| json!({ "type": "plain_text", "text": text });
    let mrkdwn = |text: &str| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    json!({
        "channel": "C0TIDEWATER",
        // U+2028 ends a line in JavaScript: what comes after it must still be told apart.
        "text": format!("alice made an access key{}for herself in prod.", "\u{2028}".repeat(30)),
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": [
            { "type": "header", "text": plain("New access key: alice (prod)") },
            { "type": "section", "block_id": "facts", "text": mrkdwn("*alice* made a key."), "fields": [mrkdwn("Owner"), mrkdwn("MFA: yes")] },
            { "type": "divider" },
            { "type": "rich_text", "elements": [{ "type": "rich_text_section", "elements": [
                { "type": "text", "text": "aws-cli/2", "style": { "code": true } },
                { "type": "user", "user_id": "U0ALICE22" },
            ] }] },
            { "type": "context", "elements": [mrkdwn("CloudTrail event 64b7de64")] },
            { "type": "actions", "elements": [{
                "type": "button", "text": plain("Disable it"), "action_id": "disable", "value": "opaque", "style": "danger",
                "confirm": { "title": plain("Disable?"), "text": plain("It stops working."), "confirm": plain("Yes"), "deny": plain("No") },
            }] },
        ],
    })
}

fn with_blocks(blocks: &Value) -> Value {
    json!({ "text": "A message.", "blocks": blocks })
}

/// Defects that `slack_sdk`'s models (or our script around them) find, and a part of what is said about each.
fn found_by_slack_sdk() -> Vec<(&'static str, Value, &'static str)> {
    let text = |length: usize| json!({ "type": "mrkdwn", "text": "x".repeat(length) });
    let plain = |length: usize| json!({ "type": "plain_text", "text": "x".repeat(length) });
    let divider = json!({ "type": "divider" });
    vec![
        (
            "header-too-long",
            with_blocks(&json!([{ "type": "header", "text": plain(151) }])),
            "150 characters",
        ),
        (
            "eleven-fields",
            with_blocks(&json!([{ "type": "section", "fields": vec![text(1); 11] }])),
            "10 items",
        ),
        (
            "unknown-block",
            with_blocks(&json!([{ "type": "heading", "text": plain(1) }])),
            "unknown block type",
        ),
        ("block-without-type", with_blocks(&json!([{ "text": plain(1) }])), "unknown block type"),
        ("section-without-text", with_blocks(&json!([{ "type": "section" }])), "text or fields"),
        ("header-without-text", with_blocks(&json!([{ "type": "header" }])), "must be specified"),
        (
            "section-too-long",
            with_blocks(&json!([{ "type": "section", "text": text(3001) }])),
            "3000 characters",
        ),
        (
            "context-too-long",
            with_blocks(&json!([{ "type": "context", "elements": [text(3001)] }])),
            "3000 characters",
        ),
        (
            "field-too-long",
            with_blocks(&json!([{ "type": "section", "fields": [text(2001)] }])),
            "2000 characters",
        ),
        ("empty-text-object", with_blocks(&json!([{ "type": "section", "text": text(0) }])), "1 to 3000"),
        (
            "eleven-in-context",
            with_blocks(&json!([{ "type": "context", "elements": vec![text(1); 11] }])),
            "10 elements",
        ),
        (
            "unknown-element",
            with_blocks(&json!([{ "type": "context", "elements": [{ "type": "blink" }] }])),
            "became null",
        ),
        (
            "excess-property",
            with_blocks(&json!([{ "type": "section", "text": text(1), "colour": "red" }])),
            "no such property",
        ),
        ("null-property", with_blocks(&json!([{ "type": "divider", "block_id": null }])), "no such property"),
        (
            "button-too-long",
            with_blocks(
                &json!([{ "type": "actions", "elements": [{ "type": "button", "text": plain(76), "action_id": "a" }] }]),
            ),
            "75 characters",
        ),
        (
            "text-is-a-number",
            with_blocks(&json!([{ "type": "section", "text": { "type": "mrkdwn", "text": 7 } }])),
            "int",
        ),
        ("fifty-one-blocks", with_blocks(&json!(vec![divider.clone(); 51])), "Slack takes 50"),
        (
            "same-id-twice",
            with_blocks(
                &json!([{ "type": "divider", "block_id": "a" }, { "type": "divider", "block_id": "a" }]),
            ),
            "the same as that of",
        ),
        ("no-text", json!({ "blocks": [divider] }), "`text` argument is missing"),
        ("blank-text", json!({ "text": " ", "blocks": [divider] }), "`text` argument is missing"),
        ("text-too-long", json!({ "text": "x".repeat(4001) }), "chat.update takes 4000"),
        ("unknown-argument", json!({ "text": "A message.", "color": "red" }), "no such argument"),
    ]
}

/// Defects that the types find, and a part of what is said about each.
fn found_by_slack_types() -> Vec<(&'static str, Value, &'static str)> {
    let mrkdwn = json!({ "type": "mrkdwn", "text": "x" });
    vec![
        ("header-in-markdown", with_blocks(&json!([{ "type": "header", "text": mrkdwn }])), "plain_text"),
        (
            "button-in-markdown",
            with_blocks(
                &json!([{ "type": "actions", "elements": [{ "type": "button", "text": mrkdwn, "action_id": "a" }] }]),
            ),
            "plain_text",
        ),
        ("unknown-block", with_blocks(&json!([{ "type": "heading", "text": mrkdwn }])), "heading"),
        ("block-without-type", with_blocks(&json!([{ "text": mrkdwn }])), "'type' is missing"),
        ("header-without-text", with_blocks(&json!([{ "type": "header" }])), "'text' is missing"),
        (
            "excess-property",
            with_blocks(&json!([{ "type": "section", "text": mrkdwn, "colour": "red" }])),
            "colour",
        ),
        (
            "excess-property-of-text",
            with_blocks(
                &json!([{ "type": "section", "text": { "type": "mrkdwn", "text": "x", "emoji": true } }]),
            ),
            "emoji",
        ),
        ("null-property", with_blocks(&json!([{ "type": "divider", "block_id": null }])), "null"),
        (
            "unknown-element",
            with_blocks(&json!([{ "type": "context", "elements": [{ "type": "blink", "text": "x" }] }])),
            "blink",
        ),
        (
            "unknown-style",
            with_blocks(
                &json!([{ "type": "rich_text", "elements": [{ "type": "rich_text_section", "elements": [
                { "type": "text", "text": "x", "style": { "blink": true } },
            ] }] }]),
            ),
            "blink",
        ),
        (
            "text-is-a-number",
            with_blocks(&json!([{ "type": "section", "text": { "type": "mrkdwn", "text": 7 } }])),
            "number",
        ),
        ("no-text", json!({ "blocks": [{ "type": "divider" }] }), "'text' is missing"),
    ]
}

/// Every defect is named, for what it is, and the good messages around it are not.
fn assert_each_is_found(
    defects: &[(&'static str, Value, &'static str)],
    judge: fn(&[(String, Value)]) -> Vec<String>,
) {
    let mut messages = vec![("good-before".to_owned(), good())];
    messages.extend(defects.iter().map(|(name, message, _)| ((*name).to_owned(), message.clone())));
    messages.push(("good-after".to_owned(), good()));
    let problems = judge(&messages);
    for (name, _, said) in defects {
        let prefix = format!("{name}: ");
        assert!(
            problems.iter().any(|problem| problem.starts_with(&prefix) && problem.contains(said)),
            "{name} was not found, or not for {said:?}: {problems:#?}"
        );
    }
    let found =
        |problem: &&String| !defects.iter().any(|(name, ..)| problem.starts_with(&format!("{name}: ")));
    let others: Vec<&String> = problems.iter().filter(found).collect();
    assert!(others.is_empty(), "something was found that was not sown: {others:#?}");
}

#[test]
fn slack_sdk_finds_what_was_sown() {
    assert_each_is_found(&found_by_slack_sdk(), problems_by_slack_sdk);
}

#[test]
fn the_types_find_what_was_sown() {
    assert_each_is_found(&found_by_slack_types(), problems_by_slack_types);
}

#[test]
fn good_messages_pass_both_judges() {
    judge_messages(&[
        ("every block".to_owned(), good()),
        ("text alone".to_owned(), json!({ "text": "A message.", "thread_ts": "1.2" })),
    ]);
}

#[test]
#[should_panic(expected = "header-in-markdown: TS2322")]
fn one_judge_that_finds_something_is_enough() {
    let messages: Vec<(String, Value)> = found_by_slack_types()
        .into_iter()
        .filter(|(name, ..)| *name == "header-in-markdown")
        .map(|(name, message, _)| (name.to_owned(), message))
        .collect();
    assert!(
        problems_by_slack_sdk(&messages).is_empty(),
        "slack_sdk has learnt to tell a header's text: take another example"
    );
    judge_messages(&messages);
}

#[test]
fn a_machine_without_python_is_told_what_it_lacks() {
    let said = find_python(&["keytide-no-such-python", "keytide-nor-this-one"]).err().unwrap_or_default();
    assert!(said.contains("keytide-no-such-python") && said.contains("3.11"), "{said}");
}
