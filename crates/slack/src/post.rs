//! The one port to Slack: a call of its Web API, whoever answers it.

use std::{fmt, future::Future, time::Duration};

use serde_json::Value;

/// A bot token. It is never shown: not by `Debug`, not in an error, not in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes the token's text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one header that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// A call of Slack's Web API.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method, as `chat.postMessage`.
    pub method: &'static str,
    /// The arguments, sent as JSON.
    pub arguments: Value,
    /// How long to wait for the answer.
    pub timeout: Duration,
}

/// Slack's answer, whatever it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, where given.
    pub retry_after: Option<Duration>,
    /// The body; null where it was not JSON.
    pub body: Value,
}

/// No answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The call never left: no connection was made.
    #[error("Slack could not be reached: {0}")]
    NotSent(String),
    /// The call left and its answer was lost: it may have been carried out.
    #[error("Slack's answer was lost: {0}")]
    Lost(String),
}

/// Something that answers calls of Slack's Web API: Slack itself, or a Slack in the process.
pub trait Post: Send + Sync {
    /// Makes one call and returns whatever was answered, without judging it.
    fn post(&self, token: &Token, call: Call) -> impl Future<Output = Result<Answer, NoAnswer>> + Send;
}
