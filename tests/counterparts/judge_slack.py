"""Judges Slack messages by slack_sdk's models of Block Kit.

Standard input: one JSON object a line, {"name": ..., "message": {"text": ..., "blocks": [...], ...}}, where the message
holds the arguments of chat.postMessage. Standard output: one line a problem. Exit code 1 if there is any.

slack_sdk takes much without a word: what it does not know it drops. So each block is parsed, validated, and then
compared with what the model makes of it: whatever did not come back is a problem.
"""

import inspect
import json
import sys
import warnings

from slack_sdk.models.blocks import Block
from slack_sdk.web import WebClient

# Slack's published limits that the models do not hold ("Text object", "Section block", "Blocks" of its reference).
TEXT_OBJECT_CHARACTERS = range(1, 3001)
FIELD_CHARACTERS = 2000
BLOCKS = 50
# chat.update refuses a longer one, and every message may come to be updated.
MESSAGE_TEXT_CHARACTERS = 4000


class Recorder(WebClient):
    """A client that keeps what it would send."""

    def api_call(self, api_method, **request):
        return request


def dropped(given, kept, path):
    """Where `kept`, the model's rendering, lacks or changes something of `given`. What the model adds is no problem."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key not in kept:
                yield f"{path}.{key}: the model has no such property, or not with the value {json.dumps(value)}"
            else:
                yield from dropped(value, kept[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(kept, list):
        if len(given) != len(kept):
            yield f"{path}: the model keeps {len(kept)} of {len(given)} items"
        for index, (one, other) in enumerate(zip(given, kept)):
            yield from dropped(one, other, f"{path}[{index}]")
    elif given != kept:
        yield f"{path}: {json.dumps(given)} became {json.dumps(kept)}"


def problems_of_block(block, path):
    if not isinstance(block, dict):
        yield f"{path}: expected an object, found {json.dumps(block)}"
        return
    try:
        parsed = Block.parse(json.loads(json.dumps(block)))
        if parsed is None:
            yield f"{path}: unknown block type {json.dumps(block.get('type'))}"
            return
        kept = parsed.to_dict()
    except Exception as error:  # A wrong type ends in whatever Python makes of it; all of it is the message's fault.
        yield f"{path} ({block.get('type')}): {error}"
        return
    yield from dropped(block, json.loads(json.dumps(kept)), path)


def objects(value, path):
    """Every object of a block, with the path to it."""
    if isinstance(value, dict):
        yield value, path
        for key, inner in value.items():
            yield from objects(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from objects(inner, f"{path}[{index}]")


def problems_of_limits(blocks):
    if len(blocks) > BLOCKS:
        yield f"blocks: {len(blocks)}, and Slack takes {BLOCKS}"
    seen = {}
    for found, path in objects(blocks, "blocks"):
        text = found.get("text")
        if found.get("type") in ("mrkdwn", "plain_text"):
            if not isinstance(text, str) or len(text) not in TEXT_OBJECT_CHARACTERS:
                yield f"{path}: a text object holds 1 to {TEXT_OBJECT_CHARACTERS[-1]} characters"
            elif ".fields[" in path and len(text) > FIELD_CHARACTERS:
                yield f"{path}: a field holds at most {FIELD_CHARACTERS} characters"
        for key in ("block_id", "action_id"):
            if key in found:
                first = seen.setdefault((key, json.dumps(found[key])), path)
                if first != path:
                    yield f"{path}.{key}: the same as that of {first}"


def problems_of_message(message):
    arguments = inspect.signature(WebClient.chat_postMessage).parameters
    for key in message:
        if key not in arguments or key in ("self", "kwargs"):
            yield f"{key}: chat.postMessage has no such argument"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            Recorder().chat_postMessage(**{"channel": "C0000000000", **message})
        except Exception as error:
            yield f"chat.postMessage: {error}"
    yield from (str(warning.message) for warning in said)
    text = message.get("text")
    if isinstance(text, str) and len(text) > MESSAGE_TEXT_CHARACTERS:
        yield f"text: {len(text)} characters, and chat.update takes {MESSAGE_TEXT_CHARACTERS}"
    blocks = message.get("blocks", [])
    if not isinstance(blocks, list):
        yield f"blocks: expected a list, found {json.dumps(blocks)}"
        return
    for index, block in enumerate(blocks):
        yield from problems_of_block(block, f"blocks[{index}]")
    yield from problems_of_limits(blocks)


def main():
    failed = False
    for line in sys.stdin:
        case = json.loads(line)
        for problem in problems_of_message(case["message"]):
            failed = True
            print(f"{case['name']}: {' '.join(problem.split())}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
