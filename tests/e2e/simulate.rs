//! Whole lives of a company, by chance: a hundred days of sweeps and events while everything goes wrong that
//! can, and a judge who sees only what happened outside.
//!
//! One seed tells one story: tokio's clock is paused, nothing opens a socket, and all chance comes from the
//! seed, the SDK's too. `SEED=n` tells one story alone and prints it, `SEEDS=n` as many from the first on
//! (`make simulate`: 100,000); else [`IN_TESTS`].

mod company;
mod judge;
mod story;
mod truth;
mod weather;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use keytide_local::slack::Person as SlackPerson;
use serde_json::Value;

use crate::world::tell;

use self::{
    company::Company,
    story::{Decision, Story},
    weather::{Chance, Forecast},
};

const DAY: Duration = Duration::from_hours(24);
const DAYS: u32 = 100;
/// Stories told by the tests. `make simulate` tells many more.
const IN_TESTS: u64 = 500;
/// After so many broken stories no more are told.
const MOST_BROKEN: usize = 8;

/// An event on its way.
struct Coming {
    event: Value,
    due: Timestamp,
    received: u32,
}

struct Course {
    company: Company,
    chance: Chance,
    coming: Vec<Coming>,
    halted: bool,
}

/// Two draws of one number would be alike: each use has a row of its own.
const SCHEDULE: u64 = 0x5C4E_D01E;

/// One story from its beginning to its end, and the faults by kind.
async fn live(seed: u64) -> (Story, BTreeMap<String, u64>) {
    let mut chance = Chance::new(seed ^ SCHEDULE);
    let company = Company::draw(seed, &mut chance).await;
    let mut course = Course { company, chance, coming: Vec::new(), halted: false };
    course.baseline().await;
    let mut day = 0;
    while day < DAYS {
        // Days on which nobody does anything are left out: a sweep catches up.
        let gap = *course.chance.of(&[1, 2, 4, 5, 6, 9, 14]).unwrap();
        day += gap;
        let shift = course.chance.millis(6 * 3_600_000);
        tokio::time::sleep((DAY * gap + shift).saturating_sub(Duration::from_hours(3))).await;
        course.day().await;
    }
    course.end().await;
    let story = course.company.tell().await;
    (story, course.company.weather.counts())
}

impl Course {
    /// The first sweeps: whatever goes wrong, they go on until they succeed.
    async fn baseline(&mut self) {
        for account in self.accounts() {
            for turn in 0.. {
                let forecast = if turn < 3 { self.forecast() } else { Forecast::default() };
                self.company.weather.set(forecast);
                let run = self.company.sweep(&account, None).await;
                self.company.weather.set(Forecast::default());
                if self.company.story.borrow().runs[run].succeeded() {
                    break;
                }
                assert!(turn < 5, "the first sweep of {account} never succeeds");
                tokio::time::sleep(Duration::from_mins(30)).await;
            }
        }
    }

    fn accounts(&self) -> Vec<String> {
        self.company.story.borrow().accounts.clone()
    }

    fn forecast(&mut self) -> Forecast {
        let chance = &mut self.chance;
        if chance.percent(60) {
            return Forecast::default();
        }
        Forecast {
            aws: *chance.of(&[0, 5, 20, 80]).unwrap(),
            slack: *chance.of(&[0, 0, 15, 40]).unwrap(),
            slack_down: chance.percent(12),
            crash_at: chance.percent(30).then(|| 1 + chance.below(60)),
        }
    }

    async fn day(&mut self) {
        for _ in 0..self.chance.below(3) {
            self.decide().await;
        }
        self.company.take_stock().await;
        for _ in 0..self.chance.below(3) {
            self.deed(Duration::ZERO).await;
            let wait = self.chance.millis(8 * 3_600_000);
            tokio::time::sleep(wait).await;
        }
        self.collect();
        self.deliver().await;
        for account in self.accounts() {
            if self.chance.percent(8) {
                self.company.weather.count("LostMessage");
                continue;
            }
            self.sweep(&account).await;
            self.collect();
        }
        self.deliver().await;
    }

