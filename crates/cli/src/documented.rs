//! Every command line that the documents give is one that this program takes.

use clap::{Command, CommandFactory as _, Parser as _, error::ErrorKind};

use crate::args::Arguments;

const DOCUMENTS: [(&str, &str); 3] = [
    ("RUNBOOK.md", include_str!("../../../infra/RUNBOOK.md")),
    ("README.md", include_str!("../../../infra/README.md")),
    ("DEPLOY.md", include_str!("../../../infra/DEPLOY.md")),
];

/// Where a command line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// In an indented block: to be run as it stands.
    Block,
    /// In a code span: to be run, too, or a command's name alone, as it is spoken of.
    Span,
}

/// The command lines of a document: in its indented blocks, and in its code spans.
fn commands(document: &str) -> Vec<(Found, String)> {
    let is_code = |line: &&str| line.starts_with("    ");
    let blocks: Vec<&str> = document.lines().filter(is_code).collect();
    let blocks = blocks.join("\n").replace("\\\n", " ");
    let prose: Vec<&str> = document.lines().filter(|line| !is_code(line)).collect();
    let blocks = blocks.lines().map(|line| (Found::Block, line.trim().to_owned()));
    let mut all: Vec<_> = blocks.chain(spans(&prose.join(" ")).map(|span| (Found::Span, span))).collect();
    all.retain(|(_, line)| line.starts_with("keytide "));
    all
}

/// The code spans of a text. One may reach over the end of a line.
fn spans(text: &str) -> impl Iterator<Item = String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
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

/// The command that these words name, if it is one, and whether they do no more than that.
fn named<'c>(whole: &'c Command, words: &[String]) -> Option<(&'c Command, bool)> {
    let mut found = whole;
    let mut rest = words.iter().skip(1).peekable();
    while let Some(inner) = rest.peek().and_then(|word| found.find_subcommand(word)) {
        found = inner;
        rest.next();
    }
    (found.get_name() != whole.get_name()).then_some((found, rest.peek().is_none()))
}

