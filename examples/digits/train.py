"""Train the digits network and convert it to full-int8 TFLite.

A convolution, a depthwise-separable block with a residual add, pooling and a fully-connected layer: one of each kind
of layer that Heddle accelerates, on the 8x8 digits that ship with scikit-learn. Needs ``requirements.txt``, nothing of
Heddle. Writes, beside this file:

``digits.tflite``
    The network: int8 in, int8 out, one weight scale per output channel.
``samples.npz``
    The held-out images, in neither training nor calibration: ``x`` int8 ``(samples, 8, 8, 1)``, quantized as the
    network's input; ``label`` uint8 ``(samples,)``.

Everything is seeded: the same versions on the same kind of processor write the same bytes.
"""

import os
from pathlib import Path

# Read by TensorFlow while it is imported: oneDNN picks kernels, and so the order of sums, by processor.
os.environ.update(TF_ENABLE_ONEDNN_OPTS="0", TF_CPP_MIN_LOG_LEVEL="2", CUDA_VISIBLE_DEVICES="")

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
SEED = 1
CHANNELS = 16
EPOCHS = 120
BATCH = 64
HELD_OUT = 400
PEAK = 16.0
"""The dataset counts inked sub-pixels: 0 to 16."""


def build_model(batch: int | None = None) -> tf.keras.Model:
    """Return the float network: ``(batch, 8, 8, 1)`` in, ten probabilities for each image out."""
    layers = tf.keras.layers
    image = tf.keras.Input((8, 8, 1), batch_size=batch, name="image")
    stem = layers.Conv2D(CHANNELS, 3, padding="same", activation="relu", name="stem")(image)
    depthwise = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(stem)
    pointwise = layers.Conv2D(CHANNELS, 1, name="pointwise")(depthwise)
    residual = layers.ReLU(name="relu")(layers.Add(name="residual")([stem, pointwise]))
    pooled = layers.AveragePooling2D(2, strides=2, name="pool")(residual)
    features = layers.Dropout(0.3, name="dropout")(layers.Flatten(name="flatten")(pooled))
    return tf.keras.Model(image, layers.Dense(10, activation="softmax", name="classify")(features), name="digits")


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return every image of ``(n, 8, 8, 1)`` moved by at most one pixel, sideways or up and down or not at all."""
    moves = np.array([(0, 0), (0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)])
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    chosen = moves[rng.integers(len(moves), size=len(images))] + 1
    return np.stack([image[y : y + 8, x : x + 8] for image, (y, x) in zip(padded, chosen, strict=True)])


def train(images: np.ndarray, labels: np.ndarray) -> tf.keras.Model:
    """Fit the network to ``images`` float32 ``(n, 8, 8, 1)`` and ``labels`` ``(n,)``."""
    rng = np.random.default_rng(SEED)
    model = build_model()
    rate = tf.keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * -(-len(images) // BATCH))
    model.compile(optimizer=tf.keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))
        model.fit(shifted(images[order], rng), labels[order], batch_size=BATCH, shuffle=False, verbose=0)
    return model


def convert(model: tf.keras.Model, calibration: np.ndarray) -> bytes:
    """Quantize the network to int8 at both edges, with the ranges it shows on ``calibration``; return the file."""
    # A fixed batch of 1: with a free one the converter adds shape arithmetic around the flattening.
    single = build_model(batch=1)
    single.set_weights(model.get_weights())
    converter = tf.lite.TFLiteConverter.from_keras_model(single)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def quantize(network: bytes, images: np.ndarray) -> np.ndarray:
    """Return ``images`` as the int8 of the network's input."""
    scale, zero_point = tf.lite.Interpreter(model_content=network).get_input_details()[0]["quantization"]
    return np.clip(np.round(images / scale) + zero_point, -128, 127).astype(np.int8)


def accuracy(network: bytes, samples: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of ``samples`` that the int8 network classifies right, on TFLite's reference kernels."""
    reference = tf.lite.experimental.OpResolverType.BUILTIN_REF
    interpreter = tf.lite.Interpreter(model_content=network, experimental_op_resolver_type=reference)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    right = 0
    for sample, label in zip(samples, labels, strict=True):
        interpreter.set_tensor(source, sample[None])
        interpreter.invoke()
        right += int(interpreter.get_tensor(sink).argmax() == label)
    return right / len(samples)


def main() -> None:
    """Train, convert, measure, write."""
    tf.keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    digits = load_digits()
    images = (digits.images[..., None] / PEAK).astype(np.float32)
    fit_x, held_x, fit_y, held_y = train_test_split(
        images, digits.target.astype(np.uint8), test_size=HELD_OUT, random_state=SEED, stratify=digits.target
    )
    model = train(fit_x, fit_y)
    network = convert(model, fit_x)
    samples = quantize(network, held_x)
    float_accuracy = float((model.predict(held_x, verbose=0).argmax(axis=1) == held_y).mean())
    (HERE / "digits.tflite").write_bytes(network)
    np.savez_compressed(HERE / "samples.npz", x=samples, label=held_y)
    print(f"digits.tflite: {len(network)} bytes, {model.count_params()} parameters")
    print(f"held-out samples: {len(samples)}")
    print(f"accuracy: {accuracy(network, samples, held_y):.2%} in int8, {float_accuracy:.2%} in float")


if __name__ == "__main__":
    main()
