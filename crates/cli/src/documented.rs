//! Every command line that the documents give is one that this program takes.

use clap::{Command, CommandFactory as _, Parser as _, error::ErrorKind};

use crate::args::Arguments;

const DOCUMENTS: [(&str, &str); 3] = [
    ("RUNBOOK.md", include_str!("../../../infra/RUNBOOK.md")),
    ("README.md", include_str!("../../../infra/README.md")),
    ("DEPLOY.md", include_str!("../../../infra/DEPLOY.md")),
];

/// The command lines of a document: in its indented blocks, and in its code spans.
fn commands(document: &str) -> Vec<String> {
    let is_code = |line: &&str| line.starts_with("    ");
    let blocks: Vec<&str> = document.lines().filter(is_code).collect();
    let mut all: Vec<String> =
        blocks.join("\n").replace("\\\n", " ").lines().map(|line| line.trim().to_owned()).collect();
    // A span may reach over the end of a line.
    let prose: Vec<&str> = document.lines().filter(|line| !is_code(line)).collect();
    let spans = prose.join(" ");
    all.extend(
        spans.split('`').skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")),
    );
    all.retain(|line| line.starts_with("keytide "));
    all
}

/// The words of a command line, as a shell has them, up to a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (None, '#') if words.last().is_some_and(String::is_empty) => break,
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The same with something plausible where the document leaves it to its reader.
fn filled(words: &[String]) -> Vec<String> {
    let is_left_open = |word: &str| {
        word == "…"
            || (word.len() > 1 && word.chars().all(|letter| letter.is_ascii_uppercase() || letter == '-'))
    };
    let mut option = "";
    let mut filled = Vec::new();
    for word in words {
        filled.push(match option {
            _ if !is_left_open(word) => word.replace('…', "TIDEWATER"),
            "--account" => "111122223333".to_owned(),
            "--until" | "--at" => "2026-09-01".to_owned(),
            "--ledger" => "dynamodb:keytide-ledger".to_owned(),
            _ => "what its reader knows".to_owned(),
        });
        option = word;
    }
    filled
}

/// Whether these are a command's name alone, as it is spoken of.
fn names_a_command(words: &[String]) -> bool {
    let whole = Arguments::command();
    let mut found: Option<&Command> = Some(&whole);
    for word in words.iter().skip(1) {
        found = found.and_then(|command| command.find_subcommand(word));
    }
    found.is_some()
}

fn fault(line: &str) -> Option<String> {
    let words = filled(&words(line));
    let error = Arguments::try_parse_from(&words).err()?;
    let is_spoken_of = names_a_command(&words)
        && matches!(
            error.kind(),
            ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
    (!is_spoken_of).then(|| format!("{line}: {error}"))
}

#[test]
fn every_command_of_the_documents_is_one_that_there_is() {
    for (name, document) in DOCUMENTS {
        let commands = commands(document);
        assert!(commands.len() >= 3, "{name}: {commands:?}");
        let faults: Vec<String> = commands.iter().filter_map(|line| fault(line)).collect();
        assert!(faults.is_empty(), "{name}: {}", faults.join("\n"));
    }
}

#[test]
fn a_command_that_there_is_not_is_found() {
    let document = "Say `keytide halt --reason …\n--ledger dynamodb:keytide-ledger`, `keytide exempt` or `keytide-halt`:\n\n    \
                    keytide exempt add AKIA… --account … \\\n      --until … --reason \"the vendor, in May\"   # or so\n";
    let found = commands(document);
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found.iter().filter_map(|line| fault(line)).collect::<Vec<_>>(), [""; 0]);
    for wrong in [
        "keytide stop",
        "keytide exempt lift",
        "keytide halt --external-id …",
        "keytide halt --ledger …",
        "keytide ledger accept --reason … --force",
        "keytide approve PLAN-HASH --account prod",
    ] {
        assert!(fault(wrong).is_some(), "{wrong}");
    }
}
