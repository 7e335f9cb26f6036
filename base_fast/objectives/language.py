"""What a recurrent cell is worth: the perplexity of its language model after a training of its own."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from base_fast.errors import Diverged, Interrupted
from base_fast.evaluation.language_model import LanguageModelConfig
from base_fast.evaluation.language_training import LanguageTrainConfig, perplexity, train_language
from base_fast.objectives.objective import Measurements, Objective, Quantity, measured_apart
from base_fast.random import fold_in
from base_fast.space import Genotype, Space, decode
from base_fast.tasks.text import Corpus

PERPLEXITY = (Quantity("perplexity", "smaller", ""), Quantity("loss", "smaller", "nats"))

_SEEDS = 2**31


class TrainedLanguage(Objective):
    """Perplexity and loss on the validation text of a cell's model after a training of its own.

    The seed of the training comes from the key, so that its noise is part of the measurement. A model that diverges, or
    does worse than guessing, is worth what guessing is: the number of words.

    Args:
        space: of recurrent cells.
        corpus: the text.
        model: its size.
        config: the budget and the recipe; its seed is replaced.
    """

    quantities = PERPLEXITY
    costs = ("training steps",)

    def __init__(self, space: Space, corpus: Corpus, model: LanguageModelConfig, config: LanguageTrainConfig) -> None:
        self.space: Space = space
        self.corpus, self.model, self.config = corpus, model, config

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        def trained(i: int) -> tuple[list[float], list[float]]:
            genotype = decode(choices[i].numpy(), self.space)
            assert isinstance(genotype, Genotype), "a space with cells has genotypes with cells"
            seed = int(fold_in(key, i)[0]) % _SEEDS
            model = self.model.build(genotype, len(self.corpus.vocabulary), seed)
            guessing, steps = math.log(len(self.corpus.vocabulary)), 0
            try:
                result = train_language(model, self.corpus, replace(self.config, seed=seed))
                loss, steps = min(result.loss, guessing), result.steps
            except Diverged:
                loss = guessing
            except Interrupted:
                # Whoever measures has a checkpoint; this training begins again.
                raise Interrupted("stopped while a genotype was trained") from None
            return [perplexity(loss), loss], [float(steps)]

        return measured_apart(trained, len(choices))
