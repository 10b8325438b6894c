//! What surrounds a Lambda function, on one port of 127.0.0.1: the Runtime API, AWS and Slack.
//!
//! The function is its real program with an environment of its own. It asks for invocations at the Runtime
//! API, as it does in Lambda, calls AWS at `AWS_ENDPOINT_URL`, which is the AWS in this process, and Slack
//! at the address that it is configured with, which is the Slack in this process.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{Request, Response, StatusCode, header},
};
use jiff::{SignedDuration, Timestamp};
use keytide_local::{HOME_ACCOUNT, LocalAws};
use keytide_slack::{Answer as SlackAnswer, Call, NoAnswer, Post, Token};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// How long a story waits for a function before it fails.
const PATIENCE: Duration = Duration::from_mins(1);
/// The time an invocation has unless a story says otherwise.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// How the function answered an invocation.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered {
    /// With a response.
    Response(Value),
    /// With an error.
    Error(Value),
}

/// The surroundings of a function. One function at a time is served by one.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    invocations: mpsc::UnboundedSender<Waiting>,
    waiting_for: Arc<Answers>,
    invoked: Mutex<u32>,
    aws: LocalAws,
    server: JoinHandle<()>,
}

type Answers = Mutex<HashMap<String, oneshot::Sender<Answered>>>;

/// An invocation that the function has not fetched yet.
#[derive(Debug)]
struct Waiting {
    request_id: String,
    deadline_ms: i64,
    event: String,
}

struct Surroundings<P> {
    invocations: AsyncMutex<mpsc::UnboundedReceiver<Waiting>>,
    waiting_for: Arc<Answers>,
    aws: LocalAws,
    slack: P,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time of day: the function is a process of its own with the machine's clock, so the AWS that it calls
/// has to keep the same.
#[expect(clippy::disallowed_methods, reason = "a real process is on the other side, with a real clock")]
pub fn time_of_day() -> Timestamp {
    Timestamp::now()
}

impl RuntimeApi {
    /// Serves this AWS, whose clock is set to the machine's, and this Slack.
    pub async fn start(aws: LocalAws, slack: impl Post + 'static) -> std::io::Result<Self> {
        aws.set_now(time_of_day());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (invocations, fetched) = mpsc::unbounded_channel();
        let waiting_for = Arc::<Answers>::default();
        let surroundings = Arc::new(Surroundings {
            invocations: AsyncMutex::new(fetched),
            waiting_for: Arc::clone(&waiting_for),
            aws: aws.clone(),
            slack,
        });
        let routes = Router::new().fallback(move |request: Request<Body>| {
            let surroundings = Arc::clone(&surroundings);
            async move { surroundings.serve(request).await }
        });
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                eprintln_line(&format!("the surroundings of the function ended: {error}"));
            }
        });
        let invoked = Mutex::new(0);
        Ok(Self { address, invocations, waiting_for, invoked, aws, server })
    }

    /// Where the Slack is, for the function's configuration.
    pub fn slack_url(&self) -> String {
        format!("http://{}/slack/api/", self.address)
    }

    /// Starts a function's program with what Lambda gives it, and `environment`, and nothing else.
    pub fn start_function(&self, program: &Path, environment: &[(&str, &str)]) -> std::io::Result<Function> {
        self.start_command(Command::new(program), environment)
    }

    /// The same for a program that takes arguments, as a script's interpreter does.
    pub fn start_command(
        &self,
        mut command: Command,
        environment: &[(&str, &str)],
    ) -> std::io::Result<Function> {
        let mut child = command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", self.address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "keytide")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_REGION", "us-east-1")
            // The bare id of an account signs for that account's owner in the local AWS.
            .env("AWS_ACCESS_KEY_ID", HOME_ACCOUNT)
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("AWS_ENDPOINT_URL", format!("http://{}/aws", self.address))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = Arc::<Mutex<Vec<String>>>::default();
        let readers = [
            child.stdout.take().map(|stdout| keep_lines(stdout, Arc::clone(&output))),
            child.stderr.take().map(|stderr| keep_lines(stderr, Arc::clone(&output))),
        ];
        Ok(Function { child, output, readers: readers.into_iter().flatten().collect() })
    }

    /// Invokes the function with an event, and waits for what it answers.
    pub async fn invoke(&self, event: &Value) -> Result<Answered, String> {
        self.invoke_within(TIME_LIMIT, event).await
    }

    /// The same, with that much time until the invocation's deadline.
    pub async fn invoke_within(&self, time_limit: Duration, event: &Value) -> Result<Answered, String> {
        let number = {
            let mut invoked = locked(&self.invoked);
            *invoked += 1;
            *invoked
        };
        let request_id = format!("8476a536-e9f4-11e8-9739-{number:012}");
        let limit = SignedDuration::try_from(time_limit).unwrap_or(SignedDuration::MAX);
        let deadline = self.aws.now().saturating_add(limit).unwrap_or(Timestamp::MAX);
        let (answers, answer) = oneshot::channel();
        locked(&self.waiting_for).insert(request_id.clone(), answers);
        let waiting =
            Waiting { request_id, deadline_ms: deadline.as_millisecond(), event: event.to_string() };
        self.invocations.send(waiting).map_err(|_| "nobody serves invocations any more".to_owned())?;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(_)) => Err("the invocation was dropped".to_owned()),
            Err(_) => Err(format!("the function did not answer within {} s", PATIENCE.as_secs())),
        }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[expect(clippy::print_stderr, reason = "a test's stderr is where its trouble is told")]
