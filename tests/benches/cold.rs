//! From the start of the function's process to its first answer, and what it then keeps of memory.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use keytide_tests::{
    build,
    runtime_api::{Answered, Function, RuntimeApi},
};
use serde_json::{Value, json};
use tokio::{process::Command, time::Instant};

use crate::{
    Outcome,
    company::{CHANNEL, Company, EXTERNAL_ID, NewKeys, SECRET, TABLE},
    front::{Front, Seen},
    table::{Row, Table, median, milliseconds, ratio},
};

/// How often each program is started.
const STARTS: usize = 31;
/// How many events one running function is then given.
const WARM_EVENTS: u32 = 300;

/// A program that can be a function.
struct Program {
    path: PathBuf,
    arguments: Vec<PathBuf>,
}

/// One start.
struct Start {
    time: Duration,
    cpu: Duration,
    memory_mb: f64,
    seen: Seen,
}

/// A row: its name, unit, how it is got from the starts, and its aim.
type Figure<'a> = (&'static str, &'static str, &'a dyn Fn(&[Start]) -> f64, &'static str);

pub(crate) async fn measure(table: &mut Table) -> Outcome<()> {
    let alone = |path| Program { path, arguments: Vec::new() };
    let watcher = alone(build::program("keytide-watcher", "lambda")?);
    let bare = alone(build::program("keytide-bare", "lambda")?);
    let python = python();
    let folder = tempfile::tempdir()?;
    let bench = Bench { front: Front::start(folder.path()).await?, keys: NewKeys::read()? };

    // The first of each is not measured: it is answered by the simulation, and looked at.
    let (key_id, _) = bench.keys.of_alice(0);
    let company = Company::new().await?;
    bench.front.answer_by(company.clone());
    let expected = bench.start(&watcher, &company).await?.seen;
    company.check(&key_id).await?;
    let company = Company::new().await?;
    bench.front.answer_by(company.clone());
    if let Some(python) = &python {
        let seen = bench.start(python, &company).await?.seen;
        let texts = company.slack.messages().len();
        if seen != expected || texts != 2 {
            return Err(format!("the handler in Python called {seen:?} and not {expected:?}").into());
        }
    }
    bench.front.answer_at_once();
    let (mut ours, mut bares, mut pythons) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let start = bench.start(&watcher, &company).await?;
        if start.seen != expected {
            return Err(format!("the watcher called {:?} and not {expected:?}", start.seen).into());
        }
        ours.push(start);
        bares.push(bench.start(&bare, &company).await?);
        if let Some(python) = &python {
            pythons.push(bench.start(python, &company).await?);
        }
    }
    let calls: u32 = expected.values().sum();
    table.note(format!(
        "Cold start: from the start of the process to its answer to one event of a new key; {calls} calls over HTTPS \
         to five services, each with its own connection, answered at once."
    ));
    let bare_words = "a bare runtime, no TLS, no calls";
    let python_words = "the same handler in Python, boto3";
    let times = |starts: &[Start]| median(starts.iter().map(|start| milliseconds(start.time)));
    let cpu_times = |starts: &[Start]| median(starts.iter().map(|start| milliseconds(start.cpu)));
    let sizes = |starts: &[Start]| median(starts.iter().map(|start| start.memory_mb));
    let samples = format!("{STARTS} starts each");
    let figures: [Figure<'_>; 3] = [
        ("cold start", "ms", &times, "≤ 8 ms"),
        ("cold start, time on a CPU", "ms", &cpu_times, ""),
        ("memory after the first event", "MB", &sizes, "≤ 12 MB"),
    ];
    for (figure, unit, of, aim) in figures {
        let (own, other) = (of(&ours), of(&bares));
        table.row(Row {
            figure,
            keytide: format!("{own:.2} {unit}"),
            reference: format!("{other:.2} {unit}  {bare_words}"),
            ratio: ratio(own, other),
            aim,
            samples: samples.clone(),
        });
        let other = of(&pythons);
        table.row(Row {
            reference: if python.is_some() {
                format!("{other:.1} {unit}  {python_words}")
            } else {
                format!("—  {python_words}: `make test` installs it")
            },
            ratio: if python.is_some() { ratio(own, other) } else { String::new() },
            ..Row::default()
        });
    }
    bench.warm(&watcher, &company, table).await
}

struct Bench {
    front: Front,
    keys: NewKeys,
}

