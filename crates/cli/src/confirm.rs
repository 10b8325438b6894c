//! What a person is asked at the terminal before anything is done.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::{Trouble, output::Output};

/// Whether it is confirmed: unasked by --yes, else by a typed `yes`. Where it is not, that is said, with what holds
/// then.
pub(crate) fn confirmed(
    yes: bool,
    question: &str,
    what_holds: &str,
    output: &mut Output,
) -> Result<bool, Trouble> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        output.remark(&format!(
            "keytide: refused: nobody is at a terminal to confirm it; with --yes it is done unasked; {what_holds}"
        ));
        return Ok(false);
    }
    let is_confirmed = ask(output, question)? == "yes";
    if !is_confirmed {
        output.remark(&format!("keytide: refused: it was not confirmed; {what_holds}"));
    }
    Ok(is_confirmed)
}

/// Asks a person at the terminal; what is typed, without spaces around it.
pub(crate) fn ask(output: &mut Output, question: &str) -> Result<String, Trouble> {
    // What was printed is to be seen before the question.
    output.remark("");
    let mut typed = String::new();
    let asked = write!(io::stderr(), "{question}").and_then(|()| io::stderr().flush());
    asked.and_then(|()| io::stdin().lock().read_line(&mut typed)).map_err(|error| {
        Trouble::Failed(format!("nothing could be asked at the terminal: {error}; nothing was done"))
    })?;
    Ok(typed.trim().to_owned())
}
