//! Chance, and what goes wrong by it: with calls to AWS, with Slack, with the invocation itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use keytide_local::{
    CallInfo, Fault, HOME_ACCOUNT, LocalAws, Service,
    slack::{PostedMessage, SlackSim},
};
use keytide_slack::{Answer, Call, NoAnswer, Post, Token};
use serde_json::{Value, json};

/// Numbers by chance; one seed, one row of them (`SplitMix64`).
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True so often in a hundred.
    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(super) fn of<'a, T>(&mut self, these: &'a [T]) -> Option<&'a T> {
        let count = these.len() as u64;
        (count > 0).then(|| self.below(count)).and_then(|at| these.get(usize::try_from(at).unwrap()))
    }

    pub(super) fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.below(below))
    }
}

/// What goes wrong while one or more invocations run.
#[derive(Debug, Clone, Default)]
pub(super) struct Forecast {
    /// Of a thousand calls to AWS so many meet a fault.
    pub(super) aws: u64,
    /// Of a hundred calls to Slack so many meet a fault.
    pub(super) slack: u64,
    /// Nobody reaches Slack.
    pub(super) slack_down: bool,
    /// The invocation dies at this call from now on.
    pub(super) crash_at: Option<u64>,
}

impl Forecast {
    pub(super) fn is_calm(&self) -> bool {
        self.aws == 0 && self.slack == 0 && !self.slack_down && self.crash_at.is_none()
    }
}

/// The weather, shared by AWS and Slack.
#[derive(Clone)]
pub(super) struct Weather {
    state: Arc<Mutex<State>>,
    aws: LocalAws,
}

struct State {
    chance: Chance,
    forecast: Forecast,
    calls: u64,
    counts: BTreeMap<String, u64>,
    log: Vec<(Timestamp, String)>,
    /// How often the ledger was silent, an answer of Slack was lost, or somebody died.
    excuses: u64,
}

const AWS_FAULTS: [Fault; 10] = [
    Fault::TimeoutBefore,
    Fault::TimeoutAfter,
    Fault::ConnectionErrorBefore,
    Fault::ConnectionErrorAfter,
    Fault::Throttle,
    Fault::ThroughputExceeded,
    Fault::TransactionThrottled,
    Fault::TransactionConflict,
    Fault::TransactionInProgress,
    Fault::ServerError,
];

impl Weather {
    pub(super) fn over(aws: &LocalAws, seed: u64) -> Self {
        let state = State {
            chance: Chance::new(seed ^ 0x57EA_7E12),
            forecast: Forecast::default(),
            calls: 0,
            counts: BTreeMap::new(),
            log: Vec::new(),
            excuses: 0,
        };
        let weather = Self { state: Arc::new(Mutex::new(state)), aws: aws.clone() };
        let (state, world) = (Arc::clone(&weather.state), aws.clone());
        aws.faults().plan(move |call| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.at_call(call, &world)
        });
        weather
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, forecast: Forecast) {
        self.with(|state| {
            state.forecast = forecast;
            state.calls = 0;
        });
    }

    pub(super) fn count(&self, kind: &str) {
        self.with(|state| *state.counts.entry(kind.to_owned()).or_default() += 1);
    }

    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.with(|state| state.counts.clone())
    }

    pub(super) fn log(&self) -> Vec<(Timestamp, String)> {
        self.with(|state| state.log.clone())
    }

    pub(super) fn excuses(&self) -> u64 {
        self.with(|state| state.excuses)
    }
}

impl State {
    fn note(&mut self, at: Timestamp, kind: &str, what: String) {
        *self.counts.entry(kind.to_owned()).or_default() += 1;
        self.log.push((at, what));
    }

    fn at_call(&mut self, call: &CallInfo, aws: &LocalAws) -> Option<Fault> {
        // Only keytide's own calls: people's deeds are not the weather's.
        let ours = call.account == HOME_ACCOUNT
            || call.session.as_deref().is_some_and(|name| name.starts_with("keytide"));
        if !ours || self.forecast.is_calm() {
            return None;
        }
        self.calls += 1;
        let crashes = self.forecast.crash_at == Some(self.calls);
        let fault = if crashes {
            if self.chance.percent(50) { Fault::CrashBefore } else { Fault::CrashAfter }
        } else if self.chance.below(1_000) < self.forecast.aws {
            *self.chance.of(&AWS_FAULTS)?
        } else {
            return None;
        };
        if !fault.can_happen_to(call) {
            return None;
        }
        // The SDK mends most single faults, but not all, and not three in a row.
        self.excuses += u64::from(crashes || call.service == Service::DynamoDb);
        self.note(
            aws.now(),
            &format!("{fault:?}"),
            format!("{fault:?} at {} {}", call.service, call.operation),
        );
        Some(fault)
    }

