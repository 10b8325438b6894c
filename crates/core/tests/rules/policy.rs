//! The policy file: what is refused, what it means, and promise 10: a tag can only tighten.

use jiff::{SignedDuration, Timestamp};
use keytide_core::{
    AccountId,
    owner::{Owner, OwnerTags},
    policy::{LEAST_DATES_BETWEEN, LONGEST_FILE_BYTES, Life, Mode, Policy, PolicySubject, Treatment},
};
use proptest::prelude::*;

const PROD: &str = "111122223333";
const STAGING: &str = "444455556666";

fn account(text: &str) -> AccountId {
    AccountId::parse(text).unwrap()
}

fn parsed(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|problems| panic!("{problems}\n---\n{text}"))
}

fn owner(path: &str, tags: &[(&str, &str)]) -> Owner {
    Owner {
        user_id: "AIDAEXAMPLE".to_owned(),
        path: path.to_owned(),
        tags: OwnerTags::from_tags(tags.iter().copied()),
        seen_at: Timestamp::UNIX_EPOCH,
    }
}

fn treatment(policy: &Policy, at: &str, user: &str, owner: &Owner) -> Treatment {
    policy.treatment(&PolicySubject { account: &account(at), user, owner: Some(owner) })
}

fn life(notice_days: &[u32], disable_day: u32) -> Life {
    Life { notice_days: notice_days.to_vec(), disable_day, inactive_days: None }
}

#[test]
fn without_a_file_nothing_is_enforced_and_the_days_are_the_usual_ones() {
    let policy = Policy::built_in();
    assert_eq!(policy.mode(&account(PROD)), Mode::Observe);
    assert_eq!(*policy.defaults(), life(&[76, 81, 86], 91));
    let caps = policy.caps();
    assert_eq!((caps.account_percent, caps.account_at_least, caps.organization_per_day), (10, 2, 50));
    assert_eq!(policy.dates_between(), 5);
    assert!(policy.disabling_open(Timestamp::UNIX_EPOCH).is_ok());
    assert!(policy.accounts_named().is_empty());
    assert_eq!(parsed(""), policy, "an empty file says the same");
    // It stands in plans, digests and facts: it must not change by accident.
    assert_eq!(policy.hash(), "a00a9e408ab11fba8f4a9d5aa4adbf82f9d4487d315a83682acaabf560daaef5");
}

#[test]
fn only_an_account_that_is_named_is_enforced() {
    let policy = parsed(&format!("[modes]\nenforce = [\"{PROD}\"]\nnotify = [\"{STAGING}\"]"));
    assert_eq!(policy.mode(&account(PROD)), Mode::Enforce);
    assert_eq!(policy.mode(&account(STAGING)), Mode::Notify);
    assert_eq!(policy.mode(&account("000000000000")), Mode::Observe);
    assert!(Mode::Observe < Mode::Notify && Mode::Notify < Mode::Enforce);
}

/// A file, and all that is wrong with it: line, a part of what was found, a part of what was expected.
type Wrong = (&'static str, &'static [(usize, &'static str, &'static str)]);

