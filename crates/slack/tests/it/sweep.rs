//! Golden files of the sweep's messages, each held to our own judge as well.

use keytide_core::{
    alert::{AlertRules, Severity},
    cloudtrail::{Status, Subject},
    delivery::{NoticeDay, Stage},
    fact::{Fact, SeenAfter},
    key::{Absence, Ground, Key, LastUse},
    lifecycle::Exemption,
    owner::{ListedKey, OwnerReport, SlackId},
    plan::{Finding, FindingKind, HeldBy, HeldDisable, News, Upcoming, UpcomingKind},
    policy::Mode,
};
use keytide_slack::{
    Message,
    check::faults_in,
    messages::{
        BaselineCounts, Digest, DigestDisabled, DueKey, Listed, Notice, OwnerReached, Totals, approved,
        baseline, cap_reached, digest, exemption_added, exemption_removed, for_channel, for_owner, halted,
        joined, ledger_accepted, ledger_changed, notices_for_channel, notices_for_owner,
        organization_cap_reached, owner_fallback, policy_applied, resumed, root_key,
    },
};

use crate::due::{
    ALICE, Due, MACHINE, account, accounts, ago, disabled, key, now, observed, on, policy, prod, used,
};

fn judged(message: &Message) -> &Message {
    for message in [message, &message.plain()] {
        assert_eq!(faults_in(&message.to_arguments("C0INFRA", None)), Vec::<String>::new());
    }
    let cut = serde_json::to_string(message).unwrap().contains("its end is missing");
    assert!(!cut, "what does not fit is counted, not cut off");
    message
}

macro_rules! golden {
    ($name:ident, $message:expr) => {
        #[test]
        fn $name() {
            insta::assert_json_snapshot!(stringify!($name), judged(&$message));
        }
    };
}

fn told() -> OwnerReached {
    OwnerReached::Told { slack_id: SlackId::parse("U0ALICE123").unwrap() }
}

fn to_owner(due: &[Due]) -> Message {
    let keys: Vec<DueKey<'_>> = due.iter().map(Due::due).collect();
    notices_for_owner(&keys, &accounts(), now())
}

