"""From a trained model to a bundle: ONNX export, the cold-start list, and writing it."""
