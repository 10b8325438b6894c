//! One account: its rules, its roles, its trails, and what the ledger knows of it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use keytide_core::{key::Key, policy::Mode};
use serde_json::Value;

use super::{
    Finding, Findings, Queue, REGION, Seen, Severity, counted,
    documents::{self, Entry, Fault},
    installation::SWEPT_WITHIN,
    mend,
    rules::{Rule, Wanted, rule_is},
    trails::{Trail, trails_are},
};

/// One account.
#[derive(Debug, Clone)]
pub(in super::super) struct Account {
    pub(in super::super) id: String,
    /// None where nothing that can be gone by says it: no policy that can be read, or a ledger that nobody accepted.
    pub(in super::super) mode: Option<Mode>,
    /// What is in it; or why it could not be entered.
    pub(in super::super) inside: Seen<Inside>,
    /// Users with open keys and no usable tag `slack-id`.
    pub(in super::super) ownerless: Seen<Vec<String>>,
    pub(in super::super) swept_at: Seen<Option<Timestamp>>,
    /// Whether the latest run leaves it out, so that nobody sweeps it.
    pub(in super::super) is_left_out: bool,
}

/// What is in an account.
#[derive(Debug, Clone)]
pub(in super::super) struct Inside {
    /// Each forwarding rule, by its name without the prefix.
    pub(in super::super) rules: Vec<(String, Seen<Option<Rule>>)>,
    pub(in super::super) reader: Seen<Option<Role>>,
    pub(in super::super) disabler: Seen<Option<Role>>,
    pub(in super::super) forwarder: Seen<Option<Role>>,
    /// What EventBridge could not deliver.
    pub(in super::super) undelivered: Seen<Option<Queue>>,
    pub(in super::super) trails: Seen<Vec<Trail>>,
}

/// A role that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Role {
    /// Whom it lets in.
    pub(in super::super) trust: Value,
}

/// The users of these keys whom nobody can tell anything: without a usable tag, or never looked up.
pub(in super::super) fn without_owner<'k>(keys: impl Iterator<Item = &'k Key>) -> Vec<String> {
    let has_none = |key: &&Key| key.owner.as_ref().is_none_or(|owner| owner.tags.slack_id().is_none());
    let users: BTreeSet<&str> = keys.filter(has_none).filter_map(|key| key.holder.subject.user()).collect();
    users.into_iter().map(str::to_owned).collect()
}

/// What is wrong with one account.
pub(in super::super) fn account(
    seen: &Account,
    prefix: &str,
    security: &str,
    now: Timestamp,
) -> Vec<Finding> {
    let mut found = Findings::of(Some(&seen.id));
    match &seen.inside {
        Ok(inside) => inside_is(&mut found, inside, seen, prefix, security),
        // One finding, whatever there would have been to look at.
        Err(why) => found.add(
            Severity::Unknown,
            format!("it could not be entered, so its rules, roles and trails are not known: {why}"),
            "name your own role in OPERATORS of infra/deployment.env, `make deploy`, and give --external-id; or name another \
             role with --role. If the sweep cannot enter it either (see the digest): infra/RUNBOOK.md, \"One account's roles \
             are gone\"",
        ),
    }
    if let Some(users) = found.known("the users' tags, in the ledger", &seen.ownerless)
        && !users.is_empty()
    {
        let some: Vec<&str> = users.iter().take(10).map(String::as_str).collect();
        let more = if users.len() > 10 { ", …" } else { "" };
        found.weak(
            format!(
                "{} with keys and no usable tag slack-id: {}{more}",
                counted(users.len() as u64, "user"),
                some.join(", ")
            ),
            format!("in {}, `aws iam tag-user --user-name … --tags Key=slack-id,Value=U…`", seen.id),
        );
    }
    let swept_at = found.known("the latest sweep", &seen.swept_at);
    if seen.is_left_out {
        left_out(&mut found, seen, now);
    } else if let Some(swept_at) = swept_at {
        let mend = "the digest and the sweeper's log (`an account was not swept, or not wholly`) say why: infra/RUNBOOK.md, \
                    \"keytide-account-overdue\"";
        match swept_at {
            None => found.broken("it was never swept with success", mend),
            Some(at) if now.duration_since(*at) > SWEPT_WITHIN => {
                found.broken(format!("it was last swept with success on {at}"), mend);
            }
            Some(_) => {}
        }
    }
    found.all
}