    /// One account's sweep, and whatever happens beside it.
    async fn sweep(&mut self, account: &str) {
        let forecast = self.forecast();
        let is_calm = forecast.is_calm();
        let (lags, slow) = (self.chance.percent(6), self.chance.percent(12));
        if lags {
            self.company.weather.count("IndexLag");
            let writes = usize::try_from(self.chance.below(8)).unwrap();
            self.company.aws.set_index_lag(Some(writes)).unwrap();
        }
        if slow {
            self.company.weather.count("IamDelay");
            self.company.aws.faults().set_iam_delay(Duration::from_secs(4) + self.chance.millis(40_000));
        }
        let making = if self.chance.percent(10) { Duration::from_secs(50) } else { Duration::ZERO };
        self.company.aws.iam().set_report_making(making);
        let killed = self.chance.percent(6).then(|| self.chance.millis(3_000));
        if killed.is_some() {
            self.company.weather.count("Killed");
        }
        self.company.weather.set(forecast);
        let beside = self.chance.below(100);
        let first = match beside {
            0..10 => {
                self.company.weather.count(if beside < 5 { "TwoSweepsAtOnce" } else { "SweepByHandBeside" });
                let wait = self.chance.millis(600);
                let (first, _) = tokio::join!(self.company.sweep(account, killed), async {
                    tokio::time::sleep(wait).await;
                    self.company.sweep(account, None).await
                });
                first
            }
            10..30 => {
                self.company.weather.count("DeedMeanwhile");
                let wait = self.chance.millis(1_500);
                let mut chance = self.chance.clone();
                let halts = !self.halted && chance.percent(10);
                let company = &self.company;
                let (first, ()) = tokio::join!(company.sweep(account, killed), async {
                    if halts {
                        tokio::time::sleep(wait).await;
                        company.halt(true).await;
                    } else {
                        deed(company, &mut chance, wait).await;
                    }
                });
                self.halted |= halts;
                self.chance = chance;
                first
            }
            _ => self.company.sweep(account, killed).await,
        };
        self.company.weather.set(Forecast::default());
        if lags {
            self.company.aws.set_index_lag(None).unwrap();
        }
        self.company.aws.faults().set_iam_delay(Duration::ZERO);
        let succeeded = self.company.story.borrow().runs[first].succeeded();
        let is_plain = is_calm && !lags && !slow && beside >= 30;
        if succeeded && is_plain && self.chance.percent(25) {
            self.company.weather.count("RepeatedMessage");
            let again = self.company.sweep(account, None).await;
            self.company.story.borrow_mut().runs[again].is_repeat = true;
        } else if !succeeded && self.chance.percent(60) {
            // The queue brings it back once its lease has run out.
            tokio::time::sleep(Duration::from_mins(30)).await;
            self.company.sweep(account, None).await;
        }
    }

    async fn deed(&mut self, wait: Duration) {
        deed(&self.company, &mut self.chance, wait).await;
    }

    /// What security decides between the days.
    async fn decide(&mut self) {
        let keys: Vec<(String, String)> = {
            let users = self.company.users.borrow();
            users
                .iter()
                .flat_map(|user| user.keys.keys().map(|key| (user.account.clone(), key.clone())))
                .collect()
        };
        let now = self.company.now();
        match self.chance.below(100) {
            0..8 => {
                let count = self.company.policies.len() as u64;
                let rules = usize::try_from(self.chance.below(count)).unwrap();
                self.company.put_in_force(rules).await;
                self.company.decide(Decision::Policy(rules));
                self.company.weather.count("PolicyChanged");
            }
            8..16 => {
                if let Some((account, key)) = self.chance.of(&keys).cloned() {
                    let days = 1 + i64::try_from(self.chance.below(30)).unwrap();
                    let until = now.checked_add(SignedDuration::from_hours(days * 24)).unwrap();
                    self.company.exempt(&account, &key, until).await;
                    self.company.weather.count("Exempted");
                }
            }
            16..19 => {
                let exempt =
                    self.company.story.borrow().decisions.iter().rev().find_map(
                        |(_, decision)| match decision {
                            Decision::Exempt { key_id, until } if *until > now => Some(key_id.clone()),
                            _ => None,
                        },
                    );
                let found = exempt.and_then(|exempt| keys.iter().find(|(_, key)| *key == exempt).cloned());
                if let Some((account, key)) = found {
                    self.company.exempt(&account, &key, now).await;
                    self.company.weather.count("ExemptionEnded");
                }
            }
            19..23 if !self.halted => {
                self.company.halt(true).await;
                self.halted = true;
                self.company.weather.count("Halted");
            }
            19..45 if self.halted => {
                self.company.halt(false).await;
                self.halted = false;
            }
            45..47 => {
                self.company.restored().await;
                self.company.weather.count("Restored");
            }
            47..53 => {
                let minutes = *self.chance.of(&[0, 0, 4, -4, 6, -7]).unwrap();
                self.company.aws.set_clock_skew(SignedDuration::from_mins(minutes));
                self.company.decide(Decision::Skew(minutes));
                self.company.weather.count("ClockSkew");
            }
            53..58 => {
                let reachable = self.chance.percent(50);
                let person = if reachable { SlackPerson::Active } else { SlackPerson::Disabled };
                self.company.slack.set_person("U0ALICE01", person);
                self.company.decide(Decision::Reachable("U0ALICE01".to_owned(), reachable));
                self.company.weather.count("Unreachable");
            }
            _ => {}
        }
    }

