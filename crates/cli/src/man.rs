//! `keytide man`: the manual, as one page. What is on it is what `--help` says, command by command.

use std::io::{self, Write};

use clap::{Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use crate::{Trouble, args::Arguments};

/// The page of the whole program, or of one command, with all the commands below it.
pub(crate) fn page(name: Option<&str>) -> Result<String, Trouble> {
    let mut whole = without_help(Arguments::command());
    whole.build();
    let Some(name) = name else { return of_program(&whole) };
    let known: Vec<&str> = whole.get_subcommands().map(Command::get_name).collect();
    let expected = || format!("man: there is no command {name:?}: expected one of {}", known.join(", "));
    of_program(whole.find_subcommand(name).ok_or_else(|| Trouble::Usage(expected()))?)
}

/// Every command has `--help`, and some a command `help`: said once, above.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(|below| without_help(below).disable_help_flag(true))
}

fn of_program(command: &Command) -> Result<String, Trouble> {
    let man = Man::new(command.clone());
    let mut page = rendered(&man, Man::render_title)?;
    for section in [
        Man::render_name_section,
        Man::render_synopsis_section,
        Man::render_description_section,
        Man::render_options_section,
    ] {
        page.push_str(&without_preamble(&rendered(&man, section)?));
    }
    if command.get_subcommands().next().is_some() {
        page.push_str(&heading("SH", "COMMANDS"));
        below(command, &mut page)?;
    }
    if command.get_after_long_help().is_some() {
        let is_whole = command.get_version().is_some();
        page.push_str(&heading("SH", if is_whole { "ENVIRONMENT AND EXIT CODES" } else { "EXAMPLES" }));
        page.push_str(&after_help(command));
    }
    Ok(page)
}

/// Each command under this one, with what it takes, and then those under it.
fn below(command: &Command, page: &mut String) -> Result<(), Trouble> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let man = Man::new(sub.clone());
        page.push_str(&heading("SS", sub.get_bin_name().unwrap_or_else(|| sub.get_name())));
        for section in
            [Man::render_description_section, Man::render_synopsis_section, Man::render_options_section]
        {
            page.push_str(".PP\n");
            page.push_str(&without_headings(&rendered(&man, section)?));
        }
        page.push_str(&after_help(sub));
        below(sub, page)?;
    }
    Ok(())
}

fn rendered(
    man: &Man,
    section: impl Fn(&Man, &mut dyn Write) -> Result<(), io::Error>,
) -> Result<String, Trouble> {
    let mut page = Vec::new();
    section(man, &mut page)
        .map_err(|error| Trouble::Failed(format!("man: the page could not be written: {error}")))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// Each section comes with the definition of the apostrophe, which a page needs once.
fn without_preamble(section: &str) -> String {
    kept(section, |line| !line.starts_with(".ie ") && !line.starts_with(".el "))
}

fn without_headings(section: &str) -> String {
    kept(&without_preamble(section), |line| !line.starts_with(".SH "))
}

fn kept(text: &str, is_kept: impl Fn(&str) -> bool) -> String {
    text.lines().filter(|line| is_kept(line)).flat_map(|line| [line, "\n"]).collect()
}

fn heading(level: &str, text: &str) -> String {
    let mut roff = Roff::new();
    roff.control(level, [text]);
    roff.to_roff()
}

/// What follows the options: indented lines as they stand, all others as paragraphs.
fn after_help(command: &Command) -> String {
    let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    let mut is_as_it_stands = false;
    roff.control("PP", []);
    for line in text.lines() {
        let is_indented = line.starts_with("  ");
        if is_indented != is_as_it_stands {
            roff.control(if is_indented { "nf" } else { "fi" }, []);
            is_as_it_stands = is_indented;
        }
        if line.is_empty() {
            roff.control("PP", []);
        } else {
            roff.text([roman(line)]);
        }
    }
    if is_as_it_stands {
        roff.control("fi", []);
    }
    roff.to_roff()
}
