"""Accounts: sign up, in and out, verify, reset and change; the profile; API keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from csp.decorators import csp_replace
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.decorators import method_decorator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import APIException, NotAuthenticated, PermissionDenied
from rest_framework.generics import ListAPIView
from rest_framework.parsers import FormParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backend.accounts import erasure, selectors, services, tokens
from backend.accounts.api_keys import CHALLENGE
from backend.accounts.authentication import BearerToken, family_of
from backend.accounts.models import ApiKey, User
from backend.accounts.serializers import (
    AddressSerializer,
    ApiKeyRequestSerializer,
    ApiKeySerializer,
    LinkSerializer,
    LoginSerializer,
    LogoutSerializer,
    MadeApiKeySerializer,
    NoticeSerializer,
    PairSerializer,
    PasswordChangeSerializer,
    ProfileChangeSerializer,
    ProfileSerializer,
    RefreshSerializer,
    ResetSerializer,
    SignupSerializer,
    TokensSerializer,
    UserSerializer,
)
from backend.accounts.tokens import RefreshToken
from backend.api.parsers import StrictJSONParser
from backend.api.schema import errors
from backend.throttling import throttles

PEOPLE: Any = [{"jwtAuth": []}]  # no API keys: see backend.accounts.api_keys
NOBODY: Any = [{}]
PEOPLE_OR_NOBODY: Any = [{"jwtAuth": []}, {}]
PAGE = {"default-src": ["'none'"], "style-src": ["'unsafe-inline'"], "form-action": ["'self'"]}


class Open(APIView):
    """For people who have no token. A 401 still says how one would authenticate, or DRF makes it a 403."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get_authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class Signup(Open):
    throttle_classes = [throttles.Signup]

    @extend_schema(
        tags=["accounts"],
        auth=NOBODY,
        request=SignupSerializer,
        responses={201: UserSerializer, **errors(400, 403, 429)},
    )
    def post(self, request: Request) -> Response:
        """Create an account; a mail asks to verify the address."""
        if not settings.ENV.signup_open:
            raise PermissionDenied("Signup is closed on this server.", "signup_closed")
        form = SignupSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        user = services.sign_up(request, **form.validated_data)
        return Response(UserSerializer(user).data, status=201)


class Login(Open):
    throttle_classes = [throttles.Login]

    @extend_schema(
        tags=["accounts"],
        auth=NOBODY,
        request=LoginSerializer,
        responses={200: TokensSerializer, **errors(400, 401, 403, 429)},
    )
    def post(self, request: Request) -> Response:
        """Exchange a name (or address) and password for tokens."""
        form = LoginSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        given = form.validated_data
        user, refresh = services.log_in(request, given.get("username") or given["email"], given["password"])
        return Response({**_pair(refresh), "user": UserSerializer(user).data})


class Refresh(Open):
    @extend_schema(
        tags=["accounts"],
        auth=NOBODY,
        request=RefreshSerializer,
        responses={200: PairSerializer, **errors(400, 401, 403)},
    )
    def post(self, request: Request) -> Response:
        """Exchange a refresh token for a new pair; the old one is dead, and using it again ends the login."""
        form = RefreshSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        return Response(_pair(services.refresh(request, form.validated_data["refresh"])))


class Logout(APIView):
    authentication_classes = (BearerToken,)
    permission_classes = (AllowAny,)

    @extend_schema(
        tags=["accounts"],
        auth=PEOPLE_OR_NOBODY,
        request=LogoutSerializer,
        responses={204: None, **errors(400, 401)},
    )
    def post(self, request: Request) -> Response:
        """End a login: of the refresh token in the body, or of the access token. All its tokens are dead at once."""
        form = LogoutSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        everywhere = form.validated_data["everywhere"]
        if given := form.validated_data.get("refresh"):
            services.log_out(request, given, everywhere=everywhere)
        elif request.auth is not None:
            family = family_of(cast(tokens.AccessToken, request.auth))
            services.end_login(request, cast(User, request.user), family, everywhere=everywhere)
        else:
            raise NotAuthenticated
        return Response(status=204)

    def perform_authentication(self, request: Request) -> None:
        """An access token that has expired does not keep anybody from ending her login by the refresh token."""
        try:
            super().perform_authentication(request)
        except APIException:
            if not isinstance(request.data, dict) or not request.data.get("refresh"):
                raise


