//! A Slack in the process: people, channels, a token, Slack's rate, and everything that can go wrong.
//!
//! It refuses what Slack refuses, so a test that passes here has sent valid messages to places that exist.
//! Time is tokio's, so a paused clock works; message ids count up, so a story is the same every time.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keytide_slack::check::faults_in;
use keytide_slack::{Answer, Call, NoAnswer, Post, Token};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Messages that a channel takes at once before the rate of one a second holds.
const BURST: u32 = 3;
/// The time in which a channel takes one more message.
const PACE: Duration = Duration::from_secs(1);

/// A person, as far as a bot is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// Can be written to.
    Active,
    /// The account is switched off.
    Disabled,
    /// Is there and cannot be seen by this bot.
    NotVisible,
}

/// What goes wrong with one call.
#[derive(Debug, Clone)]
pub enum SlackFault {
    /// An answer that says `ok: false` with this code.
    Error(&'static str),
    /// This HTTP status and no JSON.
    Status(u16),
    /// Nothing leaves the caller.
    NotSent,
    /// The call is lost on its way; nothing happens.
    LostBefore,
    /// It happens, and the answer is lost.
    LostAfter,
    /// Too many calls: come back after this long.
    RateLimited(Duration),
    /// The caller dies before the call is carried out: this tells, and no answer ever comes.
    CrashBefore(Arc<Notify>),
    /// The caller dies after the call is carried out: this tells, and no answer ever comes.
    CrashAfter(Arc<Notify>),
}

/// A message as it stands in a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct PostedMessage {
    /// The conversation: a channel, or `D…` for a person.
    pub channel: String,
    /// The message's id there.
    pub ts: String,
    /// The message that it answers to.
    pub thread_ts: Option<String>,
    /// What a phone shows.
    pub text: String,
    /// The blocks; null without any.
    pub blocks: Value,
    /// When it was posted.
    pub at: Instant,
}

impl PostedMessage {
    /// The message as [`crate::draw::draw`] takes it.
    pub fn to_value(&self) -> Value {
        json!({ "text": self.text, "blocks": self.blocks })
    }
}

/// Decides what goes wrong with the call of that number (from 1) and method.
type Script = Box<dyn FnMut(usize, &str) -> Option<SlackFault> + Send>;

/// A Slack in the process. Clones are the same Slack.
#[derive(Clone)]
pub struct SlackSim {
    state: Arc<Mutex<State>>,
}

struct State {
    token: Token,
    people: HashMap<String, Person>,
    channels: HashSet<String>,
    buckets: HashMap<String, Bucket>,
    burst: Option<u32>,
    script: Option<Script>,
    is_down: bool,
    calls: Vec<&'static str>,
    messages: Vec<PostedMessage>,
}

/// How many messages a channel takes right now.
#[derive(Clone, Copy)]
struct Bucket {
    left: u32,
    filled_at: Instant,
}

impl fmt::Debug for SlackSim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SlackSim").finish_non_exhaustive()
    }
}

