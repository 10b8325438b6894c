"""Serves MiniStack over HTTPS on a free port of 127.0.0.1, with signatures checked and IAM enforced.

Says on the first line of standard output where it is, as JSON: {"url"}. Each line of standard input is then one question,
a JSON object whose "do" says what is asked; its answer is one line of JSON:

    call   {account, service, method, arguments, session}   one call by boto3, as root of that account, or with the
           credentials of a session: {"answer"} or {"refused": {"code", "message"}}
    event  {account, detail}    what AWS puts onto an account's default bus when CloudTrail has seen a call of IAM: {}
    clock  {at}                 sets the clock of MiniStack and of the functions that it runs: {}
    fail   {service, error}     from now on that service answers with this error alone, or, with null, as it should: {}
    kill   {function}           ends the processes of a function, as a sandbox that is lost ends: {"killed": how many}

In a call's arguments {"file": path} stands for what is in that file.

Where MiniStack is not as AWS documents itself and keytide depends on it, it is put right here, each with what is wrong.

Ends when standard input does, and takes the functions with it, so that a test run that was killed leaves nothing behind.
Arguments: the certificate to serve with, its key, and the certificate that vouches for it. The environment is the functions'
as well, but for what their template gives them: AWS_ENDPOINT_URL and SSL_CERT_FILE are added here, LD_PRELOAD and
KEYTIDE_TEST_CLOCK are those of clock.c, and TMPDIR is where their code lies.
"""

import asyncio
import base64
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from datetime import datetime

# The functions are in a group with us, and with nobody else.
os.setsid()
certificate, key, root = sys.argv[1:4]
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
url = f"https://localhost:{port}"
# MiniStack reads these when it is imported.
os.environ.update({
    "AUTH": "true",
    "USE_SSL": "1",
    "MINISTACK_SSL_CERT": certificate,
    "MINISTACK_SSL_KEY": key,
    "GATEWAY_PORT": str(port),
    "LOG_LEVEL": "ERROR",
    # It would listen for devices and for files besides.
    "IOT_MTLS_ENABLED": "0",
    "SFTP_ENABLED": "0",
    "AWS_ENDPOINT_URL": url,
    "SSL_CERT_FILE": root,
})

import boto3  # noqa: E402
import botocore.config  # noqa: E402
import botocore.exceptions  # noqa: E402
import hypercorn.asyncio  # noqa: E402
import hypercorn.config  # noqa: E402
from ministack import app  # noqa: E402
from ministack.core import iam_actions, iam_evaluator, lambda_runtime, responses  # noqa: E402
from ministack.services import eventbridge, scheduler, sqs  # noqa: E402


def condition_key(name, context, within=iam_evaluator._resolve_condition_key):
    """MiniStack takes the session for aws:PrincipalArn. Of a session, AWS gives the role."""
    value = within(name, context)
    if name.lower() == "aws:principalarn" and ":assumed-role/" in (value or ""):
        return f"arn:aws:iam::{value.split(':')[4]}:role/{value.split('/')[1]}"
    return value


def iam_action(service, *call, within=iam_actions.extract_iam_action):
    """MiniStack asks for a right to SendMessageBatch and its like. AWS has none: that of SendMessage is for both."""
    action = within(service, *call)
    return action.removesuffix("Batch") if service == "sqs" and action else action


def to_event_bus(spec, event, rule, path, payload=None, within=eventbridge._dispatch_to_event_bus):
    """MiniStack knows no way from an account's bus to another's. EventBridge carries the event over as it is."""
    here = responses.get_account_id()
    if spec.account_id == here:
        return within(spec, event, rule, path, payload)
    responses.set_request_account_id(spec.account_id)
    try:
        bus = spec.resource.split("/", 1)[1]
        if bus not in eventbridge._event_buses:
            raise LookupError(f"there is no event bus {spec}")
        eventbridge._dispatch_event({**event, "EventBusName": bus})
    finally:
        responses.set_request_account_id(here)


def invoke_target(target, event, rule, view=None, within=eventbridge._invoke_target):
    """MiniStack asks no queue whether it takes what a rule brings. In AWS the queue's policy decides that."""
    queue = target["Arn"]
    account = responses.get_account_id()
    # The policy refuses what comes unencrypted; AWS's own calls never do, and these come over no network.
    iam_evaluator.pin_request_origin("127.0.0.1", True)
    if ":sqs:" in queue and not sqs.queue_policy_allows(queue, "events.amazonaws.com", rule["Arn"], account):
        raise PermissionError(f"{queue} takes nothing from {rule['Arn']}")
    return within(target, event, rule, view)


