"""What TensorFlow Lite calls the operators, and their tables of options."""

from __future__ import annotations

import flatbuffers
import tflite

from edgegrow.deploy.graph import (
    Activation,
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    HardSwish,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Relu,
    Reshape,
    Softmax,
    Tanh,
    UpsampleNearest2D,
    Window,
)

ACTIVATIONS: dict[Activation, int] = {
    "none": tflite.ActivationFunctionType.NONE,
    "relu": tflite.ActivationFunctionType.RELU,
    "relu6": tflite.ActivationFunctionType.RELU6,
    "unit": tflite.ActivationFunctionType.NONE,  # int8's own limits clamp
}
_PADDINGS = {"SAME": tflite.Padding.SAME, "VALID": tflite.Padding.VALID}
# The version of each operator that introduced int8, with per-channel scales where it has them.
_CODES: dict[type[Operator], tuple[int, int]] = {
    Conv2D: (tflite.BuiltinOperator.CONV_2D, 3),
    DepthwiseConv2D: (tflite.BuiltinOperator.DEPTHWISE_CONV_2D, 3),
    FullyConnected: (tflite.BuiltinOperator.FULLY_CONNECTED, 4),
    Add: (tflite.BuiltinOperator.ADD, 2),
    AveragePool2D: (tflite.BuiltinOperator.AVERAGE_POOL_2D, 2),
    MaxPool2D: (tflite.BuiltinOperator.MAX_POOL_2D, 2),
    Concatenation: (tflite.BuiltinOperator.CONCATENATION, 2),
    HardSwish: (tflite.BuiltinOperator.HARD_SWISH, 1),
    Logistic: (tflite.BuiltinOperator.LOGISTIC, 2),
    Mean: (tflite.BuiltinOperator.MEAN, 2),
    Mul: (tflite.BuiltinOperator.MUL, 2),
    Pad: (tflite.BuiltinOperator.PAD, 2),
    Relu: (tflite.BuiltinOperator.RELU, 2),
    Reshape: (tflite.BuiltinOperator.RESHAPE, 1),
    Softmax: (tflite.BuiltinOperator.SOFTMAX, 2),
    Tanh: (tflite.BuiltinOperator.TANH, 2),
    UpsampleNearest2D: (tflite.BuiltinOperator.RESIZE_NEAREST_NEIGHBOR, 2),
}


def code_and_version(op: Operator) -> tuple[int, int]:
    """TensorFlow Lite's number of an operator, and the version in which it takes int8."""
    if isinstance(op, Relu) and op.activation == "relu6":
        return tflite.BuiltinOperator.RELU6, 2
    return _CODES[type(op)]


