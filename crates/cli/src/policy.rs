//! `keytide policy`: what a policy file says, and what it says of one user. Nothing but the file is read.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use keytide_core::{
    lifecycle::{days_after, utc_date},
    owner::{Owner, OwnerTags},
    policy::{LONGEST_FILE_BYTES, Life, Mode, Policy, PolicySubject, Treatment},
};

use crate::{
    Ended, Trouble,
    args::{PolicyCommand, PolicyExplainArgs},
    output::{Output, counted, shown},
};

pub(crate) fn run(command: &PolicyCommand, now: Timestamp, output: &mut Output) -> Result<Ended, Trouble> {
    match command {
        PolicyCommand::Check { file } => {
            let policy = read(file, output)?;
            output.print(&summary(&policy));
        }
        PolicyCommand::Explain(args) => {
            let policy = match &args.file {
                Some(file) => read(file, output)?,
                None => Policy::built_in(),
            };
            output.print(&explanation(&policy, args, now));
        }
        // They need the ledger: `decide`.
        PolicyCommand::Apply(_) | PolicyCommand::Try(_) => {
            return Err(Trouble::Failed("policy: the ledger was not opened: please report this".to_owned()));
        }
    }
    Ok(Ended::Done)
}

/// Reads a policy file; each of its problems is a line on standard error.
fn read(file: &Path, output: &mut Output) -> Result<Policy, Trouble> {
    read_with_text(file, output).map(|(_, policy)| policy)
}

/// Reads a policy file, and gives its text too.
pub(crate) fn read_with_text(file: &Path, output: &mut Output) -> Result<(String, Policy), Trouble> {
    let name = shown(&file.to_string_lossy(), 300);
    let text = read_text(file).map_err(|why| Trouble::Usage(format!("{name} {why}")))?;
    let policy = Policy::parse(&text).map_err(|problems| {
        let problems = problems.as_slice();
        for problem in problems {
            let (found, expected) = (shown(&problem.found, 500), shown(&problem.expected, 500));
            output.remark(&format!("{name}:{}: found {found}, expected {expected}", problem.line));
        }
        let count = counted(problems.len() as u64, "problem");
        Trouble::Usage(format!("{name} is no policy: {count}, each named above; nothing was done"))
    })?;
    Ok((text, policy))
}

fn read_text(file: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // One byte more than there may be, so that a longer file is seen to be longer.
    let limit = LONGEST_FILE_BYTES as u64 + 1;
    File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut bytes)).map_err(|error| {
        match error.kind() {
            io::ErrorKind::NotFound => "does not exist: expected a policy file".to_owned(),
            io::ErrorKind::PermissionDenied => "may not be read: check its permissions".to_owned(),
            io::ErrorKind::IsADirectory => "is a folder: expected a policy file".to_owned(),
            _ => format!("cannot be read: {error}"),
        }
    })?;
    if bytes.len() > LONGEST_FILE_BYTES {
        return Err(format!(
            "has more than {LONGEST_FILE_BYTES} bytes: expected a policy file, which has at most so many"
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let sound = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(sound).filter(|byte| **byte == b'\n').count() + 1;
        format!("is no text: line {line} is not UTF-8, as TOML has to be")
    })
}

