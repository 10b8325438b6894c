//! Text for Slack, with what others wrote made harmless.
//!
//! User names, user agents, tags and error messages are written by whoever calls AWS. They are cleaned of
//! everything that does not show as itself ([`defused`]), cut, escaped, and shown as code. Only words that
//! stand in this program's source are taken as they are; the types see to that: [`Markup::say`] takes
//! nothing but a `&'static str`.

use keytide_core::owner::SlackId;

/// What stands where nothing was given, since Slack refuses an empty text.
const NOTHING: &str = "(empty)";
/// What stands where something was cut off.
const ELLIPSIS: char = '…';

/// The text's length as Slack may count it. Slack says "characters"; UTF-16 units are what its own
/// JavaScript counts, and never fewer than the characters.
pub fn length(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The text on one line, without control, bidirectional, zero-width and other invisible characters, and
/// with each backtick made an apostrophe: what is left cannot end a code span, turn the line around or
/// hide.
pub fn defused(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_whitespace() {
            if !clean.is_empty() && !clean.ends_with(' ') {
                clean.push(' ');
            }
        } else if character == '`' {
            clean.push('\'');
        } else if !is_invisible(character) {
            clean.push(character);
        }
    }
    clean.truncate(clean.trim_end().len());
    clean
}

/// Characters that show as nothing or change how others show: Unicode's control and format characters
/// (general categories Cc and Cf), and the fillers and variation selectors that are letters or marks only
/// by name.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Escapes what Slack asks to be escaped, which is these three and no more.
fn escape(character: char, into: &mut String) {
    match character {
        '&' => into.push_str("&amp;"),
        '<' => into.push_str("&lt;"),
        '>' => into.push_str("&gt;"),
        other => into.push(other),
    }
}

/// Escapes the text, cut between two characters so that the *escaped* text fits into `longest`.
fn escaped(text: &str, longest: usize) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut cut_at = 0;
    let mut spent = 0;
    for character in text.chars() {
        let before = whole.len();
        escape(character, &mut whole);
        spent += whole.get(before..).map_or(0, length);
        if spent < longest {
            cut_at = whole.len();
        } else if spent > longest {
            whole.truncate(cut_at);
            if longest > 0 {
                whole.push(ELLIPSIS);
            }
            return whole;
        }
    }
    whole
}

/// An untrusted text as a code span of at most `longest` characters, backticks and escapes counted.
pub fn untrusted(text: &str, longest: usize) -> String {
    let clean = defused(text);
    let shown = if clean.is_empty() { NOTHING } else { &clean };
    format!("`{}`", escaped(shown, longest.saturating_sub(2)))
}

/// An untrusted text for a plain text object, which knows no markup: not escaped, since Slack may show the
/// escapes, but without the brackets that a reader or a program might take for markup.
pub fn plain(text: &str, longest: usize) -> String {
    let clean: String = defused(text)
        .chars()
        .map(|character| match character {
            '<' => '‹',
            '>' => '›',
            other => other,
        })
        .collect();
    cut(if clean.is_empty() { NOTHING } else { &clean }, longest)
}

/// The text, cut between two characters to at most `longest`, an ellipsis in place of what is missing.
pub fn cut(text: &str, longest: usize) -> String {
    if length(text) <= longest {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut spent = 1;
    for character in text.chars() {
        spent += character.len_utf16();
        if spent > longest {
            break;
        }
        kept.push(character);
    }
    if longest > 0 {
        kept.push(ELLIPSIS);
    }
    kept
}

/// Text in Slack's markup, put together from pieces that are each safe, and cut, where it must be, between
/// pieces or inside one and never inside an escape or a mention.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Markup {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Words(String),
    Bold(&'static str),
    Code { text: String, longest: usize },
    Mention(SlackId),
}

impl Markup {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Our own words.
    #[must_use]
    pub fn say(mut self, words: &'static str) -> Self {
        self.pieces.push(Piece::Words(words.to_owned()));
        self
    }

    /// Our own words in bold.
    #[must_use]
    pub fn bold(mut self, words: &'static str) -> Self {
        self.pieces.push(Piece::Bold(words));
        self
    }

    /// A text of ours that is put together at run time, as a date or a count; on one line, as plain words.
    #[must_use]
    pub fn word(mut self, text: &str) -> Self {
        // Nothing in it is to be markup: not even an asterisk in an account's name.
        let clean = defused(text).replace(['*', '_', '~'], "-");
        self.pieces.push(Piece::Words(clean));
        self
    }

    /// A text that others wrote, as code, of at most `longest` characters.
    #[must_use]
    pub fn code(mut self, text: &str, longest: usize) -> Self {
        self.pieces.push(Piece::Code { text: text.to_owned(), longest });
        self
    }

    /// A mention of a person. Only a checked member id becomes one.
    #[must_use]
    pub fn mention(mut self, id: &SlackId) -> Self {
        self.pieces.push(Piece::Mention(id.clone()));
        self
    }

    /// This, and then `other`.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.pieces.extend(other.pieces);
        self
    }

    /// Whether nothing has been said.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The markup as Slack reads it, of at most `longest` characters and never empty.
    pub fn render(&self, longest: usize) -> String {
        let mut text = String::new();
        let mut left = longest;
        for piece in &self.pieces {
            let rendered = piece.render(usize::MAX);
            let size = length(&rendered);
            if size <= left {
                left -= size;
                text.push_str(&rendered);
            } else {
                text.push_str(&piece.render(left));
                break;
            }
        }
        if text.trim().is_empty() { cut(NOTHING, longest) } else { text }
    }
}

