"""usage: big.py OUT: a safetensors file of 64 MiB of random bytes (fixed seed), 64 tensors of 1 MiB."""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
generator = np.random.default_rng(20260104)
tensors = {
    f"layer.{index:02}": generator.integers(0, 256, size=1 << 20, dtype=np.uint8)
    for index in range(64)
}
save_file(tensors, out / "model.safetensors")
(out / "config.json").write_text('{"model_type": "big"}\n')
