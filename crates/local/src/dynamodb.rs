//! DynamoDB, answered by dynoxide on SQLite, in memory or in a file.

mod lag;
mod tokens;
mod units;

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::lag::LaggingCopy;
use self::tokens::{Known, Tokens};
pub use self::units::Units;
use crate::answer::{Answer, JSON_1_0};
use crate::error::LocalError;

/// The first bytes of every SQLite database (its file format's documentation, section 1.3).
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

pub(crate) struct DynamoDb {
    database: Database,
    tokens: Mutex<Tokens>,
    indexes_lag: AtomicBool,
    lagging: Mutex<Option<LaggingCopy>>,
    units: units::Count,
}

impl DynamoDb {
    pub(crate) fn in_memory() -> Result<Self, LocalError> {
        let database = Database::memory().map_err(|source| LocalError::Embedded {
            what: "be opened in memory",
            source: Box::new(source),
        })?;
        Ok(Self::on(database))
    }

    pub(crate) fn in_file(path: &Path) -> Result<Self, LocalError> {
        check_file(path)?;
        let refused = |source| LocalError::Database { path: path.to_owned(), source: Box::new(source) };
        let database = Database::new(&path.to_string_lossy()).map_err(refused)?;
        // Despite its name this sets `synchronous = NORMAL`: with a write-ahead log a crash of the
        // program loses nothing and a power cut at most the latest transactions, never the file
        // (SQLite's documentation of the pragma). FULL would wait for the disk at every write.
        database.disable_bulk_loading().map_err(refused)?;
        Ok(Self::on(database))
    }

    fn on(database: Database) -> Self {
        Self {
            database,
            tokens: Mutex::new(Tokens::default()),
            indexes_lag: AtomicBool::new(false),
            lagging: Mutex::new(None),
            units: units::Count::default(),
        }
    }

    /// From now on, queries of indexes do not see the latest `writes` writes; `None`: they see all.
    pub(crate) fn set_index_lag(&self, writes: Option<usize>) -> Result<(), LocalError> {
        let mut lagging = self.lagging.lock().unwrap_or_else(PoisonError::into_inner);
        *lagging = match writes {
            None => None,
            Some(writes) => Some(LaggingCopy::of(&self.database, writes).map_err(|source| {
                LocalError::Embedded { what: "be copied for lagging indexes", source: Box::new(source) }
            })?),
        };
        self.indexes_lag.store(lagging.is_some(), Ordering::Release);
        Ok(())
    }

    pub(crate) fn serve(&self, operation: &str, body: &[u8]) -> Answer {
        if !self.indexes_lag.load(Ordering::Acquire) {
            return self.run(operation, body);
        }
        // While indexes lag, writes go one by one, so that the copy follows in the same order.
        let mut lagging = self.lagging.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(copy) = lagging.as_mut() else {
            return self.run(operation, body);
        };
        if lag::reads_index(operation, body) {
            return dispatch(copy.database(), operation, body);
        }
        let answer = self.run(operation, body);
        if answer.status == 200 && lag::writes(operation) {
            copy.follow(operation, body);
        }
        answer
    }

    /// Counts from now on what DynamoDB would bill.
    pub(crate) fn count_units(&self) {
        self.units.begin();
    }

    pub(crate) fn units(&self) -> Units {
        self.units.so_far().unwrap_or_default()
    }

    fn run(&self, operation: &str, body: &[u8]) -> Answer {
        if self.units.so_far().is_none() {
            return self.run_as_it_is(operation, body);
        }
        let answer = self.run_as_it_is(operation, &units::Count::asking(body));
        self.units.add(operation, &answer.body);
        answer
    }

    fn run_as_it_is(&self, operation: &str, body: &[u8]) -> Answer {
        if operation == "TransactWriteItems" {
            self.transact(body)
        } else {
            dispatch(&self.database, operation, body)
        }
    }

    /// A transaction, done once for a `ClientRequestToken` however often it is sent.
    ///
    /// Not left to dynoxide: it looks through all tokens of ten minutes at every transaction, which
    /// makes a replay of 100,000 events quadratic.
    fn transact(&self, body: &[u8]) -> Answer {
        use dynoxide::actions::transact_write_items::TransactWriteItemsRequest;
        let mut request: TransactWriteItemsRequest = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return unreadable("TransactWriteItems", &error),
        };
        let ours = request.return_consumed_capacity.is_none()
            && request.return_item_collection_metrics.is_none()
            && request.client_request_token.as_ref().is_some_and(|token| tokens::well_formed(token));
        let token = if ours { request.client_request_token.take() } else { None };
        let Some(token) = token else {
            return answer_of("TransactWriteItems", self.database.transact_write_items(request));
        };
        // Held over the write, so that of two equal calls at once the second finds the first's.
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        match tokens.look_up(&token, body) {
            Known::Same => return Answer::json(JSON_1_0, "{}".to_owned()),
            Known::Different => {
                return refused(
                    "TransactWriteItems",
                    DynoxideError::IdempotentParameterMismatchException(
                        "An error occurred (IdempotentParameterMismatchException)".to_owned(),
                    ),
                );
            }
            Known::New => {}
        }
        let result = self.database.transact_write_items(request);
        if result.is_ok() {
            tokens.remember(token, body);
        }
        answer_of("TransactWriteItems", result)
    }
}

