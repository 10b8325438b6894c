//! The rules in the policy file: each for itself, and each beside those before it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Conditions, Life, Rule,
    parse_life::read_life,
    reader::{Placed, Reader, Section, Told, excerpt},
    shapes::{self, ACCOUNT, PATH, USER_PATTERN},
};
use crate::{
    AccountId,
    owner::{TAG_FULL_NAME, TAG_MAX_AGE_DAYS, TAG_SLACK_ID, TAG_TYPE, tag_key},
};

/// A policy may have so many rules: each is looked at for each key, and compared with each other.
const MOST_RULES: usize = 500;

/// Reads the rules. `defaults` is `None` where they have a problem of their own.
pub(super) fn read_rules(
    reader: &mut Reader,
    root: Section<'_>,
    defaults: Option<&Life>,
    dates_between: Placed<u32>,
) -> Vec<Rule> {
    let sections = reader.sections(root, "rule", "[[rule]]");
    if let Some(beyond) = sections.get(MOST_RULES) {
        let found = format!("{} rules", sections.len());
        reader.tell(beyond.line, found, format!("at most {MOST_RULES}: let one rule name several accounts"));
        return Vec::new();
    }
    let mut rules: Vec<Placed<Rule>> = Vec::new();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for section in sections {
        reader.only(
            section,
            &[
                "name",
                "accounts",
                "path",
                "user",
                "type",
                "tags",
                "notice-days",
                "disable-day",
                "inactive-days",
            ],
        );
        let name = read_name(reader, section, &mut names);
        let conditions = read_conditions(reader, section);
        let life = read_life(reader, section, defaults, dates_between.value);
        let (Ok(name), Ok(conditions), Ok(life)) = (name, conditions, life) else { continue };
        rules.push(Placed { value: Rule { name, conditions, life }, line: section.line });
    }
    if let Some(defaults) = defaults {
        for rule in &rules {
            refuse_laxity_by_tags(reader, rule, defaults);
        }
    }
    for (place, later) in rules.iter().enumerate() {
        for earlier in rules.iter().take(place) {
            compare(reader, earlier, later);
        }
    }
    rules.into_iter().map(|rule| rule.value).collect()
}

/// A tag can only tighten: whoever may tag a user must not gain a day by it.
fn refuse_laxity_by_tags(reader: &mut Reader, rule: &Placed<Rule>, defaults: &Life) {
    let Rule { name, conditions, life } = &rule.value;
    if !conditions.by_tags_alone() {
        return;
    }
    if let Some(how) = life.laxer_than(defaults) {
        let found = format!("the rule `{name}`, which by tags alone is laxer than the defaults: it {how}");
        reader.tell(rule.line, found, "accounts, path or user as well: a tag can only tighten");
    }
}

/// What can be wrong with the order of two rules.
fn compare(reader: &mut Reader, earlier: &Placed<Rule>, later: &Placed<Rule>) {
    let (first, second) = (&earlier.value, &later.value);
    if first.conditions.cover(&second.conditions) {
        let found = format!(
            "the rule `{}`, which can never match: `{}` on line {} takes all that it would",
            second.name, first.name, earlier.line
        );
        reader.tell(later.line, found, "other conditions, or its place before that rule");
        return;
    }
    // Without the tag the stricter rule would hold: here too the tag would loosen.
    let may_meet = !first.conditions.tags_exclude(&second.conditions);
    if first.conditions.by_tags_alone()
        && may_meet
        && let Some(how) = first.life.laxer_than(&second.life)
    {
        let found = format!(
            "the rule `{}`, which by tags alone takes users from the stricter `{}` on line {}: it {how}",
            first.name, second.name, later.line
        );
        reader.tell(earlier.line, found, "its place behind that rule: a tag can only tighten");
    }
}

