"""Replayed faster_whisper: a checkpoint directory, and audio that another program writes meanwhile."""

import os
import subprocess
import tempfile


class faster_whisper:
    def __init__(self, resources, metadata=None):
        self.resources = resources
        self.metadata = metadata or {}

    def load(self):
        checkpoint = self.resources["checkpoint"]
        with open(os.path.join(checkpoint, "header.bin"), "rb") as file:
            header = file.read()
        with open(os.path.join(checkpoint, "model.bin"), "rb") as file:
            return [len(header), len(file.read())]

    def trim(self, seconds):
        """ffmpeg writes into the file that is open here, by its name."""
        with tempfile.NamedTemporaryFile(suffix=".ogg", dir=self.resources["checkpoint"]) as audio:
            subprocess.run(["ffmpeg", "-t", str(seconds), "-y", audio.name], check=True)
            size = os.path.getsize(audio.name)
            content = audio.read()
        trimmed = os.path.join(os.getcwd(), "trimmed_audio.ogg")
        if os.path.isfile(trimmed):
            os.remove(trimmed)
        with open(trimmed, "wb") as file:
            file.write(content)
        return [size, len(content)]