/// What a policy says, for people.
fn summary(policy: &Policy) -> String {
    let mut text = String::new();
    let mut line = |name: &str, words: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<12}{words}");
    };
    for mode in Mode::ALL.into_iter().rev() {
        let named: Vec<&str> = policy
            .accounts_named()
            .iter()
            .filter(|(_, is)| **is == mode)
            .map(|(account, _)| account.as_str())
            .collect();
        let words = match (named.is_empty(), mode) {
            (true, Mode::Observe) => "every account that is not named".to_owned(),
            (false, Mode::Observe) => format!("{}, and every account that is not named", named.join(", ")),
            (true, _) => "no account".to_owned(),
            (false, _) => named.join(", "),
        };
        line(mode.as_str(), &words);
    }
    line("defaults", &life_words(policy.defaults()));
    for (number, rule) in policy.rules().iter().enumerate() {
        let conditions = shown(&rule.conditions.to_string(), 2_000);
        line(&format!("rule {}", number + 1), &format!("{}: {conditions}", rule.name));
        line("", &life_words(&rule.life));
    }
    let caps = policy.caps();
    line(
        "caps",
        &format!(
            "{} % of an account's active keys but at least {}; {} a day in the organization",
            caps.account_percent, caps.account_at_least, caps.organization_per_day
        ),
    );
    let hours = policy.hours().map_or_else(|| "always".to_owned(), ToString::to_string);
    line("disabling", &format!("{hours}; at least {} dates after a notice", policy.dates_between()));
    let users: Vec<String> =
        policy.break_glass().iter().map(|one| format!("{} in {}", one.user, one.account)).collect();
    line("break-glass", if users.is_empty() { "nobody".to_owned() } else { users.join(", ") }.as_str());
    let channel = |id: Option<&str>| id.unwrap_or("the functions' own channel").to_owned();
    line("notices", &channel(policy.notices_channel()));
    line("hash", policy.hash());
    text
}

fn life_words(life: &Life) -> String {
    let unused = life.inactive_days.map_or_else(
        || "however little it is used".to_owned(),
        |days| format!("or when unused for {}", counted(u64::from(days), "day")),
    );
    format!("notice on {}; disabled on day {}, {unused}", days_words(&life.notice_days), life.disable_day)
}

fn days_words(days: &[u32]) -> String {
    let words: Vec<String> = days.iter().map(ToString::to_string).collect();
    match words.split_last() {
        Some((last, [])) => format!("day {last}"),
        Some((last, others)) => format!("days {} and {last}", others.join(", ")),
        None => "no day".to_owned(),
    }
}

/// What a policy says of one user's keys, and of one key if its birth is given.
fn explanation(policy: &Policy, args: &PolicyExplainArgs, now: Timestamp) -> String {
    let is_known = args.path.is_some() || !args.tags.is_empty();
    let owner = is_known.then(|| Owner {
        // No rule asks for it.
        user_id: String::new(),
        path: args.path.clone().unwrap_or_else(|| "/".to_owned()),
        tags: OwnerTags::from_tags(args.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
        seen_at: now,
    });
    let subject = PolicySubject { account: &args.account, user: &args.user, owner: owner.as_ref() };
    let treatment = policy.treatment(&subject);
    let mode = policy.mode(&args.account);
    let mut text = String::new();
    let mut line = |name: &str, words: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<12}{words}");
    };
    line("user", &format!("{} in {}, which is in {mode}", shown(&args.user, 80), args.account));
    line("rule", treatment.rule.as_deref().unwrap_or("none that matches: the defaults"));
    if treatment.uncertain {
        line("", "Path and tags were not given, so no rule that asks for them can match: --path, --tag");
    }
    line("life", &life_words(&treatment.life));
    if let Some(day) = treatment.shortened_by_tag {
        line("", &format!("shortened to {} by the user's own tag", counted(u64::from(day), "day")));
    }
    for remark in &treatment.remarks {
        line("remark", &shown(remark, 300));
    }
    let due = args.created.map(|born| days_after(born, treatment.life.disable_day));
    if let (Some(born), Some(due)) = (args.created, due) {
        line("born", &born.to_string());
        for &day in &treatment.life.notice_days {
            line("notice", &format!("{}, on day {day}", utc_date(days_after(born, day))));
        }
        let on_day = treatment.life.disable_day;
        line(
            "disable",
            &format!(
                "{}, on day {on_day}, if a notice was confirmed at least {} dates before",
                utc_date(due),
                policy.dates_between()
            ),
        );
    }
    // Nothing is disabled before it is due, nor in the past.
    let at = due.map_or(now, |due| due.max(now));
    let obstacles = obstacles(policy, &treatment, mode, at);
    if obstacles.is_empty() {
        line("stopped by", "nothing in the policy but its caps");
    }
    for obstacle in obstacles {
        line("stopped by", &obstacle);
    }
    line("policy", policy.hash());
    text
}

