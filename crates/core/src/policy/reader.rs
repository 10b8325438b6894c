//! A TOML file as typed values, each with its line, and the list of everything that is wrong with it.
//!
//! serde would stop at the first problem; an operator wants all of them at once.

use std::{fmt, ops::RangeInclusive};

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

/// One thing that is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line that it stands on, from 1.
    pub line: usize,
    /// What stands there.
    pub found: String,
    /// What should, and what to do.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: found {}, expected {}", self.line, self.found, self.expected)
    }
}

/// Everything that is wrong with a policy file, in the order of its lines; at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.0.len() == 1 { "" } else { "s" };
        write!(formatter, "the policy has {} problem{s}", self.0.len())?;
        for problem in &self.0 {
            write!(formatter, "\n{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Stands for a value that is not there because its problem has been told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told;

/// A value, and the line it stands on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

/// A table of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'f> {
    /// As it is written in the file, as `[caps]`.
    pub(super) name: &'static str,
    pub(super) line: usize,
    table: &'f DeTable<'f>,
}

/// What a value may be that was looked for: there, not there, or wrong and told.
pub(super) type Found<T> = Result<Option<Placed<T>>, Told>;

/// The file, and what is wrong with it.
pub(super) struct Reader {
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(text: &str) -> Self {
        let after_each_line = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(after_each_line.map(|(at, _)| at + 1)).collect();
        Self { line_starts, problems: Vec::new() }
    }

    /// Everything that is wrong so far, if anything is.
    pub(super) fn sound(&mut self) -> Result<(), Problems> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let mut problems = std::mem::take(&mut self.problems);
        problems.sort_by_key(|problem| problem.line);
        Err(Problems(problems))
    }

    /// The line of a byte, from 1.
    pub(super) fn line_of(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte)
    }

    pub(super) fn tell(
        &mut self,
        line: usize,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Told {
        self.problems.push(Problem { line, found: found.into(), expected: expected.into() });
        Told
    }

    /// The file's own table.
    pub(super) fn root<'f>(table: &'f DeTable<'f>) -> Section<'f> {
        Section { name: "the file", line: 1, table }
    }

    /// A table by its key, named as it is written.
    pub(super) fn section<'f>(
        &mut self,
        within: Section<'f>,
        key: &str,
        name: &'static str,
    ) -> Option<Section<'f>> {
        self.checked_section(within, key, name).unwrap_or_default()
    }

    /// The same where it matters whether it was wrong.
    pub(super) fn checked_section<'f>(
        &mut self,
        within: Section<'f>,
        key: &str,
        name: &'static str,
    ) -> Result<Option<Section<'f>>, Told> {
        let Some(found) = self.value(within, key) else { return Ok(None) };
        self.as_section(found, name).map(Some)
    }

    /// The tables of a list of tables.
    pub(super) fn sections<'f>(
        &mut self,
        within: Section<'f>,
        key: &str,
        name: &'static str,
    ) -> Vec<Section<'f>> {
        let Some(found) = self.value(within, key) else { return Vec::new() };
        let DeValue::Array(list) = found.value else {
            self.tell(
                found.line,
                format!("{} for `{key}`", described(found.value)),
                format!("tables, each begun by {name}"),
            );
            return Vec::new();
        };
        let mut sections = Vec::new();
        for one in list {
            let placed = Placed { value: one.get_ref(), line: self.line_of(one.span().start) };
            sections.extend(self.as_section(placed, name));
        }
        sections
    }

    fn as_section<'f>(
        &mut self,
        found: Placed<&'f DeValue<'f>>,
        name: &'static str,
    ) -> Result<Section<'f>, Told> {
        match found.value {
            DeValue::Table(table) => Ok(Section { name, line: found.line, table }),
            other => Err(self.tell(found.line, described(other), format!("a table, begun by {name}"))),
        }
    }

    /// Tells of every key that is not one of these.
    pub(super) fn only(&mut self, section: Section<'_>, known: &[&str]) {
        for key in section.table.keys() {
            let word: &str = key.get_ref();
            if !known.contains(&word) {
                let line = self.line_of(key.span().start);
                let found = format!("the unknown key `{}` in {}", excerpt(word), section.name);
                self.tell(line, found, format!("only {}", known.join(", ")));
            }
        }
    }

    /// The keys of a table, with the lines of their values.
    pub(super) fn entries<'f>(&self, section: Section<'f>) -> Vec<(&'f str, Placed<&'f DeValue<'f>>)> {
        let place = |value: &'f Spanned<DeValue<'f>>| Placed {
            value: value.get_ref(),
            line: self.line_of(value.span().start),
        };
        section.table.iter().map(|(key, value)| (key.get_ref().as_ref(), place(value))).collect()
    }

    fn value<'f>(&self, section: Section<'f>, key: &str) -> Option<Placed<&'f DeValue<'f>>> {
        let value = section.table.get(key)?;
        Some(Placed { value: value.get_ref(), line: self.line_of(value.span().start) })
    }

    /// A whole number within bounds.
    pub(super) fn number(
        &mut self,
        section: Section<'_>,
        key: &str,
        bounds: RangeInclusive<u32>,
    ) -> Found<u32> {
        let Some(found) = self.value(section, key) else { return Ok(None) };
        self.as_number(found, key, &bounds).map(Some)
    }

    fn as_number(
        &mut self,
        found: Placed<&DeValue<'_>>,
        key: &str,
        bounds: &RangeInclusive<u32>,
    ) -> Result<Placed<u32>, Told> {
        let number = match found.value {
            DeValue::Integer(integer) => number_of(integer).filter(|number| bounds.contains(number)),
            _ => None,
        };
        number.map(|value| Placed { value, line: found.line }).ok_or_else(|| {
            let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
            self.tell(found.line, format!("{} for `{key}`", described(found.value)), expected)
        })
    }

    /// A number within bounds, or one certain word, which is `None`.
    pub(super) fn number_or(
        &mut self,
        section: Section<'_>,
        key: &str,
        bounds: RangeInclusive<u32>,
        word: &str,
    ) -> Found<Option<u32>> {
        let Some(found) = self.value(section, key) else { return Ok(None) };
        let value = match found.value {
            DeValue::String(text) if text == word => Some(None),
            DeValue::Integer(integer) => {
                number_of(integer).filter(|number| bounds.contains(number)).map(Some)
            }
            _ => None,
        };
        let Some(value) = value else {
            let expected =
                format!("a whole number from {} to {}, or \"{word}\"", bounds.start(), bounds.end());
            return Err(self.tell(found.line, format!("{} for `{key}`", described(found.value)), expected));
        };
        Ok(Some(Placed { value, line: found.line }))
    }

    /// A list of whole numbers within bounds.
    pub(super) fn numbers(
        &mut self,
        section: Section<'_>,
        key: &str,
        bounds: RangeInclusive<u32>,
    ) -> Found<Vec<Placed<u32>>> {
        let expected = format!("a list of whole numbers from {} to {}", bounds.start(), bounds.end());
        self.list(section, key, &expected, |reader, one| reader.as_number(one, key, &bounds))
    }

    /// A text that is as it should be.
    pub(super) fn text<T>(
        &mut self,
        section: Section<'_>,
        key: &str,
        expected: &str,
        take: impl Fn(&str) -> Option<T>,
    ) -> Found<T> {
        let Some(found) = self.value(section, key) else { return Ok(None) };
        self.as_text(found, key, expected, take).map(Some)
    }

    pub(super) fn as_text<T>(
        &mut self,
        found: Placed<&DeValue<'_>>,
        key: &str,
        expected: &str,
        take: impl Fn(&str) -> Option<T>,
    ) -> Result<Placed<T>, Told> {
        let value = match found.value {
            DeValue::String(text) => take(text),
            _ => None,
        };
        value.map(|value| Placed { value, line: found.line }).ok_or_else(|| {
            self.tell(found.line, format!("{} for `{}`", described(found.value), excerpt(key)), expected)
        })
    }

    /// A list of texts, each as it should be.
    pub(super) fn texts<T: PartialEq>(
        &mut self,
        section: Section<'_>,
        key: &str,
        expected: &str,
        take: impl Fn(&str) -> Option<T>,
    ) -> Found<Vec<Placed<T>>> {
        self.list(section, key, &format!("a list, each of it {expected}"), |reader, one| {
            reader.as_text(one, key, expected, &take)
        })
    }

    /// A list; all of its values are looked at, also where one is wrong.
    fn list<T>(
        &mut self,
        section: Section<'_>,
        key: &str,
        expected: &str,
        mut take: impl FnMut(&mut Self, Placed<&DeValue<'_>>) -> Result<Placed<T>, Told>,
    ) -> Found<Vec<Placed<T>>> {
        let Some(found) = self.value(section, key) else { return Ok(None) };
        let DeValue::Array(list) = found.value else {
            return Err(self.tell(found.line, format!("{} for `{key}`", described(found.value)), expected));
        };
        let mut taken = Vec::with_capacity(list.len());
        for one in list {
            let placed = Placed { value: one.get_ref(), line: self.line_of(one.span().start) };
            taken.push(take(self, placed));
        }
        let value = taken.into_iter().collect::<Result<Vec<_>, Told>>()?;
        Ok(Some(Placed { value, line: found.line }))
    }
}

/// The number in an integer of the file, if it is one of ours: TOML's have signs, 64 bits and four bases.
fn number_of(integer: &DeInteger<'_>) -> Option<u32> {
    u32::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// What a value is, in words.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text `{}`", excerpt(text)),
        DeValue::Integer(number) => format!("the number {}", excerpt(number.as_str())),
        DeValue::Float(number) => format!("the fraction {}", excerpt(number.as_str())),
        DeValue::Boolean(truth) => format!("the truth value {truth}"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The beginning of a text that others wrote, on one line.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut short: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}