class LinkPage(Open):
    """Where the link of a mail leads: GET shows a page with a button (whatever looks at links in mails presses none),
    POST takes the page's form and JSON alike, and answers each in its own way."""

    parser_classes = [StrictJSONParser, FormParser]
    template: str

    def show(self, request: Request | HttpRequest, status: int = 200, **context: Any) -> HttpResponse:
        page = render(request, self.template, context, status=status)
        page.headers["Referrer-Policy"] = "no-referrer"  # the address holds the token
        return page

    def get(self, request: Request) -> HttpResponse:
        return self.show(request, token=request.query_params.get("token", "")[:1024])

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        if self.request.method != "POST" or not self.is_form:
            return response
        error = response.data["error"]
        problems = [str(text) for texts in error.get("fields", {}).values() for text in texts]
        try:
            token = self.request.POST.get("token", "")
        except (SuspiciousOperation, OSError):  # too large, or it did not arrive
            token = ""
        page = self.show(
            self.request,
            response.status_code,
            token=token[:1024],
            problems=problems or [error["message"]],
        )
        return cast(Response, page)

    @property
    def is_form(self) -> bool:
        return str(self.request.content_type or "").startswith(FormParser.media_type)


SHOWN: Any = {(200, "text/html"): OpenApiTypes.STR, (400, "text/html"): OpenApiTypes.STR}
PAGE_SCHEMA: Any = {
    "tags": ["accounts"],
    "auth": NOBODY,
    "parameters": [OpenApiParameter("token", str, description="From the link in the mail.")],
    "responses": {(200, "text/html"): OpenApiTypes.STR},
}


@method_decorator(csp_replace(PAGE), name="dispatch")
class VerifyEmail(LinkPage):
    template = "accounts/verify_email.html"

    @extend_schema(**PAGE_SCHEMA)
    def get(self, request: Request) -> HttpResponse:
        """The page that the link in the mail opens."""
        return super().get(request)

    @extend_schema(
        tags=["accounts"], auth=NOBODY, request=LinkSerializer, responses={200: UserSerializer, **errors(400), **SHOWN}
    )
    def post(self, request: Request) -> HttpResponse:
        """Verify an address by the token of the mail. A used, expired or foreign one is a 400 of one text."""
        form = LinkSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        user = services.verify_email(request, form.validated_data["token"])
        if self.is_form:
            return self.show(request, done=True)
        return Response(UserSerializer(user).data)


class MailRequest(Open):
    """Has a link mailed to an address. The answer is the same whether there is such an account."""

    throttle_classes = [throttles.Mail]

    def mail(self, request: Request, send: Callable[[Request, str], None], notice: str) -> Response:
        form = AddressSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        send(request, form.validated_data["email"])
        return Response({"message": notice}, status=202)


MAIL_SCHEMA: Any = {
    "tags": ["accounts"],
    "auth": NOBODY,
    "request": AddressSerializer,
    "responses": {202: NoticeSerializer, **errors(400, 429)},
}


class ResendVerification(MailRequest):
    @extend_schema(**MAIL_SCHEMA)
    def post(self, request: Request) -> Response:
        """Mail the link again that verifies an address. The answer is the same whether there is such an account."""
        notice = "If an account with this address waits for it, a mail is on its way."
        return self.mail(request, services.request_verification, notice)


class PasswordReset(MailRequest):
    @extend_schema(**MAIL_SCHEMA)
    def post(self, request: Request) -> Response:
        """Mail a link for another password. The answer is the same whether there is such an account."""
        notice = "If there is an account with this address, a mail is on its way."
        return self.mail(request, services.request_reset, notice)


