//! The sweep's messages, whatever others write into names, tags, reasons and causes.

use keytide_core::{
    alert::{AlertRules, Severity},
    cloudtrail::Status,
    delivery::{NoticeDay, Stage},
    fact::SeenAfter,
    key::Ground,
    lifecycle::Exemption,
    owner::{OwnerReport, SlackId},
    plan::{Finding, FindingKind, HeldBy, HeldDisable, News, Upcoming, UpcomingKind},
};
use keytide_slack::{
    Message,
    messages::{
        Digest, DigestDisabled, DueKey, Notice, OwnerReached, approved, cap_reached, digest, exemption_added,
        exemption_removed, for_channel, for_owner, halted, joined, notices_for_channel, notices_for_owner,
        organization_cap_reached, owner_fallback, policy_applied, resumed,
    },
};
use proptest::prelude::*;

use crate::{
    due::{Due, accounts, disabled, key, now, observed, on, policy, prod, used},
    hostile::{assert_harmless, hostile},
};

fn due_messages(texts: &[String], due: &[Due]) -> Vec<Message> {
    let keys: Vec<DueKey<'_>> = due.iter().map(Due::due).collect();
    let reached = [
        OwnerReached::Told { slack_id: SlackId::parse("U0ALICE123").unwrap() },
        OwnerReached::NoTag,
        OwnerReached::Malformed(texts[1].clone()),
        OwnerReached::Unreachable(texts[2].clone()),
        OwnerReached::NotInThisMode,
        OwnerReached::Unknown(texts[3].clone()),
    ];
    let mut messages = vec![notices_for_owner(&keys, &accounts(), now())];
    for reached in &reached {
        messages.push(notices_for_channel(&prod(), &[(keys[0], reached.clone())], &accounts(), now()));
    }
    let all: Vec<(DueKey<'_>, OwnerReached)> =
        keys.iter().zip(reached.iter().cycle()).map(|(key, reached)| (*key, reached.clone())).collect();
    messages.push(notices_for_channel(&prod(), &all, &accounts(), now()));
    messages.extend(keys.iter().take(4).map(|key| notices_for_owner(&[*key], &accounts(), now())));
    messages
}

fn fact_messages(texts: &[String], due: &Due) -> Vec<Message> {
    let status = Status::Other(texts[6].clone());
    let news = [
        News::Found,
        News::Reopened,
        News::Status { from: Some(status.clone()), to: Status::Active },
        News::Status { from: None, to: status },
        News::Renamed { from: Some(texts[0].clone()), to: texts[1].clone() },
        News::Gone,
    ];
    let mut facts: Vec<_> = news.into_iter().map(|news| observed(due.key.clone(), vec![news])).collect();
    facts.push(disabled(due.key.clone(), Ground::Age, SeenAfter::Inactive));
    facts.push(disabled(due.key.clone(), Ground::Unused, SeenAfter::Unconfirmed));
    let owners = [
        OwnerReport::Found { owner: due.key.owner.clone().unwrap(), keys: Err(texts[5].clone()) },
        OwnerReport::Failed(texts[5].clone()),
    ];
    let (accounts, rules) = (accounts(), AlertRules::default());
    let mut messages = Vec::new();
    for owner in &owners {
        let notice = |fact| Notice {
            fact,
            severity: Severity::Critical,
            owner,
            accounts: &accounts,
            rules: &rules,
            in_ledger: false,
        };
        for fact in &facts {
            let notice = notice(fact);
            messages.extend([for_channel(&notice), for_owner(&notice), owner_fallback(&notice, &texts[2])]);
        }
        messages.extend(joined(&texts[4], &prod(), &facts.iter().map(notice).collect::<Vec<_>>()));
    }
    messages
}

fn digest_of(texts: &[String], number: usize) -> Digest {
    let text = |index: usize| texts[index % texts.len()].clone();
    let held = |index: usize| HeldDisable {
        key_id: text(index),
        user: text(index + 1),
        by: HeldBy::Halt(text(index + 2)),
    };
    let finding = |index: usize| Finding {
        key_id: text(index),
        user: Some(text(index + 3)),
        what: match index % 3 {
            0 => FindingKind::MalformedSlackId(text(index + 4)),
            1 => FindingKind::Tag(text(index + 4)),
            _ => FindingKind::Unknown(text(index + 4)),
        },
    };
    let upcoming = |index: usize| Upcoming {
        on: on(3),
        key_id: text(index),
        user: text(index + 5),
        what: UpcomingKind::Disable,
    };
    let disabled = |index: usize| DigestDisabled {
        account: prod(),
        key_id: text(index),
        user: text(index + 6),
        last_used: None,
        is_confirmed: index.is_multiple_of(2),
    };
    let many = 0..number;
    Digest {
        unaccepted: Some(text(3)),
        date: on(0),
        expected: number,
        failed: many.clone().map(|index| (prod(), text(index))).collect::<Vec<_>>().into(),
        silent: many.clone().map(|_| prod()).collect::<Vec<_>>().into(),
        disabled: many.clone().map(disabled).collect::<Vec<_>>().into(),
        held: many.clone().map(|index| (prod(), held(index))).collect::<Vec<_>>().into(),
        undelivered: many
            .clone()
            .map(|index| (prod(), text(index), text(index + 1)))
            .collect::<Vec<_>>()
            .into(),
        findings: many.clone().map(|index| (prod(), finding(index))).collect::<Vec<_>>().into(),
        upcoming: many.map(|index| (prod(), upcoming(index))).collect::<Vec<_>>().into(),
        policy: text(0),
        ..Digest::default()
    }
}

fn announcements(texts: &[String]) -> Vec<Message> {
    let exemption =
        Exemption { reason: texts[0].clone(), author: texts[1].clone(), granted_at: now(), until: now() };
    vec![
        policy_applied(&texts[1], Some(&texts[2]), &texts[3], texts, now()),
        exemption_added(&prod(), &texts[2], &texts[3], &exemption, &accounts(), now()),
        exemption_removed(
            &prod(),
            &texts[2],
            &texts[3],
            &exemption,
            (&texts[4], &texts[0]),
            &accounts(),
            now(),
        ),
        halted(&texts[1], &texts[0], now()),
        resumed(&texts[1], &texts[0], now()),
        approved(&prod(), &texts[2], &texts[1], 3, &accounts(), now()),
        cap_reached(&prod(), 2, 3, &texts[2], &accounts()),
        organization_cap_reached(&prod(), 2, 3, &texts[2], &accounts()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_a_message_of_the_sweep(
        texts in proptest::collection::vec(hostile(), 8),
        number in 1_usize..40,
    ) {
        let tags = [("slack-id", "U0ALICE123"), ("full-name", texts[1].as_str()), ("type", texts[2].as_str()),
                    ("key-max-age-days", texts[3].as_str())];
        let stages = [Stage::Notice(NoticeDay::Age(86)), Stage::Notice(NoticeDay::Unused),
                      Stage::Reminder(on(0)), Stage::ExemptionEnding(on(7))];
        let due: Vec<Due> = stages.iter().cycle().take(number)
            .map(|stage| {
                let key = key(&prod(), &texts[0], &texts[4], &tags, 86);
                Due::of(key, *stage, 5)
                    .used(used(Some(1), &texts[5], &texts[6]))
                    .under(policy(""), false)
                    .reactivated(&[9, 1])
                    .critical()
            })
            .collect();
        let mut messages = due_messages(&texts, &due);
        messages.extend(fact_messages(&texts, &due[0]));
        messages.push(digest(&digest_of(&texts, number), &accounts(), now()));
        messages.extend(announcements(&texts));
        for message in &messages {
            assert_harmless(message)?;
        }
        let digest = serde_json::to_string(&digest(&digest_of(&texts, number), &accounts(), now())).unwrap();
        prop_assert!(!digest.contains("its end is missing"), "{}", digest);
    }
}
