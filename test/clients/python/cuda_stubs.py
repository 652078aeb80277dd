"""Make torch's CUDA wheel importable on a machine without CUDA.

PyPI has only one kind of torch wheel for x86-64 Linux: it names about a dozen CUDA libraries as
NEEDED, together some 2 GB to download, though the CPU path never calls a function of them. The
dynamic linker binds functions lazily, so empty libraries of the same name (and with the same
symbol versions) are enough to load it. Only libcudart is real (a 2 MB wheel): torch registers
its kernels with it while loading and asks it how many devices there are (none).

usage: cuda_stubs.py SITE_PACKAGES
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path


def needed_libraries(lib: Path) -> set[str]:
    out = subprocess.run(["readelf", "-dW", lib], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[([^\]]+)\]", out))


def needed_versions(lib: Path) -> dict[str, set[str]]:
    """Symbol versions that the library asks for, by the file that should define them."""
    out = subprocess.run(["readelf", "-VW", lib], check=True, capture_output=True, text=True).stdout
    versions: dict[str, set[str]] = {}
    file = ""
    for line in out.splitlines():
        if match := re.search(r"Version: 1\s+File: (\S+)", line):
            file = match.group(1)
        elif (match := re.search(r"Name: (\S+)\s+Flags:", line)) and file:
            versions.setdefault(file, set()).add(match.group(1))
    return versions


def address_wanted(lib: Path) -> set[tuple[str, str]]:
    """(symbol, version or '') that must be defined when the library is loaded (Python binds eagerly, RTLD_NOW)."""
    out = subprocess.run(["readelf", "-rW", lib], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"R_X86_64_(?:GLOB_DAT|JUMP_SLOT|64|COPY)\s+0+ ([A-Za-z_]\w*)(?:@(\S+))? \+ 0", out)
    return {(name, version) for name, version in found if re.match(r"(cu|nv|nccl)[A-Za-z]", name)}


def build_stub(directory: Path, name: str, versions: set[str], symbols: dict[str, set[str]]) -> None:
    """One shared library `name`; `symbols` by version ('' for none)."""
    source, script = directory / f".{name}.c", directory / f".{name}.map"
    functions = sorted(set().union(*symbols.values())) if symbols else []
    # A wrapper that torch never calls on the CPU; 999 is cudaErrorUnknown should one be called.
    source.write_text("int modelcache_stub;\n" + "".join(f"long {f}(void) {{ return 999; }}\n" for f in functions))
    script.write_text("".join(
        f"{version} {{ global: {'; '.join(['modelcache_stub', *sorted(symbols.get(version, ()))])}; }};\n"
        if index == 0 else
        f"{version} {{ global: {'; '.join(sorted(symbols.get(version, ())))}{';' if symbols.get(version) else ''} }};\n"
        for index, version in enumerate(sorted(versions))
    ))
    command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(directory / name), str(source)]
    if versions:
        command.append(f"-Wl,--version-script={script}")
    subprocess.run(command, check=True)
    source.unlink()
    script.unlink()


def main(site: Path) -> None:
    torch_lib = site / "torch" / "lib"
    shipped = {path.name for path in torch_lib.iterdir()}
    wanted: dict[str, set[str]] = {}
    addresses: set[tuple[str, str]] = set()
    for lib in sorted(torch_lib.glob("lib*.so")):
        for name in needed_libraries(lib):
            if re.match(r"lib(cu|nv|nccl)", name) and name not in shipped:
                wanted.setdefault(name, set())
        for name, versions in needed_versions(lib).items():
            if name in wanted:
                wanted[name] |= versions
        addresses |= address_wanted(lib)

    real = next(site.glob("nvidia/**/libcudart.so.*"), None)
    if real is None:
        raise SystemExit(f"cuda_stubs: no libcudart below {site}/nvidia")
    shutil.copy(real, torch_lib / real.name)
    wanted.pop(real.name, None)

    for name, versions in sorted(wanted.items()):
        symbols = {version: {s for s, v in addresses if v == version} for version in versions}
        if not versions:
            # The file does not say whose a symbol without version is; several definitions do no harm.
            symbols[""] = {s for s, v in addresses if v == ""}
        build_stub(torch_lib, name, versions, symbols)
    print(f"cuda_stubs: {len(wanted)} empty libraries beside {real.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
