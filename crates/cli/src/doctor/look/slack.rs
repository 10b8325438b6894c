//! What Slack says of the token.

use keytide_slack::{Token, WebApi};
use serde_json::Value;

use super::super::judge::{Bot, Seen};

/// How Slack refuses a token, as its reference of `auth.test` has it. Whatever else it says (that it is asked too often, that it
/// failed itself) says nothing of the token.
const REFUSALS: [&str; 6] = [
    "account_inactive",
    "invalid_auth",
    "not_allowed_token_type",
    "not_authed",
    "token_expired",
    "token_revoked",
];

/// Slack's error, if it answered with one.
fn error_of(body: &Value) -> Option<String> {
    if body.get("ok").is_some_and(|ok| *ok == true) {
        return None;
    }
    let error = body.get("error").and_then(Value::as_str);
    Some(error.unwrap_or("no answer of Slack's").to_owned())
}

pub(super) async fn bot(url: &str, token: &Token, channel: Option<&str>) -> Seen<Bot> {
    let slack = WebApi::new(url).map_err(|error| error.to_string())?;
    let said = slack.look(token, "auth.test", &[]).await.map_err(|error| error.to_string())?;
    let refused = error_of(&said.body);
    if let Some(error) = &refused
        && !REFUSALS.contains(&error.as_str())
    {
        return Err(error.clone());
    }
    let is_member = match channel {
        None => Err("no channel was named: --channel, or KEYTIDE_CHANNEL".to_owned()),
        Some(channel) => {
            let asked = slack.look(token, "conversations.info", &[("channel", channel)]).await;
            match asked.map(|said| (error_of(&said.body), said.body)) {
                Ok((None, body)) => Ok(body.pointer("/channel/is_member").is_some_and(|is| *is == true)),
                // A channel that the bot cannot see, private ones among them.
                Ok((Some(error), _)) if error == "channel_not_found" || error == "not_in_channel" => {
                    Ok(false)
                }
                Ok((Some(error), _)) => Err(error),
                Err(error) => Err(error.to_string()),
            }
        }
    };
    let scopes = said.scopes.ok_or_else(|| "its answer has no x-oauth-scopes".to_owned());
    Ok(Bot { refused, scopes, is_member })
}
