//! The client and the real HTTP underneath, against servers that misbehave on purpose.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use keytide_core::owner::SlackId;
use keytide_slack::{
    Answer, Call, ErrorClass, Message, NoAnswer, Post, Slack, SlackError, Token, WebApi, WebApiError,
    messages::for_channel,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_partial_json, header, method, path},
};

use crate::events::{Scene, alice, created, user};

const SECRET: &str = "xoxb-very-secret-token";
const BUDGET: Duration = Duration::from_secs(20);

fn token() -> Token {
    Token::new(SECRET.to_owned())
}

fn message() -> Message {
    for_channel(&Scene::new(&created(&user("alice"), Some("alice")), alice()).notice())
}

fn posted() -> Value {
    json!({"ok": true, "channel": "C0INFRA", "ts": "1780000000.000100"})
}

/// Answers as written down, and keeps the calls with their times.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Result<Answer, NoAnswer>>>>,
    calls: Arc<Mutex<Vec<(Call, Instant)>>>,
}

impl Script {
    fn of(answers: impl IntoIterator<Item = Result<Answer, NoAnswer>>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() }
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    async fn send(&self, budget: Duration) -> Result<keytide_core::delivery::Receipt, SlackError> {
        Slack::new(self.clone()).post_message(&token(), "C0INFRA", None, &message(), budget).await
    }
}

impl Post for Script {
    async fn post(&self, _: &Token, call: Call) -> Result<Answer, NoAnswer> {
        self.calls.lock().unwrap().push((call, Instant::now()));
        let next = self.answers.lock().unwrap().pop_front();
        match next {
            Some(answer) => answer,
            // Nothing more was written down: silence.
            None => std::future::pending().await,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands in lists beside answers that were lost")]
fn answer(status: u16, retry_after: Option<u64>, body: Value) -> Result<Answer, NoAnswer> {
    Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body })
}

fn refusal(code: &str) -> Result<Answer, NoAnswer> {
    answer(200, None, json!({"ok": false, "error": code}))
}

#[tokio::test(start_paused = true)]
async fn each_error_code_has_its_class() {
    let configuration = |token_refused| ErrorClass::Configuration { token_refused };
    for (code, class) in [
        ("fatal_error", ErrorClass::Ambiguous),
        ("internal_error", ErrorClass::Ambiguous),
        ("invalid_auth", configuration(true)),
        ("token_revoked", configuration(true)),
        ("token_expired", configuration(true)),
        ("account_inactive", configuration(true)),
        ("missing_scope", configuration(true)),
        ("not_in_channel", configuration(false)),
        ("is_archived", configuration(false)),
        ("channel_not_found", ErrorClass::Recipient),
        ("user_not_found", ErrorClass::Recipient),
        ("user_disabled", ErrorClass::Recipient),
        ("messages_tab_disabled", ErrorClass::Recipient),
    ] {
        let script = Script::of([refusal(code)]);
        let error = script.send(BUDGET).await.unwrap_err();
        assert_eq!((error.class, error.detail.as_str()), (class, code));
        assert_eq!(script.calls(), 1, "{code} is not sent again");
    }
    for code in ["ratelimited", "service_unavailable", "request_timeout", "a_code_of_tomorrow"] {
        let script = Script::of((0..9).map(|_| refusal(code)));
        let error = script.send(BUDGET).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Retry { after: None }, "{code}");
        assert_eq!(error.detail, code);
        assert_eq!(script.calls(), 4, "{code} is tried again, a few times");
    }
}

