"""Geometry of sliding windows as TFLite computes it, and the pooling operators."""

from heddle.errors import FileFormatError
from heddle.gen.importers.operation import MAX_TENSOR_BYTES, Operation
from heddle.gen.ir import AveragePool, MaxPool, Node, Padding, Window

_SAME, _VALID = 0, 1


def window_of(operation: Operation, kernel: tuple[int, int], hwc: tuple[int, int, int], *, dilated: bool) -> Window:
    """Return the window of ``operation`` with ``kernel`` (rows, columns) over a map of height, width and channels.

    Raises
    ------
    FileFormatError
        A stride, dilation or padding out of range, or a kernel that does not fit the map.
    UnsupportedError
        The padded map is larger than any map may be.
    """
    size = hwc[:2]
    stride = operation.option("StrideH"), operation.option("StrideW")
    dilation = (operation.option("DilationHFactor"), operation.option("DilationWFactor")) if dilated else (1, 1)
    scheme = operation.option("Padding")
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    if min(*stride, *dilation, *kernel) < 1 or scheme not in (_SAME, _VALID) or max(reach) > 2**24:
        raise FileFormatError(
            f"kernel {kernel}, stride {stride}, dilation {dilation}, padding scheme {scheme}",
            where=operation.name,
            remedy="convert the network again",
        )
    if scheme == _VALID:
        if reach[0] > size[0] or reach[1] > size[1]:
            raise FileFormatError(
                f"a window of {reach} does not fit a map of {size}", where=operation.name, remedy="use SAME padding"
            )
        return Window(kernel=kernel, stride=stride, dilation=dilation)
    (top, bottom), (left, right) = (_same_padding(*each) for each in zip(size, reach, stride, strict=True))
    padded = (size[0] + top + bottom) * (size[1] + left + right) * hwc[2]
    if padded > MAX_TENSOR_BYTES:
        raise operation.refuse(
            f"its padded map has {padded} elements", f"stay below {MAX_TENSOR_BYTES}: use a smaller dilation"
        )
    padding = Padding(top=top, bottom=bottom, left=left, right=right)
    return Window(kernel=kernel, stride=stride, dilation=dilation, padding=padding)


def _same_padding(size: int, reach: int, stride: int) -> tuple[int, int]:
    """Elements before and after, so that there are ``ceil(size / stride)`` windows; the odd one goes after."""
    total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2


def pool_2d(operation: Operation) -> list[Node]:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    operation.count(1, 1)
    ifmap, ofmap = operation.input(), operation.output()
    height, width, channels = operation.spatial(ifmap)
    operation.spatial(ofmap)
    operation.expect_same_quantization(ifmap, ofmap)
    kernel = operation.option("FilterHeight"), operation.option("FilterWidth")
    window = window_of(operation, kernel, (height, width, channels), dilated=False)
    operation.expect(ofmap, (*window.output_size(height, width), channels))
    act_min, act_max = operation.activation_range(ofmap)
    kind = AveragePool if operation.operator.op == "AVERAGE_POOL_2D" else MaxPool
    node = kind(
        name=operation.name,
        op=operation.operator.op,
        inputs=(ifmap.name,),
        output=ofmap.name,
        window=window,
        act_min=act_min,
        act_max=act_max,
    )
    return [node]