const WRONG: &[Wrong] = &[
    // Syntax: TOML's own words.
    ("[modes]\nenforce = [", &[(2, "no TOML", "toml.io")]),
    ("x = 1\nx = 2", &[(2, "duplicate key", "each key")]),
    ("[caps]\n[modes]\n[caps]", &[(3, "duplicate key", "each table once")]),
    ("[defaults]\ndisable-day = ninety", &[(2, "`ninety`, which is no TOML", "toml.io")]),
    // Unknown keys, in every table.
    ("mode = 1", &[(1, "unknown key `mode` in the file", "only modes, defaults, disabling")]),
    ("[modes]\n\"*\" = \"enforce\"", &[(2, "unknown key `*` in [modes]", "only observe, notify, enforce")]),
    ("[modes]\ndefault = \"enforce\"", &[(2, "unknown key `default`", "only observe")]),
    ("[defaults]\ndisable_day = 91", &[(2, "`disable_day` in [defaults]", "notice-days, disable-day")]),
    ("[disabling]\nfrom = 1", &[(2, "`from` in [disabling]", "dates-between, hours, weekdays, time-zone")]),
    ("[caps]\npercent = 1", &[(2, "`percent` in [caps]", "account-percent, account-at-least")]),
    ("[channels]\nalerts = \"C012345\"", &[(2, "`alerts` in [channels]", "notices")]),
    (
        "[[break-glass]]\naccount = \"111122223333\"\nuser = \"bg\"\nname = \"x\"",
        &[(4, "`name` in [[break-glass]]", "account, user")],
    ),
    ("[[rule]]\nname = \"a\"\nuser = \"b\"\ndays = 1", &[(4, "`days` in [[rule]]", "name, accounts, path")]),
    // Wrong types.
    ("modes = 1", &[(1, "the number 1", "a table, begun by [modes]")]),
    ("rule = 1", &[(1, "the number 1 for `rule`", "begun by [[rule]]")]),
    ("[rule]\nname = \"x\"", &[(1, "a table for `rule`", "begun by [[rule]]")]),
    ("rule = [1]", &[(1, "the number 1", "begun by [[rule]]")]),
    ("[modes]\nenforce = \"111122223333\"", &[(2, "the text `111122223333` for `enforce`", "a list")]),
    ("[modes]\nenforce = [111122223333]", &[(2, "the number 111122223333", "twelve digits in quotes")]),
    (
        "[defaults]\ndisable-day = \"91\"",
        &[(2, "the text `91` for `disable-day`", "a whole number from 1 to 3650")],
    ),
    ("[defaults]\ndisable-day = 91.5", &[(2, "the fraction 91.5", "a whole number")]),
    ("[defaults]\ndisable-day = true", &[(2, "the truth value true", "a whole number")]),
    ("[defaults]\ndisable-day = 2026-01-01", &[(2, "a date or time", "a whole number")]),
    ("[defaults]\nnotice-days = 80", &[(2, "the number 80 for `notice-days`", "a list of whole numbers")]),
    ("[defaults]\nnotice-days = [1, \"2\"]", &[(2, "the text `2`", "a whole number")]),
    ("[[rule]]\nname = 1\nuser = \"b\"", &[(2, "the number 1 for `name`", "a name")]),
    ("[[rule]]\nname = \"a\"\ntags = \"x\"", &[(3, "the text `x`", "tags = {")]),
    ("[[rule]]\nname = \"a\"\ntags = { team = 1 }", &[(3, "the number 1 for `team`", "a tag's value")]),
    // Accounts.
    ("[modes]\nenforce = [\"*\"]", &[(2, "the text `*`", "twelve digits")]),
    ("[modes]\nenforce = [\"11112222333\"]", &[(2, "the text `11112222333`", "twelve digits")]),
    (
        "[modes]\nenforce = [\n  \"111122223333\",\n  \"x\",\n  \"y\",\n]",
        &[(4, "the text `x`", "twelve digits"), (5, "the text `y`", "twelve digits")],
    ),
    (
        "[modes]\nnotify = [\"111122223333\"]\nenforce = [\"111122223333\"]",
        &[(3, "the account 111122223333 again", "line 2 has it too")],
    ),
    (
        "[modes]\nnotify = [\"111122223333\", \"111122223333\"]",
        &[(2, "the account 111122223333 again", "each account once")],
    ),
    ("[[rule]]\nname = \"a\"\naccounts = []", &[(3, "no account", "no `accounts` at all")]),
    (
        "[[rule]]\nname = \"a\"\naccounts = [\"111122223333\", \"111122223333\"]",
        &[(3, "the account 111122223333 again", "each account once")],
    ),
    // Days.
    ("[defaults]\ndisable-day = 0", &[(2, "the number 0", "from 1 to 3650")]),
    ("[defaults]\ndisable-day = 3651", &[(2, "the number 3651", "from 1 to 3650")]),
    ("[defaults]\ndisable-day = -1", &[(2, "the number -1", "from 1 to 3650")]),
    ("[defaults]\ndisable-day = 99999999999999999999", &[(2, "the number 9999", "from 1 to 3650")]),
    ("[defaults]\nnotice-days = []", &[(2, "no notice day", "at least one")]),
    ("[defaults]\nnotice-days = [0]", &[(2, "the number 0", "from 1 to 3650")]),
    ("[defaults]\nnotice-days = [80, 70]", &[(2, "the notice day 70 after 80", "that rise")]),
    ("[defaults]\nnotice-days = [80, 80]", &[(2, "the notice day 80 after 80", "each once")]),
    (
        "[defaults]\nnotice-days = [87]",
        &[(2, "the last notice on day 87 and the disable on day 91", "at most 86")],
    ),
    (
        "[defaults]\ndisable-day = 90",
        &[(2, "the last notice on day 86 and the disable on day 90", "to 91 or later")],
    ),
    (
        "[defaults]\nnotice-days = [1]\ndisable-day = 5",
        &[(2, "on day 1 and the disable on day 5", "6 or later")],
    ),
    ("[defaults]\ninactive-days = 0", &[(2, "the number 0 for `inactive-days`", "or \"off\"")]),
    ("[defaults]\ninactive-days = \"never\"", &[(2, "the text `never`", "or \"off\"")]),
    (
        "[[rule]]\nname = \"a\"\nuser = \"b\"\ndisable-day = 60",
        &[(4, "the last notice on day 86", "set both")],
    ),
    // The dates between a notice and a disable.
    ("[disabling]\ndates-between = 4", &[(2, "the number 4", "from 5 to")]),
    ("[disabling]\ndates-between = 6", &[(2, "the last notice on day 86", "at least 6 days")]),
    (
        "[disabling]\ndates-between = 8\n[defaults]\nnotice-days = [83]\n[[rule]]\nname = \"a\"\nuser = \"b\"\nnotice-days = [84]",
        &[(8, "the last notice on day 84", "at least 8 days")],
    ),
    // Hours.
    ("[disabling]\nhours = \"09:00-16:00\"", &[(2, "without a time zone", "time-zone")]),
    ("[disabling]\nweekdays = [\"mon\"]", &[(2, "without a time zone", "time-zone")]),
    ("[disabling]\nhours = \"9-16\"\ntime-zone = \"UTC\"", &[(2, "the text `9-16`", "09:00-16:00")]),
    (
        "[disabling]\nhours = \"16:00-09:00\"\ntime-zone = \"UTC\"",
        &[(2, "the text `16:00-09:00`", "the later one second")],
    ),
    (
        "[disabling]\nhours = \"09:00-24:01\"\ntime-zone = \"UTC\"",
        &[(2, "the text `09:00-24:01`", "24:00 at the latest")],
    ),
    (
        "[disabling]\nhours = \"09:60-10:00\"\ntime-zone = \"UTC\"",
        &[(2, "the text `09:60-10:00`", "two times")],
    ),
    (
        "[disabling]\nhours = \"+9:00-10:00\"\ntime-zone = \"UTC\"",
        &[(2, "the text `+9:00-10:00`", "two times")],
    ),
    ("[disabling]\nweekdays = []\ntime-zone = \"UTC\"", &[(2, "no weekday", "at least one")]),
    ("[disabling]\nweekdays = [\"monday\"]\ntime-zone = \"UTC\"", &[(2, "the text `monday`", "mon, tue")]),
    (
        "[disabling]\nweekdays = [\"fri\", \"fri\"]\ntime-zone = \"UTC\"",
        &[(2, "fri again", "each weekday once")],
    ),
    (
        "[disabling]\nhours = \"09:00-16:00\"\ntime-zone = \"Europe/Atlantis\"",
        &[(3, "the text `Europe/Atlantis`", "IANA")],
    ),
    (
        "[disabling]\nhours = \"09:00-16:00\"\ntime-zone = \"Etc/Unknown\"",
        &[(3, "the text `Etc/Unknown`", "IANA")],
    ),
    // Caps and channels.
    ("[caps]\naccount-percent = 101", &[(2, "the number 101", "from 0 to 100")]),
    ("[caps]\naccount-at-least = 1001", &[(2, "the number 1001", "from 0 to 1000")]),
    ("[caps]\norganization-per-day = 10001", &[(2, "the number 10001", "from 0 to 10000")]),
    ("[channels]\nnotices = \"#infra\"", &[(2, "the text `#infra`", "C0123456789")]),
    ("[channels]\nnotices = \"D0123456789\"", &[(2, "the text `D0123456789`", "C0123456789")]),
    // Break-glass users.
    ("[[break-glass]]\nuser = \"bg\"", &[(1, "without account or user", "both")]),
    ("[[break-glass]]\naccount = \"111122223333\"\nuser = \"bg-*\"", &[(3, "the text `bg-*`", "exact name")]),
    (
        "[[break-glass]]\naccount = \"111122223333\"\nuser = \"bg\"\n[[break-glass]]\naccount = \"111122223333\"\nuser = \"BG\"",
        &[(4, "break-glass user BG", "line 1 has it too")],
    ),
    // Rules.
    ("[[rule]]\nuser = \"b\"", &[(1, "a rule without a name", "name =")]),
    ("[[rule]]\nname = \"two words\"\nuser = \"b\"", &[(2, "the text `two words`", "a name")]),
    (
        "[[rule]]\nname = \"a\"\nuser = \"b\"\n[[rule]]\nname = \"a\"\nuser = \"c\"",
        &[(5, "the rule name `a` again", "line 2 has it")],
    ),
    ("[[rule]]\nname = \"a\"\ndisable-day = 120", &[(1, "a rule without conditions", "[defaults]")]),
    ("[[rule]]\nname = \"a\"\nuser = \"*\"", &[(3, "the text `*`", "not for all")]),
    ("[[rule]]\nname = \"a\"\nuser = \"**\"", &[(3, "the text `**`", "not for all")]),
    ("[[rule]]\nname = \"a\"\nuser = \"\"", &[(3, "the text ``", "a user's name")]),
    ("[[rule]]\nname = \"a\"\npath = \"/\"", &[(3, "the text `/`", "more than /")]),
    ("[[rule]]\nname = \"a\"\npath = \"/ci\"", &[(3, "the text `/ci`", "begins and ends with /")]),
    ("[[rule]]\nname = \"a\"\npath = \"ci/\"", &[(3, "the text `ci/`", "begins and ends with /")]),
    ("[[rule]]\nname = \"a\"\ntype = \"\"", &[(3, "the text ``", "the tag `type`")]),
    ("[[rule]]\nname = \"a\"\ntags = {}", &[(3, "no tag", "at least one")]),
    ("[[rule]]\nname = \"a\"\ntags = { Type = \"x\" }", &[(3, "the tag `type`", "a condition of its own")]),
    (
        "[[rule]]\nname = \"a\"\ntags = { Team = \"x\", team = \"y\" }",
        &[(3, "the tag `team` again", "by case")],
    ),
    // A rule that nothing is left for.
    (
        "[[rule]]\nname = \"a\"\nuser = \"ci-*\"\n[[rule]]\nname = \"b\"\nuser = \"ci-*\"",
        &[(4, "the rule `b`, which can never match: `a` on line 1", "before that rule")],
    ),
    (
        "[[rule]]\nname = \"a\"\nuser = \"ci-*\"\n[[rule]]\nname = \"b\"\nuser = \"CI-deploy\"\ntype = \"x\"",
        &[(4, "`b`, which can never match", "other conditions")],
    ),
    (
        "[[rule]]\nname = \"a\"\npath = \"/m/\"\n[[rule]]\nname = \"b\"\npath = \"/m/n/\"",
        &[(4, "`b`, which can never match", "other conditions")],
    ),
    (
        "[[rule]]\nname = \"a\"\naccounts = [\"111122223333\", \"444455556666\"]\n[[rule]]\nname = \"b\"\naccounts = [\"444455556666\"]",
        &[(4, "`b`, which can never match", "other conditions")],
    ),
    // A tag can only tighten.
    (
        "[[rule]]\nname = \"m\"\ntype = \"machine\"\ndisable-day = 120",
        &[(1, "disables on day 120 and not on day 91", "accounts, path or user as well")],
    ),
    (
        "[[rule]]\nname = \"m\"\ntags = { team = \"x\" }\nnotice-days = [76, 81]",
        &[(1, "gives fewer notices (2 and not 3)", "a tag can only tighten")],
    ),
    (
        "[[rule]]\nname = \"m\"\ntype = \"machine\"\nnotice-days = [76, 82, 86]",
        &[(1, "gives notice on day 82 and not on day 81", "a tag can only tighten")],
    ),
    (
        "[defaults]\ninactive-days = 60\n[[rule]]\nname = \"m\"\ntype = \"machine\"\ninactive-days = 61",
        &[(3, "unused for 61 days, and not for 60 only", "a tag can only tighten")],
    ),
    (
        "[defaults]\ninactive-days = 60\n[[rule]]\nname = \"m\"\ntype = \"machine\"\ninactive-days = \"off\"",
        &[(3, "leaves alone what is unused", "a tag can only tighten")],
    ),
    (
        "[[rule]]\nname = \"m\"\ntype = \"machine\"\n[[rule]]\nname = \"strict\"\naccounts = [\"111122223333\"]\nnotice-days = [15, 20, 25]\ndisable-day = 30",
        &[(1, "takes users from the stricter `strict` on line 4", "its place behind that rule")],
    ),
    // All at once, in the order of the lines.
    (
        "[modes]\nenforce = [\"x\"]\n[caps]\naccount-percent = 101\npercent = 1\n[[rule]]\nname = \"a\"\ndisable-day = 0\n",
        &[
            (2, "the text `x`", "twelve digits"),
            (4, "the number 101", "from 0 to 100"),
            (5, "unknown key `percent`", "only"),
            (6, "a rule without conditions", "at least one of"),
            (8, "the number 0", "from 1 to 3650"),
        ],
    ),
];

