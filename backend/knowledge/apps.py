from django.apps import AppConfig


class KnowledgeConfig(AppConfig):
    name = "backend.knowledge"

    def ready(self) -> None:
        from django.core import checks

        from backend.api import metrics
        from backend.api.checks import register
        from backend.knowledge.readiness import check_reranker

        checks.register(check_reranker)
        register("index", "backend.knowledge.readiness.check_index")
        metrics.register("knowledge", "backend.knowledge.metrics.collect")
