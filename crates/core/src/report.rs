//! IAM's credential report: one CSV for a whole account, a row for root and one for every user, with two
//! slots for access keys in each.
//!
//! What it holds, and what each of its words means, is from IAM's user guide, "Generate credential reports for
//! your AWS account". It names no access key's id and no tag, it is up to four hours old, and it shows the
//! first two keys of a user. `last_rotated` is when a key was made *or last changed*, so it is no birth date.
//! Hence a row is only ever compared with the previous report's row of that user ([`Row::differs_from`]);
//! where they differ, the user's keys are listed.
//!
//! Columns are found by name, so their order and columns that AWS adds do not matter. A row that cannot be
//! read is a [`RowProblem`] and does not lose the others.

use std::collections::{BTreeMap, BTreeSet};

use csv::{ByteRecord, ReaderBuilder};
use jiff::{SignedDuration, Timestamp};

use crate::AccountId;

/// AWS makes a report anew when the last one is this old, and hands out a younger one (IAM's user guide,
/// "Generate credential reports for your AWS account").
pub const REPORT_LIFE: SignedDuration = SignedDuration::from_hours(4);

/// What the report calls the root user. No IAM user can have this name.
pub const ROOT_USER: &str = "<root_account>";

const USER: &str = "user";
const ARN: &str = "arn";
const CREATED: &str = "user_creation_time";
const MFA: &str = "mfa_active";
/// Says that there are more than the two keys shown. The guide has it; reports of accounts where nobody has
/// more lack it.
const MORE: &str = "additional_credentials_info";

/// The columns of one access key.
struct SlotColumns {
    active: &'static str,
    last_rotated: &'static str,
    used_date: &'static str,
    used_region: &'static str,
    used_service: &'static str,
}

const FIRST: SlotColumns = SlotColumns {
    active: "access_key_1_active",
    last_rotated: "access_key_1_last_rotated",
    used_date: "access_key_1_last_used_date",
    used_region: "access_key_1_last_used_region",
    used_service: "access_key_1_last_used_service",
};

const SECOND: SlotColumns = SlotColumns {
    active: "access_key_2_active",
    last_rotated: "access_key_2_last_rotated",
    used_date: "access_key_2_last_used_date",
    used_region: "access_key_2_last_used_region",
    used_service: "access_key_2_last_used_service",
};

/// Every column that has to be there. The others of a report (passwords, certificates) do not matter here.
const READ: [&str; 14] = [
    USER,
    ARN,
    CREATED,
    MFA,
    FIRST.active,
    FIRST.last_rotated,
    FIRST.used_date,
    FIRST.used_region,
    FIRST.used_service,
    SECOND.active,
    SECOND.last_rotated,
    SECOND.used_date,
    SECOND.used_region,
    SECOND.used_service,
];

/// A whole report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialReport {
    /// The rows that could be read, in the report's order.
    pub rows: Vec<Row>,
    /// The rows that could not, in the report's order. While there is one, the report is not whole: a user
    /// who is not in `rows` may still exist.
    pub bad_rows: Vec<RowProblem>,
}

impl CredentialReport {
    /// Root's row, if it is there and could be read.
    pub fn root(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.whose == Whose::Root)
    }
}

/// One row: root or a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Root, or which user.
    pub whose: Whose,
    /// The ARN, as it stands there.
    pub arn: String,
    /// The account in the ARN.
    pub account: AccountId,
    /// When the user (or the account) was made.
    pub created: Option<Timestamp>,
    /// Whether an MFA device is enabled; `None` where the report does not know.
    pub mfa_active: Option<bool>,
    /// The two access keys that a report can show.
    pub slots: [KeySlot; 2],
    /// What the report says of further access keys or certificates, where it says anything: then only a
    /// listing shows them all. The limit of two is a race that has been lost. Untrusted text.
    pub more: Option<String>,
}

/// Whose row it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The account's root user.
    Root,
    /// An IAM user.
    User {
        /// The name.
        name: String,
        /// The path, from the ARN, as `/engineering/`.
        path: String,
    },
}

/// One of the two places for an access key in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlot {
    /// Whether there is a key here and it is active.
    pub active: bool,
    /// When the key here was made or last changed. `None` where there is no key, and, by the guide, where
    /// it is inactive; reports on record keep an inactive key's time.
    pub last_rotated: Option<Timestamp>,
    /// When it was last used.
    pub last_used: LastUsed,
}

impl KeySlot {
    /// Whether the report shows a key here. If not, there may still be an inactive one: only a listing says
    /// that a key is gone.
    pub fn shows_a_key(&self) -> bool {
        self.active || self.last_rotated.is_some()
    }
}