    /// Takes the events that CloudTrail has, and draws what becomes of each.
    fn collect(&mut self) {
        let now = self.company.now();
        let (company, chance) = (&self.company, &mut self.chance);
        for event in company.aws.trail().take() {
            company.story.borrow_mut().trail.push(event.clone());
            let later = |hours: u64| {
                now.checked_add(SignedDuration::from_hours(i64::try_from(hours).unwrap())).unwrap()
            };
            match chance.below(100) {
                0..25 => company.weather.count("EventLost"),
                25..40 => {
                    company.weather.count("EventLate");
                    let due = later(chance.below(12 * 24));
                    self.coming.push(Coming { event, due, received: 0 });
                }
                40..48 => {
                    company.weather.count("EventTwice");
                    let due = later(chance.below(6 * 24));
                    self.coming.push(Coming { event: event.clone(), due: now, received: 0 });
                    self.coming.push(Coming { event, due, received: 0 });
                }
                _ => self.coming.push(Coming { event, due: now, received: 0 }),
            }
        }
        if chance.percent(20) && self.coming.len() > 1 {
            company.weather.count("EventsOutOfOrder");
            self.coming.reverse();
        }
    }

    /// Delivers the events whose time has come; what is not done comes back another day.
    async fn deliver(&mut self) {
        let now = self.company.now();
        let (due, later): (Vec<Coming>, Vec<Coming>) =
            std::mem::take(&mut self.coming).into_iter().partition(|coming| coming.due <= now);
        self.coming = later;
        if due.is_empty() {
            return;
        }
        let forecast = self.forecast();
        self.company.weather.set(forecast);
        for mut coming in due {
            coming.received += 1;
            if !self.company.receive(&coming.event, coming.received).await {
                tokio::time::sleep(Duration::from_secs(100)).await;
                coming.received += 1;
                if !self.company.receive(&coming.event, coming.received).await {
                    self.coming.push(coming);
                }
            }
        }
        self.company.weather.set(Forecast::default());
    }

    /// The weather clears, and everything is brought to its end.
    async fn end(&mut self) {
        self.collect();
        self.company.slack.set_person("U0ALICE01", SlackPerson::Active);
        self.company.decide(Decision::Reachable("U0ALICE01".to_owned(), true));
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_hours(25)).await;
            for mut coming in std::mem::take(&mut self.coming) {
                for _ in 0..10 {
                    coming.received += 1;
                    if self.company.receive(&coming.event, coming.received).await {
                        break;
                    }
                    tokio::time::sleep(Duration::from_secs(100)).await;
                }
            }
            for account in self.accounts() {
                self.company.sweep(&account, None).await;
            }
            // What these sweeps did is heard of, too.
            for event in self.company.aws.trail().take() {
                self.company.story.borrow_mut().trail.push(event.clone());
                self.coming.push(Coming { event, due: self.company.now(), received: 0 });
            }
        }
    }
}

