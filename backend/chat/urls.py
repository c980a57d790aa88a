from django.urls import path

from backend.chat.views import Chat, ChatHistory

urlpatterns = [
    path("chat", Chat.as_view()),
    path("chat-history", ChatHistory.as_view()),
]
