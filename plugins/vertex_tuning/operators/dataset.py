"""Check a dataset, estimate the price and upload the data to Cloud Storage."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vertex_tuning.config.base_models import retirement_note
from vertex_tuning.config.data_tables import table_path
from vertex_tuning.config.media_table import media_facts
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.config.switches import parse_switch
from vertex_tuning.costs.media import MediaFacts
from vertex_tuning.costs.pricing import Cost, PriceTable, RequestCost, check_limits, parse_count, parse_limit, price_run
from vertex_tuning.costs.recommendations import Recommendation, recommendation
from vertex_tuning.costs.token_estimate import ESTIMATED, FILES_AT_LEAST
from vertex_tuning.datasets.manifest import DATASETS, MANIFEST, dataset_hash, folder_of
from vertex_tuning.datasets.options import DatasetOptions, parse_options
from vertex_tuning.evaluation.sample_cost import TUNED_MODELS, estimate_judging, estimate_predictions
from vertex_tuning.evaluation.sample_metrics import needs_judge, parse_metrics
from vertex_tuning.exceptions import ConfigurationError, DatasetError, TransientError, TuningError, VertexRequestError
from vertex_tuning.operators.base import VertexOperator, key_of_run
from vertex_tuning.results import FileSummary, UploadResult
from vertex_tuning.text.plain_text import TEXT_SHOWN, shorten
from vertex_tuning.text.templates import parse_rendered, rendered

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context, XComArg

    from vertex_tuning.datasets.prepare import DatasetReport, Prepared, Source
    from vertex_tuning.datasets.publish import DatasetPublisher, Files

TRAINED_ON: Final = ("training", "validation")
"""The sets that make the model; the test set only judges it."""
PROCESSES: Final = 2
"""Processes that check a large file in parallel."""


class UploadDatasetOperator(VertexOperator):
    """Check training, validation and test data row by row, estimate the cost of tuning with them, and upload them.

    The upload starts after all checks, and no file is uploaded twice. The folder of a dataset is named by its content,
    `gs://BUCKET/PREFIX/HASH`. It has `training.jsonl`, `validation.jsonl`, `test.jsonl`, `dataset-report.json` and,
    written last, `manifest.json`. Data in Cloud Storage that needs no conversion is not copied; its folder is
    `HASH-DIGEST`, with a digest of the URIs. The report of a refused dataset is written to `PREFIX/refused`.

    A source is a local path, a `gs://` URI, or a URI of another file system of an Airflow provider. It may contain
    `*`, `?` and `[…]`; several files are joined. Files end in `.jsonl` or `.csv`, or these with `.gz`.

    :param training_data: source of the training data. (templated)
    :param validation_data: source of the validation data; may be empty. (templated)
    :param test_data: source of the data that compares models, which neither training nor the choice of a checkpoint
        sees; may be empty. Then the validation data compares them. (templated)
    :param bucket: bucket to upload to. (templated)
    :param prefix: folder in the bucket. (templated)
    :param base_dir: base folder of relative paths. Local files must be in this folder or in a folder of
        `[vertex_tuning] dataset_dirs` (separated by colons), because a path may come from a form.
    :param options: how the data is read: :class:`~vertex_tuning.datasets.options.DatasetOptions` or its fields.
        (templated)
    :param tuning_task: `classification`, `summarization`, `extractive_qa`, `chat`, or not set: kind of task, for the
        guide's recommendations of examples and epochs. (templated)
    :param base_model: the model to tune, for its price. (templated)
    :param epoch_count: epochs of the job; if not set, as recommended: 3, or 2 for less data than recommended. Returned
        as `epoch_count`. (templated)
    :param candidates: settings of each job of a sweep, from a `PlanCandidatesOperator`: the limits then apply to the
        cost of all jobs together. (templated)
    :param max_cost: cost limit of the run, in the currency of the prices; a model without a price is refused.
        (templated)
    :param max_training_tokens: limit of tokens times epochs. (templated)
    :param evaluation: size of the evaluation, to count its price in `max_cost`: `sample_size`, `baseline` and
        `metrics`, as in :class:`~vertex_tuning.operators.evaluation.EvaluateModelOperator`. (templated)
    :param least_sample: number of held-out rows that the promotion rule needs; fewer are a warning.
    :param prices: path of a price table; `[vertex_tuning] prices`, or else the table of the package, if left out.
        (templated)
    """

    template_fields: Sequence[str] = (
        *VertexOperator.template_fields,
        "training_data",
        "validation_data",
        "test_data",
        "bucket",
        "prefix",
        "options",
        "tuning_task",
        "base_model",
        "epoch_count",
        "candidates",
        "max_cost",
        "max_training_tokens",
        "evaluation",
        "prices",
    )
    template_fields_renderers = {"options": "json", "evaluation": "json"}

    def __init__(
        self,
        *,
        training_data: str,
        validation_data: str | None = None,
        test_data: str | None = None,
        bucket: str,
        prefix: str = DATASETS,
        base_dir: str = ".",
        options: DatasetOptions | Mapping[str, Any] | str | None = None,
        tuning_task: str | None = None,
        base_model: str | None = None,
        epoch_count: int | str | None = None,
        candidates: Sequence[Mapping[str, Any]] | XComArg | str | None = None,
        max_cost: float | str | None = None,
        max_training_tokens: int | str | None = None,
        evaluation: Mapping[str, Any] | None = None,
        least_sample: int = 0,
        prices: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training_data = training_data
        self.validation_data = validation_data
        self.test_data = test_data
        self.bucket = bucket
        self.prefix = prefix
        self.base_dir = base_dir
        # Airflow renders plain values only.
        self.options = options.as_argument() if isinstance(options, DatasetOptions) else options
        self.tuning_task = tuning_task
        self.base_model = base_model
        self.epoch_count = epoch_count
        self.candidates = candidates
        self.max_cost = max_cost
        self.max_training_tokens = max_training_tokens
        self.evaluation = evaluation
        self.least_sample = least_sample
        self.prices = prices
        self._published: tuple[list[str], UploadResult] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        from vertex_tuning.datasets.publish import DatasetPublisher

        # Invalid arguments fail before any data is read.
        options = self._options()
        terms, parent = self._terms(options), folder_of(self.bucket, self.prefix)
        dag_id, run_id = context["ti"].dag_id, context["ti"].run_id
        run = key_of_run(context)
        sources = self._sources()
        with tempfile.TemporaryDirectory(prefix="dataset-") as scratch:
            publisher = DatasetPublisher(self.storage, parent, Path(scratch))
            require_same = partial(self._require_same, self._versions(sources), sources)
            with _unchanged(require_same):
                prepared = self._prepare(sources, options, scratch, media_facts(terms.model))
                require_same()
            self._require_valid(prepared, publisher, run)
            with _unchanged(require_same):
                counted = self._count(prepared, sources["training"], terms)
            cost, warnings = self._price(prepared, terms, counted)
            files = self._files(prepared, sources, counted)
            require_same()
            folder, manifest = publisher.publish(prepared, files, dag_id, run_id, require_same)
        result = UploadResult(
            training_uri=manifest.training.uri,
            validation_uri=manifest.validation.uri if manifest.validation else None,
            test_uri=manifest.test.uri if manifest.test else None,
            sample_uri=held_out.uri if (held_out := manifest.test or manifest.validation) else None,
            dataset_hash=manifest.dataset_hash,
            rows_hash=_rows_hash(files),
            folder=folder,
            run_folder=f"{folder}/runs/{run}",
            report_uri=manifest.report_uri,
            manifest_uri=f"{folder}/{MANIFEST}",
            epoch_count=terms.epoch_count(prepared.training.rows),
            cost=cost if terms.model else None,
            training=_summary(files["training"]),
            validation=_summary(files["validation"]) if "validation" in files else None,
            test=_summary(files["test"]) if "test" in files else None,
            warnings=[*warnings, *counted.warnings, *self._small_sample(prepared), *_warnings(prepared)],
        )
        names = [str(source.path or source.name) for files in sources.values() for source in files]
        self._published = names, result
        return result.as_xcom()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage | None:
        """Lineage for Airflow's OpenLineage provider, which calls this method."""
        from vertex_tuning.lineage import upload_lineage

        return upload_lineage(*self._published) if self._published else None

    # Arguments

    def _options(self) -> DatasetOptions:
        options = parse_options(
            parse_rendered("options", self.options, dict[str, Any], "options by name, or their JSON") or {}
        )
        return options.model_copy(update={f"{part}_fraction": None for part in self._held_out})

    @property
    def _held_out(self) -> dict[str, str]:
        """Sources of validation and test data, as far as they are given."""
        given = {"validation": self.validation_data, "test": self.test_data}
        # A rendered template may have spaces at its ends.
        return {part: str(source).strip() for part, source in given.items() if rendered(source) is not None}

    def _terms(self, options: DatasetOptions) -> Terms:
        model = rendered(self.base_model) or ""
        terms = Terms(
            model=model,
            recommended=recommendation(self.tuning_task),
            epochs=parse_count("epoch_count", self.epoch_count),
            candidates=parse_rendered("candidates", self.candidates, list[dict[str, Any]], "a list of settings")
            or [{}],
            max_cost=parse_limit("max_cost", self.max_cost),
            max_training_tokens=parse_count("max_training_tokens", self.max_training_tokens),
            prices=load_prices(Path(rendered(self.prices) or table_path("prices"))),
            sample=options.count_tokens_sample if model else 0,
        )
        if not model and options.count_tokens_sample and "count_tokens_sample" in options.model_fields_set:
            raise ConfigurationError("base_model: not given, expected the model to count tokens for.")
        return terms

    def _sources(self) -> dict[str, list[Source]]:
        from vertex_tuning.datasets.sources import find_sources, readable_folders

        folders = readable_folders(self.base_dir)
        if rendered(self.training_data) is None:
            raise DatasetError(
                f"training_data: found {self.training_data!r}, expected a file, or a template that gives one."
            )
        named = {"training": str(self.training_data).strip(), **self._held_out}
        return {part: find_sources(source, folders, self.storage) for part, source in named.items()}

    # Checking

    def _prepare(
        self, sources: Mapping[str, list[Source]], options: DatasetOptions, scratch: str, facts: MediaFacts
    ) -> Prepared:
        from vertex_tuning.datasets.prepare import prepare
        from vertex_tuning.datasets.statistics import draw

        found = prepare(
            sources["training"],
            sources.get("validation", ()),
            sources.get("test", ()),
            options=options,
            folder=Path(scratch),
            processes=PROCESSES,
            facts=facts,
            store=self.storage,
        )
        for report in filter(None, (found.training, found.validation, found.test)):
            converted = f", {report.converted} rows converted from {report.format}" if report.converted else ""
            self.log.info("%s: %d rows, %d bytes%s", report.name, report.rows, report.bytes, converted)
            self.log.info("%s\n%s", report.name, draw(report.statistics))
        for severity, words in (("dropped", "Rows left out"), ("warning", "Warnings")):
            if text := found.text(severity):  # type: ignore[arg-type]
                self.log.warning("%s:\n%s", words, text)
        return found

    def _require_valid(self, prepared: Prepared, publisher: DatasetPublisher, run: str) -> None:
        """Check that the dataset has no errors.

        :raises DatasetError: has the first findings, and the URI of the report with all findings
        """
        try:
            prepared.require_valid()
        except DatasetError as error:
            try:
                where = f"All findings: {publisher.refuse(prepared, run)}"
            except TuningError as trouble:
                where = f"The report with all findings could not be written: {trouble}"
            raise DatasetError(f"{error}\n{where}") from error

    def _versions(self, sources: Mapping[str, list[Source]]) -> list[object]:
        from vertex_tuning.datasets.sources import version

        return [version(source, self.storage) for files in sources.values() for source in files]

    def _require_same(self, before: list[object], sources: Mapping[str, list[Source]]) -> None:
        if self._versions(sources) != before:
            names = ", ".join(source.label for files in sources.values() for source in files)
            raise TransientError(
                f"{shorten(names, TEXT_SHOWN)}: changed while it was read; the next attempt reads it again."
            )

    # Pricing

    def _count(self, prepared: Prepared, sources: list[Source], terms: Terms) -> Counted:
        """Number of billable tokens, and how they were counted."""
        from vertex_tuning.datasets.lines import os_errors
        from vertex_tuning.datasets.prepare import Source, open_source, sample
        from vertex_tuning.datasets.token_counts import LARGEST_FACTOR, calibrate

        report = prepared.training
        if not terms.sample:
            return _counted(report, report.text_tokens, ESTIMATED)
        rows = Source.local(Path(report.path)) if report.path else sources[0]
        try:
            with open_source(rows) as file, os_errors(rows.label):
                calibration = calibrate(sample(file, terms.sample), partial(self.hook.count_tokens, terms.model))
        except VertexRequestError as error:
            return self._estimated(report, f"the service does not count them: {error}")
        if not calibration.is_plausible:
            expected = f"expected a factor from 1/{LARGEST_FACTOR:g} to {LARGEST_FACTOR:g}"
            return self._estimated(report, f"the service's count is not plausible: found {calibration}, {expected}.")
        return _counted(report, calibration.corrected(report.text_tokens), str(calibration))

    def _estimated(self, report: DatasetReport, why: str) -> Counted:
        warning = f"Tokens are estimated, as {why}"
        self.log.warning("%s", warning)
        return _counted(report, report.text_tokens, ESTIMATED, [warning])

    def _price(self, prepared: Prepared, terms: Terms, counted: Counted) -> tuple[Cost, list[str]]:
        """The cost of the run, and notes about its size.

        :raises CostLimitError: the cost is over the limit
        """
        rows = prepared.training.rows
        epochs = terms.epoch_count(rows)
        cost = price_run(
            terms.model,
            counted.tokens,
            sum(candidate.get("epoch_count") or epochs for candidate in terms.candidates),
            terms.prices,
            counted.how,
            candidates=len(terms.candidates),
            most_tokens=counted.most_tokens,
            can_inspect=prepared.training.files.unknown > 0,
        )
        cost = msgspec.structs.replace(cost, evaluation=self._evaluation_costs(prepared, terms))
        chosen = "given" if terms.epochs or len(terms.candidates) > 1 else "recommended"
        self.log.info("%d epochs (%s). Cost: %s", cost.epochs, chosen, cost)
        for requests in cost.evaluation:
            self.log.info("Evaluation, %s", requests)
        check_limits(cost, terms.max_cost, terms.max_training_tokens)
        warnings = [*filter(None, [retirement_note(terms.model)]), *terms.recommended.warnings(rows)]
        for warning in warnings:
            self.log.warning("%s", warning)
        return cost, warnings

    def _evaluation_costs(self, prepared: Prepared, terms: Terms) -> list[RequestCost]:
        """Estimated cost of the predictions of the sample and of a judge; empty without a sample."""
        held_out, asked = prepared.test or prepared.validation, self.evaluation or {}
        rows = min(held_out.rows, int(asked.get("sample_size", 0))) if held_out else 0
        if not held_out or not rows:
            return []
        tokens = held_out.statistics
        inputs, outputs = tokens.user_input_token_distribution, tokens.user_output_token_distribution
        share, baseline = rows / held_out.rows, parse_switch("baseline", asked.get("baseline", False))
        sample: dict[str, int] = {
            "rows": rows,
            "prompt_tokens": round((inputs.sum if inputs else 0) * share),
            "answer_tokens": round((outputs.sum if outputs else 0) * share),
        }
        costs = [estimate_predictions(terms.model, baseline=baseline, table=terms.prices, **sample)]
        listed = parse_rendered("evaluation.metrics", asked.get("metrics"), list[Any], "a list of metrics or its JSON")
        metrics = parse_metrics(listed) if listed else []
        if needs_judge(metrics):
            costs.append(estimate_judging(metrics, models=TUNED_MODELS + baseline, table=terms.prices, **sample))
        return costs

    def _small_sample(self, prepared: Prepared) -> list[str]:
        """A warning if the held-out rows are too few to compare models."""
        held_out = prepared.test or prepared.validation
        rows = held_out.rows if held_out else 0
        if rows >= self.least_sample:
            return []
        warning = (
            f"{rows} held-out rows are too few for the promotion rule, which needs at least {self.least_sample}: "
            "a model that is as good as the model in use will be undecided and not promoted."
        )
        self.log.warning("%s", warning)
        return [warning]

    def _files(self, prepared: Prepared, sources: Mapping[str, list[Source]], counted: Counted) -> dict[str, Files]:
        from vertex_tuning.datasets.publish import Files

        files = {"training": Files(prepared.training, sources["training"][0], counted.tokens, counted.how)}
        for part, report in (("validation", prepared.validation), ("test", prepared.test)):
            if report:
                source = sources.get(part, sources["training"])[0]
                files[part] = Files(report, source, report.tokens, ESTIMATED)
        return files


