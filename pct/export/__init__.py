"""Models for other runtimes: encoder, decoder and estimator as ONNX files, from image pixels to image pixels."""
