"""The probe for symbolic links: a private directory, a file, a link, and all gone again."""

import os
import shutil
import stat
import tempfile


def run(root, trace):
    repository = os.path.join(root, "hub", "models--org--probe")
    os.makedirs(repository, exist_ok=True)
    for index in range(20):
        directory = tempfile.mkdtemp(dir=repository)
        trace.fact(f"mode {index}", oct(stat.S_IMODE(os.stat(directory).st_mode)))
        source = os.path.join(directory, "dummy_file_src")
        with open(source, "w"):
            pass
        trace.call(f"symlink {index}", os.symlink, "dummy_file_src", os.path.join(directory, "dst"))
        trace.fact(f"followed {index}", os.path.samefile(source, os.path.join(directory, "dst")))
        shutil.rmtree(directory)
        trace.fact(f"gone {index}", not os.path.lexists(directory))
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("hub", os.path.join(root, "hub"))
