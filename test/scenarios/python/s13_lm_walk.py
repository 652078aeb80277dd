"""default_lm walks the cache and takes the first name that contains what it looks for."""

import os
import stat

DIRECTORIES = 300
LINKS = 20


def run(root, trace):
    hub = os.path.join(root, "hub")
    for index in range(DIRECTORIES):
        repository = os.path.join(hub, f"models--org--lm-{(index * 7) % DIRECTORIES}")
        os.makedirs(os.path.join(repository, "blobs"))
        snapshot = os.path.join(repository, "snapshots", "c" * 40)
        os.makedirs(snapshot)
        for link in range(LINKS):
            os.symlink(f"../../blobs/{link:040}", os.path.join(snapshot, f"file-{link}.json"))
    # The converter makes its output where the process stands: inside snapshots.
    here = os.getcwd()
    os.chdir(os.path.join(hub, "models--org--lm-5", "snapshots"))
    trace.call("relative makedirs", os.makedirs, "openvino_model", exist_ok=True)
    trace.fact("listed", sorted(os.listdir(".")))
    trace.fact("cwd", os.path.basename(os.getcwd()))
    os.chdir(here)
    check(root, trace, second=False)


def check(root, trace, second):
    hub = os.path.join(root, "hub")
    first, again = os.listdir(hub), os.listdir(hub)
    trace.fact("same order twice", first == again)
    trace.fact("names", sorted(first))
    trace.claim("names come sorted bytewise", first == sorted(first, key=os.fsencode))
    walked = []
    for directory, names, files in os.walk(hub):
        walked.append([os.path.relpath(directory, hub), sorted(names), sorted(files)])
    trace.fact("walk", len(walked))
    trace.fact("walked", sorted(walked))
    picked = [name for name in sorted(first) if "lm-29" in name][0]
    trace.fact("picked", picked)
    snapshot = os.path.join(hub, "models--org--lm-7", "snapshots", "c" * 40)
    with os.scandir(snapshot) as entries:
        # is_symlink() answers from d_type, without asking for attributes.
        trace.fact("d_type", sorted([e.name, e.is_symlink(), e.is_dir(follow_symlinks=False)] for e in entries))
    trace.fact("one target", os.readlink(os.path.join(snapshot, "file-3.json")))
    kind = stat.S_IFMT(os.lstat(os.path.join(snapshot, "file-3.json")).st_mode)
    trace.fact("a link that leads nowhere", [oct(kind), os.path.exists(os.path.join(snapshot, "file-3.json"))])
