//! What a failed AWS call means for whoever made it.

use std::error::Error as _;

use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::{display::DisplayErrorContext, metadata::ProvideErrorMetadata};

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Try again later: throttling, a conflict, a time-out, a server's error. It may have been carried out.
    Retry,
    /// Tell the operators: access denied, a table that is not there, a request that AWS does not take.
    Operators,
}

/// A failed AWS call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} failed: {cause}")]
pub struct Failure {
    /// Which call, on what.
    pub operation: String,
    /// AWS's error code, where it answered with one.
    pub code: Option<String>,
    /// What AWS or the connection said.
    pub cause: String,
    /// What to do about it.
    pub remedy: Remedy,
}

/// Codes that mean "later", besides every 5xx. IAM says `Throttling`, DynamoDB `ThrottlingException`.
const LATER: [&str; 14] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "TransactionConflictException",
    "TransactionInProgressException",
    "InternalServerError",
    "InternalServiceError",
    "ServiceFailure",
    "ServiceUnavailable",
    "RequestTimeout",
];

impl Failure {
    /// Judges an SDK error. Without an answer (time-outs, connections) it is worth another try.
    pub fn of<E>(operation: impl Into<String>, error: &SdkError<E, Response>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let operation = operation.into();
        match error {
            SdkError::ServiceError(answer) => {
                let code = answer.err().code().map(str::to_owned);
                let message = answer.err().message().map(str::to_owned);
                let server_fault = answer.raw().status().is_server_error();
                let later = server_fault || code.as_deref().is_some_and(|code| LATER.contains(&code));
                let cause = match (&code, message) {
                    (Some(code), Some(message)) => format!("{code}: {message}"),
                    (Some(code), None) => code.clone(),
                    (None, Some(message)) => message,
                    (None, None) => format!("HTTP {}", answer.raw().status().as_u16()),
                };
                let remedy = if later { Remedy::Retry } else { Remedy::Operators };
                Self { operation, code, cause, remedy }
            }
            SdkError::ConstructionFailure(_) => Self {
                operation,
                code: None,
                cause: DisplayErrorContext(error).to_string(),
                remedy: Remedy::Operators,
            },
            _ => {
                let cause = error.source().map_or_else(|| error.to_string(), chain);
                Self { operation, code: None, cause, remedy: Remedy::Retry }
            }
        }
    }

    /// A failure that another try may mend.
    pub fn retry(operation: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { operation: operation.into(), code: None, cause: cause.into(), remedy: Remedy::Retry }
    }

    /// A failure that needs a person.
    pub fn operators(operation: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { operation: operation.into(), code: None, cause: cause.into(), remedy: Remedy::Operators }
    }

    /// Whether another try may mend it.
    pub fn is_retryable(&self) -> bool {
        self.remedy == Remedy::Retry
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        // Some layers repeat the one below.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    text
}
