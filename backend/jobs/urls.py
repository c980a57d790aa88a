from django.urls import path

from backend.jobs.views import JobRuns, Jobs, RunJob

urlpatterns = [
    path("jobs", Jobs.as_view()),
    path("jobs/<str:name>/runs", JobRuns.as_view()),
    path("jobs/<str:name>/run", RunJob.as_view()),
]