fn to_channel(due: &[Due], reached: &OwnerReached) -> Message {
    let keys: Vec<(DueKey<'_>, OwnerReached)> = due.iter().map(|due| (due.due(), reached.clone())).collect();
    notices_for_channel(&prod(), &keys, &accounts(), now())
}

fn first() -> Due {
    Due::alice(76).used(used(Some(70), "s3", "eu-west-1"))
}

fn last() -> Due {
    Due::alice(86).used(used(Some(3), "s3", "N/A"))
}

fn deployer() -> Due {
    let key = key(&prod(), "deployer", "AKIAEXAMPLEDEPLOY002", MACHINE, 81);
    Due::of(key, Stage::Notice(NoticeDay::Age(81)), 10).used(used(Some(1), "ecr", "us-east-1"))
}

fn reminder() -> Due {
    Due::alice(96).staged(Stage::Reminder(on(0)), -5).used(used(None, "N/A", "N/A"))
}

fn again() -> Due {
    Due::alice(120).staged(Stage::Reminder(on(0)), 1).reactivated(&[20, 0]).critical()
}

fn exempt(mode: &str) -> Due {
    Due::alice(200)
        .staged(Stage::ExemptionEnding(on(7)), 7)
        .under(policy(&format!("[modes]\n{mode} = [\"111122223333\"]")), false)
}

fn break_glass() -> Due {
    let text = "[modes]\nenforce = [\"111122223333\"]\n[[break-glass]]\naccount = \"111122223333\"\nuser = \"alice\"";
    Due::alice(81).under(policy(text), false).critical()
}

fn unused() -> Due {
    let text = "[modes]\nenforce = [\"111122223333\"]\n[defaults]\ninactive-days = 60";
    Due::alice(70).staged(Stage::Notice(NoticeDay::Unused), 5).under(policy(text), true).used(used(
        Some(55 * 24),
        "sts",
        "us-east-1",
    ))
}

golden!(disabled_channel_found_inactive, {
    disabled_message(used(None, "N/A", "N/A"), Ground::Age, SeenAfter::FoundInactive, for_channel)
});
golden!(root_key_found, root_key(&prod(), now(), &accounts()));
golden!(due_owner_first, to_owner(&[first()]));
golden!(due_owner_last, to_owner(&[last()]));
golden!(due_owner_in_notify, {
    to_owner(&[Due::alice(81).under(policy("[modes]\nnotify = [\"111122223333\"]"), false)])
});
golden!(due_owner_machine, to_owner(&[deployer()]));
golden!(due_owner_unused, to_owner(&[unused()]));
golden!(due_owner_past_its_day, to_owner(&[reminder()]));
golden!(due_owner_set_active_again, to_owner(&[again()]));
golden!(due_owner_exemption_ends, to_owner(&[exempt("enforce")]));
golden!(due_owner_exemption_ends_in_notify, to_owner(&[exempt("notify")]));
golden!(due_owner_break_glass, to_owner(&[break_glass()]));
golden!(due_owner_life_shortened_by_tag, {
    let tags = &[("slack-id", "U0ALICE123"), ("key-max-age-days", "30")];
    let key = key(&prod(), "alice", "AKIAEXAMPLEALICE0001", tags, 20);
    to_owner(&[Due::of(key, Stage::Notice(NoticeDay::Age(20)), 10)])
});
golden!(due_owner_several, {
    let other = key(&account("444455556666"), "alice", "AKIAEXAMPLESTAGING03", ALICE, 76);
    to_owner(&[first(), deployer(), last(), Due::of(other, Stage::Notice(NoticeDay::Age(76)), 15)])
});
golden!(due_owner_two_of_one_user, {
    let second = key(&prod(), "alice", "AKIAEXAMPLEALICE0002", ALICE, 81);
    to_owner(&[first(), Due::of(second, Stage::Notice(NoticeDay::Age(81)), 10)])
});
golden!(due_owner_unsafe_name, {
    let key = key(&prod(), "$(reboot) <!here>`x`", "AKIAEXAMPLEALICE0001", ALICE, 86);
    to_owner(&[Due::of(key, Stage::Notice(NoticeDay::Age(86)), 5)])
});

golden!(due_channel_told, to_channel(&[first()], &told()));
golden!(due_channel_without_tag, to_channel(&[last()], &OwnerReached::NoTag));
golden!(
    due_channel_malformed_tag,
    to_channel(&[last()], &OwnerReached::Malformed("@alice <!here>".to_owned()))
);
golden!(
    due_channel_unreachable,
    to_channel(&[last()], &OwnerReached::Unreachable("user_disabled".to_owned()))
);
golden!(due_channel_in_observe, {
    let due = Due::alice(76).under(policy(""), false);
    to_channel(&[due], &OwnerReached::NotInThisMode)
});
golden!(
    due_channel_not_known_whether_told,
    to_channel(&[deployer()], &OwnerReached::Unknown("no answer from Slack within 5 s".to_owned()))
);
golden!(due_channel_set_active_again, to_channel(&[again()], &told()));
golden!(due_channel_several, {
    let (first, deployer, again) = (first(), deployer(), again());
    let keys = [
        (first.due(), told()),
        (deployer.due(), OwnerReached::Unreachable("user_disabled".to_owned())),
        (again.due(), OwnerReached::NoTag),
    ];
    notices_for_channel(&prod(), &keys, &accounts(), now())
});

fn rules() -> AlertRules {
    AlertRules::default()
}

fn report_of(key: &Key) -> OwnerReport {
    let owner = key.owner.clone().unwrap();
    OwnerReport::Found { owner, keys: Err("they were not listed for this message".to_owned()) }
}

/// What `write` makes of a fact, of its key's owner and of this severity.
fn of_fact(
    fact: &Fact,
    owner: &OwnerReport,
    severity: Severity,
    write: impl Fn(&Notice<'_>) -> Message,
) -> Message {
    let (accounts, rules) = (accounts(), rules());
    write(&Notice { fact, severity, owner, accounts: &accounts, rules: &rules, in_ledger: true })
}

fn disabled_message(
    last_use: impl Into<Option<LastUse>>,
    ground: Ground,
    seen: SeenAfter,
    write: impl Fn(&Notice<'_>) -> Message,
) -> Message {
    let key = Due::alice(91).used(last_use).key;
    let owner = report_of(&key);
    of_fact(&disabled(key, ground, seen), &owner, Severity::Notice, write)
}

golden!(
    disabled_owner_in_use,
    disabled_message(used(Some(3), "s3", "eu-west-1"), Ground::Age, SeenAfter::Inactive, for_owner)
);
golden!(
    disabled_channel_long_unused,
    disabled_message(
        used(Some(60 * 24), "s3", "eu-west-1"),
        Ground::Unused,
        SeenAfter::Inactive,
        for_channel
    )
);
golden!(
    disabled_channel_not_confirmed,
    disabled_message(used(None, "N/A", "N/A"), Ground::Age, SeenAfter::Unconfirmed, for_channel)
);
golden!(disabled_owner_use_not_known, disabled_message(None, Ground::Age, SeenAfter::Inactive, for_owner));
golden!(
    disabled_fallback,
    disabled_message(used(Some(3), "s3", "eu-west-1"), Ground::Age, SeenAfter::Inactive, |notice| {
        owner_fallback(notice, "user_disabled")
    })
);

fn found_message(news: Vec<News>, write: impl Fn(&Notice<'_>) -> Message) -> Message {
    let key = Due::alice(3).key;
    let owner = report_of(&key);
    of_fact(&observed(key, news), &owner, Severity::Warning, write)
}

fn set_active() -> Vec<News> {
    vec![News::Status { from: Some(Status::Inactive), to: Status::Active }]
}

golden!(found_channel, found_message(vec![News::Found], for_channel));
golden!(found_owner, found_message(vec![News::Found], for_owner));
golden!(found_fallback, {
    found_message(vec![News::Found], |notice| owner_fallback(notice, "user_not_visible"))
});
golden!(found_channel_second_active_key_without_owner, {
    let key = key(&prod(), "alice", "AKIAEXAMPLEALICE0001", &[], 3);
    let listed =
        |key_id: &str| ListedKey { key_id: key_id.to_owned(), status: Status::Active, created: None };
    let keys = Ok(vec![listed("AKIAEXAMPLEALICE0001"), listed("AKIAEXAMPLEALICE0002")]);
    let owner = OwnerReport::Found { owner: key.owner.clone().unwrap(), keys };
    of_fact(&observed(key, vec![News::Found]), &owner, Severity::Warning, for_channel)
});
golden!(found_channel_root, {
    let mut key = Due::alice(3).key;
    key.holder.subject = Subject::Root;
    key.owner = None;
    of_fact(&observed(key, vec![News::Found]), &OwnerReport::NoUser, Severity::Critical, for_channel)
});
golden!(found_channel_set_active, found_message(set_active(), for_channel));
golden!(found_owner_set_active, found_message(set_active(), for_owner));
golden!(found_channel_unknown_status, {
    let mut due = Due::alice(3);
    let to = Status::Other("Suspended <!here>".to_owned());
    due.key.status.as_mut().unwrap().status = to.clone();
    let news = vec![News::Status { from: None, to }];
    let owner = report_of(&due.key);
    of_fact(&observed(due.key, news), &owner, Severity::Warning, for_channel)
});
golden!(found_channel_again, found_message(vec![News::Reopened], for_channel));
golden!(found_channel_renamed, {
    let news = News::Renamed { from: Some("alicia".to_owned()), to: "alice".to_owned() };
    found_message(vec![news], for_channel)
});
golden!(found_channel_gone, {
    let mut key = Due::alice(3).key;
    key.absence = Some(Absence { since: ago(30), latest: now() });
    let owner = report_of(&key);
    of_fact(&observed(key, vec![News::Gone]), &owner, Severity::Warning, for_channel)
});
golden!(found_joined, {
    let facts = [
        observed(Due::alice(3).key, vec![News::Found]),
        observed(Due::alice(3).key, set_active()),
        observed(Due::alice(3).key, vec![News::Reopened]),
        disabled(Due::alice(91).key, Ground::Age, SeenAfter::Inactive),
    ];
    let owner = report_of(&Due::alice(3).key);
    let (accounts, rules) = (accounts(), rules());
    let notices: Vec<Notice<'_>> = facts
        .iter()
        .map(|fact| Notice {
            fact,
            severity: Severity::Warning,
            owner: &owner,
            accounts: &accounts,
            rules: &rules,
            in_ledger: true,
        })
        .collect();
    joined("prod", &prod(), &notices).remove(0)
});

golden!(baseline_in_observe, {
    let counts = BaselineCounts { keys: 1_234, active: 1_000, over_age: 400, root: 1, without_owner: 33 };
    baseline(&prod(), &counts, Mode::Observe, &accounts(), now())
});
golden!(baseline_of_nothing, {
    baseline(&account("999900001111"), &BaselineCounts::default(), Mode::Enforce, &accounts(), now())
});

fn calm_digest() -> Digest {
    Digest {
        date: on(0),
        expected: 12,
        swept: 12,
        totals: Totals { keys: 1_234, active: 987, new: 2, notices: 3 },
        previous: Some(Totals { keys: 1_232, active: 990, new: 2, notices: 0 }),
        upcoming: vec![upcoming(6, UpcomingKind::Disable), upcoming(1, UpcomingKind::Notice(81))].into(),
        policy: "4f2c9d1e0b7a".repeat(5),
        calls: 3_012,
        ..Digest::default()
    }
}

fn upcoming(days: i64, what: UpcomingKind) -> (keytide_core::AccountId, Upcoming) {
    let upcoming =
        Upcoming { on: on(days), key_id: "AKIAEXAMPLEALICE0001".to_owned(), user: "alice".to_owned(), what };
    (prod(), upcoming)
}

fn held(by: HeldBy) -> (keytide_core::AccountId, HeldDisable) {
    (prod(), HeldDisable { key_id: "AKIAEXAMPLEALICE0001".to_owned(), user: "alice".to_owned(), by })
}

fn finding(what: FindingKind) -> (keytide_core::AccountId, Finding) {
    let user = (what != FindingKind::Root).then(|| "alice".to_owned());
    (prod(), Finding { key_id: "AKIAEXAMPLEALICE0001".to_owned(), user, what })
}

fn busy_digest() -> Digest {
    let disabled = |is_confirmed, last_used| DigestDisabled {
        account: prod(),
        key_id: "AKIAEXAMPLEALICE0001".to_owned(),
        user: "alice".to_owned(),
        last_used,
        is_confirmed,
    };
    Digest {
        unaccepted: Some("the table keytide-ledger was restored or copied".to_owned()),
        disabled: vec![disabled(true, None), disabled(false, Some(now()))].into(),
        held: vec![
            held(HeldBy::Mode(Mode::Notify)),
            held(HeldBy::NoLicence),
            held(HeldBy::BreakGlass),
            held(HeldBy::Unaccepted("the table was restored".to_owned())),
            held(HeldBy::Halt("incident 42 <!here>".to_owned())),
            held(HeldBy::AccountCap { most: 2 }),
            held(HeldBy::OrganizationCap { most: 50 }),
            held(HeldBy::Hours("disabling is closed: it opens on Monday 2026-05-25".to_owned())),
            held(HeldBy::NotSeen),
            held(HeldBy::TagsUnknown),
            held(HeldBy::BornAhead),
            held(HeldBy::Clock),
        ]
        .into(),
        disabled_late: vec![DigestDisabled {
            account: prod(),
            key_id: "AKIAEXAMPLELATE00001".to_owned(),
            user: "bruno".to_owned(),
            last_used: None,
            is_confirmed: true,
        }]
        .into(),
        closed_days: 9,
        undelivered: vec![(prod(), "AKIAEXAMPLEALICE0001".to_owned(), "channel_not_found".to_owned())].into(),
        findings: vec![
            finding(FindingKind::NoSlackId),
            finding(FindingKind::MalformedSlackId("@alice".to_owned())),
            finding(FindingKind::Tag("the tag key-max-age-days is `x`: ignored".to_owned())),
            finding(FindingKind::BornAhead),
            finding(FindingKind::Unknown("its birth is not known".to_owned())),
            finding(FindingKind::Root),
        ]
        .into(),
        ..calm_digest()
    }
}

fn partial_digest() -> Digest {
    Digest {
        swept: 9,
        failed: vec![(account("444455556666"), "sts:AssumeRole: AccessDenied".to_owned())].into(),
        silent: vec![account("999900001111")].into(),
        previous: None,
        ..calm_digest()
    }
}

golden!(digest_all_is_well, digest(&calm_digest(), &accounts(), now()));
golden!(digest_with_things_to_look_at, digest(&busy_digest(), &accounts(), now()));
golden!(digest_not_whole, digest(&partial_digest(), &accounts(), now()));

fn exemption() -> Exemption {
    Exemption {
        reason: "the vendor's appliance takes a new key in August only".to_owned(),
        author: "arn:aws:sts::111122223333:assumed-role/Admin/bruno@example.com".to_owned(),
        granted_at: now(),
        until: "2026-08-31T00:00:00Z".parse().unwrap(),
    }
}

const BRUNO: &str = "arn:aws:sts::111122223333:assumed-role/Admin/bruno@example.com";
const PLAN: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

golden!(announced_policy, {
    let changes =
        ["prod: notify becomes enforce".to_owned(), "12 keys are disabled 30 days earlier".to_owned()];
    policy_applied(BRUNO, Some("4f2c9d1e0b7a"), PLAN, &changes, now())
});
golden!(announced_first_policy, policy_applied(BRUNO, None, PLAN, &[], now()));
golden!(
    announced_exemption,
    exemption_added(&prod(), "AKIAEXAMPLEALICE0001", "alice", &exemption(), &accounts(), now())
);
golden!(announced_exemption_put_back, {
    let granted_at = now().checked_sub(jiff::SignedDuration::from_hours(20 * 24)).unwrap();
    let exemption = Exemption { granted_at, ..exemption() };
    exemption_added(&prod(), "AKIAEXAMPLEALICE0001", "alice", &exemption, &accounts(), now())
});
golden!(announced_exemption_taken_back, {
    exemption_removed(
        &prod(),
        "AKIAEXAMPLEALICE0001",
        "alice",
        &exemption(),
        (BRUNO, "the machine is gone"),
        &accounts(),
        now(),
    )
});
golden!(announced_halt, halted(BRUNO, "payments are down, nobody touches keys", now()));
golden!(announced_resumption, resumed(BRUNO, "payments are up again", now()));
golden!(announced_approval, approved(&prod(), PLAN, BRUNO, 42, &accounts(), now()));
golden!(announced_ledger_changed, {
    ledger_changed("the table keytide-ledger is new or was replaced: nobody has accepted it yet", now())
});
golden!(announced_ledger_accepted, ledger_accepted(BRUNO, "0d1e", "restored after the incident", now()));
golden!(announced_cap, cap_reached(&prod(), 2, 40, PLAN, &accounts()));
golden!(announced_cap_of_the_organization, organization_cap_reached(&prod(), 50, 1, PLAN, &accounts()));

fn rows(message: &Message) -> (usize, String) {
    let json = serde_json::to_string(judged(message)).unwrap();
    (json.matches("• ").count(), json)
}

#[test]
fn of_many_keys_fifteen_are_listed_nearest_first_and_the_rest_is_counted() {
    let due: Vec<Due> = (0..40)
        .map(|number| {
            let key = key(&prod(), "alice", &format!("AKIAMANY{number:012}"), ALICE, 76);
            Due::of(key, Stage::Notice(NoticeDay::Age(76)), 50 - number)
        })
        .collect();
    for message in [to_owner(&due), to_channel(&due, &told())] {
        let (rows, json) = rows(&message);
        assert_eq!(rows, 16, "fifteen, and the line that counts the rest");
        assert!(json.contains("and 25 more"), "{json}");
        for number in 25..40 {
            assert!(json.contains(&format!("AKIAMANY{number:012}")), "{number}");
        }
        assert!(!json.contains("AKIAMANY000000000024"));
        assert!(message.text.contains("in 11 days"), "{}", message.text);
    }
}

#[test]
fn a_digest_of_everything_fits_and_counts_what_it_does_not_list() {
    let many = |number: usize| (0..number).map(|_| prod());
    let cause = "x".repeat(400);
    let digest_of_all = Digest {
        expected: 1_000,
        swept: 700,
        failed: many(200).map(|account| (account, cause.clone())).collect::<Vec<_>>().into(),
        silent: Listed { rows: many(20).collect(), beyond: 80 },
        disabled: Listed { rows: Vec::new(), beyond: 3 },
        held: (0..500).map(|_| held(HeldBy::NoLicence)).collect::<Vec<_>>().into(),
        findings: (0..500).map(|_| finding(FindingKind::NoSlackId)).collect::<Vec<_>>().into(),
        upcoming: (1..500).map(|_| upcoming(3, UpcomingKind::Disable)).collect::<Vec<_>>().into(),
        ..busy_digest()
    };
    let message = digest(&digest_of_all, &accounts(), now());
    let (_, json) = rows(&message);
    for heading in [
        "Accounts that could not be swept* (200)",
        "Accounts that did not answer* (100)",
        "Disabled* (3)",
        "Held back* (500)",
        "To be mended* (500)",
        "Due within 14 days* (499)",
    ] {
        assert!(json.contains(heading), "{heading}: {json}");
    }
    // What failed keeps its fifteen rows while there is anything lighter to shorten.
    assert!(json.contains("and 185 more"), "{json}");
    assert!(json.contains("and 85 more"), "{json}");
    assert!(message.text.starts_with("⚠️ This is not the whole: 700 of 1,000 accounts were swept"));
}

#[test]
fn a_digest_says_that_all_is_well_only_where_it_is() {
    let says_so = |told: &Digest| {
        let json = serde_json::to_string(&digest(told, &accounts(), now())).unwrap().to_lowercase();
        json.contains("all is well")
    };
    assert!(says_so(&calm_digest()));
    let calm = calm_digest;
    let busy = busy_digest();
    for (what, not_well) in [
        ("one not swept", Digest { swept: 11, ..calm() }),
        ("failed", Digest { failed: partial_digest().failed, ..calm() }),
        ("silent", Digest { silent: Listed { rows: Vec::new(), beyond: 1 }, ..calm() }),
        ("undelivered", Digest { undelivered: busy.undelivered.clone(), ..calm() }),
        ("held", Digest { held: busy.held.clone(), ..calm() }),
        ("findings", Digest { findings: busy.findings.clone(), ..calm() }),
        ("unconfirmed", Digest { disabled: busy.disabled.clone(), ..calm() }),
    ] {
        assert!(!says_so(&not_well), "{what}");
    }
    for partial in [Digest { swept: 11, ..calm() }, partial_digest()] {
        let message = digest(&partial, &accounts(), now());
        assert!(message.text.starts_with("⚠️ This is not the whole"), "{}", message.text);
    }
}

#[test]
fn where_nothing_is_disabled_no_message_says_that_it_will_be() {
    for due in [
        Due::alice(76).under(policy(""), false),
        Due::alice(81).under(policy("[modes]\nnotify = [\"111122223333\"]"), false),
        break_glass(),
        reminder().under(policy(""), false),
    ] {
        for message in
            [to_owner(std::slice::from_ref(&due)), to_channel(&[due], &OwnerReached::NotInThisMode)]
        {
            let json = serde_json::to_string(&message).unwrap();
            assert!(!json.contains("will be disabled"), "{json}");
            assert!(!json.contains("as soon as keytide may"), "{json}");
            let is_honest = json.contains("does not disable keys in this account yet")
                || json.contains("keytide never disables by itself");
            assert!(is_honest, "{json}");
        }
    }
}

#[test]
fn commands_are_made_of_safe_names_alone() {
    let unsafe_name = key(&prod(), "alice;reboot", "AKIAEXAMPLEALICE0001", ALICE, 86);
    let message = to_owner(&[Due::of(unsafe_name, Stage::Notice(NoticeDay::Age(86)), 5)]);
    let json = serde_json::to_string(&message).unwrap();
    assert!(!json.contains("--user-name alice"), "{json}");
    assert!(json.contains("in the IAM console"), "{json}");
    let json = serde_json::to_string(&to_owner(&[first()])).unwrap();
    for command in [
        "aws iam create-access-key --user-name alice`",
        "aws iam update-access-key --user-name alice --access-key-id AKIAEXAMPLEALICE0001 --status Inactive`",
        "aws iam delete-access-key --user-name alice --access-key-id AKIAEXAMPLEALICE0001`",
    ] {
        assert!(json.contains(command), "{command}: {json}");
    }
}
