//! Where the Slack token comes from.

use keytide_aws::{Failure, secrets::Secrets};
use keytide_slack::Token;
use tokio::sync::Mutex;

/// A bot token, given or read from Secrets Manager and kept.
#[derive(Debug)]
pub enum TokenSource {
    /// Given: the command line reads it from the environment.
    Given(Token),
    /// In Secrets Manager.
    Secret {
        /// How it is read.
        secrets: Secrets,
        /// The secret's name or ARN.
        name: String,
        /// What was read last.
        kept: Mutex<Option<Token>>,
    },
}

impl TokenSource {
    /// A token in Secrets Manager, not read yet.
    pub fn secret(secrets: Secrets, name: String) -> Self {
        Self::Secret { secrets, name, kept: Mutex::new(None) }
    }

    /// The token.
    pub async fn get(&self) -> Result<Token, Failure> {
        match self {
            Self::Given(token) => Ok(token.clone()),
            Self::Secret { secrets, name, kept } => {
                let mut kept = kept.lock().await;
                if let Some(token) = &*kept {
                    return Ok(token.clone());
                }
                let token = Token::new(secrets.read(name).await?);
                *kept = Some(token.clone());
                Ok(token)
            }
        }
    }

    /// The token after Slack refused `refused`: read once more, `None` where that gives the same again.
    pub async fn instead_of(&self, refused: &Token) -> Result<Option<Token>, Failure> {
        let Self::Secret { kept, .. } = self else { return Ok(None) };
        {
            let mut kept = kept.lock().await;
            // Another delivery of this batch may have read it anew already.
            if kept.as_ref() == Some(refused) {
                *kept = None;
            }
        }
        let token = self.get().await?;
        Ok((token != *refused).then_some(token))
    }
}
