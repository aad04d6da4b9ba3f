"""The typed schema of params.yaml: the one place that says which parameters exist and what each may be.

Every stage calls `load_params` before it does anything else; `python -m stages.params` checks a file by itself. There
are no defaults here: params.yaml (or a profile written into it) holds every number, so that what DVC hashes is what
ran. Importing this module costs no heavy library.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.common.errors import UserError
from stages.common.sampler_params import AttendAndExcite, Composition
from stages.common.schema import Count, NonNegative, Positive, Section, Share

PARAMS_FILE = Path("params.yaml")

UNTUNED = "base"
"""What stands for a method where the base draws as it is: epoch 0 of every method."""
Method = Literal["dreambooth", "textual_inversion", "lora"]
METHODS: tuple[Method, ...] = get_args(Method)


def _one_token(text: str) -> str:
    if text.count("{token}") != 1:
        raise ValueError("must contain {token} exactly once")
    return text


def _no_token(text: str) -> str:
    if "{token}" in text:
        raise ValueError("must not contain {token}")
    return text


def _no_other_brace(text: str) -> str:
    if set("{}") & set(text.replace("{token}", "")):
        raise ValueError("must hold no braces but those of {token}: nothing else is filled in")
    return text


CaptionTemplate = Annotated[str, AfterValidator(_one_token)]
TokenPrompt = Annotated[str, AfterValidator(_one_token), AfterValidator(_no_other_brace)]
PlainPrompt = Annotated[str, AfterValidator(_no_token), AfterValidator(_no_other_brace)]


class Brand(Section):
    """What is taught: the word on the logo, and the token that stands for it."""

    word: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9]+$")]
    token: Annotated[str, Field(min_length=2, max_length=32, pattern=r"^\S+$")]


class Pretrained(Section):
    """Where the weights come from that the pipeline starts with."""

    source: Literal["demo", "hub"]
    base: Annotated[str, Field(min_length=1)]
    base_revision: Annotated[str, Field(pattern=r"^(demo|[0-9a-f]{40})$")]
    detector: Annotated[str, Field(min_length=1)]
    reader: Annotated[str, Field(min_length=1)]
    text_detector: str
    clip: str
    clip_revision: Annotated[str, Field(pattern=r"^(demo|[0-9a-f]{40})$")]
    captioner: str
    captioner_revision: Annotated[str, Field(pattern=r"^(demo|[0-9a-f]{40})$")]
    hashes: dict[str, Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")]]

    @model_validator(mode="after")
    def _a_hub_is_pinned(self) -> Pretrained:
        for name in ("base", "clip", "captioner"):
            value, revision = getattr(self, name), getattr(self, f"{name}_revision")
            if self.source == "demo" and revision != "demo":
                raise ValueError(f"{name}_revision = {revision!r} must be 'demo' where source = 'demo'")
            if self.source == "hub" and value and not Path(value).is_dir() and revision == "demo":
                raise ValueError(f"{name}_revision must be the 40-digit commit of {value}")
        return self


class Scrape(Section):
    """Which shop is crawled, how politely, and how much may be lost."""

    storefront: str
    start_urls: list[str]
    sitemap_urls: list[str]
    allowed_hosts: list[str]
    name_contains: str
    user_agent: Annotated[str, Field(pattern=r"^[A-Za-z_-]+(/[^\s]+)?( .*)?$")]
    max_pages: Count
    max_megabytes: Count
    max_image_megabytes: Count
    max_depth: Count
    concurrency: Annotated[int, Field(ge=1, le=64)]
    delay: NonNegative
    timeout: Positive
    retries: Annotated[int, Field(ge=0, le=10)]
    max_failed_share: Share
    javascript: bool
    allow_loopback: bool


class Filter(Section):
    """How the logo is found, and which pictures of it are good enough."""

    matcher: Literal["sift", "detector"]
    detector_confidence: Share
    min_logo_width: Count
    min_inliers: Annotated[int, Field(ge=4)]
    min_letter_match: Share
    max_megapixels: Positive
    duplicate_distance: Annotated[int, Field(ge=0, le=64)]


class Caption(Section):
    """How captions are made."""

    template: CaptionTemplate


class Detector(Section):
    """How the logo detector is trained."""

    image_size: Annotated[int, Field(ge=32, le=1280, multiple_of=32)]
    crop: Annotated[int, Field(ge=32, le=1280, multiple_of=32)]
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    precision: Literal["auto", "fp32", "bf16"]
    augmentations: Annotated[int, Field(ge=0, le=20)]
    negative_augmentations: Annotated[int, Field(ge=0, le=20)]
    hard_negatives: Annotated[int, Field(ge=0, le=20)]
    recoloured: Share
    redrawn: Share
    rotation: Annotated[float, Field(ge=0, le=45)]
    zoom: Annotated[float, Field(ge=0, lt=1)]
    brightness: Annotated[float, Field(ge=0, lt=1)]
    blur: Annotated[float, Field(ge=0, le=4)]
    holdout: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _cuts_out_of_the_picture(self) -> Detector:
        if self.crop > self.image_size:
            raise ValueError(f"crop = {self.crop} must not be greater than image_size = {self.image_size}")
        return self


class Training(Section):
    """What every fine-tuning method has in common."""

    epochs: Annotated[int, Field(ge=0)]
    stop_after: Annotated[int, Field(ge=0)]
    save_every: Count
    repeats: Count
    batch_size: Count
    gradient_accumulation: Count
    lr_scheduler: Literal["constant", "linear", "cosine"]
    lr_warmup_steps: Annotated[int, Field(ge=0)]
    weight_decay: NonNegative
    max_grad_norm: Positive
    snr_gamma: NonNegative
    logo_weight: Annotated[float, Field(ge=1)]
    caption_dropout: Share
    noise_offset: NonNegative
    timesteps: Literal["uniform", "logit_normal"]
    timestep_mean: Annotated[float, Field(ge=-3, le=3)]
    timestep_std: Annotated[float, Field(gt=0, le=3)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    compile: bool
    channels_last: bool

    @property
    def last_epoch(self) -> int:
        """The epoch that training goes to: all of `epochs`, or fewer where `stop_after` ends it before."""
        return min(self.epochs, self.stop_after) if self.stop_after else self.epochs

    @model_validator(mode="after")
    def _saves_the_last_epoch(self) -> Training:
        for name in ("epochs", "stop_after"):
            if (epochs := getattr(self, name)) % self.save_every:
                raise ValueError(f"{name} = {epochs} must be a multiple of save_every = {self.save_every}")
        return self


class DreamBooth(Training):
    """The whole UNet is trained, every picture under one caption."""

    class_caption: TokenPrompt
    learning_rate: Positive
    prior_weight: NonNegative
    prior_images: Annotated[int, Field(ge=0)]
    prior_steps: Annotated[int, Field(ge=1, le=1000)]
    prior_guidance_scale: Annotated[float, Field(ge=1)]
    save_precision: Literal["fp32", "fp16"]

    @model_validator(mode="after")
    def _prior_preservation_has_pictures(self) -> DreamBooth:
        if self.prior_weight > 0 and not self.prior_images:
            raise ValueError(f"prior_images = 0 must be at least 1 where prior_weight = {self.prior_weight} is not 0")
        return self


class TextualInversion(Training):
    """Only the token's vectors are trained."""

    learning_rate: Positive
    num_vectors: Annotated[int, Field(ge=1, le=16)]
    initializer_word: Annotated[str, Field(min_length=1)]