#[test]
fn every_problem_is_told_with_its_line_and_nothing_else_is() {
    for (file, expected) in WRONG {
        let problems = Policy::parse(file).expect_err(file);
        let said = problems.to_string();
        let found = problems.as_slice();
        assert_eq!(found.len(), expected.len(), "{file}\n---\n{said}");
        for (problem, (line, found, expected)) in found.iter().zip(*expected) {
            assert_eq!(problem.line, *line, "{file}\n---\n{said}");
            assert!(problem.found.contains(found), "{file}\n---\nno {found:?} in: {said}");
            assert!(problem.expected.contains(expected), "{file}\n---\nno {expected:?} in: {said}");
            assert!(said.contains(&problem.to_string()), "{said}");
        }
        let s = if found.len() == 1 { "" } else { "s" };
        assert!(said.starts_with(&format!("the policy has {} problem{s}\n", found.len())), "{said}");
    }
}

#[test]
fn a_file_that_is_too_large_and_rules_that_are_too_many_are_refused() {
    let longest = "#".repeat(LONGEST_FILE_BYTES);
    assert_eq!(parsed(&longest), Policy::built_in());
    let problems = Policy::parse(&format!("{longest}#")).unwrap_err();
    assert!(problems.to_string().contains("1000001 bytes, expected at most 1000000"), "{problems}");
    let rule = |number: usize| format!("[[rule]]\nname = \"r{number}\"\nuser = \"u{number}\"\n");
    let most: String = (0..500).map(rule).collect();
    assert_eq!(parsed(&most).rules().len(), 500);
    let problems = Policy::parse(&(most + &rule(500))).unwrap_err();
    assert!(problems.to_string().contains("line 1501: found 501 rules, expected at most 500"), "{problems}");
}

