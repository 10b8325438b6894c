//! What DynamoDB would bill: dynoxide says it of each operation where it is asked to, as DynamoDB does.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Units of reading and of writing, as DynamoDB bills them on demand; a transaction's count twice.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Units {
    /// Read request units.
    pub read: f64,
    /// Write request units, those of indexes among them.
    pub write: f64,
}

/// A count that is not begun until somebody asks for it.
#[derive(Debug, Default)]
pub(super) struct Count(Mutex<Option<Units>>);

impl Count {
    /// Begins the count, or begins it anew.
    pub(super) fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Units::default());
    }

    /// The units since then; `None`: it was not begun.
    pub(super) fn so_far(&self) -> Option<Units> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request, asking for its units besides.
    pub(super) fn asking(body: &[u8]) -> Vec<u8> {
        let Ok(Value::Object(mut request)) = serde_json::from_slice(body) else {
            return body.to_vec();
        };
        request.insert("ReturnConsumedCapacity".to_owned(), Value::from("TOTAL"));
        Value::Object(request).to_string().into_bytes()
    }

    /// Counts what an answer says.
    pub(super) fn add(&self, operation: &str, answer: &str) {
        let mut units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(units), Ok(answer)) = (units.as_mut(), serde_json::from_str::<Value>(answer)) else {
            return;
        };
        let of_tables = match answer.get("ConsumedCapacity") {
            Some(Value::Array(tables)) => tables.clone(),
            Some(table) => vec![table.clone()],
            None => Vec::new(),
        };
        for table in of_tables {
            let number = |name: &str| table.get(name).and_then(Value::as_f64);
            let (read, write) = (number("ReadCapacityUnits"), number("WriteCapacityUnits"));
            if read.is_some() || write.is_some() {
                units.read += read.unwrap_or_default();
                units.write += write.unwrap_or_default();
                continue;
            }
            let all = number("CapacityUnits").unwrap_or_default();
            match operation {
                "GetItem" | "BatchGetItem" | "Query" | "Scan" | "TransactGetItems" => units.read += all,
                _ => units.write += all,
            }
        }
    }
}