/// What in the policy would stop a disable at that time, caps aside: those depend on what else is due.
fn obstacles(policy: &Policy, treatment: &Treatment, mode: Mode, at: Timestamp) -> Vec<String> {
    let mut obstacles = Vec::new();
    if mode != Mode::Enforce {
        obstacles.push(format!("the mode: the account is in {mode}, and keys are disabled in enforce only"));
    }
    if treatment.break_glass {
        obstacles.push("break-glass: this user is never disabled".to_owned());
    }
    if let Err(closed) = policy.disabling_open(at) {
        obstacles.push(format!("the hours: at {at} {closed}"));
    }
    obstacles
}

/// A birth: a date, which is taken to begin in UTC, or a time.
pub(crate) fn birth(text: &str) -> Result<Timestamp, String> {
    let expected =
        || format!("`{}` is no date: expected such as 2026-01-31 or 2026-01-31T09:30:00Z", shown(text, 40));
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // A date with a time and no zone is neither.
    if text.len() != 10 {
        return Err(expected());
    }
    let date: Date = text.parse().map_err(|_| expected())?;
    TimeZone::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).map_err(|_| expected())
}

/// A tag as `key=value`.
pub(crate) fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{}` is no tag: expected KEY=VALUE, such as type=machine", shown(text, 40))),
    }
}

#[cfg(test)]
mod tests {
    use keytide_core::AccountId;

    use super::*;

    const EXAMPLE: &str = include_str!("../../../infra/policy.example.toml");

    fn args(account: &str, user: &str) -> PolicyExplainArgs {
        PolicyExplainArgs {
            file: None,
            account: AccountId::parse(account).unwrap(),
            user: user.to_owned(),
            path: None,
            tags: Vec::new(),
            created: None,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_example_in_words() {
        let policy = Policy::parse(EXAMPLE).unwrap();
        let expected = format!(
            "\
enforce     111122223333
notify      444455556666
observe     777788889999, and every account that is not named
defaults    notice on days 76, 81 and 86; disabled on day 91, however little it is used
rule 1      build-machines: accounts 111122223333, 444455556666; path /machines/; user ci-*
            notice on days 150, 165 and 175; disabled on day 180, however little it is used
rule 2      contractors: type \"contractor\"; tag \"employment\" = \"external\"
            notice on days 15, 20 and 25; disabled on day 30, or when unused for 14 days
caps        10 % of an account's active keys but at least 2; 50 a day in the organization
disabling   09:00-16:00 on mon, tue, wed, thu in Europe/Berlin; at least 5 dates after a notice
break-glass break-glass-1 in 111122223333
notices     C9876543210
hash        {}
",
            policy.hash()
        );
        assert_eq!(summary(&policy), expected);
    }

    #[test]
    fn a_policy_that_names_nothing_says_that_it_enforces_nothing() {
        let text = summary(&Policy::built_in());
        for line in [
            "enforce     no account\n",
            "observe     every account that is not named\n",
            "disabling   always; at least 5 dates after a notice\n",
            "break-glass nobody\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn a_keys_dates_are_whole_days_after_its_birth_in_utc() {
        let mut args = args("111122223333", "alice");
        args.created = Some(at("2026-01-01T23:30:00Z"));
        let text = explanation(&Policy::built_in(), &args, at("2026-01-02T00:00:00Z"));
        for line in [
            "user        alice in 111122223333, which is in observe\n",
            "rule        none that matches: the defaults\n",
            "            Path and tags were not given",
            "notice      2026-03-18, on day 76\n",
            "notice      2026-03-23, on day 81\n",
            "notice      2026-03-28, on day 86\n",
            "disable     2026-04-02, on day 91,",
            "stopped by  the mode: the account is in observe",
        ] {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
        assert_eq!(text.matches("stopped by").count(), 1, "{text}");
    }

    #[test]
    fn rules_and_tags_are_followed_and_what_would_stop_a_disable_is_said() {
        let policy = Policy::parse(EXAMPLE).unwrap();
        let mut machine = args("111122223333", "ci-7");
        machine.path = Some("/machines/".to_owned());
        machine.tags = vec![("key-max-age-days".to_owned(), "100".to_owned())];
        // Day 100 is a Saturday.
        machine.created = Some(at("2026-01-01T00:00:00Z"));
        let text = explanation(&policy, &machine, at("2026-01-02T00:00:00Z"));
        for line in [
            "rule        build-machines\n",
            "life        notice on days 70, 85 and 95; disabled on day 100,",
            "            shortened to 100 days by the user's own tag\n",
            "disable     2026-04-11, on day 100,",
            "stopped by  the hours: at 2026-04-11T00:00:00Z disabling is closed",
            "it opens on Monday 2026-04-13 at 09:00 (07:00 UTC)",
        ] {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
        assert!(!text.contains("not given") && !text.contains("the mode"), "{text}");
        let glass = explanation(&policy, &args("111122223333", "BREAK-GLASS-1"), at("2026-04-13T09:00:00Z"));
        assert!(glass.contains("stopped by  break-glass: this user is never disabled\n"), "{glass}");
        let open = explanation(&policy, &args("111122223333", "alice"), at("2026-04-13T09:00:00Z"));
        assert!(open.contains("stopped by  nothing in the policy but its caps\n"), "{open}");
    }

    #[test]
    fn an_ignored_tag_is_said() {
        let mut args = args("111122223333", "alice");
        args.tags = vec![("key-max-age-days".to_owned(), "\u{1b}[2J".to_owned())];
        let text = explanation(&Policy::built_in(), &args, at("2026-01-02T00:00:00Z"));
        assert!(text.contains("remark      the tag key-max-age-days is"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_birth_is_a_date_or_a_time_and_a_tag_has_a_key() {
        assert_eq!(birth("2026-01-31"), Ok(at("2026-01-31T00:00:00Z")));
        assert_eq!(birth("2026-01-31T09:30:00+01:00"), Ok(at("2026-01-31T08:30:00Z")));
        for wrong in ["", "yesterday", "2026-02-30", "2026-01-31T09:30:00", "31.01.2026"] {
            assert!(birth(wrong).is_err(), "{wrong}");
        }
        assert_eq!(tag("team=a=b"), Ok(("team".to_owned(), "a=b".to_owned())));
        assert_eq!(tag("team="), Ok(("team".to_owned(), String::new())));
        assert!(tag("team").is_err() && tag("=x").is_err());
    }

    #[test]
    fn a_file_that_is_no_policy_is_wrong_usage_and_says_why() {
        let folder = std::env::temp_dir().join(format!("keytide-policy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let wrong = |name: &str, bytes: &[u8]| {
            let file = folder.join(name);
            std::fs::write(&file, bytes).unwrap();
            match read(&file, &mut Output::new(true)) {
                Err(Trouble::Usage(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        let two = wrong("two.toml", b"mode = 1\n[caps]\npercent = 2\n");
        assert!(
            two.ends_with("two.toml is no policy: 2 problems, each named above; nothing was done"),
            "{two}"
        );
        assert!(wrong("latin1.toml", b"# a\n# \xe9").ends_with("line 2 is not UTF-8, as TOML has to be"));
        assert!(wrong("long.toml", &vec![b'#'; LONGEST_FILE_BYTES + 1]).contains("more than 1000000 bytes"));
        let missing = read_text(&folder.join("missing.toml")).unwrap_err();
        assert!(missing.starts_with("does not exist"), "{missing}");
        assert!(read_text(&folder).unwrap_err().starts_with("is a folder"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
