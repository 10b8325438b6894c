//! Bytes into events: single ones, one after another, JSON lines, lists, and CloudTrail's log files, all told
//! apart by what they hold, with one event in memory at a time.
//!
//! This follows JSON's grammar only as far as it takes to find where a value begins and ends; whether the
//! value itself is sound is left to `serde_json`. What is broken is named, and reading goes on at the next
//! line that begins like an event, so one bad line of many costs no more than itself.

use std::ops::ControlFlow;

use serde::de::IgnoredAny;

/// The largest event that is taken, in bytes. EventBridge takes 256 KB; nobody's event is larger than this.
pub(crate) const LARGEST_EVENT: usize = 4 * 1024 * 1024;
/// How much of a value that is too large is passed over before the file is given up, in bytes: a few
/// kilobytes of gzip can unfold to any size.
const MOST_PASSED_OVER: u64 = 256 * 1024 * 1024;
/// How deep values may be nested: `serde_json`'s own limit.
const DEEPEST: usize = 127;
/// After so many faults in a row a file is given up: it is something else.
const MOST_FAULTS_IN_A_ROW: u32 = 20;

/// The member of a log file that holds its events.
const RECORDS: &[u8] = b"Records";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// One event, as JSON that is sound.
    Event {
        /// The JSON.
        json: Vec<u8>,
        /// The line it begins on.
        line: u64,
    },
    /// Something that is no event.
    Bad {
        /// The line of the fault.
        line: u64,
        /// The column of the fault, in bytes, where that says something.
        column: Option<u64>,
        /// What was expected, and what was found.
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Object,
    List,
}

/// What the grammar wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

/// What the next byte is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    None,
    Text { is_key: bool, escaped: bool },
    Bare,
}

/// Bytes that are passed over after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    No,
    /// To the end of the line.
    Line,
    /// To a line that begins like an event.
    ToEvent {
        at_line_start: bool,
    },
    /// To the end.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    line: u64,
    column: u64,
}

struct Fault {
    at: Position,
    reason: String,
    kind: FaultKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    /// Something that does not even begin like an event.
    Stray,
    /// A value that is broken.
    Broken,
    /// The bytes end inside a value.
    End,
    /// The file is not worth reading on.
    Hopeless,
}

