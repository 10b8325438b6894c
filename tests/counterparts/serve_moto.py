"""Serves moto on a free port of 127.0.0.1 and says which on the first line of standard output, as JSON.

Ends when standard input does, so that a test run that was killed leaves nothing behind.
"""

import json
import logging
import os
import sys

# Set, it would put every caller into one account.
os.environ.pop("MOTO_ACCOUNT_ID", None)

from moto.server import ThreadedMotoServer  # noqa: E402  (moto reads its environment when it is imported)

# One line a request is of no use to a test.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
_, port = server.get_host_and_port()
print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
sys.stdin.read()
# Without waiting for requests under way: nobody is left to read the answers.
os._exit(0)
