//! Secrets Manager, read once and kept, read again when the secret turns out to be stale.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;

use crate::Failure;

/// Reads secrets by name or ARN. What it returns is never logged here.
#[derive(Debug, Clone)]
pub struct Secrets {
    client: Client,
}

impl Secrets {
    /// On the given configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// The secret's text, trimmed. Binary and empty secrets are refused, and no error holds any of it.
    pub async fn read(&self, name: &str) -> Result<String, Failure> {
        let operation = || format!("secretsmanager:GetSecretValue of {name}");
        let answer = self.client.get_secret_value().secret_id(name).send().await;
        let answer = answer.map_err(|error| Failure::of(operation(), &error))?;
        match answer.secret_string().map(str::trim) {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            Some(_) => Err(Failure::operators(operation(), "the secret is empty; expected a text")),
            None => Err(Failure::operators(operation(), "the secret is binary; expected a text")),
        }
    }
}
