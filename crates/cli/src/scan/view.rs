//! How people see a scan: every key, then what they come to, so that the sum stands where the eye is.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use keytide_core::lifecycle::{utc_date, whole_days};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{
    SECURITY_AUDIT,
    model::{ComingDay, Flag, IfEnforced, RootKey, Scan, ScannedKey, Step, Summary},
};
use crate::output::{Style, counted, shown, table};

/// So wide is everything of a row that does not give way: the id, status, days, and what stands between.
const FIXED: usize = 20 + 2 + 8 + 2 + 5 + 2;
/// The narrowest that people can still use.
const LEAST_USER: usize = 10;
const LEAST_OWNER: usize = 8;
/// The widest that helps.
const MOST_USER: usize = 32;
const MOST_OWNER: usize = 24;
const MOST_USE: usize = 20;
/// The histogram's bars.
const MOST_BAR: usize = 50;
/// So many keys are named on a date; the rest is counted.
const NAMED: usize = 2;

/// A page as wide as there is room, and how text stands out on it.
struct Page<'a> {
    text: String,
    width: usize,
    style: &'a dyn Fn(Style, &str) -> String,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn heading(&mut self, title: &str) {
        self.line("");
        let title = (self.style)(Style::Bold, title);
        self.line(&title);
    }

    /// A text on as many lines as it needs.
    fn wrapped(&mut self, text: &str, style: Option<Style>) {
        for line in broken(text, self.width) {
            let line = style.map_or_else(|| line.clone(), |style| (self.style)(style, &line));
            self.line(&line);
        }
    }
}

/// A whole scan.
pub(super) fn text(scan: &Scan, width: usize, style: &dyn Fn(Style, &str) -> String) -> String {
    let mut page = Page { text: String::new(), width, style };
    let page = &mut page;
    let title = format!(
        "Account {}: {} of {}, on {}",
        scan.account,
        counted(scan.keys.len() as u64, "access key"),
        counted(scan.users as u64, "user"),
        scan.at.strftime("%Y-%m-%d %H:%M UTC")
    );
    page.line(&style(Style::Bold, &title));
    page.line(&format!("Read as {}", cut(&scan.caller, width.saturating_sub(8))));
    if !scan.keys.is_empty() {
        page.line("");
        print_keys(scan, page);
        page.heading("Ages (# active, . inactive)");
        for line in histogram(&scan.histogram, scan.summary.birth_unknown, width) {
            page.line(&line);
        }
    }
    page.heading("To look at");
    for (text, is_bad) in findings(scan) {
        page.wrapped(&text, is_bad.then_some(Style::Alarm));
    }
    if scan.summary.active > 0 {
        page.heading("If this account were in enforce from today on");
        for text in enforced(&scan.if_enforced, utc_date(scan.at)) {
            page.wrapped(&text, None);
        }
    }
    page.heading("What to do next");
    for text in next(scan) {
        page.wrapped(&text, None);
    }
    std::mem::take(&mut page.text)
}

