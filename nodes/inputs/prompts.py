"""The prompts that one measurement takes turns with."""

from __future__ import annotations

from typing import Any

from .. import host
from .guidance import is_prompt

__all__ = ["OUR_PROMPTS", "further_prompts"]

MOST_PROMPTS = 100
# As different as what people paint.
OUR_PROMPTS = (
    "portrait photo of an old fisherman with a grey beard, soft window light",
    "a wide mountain valley at sunrise, mist over a river, landscape photograph",
    "a red ceramic teapot on a wooden table, studio product photo",
    "abstract flowing shapes in blue and gold",
    "a fox in fresh snow, close-up, shallow depth of field",
    "a modern concrete house with large windows between pine trees, architecture photograph",
    "an oil painting of a harbour with sailing boats, thick brush strokes",
    "a city street at night in the rain, neon signs, reflections on the road",
    "a watercolor of wild flowers on white paper",
    "an anime girl with short blue hair on a bridge, cherry blossoms",
    "a bowl of noodle soup with herbs, seen from above, food photograph",
    "a knight in silver armour before a ruined castle, fantasy art, dramatic sky",
    "a crowded market in a narrow street, many people, bright fabrics",
    "a pencil drawing of an old tree, black and white",
    "an astronaut on a red desert planet, two moons, cinematic",
    "a young woman dancing in a colourful dress, full body, studio light",
)


def further_prompts(clip: Any, text: str, positive: Any, guider: Any, second: Any) -> list[Any]:
    """CONDITIONINGs beside the linked prompt: of the lines of a text, or of OUR_PROMPTS.

    Arguments:
        clip: encodes them; None: the linked prompt stands alone.
        positive: linked prompt, of which they take over what is not of its text.
        guider, second: guiders that bring prompts of their own.

    Raises ValueError for texts without a CLIP, for more than MOST_PROMPTS, and beside a guider.
    """
    lines = [*dict.fromkeys(line.strip() for line in text.splitlines() if line.strip())]
    if clip is None:
        if lines:
            raise ValueError(
                "There are texts in 'prompts' and no CLIP that could read them: link 'clip', or "
                "leave 'prompts' empty."
            )
        return []
    if guider is not None or second is not None:
        raise ValueError(
            "A linked guider brings its own prompts: take the link from 'clip', or link the model "
            "and its prompts instead of the guider."
        )
    if len(lines) > MOST_PROMPTS:
        raise ValueError(f"'prompts' has {len(lines)} lines: give at most {MOST_PROMPTS}.")
    like = positive if is_prompt(positive) else None
    return host.encoded(clip, lines or OUR_PROMPTS, like)
