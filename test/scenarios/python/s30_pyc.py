"""trust_remote_code: modules are copied into the cache and imported, byte code and all, by many at once."""

import filecmp
import os
import shutil
import subprocess
import sys

MODULES = [f"modeling_{name}" for name in ("bert", "t5", "clip", "whisper")]
PROCESSES = 8
#: All wait at the pipe, and start when its writer goes.
IMPORTER = """
import sys
sys.stdin.read()
sys.path.insert(0, sys.argv[1])
import importlib
names = sys.argv[2:]
found = [importlib.import_module(f"transformers_modules.org.{name}") for name in names]
print(sum(module.answer() for module in found), all(module.__cached__.endswith(".pyc") for module in found))
"""


def source(name):
    return f"NAME = {name!r}\nTABLE = {{i: i * i for i in range(200)}}\n\n\ndef answer():\n    return len(NAME)\n"


def import_all(root, trace, what):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", IMPORTER, root, *MODULES]
    running = [
        subprocess.Popen(command, env=environment, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    for process in running:
        process.stdin.close()
        process.stdin = None
    for index, process in enumerate(running):
        out, err = process.communicate()
        trace.fact(f"{what} {index}", [process.returncode, out, err])


def bytecode(root):
    return sorted(
        os.path.relpath(os.path.join(directory, name), root)
        for directory, _, names in os.walk(root)
        for name in names
        if "__pycache__" in directory
    )


def run(root, trace):
    package = os.path.join(root, "transformers_modules")
    target = os.path.join(package, "org")
    os.makedirs(target)
    for directory in (package, target):
        with open(os.path.join(directory, "__init__.py"), "w"):
            pass
    for name in MODULES:
        downloaded = os.path.join(trace.scratch, f"{name}.py")
        with open(downloaded, "w") as file:
            file.write(source(name))
        module = os.path.join(target, f"{name}.py")
        trace.fact(f"{name} differs", not (os.path.exists(module) and filecmp.cmp(downloaded, module)))
        shutil.copy(downloaded, module)
        trace.fact(f"{name} is the same", filecmp.cmp(downloaded, module, shallow=False))
    import_all(root, trace, "first")
    written = bytecode(root)
    trace.fact("byte code", written)
    made = {name: os.stat(os.path.join(root, name)).st_ino for name in written}
    import_all(root, trace, "second")
    # The byte code names the source's mtime and size: were they not kept, it would be made anew.
    trace.fact("used again", {name: os.stat(os.path.join(root, name)).st_ino for name in bytecode(root)} == made)
    check(root, trace, second=False)


def check(root, trace, second):
    before = {name: os.stat(os.path.join(root, name)).st_mtime_ns for name in bytecode(root)}
    import_all(root, trace, "again")
    after = {name: os.stat(os.path.join(root, name)).st_mtime_ns for name in bytecode(root)}
    trace.fact("valid still", after == before)
    trace.tree("modules", root, skip=lambda path: path.endswith(".pyc"))
