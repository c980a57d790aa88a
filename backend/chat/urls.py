from django.urls import path

from backend.chat.views import Chat, ChatHistory, Rate, VerifyCitation

urlpatterns = [
    path("chat", Chat.as_view()),
    path("chat-history", ChatHistory.as_view()),
    path("messages/<uuid:message_id>/feedback", Rate.as_view()),
    path("messages/<uuid:message_id>/citations/<int:n>/verify", VerifyCitation.as_view()),
]