#[test]
fn what_others_wrote_is_cut_short_and_stays_on_one_line() {
    let file = format!("[channels]\nnotices = \"\"\"a\nb\u{1b}[2J{}\"\"\"", "x".repeat(5_000));
    let problems = Policy::parse(&file.replace('\u{1b}', "\\u001b")).unwrap_err();
    let said = problems.as_slice()[0].to_string();
    assert!(said.len() < 300 && !said.contains(char::is_control), "{said:?}");
}

#[test]
fn a_rule_may_be_laxer_by_account_path_or_user_and_by_those_with_tags() {
    for condition in ["accounts = [\"111122223333\"]", "path = \"/m/\"", "user = \"ci-*\""] {
        for tags in ["", "\ntype = \"machine\"", "\ntags = { team = \"x\" }"] {
            let policy = parsed(&format!("[[rule]]\nname = \"m\"\n{condition}{tags}\ndisable-day = 400"));
            assert_eq!(policy.rules()[0].life, life(&[76, 81, 86], 400));
        }
    }
}

#[test]
fn a_tag_rule_may_stand_before_a_stricter_one_that_asks_for_another_value() {
    let strict = "notice-days = [15, 20, 25]\ndisable-day = 30";
    for (first, second) in
        [("type = \"human\"", "type = \"machine\""), ("tags = { team = \"a\" }", "tags = { TEAM = \"b\" }")]
    {
        let (mild, strict) = (
            format!("[[rule]]\nname = \"a\"\n{first}\n"),
            format!("[[rule]]\nname = \"b\"\n{second}\n{strict}"),
        );
        assert_eq!(parsed(&(mild + &strict)).rules().len(), 2);
    }
}

#[test]
fn a_user_is_found_by_every_condition_and_all_must_hold() {
    let policy = parsed(
        "[[rule]]\nname = \"m\"\naccounts = [\"111122223333\"]\npath = \"/m/\"\nuser = \"ci-*-eu*\"\ntype = \"machine\"\ntags = { Team = \"Pay\", tier = \"1\" }",
    );
    let tags = [("TYPE", "machine"), ("team", "Pay"), ("Tier", "1")];
    let rule = |at, user, path, tags: &[(&str, &str)]| treatment(&policy, at, user, &owner(path, tags)).rule;
    for user in ["ci-deploy-eu", "CI-x-EU-2", "ci--eu-eu"] {
        assert_eq!(rule(PROD, user, "/m/n/", &tags).as_deref(), Some("m"), "{user}");
    }
    for user in ["ci-eu", "xci-a-eu", "ci-deploy-us", "ci-"] {
        assert_eq!(rule(PROD, user, "/m/n/", &tags), None, "{user}");
    }
    assert_eq!(rule(STAGING, "ci-a-eu", "/m/", &tags), None);
    assert_eq!(rule(PROD, "ci-a-eu", "/M/", &tags), None, "a path has its case");
    assert_eq!(rule(PROD, "ci-a-eu", "/x/m/", &tags), None);
    for without in 0..tags.len() {
        let mut fewer = tags.to_vec();
        fewer.remove(without);
        assert_eq!(rule(PROD, "ci-a-eu", "/m/", &fewer), None, "{fewer:?}");
    }
    assert_eq!(rule(PROD, "ci-a-eu", "/m/", &[("type", "machine"), ("team", "pay"), ("tier", "1")]), None);
}

#[test]
fn without_path_and_tags_no_rule_that_needs_them_matches_and_it_says_so() {
    let policy = parsed(
        "[[rule]]\nname = \"p\"\npath = \"/m/\"\ndisable-day = 400\n[[rule]]\nname = \"t\"\ntype = \"x\"\n[[rule]]\nname = \"g\"\ntags = { team = \"x\" }\n[[rule]]\nname = \"u\"\nuser = \"ci\"",
    );
    let account = account(PROD);
    let unknown = policy.treatment(&PolicySubject { account: &account, user: "ci", owner: None });
    assert_eq!((unknown.rule.as_deref(), unknown.uncertain), (Some("u"), true));
    let known = treatment(&policy, PROD, "ci", &owner("/m/", &[]));
    assert_eq!((known.rule.as_deref(), known.uncertain, known.life.disable_day), (Some("p"), false, 400));
}

#[test]
fn a_break_glass_user_is_one_user_of_one_account_in_any_case() {
    let policy = parsed("[[break-glass]]\naccount = \"111122223333\"\nuser = \"Break-Glass\"");
    let is = |at, user| treatment(&policy, at, user, &owner("/", &[])).break_glass;
    assert!(is(PROD, "Break-Glass") && is(PROD, "break-glass"));
    assert!(!is(STAGING, "Break-Glass") && !is(PROD, "break-glass-2"));
}

