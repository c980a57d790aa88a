"""POST /signup, POST /login, POST /token/refresh."""

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.views import TokenRefreshView

from backend.accounts import services
from backend.accounts.serializers import (
    LoginSerializer,
    RefreshSerializer,
    SignupSerializer,
    TokensSerializer,
    UserSerializer,
)
from backend.api.schema import errors


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
