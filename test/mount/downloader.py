"""Downloads as a Hub client does: a partial file, renamed to a blob, then a link to it."""
import hashlib
import os
import sys

root, count = sys.argv[1], int(sys.argv[2])
repo = os.path.join(root, 'hub', 'models--test')
os.makedirs(os.path.join(repo, 'blobs'), exist_ok=True)
for number in range(count):
    body = f'file {number}'.encode() * 100
    name = hashlib.sha256(body).hexdigest()
    partial = os.path.join(repo, 'blobs', name + '.incomplete')
    with open(partial, 'wb') as file:
        file.write(body[:100])
        file.flush()
        file.write(body[100:])
    os.rename(partial, os.path.join(repo, 'blobs', name))
    snapshot = os.path.join(repo, 'snapshots', str(number % 10))
    os.makedirs(snapshot, exist_ok=True)
    os.symlink(os.path.join('..', '..', 'blobs', name), os.path.join(snapshot, f'file-{number}'))