@contextmanager
def _unchanged(require_same: Callable[[], None]) -> Iterator[None]:
    """Blame an error about the data on a change of its files, if they changed meanwhile."""
    try:
        yield
    except DatasetError:
        require_same()
        raise


def _rows_hash(files: Mapping[str, Files]) -> str:
    """Hash of the rows in any order: the order does not change the model, but it changes the hashes of the files."""
    return dataset_hash([files[kind].report.rows_hash if kind in files else None for kind in TRAINED_ON])


class Terms(msgspec.Struct, frozen=True):
    """The arguments about the cost of a run.

    :param epochs: None for the recommended number
    :param candidates: settings of each job; those of a run with one job may be empty
    :param sample: number of examples whose tokens the service counts
    """

    model: str
    recommended: Recommendation
    epochs: int | None
    candidates: list[dict[str, Any]]
    max_cost: float | None
    max_training_tokens: int | None
    prices: PriceTable
    sample: int

    def epoch_count(self, rows: int) -> int:
        """Epochs of a job whose settings do not give them: as given for the run, or as recommended."""
        return self.epochs or self.recommended.epoch_count(rows)


class Counted(msgspec.Struct, frozen=True):
    """Billable tokens of one epoch.

    :param tokens: with files as they cost at least
    :param most_tokens: with files as they cost at most
    :param how: how they were counted, in words
    """

    tokens: int
    most_tokens: int
    how: str
    warnings: list[str] = []


def _counted(report: DatasetReport, text_tokens: int, how: str, warnings: Sequence[str] = ()) -> Counted:
    """Add the tokens of files to those of texts."""
    files = report.files.tokens
    words = f"{how}; {FILES_AT_LEAST}" if files.high > files.low else how
    return Counted(text_tokens + files.low, text_tokens + files.high, words, list(warnings))


def _summary(files: Files) -> FileSummary:
    return msgspec.structs.replace(files.report.summary(), tokens=files.tokens, counted=files.counted)


def _warnings(prepared: Prepared) -> list[str]:
    """The first warnings, one text each, and one text about the rows that were left out."""
    shown = [str(finding) for finding in prepared.shown["warning"]]
    if more := sum(prepared.counts["warning"].values()) - len(shown):
        shown.append(f"and {more} more warnings")
    dropped = sum(prepared.counts["dropped"].values())
    return [*shown, *([f"Left out rows with {dropped} errors:\n{prepared.text('dropped')}"] if dropped else [])]
