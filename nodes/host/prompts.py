"""Several prompts of one guider: every row of a call is answered with its own.

The host's guider has one positive prompt for a whole run. Those beside it stand in its conditioning
under names of their own. So they are part of its digest, the host prepares them as it does the
others, and rows of one prompt are asked for with that one in the place of "positive".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...optimizer import Conditions

__all__ = ["Prompts", "encoded", "named"]

POSITIVE, PROMPT_KEY = "positive", "ays prompt "
# Of the linked prompt's options, what says where or when in the picture it holds.
OF_A_PART = {"area", "mask", "mask_strength", "set_area_to_bounds", "strength", "gligen"}


def named(prompts: Sequence[Any]) -> dict[str, Any]:
    """Further positive prompts by the names that a guider holds them under."""
    return {f"{PROMPT_KEY}{number}": prompt for number, prompt in enumerate(prompts, start=1)}


def encoded(clip: Any, texts: Sequence[str], like: Any) -> list[Any]:
    """CONDITIONINGs of texts, as CLIPTextEncode makes them.

    like: a CONDITIONING whose first part's options are carried over (guidance, ControlNet, sizes),
        but for the text's own and for those of a part of the picture; None: there is none

    Raises ValueError for what is no CLIP.
    """
    options = {} if like is None else like[0][1]
    own = OF_A_PART | {"pooled_output", "attention_mask"}
    carried = {name: value for name, value in options.items() if name not in own}
    try:
        found = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in texts]
    except AttributeError as error:
        raise ValueError(
            "What is linked to 'clip' encodes no texts: link the CLIP output of a checkpoint "
            "loader or a CLIP loader."
        ) from error
    return [[[part[0], {**carried, **part[1]}] for part in prompt] for prompt in found]


class Prompts:
    """The prompts of a guider, of which each row of a call has one.

    conditions: tells which

    Arguments:
        guider: a GUIDER; one that is not of our making has one prompt.
        conditions: of another guider that is run beside this one.
    """

    def __init__(self, guider: Any, conditions: Conditions | None = None):
        conds = getattr(guider, "original_conds", {})
        further = {name: cond for name, cond in conds.items() if name.startswith(PROMPT_KEY)}
        self._rest = {name: cond for name, cond in conds.items() if name not in further}
        self._prompts = [self._rest.get(POSITIVE), *further.values()]
        self.conditions = conditions or Conditions(len(self._prompts))

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self._prompts) > 1

    def give(self, guider: Any) -> None:
        """Leave a guider those prompts only that the rows of its next run have."""
        if not self.several:
            return
        numbers = sorted(set(self.conditions.rows)) or [0]
        beside = numbers if len(numbers) > 1 else []
        guider.original_conds = {
            **self._rest,
            POSITIVE: self._prompts[numbers[0]],
            **{f"{PROMPT_KEY}{number}": self._prompts[number] for number in beside},
        }

    def answered(self, guider: Any, x: Tensor, ask: Callable[[Any], Tensor]) -> Tensor:
        """The guided predictions for all rows of x, asked for prompt by prompt.

        guider: at its run, for which `give` has left it the prompts
        ask:    gives those for some rows, an index
        """
        rows = torch.tensor(self.conditions.rows)
        numbers = rows.unique().tolist()
        if len(numbers) < 2:
            return ask(slice(None))
        first, parts = guider.conds[POSITIVE], []
        try:
            for number in numbers:
                guider.conds[POSITIVE] = guider.conds[f"{PROMPT_KEY}{number}"]
                parts.append(ask((rows == number).nonzero().flatten().to(x.device)))
        finally:
            guider.conds[POSITIVE] = first
        order = torch.cat([(rows == number).nonzero().flatten() for number in numbers])
        return torch.cat(parts)[order.argsort().to(x.device)]
