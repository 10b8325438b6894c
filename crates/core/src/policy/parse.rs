//! The policy file: what may stand in it, and all that can be wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Weekday;
use toml::de::DeTable;

use super::{
    BreakGlass, Caps, Hours, LEAST_DATES_BETWEEN, LONGEST_LIFE_DAYS, Life, Mode, Policy, Problems,
    hours::{DAY_MINUTES, all_weekdays, weekday_word},
    parse_life::read_defaults,
    parse_rules::read_rules,
    reader::{Placed, Reader, Section, Told, excerpt},
    shapes::{self, ACCOUNT, CHANNEL, USER},
};
use crate::AccountId;

/// A policy file may have so many bytes.
pub const LONGEST_FILE_BYTES: usize = 1_000_000;
pub(super) fn parse(text: &str) -> Result<Policy, Problems> {
    let mut reader = Reader::new(text);
    if text.len() > LONGEST_FILE_BYTES {
        reader.tell(1, format!("{} bytes", text.len()), format!("at most {LONGEST_FILE_BYTES}"));
        reader.sound()?;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or_default();
        let there = text.get(span.clone()).unwrap_or_default();
        let line = reader.line_of(span.start);
        let found =
            format!("`{}`, which is no TOML: {}", excerpt(there), excerpt_of_message(error.message()));
        reader.tell(line, found, "a TOML file (https://toml.io), with each key and each table once");
    }
    // Half a tree would only give rise to problems that are none.
    reader.sound()?;
    let policy = read(&mut reader, document.get_ref());
    reader.sound()?;
    Ok(policy)
}

/// TOML's own message, on one line.
fn excerpt_of_message(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(" ")
}

/// Reads the whole file. What is wrong is told, and stands in the policy as if it had not been written: such
/// a policy is thrown away.
fn read<'f>(reader: &mut Reader, table: &'f DeTable<'f>) -> Policy {
    let root = Reader::root(table);
    reader.only(root, &["modes", "defaults", "disabling", "caps", "channels", "break-glass", "rule"]);
    let modes = read_modes(reader, root);
    let disabling = reader.section(root, "disabling", "[disabling]");
    let mut hours = None;
    let mut dates_between = Placed { value: LEAST_DATES_BETWEEN, line: 1 };
    if let Some(section) = disabling {
        reader.only(section, &["dates-between", "hours", "weekdays", "time-zone"]);
        let least = LEAST_DATES_BETWEEN..=LONGEST_LIFE_DAYS;
        if let Ok(Some(days)) = reader.number(section, "dates-between", least) {
            dates_between = days;
        }
        hours = read_hours(reader, section).unwrap_or_default();
    }
    let defaults = read_defaults(reader, root, dates_between);
    let rules = read_rules(reader, root, defaults.as_ref().ok(), dates_between);
    let caps = read_caps(reader, root);
    let notices_channel = read_notices_channel(reader, root);
    let policy = Policy {
        modes,
        defaults: defaults.unwrap_or_else(|Told| Life::built_in()),
        rules,
        break_glass: read_break_glass(reader, root),
        dates_between: dates_between.value,
        hours,
        caps,
        notices_channel,
        most: Mode::Enforce,
        hash: String::new(),
    };
    policy.hashed()
}

fn read_modes(reader: &mut Reader, root: Section<'_>) -> BTreeMap<AccountId, Mode> {
    let mut modes = BTreeMap::new();
    let mut lines: BTreeMap<AccountId, usize> = BTreeMap::new();
    let Some(section) = reader.section(root, "modes", "[modes]") else { return modes };
    reader.only(section, &Mode::ALL.map(Mode::as_str));
    for mode in Mode::ALL {
        let accounts = reader.texts(section, mode.as_str(), ACCOUNT, shapes::account);
        for Placed { value, line } in accounts.unwrap_or_default().map_or_else(Vec::new, |list| list.value) {
            if let Some(before) = lines.insert(value.clone(), line) {
                reader.tell(
                    line,
                    format!("the account {value} again"),
                    format!("each account once: line {before} has it too"),
                );
            }
            modes.insert(value, mode);
        }
    }
    modes
}

