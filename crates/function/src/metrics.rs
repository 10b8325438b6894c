//! Numbers in CloudWatch's embedded metric format.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The namespace of all of keytide's metrics.
const NAMESPACE: &str = "Keytide";

/// One document of the format, a line: metrics by name, unit and value, under one dimension with its value, or none.
/// What is counted without a dimension is counted even where it is 0, so that an alarm sees the difference to
/// silence.
pub fn document(at: Timestamp, dimension: Option<(&str, &str)>, metrics: &[(&str, &str, Value)]) -> String {
    let definitions: Vec<Value> =
        metrics.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
    let dimensions: Vec<&str> = dimension.iter().map(|(name, _)| *name).collect();
    let directive = json!({"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": definitions});
    let mut root = Map::new();
    let about = json!({"Timestamp": at.as_millisecond(), "CloudWatchMetrics": [directive]});
    root.insert("_aws".to_owned(), about);
    root.extend(dimension.map(|(name, value)| (name.to_owned(), json!(value))));
    root.extend(metrics.iter().map(|(name, _, value)| ((*name).to_owned(), value.clone())));
    Value::Object(root).to_string()
}

/// Writes lines where Lambda takes them from. Each is written whole, so that none is torn by another.
pub fn write(lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let mut all = lines.join("\n");
    all.push('\n');
    // Were it to fail, nobody could be told; the message's own line, through tracing, has the same fate.
    let _ = std::io::stdout().lock().write_all(all.as_bytes());
}