fn read_name(
    reader: &mut Reader,
    section: Section<'_>,
    names: &mut BTreeMap<String, usize>,
) -> Result<String, Told> {
    let is_name = |text: &str| {
        ((1..=64).contains(&text.len()) && shapes::has_only(text, "._-")).then(|| text.to_owned())
    };
    let name = reader.text(section, "name", "a name of up to 64 letters, digits and ._-", is_name)?;
    let Some(Placed { value, line }) = name else {
        return Err(reader.tell(
            section.line,
            "a rule without a name",
            "name = \"…\": messages and plans call it by that",
        ));
    };
    match names.insert(value.clone(), line) {
        None => Ok(value),
        Some(before) => {
            let expected = format!("another name: line {before} has it already");
            Err(reader.tell(line, format!("the rule name `{value}` again"), expected))
        }
    }
}

fn read_conditions(reader: &mut Reader, section: Section<'_>) -> Result<Conditions, Told> {
    let accounts = read_accounts(reader, section);
    let path = reader.text(section, "path", PATH, shapes::path);
    let user = reader.text(section, "user", USER_PATTERN, shapes::user_pattern);
    let user_type =
        reader.text(section, "type", "what the tag `type` says: 1 to 256 characters", shapes::tag_value);
    let tags = read_tags(reader, section);
    let conditions = Conditions {
        accounts: accounts?,
        path: path?.map(|path| path.value),
        user: user?.map(|user| user.value),
        user_type: user_type?.map(|text| text.value),
        tags: tags?,
    };
    if conditions.is_empty() {
        let expected =
            "at least one of accounts, path, user, type, tags: what is for all stands in [defaults]";
        return Err(reader.tell(section.line, "a rule without conditions", expected));
    }
    Ok(conditions)
}

fn read_accounts(reader: &mut Reader, section: Section<'_>) -> Result<BTreeSet<AccountId>, Told> {
    let mut accounts = BTreeSet::new();
    let Some(list) = reader.texts(section, "accounts", ACCOUNT, shapes::account)? else {
        return Ok(accounts);
    };
    if list.value.is_empty() {
        return Err(reader.tell(list.line, "no account", "at least one, or no `accounts` at all"));
    }
    for Placed { value, line } in list.value {
        if accounts.contains(&value) {
            return Err(reader.tell(line, format!("the account {value} again"), "each account once"));
        }
        accounts.insert(value);
    }
    Ok(accounts)
}

fn read_tags(reader: &mut Reader, section: Section<'_>) -> Result<BTreeMap<String, String>, Told> {
    const OWN: [&str; 4] = [TAG_TYPE, TAG_SLACK_ID, TAG_FULL_NAME, TAG_MAX_AGE_DAYS];
    let mut tags = BTreeMap::new();
    let name = "tags = { key = \"value\" }";
    let Some(section) = reader.checked_section(section, "tags", name)? else { return Ok(tags) };
    let mut told = None;
    let entries = reader.entries(section);
    if entries.is_empty() {
        told = Some(reader.tell(section.line, "no tag", "at least one, or no `tags` at all"));
    }
    for (key, value) in entries {
        // The longest key and value of a tag (Tag in IAM's API reference); a value may be empty.
        let is_value = |text: &str| (text.chars().count() <= 256).then(|| text.to_owned());
        let value = reader.as_text(value, key, "a tag's value: at most 256 characters", is_value);
        let Ok(Placed { value, line }) = value else {
            told = Some(Told);
            continue;
        };
        let lower = tag_key(key);
        if !(1..=128).contains(&key.chars().count()) {
            let found = format!("the tag key `{}`", excerpt(key));
            told = Some(reader.tell(line, found, "a tag key of 1 to 128 characters"));
        } else if OWN.contains(&lower.as_str()) {
            let expected = "another tag: `type` is a condition of its own, and keytide's other tags are none";
            told = Some(reader.tell(line, format!("the tag `{lower}` among `tags`"), expected));
        } else if tags.insert(lower.clone(), value).is_some() {
            let expected = "each tag once: IAM does not tell tag keys apart by case";
            told = Some(reader.tell(line, format!("the tag `{}` again", excerpt(&lower)), expected));
        }
    }
    told.map_or(Ok(tags), Err)
}
