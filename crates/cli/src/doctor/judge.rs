//! What the doctor makes of what it saw: facts in, findings out. Nothing here asks anybody.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use keytide_core::policy::Mode;
use serde::Serialize;

/// Our clock and AWS's may differ by so much, or nothing is disabled.
const CLOCKS_AGREE: SignedDuration = SignedDuration::from_mins(5);
/// A sweep that is older is overdue: the alarm's own bound.
const SWEPT_WITHIN: SignedDuration = SignedDuration::from_hours(26);
/// What the Slack app needs, and no more.
const SCOPES: [&str; 2] = ["chat:write", "im:write"];

/// What was found out; else why it could not be.
pub(crate) type Seen<T> = Result<T, String>;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// keytide does not do its work, or less of it.
    Broken,
    /// It could not be looked at, so nothing is known.
    Unknown,
    /// It works, and should be mended.
    Weak,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Broken => "broken",
            Self::Unknown => "not known",
            Self::Weak => "weak",
        })
    }
}

/// Something that is missing or wrong, and how to mend it. Fields are a promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    /// The account; none: the installation as a whole.
    pub(crate) account: Option<String>,
    pub(crate) severity: Severity,
    /// What is wrong.
    pub(crate) what: String,
    /// How to mend it.
    pub(crate) mend: String,
}

/// A rule of EventBridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) is_enabled: bool,
    /// Each target's ARN, and the role that sends.
    pub(crate) targets: Vec<(String, Option<String>)>,
}

/// The ledger's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) is_protected: bool,
    pub(crate) has_recovery: Seen<bool>,
    pub(crate) expires_by: Seen<Option<String>>,
}

/// The bot at Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bot {
    /// Slack's refusal of the token, if it refused it.
    pub(crate) refused: Option<String>,
    pub(crate) scopes: Vec<String>,
    /// Whether it is in the channel; an error where Slack does not tell.
    pub(crate) is_member: Seen<bool>,
}

/// The latest run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LatestRun {
    pub(crate) began_at: Timestamp,
    pub(crate) digest_at: Option<Timestamp>,
}

/// A queue: how many messages wait, if it is there.
pub(crate) type Queue = (String, Seen<Option<u64>>);

/// The installation in the security account.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub(crate) prefix: String,
    pub(crate) rule: Seen<Option<Rule>>,
    /// Whether the schedule is enabled, if it is there.
    pub(crate) schedule: Seen<Option<bool>>,
    pub(crate) table: Seen<Option<Table>>,
    /// Why nobody goes by the ledger, if so.
    pub(crate) unaccepted: Seen<Option<String>>,
    /// Whether the secret is there, and readable.
    pub(crate) secret: Seen<bool>,
    pub(crate) bot: Seen<Bot>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) dead: Vec<Queue>,
    pub(crate) clock_skew: Seen<SignedDuration>,
    pub(crate) run: Seen<Option<LatestRun>>,
}

/// A trail that records the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trail {
    pub(crate) name: String,
    pub(crate) is_multi_region: bool,
    pub(crate) has_global_events: bool,
    pub(crate) is_logging: Seen<bool>,
    /// Whether it records management events that write.
    pub(crate) has_writes: Seen<bool>,
}

/// One account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) mode: Mode,
    /// Each forwarding rule, by its name without the prefix.
    pub(crate) rules: Vec<(String, Seen<Option<Rule>>)>,
    pub(crate) reader: Seen<bool>,
    pub(crate) disabler: Seen<bool>,
    pub(crate) forwarder: Seen<bool>,
    pub(crate) trails: Seen<Vec<Trail>>,
    /// Users with open keys and no usable tag `slack-id`.
    pub(crate) ownerless: Seen<Vec<String>>,
    pub(crate) swept_at: Seen<Option<Timestamp>>,
}

/// Gathers findings of one account, or of the installation.
struct Findings<'a> {
    account: Option<&'a str>,
    all: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, severity: Severity, what: impl Into<String>, mend: impl Into<String>) {
        let account = self.account.map(str::to_owned);
        self.all.push(Finding { account, severity, what: what.into(), mend: mend.into() });
    }

    fn broken(&mut self, what: impl Into<String>, mend: impl Into<String>) {
        self.add(Severity::Broken, what, mend);
    }

    fn weak(&mut self, what: impl Into<String>, mend: impl Into<String>) {
        self.add(Severity::Weak, what, mend);
    }

    /// What was seen; that nothing was, is a finding of its own.
    fn known<'s, T>(&mut self, of: &str, seen: &'s Seen<T>) -> Option<&'s T> {
        match seen {
            Ok(seen) => Some(seen),
            Err(why) => {
                let mend = "give whoever runs the doctor the right that is named, or mend what failed; then look again";
                self.add(Severity::Unknown, format!("{of} could not be looked at: {why}"), mend);
                None
            }
        }
    }
}