fn print_keys(scan: &Scan, page: &mut Page<'_>) {
    // No narrower than its heading.
    let widest = |text: &dyn Fn(&ScannedKey) -> String, heading: &str, most: usize| {
        scan.keys.iter().map(|key| text(key).width()).max().unwrap_or(0).clamp(heading.len(), most)
    };
    // On a narrow page there is room for when, and not for where.
    let with_service = page.width >= 100;
    let use_words = |key: &ScannedKey| use_words(key, scan.at, with_service);
    let mut user = widest(&|key| shown(&key.user, 64), "USER", MOST_USER);
    let mut owner = widest(&owner_words, "OWNER", MOST_OWNER);
    let last_use = widest(&use_words, "LAST USE", MOST_USE);
    let flags = widest(&|key| flag_words(&key.flags), "FLAGS", 80);
    let letters = widest(&|key| flag_letters(&key.flags), "FLAGS", 8);
    // Words where they fit with names of a usable length, letters where they do not.
    let room = page.width.saturating_sub(FIXED + last_use + 2);
    let names = |user: usize, owner: usize| user + 2 + owner + 2;
    let has_words = names(user.min(14), owner.min(12)) + flags <= room;
    let room_for_names = room.saturating_sub(if has_words { flags } else { letters });
    while names(user, owner) > room_for_names && (user > LEAST_USER || owner > LEAST_OWNER) {
        if user > LEAST_USER && (user >= owner || owner <= LEAST_OWNER) {
            user -= 1;
        } else {
            owner -= 1;
        }
    }
    let cells = |key: &ScannedKey| {
        vec![
            cut(&shown(&key.key_id, 24), 20),
            cut(&shown(&key.user, 64), user),
            shown(&key.status, 8),
            key.age_days.map_or_else(|| "-".to_owned(), |days| days.to_string()),
            cut(&use_words(key), last_use),
            cut(&owner_words(key), owner),
            if has_words { flag_words(&key.flags) } else { flag_letters(&key.flags) },
        ]
    };
    let header = ["KEY", "USER", "STATUS", "DAYS", "LAST USE", "OWNER", "FLAGS"];
    page.line(&table(&header, scan.keys.iter().map(cells).collect(), &[3]));
    if !has_words {
        let present = Flag::ALL.into_iter().filter(|flag| scan.keys.iter().any(|key| key.has(*flag)));
        let legend: Vec<String> =
            present.map(|flag| format!("{} {}", flag.letter(), flag.as_str())).collect();
        if !legend.is_empty() {
            let legend = format!("Flags: {}", legend.join(", "));
            page.wrapped(&legend, Some(Style::Dim));
        }
    }
}

/// `never`, `today, s3`, `12 d ago, s3`; `-` where it was not asked or not answered.
fn use_words(key: &ScannedKey, now: Timestamp, with_service: bool) -> String {
    let Some(at) = key.last_used_at else {
        return if key.used == Some(false) { "never" } else { "-" }.to_owned();
    };
    let ago = match whole_days(at, now) {
        0 => "today".to_owned(),
        days => format!("{days} d ago"),
    };
    match key.last_used_service.as_ref().filter(|_| with_service) {
        Some(service) => format!("{ago}, {}", shown(service, 20)),
        None => ago,
    }
}

fn owner_words(key: &ScannedKey) -> String {
    match (&key.owner_name, &key.slack_id) {
        (Some(name), _) => shown(name, 64),
        (None, Some(id)) if key.slack_id_state == "ok" => id.clone(),
        _ => "-".to_owned(),
    }
}

fn flag_words(flags: &[Flag]) -> String {
    let words: Vec<&str> = flags.iter().map(|flag| flag.as_str()).collect();
    words.join(" ")
}

fn flag_letters(flags: &[Flag]) -> String {
    flags.iter().map(|flag| flag.letter()).collect()
}

/// Bars in plain characters: `#` for active keys, `.` for the others.
fn histogram(steps: &[Step], birth_unknown: usize, width: usize) -> Vec<String> {
    let most = steps.iter().map(|step| step.active + step.inactive).max().unwrap_or(0).max(1);
    // Before and after the bar.
    let longest = width.saturating_sub(14 + 1 + 8 + 10).clamp(10, MOST_BAR);
    let scaled = |count: usize| {
        // What is there is seen, be it little.
        if count == 0 {
            0
        } else if most <= longest {
            count
        } else {
            (count * longest / most).max(1)
        }
    };
    let bar_room = most.min(longest) + 1;
    let mut lines = vec![format!("  {:<12}{:<bar_room$}  {:>6}  {:>8}", "days", "", "active", "inactive")];
    for step in steps {
        let name = match (step.from_days, step.to_days) {
            (366, Some(730)) => "1-2 years".to_owned(),
            (from, Some(to)) => format!("{from}-{to}"),
            (_, None) => "older".to_owned(),
        };
        let bar = format!("{}{}", "#".repeat(scaled(step.active)), ".".repeat(scaled(step.inactive)));
        let bar: String = bar.chars().take(bar_room).collect();
        lines.push(format!("  {name:<12}{bar:<bar_room$}  {:>6}  {:>8}", step.active, step.inactive));
    }
    if birth_unknown > 0 {
        lines.push(format!("  AWS gave no birth of {}", counted(birth_unknown as u64, "more key")));
    }
    lines
}

