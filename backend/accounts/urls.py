from django.urls import path

from backend.accounts import views

urlpatterns = [
    path("signup", views.Signup.as_view()),
    path("login", views.Login.as_view()),
    path("logout", views.Logout.as_view()),
    path("token/refresh", views.Refresh.as_view()),
    path("verify-email", views.VerifyEmail.as_view()),
    path("verify-email/resend", views.ResendVerification.as_view()),
    path("password/reset", views.PasswordReset.as_view()),
    path("password/reset/confirm", views.PasswordResetConfirm.as_view()),
    path("password/change", views.PasswordChange.as_view()),
    path("me", views.Me.as_view()),
    path("api-keys", views.ApiKeys.as_view()),
    path("api-keys/<uuid:key_id>", views.ApiKeyDetail.as_view()),
]
