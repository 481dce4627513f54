"""How blocks are laid out, so that they can be cut between attention and feed-forward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["Layout", "PostNorm", "PreNorm", "SelfContained"]


class Layout(ABC):
    """A block as two halves, each with its norms and its residual: attention, then feed-forward."""

    @abstractmethod
    def mix(self, block: nn.Module, states: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """Run the attention half: ``[batch, width, hidden]`` to the same shape."""

    @abstractmethod
    def feed(self, block: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Run the feed-forward half: ``[batch, width, hidden]`` to the same shape."""

    @abstractmethod
    def attention_part(self, block: nn.Module) -> nn.Module:
        """Return the module that holds the weights of the attention half."""

    @abstractmethod
    def feed_forward_parts(self, block: nn.Module) -> list[nn.Module]:
        """Return the modules that hold the weights of the feed-forward half."""

    def dispatcher(self, block: nn.Module) -> nn.Module:
        """Return the module that reads the configuration to dispatch to an attention implementation."""
        return self.attention_part(block)


@dataclass(frozen=True, slots=True)
class PreNorm(Layout):
    """``x + after(attention(before(x)))``, then ``y + after(feed_forward(before(y)))``; either ``after`` may be absent.

    Attributes are the names of a block's children.
    """

    attention: str
    before_attention: str
    feed_forward: str
    before_feed_forward: str
    after_attention: str | None = None
    after_feed_forward: str | None = None

    def mix(self, block: nn.Module, states: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """Run the attention half."""
        mixed = _attend(getattr(block, self.attention), getattr(block, self.before_attention)(states), options)
        if self.after_attention:
            mixed = getattr(block, self.after_attention)(mixed)
        return states + mixed

    def feed(self, block: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Run the feed-forward half."""
        fed: torch.Tensor = getattr(block, self.feed_forward)(getattr(block, self.before_feed_forward)(states))
        if self.after_feed_forward:
            fed = getattr(block, self.after_feed_forward)(fed)
        return states + fed

    def attention_part(self, block: nn.Module) -> nn.Module:
        """Return the attention module."""
        return block.get_submodule(self.attention)

    def feed_forward_parts(self, block: nn.Module) -> list[nn.Module]:
        """Return the feed-forward module."""
        return [block.get_submodule(self.feed_forward)]


@dataclass(frozen=True, slots=True)
class PostNorm(Layout):
    """``after(x + attention(x))``, then ``after(y + feed_forward(y))``. Attributes are names of a block's children."""

    attention: str
    after_attention: str
    feed_forward: str
    after_feed_forward: str

    def mix(self, block: nn.Module, states: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """Run the attention half."""
        mixed = _attend(getattr(block, self.attention), states, options)
        after: torch.Tensor = getattr(block, self.after_attention)(mixed + states)
        return after

    def feed(self, block: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Run the feed-forward half."""
        fed = getattr(block, self.feed_forward)(states)
        after: torch.Tensor = getattr(block, self.after_feed_forward)(fed + states)
        return after

    def attention_part(self, block: nn.Module) -> nn.Module:
        """Return the attention module."""
        return block.get_submodule(self.attention)

    def feed_forward_parts(self, block: nn.Module) -> list[nn.Module]:
        """Return the feed-forward module."""
        return [block.get_submodule(self.feed_forward)]


@dataclass(frozen=True, slots=True)
class SelfContained(Layout):
    """Both halves keep their norms and residuals to themselves, as in BERT.

    Attributes:
        attention: Name of the child that is the attention half; its own child ``self`` dispatches.
        feed_forward: Name of the method that is the feed-forward half.
        parts: Names of the children whose weights that method uses.
    """

    attention: str
    feed_forward: str
    parts: tuple[str, ...]

    def mix(self, block: nn.Module, states: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """Run the attention half."""
        return _attend(getattr(block, self.attention), states, options)

    def feed(self, block: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Run the feed-forward half."""
        fed: torch.Tensor = getattr(block, self.feed_forward)(states)
        return fed

    def attention_part(self, block: nn.Module) -> nn.Module:
        """Return the attention module."""
        return block.get_submodule(self.attention)

    def feed_forward_parts(self, block: nn.Module) -> list[nn.Module]:
        """Return the modules of the feed-forward half."""
        return [block.get_submodule(name) for name in self.parts]

    def dispatcher(self, block: nn.Module) -> nn.Module:
        """Return the inner self-attention."""
        return block.get_submodule(f"{self.attention}.self")


def _attend(attention: nn.Module, states: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    output = attention(states, **options)
    mixed: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return mixed
