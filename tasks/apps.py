from django.apps import AppConfig


class TasksConfig(AppConfig):
    name = "tasks"

    def ready(self) -> None:
        from django.core import checks as system_checks

        from backend.api import checks
        from backend.backups.journal import check_restore
        from backend.jobs import table

        system_checks.register(check_restore)
        checks.register("scheduler", "tasks.readiness.check_scheduler")
        table.register("tasks.table.make_table")
