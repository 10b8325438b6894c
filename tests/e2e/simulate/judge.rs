//! The promises, judged by what happened outside: what reached IAM, what Slack has, what people did, and the
//! ledger's last rows. Nothing here asks the code that it judges.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use keytide_core::policy::Mode;

use super::{
    story::{Decision, Ended, Person, Run, Story},
    truth::{Life, Told, Truth, date, dates_between, told, truth},
};
use crate::world::CHANNEL;

/// A credential report may be so old, and IAM a little behind itself: what is newer may not be seen.
const REPORT_AGE: SignedDuration = SignedDuration::from_mins(4 * 60 + 10);
/// Dates between two reminders, and between a notice and a disable.
const DATES: i64 = 5;
/// For so long the channel waits for an owner whom Slack cannot serve; then its message is the notice, and says so.
const PATIENCE: SignedDuration = SignedDuration::from_hours(3 * 24);
/// Disables of one account on one date: ten per cent of so few keys is less.
const ACCOUNT_CAP: usize = 2;

struct Judge<'a> {
    story: &'a Story,
    truth: Truth,
    told: BTreeMap<String, Vec<Told>>,
    /// Each message as its reader sees it.
    wholes: Vec<String>,
    broken: Vec<String>,
}

/// Every promise that the story breaks, in words.
pub(super) fn judge(story: &Story) -> Vec<String> {
    let truth = truth(story);
    let told = told(story, truth.keys.keys());
    let wholes = story.said.iter().map(super::weather::Said::whole).collect();
    let mut judge = Judge { story, truth, told, wholes, broken: Vec::new() };
    judge.alerts();
    judge.notices();
    judge.not_twice();
    judge.disables();
    judge.caps();
    judge.records();
    judge.repeats();
    judge.echoes();
    judge.broken
}

/// Whether a message of the channel says that this key is new: alone, or in a line among others.
fn is_alert(whole: &str, key: &str) -> bool {
    let is_line = |line: &str| {
        line.contains(key) && (line.contains("new key ") || line.contains("found, told by no event"))
    };
    let is_joined = whole.contains("came in quick succession") && whole.lines().any(is_line);
    let is_alone = whole.contains("New access key") || whole.contains("Access key found:");
    whole.contains(key) && (is_alone || is_joined)
}