#[tokio::test(start_paused = true)]
async fn what_slack_may_have_posted_is_never_sent_again() {
    for strange in [
        answer(500, None, Value::Null),
        answer(503, None, json!("<html>")),
        answer(200, None, Value::Null),
        answer(200, None, json!({"no": "ok"})),
        answer(200, None, json!({"ok": true})),
        answer(302, None, Value::Null),
        Err(NoAnswer::Lost("connection closed".to_owned())),
    ] {
        let script = Script::of([strange.clone(), answer(200, None, posted())]);
        let error = script.send(BUDGET).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Ambiguous, "{strange:?}");
        assert_eq!(script.calls(), 1, "{strange:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_with_the_budget_and_is_ambiguous() {
    let script = Script::default();
    let start = Instant::now();
    let error = script.send(Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Ambiguous);
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_within_the_budget() {
    let script = Script::of([
        answer(429, Some(7), json!({"ok": false, "error": "ratelimited"})),
        answer(429, None, Value::Null),
        answer(200, None, posted()),
    ]);
    let start = Instant::now();
    let receipt = script.send(BUDGET).await.unwrap();
    assert_eq!((receipt.channel.as_str(), receipt.ts.as_str()), ("C0INFRA", "1780000000.000100"));
    assert_eq!(receipt.note, None);
    assert_eq!(start.elapsed(), Duration::from_secs(7 + 1), "seven as told, one where nothing was told");

    let script = Script::of([answer(429, Some(30), Value::Null)]);
    let start = Instant::now();
    let error = script.send(BUDGET).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Retry { after: Some(Duration::from_secs(30)) });
    assert_eq!(start.elapsed(), Duration::ZERO, "no waiting for what does not fit");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_is_sent_again_and_nothing_without_a_budget() {
    let script = Script::of([Err(NoAnswer::NotSent("no route".to_owned())), answer(200, None, posted())]);
    script.send(BUDGET).await.unwrap();
    assert_eq!(script.calls(), 2);

    let script = Script::of([answer(200, None, posted())]);
    let error = script.send(Duration::ZERO).await.unwrap_err();
    assert_eq!((error.class, script.calls()), (ErrorClass::Retry { after: None }, 0));
}

#[tokio::test(start_paused = true)]
async fn refused_blocks_go_out_as_plain_text() {
    for code in ["invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "no_text"] {
        let script = Script::of([refusal(code), answer(200, None, posted())]);
        let receipt = script.send(BUDGET).await.unwrap();
        assert!(receipt.note.unwrap().contains(code));
        let calls = script.calls.lock().unwrap();
        let arguments = &calls[1].0.arguments;
        assert!(arguments.get("blocks").is_none());
        let text = arguments["text"].as_str().unwrap();
        assert!(text.contains("AKIAEXAMPLEALICE0001") && text.contains("*MFA*: yes"), "{text}");
    }
    let script = Script::of([refusal("invalid_blocks"), refusal("msg_too_long")]);
    assert_eq!(script.send(BUDGET).await.unwrap_err().class, ErrorClass::OurFault);
    assert_eq!(script.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn opening_a_conversation_may_be_repeated() {
    let alice = SlackId::parse("U0ALICE123").unwrap();
    let opened = answer(200, None, json!({"ok": true, "channel": {"id": "D0ALICE"}}));
    let script = Script::of([opened]);
    let slack = Slack::new(script.clone());
    assert_eq!(slack.open_direct(&token(), &alice, BUDGET).await.unwrap(), "D0ALICE");
    let call = script.calls.lock().unwrap()[0].0.clone();
    assert_eq!((call.method, call.arguments), ("conversations.open", json!({"users": "U0ALICE123"})));

    for (answered, class) in [
        (refusal("internal_error"), ErrorClass::Retry { after: None }),
        (Err(NoAnswer::Lost("gone".to_owned())), ErrorClass::Retry { after: None }),
        (answer(200, None, json!({"ok": true})), ErrorClass::Retry { after: None }),
        (refusal("user_not_visible"), ErrorClass::Recipient),
    ] {
        let error = Slack::new(Script::of([answered])).open_direct(&token(), &alice, BUDGET).await;
        assert_eq!(error.unwrap_err().class, class);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_scope_is_named_with_what_to_do() {
    let body = json!({"ok": false, "error": "missing_scope", "needed": "im:write"});
    let error = Script::of([answer(200, None, body)]).send(BUDGET).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Slack refused: missing_scope (needed: im:write); add the scope to the Slack app and install it again"
    );
}

async fn over_http(template: ResponseTemplate) -> Result<keytide_core::delivery::Receipt, SlackError> {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api/chat.postMessage"))
        .and(header("authorization", format!("Bearer {SECRET}").as_str()))
        .and(header("content-type", "application/json; charset=utf-8"))
        .and(body_partial_json(json!({"channel": "C0INFRA", "unfurl_links": false})))
        .respond_with(template)
        .expect(1..)
        .mount(&server)
        .await;
    let slack = Slack::new(WebApi::new(&format!("{}/api", server.uri())).unwrap());
    let result = slack.post_message(&token(), "C0INFRA", None, &message(), Duration::from_millis(600)).await;
    if let Err(error) = &result {
        let shown = format!("{error} {error:?} {slack:?}");
        assert!(!shown.contains("very-secret"), "{shown}");
        assert!(!error.to_string().contains("127.0.0.1"), "no address either: {error}");
    }
    result
}

#[tokio::test]
async fn the_real_client_posts_json_with_the_token_in_its_header() {
    let receipt = over_http(ResponseTemplate::new(200).set_body_json(posted())).await.unwrap();
    assert_eq!(receipt.ts, "1780000000.000100");
}

#[tokio::test]
async fn the_real_client_judges_what_http_can_do_wrong() {
    let limited = ResponseTemplate::new(429).insert_header("Retry-After", "5");
    let class = over_http(limited).await.unwrap_err().class;
    assert_eq!(class, ErrorClass::Retry { after: Some(Duration::from_secs(5)) });

    for template in [
        ResponseTemplate::new(200).set_body_string("<html>"),
        ResponseTemplate::new(502),
        ResponseTemplate::new(307).insert_header("Location", "https://evil.example/"),
        ResponseTemplate::new(200).set_body_json(posted()).set_delay(Duration::from_secs(5)),
        ResponseTemplate::new(200).set_body_string(format!("[{}1]", "1,".repeat(600_000))),
    ] {
        assert_eq!(over_http(template).await.unwrap_err().class, ErrorClass::Ambiguous);
    }
    let refused = ResponseTemplate::new(200).set_body_json(json!({"ok": false, "error": "invalid_auth"}));
    let class = over_http(refused).await.unwrap_err().class;
    assert_eq!(class, ErrorClass::Configuration { token_refused: true });
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let api = WebApi::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let call = Call { method: "auth.test", arguments: json!({}), timeout: Duration::from_secs(2) };
    let nothing = api.post(&token(), call.clone()).await.unwrap_err();
    assert!(matches!(nothing, NoAnswer::NotSent(_)), "{nothing:?}");
    assert!(!nothing.to_string().contains("http://"), "{nothing}");

    let broken = Token::new(format!("{SECRET}\n"));
    let nothing = api.post(&broken, call).await.unwrap_err();
    assert!(matches!(&nothing, NoAnswer::NotSent(cause) if !cause.contains("xoxb")), "{nothing:?}");
}

#[test]
fn the_token_goes_nowhere_but_to_https_or_this_machine() {
    for base in ["http://slack.com/api/", "ftp://slack.com/", "slack.com", "http://127.0.0.1.evil.example/"] {
        assert!(matches!(WebApi::new(base), Err(WebApiError::Address { .. })), "{base}");
    }
    for base in [WebApi::BASE, "http://127.0.0.1:8080", "http://localhost:1/api"] {
        assert!(WebApi::new(base).is_ok(), "{base}");
    }
    assert_eq!(format!("{:?}", token()), "Token(…)");
}
