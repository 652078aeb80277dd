"""A stand-in of the standard library only: what the skillsets touch of torch."""

float32 = "float32"


class onnx:
    @staticmethod
    def export(model, path):
        with open(path, "wb") as file:
            for _ in range(20):
                file.write(model.weights[:100_000])