/// So long is an account asked about that is swept no more: after that it was left out on purpose.
const MISSED_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// An account that the latest run leaves out is no defect, unless it was meant to be swept.
fn left_out(found: &mut Findings<'_>, seen: &Account, now: Timestamp) {
    let swept = seen.swept_at.as_ref().ok().and_then(Option::as_ref);
    let swept = swept.filter(|at| now.duration_since(**at) < MISSED_FOR);
    let swept = swept.map(|at| format!("it was swept before, on {at}"));
    let named = seen.mode.filter(|mode| *mode > Mode::Observe);
    let named = named.map(|mode| format!("the policy has it in {mode}"));
    let why: Vec<String> = swept.into_iter().chain(named).collect();
    if !why.is_empty() {
        found.weak(
            format!(
                "the latest run leaves it out, so nobody there is told and nothing is disabled, and {}",
                why.join(" and ")
            ),
            "if it has just joined, the next run has it; else INCLUDE_ACCOUNTS and EXCLUDE_ACCOUNTS of infra/deployment.env \
             say who is swept: change them, then `make deploy`, or take it out of the policy's notify and enforce",
        );
    }
}

fn inside_is(found: &mut Findings<'_>, inside: &Inside, seen: &Account, prefix: &str, security: &str) {
    let id = &seen.id;
    let back = mend::member(prefix, "member", id);
    let forwarder = format!("arn:aws:iam::{id}:role/{prefix}-forwarder");
    for (name, rule) in &inside.rules {
        if let Some(rule) = found.known(&format!("the rule {prefix}-{name}"), rule) {
            let wanted = Wanted {
                name,
                prefix,
                bus: None,
                target: format!("arn:aws:events:{REGION}:{security}:event-bus/{prefix}"),
                role: Some(forwarder.clone()),
                dead_letters: format!("arn:aws:sqs:{REGION}:{id}:{prefix}-undelivered"),
                account: id,
                mend: &back,
            };
            rule_is(found, &wanted, rule.as_ref());
        }
    }
    let rule_arn = |name: &str| format!("arn:aws:events:{REGION}:{id}:rule/{prefix}-{name}");
    match found.known("the role that forwards", &inside.forwarder) {
        Some(None) => {
            found.broken(format!("the role {prefix}-forwarder is not there: events do not arrive"), &*back);
        }
        Some(Some(role)) => {
            let lets = |(name, _): &(String, _)| {
                documents::lets_event_bridge(&role.trust, "sts:AssumeRole", &rule_arn(name), id)
            };
            if !inside.rules.iter().all(lets) {
                let what =
                    format!("the role {prefix}-forwarder does not let EventBridge in: events do not arrive");
                found.broken(what, &*back);
            }
        }
        None => {}
    }
    let function = |name: &str| format!("arn:aws:iam::{security}:role/{prefix}-{name}");
    match found.known("the role that looks", &inside.reader) {
        Some(None) => found.broken(
            format!("the role {prefix}-reader is not there: nothing is swept, no owner is known"),
            &*back,
        ),
        Some(Some(role)) => {
            let roles = [function("watcher"), function("sweeper")];
            let entry = Entry { security, roles: &roles, takes_operators: true };
            trust_is(found, &format!("{prefix}-reader"), role, &entry, &back);
        }
        None => {}
    }
    if let Some(disabler) = found.known("the role that disables", &inside.disabler) {
        disabler_is(found, disabler.as_ref(), seen, prefix, security);
    }
    match found.known(&format!("the queue {prefix}-undelivered"), &inside.undelivered) {
        Some(None) => found.weak(
            format!("the queue {prefix}-undelivered is not there: what the bus does not take is lost"),
            &*back,
        ),
        Some(Some(queue)) => undelivered_is(found, queue, inside, prefix, &rule_arn, &back),
        None => {}
    }
    if let Some(trails) = found.known("the trails", &inside.trails) {
        trails_are(found, trails);
    }
}

