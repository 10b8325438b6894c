//! Everything that is printed goes through here: answers to standard output, remarks to standard error.
//!
//! A reader that goes away (`keytide … | head`) is no error, and stops nothing but the printing.

use std::{
    fmt::Write as _,
    io::{self, BufWriter, IsTerminal as _, Stdout, Write as _},
    time::Duration,
};

use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keytide_slack::text::defused;

use crate::Trouble;

/// The width of what is no terminal, in columns.
const PIPED_WIDTH: usize = 100;
/// Nothing is drawn wider than this: long lines are hard to read.
const WIDEST: usize = 120;

/// Where a command prints.
pub(crate) struct Output {
    stdout: BufWriter<Stdout>,
    /// Why standard output takes nothing more.
    closed: Option<io::Error>,
    is_terminal: bool,
    bar: Option<ProgressBar>,
    /// Columns there are.
    pub(crate) width: usize,
    /// Whether there may be colour.
    pub(crate) colour: bool,
}

/// How a stretch of text stands out, where there may be colour.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Bold,
    Dim,
    Alarm,
}

impl Output {
    /// Standard output and standard error; `no_colour` is the variable `NO_COLOR`.
    pub(crate) fn new(no_colour: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let width = Table::new().width().map_or(PIPED_WIDTH, usize::from);
        Self {
            stdout: BufWriter::with_capacity(64 * 1024, io::stdout()),
            closed: None,
            is_terminal,
            bar: None,
            width: width.min(WIDEST),
            colour: is_terminal && !no_colour,
        }
    }

    /// Prints text as it stands.
    pub(crate) fn print(&mut self, text: &str) {
        if self.closed.is_some() {
            return;
        }
        let stdout = &mut self.stdout;
        let flushed = self.is_terminal;
        let mut write = || {
            stdout.write_all(text.as_bytes())?;
            if flushed { stdout.flush() } else { Ok(()) }
        };
        let written = match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
        self.closed = written.err();
    }

    /// Prints one line.
    pub(crate) fn line(&mut self, text: &str) {
        self.print(text);
        self.print("\n");
    }

    /// Whether anybody still reads.
    pub(crate) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// Says something beside the answer, on standard error. What was printed before is shown before it.
    pub(crate) fn remark(&mut self, text: &str) {
        if self.closed.is_none() {
            self.closed = self.stdout.flush().err();
        }
        // Nobody is left to tell when standard error is closed.
        let write = || {
            let _ = writeln!(io::stderr(), "{text}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Shows from now on how many events are done, if standard error is a terminal.
    pub(crate) fn start_progress(&mut self) {
        self.start_progress_of("events");
    }

    /// The same, of other things.
    pub(crate) fn start_progress_of(&mut self, things: &str) {
        if self.bar.is_some() || !io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        let template = format!("{{spinner}} {{human_pos}} {things}, {{per_sec}}, {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    /// Tells the progress, if it is shown.
    pub(crate) fn progress(&self, done: u64, at: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(shown(at, 60));
        }
    }

    /// Takes the progress away.
    pub(crate) fn end_progress(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// The text in a style, where there may be colour.
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Alarm => "1;31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Prints all that is left. A reader that went away is no error; a full disk is.
    pub(crate) fn finish(mut self) -> Result<(), Trouble> {
        self.end_progress();
        if self.closed.is_none() {
            self.closed = self.stdout.flush().err();
        }
        match self.closed {
            None => Ok(()),
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Some(error) => Err(Trouble::Failed(format!(
                "standard output: not everything could be written: {error}; see where it leads to"
            ))),
        }
    }
}

/// Text that others wrote, safe to show on one line: no control, bidirectional or invisible characters, and
/// no longer than `longest` characters.
pub(crate) fn shown(text: &str, longest: usize) -> String {
    let clean = defused(text);
    if clean.chars().count() <= longest {
        return clean;
    }
    let mut cut: String = clean.chars().take(longest.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A number of things, in words: `1 event`, `2 events`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{s}")
}

/// JSON in which nothing is left that a terminal would obey: the same JSON, with control and
/// format characters beyond ASCII written as escapes. (JSON itself escapes those within.)
pub(crate) fn safe_json(json: &str) -> String {
    if json.is_ascii() && !json.contains('\u{7f}') {
        return json.to_owned();
    }
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        // A character that vanishes when it is made harmless is one that does not show as itself.
        // A line's end stands between JSON's tokens, never within a text of it.
        let harmless = matches!(character, ' ' | '\n')
            || character.is_ascii_graphic()
            || character.is_alphanumeric()
            || {
                let mut buffer = [0; 4];
                let text: &str = character.encode_utf8(&mut buffer);
                defused(text) == text
            };
        if harmless {
            safe.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

/// A table without borders: columns side by side, two spaces between them. Columns named in `right` hold
/// numbers.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>, right: &[usize]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(Cell::new).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new_owned).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if right.contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning_and_loses_what_a_terminal_obeys() {
        let text = "é漢字 \u{202e}right\u{9b}2J\u{7f}\u{200b}`\u{202f} 🔑";
        let json = serde_json::to_string(text).unwrap();
        let safe = safe_json(&json);
        assert!(!safe.chars().any(|letter| letter.is_control() || letter == '\u{202e}'), "{safe}");
        assert!(safe.contains("é漢字") && safe.contains('`'), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
    }

    #[test]
    fn a_table_has_columns_and_no_borders() {
        let rows = vec![
            vec!["AKIA1".to_owned(), "alice".to_owned(), "7".to_owned()],
            vec!["AKIA22".to_owned(), "bo".to_owned(), "123".to_owned()],
        ];
        let table = table(&["KEY", "USER", "DAYS"], rows, &[2]);
        assert_eq!(table, "KEY     USER   DAYS\nAKIA1   alice     7\nAKIA22  bo      123");
    }
}