def above_0_or_rank(value: Any) -> Any:
    """The value, if it is one of finetune.lora.alpha. Raises ValueError."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value == "rank" or (number and 0 < value < math.inf):
        return value
    raise ValueError('must be a number greater than 0, or "rank"')


class LoRA(Training):
    """Low-rank adapters of the UNet and of the text encoder's attention are trained."""

    unet_lr: NonNegative
    text_encoder_lr: NonNegative
    rank: Annotated[int, Field(ge=1, le=1024)]
    alpha: Annotated[float | Literal["rank"], BeforeValidator(above_0_or_rank)]
    convolutions: bool

    @property
    def strength(self) -> float:
        """Alpha as a number: what the adapters' sum is multiplied by, over the rank."""
        return float(self.rank) if self.alpha == "rank" else self.alpha


class Finetune(Section):
    """Each method's training."""

    dreambooth: DreamBooth
    textual_inversion: TextualInversion
    lora: LoRA


class Sample(Section):
    """What is drawn from every checkpoint, and how."""

    prompts: Annotated[list[TokenPrompt], Field(min_length=1)]
    plain_prompts: list[PlainPrompt]
    negative_prompt: PlainPrompt
    images_per_prompt: Count
    steps: Annotated[int, Field(ge=1, le=1000)]
    guidance_scale: Annotated[float, Field(ge=1)]
    guidance_share: Share
    attend_and_excite: AttendAndExcite
    composition: Composition
    scheduler: Literal["dpm++", "ddim", "euler"]
    batch_size: Count
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    compile: bool
    channels_last: bool


