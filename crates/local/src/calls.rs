//! Who called what: the log that tests read and that fault plans decide by.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::faults::Fault;

/// So many calls are remembered, so that a long replay does not grow in memory.
const REMEMBERED_CALLS: usize = 16_384;

/// A service that the simulation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Amazon DynamoDB, answered by dynoxide.
    DynamoDb,
    /// AWS Identity and Access Management.
    Iam,
    /// AWS Security Token Service.
    Sts,
    /// AWS Secrets Manager.
    SecretsManager,
    /// Amazon Simple Queue Service.
    Sqs,
    /// AWS Organizations.
    Organizations,
}

impl Service {
    /// The name that stands in an action (`iam:GetUser`) and in a signature's scope.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::SecretsManager => "secretsmanager",
            Self::Sqs => "sqs",
            Self::Organizations => "organizations",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::DynamoDb, Self::Iam, Self::Sts, Self::SecretsManager, Self::Sqs, Self::Organizations]
            .into_iter()
            .find(|service| service.name() == name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One call that reached the simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallInfo {
    /// Counts from 1 since the world began or since [`Calls::restart`].
    pub number: u64,
    /// The service that was called.
    pub service: Service,
    /// The operation as the API names it, or `Unknown`.
    pub operation: &'static str,
    /// The account of the credentials.
    pub account: String,
    /// The role that the caller had assumed, if any.
    pub role: Option<String>,
    /// The name of that role's session.
    pub session: Option<String>,
    /// The fault that was done to this call (in a fault plan: not known yet).
    pub fault: Option<Fault>,
}

#[derive(Debug, Default)]
struct Log {
    last_number: u64,
    counts: BTreeMap<(Service, &'static str), u64>,
    faults: BTreeMap<Fault, u64>,
    latest: VecDeque<CallInfo>,
}

/// The log of all calls.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    log: Arc<Mutex<Log>>,
}

impl Calls {
    /// How many calls there were.
    pub fn total(&self) -> u64 {
        self.with(|log| log.last_number)
    }

    /// How many calls there were to one operation.
    pub fn count(&self, service: Service, operation: &str) -> u64 {
        self.with(|log| {
            log.counts
                .iter()
                .filter(|((of, name), _)| *of == service && *name == operation)
                .map(|(_, count)| count)
                .sum()
        })
    }

    /// How many calls there were, by service and operation.
    pub fn counts(&self) -> BTreeMap<(Service, &'static str), u64> {
        self.with(|log| log.counts.clone())
    }

    /// How many calls had which fault.
    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        self.with(|log| log.faults.clone())
    }

    /// The latest calls, oldest first (at most 16,384).
    pub fn list(&self) -> Vec<CallInfo> {
        self.with(|log| log.latest.iter().cloned().collect())
    }

    /// Forgets all calls and counts from 1 again.
    pub fn restart(&self) {
        self.with(|log| *log = Log::default());
    }

    pub(crate) fn next_number(&self, service: Service, operation: &'static str) -> u64 {
        self.with(|log| {
            log.last_number += 1;
            *log.counts.entry((service, operation)).or_default() += 1;
            log.last_number
        })
    }

    pub(crate) fn record(&self, call: CallInfo) {
        self.with(|log| {
            if let Some(fault) = call.fault {
                *log.faults.entry(fault).or_default() += 1;
            }
            if log.latest.len() == REMEMBERED_CALLS {
                log.latest.pop_front();
            }
            log.latest.push_back(call);
        });
    }

    fn with<T>(&self, read: impl FnOnce(&mut Log) -> T) -> T {
        read(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
