from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "backend.chat"

    def ready(self) -> None:
        from backend.api.checks import register

        register("model", "backend.chat.readiness.check_model")
