from django.urls import path

from backend.knowledge.views import Search, SourceChunks, SourceDetail, Sources, SyncView

urlpatterns = [
    path("search", Search.as_view()),
    path("sources", Sources.as_view()),
    path("sources/sync", SyncView.as_view()),
    path("sources/<uuid:source_id>", SourceDetail.as_view()),
    path("sources/<uuid:source_id>/chunks", SourceChunks.as_view()),
]
