//! The client: sends a message, waits where Slack asks it to, and sorts every refusal by what is to be
//! done about it.

use std::{fmt, time::Duration};

use keytide_core::{delivery::Receipt, owner::SlackId};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    blocks::Message,
    post::{Answer, Call, NoAnswer, Post, Token},
    text,
};

/// How often one call is made at most.
const MOST_ATTEMPTS: u32 = 4;
/// How long one answer is waited for at most.
const LONGEST_CALL: Duration = Duration::from_secs(10);
/// How long to wait where Slack asks to wait and does not say how long: about one message a second is
/// allowed in each channel.
const WAIT_UNLESS_TOLD: Duration = Duration::from_secs(1);
/// The first wait after a call that was not carried out; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// What is to be done about a call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try again later: it was not carried out.
    Retry {
        /// How long Slack asks to wait, where it says.
        after: Option<Duration>,
    },
    /// It may have been carried out: the answer was lost, or Slack failed on the way.
    Ambiguous,
    /// Operators must act: the token, its scopes, or the channel.
    Configuration {
        /// The token itself was refused: it may have been changed, so it is worth reading once more.
        token_refused: bool,
    },
    /// This recipient cannot be reached; another may.
    Recipient,
    /// Slack refuses what keytide made.
    OurFault,
}

/// A call that did not succeed. It never holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SlackError {
    /// What is to be done about it.
    pub class: ErrorClass,
    /// Slack's error code, or what happened instead of an answer.
    pub detail: String,
}

impl fmt::Display for SlackError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, detail } = self;
        match class {
            ErrorClass::Retry { after: Some(after) } => {
                write!(
                    formatter,
                    "Slack did not take it: {detail}; to be tried again after {} s",
                    after.as_secs()
                )
            }
            ErrorClass::Retry { after: None } => {
                write!(formatter, "Slack did not take it: {detail}; to be tried again")
            }
            ErrorClass::Ambiguous => write!(formatter, "Slack may or may not have taken it: {detail}"),
            ErrorClass::Configuration { .. } => {
                write!(formatter, "Slack refused: {detail}; {}", advice(detail))
            }
            ErrorClass::Recipient => write!(formatter, "Slack cannot reach this recipient: {detail}"),
            ErrorClass::OurFault => {
                write!(formatter, "Slack refused what keytide sent: {detail}; please report it as a bug")
            }
        }
    }
}

/// What an operator does about a configuration error.
fn advice(detail: &str) -> &'static str {
    match detail.split_whitespace().next().unwrap_or_default() {
        "not_in_channel" => "invite the bot to the channel",
        "is_archived" => "the channel is archived: configure another",
        "missing_scope" | "no_permission" => "add the scope to the Slack app and install it again",
        "invalid_auth"
        | "not_authed"
        | "token_revoked"
        | "token_expired"
        | "account_inactive"
        | "not_allowed_token_type" => "store a valid bot token (xoxb-…) in the secret",
        _ => "check the Slack app, its token and the channel",
    }
}

/// Slack's error codes, sorted. A code that is not known here is taken for one that passes: it is reported
/// as it stands and tried again, so that nothing is lost over it.
fn class_of(code: &str) -> ErrorClass {
    match code {
        "fatal_error" | "internal_error" => ErrorClass::Ambiguous,
        "invalid_auth"
        | "not_authed"
        | "token_revoked"
        | "token_expired"
        | "account_inactive"
        | "not_allowed_token_type"
        // Whoever adds the scope may get another token.
        | "missing_scope" => ErrorClass::Configuration { token_refused: true },
        "not_in_channel"
        | "is_archived"
        | "no_permission"
        | "access_denied"
        | "ekm_access_denied"
        | "org_login_required"
        | "team_access_not_granted"
        | "restricted_action" => ErrorClass::Configuration { token_refused: false },
        "channel_not_found" | "users_not_found" | "messages_tab_disabled" | "cannot_dm_bot" => {
            ErrorClass::Recipient
        }
        "invalid_blocks"
        | "invalid_blocks_format"
        | "msg_blocks_too_long"
        | "msg_too_long"
        | "no_text"
        | "invalid_arguments"
        | "invalid_json"
        | "json_not_object" => ErrorClass::OurFault,
        _ if code.starts_with("user_") => ErrorClass::Recipient,
        // `ratelimited`, `rate_limited`, `service_unavailable`, `request_timeout`, and what is unknown.
        _ => ErrorClass::Retry { after: None },
    }
}

/// Slack, called with patience.
#[derive(Debug, Clone)]
pub struct Slack<P> {
    post: P,
}

impl<P: Post> Slack<P> {
    /// Slack behind `post`.
    pub fn new(post: P) -> Self {
        Self { post }
    }