fn eprintln_line(text: &str) {
    eprintln!("{text}");
}

impl<P: Post> Surroundings<P> {
    async fn serve(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, usize::MAX).await else {
            return status(StatusCode::BAD_REQUEST);
        };
        let path = parts.uri.path().to_owned();
        if let Some(call) = path.strip_prefix("/2018-06-01/runtime/") {
            return self.runtime(call, &body).await;
        }
        if let Some(method) = path.strip_prefix("/slack/api/") {
            let authorization = parts.headers.get(header::AUTHORIZATION);
            let token = authorization.and_then(|value| value.to_str().ok()).unwrap_or_default();
            return self.slack(method, token, &body).await;
        }
        if path.starts_with("/aws") {
            return self.aws.answer(Request::from_parts(parts, body)).await.map(Body::from);
        }
        status(StatusCode::NOT_FOUND)
    }

    /// Lambda's Runtime API, as its documentation describes it.
    async fn runtime(&self, call: &str, body: &Bytes) -> Response<Body> {
        if call == "invocation/next" {
            // Held until there is one: so long the function stands still.
            let Some(waiting) = self.invocations.lock().await.recv().await else {
                return status(StatusCode::GONE);
            };
            return Response::builder()
                .header(header::CONTENT_TYPE, "application/json")
                .header("lambda-runtime-aws-request-id", waiting.request_id)
                .header("lambda-runtime-deadline-ms", waiting.deadline_ms)
                .header("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0")
                .header(
                    "lambda-runtime-invoked-function-arn",
                    format!("arn:aws:lambda:us-east-1:{HOME_ACCOUNT}:function:keytide"),
                )
                .body(Body::from(waiting.event))
                .unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR));
        }
        let value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let Some((request_id, ending)) =
            call.strip_prefix("invocation/").and_then(|rest| rest.split_once('/'))
        else {
            return status(StatusCode::NOT_FOUND);
        };
        let answered = match ending {
            "response" => Answered::Response(value),
            "error" => Answered::Error(value),
            _ => return status(StatusCode::NOT_FOUND),
        };
        match locked(&self.waiting_for).remove(request_id) {
            // Whoever waited may have given up.
            Some(answers) => {
                let _ = answers.send(answered);
                status(StatusCode::ACCEPTED)
            }
            None => status(StatusCode::BAD_REQUEST),
        }
    }

    async fn slack(&self, method: &str, authorization: &str, body: &Bytes) -> Response<Body> {
        let known = ["chat.postMessage", "conversations.open", "auth.test"];
        let Some(method) = known.into_iter().find(|known| *known == method) else {
            return json(StatusCode::OK, r#"{"ok":false,"error":"unknown_method"}"#);
        };
        let token = Token::new(authorization.trim_start_matches("Bearer ").to_owned());
        let arguments = serde_json::from_slice(body).unwrap_or(Value::Null);
        let call = Call { method, arguments, timeout: PATIENCE };
        match self.slack.post(&token, call).await {
            Ok(SlackAnswer { status, retry_after, body }) => {
                let mut response = Response::new(Body::from(body.to_string()));
                *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                if let Some(wait) = retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().into());
                }
                response
            }
            // A server that is reached cannot be out of reach: Slack's own word for "it was not done".
            Err(NoAnswer::NotSent(_)) => {
                json(StatusCode::SERVICE_UNAVAILABLE, r#"{"ok":false,"error":"service_unavailable"}"#)
            }
            // No JSON: it cannot be told whether it was done.
            Err(NoAnswer::Lost(_)) => status(StatusCode::GATEWAY_TIMEOUT),
        }
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn json(code: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = status(code);
    *response.body_mut() = Body::from(body);
    response
}

fn keep_lines(from: impl AsyncRead + Unpin + Send + 'static, to: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            locked(&to).push(line);
        }
    })
}

/// A function's process. It ends when this is dropped.
#[derive(Debug)]
pub struct Function {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Function {
    /// The process's id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything it has written so far, to stdout and to stderr.
    pub fn output(&self) -> String {
        locked(&self.output).join("\n")
    }

    /// The lines so far that are JSON objects and of that kind.
    pub fn logged(&self, kind: impl Fn(&Value) -> bool) -> Vec<Value> {
        let lines = locked(&self.output);
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).filter(|line| kind(line)).collect()
    }

    /// The first line of that kind, which may still be on its way when the answer is there already.
    pub async fn wait_for_log(&self, kind: impl Fn(&Value) -> bool) -> Result<Value, String> {
        for _ in 0..500 {
            if let Some(line) = self.logged(&kind).into_iter().next() {
                return Ok(line);
            }
            sleep(Duration::from_millis(10)).await;
        }
        Err(format!("no such line was logged within 5 s; what was:\n{}", self.output()))
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the process to end by itself, and gives how it did and all it wrote.
    pub async fn ended(mut self) -> Result<(ExitStatus, String), String> {
        let status = match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("the function still ran after {} s", PATIENCE.as_secs())),
        };
        for reader in self.readers.drain(..) {
            reader.await.map_err(|error| error.to_string())?;
        }
        Ok((status, self.output()))
    }
}