/// Says what is wrong with a path in words of files, before SQLite says it in words of databases.
fn check_file(path: &Path) -> Result<(), LocalError> {
    let unusable = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            LocalError::Forbidden { path: path.to_owned(), source }
        }
        _ => LocalError::Unreadable { path: path.to_owned(), source },
    };
    if path.is_dir() {
        return Err(LocalError::IsFolder { path: path.to_owned() });
    }
    match fs::exists(path) {
        Ok(true) => {}
        Ok(false) => {
            let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            return match folder {
                Some(folder) if !folder.is_dir() => {
                    Err(LocalError::NoFolder { path: path.to_owned(), folder: folder.to_owned() })
                }
                _ => Ok(()),
            };
        }
        Err(source) => return Err(unusable(source)),
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(unusable)?;
    let mut beginning = Vec::new();
    file.by_ref().take(SQLITE_MAGIC.len() as u64).read_to_end(&mut beginning).map_err(unusable)?;
    // SQLite takes an empty file for an empty database.
    if !beginning.is_empty() && beginning != SQLITE_MAGIC {
        return Err(LocalError::NotALedger { path: path.to_owned() });
    }
    Ok(())
}

/// One operation, read once, done, and written once.
fn dispatch(database: &Database, operation: &str, body: &[u8]) -> Answer {
    fn run<Request: DeserializeOwned, Response: Serialize>(
        operation: &str,
        body: &[u8],
        call: impl FnOnce(Request) -> dynoxide::Result<Response>,
    ) -> Answer {
        match serde_json::from_slice(body) {
            Ok(request) => answer_of(operation, call(request)),
            Err(error) => unreadable(operation, &error),
        }
    }
    match operation {
        "CreateTable" => run(operation, body, |request| database.create_table(request)),
        "DeleteTable" => run(operation, body, |request| database.delete_table(request)),
        "DescribeTable" => run(operation, body, |request| database.describe_table(request)),
        "ListTables" => run(operation, body, |request| database.list_tables(request)),
        "UpdateTimeToLive" => run(operation, body, |request| database.update_time_to_live(request)),
        "DescribeTimeToLive" => run(operation, body, |request| database.describe_time_to_live(request)),
        "PutItem" => run(operation, body, |request| database.put_item(request)),
        "GetItem" => run(operation, body, |request| database.get_item(request)),
        "UpdateItem" => run(operation, body, |request| database.update_item(request)),
        "DeleteItem" => run(operation, body, |request| database.delete_item(request)),
        "Query" => run(operation, body, |request| database.query(request)),
        "Scan" => run(operation, body, |request| database.scan(request)),
        "BatchGetItem" => run(operation, body, |request| database.batch_get_item(request)),
        "BatchWriteItem" => run(operation, body, |request| database.batch_write_item(request)),
        "TransactWriteItems" => run(operation, body, |request| database.transact_write_items(request)),
        "TransactGetItems" => run(operation, body, |request| database.transact_get_items(request)),
        _ => Answer {
            status: 400,
            content_type: JSON_1_0,
            body: r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#.to_owned(),
            query_error: None,
        },
    }
}

fn answer_of<Response: Serialize>(operation: &str, result: dynoxide::Result<Response>) -> Answer {
    match result {
        Ok(response) => match serde_json::to_string(&response) {
            Ok(body) => Answer::json(JSON_1_0, body),
            Err(error) => refused(
                operation,
                DynoxideError::InternalServerError(format!("the answer cannot be written: {error}")),
            ),
        },
        Err(error) => refused(operation, error),
    }
}

fn refused(operation: &str, error: DynoxideError) -> Answer {
    // dynoxide marks one family of refusals, which three operations wrap on the wire
    // (its dispatch in server/mod.rs, which its library build leaves out).
    let error = match error {
        DynoxideError::EnvelopedValidation(message) => DynoxideError::ValidationException(match operation {
            "PutItem" | "UpdateItem" | "DeleteItem" => {
                format!("1 validation error detected: {message}")
            }
            _ => message,
        }),
        other => other,
    };
    Answer { status: error.status_code(), content_type: JSON_1_0, body: error.to_json(), query_error: None }
}

/// A request that cannot be read: the kinds of refusal that DynamoDB tells apart, by the marks
/// that dynoxide's readers put in front of their messages.
fn unreadable(operation: &str, error: &serde_json::Error) -> Answer {
    if error.is_syntax() || error.is_eof() {
        return Answer {
            status: 400,
            content_type: JSON_1_0,
            body: r#"{"__type":"com.amazon.coral.service#SerializationException"}"#.to_owned(),
            query_error: None,
        };
    }
    let message = error.to_string();
    let without_place = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
    let marked = |mark: &str| without_place.strip_prefix(mark).map(str::to_owned);
    let error = if let Some(text) = marked("VALIDATION_REQUEST:") {
        DynoxideError::EnvelopedValidation(text)
    } else if let Some(text) = marked("VALIDATION_AS_READ:").or_else(|| marked("VALIDATION:")) {
        DynoxideError::ValidationException(text)
    } else if let Some(text) = marked("SERIALIZATION_AS_READ:").or_else(|| marked("SERIALIZATION:")) {
        DynoxideError::SerializationException(text)
    } else if ["missing field", "unknown variant", "invalid type: null", "AttributeValue"]
        .iter()
        .any(|sign| without_place.contains(sign))
    {
        DynoxideError::ValidationException(without_place.to_owned())
    } else {
        DynoxideError::SerializationException(without_place.to_owned())
    };
    refused(operation, error)
}
