"""Whether the chat model can be asked, for /readyz."""

from backend.api.checks import Check
from backend.chat.services import chat_models
from chains.errors import UnknownModel
from chains.models import reachability_problem


def check_model() -> Check:
    """Well when one of the configured models can be reached."""
    try:
        models = chat_models()
    except UnknownModel as error:
        return Check(ok=False, detail=str(error))
    problems = {model.name: reachability_problem(model.llm) if model.llm else None for model in models}
    told = "; ".join(f"{name}: {problem}" if problem else name for name, problem in problems.items())
    return Check(ok=not all(problems.values()), detail=told)