    /// Posts a message and gives back where it stands.
    ///
    /// Waits and tries again where Slack asks for it, within `budget` in all. Never sends again what may
    /// have been posted. A message that Slack refuses for its blocks is sent once more as plain text, and
    /// the receipt says so.
    pub async fn post_message(
        &self,
        token: &Token,
        conversation: &str,
        thread_ts: Option<&str>,
        message: &Message,
        budget: Duration,
    ) -> Result<Receipt, SlackError> {
        let until = Instant::now() + budget;
        let send = async |message: &Message| {
            self.call(token, "chat.postMessage", message.to_arguments(conversation, thread_ts), until).await
        };
        let (body, note) = match send(message).await {
            Err(refused) if refused.class == ErrorClass::OurFault && !message.blocks.is_empty() => {
                tracing::error!(error = %refused, "Slack refuses the blocks; sending plain text");
                let note = format!("sent as plain text, since Slack refused its blocks: {}", refused.detail);
                (send(&message.plain()).await?, Some(note))
            }
            other => (other?, None),
        };
        let field = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        match (field("channel"), field("ts")) {
            (Some(channel), Some(ts)) => Ok(Receipt { channel, ts, note }),
            _ => Err(SlackError {
                class: ErrorClass::Ambiguous,
                detail: "the answer says ok and does not say where the message stands".to_owned(),
            }),
        }
    }

    /// Opens the direct conversation with a person and gives back its id (`D…`). Nothing is posted, so an
    /// answer that was lost is asked for again.
    pub async fn open_direct(
        &self,
        token: &Token,
        user: &SlackId,
        budget: Duration,
    ) -> Result<String, SlackError> {
        let until = Instant::now() + budget;
        let retry = |detail| SlackError { class: ErrorClass::Retry { after: None }, detail };
        let body = self
            .call(token, "conversations.open", json!({ "users": user.as_str() }), until)
            .await
            .map_err(|error| match error.class {
                ErrorClass::Ambiguous => retry(error.detail),
                _ => error,
            })?;
        let id = body.pointer("/channel/id").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| {
            retry("the answer to conversations.open says ok and names no conversation".to_owned())
        })
    }

    /// Makes one call, again where that is safe, and gives back the body of an answer that says `ok`.
    async fn call(
        &self,
        token: &Token,
        method: &'static str,
        arguments: Value,
        until: Instant,
    ) -> Result<Value, SlackError> {
        let mut next_wait = FIRST_WAIT;
        let mut attempt = 1;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let detail = "no time is left to send it".to_owned();
                return Err(SlackError { class: ErrorClass::Retry { after: None }, detail });
            }
            let patience = left.min(LONGEST_CALL);
            let call = Call { method, arguments: arguments.clone(), timeout: patience };
            let error = match timeout(patience, self.post.post(token, call)).await {
                Ok(answer) => match judged(answer) {
                    Ok(body) => return Ok(body),
                    Err(error) => error,
                },
                Err(_) => SlackError {
                    class: ErrorClass::Ambiguous,
                    detail: format!("no answer within {} ms", patience.as_millis()),
                },
            };
            let ErrorClass::Retry { after } = error.class else { return Err(error) };
            let wait = after.unwrap_or(next_wait);
            if attempt == MOST_ATTEMPTS || wait >= until.saturating_duration_since(Instant::now()) {
                return Err(error);
            }
            tracing::info!(method, attempt, detail = %error.detail, wait_ms = wait.as_millis(), "Slack is tried again");
            sleep(wait).await;
            next_wait *= 2;
            attempt += 1;
        }
    }
}

/// What an answer, or the lack of one, means.
fn judged(answer: Result<Answer, NoAnswer>) -> Result<Value, SlackError> {
    let error = |class, detail: String| Err(SlackError { class, detail });
    let answer = match answer {
        Ok(answer) => answer,
        Err(nothing @ NoAnswer::NotSent(_)) => {
            return error(ErrorClass::Retry { after: None }, nothing.to_string());
        }
        Err(nothing @ NoAnswer::Lost(_)) => return error(ErrorClass::Ambiguous, nothing.to_string()),
    };
    let Answer { status, retry_after, body } = answer;
    let code = body.get("error").and_then(Value::as_str).map(|code| text::plain(code, 100));
    if status == 429 {
        let after = Some(retry_after.unwrap_or(WAIT_UNLESS_TOLD));
        return error(ErrorClass::Retry { after }, code.unwrap_or_else(|| "HTTP status 429".to_owned()));
    }
    match (body.get("ok").and_then(Value::as_bool), code) {
        (Some(true), _) if (200..300).contains(&status) => Ok(body),
        (Some(false), Some(code)) => {
            let class = match class_of(&code) {
                ErrorClass::Retry { after: None } => ErrorClass::Retry { after: retry_after },
                other => other,
            };
            // `missing_scope` comes with the scope that is missing.
            let needed = body.get("needed").and_then(Value::as_str).map(|scope| text::plain(scope, 100));
            error(class, needed.map_or(code.clone(), |scope| format!("{code} (needed: {scope})")))
        }
        _ => error(ErrorClass::Ambiguous, format!("HTTP status {status} with an answer that is not Slack's")),
    }
}