impl Judge<'_> {
    fn breaks(&mut self, promise: u32, what: &str) {
        self.broken.push(format!("promise {promise}: {what}"));
    }

    fn person(&self, life: &Life) -> &Person {
        self.story.people.iter().find(|one| one.account == life.account && one.name == life.person).unwrap()
    }

    /// The notice days and the disable day for a person: a tag can only shorten.
    fn days(&self, person: &Person, rules: usize) -> ([i64; 3], i64) {
        let rules = &self.story.rules[rules];
        let day = person.max_age.map_or(rules.disable_day, |tag| tag.min(rules.disable_day));
        (rules.notice_days.map(|notice| notice - (rules.disable_day - day)), day)
    }

    fn sweeps<'s>(&'s self, account: &str) -> impl DoubleEndedIterator<Item = (usize, &'s Run)> {
        let account = account.to_owned();
        self.story.runs.iter().enumerate().filter(move |(_, run)| run.is_sweep() && run.account == account)
    }

    /// The first sweep that succeeded.
    fn baseline(&self, account: &str) -> &Run {
        self.sweeps(account).find(|(_, run)| run.succeeded()).unwrap().1
    }

    fn latest_decision(
        &self,
        at: Timestamp,
        wanted: impl Fn(&Decision) -> bool,
    ) -> Option<&(Timestamp, Decision)> {
        self.story.decisions.iter().rev().find(|(when, decision)| *when <= at && wanted(decision))
    }

    fn exemption(&self, key: &str, at: Timestamp) -> Option<Timestamp> {
        let of_key =
            |decision: &Decision| matches!(decision, Decision::Exempt { key_id, .. } if key_id == key);
        match self.latest_decision(at, of_key)? {
            (_, Decision::Exempt { until, .. }) => Some(*until),
            _ => None,
        }
    }

    fn is_exempt(&self, key: &str, at: Timestamp) -> bool {
        self.exemption(key, at).is_some_and(|until| until > at)
    }

    /// Whether keytide was told of an event before then.
    fn heard(&self, event: &str, before: Timestamp) -> bool {
        self.story
            .runs
            .iter()
            .any(|run| run.event.as_deref() == Some(event) && run.end < before && run.succeeded())
    }

    /// The latest moment before `at` that certainly makes all earlier notices stale.
    fn armed_at(&self, key: &str, life: &Life, at: Timestamp) -> Timestamp {
        let mut since = vec![life.born];
        since.extend(self.exemption(key, at).filter(|until| *until <= at));
        since.extend(
            self.latest_decision(at, |decision| *decision == Decision::Restored).map(|(when, _)| *when),
        );
        let mode = |run: &Run| self.story.rules[run.rules].modes[&life.account];
        let is_done = |run: &Run| matches!(run.ended, Ended::Done(_));
        let before: Vec<&Run> =
            self.sweeps(&life.account).map(|(_, run)| run).filter(|run| run.begin <= at).collect();
        let lenient = before.iter().rposition(|run| is_done(run) && mode(run) != Mode::Enforce);
        let entered =
            lenient.and_then(|place| before.iter().skip(place + 1).find(|run| mode(run) == Mode::Enforce));
        since.extend(entered.map(|run| run.begin));
        for (number, (when, event)) in life.reactivations.iter().enumerate() {
            // Another one not long before may have begun the epoch in its place.
            let is_alone = life
                .reactivations
                .iter()
                .take(number)
                .all(|(other, _)| when.duration_since(*other) > SignedDuration::from_hours(45 * 24));
            if is_alone && *when <= at && self.heard(event, at) {
                since.push(*when);
            }
        }
        since.into_iter().max().unwrap()
    }

    /// Promise 1: every new key is alerted by the next sweep that succeeds, once; what was there before the
    /// first sweep is not.
    fn alerts(&mut self) {
        let mut broken = Vec::new();
        for (key, life) in &self.truth.keys {
            let alerts: Vec<_> = self
                .story
                .said
                .iter()
                .zip(&self.wholes)
                .filter(|(said, whole)| said.conversation == CHANNEL && is_alert(whole, key))
                .map(|(said, _)| said)
                .collect();
            let baseline = self.baseline(&life.account);
            if life.is_old {
                if let Some(said) = alerts.first() {
                    broken.push(format!(
                        "{key} was there before and is alerted as new at {}: {}",
                        said.at, said.text
                    ));
                }
                continue;
            }
            for (number, run) in self.sweeps(&life.account) {
                let from = run.begin.checked_sub(REPORT_AGE).unwrap();
                let is_there = life.born < from && life.deleted.is_none_or(|at| at > run.end);
                let is_renamed = life.names.iter().skip(1).any(|(at, _)| *at >= from && *at <= run.end);
                // Once an event of it was received, its queue brings that back until it is told.
                let is_received = self.story.runs.iter().any(|other| {
                    other.event.as_ref().is_some_and(|event| Some(event) == life.events.first())
                        && other.begin < run.end
                });
                let is_told_by_sweep =
                    is_there && !is_renamed && !is_received && run.succeeded_for(key, life.name());
                let must = run.begin > baseline.end && is_told_by_sweep;
                if must && alerts.iter().all(|said| said.at > run.end) {
                    broken.push(format!(
                        "{key}, made on {}, was not alerted after sweep {number} of {}",
                        life.born, run.begin
                    ));
                    break;
                }
            }
            let is_done = self.heard(&life.events[0], Timestamp::MAX);
            if is_done && alerts.is_empty() {
                broken.push(format!("{key} was never alerted, though its event was done with"));
            }
            for pair in alerts.windows(2) {
                // Of an event that comes while the ledger is silent nobody can know what was told before.
                let is_unrecorded =
                    pair[1].text.contains("Not yet in the ledger") && self.story.runs[pair[1].run].excused;
                if pair[0].confirmed && !self.story.runs[pair[0].run].excused && !is_unrecorded {
                    broken.push(format!("{key} was alerted at {} and again at {}", pair[0].at, pair[1].at));
                }
            }
        }
        for what in broken {
            self.breaks(1, &what);
        }
    }

    /// Promise 2: after a sweep that succeeded, whoever had to be told was told.
    fn notices(&mut self) {
        let mut broken = Vec::new();
        for (key, life) in &self.truth.keys {
            let person = self.person(life);
            for (number, run) in self.sweeps(&life.account) {
                let is_free = !self.is_exempt(key, run.begin) && !self.is_exempt(key, run.end);
                let is_steady = life.is_steady(run.begin.checked_sub(REPORT_AGE).unwrap(), run.end);
                if !is_free || !is_steady || !run.succeeded_for(key, life.name()) {
                    continue;
                }
                let (days, disable_day) = self.days(person, run.rules);
                let age = life.age_days(run.begin);
                let Some(wanted) = days.into_iter().rev().find(|day| *day <= age) else { continue };
                let armed = self.armed_at(key, life, run.begin);
                let since = |told: &&Told| told.at > armed && told.at <= run.end;
                let in_channel: Vec<&Told> =
                    self.told[key].iter().filter(since).filter(|told| told.conversation == CHANNEL).collect();
                let what =
                    format!("{key}, {age} days old, armed {armed}, after sweep {number} of {}", run.begin);
                if !in_channel.iter().any(|told| life.age_days(told.at) >= wanted) {
                    broken.push(format!("{what}: the channel was not told of day {wanted}"));
                    continue;
                }
                let (Some(last), Some(named)) =
                    (in_channel.last(), in_channel.iter().map(|told| told.named).max())
                else {
                    continue;
                };
                // An attempt that IAM did not confirm is told of too, in its own words.
                let is_tried = self.story.said.iter().any(|said| {
                    said.run == number
                        && said.confirmed
                        && said.conversation == CHANNEL
                        && said.text.contains(key)
                        && said.text.contains("asked IAM to disable")
                });
                let is_past = age >= disable_day && named <= date(run.begin) && !is_tried;
                if is_past && last.at < run.begin && dates_between(last.at, run.begin) >= DATES {
                    broken.push(format!("{what}: still active, and nothing was said since {}", last.at));
                }
                if let Some(direct) = self.always_reached(person) {
                    let mut owner =
                        self.told[key].iter().filter(since).filter(|told| told.conversation == direct);
                    let is_told = owner.any(|told| life.age_days(told.at) >= wanted);
                    let of_day = in_channel.iter().filter(|told| life.age_days(told.at) >= wanted);
                    if !is_told && !of_day.into_iter().any(|told| self.stands_in(key, life, wanted, told)) {
                        broken.push(format!("{what}: the owner was not told of day {wanted}"));
                    }
                }
            }
        }
        for what in broken {
            self.breaks(2, &what);
        }
    }

    /// Whether this message to the channel says that it stands in for the owner's, which an earlier sweep, three days
    /// before or longer, had tried to send as well and could not.
    fn stands_in(&self, key: &str, life: &Life, wanted: i64, told: &Told) -> bool {
        let says_so = self.story.said.iter().any(|said| {
            said.run == told.run
                && said.conversation == CHANNEL
                && said.text.contains(key)
                && said.text.contains("Whether the owner was told is not known")
        });
        let long_ago = told.at.checked_sub(PATIENCE).unwrap();
        let tried_before = self.sweeps(&life.account).any(|(_, run)| {
            run.begin <= long_ago
                && life.age_days(run.begin) >= wanted
                && !run.succeeded_for(key, life.name())
        });
        says_so && tried_before
    }

    /// Where the owner reads, if the owner could be reached and was to be told all the time.
    fn always_reached<'p>(&self, person: &'p Person) -> Option<&'p str> {
        let direct = person.direct.as_deref()?;
        let always_told = self
            .sweeps(&person.account)
            .all(|(_, run)| self.story.rules[run.rules].modes[&person.account] != Mode::Observe);
        let never_away = self
            .story
            .decisions
            .iter()
            .all(|(_, decision)| !matches!(decision, Decision::Reachable(_, false)));
        (always_told && never_away).then_some(direct)
    }

    /// Promise 2: nobody is told twice, but where an answer was lost or the ledger was silent.
    fn not_twice(&mut self) {
        let mut broken = Vec::new();
        for (key, life) in &self.truth.keys {
            let person = self.person(life);
            let mut by_place: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
            for told in &self.told[key] {
                by_place.entry(&told.conversation).or_default().push(told);
            }
            for pair in by_place.values().flat_map(|all| all.windows(2)) {
                let (first, again) = (pair[0], pair[1]);
                let run = &self.story.runs[first.run];
                let is_excused = !first.confirmed || run.excused;
                if is_excused || self.may_be_armed_between(key, life, run.begin, again.at) {
                    continue;
                }
                let (days, disable_day) = self.days(person, run.rules);
                let stage = |at: Timestamp| days.into_iter().rev().find(|day| *day <= life.age_days(at));
                let is_same = stage(first.at) == stage(again.at);
                let is_late = life.age_days(again.at) >= disable_day;
                if is_same && (!is_late || dates_between(first.at, again.at) < DATES) {
                    broken.push(format!(
                        "{key} was told of at {} and again at {} in {}",
                        first.at, again.at, first.conversation
                    ));
                }
            }
        }
        for what in broken {
            self.breaks(2, &what);
        }
    }

    /// Whether anything between the two may have made the first of two notices stale.
    fn may_be_armed_between(&self, key: &str, life: &Life, from: Timestamp, to: Timestamp) -> bool {
        let within = |at: Timestamp| at >= from && at <= to;
        let decided = self.story.decisions.iter().any(|(at, decision)| match decision {
            Decision::Policy(_) | Decision::Restored => within(*at),
            Decision::Exempt { key_id, until } => key_id == key && (within(*at) || within(*until)),
            _ => false,
        });
        let changed =
            life.statuses.iter().map(|(at, _)| *at).chain(life.names.iter().map(|(at, _)| *at)).any(within);
        let heard = self.story.runs.iter().any(|run| {
            run.event.as_ref().is_some_and(|event| life.events.contains(event))
                && run.end >= from
                && run.begin <= to
        });
        decided || changed || heard
    }

    /// Promise 3: a key is disabled only if all of it holds.
    fn disables(&mut self) {
        let mut broken = Vec::new();
        for done in &self.truth.disables {
            let mut no = |why: String| {
                broken.push(format!("{} was set {} at {}, although {why}", done.key_id, done.to, done.at));
            };
            let Some(life) = self.truth.keys.get(&done.key_id) else {
                no("nobody knows it".to_owned());
                continue;
            };
            // IAM keeps whole seconds.
            let end = done.at.checked_add(SignedDuration::from_secs(1)).unwrap();
            let run = self.sweeps(&done.account).find(|(_, run)| run.begin <= end && run.end >= done.at);
            let Some((number, run)) = run else {
                no("no sweep was running".to_owned());
                continue;
            };
            let person = self.person(life);
            let (_, disable_day) = self.days(person, run.rules);
            let rules = &self.story.rules[run.rules];
            if done.to != "Inactive" {
                no("a disabler only ever sets Inactive".to_owned());
            }
            if !done.was_active {
                no("it was not Active".to_owned());
            }
            if life.age_days(end) < disable_day {
                no(format!("it was {} days old", life.age_days(end)));
            }
            if rules.modes[&done.account] != Mode::Enforce {
                no("its account was not in enforce".to_owned());
            }
            if person.break_glass {
                no("it is a break-glass user's".to_owned());
            }
            if self.is_exempt(&done.key_id, done.at) {
                no("it was exempt".to_owned());
            }
            let halts = |decision: &Decision| matches!(decision, Decision::Halt | Decision::Resume);
            // IAM's time is cut to the second: it was halted if it was so before that second and after it.
            let second = SignedDuration::from_secs(1);
            let around = [done.at.checked_sub(second).unwrap(), done.at.checked_add(second).unwrap()];
            let is_halted = |at: &Timestamp| {
                self.latest_decision(*at, halts).is_some_and(|(_, decision)| *decision == Decision::Halt)
            };
            if around.iter().all(is_halted) {
                no("everything was halted".to_owned());
            }
            let skews = |decision: &Decision| matches!(decision, Decision::Skew(_));
            if let Some((_, Decision::Skew(minutes))) = self.latest_decision(done.at, skews)
                && minutes.abs() > 5
            {
                no(format!("the clocks were {minutes} minutes apart"));
            }
            let armed = self.armed_at(&done.key_id, life, run.begin);
            let notices: Vec<&Told> = self.told[&done.key_id]
                .iter()
                .filter(|told| told.confirmed && told.at > armed && told.at <= end)
                .collect();
            let licenses = |told: &&&Told| {
                told.in_earnest && dates_between(told.at, end) >= DATES && told.named <= date(end)
            };
            if !notices.iter().any(|told| licenses(&told)) {
                no(format!("no notice since {armed} licenses it: {notices:?}"));
            }
            if let Some(later) = notices.iter().find(|told| told.named > date(end)) {
                no(format!("the notice of {} named {} (sweep {number})", later.at, later.named));
            }
            // Of an epoch's reactivations the first that begins none gives a day.
            let heard = life
                .reactivations
                .iter()
                .find(|(at, event)| *at > armed && *at < run.begin && self.heard(event, run.begin));
            if let Some((at, _)) = heard.filter(|(at, _)| dates_between(*at, end) < 1) {
                no(format!("it was set Active at {at}"));
            }
        }
        for what in broken {
            self.breaks(3, &what);
        }
    }

    /// Promise 3: the caps.
    fn caps(&mut self) {
        let mut by_date = BTreeMap::new();
        let mut by_account = BTreeMap::new();
        for done in self.truth.disables.iter().filter(|done| done.was_active) {
            *by_date.entry(date(done.at)).or_insert(0) += 1;
            *by_account.entry((date(done.at), done.account.clone())).or_insert(0) += 1;
        }
        let most = self.story.rules[0].organization_cap;
        for (date, count) in by_date.into_iter().filter(|(_, count)| *count > most) {
            self.breaks(
                3,
                &format!("{count} keys were disabled on {date}, the organization's cap is {most}"),
            );
        }
        for ((date, account), count) in by_account.into_iter().filter(|(_, count)| *count > ACCOUNT_CAP) {
            self.breaks(
                3,
                &format!("{count} keys of {account} were disabled on {date}, its cap is {ACCOUNT_CAP}"),
            );
        }
    }

    /// Promises 4 and 5: in the end the ledger knows what is true, and calm sweeps succeed.
    fn records(&mut self) {
        let mut broken = Vec::new();
        for (key, life) in &self.truth.keys {
            let row = self.story.rows.iter().find(|row| row.key_id == *key);
            let Some(row) = row else {
                // Made and gone between two sweeps, and no event told.
                if life.deleted.is_none() {
                    broken.push((4, format!("{key} is not in the ledger")));
                }
                continue;
            };
            let word = row.standing_word();
            let wanted: &[&str] = match (life.deleted, life.is_active()) {
                (Some(_), _) => &["Deleted", "Gone"],
                (None, true) => &["Active"],
                (None, false) => &["Inactive"],
            };
            if !wanted.contains(&word) {
                broken.push((4, format!("{key} is {wanted:?}, and the ledger says {word}")));
            }
            if life.deleted.is_none() && row.holder.subject.user() != Some(life.name()) {
                broken.push((
                    4,
                    format!("{key} is of {}, and the ledger says {}", life.name(), row.holder.subject),
                ));
            }
        }
        for said in &self.story.said {
            let whole = said.whole();
            if !said.text.contains("keytide disabled ") {
                continue;
            }
            let second = said.at.checked_add(SignedDuration::from_secs(1)).unwrap();
            let was_done = |done: &super::truth::ByRole| whole.contains(&done.key_id) && done.at <= second;
            if !self.truth.disables.iter().any(was_done) {
                broken.push((4, format!("nothing was disabled before {}: {}", said.at, said.text)));
            }
        }
        for account in &self.story.accounts {
            for (number, run) in self.sweeps(account).rev().take(2) {
                // A user whose path a session cannot be narrowed to is said each time.
                let is_known =
                    |(key, cause): &(Option<String>, String)| key.is_some() && cause.contains("/we*rd/");
                let is_well = matches!(&run.ended, Ended::Done(troubles) if troubles.iter().all(is_known));
                if !is_well {
                    broken.push((
                        5,
                        format!("sweep {number} of {} met nothing and ended {:?}", run.begin, run.ended),
                    ));
                }
            }
        }
        for (promise, what) in broken {
            self.breaks(promise, &what);
        }
    }

    /// Promise 6: a run repeated at once changes nothing.
    fn repeats(&mut self) {
        let mut broken = Vec::new();
        for (number, run) in self.story.runs.iter().enumerate().filter(|(_, run)| run.is_repeat) {
            let (before, _) = (self.story.runs[number - 1].begin, run.begin);
            let ages_alike =
                self.truth.keys.values().all(|life| life.age_days(before) == life.age_days(run.end));
            if date(before) != date(run.end) || !ages_alike {
                continue;
            }
            if let Some(said) = self.story.said.iter().find(|said| said.run == number) {
                broken.push(format!(
                    "sweep {number} of {} repeated the one before, and said: {}",
                    run.begin, said.text
                ));
            }
            if let Some(done) = self
                .truth
                .disables
                .iter()
                .find(|done| done.account == run.account && done.at > run.begin && done.at <= run.end)
            {
                broken.push(format!("sweep {number} repeated the one before, and disabled {}", done.key_id));
            }
        }
        for what in broken {
            self.breaks(6, &what);
        }
    }

    /// Promise 11: our own echo is quiet, and nothing else done with our role is.
    fn echoes(&mut self) {
        let mut broken = Vec::new();
        let heard = |event: &str| -> Vec<usize> {
            let runs = self.story.runs.iter().enumerate();
            runs.filter(|(_, run)| run.event.as_deref() == Some(event)).map(|(number, _)| number).collect()
        };
        for done in &self.truth.disables {
            let second = done.at.checked_add(SignedDuration::from_secs(1)).unwrap();
            let mut by =
                self.sweeps(&done.account).filter(|(_, run)| run.begin <= second && run.end >= done.at);
            if by.any(|(_, run)| run.excused) {
                continue;
            }
            let runs = heard(&done.event);
            if let Some(said) = self.story.said.iter().find(|said| runs.contains(&said.run)) {
                broken.push(format!("the echo of our own disable at {} was told: {}", done.at, said.text));
            }
        }
        for event in &self.truth.thefts {
            let runs = heard(event);
            let is_told = self
                .story
                .said
                .iter()
                .any(|said| runs.contains(&said.run) && said.text.starts_with("CRITICAL"));
            if runs.iter().any(|run| self.story.runs[*run].succeeded()) && !is_told {
                broken.push(format!("our role was stolen, event {event} told of it, and nobody heard"));
            }
        }
        for what in broken {
            self.breaks(11, &what);
        }
    }
}
