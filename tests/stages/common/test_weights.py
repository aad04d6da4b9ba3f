"""The formats of fine-tuned weights."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.common.diffusion import load_base
from stages.common.errors import UserError
from stages.common.weights import (
    StaticWeights,
    add_token,
    change,
    read_lora,
    read_metadata,
    spell_out,
    write_kohya,
    write_lora,
    write_safetensors,
)
from tests.tiny_base import write_tiny_base


def test_a_file_has_the_same_bytes_whatever_the_order_and_is_read_by_the_library(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).reshape(2, 3).t(), "a": torch.ones(2, dtype=torch.float16)}
    metadata = {"z": "1", "k": "ü"}
    write_safetensors(tmp_path / "one", tensors, metadata)
    write_safetensors(tmp_path / "two", dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read = load_file(tmp_path / "one")
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    assert read_metadata(tmp_path / "one") == {"format": "pt", **metadata}
    (length,) = struct.unpack("<Q", (tmp_path / "one").read_bytes()[:8])
    assert length % 8 == 0


def test_lora_files_keep_alpha_and_rank(tmp_path: Path) -> None:
    down, up = torch.randn(2, 8), torch.randn(8, 2)
    linear = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
    unet = {f"{linear}.lora_A.weight": down, f"{linear}.lora_B.weight": up}
    write_lora(tmp_path, unet, {}, {"unet": {"r": 2, "lora_alpha": 6.0}}, {})
    ((part, name, read_down, read_up, scale),) = read_lora(tmp_path / "pytorch_lora_weights.safetensors")
    assert (part, name, scale) == ("unet", linear, 3.0)
    assert torch.equal(read_down, down)
    assert torch.equal(read_up, up)
    text = {"encoder.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 4)}
    write_kohya(tmp_path / "k.safetensors", unet, text, 2, 6.0, {})
    kohya = load_file(tmp_path / "k.safetensors")
    flat = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
    assert torch.equal(kohya[f"{flat}.lora_down.weight"], down)
    assert torch.equal(kohya[f"{flat}.lora_up.weight"], up)
    assert float(kohya[f"{flat}.alpha"]) == 6.0
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight" in kohya


def test_what_a_convolutions_adapter_adds_is_the_two_convolutions_in_one() -> None:
    down, up, x = torch.randn(2, 3, 3, 3), torch.randn(5, 2, 1, 1), torch.randn(1, 3, 6, 6)
    conv2d = torch.nn.functional.conv2d
    assert torch.allclose(conv2d(x, change(down, up, 0.5)), 0.5 * conv2d(conv2d(x, down), up), atol=1e-5)


@pytest.mark.parametrize(
    "layer", ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.resnets.0.conv1"]
)
def test_adapters_in_turn_leave_no_trace_of_each_other(layer: str, tmp_path: Path) -> None:
    base = load_base(write_tiny_base(tmp_path / "base"), torch.device("cpu"))
    pristine = base.unet.get_parameter(f"{layer}.weight").clone()
    wide, deep, *size = pristine.shape
    for number in range(2):
        down, up = torch.randn(2, deep, *size), number * torch.randn(wide, 2, *(1 for _ in size))
        pair = {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}
        write_lora(tmp_path / str(number), pair, {}, {"unet": {"r": 2, "lora_alpha": 2.0}}, {})
    weights = StaticWeights(base, "<t>")
    weights.prepare("lora", tmp_path / "0")
    address = base.unet.get_parameter(f"{layer}.weight").data_ptr()
    for number in (1, 1, 0):
        weights.load("lora", tmp_path / str(number))
        assert torch.equal(base.unet.get_parameter(f"{layer}.weight"), pristine) == (number == 0)
    assert base.unet.get_parameter(f"{layer}.weight").data_ptr() == address


def test_a_token_that_the_base_knows_is_refused(tmp_path: Path) -> None:
    base = load_base(write_tiny_base(tmp_path / "base"), torch.device("cpu"))
    with pytest.raises(UserError, match="vocabulary has 'logo</w>' already"):
        add_token(base, "logo</w>", 1)
    for word in ("logo", "Logo", "MUG"):  # CLIP has them with a mark at their end, in lower case
        with pytest.raises(UserError, match=f"brand.token = '{word}': .* vocabulary has '{word.lower()}</w>' already"):
            add_token(base, word, 1)
    before = base.text_encoder.get_input_embeddings().weight.clone()
    first = add_token(base, "<hugo>", 3)
    assert torch.equal(base.text_encoder.get_input_embeddings().weight[:first], before)
    assert base.tokenizer(spell_out("a <hugo> hat", "<hugo>", 3)).input_ids[2:5] == [first, first + 1, first + 2]


@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize("token", ["hu", "<hugo>"])
def test_a_token_replaces_whole_tokens_and_no_letters_within_words(token: str, vectors: int, tmp_path: Path) -> None:
    base = load_base(write_tiny_base(tmp_path / "base"), torch.device("cpu"))
    words = "a hugo shirt, shirthu hu2"
    before = base.tokenizer(words).input_ids
    first = add_token(base, token, vectors)
    assert base.tokenizer(spell_out(words, token, vectors)).input_ids == before
    ids = base.tokenizer(spell_out(f"a hugo shirt with a {token}, ({token.upper()})", token, vectors)).input_ids
    new = list(range(first, first + vectors))
    assert [number for number in ids if number >= first] == new * 2