/// What there is to look at; those that are bad are so marked.
fn findings(scan: &Scan) -> Vec<(String, bool)> {
    let Summary {
        over_age,
        soon,
        never_used,
        unused_over_90_days,
        no_slack_id,
        malformed_slack_id,
        tags_unread,
        users_with_two_active,
        ..
    } = scan.summary;
    let mut lines = Vec::new();
    let mut line = |name: &str, count: usize, words: String| {
        if count > 0 {
            lines.push((format!("  {name:<14}{words}"), false));
        }
    };
    let active = |count: usize| counted(count as u64, "active key");
    let day = scan.if_enforced.disable_day;
    line("over age", over_age, format!("{}, on or past day {day}", active(over_age)));
    let first = scan.if_enforced.notice_days.first().copied().unwrap_or(day);
    line("soon", soon, format!("{}, from day {first} on", active(soon)));
    let parts = |parts: [(usize, &str); 2]| {
        let there = parts.into_iter().filter(|(count, _)| *count > 0);
        there.map(|(count, words)| format!("{count} {words}")).collect::<Vec<_>>().join(", ")
    };
    let unused = never_used + unused_over_90_days;
    let how = parts([(never_used, "never used"), (unused_over_90_days, "not used for over 90 days")]);
    line("unused", unused, format!("{}: {how}", active(unused)));
    let ownerless = no_slack_id + malformed_slack_id;
    let how = parts([
        (no_slack_id, "without the user's tag slack-id"),
        (malformed_slack_id, "with a slack-id that is no member id"),
    ]);
    line("ownerless", ownerless, format!("{}: {how}", active(ownerless)));
    line("tags unread", tags_unread, format!("{}: the user's tags could not be read", active(tags_unread)));
    line(
        "two active",
        users_with_two_active,
        format!("{} with two active keys or more", counted(users_with_two_active as u64, "user")),
    );
    match &scan.root_keys {
        None => {
            lines.push(("  root          not known: there is no credential report to tell".to_owned(), true));
        }
        Some(keys) if keys.is_empty() => {}
        Some(keys) => lines.extend(keys.iter().map(|key| (root_words(key, scan.at), key.active))),
    }
    if lines.is_empty() {
        lines.push(("  nothing: no key is old, unused or ownerless, and root has none".to_owned(), false));
    }
    lines
}

fn root_words(key: &RootKey, now: Timestamp) -> String {
    let state = if key.active { "active" } else { "inactive" };
    let changed =
        key.last_changed.map_or_else(String::new, |at| format!(", last changed on {}", utc_date(at)));
    let used = match (key.used, key.last_used_at) {
        (_, Some(at)) => match whole_days(at, now) {
            0 => ", used today".to_owned(),
            days => format!(", used {} ago", counted(u64::from(days), "day")),
        },
        (Some(false), None) => ", never used".to_owned(),
        _ => String::new(),
    };
    format!("  root          an {state} access key{changed}{used}: delete it")
}

/// What would be done, date by date, with why it begins as it does.
fn enforced(plan: &IfEnforced, today: Date) -> Vec<String> {
    let days: Vec<String> = plan.notice_days.iter().map(ToString::to_string).collect();
    let mut lines = vec![format!(
        "  The built-in policy: notices on days {}, disabled on day {}, never before a notice is 5 dates old. \
         This is a look ahead and changes nothing; an account begins in observe, where nothing is disabled.",
        days.join(", "),
        plan.disable_day
    )];
    lines.push(match plan.notices_today {
        0 => "  today       nobody told, nothing disabled".to_owned(),
        count => format!(
            "  today       {} sent; nothing disabled, since nobody was told before",
            counted(count as u64, "notice")
        ),
    });
    let mut by_date: BTreeMap<Date, Vec<&ComingDay>> = BTreeMap::new();
    for day in plan.coming.iter().filter(|day| day.what == "disable" && day.on > today) {
        by_date.entry(day.on).or_default().push(day);
    }
    for (date, keys) in &by_date {
        let named: Vec<String> = keys
            .iter()
            .take(NAMED)
            .map(|day| format!("{} of {}", day.key_id, shown(&day.user, 40)))
            .collect();
        let more = keys.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("  {date}  {} disabled: {}{more}", keys.len(), named.join(", ")));
    }
    let capped = plan.coming.iter().any(|day| day.what == "held" && day.cause.as_deref().is_some_and(is_cap));
    let cap =
        if capped { "; no more than 10 % of the account's active keys a day, and at least 2" } else { "" };
    lines.push(format!(
        "  in {} days  {} sent and {} disabled by then, if nobody rotates{cap}",
        plan.days_ahead,
        counted(plan.notices as u64, "notice"),
        counted(plan.disables as u64, "key"),
    ));
    let held: BTreeMap<&str, usize> = plan
        .coming
        .iter()
        .filter_map(|day| day.cause.as_deref().filter(|cause| !is_cap(cause)))
        .fold(BTreeMap::new(), |mut counts, cause| {
            *counts.entry(cause).or_default() += 1;
            counts
        });
    for (cause, count) in held {
        lines.push(format!("  held        {}: {}", counted(count as u64, "key"), shown(cause, 200)));
    }
    lines
}

