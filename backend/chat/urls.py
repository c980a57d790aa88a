from django.urls import path

from backend.chat.history_views import ChatHistory, ConversationDetail, ConversationExport, Conversations, Messages
from backend.chat.stats_views import Stats
from backend.chat.views import Chat, Edit, Rate, Regenerate, StoredMessage, VerifyCitation

urlpatterns = [
    path("chat", Chat.as_view()),
    path("chat-history", ChatHistory.as_view()),
    path("conversations", Conversations.as_view()),
    path("conversations/<uuid:conversation_id>", ConversationDetail.as_view()),
    path("conversations/<uuid:conversation_id>/messages", Messages.as_view(), name="messages"),
    path("conversations/<uuid:conversation_id>/export", ConversationExport.as_view()),
    path("messages/<uuid:message_id>", StoredMessage.as_view()),
    path("messages/<uuid:message_id>/regenerate", Regenerate.as_view()),
    path("messages/<uuid:message_id>/edit", Edit.as_view()),
    path("messages/<uuid:message_id>/feedback", Rate.as_view()),
    path("messages/<uuid:message_id>/citations/<int:n>/verify", VerifyCitation.as_view()),
    path("stats", Stats.as_view()),
]
