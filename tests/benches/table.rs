//! The table of figures, and what stands in it.

use std::{fmt, fs, thread, time::Duration};

/// One line: a figure, or one more reference of the figure above it.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) figure: &'static str,
    pub(crate) keytide: String,
    pub(crate) reference: String,
    pub(crate) ratio: String,
    pub(crate) aim: &'static str,
    pub(crate) samples: String,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = ["figure", "keytide", "reference", "ratio", "aim", "samples"].map(str::to_owned);
        let lines: Vec<[String; 6]> = [headings]
            .into_iter()
            .chain(self.rows.iter().map(|row| {
                let Row { figure, keytide, reference, ratio, aim, samples } = row;
                [*figure, keytide, reference, ratio, *aim, samples].map(str::to_owned)
            }))
            .collect();
        let mut widths = [0; 6];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        for line in &lines {
            let cells: Vec<String> =
                line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(formatter, "{}", cells.join("  ").trim_end())?;
        }
        writeln!(formatter)?;
        for note in &self.notes {
            writeln!(formatter, "{note}")?;
        }
        writeln!(
            formatter,
            "Medians; each figure and its references were measured in turns. Where only our own work counts (the \
             reader, a later event), it is time on a CPU, else time on the clock."
        )?;
        write!(formatter, "{}", machine())
    }
}

/// The machine, as far as it says.
fn machine() -> String {
    let cores = thread::available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))?
            .split_once(':')
            .map(|(_, value)| value.trim().to_owned())
    };
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| field(&text, "model name"));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("?");
    let model = model.unwrap_or_else(|| "of a model that it does not tell".to_owned());
    format!("This machine: {cores} cores, {model}; its load in the last minute was {load}.")
}

/// The middle of what was measured, which one slow run does not move.
pub(crate) fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = samples.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.wrapping_sub(1)), at(middle)) }
}

/// How long this thread has been on a CPU so far: what others do on this machine meanwhile does not count.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// So many milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// How many times the reference that is.
pub(crate) fn ratio(keytide: f64, reference: f64) -> String {
    let times = keytide / reference;
    if times < 0.1 { format!("{times:.3}×") } else { format!("{times:.2}×") }
}

/// A number of events a second, with commas.
pub(crate) fn a_second(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text}/s")
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "what is under way, and what went wrong")]
pub(crate) fn complain(text: &str) {
    eprintln!("{text}");
}