/// Whether this is the account's cap, as a plan words it.
fn is_cap(cause: &str) -> bool {
    cause.starts_with("above the account's cap")
}

fn next(scan: &Scan) -> Vec<String> {
    let mut lines = Vec::new();
    let summary = &scan.summary;
    if summary.active_root_keys.is_some_and(|count| count > 0) {
        lines
            .push("Delete root's access key: sign in as root, Security credentials, Access keys.".to_owned());
    }
    if !scan.complete {
        lines.push(format!(
            "Scan again with AWS's policy SecurityAudit ({SECURITY_AUDIT}): not everything could be read."
        ));
    }
    if summary.over_age + summary.soon > 0 {
        lines.push(
            "Have the old keys rotated: make a new one, see that it is used, set the old one Inactive."
                .to_owned(),
        );
    }
    if summary.never_used + summary.unused_over_90_days > 0 {
        lines.push(
            "Ask who needs the unused keys. One that is set Inactive can be set Active again; a deleted one is \
             gone."
                .to_owned(),
        );
    }
    if summary.no_slack_id + summary.malformed_slack_id > 0 {
        lines.push(
            "Tag the users with their owners, so that keytide can tell them: aws iam tag-user --user-name NAME \
             --tags Key=slack-id,Value=U0123456789"
                .to_owned(),
        );
    }
    lines.push(
        "Write down whose keys live otherwise (machines, contractors, break-glass users): keytide policy --help"
            .to_owned(),
    );
    lines.push(
        "See who made which key, from CloudTrail's files: keytide ingest FOLDER, then keytide ledger list"
            .to_owned(),
    );
    lines.iter().enumerate().map(|(index, line)| format!("  {}. {line}", index + 1)).collect()
}

/// Text that is at most so many columns wide.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut wide = 0;
    for letter in text.chars() {
        wide += letter.width().unwrap_or(0);
        if wide >= columns {
            break;
        }
        cut.push(letter);
    }
    cut.push('…');
    cut
}

/// Where a text's own words begin, after a label or a number in its first columns.
fn hanging(text: &str) -> usize {
    let begin = text.len() - text.trim_start().len();
    let words = text.get(begin..).unwrap_or_default();
    let label = words.find("  ").filter(|end| *end < 14);
    let after = label.map(|end| words.get(end..).map_or(end, |rest| words.len() - rest.trim_start().len()));
    let number = || words.find(". ").filter(|end| *end <= 2).map(|end| end + 2);
    begin + after.or_else(number).unwrap_or(0)
}

