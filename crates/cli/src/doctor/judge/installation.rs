//! The installation in the security account.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    Finding, Findings, Queue, REGION, Seen, counted,
    documents::{self, Fault},
    mend,
    rules::{Rule, Wanted, rule_is},
    slack::{Bot, bot_is, put_token},
};

/// Our clock and AWS's may differ by so much, or nothing is disabled.
const CLOCKS_AGREE: SignedDuration = SignedDuration::from_mins(5);
/// A sweep that is older is overdue: the alarm's own bound.
pub(super) const SWEPT_WITHIN: SignedDuration = SignedDuration::from_hours(26);
/// The second schedule ends a run three hours after it began.
const TOLD_WITHIN: SignedDuration = SignedDuration::from_hours(4);

/// The installation in the security account.
#[derive(Debug, Clone)]
pub(in super::super) struct Installation {
    pub(in super::super) prefix: String,
    /// The security account.
    pub(in super::super) account: String,
    /// Where it was looked for.
    pub(in super::super) region: String,
    /// The name of the ledger's table, which need not be the installation's own: a restored one is looked at, too.
    pub(in super::super) ledger: String,
    /// The name of the secret with Slack's token.
    pub(in super::super) secret: String,
    pub(in super::super) rule: Seen<Option<Rule>>,
    /// Who may send to the bus, if there is one; null where it has no policy.
    pub(in super::super) bus: Seen<Option<Value>>,
    /// Whether the schedule is enabled, if it is there.
    pub(in super::super) schedule: Seen<Option<bool>>,
    pub(in super::super) table: Seen<Option<Table>>,
    /// Why nobody goes by the ledger, if so.
    pub(in super::super) unaccepted: Seen<Option<String>>,
    pub(in super::super) halt: Seen<Option<Halt>>,
    /// Whether the secret is there, and holds a text.
    pub(in super::super) has_secret: Seen<bool>,
    /// None where there was no token to ask with; of that something is said already.
    pub(in super::super) bot: Option<Seen<Bot>>,
    /// The queues that are worked on, and those of what was given up.
    pub(in super::super) queues: Vec<(String, Seen<Option<Queue>>)>,
    pub(in super::super) dead: Vec<(String, Seen<Option<Queue>>)>,
    /// How many people confirmed that alarms reach them, if there is a topic.
    pub(in super::super) told: Seen<Option<usize>>,
    pub(in super::super) clock_skew: Seen<SignedDuration>,
    pub(in super::super) run: Seen<Option<LatestRun>>,
}

/// The ledger's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Table {
    pub(in super::super) is_protected: bool,
    pub(in super::super) has_recovery: Seen<bool>,
    /// The attribute by which rows expire, where they do or are about to.
    pub(in super::super) expires_by: Seen<Option<String>>,
}

/// Who stopped all disabling, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Halt {
    pub(in super::super) author: String,
    pub(in super::super) at: Timestamp,
}

/// The latest run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct LatestRun {
    pub(in super::super) began_at: Timestamp,
    /// Whether its own digest was posted.
    pub(in super::super) has_told: bool,
    /// When a digest was posted, this run's or the one's before: between a run's beginning and its digest lie hours.
    pub(in super::super) digest_at: Option<Timestamp>,
    /// The accounts that it sweeps.
    pub(in super::super) expected: BTreeSet<String>,
}

impl Installation {
    /// Whether nothing of it is here that the template makes, but for the table, which stays when the rest is taken away.
    pub(in super::super) fn is_absent(&self) -> bool {
        self.rule == Ok(None)
            && self.bus == Ok(None)
            && self.schedule == Ok(None)
            && self.queues.iter().chain(&self.dead).all(|(_, queue)| *queue == Ok(None))
    }
}

