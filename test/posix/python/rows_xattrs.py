"""Extended attributes."""

import os
import struct

from children import elsewhere
from files import opened, read, write
from registry import NO_XATTRS, behaviour
from trace import Trace, eventually, outcome

SECTION = "Extended attributes"
RD, WR, CREAT = os.O_RDONLY, os.O_WRONLY, os.O_CREAT


def make_attributes(place: str) -> None:
    write(f"{place}/f", b"content")
    os.mkdir(f"{place}/d")
    for name in ("f", "d"):
        os.setxattr(f"{place}/{name}", "user.before", b"value \0 with zero")
    os.symlink("f", f"{place}/l")


@behaviour(SECTION, "user.* is set, read, listed, replaced and removed, on files, directories, descriptors",
           prepare=make_attributes, not_on=NO_XATTRS)
def user_attributes(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name in ("f", "d", "l"):
        trace.call(f"{name}: found", os.getxattr, name, "user.before")
        trace.note(f"{name}: list", sorted(os.listxattr(name)))
        trace.call(f"{name}: create", os.setxattr, name, "user.a", b"1", os.XATTR_CREATE)
        trace.call(f"{name}: create again", os.setxattr, name, "user.a", b"2", os.XATTR_CREATE)
        trace.call(f"{name}: replace", os.setxattr, name, "user.a", b"3", os.XATTR_REPLACE)
        trace.call(f"{name}: replace none", os.setxattr, name, "user.none", b"", os.XATTR_REPLACE)
        trace.call(f"{name}: empty", os.setxattr, name, "user.empty", b"")
        trace.call(f"{name}: read empty", os.getxattr, name, "user.empty")
        trace.call(f"{name}: binary", os.setxattr, name, "user.\u00e9", bytes(range(256)))
        trace.call(f"{name}: read binary", os.getxattr, name, "user.\u00e9")
        trace.call(f"{name}: large", os.setxattr, name, "user.large", b"x" * 2000)
        trace.call(f"{name}: too large", os.setxattr, name, "user.huge", b"x" * 65_537)
        trace.call(f"{name}: long name", os.setxattr, name, "user." + "n" * 260, b"x")
        trace.call(f"{name}: no name", os.setxattr, name, "user.", b"x")
        trace.call(f"{name}: missing", os.getxattr, name, "user.missing")
        trace.note(f"{name}: list now", sorted(os.listxattr(name)))
        trace.note(f"{name}: elsewhere", elsewhere(lambda: os.getxattr(name, "user.a").decode()))
        for gone in ("user.a", "user.empty", "user.missing"):
            trace.call(f"{name}: remove {gone}", os.removexattr, name, gone)
        trace.call(f"{name}: removed", os.getxattr, name, "user.a")
    fd = os.open("f", RD)
    trace.call("by a reader", os.setxattr, fd, "user.fd", b"x")
    os.rename("f", "g")
    trace.note("renamed", [os.getxattr("g", "user.fd"), sorted(os.listxattr(fd))])
    os.unlink("g")
    trace.note("unlinked", sorted(os.listxattr(fd)))
    os.close(fd)


@behaviour(SECTION, "attributes of a symbolic link itself are refused as on a local disk",
           prepare=make_attributes, not_on=NO_XATTRS)
def link_attributes(place: str, trace: Trace) -> None:
    os.chdir(place)
    trace.call("set", os.setxattr, "l", "user.a", b"x", follow_symlinks=False)
    trace.call("get", os.getxattr, "l", "user.a", follow_symlinks=False)
    trace.call("list", os.listxattr, "l", follow_symlinks=False)
    trace.call("remove", os.removexattr, "l", "user.a", follow_symlinks=False)
    trace.call("missing file", os.getxattr, "missing", "user.a")
    write("large", b"")
    trace.call("many", lambda: [os.setxattr("large", f"user.{n:03}", b"v" * 20) for n in range(40)] and None)
    trace.note("listed", sorted(os.listxattr("large")))


@behaviour(SECTION, "other name spaces are EOPNOTSUPP (security.*, trusted.*, access control lists)")
def other_name_spaces(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("f", b"x")
    # user::rw-, group::r--, other::r--, in the form of linux/posix_acl_xattr.h.
    entries = ((1, 6), (4, 4), (32, 4))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e, 0xFFFFFFFF) for e in entries)
    for name in ("trusted.a", "security.a", "system.posix_acl_access", "other.a", "mc"):
        value = acl if "acl" in name else b"x"
        for label, call in (
            ("set", lambda: os.setxattr("f", name, value)),
            ("get", lambda: os.getxattr("f", name)),
        ):
            answer = outcome(call)
            # The kernel itself refuses an ordinary user before anybody is asked (fs/xattr.c).
            refused = ["EPERM"] if label == "set" and os.getuid() != 0 else []
            if trace.mounted:
                trace.one_of(f"{label} {name}", answer, "EOPNOTSUPP", "ENODATA", *refused)
    if trace.mounted:
        trace.claim("nothing was set", os.listxattr("f") == [])
    trace.note("file", read("f"))


@behaviour(SECTION, "user.mc, the placeholder's record, is hidden and refused", prepare=make_attributes,
           not_on={"plain": "it is the mount's own name"})
def hidden_record(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name in ("f", "d", os.path.dirname(os.path.dirname(place))):
        label = os.path.basename(name)
        trace.one_of(f"{label}: get", outcome(os.getxattr, name, "user.mc"), "ENODATA")
        trace.one_of(f"{label}: set", outcome(os.setxattr, name, "user.mc", b"x"), "EPERM")
        trace.one_of(f"{label}: remove", outcome(os.removexattr, name, "user.mc"), "EPERM")
        trace.claim(f"{label}: not listed", "user.mc" not in os.listxattr(name))
        trace.one_of(f"{label}: beside it", outcome(os.setxattr, name, "user.mc2", b"x"), "ok")
        trace.claim(f"{label}: listed", "user.mc2" in os.listxattr(name))
        trace.one_of(f"{label}: away", outcome(os.removexattr, name, "user.mc2"), "ok")
    trace.claim("content", read("f") == b"content")


@behaviour(SECTION, "user.modelcache.cid is a settled file's CID: not listed, read-only, ENODATA while dirty",
           not_on={"plain": "it is the mount's own name"})
def cid_attribute(place: str, trace: Trace) -> None:
    os.chdir(place)
    name = "user.modelcache.cid"
    fd = os.open("f", WR | CREAT)
    os.write(fd, b"content\n")
    trace.one_of("open for writing", outcome(os.getxattr, "f", name), "ENODATA")
    os.close(fd)
    trace.pause("commit-all")
    cid = outcome(os.getxattr, "f", name)
    trace.claim(f"a raw leaf of sha2-256: {cid}", str(cid).startswith("bafkrei") and len(cid) == 59)
    trace.claim("not listed", os.listxattr("f") == [])
    trace.one_of("set", outcome(os.setxattr, "f", name, b"x"), "EPERM")
    trace.one_of("remove", outcome(os.removexattr, "f", name), "EPERM")
    os.chmod("f", 0o600)
    os.setxattr("f", "user.a", b"b")
    os.utime("f", ns=(1, 2))
    os.link("f", "g")
    os.rename("f", "h")
    trace.claim("attributes and names leave it clean", eventually(cid, os.getxattr, "h", name))
    directory = outcome(os.getxattr, ".", name)
    trace.claim(f"of a directory: {directory}", directory == "ENODATA" or str(directory).startswith("baf"))
    write("h", b"other")
    trace.one_of("dirty", outcome(os.getxattr, "h", name), "ENODATA")
    trace.call("opened", opened, "h", RD)
