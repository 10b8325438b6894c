//! Our own judge of a message: the rules that Slack holds and that its own SDKs' models miss.

use std::collections::HashSet;

use serde_json::Value;

use crate::{
    blocks::{
        LARGEST_BLOCKS, LONGEST_FIELD, LONGEST_HEADER, LONGEST_PLAIN_MESSAGE, LONGEST_SECTION, LONGEST_TEXT,
        MOST_BLOCKS, MOST_ELEMENTS, MOST_FIELDS,
    },
    text::length,
};

/// Slack's limit on `block_id` and `action_id`.
const LONGEST_ID: usize = 255;

/// What Slack would refuse in these arguments of `chat.postMessage`, a sentence each; nothing, if all is
/// well.
pub fn faults_in(arguments: &Value) -> Vec<String> {
    let mut check = Check::default();
    let blocks = arguments.get("blocks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if arguments.get("blocks").is_some_and(|blocks| !blocks.is_array()) {
        check.fault("blocks: expected a list".to_owned());
    }
    let longest = if blocks.is_empty() { LONGEST_PLAIN_MESSAGE } else { LONGEST_TEXT };
    check.text("text", arguments.get("text"), longest);
    if blocks.len() > MOST_BLOCKS {
        check.fault(format!("blocks: expected at most {MOST_BLOCKS}, found {}", blocks.len()));
    }
    let size: usize = blocks.iter().map(|block| length(&block.to_string())).sum();
    if size > LARGEST_BLOCKS {
        check.fault(format!("blocks: expected at most {LARGEST_BLOCKS} characters in all, found {size}"));
    }
    for (index, block) in blocks.iter().enumerate() {
        check.block(&format!("blocks[{index}]"), block);
    }
    check.faults
}

#[derive(Default)]
struct Check {
    faults: Vec<String>,
    block_ids: HashSet<String>,
    action_ids: HashSet<String>,
}

impl Check {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn block(&mut self, place: &str, block: &Value) {
        self.id(place, "block_id", block);
        match block.get("type").and_then(Value::as_str) {
            Some("header") => {
                self.text_object(
                    &format!("{place}.text"),
                    block.get("text"),
                    LONGEST_HEADER,
                    &["plain_text"],
                );
            }
            Some("section") => {
                let text = block.get("text");
                let fields = block.get("fields");
                if text.is_none() && fields.is_none() {
                    self.fault(format!("{place}: a section needs a text or fields"));
                }
                if text.is_some() {
                    self.text_object(&format!("{place}.text"), text, LONGEST_SECTION, ANY_TEXT);
                }
                if fields.is_some() {
                    self.list(&format!("{place}.fields"), fields, MOST_FIELDS, LONGEST_FIELD);
                }
            }
            Some("context") => {
                self.list(&format!("{place}.elements"), block.get("elements"), MOST_ELEMENTS, LONGEST_FIELD);
            }
            Some("divider") => {}
            other => self.fault(format!("{place}.type: expected a block used here, found {other:?}")),
        }
        self.actions(place, block);
    }

    fn list(&mut self, place: &str, list: Option<&Value>, most: usize, longest: usize) {
        let entries = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if entries.is_empty() || entries.len() > most {
            self.fault(format!("{place}: expected a list of 1 to {most}, found {}", entries.len()));
        }
        for (index, entry) in entries.iter().enumerate() {
            self.text_object(&format!("{place}[{index}]"), Some(entry), longest, ANY_TEXT);
        }
    }

    fn text_object(&mut self, place: &str, object: Option<&Value>, longest: usize, kinds: &[&str]) {
        let kind = object.and_then(|object| object.get("type")).and_then(Value::as_str);
        if !kind.is_some_and(|kind| kinds.contains(&kind)) {
            self.fault(format!("{place}.type: expected one of {kinds:?}, found {kind:?}"));
        }
        self.text(&format!("{place}.text"), object.and_then(|object| object.get("text")), longest);
    }

    fn text(&mut self, place: &str, text: Option<&Value>, longest: usize) {
        let Some(text) = text.and_then(Value::as_str) else {
            return self.fault(format!("{place}: expected a text"));
        };
        if text.trim().is_empty() {
            self.fault(format!("{place}: empty"));
        }
        if length(text) > longest {
            self.fault(format!("{place}: expected at most {longest} characters, found {}", length(text)));
        }
    }

    fn actions(&mut self, place: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                self.id(place, "action_id", value);
                for (name, field) in fields {
                    self.actions(&format!("{place}.{name}"), field);
                }
            }
            Value::Array(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    self.actions(&format!("{place}[{index}]"), entry);
                }
            }
            _ => {}
        }
    }

    fn id(&mut self, place: &str, name: &str, value: &Value) {
        let Some(id) = value.get(name) else { return };
        let Some(id) = id.as_str().filter(|id| !id.is_empty() && length(id) <= LONGEST_ID) else {
            return self.fault(format!("{place}.{name}: expected a text of 1 to {LONGEST_ID} characters"));
        };
        let seen = if name == "block_id" { &mut self.block_ids } else { &mut self.action_ids };
        if !seen.insert(id.to_owned()) {
            self.fault(format!("{place}.{name}: {id:?} stands twice in the message"));
        }
    }
}

const ANY_TEXT: &[&str] = &["plain_text", "mrkdwn"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn section(text: &str) -> Value {
        json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
    }

    #[test]
    fn each_limit_is_seen() {
        let field = json!({"type": "mrkdwn", "text": "x".repeat(2_001)});
        let header = |text: String| json!({"type": "header", "text": {"type": "plain_text", "text": text}});
        for (arguments, words) in [
            (json!({"text": ""}), "text: empty"),
            (json!({}), "text: expected a text"),
            (json!({"text": "x".repeat(40_001)}), "at most 40000"),
            (json!({"text": "x".repeat(4_001), "blocks": [section("a")]}), "at most 4000"),
            (json!({"text": "x", "blocks": vec![section("a"); 51]}), "at most 50, found 51"),
            (json!({"text": "x", "blocks": vec![section(&"y".repeat(2_900)); 4]}), "10000 characters in all"),
            (json!({"text": "x", "blocks": [section(&"x".repeat(3_001))]}), "at most 3000"),
            (json!({"text": "x", "blocks": [section(" ")]}), "blocks[0].text.text: empty"),
            (json!({"text": "x", "blocks": [header("x".repeat(151))]}), "at most 150"),
            (json!({"text": "x", "blocks": [{"type": "section"}]}), "needs a text or fields"),
            (json!({"text": "x", "blocks": [{"type": "section", "fields": [field]}]}), "at most 2000"),
            (json!({"text": "x", "blocks": [{"type": "context", "elements": []}]}), "1 to 10, found 0"),
            (json!({"text": "x", "blocks": [{"type": "sparkle"}]}), "found Some(\"sparkle\")"),
            (
                json!({"text": "x", "blocks": [{"type": "divider", "block_id": "a"}, {"type": "divider", "block_id": "a"}]}),
                "\"a\" stands twice",
            ),
            (
                json!({"text": "x", "blocks": [
                    {"type": "divider", "one": {"action_id": "b"}, "two": {"action_id": "b"}}]}),
                "\"b\" stands twice",
            ),
        ] {
            let faults = faults_in(&arguments);
            assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:?}");
        }
    }

    #[test]
    fn a_message_within_the_limits_has_no_fault() {
        let arguments = json!({"text": "x", "blocks": [section("y"), {"type": "divider"}]});
        assert_eq!(faults_in(&arguments), Vec::<String>::new());
    }
}