/// What is wrong with the installation.
pub(in super::super) fn installation(seen: &Installation, now: Timestamp) -> Vec<Finding> {
    let mut found = Findings::of(None);
    let prefix = &seen.prefix;
    // Asked for in the wrong place each part is missing: that is one finding, and no dozen of them.
    if seen.is_absent() {
        let but = match &seen.table {
            Ok(Some(_)) => format!(" but the table {}", seen.ledger),
            _ => String::new(),
        };
        found.broken(
            format!("nothing of keytide with the prefix {prefix} is in account {}, {}{but}", seen.account, seen.region),
            "if it is elsewhere, name another --profile, --prefix or --region; else `make deploy`, as in infra/DEPLOY.md",
        );
        return found.all;
    }
    let back = mend::stack(prefix);
    way_in(&mut found, seen, &back);
    match found.known("the schedule", &seen.schedule) {
        Some(None) => {
            found.broken(format!("the schedule {prefix}-sweep is not there: nobody sweeps"), &*back);
        }
        Some(Some(false)) => found.broken(
            format!("the schedule {prefix}-sweep is disabled: nobody sweeps"),
            format!("enable it, in the console of EventBridge Scheduler; or {back}"),
        ),
        Some(Some(true)) | None => {}
    }
    match found.known("the ledger's table", &seen.table) {
        Some(None) => {
            found.broken("the ledger's table is not there", "infra/RUNBOOK.md, \"The table is lost\"");
        }
        Some(Some(table)) => table_is(&mut found, table, &seen.ledger),
        None => {}
    }
    if let Some(Some(why)) = found.known("the ledger's acceptance", &seen.unaccepted) {
        found.broken(
            format!("nothing is disabled: {why}"),
            format!(
                "see that policy and exemptions are there, then `keytide ledger accept --reason … --ledger dynamodb:{}`",
                seen.ledger
            ),
        );
    }
    if let Some(Some(halt)) = found.known("the halt", &seen.halt) {
        found.weak(
            format!("nothing is disabled: halted by {} since {}", halt.author, halt.at),
            format!(
                "ask whoever set it; then `keytide resume --reason … --ledger dynamodb:{}`. infra/RUNBOOK.md, \
                 \"keytide-halted\"",
                seen.ledger
            ),
        );
    }
    if let Some(false) = found.known("Slack's secret", &seen.has_secret) {
        found.broken(
            "the secret with Slack's token is not there, or empty",
            format!(
                "with the name that SLACK_SECRET_NAME of infra/deployment.env gives: `aws secretsmanager create-secret --name {} \
                 --secret-string file:///dev/stdin --region {REGION}`, or where it is there {}; then paste the bot token \
                 (xoxb-…), press Enter, and Ctrl-D",
                seen.secret,
                put_token(&seen.secret)
            ),
        );
    }
    if let Some(bot) = &seen.bot
        && let Some(bot) = found.known("Slack", bot)
    {
        bot_is(&mut found, bot, &seen.secret, seen.run.as_ref().ok().and_then(Option::as_ref), now);
    }
    queues_are(&mut found, seen, &back);
    match found.known("who is told by alarms", &seen.told) {
        Some(None) => found.broken(format!("the topic {prefix}-alarms is not there: no alarm reaches anybody"), &*back),
        Some(Some(0)) => found.broken(
            "no alarm reaches anybody: nobody has confirmed the e-mail from AWS",
            format!(
                "confirm it; where it ran out after three days: `aws sns subscribe --protocol email --topic-arn \
                 arn:aws:sns:{REGION}:{}:{prefix}-alarms --notification-endpoint … --region {REGION}`",
                seen.account
            ),
        ),
        Some(Some(_)) | None => {}
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
    runs_are(&mut found, seen, now);
    found.all
}

/// The way of an event into the security account: the bus, its rule, the queue.
fn way_in(found: &mut Findings<'_>, seen: &Installation, back: &str) {
    let (prefix, account) = (&seen.prefix, &seen.account);
    if let Some(rule) = found.known("the bus's rule", &seen.rule) {
        let wanted = Wanted {
            name: "key-events-in",
            prefix,
            bus: Some(prefix),
            target: format!("arn:aws:sqs:{REGION}:{account}:{prefix}-events"),
            role: None,
            dead_letters: format!("arn:aws:sqs:{REGION}:{account}:{prefix}-events-dead"),
            account,
            mend: back,
        };
        rule_is(found, &wanted, rule.as_ref());
    }
    match found.known("the bus", &seen.bus) {
        Some(None) => found.broken(format!("the bus {prefix} is not there: events do not arrive"), back),
        Some(Some(policy)) => {
            // Of any account; the template names the role in all of them.
            let forwarder = format!("arn:aws:iam::000000000000:role/{prefix}-forwarder");
            for fault in documents::bus(policy, &forwarder) {
                match fault {
                    Fault::Shut(what) => {
                        found.broken(format!("the bus {prefix} {what}: events do not arrive"), back);
                    }
                    Fault::Wide(what) => found.weak(format!("the bus {prefix} {what}"), back),
                }
            }
        }
        None => {}
    }
}

fn queues_are(found: &mut Findings<'_>, seen: &Installation, back: &str) {
    let (prefix, account) = (&seen.prefix, &seen.account);
    let rule_arn = format!("arn:aws:events:{REGION}:{account}:rule/{prefix}/{prefix}-key-events-in");
    let takes =
        |queue: &Queue| documents::lets_event_bridge(&queue.policy, "sqs:SendMessage", &rule_arn, account);
    for (name, queue) in &seen.queues {
        match found.known(&format!("the queue {name}"), queue) {
            Some(None) => found.broken(format!("the queue {name} is not there"), back),
            Some(Some(queue)) => {
                let is_of_events = name.ends_with("-events");
                if is_of_events && !takes(queue) {
                    found.broken(
                        format!("the queue {name} takes nothing from the rule: events do not arrive"),
                        back,
                    );
                }
                if queue.messages > 0 {
                    let (what, section) = if is_of_events {
                        ("event", "keytide-events-waiting")
                    } else {
                        ("account", "keytide-accounts-missing")
                    };
                    found.weak(
                        format!("{} waiting or at work in {name}", counted(queue.messages, what)),
                        format!("look again in some minutes; what stays: infra/RUNBOOK.md, \"{section}\""),
                    );
                }
            }
            None => {}
        }
    }
    for (name, queue) in &seen.dead {
        let kind = name.strip_prefix(prefix.as_str()).unwrap_or(name);
        match found.known(&format!("the queue {name}"), queue) {
            Some(None) => found.broken(format!("the queue {name} is not there"), back),
            Some(Some(queue)) => {
                if kind == "-events-dead" && !takes(queue) {
                    found.weak(
                        format!("the queue {name} takes nothing from the rule: what {prefix}-events does not take is lost"),
                        back,
                    );
                }
                if queue.messages > 0 {
                    let of_prefix =
                        if prefix == "keytide" { String::new() } else { format!(" --prefix {prefix}") };
                    let purge = format!("`aws sqs purge-queue --queue-url {} --region {REGION}`", queue.url);
                    let (mend, section) = match kind {
                        "-events-dead" => (
                            format!(
                                "see the watcher's log for the cause, mend it, then `keytide redrive{of_prefix}`"
                            ),
                            "keytide-events-given-up",
                        ),
                        "-begins-dead" => (
                            format!("see the sweeper's log for the cause, begin a run by hand, then {purge}"),
                            "keytide-begins-given-up",
                        ),
                        _ => (
                            format!(
                                "see the sweeper's log for the cause; the next run sweeps what is left, so {purge} when it has"
                            ),
                            "keytide-accounts-given-up",
                        ),
                    };
                    found.broken(
                        format!("{} given up in {name}", queue.messages),
                        format!("{mend}: infra/RUNBOOK.md, \"{section}\""),
                    );
                }
            }
            None => {}
        }
    }
}

fn runs_are(found: &mut Findings<'_>, seen: &Installation, now: Timestamp) {
    match found.known("the latest run", &seen.run) {
        Some(None) => found.broken(
            "no run has ever begun",
            "wait for the schedule's hour, or begin one by hand: infra/RUNBOOK.md, \"keytide-begins-given-up\"",
        ),
        Some(Some(run)) if now.duration_since(run.began_at) > SWEPT_WITHIN => found.broken(
            format!("no run has begun since {}: the schedule or the sweeper is silent", run.began_at),
            "see that the function is there and enabled, and its log: infra/RUNBOOK.md, \"keytide-sweep-overdue\"",
        ),
        Some(Some(run)) if !run.has_told && now.duration_since(run.began_at) > TOLD_WITHIN => found.broken(
            format!("the run that began on {} was not ended: its digest was not posted", run.began_at),
            "the sweeper's log says why: infra/RUNBOOK.md, \"keytide-digests-failed\"",
        ),
        _ => {}
    }
}

fn table_is(found: &mut Findings<'_>, table: &Table, name: &str) {
    if !table.is_protected {
        found.weak(
            "the ledger's table may be deleted",
            format!("`aws dynamodb update-table --table-name {name} --deletion-protection-enabled --region {REGION}`"),
        );
    }
    if let Some(false) = found.known("the table's point-in-time recovery", &table.has_recovery) {
        found.weak(
            "the ledger's table cannot be restored to a point in time",
            format!(
                "`aws dynamodb update-continuous-backups --table-name {name} --point-in-time-recovery-specification \
                 PointInTimeRecoveryEnabled=true,RecoveryPeriodInDays=35 --region {REGION}`"
            ),
        );
    }
    if let Some(attribute) = found.known("the table's expiry", &table.expires_by)
        && attribute.as_deref() != Some("expires_at")
    {
        let set = |enabled: bool, attribute: &str| {
            format!(
                "`aws dynamodb update-time-to-live --table-name {name} --time-to-live-specification \
                 Enabled={enabled},AttributeName={attribute} --region {REGION}`"
            )
        };
        let on = set(true, "expires_at");
        match attribute {
            None => found.weak("old rows of the ledger never expire", on),
            Some(other) => found.weak(
                format!("rows of the ledger expire by {other} instead of expires_at, so old ones never do"),
                format!(
                    "{}, and an hour later, since DynamoDB takes one such change an hour, {on}",
                    set(false, other)
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{
            Severity,
            rules::{Target, pattern},
            slack::SCOPES,
            tests::{SECURITY, now, one, pasted, queue_url},
        },
        *,
    };

    fn queue(name: &str, messages: u64) -> (String, Seen<Option<Queue>>) {
        let policy = json!({"Statement": {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage"}});
        (format!("keytide-{name}"), Ok(Some(Queue { url: queue_url(SECURITY, name), messages, policy })))
    }

    fn well() -> Installation {
        let sqs = |name: &str| format!("arn:aws:sqs:us-east-1:{SECURITY}:keytide-{name}");
        Installation {
            prefix: "keytide".to_owned(),
            account: SECURITY.to_owned(),
            region: "us-east-1".to_owned(),
            ledger: "keytide-ledger-then".to_owned(),
            secret: "keytide/slack".to_owned(),
            rule: Ok(Some(Rule {
                is_enabled: true,
                pattern: pattern("key-events-in", "keytide"),
                targets: vec![Target {
                    arn: sqs("events"),
                    role: None,
                    is_rewritten: false,
                    dead_letters: Some(sqs("events-dead")),
                }],
            })),
            bus: Ok(Some(
                json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "events:PutEvents",
                "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"},
                    "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/keytide-forwarder"}}}]}),
            )),
            schedule: Ok(Some(true)),
            table: Ok(Some(Table {
                is_protected: true,
                has_recovery: Ok(true),
                expires_by: Ok(Some("expires_at".to_owned())),
            })),
            unaccepted: Ok(None),
            halt: Ok(None),
            has_secret: Ok(true),
            bot: Some(Ok(Bot {
                refused: None,
                scopes: Ok(SCOPES.map(str::to_owned).to_vec()),
                is_member: Ok(true),
            })),
            queues: vec![queue("events", 0), queue("accounts", 0)],
            dead: vec![queue("events-dead", 0), queue("accounts-dead", 0), queue("begins-dead", 0)],
            told: Ok(Some(1)),
            clock_skew: Ok(SignedDuration::from_secs(-2)),
            run: Ok(Some(LatestRun {
                began_at: "2026-06-02T06:00:00Z".parse().unwrap(),
                has_told: true,
                digest_at: Some("2026-06-02T07:00:00Z".parse().unwrap()),
                expected: BTreeSet::new(),
            })),
        }
    }

    fn judged(change: impl Fn(&mut Installation)) -> Vec<Finding> {
        let mut seen = well();
        change(&mut seen);
        pasted(installation(&seen, now()))
    }

    fn rule(change: impl Fn(&mut Rule)) -> Vec<Finding> {
        judged(|seen| change(seen.rule.as_mut().unwrap().as_mut().unwrap()))
    }

    fn slack(change: impl Fn(&mut Bot)) -> Vec<Finding> {
        judged(|seen| change(seen.bot.as_mut().unwrap().as_mut().unwrap()))
    }

    fn run(change: impl Fn(&mut LatestRun)) -> Vec<Finding> {
        judged(|seen| change(seen.run.as_mut().unwrap().as_mut().unwrap()))
    }

    #[test]
    fn what_is_well_is_not_spoken_of() {
        assert_eq!(judged(|_| {}), []);
    }

    #[test]
    fn where_nothing_is_of_it_that_is_the_one_finding() {
        let nowhere = |change: &dyn Fn(&mut Installation)| {
            judged(|seen| {
                (seen.rule, seen.bus, seen.schedule, seen.table) = (Ok(None), Ok(None), Ok(None), Ok(None));
                for (_, queue) in seen.queues.iter_mut().chain(&mut seen.dead) {
                    *queue = Ok(None);
                }
                (seen.told, seen.has_secret, seen.bot) = (Ok(None), Ok(false), None);
                seen.run = Err("ResourceNotFoundException".to_owned());
                change(seen);
            })
        };
        let nothing = "nothing of keytide with the prefix keytide is in account 999988887777, us-east-1";
        let found = one(&nowhere(&|_| {}), Severity::Broken, nothing);
        assert!(found.what.ends_with("us-east-1"), "{found:?}");
        for words in ["--profile, --prefix or --region", "`make deploy`"] {
            assert!(found.mend.contains(words), "{found:?}");
        }
        let left = nowhere(&|seen| seen.table = well().table);
        one(&left, Severity::Broken, "us-east-1 but the table keytide-ledger-then");
        // Whatever else of it is there, or could not be looked at, each part is missed by name.
        assert!(nowhere(&|seen| seen.schedule = Ok(Some(true))).len() > 10);
        assert!(nowhere(&|seen| seen.dead[2] = queue("begins-dead", 0)).len() > 10);
        assert!(nowhere(&|seen| seen.bus = Err("AccessDeniedException".to_owned())).len() > 10);
    }

    #[test]
    fn each_defect_of_the_way_in_is_one_finding() {
        use Severity::{Broken, Weak};
        let gone = one(&judged(|seen| seen.rule = Ok(None)), Broken, "keytide-key-events-in is not there");
        assert!(gone.mend.contains("--deployment-mode REVERT_DRIFT"), "{gone:?}");
        let disabled = one(&rule(|rule| rule.is_enabled = false), Broken, "is disabled");
        assert!(disabled.mend.contains("enable-rule --name keytide-key-events-in --event-bus-name keytide"));
        one(&rule(|rule| rule.pattern = json!({"source": ["aws.iam"]})), Broken, "asks for other events");
        let elsewhere =
            rule(|rule| rule.targets[0].arn = "arn:aws:sqs:us-east-1:1:keytide-events".to_owned());
        one(&elsewhere, Broken, "does not send to");
        one(&rule(|rule| rule.targets[0].is_rewritten = true), Broken, "something else than the event");
        one(&rule(|rule| rule.targets[0].dead_letters = None), Weak, "it is lost");
        one(&judged(|seen| seen.bus = Ok(None)), Broken, "the bus keytide is not there");
        one(&judged(|seen| seen.bus = Ok(Some(Value::Null))), Broken, "lets no forwarder");
        let policy = |seen: &mut Installation, name: usize| {
            let queues = if name == 0 { &mut seen.queues } else { &mut seen.dead };
            queues[0].1.as_mut().unwrap().as_mut().unwrap().policy = Value::Null;
        };
        one(&judged(|seen| policy(seen, 0)), Broken, "keytide-events takes nothing");
        one(&judged(|seen| policy(seen, 1)), Weak, "keytide-events-dead takes nothing");
    }

    #[test]
    fn each_defect_of_the_installation_is_one_finding() {
        use Severity::{Broken, Unknown, Weak};
        one(&judged(|seen| seen.schedule = Ok(None)), Broken, "keytide-sweep is not there");
        one(&judged(|seen| seen.schedule = Ok(Some(false))), Broken, "keytide-sweep is disabled");
        let denied = "scheduler:GetSchedule: AccessDenied";
        one(&judged(|seen| seen.schedule = Err(denied.to_owned())), Unknown, denied);
        one(&judged(|seen| seen.table = Ok(None)), Broken, "table is not there");
        one(&judged(|seen| seen.unaccepted = Ok(Some("it is new".to_owned()))), Broken, "it is new");
        let halt = Halt { author: "arn:…/vera".to_owned(), at: "2026-06-01T08:00:00Z".parse().unwrap() };
        let halted = judged(|seen| seen.halt = Ok(Some(halt.clone())));
        one(&halted, Weak, "nothing is disabled: halted by arn:…/vera since 2026-06-01T08:00:00Z");
        let waiting = judged(|seen| seen.queues[0] = queue("events", 2));
        assert!(one(&waiting, Weak, "2 events waiting").mend.contains("\"keytide-events-waiting\""));
        let waiting = judged(|seen| seen.queues[1] = queue("accounts", 1));
        assert!(one(&waiting, Weak, "1 account waiting").mend.contains("\"keytide-accounts-missing\""));
        one(&judged(|seen| seen.queues[0].1 = Ok(None)), Broken, "keytide-events is not there");
        for (index, name) in ["events-dead", "accounts-dead", "begins-dead"].into_iter().enumerate() {
            let found = one(&judged(|seen| seen.dead[index] = queue(name, 4)), Broken, "4 given up");
            assert!(found.mend.contains(&name.replace("-dead", "-given-up")), "{found:?}");
        }
        one(&judged(|seen| seen.told = Ok(Some(0))), Broken, "no alarm reaches anybody");
        one(&judged(|seen| seen.told = Ok(None)), Broken, "keytide-alarms is not there");
        let skew = SignedDuration::from_mins(6);
        one(&judged(|seen| seen.clock_skew = Ok(skew)), Weak, "360 seconds");
        one(&judged(|seen| seen.run = Ok(None)), Broken, "no run has ever begun");
        let silent = run(|run| run.began_at = "2026-06-01T09:00:00Z".parse().unwrap());
        one(&silent, Broken, "no run has begun since");
        one(&run(|run| run.has_told = false), Broken, "its digest was not posted");
    }

    /// By its defaults a command would look at another installation than the one that was looked at.
    #[test]
    fn what_is_to_be_run_names_the_installation_that_was_looked_at() {
        let of_another = |change: &dyn Fn(&mut Installation)| {
            let mut seen = well();
            seen.prefix = "tide".to_owned();
            change(&mut seen);
            let found = pasted(installation(&seen, now())).into_iter();
            found.map(|finding| finding.mend).collect::<Vec<_>>().join("\n")
        };
        let (name, given_up) = queue("events-dead", 1);
        let name = name.replace("keytide", "tide");
        let redrive = of_another(&|seen| seen.dead = vec![(name.clone(), given_up.clone())]);
        assert!(redrive.contains("`keytide redrive --prefix tide`"), "{redrive}");
        let of_table = of_another(&|seen| {
            seen.unaccepted = Ok(Some("it is new".to_owned()));
            seen.halt = Ok(Some(Halt { author: "vera".to_owned(), at: now() }));
            let table = seen.table.as_mut().unwrap().as_mut().unwrap();
            (table.is_protected, table.has_recovery, table.expires_by) = (false, Ok(false), Ok(None));
        });
        assert_eq!(of_table.matches("--ledger dynamodb:keytide-ledger-then`").count(), 2, "{of_table}");
        assert_eq!(of_table.matches("--table-name keytide-ledger-then ").count(), 3, "{of_table}");
        assert!(!of_table.contains("tide-ledger "), "{of_table}");
    }

    #[test]
    fn each_defect_of_the_table_is_one_finding() {
        use Severity::{Unknown, Weak};
        let table = |change: &dyn Fn(&mut Table)| {
            judged(|seen| change(seen.table.as_mut().unwrap().as_mut().unwrap()))
        };
        one(&table(&|table| table.is_protected = false), Weak, "may be deleted");
        one(&table(&|table| table.has_recovery = Ok(false)), Weak, "point in time");
        one(&table(&|table| table.expires_by = Ok(None)), Weak, "never expire");
        // DynamoDB knows one attribute at a time.
        let other = table(&|table| table.expires_by = Ok(Some("ttl".to_owned())));
        let other = one(&other, Weak, "expire by ttl instead of expires_at").mend;
        let (off, on) = (
            other.find("Enabled=false,AttributeName=ttl"),
            other.find("Enabled=true,AttributeName=expires_at"),
        );
        assert!(off.is_some() && off < on, "{other}");
        one(&table(&|table| table.expires_by = Err("denied".to_owned())), Unknown, "expiry");
    }

    #[test]
    fn each_defect_at_slack_is_one_finding() {
        use Severity::{Broken, Unknown, Weak};
        let without = |seen: &mut Installation| {
            seen.has_secret = Ok(false);
            seen.bot = None;
        };
        one(&judged(without), Broken, "the secret with Slack's token is not there, or empty");
        one(&slack(|bot| bot.refused = Some("invalid_auth".to_owned())), Broken, "invalid_auth");
        let scopes = |scopes: &[&str]| {
            slack(|bot| bot.scopes = Ok(scopes.iter().map(|scope| (*scope).to_owned()).collect()))
        };
        one(&scopes(&["chat:write"]), Broken, "lacks the scope im:write");
        one(&scopes(&["chat:write", "im:write", "files:read"]), Weak, "files:read");
        one(&slack(|bot| bot.scopes = Err("not told".to_owned())), Unknown, "did not say which scopes");
        one(&slack(|bot| bot.is_member = Ok(false)), Broken, "not in the channel");
        let throttled = judged(|seen| seen.bot = Some(Err("ratelimited".to_owned())));
        one(&throttled, Unknown, "Slack could not be looked at: ratelimited");
        // Who has posted a digest of late is in the channel, whatever Slack does not tell.
        let untold = |digest_at: Option<&str>| {
            judged(|seen| {
                seen.bot.as_mut().unwrap().as_mut().unwrap().is_member = Err("missing_scope".to_owned());
                let run = seen.run.as_mut().unwrap().as_mut().unwrap();
                run.digest_at = digest_at.map(|at| at.parse().unwrap());
            })
        };
        assert_eq!(untold(Some("2026-06-02T07:00:00Z")), []);
        one(&untold(None), Unknown, "missing_scope");
        one(&untold(Some("2026-05-31T07:00:00Z")), Unknown, "missing_scope");
        // A run that has just begun has not told yet, and the one before has.
        let between = judged(|seen| {
            seen.bot.as_mut().unwrap().as_mut().unwrap().is_member = Err("missing_scope".to_owned());
            let run = seen.run.as_mut().unwrap().as_mut().unwrap();
            (run.began_at, run.has_told) = ("2026-06-02T10:00:00Z".parse().unwrap(), false);
        });
        assert_eq!(between, []);
    }
}
