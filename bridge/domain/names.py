"""Enums whose values are the strings on the wire (ML Commons 3.6.0, `contract` of the REST API)."""

from __future__ import annotations

from enum import StrEnum


class FunctionName(StrEnum):
    """What a model computes; names as `FunctionName` of ML Commons. Matched in any case."""

    LINEAR_REGRESSION = "LINEAR_REGRESSION"
    KMEANS = "KMEANS"
    AD_LIBSVM = "AD_LIBSVM"
    SAMPLE_ALGO = "SAMPLE_ALGO"
    LOCAL_SAMPLE_CALCULATOR = "LOCAL_SAMPLE_CALCULATOR"
    FIT_RCF = "FIT_RCF"
    BATCH_RCF = "BATCH_RCF"
    ANOMALY_LOCALIZATION = "ANOMALY_LOCALIZATION"
    RCF_SUMMARIZE = "RCF_SUMMARIZE"
    LOGISTIC_REGRESSION = "LOGISTIC_REGRESSION"
    TEXT_EMBEDDING = "TEXT_EMBEDDING"
    METRICS_CORRELATION = "METRICS_CORRELATION"
    REMOTE = "REMOTE"
    SPARSE_ENCODING = "SPARSE_ENCODING"
    SPARSE_TOKENIZE = "SPARSE_TOKENIZE"
    TEXT_SIMILARITY = "TEXT_SIMILARITY"
    QUESTION_ANSWERING = "QUESTION_ANSWERING"
    AGENT = "AGENT"
    CONNECTOR = "CONNECTOR"
    TOOL = "TOOL"


class ModelFormat(StrEnum):
    """How the model file is written. SAFETENSORS is the bridge's own: a Hugging Face folder as it is."""

    TORCH_SCRIPT = "TORCH_SCRIPT"
    ONNX = "ONNX"
    SAFETENSORS = "SAFETENSORS"


class ModelState(StrEnum):
    """Life of a model; the second group are the names of 2.4-2.6, which still parse."""

    TRAINED = "TRAINED"
    REGISTERING = "REGISTERING"
    REGISTERED = "REGISTERED"
    DEPLOYING = "DEPLOYING"
    DEPLOYED = "DEPLOYED"
    PARTIALLY_DEPLOYED = "PARTIALLY_DEPLOYED"
    UNDEPLOYED = "UNDEPLOYED"
    DEPLOY_FAILED = "DEPLOY_FAILED"

    @classmethod
    def _missing_(cls, value: object) -> ModelState | None:
        return _OLD_MODEL_STATES.get(str(value).upper())


_OLD_MODEL_STATES = {
    "UPLOADING": ModelState.REGISTERING,
    "UPLOADED": ModelState.REGISTERED,
    "LOADING": ModelState.DEPLOYING,
    "LOADED": ModelState.DEPLOYED,
    "PARTIALLY_LOADED": ModelState.PARTIALLY_DEPLOYED,
    "UNLOADED": ModelState.UNDEPLOYED,
    "LOAD_FAILED": ModelState.DEPLOY_FAILED,
}

WANTED_STATES = (
    ModelState.DEPLOYING,
    ModelState.DEPLOYED,
    ModelState.PARTIALLY_DEPLOYED,
    ModelState.DEPLOY_FAILED,
)
"""States in which somebody has asked for the model to be deployed and nobody has taken it back."""


class TaskState(StrEnum):
    """Life of a task."""

    CREATED = "CREATED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    COMPLETED_WITH_ERROR = "COMPLETED_WITH_ERROR"
    CANCELLING = "CANCELLING"
    EXPIRED = "EXPIRED"
    UNREACHABLE = "UNREACHABLE"

    @property
    def final(self) -> bool:
        """True when nothing will change any more."""
        return self not in (TaskState.CREATED, TaskState.RUNNING, TaskState.CANCELLING)


class TaskType(StrEnum):
    """What a task does; the last two are the names of 2.4-2.6."""

    TRAINING = "TRAINING"
    PREDICTION = "PREDICTION"
    TRAINING_AND_PREDICTION = "TRAINING_AND_PREDICTION"
    EXECUTION = "EXECUTION"
    REGISTER_MODEL = "REGISTER_MODEL"
    DEPLOY_MODEL = "DEPLOY_MODEL"
    BATCH_INGEST = "BATCH_INGEST"
    BATCH_PREDICTION = "BATCH_PREDICTION"
    AGENT_EXECUTION = "AGENT_EXECUTION"
    UPLOAD_MODEL = "UPLOAD_MODEL"
    LOAD_MODEL = "LOAD_MODEL"


class FrameworkType(StrEnum):
    """Who pools: the model itself (sentence_transformers) or the bridge."""

    SENTENCE_TRANSFORMERS = "SENTENCE_TRANSFORMERS"
    HUGGINGFACE_TRANSFORMERS = "HUGGINGFACE_TRANSFORMERS"
    HUGGINGFACE_TRANSFORMERS_NEURON = "HUGGINGFACE_TRANSFORMERS_NEURON"


class PoolingMode(StrEnum):
    """How token vectors become one vector."""

    MEAN = "MEAN"
    MEAN_SQRT_LEN = "MEAN_SQRT_LEN"
    MAX = "MAX"
    WEIGHTED_MEAN = "WEIGHTED_MEAN"
    CLS = "CLS"
    LAST_TOKEN = "LAST_TOKEN"
    NONE = "NONE"