impl Piece {
    fn render(&self, room: usize) -> String {
        match self {
            Self::Words(words) => escaped(words, room),
            Self::Bold(words) if length(words) + 2 <= room => format!("*{}*", escaped(words, usize::MAX)),
            // A span needs its two backticks and something between them.
            Self::Code { text, longest } if room > 2 => untrusted(text, room.min(*longest)),
            Self::Mention(id) if id.as_str().len() + 3 <= room => format!("<@{}>", id.as_str()),
            Self::Bold(_) | Self::Code { .. } | Self::Mention(_) => escaped(&ELLIPSIS.to_string(), room),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_show_as_itself_is_gone() {
        let hostile = "a\u{202e}b\u{200b}c\u{1b}[31md\r\n\te`f`\u{2066}\u{61c}\u{feff}\u{2028}g\u{e0041}";
        assert_eq!(defused(hostile), "abc[31md e'f' g");
        assert_eq!(defused("\u{200b}\n"), "");
    }

    #[test]
    fn a_code_span_is_cut_before_it_is_escaped() {
        assert_eq!(untrusted("a<b", 50), "`a&lt;b`");
        assert_eq!(untrusted("<<<", 8), "`&lt;…`");
        assert_eq!(untrusted("<", 6), "`&lt;`");
        assert_eq!(untrusted("abc", 5), "`abc`");
        assert_eq!(untrusted("abcd", 5), "`ab…`");
        assert_eq!(untrusted("", 20), "`(empty)`");
    }

    #[test]
    fn markup_is_cut_between_pieces_or_inside_one() {
        let id = SlackId::parse("U12345678").unwrap();
        let markup = Markup::new().bold("Who").say(" is ").mention(&id).say("? ").code("a & b", 40);
        assert_eq!(markup.render(100), "*Who* is <@U12345678>? `a &amp; b`");
        assert_eq!(markup.render(15), "*Who* is …");
        assert_eq!(markup.render(27), "*Who* is <@U12345678>? `a…`");
        assert_eq!(Markup::new().render(10), "(empty)");
    }

    #[test]
    fn words_put_together_at_run_time_are_no_markup() {
        assert_eq!(Markup::new().word("*prod* <!here>").render(99), "-prod- &lt;!here&gt;");
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_span_or_its_length(text in any::<String>(), longest in 3_usize..300) {
            let span = untrusted(&text, longest);
            prop_assert!(length(&span) <= longest, "{span}");
            prop_assert!(span.starts_with('`') && span.ends_with('`'));
            prop_assert_eq!(span.matches('`').count(), 2);
            prop_assert!(!span.contains(['<', '>', '\n']));
            prop_assert!(!span.chars().any(is_invisible));
            // Every ampersand begins a whole escape.
            for part in span.split('&').skip(1) {
                prop_assert!(["amp;", "lt;", "gt;"].iter().any(|escape| part.starts_with(escape)));
            }
        }

        #[test]
        fn a_plain_text_is_never_empty_or_too_long(text in any::<String>(), longest in 1_usize..200) {
            let shown = plain(&text, longest);
            prop_assert!(!shown.is_empty() && length(&shown) <= longest);
            prop_assert!(!shown.contains(['<', '>', '\n', '`']));
        }
    }
}
