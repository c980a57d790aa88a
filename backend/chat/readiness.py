"""Whether the chat model can be asked, for /readyz."""

from backend.api.checks import Check
from backend.chat.services import chat_model
from chains.errors import UnknownModel
from chains.models import reachability_problem


def check_model() -> Check:
    try:
        model = chat_model()
    except UnknownModel as error:
        return Check(ok=False, detail=str(error))
    problem = reachability_problem(model.llm) if model.llm else None
    return Check(ok=problem is None, detail=problem or model.name)
