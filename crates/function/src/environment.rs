//! Environment variables, read once, all of them judged before anything is said.
//!
//! No secret is read from here. Whoever may read a function's configuration sees its environment, so a
//! token in it is refused.

use std::fmt;

/// One thing that is wrong with the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    /// The variable.
    name: &'static str,
    /// What was found there. Never a secret.
    found: Found,
    /// What was expected, and what to do.
    expected: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Nothing,
    Text(String),
    /// Something that must not be shown.
    Concealed,
}

/// Everything that is wrong with the environment, in the order in which it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, expected } = self;
        match found {
            Found::Nothing => write!(formatter, "{name} is not set: expected {expected}"),
            Found::Text(text) => write!(formatter, "{name} is {text:?}: expected {expected}"),
            Found::Concealed => write!(formatter, "{name} is set to what is not shown here: {expected}"),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the configuration has {} problem(s)", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(formatter, "; {problem}"))
    }
}

impl std::error::Error for Problems {}

/// The shape of a value: whether a text has it, and how it is called in an error.
pub(crate) struct Shape {
    pub(crate) holds: fn(&str) -> bool,
    pub(crate) expected: &'static str,
}

/// Whether a text looks like, or holds, one of Slack's tokens (`xoxb-…`, `xoxp-…`, `xapp-…`).
fn is_token(text: &str) -> bool {
    ["xoxb-", "xoxp-", "xoxa-", "xoxe-", "xoxe.", "xapp-"].iter().any(|start| text.contains(start))
}

/// The environment, and what was found wrong with it so far.
pub struct Environment<'read> {
    read: &'read dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
}

impl<'read> Environment<'read> {
    /// As `read` gives its variables.
    pub fn new(read: &'read dyn Fn(&str) -> Option<String>) -> Self {
        Self { read, problems: Vec::new() }
    }

    /// What was `made` of it, if nothing is wrong.
    pub fn judge<T>(self, made: T) -> Result<T, Problems> {
        if self.problems.is_empty() { Ok(made) } else { Err(Problems(self.problems)) }
    }

    fn text(&self, name: &str) -> Option<String> {
        (self.read)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn refuse(&mut self, name: &'static str, found: Found, expected: &'static str) {
        self.problems.push(Problem { name, found, expected });
    }

    fn refuse_text(&mut self, name: &'static str, text: &str, expected: &'static str) {
        if is_token(text) {
            let expected = "it looks like a Slack token, which belongs into Secrets Manager; name its secret \
                            in KEYTIDE_SLACK_SECRET, and let Slack revoke the token that was shown here";
            self.refuse(name, Found::Concealed, expected);
        } else {
            self.refuse(name, Found::Text(text.chars().take(200).collect()), expected);
        }
    }

    /// Refuses whatever is in there: not even its shape is told.
    pub(crate) fn banned(&mut self, name: &'static str, why: &'static str) {
        if self.text(name).is_some() {
            self.refuse(name, Found::Concealed, why);
        }
    }

    pub(crate) fn required(&mut self, name: &'static str, shape: &Shape) -> String {
        if let Some(text) = self.text(name) {
            return self.judged(name, text, shape);
        }
        self.refuse(name, Found::Nothing, shape.expected);
        String::new()
    }

    pub(crate) fn or_default(&mut self, name: &'static str, shape: &Shape, default: &str) -> String {
        match self.text(name) {
            Some(text) => self.judged(name, text, shape),
            None => default.to_owned(),
        }
    }

    fn judged(&mut self, name: &'static str, text: String, shape: &Shape) -> String {
        if is_token(&text) || !(shape.holds)(&text) {
            self.refuse_text(name, &text, shape.expected);
        }
        text
    }

    /// A text that `parse` makes something of; the default where there is none.
    pub fn parsed<T: Default>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let Some(text) = self.text(name) else { return T::default() };
        parse(&text).unwrap_or_else(|| {
            self.refuse_text(name, &text, expected);
            T::default()
        })
    }
}
