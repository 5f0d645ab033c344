"""Workflows made by code: three with the shape and size of recorded scientific workflows, and the plain fan-out and chain.

    python examples/generate.py bwa | peerflow submit - --watch
    python examples/generate.py fan --size 1000 --function echo | peerflow submit - --watch

The three follow public traces (https://github.com/wfcommons/WfInstances): the same number of tasks on each level of the graph and the
same dependencies between the kinds of tasks. `--function` names the task function that every task calls.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pydantic import JsonValue

Definition = dict[str, JsonValue]


@dataclass(slots=True)
class Builder:
    """Collects tasks; every id carries its kind and a number."""

    name: str
    function: str
    seconds: float | None
    tasks: Definition = field(default_factory=dict[str, JsonValue])

    def add(self, kind: str, parents: Iterable[str] = ()) -> str:
        """Adds a task of that kind behind its parents and returns its id."""
        task_id = f"{kind}_{len(self.tasks) + 1}"
        task: Definition = {"task": self.function, "depends_on": [*parents]}
        if self.seconds is not None:
            task["args"] = {"seconds": self.seconds}
        self.tasks[task_id] = task
        return task_id

    def add_many(self, kind: str, count: int, parents: Iterable[str] = ()) -> list[str]:
        shared = list(parents)
        return [self.add(kind, shared) for _ in range(count)]

    def definition(self) -> Definition:
        return {"name": self.name, "tasks": self.tasks}


def methylseq(function: str = "simulate", *, samples: int = 3, seconds: float | None = None) -> Definition:
    """36 tasks and 70 dependencies for 3 samples (a pipeline for DNA methylation); the last sample's parts are joined first."""
    build = Builder("methylseq", function, seconds)
    build.add("samplesheet_check")
    genome = build.add("genome_preparation")
    quality, trimmed, aligned, deduplicated, extracted, mapped, reports = ([""] * samples for _ in range(7))
    for sample in range(samples):
        parts = [build.add("cat_fastq")] if sample == samples - 1 else []
        quality[sample] = build.add("fastqc", parts)
        trimmed[sample] = build.add("trimgalore", parts)
        aligned[sample] = build.add("bismark_align", [trimmed[sample], genome])
        build.add("preseq_lcextrap", [build.add("samtools_sort_aligned", [aligned[sample]])])
        deduplicated[sample] = build.add("bismark_deduplicate", [aligned[sample]])
        mapped[sample] = build.add("qualimap_bamqc", [build.add("samtools_sort_deduplicated", [deduplicated[sample]])])
        extracted[sample] = build.add("methylation_extractor", [deduplicated[sample], genome])
        reports[sample] = build.add("bismark_report", [aligned[sample], deduplicated[sample], extracted[sample]])
    summary = build.add("bismark_summary", [*aligned, *deduplicated, *extracted])
    versions = build.add("software_versions")
    build.add("multiqc", [*quality, *trimmed, *aligned, *deduplicated, *extracted, *mapped, *reports, summary, versions])
    return build.definition()


def montage(function: str = "simulate", *, bands: int = 3, images: int = 7, seconds: float | None = None) -> Definition:
    """103 tasks and 231 dependencies for 3 colour bands of 7 images (a mosaic of the sky): each image overlaps the next three."""
    build = Builder("montage", function, seconds)
    mosaics: list[str] = []
    for _ in range(bands):
        projected = build.add_many("project", images)
        pairs = [(first, second) for first in range(images) for second in range(first + 1, min(first + 4, images))]
        differences = [build.add("diff_fit", [projected[first], projected[second]]) for first, second in pairs]
        model = build.add("bg_model", [build.add("concat_fit", differences)])
        corrected = [build.add("background", [image, model]) for image in projected]
        table = build.add("imgtbl", corrected)
        mosaics.append(build.add("add", [*corrected, table]))
        build.add("viewer", [mosaics[-1]])
    build.add("viewer", mosaics)
    return build.definition()


def bwa(function: str = "simulate", *, width: int = 1000, seconds: float | None = None) -> Definition:
    """1,004 tasks and 4,000 dependencies (alignment of DNA reads): two tasks fan out to `width`, and all of these into two."""
    build = Builder("bwa", function, seconds)
    sources = [build.add("fastq_reduce"), build.add("bwa_index")]
    aligned = build.add_many("bwa", width, sources)
    build.add("cat_bwa", aligned)
    build.add("cat", aligned)
    return build.definition()


def fan(function: str = "simulate", *, size: int = 1000, seconds: float | None = None) -> Definition:
    """1 → `size` → 1."""
    build = Builder(f"fan-{size}", function, seconds)
    build.add("join", build.add_many("branch", size, [build.add("split")]))
    return build.definition()


def chain(function: str = "simulate", *, size: int = 200, seconds: float | None = None) -> Definition:
    """`size` tasks one after the other."""
    build = Builder(f"chain-{size}", function, seconds)
    previous: list[str] = []
    for _ in range(size):
        previous = [build.add("link", previous)]
    return build.definition()


SHAPES: dict[str, Callable[..., Definition]] = {"methylseq": methylseq, "montage": montage, "bwa": bwa, "fan": fan, "chain": chain}
SIZED = {"methylseq": "samples", "montage": "images", "bwa": "width", "fan": "size", "chain": "size"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Write a workflow of a known shape to standard output.")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--size", type=int, help="samples of methylseq, images a band of montage, width of bwa and fan, length of chain")
    parser.add_argument("--function", default="simulate", help="task function that every task calls (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="argument `seconds` of every task; left out without this option")
    options = parser.parse_args()
    size = {} if options.size is None else {SIZED[options.shape]: options.size}
    json.dump(SHAPES[options.shape](options.function, seconds=options.seconds, **size), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