fn disabler_is(
    found: &mut Findings<'_>,
    disabler: Option<&Role>,
    seen: &Account,
    prefix: &str,
    security: &str,
) {
    let back = mend::member(prefix, "enforced", &seen.id);
    match (disabler, seen.mode) {
        // The management account has a setting of its own, since no StackSet reaches it.
        (None, Some(Mode::Enforce)) => found.broken(
            format!("the account is in enforce, and the role {prefix}-disabler is not there: nothing is disabled"),
            format!(
                "name it in ENFORCED_ACCOUNT_IDS of infra/deployment.env (of the management account: \
                 DISABLER_IN_MANAGEMENT_ACCOUNT), then `make deploy`; if {} stands there already: {back}",
                seen.id
            ),
        ),
        (Some(_), Some(mode @ (Mode::Observe | Mode::Notify))) => found.weak(
            format!("the role {prefix}-disabler is there, and the account is in {mode}"),
            "take it out of ENFORCED_ACCOUNT_IDS of infra/deployment.env until the policy says enforce (of the management \
             account: DISABLER_IN_MANAGEMENT_ACCOUNT=absent), then `make deploy`",
        ),
        (Some(_), Some(Mode::Enforce) | None) | (None, Some(Mode::Observe | Mode::Notify) | None) => {}
    }
    // Who may disable is of interest wherever it can be done.
    if let Some(role) = disabler {
        let roles = [format!("arn:aws:iam::{security}:role/{prefix}-sweeper")];
        let entry = Entry { security, roles: &roles, takes_operators: false };
        trust_is(found, &format!("{prefix}-disabler"), role, &entry, &back);
    }
}

fn trust_is(found: &mut Findings<'_>, name: &str, role: &Role, entry: &Entry<'_>, back: &str) {
    for fault in documents::trust(&role.trust, entry) {
        match fault {
            Fault::Shut(what) => found.broken(format!("the role {name} {what}"), back),
            Fault::Wide(what) => found.weak(format!("the role {name} {what}"), back),
        }
    }
}

fn undelivered_is(
    found: &mut Findings<'_>,
    queue: &Queue,
    inside: &Inside,
    prefix: &str,
    rule_arn: &dyn Fn(&str) -> String,
    back: &str,
) {
    let account = found.account.unwrap_or_default();
    if queue.messages > 0 {
        found.broken(
            format!(
                "{} could not be delivered to the security account: in {prefix}-undelivered",
                counted(queue.messages, "event")
            ),
            format!(
                "the attributes ERROR_CODE and ERROR_MESSAGE of what waits there say why: in {account}, `aws sqs receive-message \
                 --queue-url {} --message-attribute-names All --region {REGION}`; the sweep finds those keys. infra/RUNBOOK.md, \
                 \"keytide-keys-unheard\"",
                queue.url
            ),
        );
    }
    let takes = |(name, _): &(String, _)| {
        documents::lets_event_bridge(&queue.policy, "sqs:SendMessage", &rule_arn(name), account)
    };
    if !inside.rules.iter().all(takes) {
        found.weak(
            format!("the queue {prefix}-undelivered takes nothing from the rules: what the bus does not take is lost"),
            back,
        );
    }
}

#[cfg(test)]
mod tests {
    use keytide_core::{
        cloudtrail::Status,
        key::{Sighting, sight},
        owner::{Owner, OwnerTags},
    };
    use serde_json::json;

    use super::{
        super::{
            rules::{Target, pattern},
            tests::{MEMBER, SECURITY, now, one, pasted, queue_url},
        },
        *,
    };

    fn trail() -> Trail {
        Trail {
            name: "arn:aws:cloudtrail:eu-west-1:111122223333:trail/org".to_owned(),
            owner: None,
            home_region: "eu-west-1".to_owned(),
            is_multi_region: true,
            has_global_events: true,
            is_logging: Ok(true),
            has_writes: Ok(true),
        }
    }

    fn of_event_bridge(action: &str) -> Value {
        json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": action}]})
    }

