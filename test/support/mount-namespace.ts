/**
 * Lines of sh that come first in a new mount namespace: it begins with copies of the mounts of all
 * tests that run beside it, and a keeper whose mount was taken away cannot end while a copy lives.
 */
export const FORGET_COPIED_MOUNTS = `
  for place in $(awk '/ - fuse.modelcache / { print $5 }' /proc/self/mountinfo); do
    umount --internal-only --no-canonicalize --lazy -- "$place" || true
  done`
