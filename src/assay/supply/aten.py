"""Operators of torch that compute tensors from tensors, as they stand in exported programs."""

from __future__ import annotations

_LAYERS = """
    conv1d conv2d conv3d convolution linear addmm mm bmm matmul batch_norm instance_norm layer_norm group_norm
    native_batch_norm native_layer_norm native_group_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    max_pool1d max_pool2d max_pool2d_with_indices avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d dropout feature_dropout embedding pixel_shuffle
    scaled_dot_product_attention upsample_nearest2d upsample_bilinear2d conv_transpose2d channel_shuffle
"""

_FUNCTIONS = """
    relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu gelu silu silu_ mish hardtanh hardtanh_ hardswish hardswish_
    hardsigmoid hardsigmoid_ sigmoid sigmoid_ tanh tanh_ softplus softmax _softmax log_softmax _log_softmax prelu
    softsign celu threshold exp log sqrt rsqrt pow square abs neg sign floor ceil round reciprocal sin cos erf clamp
    clamp_min clamp_max where
"""

_ARITHMETIC = """
    add add_ sub sub_ mul mul_ div div_ rsub maximum minimum sum mean var std amax amin max min argmax argmin prod
    cumsum norm linalg_vector_norm eq ne lt le gt ge logical_and logical_or logical_not sym_size sym_numel
    sym_constrain_range_for_size _assert_scalar _assert_tensor_metadata
"""

_SHAPES = """
    view _unsafe_view reshape flatten unflatten squeeze unsqueeze transpose t permute expand expand_as cat stack chunk
    split split_with_sizes slice select narrow index index_select gather unbind repeat roll flip pad constant_pad_nd
    reflection_pad2d replication_pad2d clone contiguous detach detach_ alias to _to_copy type_as copy_ lift_fresh_copy
    full full_like zeros zeros_like ones ones_like arange empty_like scalar_tensor unfold im2col movedim swapaxes
"""

ATEN = frozenset(f"{_LAYERS} {_FUNCTIONS} {_ARITHMETIC} {_SHAPES}".split())
"""Names without their overload. None reads or writes a file, or runs what it is given."""

PLAIN_FUNCTIONS = frozenset(
    f"{module}.{name}"
    for module, names in {
        "_operator": "getitem add sub mul floordiv truediv mod neg pow eq ne lt le gt ge and_ or_",
        "math": "ceil floor trunc sqrt",
        "torch": "sym_max sym_min sym_not sym_float sym_int sym_ite",
    }.items()
    for name in names.split()
)
"""What is computed with sizes."""
