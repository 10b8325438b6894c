//! The table of `infra/COST.md`: its sums are right, it reckons with what was measured, and its alarms are as many as the
//! template's.
#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test says so by failing")]

use std::{fs, path::Path};

/// Accounts and keys of the table's last two columns.
const ORGANIZATIONS: [(f64, f64); 2] = [(100.0, 1_000.0), (1_000.0, 100_000.0)];
/// What is rounded to a cent.
const HALF_A_CENT: f64 = 0.005_001;

struct Row {
    what: String,
    /// The price, and so many for the installation, for each account and for each key; of the last row nothing.
    factors: Vec<f64>,
    costs: Vec<f64>,
}

fn infra(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(name);
    fs::read_to_string(&path).unwrap()
}

/// The rows of seven columns, their head aside.
fn rows(page: &str) -> Vec<Row> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('*').to_owned()).collect()
    };
    let number = |cell: &String| cell.parse::<f64>().unwrap_or_else(|error| panic!("{cell}: {error}"));
    page.lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .filter(|cells| cells.len() == 7)
        .skip(2)
        .map(|cells| Row {
            what: cells[0].clone(),
            factors: cells[1..5].iter().filter(|cell| !cell.is_empty()).map(number).collect(),
            costs: cells[5..].iter().map(number).collect(),
        })
        .collect()
}

/// What is wrong with the table.
fn problems(page: &str) -> Vec<String> {
    let rows = rows(page);
    let (total, rows) = rows.split_last().unwrap();
    assert!(rows.len() > 10 && total.factors.is_empty(), "{} rows", rows.len());
    let mut problems = Vec::new();
    for (column, (accounts, keys)) in ORGANIZATIONS.into_iter().enumerate() {
        let mut sum = 0.0;
        for row in rows {
            let [price, installation, account, key] = row.factors[..] else { panic!("{}", row.what) };
            let cost = price * (installation + account * accounts + key * keys);
            if (cost - row.costs[column]).abs() > HALF_A_CENT {
                problems.push(format!("{}: {} is written, {cost:.2} is right", row.what, row.costs[column]));
            }
            sum += row.costs[column];
        }
        if (sum - total.costs[column]).abs() > HALF_A_CENT {
            problems.push(format!("together: {} is written, {sum:.2} is right", total.costs[column]));
        }
    }
    problems
}

#[test]
fn the_sums_are_right() {
    let page = infra("COST.md");
    assert_eq!(problems(&page), [""; 0]);
    for (right, wrong) in [("| 13.80 | 13.80 |", "| 13.80 | 31.80 |"), ("| 0.000000625 |", "| 0.00000625 |")]
    {
        let spoilt = page.replace(right, wrong);
        assert_ne!(page, spoilt, "{right}");
        assert!(!problems(&spoilt).is_empty(), "{wrong}");
    }
}

/// A month's days, as the page has them.
const DAYS: f64 = 30.4;
/// Of each open key and its successor a month: events, and notices.
const EVENTS: f64 = 1.2;
const NOTICES: f64 = 0.4;

#[test]
fn what_was_measured_is_what_is_reckoned_with() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let (readme, page) = (fs::read_to_string(readme).unwrap(), infra("COST.md"));
    let cells = |begins: &str| {
        let row = readme.lines().find(|line| line.starts_with(&format!("| {begins}"))).unwrap();
        row.split('|').nth(2).unwrap().to_owned()
    };
    let numbers = |text: &str| -> Vec<f64> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .filter_map(|word| word.trim_end_matches('.').parse().ok())
            .collect()
    };
    let units = numbers(&cells("what DynamoDB bills"));
    let [event_read, event, day_read, day, key_read, key, notices_read, notices] = units[..] else {
        panic!("{units:?}")
    };
    let said = page.split("- *units of DynamoDB*").nth(1).unwrap().split("\n- ").next().unwrap();
    assert_eq!(numbers(said), units, "README's and the page's");
    let whole: String = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let seconds = cells("a steady day of 1,000 accounts");
    assert!(
        whole.contains(&format!("{} of a day by ten functions", seconds.split(',').next().unwrap().trim()))
    );
    for (begins, of_account, of_key) in [
        ("DynamoDB: write", day * DAYS, key * DAYS + EVENTS * event + NOTICES * notices),
        ("DynamoDB: read", day_read * DAYS, key_read * DAYS + EVENTS * event_read + NOTICES * notices_read),
    ] {
        let row = rows(&page).into_iter().find(|row| row.what.starts_with(begins)).unwrap();
        for (written, measured) in [(row.factors[2], of_account), (row.factors[3], of_key)] {
            // Rounded up to two figures.
            assert!(written >= measured && written < measured * 1.05, "{begins}: {written}, of {measured}");
        }
    }
}

#[test]
fn the_alarms_are_the_templates() {
    let alarms = infra("security-account.yaml").matches("\n    Type: AWS::CloudWatch::Alarm\n").count();
    let page = infra("COST.md");
    let row = rows(&page).into_iter().find(|row| row.what.starts_with("CloudWatch: alarms")).unwrap();
    // One of them looks at up to ten metrics.
    let metrics = f64::from(u32::try_from(alarms - 1 + 10).unwrap());
    assert!((row.factors[1] - metrics).abs() < 0.5, "{metrics} metrics of {alarms} alarms");
}