/// Splits a stream of bytes, given in chunks of any size, into events.
#[derive(Debug)]
pub(crate) struct Splitter {
    stack: Vec<Container>,
    want: Want,
    token: Token,
    skip: Skip,
    /// How deep the events stand: 0 by themselves, 1 in a list, 2 in a log file's `Records`.
    event_depth: usize,
    /// Where the event at hand begins.
    began: Option<Position>,
    /// The event at hand so far, or nothing of it once it is too large.
    event: Vec<u8>,
    passed_over: u64,
    /// The latest key of a top-level object, as far as it matters.
    key: Vec<u8>,
    next: Position,
    faults_in_a_row: u32,
    found_anything: bool,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self {
            stack: Vec::new(),
            want: Want::Value,
            token: Token::None,
            skip: Skip::No,
            event_depth: 0,
            began: None,
            event: Vec::new(),
            passed_over: 0,
            key: Vec::new(),
            next: Position { line: 1, column: 1 },
            faults_in_a_row: 0,
            found_anything: false,
        }
    }

    /// Takes more bytes; `Break` says that the rest is not worth reading.
    pub(crate) fn feed(&mut self, chunk: &[u8], pieces: &mut Vec<Piece>) -> ControlFlow<()> {
        let mut rest = chunk;
        while let Some((&byte, after)) = rest.split_first() {
            // Most bytes are inside texts.
            if self.skip == Skip::No && matches!(self.token, Token::Text { is_key: false, escaped: false }) {
                let plain = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < b' ');
                let (text, others) = rest.split_at(plain.unwrap_or(rest.len()));
                if !text.is_empty() {
                    self.keep(text);
                    self.next.column += text.len() as u64;
                    rest = others;
                    continue;
                }
            }
            rest = after;
            if let Err(fault) = self.take(byte, pieces) {
                let again = self.recover(fault, pieces);
                self.feed_again(again, pieces);
            }
            if self.skip == Skip::All {
                return ControlFlow::Break(());
            }
        }
        if self.passed_over > MOST_PASSED_OVER {
            let reason = format!(
                "a value goes on for more than {} MB: the rest of the file is left out",
                MOST_PASSED_OVER / 1024 / 1024
            );
            let fault = Fault { at: self.next, reason, kind: FaultKind::Hopeless };
            self.recover(fault, pieces);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// There are no more bytes.
    pub(crate) fn end(&mut self, pieces: &mut Vec<Piece>) {
        while !self.stack.is_empty() && self.skip == Skip::No {
            let reason = "the end comes in the middle of a value".to_owned();
            let fault = Fault { at: self.next, reason, kind: FaultKind::End };
            let again = self.recover(fault, pieces);
            if again.is_empty() {
                return;
            }
            self.feed_again(again, pieces);
        }
        if !self.found_anything {
            pieces.push(Piece::Bad {
                line: 1,
                column: None,
                reason: format!("it is empty: expected {EXPECTED}"),
            });
        }
    }

    /// Takes bytes that may have been taken before; the last of `bytes` comes first.
    fn feed_again(&mut self, mut bytes: Vec<u8>, pieces: &mut Vec<Piece>) {
        while let Some(byte) = bytes.pop() {
            if let Err(fault) = self.take(byte, pieces) {
                bytes.extend(self.recover(fault, pieces));
            }
        }
    }

    fn take(&mut self, byte: u8, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        let at = self.next;
        if byte == b'\n' {
            self.next = Position { line: at.line + 1, column: 1 };
        } else {
            self.next.column += 1;
        }
        match self.skip {
            Skip::No => {}
            Skip::All => return Ok(()),
            Skip::Line => {
                if byte == b'\n' {
                    self.skip = Skip::No;
                }
                return Ok(());
            }
            Skip::ToEvent { at_line_start: true } if self.begins_anew(byte) => self.skip = Skip::No,
            Skip::ToEvent { .. } => {
                self.skip = Skip::ToEvent { at_line_start: byte == b'\n' };
                return Ok(());
            }
        }
        match self.token {
            Token::None => {}
            Token::Text { is_key, escaped } => return self.text(byte, is_key, escaped, at, pieces),
            Token::Bare if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.') => {
                self.keep(&[byte]);
                return Ok(());
            }
            Token::Bare => {
                self.token = Token::None;
                self.value_ended(pieces);
            }
        }
        if self.stack.is_empty() {
            return self.top_level(byte, at);
        }
        self.structure(byte, at, pieces)
    }

    /// Whether a line that begins so is no longer part of a broken value: of one over many lines, the rest
    /// is indented, or begins with a name or an end.
    fn begins_anew(&self, byte: u8) -> bool {
        let may_be_the_rest = matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'"' | b',' | b'}' | b']');
        matches!(byte, b'{' | b'[') || (self.stack.is_empty() && !may_be_the_rest)
    }

    fn text(
        &mut self,
        byte: u8,
        is_key: bool,
        escaped: bool,
        at: Position,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), Fault> {
        self.keep(&[byte]);
        if byte < b' ' {
            return Err(broken(at, "a text holds a line break or another control character".to_owned()));
        }
        match byte {
            b'"' if !escaped => {
                self.token = Token::None;
                if is_key {
                    self.want = Want::Colon;
                } else {
                    self.value_ended(pieces);
                }
            }
            _ => {
                self.token = Token::Text { is_key, escaped: byte == b'\\' && !escaped };
                if is_key && self.stack.len() == 1 && self.key.len() <= RECORDS.len() {
                    self.key.push(byte);
                }
            }
        }
        Ok(())
    }

    /// Between two values that stand by themselves. (A byte order mark is as good as a space.)
    fn top_level(&mut self, byte: u8, at: Position) -> Result<(), Fault> {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf => Ok(()),
            b'{' => {
                self.event_depth = 0;
                self.began = Some(at);
                self.open(Container::Object, at)
            }
            b'[' => {
                self.event_depth = 1;
                self.open(Container::List, at)
            }
            _ => Err(Fault {
                at,
                reason: format!("expected {EXPECTED}, found {}", in_words(byte)),
                kind: FaultKind::Stray,
            }),
        }
    }

    fn structure(&mut self, byte: u8, at: Position, pieces: &mut Vec<Piece>) -> Result<(), Fault> {
        match (self.want, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => self.keep(&[byte]),
            (
                Want::Value | Want::ValueOrEnd,
                b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n',
            ) => {
                return self.begin_value(byte, at);
            }
            (Want::ValueOrEnd, b']') | (Want::KeyOrEnd, b'}') => self.close(byte, pieces),
            (Want::Key | Want::KeyOrEnd, b'"') => {
                self.keep(&[byte]);
                self.token = Token::Text { is_key: true, escaped: false };
                if self.stack.len() == 1 {
                    self.key.clear();
                }
            }
            (Want::Colon, b':') => {
                self.keep(&[byte]);
                self.want = Want::Value;
            }
            (Want::CommaOrEnd, b',') => {
                self.keep(&[byte]);
                let in_object = self.stack.last() == Some(&Container::Object);
                self.want = if in_object { Want::Key } else { Want::Value };
            }
            (Want::CommaOrEnd, b'}') if self.stack.last() == Some(&Container::Object) => {
                self.close(byte, pieces);
            }
            (Want::CommaOrEnd, b']') if self.stack.last() == Some(&Container::List) => {
                self.close(byte, pieces);
            }
            (want, _) => {
                self.keep(&[byte]);
                let wanted = match want {
                    Want::Value => "a value",
                    Want::ValueOrEnd => "a value or `]`",
                    Want::Key => "a name in quotes",
                    Want::KeyOrEnd => "a name in quotes or `}`",
                    Want::Colon => "`:`",
                    Want::CommaOrEnd if self.stack.last() == Some(&Container::Object) => "`,` or `}`",
                    Want::CommaOrEnd => "`,` or `]`",
                };
                return Err(broken(at, format!("expected {wanted}, found {}", in_words(byte))));
            }
        }
        Ok(())
    }

    fn begin_value(&mut self, byte: u8, at: Position) -> Result<(), Fault> {
        let depth = self.stack.len();
        if depth == self.event_depth && self.began.is_none() {
            self.began = Some(at);
        }
        match byte {
            b'[' if depth == 1 && self.event_depth == 0 && self.key == RECORDS => {
                // A log file: not this object is the event, but each of its records.
                self.forget_event();
                self.event_depth = 2;
                self.open(Container::List, at)
            }
            b'{' => self.open(Container::Object, at),
            b'[' => self.open(Container::List, at),
            b'"' => {
                self.keep(&[byte]);
                self.token = Token::Text { is_key: false, escaped: false };
                Ok(())
            }
            _ => {
                self.keep(&[byte]);
                self.token = Token::Bare;
                Ok(())
            }
        }
    }

    fn open(&mut self, container: Container, at: Position) -> Result<(), Fault> {
        let (byte, want) = match container {
            Container::Object => (b'{', Want::KeyOrEnd),
            Container::List => (b'[', Want::ValueOrEnd),
        };
        self.keep(&[byte]);
        self.stack.push(container);
        self.want = want;
        if self.stack.len() > DEEPEST {
            return Err(broken(at, format!("values are nested more than {DEEPEST} deep")));
        }
        Ok(())
    }

    fn close(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        self.keep(&[byte]);
        self.stack.pop();
        self.value_ended(pieces);
    }

    fn value_ended(&mut self, pieces: &mut Vec<Piece>) {
        self.want = Want::CommaOrEnd;
        if self.stack.len() == self.event_depth
            && let Some(began) = self.began
        {
            self.found_anything = true;
            let piece = self.judged(began);
            self.forget_event();
            self.count(piece, pieces);
        }
        if self.stack.is_empty() {
            self.found_anything = true;
            self.event_depth = 0;
            self.want = Want::Value;
        } else if self.stack.len() < self.event_depth {
            // A log file's records have ended; what else is in its object is no event.
            self.event_depth = usize::MAX;
        }
    }

    /// A complete value: an event if it is sound.
    fn judged(&mut self, began: Position) -> Piece {
        if self.passed_over > 0 {
            let reason = format!(
                "larger than {} MB: events are at most 256 KB, so this is none",
                LARGEST_EVENT / 1024 / 1024
            );
            return Piece::Bad { line: began.line, column: None, reason };
        }
        match serde_json::from_slice::<IgnoredAny>(&self.event) {
            Ok(_) => Piece::Event { json: std::mem::take(&mut self.event), line: began.line },
            Err(error) => {
                let before = if error.line() == 1 { began.column - 1 } else { 0 };
                Piece::Bad {
                    line: began.line + (error.line() as u64).saturating_sub(1),
                    column: Some(before + error.column() as u64),
                    reason: without_place(&error.to_string()).to_owned(),
                }
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.began.is_none() {
            return;
        }
        if self.passed_over > 0 || self.event.len() + bytes.len() > LARGEST_EVENT {
            self.passed_over += (self.event.len() + bytes.len()) as u64;
            self.event = Vec::new();
        } else {
            self.event.extend_from_slice(bytes);
        }
    }

    fn forget_event(&mut self) {
        self.began = None;
        self.event.clear();
        self.passed_over = 0;
    }

    /// Tells of a fault and finds out where to read on: gives the bytes to take once more, last one first.
    fn recover(&mut self, fault: Fault, pieces: &mut Vec<Piece>) -> Vec<u8> {
        self.found_anything = true;
        let began = self.began;
        let event = std::mem::take(&mut self.event);
        self.forget_event();
        self.token = Token::None;
        let mut bad = Piece::Bad { line: fault.at.line, column: Some(fault.at.column), reason: fault.reason };
        match fault.kind {
            FaultKind::Stray => {
                self.skip = Skip::Line;
                self.count(bad, pieces);
                return Vec::new();
            }
            FaultKind::Hopeless => {
                self.skip = Skip::All;
                pieces.push(bad);
                return Vec::new();
            }
            FaultKind::Broken | FaultKind::End => {}
        }
        if self.stack.len() < self.event_depth {
            self.event_depth = 0;
        }
        // In a list, reading goes on inside it.
        self.stack.truncate(self.event_depth);
        self.want = Want::Value;
        let starts_event = |pair: &[u8]| matches!(pair, [b'\n', b'{' | b'[']);
        if let (Some(began), Some(at)) = (began, event.windows(2).position(starts_event)) {
            let (left_out, again) = event.split_at(at + 1);
            let lines = left_out.split(|&byte| byte == b'\n').count() as u64 - 1;
            // A new event began where this one should have gone on: it is the one that is cut off.
            if let Piece::Bad { line, column, reason } = &mut bad {
                *line = began.line + lines.saturating_sub(1);
                *column = None;
                "it is cut off: the next line begins another event".clone_into(reason);
            }
            self.next = Position { line: began.line + lines, column: 1 };
            self.skip = Skip::No;
            self.count(bad, pieces);
            return again.iter().rev().copied().collect();
        }
        if fault.kind == FaultKind::End {
            self.stack.clear();
            self.event_depth = 0;
            if let (Piece::Bad { reason, .. }, Some(began)) = (&mut bad, began) {
                *reason = format!("{reason} that begins on line {}", began.line);
            }
        }
        self.skip = Skip::ToEvent { at_line_start: self.next.column == 1 };
        self.count(bad, pieces);
        Vec::new()
    }

    fn count(&mut self, piece: Piece, pieces: &mut Vec<Piece>) {
        let fault_line = match &piece {
            Piece::Event { .. } => None,
            Piece::Bad { line, .. } => Some(*line),
        };
        pieces.push(piece);
        let Some(line) = fault_line else {
            self.faults_in_a_row = 0;
            return;
        };
        self.faults_in_a_row += 1;
        if self.faults_in_a_row >= MOST_FAULTS_IN_A_ROW {
            self.skip = Skip::All;
            let reason = format!("{MOST_FAULTS_IN_A_ROW} faults in a row: the rest of the file is left out");
            pieces.push(Piece::Bad { line, column: None, reason });
        }
    }
}

const EXPECTED: &str = "events as JSON: one, several, a list, JSON lines, or a CloudTrail log file";

fn broken(at: Position, reason: String) -> Fault {
    Fault { at, reason, kind: FaultKind::Broken }
}

fn in_words(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("`{}`", char::from(byte)) } else { format!("the byte 0x{byte:02x}") }
}

