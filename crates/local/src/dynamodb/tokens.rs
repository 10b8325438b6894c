//! The tokens that make a repeated transaction harmless.

use std::collections::{HashMap, VecDeque};

/// DynamoDB knows a token for ten minutes. Here it is the latest so many transactions: a caller
/// that repeats one does so at once, and memory stays flat.
const KNOWN_TOKENS: usize = 1_024;

/// A token's longest form (DynamoDB's API reference, `TransactWriteItems`).
const LONGEST_TOKEN: usize = 36;

pub(super) fn well_formed(token: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&token.len())
}

/// What is known of a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    New,
    /// The same transaction was done under it.
    Same,
    /// Another transaction was done under it.
    Different,
}

#[derive(Default)]
pub(super) struct Tokens {
    done: HashMap<String, Box<[u8]>>,
    order: VecDeque<String>,
}

impl Tokens {
    pub(super) fn look_up(&self, token: &str, body: &[u8]) -> Known {
        match self.done.get(token) {
            None => Known::New,
            Some(earlier) if **earlier == *body || items(earlier) == items(body) => Known::Same,
            Some(_) => Known::Different,
        }
    }

    pub(super) fn remember(&mut self, token: String, body: &[u8]) {
        if self.order.len() == KNOWN_TOKENS
            && let Some(oldest) = self.order.pop_front()
        {
            self.done.remove(&oldest);
        }
        self.order.push_back(token.clone());
        self.done.insert(token, body.into());
    }
}

/// The part that decides whether two requests are one; the order of members in it does not count.
fn items(body: &[u8]) -> Option<serde_json::Value> {
    let mut request: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(request.get_mut("TransactItems")?.take())
}