def write_options(b: flatbuffers.Builder, op: Operator) -> tuple[int, int]:
    """Write an operator's options.

    Returns
    -------
    tuple of int
        Kind of the table and its place in the flatbuffer; both 0 where the operator has none.
    """
    match op:
        case Conv2D(window=window, activation=activation):
            tflite.Conv2DOptionsStart(b)
            tflite.Conv2DOptionsAddPadding(b, _PADDINGS[window.padding])
            tflite.Conv2DOptionsAddStrideH(b, window.stride[0])
            tflite.Conv2DOptionsAddStrideW(b, window.stride[1])
            tflite.Conv2DOptionsAddFusedActivationFunction(b, ACTIVATIONS[activation])
            return tflite.BuiltinOptions.Conv2DOptions, tflite.Conv2DOptionsEnd(b)
        case DepthwiseConv2D(window=window, activation=activation):
            tflite.DepthwiseConv2DOptionsStart(b)
            tflite.DepthwiseConv2DOptionsAddPadding(b, _PADDINGS[window.padding])
            tflite.DepthwiseConv2DOptionsAddStrideH(b, window.stride[0])
            tflite.DepthwiseConv2DOptionsAddStrideW(b, window.stride[1])
            tflite.DepthwiseConv2DOptionsAddDepthMultiplier(b, op.multiplier)
            tflite.DepthwiseConv2DOptionsAddFusedActivationFunction(b, ACTIVATIONS[activation])
            return tflite.BuiltinOptions.DepthwiseConv2DOptions, tflite.DepthwiseConv2DOptionsEnd(b)
        case FullyConnected(activation=activation):
            tflite.FullyConnectedOptionsStart(b)
            tflite.FullyConnectedOptionsAddFusedActivationFunction(b, ACTIVATIONS[activation])
            return tflite.BuiltinOptions.FullyConnectedOptions, tflite.FullyConnectedOptionsEnd(b)
        case Add(activation=activation):
            tflite.AddOptionsStart(b)
            tflite.AddOptionsAddFusedActivationFunction(b, ACTIVATIONS[activation])
            return tflite.BuiltinOptions.AddOptions, tflite.AddOptionsEnd(b)
        case Mul(activation=activation):
            tflite.MulOptionsStart(b)
            tflite.MulOptionsAddFusedActivationFunction(b, ACTIVATIONS[activation])
            return tflite.BuiltinOptions.MulOptions, tflite.MulOptionsEnd(b)
        case AveragePool2D(window=window, activation=activation):
            return tflite.BuiltinOptions.Pool2DOptions, _pool_options(b, window, ACTIVATIONS[activation])
        case MaxPool2D(window=window, activation=activation):
            return tflite.BuiltinOptions.Pool2DOptions, _pool_options(b, window, ACTIVATIONS[activation])
        case Softmax(beta=beta):
            tflite.SoftmaxOptionsStart(b)
            tflite.SoftmaxOptionsAddBeta(b, beta)
            return tflite.BuiltinOptions.SoftmaxOptions, tflite.SoftmaxOptionsEnd(b)
        case Reshape():
            tflite.ReshapeOptionsStartNewShapeVector(b, len(op.output.shape))
            for size in reversed(op.output.shape):
                b.PrependInt32(size)
            shape = b.EndVector()
            tflite.ReshapeOptionsStart(b)
            tflite.ReshapeOptionsAddNewShape(b, shape)
            return tflite.BuiltinOptions.ReshapeOptions, tflite.ReshapeOptionsEnd(b)
        case Mean(keep_dims=keep_dims):
            tflite.ReducerOptionsStart(b)
            tflite.ReducerOptionsAddKeepDims(b, keep_dims)
            return tflite.BuiltinOptions.ReducerOptions, tflite.ReducerOptionsEnd(b)
        case Concatenation(axis=axis):
            tflite.ConcatenationOptionsStart(b)
            tflite.ConcatenationOptionsAddAxis(b, axis)
            return tflite.BuiltinOptions.ConcatenationOptions, tflite.ConcatenationOptionsEnd(b)
        case UpsampleNearest2D():
            # From the centre of an element, no rounding leads to its neighbour.
            tflite.ResizeNearestNeighborOptionsStart(b)
            tflite.ResizeNearestNeighborOptionsAddHalfPixelCenters(b, True)
            options = tflite.ResizeNearestNeighborOptionsEnd(b)
            return tflite.BuiltinOptions.ResizeNearestNeighborOptions, options
    return 0, 0


def _pool_options(b: flatbuffers.Builder, window: Window, activation: int) -> int:
    tflite.Pool2DOptionsStart(b)
    tflite.Pool2DOptionsAddPadding(b, _PADDINGS[window.padding])
    tflite.Pool2DOptionsAddStrideH(b, window.stride[0])
    tflite.Pool2DOptionsAddStrideW(b, window.stride[1])
    tflite.Pool2DOptionsAddFilterHeight(b, window.size[0])
    tflite.Pool2DOptionsAddFilterWidth(b, window.size[1])
    tflite.Pool2DOptionsAddFusedActivationFunction(b, activation)
    return tflite.Pool2DOptionsEnd(b)