impl SlackSim {
    /// An empty Slack that takes this token and no other.
    pub fn new(token: &str) -> Self {
        let state = State {
            token: Token::new(token.to_owned()),
            people: HashMap::new(),
            channels: HashSet::new(),
            buckets: HashMap::new(),
            burst: Some(BURST),
            script: None,
            is_down: false,
            calls: Vec::new(),
            messages: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A channel (`C…`) with the bot in it.
    #[must_use]
    pub fn with_channel(self, id: &str) -> Self {
        self.state().channels.insert(id.to_owned());
        self
    }

    /// A person (`U…` or `W…`).
    #[must_use]
    pub fn with_person(self, id: &str, person: Person) -> Self {
        self.set_person(id, person);
        self
    }

    /// Changes a person, or adds one.
    pub fn set_person(&self, id: &str, person: Person) {
        self.state().people.insert(id.to_owned(), person);
    }

    /// From now on only this token counts.
    pub fn rotate_token(&self, new: &str) {
        self.state().token = Token::new(new.to_owned());
    }

    /// How many messages a channel takes at once before the rate of one a second holds; `None`: any number.
    pub fn set_burst(&self, burst: Option<u32>) {
        let mut state = self.state();
        state.burst = burst;
        state.buckets.clear();
    }

    /// Nobody reaches Slack, until this is set to false.
    pub fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// What goes wrong from now on: asked at each call with its number (from 1, over all methods) and method.
    pub fn set_faults(&self, script: impl FnMut(usize, &str) -> Option<SlackFault> + Send + 'static) {
        self.state().script = Some(Box::new(script));
    }

    /// Nothing more goes wrong by script.
    pub fn clear_faults(&self) {
        self.state().script = None;
    }

    /// The methods called, in order, whatever came of them.
    pub fn calls(&self) -> Vec<&'static str> {
        self.state().calls.clone()
    }

    /// All messages posted, in order.
    pub fn messages(&self) -> Vec<PostedMessage> {
        self.state().messages.clone()
    }

    /// The messages in one conversation, in order.
    pub fn messages_in(&self, channel: &str) -> Vec<PostedMessage> {
        self.state().messages.iter().filter(|message| message.channel == channel).cloned().collect()
    }

    /// The id of the direct conversation with a person.
    pub fn direct_of(user: &str) -> String {
        format!("D{}", user.get(1..).unwrap_or_default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Post for SlackSim {
    async fn post(&self, token: &Token, call: Call) -> Result<Answer, NoAnswer> {
        let fault = self.state().next_fault(call.method);
        let lost = || NoAnswer::Lost("the connection was closed".to_owned());
        // The lock is never held while waiting.
        let carry_out = || self.state().answer(token, &call);
        match fault {
            None => Ok(carry_out()),
            Some(SlackFault::Error(code)) => Ok(refusal(code)),
            Some(SlackFault::Status(status)) => Ok(Answer { status, retry_after: None, body: Value::Null }),
            Some(SlackFault::NotSent) => Err(NoAnswer::NotSent("connection refused".to_owned())),
            Some(SlackFault::LostBefore) => Err(lost()),
            Some(SlackFault::LostAfter) => {
                carry_out();
                Err(lost())
            }
            Some(SlackFault::RateLimited(wait)) => Ok(limited(wait)),
            Some(SlackFault::CrashBefore(crash)) => {
                crash.notify_one();
                std::future::pending().await
            }
            Some(SlackFault::CrashAfter(crash)) => {
                carry_out();
                crash.notify_one();
                std::future::pending().await
            }
        }
    }
}

fn answered(body: Value) -> Answer {
    Answer { status: 200, retry_after: None, body }
}

fn refusal(code: &str) -> Answer {
    answered(json!({ "ok": false, "error": code }))
}

/// Slack gives whole seconds, and at least one.
fn limited(wait: Duration) -> Answer {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Answer {
        status: 429,
        retry_after: Some(Duration::from_secs(seconds.max(1))),
        body: json!({ "ok": false, "error": "ratelimited" }),
    }
}

impl State {
    fn next_fault(&mut self, method: &'static str) -> Option<SlackFault> {
        self.calls.push(method);
        if self.is_down {
            return Some(SlackFault::NotSent);
        }
        let number = self.calls.len();
        self.script.as_mut().and_then(|script| script(number, method))
    }

    fn answer(&mut self, token: &Token, call: &Call) -> Answer {
        if *token != self.token {
            return refusal("invalid_auth");
        }
        match call.method {
            "auth.test" => answered(json!({ "ok": true, "team_id": "T0LOCAL", "user_id": "U0KEYTIDE" })),
            "conversations.open" => {
                let user = call.arguments.get("users").and_then(Value::as_str).unwrap_or_default();
                match self.direct(user) {
                    Ok(id) => answered(json!({ "ok": true, "channel": { "id": id } })),
                    Err(code) => refusal(code),
                }
            }
            "chat.postMessage" => self.post_message(&call.arguments).unwrap_or_else(|refused| refused),
            _ => refusal("unknown_method"),
        }
    }

    fn direct(&self, user: &str) -> Result<String, &'static str> {
        match self.people.get(user) {
            Some(Person::Active) => Ok(SlackSim::direct_of(user)),
            Some(Person::Disabled) => Err("user_disabled"),
            Some(Person::NotVisible) => Err("user_not_visible"),
            None => Err("user_not_found"),
        }
    }

    /// The conversation behind what a caller may name: a channel, a direct conversation, or a person.
    fn conversation(&self, named: &str) -> Option<String> {
        let is_direct_with = |person: &String| SlackSim::direct_of(person) == named;
        if self.channels.contains(named) || self.people.keys().any(is_direct_with) {
            return Some(named.to_owned());
        }
        self.direct(named).ok()
    }

    fn post_message(&mut self, arguments: &Value) -> Result<Answer, Answer> {
        let field = |name: &str| arguments.get(name).and_then(Value::as_str).map(str::to_owned);
        let named = field("channel").unwrap_or_default();
        let Some(channel) = self.conversation(&named) else { return Err(refusal("channel_not_found")) };
        let Some(text) = field("text").filter(|text| !text.trim().is_empty()) else {
            return Err(refusal("no_text"));
        };
        if !faults_in(arguments).is_empty() {
            let has_blocks = arguments.get("blocks").is_some();
            return Err(refusal(if has_blocks { "invalid_blocks" } else { "msg_too_long" }));
        }
        let at = Instant::now();
        self.take_turn(&channel, at)?;
        let number = self.messages.len() + 1;
        let ts = format!("{}.{number:06}", 1_780_000_000 + number);
        let blocks = arguments.get("blocks").cloned().unwrap_or_default();
        let thread_ts = field("thread_ts");
        let body = json!({ "ok": true, "channel": channel, "ts": ts });
        self.messages.push(PostedMessage { channel, ts, thread_ts, text, blocks, at });
        Ok(answered(body))
    }

    /// One message a second in each channel, a few more at first.
    fn take_turn(&mut self, channel: &str, at: Instant) -> Result<(), Answer> {
        let Some(burst) = self.burst else { return Ok(()) };
        let bucket = self.buckets.entry(channel.to_owned()).or_insert(Bucket { left: burst, filled_at: at });
        let since = at.saturating_duration_since(bucket.filled_at);
        let turns = u32::try_from(since.as_secs() / PACE.as_secs()).unwrap_or(u32::MAX);
        if turns > 0 {
            bucket.left = bucket.left.saturating_add(turns).min(burst);
            bucket.filled_at += PACE.saturating_mul(turns);
        }
        match bucket.left.checked_sub(1) {
            Some(left) => {
                // A full bucket does not fill while nobody takes from it.
                if bucket.left == burst {
                    bucket.filled_at = at;
                }
                bucket.left = left;
                Ok(())
            }
            None => Err(limited(PACE.saturating_sub(at.saturating_duration_since(bucket.filled_at)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use keytide_core::owner::SlackId;
    use keytide_slack::text::Markup;
    use keytide_slack::{Block, ErrorClass, Message, Slack, SlackError};

    use super::*;

    const BUDGET: Duration = Duration::from_secs(30);

    fn sim() -> SlackSim {
        SlackSim::new("xoxb-local")
            .with_channel("C0INFRA")
            .with_person("U0ALICE123", Person::Active)
            .with_person("U0BRUNO123", Person::Disabled)
            .with_person("U0CARLA123", Person::NotVisible)
    }

    async fn post(sim: &SlackSim, channel: &str) -> Result<keytide_core::delivery::Receipt, SlackError> {
        let words = Markup::new().say("A key was made.");
        let message = Message::new(&words, vec![Block::section(&words)]);
        let token = Token::new("xoxb-local".to_owned());
        Slack::new(sim.clone()).post_message(&token, channel, None, &message, BUDGET).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_stands_where_it_was_sent() {
        let sim = sim();
        let first = post(&sim, "C0INFRA").await.unwrap();
        let second = post(&sim, "U0ALICE123").await.unwrap();
        assert_eq!((first.channel.as_str(), second.channel.as_str()), ("C0INFRA", "D0ALICE123"));
        assert!(first.ts < second.ts);
        assert_eq!(sim.messages_in("C0INFRA").len(), 1);
        assert_eq!(sim.messages()[1].text, "A key was made.");
        assert_eq!(sim.calls(), ["chat.postMessage", "chat.postMessage"]);
    }

    #[tokio::test(start_paused = true)]
    async fn people_who_cannot_be_written_to_say_why() {
        let token = Token::new("xoxb-local".to_owned());
        let slack = Slack::new(sim());
        for (user, code) in [
            ("U0BRUNO123", "user_disabled"),
            ("U0CARLA123", "user_not_visible"),
            ("U0NOBODY1", "user_not_found"),
        ] {
            let error = slack.open_direct(&token, &SlackId::parse(user).unwrap(), BUDGET).await.unwrap_err();
            assert_eq!((error.class, error.detail.as_str()), (ErrorClass::Recipient, code));
        }
        let alice = SlackId::parse("U0ALICE123").unwrap();
        assert_eq!(slack.open_direct(&token, &alice, BUDGET).await.unwrap(), "D0ALICE123");
        assert_eq!(post(&sim(), "C0ELSE").await.unwrap_err().detail, "channel_not_found");
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_takes_a_few_at_once_and_then_one_a_second() {
        let sim = sim();
        let start = Instant::now();
        for _ in 0..8 {
            post(&sim, "C0INFRA").await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        post(&sim, "U0ALICE123").await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(5), "another conversation has its own rate");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_token_is_refused() {
        let sim = sim();
        sim.rotate_token("xoxb-new");
        let error = post(&sim, "C0INFRA").await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Configuration { token_refused: true });
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_wrong_goes_wrong_when_told_to() {
        let sim = sim();
        sim.set_faults(|number, _| match number {
            1 => Some(SlackFault::LostAfter),
            2 => Some(SlackFault::LostBefore),
            3 => Some(SlackFault::Status(503)),
            4 => Some(SlackFault::Error("missing_scope")),
            5 => Some(SlackFault::NotSent),
            6 => Some(SlackFault::RateLimited(Duration::from_secs(2))),
            7 => Some(SlackFault::Error("invalid_blocks")),
            _ => None,
        });
        for posted in [1, 1, 1] {
            assert_eq!(post(&sim, "C0INFRA").await.unwrap_err().class, ErrorClass::Ambiguous);
            assert_eq!(sim.messages().len(), posted);
        }
        let class = post(&sim, "C0INFRA").await.unwrap_err().class;
        assert_eq!(class, ErrorClass::Configuration { token_refused: true });
        let receipt = post(&sim, "C0INFRA").await.unwrap();
        assert!(receipt.note.unwrap().contains("invalid_blocks"));
        assert_eq!(sim.messages()[1].blocks, Value::Null);
        sim.clear_faults();
        sim.set_down(true);
        assert_eq!(post(&sim, "C0INFRA").await.unwrap_err().class, ErrorClass::Retry { after: None });
        sim.set_down(false);
        post(&sim, "C0INFRA").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_tells_and_then_nothing_comes() {
        for (after, posted) in [(false, 0), (true, 1)] {
            let sim = sim();
            let crash = Arc::new(Notify::new());
            let told = Arc::clone(&crash);
            sim.set_faults(move |_, _| {
                let crash = Arc::clone(&told);
                Some(if after { SlackFault::CrashAfter(crash) } else { SlackFault::CrashBefore(crash) })
            });
            tokio::select! {
                biased;
                _ = post(&sim, "C0INFRA") => unreachable!("the caller is dead"),
                () = crash.notified() => {}
            }
            assert_eq!(sim.messages().len(), posted);
        }
    }

    #[tokio::test]
    async fn it_refuses_what_slack_refuses() {
        let token = Token::new("xoxb-local".to_owned());
        let call = |arguments| Call { method: "chat.postMessage", arguments, timeout: BUDGET };
        let sim = sim();
        for (arguments, code) in [
            (json!({"channel": "C0INFRA"}), "no_text"),
            (json!({"channel": "C0INFRA", "text": "x", "blocks": [{"type": "section"}]}), "invalid_blocks"),
            (json!({"channel": "C0INFRA", "text": "x".repeat(40_001)}), "msg_too_long"),
        ] {
            assert_eq!(sim.post(&token, call(arguments)).await.unwrap().body["error"], code);
        }
        assert_eq!(sim.messages(), Vec::new());
        let test = Call { method: "auth.test", arguments: json!({}), timeout: BUDGET };
        assert_eq!(sim.post(&token, test).await.unwrap().body["ok"], true);
    }
}