/// A key's last use, as far as the report knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastUsed {
    /// `N/A`: there is no key, or no use since AWS keeps track, which began on 2015-04-22.
    Never,
    /// The report does not say.
    Unknown,
    /// It was used.
    At {
        /// When. A use may be shown late or as the beginning of its quarter of an hour.
        at: Timestamp,
        /// In which region, if it says so.
        region: Option<String>,
        /// For which service, as `s3`, if it says so.
        service: Option<String>,
    },
}

impl Row {
    /// The user's name, or [`ROOT_USER`].
    pub fn user(&self) -> &str {
        match &self.whose {
            Whose::Root => ROOT_USER,
            Whose::User { name, .. } => name,
        }
    }

    /// What matters of the row for whether the user's keys have to be listed, as a short text to be kept and
    /// compared: of both slots whether it is active and when it last changed, and what is said of further
    /// keys. It never gets another form, since the ledger keeps it.
    pub fn mark(&self) -> String {
        let slots = self.slots.each_ref().map(|slot| {
            let state = if slot.active { "active" } else { "inactive" };
            let changed = slot.last_rotated.map_or_else(|| "never".to_owned(), |at| at.to_string());
            format!("{state} {changed}")
        });
        let [first, second] = &slots;
        match &self.more {
            None => format!("{first}, {second}"),
            Some(more) => format!("{first}, {second}, more: {}", shown(more)),
        }
    }

    /// Whether the user's keys were made, changed or deleted between the two reports.
    pub fn differs_from(&self, earlier: &Self) -> bool {
        self.mark() != earlier.mark()
    }
}

/// A report that cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportProblem {
    /// Nothing is in it. Even an account without users has root's row.
    #[error("the credential report holds no row; expected a header and at least the row of <root_account>")]
    Empty,
    /// Columns are missing.
    #[error(
        "the credential report lacks the column(s) {}; its header is {found:?}; expected IAM's own CSV",
        .missing.join(", ")
    )]
    MissingColumns {
        /// Which.
        missing: Vec<&'static str>,
        /// The header's beginning.
        found: String,
    },
    /// A column is there more than once, so it is not certain which one is meant.
    #[error("the credential report has the column {column} more than once; expected it once")]
    RepeatedColumn {
        /// Which.
        column: &'static str,
    },
    /// It is another account's report.
    #[error("the credential report of {expected} holds a row of {found}; expected one account's rows")]
    OtherAccount {
        /// The account asked.
        expected: AccountId,
        /// The account in a row's ARN.
        found: AccountId,
    },
    /// It is no CSV.
    #[error("the credential report cannot be read as CSV: {0}")]
    NotCsv(String),
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the credential report, user {user:?}, {column}: found {found:?}, expected {expected}"
)]
pub struct RowProblem {
    /// The line, counted from 1.
    pub line: u64,
    /// What stands under `user`, where anything does. Untrusted text.
    pub user: String,
    /// The column.
    pub column: &'static str,
    /// What was found there. Untrusted text.
    pub found: String,
    /// What should be there.
    pub expected: &'static str,
}

/// So much of a wrong text goes into an error.
const SHOWN_CHARACTERS: usize = 80;

/// Reads a report.
pub fn parse(bytes: &[u8]) -> Result<CredentialReport, ReportProblem> {
    // Rows of another length are ours to judge, one by one.
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes);
    let unreadable = |error: csv::Error| ReportProblem::NotCsv(error.to_string());
    let header = reader.byte_headers().map_err(unreadable)?.clone();
    if header.is_empty() {
        return Err(ReportProblem::Empty);
    }
    let columns = find_columns(&header)?;
    let mut report = CredentialReport { rows: Vec::new(), bad_rows: Vec::new() };
    let mut users = BTreeSet::new();
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(unreadable)? {
        let line = Line { record: &record, columns: &columns, length: header.len() };
        match line.row() {
            Ok(row) if users.insert(row.user().to_owned()) => report.rows.push(row),
            // Which of the two holds is not certain, and a name is there once.
            Ok(row) => report.bad_rows.push(line.problem(USER, row.user(), "each user once")),
            Err(problem) => report.bad_rows.push(problem),
        }
    }
    if report.rows.is_empty() && report.bad_rows.is_empty() {
        return Err(ReportProblem::Empty);
    }
    Ok(report)
}

fn find_columns(header: &ByteRecord) -> Result<BTreeMap<&'static str, usize>, ReportProblem> {
    let mut columns = BTreeMap::new();
    for (index, cell) in header.iter().enumerate() {
        let named = READ.into_iter().chain([MORE]).find(|name| name.as_bytes() == cell.trim_ascii());
        if let Some(column) = named
            && columns.insert(column, index).is_some()
        {
            return Err(ReportProblem::RepeatedColumn { column });
        }
    }
    let missing: Vec<_> = READ.into_iter().filter(|name| !columns.contains_key(name)).collect();
    if missing.is_empty() {
        return Ok(columns);
    }
    let cells: Vec<_> = header.iter().map(String::from_utf8_lossy).collect();
    Err(ReportProblem::MissingColumns { missing, found: shown(&cells.join(",")) })
}