/// What is wrong with the installation.
pub(crate) fn installation(seen: &Installation, now: Timestamp) -> Vec<Finding> {
    let mut found = Findings { account: None, all: Vec::new() };
    let prefix = &seen.prefix;
    let deploy = "deploy infra/security-account.yaml again";
    if let Some(rule) = found.known("the bus's rule", &seen.rule) {
        let name = format!("{prefix}-key-events-in");
        rule_is(&mut found, &name, rule.as_ref(), &format!(":{prefix}-events"), None, deploy);
    }
    match found.known("the schedule", &seen.schedule) {
        Some(None) => {
            found.broken(format!("the schedule {prefix}-sweep is not there: nobody sweeps"), deploy);
        }
        Some(Some(false)) => found.broken(
            format!("the schedule {prefix}-sweep is disabled: nobody sweeps"),
            "enable it (State: ENABLED), or deploy infra/security-account.yaml again",
        ),
        Some(Some(true)) | None => {}
    }
    match found.known("the ledger's table", &seen.table) {
        Some(None) => found.broken(
            "the ledger's table is not there",
            format!("{deploy}; if it was lost: infra/RUNBOOK.md, \"The table is lost\""),
        ),
        Some(Some(table)) => table_is(&mut found, table),
        None => {}
    }
    if let Some(Some(why)) = found.known("the ledger's acceptance", &seen.unaccepted) {
        found.broken(
            format!("nothing is disabled: {why}"),
            "see that policy and exemptions are there, then `keytide ledger accept --reason …`",
        );
    }
    if let Some(false) = found.known("Slack's secret", &seen.secret) {
        found.broken(
            "the secret with Slack's token is not there, or empty",
            "put the bot token (xoxb-…) into Secrets Manager under the name of the parameter SlackSecretName",
        );
    }
    if let Some(bot) = found.known("Slack", &seen.bot) {
        bot_is(&mut found, bot, seen.run.as_ref().ok().and_then(Option::as_ref), now);
    }
    for (name, waiting) in &seen.queues {
        if let Some(None) = found.known(&format!("the queue {name}"), waiting) {
            found.broken(format!("the queue {name} is not there"), deploy);
        }
    }
    for (name, waiting) in &seen.dead {
        match found.known(&format!("the queue {name}"), waiting) {
            Some(None) => found.broken(format!("the queue {name} is not there"), deploy),
            Some(Some(0)) | None => {}
            Some(Some(waiting)) => {
                let mend = if name.ends_with("-events-dead") {
                    "see the watcher's log for the cause, mend it, then `keytide redrive`"
                } else {
                    "see the sweeper's log for the cause; the next run sweeps what is left, so delete them when it has"
                };
                found.broken(format!("{waiting} given up in {name}"), mend);
            }
        }
    }
    if let Some(skew) = found.known("AWS's clock", &seen.clock_skew)
        && skew.abs() > CLOCKS_AGREE
    {
        let seconds = skew.as_secs();
        found.weak(
            format!(
                "this machine's clock differs from AWS's by {seconds} seconds: ages are not certain here"
            ),
            "set this machine's clock; the functions compare their own before each disable",
        );
    }
    match found.known("the latest run", &seen.run) {
        Some(None) => {
            found.broken("no run has ever begun", "wait for the schedule's hour; then see the sweeper's log");
        }
        Some(Some(run)) if now.duration_since(run.began_at) > SWEPT_WITHIN => found.broken(
            format!("no run has begun since {}: the schedule or the sweeper is silent", run.began_at),
            "see that the function is there and enabled, and its log",
        ),
        _ => {}
    }
    found.all
}