#[test]
fn a_users_own_tag_shortens_and_whatever_else_it_says_is_ignored_and_said() {
    let policy = Policy::built_in();
    for (tag, day, notices, remark) in [
        ("60", 60, vec![45, 50, 55], None),
        (" 030 ", 30, vec![15, 20, 25], None),
        ("90", 90, vec![75, 80, 85], None),
        ("16", 16, vec![1, 6, 11], None),
        ("15", 15, vec![5, 10], None),
        ("10", 10, vec![5], None),
        ("6", 6, vec![1], None),
        ("5", 6, vec![1], Some("asks for 5 days: day 6 it is")),
        ("1", 6, vec![1], Some("asks for 1 days: day 6 it is")),
        ("91", 91, vec![76, 81, 86], None),
        ("92", 91, vec![76, 81, 86], Some("asks for 92 days: ignored")),
        ("99999999999999999999", 91, vec![76, 81, 86], Some("ignored, since a tag can only shorten")),
        ("0", 91, vec![76, 81, 86], Some("is `0`: ignored, expected a whole number")),
        ("", 91, vec![76, 81, 86], Some("is ``: ignored")),
        ("-5", 91, vec![76, 81, 86], Some("is `-5`: ignored")),
        ("+5", 91, vec![76, 81, 86], Some("is `+5`: ignored")),
        ("30 days", 91, vec![76, 81, 86], Some("is `30 days`: ignored")),
        ("٣٠", 91, vec![76, 81, 86], Some("ignored")),
    ] {
        let found = treatment(&policy, PROD, "alice", &owner("/", &[("Key-Max-Age-Days", tag)]));
        assert_eq!((found.life.disable_day, &found.life.notice_days), (day, &notices), "{tag:?}");
        assert_eq!(found.shortened_by_tag, (day != 91).then_some(day), "{tag:?}");
        assert_eq!(found.remarks.len(), usize::from(remark.is_some()), "{tag:?}: {:?}", found.remarks);
        if let Some(part) = remark {
            assert!(found.remarks[0].contains(part), "{tag:?}: {:?}", found.remarks);
        }
    }
}

#[test]
fn a_tag_shortens_a_rules_long_life_too_and_leaves_room_for_a_longer_notice() {
    let policy = parsed(
        "[disabling]\ndates-between = 10\n[defaults]\nnotice-days = [70, 81]\n[[rule]]\nname = \"m\"\nuser = \"ci\"\nnotice-days = [150, 170]\ndisable-day = 180\ninactive-days = 40",
    );
    let of = |tag| treatment(&policy, PROD, "ci", &owner("/", &[("key-max-age-days", tag)]));
    let found = of("100");
    assert_eq!(found.life, Life { inactive_days: Some(40), ..life(&[70, 90], 100) });
    assert_eq!((found.rule.as_deref(), found.shortened_by_tag), (Some("m"), Some(100)));
    assert_eq!(of("3").life, Life { inactive_days: Some(40), ..life(&[1], 11) });
}

#[test]
fn the_example_says_what_its_comments_say() {
    let example = include_str!("../../../../infra/policy.example.toml");
    let policy = parsed(example);
    assert_eq!(policy.mode(&account(PROD)), Mode::Enforce);
    assert_eq!(policy.mode(&account(STAGING)), Mode::Notify);
    // "the default" is the default.
    assert_eq!(policy.defaults(), Policy::built_in().defaults());
    assert_eq!(policy.caps(), Policy::built_in().caps());
    assert_eq!(policy.dates_between(), LEAST_DATES_BETWEEN);
    assert_eq!(policy.notices_channel(), Some("C9876543210"));
    assert!(policy.is_break_glass(&account(PROD), "break-glass-1"));
    let rules: Vec<&str> = policy.rules().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(rules, ["build-machines", "contractors"]);
    let machine = treatment(&policy, PROD, "ci-7", &owner("/machines/eu/", &[]));
    assert_eq!((machine.rule.as_deref(), machine.life.disable_day), (Some("build-machines"), 180));
    let tags = [("type", "contractor"), ("employment", "external")];
    let contractor = treatment(&policy, PROD, "zoe", &owner("/", &tags));
    assert_eq!((contractor.life.disable_day, contractor.life.inactive_days), (30, Some(14)));
}

/// Every day that the example names, in summer and in winter.
#[test]
fn the_examples_hours_are_open_at_one_of_the_hours_at_which_the_example_s_sweep_begins() {
    let policy = parsed(include_str!("../../../../infra/policy.example.toml"));
    let deployment = include_str!("../../../../infra/deployment.env.example");
    let hours = deployment.lines().find_map(|line| line.strip_prefix("SWEEP_HOURS=")).unwrap();
    for monday in ["2026-01-12", "2026-03-30", "2026-07-13", "2026-10-26"] {
        for day in 0..4 {
            let is_open = |hour: &str| {
                let begin: Timestamp = format!("{monday}T{hour:0>2}:00:00Z").parse().unwrap();
                policy.disabling_open(begin + SignedDuration::from_hours(24 * day)).is_ok()
            };
            assert!(hours.split(',').any(is_open), "{day} days after {monday}");
        }
    }
}

fn hours(hours: &str, weekdays: &str, zone: &str) -> Policy {
    parsed(&format!("[disabling]\nhours = \"{hours}\"\nweekdays = [{weekdays}]\ntime-zone = \"{zone}\""))
}

#[test]
fn hours_follow_the_clock_on_the_wall_and_say_when_they_open() {
    const WEEK: &str = "\"mon\", \"tue\", \"wed\", \"thu\"";
    const SUNDAY: &str = "\"sun\"";
    // In Berlin clocks went from 02:00 to 03:00 on 2026-03-29, and go from 03:00 to 02:00 on 2026-10-25, both
    // at 01:00 UTC. (Hours, days, now, when it opens: nothing where it is open.)
    for (times, days, now, opens) in [
        // 09:00 is 08:00 UTC in winter and 07:00 in summer.
        ("09:00-16:00", WEEK, "2026-01-12T07:59:59Z", Some("2026-01-12T08:00:00Z")),
        ("09:00-16:00", WEEK, "2026-01-12T08:00:00Z", None),
        ("09:00-16:00", WEEK, "2026-07-13T07:00:00Z", None),
        ("09:00-16:00", WEEK, "2026-07-13T13:59:59.999Z", None),
        ("09:00-16:00", WEEK, "2026-07-13T14:00:00Z", Some("2026-07-14T07:00:00Z")),
        // From Thursday over the weekend and the change of the clock to Monday.
        ("09:00-16:00", WEEK, "2026-03-26T15:00:00Z", Some("2026-03-30T07:00:00Z")),
        ("09:00-16:00", WEEK, "2026-10-22T14:00:00Z", Some("2026-10-26T08:00:00Z")),
        // The whole of it is skipped: a week later.
        ("02:15-02:45", SUNDAY, "2026-03-28T12:00:00Z", Some("2026-04-05T00:15:00Z")),
        // Its beginning is skipped: with the jump.
        ("02:30-05:00", SUNDAY, "2026-03-28T12:00:00Z", Some("2026-03-29T01:00:00Z")),
        // An hour that comes twice opens twice.
        ("02:00-02:30", SUNDAY, "2026-10-25T00:10:00Z", None),
        ("02:00-02:30", SUNDAY, "2026-10-25T00:45:00Z", Some("2026-10-25T01:00:00Z")),
        ("02:00-02:30", SUNDAY, "2026-10-25T01:10:00Z", None),
        ("02:00-02:30", SUNDAY, "2026-10-25T01:30:00Z", Some("2026-11-01T01:00:00Z")),
        // It closes, and the clock goes back into it.
        ("01:30-02:30", SUNDAY, "2026-10-25T00:45:00Z", Some("2026-10-25T01:00:00Z")),
        ("00:00-24:00", SUNDAY, "2026-10-24T21:59:59Z", Some("2026-10-24T22:00:00Z")),
        ("00:00-24:00", SUNDAY, "2026-10-25T22:59:59Z", None),
    ] {
        let open = hours(times, days, "Europe/Berlin").disabling_open(now.parse().unwrap());
        let found = open.as_ref().err().map(|closed| closed.opens_at.unwrap().to_string());
        assert_eq!(found.as_deref(), opens, "{times} on {days}, now {now}");
    }
    let closed =
        hours("09:00-16:00", WEEK, "europe/berlin").disabling_open("2026-10-22T14:00:00Z".parse().unwrap());
    assert_eq!(
        closed.unwrap_err().to_string(),
        "disabling is closed: it is Thursday 2026-10-22 16:00 in Europe/Berlin and it opens on Monday \
         2026-10-26 at 09:00 (08:00 UTC)"
    );
}

