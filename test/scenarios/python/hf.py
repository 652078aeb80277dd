"""The file operations of huggingface_hub, in its order, without huggingface_hub.

Source: huggingface_hub 1.x, file_download.py and filelock, traced step by step.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
import uuid

CHUNK = 10 * 1024 * 1024


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Cache:
    """One repository `models--org--name` below a cache directory."""

    def __init__(self, cache: str, repository: str, commit: str):
        self.cache = os.path.realpath(cache)
        self.root = os.path.join(self.cache, repository)
        self.commit = commit
        self.locks = os.path.join(self.cache, ".locks", repository)
        self.symlinks_probed = False

    def blob_path(self, etag: str) -> str:
        return os.path.join(self.root, "blobs", etag)

    def pointer(self, name: str) -> str:
        return os.path.join(self.root, "snapshots", self.commit, name)

    def prepare(self) -> None:
        os.makedirs(os.path.join(self.root, "blobs"), exist_ok=True)
        os.makedirs(os.path.dirname(self.pointer("x")), exist_ok=True)
        tag = os.path.join(self.cache, "CACHEDIR.TAG")
        if not os.path.exists(tag):
            with open(tag, "w") as file:
                file.write("Signature: 8a477f597d28d172789f06886806bc55\n")

    def write_ref(self, revision: str = "main") -> None:
        """Temporary name and os.replace, as the newer library does."""
        path = os.path.join(self.root, "refs", revision)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
        with open(temporary, "w") as file:
            file.write(self.commit)
        os.replace(temporary, path)

    def lock(self, etag: str) -> int:
        """filelock's acquire: returns the descriptor that holds the lock."""
        os.makedirs(self.locks, exist_ok=True)
        path = os.path.join(self.locks, f"{etag}.lock")
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o664)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                time.sleep(0.05)
                continue
            if os.fstat(descriptor).st_nlink == 0:
                os.close(descriptor)
                continue
            os.ftruncate(descriptor, 0)
            os.fchmod(descriptor, 0o664)
            return descriptor

    def unlock(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def probe_symlinks(self) -> bool:
        """Once for a directory and process: can it hold symbolic links?"""
        with tempfile.TemporaryDirectory(dir=self.root) as directory:
            source = os.path.join(directory, "dummy_file_src")
            with open(source, "w"):
                pass
            try:
                os.symlink("dummy_file_src", os.path.join(directory, "dummy_file_dst"))
            except OSError:
                return False
        return True

    def publish(self, incomplete: str, etag: str) -> None:
        """Mode by the umask probe, then rename to the final name."""
        probe = os.path.join(self.root, "blobs", f"tmp_{uuid.uuid4()}")
        with open(probe, "a"):
            pass
        mode = os.stat(probe).st_mode
        os.chmod(incomplete, mode & 0o7777)
        os.unlink(probe)
        shutil.move(incomplete, self.blob_path(etag))

    def point(self, name: str, etag: str) -> None:
        if not self.symlinks_probed:
            self.symlinks_probed = True
            if not self.probe_symlinks():
                raise SystemExit("the symlink probe failed: clients would copy instead")
        pointer = self.pointer(name)
        os.makedirs(os.path.dirname(pointer), exist_ok=True)
        try:
            os.remove(pointer)
        except FileNotFoundError:
            pass
        os.symlink(os.path.relpath(self.blob_path(etag), os.path.dirname(pointer)), pointer)

    def download(self, name: str, etag: str, content: bytes) -> bool:
        """Steps 1 to 7 for one file; whether this process was the one that wrote it."""
        self.prepare()
        descriptor = self.lock(etag)
        try:
            if os.path.exists(self.blob_path(etag)):
                if not os.path.lexists(self.pointer(name)):
                    self.point(name, etag)
                return False
            incomplete = f"{self.blob_path(etag)}.{uuid.uuid4().hex[:8]}.incomplete"
            with open(incomplete, "wb") as file:
                free = shutil.disk_usage(os.path.dirname(incomplete)).free
                if free < len(content):
                    raise OSError(errno.ENOSPC, "disk_usage")
                for start in range(0, len(content), CHUNK):
                    file.write(content[start : start + CHUNK])
            self.publish(incomplete, etag)
            self.point(name, etag)
            return True
        finally:
            self.unlock(descriptor)

    def miss(self, name: str) -> None:
        """Remembers that the repository has no such file."""
        path = os.path.join(self.root, ".no_exist", self.commit, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a"):
            pass

    def lookup(self, name: str, revision: str = "main"):
        """try_to_load_from_cache: a path, False for a remembered miss, None if unknown."""
        if not os.path.isdir(self.root):
            return None
        with open(os.path.join(self.root, "refs", revision)) as file:
            commit = file.read()
        if os.path.isfile(os.path.join(self.root, ".no_exist", commit, name)):
            return False
        if commit not in os.listdir(os.path.join(self.root, "snapshots")):
            return None
        path = os.path.join(self.root, "snapshots", commit, name)
        return path if os.path.isfile(path) else None