fn table_is(found: &mut Findings<'_>, table: &Table) {
    let again = "deploy infra/security-account.yaml again, or set it by `aws dynamodb";
    if !table.is_protected {
        found.weak(
            "the ledger's table may be deleted",
            format!("{again} update-table --deletion-protection-enabled`"),
        );
    }
    if let Some(false) = found.known("the table's point-in-time recovery", &table.has_recovery) {
        found.weak(
            "the ledger's table cannot be restored to a point in time",
            format!("{again} update-continuous-backups`"),
        );
    }
    if let Some(attribute) = found.known("the table's expiry", &table.expires_by)
        && attribute.as_deref() != Some("expires_at")
    {
        found.weak(
            "old rows of the ledger never expire",
            format!("{again} update-time-to-live`, by the attribute expires_at"),
        );
    }
}

fn bot_is(found: &mut Findings<'_>, bot: &Bot, run: Option<&LatestRun>, now: Timestamp) {
    if let Some(refused) = &bot.refused {
        found.broken(
            format!("Slack refuses the token: {refused}"),
            "install the app of infra/slack-app.yaml again and put its new token into the secret",
        );
        return;
    }
    for scope in SCOPES.iter().filter(|scope| !bot.scopes.iter().any(|has| has == *scope)) {
        found.broken(
            format!("the Slack app lacks the scope {scope}"),
            "give it the scopes of infra/slack-app.yaml and install it again",
        );
    }
    for scope in bot.scopes.iter().filter(|has| !SCOPES.contains(&has.as_str())) {
        found.weak(
            format!("the Slack app has the scope {scope}, which keytide never uses"),
            "take it away: api.slack.com/apps, OAuth & Permissions; then install the app again",
        );
    }
    match &bot.is_member {
        Ok(true) => {}
        Ok(false) => found.broken("the bot is not in the channel: no alert arrives", "in the channel: /invite @keytide"),
        // With keytide's own scopes Slack does not tell. Who has posted there of late is in there.
        Err(_) if run.and_then(|run| run.digest_at).is_some_and(|at| now.duration_since(at) <= SWEPT_WITHIN) => {}
        Err(why) => found.add(
            Severity::Unknown,
            format!("whether the bot is in the channel could not be looked at ({why}), and no digest was posted of late"),
            "in the channel: /invite @keytide; the next digest shows it",
        ),
    }
}

/// A rule as it should be: there, enabled, to that target, by that role.
fn rule_is(
    found: &mut Findings<'_>,
    name: &str,
    rule: Option<&Rule>,
    target_ends: &str,
    role_ends: Option<&str>,
    mend: &str,
) {
    let Some(rule) = rule else {
        found.broken(format!("the rule {name} is not there: events do not arrive"), mend);
        return;
    };
    if !rule.is_enabled {
        found.broken(
            format!("the rule {name} is disabled: events do not arrive"),
            format!("`aws events enable-rule`, or {mend}"),
        );
    }
    match rule.targets.iter().find(|(arn, _)| arn.ends_with(target_ends)) {
        None => found.broken(format!("the rule {name} has no target that ends with {target_ends}"), mend),
        Some((_, sender)) => {
            if let Some(role_ends) = role_ends
                && !sender.as_deref().is_some_and(|sender| sender.ends_with(role_ends))
            {
                found.broken(
                    format!("the rule {name} does not send by the role {role_ends}: the bus refuses it"),
                    mend,
                );
            }
        }
    }
}

