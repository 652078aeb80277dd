"""Download many repositories one after another; with `delete`, remove every third again.

usage: download_loop.py keep|delete REPO...
"""

import sys

from huggingface_hub import scan_cache_dir, snapshot_download

mode, *repositories = sys.argv[1:]
for index, repository in enumerate(repositories):
    snapshot_download(repository)
    if mode == "delete" and index % 3 == 2:
        cache = scan_cache_dir()
        if cache.warnings:
            raise SystemExit(f"the cache looks corrupted: {cache.warnings}")
        found = next(repo for repo in cache.repos if repo.repo_id == repository)
        cache.delete_revisions(*[one.commit_hash for one in found.revisions]).execute()
print("{}")