@method_decorator(csp_replace(PAGE), name="dispatch")
class PasswordResetConfirm(LinkPage):
    template = "accounts/reset_password.html"

    @extend_schema(**PAGE_SCHEMA)
    def get(self, request: Request) -> HttpResponse:
        """The page that the link in the mail opens."""
        return super().get(request)

    @extend_schema(
        tags=["accounts"],
        auth=NOBODY,
        request=ResetSerializer,
        responses={200: NoticeSerializer, **errors(400), **SHOWN},
    )
    def post(self, request: Request) -> HttpResponse:
        """Set another password by the token of the mail; every token from before is dead."""
        form = ResetSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        services.confirm_reset(request, form.validated_data["token"], form.validated_data["new_password"])
        if self.is_form:
            return self.show(request, done=True)
        return Response({"message": "The password is changed. Sign in with it."})


class People(APIView):
    """For people who are signed in; API keys are not accepted (backend.accounts.api_keys)."""

    @property
    def user(self) -> User:
        return cast(User, self.request.user)


class PasswordChange(People):
    @extend_schema(
        tags=["accounts"],
        auth=PEOPLE,
        request=PasswordChangeSerializer,
        responses={200: TokensSerializer, **errors(400, 401, 403, 409, 429)},
    )
    def post(self, request: Request) -> Response:
        """Set another password. Every token from before is dead; these are new ones."""
        form = PasswordChangeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        given = form.validated_data
        refresh = services.change_password(request, self.user, given["old_password"], given["new_password"])
        return Response({**_pair(refresh), "user": UserSerializer(self.user).data})


class Me(People):
    @extend_schema(tags=["accounts"], auth=PEOPLE, responses={200: ProfileSerializer, **errors(401, 403)})
    def get(self, request: Request) -> Response:
        """Your profile."""
        return Response(ProfileSerializer(self.user).data)

    @extend_schema(
        tags=["accounts"],
        auth=PEOPLE,
        request=ProfileChangeSerializer,
        responses={200: ProfileSerializer, **errors(400, 401, 403, 409, 429)},
    )
    def patch(self, request: Request) -> Response:
        """Change your profile. Another address asks for the password, and is to be verified."""
        form = ProfileChangeSerializer(self.user, data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        changes = dict(form.validated_data)
        password = changes.pop("password", None)
        if moves := changes.get("email", self.user.email).lower() != self.user.email.lower():
            services.require_password(request, self.user, password)
        user = services.update_profile(request, self.user, changes, proven=moves)
        return Response(ProfileSerializer(user).data)

    @extend_schema(tags=["accounts"], auth=PEOPLE, responses={204: None, **errors(401, 403)})
    def delete(self, request: Request) -> Response:
        """Erase your account and all your chats, for good."""
        erasure.erase(self.user, request)
        return Response(status=204)


def _pair(refresh: RefreshToken) -> dict[str, str]:
    return {"access": str(refresh.access_token), "refresh": str(refresh)}


class ApiKeys(ListAPIView[ApiKey]):
    serializer_class = ApiKeySerializer

    @extend_schema(
        tags=["accounts"], auth=PEOPLE, responses={200: ApiKeySerializer(many=True), **errors(400, 401, 403, 404)}
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Your API keys, the newest first. Of each only its beginning is known."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        tags=["accounts"],
        auth=PEOPLE,
        request=ApiKeyRequestSerializer,
        responses={201: MadeApiKeySerializer, **errors(400, 401, 403, 409)},
    )
    def post(self, request: Request) -> Response:
        """Make an API key for a program. `key` is shown this once."""
        form = ApiKeyRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        made, secret = services.make_api_key(cast(User, request.user), **form.validated_data, request=request)
        return Response({**ApiKeySerializer(made).data, "key": secret}, status=201)

    def get_queryset(self) -> QuerySet[ApiKey]:
        if getattr(self, "swagger_fake_view", False):  # the schema is made without a user
            return ApiKey.objects.none()
        return selectors.list_api_keys(cast(User, self.request.user))


class ApiKeyDetail(APIView):
    @extend_schema(tags=["accounts"], auth=PEOPLE, responses={204: None, **errors(401, 403, 404)})
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Revoke an API key: the next request that brings it is a 401."""
        key = get_object_or_404(selectors.list_api_keys(cast(User, request.user)), pk=key_id)
        services.revoke_api_key(request, key)
        return Response(status=204)
