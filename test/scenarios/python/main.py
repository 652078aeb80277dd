"""Runs one phase of one scenario and prints what it saw as the last line, in JSON.

usage: main.py SCENARIO run|check|second ROOT SCRATCH

run     does what the upstream component does, below ROOT
check   looks again, after the mount was unmounted and mounted
second  looks from another mount that opened the first one's root
"""

import importlib
import json
import os
import sys

from trace import Trace


def main() -> None:
    name, phase, root, scratch = sys.argv[1:]
    os.umask(0o022)
    os.makedirs(scratch, exist_ok=True)
    scenario = importlib.import_module(name)
    trace = Trace(scratch)
    if phase == "run":
        scenario.run(root, trace)
    else:
        scenario.check(root, trace, second=phase == "second")
    print(json.dumps({"facts": trace.facts, "claims": trace.claims}))


main()