/// Breaks a line at blanks; what follows stands under its words.
fn broken(text: &str, columns: usize) -> Vec<String> {
    let indent = " ".repeat(hanging(text));
    let mut lines = Vec::new();
    let mut line = String::new();
    // What a line begins with stays together with its blanks.
    let begin = text.len() - text.trim_start().len();
    let (blanks, words) = text.split_at_checked(begin).unwrap_or(("", text));
    line.push_str(blanks);
    let mut is_empty = true;
    for word in words.split(' ') {
        let gap = usize::from(!is_empty);
        if !is_empty && line.width() + gap + word.width() > columns {
            lines.push(line.trim_end().to_owned());
            line.clone_from(&indent);
            is_empty = true;
            if word.is_empty() {
                continue;
            }
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;

    use jiff::SignedDuration;
    use keytide_aws::inventory::{ListedUser, Report};
    use keytide_core::{
        AccountId,
        cloudtrail::Status,
        key::LastUse,
        owner::{ListedKey, Owner, OwnerTags},
    };

    use super::{
        super::{Answers, LookedAt},
        *,
    };

    /// Thirty users with long names, with a key each, older from one to the next.
    fn scan() -> Scan {
        let now: Timestamp = "2026-06-01T08:00:00Z".parse().unwrap();
        let before = |days: i64| now.checked_sub(SignedDuration::from_hours(days * 24)).unwrap();
        let user = |number: i64| {
            let name = format!("deploy-service-with-a-long-name-{number:02}");
            let key_id = format!("AKIATIDEWATERMANY{number:03}");
            let used = LastUse {
                at: (number % 2 == 0).then(|| before(number * 5)),
                service: Some("secretsmanager".to_owned()),
                region: None,
                seen_at: now,
            };
            let full_name = if number % 3 == 0 {
                "漢字漢字漢字漢字漢字漢字漢字"
            } else {
                "Ada of the Long Name"
            };
            LookedAt {
                user: ListedUser { name, id: String::new(), path: "/".to_owned(), created: None },
                keys: vec![ListedKey {
                    key_id: key_id.clone(),
                    status: Status::Active,
                    created: Some(before(number * number)),
                }],
                owner: Some(Owner {
                    user_id: String::new(),
                    path: "/".to_owned(),
                    tags: OwnerTags::from_tags([("full-name", full_name)]),
                    seen_at: now,
                }),
                last_use: Map::from([(key_id, used)]),
            }
        };
        let answers = Answers {
            report: Report::StillBeingMade,
            looked_at: (0..30).map(user).collect(),
            users: 30,
            failures: Vec::new(),
        };
        let account = AccountId::parse("111122223333").unwrap();
        Scan::of(&account, "arn:aws:iam::111122223333:user/ada", &answers, now).unwrap()
    }

    #[test]
    fn it_fits_a_narrow_terminal_and_uses_a_wide_one() {
        let scan = scan();
        let plain = |_: Style, text: &str| text.to_owned();
        for width in [80, 100, 120] {
            let text = text(&scan, width, &plain);
            for line in text.lines() {
                assert!(line.width() <= width, "{} columns of {width}: {line}\n{text}", line.width());
            }
            assert_eq!(text.lines().filter(|line| line.starts_with("AKIATIDEWATERMANY")).count(), 30);
            // Words where there is room, else letters that are explained.
            assert_eq!(text.contains("Flags: A over-age"), width < 120, "{text}");
            assert_eq!(text.contains("over-age unused no-slack-id"), width == 120, "{text}");
        }
        let styled = |_: Style, text: &str| format!("<{text}>");
        let coloured = text(&scan, 80, &styled);
        assert!(coloured.contains("<  root          not known"), "{coloured}");
    }

    #[test]
    fn text_is_cut_and_broken_by_the_columns_it_takes() {
        assert_eq!(cut("alice", 5), "alice");
        assert_eq!(cut("alice", 4), "ali…");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        for (text, columns, lines) in [
            (
                "  one  two three four five six",
                18,
                &["  one  two three", "       four five", "       six"][..],
            ),
            ("  1. one two three", 11, &["  1. one", "     two", "     three"]),
            ("  one two three", 9, &["  one two", "  three"]),
            ("a-long-word and more", 8, &["a-long-word", "and more"]),
        ] {
            assert_eq!(broken(text, columns), lines);
        }
    }

    #[test]
    fn a_bar_is_never_longer_than_there_is_room_and_one_key_is_seen_among_thousands() {
        let step = |from_days, to_days, active, inactive| Step { from_days, to_days, active, inactive };
        let steps = [step(0, Some(30), 4_000, 3), step(31, Some(60), 1, 0), step(731, None, 0, 0)];
        let lines = histogram(&steps, 2, 80);
        assert!(lines.iter().all(|line| line.len() <= 80), "{lines:#?}");
        assert!(lines[1].contains("###") && lines[1].ends_with("4000         3"), "{lines:#?}");
        assert!(lines[2].contains("31-60       # "), "{lines:#?}");
        assert!(!lines[3].contains('#'), "{lines:#?}");
        assert!(lines[4].contains("2 more keys"), "{lines:#?}");
    }
}
