//! A Lambda function that does nothing, on the same runtime as keytide's: what a start costs anyway.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let nothing_failed = async |_: LambdaEvent<Value>| Ok::<_, Error>(json!({"batchItemFailures": []}));
    lambda_runtime::run(service_fn(nothing_failed)).await
}
