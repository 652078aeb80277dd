"""Replayed hf_t5: OpenVINO by a command line, a directory removed as a file, a Core ML bundle."""

import os
import shutil
import subprocess
import tempfile


class hf_t5:
    def __init__(self, resources=None, metadata=None):
        self.resources = resources or {}
        self.metadata = metadata or {}

    def init_cpu(self, model):
        import transformers

        for _ in range(2):
            cache = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model_cache")
            os.makedirs(cache, exist_ok=True)
        self.config = transformers.AutoConfig.from_pretrained(model, cache_dir=cache)
        self.model = transformers.T5ForConditionalGeneration.from_pretrained(model, cache_dir=cache)
        # Without cache_dir: the hub's default.
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        return self.model.checksum()

    def init_openvino(self, model):
        target = os.path.join(os.path.expanduser("~"), "openvino_models", model.replace("/", "--"), "openvino_int8")
        seen = []
        if not os.path.exists(target):
            os.makedirs(target)
        # After a failed conversion upstream removes the directory with os.remove, and makes it again.
        for act in (os.remove, os.mkdir):
            try:
                act(target)
                seen.append("ok")
            except OSError as error:
                seen.append(error.errno)
        # The path is not quoted, as upstream's is not.
        subprocess.check_output(f"optimum-cli export openvino -m {model} --weight-format int8 {target}", shell=True)
        xml = os.path.join(target, "openvino_model.xml")
        with open(xml) as file:
            return [seen, file.read(), sorted(os.listdir(target))]

    def init_apple(self, model):
        """coremltools: made in TMPDIR, then copied over what is there."""
        models = os.path.join(os.path.expanduser("~"), "coreml_models")
        os.makedirs(models, exist_ok=True)
        target = os.path.join(models, model.replace("/", "--") + "_t5.mlpackage")
        for _ in range(2):
            with tempfile.TemporaryDirectory() as directory:
                weights = os.path.join(directory, "x.mlpackage", "Data", "com.apple.CoreML", "weights")
                os.makedirs(weights)
                with open(os.path.join(weights, "weight.bin"), "wb") as file:
                    file.write(b"coreml" * 100_000)
                with open(os.path.join(directory, "x.mlpackage", "Manifest.json"), "w") as file:
                    file.write("{}")
                if os.path.exists(target):
                    shutil.rmtree(target)
                shutil.copytree(os.path.join(directory, "x.mlpackage"), target)
        return os.path.exists(target)
