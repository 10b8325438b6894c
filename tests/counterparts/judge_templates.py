"""Judges CloudFormation templates.

Reads JSON lines, {"name": ..., "message": TEMPLATE}, and prints one line a problem, each beginning with its template's
name. Exit code 1: there was one. What judges is the first argument:

  lint         cfn-lint: properties that are not there, of wrong types, or that refer to nothing
  guard RULES  CloudFormation Guard with the rules of that file
  policies     parliament, of IAM policies instead of templates: unknown actions, conditions and resources

and `read` prints each template as one line of JSON instead, its intrinsic functions in their long form.
"""

import json
import sys

from cfnlint.api import ManualArgs, lint
from cfnlint.decode import decode_str

REGION = "us-east-1"


def read(text):
    """The template in long form, or what keeps it from being read."""
    template, faults = decode_str(text)
    if faults:
        return None, [fault.message for fault in faults]
    # Dates and cfn-lint's own nodes become plain texts, lists and objects.
    return json.loads(json.dumps(template, default=str)), []


def problems_by_lint(text):
    for found in lint(text, config=ManualArgs(regions=[REGION])):
        yield f"{found.rule.id} at line {found.linenumber}: {found.message}"


def problems_by_guard(text, rules):
    # The long report: of the short one, the bindings of this version lose all but the end where it has over 8 KB.
    from cfn_guard_rs.cfn_guard_rs import run_checks_rs

    template, faults = read(text)
    yield from faults
    if template is None:
        return
    report = json.loads(run_checks_rs(json.dumps(template), rules, True))
    for rule in report["children"]:
        check = rule["container"]["RuleCheck"]
        if check["status"] == "FAIL":
            said = sorted(set(messages(rule))) or ["it does not hold"]
            yield f"{check['name']}: {'; '.join(said)}"


def messages(node):
    """What our rules say at the clauses that fail, filters aside: those fail for all that they leave out."""
    container = node["container"]
    if isinstance(container, dict) and "Filter" in container:
        return
    yield from failed_clauses(container)
    for child in node["children"]:
        yield from messages(child)


def failed_clauses(value):
    if isinstance(value, dict):
        if value.get("status") == "FAIL" and value.get("custom_message"):
            yield value["custom_message"]
        for inner in value.values():
            yield from failed_clauses(inner)


def problems_by_parliament(text):
    import parliament

    policy = parliament.analyze_policy_string(text)
    for found in policy.findings:
        yield f"{found.issue}: {found.detail}"


def main():
    judge, *arguments = sys.argv[1:]
    rules = open(arguments[0], encoding="utf-8").read() if judge == "guard" else None
    found = False
    for line in sys.stdin:
        case = json.loads(line)
        name, text = case["name"], case["message"]
        if judge == "read":
            template, faults = read(text)
            if faults:
                sys.exit(f"{name}: {'; '.join(faults)}")
            print(json.dumps(template))
            continue
        if judge == "lint":
            problems = problems_by_lint(text)
        elif judge == "guard":
            problems = problems_by_guard(text, rules)
        elif judge == "policies":
            problems = problems_by_parliament(text)
        else:
            sys.exit(f"{judge} is no judge: expected lint, guard, policies or read")
        for problem in problems:
            found = True
            print(f"{name}: {' '.join(problem.split())}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