/// An error of `serde_json` without its own idea of the place, which begins anew at each event.
fn without_place(error: &str) -> &str {
    error.split_once(" at line ").map_or(error, |(reason, _)| reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split_in(input: &[u8], chunk: usize) -> Vec<Piece> {
        let mut splitter = Splitter::new();
        let mut pieces = Vec::new();
        for chunk in input.chunks(chunk) {
            if splitter.feed(chunk, &mut pieces).is_break() {
                return pieces;
            }
        }
        splitter.end(&mut pieces);
        pieces
    }

    /// Events as `LINE:JSON`, faults as `LINE:COLUMN!REASON`.
    fn split(input: &str) -> Vec<String> {
        let pieces = split_in(input.as_bytes(), 7);
        let short = |piece| match piece {
            Piece::Event { json, line } => format!("{line}:{}", String::from_utf8(json).unwrap()),
            Piece::Bad { line, column, reason } => {
                format!("{line}:{}!{reason}", column.map_or("-".to_owned(), |column| column.to_string()))
            }
        };
        pieces.into_iter().map(short).collect()
    }

    #[test]
    fn events_stand_alone_in_lines_in_lists_and_in_log_files() {
        assert_eq!(split(r#"{"a":1}"#), [r#"1:{"a":1}"#]);
        assert_eq!(split("\u{feff}{\n  \"a\": 1\n}\n"), ["1:{\n  \"a\": 1\n}"]);
        assert_eq!(split("{\"a\":1}\n\n{\"b\":2}\r\n"), [r#"1:{"a":1}"#, r#"3:{"b":2}"#]);
        assert_eq!(split("{\"a\":1} {\"b\":2}"), [r#"1:{"a":1}"#, r#"1:{"b":2}"#]);
        assert_eq!(
            split("[{\"a\":1},\n{\"b\":[2]}, 3, \"x\"]"),
            [r#"1:{"a":1}"#, r#"2:{"b":[2]}"#, "2:3", "2:\"x\""]
        );
        assert_eq!(
            split(
                "{\"v\":{\"Records\":[]},\"Records\":[{\"a\":\"]}\\\"\"},\n{\"b\":{}}],\"c\":[{}]}\n{\"d\":4}"
            ),
            [r#"1:{"a":"]}\""}"#, r#"2:{"b":{}}"#, r#"3:{"d":4}"#]
        );
        assert_eq!(split("{\"Records\":[]}"), [""; 0]);
        assert_eq!(split("{\"Records\":{}}"), ["1:{\"Records\":{}}"]);
        assert_eq!(split("[]"), [""; 0]);
    }

    #[test]
    fn a_bad_line_costs_itself() {
        let found = split("{\"a\":1}\n{\"b\":\n{\"c\":3}\n{\"d\":4");
        assert_eq!(found[0], r#"1:{"a":1}"#);
        assert!(found[1].starts_with("2:-!it is cut off"), "{found:?}");
        assert_eq!(found[2], r#"3:{"c":3}"#);
        assert!(found[3].starts_with("4:7!the end comes in the middle"), "{found:?}");

        let found = split("{\"a\":\"x\nnonsense\n{\"b\":2}");
        assert!(found[1].starts_with("2:1!expected events"), "a bad line hides no other: {found:?}");
        assert_eq!((found.len(), found[2].as_str()), (3, r#"3:{"b":2}"#));

        let found = split("{\"a\":\"x\n{\"b\":2}\nnonsense\n{\"c\":tru}\n{\"d\":4}}\n{\"e\":5}");
        assert!(found[0].starts_with("1:8!a text holds a line break"), "{found:?}");
        assert_eq!(found[1], r#"2:{"b":2}"#);
        assert!(found[2].starts_with("3:1!expected events as JSON"), "{found:?}");
        assert!(found[3].starts_with("4:9!expected ident"), "{found:?}");
        assert_eq!(found[4], r#"5:{"d":4}"#);
        assert!(found[5].starts_with("5:8!expected events as JSON"), "{found:?}");
        assert_eq!(found[6], r#"6:{"e":5}"#);
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn a_bad_record_of_a_log_file_is_named_and_the_others_are_kept() {
        let found = split("{\"Records\":[{\"a\":1},{\"b\":01},{\"c\":3}]}");
        assert_eq!((found[0].as_str(), found[2].as_str()), (r#"1:{"a":1}"#, r#"1:{"c":3}"#));
        assert!(found[1].starts_with("1:27!invalid number"), "{found:?}");
        let found = split("[\n{\"a\":1},\n{\"b\":,\n{\"c\":3}\n]");
        assert_eq!((found[0].as_str(), found[2].as_str()), (r#"2:{"a":1}"#, r#"4:{"c":3}"#));
        assert!(found[1].starts_with("3:6!expected a value, found `,`"), "{found:?}");
    }

    #[test]
    fn a_broken_event_over_many_lines_is_one_fault() {
        let found = split("{\n  \"a\": {\n    \"b\": 1\n    \"c\": 2\n  }\n}\n{\"d\":4}");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("4:5!expected `,` or `}`, found `\"`"), "{found:?}");
        assert_eq!(found[1], r#"7:{"d":4}"#);
    }

    #[test]
    fn nothing_and_anything_else_is_said_to_be_what_it_is() {
        assert!(split(" \n\t")[0].contains("it is empty"));
        assert!(split("")[0].contains("it is empty"));
        let prose = "no events here\n".repeat(1000);
        let found = split(&prose);
        assert_eq!(found.len(), 21);
        assert!(found[20].contains("left out"), "{found:?}");
    }

    #[test]
    fn a_value_beyond_the_limit_is_passed_over_without_being_kept() {
        let mut splitter = Splitter::new();
        let mut pieces = Vec::new();
        let _ = splitter.feed(b"[{\"a\":\"", &mut pieces);
        for _ in 0..400 {
            let _ = splitter.feed(&[b'x'; 16 * 1024], &mut pieces);
            assert!(splitter.event.capacity() <= 2 * LARGEST_EVENT);
        }
        let _ = splitter.feed(b"\"},{\"b\":2}]", &mut pieces);
        splitter.end(&mut pieces);
        assert!(
            matches!(&pieces[0], Piece::Bad { line: 1, reason, .. } if reason.starts_with("larger than 4 MB"))
        );
        assert_eq!(pieces[1], Piece::Event { json: b"{\"b\":2}".to_vec(), line: 1 });
        assert_eq!(pieces.len(), 2);
    }

    #[test]
    fn depth_is_bounded() {
        let found = split(&"[".repeat(100_000));
        assert!(found[0].contains("nested more than"), "{}", found[0]);
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            input in "[\\[\\]{},:\"\\\\a1t\n Records]{0,80}", chunk in 1_usize..20
        ) {
            prop_assert_eq!(split_in(input.as_bytes(), chunk), split_in(input.as_bytes(), 1000));
        }

        #[test]
        fn any_bytes_are_taken(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            for piece in split_in(&input, 16) {
                if let Piece::Event { json, .. } = piece {
                    prop_assert!(serde_json::from_slice::<IgnoredAny>(&json).is_ok());
                }
            }
        }

        #[test]
        fn every_sound_event_is_found_whatever_line_is_broken(
            count in 1_usize..12, broken in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()
        ) {
            let event = |number: usize| format!("{{\"n\":{number},\"o\":{{\"l\":[1,{{}}],\"t\":\"}}\"}}}}");
            let broken = broken.index(count);
            let mut lines: Vec<String> = (0..count).map(event).collect();
            let cut = 1 + cut.index(lines[broken].len() - 1);
            lines[broken].truncate(cut);
            let pieces = split_in(lines.join("\n").as_bytes(), 64);
            let found: Vec<_> = pieces.iter().filter_map(|piece| match piece {
                Piece::Event { json, line } => Some((String::from_utf8(json.clone()).unwrap(), *line)),
                Piece::Bad { .. } => None,
            }).collect();
            let wanted: Vec<_> = (0..count).filter(|&number| number != broken)
                .map(|number| (event(number), number as u64 + 1)).collect();
            prop_assert_eq!(found, wanted);
            prop_assert_eq!(pieces.len(), count);
            let fault_is_named = pieces.iter().any(|piece| {
                matches!(piece, Piece::Bad { line, .. } if *line == broken as u64 + 1)
            });
            prop_assert!(fault_is_named);
        }
    }
}