/// What an owner, or a thief, does.
async fn deed(company: &Company, chance: &mut Chance, wait: Duration) {
    let user = chance.of(&company.users.borrow()).cloned();
    let Some(user) = user else { return };
    let keys: Vec<(String, bool)> = user.keys.clone().into_iter().collect();
    let key = chance.of(&keys).cloned();
    let (account, name) = (user.account.as_str(), user.name.as_str());
    let kind = chance.below(100);
    let short = chance.millis(4_000);
    tokio::time::sleep(wait).await;
    match (kind, key) {
        (0..20, _) | (_, None) => {
            company.weather.count("KeyMade");
            company.create_key(account, name).await;
        }
        (20..40, Some((key, _))) => {
            company.weather.count("Rotated");
            if keys.len() < 2 {
                company.create_key(account, name).await;
            }
            if kind < 30 {
                company.set_status(account, name, &key, false).await;
            } else {
                company.delete_key(account, name, &key).await;
            }
        }
        (40..55, Some((key, active))) => {
            company.weather.count(if active { "SetInactive" } else { "SetActive" });
            company.set_status(account, name, &key, !active).await;
        }
        (55..65, Some((key, _))) => {
            company.weather.count("OffAndOn");
            company.set_status(account, name, &key, false).await;
            tokio::time::sleep(short).await;
            company.set_status(account, name, &key, true).await;
        }
        (65..72, Some((key, _))) => {
            company.weather.count("KeyDeleted");
            company.delete_key(account, name, &key).await;
        }
        (72..76, Some(_)) => {
            company.weather.count("UserDeleted");
            for (key, _) in &keys {
                company.delete_key(account, name, key).await;
            }
            company.delete_user(account, name).await;
        }
        // Exemption from all disabling and tags go by the name: those stay.
        (76..84, Some(_)) if name != "keeper" => {
            company.weather.count("Renamed");
            company.rename_user(account, name, &format!("{name}x")).await;
        }
        (84..89, Some((key, active))) if wait.is_zero() => {
            company.weather.count("Thief");
            company.steal(account, name, &key, !active).await;
        }
        _ => {}
    }
}

/// Tells one story and judges it; the story's words where it broke a promise.
#[expect(clippy::print_stdout, reason = "a story that was asked for")]
fn told(seed: u64, print: bool) -> Result<BTreeMap<String, u64>, String> {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(Box::pin(live(seed)))
    }));
    let Ok((story, counts)) = lived else {
        return Err(format!("seed {seed} panicked: SEED={seed} tells it"));
    };
    let broken = judge::judge(&story);
    if print {
        println!("{story}");
    }
    if broken.is_empty() {
        return Ok(counts);
    }
    let list = broken.join("\n  ");
    Err(format!(
        "{story}\nseed {seed} broke a promise:\n  {list}\nAlone: SEED={seed} cargo test -p keytide-tests --test e2e simulate -- --nocapture"
    ))
}

#[expect(clippy::disallowed_methods, reason = "which seeds are told is asked for from outside")]
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a whole number")))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "as many stories as fit into the time on the wall")]
fn whatever_happens_in_a_hundred_days_the_promises_hold() {
    if let Some(seed) = number("SEED") {
        let counts = told(seed, true).unwrap_or_else(|broken| panic!("{broken}"));
        println!("{counts:?}");
        return;
    }
    let most = number("SEEDS").unwrap_or(IN_TESTS);
    let (began, next, stop) = (Instant::now(), AtomicU64::new(1), AtomicBool::new(false));
    let (totals, broken) = (Mutex::new(BTreeMap::<String, u64>::new()), Mutex::new(Vec::new()));
    let done = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > most {
                        return;
                    }
                    match told(seed, false) {
                        Ok(counts) => {
                            let mut totals = totals.lock().unwrap();
                            for (kind, count) in counts {
                                *totals.entry(kind).or_default() += count;
                            }
                        }
                        Err(story) => {
                            let mut broken = broken.lock().unwrap();
                            broken.push(story);
                            // Some more, to see whether they are of one kind.
                            stop.store(broken.len() >= MOST_BROKEN, Ordering::Relaxed);
                        }
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (totals, broken) = (totals.into_inner().unwrap(), broken.into_inner().unwrap());
    let done = done.into_inner();
    let counts: Vec<String> = totals.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    tell(&format!("{done} seeds in {} s: {}", began.elapsed().as_secs(), counts.join(", ")));
    if let Some(story) = broken.iter().min_by_key(|story| story.len()) {
        let others = broken
            .iter()
            .flat_map(|story| story.lines().filter(|line| line.contains(" promise")))
            .collect::<Vec<_>>()
            .join("\n");
        panic!("{story}\n\nAll that broke one:\n{others}");
    }
}
