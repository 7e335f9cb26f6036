"""Tables of the studies of value networks and of NAO."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from base_fast.experiments.intervals import mean_interval, sign_test
from base_fast.experiments.nao_study import NaoStudy
from base_fast.experiments.value_study import AVERAGE, BLIND, SHUFFLED, TRUE, WAYS, ValueStudy
from base_fast.reports.tables import ResultTable, Value


def value_study_tables(study: ValueStudy) -> list[ResultTable]:
    """First picks on a table, and on held-out tasks."""
    tables = []
    if study.picks:
        tables.append(_picks(study))
    if study.held_out:
        tables.append(_held_out(study))
    return tables


def _picks(study: ValueStudy) -> ResultTable:
    picks, top = study.picks, study.genotypes / 100
    rows: list[tuple[Value, ...]] = []
    for name, ranks in (("value network", [p.rank for p in picks]), ("best seen", [p.transfer for p in picks])):
        share = f"{sum(rank <= top for rank in ranks)} of {len(ranks)}"
        rows.append((name, share, median(ranks), _interval([float(rank) for rank in ranks]), max(ranks)))
    ahead = sum(p.rank < p.transfer for p in picks), sum(p.rank > p.transfer for p in picks)
    notes = (
        f"Ranks among {study.genotypes:,} genotypes of a column that nothing was fitted to; best seen: the best of the "
        "genotypes that the network was fitted to, by the same column, without a network. The network's pick is better "
        f"in {ahead[0]} and worse in {ahead[1]} of {len(picks)} seeds (sign test: p = "
        f"{sign_test([float(p.transfer - p.rank) for p in picks]):.3f}).",
        f"Spearman's rho of value and target: {fmean(p.rho for p in picks):.3f} {_interval([p.rho for p in picks])}. "
        f"Best genotype within 0.1 sd of the best relaxed point: {sum(p.kept for p in picks)} of {len(picks)}; of all "
        f"starts {fmean(p.honest for p in picks):.0%}. Pick at least as good as the best seen by value: "
        f"{sum(p.ahead >= 0 for p in picks)} of {len(picks)}. Seconds of an ascent: median "
        f"{median(p.seconds for p in picks):.2f}.",
    )
    columns = ("first pick", "in the top 1 %", "median rank", "mean rank (95 %)", "worst rank")
    return ResultTable("First pick on a task that was not seen", columns, tuple(rows), notes)


def _held_out(study: ValueStudy) -> ResultTable:
    tasks = study.held_out
    rows: list[tuple[Value, ...]] = []
    for way in WAYS:
        regret = [task.regret[way] for task in tasks]
        rhos = [task.rho[way] for task in tasks if way in task.rho]
        against = [task.regret[way] - task.regret[TRUE] for task in tasks]
        better = f"{sum(d > 0 for d in against)} : {sum(d < 0 for d in against)}" if way != TRUE else None
        p = f"{sign_test(against):.3f}" if way != TRUE else None
        rows.append((way, fmean(regret), _interval(regret), fmean(rhos) if rhos else None, better, p))
    notes = (
        f"{len(tasks)} tasks, each held out once. {TRUE}: the network with the tasks' descriptions; {SHUFFLED}: with "
        f"those of other tasks, in the fit as well; {BLIND}: without any; {AVERAGE}: the best genotype on average over "
        "the other tasks. Regret of the first pick among a task's genotypes, in the unit of the values. Last columns: "
        f"on how many tasks {TRUE} has less : more regret, and the sign test.",
    )
    columns = ("descriptions", "regret", "95 %", "Spearman's rho", f"{TRUE} less : more", "p")
    return ResultTable("Held-out tasks", columns, tuple(rows), notes)


def nao_study_table(study: NaoStudy) -> ResultTable:
    """The parts of NAO, means over rounds."""
    rounds = study.rounds
    lines = {
        "pairwise accuracy, held-out": [r.pairwise for r in rounds],
        "Spearman's rho, held-out": [r.spearman for r in rounds],
        "Spearman's rho, best tenth": [r.top for r in rounds],
        "Hamming distance, fitted": [r.known for r in rounds],
        "Hamming distance, held-out": [r.held_out for r in rounds],
        "share of proposals decoded": [r.decoded for r in rounds],
        "mean value of proposals": [r.proposals for r in rounds],
        "mean value of their parents": [r.parents for r in rounds],
        "mean value of the parents' neighbours": [r.mutations for r in rounds],
        "proposals less parents": [r.proposals - r.parents for r in rounds],
        "proposals less neighbours": [r.proposals - r.mutations for r in rounds],
    }
    rows = tuple((name, fmean(values), _interval(values)) for name, values in lines.items())
    notes = (f"{len(rounds)} rounds, each after {study.rows} random genotypes; 95 % intervals of means.",)
    return ResultTable("Parts of NAO", ("", "mean", "95 %"), rows, notes)


def _interval(values: Sequence[float]) -> str:
    low, high = mean_interval(values)
    return f"{low:.4g} to {high:.4g}"
