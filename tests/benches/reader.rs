//! Events read a second, on one core, beside plain JSON readers over the same bytes.

use std::{fs, hint::black_box, time::Duration};

use keytide_core::cloudtrail::{self, Outcome as Read};
use serde_json::Value;

use crate::{
    Outcome,
    company::{on_one_line, samples},
    table::{Row, Table, a_second, cpu_time, median, ratio},
};

/// How often each reader is timed.
const ROUNDS: usize = 51;
/// How long one timing takes at least: long enough for the clock, short enough for many.
const ROUND: Duration = Duration::from_millis(20);

/// Something that reads one event, and whether it took it for what it is.
type Reader<'a> = &'a dyn Fn(&[u8]) -> bool;

pub(crate) fn measure(table: &mut Table) -> Outcome<()> {
    let mut all = Vec::new();
    for entry in fs::read_dir(samples())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            all.push(on_one_line(&fs::read_to_string(&path)?).into_bytes());
        }
    }
    let is_key_event = |json: &Vec<u8>| matches!(cloudtrail::read(json), Read::Key(_));
    let key_events: Vec<Vec<u8>> = all.iter().filter(|json| is_key_event(json)).cloned().collect();
    if key_events.is_empty() || key_events.len() == all.len() {
        return Err(format!("of {} samples {} are key events", all.len(), key_events.len()).into());
    }
    for (figure, events) in [("reader, key events", &key_events), ("reader, all samples", &all)] {
        let bytes: usize = events.iter().map(Vec::len).sum();
        let readers: [Reader<'_>; 3] = [
            &|json| !matches!(black_box(cloudtrail::read(black_box(json))), Read::Failed(_)),
            &|json| black_box(serde_json::from_slice::<Value>(black_box(json))).is_ok(),
            &|json| black_box(serde_json::from_slice::<serde::de::IgnoredAny>(black_box(json))).is_ok(),
        ];
        let mut rates: [Vec<f64>; 3] = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (reader, rates) in readers.iter().zip(&mut rates) {
                rates.push(rate(events, reader));
            }
        }
        let [own, value, ignored] = rates.map(median);
        table.row(Row {
            figure,
            keytide: a_second(own),
            reference: format!("{}  serde_json to a Value", a_second(value)),
            ratio: ratio(own, value),
            aim: "≥ 300,000/s",
            samples: format!(
                "{ROUNDS} rounds over {} events, {} bytes each",
                events.len(),
                bytes / events.len()
            ),
        });
        table.row(Row {
            reference: format!("{}  serde_json, nothing kept", a_second(ignored)),
            ratio: ratio(own, ignored),
            ..Row::default()
        });
    }
    Ok(())
}

/// Events a second of this thread's time on a CPU.
fn rate(events: &[Vec<u8>], read: impl Fn(&[u8]) -> bool) -> f64 {
    let began = cpu_time();
    let mut count = 0_u32;
    loop {
        // The clock is asked now and then only: asking takes as long as a tenth of an event.
        for json in events {
            black_box(read(json));
            count += 1;
        }
        let elapsed = cpu_time().saturating_sub(began);
        if elapsed >= ROUND {
            return f64::from(count) / elapsed.as_secs_f64();
        }
    }
}
