"""Download many repositories one after another; with `delete`, an old revision first, removed again.

usage: download_loop.py keep|delete REPO...

Another revision stays, so the library removes links before what they lead to. (A repository whose
last revision goes is removed by rmtree in no order: on any disk its links dangle for a moment.)
"""

import sys

from huggingface_hub import scan_cache_dir, snapshot_download

mode, *repositories = sys.argv[1:]
for repository in repositories:
    if mode == "delete":
        old = snapshot_download(repository, revision="old").rsplit("/", 1)[-1]
    snapshot_download(repository)
    if mode == "delete":
        cache = scan_cache_dir()
        if cache.warnings:
            raise SystemExit(f"the cache looks corrupted: {cache.warnings}")
        cache.delete_revisions(old).execute()
print("{}")
