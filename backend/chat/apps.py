from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "backend.chat"

    def ready(self) -> None:
        from backend.api.checks import register
        from backend.chat.usage import prices

        prices()  # a bad table is told at the start
        register("model", "backend.chat.readiness.check_model")