/// What is wrong with one account.
pub(crate) fn account(seen: &Account, prefix: &str, security: &str, now: Timestamp) -> Vec<Finding> {
    let mut found = Findings { account: Some(&seen.id), all: Vec::new() };
    let deploy = "deploy infra/member-account.yaml in the account (by infra/organization.yaml)";
    let bus = format!(":{security}:event-bus/{prefix}");
    for (name, rule) in &seen.rules {
        let name = format!("{prefix}-{name}");
        if let Some(rule) = found.known(&format!("the rule {name}"), rule) {
            let role = format!(":role/{prefix}-forwarder");
            rule_is(&mut found, &name, rule.as_ref(), &bus, Some(&role), deploy);
        }
    }
    if let Some(false) = found.known("the role that forwards", &seen.forwarder) {
        found.broken(format!("the role {prefix}-forwarder is not there: events do not arrive"), deploy);
    }
    if let Some(false) = found.known("the role that looks", &seen.reader) {
        found.broken(
            format!("the role {prefix}-reader is not there: nothing is swept, no owner is known"),
            deploy,
        );
    }
    if let Some(is_there) = found.known("the role that disables", &seen.disabler) {
        match (*is_there, seen.mode) {
            (false, Mode::Enforce) => found.broken(
                format!("the account is in enforce, and the role {prefix}-disabler is not there: nothing is disabled"),
                "name it in the parameter EnforcedAccountIds of infra/organization.yaml",
            ),
            (true, Mode::Observe | Mode::Notify) => found.weak(
                format!("the role {prefix}-disabler is there, and the account is in {}", seen.mode),
                "take it out of the parameter EnforcedAccountIds until the policy says enforce",
            ),
            _ => {}
        }
    }
    if let Some(trails) = found.known("the trails", &seen.trails) {
        trails_are(&mut found, trails);
    }
    if let Some(users) = found.known("the users' tags, in the ledger", &seen.ownerless)
        && !users.is_empty()
    {
        let some: Vec<&str> = users.iter().take(10).map(String::as_str).collect();
        let more = if users.len() > 10 { ", …" } else { "" };
        found.weak(
            format!(
                "{} with keys and no usable tag slack-id: {}{more}",
                counted(users.len()),
                some.join(", ")
            ),
            "`aws iam tag-user --user-name … --tags Key=slack-id,Value=U…`",
        );
    }
    match found.known("the latest sweep", &seen.swept_at) {
        Some(None) => found.broken("it was never swept with success", "see the sweeper's log and the digest"),
        Some(Some(at)) if now.duration_since(*at) > SWEPT_WITHIN => {
            found.broken(
                format!("it was last swept with success on {at}"),
                "see the sweeper's log and the digest",
            );
        }
        _ => {}
    }
    found.all
}

fn counted(users: usize) -> String {
    if users == 1 { "1 user".to_owned() } else { format!("{users} users") }
}