#[test]
fn weekdays_alone_are_whole_days_and_hours_alone_every_day() {
    let days = parsed("[disabling]\nweekdays = [\"tue\"]\ntime-zone = \"UTC\"");
    assert!(days.disabling_open("2026-01-13T23:59:59Z".parse().unwrap()).is_ok());
    assert!(days.disabling_open("2026-01-14T00:00:00Z".parse().unwrap()).is_err());
    let times = parsed("[disabling]\nhours = \"09:00-10:00\"\ntime-zone = \"UTC\"");
    for day in 11..18 {
        assert!(times.disabling_open(format!("2026-01-{day}T09:30:00Z").parse().unwrap()).is_ok(), "{day}");
    }
    for end in [Timestamp::MIN, Timestamp::MAX] {
        let closed = days.disabling_open(end);
        assert!(
            closed.is_ok() || !closed.unwrap_err().to_string().is_empty(),
            "no panic at the ends of time"
        );
    }
}

#[test]
fn whatever_changes_the_meaning_changes_the_hash() {
    let rule = "[[rule]]\nname = \"a\"\nuser = \"b\"\n";
    let rule_with = |more: &str| format!("{rule}{more}");
    let files = [
        String::new(),
        "[modes]\nobserve = [\"111122223333\"]".to_owned(),
        "[modes]\nnotify = [\"111122223333\"]".to_owned(),
        "[modes]\nenforce = [\"111122223333\"]".to_owned(),
        "[modes]\nenforce = [\"444455556666\"]".to_owned(),
        "[defaults]\nnotice-days = [76, 81]".to_owned(),
        "[defaults]\nnotice-days = [76, 81, 85]".to_owned(),
        "[defaults]\ndisable-day = 92".to_owned(),
        "[defaults]\ninactive-days = 90".to_owned(),
        "[disabling]\ndates-between = 6\n[defaults]\ndisable-day = 92".to_owned(),
        "[disabling]\nhours = \"09:00-16:00\"\ntime-zone = \"UTC\"".to_owned(),
        "[disabling]\nhours = \"09:01-16:00\"\ntime-zone = \"UTC\"".to_owned(),
        "[disabling]\nhours = \"09:00-16:01\"\ntime-zone = \"UTC\"".to_owned(),
        "[disabling]\nhours = \"09:00-16:00\"\ntime-zone = \"Europe/Berlin\"".to_owned(),
        "[disabling]\nhours = \"09:00-16:00\"\ntime-zone = \"UTC\"\nweekdays = [\"mon\"]".to_owned(),
        "[disabling]\nhours = \"09:00-16:00\"\ntime-zone = \"UTC\"\nweekdays = [\"tue\"]".to_owned(),
        "[caps]\naccount-percent = 9".to_owned(),
        "[caps]\naccount-at-least = 9".to_owned(),
        "[caps]\norganization-per-day = 9".to_owned(),
        "[channels]\nnotices = \"C012345\"".to_owned(),
        "[[break-glass]]\naccount = \"111122223333\"\nuser = \"a\"".to_owned(),
        "[[break-glass]]\naccount = \"111122223333\"\nuser = \"b\"".to_owned(),
        rule.to_owned(),
        rule_with("accounts = [\"111122223333\"]"),
        rule_with("path = \"/a/\""),
        rule_with("type = \"a\""),
        rule_with("tags = { a = \"b\" }"),
        rule_with("tags = { a = \"bc\" }"),
        rule_with("tags = { ab = \"c\" }"),
        rule_with("disable-day = 92"),
        rule_with("notice-days = [80]"),
        rule_with("inactive-days = 80"),
        rule.replace("\"a\"", "\"c\""),
        rule.replace("\"b\"", "\"c\""),
        format!("{rule}{}", rule.replace("\"a\"", "\"c\"").replace("\"b\"", "\"d\"")),
        format!("{}{rule}", rule.replace("\"a\"", "\"c\"").replace("\"b\"", "\"d\"")),
    ];
    let mut hashes: Vec<String> = files.iter().map(|file| parsed(file).hash().to_owned()).collect();
    assert!(hashes.iter().all(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())));
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), files.len(), "no two of these mean the same");
}

/// A rule as a test makes it, beside what it becomes in a file.
#[derive(Debug, Clone)]
struct Made {
    accounts: Vec<usize>,
    path: Option<usize>,
    user: Option<usize>,
    user_type: Option<usize>,
    tag: Option<usize>,
    /// First notice, notices, days between, days before the disable.
    life: Option<(u32, u32, u32, u32)>,
    inactive: Option<u32>,
}

const ACCOUNTS: [&str; 2] = [PROD, STAGING];
const PATHS: [&str; 3] = ["/m/", "/m/n/", "/h/"];
const USERS: [&str; 4] = ["ci-*", "*-eu", "alice", "*i*e*"];
const NAMES: [&str; 5] = ["ci-a", "ci-eu", "alice", "Alice", "bo-eu"];
const VALUES: [&str; 2] = ["x", "y"];

