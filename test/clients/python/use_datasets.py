"""Make and use an arrow cache with the `datasets` library.

usage: use_datasets.py write|load|read DIRECTORY SOURCE

The cache is DIRECTORY/datasets. `write` makes it from JSON lines and Parquet in SOURCE, a directory
that it fills if it is empty, while a second process does the same (`load`); `read` must find everything in
the cache. Prints one JSON line.
"""

import hashlib
import json
import os
import subprocess
import sys

verb, place, source = sys.argv[1:]
os.environ["HF_DATASETS_CACHE"] = os.path.join(place, "datasets")

import datasets  # noqa: E402  (reads the variable while it is imported)
import numpy as np  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.parquet  # noqa: E402

datasets.disable_progress_bars()
ROWS = 6000


def make_source() -> None:
    if os.listdir(source):
        return
    random = np.random.default_rng(20260202)
    with open(os.path.join(source, "train.jsonl"), "w") as file:
        for index in range(ROWS):
            row = {"id": index, "text": f"row {index} " + "every settled file " * (index % 9), "label": index % 3}
            file.write(json.dumps(row) + "\n")
    table = pyarrow.table({
        "id": np.arange(ROWS),
        "vector": pyarrow.FixedSizeListArray.from_arrays(random.standard_normal(ROWS * 16).astype(np.float32), 16),
    })
    pyarrow.parquet.write_table(table, os.path.join(source, "test.parquet"), row_group_size=1000)


def digest(dataset: datasets.Dataset) -> str:
    """Of every row in order, read through the mapping of its arrow files."""
    whole = hashlib.sha256(repr(dataset.features).encode())
    for batch in dataset.with_format("arrow").iter(1000):
        for column in batch.columns:
            whole.update(json.dumps(column.to_pylist()).encode())
    return whole.hexdigest()


def below(dataset: datasets.Dataset) -> list[str]:
    return sorted(os.path.relpath(file["filename"], place) for file in dataset.cache_files)


def load_all() -> dict[str, datasets.Dataset]:
    rows = datasets.load_dataset("json", data_files=os.path.join(source, "train.jsonl"), split="train")
    vectors = datasets.load_dataset("parquet", data_files={"test": os.path.join(source, "test.parquet")})["test"]
    longer = rows.map(lambda row: {"length": len(row["text"])})
    by_two = rows.map(lambda batch: {"twice": [value * 2 for value in batch["id"]]}, batched=True, num_proc=2)
    return {
        "rows": rows,
        "vectors": vectors,
        "longer": longer,
        "by_two": by_two,
        "filtered": longer.filter(lambda row: row["label"] == 1),
        "sorted": by_two.sort("label"),
        "part": rows.train_test_split(test_size=0.25, seed=7)["test"],
    }


def describe(loaded: dict[str, datasets.Dataset]) -> dict:
    return {name: [len(dataset), digest(dataset), below(dataset)] for name, dataset in loaded.items()}


def write() -> dict:
    make_source()
    # Another process makes the same cache at the same time; the lock files keep them apart.
    command = [sys.executable, __file__, "load", place, source]
    beside = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    loaded = load_all()
    result = {"loaded": describe(loaded)}
    told, _ = beside.communicate()
    if beside.returncode != 0:
        raise SystemExit(f"the process beside ended with {beside.returncode}")
    result["beside"] = json.loads(told.splitlines()[-1]) == result["loaded"]
    saved = datasets.DatasetDict({"train": loaded["longer"], "test": loaded["part"]})
    saved.save_to_disk(os.path.join(place, "saved"), num_shards={"train": 3, "test": 1})
    loaded["vectors"].to_parquet(os.path.join(place, "vectors.parquet"))
    made = datasets.Dataset.from_generator(generated)
    result["made"] = [len(made), digest(made), below(made)]
    mapped = made.map(lambda row: {"gone": row["n"]})
    # A mapped cache file is removed while this process still reads it.
    result["cleaned"] = [made.cleanup_cache_files(), digest(mapped)]
    return result


def generated():
    for number in range(500):
        yield {"n": number, "square": number * number}


def times() -> dict[str, int]:
    """When each arrow file of the cache was written: what is made again shows."""
    found = {}
    for directory, _, names in os.walk(os.path.join(place, "datasets")):
        for name in names:
            if name.endswith(".arrow"):
                found[os.path.join(directory, name)] = os.stat(os.path.join(directory, name)).st_mtime_ns
    return found


def read() -> dict:
    before = times()
    result = {"loaded": describe(load_all())}
    result["untouched"] = times() == before and len(before) > 8
    result["saved"] = describe(dict(datasets.load_from_disk(os.path.join(place, "saved"))))
    return result


if __name__ == "__main__":
    print(json.dumps({"write": write, "load": lambda: describe(load_all()), "read": read}[verb]()))