/// One trail that does all of it is enough: without, EventBridge never hears of a call that writes.
fn trails_are(found: &mut Findings<'_>, trails: &[Trail]) {
    let does_all = |trail: &Trail| {
        trail.is_multi_region
            && trail.has_global_events
            && trail.is_logging == Ok(true)
            && trail.has_writes == Ok(true)
    };
    if trails.iter().any(does_all) {
        return;
    }
    let mend = "have an organization trail: multi-region, with global service events, logging, recording write \
                management events; CloudTrail hands EventBridge what a trail records";
    let unknown = trails
        .iter()
        .flat_map(|trail| [&trail.is_logging, &trail.has_writes])
        .find_map(|seen| seen.as_ref().err());
    if let Some(why) = unknown {
        found.add(
            Severity::Unknown,
            format!("whether a trail records IAM's calls could not be looked at: {why}"),
            mend,
        );
        return;
    }
    let faults: Vec<String> = trails
        .iter()
        .map(|trail| {
            let lacks = [
                (trail.is_multi_region, "is of one region"),
                (trail.has_global_events, "leaves out global services such as IAM"),
                (trail.is_logging == Ok(true), "is stopped"),
                (trail.has_writes == Ok(true), "does not record management events that write"),
            ];
            let lacks: Vec<&str> = lacks.iter().filter(|(is, _)| !is).map(|(_, what)| *what).collect();
            format!("{} {}", trail.name, lacks.join(" and "))
        })
        .collect();
    let what = if faults.is_empty() { "there is none".to_owned() } else { faults.join("; ") };
    found.broken(format!("no trail records IAM's calls, so no event tells of a key: {what}"), mend);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECURITY: &str = "999988887777";

    fn now() -> Timestamp {
        "2026-06-02T12:00:00Z".parse().unwrap()
    }

    fn rule(target: &str, role: Option<&str>) -> Rule {
        Rule { is_enabled: true, targets: vec![(target.to_owned(), role.map(str::to_owned))] }
    }

    fn well() -> Installation {
        Installation {
            prefix: "keytide".to_owned(),
            rule: Ok(Some(rule("arn:aws:sqs:us-east-1:999988887777:keytide-events", None))),
            schedule: Ok(Some(true)),
            table: Ok(Some(Table {
                is_protected: true,
                has_recovery: Ok(true),
                expires_by: Ok(Some("expires_at".to_owned())),
            })),
            unaccepted: Ok(None),
            secret: Ok(true),
            bot: Ok(Bot { refused: None, scopes: SCOPES.map(str::to_owned).to_vec(), is_member: Ok(true) }),
            queues: vec![("keytide-events".to_owned(), Ok(Some(3)))],
            dead: vec![("keytide-events-dead".to_owned(), Ok(Some(0)))],
            clock_skew: Ok(SignedDuration::from_secs(-2)),
            run: Ok(Some(LatestRun { began_at: "2026-06-02T06:00:00Z".parse().unwrap(), digest_at: None })),
        }
    }

    fn trail() -> Trail {
        Trail {
            name: "org".to_owned(),
            is_multi_region: true,
            has_global_events: true,
            is_logging: Ok(true),
            has_writes: Ok(true),
        }
    }

    fn account_well() -> Account {
        let forwarding = || {
            rule(
                "arn:aws:events:us-east-1:999988887777:event-bus/keytide",
                Some("arn:aws:iam::111122223333:role/keytide-forwarder"),
            )
        };
        Account {
            id: "111122223333".to_owned(),
            mode: Mode::Enforce,
            rules: vec![
                ("key-events".to_owned(), Ok(Some(forwarding()))),
                ("own-role-events".to_owned(), Ok(Some(forwarding()))),
            ],
            reader: Ok(true),
            disabler: Ok(true),
            forwarder: Ok(true),
            trails: Ok(vec![trail()]),
            ownerless: Ok(Vec::new()),
            swept_at: Ok(Some("2026-06-02T06:10:00Z".parse().unwrap())),
        }
    }

    /// Exactly one finding, with these words.
    fn one(found: &[Finding], severity: Severity, words: &str) {
        assert_eq!(found.len(), 1, "{words}: {found:#?}");
        assert_eq!(found[0].severity, severity, "{found:#?}");
        assert!(found[0].what.contains(words) && !found[0].mend.is_empty(), "{words}: {found:#?}");
    }

    #[test]
    fn what_is_well_is_not_spoken_of() {
        assert_eq!(installation(&well(), now()), []);
        assert_eq!(account(&account_well(), "keytide", SECURITY, now()), []);
    }

    #[test]
    fn each_defect_of_the_installation_is_one_finding() {
        type Defect = fn(&mut Installation);
        type OfTable = fn(&mut Table);
        let table = |change: fn(&mut Table), seen: &mut Installation| {
            change(seen.table.as_mut().unwrap().as_mut().unwrap());
        };
        let cases: [(Defect, Severity, &str); 19] = [
            (|seen| seen.rule = Ok(None), Severity::Broken, "keytide-key-events-in is not there"),
            (
                |seen| seen.rule.as_mut().unwrap().as_mut().unwrap().is_enabled = false,
                Severity::Broken,
                "is disabled",
            ),
            (
                |seen| seen.rule = Ok(Some(rule("arn:aws:sqs:us-east-1:1:others", None))),
                Severity::Broken,
                "no target",
            ),
            (|seen| seen.schedule = Ok(None), Severity::Broken, "keytide-sweep is not there"),
            (|seen| seen.schedule = Ok(Some(false)), Severity::Broken, "keytide-sweep is disabled"),
            (|seen| seen.table = Ok(None), Severity::Broken, "table is not there"),
            (|seen| seen.unaccepted = Ok(Some("it is new".to_owned())), Severity::Broken, "it is new"),
            (|seen| seen.secret = Ok(false), Severity::Broken, "secret"),
            (
                |seen| seen.bot.as_mut().unwrap().refused = Some("invalid_auth".to_owned()),
                Severity::Broken,
                "invalid_auth",
            ),
            (
                |seen| drop(seen.bot.as_mut().unwrap().scopes.pop()),
                Severity::Broken,
                "lacks the scope im:write",
            ),
            (
                |seen| seen.bot.as_mut().unwrap().scopes.push("files:read".to_owned()),
                Severity::Weak,
                "files:read",
            ),
            (|seen| seen.bot.as_mut().unwrap().is_member = Ok(false), Severity::Broken, "not in the channel"),
            (
                |seen| seen.bot.as_mut().unwrap().is_member = Err("missing_scope".to_owned()),
                Severity::Unknown,
                "missing_scope",
            ),
            (|seen| seen.queues[0].1 = Ok(None), Severity::Broken, "keytide-events is not there"),
            (|seen| seen.dead[0].1 = Ok(Some(4)), Severity::Broken, "4 given up"),
            (|seen| seen.clock_skew = Ok(SignedDuration::from_mins(6)), Severity::Weak, "360 seconds"),
            (|seen| seen.run = Ok(None), Severity::Broken, "no run has ever begun"),
            (
                |seen| {
                    seen.run.as_mut().unwrap().as_mut().unwrap().began_at =
                        "2026-06-01T09:00:00Z".parse().unwrap();
                },
                Severity::Broken,
                "no run has begun since",
            ),
            (
                |seen| seen.schedule = Err("scheduler:GetSchedule: AccessDenied".to_owned()),
                Severity::Unknown,
                "AccessDenied",
            ),
        ];
        for (defect, severity, words) in cases {
            let mut seen = well();
            defect(&mut seen);
            one(&installation(&seen, now()), severity, words);
        }
        let of_table: [(OfTable, Severity, &str); 4] = [
            (|table| table.is_protected = false, Severity::Weak, "may be deleted"),
            (|table| table.has_recovery = Ok(false), Severity::Weak, "point in time"),
            (|table| table.expires_by = Ok(None), Severity::Weak, "never expire"),
            (|table| table.expires_by = Err("denied".to_owned()), Severity::Unknown, "expiry"),
        ];
        for (defect, severity, words) in of_table {
            let mut seen = well();
            table(defect, &mut seen);
            one(&installation(&seen, now()), severity, words);
        }
        // Who has posted a digest of late is in the channel, whatever Slack does not tell.
        let mut seen = well();
        seen.bot.as_mut().unwrap().is_member = Err("missing_scope".to_owned());
        seen.run.as_mut().unwrap().as_mut().unwrap().digest_at =
            Some("2026-06-02T07:00:00Z".parse().unwrap());
        assert_eq!(installation(&seen, now()), []);
    }

    #[test]
    fn each_defect_of_an_account_is_one_finding() {
        type Defect = fn(&mut Account);
        let cases: [(Defect, Severity, &str); 15] = [
            (|seen| seen.rules[0].1 = Ok(None), Severity::Broken, "keytide-key-events is not there"),
            (
                |seen| seen.rules[1].1.as_mut().unwrap().as_mut().unwrap().is_enabled = false,
                Severity::Broken,
                "keytide-own-role-events is disabled",
            ),
            (
                |seen| {
                    seen.rules[0].1.as_mut().unwrap().as_mut().unwrap().targets[0].0 =
                        "arn:aws:events:us-east-1:1:event-bus/keytide".to_owned();
                },
                Severity::Broken,
                "no target",
            ),
            (
                |seen| seen.rules[0].1.as_mut().unwrap().as_mut().unwrap().targets[0].1 = None,
                Severity::Broken,
                "does not send by the role",
            ),
            (|seen| seen.reader = Ok(false), Severity::Broken, "keytide-reader"),
            (|seen| seen.forwarder = Ok(false), Severity::Broken, "keytide-forwarder"),
            (|seen| seen.disabler = Ok(false), Severity::Broken, "keytide-disabler is not there"),
            (|seen| seen.mode = Mode::Notify, Severity::Weak, "the account is in notify"),
            (|seen| seen.trails = Ok(Vec::new()), Severity::Broken, "there is none"),
            (|seen| seen.trails.as_mut().unwrap()[0].is_multi_region = false, Severity::Broken, "one region"),
            (
                |seen| seen.trails.as_mut().unwrap()[0].has_writes = Ok(false),
                Severity::Broken,
                "does not record",
            ),
            (
                |seen| seen.trails.as_mut().unwrap()[0].is_logging = Err("denied".to_owned()),
                Severity::Unknown,
                "denied",
            ),
            (
                |seen| seen.ownerless = Ok(vec!["ci-7".to_owned()]),
                Severity::Weak,
                "1 user with keys and no usable tag slack-id: ci-7",
            ),
            (|seen| seen.swept_at = Ok(None), Severity::Broken, "never swept"),
            (
                |seen| seen.reader = Err("iam:GetRole: AccessDenied".to_owned()),
                Severity::Unknown,
                "AccessDenied",
            ),
        ];
        for (defect, severity, words) in cases {
            let mut seen = account_well();
            defect(&mut seen);
            one(&account(&seen, "keytide", SECURITY, now()), severity, words);
        }
        // One trail that does all of it is enough, beside any others.
        let mut seen = account_well();
        seen.trails = Ok(vec![Trail { is_multi_region: false, ..trail() }, trail()]);
        assert_eq!(account(&seen, "keytide", SECURITY, now()), []);
    }
}
