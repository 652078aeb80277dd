"""qualcomm_utils merges two trees into one, runs a program from it, and removes it with the shell."""

import os
import shutil
import subprocess

SCRIPT = "#!/bin/sh\necho ran with $# arguments from \"$(basename \"$0\")\"\n"
UTF8 = "modèle – 模型 🧪.txt"


def make_sources(scratch):
    first, second = os.path.join(scratch, "lib one"), os.path.join(scratch, "lib two")
    os.makedirs(os.path.join(first, "hexagon v73"))
    os.makedirs(os.path.join(second, "hexagon v73", "unsigned"))
    for directory, name, text in [
        (first, "libQnn.so", "one"),
        (first, os.path.join("hexagon v73", "skel.so"), "skel"),
        (second, "libQnn.so", "two, which replaces one"),
        (second, os.path.join("hexagon v73", "unsigned", "x.so"), "unsigned"),
        (second, UTF8, "names in UTF-8"),
    ]:
        with open(os.path.join(directory, name), "w") as file:
            file.write(text)
    program = os.path.join(scratch, "genie-t2t-run")
    with open(program, "w") as file:
        file.write(SCRIPT)
    os.chmod(program, 0o755)
    return first, second, program


def run(root, trace):
    first, second, program = make_sources(trace.scratch)
    here = os.getcwd()
    os.chdir(root)
    shutil.copytree(first, "genie bundle", dirs_exist_ok=True)
    shutil.copytree(second, "genie bundle", dirs_exist_ok=True)
    shutil.copy(program, "genie bundle")
    trace.tree("merged", "genie bundle")
    ran = subprocess.run(["./genie bundle/genie-t2t-run", "a", "b c"], capture_output=True, text=True)
    trace.fact("executed", [ran.returncode, ran.stdout, ran.stderr])
    shutil.copytree("genie bundle", "kept bundle")
    removed = subprocess.run("rm -rf 'genie bundle'", shell=True, capture_output=True, text=True)
    trace.fact("rm -rf", [removed.returncode, removed.stderr, os.path.lexists("genie bundle")])
    os.chdir(here)
    check(root, trace, second=False)


def check(root, trace, second):
    bundle = os.path.join(root, "kept bundle")
    trace.tree("kept", bundle)
    trace.fact("the UTF-8 name is listed as it was made", UTF8 in os.listdir(bundle))
    ran = subprocess.run([os.path.join(bundle, "genie-t2t-run")], capture_output=True, text=True)
    trace.fact("executed again", [ran.returncode, ran.stdout, ran.stderr])
