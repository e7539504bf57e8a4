"""ADD and SUB of two activations; with a scalar constant they become a table."""

from heddle.gen import arithmetic
from heddle.gen.importers.operation import Operation, scalar
from heddle.gen.importers.unary import table
from heddle.gen.ir import Add, Node


def add(operation: Operation) -> list[Node]:
    """ADD and SUB."""
    operation.count(2, 2)
    constant = next((position for position in (0, 1) if operation.is_constant(position)), None)
    activations = [operation.input(position) for position in (0, 1) if position != constant]
    ofmap = operation.output()
    operands = list(activations)
    value = 0
    if constant is not None:
        tensor, value = scalar(operation, constant)
        operands.insert(constant, tensor)
    for activation in activations:
        if activation.hwc != ofmap.hwc:
            raise operation.refuse(
                f"{activation.name} of shape {activation.shape} is broadcast to {ofmap.shape}",
                "use operands of one shape, or a scalar constant",
            )
    node = _add(operation, operands[0].scale, operands[1].scale, (operands[0].name, operands[1].name))
    if constant is None:
        return [node]
    terms = arithmetic.add_terms(node, {tensor.name: tensor for tensor in (*operands, ofmap)})
    total = terms[1 - constant] + terms[constant][value + 128]
    return table(operation, arithmetic.add_output(node, {ofmap.name: ofmap}, total), position=1 - constant)


def _add(operation: Operation, first: float, second: float, names: tuple[str, str]) -> Add:
    ofmap = operation.output()
    twice_largest = 2 * max(first, second)
    (m1, s1), (m2, s2), (m_out, s_out) = (
        arithmetic.quantize_multiplier(real)
        for real in (
            first / twice_largest,
            second / twice_largest,
            twice_largest / (2**arithmetic.ADD_LEFT_SHIFT * ofmap.scale),
        )
    )
    if s_out > 0:
        raise operation.refuse(f"the scale of {ofmap.name} is too small for its operands", "convert the network again")
    act_min, act_max = operation.activation_range(ofmap)
    return Add(
        name=operation.name,
        op=operation.operator.op,
        inputs=names,
        output=ofmap.name,
        left_shift=arithmetic.ADD_LEFT_SHIFT,
        multipliers=(m1, m2),
        shifts=(s1, s2),
        output_multiplier=m_out,
        output_shift=s_out,
        sign=-1 if operation.operator.op == "SUB" else 1,
        act_min=act_min,
        act_max=act_max,
    )
