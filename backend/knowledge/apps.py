from django.apps import AppConfig


class KnowledgeConfig(AppConfig):
    name = "backend.knowledge"

    def ready(self) -> None:
        from backend.api.checks import register

        register("index", "backend.knowledge.readiness.check_index")
