from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "backend.chat"

    def ready(self) -> None:
        from backend.accounts import erasure
        from backend.api.checks import register
        from backend.chat.usage import prices

        prices()  # a bad table is told at the start
        erasure.register("backend.chat.conversations.erase_all_of")
        register("model", "backend.chat.readiness.check_model")
