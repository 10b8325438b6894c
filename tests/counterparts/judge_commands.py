"""Judges command lines of the AWS CLI, as a document gives them to its readers.

Reads JSON lines, {"name": ..., "message": LINE}, and prints one line a problem, each beginning with its line's name. Exit
code 1: there was one. A line is parsed by the real AWS CLI, as far as that goes without a call: its service, its operation
and its options, `…` being whatever the reader knows.

The CLI is the one of version 1, which pip has. What version 2 has besides stands here by its documentation.
"""

import contextlib
import io
import json
import re
import shlex
import sys

from awscli.clidriver import create_clidriver

ONLY_IN_VERSION_2 = {("logs", "tail"): {"--since", "--filter-pattern", "--follow", "--format"}}
# Their arguments are read by the operation itself, which makes its call then.
WITHOUT_SKELETON = {("lambda", "invoke")}


def words_of(line):
    """Up to what other programs get of it."""
    words = []
    for word in shlex.split(line):
        if word in ("|", ">"):
            break
        words.append(re.sub(r"^file://.*|^\$\(.*\)$", "{}", word.replace("…", "1")))
    return words[1:]


def known_options(driver, service, operation, rest):
    """The options of an operation by the CLI's own table, for those that cannot be parsed without a call."""
    if (service, operation) in ONLY_IN_VERSION_2:
        return ONLY_IN_VERSION_2[service, operation]
    commands = driver.create_help_command().command_table
    found = commands[service].create_help_command().command_table[operation]
    if operation == "wait":
        found = found.subcommand_table[rest[0]]
    return {f"--{name}" for name in found.arg_table}


def problems(driver, line):
    words = words_of(line)
    service, operation, rest = words[0], words[1], words[2:]
    if operation == "wait" or (service, operation) in {*WITHOUT_SKELETON, *ONLY_IN_VERSION_2}:
        try:
            known = known_options(driver, service, operation, rest)
        except KeyError as missing:
            yield f"there is no {missing}"
            return
        for word in rest:
            if word.startswith("--") and word not in known | {"--query", "--output"}:
                yield f"{word} is no option of {service} {operation}"
        return
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            code = driver.main([*words, "--generate-cli-skeleton"])
        except SystemExit as ended:
            code = ended.code
    if code:
        yield (said.getvalue().strip().splitlines() or [f"it ended with {code}"])[-1]


def main():
    is_wrong = False
    driver = create_clidriver()
    for read in sys.stdin:
        asked = json.loads(read)
        for problem in problems(driver, asked["message"]):
            is_wrong = True
            print(f"{asked['name']}: {problem}")
    return int(is_wrong)


sys.exit(main())