/// Why this program does not take the line; none where it only speaks of a command.
fn fault(line: &str) -> Option<String> {
    let words = filled(&words(line));
    let error = Arguments::try_parse_from(&words).err()?;
    let is_spoken_of = named(&Arguments::command(), &words).is_some_and(|(_, is_all)| is_all)
        && matches!(
            error.kind(),
            ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
    (!is_spoken_of).then(|| format!("{line}: {error}"))
}

/// What the line lacks to be about the installation, as whoever is on call pastes it: without a ledger it would take, or make, a
/// file of that machine.
fn lack(found: Found, line: &str) -> Option<String> {
    let words = filled(&words(line));
    let whole = Arguments::command();
    let (command, is_all) = named(&whole, &words)?;
    if found == Found::Span && is_all {
        return None;
    }
    let takes = |option: &str| command.get_arguments().any(|known| known.get_long() == Some(option));
    let has = |option: &str, value: &str| {
        words.windows(2).any(|pair| pair[0] == format!("--{option}") && pair[1].starts_with(value))
    };
    if takes("ledger") && !has("ledger", "dynamodb:") {
        return Some(format!("{line}: lacks --ledger dynamodb:…"));
    }
    // These look into accounts; `ingest`, too, where it is told to.
    let looks = ["sweep", "approve", "doctor"].contains(&command.get_name()) || has("reader-role", "");
    (looks && !has("external-id", "")).then(|| format!("{line}: lacks --external-id …"))
}

/// What keeps a mend of the doctor's from being pasted as it stands.
pub(crate) fn faults_of_mend(mend: &str) -> Vec<String> {
    let spans: Vec<String> = spans(mend).collect();
    let own = spans.iter().filter(|span| span.starts_with("keytide "));
    let mut faults: Vec<String> =
        own.filter_map(|line| fault(line).or_else(|| lack(Found::Block, line))).collect();
    for line in spans.iter().filter(|span| span.starts_with("aws ") && span.contains(" --")) {
        // IAM is everywhere; the others are asked in one region, which need not be the profile's.
        if !line.starts_with("aws iam ") && !line.contains(" --region ") {
            faults.push(format!("{line}: lacks --region"));
        }
        if line.starts_with("aws sqs ") && !line.contains(" --queue-url https://") {
            faults.push(format!("{line}: lacks --queue-url"));
        }
    }
    // What takes more than one call of CloudFormation is spelled out in the runbook, and only named here.
    let bare = spans.iter().filter(|span| span.starts_with("aws ") && !span.contains(" --"));
    let bare = bare.filter(|line| !line.starts_with("aws cloudformation "));
    faults.extend(bare.map(|line| format!("{line}: is no whole command")));
    faults
}

/// The examples of every command's help, without what is said beside them or done with what they print.
fn examples(command: &Command) -> Vec<String> {
    let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let lines = help.lines().filter_map(|line| {
        let line = line.strip_prefix(' ')?;
        let line = &line[line.find(" keytide ")? + 1..];
        let ends = ["   ", " | ", " > "].iter().filter_map(|end| line.find(end)).min();
        Some(line[..ends.unwrap_or(line.len())].to_owned())
    });
    lines.chain(command.get_subcommands().flat_map(examples)).collect()
}

#[test]
fn every_command_of_the_documents_is_one_that_there_is() {
    for (name, document) in DOCUMENTS {
        let commands = commands(document);
        assert!(commands.len() >= 3, "{name}: {commands:?}");
        let faults: Vec<String> = commands.iter().filter_map(|(_, line)| fault(line)).collect();
        assert!(faults.is_empty(), "{name}: {}", faults.join("\n"));
    }
}

/// What stands under `infra/` is about the installation; README begins on a laptop, where a file is the ledger.
#[test]
fn every_command_of_the_documents_is_about_the_installation() {
    for (name, document) in DOCUMENTS {
        let lacks: Vec<String> =
            commands(document).iter().filter_map(|(found, line)| lack(*found, line)).collect();
        assert!(lacks.is_empty(), "{name}: {}", lacks.join("\n"));
    }
}

#[test]
fn every_example_of_the_help_is_one_that_there_is_and_names_the_ledger_that_there_is() {
    let examples = examples(&Arguments::command());
    assert!(examples.len() >= 20, "{examples:?}");
    for line in &examples {
        assert_eq!(fault(line), None);
        let words = words(line);
        let ledger = words.iter().find(|word| word.starts_with("dynamodb:"));
        assert!(ledger.is_none_or(|ledger| ledger == "dynamodb:keytide-ledger"), "{line}");
        // Who looks by another role knows what that one asks for.
        if ledger.is_some() && !words.iter().any(|word| word == "--role") {
            assert_eq!(lack(Found::Block, line), None);
        }
    }
}

#[test]
fn a_command_that_there_is_not_is_found() {
    let document = "Say `keytide halt --reason …\n--ledger dynamodb:keytide-ledger`, `keytide exempt` or `keytide-halt`:\n\n    \
                    keytide exempt add AKIA… --account … \\\n      --until … --reason \"the vendor, in May\"   # or so\n";
    let found = commands(document);
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found.iter().filter_map(|(_, line)| fault(line)).collect::<Vec<_>>(), [""; 0]);
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

#[test]
fn a_command_that_is_not_whole_is_found() {
    for (line, lacking) in [
        ("keytide doctor", "--ledger"),
        ("keytide doctor --ledger dynamodb:keytide-ledger", "--external-id"),
        ("keytide halt --reason …", "--ledger"),
        ("keytide resume --reason … --ledger keytide.db", "--ledger"),
        ("keytide ledger accept --reason …", "--ledger"),
        ("keytide sweep --account … --ledger dynamodb:keytide-ledger", "--external-id"),
        ("keytide approve PLAN-HASH --account … --ledger dynamodb:keytide-ledger", "--external-id"),
    ] {
        assert!(lack(Found::Block, line).is_some_and(|said| said.contains(lacking)), "{line}");
        let found = faults_of_mend(&format!("first look, then `{line}`"));
        assert!(found[0].contains(lacking), "{found:?}");
    }
    assert_eq!(lack(Found::Span, "keytide doctor"), None, "its name alone");
    assert_eq!(lack(Found::Block, "keytide redrive"), None, "it takes no ledger");
    for (line, lacking) in [
        ("aws sqs purge-queue", "no whole command"),
        ("aws sqs purge-queue --region us-east-1", "--queue-url"),
        ("aws events enable-rule --name x", "--region"),
    ] {
        let found = faults_of_mend(&format!("`{line}`"));
        assert!(found[0].contains(lacking), "{found:?}");
    }
    assert_eq!(faults_of_mend("`aws iam tag-user --user-name …`"), [""; 0]);
}
