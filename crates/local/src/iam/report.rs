//! The credential report: one CSV of an account's users and root, made now and then.
//!
//! Its columns, what stands in them and how often it is made: IAM's user guide, "Generate credential
//! reports for your AWS account"; the states and errors: IAM's API reference.

use std::time::Duration;

use aws_smithy_types::base64;
use jiff::{SignedDuration, Timestamp};

use super::IamCall;
use crate::answer::Answer;
use crate::world::{AccessKey, Account, KeyStatus, Refusal, User, whole_seconds};

/// The columns that a report in use has. The guide names one more, `additional_credentials_info`,
/// for a user with more than two keys; reports that others recorded lack it, and here a third key
/// is not told of at all, which is the harder case for a reader.
const COLUMNS: [&str; 22] = [
    "user",
    "arn",
    "user_creation_time",
    "password_enabled",
    "password_last_used",
    "password_last_changed",
    "password_next_rotation",
    "mfa_active",
    "access_key_1_active",
    "access_key_1_last_rotated",
    "access_key_1_last_used_date",
    "access_key_1_last_used_region",
    "access_key_1_last_used_service",
    "access_key_2_active",
    "access_key_2_last_rotated",
    "access_key_2_last_used_date",
    "access_key_2_last_used_region",
    "access_key_2_last_used_service",
    "cert_1_active",
    "cert_1_last_rotated",
    "cert_2_active",
    "cert_2_last_rotated",
];

/// So many keys of a user have a place in the report.
const SLOTS: usize = 2;

/// A report is handed out for so long before another is made.
const LIFE: SignedDuration = SignedDuration::from_hours(4);

const NOT_APPLICABLE: &str = "N/A";

/// One report as it was made.
#[derive(Debug)]
pub(super) struct Report {
    csv: String,
    made: Timestamp,
}

impl Report {
    pub(super) fn new(csv: String, made: Timestamp) -> Self {
        Self { csv, made }
    }

    /// Whether it is still handed out.
    fn holds(&self, now: Timestamp) -> bool {
        now.duration_since(self.made) <= LIFE
    }
}

/// An account's latest report, and the one that is being made.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    latest: Option<Report>,
    making: Option<(Timestamp, Report)>,
}

impl Reports {
    /// Replaces what there is.
    pub(super) fn put(&mut self, report: Report) {
        *self = Self { latest: Some(report), making: None };
    }

    /// What is ready by now takes its place.
    fn finish(&mut self, now: Timestamp) {
        if let Some((_, report)) = self.making.take_if(|(ready, _)| *ready <= now) {
            self.latest = Some(report);
        }
    }
}

impl IamCall<'_> {
    pub(super) fn generate_credential_report(&self) -> Result<Answer, Refusal> {
        let (state, description) = self.with_account(|account, account_id, making_takes| {
            account.reports.finish(self.now);
            if account.reports.making.is_some() {
                return ("INPROGRESS", None);
            }
            match &account.reports.latest {
                Some(report) if report.holds(self.now) => return ("COMPLETE", None),
                _ => {}
            }
            let was_there = account.reports.latest.is_some();
            // It shows the users as they are now, however long the making takes.
            let report = Report::new(write(account, account_id, self.now), whole_seconds(self.now));
            let takes = SignedDuration::try_from(making_takes).unwrap_or(SignedDuration::MAX);
            let ready = self.now.saturating_add(takes).unwrap_or(Timestamp::MAX);
            account.reports.making = Some((ready, report));
            let description = if was_there {
                "The report expired. Starting a new report generation task"
            } else {
                "No report exists. Starting a new report generation task"
            };
            ("STARTED", Some(description))
        })?;
        Ok(self.response(|xml| {
            xml.text("State", state);
            if let Some(description) = description {
                xml.text("Description", description);
            }
        }))
    }

    pub(super) fn get_credential_report(&self) -> Result<Answer, Refusal> {
        // The codes and their statuses are of IAM's API model.
        let absent = |status, code, message| Err(Refusal::new(status, code, message));
        self.with_account(|account, _, _| {
            account.reports.finish(self.now);
            match &account.reports.latest {
                Some(report) if report.holds(self.now) => Ok(self.response(|xml| {
                    xml.text("Content", &base64::encode(&report.csv));
                    xml.text("ReportFormat", "text/csv");
                    xml.text("GeneratedTime", &report.made.to_string());
                })),
                _ if account.reports.making.is_some() => {
                    absent(404, "ReportInProgress", "The credential report is still being generated.")
                }
                Some(_) => absent(410, "ReportExpired", "The most recent credential report has expired."),
                None => absent(410, "ReportNotPresent", "The credential report does not exist."),
            }
        })?
    }

    fn with_account<T>(&self, work: impl FnOnce(&mut Account, &str, Duration) -> T) -> Result<T, Refusal> {
        let mut world = self.aws.world();
        let making_takes = world.report_making;
        let account_id = &self.caller.account;
        let account = world.account_mut(account_id).ok_or_else(|| super::no_account(account_id))?;
        Ok(work(account, account_id, making_takes))
    }
}

