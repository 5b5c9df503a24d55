"""Writes a model in OpenVINO's form, which keeps keys and values itself.

Source: the layout is optimum-intel's (openvino/utils, `make_stateful`).
"""

from pathlib import Path
from typing import Any

from markgraph.models.export_step import INPUTS, OUTPUT, Shapes, Step


def write_openvino(model: Any, shapes: Shapes, folder: Path) -> None:
    """Write openvino_model.xml and .bin of the transformers model `model`, its weights in float16."""
    import torch
    from openvino import convert_model, save_model
    from openvino._offline_transformations import apply_make_stateful_transformation

    with torch.inference_mode():
        written = convert_model(Step(model).eval(), example_input=shapes.example())
    past, present = shapes.past_names(), shapes.present_names()
    for ports, names in ((written.inputs, [*INPUTS, *past]), (written.outputs, [OUTPUT, *present])):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})
    _free_sizes(written, shapes)
    _reorder_by_beam(written, past)
    apply_make_stateful_transformation(written, dict(zip(past, present, strict=True)))
    _begin_empty(written)
    save_model(written, folder / "openvino_model.xml", compress_to_fp16=True)


def _free_sizes(written: Any, shapes: Shapes) -> None:
    """Let batch and lengths be any: the tracer wrote down the example's."""
    from openvino import PartialShape

    free = {name: PartialShape([-1, -1]) for name in INPUTS}
    kept = PartialShape([-1, shapes.heads, -1, shapes.head_dim])
    written.reshape(free | dict.fromkeys(shapes.past_names(), kept))


def _reorder_by_beam(written: Any, past: list[str]) -> None:
    """Take keys and values of the rows that `beam_idx` (b,) names: beam search needs it."""
    from openvino import PartialShape, Type
    from openvino import opset15 as ops

    beam = ops.parameter(PartialShape([-1]), Type.i32, "beam_idx")
    beam.output(0).get_tensor().set_names({"beam_idx"})
    written.add_parameters([beam])
    for name in past:
        port = written.input(name)
        consumers = port.get_target_inputs()
        rows = ops.gather(port, beam, ops.constant(0))
        for consumer in consumers:
            consumer.replace_source_output(rows.output(0))
    written.validate_nodes_and_infer_types()


def _begin_empty(written: Any) -> None:
    """Let each state begin with no tokens, and with as many rows as input_ids has."""
    import numpy as np
    from openvino import opset15 as ops

    sizes = ops.shape_of(written.input("input_ids"), "i64")
    batch = ops.gather(sizes, ops.constant([0]), ops.constant(0))
    for node in written.get_ops():
        if node.get_type_name() == "ReadValue":
            _, heads, _, head_dim = node.get_output_partial_shape(0)
            rest = ops.constant(np.array([heads.get_length(), 0, head_dim.get_length()], np.int64))
            zero = ops.constant(0.0, dtype=node.get_output_element_type(0))
            node.set_arguments([ops.broadcast(zero, ops.concat([batch, rest], 0))])
    written.validate_nodes_and_infer_types()