class Score(Section):
    """How pictures are scored."""

    threshold: Share
    margin: Annotated[float, Field(ge=0, le=1)]
    text_detector: Literal["none", "craft", "start"]
    confidence_level: Annotated[float, Field(gt=0.5, lt=1)]
    bootstrap_samples: Annotated[int, Field(ge=100)]
    memorisation_percentile: Annotated[float, Field(gt=0, lt=100)]


class Gates(Section):
    """What a checkpoint must pass before it may be shipped."""

    max_memorised_share: Share
    min_colour_fidelity: Share
    min_prompt_fidelity: Share


class Report(Section):
    """What the report shows."""

    top: Count
    gates: Gates


Values = Annotated[list[Any], Field(min_length=1)]


class Grid(Section):
    """The grid of experiments: lists of values of any of a method's parameters; every combination is a model."""

    dreambooth: dict[str, Values]
    textual_inversion: dict[str, Values]
    lora: dict[str, Values]

    def combinations(self, method: str) -> list[dict[str, Any]]:
        """The method's models: one value of each list, in the order of params.yaml; none where nothing is listed."""
        lists: dict[str, list[Any]] = getattr(self, method)
        return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())] if lists else []


class Rung(Section):
    """Up to which epoch the models of a race train, and how many pictures of each prompt are drawn of them."""

    epochs: Count
    images_per_prompt: Count


class Race(Section):
    """How successive halving spends epochs and pictures on the grid's models."""

    rungs: Annotated[list[Rung], Field(min_length=1)]
    keep: list[Annotated[float, Field(gt=0, le=1)]]
    smallest: Count
    by: Literal["mean", "joint_success"]

    @model_validator(mode="after")
    def _rungs_rise(self) -> Race:
        if len(self.keep) != len(self.rungs) - 1:
            raise ValueError(f"keep = {self.keep}: must have a share for each rung but the last")
        for low, high in itertools.pairwise(self.rungs):
            if high.epochs < low.epochs or high.images_per_prompt < low.images_per_prompt or high == low:
                raise ValueError(
                    "rungs: each must have at least the epochs and pictures of the one before, and more of one"
                )
        return self