    fn entered_by(roles: &[&str]) -> Role {
        let roles: Vec<String> =
            roles.iter().map(|role| format!("arn:aws:iam::{SECURITY}:role/keytide-{role}")).collect();
        let trust = json!({"Statement": {
            "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{SECURITY}:root")}, "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "x"}, "ArnEquals": {"aws:PrincipalArn": roles}},
        }});
        Role { trust }
    }

    fn well() -> Account {
        let rule = |name: &str| Rule {
            is_enabled: true,
            pattern: pattern(name, "keytide"),
            targets: vec![Target {
                arn: format!("arn:aws:events:us-east-1:{SECURITY}:event-bus/keytide"),
                role: Some(format!("arn:aws:iam::{MEMBER}:role/keytide-forwarder")),
                is_rewritten: false,
                dead_letters: Some(format!("arn:aws:sqs:us-east-1:{MEMBER}:keytide-undelivered")),
            }],
        };
        let rules = ["key-events", "own-role-events"].map(|name| (name.to_owned(), Ok(Some(rule(name)))));
        Account {
            id: MEMBER.to_owned(),
            mode: Some(Mode::Enforce),
            inside: Ok(Inside {
                rules: rules.to_vec(),
                reader: Ok(Some(entered_by(&["watcher", "sweeper"]))),
                disabler: Ok(Some(entered_by(&["sweeper"]))),
                forwarder: Ok(Some(Role { trust: of_event_bridge("sts:AssumeRole") })),
                undelivered: Ok(Some(Queue {
                    url: queue_url(MEMBER, "undelivered"),
                    messages: 0,
                    policy: of_event_bridge("sqs:SendMessage"),
                })),
                trails: Ok(vec![trail()]),
            }),
            ownerless: Ok(Vec::new()),
            swept_at: Ok(Some("2026-06-02T06:10:00Z".parse().unwrap())),
            is_left_out: false,
        }
    }

    fn judged(change: impl Fn(&mut Account)) -> Vec<Finding> {
        let mut seen = well();
        change(&mut seen);
        pasted(account(&seen, "keytide", SECURITY, now()))
    }

    fn inside(change: impl Fn(&mut Inside)) -> Vec<Finding> {
        judged(|seen| change(seen.inside.as_mut().unwrap()))
    }

    fn first_rule(change: impl Fn(&mut Rule)) -> Vec<Finding> {
        inside(|seen| change(seen.rules[0].1.as_mut().unwrap().as_mut().unwrap()))
    }

    fn first_trail(change: impl Fn(&mut Trail)) -> Vec<Finding> {
        inside(|seen| change(&mut seen.trails.as_mut().unwrap()[0]))
    }

    #[test]
    fn what_is_well_is_not_spoken_of() {
        assert_eq!(judged(|_| {}), []);
    }

    #[test]
    fn each_defect_of_a_rule_is_one_finding() {
        use Severity::{Broken, Weak};
        let one = |found: Vec<Finding>, severity, words| one(&found, severity, words);
        let gone = inside(|seen| seen.rules[0].1 = Ok(None));
        let gone = one(gone, Broken, "keytide-key-events is not there");
        assert!(gone.mend.contains("delete-stack-instances") && gone.mend.contains(MEMBER), "{gone:?}");
        let disabled =
            one(first_rule(|rule| rule.is_enabled = false), Broken, "keytide-key-events is disabled");
        assert!(
            disabled.mend.starts_with(
                "in 111122223333, `aws events enable-rule --name keytide-key-events --region us-east-1`"
            ),
            "{disabled:?}"
        );
        let fewer = first_rule(|rule| rule.pattern["detail"]["eventName"] = json!(["DeleteUser"]));
        one(fewer, Broken, "asks for other events");
        one(first_rule(|rule| rule.pattern = Value::Null), Broken, "asks for other events");
        let elsewhere = |arn: &'static str| first_rule(move |rule| rule.targets[0].arn = arn.to_owned());
        one(elsewhere("arn:aws:events:us-east-1:1:event-bus/keytide"), Broken, "does not send to");
        one(elsewhere("arn:aws:events:eu-west-1:999988887777:event-bus/keytide"), Broken, "does not send to");
        one(first_rule(|rule| rule.targets[0].role = None), Broken, "does not send by");
        let role = "arn:aws:iam::1:role/keytide-forwarder";
        one(first_rule(|rule| rule.targets[0].role = Some(role.to_owned())), Broken, "does not send by");
        one(first_rule(|rule| rule.targets[0].is_rewritten = true), Broken, "something else than the event");
        one(first_rule(|rule| rule.targets[0].dead_letters = None), Weak, "it is lost");
    }

    #[test]
    fn each_defect_of_the_roles_and_the_queue_is_one_finding() {
        use Severity::{Broken, Unknown, Weak};
        let one = |found: Vec<Finding>, severity, words| one(&found, severity, words);
        one(inside(|seen| seen.reader = Ok(None)), Broken, "keytide-reader is not there");
        one(inside(|seen| seen.forwarder = Ok(None)), Broken, "keytide-forwarder is not there");
        let disabler = one(inside(|seen| seen.disabler = Ok(None)), Broken, "keytide-disabler is not there");
        for words in ["ENFORCED_ACCOUNT_IDS", "DISABLER_IN_MANAGEMENT_ACCOUNT", "make deploy"] {
            assert!(disabler.mend.contains(words), "{disabler:?}");
        }
        one(judged(|seen| seen.mode = Some(Mode::Notify)), Weak, "the account is in notify");
        let shut =
            |trust: Value| inside(move |seen| seen.forwarder = Ok(Some(Role { trust: trust.clone() })));
        one(shut(Value::Null), Broken, "does not let EventBridge in");
        one(inside(|seen| seen.reader = Ok(Some(entered_by(&["sweeper"])))), Broken, "keytide-watcher in");
        let shut = inside(|seen| seen.disabler = Ok(Some(entered_by(&["watcher"]))));
        one(shut[..1].to_vec(), Broken, "does not let arn:aws:iam::999988887777:role/keytide-sweeper in");
        one(shut[1..].to_vec(), Weak, "lets others in the security account in than");
        let waiting = inside(|seen| seen.undelivered.as_mut().unwrap().as_mut().unwrap().messages = 3);
        one(waiting, Broken, "3 events could not be delivered");
        one(inside(|seen| seen.undelivered = Ok(None)), Weak, "keytide-undelivered is not there");
        let shut = inside(|seen| seen.undelivered.as_mut().unwrap().as_mut().unwrap().policy = Value::Null);
        one(shut, Weak, "takes nothing from the rules");
        one(
            inside(|seen| seen.reader = Err("iam:GetRole: AccessDenied".to_owned())),
            Unknown,
            "AccessDenied",
        );
    }

    /// Its stack is the other `StackSet`'s: `keytide-member` would bring back everything but this.
    #[test]
    fn the_disabler_is_mended_where_it_comes_from() {
        let shut = inside(|seen| seen.disabler = Ok(Some(entered_by(&["watcher"]))));
        for found in inside(|seen| seen.disabler = Ok(None)).into_iter().chain(shut) {
            assert!(found.mend.contains("the StackSet keytide-enforced,"), "{found:?}");
            assert!(!found.mend.contains("keytide-member"), "{found:?}");
            assert!(found.mend.contains("if it is the management account"), "{found:?}");
        }
        let reader = inside(|seen| seen.reader = Ok(None));
        assert!(reader[0].mend.contains("the StackSet keytide-member,"), "{reader:?}");
    }

    #[test]
    fn where_no_mode_is_known_the_disabler_is_judged_by_whom_it_lets_in_alone() {
        let unknown = |disabler: Option<Role>| {
            judged(|seen| {
                seen.mode = None;
                seen.inside.as_mut().unwrap().disabler = Ok(disabler.clone());
            })
        };
        assert_eq!(unknown(None), []);
        assert_eq!(unknown(Some(entered_by(&["sweeper"]))), []);
        let open = unknown(Some(entered_by(&["sweeper", "watcher"])));
        one(&open, Severity::Weak, "lets others in the security account in");
    }

    #[test]
    fn an_account_that_cannot_be_entered_is_one_finding() {
        let found = judged(|seen| seen.inside = Err("sts:AssumeRole: AccessDenied".to_owned()));
        let found = one(&found, Severity::Unknown, "could not be entered");
        assert!(found.mend.contains("OPERATORS") && found.mend.contains("--external-id"), "{found:?}");
    }

    #[test]
    fn what_the_ledger_knows_of_an_account() {
        use Severity::{Broken, Weak};
        let ownerless = judged(|seen| seen.ownerless = Ok(vec!["ci-7".to_owned()]));
        one(&ownerless, Weak, "1 user with keys and no usable tag slack-id: ci-7");
        one(&judged(|seen| seen.swept_at = Ok(None)), Broken, "never swept");
        let long_ago = judged(|seen| seen.swept_at = Ok(Some("2026-06-01T06:10:00Z".parse().unwrap())));
        one(&long_ago, Broken, "last swept");
    }

    #[test]
    fn an_account_that_is_left_out_is_missed_where_it_was_meant_to_be_swept() {
        let left_out = |swept_at: Option<&str>, mode: Option<Mode>| {
            judged(|seen| {
                seen.is_left_out = true;
                seen.swept_at = Ok(swept_at.map(|at| at.parse().unwrap()));
                seen.mode = mode;
                seen.inside.as_mut().unwrap().disabler = Ok(None);
            })
        };
        // Nobody sweeps what the settings leave out, from its first day on.
        assert_eq!(left_out(None, Some(Mode::Observe)), []);
        assert_eq!(left_out(None, None), []);
        let weak = |found: Vec<Finding>, words: &str| one(&found, Severity::Weak, words);
        weak(left_out(None, Some(Mode::Notify)), "and the policy has it in notify");
        assert_eq!(left_out(Some("2026-04-01T06:10:00Z"), None), [], "two months ago");
        let before = Some("2026-05-21T06:10:00Z");
        weak(left_out(before, None), "and it was swept before, on 2026-05-21T06:10:00Z");
        let both = left_out(before, Some(Mode::Notify));
        let both = weak(both, "it was swept before, on 2026-05-21T06:10:00Z and the policy has it in notify");
        assert!(both.mend.contains("INCLUDE_ACCOUNTS and EXCLUDE_ACCOUNTS"), "{both:?}");
        // With the role that disables there.
        let enforced = judged(|seen| (seen.is_left_out, seen.swept_at) = (true, Ok(None)));
        weak(enforced, "and the policy has it in enforce");
    }

    #[test]
    fn a_key_of_whom_nothing_is_known_is_nobodys() {
        let key = |user: &str, slack_id: Option<&str>| {
            let seen = Sighting {
                account: MEMBER.parse().unwrap(),
                key_id: format!("AKIA{user}"),
                user: user.to_owned(),
                status: Status::Active,
                created: None,
                at: now(),
            };
            let owner = slack_id.map(|id| Owner {
                user_id: "AIDA".to_owned(),
                path: "/".to_owned(),
                tags: OwnerTags::from_tags([("slack-id", id)]),
                seen_at: now(),
            });
            sight(None, &seen, owner.as_ref())
        };
        let keys = [
            key("alice", Some("U0ALICE01")),
            key("ci-7", Some("nobody")),
            key("bruno", None),
            key("bruno", None),
        ];
        assert_eq!(without_owner(keys.iter()), ["bruno", "ci-7"]);
    }

    #[test]
    fn a_trail_that_does_all_of_it_is_enough() {
        use Severity::{Broken, Unknown};
        one(&inside(|seen| seen.trails = Ok(Vec::new())), Broken, "there is none");
        one(&first_trail(|trail| trail.is_multi_region = false), Broken, "of another region");
        // IAM's events are in us-east-1: a trail of that region alone has them.
        let of_iams_region = first_trail(|trail| {
            trail.is_multi_region = false;
            trail.home_region = "us-east-1".to_owned();
        });
        assert_eq!(of_iams_region, []);
        one(&first_trail(|trail| trail.has_global_events = false), Broken, "global services");
        one(&first_trail(|trail| trail.has_writes = Ok(false)), Broken, "does not record");
        one(&first_trail(|trail| trail.is_logging = Ok(false)), Broken, "is stopped");
        one(&first_trail(|trail| trail.is_logging = Err("denied".to_owned())), Unknown, "denied");
        // What it surely lacks is known, whatever else is not.
        let stopped = first_trail(|trail| {
            trail.is_logging = Ok(false);
            trail.has_writes = Err("denied".to_owned());
        });
        one(&stopped, Broken, "is stopped");
        let another = inside(|seen| {
            seen.trails.as_mut().unwrap().insert(0, Trail { is_multi_region: false, ..trail() });
        });
        assert_eq!(another, []);
    }

    #[test]
    fn another_accounts_trail_is_spoken_of_once_and_for_all() {
        let found = first_trail(|trail| {
            trail.owner = Some("555566667777".to_owned());
            trail.has_writes = Err("sts:AssumeRole: AccessDenied".to_owned());
        });
        let found = one(&found, Severity::Unknown, "the organization's trail");
        assert_eq!(found.account, None, "the same in every account");
        assert!(found.mend.contains("owned by 555566667777"), "{found:?}");
    }
}
