"""The training loop: build, restore, step, log, validate, save, stop cleanly, evaluate."""

import contextlib
import functools
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
from clu import metric_writers, parameter_overview
from etils import epath

from ega_jax.aot import batch_size
from ega_jax.aot.lower import DataFacts, jit_train_step
from ega_jax.config import build, store
from ega_jax.config.check import check
from ega_jax.data import cache, hierarchy
from ega_jax.data.files.headers import SKIP
from ega_jax.data.pipeline import train_batches
from ega_jax.evaluation.evaluator import Evaluator, variables_of
from ega_jax.evaluation.reports import inversion, maps_folder, report
from ega_jax.evaluation.scores import Scores
from ega_jax.modes import going_on, untrained
from ega_jax.modes.evaluate import evaluate
from ega_jax.modes.report import leave as leave_report
from ega_jax.runtime import devices, distributed, files, lock, memory
from ega_jax.runtime.checkpoints import Checkpoints, find, restore
from ega_jax.runtime.distributed import STOPPED
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.nested import flatten
from ega_jax.runtime.sharding import Placement
from ega_jax.training import steps
from ega_jax.training.profiling import StepProfiler
from ega_jax.training.progress import Progress, remember_loss

logger = logging.getLogger(__name__)

_BRIEF = (
    "top1_cls_err",
    "fixed/corloc_err",
    "oracle/corloc_err",
    "oracle/max_box_acc_v2",
    "pxap",
    "in_boxes/pointing_game",
    "in_masks/pointing_game",
)


def train(
    config: ml_collections.ConfigDict, workdir: str, *, checkpoint: str | None = None
) -> dict:
    """Trains, or goes on with, the run in `workdir`, then evaluates it.

    Killed at any moment and called again, it ends with the same parameters as if never killed.

    Args:
      config: see `config/fields.py`; with `steps=0` nothing is trained, see `untrained.py`. Of a
        run that has begun only the fields of `store.FREE` may differ from what it began with.
      workdir: receives `config.json`, checkpoints, TensorBoard events, pictures, `results.json`,
        `report.html`.
      checkpoint: which one to go on from: `last`, `best`, a step or a path; later ones are moved to
        `checkpoints/set_aside`. None: the last one, if there is any.

    Returns:
      What `results.json` holds.

    Raises:
      ConfigError, DataError, ValueError: the config or the data cannot be used.
      CheckpointError: the checkpoint is damaged or of another model.
      WeightFileError: the pretrained weights are damaged or of another network.
      NonFiniteLoss: a loss term is not finite; the last good checkpoint is kept.
      WorkdirInUseError: another process trains there.
      OutOfMemoryError: a device has not enough memory; names the fields that help.
      SystemExit: with code `STOPPED`, after saving, when told to stop by SIGTERM or SIGINT.
    """
    began = time.monotonic()
    check(config, Placement().num_devices)
    if config.steps == 0:
        return _without_steps(config, workdir, checkpoint)
    with lock.only_one(workdir), remember_loss(workdir), distributed.stopped_at_once():
        trainer = Trainer(config, workdir, checkpoint)
        with (
            trainer.checkpoints() as saved,
            contextlib.closing(_writer(workdir)) as writer,
        ):
            state = trainer.start(saved)
            state = trainer.loop(state, saved, writer)
            saved.wait()  # no results of a run whose checkpoint could not be written
            with distributed.stop_signal() as told_to_stop:
                trainer.evaluator.before_batch = trainer.stop_if(told_to_stop)
                return trainer.finish(state, saved, writer, began)


def _without_steps(config: ml_collections.ConfigDict, workdir: str, checkpoint: str | None) -> dict:
    """Writes the checkpoint of a run of no steps, and evaluates it if there are data."""
    if config.data.name == "creatures" or config.data.root or checkpoint is not None:
        return evaluate(config, workdir, checkpoint=checkpoint)
    return untrained.without_data(config, workdir)


