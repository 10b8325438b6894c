//! The command line's words.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::Timestamp;
use keytide_core::{AccountId, AccountNames, owner::SlackId};

use crate::{
    decide, doctor, lost, policy, redrive,
    scan::{self, ScanArgs},
    sweep::{self, SweepArgs},
    upcoming::{self, UpcomingArgs},
};

const ENVIRONMENT_AND_EXIT_CODES: &str = "\
Environment:
  KEYTIDE_SLACK_TOKEN  Slack's bot token (xoxb-…), for --post only; there is no flag for it
  KEYTIDE_CHANNEL      the channel's id (C…), where --channel does not give it
  KEYTIDE_SLACK_URL    where Slack is, for tests (default https://slack.com/api/)
  NO_COLOR             set to anything: no colour
  USER                 the author of decisions in a ledger that is a file
  AWS_PROFILE and all else that AWS's own tools read, where a command uses AWS

Exit codes:
  0  done
  1  some inputs or accounts failed: each is named on standard error, and the rest is done; or the whole
     could not be done
  2  wrong usage or configuration: nothing was done
  3  refused for safety";

/// Every AWS access key known and young.
///
/// keytide reads CloudTrail's events of IAM access keys, keeps a ledger of every key, tells a Slack channel
/// and the key's owner, and disables what is too old. This program does by hand what the functions do in AWS,
/// with the same code.
///
/// Start with `keytide demo`, which needs nothing, not even an AWS account; then let `keytide scan` show how
/// your own account stands, which changes nothing.
#[derive(Debug, Parser)]
#[command(name = "keytide", version, after_long_help = ENVIRONMENT_AND_EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work: one key's story in a company that exists in this process alone
    ///
    /// Replays sample events through the very code that runs in AWS, against an AWS and a Slack inside this
    /// process, draws what Slack was sent, and shows what the ledger then holds. Reads nothing, writes no
    /// file, and nothing leaves this machine.
    Demo(DemoArgs),
    /// Say what keytide reads in each event; nothing is stored, nobody is told
    #[command(after_long_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Take events into a ledger, and draw the Slack messages they call for
    ///
    /// Every event is recorded once, however often it is read; messages are drawn for events that the ledger
    /// did not know. Without --post, nothing is sent to Slack, and the ledger says so for good. With --post,
    /// what happened within the last hour is posted, and nothing older, ever.
    #[command(after_long_help = INGEST_EXAMPLES)]
    Ingest(Box<IngestArgs>),
    /// Look into a ledger
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Say what a sweep of the accounts would do; with --apply, do it
    #[command(after_long_help = sweep::SWEEP_EXAMPLES)]
    Sweep(Box<SweepArgs>),
    /// Stop all disabling, in every account, until `keytide resume`; notices still go out
    Halt(decide::ReasonArgs),
    /// Lift the halt
    Resume(decide::ReasonArgs),
    /// Let one plan through beyond its account's cap
    #[command(after_long_help = decide::APPROVE_EXAMPLES)]
    Approve(Box<decide::ApproveArgs>),
    /// Exempt a key for a while, end that, or list who is exempt
    ///
    /// An exemption needs an end, 180 days ahead at most, and a reason; the channel is told of it. A week before
    /// it ends the owner is told, and its end begins the key's notices anew.
    #[command(subcommand)]
    Exempt(decide::ExemptCommand),
    /// Check a policy file, or ask what it says of a user
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Look at one AWS account's keys: age, owner, last use, and what a policy would do; nothing is written
    ///
    /// Needs read-only credentials to the account (AWS's policy `SecurityAudit`) and nothing else: no ledger, no Slack. Shows
    /// every access key, an age histogram, what is over age, unused or ownerless, root's keys, and what the
    /// built-in policy would do today and in the next 30 days if the account were in enforce.
    #[command(after_long_help = scan::EXAMPLES)]
    Scan(ScanArgs),
    /// Say what is coming, by date, from the ledger: notices, disables, ends of exemptions
    #[command(after_long_help = upcoming::EXAMPLES)]
    Upcoming(UpcomingArgs),
    /// Say what is missing or wrong in the installation and in each account, and how to mend it; only reads
    #[command(after_long_help = doctor::EXAMPLES)]
    Doctor(Box<doctor::DoctorArgs>),
    /// Send back the events that the watcher gave up, once the cause is mended
    ///
    /// Says first how many there are and what they are, then asks. An event that comes twice changes nothing.
    #[command(after_long_help = redrive::EXAMPLES)]
    Redrive(redrive::RedriveArgs),
    /// Print a shell's completions: `source <(keytide completions bash)`
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, as roff: `keytide man | man -l -`
    ///
    /// It is one page: keytide itself, then every command with its options and examples.
    Man {
        /// The command to describe, as `ledger`; without it, all of them
        command: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Every sample event, each drawn, instead of one key's story
    #[arg(long)]
    pub(crate) all: bool,
}

const PATHS: &str = "Files, folders, or - for standard input

Files may hold EventBridge events, CloudTrail records, JSON lines, lists, or CloudTrail's log files; gzipped \
or not, told apart by what is in them. Of folders, all *.json, *.jsonl, *.ndjson and *.gz files are read, in \
the order of their names, and the folders in them, linked ones too: each folder once, whatever leads to it. \
What is broken, and a link that leads nowhere, is named with file, line and reason, and the rest is read.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  keytide explain event.json
  keytide explain AWSLogs/111122223333/CloudTrail/us-east-1/2026/06/
  aws s3 cp s3://BUCKET/KEY.json.gz - | keytide explain -
  keytide explain --format json logs/ | jq 'select(.subject.type == \"root\")'

With --format json, one object a line, with all of these in each, null where there is nothing:
  file, outcome (key-event, failed-call, owner-event, not-a-key-event, unreadable),
  kind (created, status-changed, deleted), status, account, key_id, subject {type, name},
  actor {type, name, arn}, at, event_id, source, user_agent, mfa, reason

Exits with 1 if anything was unreadable.";

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[arg(required = true, value_name = "PATH", help = "Files, folders, or - for standard input", long_help = PATHS)]
    pub(crate) paths: Vec<PathBuf>,
    /// For people, or for programs
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub(crate) format: ExplainFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    Text,
    Json,
}

