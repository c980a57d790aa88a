from django.urls import path

from backend.accounts.views import Login, Refresh, Signup

urlpatterns = [
    path("signup", Signup.as_view()),
    path("login", Login.as_view()),
    path("token/refresh", Refresh.as_view()),
]
