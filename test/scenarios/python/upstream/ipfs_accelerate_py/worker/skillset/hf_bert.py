"""Replayed hf_bert: the cache directory beside its own source, three times, and hub downloads into it."""

import os
import subprocess


class hf_bert:
    def __init__(self, resources=None, metadata=None):
        self.resources = resources or {}
        self.metadata = metadata or {}

    def init(self):
        import torch
        import transformers

        self.torch, self.transformers = torch, transformers

    def cache_dir(self):
        cache = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model_cache")
        os.makedirs(cache, exist_ok=True)
        return cache

    def init_cpu(self, model):
        self.init()
        cache = self.cache_dir()
        self.config = self.transformers.AutoConfig.from_pretrained(model, trust_remote_code=True, cache_dir=cache)
        cache = self.cache_dir()
        self.tokenizer = self.transformers.AutoTokenizer.from_pretrained(model, cache_dir=cache)
        cache = self.cache_dir()
        self.model = self.transformers.AutoModel.from_pretrained(model, torch_dtype=self.torch.float32, cache_dir=cache)
        return self.model.checksum()

    def init_qualcomm(self, model):
        """P-DLC: ~/snpe_models, a shared temp/model.onnx, a converter of another vendor."""
        self.init()
        models = os.path.join(os.path.expanduser("~"), "snpe_models")
        os.makedirs(models, exist_ok=True)
        dlc = os.path.join(models, model.replace("/", "--") + "_bert.dlc")
        if not os.path.exists(dlc):
            os.makedirs(os.path.join(models, "temp"), exist_ok=True)
            onnx = os.path.join(models, "temp", "model.onnx")
            self.torch.onnx.export(self.model, onnx)
            subprocess.run(["snpe-onnx-to-dlc", "-i", onnx, "-o", dlc], check=True)
        return os.path.getsize(dlc)