impl Bench {
    async fn start(&self, program: &Program, company: &Company) -> Outcome<Start> {
        let api = RuntimeApi::start(company.aws.clone(), company.slack.clone()).await?;
        let batch = self.batch(0);
        self.front.take_seen();
        let began = Instant::now();
        let function = self.function(&api, program)?;
        let answered = api.invoke(&batch).await;
        let time = began.elapsed();
        finished(&answered, &function).await?;
        let (cpu, memory_mb) = (cpu_time(&function)?, memory_mb(&function)?);
        Ok(Start { time, cpu, memory_mb, seen: self.front.take_seen() })
    }

    fn function(&self, api: &RuntimeApi, program: &Program) -> Outcome<Function> {
        let mut environment = self.front.environment();
        environment.extend(
            [
                ("KEYTIDE_TABLE", TABLE),
                ("KEYTIDE_CHANNEL", CHANNEL),
                ("KEYTIDE_SLACK_SECRET", SECRET),
                ("KEYTIDE_QUEUE_URL", "https://localhost/999988887777/keytide-events"),
                ("KEYTIDE_EXTERNAL_ID", EXTERNAL_ID),
                ("KEYTIDE_ACCOUNT_NAMES", "111122223333=prod"),
                // Lambda sets this too; Python's SDK looks at no other.
                ("AWS_DEFAULT_REGION", "us-east-1"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut command = Command::new(&program.path);
        command.args(&program.arguments);
        Ok(api.start_command(command, &environment)?)
    }

    /// A batch of one event, as SQS's is.
    fn batch(&self, number: u32) -> Value {
        let (_, event) = self.keys.of_alice(number);
        json!({"Records": [{
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": event,
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1777888967000"},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:999988887777:keytide-events",
            "awsRegion": "us-east-1",
        }]})
    }

    /// One function, many events: its time on the CPU for each, with all the cryptography of HTTPS.
    async fn warm(&self, watcher: &Program, company: &Company, table: &mut Table) -> Outcome<()> {
        let api = RuntimeApi::start(company.aws.clone(), company.slack.clone()).await?;
        let function = self.function(&api, watcher)?;
        let (mut cpu, mut elapsed) = (Vec::new(), Vec::new());
        // The first makes the connections.
        finished(&api.invoke(&self.batch(0)).await, &function).await?;
        for number in 1..=WARM_EVENTS {
            let batch = self.batch(number);
            let (before, began) = (cpu_time(&function)?, Instant::now());
            let answered = api.invoke(&batch).await;
            elapsed.push(milliseconds(began.elapsed()));
            finished(&answered, &function).await?;
            cpu.push(milliseconds(cpu_time(&function)?.saturating_sub(before)));
        }
        let (cpu, elapsed) = (median(cpu), median(elapsed));
        table.row(Row {
            figure: "a later event, the whole function",
            keytide: format!("{cpu:.2} ms"),
            reference: format!("{elapsed:.2} ms  with waiting for the answers"),
            ratio: ratio(cpu, elapsed),
            aim: "",
            samples: format!("{WARM_EVENTS} events"),
        });
        Ok(())
    }
}

async fn finished(answered: &Result<Answered, String>, function: &Function) -> Outcome<()> {
    match answered {
        Ok(Answered::Response(response)) if *response == json!({"batchItemFailures": []}) => Ok(()),
        other => {
            // What it wrote may still be on its way.
            tokio::time::sleep(Duration::from_millis(300)).await;
            Err(format!("the function answered {other:?}; it wrote:\n{}", function.output()).into())
        }
    }
}

/// The Python of the tests' counterparts, which has boto3, with our handler.
fn python() -> Option<Program> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("counterparts/python/bin/python");
    let handler = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/handler.py");
    path.exists().then(|| Program { path, arguments: vec![handler] })
}

/// The most memory that the process has had in use so far.
fn memory_mb(function: &Function) -> Outcome<f64> {
    let id = function.id().ok_or("the function has ended")?;
    peak_mb(id).ok_or_else(|| "the system does not tell VmHWM: expected Linux's /proc".into())
}

/// `VmHWM` of a process, in megabytes (`proc_pid_status(5)`: in units of 1,024 bytes).
pub(crate) fn peak_mb(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u32 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(f64::from(kibibytes) * 1_024.0 / 1_000_000.0)
}

/// The time that all threads of the process have spent on a CPU: `schedstat`'s first number, nanoseconds
/// (the kernel's documentation, `scheduler/sched-stats`).
fn cpu_time(function: &Function) -> Outcome<Duration> {
    let id = function.id().ok_or("the function has ended")?;
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread may have ended meanwhile.
        let Ok(stat) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let nanoseconds = stat.split(' ').next().and_then(|number| number.parse().ok());
        sum += Duration::from_nanos(nanoseconds.ok_or("schedstat holds no number")?);
    }
    Ok(sum)
}
