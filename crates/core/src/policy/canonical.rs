//! The policy's hash: over what it says, not over how its file is laid out.

use std::fmt::Write as _;

use super::{Caps, Conditions, Hours, Life, Policy, Rule, hours::weekday_word};
use crate::digest::sha256_hex;

/// Raised when the same policy would give another text here: hashes of before then mean nothing any more.
const VERSION: u32 = 2;

/// The SHA-256 of a policy.
///
/// Everything is written in one order, each value with its length and each list with its count, so that no
/// two policies have one text. Rules stay in their order, since the first one that matches wins.
pub(super) fn hash(policy: &Policy) -> String {
    let Policy {
        modes,
        defaults,
        rules,
        break_glass,
        dates_between,
        hours,
        caps,
        notices_channel,
        most: _,
        hash: _,
    } = policy;
    let mut text = Text(String::new());
    text.number("keytide policy", VERSION);
    text.count("modes", modes.len());
    for (account, mode) in modes {
        text.word(account.as_str(), mode.as_str());
    }
    text.life(defaults);
    text.count("rules", rules.len());
    for rule in rules {
        text.rule(rule);
    }
    // A user's name means the same in any case, and so does its place in the list.
    let mut users: Vec<(&str, String)> =
        break_glass.iter().map(|one| (one.account.as_str(), one.user.to_ascii_lowercase())).collect();
    users.sort();
    text.count("break-glass", users.len());
    for (account, user) in &users {
        text.word(account, user);
    }
    text.number("dates-between", *dates_between);
    text.count("hours", usize::from(hours.is_some()));
    if let Some(Hours { zone: _, zone_name, weekdays, from_minute, until_minute }) = hours {
        text.word("time-zone", zone_name);
        text.count("weekdays", weekdays.len());
        for day in weekdays {
            text.word("weekday", weekday_word(*day));
        }
        text.number("from-minute", u32::from(*from_minute));
        text.number("until-minute", u32::from(*until_minute));
    }
    let Caps { account_percent, account_at_least, organization_per_day } = caps;
    text.number("account-percent", *account_percent);
    text.number("account-at-least", *account_at_least);
    text.number("organization-per-day", *organization_per_day);
    text.optional("notices", notices_channel.as_deref());
    sha256_hex(text.0.as_bytes())
}

struct Text(String);

impl Text {
    fn word(&mut self, name: &str, value: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name} {} {value}", value.len());
    }

    fn number(&mut self, name: &str, value: u32) {
        self.word(name, &value.to_string());
    }

    fn count(&mut self, name: &str, count: usize) {
        self.word(name, &count.to_string());
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        self.count(name, usize::from(value.is_some()));
        if let Some(value) = value {
            self.word(name, value);
        }
    }

    fn life(&mut self, life: &Life) {
        let Life { notice_days, disable_day, inactive_days } = life;
        self.count("notice-days", notice_days.len());
        for day in notice_days {
            self.number("notice-day", *day);
        }
        self.number("disable-day", *disable_day);
        self.optional("inactive-days", inactive_days.map(|days| days.to_string()).as_deref());
    }

    fn rule(&mut self, rule: &Rule) {
        let Rule { name, conditions, life } = rule;
        let Conditions { accounts, path, user, user_type, tags } = conditions;
        self.word("rule", name);
        self.count("accounts", accounts.len());
        for account in accounts {
            self.word("account", account.as_str());
        }
        self.optional("path", path.as_deref());
        self.optional("user", user.as_ref().map(|user| user.as_str().to_ascii_lowercase()).as_deref());
        self.optional("type", user_type.as_deref());
        self.count("tags", tags.len());
        for (key, value) in tags {
            self.word("tag", key);
            self.word("is", value);
        }
        self.life(life);
    }
}
