from django.urls import path

from backend.accounts.views import ApiKeyDetail, ApiKeys, Login, Refresh, Signup

urlpatterns = [
    path("signup", Signup.as_view()),
    path("login", Login.as_view()),
    path("token/refresh", Refresh.as_view()),
    path("api-keys", ApiKeys.as_view()),
    path("api-keys/<uuid:key_id>", ApiKeyDetail.as_view()),
]