fn read_hours(reader: &mut Reader, section: Section<'_>) -> Result<Option<Hours>, Told> {
    let times = reader.text(
        section,
        "hours",
        "two times of one day such as \"09:00-16:00\", the later one second (24:00 at the latest)",
        shapes::two_times,
    );
    let weekdays =
        reader.texts(section, "weekdays", "one of mon, tue, wed, thu, fri, sat, sun", shapes::weekday);
    let zone = reader.text(
        section,
        "time-zone",
        "a time zone of the IANA database, such as Europe/Berlin or UTC",
        shapes::zone,
    );
    let (times, weekdays, zone) = (times?, weekdays?, zone?);
    let Some(asked_at) = times.as_ref().map(|times| times.line).or(weekdays.as_ref().map(|days| days.line))
    else {
        return Ok(None);
    };
    let mut days: Vec<Weekday> = Vec::new();
    if let Some(list) = &weekdays {
        if list.value.is_empty() {
            return Err(reader.tell(
                list.line,
                "no weekday",
                "at least one: to disable nothing, name no account in enforce",
            ));
        }
        for day in &list.value {
            if days.contains(&day.value) {
                return Err(reader.tell(
                    day.line,
                    format!("{} again", weekday_word(day.value)),
                    "each weekday once",
                ));
            }
            days.push(day.value);
        }
        days.sort_by_key(|day| day.to_monday_zero_offset());
    } else {
        days = all_weekdays();
    }
    let Some(Placed { value: (zone, zone_name), .. }) = zone else {
        return Err(reader.tell(
            asked_at,
            "hours or weekdays without a time zone",
            "time-zone beside them, such as \"Europe/Berlin\" or \"UTC\"",
        ));
    };
    let (from_minute, until_minute) = times.map_or((0, DAY_MINUTES), |times| times.value);
    Ok(Some(Hours { zone, zone_name, weekdays: days, from_minute, until_minute }))
}

fn read_caps(reader: &mut Reader, root: Section<'_>) -> Caps {
    let mut caps = Caps::default();
    let Some(section) = reader.section(root, "caps", "[caps]") else { return caps };
    reader.only(section, &["account-percent", "account-at-least", "organization-per-day"]);
    for (key, most, cap) in [
        ("account-percent", 100, &mut caps.account_percent),
        ("account-at-least", 1_000, &mut caps.account_at_least),
        ("organization-per-day", 10_000, &mut caps.organization_per_day),
    ] {
        if let Ok(Some(number)) = reader.number(section, key, 0..=most) {
            *cap = number.value;
        }
    }
    caps
}

/// Alerts of events are not here: where they go is the functions' own, so that no policy can turn them away.
fn read_notices_channel(reader: &mut Reader, root: Section<'_>) -> Option<String> {
    let section = reader.section(root, "channels", "[channels]")?;
    reader.only(section, &["notices"]);
    reader.text(section, "notices", CHANNEL, shapes::channel).unwrap_or_default().map(|id| id.value)
}

fn read_break_glass(reader: &mut Reader, root: Section<'_>) -> BTreeSet<BreakGlass> {
    let mut lines: BTreeMap<(AccountId, String), usize> = BTreeMap::new();
    let mut users = BTreeSet::new();
    for section in reader.sections(root, "break-glass", "[[break-glass]]") {
        reader.only(section, &["account", "user"]);
        let account = reader.text(section, "account", ACCOUNT, shapes::account);
        let user = reader.text(section, "user", USER, shapes::exact_user);
        let (Ok(account), Ok(user)) = (account, user) else { continue };
        let (Some(account), Some(user)) = (account, user) else {
            reader.tell(
                section.line,
                "a break-glass user without account or user",
                "both: account = \"…\" and user = \"…\"",
            );
            continue;
        };
        let name = (account.value.clone(), user.value.to_ascii_lowercase());
        if let Some(before) = lines.insert(name, section.line) {
            let found = format!("the break-glass user {} of {} again", user.value, account.value);
            reader.tell(section.line, found, format!("each once: line {before} has it too"));
        }
        users.insert(BreakGlass { account: account.value, user: user.value });
    }
    users
}