class Trainer:
    """Everything that a run needs, built and checked before the first step."""

    def __init__(
        self, config: ml_collections.ConfigDict, workdir: str, checkpoint: str | None = None
    ):
        """Builds data, network, optimizer and the compiled step; writes nothing yet."""
        self.placement = Placement()
        self.device = devices.describe()
        self.workdir = epath.Path(workdir)
        self.known, self.checkpoint = None, checkpoint
        self.going_on_from = going_on.starting_point(workdir, checkpoint)
        if self.going_on_from is not None:
            config = self._settle(config)
        check(config, self.placement.num_devices)
        left_out = None
        if self.going_on_from is None:
            untrained.locate_weights(config)
        else:
            left_out = store.load_left_out(workdir)
        self.sources = build.sources(config, left_out=left_out)
        self.source = self.sources["train"]
        if config.eval.checkpoint == "best" and "val" not in self.sources:
            raise ConfigError(
                "config.eval.checkpoint='best': the data has no validation split to choose the "
                "best by; give it one, or set 'last'"
            )
        self.facts = store.data_facts(config, self.source)
        if config.method == "danet":
            hierarchy.check_order(config.danet.hierarchy, self.source.class_names)
        if self.going_on_from is not None:
            store.check_data(workdir, self.going_on_from, self.source.class_names, self.facts)
        if config.data.cache == "memory":
            cache.check_fits(self.source, config.data.resize_size)
        names = self.source.class_names
        facts = DataFacts(len(names), len(self.source), names)
        self.config = config = batch_size.settle(config, facts, self.placement)
        self.total_steps = build.total_steps(config, len(self.source))
        if self.known is not None:
            going_on.warn_of_another_length(self.known, config, len(self.source))
        self.schedule = build.schedule(config, len(self.source))
        self.model = model = build.model(config, self.source.num_classes)
        tx = build.optimizer(config, self.schedule)
        self.evaluator = Evaluator(config, model, self.placement)
        self.init = functools.partial(
            steps.init_state, model=model, tx=tx, image_size=config.data.crop_size
        )
        self._check_head_modules()
        self.entropy_share = build.entropy_share(config, len(self.source))
        self.step = jit_train_step(config, model, tx, self.placement, self.entropy_share, names)
        self.images_per_second = 0.0

    def _settle(self, config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
        """Compares the config with that of the run to go on with; says what changes."""
        run = store.of_checkpoint(self.going_on_from)
        store.check_place(self.workdir, run)
        self.known = store.load(self.workdir) if store.exists(self.workdir) else run.config
        config = store.settle(self.known, config, self.workdir)
        for change in store.changes(self.known, config):
            logger.info("Going on with config.%s.", change)
        return config

    def checkpoints(self) -> Checkpoints:
        """Opens the checkpoints of the run."""
        return Checkpoints(
            self.workdir,
            keep=self.config.checkpoint.keep,
            run=store.describe(self.config, self.source.class_names),
        )

    def _check_head_modules(self) -> None:
        """Refuses names of no module: the head would learn as slowly as the trunk, unnoticed."""
        wanted = self.config.optimizer.head_modules
        if tuple(wanted) == ("head",):
            return
        modules = jax.eval_shape(self.init, jax.random.key(0)).params
        for prefix in wanted:
            if not any(module.startswith(prefix) for module in modules):
                raise ConfigError(
                    f"config.optimizer.head_modules={wanted!r}: no module of the network begins "
                    f"with {prefix!r}; there are {', '.join(modules)}"
                )

    def start(self, saved: Checkpoints) -> steps.TrainState:
        """Draws a fresh state or restores one, and writes what the run is into the workdir."""
        if self.going_on_from is None:
            state = untrained.fresh_state(self.config, self.model, self.init, self.placement)
        else:
            state = self.restore(self.going_on_from)
            if int(state.step) > self.total_steps:
                raise ConfigError(
                    f"{self.going_on_from} has made {int(state.step)} steps, and the run is to "
                    f"have {self.total_steps}; go on from an earlier one with --checkpoint=STEP, "
                    "or choose another --workdir"
                )
            if int(state.step) < self.total_steps:
                saved.require_room(state)
            saved.set_aside_after(int(state.step))
            saved.save(state)  # that of another workdir, or of the best, is the last one now
            going_on.remember(self.workdir, self.checkpoint, int(state.step))
            logger.info("Going on from step %d (%s).", int(state.step), self.going_on_from)
            if self.config.model.pretrained:
                logger.info("%s is not read again.", self.config.model.pretrained)
        if self.going_on_from is None:
            saved.require_room(state)
        if distributed.is_lead():
            store.save(self.workdir, self.config, self.source.class_names, self.facts)
            if self.config.data.on_bad_image == SKIP:
                store.save_left_out(self.source.left_out, self.workdir)
        logger.info(
            "%s: %d images, %d classes; %d steps of %d images.",
            self.source.name,
            len(self.source),
            self.source.num_classes,
            self.total_steps,
            self.config.batch_size,
        )
        logger.info(
            "%s, %.2f million parameters, on %d %s device(s) (%s), %d process(es).",
            self.config.model.name,
            parameter_overview.count_parameters(state.params) / 1e6,
            self.placement.num_devices,
            self.device["platform"],
            self.device["kind"],
            jax.process_count(),
        )
        return state

    def restore(self, path: Any) -> steps.TrainState:
        """Reads a checkpoint of this run's network and optimizer."""
        template = jax.eval_shape(self.init, jax.random.key(0))
        return restore(path, template, sharding=self.placement.replicated)

    def loop(self, state: steps.TrainState, saved: Checkpoints, writer: Any) -> steps.TrainState:
        """Runs the remaining steps; the state it returns is saved."""
        config, first = self.config, int(state.step)
        often = config.eval.every_epochs * len(self.source) / config.batch_size
        eval_every = max(1, round(often)) if often > 0 else 0

        def due(step: int) -> bool:
            """Says whether the validation split is scored after a step, but for the last one."""
            between = eval_every > 0 and 0 < step < self.total_steps
            return between and step % eval_every == 0 and "val" in self.sources

        def look(step: int, state: steps.TrainState) -> None:
            found = self.validate(state, saved, writer)
            if warning := inversion(found.figures(config.eval.threshold)):
                logger.warning("Step %d, val: %s", step, warning)

        schedules = {"learning_rate": self.schedule}
        if self.entropy_share is not None:
            schedules["entropy_share"] = self.entropy_share
        progress = Progress(writer, schedules, first, self.total_steps, config.batch_size)
        profiler = StepProfiler(self.workdir, config.profile, start=first, total=self.total_steps)
        source = self.source
        if config.data.cache == "memory" and first < self.total_steps:
            source = cache.in_memory(source, config.data.resize_size)
        batches = train_batches(
            source,
            batch_size=config.batch_size,
            seed=config.seed,
            start_step=first,
            num_steps=self.total_steps,
            resize_size=config.data.resize_size,
            crop_size=config.data.crop_size,
            flip=config.data.flip,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        with (
            contextlib.closing(batches),
            contextlib.closing(profiler),
            memory.told(self._when_memory_is_short()),
            distributed.stop_signal() as told_to_stop,
        ):
            if due(first):  # a run may have been killed in its validation
                look(first, state)
            for step, batch in enumerate(batches, start=first + 1):
                profiler.begin(step)
                with jax.profiler.StepTraceAnnotation("train", step_num=step):
                    state, sums = self.step(state, self.placement.put_batch(batch))
                progress.add(step, sums)
                if step == profiler.last:
                    with progress.pause():
                        profiler.close()
                last = step == self.total_steps
                if step % config.log_every_steps == 0 or last:
                    progress.report()
                stop = told_to_stop(step)
                # Validation takes long, and a machine that is to go does not wait for it.
                if step % config.checkpoint.every_steps == 0 or last or stop or due(step):
                    with progress.pause():
                        progress.check()  # never save a state that a bad loss has spoilt
                        saved.save(state)
                if stop:
                    saved.wait()
                    logger.info("Told to stop: saved step %d.", step)
                    raise SystemExit(STOPPED)
                if due(step):
                    with progress.pause():
                        look(step, state)
        self.images_per_second = progress.overall()
        return state

    def stop_if(self, told_to_stop: Callable[[int], bool]) -> Callable[[], None]:
        """Makes a function, to be called again and again, that ends the program if it is told to.

        The state is saved; the batches of the evaluation count as further steps.
        """
        numbers = itertools.count(self.total_steps + 1)

        def look() -> None:
            if told_to_stop(next(numbers)):
                logger.info("Told to stop: the same command evaluates the run.")
                raise SystemExit(STOPPED)

        return look

    def _when_memory_is_short(self) -> str:
        config = self.config
        return (
            f"lower config.batch_size={config.batch_size}; or go through the batch in more parts "
            f"than config.accumulate={config.accumulate}; or keep less for the backward pass than "
            f"config.remat={config.remat}, which a run that has begun may change"
        )

    def validate(
        self,
        state: steps.TrainState,
        saved: Checkpoints,
        writer: Any,
        maps: Any = None,
        kept: Any = None,
    ) -> Scores:
        """Scores the validation split, logs it, and saves the state if it is the best so far."""
        step = int(state.step)
        with memory.told(f"lower config.eval.batch_size={self.config.eval.batch_size}"):
            scores, _ = self.evaluator.score(
                variables_of(state), self.sources["val"], maps=maps, gallery=kept
            )
        figures = flatten(scores.figures(self.config.eval.threshold))
        figures["selection"] = scores.selection
        writer.write_scalars(step, {f"val/{name}": value for name, value in figures.items()})
        best = saved.save_if_best(state, figures["selection"])
        logger.info(
            "Step %d, val: %s%s",
            step,
            ", ".join(f"{name} {figures[name]:.1f}" for name in _BRIEF if name in figures),
            " (best so far)" if best else "",
        )
        return scores

    def finish(
        self, state: steps.TrainState, saved: Checkpoints, writer: Any, began: float
    ) -> dict:
        """Scores validation and test splits with the checkpoint asked for; writes the results."""
        validation = None
        kept = self.evaluator.gallery(self.sources)
        if "val" in self.sources:
            maps = maps_folder(self.config, self.workdir)
            shown = None if "test" in self.sources else kept
            validation = self.validate(state, saved, writer, maps, shown)
            saved.wait()
            if self.config.eval.checkpoint == "best":
                best = self.restore(find(self.workdir, "best"))
                if int(best.step) != int(state.step):
                    state, validation = best, None
        results = report(
            self.evaluator,
            variables_of(state),
            int(state.step),
            self.sources,
            self.workdir,
            validation=validation,
            kept=kept,
            writer=writer,
        )
        results["device"] = self.device
        results["seconds"] = round(time.monotonic() - began, 1)
        if self.images_per_second:  # unknown where all steps had been made before
            results["images_per_second"] = round(self.images_per_second, 2)
        results["eval_images_per_second"] = round(self.evaluator.images_per_second, 2)
        if distributed.is_lead():
            files.write_json(self.workdir / "results.json", results)
            logger.info("Figures: %s", self.workdir / "results.json")
            if (self.workdir / "pictures").is_dir():
                logger.info("Pictures: %s", self.workdir / "pictures")
            writer.flush()  # the report reads the curves
            leave_report(self.workdir)
        return results


def _writer(workdir: str) -> metric_writers.MetricWriter:
    """Returns what writes TensorBoard's events; nothing on all processes but one."""
    if distributed.is_lead():
        return metric_writers.SummaryWriter(workdir)
    return metric_writers.MultiWriter([])
