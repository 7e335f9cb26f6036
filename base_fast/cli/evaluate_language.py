"""Score a trained language model on a text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from base_fast.cli.command import RunReader, required
from base_fast.cli.train_language import TrainLanguageSettings
from base_fast.errors import InputError
from base_fast.evaluation import count_parameters
from base_fast.evaluation.bptt import mean_loss
from base_fast.evaluation.language_model import FILE, load_language_model
from base_fast.evaluation.language_training import perplexity
from base_fast.runs import RunFolder
from base_fast.tasks.text import open_corpus, read_text


@dataclass(frozen=True)
class EvaluateLanguage(RunReader):
    """Prints the perplexity of the training's validation and test text, or of a text of your own, whose words outside
    the model's vocabulary count as <unk>."""

    text: Path | None = None
    """Score this text file instead, UTF-8, also as .gz."""
    columns: int = 10
    """Stretches into which the text is cut, all read at once; with 1 every word but the first is predicted."""
    device: str = "auto"
    """auto (the GPU if there is one), cpu, cuda or cuda:<number>."""

    def execute(self) -> int:
        run = RunFolder.open(required("run", self.run, "the folder of a finished training"))
        if run.kind != "train-language":
            raise InputError(f"--run: {run.path} holds a run of kind {run.kind!r}, expected 'train-language'")
        if not (run.path / FILE).exists():
            raise InputError(f"--run: {run.path} is not finished; go on with: {run.info.started.command} --resume")
        if self.columns < 1:
            raise InputError(f"--columns: got {self.columns}, expected an integer ≥ 1")
        model, vocabulary = load_language_model(run.path, self.device)
        if self.text is not None:
            texts = {self.text.name: vocabulary.encode(read_text("--text", self.text))}
        else:
            corpus = open_corpus(run.config(TrainLanguageSettings).text)
            texts = {"validation": corpus.valid} | ({"test": corpus.test} if len(corpus.test) else {})
        print(f"parameters  {count_parameters(model):,}, {len(vocabulary):,} words")
        for name, words in texts.items():
            if len(words) < 2:
                raise InputError(f"--text: {name} has {len(words)} words, expected at least 2")
            loss = mean_loss(model, words, self.columns)
            unknown = (words == vocabulary.words.index("<unk>")).double().mean().item()
            print(
                f"{name}: perplexity {perplexity(loss):.2f}   loss {loss:.4f} nats   {len(words):,} words, "
                f"{100 * unknown:.2f} % of them unknown"
            )
        return 0
