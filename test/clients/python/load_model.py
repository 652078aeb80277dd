"""Load a model with transformers and say what it computes.

usage: load_model.py classify|generate MODEL [MODEL...]

MODEL is a name on the hub or a directory. Prints one JSON line with the SHA-256 of the logits of
each, which is the same on one machine if and only if every weight is.
"""

import hashlib
import json
import sys

import torch
import transformers

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
CLASSES = {
    "classify": transformers.AutoModelForSequenceClassification,
    "generate": transformers.AutoModelForCausalLM,
}


def logits(kind: str, name: str) -> str:
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    model = CLASSES[kind].from_pretrained(name).eval()
    inputs = tokenizer("the quick brown fox is read once and verified", return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        out = model(**inputs).logits
    return hashlib.sha256(out.contiguous().numpy().tobytes()).hexdigest()


kind, *names = sys.argv[1:]
print(json.dumps({"logits": [logits(kind, name) for name in names]}))
