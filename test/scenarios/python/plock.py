"""The lock that five upstream components roll by hand (default_embed, hf_whisper, default_lm, …).

Any OSError counts as contention: close nothing, sleep, open again. The file is unlinked on release.
"""

import fcntl
import os
import time

#: A second upstream; nothing here depends on how long it is.
PAUSE_S = 0.01


class PLock:
    def __init__(self, path: str, retries: int = 6000):
        self.path = path
        self.retries = retries
        #: The errnos that were taken for contention.
        self.seen: set = set()

    def __enter__(self):
        for _ in range(self.retries):
            self.file = open(self.path, "w")
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except OSError as error:
                self.seen.add(error.errno)
                self.file.close()
                time.sleep(PAUSE_S)
        raise TimeoutError(self.path)

    def __exit__(self, *_):
        fcntl.flock(self.file, fcntl.LOCK_UN)
        self.file.close()
        try:
            os.unlink(self.path)
        except OSError:
            pass  # Upstream ignores it: another holder may have been faster.
