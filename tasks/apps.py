from django.apps import AppConfig


class TasksConfig(AppConfig):
    name = "tasks"

    def ready(self) -> None:
        from backend.api.checks import register

        register("scheduler", "tasks.runtime.check_scheduler")
