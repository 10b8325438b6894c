//! Many events into a ledger in a file, by the command line: how fast, and whether memory stays flat.
//!
//! Beside it, the embedded database alone writes the same items with the same conditions.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use dynoxide::{
    Database,
    actions::{
        create_table::CreateTableRequest, query::QueryRequest,
        transact_write_items::TransactWriteItemsRequest,
    },
};
use keytide_aws::ledger::Ledger;
use keytide_local::LocalAws;
use keytide_tests::build;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, process::Command, time::Instant};

use crate::{
    Outcome,
    cold::peak_mb,
    company::{NewKeys, PROD, TABLE, history, is_new},
    table::{Row, Table, a_second, median, ratio},
};

const FEW: u32 = 10_000;
const MANY: u32 = 100_000;
/// How often each is done.
const RUNS: usize = 3;

pub(crate) async fn measure(table: &mut Table) -> Outcome<()> {
    let program = build::program("keytide", "release")?;
    // On the disk where the target folder is: a machine's /tmp may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let bench = Bench { program, folder: folder.path().to_owned(), keys: NewKeys::read()? };
    let few = bench.write_events(FEW)?;
    let many = bench.write_events(MANY)?;
    let (mut rates, mut peaks_few, mut peaks_many, mut alone) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let replay = bench.ingest(&few, FEW).await?;
        peaks_few.push(replay.peak_mb);
        alone.push(bench.database_alone(&replay.ledger)?);
        fs::remove_file(&replay.ledger)?;
        let replay = bench.ingest(&many, MANY).await?;
        rates.push(f64::from(MANY) / replay.time.as_secs_f64());
        peaks_many.push(replay.peak_mb);
        fs::remove_file(&replay.ledger)?;
    }
    let (rate, alone) = (median(rates), median(alone));
    table.row(Row {
        figure: "replay of 100,000 events",
        keytide: a_second(rate),
        reference: format!("{}  the embedded database alone", a_second(alone)),
        ratio: ratio(rate, alone),
        aim: "≥ 3,000/s",
        samples: format!("{RUNS} runs"),
    });
    let (few, many) = (median(peaks_few), median(peaks_many));
    table.row(Row {
        figure: "memory at 100,000 events",
        keytide: format!("{many:.1} MB"),
        reference: format!("{few:.1} MB  at 10,000"),
        ratio: ratio(many, few),
        aim: "flat",
        samples: format!("{RUNS} runs"),
    });
    Ok(())
}

struct Bench {
    program: PathBuf,
    folder: PathBuf,
    keys: NewKeys,
}

struct Replay {
    ledger: PathBuf,
    time: Duration,
    peak_mb: f64,
}

impl Bench {
    fn write_events(&self, count: u32) -> Outcome<PathBuf> {
        let path = self.folder.join(format!("{count}.jsonl"));
        let mut file = BufWriter::new(File::create(&path)?);
        for number in 0..count {
            writeln!(file, "{}", self.keys.of_many(number).1)?;
        }
        file.flush()?;
        Ok(path)
    }

    /// The whole program, from its start to its end, into a new ledger.
    async fn ingest(&self, events: &Path, count: u32) -> Outcome<Replay> {
        let ledger = self.folder.join("ledger.db");
        let began = Instant::now();
        let mut child = Command::new(&self.program)
            .args(["ingest", "--quiet", "--ledger"])
            .args([&ledger, events])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let process = child.id().ok_or("keytide ended at once")?;
        let mut stderr = child.stderr.take().ok_or("keytide has no stderr")?;
        let said = tokio::spawn(async move {
            let mut said = String::new();
            stderr.read_to_string(&mut said).await.map(|_| said)
        });
        let mut peak = 0.0_f64;
        let status = loop {
            // The peak of a process that has ended is not told any more.
            peak = peak_mb(process).unwrap_or_default().max(peak);
            if let Ok(status) = tokio::time::timeout(Duration::from_millis(20), child.wait()).await {
                break status?;
            }
        };
        let time = began.elapsed();
        let said = said.await??;
        let expected = format!("{count} recorded");
        if !status.success() || !said.lines().any(|line| line.ends_with(&expected)) {
            return Err(
                format!("keytide ingest ended with {status}; expected \"{expected}\" in:\n{said}").into()
            );
        }
        let opened = LocalAws::in_file(&ledger)?;
        for number in [0, count / 2, count - 1] {
            let (key_id, _) = self.keys.of_many(number);
            let history = history(&Ledger::new(&opened.sdk_config(), TABLE), &key_id).await?;
            // By hand nobody is told, so nothing is to be delivered.
            if !is_new(&history, 0) {
                return Err(
                    format!("the ledger's story of {key_id} is not that of a new key: {history:?}").into()
                );
            }
        }
        Ok(Replay { ledger, time, peak_mb: peak })
    }

    /// Transactions a second of the embedded database, called as a library, with the items of that ledger.
    fn database_alone(&self, ledger: &Path) -> Outcome<f64> {
        let (key_id, _) = self.keys.of_many(0);
        let query: QueryRequest = serde_json::from_value(json!({
            "TableName": TABLE,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": format!("KEY#{PROD}#{key_id}")}},
        }))?;
        let written = serde_json::to_value(open(ledger)?.query(query)?)?;
        let items =
            written.get("Items").and_then(Value::as_array).ok_or("the ledger's query gave no items")?;
        let puts: Vec<Value> = items
            .iter()
            .map(|item| {
                json!({"Put": {
                    "TableName": TABLE, "Item": item, "ConditionExpression": "attribute_not_exists(pk)",
                }})
            })
            .collect();
        let template = json!({ "TransactItems": puts }).to_string();
        let requests: Vec<TransactWriteItemsRequest> = (0..FEW)
            .map(|number| serde_json::from_str(&template.replace(&key_id, &self.keys.of_many(number).0)))
            .collect::<Result<_, _>>()?;

        let path = self.folder.join("alone.db");
        let database = open(&path)?;
        database.create_table(table_definition()?)?;
        let began = Instant::now();
        for request in requests {
            database.transact_write_items(request)?;
        }
        let rate = f64::from(FEW) / began.elapsed().as_secs_f64();
        drop(database);
        fs::remove_file(&path)?;
        Ok(rate)
    }
}

/// As the embedded ledger opens its file.
fn open(path: &Path) -> Outcome<Database> {
    let database = Database::new(&path.to_string_lossy())?;
    database.disable_bulk_loading()?;
    Ok(database)
}

fn table_definition() -> Outcome<CreateTableRequest> {
    let mut definition: Value = serde_json::from_str(include_str!("../../infra/ledger-table.json"))?;
    let members = definition.as_object_mut().ok_or("infra/ledger-table.json holds no object")?;
    members.remove("TimeToLiveSpecification");
    members.insert("TableName".to_owned(), json!(TABLE));
    Ok(serde_json::from_value(definition)?)
}
