"""Judges CloudFormation templates.

Reads JSON lines, {"name": ..., "message": TEMPLATE}, and prints one line a problem, each beginning with its template's
name. Exit code 1: there was one. What judges is the first argument:

  lint         cfn-lint: properties that are not there, of wrong types, or that refer to nothing
  guard RULES  CloudFormation Guard with the rules of that file
  policies     parliament, of IAM policies instead of templates: unknown actions, conditions and resources

Two print a line of JSON for each line instead:

  read         the template, its intrinsic functions in their long form
  match        whether an event pattern matches an event, {"pattern": ..., "event": ...}, by moto's matcher
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


def guard(rules):
    """AWS's own CloudFormation Guard, which comes with its validator; the validator's built-in rules are left out."""
    from cloudformation_validate import CelEngine, EngineConfig, ExternalRuleSource

    return CelEngine(EngineConfig(guard_rules=[ExternalRuleSource(name="rules", content=rules)]))


def problems_by_guard(text, engine):
    from cloudformation_validate import TemplateContent, ValidateConfig

    report = engine.validate_template(TemplateContent(text), ValidateConfig(disable_builtin_rules=True))
    said = {}
    for found in report.diagnostics:
        said.setdefault(found.rule_id, set()).add(found.message)
    for rule, messages in sorted(said.items()):
        yield f"{rule}: {'; '.join(sorted(messages))}"


def problems_by_parliament(text):
    import parliament

    policy = parliament.analyze_policy_string(text)
    for found in policy.findings:
        yield f"{found.issue}: {found.detail}"


def matches(question):
    from moto.events.models import EventPattern

    return EventPattern.load(json.dumps(question["pattern"])).matches_event(question["event"])


def main():
    judge, *arguments = sys.argv[1:]
    engine = guard(open(arguments[0], encoding="utf-8").read()) if judge == "guard" else None
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
        if judge == "match":
            print(json.dumps(matches(text)))
            continue
        if judge == "lint":
            problems = problems_by_lint(text)
        elif judge == "guard":
            problems = problems_by_guard(text, engine)
        elif judge == "policies":
            problems = problems_by_parliament(text)
        else:
            sys.exit(f"{judge} is no judge: expected lint, guard, policies, read or match")
        for problem in problems:
            found = True
            print(f"{name}: {' '.join(problem.split())}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
