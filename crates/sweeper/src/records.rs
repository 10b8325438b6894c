//! What the function is invoked with: a `begin`, or messages of its queue.

use keytide_app::run::Task;
use lambda_runtime::Diagnostic;
use serde_json::Value;

/// One message of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its id, by which it is handed back; empty where the record has none.
    pub(crate) id: String,
    /// What its visibility is changed with.
    pub(crate) receipt: Option<String>,
    /// How often it was received, this time included.
    pub(crate) received: u32,
    /// The account to sweep, or why that cannot be read.
    pub(crate) task: Result<Task, String>,
}

/// What an invocation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To begin the day's run, or to end it: `{"keytide":"begin"}`.
    Begin,
    /// To sweep accounts.
    Sweep(Vec<Record>),
}

/// The function was invoked with something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the invocation's event is {found}; expected {{\"keytide\":\"begin\"}} from a schedule, or a batch of SQS \
     messages: an object with a list `Records`"
)]
pub(crate) struct NotOurs {
    found: &'static str,
}

/// So it stands in Lambda's own record of the failed invocation.
impl From<NotOurs> for Diagnostic {
    fn from(error: NotOurs) -> Self {
        Self { error_type: "NotOurs".to_owned(), error_message: error.to_string() }
    }
}

/// Reads an event. A message that cannot be read is still a message, and is told of.
pub(crate) fn read(event: &Value) -> Result<Asked, NotOurs> {
    let found = match event {
        Value::Object(members) => match (members.get("keytide"), members.get("Records")) {
            (Some(Value::String(word)), None) if word == "begin" => return Ok(Asked::Begin),
            (None, Some(Value::Array(records))) => {
                return Ok(Asked::Sweep(records.iter().map(record).collect()));
            }
            (Some(_), _) => "an object whose `keytide` is not \"begin\"",
            (None, Some(_)) => "an object whose `Records` are no list",
            (None, None) => "an object with neither `keytide` nor `Records`",
        },
        _ => "no object",
    };
    Err(NotOurs { found })
}

fn record(record: &Value) -> Record {
    let text = |pointer| record.pointer(pointer).and_then(Value::as_str);
    let received = text("/attributes/ApproximateReceiveCount").and_then(|count| count.parse().ok());
    let body = text("/body");
    let task = body.ok_or_else(|| "it has no body".to_owned()).and_then(|body| {
        // What stands there is not quoted: it is not known whose it is.
        serde_json::from_str(body).map_err(|error| {
            format!(
                "its body is not what a run puts on the queue, {{\"keytide\":\"account\",\"run\":DATE,\
                 \"account\":ID}}: {:?} error at line {}, column {}",
                error.classify(),
                error.line(),
                error.column()
            )
        })
    });
    Record {
        id: text("/messageId").unwrap_or_default().to_owned(),
        receipt: text("/receiptHandle").map(str::to_owned),
        received: received.unwrap_or(1),
        task,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schedules_event_begins_and_a_batch_sweeps() {
        assert_eq!(read(&json!({"keytide": "begin"})), Ok(Asked::Begin));
        let body = r#"{"keytide":"account","run":"2026-06-02","account":"111122223333"}"#;
        let event = json!({"Records": [{
            "messageId": "m-1", "receiptHandle": "r-1", "body": body,
            "attributes": {"ApproximateReceiveCount": "3"}, "eventSource": "aws:sqs",
        }]});
        let task =
            Task::Account { run: "2026-06-02".parse().unwrap(), account: "111122223333".parse().unwrap() };
        assert_eq!(serde_json::to_string(&task).unwrap(), body, "what is written is what is read");
        let expected =
            Record { id: "m-1".to_owned(), receipt: Some("r-1".to_owned()), received: 3, task: Ok(task) };
        assert_eq!(read(&event), Ok(Asked::Sweep(vec![expected])));
    }

    #[test]
    fn a_message_that_is_not_ours_says_so_without_quoting_it() {
        for body in ["", "secret", "{}", r#"{"keytide":"account","run":"someday","account":"111122223333"}"#]
        {
            let Ok(Asked::Sweep(records)) = read(&json!({"Records": [{"messageId": "m", "body": body}]}))
            else {
                panic!("{body}")
            };
            let problem = records[0].task.clone().unwrap_err();
            assert!(problem.contains("not what a run puts on the queue"), "{problem}");
            assert!(!problem.contains("secret") && !problem.contains("someday"), "{problem}");
        }
        assert_eq!(read(&json!({"Records": [null]})).map(|_| ()), Ok(()));
    }

    #[test]
    fn anything_else_is_refused_with_what_was_expected() {
        for event in [
            json!({}),
            json!(null),
            json!([]),
            json!({"keytide": "end"}),
            json!({"Records": {}}),
            json!({"keytide": "begin", "Records": []}),
        ] {
            let said = read(&event).unwrap_err().to_string();
            assert!(said.contains(r#"expected {"keytide":"begin"} from a schedule"#), "{said}");
        }
    }
}
