//! Slack itself, over HTTPS.

use std::{error::Error, time::Duration};

use reqwest::{
    Client, Response, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    redirect,
};
use serde_json::Value;

use crate::post::{Answer, Call, NoAnswer, Post, Token};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer to somebody who only looks may take.
const LOOKING: Duration = Duration::from_secs(10);
/// How much of an answer is read, in bytes. Slack's are a few kilobytes.
const LARGEST_ANSWER_BYTES: usize = 1_000_000;

/// Why there is no way to Slack.
#[derive(Debug, thiserror::Error)]
pub enum WebApiError {
    /// The base address cannot be used.
    #[error("Slack's address `{address}` cannot be used: {expected}")]
    Address {
        /// The address, as given.
        address: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The HTTP client, TLS included, could not be set up.
    #[error("the HTTP client for Slack could not be made")]
    Client(#[source] reqwest::Error),
}

/// Slack's Web API.
#[derive(Debug, Clone)]
pub struct WebApi {
    client: Client,
    base: Url,
}

impl WebApi {
    /// Where Slack is.
    pub const BASE: &'static str = "https://slack.com/api/";

    /// The Web API at `base`. The token goes there, so it is HTTPS, or this very machine.
    pub fn new(base: &str) -> Result<Self, WebApiError> {
        let address = |expected| WebApiError::Address { address: base.chars().take(200).collect(), expected };
        let with_slash = if base.ends_with('/') { base.to_owned() } else { format!("{base}/") };
        let url = Url::parse(&with_slash)
            .map_err(|_| address("expected an address such as https://slack.com/api/"))?;
        let is_loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
            return Err(address("expected https://, since a token is sent there"));
        }
        let client = client(is_loopback).map_err(WebApiError::Client)?;
        Ok(Self { client, base: url })
    }
}

/// The one HTTP client. Redirects are not followed: Slack sends none, and the token stays where it was
/// sent.
fn client(is_loopback: bool) -> Result<Client, reqwest::Error> {
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("keytide/", env!("CARGO_PKG_VERSION")));
    // A proxy of the environment does not lead to this machine.
    if is_loopback { builder.no_proxy() } else { builder }.build()
}

/// What Slack says to somebody who only looks.
#[derive(Debug, Clone)]
pub struct Said {
    /// The body; null where it was none.
    pub body: Value,
    /// The token's scopes, as Slack lists them beside every answer in `x-oauth-scopes`; `None` where it did not.
    pub scopes: Option<Vec<String>>,
}

impl WebApi {
    /// Asks Slack for something, by a method that changes nothing. Its arguments go as a form, which every method takes;
    /// JSON, those that write alone.
    pub async fn look(
        &self,
        token: &Token,
        method: &str,
        arguments: &[(&str, &str)],
    ) -> Result<Said, NoAnswer> {
        let not_sent = |cause: &str| NoAnswer::NotSent(cause.to_owned());
        let url = self.base.join(method).map_err(|_| not_sent("the method is no part of an address"))?;
        let request = self.client.post(url).timeout(LOOKING).header(AUTHORIZATION, bearer(token)?);
        let response = request.form(arguments).send().await.map_err(no_answer)?;
        let scopes = response.headers().get("x-oauth-scopes").and_then(|scopes| scopes.to_str().ok());
        let scopes = scopes.map(|scopes| scopes.split(',').map(str::trim).filter(|scope| !scope.is_empty()));
        let scopes = scopes.map(|scopes| scopes.map(str::to_owned).collect());
        Ok(Said { body: body(response).await?, scopes })
    }
}

/// The token as a header, which no log shows.
fn bearer(token: &Token) -> Result<HeaderValue, NoAnswer> {
    let header = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut header = header
        .map_err(|_| NoAnswer::NotSent("the token holds a character that no header can hold".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

impl Post for WebApi {
    async fn post(&self, token: &Token, call: Call) -> Result<Answer, NoAnswer> {
        let not_sent = |cause: &str| NoAnswer::NotSent(cause.to_owned());
        let bearer = bearer(token)?;
        let url = self.base.join(call.method).map_err(|_| not_sent("the method is no part of an address"))?;
        let response = self
            .client
            .post(url)
            .timeout(call.timeout)
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(call.arguments.to_string())
            .send()
            .await
            .map_err(no_answer)?;
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let body = body(response).await?;
        Ok(Answer { status, retry_after, body })
    }
}

/// Only where no connection was made is it certain that nothing was sent.
fn no_answer(error: reqwest::Error) -> NoAnswer {
    let nothing_left = error.is_connect() || error.is_builder();
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    if nothing_left { NoAnswer::NotSent(words) } else { NoAnswer::Lost(words) }
}

/// Slack gives whole seconds.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The body as JSON; null where it is none, or too large to be Slack's.
async fn body(mut response: Response) -> Result<Value, NoAnswer> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| {
        // The answer had begun, so the call arrived, whatever broke.
        NoAnswer::Lost(error.without_url().to_string())
    })? {
        if bytes.len() + chunk.len() > LARGEST_ANSWER_BYTES {
            return Ok(Value::Null);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}
