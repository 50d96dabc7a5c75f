"""Hugging Face folders (config.json, tokenizer.json, *.safetensors) by transformers, with no export before.

Never pickled weights, never code from the folder (`trust_remote_code` off), never the network.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.domain.names import FunctionName
from bridge.engines import huggingface
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode, without_folders
from bridge.engines.session import Inputs, ModelSpec, Output
from bridge.engines.torchscript import run_threads

_CLASSES = {
    FunctionName.TEXT_EMBEDDING: "AutoModel",
    FunctionName.SPARSE_ENCODING: "AutoModelForMaskedLM",
    FunctionName.TEXT_SIMILARITY: "AutoModelForSequenceClassification",
    FunctionName.QUESTION_ANSWERING: "AutoModelForQuestionAnswering",
}
_OUTPUTS = {
    FunctionName.TEXT_EMBEDDING: ("last_hidden_state",),
    FunctionName.TEXT_SIMILARITY: ("logits",),
    FunctionName.QUESTION_ANSWERING: ("start_logits", "end_logits"),
}


def completed(folder: Path, spec: ModelSpec) -> ModelSpec:
    """The spec with the folder's own pooling and normalising where model_config is silent.

    Raises FileNotFoundError and ValueError for a folder that describes no such model.
    """
    if spec.function_name is not FunctionName.TEXT_EMBEDDING:
        return spec
    described = huggingface.read(folder)
    return replace(
        spec,
        pooling_mode=spec.pooling_mode or described.pooling_mode,
        normalize_result=described.normalize if spec.normalize_result is None else spec.normalize_result,
    )


class SafetensorsEngine:
    """Loads a folder with the transformers class that its function needs."""

    def load(self, folder: Path, *, device: Device, spec: ModelSpec) -> SafetensorsSession:
        """Open the model on `device`. Raises EngineFault(LOAD_FAILED or UNSUPPORTED)."""
        try:
            import torch
            import transformers
            from transformers.utils import logging as transformers_logging
        except ImportError:
            raise EngineFault(
                FaultCode.UNSUPPORTED, "SAFETENSORS models need torch and transformers (extra [torch]), not installed"
            ) from None
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        torch.set_num_threads(1)
        try:
            path, name = _weights_of(folder, spec)
            module = _opened(getattr(transformers, name), path, torch, spec)
            return SafetensorsSession(module.eval().to(str(device)), device, spec, huggingface.splade_of(folder))
        except (EngineFault, FileNotFoundError):
            raise
        except Exception as error:  # what a damaged or foreign folder makes the library raise is open
            raise EngineFault(FaultCode.LOAD_FAILED, _reason(error)) from None


def _weights_of(folder: Path, spec: ModelSpec) -> tuple[Path, str]:
    """Where config.json and the weights lie, and the transformers class that loads them."""
    if spec.function_name is FunctionName.TEXT_EMBEDDING:
        described = huggingface.read(folder)
        # Of an encoder and a decoder (T5) the first alone reads texts.
        encoder = described.config.get("is_encoder_decoder")
        return described.transformer, "AutoModelForTextEncoding" if encoder else _CLASSES[spec.function_name]
    if not list(folder.glob("*.safetensors")):
        raise FileNotFoundError("Can't find model file")
    return folder, _CLASSES[spec.function_name]


def _opened(kind: Any, path: Path, torch: Any, spec: ModelSpec) -> Any:
    """The module. Raises EngineFault when the file lacks weights: the library would make them up at random."""
    module, told = kind.from_pretrained(
        str(path),
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        dtype=torch.float32,
        attn_implementation="eager",  # what every architecture has, and what config.json can't replace by other code
    )
    lacking = sorted(told["missing_keys"])
    if spec.function_name is FunctionName.TEXT_EMBEDDING:
        lacking = [name for name in lacking if "pooler" not in name]  # computed beside the token vectors, never read
    if lacking:
        shown = ", ".join(lacking[:3])
        raise EngineFault(
            FaultCode.LOAD_FAILED, f"the safetensors lack {len(lacking)} weights of a {kind.__name__[4:]}: {shown}"
        )
    return module


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return without_folders(" ".join(lines[:3]))[:500] or type(error).__name__


class SafetensorsSession:
    """One module. Sparse encoders are pooled here, on the device: logits are as wide as the vocabulary."""

    def __init__(self, module: Any, device: Device, spec: ModelSpec, splade: huggingface.Splade) -> None:
        self._module, self._device, self._spec, self._splade = module, device, spec, splade
        known = inspect.signature(module.forward).parameters
        types = int(getattr(module.config, "type_vocab_size", 0) or 0) > 1 and "token_type_ids" in known
        self._inputs = ("input_ids", "attention_mask", "token_type_ids") if types else ("input_ids", "attention_mask")

    def run(self, inputs: Inputs, *, lone: bool = False) -> Sequence[Output]:
        """Run one batch. Raises EngineFault(RUN_FAILED)."""
        import torch

        with run_threads(torch, lone), torch.inference_mode():
            try:
                tensors = {name: torch.from_numpy(getattr(inputs, name)).to(str(self._device)) for name in self._inputs}
                answer = self._module(**tensors, return_dict=True)
                if self._spec.function_name is FunctionName.SPARSE_ENCODING:
                    return [Output("output", self._weights(torch, answer.logits, tensors["attention_mask"]))]
                names = _OUTPUTS[self._spec.function_name]
                return [Output(name, answer[name].float().cpu().numpy()) for name in names]
            except Exception as error:  # anything the model's code raises
                raise EngineFault(FaultCode.RUN_FAILED, _reason(error)) from None

    def _weights(self, torch: Any, logits: Any, mask: Any) -> Any:
        """[texts, vocabulary]; log1p grows with its argument and so is taken after a maximum."""
        own, activated = logits.relu_().mul_(mask.unsqueeze(-1)), self._activated
        found = activated(torch, own).sum(1) if self._splade.total else activated(torch, own.amax(1))
        return found.float().cpu().numpy()

    def _activated(self, torch: Any, positive: Any) -> Any:
        for _ in range(self._splade.logarithms):
            positive = torch.log1p(positive)
        return positive

    def close(self) -> None:
        """Free the weights; a module's parts refer to each other."""
        self._module = None
        gc.collect()
