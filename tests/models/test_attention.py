"""Blocked attention: any number of passes gives what one pass gives, and the column sums are the softmax's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from rheostat.models import attention
from rheostat.models.families import families
from rheostat.models.scoring import Attended, Scorer
from rheostat.techniques import TokenPruning, attach
from rheostat.techniques.inference.scorers import SCORERS
from rheostat.testing import tiny_model

KINDS = {family.model_type: family.kind for family in families()}
ROWS = (45, 30, 11)


def outputs(model_type: str, scorer: str, side: str) -> tuple[list[torch.Tensor], list[Any]]:
    """Outputs and survivors of a prompt and, for decoders, a second turn."""
    decoder = KINDS[model_type] == "decoder"
    model = tiny_model(model_type, AutoModelForCausalLM if decoder else AutoModel).double()
    handle = attach(model, TokenPruning(scorer=scorer))
    ids = torch.randint(3, 97, (3, 65), generator=torch.Generator().manual_seed(2))
    mask = torch.ones((3, 65), dtype=torch.long)
    for row, length in enumerate(ROWS):
        mask[row, slice(0, 45 - length) if side == "left" else slice(length, 45)] = 0
    found, survivors, cache = [], [], None
    for part in (slice(0, 45), slice(45, 65)) if decoder else (slice(0, 45),):
        known: dict[str, Any] = {"past_key_values": cache, "use_cache": True} if decoder else {}
        with torch.no_grad(), handle.at(tokens=0.8):
            output = model(input_ids=ids[:, part], attention_mask=mask[:, : part.stop], **known)
        cache = output.get("past_key_values")
        found.append(output[0][mask[:, part].bool()])
        survivors.append(handle.survivors())
    return found, survivors


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("scorer", ["attention", "mean", "window"])
@pytest.mark.parametrize("model_type", ["llama", "mistral", "gemma2", "gemma3_text", "bert", "modernbert"])
def test_many_passes_give_what_one_pass_gives(
    model_type: str, scorer: str, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = outputs(model_type, scorer, side)
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", 1)  # passes of the least size, 8 queries
    often = outputs(model_type, scorer, side)
    assert once[1] == often[1]
    for one, many in zip(once[0], often[0], strict=True):
        torch.testing.assert_close(one, many, atol=2e-5, rtol=2e-5)


def test_sums_are_those_of_the_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact column sums, from the weights that the plain model's eager attention returns."""
    seen: list[Attended] = []

    def record(self: Scorer, attended: Attended) -> torch.Tensor:
        seen.append(attended)
        assert attended.received is not None
        return attended.received

    monkeypatch.setattr(SCORERS["mean"], "score", record)
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", 1)
    model = tiny_model("llama", AutoModel, attn_implementation="eager")
    ids = torch.randint(3, 97, (2, 40), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        weights = model(ids, output_attentions=True).attentions[0]
    handle = attach(model, TokenPruning(scorer="mean"))
    with torch.no_grad(), handle.at(tokens=0.5):
        model(ids)
    torch.testing.assert_close(seen[0].received, weights.sum(dim=(1, 2)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen[0].visible, torch.arange(40, 0, -1.0).expand(2, -1))


def trained(model_type: str, scorer: str) -> tuple[list[Any], list[torch.Tensor]]:
    """Survivors, and the output and every gradient of a training pass over padded rows."""
    model = tiny_model(model_type, AutoModel).double().train()
    handle = attach(model, TokenPruning(scorer=scorer))
    ids = torch.randint(3, 97, (3, 45), generator=torch.Generator().manual_seed(2))
    mask = (torch.arange(45) < torch.tensor(ROWS)[:, None]).long()
    torch.manual_seed(0)
    with handle.at(tokens=0.8):
        output = model(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
    output.square().mean().backward()
    return handle.survivors(), [output.detach(), *(one.grad for one in model.parameters() if one.grad is not None)]


@pytest.mark.parametrize("scorer", ["attention", "mean", "window"])
@pytest.mark.parametrize("model_type", ["llama", "mistral", "gemma3_text", "bert", "modernbert"])
def test_kept_weights_train_as_flash_attention_does(
    model_type: str, scorer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    kept = attention._kept
    flash = trained(model_type, scorer)
    monkeypatch.setattr(attention, "_half_on_cpu", lambda _: True)
    monkeypatch.setattr(attention, "_kept", lambda *given, **more: called.append(1) or kept(*given, **more))
    found = trained(model_type, scorer)
    assert called
    assert found[0] == flash[0]
    for one, other in zip(found[1], flash[1], strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


def test_training_in_bf16_keeps_weights_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close to float32, and flash attention where the weights would take too much memory."""
    model = tiny_model("bert", AutoModel)
    handle = attach(model, "tokens")
    ids = torch.randint(3, 97, (2, 40), generator=torch.Generator().manual_seed(3))
    called, kept = [], attention._kept
    monkeypatch.setattr(attention, "_kept", lambda *given, **more: called.append(1) or kept(*given, **more))

    def run(half: bool) -> torch.Tensor:
        with torch.autocast("cpu", enabled=half), handle.at(tokens=0.9):
            return model(ids).last_hidden_state.detach().float()

    plain = run(half=False)
    assert not called
    for most, wanted in ((attention.MOST_KEPT, True), (1, False)):
        called.clear()
        monkeypatch.setattr(attention, "MOST_KEPT", most)
        # The median token: near ties may be decided otherwise.
        assert float(((run(half=True) - plain).norm(dim=-1) / plain.norm(dim=-1)).median()) < 0.02
        assert bool(called) == wanted
