//! Block Kit, as far as it is used here, with Slack's limits in the constructors.
//!
//! A constructor never fails: what is too long is cut, what is too much is said to be missing. So an alert
//! always goes out, whatever stands in it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::text::{self, Markup};

/// Blocks in a message.
pub const MOST_BLOCKS: usize = 50;
/// Characters in a header.
pub const LONGEST_HEADER: usize = 150;
/// Characters in a section's text.
pub const LONGEST_SECTION: usize = 3_000;
/// Fields in a section.
pub const MOST_FIELDS: usize = 10;
/// Characters in a field.
pub const LONGEST_FIELD: usize = 2_000;
/// Elements in a context.
pub const MOST_ELEMENTS: usize = 10;
/// Characters of a message's own text; more is refused when a message is changed later.
pub const LONGEST_TEXT: usize = 4_000;
/// Characters of a message that has no blocks; Slack cuts what is longer.
pub const LONGEST_PLAIN_MESSAGE: usize = 40_000;
/// Characters of all blocks together, as JSON. Slack refuses somewhere above this with
/// `msg_blocks_too_long` and does not document where: reports say from about 11,300 characters of text.
pub const LARGEST_BLOCKS: usize = 10_000;

/// A text object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Text {
    /// Without markup.
    PlainText {
        /// The text.
        text: String,
        /// Whether `:name:` becomes an emoji: no, since names are chosen by others.
        emoji: bool,
    },
    /// With Slack's markup.
    Mrkdwn {
        /// The text.
        text: String,
        /// Whether everything but markup is left as it stands: yes, so that a bare address or a channel's
        /// name in somebody else's text becomes no link.
        verbatim: bool,
    },
}

impl Text {
    fn markup(markup: &Markup, longest: usize) -> Self {
        Self::Mrkdwn { text: markup.render(longest), verbatim: true }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::PlainText { text, .. } | Self::Mrkdwn { text, .. } => text,
        }
    }
}

/// One block of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// A line in large letters.
    Header {
        /// Plain text.
        text: Text,
    },
    /// A paragraph, or up to ten fields in two columns.
    Section {
        /// The paragraph.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Text>,
        /// The fields.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        fields: Vec<Text>,
    },
    /// A line in small letters.
    Context {
        /// Its parts.
        elements: Vec<Text>,
    },
}

impl Block {
    /// A header; markup in it is shown as it stands.
    pub fn header(words: &str) -> Self {
        Self::Header { text: Text::PlainText { text: text::plain(words, LONGEST_HEADER), emoji: false } }
    }

    /// A paragraph.
    pub fn section(markup: &Markup) -> Self {
        Self::Section { text: Some(Text::markup(markup, LONGEST_SECTION)), fields: Vec::new() }
    }

    /// Fields in two columns: as many sections as ten fields each ask for.
    pub fn fields(fields: &[Markup]) -> Vec<Self> {
        fields
            .chunks(MOST_FIELDS)
            .map(|fields| Self::Section {
                text: None,
                fields: fields.iter().map(|field| Text::markup(field, LONGEST_FIELD)).collect(),
            })
            .collect()
    }

    /// A line in small letters.
    pub fn context(elements: &[Markup]) -> Self {
        let shown = elements.iter().take(MOST_ELEMENTS);
        Self::Context { elements: shown.map(|element| Text::markup(element, LONGEST_FIELD)).collect() }
    }

    fn texts(&self) -> Vec<&Text> {
        match self {
            Self::Header { text } => vec![text],
            Self::Section { text, fields } => text.iter().chain(fields).collect(),
            Self::Context { elements } => elements.iter().collect(),
        }
    }

    /// The block's size as JSON, in characters.
    pub fn size(&self) -> usize {
        serde_json::to_string(self).map_or(LARGEST_BLOCKS, |json| text::length(&json))
    }
}

/// One Slack message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// What a phone and a screen reader say: a full sentence.
    pub text: String,
    /// What is seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Block>,
}

impl Message {
    /// A message. Blocks beyond Slack's limits are left out, and a last line says so.
    pub fn new(text: &Markup, blocks: Vec<Block>) -> Self {
        let left_out =
            Block::context(&[Markup::new().say("This message was too long for Slack; its end is missing.")]);
        let fits = |blocks: &[Block]| {
            blocks.len() <= MOST_BLOCKS && blocks.iter().map(Block::size).sum::<usize>() <= LARGEST_BLOCKS
        };
        let mut blocks = blocks;
        if !fits(&blocks) {
            blocks.push(left_out);
            while !fits(&blocks) && blocks.len() > 1 {
                blocks.remove(blocks.len() - 2);
            }
        }
        Self { text: text.render(LONGEST_TEXT), blocks }
    }

    /// The same message without blocks, for when Slack refuses them: all their texts, a line each.
    #[must_use]
    pub fn plain(&self) -> Self {
        if self.blocks.is_empty() {
            return self.clone();
        }
        let mut whole = String::new();
        let mut spent = 0;
        for text in self.blocks.iter().flat_map(Block::texts) {
            // A field is a name and a value on two lines; here they share one.
            let line = match text {
                Text::PlainText { text, .. } => Markup::new().word(text).render(LONGEST_TEXT),
                Text::Mrkdwn { .. } => text.as_str().replacen("*\n", "*: ", 1),
            };
            let size = text::length(&line) + 1;
            if spent + size > LONGEST_PLAIN_MESSAGE {
                break;
            }
            spent += size;
            if !whole.is_empty() {
                whole.push('\n');
            }
            whole.push_str(&line);
        }
        Self { text: whole, blocks: Vec::new() }
    }

    /// The arguments of `chat.postMessage`. Links are never unfurled, no name and no icon is put on, and
    /// nothing asks Slack to find mentions in the text by itself.
    pub fn to_arguments(&self, channel: &str, thread_ts: Option<&str>) -> Value {
        let mut arguments = json!({
            "channel": channel,
            "text": self.text,
            "unfurl_links": false,
            "unfurl_media": false,
        });
        if let Some(object) = arguments.as_object_mut() {
            if !self.blocks.is_empty() {
                object.insert("blocks".to_owned(), json!(self.blocks));
            }
            if let Some(thread_ts) = thread_ts {
                object.insert("thread_ts".to_owned(), json!(thread_ts));
            }
        }
        arguments
    }
}