    fn at_post(&mut self, method: &str, now: Timestamp) -> PostFault {
        if self.forecast.slack_down {
            self.note(now, "SlackDown", "Slack is down".to_owned());
            return PostFault::NotSent;
        }
        if self.chance.below(100) >= self.forecast.slack {
            return PostFault::None;
        }
        let fault = match self.chance.below(7) {
            0 => PostFault::NotSent,
            1 => PostFault::LostBefore,
            2 | 3 => PostFault::LostAfter,
            4 => PostFault::Unavailable,
            5 => PostFault::RateLimited,
            _ => PostFault::Crash,
        };
        let is_lost = matches!(
            fault,
            PostFault::LostBefore | PostFault::LostAfter | PostFault::Unavailable | PostFault::Crash
        );
        self.excuses += u64::from(is_lost);
        self.note(now, &format!("Slack{fault:?}"), format!("{fault:?} at Slack's {method}"));
        fault
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum PostFault {
    None,
    NotSent,
    LostBefore,
    LostAfter,
    Unavailable,
    RateLimited,
    Crash,
}

/// A message that Slack has.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// The invocation that sent it.
    pub(super) run: usize,
    pub(super) at: Timestamp,
    pub(super) conversation: String,
    pub(super) text: String,
    pub(super) blocks: Value,
    /// Whether the sender had Slack's word for it.
    pub(super) confirmed: bool,
}

impl Said {
    /// Everything that a reader sees, a line each.
    pub(super) fn whole(&self) -> String {
        let mut lines = vec![self.text.clone()];
        texts(&self.blocks, &mut lines);
        lines.join("\n")
    }
}

fn texts(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::String(text) if name == "text" => lines.push(text.clone()),
            value => texts(value, lines),
        }),
        Value::Array(values) => values.iter().for_each(|value| texts(value, lines)),
        _ => {}
    }
}

/// The line of one invocation to Slack: what was said over it stands in a list.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) slack: SlackSim,
    pub(super) weather: Weather,
    pub(super) said: Arc<Mutex<Vec<Said>>>,
    pub(super) run: usize,
}

impl Wire {
    async fn carry_out(&self, token: &Token, call: Call, confirmed: bool) -> Result<Answer, NoAnswer> {
        let before = self.slack.messages().len();
        let answer = self.slack.post(token, call).await?;
        let posted = self.slack.messages();
        for PostedMessage { channel, text, blocks, .. } in posted.into_iter().skip(before) {
            let at = self.weather.aws.now();
            let said = Said { run: self.run, at, conversation: channel, text, blocks, confirmed };
            self.said.lock().unwrap_or_else(PoisonError::into_inner).push(said);
        }
        Ok(answer)
    }
}

impl Post for Wire {
    async fn post(&self, token: &Token, call: Call) -> Result<Answer, NoAnswer> {
        let now = self.weather.aws.now();
        let fault = self.weather.with(|state| state.at_post(call.method, now));
        let lost = || NoAnswer::Lost("the connection was closed".to_owned());
        match fault {
            PostFault::None => self.carry_out(token, call, true).await,
            PostFault::NotSent => Err(NoAnswer::NotSent("connection refused".to_owned())),
            PostFault::LostBefore => Err(lost()),
            PostFault::LostAfter => {
                self.carry_out(token, call, false).await?;
                Err(lost())
            }
            PostFault::Unavailable => Ok(Answer { status: 503, retry_after: None, body: Value::Null }),
            PostFault::RateLimited => Ok(Answer {
                status: 429,
                retry_after: Some(Duration::from_secs(7)),
                body: json!({ "ok": false, "error": "ratelimited" }),
            }),
            PostFault::Crash => {
                self.carry_out(token, call, false).await?;
                self.weather.aws.faults().crash().notify_one();
                std::future::pending().await
            }
        }
    }
}