impl Made {
    fn conditions(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.accounts.is_empty() {
            let ids: Vec<String> = self.accounts.iter().map(|at| format!("\"{}\"", ACCOUNTS[*at])).collect();
            lines.push(format!("accounts = [{}]", ids.join(", ")));
        }
        lines.extend(self.path.map(|at| format!("path = \"{}\"", PATHS[at])));
        lines.extend(self.user.map(|at| format!("user = \"{}\"", USERS[at])));
        lines.extend(self.user_type.map(|at| format!("type = \"{}\"", VALUES[at])));
        lines.extend(self.tag.map(|at| format!("tags = {{ team = \"{}\" }}", VALUES[at])));
        lines
    }

    fn life_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some((first, notices, apart, before)) = self.life {
            let days: Vec<u32> = (0..notices).map(|number| first + number * apart).collect();
            lines.push(format!("disable-day = {}", days[days.len() - 1] + before));
            lines.push(format!("notice-days = {days:?}"));
        }
        lines.extend(self.inactive.map(|days| format!("inactive-days = {days}")));
        lines
    }

    /// What it is for, said a second time, as plainly as can be.
    fn is_for(&self, user: &User) -> bool {
        (self.accounts.is_empty() || self.accounts.contains(&user.account))
            && self.path.is_none_or(|at| PATHS[user.path].starts_with(PATHS[at]))
            && self.user.is_none_or(|at| plainly_matches(USERS[at], &NAMES[user.name].to_lowercase()))
            && self.user_type.is_none_or(|at| user.user_type == Some(at))
            && self.tag.is_none_or(|at| user.tag == Some(at))
    }
}

fn plainly_matches(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some('*'), Some(_)) => plainly_matches(&pattern[1..], name) || plainly_matches(pattern, &name[1..]),
        (Some('*'), None) => plainly_matches(&pattern[1..], name),
        (Some(wanted), Some(found)) => wanted == found && plainly_matches(&pattern[1..], &name[1..]),
        _ => false,
    }
}

#[derive(Debug, Clone)]
struct User {
    account: usize,
    path: usize,
    name: usize,
    user_type: Option<usize>,
    tag: Option<usize>,
    max_age: Option<String>,
}

impl User {
    fn treated_by(&self, policy: &Policy) -> Treatment {
        let mut tags: Vec<(&str, &str)> = Vec::new();
        tags.extend(self.user_type.map(|at| ("type", VALUES[at])));
        tags.extend(self.tag.map(|at| ("Team", VALUES[at])));
        tags.extend(self.max_age.as_deref().map(|days| ("key-max-age-days", days)));
        treatment(policy, ACCOUNTS[self.account], NAMES[self.name], &owner(PATHS[self.path], &tags))
    }
}

fn any_made() -> impl Strategy<Value = Made> {
    let life = prop::option::of((1..120_u32, 1..5_u32, 1..20_u32, 5..60_u32));
    (
        prop::sample::subsequence(vec![0, 1], 0..=2),
        prop::option::weighted(0.3, 0..PATHS.len()),
        prop::option::weighted(0.4, 0..USERS.len()),
        prop::option::weighted(0.4, 0..VALUES.len()),
        prop::option::weighted(0.3, 0..VALUES.len()),
        life,
        prop::option::weighted(0.3, 1..200_u32),
    )
        .prop_map(|(accounts, path, user, user_type, tag, life, inactive)| Made {
            accounts,
            path,
            user,
            user_type,
            tag,
            life,
            inactive,
        })
}

fn any_user() -> impl Strategy<Value = User> {
    let days = prop_oneof![
        4 => (0..200_u32).prop_map(|days| days.to_string()),
        1 => "\\PC{0,8}",
        1 => Just("99999999999".to_owned()),
    ];
    (
        0..ACCOUNTS.len(),
        0..PATHS.len(),
        0..NAMES.len(),
        prop::option::of(0..VALUES.len()),
        prop::option::of(0..VALUES.len()),
        prop::option::of(days),
    )
        .prop_map(|(account, path, name, user_type, tag, max_age)| User {
            account,
            path,
            name,
            user_type,
            tag,
            max_age,
        })
}

