"""POST /signup, POST /login, POST /token/refresh, GET and POST /api-keys, DELETE /api-keys/{id}."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.views import TokenRefreshView

from backend.accounts import selectors, services
from backend.accounts.models import ApiKey, User
from backend.accounts.serializers import (
    ApiKeyRequestSerializer,
    ApiKeySerializer,
    LoginSerializer,
    MadeApiKeySerializer,
    RefreshSerializer,
    SignupSerializer,
    TokensSerializer,
    UserSerializer,
)
from backend.api.schema import errors

PEOPLE: Any = [{"jwtAuth": []}]  # no API keys: see backend.accounts.api_keys


class Signup(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(tags=["accounts"], request=SignupSerializer, responses={201: UserSerializer, **errors(400, 403)})
    def post(self, request: Request) -> Response:
        """Create an account."""
        if not settings.ENV.signup_open:
            raise PermissionDenied("Signup is closed on this server.", "signup_closed")
        form = SignupSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        user = services.sign_up(**form.validated_data)
        return Response(UserSerializer(user).data, status=201)


class Login(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(tags=["accounts"], request=LoginSerializer, responses={200: TokensSerializer, **errors(400, 401)})
    def post(self, request: Request) -> Response:
        """Exchange a name (or address) and password for tokens."""
        form = LoginSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        given = form.validated_data
        user, refresh = services.log_in(given.get("username") or given["email"], given["password"])
        return Response(
            {"access": str(refresh.access_token), "refresh": str(refresh), "user": UserSerializer(user).data}
        )

    def get_authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'  # without it DRF turns a failed login into a 403


class Refresh(TokenRefreshView):
    serializer_class = RefreshSerializer

    @extend_schema(tags=["accounts"], responses={**errors(400, 401)})
    def post(self, request: Request, *args: object, **kwargs: object) -> Response:
        """Exchange a refresh token for a new pair; the old one is dead."""
        return super().post(request, *args, **kwargs)


class ApiKeys(ListAPIView[ApiKey]):
    serializer_class = ApiKeySerializer

    @extend_schema(
        tags=["accounts"], auth=PEOPLE, responses={200: ApiKeySerializer(many=True), **errors(401, 403, 404)}
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
        made, secret = services.make_api_key(cast(User, request.user), **form.validated_data)
        return Response({**ApiKeySerializer(made).data, "key": secret}, status=201)

    def get_queryset(self) -> QuerySet[ApiKey]:
        if getattr(self, "swagger_fake_view", False):  # the schema is made without a user
            return ApiKey.objects.none()
        return selectors.list_api_keys(cast(User, self.request.user))


class ApiKeyDetail(APIView):
    @extend_schema(tags=["accounts"], auth=PEOPLE, responses={204: None, **errors(401, 403, 404)})
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Revoke an API key: the next request that brings it is a 401."""
        get_object_or_404(selectors.list_api_keys(cast(User, request.user)), pk=key_id).delete()
        return Response(status=204)
