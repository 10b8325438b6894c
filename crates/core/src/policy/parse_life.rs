//! A life in the policy file: bounds, order, and room for a notice before the end.

use std::ops::RangeInclusive;

use super::{
    LONGEST_LIFE_DAYS, Life,
    reader::{Found, Placed, Reader, Section, Told},
};

const LIFE_DAYS: RangeInclusive<u32> = 1..=LONGEST_LIFE_DAYS;
const LIFE_KEYS: [&str; 3] = ["notice-days", "disable-day", "inactive-days"];

/// The defaults: what the file sets, and the built-in ones for the rest.
pub(super) fn read_defaults(
    reader: &mut Reader,
    root: Section<'_>,
    dates_between: Placed<u32>,
) -> Result<Life, Told> {
    if let Some(section) = reader.section(root, "defaults", "[defaults]") {
        reader.only(section, &LIFE_KEYS);
        return read_life(reader, section, Some(&Life::built_in()), dates_between.value);
    }
    let life = Life::built_in();
    notice_in_time(reader, &life, dates_between.line, dates_between.value)?;
    Ok(life)
}

/// A life: what the section sets, and the rest of `base`; `None` where that one has a problem of its own.
pub(super) fn read_life(
    reader: &mut Reader,
    section: Section<'_>,
    base: Option<&Life>,
    dates_between: u32,
) -> Result<Life, Told> {
    let notice_days = reader.numbers(section, "notice-days", LIFE_DAYS);
    let notice_days = notice_days.and_then(|days| rising(reader, days));
    let disable_day = reader.number(section, "disable-day", LIFE_DAYS);
    let inactive_days = reader.number_or(section, "inactive-days", LIFE_DAYS, "off");
    let (notice_days, disable_day, inactive_days) = (notice_days?, disable_day?, inactive_days?);
    let base = base.ok_or(Told)?;
    let place = notice_days.as_ref().map(|days| days.line).or(disable_day.map(|day| day.line));
    let life = Life {
        notice_days: notice_days.map_or_else(|| base.notice_days.clone(), |days| days.value),
        disable_day: disable_day.map_or(base.disable_day, |day| day.value),
        inactive_days: inactive_days.map_or(base.inactive_days, |days| days.value),
    };
    notice_in_time(reader, &life, place.unwrap_or(section.line), dates_between)?;
    Ok(life)
}

fn rising(reader: &mut Reader, days: Option<Placed<Vec<Placed<u32>>>>) -> Found<Vec<u32>> {
    let Some(days) = days else { return Ok(None) };
    if days.value.is_empty() {
        return Err(reader.tell(days.line, "no notice day", "at least one: nobody is disabled unwarned"));
    }
    let mut last = 0;
    for day in &days.value {
        if day.value <= last {
            let found = format!("the notice day {} after {last}", day.value);
            return Err(reader.tell(day.line, found, "notice days that rise, each once"));
        }
        last = day.value;
    }
    Ok(Some(Placed { value: days.value.iter().map(|day| day.value).collect(), line: days.line }))
}

/// Between the last notice and the disable there must be room for the notice to be one.
fn notice_in_time(reader: &mut Reader, life: &Life, place: usize, dates_between: u32) -> Result<(), Told> {
    let last = life.notice_days.last().copied().unwrap_or_default();
    let earliest = last.saturating_add(dates_between);
    if earliest <= life.disable_day {
        return Ok(());
    }
    let found = format!("the last notice on day {last} and the disable on day {}", life.disable_day);
    let expected = match life.disable_day.checked_sub(dates_between) {
        Some(latest @ 1..) => format!(
            "at least {dates_between} days between them: set both notice-days (the last at most {latest}) and \
             disable-day, or disable-day to {earliest} or later"
        ),
        _ => format!("at least {dates_between} days between them: disable-day {earliest} or later"),
    };
    Err(reader.tell(place, found, expected))
}
