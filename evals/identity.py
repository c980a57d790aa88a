"""What a run was of: the product's settings, and the keys under which its recordings are kept."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from evals.recordings import digest, product_digest
from evals.runner import Options
from evals.samples import Sample

FORMAT = 1  # of keys; recordings made by another format are not found
# Where an instance runs and who may use it; nothing that an answer depends on.
IRRELEVANT = frozenset(
    "host port web_threads data_dir knowledge_dir database_url vector_store chroma_url pinecone_api_key pinecone_host "
    "pinecone_index pinecone_region chat_model_timeout secret_key debug "
    "allowed_hosts signup_open sync_interval watch_polling history_retention_days log_level parse_seconds "
    "run_scheduler time_zone schedule_history schedule_tokens schedule_reconcile schedule_compact schedule_report "
    "schedule_backup audit_retention_days tasks celery_broker_url metrics_token".split()
)
_PROVIDER_ADDRESS = re.compile(r"(_BASE_URL|_API_BASE|_ENDPOINT|^OLLAMA_HOST)$")


def product_settings(overrides: Mapping[str, str]) -> dict[str, Any]:
    """The settings that a temporary instance answers by, with the digest of its prompt's text.

    overrides: values by setting's name (PROMPT, CHAT_MODEL, CALIBRATION). UnknownPrompt when there is no such prompt,
    BadCalibration.
    """
    from backend.environment import Environment, read_environment
    from chains.abstention import load_calibration
    from chains.prompts import load_prompt

    environment = read_environment()
    names = {str(field.alias): name for name, field in Environment.model_fields.items()}
    chosen = environment.model_dump(mode="json") | {names[alias]: value for alias, value in overrides.items()}
    settings = {name: value for name, value in chosen.items() if name not in IRRELEVANT}
    settings["prompt"] = load_prompt(settings["prompt"]).label
    environment = environment.model_copy(update={"calibration": settings["calibration"]})
    settings["calibration"] = asdict(load_calibration(environment.calibration_file))
    if settings["chat_model"] != "extractive" or settings["embedding_model"] != "minilm":
        settings["servers"] = {
            name: value for name, value in sorted(os.environ.items()) if _PROVIDER_ADDRESS.search(name) and value
        }
    return settings


def keys(product: Any, files: Mapping[str, str], options: Options) -> Callable[[Sample], str]:
    """The key of each sample's recording. product: whatever identifies what is asked."""
    base = digest([FORMAT, product, dict(files), options.k, options.search_only])

    def key(sample: Sample) -> str:
        return digest([base, sample.question, [[turn.role, turn.content] for turn in sample.history]])

    return key


def temporary_product(settings: Mapping[str, Any]) -> list[Any]:
    """What identifies a temporary instance of this product."""
    return ["temporary", dict(settings), product_digest()]