class Params(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    resolution: Annotated[int, Field(ge=32, le=2048, multiple_of=8)]
    brand: Brand
    pretrained: Pretrained
    scrape: Scrape
    filter: Filter
    caption: Caption
    detector: Detector
    finetune: Finetune
    sample: Sample
    score: Score
    report: Report
    grid: Grid
    race: Race

    @property
    def methods(self) -> list[Method]:
        """The methods that are trained: those with any epochs."""
        return [method for method in METHODS if self.training(method).epochs]

    def training(self, method: str) -> Training:
        """The settings of a method's training."""
        settings: Training = getattr(self.finetune, method)
        return settings

    def changed(self, section: str, **values: Any) -> Params:
        """The parameters with other values in a section ("sample", "finetune.lora"); values are not checked."""
        name, _, rest = section.partition(".")
        part = getattr(self, name)
        if rest:
            values = {rest: getattr(part, rest).model_copy(update=values)}
        return self.model_copy(update={name: part.model_copy(update=values)})

    @model_validator(mode="after")
    def _a_method_is_trained(self) -> Params:
        if not self.methods:
            raise ValueError("finetune: no method has any epochs: at least one must be trained")
        return self

    @model_validator(mode="after")
    def _the_grid_varies_what_there_is(self) -> Params:
        for method in METHODS:
            fields = type(self.training(method)).model_fields
            for name, values in getattr(self.grid, method).items():
                key = f"grid.{method}.{name}"
                if name not in fields or name == "stop_after":
                    near = difflib.get_close_matches(name, fields, n=1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    raise ValueError(f"{key}: no parameter of finetune.{method} that a grid may vary{hint}")
                one: Any = Annotated[fields[name].annotation, fields[name]]
                of_one: TypeAdapter[Any] = TypeAdapter(one, config=ConfigDict(strict=True))
                for value in values:
                    try:
                        of_one.validate_python(value)
                    except ValidationError as error:
                        raise ValueError(f"{key}: {value!r}: {_message(error.errors()[0])}") from None
                if len(values) != len({repr(value) for value in values}):
                    raise ValueError(f"{key} = {values}: a value stands there twice")
        return self

    def with_model(self, method: str, combination: Mapping[str, Any]) -> Params:
        """The parameters with a model of the grid in place of the method's own.

        Raises UserError where the values do not go together.
        """
        settings = self.training(method)
        try:
            changed = type(settings).model_validate(settings.model_dump() | dict(combination))
        except ValidationError as error:
            shown = ", ".join(f"{name}={value}" for name, value in combination.items())
            raise UserError(f"grid.{method}: {shown}: {_message(error.errors()[0])}") from None
        return self.model_copy(update={"finetune": self.finetune.model_copy(update={method: changed})})


def read_yaml(path: Path) -> Any:
    """Read a YAML 1.2 file, in which 5e-6 is a number (in PyYAML's YAML 1.1 it is a string).

    Raises UserError, in one line, where the file is missing or no YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (run from the top of the repository)") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check a params file.

    Raises UserError with one line that names the key, its value and what is allowed.
    """
    return check_params(read_yaml(path), str(path))


def check_params(content: Any, name: str) -> Params:
    """Check what a params file called `name` holds. Raises UserError as `load_params` does."""
    if not isinstance(content, dict):
        raise UserError(f"{name}: must be a mapping of parameters, is {type(content).__name__}")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{name}: {_describe(error)}") from None


def _describe(error: ValidationError) -> str:
    """One line about the most telling of the errors: an unknown key explains a missing one, so it goes first."""
    rank = {"extra_forbidden": 0, "missing": 2}
    first = min(error.errors(), key=lambda e: rank.get(e["type"], 1))
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = sorted(_section_at(first["loc"][:-1]).model_fields)
        near = difflib.get_close_matches(str(first["loc"][-1]), allowed, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        if key == "methods":
            hint = "; a method is left out by finetune.<method>.epochs = 0"
        return f"{key} = {first['input']!r}: unknown key; allowed: {', '.join(allowed)}{hint}"
    if first["type"] == "missing":
        return f"{key} is missing{more}"
    message = _message(first)
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        return f"{key + ': ' if key else ''}{message}{more}"
    return f"{key} = {first['input']!r}: {message}{more}"


def _message(error: Any) -> str:
    """What pydantic says is wrong, in the words of all other messages."""
    return str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")


def _section_at(path: tuple[Any, ...]) -> type[BaseModel]:
    section: type[BaseModel] = Params
    for part in path:
        annotation = section.model_fields[str(part)].annotation
        assert isinstance(annotation, type)
        section = annotation
    return section