/// A policy of these rules: each is kept if the file with it is sound. With it, the rules that were kept.
fn policy_of(defaults: &Made, rules: &[Made]) -> (String, Policy, Vec<(String, Made)>) {
    let mut file = format!("[defaults]\n{}\n", defaults.life_lines().join("\n"));
    let mut kept = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let name = format!("r{number}");
        let mut lines = rule.conditions();
        lines.extend(rule.life_lines());
        let longer = format!("{file}[[rule]]\nname = \"{name}\"\n{}\n", lines.join("\n"));
        if Policy::parse(&longer).is_ok() {
            file = longer;
            kept.push((name, rule.clone()));
        }
    }
    let policy = parsed(&file);
    (file, policy, kept)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_first_rule_that_matches_wins(
        defaults in any_made(),
        rules in prop::collection::vec(any_made(), 0..7),
        users in prop::collection::vec(any_user(), 1..12),
    ) {
        let (file, policy, kept) = policy_of(&defaults, &rules);
        for user in &users {
            let wanted = kept.iter().find(|(_, made)| made.is_for(user)).map(|(name, _)| name.as_str());
            let found = user.treated_by(&policy);
            prop_assert_eq!(found.rule.as_deref(), wanted, "{:?} under\n{}", user, file);
        }
    }

    #[test]
    fn a_tag_never_lengthens_anything(
        defaults in any_made(),
        rules in prop::collection::vec(any_made(), 0..7),
        users in prop::collection::vec(any_user(), 1..12),
    ) {
        let (file, policy, _) = policy_of(&defaults, &rules);
        for user in &users {
            let found = user.treated_by(&policy);
            let said = format!("{user:?}: {found:?} under\n{file}");
            // However it came about, it is a life: a notice, in order, and time between it and the end.
            let days = &found.life.notice_days;
            prop_assert!(days.first().is_some_and(|first| *first >= 1), "{}", said);
            prop_assert!(days.windows(2).all(|pair| pair[0] < pair[1]), "{}", said);
            prop_assert!(days.last().unwrap() + policy.dates_between() <= found.life.disable_day, "{}", said);
            // The user's own tag takes days away or does nothing.
            let untagged = User { max_age: None, ..user.clone() }.treated_by(&policy);
            prop_assert!(found.life.disable_day <= untagged.life.disable_day, "{}", said);
            prop_assert!(days.last() <= untagged.life.notice_days.last(), "{}", said);
            prop_assert!(found.shortened_by_tag.is_some() || found.life == untagged.life, "{}", said);
            // What is matched by tags alone is nowhere laxer than the same user without any.
            let rule = policy.rules().iter().find(|rule| untagged.rule.as_ref() == Some(&rule.name));
            if rule.is_some_and(|rule| rule.conditions.by_tags_alone()) {
                let bare = User { user_type: None, tag: None, max_age: None, ..user.clone() }.treated_by(&policy);
                prop_assert_eq!(untagged.life.laxer_than(&bare.life), None, "{}", said);
            }
        }
    }

    #[test]
    fn the_hash_does_not_know_how_a_file_is_laid_out(
        accounts in prop::collection::btree_map("[0-9]{12}", 0..3_usize, 0..6),
        users in prop::collection::btree_set("[a-z]{1,8}", 0..4),
        days in (1..90_u32, 5..40_u32),
        order in Just((0..7_usize).collect::<Vec<_>>()).prop_shuffle(),
        noise in prop::collection::vec("( |\t|\n|# [a-z=\\[\"]{0,9}\n){0,4}\n", 7),
    ) {
        let (notice, between) = days;
        let disable = notice + between;
        let of = |mode: usize| accounts.iter().filter(move |(_, is)| **is == mode).map(|(id, _)| format!("\"{id}\""));
        let list = |mode: usize| of(mode).collect::<Vec<_>>().join(", ");
        let reversed = |mode: usize| of(mode).rev().collect::<Vec<_>>().join(" ,\n\t# \"]\n");
        let glass: Vec<String> =
            users.iter().map(|user| format!("[[break-glass]]\naccount = \"{PROD}\"\nuser = \"{user}\"\n")).collect();
        let rules = "[[rule]]\nname = \"b\"\nuser = \"c\"\ntags = { d = \"e\", f = \"g\" }\n[[rule]]\nname = \"a\"\npath = \"/h/\"\n";
        let plain = format!(
            "[modes]\nobserve = [{}]\nnotify = [{}]\nenforce = [{}]\n[defaults]\nnotice-days = [{notice}]\ndisable-day = {disable}\n[disabling]\nhours = \"09:00-16:00\"\nweekdays = [\"mon\", \"fri\"]\ntime-zone = \"Europe/Berlin\"\n[caps]\naccount-percent = 7\n[channels]\nnotices = \"G012345\"\n{}{rules}",
            list(0), list(1), list(2), glass.concat(),
        );
        let tables = [
            format!("[ modes ]\nenforce=[{}\n]\nnotify=[{}\n]\nobserve=[{}\n]\n", reversed(2), reversed(1), reversed(0)),
            format!("[defaults]\ndisable-day = {disable:#x}\nnotice-days = [ {notice}, ]\ninactive-days = 'off'\n"),
            "[disabling]\ndates-between = 0b101\ntime-zone = 'europe/BERLIN'\nweekdays = [\"fri\", \"mon\"]\nhours = \"\"\"09:00-16:00\"\"\"\n".to_owned(),
            "[caps]\norganization-per-day = 5_0\naccount-at-least = 2\naccount-percent = 0o7\n".to_owned(),
            "[channels]\n\"notices\" = \"\\u0047012345\"\n".to_owned(),
            glass.iter().rev().map(|one| one.replace("user = ", "'user' = ")).collect(),
            rules.replace("tags = { d = \"e\", f = \"g\" }", "tags.F = \"g\"\ntags.d = \"e\"").replace("user = \"c\"", "user = \"C\""),
        ];
        let laid_out: String = order.iter().flat_map(|at| [tables[*at].as_str(), noise[*at].as_str()]).collect();
        let (plain, other) = (parsed(&plain), parsed(&laid_out));
        prop_assert_eq!(plain.hash(), other.hash(), "{}", laid_out);
    }

    #[test]
    fn no_text_makes_the_reader_panic(
        pieces in prop::collection::vec(
            prop_oneof![
                4 => prop::sample::select(vec![
                    "[", "]", "[[", "]]", "{", "}", "=", ",", ".", "\"", "'", "\"\"\"", "#", "\n", "\r\n", " ", "modes", "enforce",
                    "defaults", "notice-days", "disable-day", "disabling", "hours", "weekdays", "time-zone", "caps", "rule",
                    "break-glass", "name", "tags", "accounts", "\"111122223333\"", "91", "-1", "1e9", "0x", "2026-01-01", "true", "\u{feff}", "\0",
                ]).prop_map(str::to_owned),
                1 => any::<String>(),
            ],
            0..40,
        ),
    ) {
        let text = pieces.concat();
        if let Err(problems) = Policy::parse(&text) {
            let lines = text.matches('\n').count() + 1;
            prop_assert!(!problems.as_slice().is_empty());
            prop_assert!(problems.as_slice().iter().all(|problem| (1..=lines).contains(&problem.line)), "{problems}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_next_opening_is_the_first_minute_that_is_open(
        zone in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca",
        ]),
        from in 0..1_430_u32,
        length in 1..400_u32,
        days in prop::sample::subsequence(vec!["mon", "tue", "wed", "thu", "fri", "sat", "sun"], 1..=7),
        minute in 0..(3 * 365 * 1_440_i64),
    ) {
        let until = (from + length).min(1_440);
        let times = format!("{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60);
        let quoted: Vec<String> = days.iter().map(|day| format!("\"{day}\"")).collect();
        let policy = hours(&times, &quoted.join(", "), zone);
        let start: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        let now = start + SignedDuration::from_mins(minute);
        if let Err(closed) = policy.disabling_open(now) {
            let opens = closed.opens_at.expect("within three weeks");
            let mut at = now;
            while at < opens {
                prop_assert!(policy.disabling_open(at).is_err(), "{closed}: open at {at}");
                at += SignedDuration::from_mins(1);
            }
            prop_assert_eq!(at, opens, "on a minute");
            prop_assert!(policy.disabling_open(opens).is_ok(), "{closed}");
        }
    }
}