def resource_arn(service, method, path, headers, body, *rest, within=iam_actions.extract_resource_arn):
    """MiniStack names the default bus in the ARNs of its rules, and knows neither the rule of ListTargetsByRule nor the bus of
    DescribeEventBus. In AWS an ARN names a rule's bus only if it is another, and these calls are about that rule or bus."""
    *_, region, account = rest
    action = next((value for name, value in headers.items() if name.lower() == "x-amz-target"), "").split(".")[-1]
    if service != "events" or action not in ("DescribeRule", "ListTargetsByRule", "DescribeEventBus"):
        return within(service, method, path, headers, body, *rest)
    asked = json.loads(body)
    bus, rule = asked.get("EventBusName", "default"), asked.get("Rule") or asked.get("Name")
    name = f"event-bus/{rule}" if action == "DescribeEventBus" else f"rule/{rule}" if bus == "default" else f"rule/{bus}/{rule}"
    return f"arn:aws:events:{region}:{account}:{name}"


def put_permission(asked, within=eventbridge._put_permission):
    """MiniStack passes over a Policy and opens the bus to everybody. In AWS it is the bus's policy from then on."""
    if "Policy" not in asked:
        return within(asked)
    eventbridge._event_bus_policies[asked.get("EventBusName", "default")] = json.loads(asked["Policy"])
    return responses.json_response({})


iam_evaluator._resolve_condition_key = condition_key
iam_actions.extract_iam_action = iam_action
iam_actions.extract_resource_arn = resource_arn
eventbridge._dispatch_to_event_bus = to_event_bus
eventbridge._invoke_target = invoke_target
eventbridge._put_permission = put_permission
# It looks at schedules every ten seconds; a test waits for each.
scheduler._SCHEDULE_TICK_INTERVAL = 0.2


def given(value):
    if isinstance(value, list):
        return [given(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) != {"file"}:
        return {name: given(item) for name, item in value.items()}
    with open(value["file"], "rb") as file:
        return file.read()


def plain(value):
    """What boto3 answers with and JSON does not know."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def call(account, service, method, arguments, session):
    credentials = {"aws_access_key_id": account, "aws_secret_access_key": "test"}
    if session is not None:
        credentials = {
            "aws_access_key_id": session["AccessKeyId"],
            "aws_secret_access_key": session["SecretAccessKey"],
            "aws_session_token": session["SessionToken"],
        }
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    client = boto3.client(service, region_name="us-east-1", endpoint_url=url, verify=root, config=config, **credentials)
    try:
        answer = getattr(client, method)(**given(arguments))
    except botocore.exceptions.ClientError as error:
        said = error.response["Error"]
        return {"refused": {"code": said["Code"], "message": said["Message"]}}
    return {"answer": {name: value for name, value in answer.items() if name != "ResponseMetadata"}}


def event(account, detail):
    responses.set_request_account_id(account)
    responses.set_request_region("us-east-1")
    entry = {"Source": "aws.iam", "DetailType": "AWS API Call via CloudTrail", "Detail": json.dumps(detail)}
    eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
    return {}


def clock(at):
    # What a function has under way was signed by the old time, and would be refused as too old: it may arrive first.
    time.sleep(1)
    with open(os.environ["KEYTIDE_TEST_CLOCK"], "r+b") as file:
        ahead, = struct.unpack("=q", file.read(8))
        ahead += round(datetime.fromisoformat(at).timestamp() - time.time())
        file.seek(0)
        file.write(struct.pack("=q", ahead))
    return {}


def fail(service, error, well=dict(app.SERVICE_HANDLERS)):
    async def failing(*_):
        return responses.error_response_json(error, "asked for by the test", 400)

    app.SERVICE_HANDLERS[service] = failing if error else well[service]
    return {}


def kill(function):
    workers = [worker for pool in list(lambda_runtime._workers.values()) for worker in pool]
    processes = [worker._proc for worker in workers if worker.func_name == function and worker._proc]
    for process in processes:
        process.kill()
    return {"killed": len(processes)}


questions = {"call": call, "event": event, "clock": clock, "fail": fail, "kill": kill}


def answer_questions():
    try:
        print(json.dumps({"url": url}), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            print(json.dumps(questions[asked.pop("do")](**asked), default=plain), flush=True)
    except Exception:
        traceback.print_exc()
    # Without waiting for what is under way: nobody is left to hear of it.
    os.killpg(0, signal.SIGKILL)


config = hypercorn.config.Config()
config.bind = [f"fd://{listener.fileno()}"]
config.certfile, config.keyfile = certificate, key
config.loglevel = "ERROR"
threading.Thread(target=answer_questions, daemon=True).start()
asyncio.run(hypercorn.asyncio.serve(app.app, config))