/// One line under its header.
struct Line<'report> {
    record: &'report ByteRecord,
    columns: &'report BTreeMap<&'static str, usize>,
    length: usize,
}

impl<'report> Line<'report> {
    fn row(&self) -> Result<Row, RowProblem> {
        if self.record.len() != self.length {
            let found = format!("{} cells", self.record.len());
            return Err(self.problem("the whole row", &found, "as many cells as the header has"));
        }
        let (account, whose) = self.whose()?;
        Ok(Row {
            whose,
            arn: self.text(ARN)?.to_owned(),
            account,
            created: self.time(CREATED)?,
            mfa_active: if is_unknown(self.text(MFA)?) { None } else { Some(self.flag(MFA)?) },
            slots: [self.slot(&FIRST)?, self.slot(&SECOND)?],
            more: if self.columns.contains_key(MORE) { self.word(MORE)? } else { None },
        })
    }

    /// Name and ARN have to say the same, or it is not certain whose keys these are.
    fn whose(&self) -> Result<(AccountId, Whose), RowProblem> {
        let (user, arn) = (self.text(USER)?, self.text(ARN)?);
        let expected =
            "`arn:PARTITION:iam::ACCOUNT:root` for root, else `…:user/PATH/NAME` with the row's user";
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", _, "iam", "", account, resource] = parts.as_slice() else {
            return Err(self.problem(ARN, arn, expected));
        };
        let account = AccountId::parse(account).map_err(|_| self.problem(ARN, arn, expected))?;
        if user == ROOT_USER && *resource == "root" {
            return Ok((account, Whose::Root));
        }
        let path = resource.strip_prefix("user").and_then(|place| place.strip_suffix(user));
        match path {
            Some(path)
                if !user.is_empty()
                    && !user.contains('/')
                    && path.starts_with('/')
                    && path.ends_with('/')
                    && user != ROOT_USER =>
            {
                Ok((account, Whose::User { name: user.to_owned(), path: path.to_owned() }))
            }
            _ => Err(self.problem(ARN, arn, expected)),
        }
    }

    fn slot(&self, columns: &SlotColumns) -> Result<KeySlot, RowProblem> {
        let last_used = match (self.text(columns.used_date)?, self.time(columns.used_date)?) {
            (_, Some(at)) => LastUsed::At {
                at,
                region: self.word(columns.used_region)?,
                service: self.word(columns.used_service)?,
            },
            ("N/A", None) => LastUsed::Never,
            (_, None) => LastUsed::Unknown,
        };
        Ok(KeySlot {
            active: self.flag(columns.active)?,
            last_rotated: self.time(columns.last_rotated)?,
            last_used,
        })
    }

    fn text(&self, column: &'static str) -> Result<&'report str, RowProblem> {
        let cell = self.columns.get(column).and_then(|index| self.record.get(*index)).unwrap_or_default();
        std::str::from_utf8(cell)
            .map(str::trim)
            .map_err(|_| self.problem(column, &String::from_utf8_lossy(cell), "a text in UTF-8"))
    }

    fn word(&self, column: &'static str) -> Result<Option<String>, RowProblem> {
        let text = self.text(column)?;
        Ok((!is_unknown(text)).then(|| text.to_owned()))
    }

    fn flag(&self, column: &'static str) -> Result<bool, RowProblem> {
        let text = self.text(column)?;
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(self.problem(column, text, "true or false"))
        }
    }

    fn time(&self, column: &'static str) -> Result<Option<Timestamp>, RowProblem> {
        let text = self.text(column)?;
        if is_unknown(text) {
            return Ok(None);
        }
        let expected = "a time as 2026-05-04T09:12:33+00:00, N/A, no_information or not_supported";
        text.parse().map(Some).map_err(|_| self.problem(column, text, expected))
    }

    fn problem(&self, column: &'static str, found: &str, expected: &'static str) -> RowProblem {
        let user = self.columns.get(USER).and_then(|index| self.record.get(*index)).unwrap_or_default();
        RowProblem {
            line: self.record.position().map_or(0, csv::Position::line),
            user: shown(&String::from_utf8_lossy(user)),
            column,
            found: shown(found),
            expected,
        }
    }
}

/// The words that AWS writes where it has no value.
fn is_unknown(text: &str) -> bool {
    matches!(text, "" | "N/A" | "no_information" | "not_supported")
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS).collect()
}
