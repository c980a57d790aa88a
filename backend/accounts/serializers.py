"""What the account endpoints take and give."""

from datetime import datetime
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.utils import timezone
from rest_framework import serializers
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.serializers import TokenRefreshSerializer
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.utils import get_md5_hash_password

from backend.accounts.models import USERNAME_RULES, ApiKey, Scope, User
from backend.accounts.selectors import is_taken


class UserSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["id", "username", "email", "is_verified"]
        read_only_fields = fields


class SignupSerializer(serializers.Serializer[User]):
    username = serializers.CharField(max_length=150, validators=USERNAME_RULES)
    email = serializers.EmailField(max_length=254)
    password = serializers.CharField(
        min_length=8, max_length=1024, write_only=True, trim_whitespace=False, style={"input_type": "password"}
    )

    def validate_username(self, value: str) -> str:
        if is_taken(username=value):
            raise serializers.ValidationError("This name is taken.")
        return value

    def validate_email(self, value: str) -> str:
        if is_taken(email=value):
            raise serializers.ValidationError("This address is taken.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            validate_password(attrs["password"], User(username=attrs["username"], email=attrs["email"]))
        except DjangoValidationError as error:
            raise serializers.ValidationError({"password": error.messages}) from None
        return attrs


class LoginSerializer(serializers.Serializer[User]):
    username = serializers.CharField(max_length=254, required=False, help_text="The name, or the address.")
    email = serializers.CharField(max_length=254, required=False)
    password = serializers.CharField(
        max_length=1024, write_only=True, trim_whitespace=False, style={"input_type": "password"}
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not (attrs.get("username") or attrs.get("email")):
            raise serializers.ValidationError({"username": ["Give a username or an email."]})
        return attrs


class TokensSerializer(serializers.Serializer[None]):
    access = serializers.CharField(help_text="Bearer token of the other endpoints; lives 15 minutes.")
    refresh = serializers.CharField(help_text="For POST /token/refresh; lives 7 days and works once.")
    user = UserSerializer()


class RefreshSerializer(TokenRefreshSerializer):
    """simplejwt's, which does not look at what happened to the user since the token was made."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        token = self.token_class(attrs["refresh"])
        user = User.objects.filter(pk=token.payload.get(api_settings.USER_ID_CLAIM, 0)).first()
        made_with = token.payload.get(api_settings.REVOKE_TOKEN_CLAIM)
        if user is None or made_with != get_md5_hash_password(user.password):
            raise InvalidToken("This token is not valid any more. Sign in again.")
        return super().validate(attrs)


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix", "scopes", "created_at", "expires_at", "last_used_at"]
        read_only_fields = fields

    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.values))


class MadeApiKeySerializer(ApiKeySerializer):
    key = serializers.CharField(help_text="The key itself. It is shown now and never again.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]
        read_only_fields = fields


class ApiKeyRequestSerializer(serializers.Serializer[ApiKey]):
    name = serializers.CharField(max_length=100, help_text="What it is for; you see it in the list.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.values),
        allow_empty=False,
        max_length=10,
        default=[Scope.CHAT.value, Scope.READ.value],
        help_text="chat: ask, conversations, /v1. read: search, sources, stats. write: what staff may do with sources.",
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)

    def validate_name(self, value: str) -> str:
        if not value.isprintable():
            raise serializers.ValidationError("Use visible characters only, on one line.")
        return value

    def validate_scopes(self, value: list[str]) -> list[Scope]:
        return [Scope(name) for name in value]

    def validate_expires_at(self, value: datetime | None) -> datetime | None:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("This moment is past.")
        return value
