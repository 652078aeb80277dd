"""Download from the hub as an application does.

usage: hub_download.py snapshot REPO | file REPO NAME...

Prints one JSON line: the path below HF_HOME that the library returned.
"""

import json
import os
import sys

import huggingface_hub
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError


def main() -> None:
    mode, repo, *names = sys.argv[1:]
    paths = []
    if mode == "snapshot":
        paths.append(snapshot_download(repo))
    else:
        for name in names:
            try:
                paths.append(hf_hub_download(repo, name))
            except EntryNotFoundError:
                paths.append(None)
    home = os.environ["HF_HOME"]
    relative = [path and os.path.relpath(path, home) for path in paths]
    print(json.dumps({"hub": huggingface_hub.__version__, "paths": relative}))


main()