const INGEST_EXAMPLES: &str = "\
Examples:
  keytide ingest logs/                        into ./keytide.db, drawn here, posted nowhere
  keytide ingest --quiet --ledger audit.db 2026-06/*.json.gz
  keytide ingest --ledger dynamodb:keytide-ledger --profile security missed.jsonl
  KEYTIDE_SLACK_TOKEN=xoxb-… keytide ingest --post --channel C0123456789 last-hour.json

Into a ledger in DynamoDB, events of the last 14 days are refused unless they are posted: the watcher may still \
have them in its queue, and once recorded in silence they would never be told of.";

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    #[arg(required = true, value_name = "PATH", help = "Files, folders, or - for standard input", long_help = PATHS)]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    #[arg(
        long,
        help = "Post to Slack what happened within the last hour; KEYTIDE_SLACK_TOKEN holds the token"
    )]
    pub(crate) post: bool,
    #[arg(long, value_name = "ID", help = "The Slack channel's id, for --post; else KEYTIDE_CHANNEL")]
    pub(crate) channel: Option<String>,
    /// Look owners up, with this role in the accounts of the keys; without it, nobody is looked up
    #[arg(long, value_name = "NAME")]
    pub(crate) reader_role: Option<String>,
    /// What the reader role's trust policy demands
    #[arg(long, value_name = "ID", requires = "reader_role")]
    pub(crate) external_id: Option<String>,
    /// What people call the accounts, as 111122223333=prod,444455556666=staging
    #[arg(long, value_name = "ID=NAME,…", value_parser = AccountNames::parse, default_value = "", hide_default_value = true)]
    pub(crate) account_names: AccountNames,
    /// Draw no messages
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Where the ledger is, and by which credentials AWS is used, if it is.
#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    /// A file (made by `ingest` if it is not there), or dynamodb:TABLE
    #[arg(long, value_name = "FILE|dynamodb:TABLE", default_value = "keytide.db")]
    pub(crate) ledger: LedgerChoice,
    /// The AWS profile; without it, AWS's usual chain
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The AWS region: keytide stands where IAM's events are
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub(crate) region: String,
}

impl LedgerArgs {
    /// Only by which credentials AWS is used, for a command without a ledger.
    pub(crate) fn for_aws(profile: Option<String>, region: String) -> Self {
        Self { ledger: LedgerChoice::File(PathBuf::new()), profile, region }
    }
}

/// Which ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LedgerChoice {
    /// The embedded one, in this file.
    File(PathBuf),
    /// A table in DynamoDB.
    DynamoDb(String),
}

impl FromStr for LedgerChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(table) = text.strip_prefix("dynamodb:") else {
            return if text.is_empty() {
                Err("expected a file's name or dynamodb:TABLE".to_owned())
            } else {
                Ok(Self::File(PathBuf::from(text)))
            };
        };
        // DynamoDB's naming rules.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if (3..=255).contains(&table.len()) && table.bytes().all(is_name) {
            Ok(Self::DynamoDb(table.to_owned()))
        } else {
            Err("expected dynamodb: and a table's name: 3 to 255 letters, digits, `_`, `-` and `.`"
                .to_owned())
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// List the keys: by default all but the deleted ones
    #[command(after_long_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Show one key: its state, what happened to it, and who was told
    Show(ShowArgs),
    /// Go by the ledger in the table where it is now; until then nothing is disabled
    ///
    /// A table that was made for the first time, restored from a backup or replaced may have forgotten who is exempt,
    /// and who was told of what. keytide knows it by DynamoDB's id of the table, disables nothing by it, and says so on
    /// Slack, until somebody has put back the policy and the exemptions and runs this. It shows the table and what it
    /// holds, and asks. Then every key's notices begin anew. The channel is told.
    Accept(lost::AcceptArgs),
}

const LIST_EXAMPLES: &str = "\
Examples:
  keytide ledger list
  keytide ledger list --account 111122223333 --status Active
  keytide ledger list --format csv > keys.csv
  keytide ledger list --ledger dynamodb:keytide-ledger --format json | jq 'map(select(.age_days > 90))'";

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// Only this account's keys
    #[arg(long, value_name = "ID", value_parser = AccountId::parse)]
    pub(crate) account: Option<AccountId>,
    /// Only the keys whose owner has this Slack member id
    #[arg(long, value_name = "SLACK-ID", value_parser = SlackId::parse)]
    pub(crate) owner: Option<SlackId>,
    /// Only keys that stand so
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) status: Option<StatusChoice>,
    /// How to print them
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub(crate) enum StatusChoice {
    Active,
    Inactive,
    Expired,
    Deleted,
    Gone,
    Unknown,
}

impl StatusChoice {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
            Self::Expired => "Expired",
            Self::Deleted => "Deleted",
            Self::Gone => "Gone",
            Self::Unknown => "Unknown",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    Table,
    Json,
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The access key's id, as AKIA…
    #[arg(value_name = "KEY")]
    pub(crate) key_id: String,
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// The account that owns the key; without it, the ledger is searched
    #[arg(long, value_name = "ID", value_parser = AccountId::parse)]
    pub(crate) account: Option<AccountId>,
    /// For people, or for programs
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub(crate) format: ExplainFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say what a policy file says, or everything that is wrong with it
    ///
    /// Each problem is a line on standard error, as `FILE:LINE: found …, expected …`; then it exits with 2.
    Check {
        /// The policy file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Say how a user's keys are treated: by which rule, on which dates, and what would stop a disable
    #[command(after_long_help = POLICY_EXPLAIN_EXAMPLES)]
    Explain(PolicyExplainArgs),
    /// Say what a policy file would change for today's keys; nothing is stored
    ///
    /// Every key in the ledger is held against the policy in force and against the file: which keys get other
    /// dates or another rule, and which are newly due. AWS is not asked, apart from the ledger.
    Try(decide::PolicyFileArgs),
    /// Put a policy file in force, after showing what it changes
    ///
    /// Its text, its hash and its author go into the ledger, and the channel is told; earlier policies stay. An
    /// account that it brings into enforce begins anew: no notice from before licenses a disable.
    Apply(decide::PolicyApplyArgs),
}

const POLICY_EXPLAIN_EXAMPLES: &str = "\
Examples:
  keytide policy explain --account 111122223333 --user alice --created 2026-01-31
  keytide policy explain policy.toml --account 111122223333 --user ci-7 --path /machines/ --tag type=machine

AWS is not asked: of a user whose path and tags are not given, no rule that asks for them can match. With either \
given, the user has that path (else /) and those tags and no others.";

#[derive(Debug, Args)]
pub(crate) struct PolicyExplainArgs {
    /// The policy file; without it, the built-in policy
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The user's account
    #[arg(long, value_name = "ID", value_parser = AccountId::parse)]
    pub(crate) account: AccountId,
    /// The user's name
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// The user's path
    #[arg(long, value_name = "/PATH/")]
    pub(crate) path: Option<String>,
    /// A tag of the user's; may be given again
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = policy::tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// A key's birth, for the dates: a date, or a time in RFC 3339
    #[arg(long, value_name = "DATE", value_parser = policy::birth)]
    pub(crate) created: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_ledger_is_a_file_or_a_table() {
        assert_eq!("dynamodb:key_tide-1".parse(), Ok(LedgerChoice::DynamoDb("key_tide-1".to_owned())));
        assert_eq!("./dynamodb:x".parse(), Ok(LedgerChoice::File("./dynamodb:x".into())));
        for wrong in ["", "dynamodb:", "dynamodb:ab", "dynamodb:a/b/c"] {
            assert!(wrong.parse::<LedgerChoice>().is_err(), "{wrong}");
        }
    }
}
