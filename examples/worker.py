"""A worker in serve mode: a JSON object a line in, one a line out. The contract is docs/workers.md.

In the server's configuration:

    [[pools]]
    queues = ["default"]
    mode = "serve"
    command = ["python3", "examples/worker.py"]
"""

import json
import sys

for line in sys.stdin:
    job = json.loads(line)
    try:
        answer = {"id": job["id"], "result": job["payload"].upper()}
    except Exception as error:
        answer = {"id": job["id"], "error": repr(error)}
    print(json.dumps(answer), flush=True)
