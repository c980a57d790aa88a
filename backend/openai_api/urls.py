from django.urls import path

from backend.openai_api.views import ChatCompletions, Embeddings, ModelDetail, Models, Nowhere

urlpatterns = [
    path("v1/chat/completions", ChatCompletions.as_view()),
    path("v1/models", Models.as_view()),
    path("v1/models/<path:model_id>", ModelDetail.as_view()),
    path("v1/embeddings", Embeddings.as_view()),
    path("v1", Nowhere.as_view()),
    path("v1/<path:rest>", Nowhere.as_view()),
]
