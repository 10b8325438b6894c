"""Serves moto on a free port of 127.0.0.1 and says which on the first line of standard output, as JSON.

Each line of standard input is one question about what moto has no API for; its answer is one line of JSON:

    clock 2026-05-04T09:00:00   sets moto's clock, which then goes on from there (births of keys, ends of sessions, the
                                Date of answers): {}
    sessions                    every session that AssumeRole began: [{"role", "external_id", "policy"}, ...]
    stack 111122223333 keytide ROLLBACK_COMPLETE
                                from now on that account's stack has that status: {}

Ends when standard input does, so that a test run that was killed leaves nothing behind.
"""

import json
import logging
import os
import sys
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

# Set, it would put every caller into one account.
os.environ.pop("MOTO_ACCOUNT_ID", None)
# As in AWS, another account's bucket is out of reach.
os.environ["MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS"] = "false"

import moto.core.utils  # noqa: E402  (moto reads its environment when it is imported)
from moto.cloudformation.models import cloudformation_backends  # noqa: E402
from moto.cloudformation.responses import CloudFormationResponse  # noqa: E402
from moto.core.exceptions import JsonRESTError  # noqa: E402
from moto.core.responses import ActionResult  # noqa: E402
from moto.iam.access_control import PermissionResult  # noqa: E402
from moto.iam.responses import IamResponse  # noqa: E402
from moto.organizations.models import FakeDelegatedAdministrator, organizations_backends  # noqa: E402
from moto.organizations.responses import OrganizationsResponse  # noqa: E402
from moto.s3.models import FakeBucket  # noqa: E402
from moto.server import MotoRequestHandler, ThreadedMotoServer  # noqa: E402
from moto.sts.models import sts_backends  # noqa: E402

real_now = moto.core.utils.utcnow
real_report = IamResponse.get_credential_report
ahead = timedelta()


def now():
    return real_now() + ahead


def report_of_now(response):
    """moto makes a credential report at the moment at which it is read, and says that it was made in 2015."""
    answer = real_report(response)
    answer.result["GeneratedTime"] = now().strftime("%Y-%m-%dT%H:%M:%SZ")
    return answer


def date_of_now(handler, timestamp=None):
    return format_datetime(now().replace(tzinfo=timezone.utc), usegmt=True)


def set_clock(text):
    global ahead
    ahead = datetime.fromisoformat(text) - real_now()
    # moto's modules each hold the function by their own name; those that are imported later take it from the first.
    for name, module in list(sys.modules.items()):
        if name.startswith("moto.") and vars(module).get("utcnow") is real_now:
            module.utcnow = now
    MotoRequestHandler.date_time_string = date_of_now
    IamResponse.get_credential_report = report_of_now
    return {}


def all_sessions():
    begun = [role for account in sts_backends.values() for backend in account.values() for role in backend.assumed_roles]
    return [{"role": role.role_arn, "external_id": role.external_id, "policy": role.policy} for role in begun]


STACKSETS = "member.org.stacksets.cloudformation.amazonaws.com"


def organization(account):
    """The organization of an account, which moto keeps in its management account alone."""
    master, partition = organizations_backends.master_accounts.get(account, (account, "aws"))
    return organizations_backends[master][partition]


def organization_for(response):
    """What an account sees of it: in AWS a delegated administrator all, another member only what it belongs to."""
    account, within = response.current_account, organization(response.current_account)
    administrators = {admin.account.id for admin in within.admins}
    if within.org and account not in {within.account_id, *administrators} and response._get_action() != "DescribeOrganization":
        raise JsonRESTError("AccessDeniedException", "You don't have permissions to access this resource.")
    return within


def describe_organizations_access(response):
    """moto has no such call. AWS has let StackSets in when CloudFormation was told so, and Organizations knows of it then."""
    enabled = {service["ServicePrincipal"] for service in organization(response.current_account).services}
    return ActionResult({"Status": "ENABLED" if STACKSETS in enabled else "DISABLED"})


def set_stack(text):
    account, name, status = text.split()
    [stack] = [stack for stack in cloudformation_backends[account]["us-east-1"].stacks.values() if stack.name == name]
    stack.status = status
    return {}


OrganizationsResponse.organizations_backend = property(organization_for)
FakeDelegatedAdministrator.SUPPORTED_SERVICES.append(STACKSETS)
CloudFormationResponse.describe_organizations_access = describe_organizations_access
# moto reads no condition in a bucket's policy: one that denies what is not encrypted would deny everything.
FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL

# One line a request is of no use to a test.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
_, port = server.get_host_and_port()
print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
for line in sys.stdin:
    question, _, text = line.strip().partition(" ")
    answer = {"clock": set_clock, "sessions": lambda _: all_sessions(), "stack": set_stack}[question]
    print(json.dumps(answer(text)), flush=True)
# Without waiting for requests under way: nobody is left to read the answers.
os._exit(0)
