from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "backend.jobs"

    def ready(self) -> None:
        from backend.api.metrics import register
        from backend.jobs import leading  # noqa: F401 (its gauge is there from the first scrape on)

        register("jobs", "backend.jobs.metrics.collect")