/// The whole report: root first, then the users by name whatever its case, no newline at the end
/// (as reports that others recorded are).
fn write(account: &Account, account_id: &str, now: Timestamp) -> String {
    let mut users = account.seen(now);
    users.sort_by_cached_key(|user| user.name.to_lowercase());
    let header = COLUMNS.map(str::to_owned).to_vec();
    let rows = [header, root_row(account, account_id)]
        .into_iter()
        .chain(users.into_iter().map(|user| user_row(user, account_id)));
    let lines: Vec<String> =
        rows.map(|row| row.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",")).collect();
    lines.join("\n")
}

fn root_row(account: &Account, account_id: &str) -> Vec<String> {
    let mut row =
        vec!["<root_account>".to_owned(), format!("arn:aws:iam::{account_id}:root"), date(account.created)];
    row.extend(
        ["not_supported", "no_information", "not_supported", "not_supported", "false"].map(str::to_owned),
    );
    row.extend(key_cells(&account.root_keys));
    row.extend(certificate_cells());
    row
}

fn user_row(user: &User, account_id: &str) -> Vec<String> {
    let mut row = vec![user.name.clone(), user.arn(account_id), date(user.created)];
    row.extend(match &user.password {
        Some(password) => [
            "true".to_owned(),
            password.last_used.map_or_else(|| "no_information".to_owned(), date),
            date(password.changed),
            // No account here has a password policy that asks for another password.
            NOT_APPLICABLE.to_owned(),
        ],
        None => ["false", NOT_APPLICABLE, NOT_APPLICABLE, NOT_APPLICABLE].map(str::to_owned),
    });
    row.push(user.mfa.to_string());
    row.extend(key_cells(&user.keys));
    row.extend(certificate_cells());
    row
}

/// The first two keys. Which of them has which place is documented nowhere; in reports that others
/// recorded the ids ascend, whatever the keys' ages.
fn key_cells(keys: &[AccessKey]) -> Vec<String> {
    let mut shown: Vec<&AccessKey> = keys.iter().take(SLOTS).collect();
    shown.sort_by(|one, other| one.id.cmp(&other.id));
    let mut cells = Vec::new();
    for slot in 0..SLOTS {
        let Some(key) = shown.get(slot) else {
            cells.push("false".to_owned());
            cells.extend([NOT_APPLICABLE; 4].map(str::to_owned));
            continue;
        };
        cells.push((key.status == KeyStatus::Active).to_string());
        // An inactive key keeps its date, as in recorded reports; the guide says otherwise.
        cells.push(date(key.changed));
        match &key.last_used {
            Some(latest) => cells.extend([date(latest.at), latest.region.clone(), latest.service.clone()]),
            None => cells.extend([NOT_APPLICABLE; 3].map(str::to_owned)),
        }
    }
    cells
}

/// Nobody here has a signing certificate.
fn certificate_cells() -> [String; 4] {
    ["false", NOT_APPLICABLE, "false", NOT_APPLICABLE].map(str::to_owned)
}

fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// A cell as RFC 4180 writes it: users' names may hold commas, and paths quotation marks.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
